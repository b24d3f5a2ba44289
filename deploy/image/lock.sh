#!/bin/sh
# Pin anew what the image installs, after a change of requirements.txt. Needs uv (pip install uv).
set -eu
cd "$(dirname "$0")/../.."
lock=deploy/image/requirements.txt
{
  echo "# Everything that serving on a CPU installs, by version and digest: requirements.txt without"
  echo "# torch and transformers, and what that needs. Written by deploy/image/lock.sh."
  sed -E '/^(torch|transformers)==/d' requirements.txt |
    uv pip compile - --quiet --generate-hashes --no-annotate --no-header \
      --python-version 3.11 --python-platform x86_64-unknown-linux-gnu
} >"$lock.new"
mv "$lock.new" "$lock"
