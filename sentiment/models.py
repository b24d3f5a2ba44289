"""`SENTIMENT_MODEL` becomes a checked folder on disk: `ModelFiles`.

Nothing here loads weights, and nothing in a model folder is ever run: configuration that
names code is refused, and `.bin` weights are read by the engines with `weights_only=True`.
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sentiment import hub
from sentiment.errors import ModelError, first_line
from sentiment.manifest import file_sha256 as file_sha256  # for those who know models only
from sentiment.manifest import verify_manifest
from sentiment.origin import ORIGIN_FILE, read_origin
from sentiment.tokenization import read_tokenizer_config

log = logging.getLogger(__name__)

COMPACT_FOLDER = Path(__file__).resolve().parent.parent / "models" / "compact"
FINBERT = "ProsusAI/finbert"

HUB_NAME = re.compile(
    # A revision becomes part of a path in the cache: it may not lead out of it.
    r"(?P<name>[\w-][\w.-]*(/[\w-][\w.-]*)?)(@(?P<revision>(?![./])(?!.*\.\.)[\w./-]+))?",
    re.ASCII,
)

BUILT_IN_KERNELS = ("eager", "sdpa", True, False, None)
"""What a key of an implementation may say; anything else may name a Hub repository of kernels
to load (CVE-2026-4372)."""

OFFSET_POSITIONS = ("roberta", "camembert", "mpnet", "longformer", "data2vec-text")
"""Parts of architectures' names that count positions from `pad_token_id + 1`: 514 rows of the
table hold 512 tokens."""

PADS_LEFT = ("xlnet",)
"""Architectures that read a text's last position, whatever stands there."""

TEMPERATURE_FILE = "temperature.json"

TEMPERATURES = (0.05, 20.0)
"""Least and greatest: beyond them every score is 1, or every label as probable as the others."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A sequence classifier on disk, checked as far as that goes without its weights."""

    name: str
    """Hub name, `compact`, or the folder's own name, where its `origin.json` knows no better."""
    revision: str
    """The Hub's commit; of a local folder what its `origin.json` says, or else the first 12 digits
    of its weights' SHA-256."""
    folder: Path
    weights: Path
    config: dict[str, Any]
    labels: tuple[str, ...]
    """Lower-cased, in the order of the logits."""
    max_tokens: int
    """What the model reads of a text, special tokens included."""
    temperature: float = 1.0
    """By which logits are divided before they become probabilities."""
    known_sha256: str | None = None
    """Of the weights, where it had to be computed anyway."""

    @property
    def reference(self) -> str:
        """`name@revision`, as every answer's header carries it: other than ASCII is escaped."""
        return f"{quote(self.name)}@{self.revision}"

    @property
    def architecture(self) -> str:
        """The configuration's `model_type`, such as `bert`."""
        return str(self.config.get("model_type", ""))

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights; the file is read if nobody needed it before."""
        return self.known_sha256 or file_sha256(self.weights)

    def check_vocabulary(self, tokens: int) -> None:
        """Return if the model has a row for each of the tokenizer's `tokens`.

        Raises:
            ModelError: it has fewer.
        """
        _check_vocabulary(self.folder, self.config, tokens)


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """A model on disk that training starts from; it need not be a classifier."""

    name: str
    """As `ModelFiles.name`."""
    revision: str
    """As `ModelFiles.revision`."""
    folder: Path
    config: dict[str, Any]
    max_tokens: int
    """As `ModelFiles.max_tokens`."""
    weights_sha256: str

    def check_vocabulary(self, tokens: int) -> None:
        """As `ModelFiles.check_vocabulary`."""
        _check_vocabulary(self.folder, self.config, tokens)


@dataclass(frozen=True, slots=True)
class _Located:
    """Where a model lies, before anything in it is read."""

    folder: Path
    name: str
    revision: str | None
    """The Hub's commit."""


def resolve_model(model: str) -> ModelFiles:
    """Find the model that the setting names, fetching it from the Hub where need be.

    `auto` takes ProsusAI/finbert from the local cache or the Hub, else the bundled model,
    and decides within 5 s where there is no network. Anything else never falls back.

    Raises:
        ModelError: the model cannot be had, or what lies there cannot be served.
    """
    with _told_of(model):
        if model == "auto":
            return _resolve_auto()
        found = _locate(model)
        return read_model(found.folder, name=found.name, revision=found.revision)


def resolve_base(base: str) -> BaseFiles:
    """Find a model to train: a folder, `compact`, or a Hub name, fetched where need be.

    Raises:
        ModelError: it cannot be had, has no weights, is not what its manifest says, or its
            configuration names code.
    """
    with _told_of(base):
        found = _locate(base)
        folder, config_path = found.folder, found.folder / "config.json"
        config, tokenizer_config = _read_configs(folder)
        weights = find_weights(folder)
        digest = verify_manifest(folder).get(weights.name) or file_sha256(weights)
        name, revision = found.name, found.revision
        if revision is None:
            name, revision = _called(folder, name, digest)
        return BaseFiles(
            name=name,
            revision=revision,
            folder=folder,
            config=config,
            max_tokens=_max_tokens(config, tokenizer_config, config_path),
            weights_sha256=digest,
        )


@contextmanager
def _told_of(model: str) -> Iterator[None]:
    """Make of whatever a model's name or files raise an error that names it."""
    try:
        yield
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # Unreadable folders, unknown home directories, numbers that are none: many types.
        raise ModelError(f"{model}: {first_line(error)}") from error


