#!/bin/sh
# Refuse to build a release on a base that may be another one tomorrow.
# check_base.sh BASE RELEASE: the image that FROM names; yes for a release.
set -eu
[ "$#" -eq 2 ] || { echo "usage: check_base.sh BASE RELEASE" >&2; exit 2; }
case $2 in
  no) exit 0 ;;
  yes) ;;
  *) echo "error: RELEASE=$2 is neither yes nor no" >&2; exit 2 ;;
esac
if ! printf '%s\n' "$1" | grep -Eq '@sha256:[0-9a-f]{64}$'; then
  echo "error: RELEASE=yes needs a base with its digest: BASE=$1@sha256:..." >&2
  exit 2
fi
