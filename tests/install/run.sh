#!/bin/sh
# run.sh BUILD_DIR SOURCE_DIR CMAKE CC: installs the build to a fresh prefix, moves it, and builds and runs a user's program there.
set -eu
build=$1 source=$2 cmake=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_STATE_HOME="$work/state" WEIR_RUNTIME_DIR="$work/runtime"

fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "-- $*"; }

step "install, and move the tree elsewhere"
"$cmake" --install "$build" --prefix "$work/first" > "$work/install.log" || { cat "$work/install.log" >&2; fail "cmake --install"; }
mv "$work/first" "$work/prefix"
prefix=$work/prefix

step "what must be there is there"
pc=$(find "$prefix" -name weir.pc)
library=$(find "$prefix" -name 'libweir.so.0')
[ -n "$pc" ] && [ -n "$library" ] || fail "weir.pc or libweir.so.0 is missing"
for file in bin/weir include/weir.h include/weir_chaos.h share/man/man1/weir.1 share/man/man1/weir-run.1 share/bash-completion/completions/weir; do
    [ -s "$prefix/$file" ] || fail "$file is missing"
done
[ "$(find "$prefix/include" -type f | wc -l)" = 2 ] || fail "weir.h and weir_chaos.h are the only headers of a user"

step "only weir_ symbols are exported"
others=$(nm -D --defined-only "$library" | awk '$2 ~ /[A-Z]/ && $2 != "A" {sub(/@.*/, "", $3); print $3}' | grep -v '^weir_' || true)
[ -z "$others" ] || fail "exported: $others"
for symbol in weir_main weir_chaos; do
    nm -D --defined-only "$library" | grep -q " $symbol\$" || fail "$symbol is not exported"
done

step "the command runs from where it was moved to"
"$prefix/bin/weir" --version > /dev/null || fail "weir --version"

# The squares of 0..999 as little-endian 64-bit numbers, from nothing of Weir's.
awk 'BEGIN { for (i = 0; i < 1000; i++) { v = i * i; for (b = 0; b < 8; b++) { printf "%d\n", v % 256; v = int(v / 256) } } }' > "$work/expected"

check_program() { # NAME PROGRAM
    rm -rf "$work/out" "$XDG_STATE_HOME"
    (cd "$work" && timeout -k 5 600 "$2" run --quiet --set=count=1000 2> "$work/log") || { cat "$work/log" >&2; fail "$1: run"; }
    cat "$work"/out/part-* | od -An -v -tu1 -w1 | tr -d ' ' > "$work/got"
    cmp -s "$work/expected" "$work/got" || fail "$1: the output differs"
    "$2" list 2> /dev/null | grep -q 'No job runs' || fail "$1: list"
}

libdir=$(dirname "$library")
export LD_LIBRARY_PATH="$libdir"
step "pkg-config, C11"
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs weir)
# shellcheck disable=SC2086 # several flags
"$cc" -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Werror "$source/job.c" $flags -o "$work/job_pc"
check_program pkg-config "$work/job_pc"

step "a user's test with weir_chaos.h, as C11 and as C++17"
mkdir "$work/scratch"
for language in c c++; do
    standard=$([ $language = c ] && echo c11 || echo c++17)
    # shellcheck disable=SC2086
    "$cc" -x $language -std=$standard -Wall -Wextra -Wpedantic -Wshadow -Werror "$source/chaos.c" $flags -o "$work/chaos_$language"
    kept=$(cd "$work" && TMPDIR="$work/scratch" timeout -k 5 600 "$work/chaos_$language") || fail "chaos, $language"
    case $kept in "$work"/scratch/weir-chaos-*) rm -r "$kept" ;; *) fail "chaos kept '$kept'" ;; esac
    [ -z "$(ls -A "$work/scratch")" ] || fail "chaos left behind: $(ls "$work/scratch")"
    [ ! -e "$work/chaos-must-not-write-here" ] || fail "chaos wrote to the job's own output"
done

step "a shared object, for weir run ./job.so"
# shellcheck disable=SC2086
"$cc" -std=c11 -shared -fPIC "$source/job.c" $flags -o "$work/squares.so"
rm -rf "$work/out" "$XDG_STATE_HOME"
(cd "$work" && timeout -k 5 600 "$prefix/bin/weir" run ./squares.so --quiet 2> "$work/log") || { cat "$work/log" >&2; fail "weir run ./squares.so"; }
cat "$work"/out/part-* | od -An -v -tu1 -w1 | tr -d ' ' | cmp -s "$work/expected" - || fail "shared object: the output differs"

step "find_package, C11 and C++17"
unset LD_LIBRARY_PATH
"$cmake" -S "$source/user" -B "$work/user" -DCMAKE_PREFIX_PATH="$prefix" > "$work/cmake.log" 2>&1 && \
    "$cmake" --build "$work/user" >> "$work/cmake.log" 2>&1 || { cat "$work/cmake.log" >&2; fail "find_package"; }
check_program "C11" "$work/user/job_C"
check_program "C++17" "$work/user/job_CXX"
echo "all passed"
