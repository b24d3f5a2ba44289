#!/bin/sh
# Compile all Python below each folder: compile.sh FOLDER...
set -eu
[ "$#" -ge 1 ] || { echo "usage: compile.sh FOLDER..." >&2; exit 2; }

# Nothing in an image changes: byte code need not be compared with its source.
python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$@"
