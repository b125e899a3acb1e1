#!/bin/bash
# Checks a model with Spin: as it is (the ring also with stores that leave the processor out of order), and with one rule broken at
# a time, which must be found each time. Usage: run.sh ring|takeover DIRECTORY (for what is built). Exits with 77 where there is no Spin.
set -euo pipefail
export LC_ALL=C
kind=$1
model=$(cd "$(dirname "$0")" && pwd)/$kind.pml
shift
store=
memory_mib=1000
[ "${WEIR_TEST_SIZE:-short}" != long ] || { store=-DCOLLAPSE; memory_mib=3500; } # states packed: slower, smaller

command -v spin >/dev/null || { echo "skipped: no spin here (Debian: apt-get install spin)"; exit 77; }
rm -rf "$1"
mkdir -p "$1"
cd "$1"

# build NAME DEFINE...: the verifier of the model with these sizes.
build() {
    local name=$1
    shift
    mkdir "$name"
    (cd "$name" && spin "$@" -a "$model" >spin.log && "${CC:-cc}" -O1 -w -DSAFETY $store -DMEMLIM=$memory_mib -o pan pan.c) ||
        { cat "$name/spin.log"; exit 1; }
}

# verify NAME MUTATION: prints states and errors; 0 where the search was complete and without error.
verify() {
    (cd "$1" && RING_MUTATION=$2 TAKEOVER_MUTATION=$2 ./pan -m100000 -w22 >pan.log)
    local states errors
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$1/pan.log")
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$1/pan.log")
    echo "$1, mutation $2: $states states, errors: $errors $(sed -n 's/^pan:1: \(.*\) (at depth.*/(\1)/p' "$1/pan.log")"
    ! grep -q 'max search depth too small\|out of memory\|aborted' "$1/pan.log" || { echo "the search was not complete"; exit 1; }
    [ "${errors:-1}" = 0 ]
}

# name, sizes
if [ "$kind" = ring ]; then
    mutations=12
    models=("deaths -DRECORDS=3 -DDEATHS=1" "no-deaths -DRECORDS=4 -DDEATHS=0" "out-of-order -DRECORDS=3 -DDEATHS=0 -DPSO")
    [ "${WEIR_TEST_SIZE:-short}" != long ] ||
        models+=("more-records -DRECORDS=5 -DDEATHS=1" "more-deaths -DRECORDS=3 -DDEATHS=2"
                 "out-of-order-deaths -DRECORDS=4 -DDEATHS=1 -DPSO")
else
    mutations=9
    models=("deaths -DDEATHS=1" "launcher-lives -DDEATHS=2 -DLAUNCHER_LIVES")
    [ "${WEIR_TEST_SIZE:-short}" != long ] || models+=("more-deaths -DDEATHS=2")
fi

# The model in which a mutation shows.
model_of() {
    case $kind-$1 in
        ring-10 | ring-11) echo no-deaths ;;     # these two lose a wake-up without any
        takeover-9) echo launcher-lives ;; # it takes two
        *) echo deaths ;;
    esac
}

failed=0
for row in "${models[@]}"; do
    read -ra words <<<"$row"
    build "${words[@]}"
    verify "${words[0]}" 0 || { echo "FAILED: the model has an error: spin -t -p in $1/${words[0]}"; failed=1; }
done
for mutation in $(seq $mutations); do
    ! verify "$(model_of "$mutation")" "$mutation" || { echo "FAILED: mutation $mutation is not found"; failed=1; }
done
[ $failed -ne 0 ] || { cd / && rm -rf "$1"; }
exit $failed
