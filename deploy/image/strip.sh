#!/bin/sh
# Leave of the base's own Python what serves: remove pip, what comes with it and its installer, and
# compile the rest, because the base may have come without byte code.
set -eu
folders=$(python3 -c 'import sysconfig as s; print(s.get_path("purelib"), s.get_path("stdlib"))')
site=${folders% *} standard=${folders#* }
[ -d "$site" ] && [ -d "$standard" ]
rm -rf "${site:?}"/*
for unused in ensurepip idlelib lib2to3 test tkinter turtledemo; do
  rm -rf "${standard:?}/$unused"
done
find "$(dirname "$(command -v python3)")" -name 'pip*' -delete
sh "$(dirname "$0")/compile.sh" "$standard"
