#!/bin/sh
# Lay down the model that the image serves: weights.sh MODEL FOLDER
# MODEL_SHA256: digest of its weights. TORCH_INDEX: as install.sh.
set -eu
[ "$#" -eq 2 ] || { echo "usage: weights.sh MODEL FOLDER" >&2; exit 2; }
here=$(dirname "$0")
project=$here/../..
export PYTHONPATH="$project"

token=/run/secrets/hf_token
if [ -s "$token" ]; then
  HF_TOKEN=$(cat "$token")
  export HF_TOKEN
fi

python "$here/weights.py" fetch "$1" "$2" ${MODEL_SHA256:+--sha256 "$MODEL_SHA256"}

# A pickle is read by torch alone: it is turned into safetensors here, once, by a torch that stays
# behind, so that the image needs none for it.
if [ ! -e "$2/model.safetensors" ]; then
  if ! python -c 'import torch' 2>/dev/null; then
    libraries=$(mktemp -d)
    python3 -m venv "$libraries"
    "$libraries/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
      --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" \
      "$(grep '^torch==' "$project/requirements.txt")"
    PYTHONPATH="$PYTHONPATH:$(echo "$libraries"/lib/python*/site-packages)"
  fi
  python "$here/weights.py" convert "$2"
fi
