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
    """Return the base in fp32 with a classifier over `LABELS`.

    What a classifier of the same labels has learnt of each stays with it, whatever their order;
    one of other labels, or of another number, gets a new last layer.

    Raises:
        ModelError: `base` holds no model that can be fine-tuned.
    """
    try:
        model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
            base.folder,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise ModelError(f"{base.folder}: cannot be fine-tuned: {first_line(error)}") from error
    encoder = f"{model.base_model_prefix}."
    if wrong := sorted(key for key, *_ in found["mismatched_keys"] if key.startswith(encoder)):
        raise ModelError(f"{base.folder}: cannot be fine-tuned: {wrong[0]} is of another size")
    _arrange_labels(model, base)
    return model


def _arrange_labels(model: Any, base: BaseFiles) -> None:
    """Give each row of the last layer the label that the base trained it for."""
    id2label = base.config.get("id2label")
    if not isinstance(id2label, dict) or len(id2label) != len(LABELS):
        return  # the layer is new
    by_index = {str(index): str(label).strip().lower() for index, label in id2label.items()}
    given = [by_index.get(str(index)) for index in range(len(LABELS))]
    last = _last_layer(model, base)
    with torch.no_grad():
        if set(given) == set(LABELS):
            rows = [given.index(label) for label in LABELS]
            for parameter in last.parameters():
                parameter.copy_(parameter[rows].clone())
        else:
            last.weight.normal_(std=getattr(model.config, "initializer_range", 0.02))
            if last.bias is not None:
                last.bias.zero_()


def _last_layer(model: Any, base: BaseFiles) -> torch.nn.Linear:
    """Return the layer whose rows are the labels; its name differs by architecture."""
    encoder = f"{model.base_model_prefix}."
    for name, module in reversed(list(model.named_modules())):
        if (
            isinstance(module, torch.nn.Linear)
            and module.out_features == len(LABELS)
            and not name.startswith(encoder)
        ):
            return module
    raise ModelError(f"{base.folder}: cannot be fine-tuned: its classifier ends in no linear layer")


def load_training_tokenizer(base: BaseFiles, max_tokens: int) -> Tokenizer:
    """Return the base's tokenizer, cutting at `max_tokens` or what the base reads; not padding.

    Raises:
        ModelError: there is none, its file is damaged, or the base lacks rows for its tokens.
    """
    tokenizer = load_tokenizer(base.folder)
    base.check_vocabulary(tokenizer.get_vocab_size())
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_tokens, base.max_tokens))
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
