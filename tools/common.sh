# common.sh - what tools/demo, tools/test and tools/lint share; sourced by them.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

# gcc, cmake and the libraries that the build needs, by Debian's names.
build_packages=(gcc libc6-dev binutils cmake ninja-build pkg-config liburing-dev libxxhash-dev libjansson-dev)

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
fail() {
    note "${0##*/}: $*"
    exit 1
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need_packages PACKAGE...: installs those that are missing. Touches no network when there is nothing to install.
need_packages() {
    local missing=() package prefix=()
    if ! command -v dpkg-query >/dev/null; then
        note "This is not Debian: nothing is installed. Needed, by Debian's names: $*"
        return
    fi
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            fail "installing packages takes root, and there is no sudo. As root: apt-get install ${missing[*]}"
        prefix=(sudo)
        sudo -v || fail "sudo was refused. As root: apt-get install ${missing[*]}"
    fi
    say "Installing ${missing[*]}"
    quietly "apt-get update" "${prefix[@]}" apt-get -q update
    quietly "apt-get install" "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
        "${missing[@]}"
}

# quietly NAME COMMAND...: its output is shown only where it fails.
quietly() {
    local name=$1 log
    shift
    log=$(mktemp)
    if ! "$@" </dev/null >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        rm -f "$log"
        fail "$name failed"
    fi
    rm -f "$log"
}

# build PRESET [TARGET...]: configures and builds into build-PRESET, with one line that counts up on a terminal.
build() {
    local preset=$1 started=$SECONDS log=$root/build-$1/tool-build.log
    shift
    mkdir -p "$root/build-$preset"
    if ! (cd "$root" && cmake --preset "$preset") >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "cmake --preset $preset failed"
    fi
    if ! ninja -C "$root/build-$preset" -j "$jobs" "$@" 2>&1 | tee "$log" | show_build "$preset"; then
        grep -v '^\[' "$log" | tail -n 60 >&2 || true
        fail "the build failed: $log"
    fi
    say "Built build-$preset in $((SECONDS - started)) s"
}

show_build() {
    local line
    while IFS= read -r line; do
        case $line in
            \[*\]*) [ ! -t 1 ] || printf '\r\033[KBuilding %s %s' "$1" "${line%%]*}]" ;;
        esac
    done
    [ ! -t 1 ] || printf '\r\033[K'
}

# A job's registry below the build folder, so that nothing is left elsewhere and no other job is met.
own_runtime_directory() {
    export WEIR_RUNTIME_DIR=$1
    mkdir -p -m 700 "$WEIR_RUNTIME_DIR"
}
