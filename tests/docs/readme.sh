#!/bin/bash
# readme.sh SOURCE BUILD: takes the first block of C, the first block of shell and the block after it from README.md, runs the commands as
# they are printed, and compares what they print.
set -euo pipefail
source_dir=$1
build_dir=$2
work=$(mktemp -d "$build_dir/readme.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C XDG_STATE_HOME=$work/state WEIR_RUNTIME_DIR=$work/runtime
mkdir -m 700 "$WEIR_RUNTIME_DIR"
ln -s "$source_dir/include" "$work/include"
ln -s "$build_dir" "$work/build-release"

# block NUMBER: the text between the NUMBER-th pair of fences
block() {
    awk -v wanted="$1" '/^```/ { inside = !inside; count += inside; next } inside && count == wanted' "$source_dir/README.md"
}
block 1 >"$work/counter.c"
block 2 >"$work/commands"
block 3 >"$work/expected"
grep -q weir_main "$work/counter.c"
grep -q counter.c "$work/commands"
[ -s "$work/expected" ]

cd "$work"
bash -euo pipefail ./commands >found
diff expected found
