"""`SENTIMENT_MODEL` becomes a checked folder on disk: `ModelFiles`.

Nothing here loads weights, and nothing in a model folder is ever run: configuration that
names code is refused, and `.bin` weights are read by the engines with `weights_only=True`.
"""

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment import hub
from sentiment.errors import ModelError
from sentiment.tokenization import read_tokenizer_config

log = logging.getLogger(__name__)

COMPACT_FOLDER = Path(__file__).resolve().parent.parent / "models" / "compact"
FINBERT = "ProsusAI/finbert"

HUB_NAME = re.compile(r"(?P<name>[\w-][\w.-]*(/[\w-][\w.-]*)?)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A sequence classifier on disk, checked as far as that goes without its weights."""

    name: str
    """Hub name, `compact`, or the folder's own name."""
    revision: str
    """The Hub's commit; of a local folder the first 12 digits of its weights' SHA-256."""
    folder: Path
    weights: Path
    config: dict[str, Any]
    labels: tuple[str, ...]
    """Lower-cased, in the order of the logits."""
    max_tokens: int
    """What the model reads of a text, special tokens included."""

    @property
    def reference(self) -> str:
        """`name@revision`: what every answer carries."""
        return f"{self.name}@{self.revision}"

    @property
    def architecture(self) -> str:
        """The configuration's `model_type`, such as `bert`."""
        return str(self.config.get("model_type", ""))


def resolve_model(model: str) -> ModelFiles:
    """Find the model that the setting names, fetching it from the Hub where need be.

    `auto` takes ProsusAI/finbert from the local cache or the Hub, else the bundled model,
    and decides within 5 s where there is no network. Anything else never falls back.

    Raises:
        ModelError: the model cannot be had, or what lies there cannot be served.
    """
    if model == "auto":
        return _resolve_auto()
    if model == "compact":
        return read_model(COMPACT_FOLDER, name="compact")
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        return read_model(folder, name=folder.resolve().name)
    match = HUB_NAME.fullmatch(model)
    if match is None or model.startswith("."):
        raise ModelError(
            f"{model!r} is neither a folder nor a Hub name such as {FINBERT} or {FINBERT}@main"
        )
    found = hub.fetch(match["name"], revision=match["revision"])
    return read_model(found.folder, name=match["name"], revision=found.commit)


def read_model(folder: Path, *, name: str, revision: str | None = None) -> ModelFiles:
    """Check a Hugging Face folder and say what is in it.

    Args:
        revision: what to call this version; without it the weights' digest.

    Raises:
        ModelError: a file is missing or wrong; the message names it.
    """
    config_path = folder / "config.json"
    config = _read_config(config_path)
    weights = next((folder / file for file in hub.WEIGHT_FILES if (folder / file).is_file()), None)
    if weights is None:
        raise ModelError(f"{folder}: neither {' nor '.join(hub.WEIGHT_FILES)} lies there")
    return ModelFiles(
        name=name,
        revision=revision or _sha256(weights)[:12],
        folder=folder,
        weights=weights,
        config=config,
        labels=_labels(config, config_path),
        max_tokens=_max_tokens(config, read_tokenizer_config(folder)),
    )


def _resolve_auto() -> ModelFiles:
    try:
        found = hub.cached(FINBERT) or hub.fetch(FINBERT)
        return read_model(found.folder, name=FINBERT, revision=found.commit)
    except ModelError as error:
        log.warning(
            "serving the bundled compact model, because %s; "
            "SENTIMENT_MODEL=compact chooses it without this warning",
            error,
        )
        return read_model(COMPACT_FOLDER, name="compact")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a JSON object")
    for key in config:
        # `auto_map` names Python files to run; `_attn_implementation*` may name a Hub
        # repository of kernels (CVE-2026-4372). A classifier of text needs neither.
        if key == "auto_map" or key.startswith("_attn_implementation"):
            raise ModelError(f"{path}: {key} names code, and code in a model is never run")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise ModelError(f"{path}: problem_type {config['problem_type']} is not served")
    return config


def _labels(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    id2label = config.get("id2label")
    if not isinstance(id2label, dict) or len(id2label) < 2:
        raise ModelError(f"{path}: no id2label with two labels or more: not a classifier")
    by_index = {str(index): str(label).strip().lower() for index, label in id2label.items()}
    if sorted(by_index) != sorted(map(str, range(len(by_index)))):
        raise ModelError(f"{path}: id2label must count from 0 to {len(by_index) - 1}")
    labels = tuple(by_index[str(index)] for index in range(len(by_index)))
    if len(set(labels)) < len(labels):
        raise ModelError(f"{path}: id2label names a label twice")
    return labels


def _max_tokens(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> int:
    """Return the smaller of what the tokenizer's and the model's files allow."""
    positions = config.get("max_position_embeddings", 512)
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        # These count positions from pad_token_id + 1, so 514 rows hold 512 tokens.
        positions -= config.get("pad_token_id", 1) + 1
    # Files without a limit carry a huge number in its place: the minimum passes it over.
    limit = tokenizer_config.get("model_max_length") or positions
    return int(min(positions, limit))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
