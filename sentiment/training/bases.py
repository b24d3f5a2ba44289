"""From a base to a classifier that can be trained, and from a trained one to a model folder.

The folder is in the Hub's form and complete: configuration, fp16 safetensors, a clean tokenizer
and `training.json`, which says how it came about.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from sentiment.errors import ModelError, first_line
from sentiment.models import BaseFiles
from sentiment.predictions import LABELS
from sentiment.tokenization import load_tokenizer, read_tokenizer_config


def load_classifier(base: BaseFiles) -> Any:
    """Return the base in fp32 with a classifier over `LABELS`, new where it has none that fits.

    Raises:
        ModelError: `base` holds no model that can be fine-tuned.
    """
    try:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            base.folder,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise ModelError(f"{base.folder}: cannot be fine-tuned: {first_line(error)}") from error


def load_training_tokenizer(base: BaseFiles, max_tokens: int) -> Tokenizer:
    """Return the base's tokenizer, cutting at `max_tokens` and not padding.

    Raises:
        ModelError: there is none, or its file is damaged.
    """
    tokenizer = load_tokenizer(base.folder)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def mask_id(tokenizer: Tokenizer, base: BaseFiles) -> int:
    """Return the id behind which a token is hidden.

    Raises:
        ModelError: the vocabulary has none.
    """
    found = tokenizer.token_to_id("[MASK]")
    if found is None:
        raise ModelError(f"{base.folder}: the tokenizer has no [MASK], so no token can be hidden")
    return int(found)


def write_model(model: Any, base: BaseFiles, folder: Path) -> None:
    """Write the model as it stands to `folder`: config, fp16 weights, tokenizer.

    The model itself stays in fp32: training may go on.

    Raises:
        OSError, SafetensorError: the disk is full or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).half().save_pretrained(folder)
    tokenizer = load_tokenizer(base.folder)
    # The base's file may pad every text to a fixed width; that is for its caller to decide.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    settings = {
        key: value
        for key, value in read_tokenizer_config(base.folder).items()
        if key != "name_or_path" and not key.endswith("_file")
    }
    write_json(folder / "tokenizer_config.json", settings)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, without NaN, which is none."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
