# common.sh - sourced by the tests here: a directory of their own, and checks that say what they saw.
set -eu
weir=$1 cmake=$2 generated=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
export XDG_STATE_HOME="$work/state" WEIR_RUNTIME_DIR="$work/runtime"
unset WEIR_KILL WEIR_IO WEIR_LOG_LEVEL 2> /dev/null || true
job_pid=
cleanup() {
    if [ -n "$job_pid" ]; then kill -KILL "$job_pid" 2> /dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
failures=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*" >&2
    sed 's/^/    stderr: /' "$work/err" >&2 || true
}

# try EXPECTED_STATUS ARGUMENT...: runs weir; its output is in $work/out and $work/err.
try() {
    expected=$1
    shift
    status=0
    timeout -k 5 600 "$weir" "$@" > "$work/out" 2> "$work/err" < /dev/null || status=$?
    [ "$status" = "$expected" ] || fail "weir $*: exit status $status, expected $expected"
}

# says TEXT: the last call's standard error has it, on one line that begins with the program's name.
says() {
    grep -qF -- "$1" "$work/err" || fail "standard error lacks '$1'"
    grep -q '^weir: ' "$work/err" || fail "standard error does not begin with 'weir: '"
}

shows() { grep -qE -- "$1" "$work/out" || { fail "standard output lacks '$1'"; sed 's/^/    stdout: /' "$work/out" >&2; }; }

# json KEY...: standard output is one JSON document; prints what is at the path of keys.
json() { "$cmake" -DFILE="$work/out" "-DKEYS=$(IFS=';'; echo "$*")" -P "$here/json.cmake" 2>&1; }

finish() {
    if [ "$failures" -ne 0 ]; then
        echo "$failures failed" >&2
        exit 1
    fi
    echo "all passed"
}
