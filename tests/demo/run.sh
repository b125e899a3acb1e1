#!/bin/bash
# run.sh SOURCE BUILD WEIR ARGUMENT...: one run of tools/kill_and_compare in a folder of its own.
set -euo pipefail
source_dir=$1
build_dir=$2
weir=$3
shift 3
work=$(mktemp -d "$build_dir/demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
export WEIR_RUNTIME_DIR=$work/runtime
mkdir -m 700 "$WEIR_RUNTIME_DIR"
python3 "$source_dir/tools/kill_and_compare" --weir "$weir" --work "$work" "$@"
