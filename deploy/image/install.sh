#!/bin/sh
# Lay down the server's libraries in a virtual environment that has no pip: install.sh FOLDER
# TORCH: none, cpu or cuda. TORCH_INDEX: another package index to take torch from.
# TRACES: none, or otlp for what SENTIMENT_TRACES=otlp needs.
set -eu
[ "$#" -eq 1 ] || { echo "usage: install.sh FOLDER" >&2; exit 2; }
environment=$1
here=$(dirname "$0")
project=$here/../..

torch=${TORCH:-none}
case $torch in
  none) index= ;;
  cpu) index=https://download.pytorch.org/whl/cpu ;;
  cuda) index=https://pypi.org/simple ;; # whose Linux wheels of torch carry CUDA
  *) echo "error: TORCH=$torch is none of none, cpu, cuda" >&2; exit 2 ;;
esac
traces=${TRACES:-none}
case $traces in
  none | otlp) ;;
  *) echo "error: TRACES=$traces is neither none nor otlp" >&2; exit 2 ;;
esac

python -m venv --without-pip "$environment"

# Wheels only, so that nothing is compiled here; byte code is warm.sh's.
install() {
  python -m pip --python "$environment/bin/python" --disable-pip-version-check install \
    --quiet --no-cache-dir --no-compile --only-binary :all: "$@"
}

install --require-hashes -r "$here/requirements.txt"
[ "$traces" = none ] || install --require-hashes -r "$here/requirements-otel.txt"

[ "$torch" = none ] && exit 0
install --index-url "${TORCH_INDEX:-$index}" "$(grep '^torch==' "$project/requirements.txt")"
install -r "$project/requirements.txt"
