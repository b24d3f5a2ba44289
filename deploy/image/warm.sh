#!/bin/sh
# Do at build time what a start on a read-only root could not keep: warm.sh LIBRARIES SERVER MODEL
set -eu
[ "$#" -eq 3 ] || { echo "usage: warm.sh LIBRARIES SERVER MODEL" >&2; exit 2; }
libraries=$1 server=$2 model=$3
here=$(dirname "$0")

sh "$here/compile.sh" "$libraries" "$server/sentiment"

PYTHONPATH=$server python "$here/weights.py" try "$model"

# Whatever the checkout's modes are, the server's user may read and nobody may write.
chmod -R a+rX,go-w "$server" "$model"