def _locate(model: str) -> _Located:
    """Find a model's folder: `compact`, a folder, or a Hub name, fetched where need be.

    Raises:
        ModelError: it is none of these, or the Hub does not give it.
    """
    if model == "compact":
        return _Located(COMPACT_FOLDER, model, None)
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        return _Located(folder, folder.resolve().name, None)
    match = HUB_NAME.fullmatch(model)
    if match is None or model.startswith("."):
        raise ModelError(
            f"{model!r} is neither a folder nor a Hub name such as {FINBERT} or {FINBERT}@main"
        )
    found = hub.fetch(match["name"], revision=match["revision"])
    return _Located(found.folder, match["name"], found.commit)


def read_model(folder: Path, *, name: str, revision: str | None = None) -> ModelFiles:
    """Check a Hugging Face folder and say what is in it.

    Args:
        name: what to call it; without a revision its `origin.json` may know better.
        revision: what to call this version; without it as `origin.json` or the weights' digest.

    Raises:
        ModelError: a file is missing or wrong; the message names it.
    """
    config_path = folder / "config.json"
    config, tokenizer_config = _read_configs(folder)
    weights = find_weights(folder)
    # Read once for whoever asks: it takes a second a gigabyte.
    sha256 = verify_manifest(folder).get(weights.name)
    if sha256 is None and (revision is None or (folder / TEMPERATURE_FILE).exists()):
        sha256 = file_sha256(weights)
    if revision is None:
        name, revision = _called(folder, name, str(sha256))
    return ModelFiles(
        name=name,
        revision=revision,
        folder=folder,
        weights=weights,
        config=config,
        labels=_labels(config, config_path),
        max_tokens=_max_tokens(config, tokenizer_config, config_path),
        temperature=_temperature(folder / TEMPERATURE_FILE, sha256),
        known_sha256=sha256,
    )


def _called(folder: Path, name: str, weights_sha256: str) -> tuple[str, str]:
    """Return name and revision of a local folder: as published, or else its own.

    Other weights under a published name would be an answer of a model that never gave it.
    """
    origin = read_origin(folder)
    if origin is None:
        return name, weights_sha256[:12]
    if origin.weights_sha256 != weights_sha256:
        raise ModelError(
            f"{folder / ORIGIN_FILE}: of other weights than those that lie beside it; "
            "remove it to serve them under the folder's own name"
        )
    return origin.name, origin.revision


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


def _read_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's and the tokenizer's configuration; neither names code."""
    config, tokenizer_config = _read_config(folder / "config.json"), read_tokenizer_config(folder)
    _refuse_code(tokenizer_config, folder / "tokenizer_config.json")
    return config, tokenizer_config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a JSON object")
    _refuse_code(config, path)
    if config.get("position_embedding_type", "absolute") != "absolute":
        # Neither engine knows them, and transformers 5 ignores the setting in silence.
        raise ModelError(f"{path}: {config['position_embedding_type']} positions are not served")
    if config.get("model_type") in PADS_LEFT:
        raise ModelError(f"{path}: {config['model_type']} is not served")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise ModelError(f"{path}: problem_type {config['problem_type']} is not served")
    return config


def _refuse_code(config: dict[str, Any], path: Path) -> None:
    for key, value in _members(config):
        foreign_kernels = "implementation" in key and value not in BUILT_IN_KERNELS
        if "auto_map" in key or foreign_kernels or ("use_kernels" in key and value):
            raise ModelError(f"{path}: {key} names code, and code in a model is never run")


def _check_vocabulary(folder: Path, config: dict[str, Any], tokens: int) -> None:
    rows = config.get("vocab_size", tokens)
    if isinstance(rows, int) and tokens > rows:
        raise ModelError(f"{folder}: the tokenizer has {tokens} tokens, the model only {rows}")


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


def _max_tokens(config: dict[str, Any], tokenizer_config: dict[str, Any], path: Path) -> int:
    """Return the smaller of what the tokenizer's and the model's files allow."""
    positions = config.get("max_position_embeddings", config.get("n_positions", 512))
    # Files without a limit carry a huge number in its place: the minimum passes it over.
    limit = tokenizer_config.get("model_max_length") or positions
    if not isinstance(positions, int) or not isinstance(limit, int | float):
        raise ModelError(f"{path}: the maximum length is not a number")
    if any(part in str(config.get("model_type")) for part in OFFSET_POSITIONS):
        positions -= config.get("pad_token_id", 1) + 1
    max_tokens = int(min(positions, limit))
    if max_tokens < 3:
        raise ModelError(f"{path}: a maximum of {max_tokens} tokens leaves no room for a text")
    return max_tokens


def _temperature(path: Path, weights_sha256: str | None) -> float:
    """Return the temperature that was fitted for these weights; 1 where there is none.

    One of other weights ends the start. Passed over, it would give scores that nobody has
    measured, and of replicas of which one has the file the scores would differ.
    """
    if not path.exists():
        return 1.0
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ModelError(f"{path}: expected a JSON object")
    temperature, (least, greatest) = record.get("temperature"), TEMPERATURES
    # NaN is neither above nor below.
    if not (isinstance(temperature, int | float) and least <= temperature <= greatest):
        raise ModelError(f'{path}: expected a "temperature" from {least:g} to {greatest:g}')
    if record.get("weights_sha256") != weights_sha256:
        raise ModelError(
            f"{path}: fitted for other weights than those that lie beside it; fit it anew, or "
            "remove it to serve their scores as they are"
        )
    return float(temperature)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a JSON value with what they hold, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner)


def find_weights(folder: Path) -> Path:
    """Return the folder's weights file.

    Raises:
        ModelError: there is none.
    """
    for name in hub.WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: neither {' nor '.join(hub.WEIGHT_FILES)} lies there")
