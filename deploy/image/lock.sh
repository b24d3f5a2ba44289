#!/bin/sh
# Pin anew what the image installs, after a change of requirements.txt or requirements-otel.txt.
# Needs uv (pip install uv).
set -eu
cd "$(dirname "$0")/../.."
lock=deploy/image/requirements.txt
lock_traces=deploy/image/requirements-otel.txt

# Reads names and versions, writes them with all that they need and every digest.
pin() {
  uv pip compile - --quiet --generate-hashes --no-annotate --no-header \
    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "$@"
}

{
  echo "# Everything that serving on a CPU installs, by version and digest: requirements.txt without"
  echo "# torch and transformers, and what that needs. Written by deploy/image/lock.sh."
  sed -E '/^(torch|transformers)==/d' requirements.txt | pin
} >"$lock.new"
mv "$lock.new" "$lock"

{
  echo "# What TRACES=otlp installs beside requirements.txt, by version and digest:"
  echo "# requirements-otel.txt, and what that needs. Written by deploy/image/lock.sh."
  pin --constraint "$lock" <requirements-otel.txt
} >"$lock_traces.new"
mv "$lock_traces.new" "$lock_traces"
