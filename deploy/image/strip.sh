#!/bin/sh
# Remove from the base's own Python what installs: pip, what comes with it, and its installer.
set -eu
folders=$(python3 -c 'import sysconfig as s; print(s.get_path("purelib"), s.get_path("stdlib"))')
site=${folders% *} standard=${folders#* }
[ -d "$site" ] && [ -d "$standard" ]
rm -rf "${site:?}"/* "${standard:?}/ensurepip" "${standard:?}/idlelib" "${standard:?}/test"
find "$(dirname "$(command -v python3)")" -name 'pip*' -delete
