#!/bin/sh
# Do at build time what a start on a read-only root could not keep: warm.sh LIBRARIES SERVER MODEL
set -eu
[ "$#" -eq 3 ] || { echo "usage: warm.sh LIBRARIES SERVER MODEL" >&2; exit 2; }
libraries=$1 server=$2 model=$3

# Nothing in an image changes: byte code need not be compared with its source.
python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$libraries" "$server/sentiment"

PYTHONPATH=$server python "$(dirname "$0")/weights.py" try "$model"

# Whatever the checkout's modes are, the server's user may read and nobody may write.
chmod -R a+rX,go-w "$server" "$model"
