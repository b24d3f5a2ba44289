"""Models from the Hugging Face Hub and its local cache.

The only module that talks to the Hub. `huggingface_hub` is imported when it is needed: a
server of a local folder starts without it.
"""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sentiment.errors import ModelError, first_line

log = logging.getLogger(__name__)

ANSWER_S = 4.0
"""How long the Hub may take to name a model's commit before it counts as out of reach.
Name resolution is included, which no HTTP client's own timeout covers."""

OUTAGES = (429, 500, 502, 503, 504)
"""Statuses that say nothing about the model: at another time the Hub would serve it."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""In order of preference: a safetensors file cannot hold code."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
"""Either is enough."""

SIDE_FILES = (
    *("config.json", "tokenizer_config.json", *TOKENIZER_FILES),
    *("temperature.json", "int8.safetensors"),
)
"""What is read beside the weights, where the model has it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a model in the local cache."""

    folder: Path
    commit: str


def cached(name: str, revision: str | None = None) -> Snapshot | None:
    """Return the model from the local cache, without asking the Hub; `None` if absent."""
    from huggingface_hub import try_to_load_from_cache

    def lies_there(file: str) -> bool:
        return isinstance(try_to_load_from_cache(name, file, revision=revision), str)

    # An interrupted download leaves a snapshot with some of its files.
    config = try_to_load_from_cache(name, "config.json", revision=revision)
    complete = any(map(lies_there, WEIGHT_FILES)) and any(map(lies_there, TOKENIZER_FILES))
    if not (isinstance(config, str) and complete):
        return None
    folder = Path(config).parent
    return Snapshot(folder, commit=folder.name)


def fetch(name: str, revision: str | None = None) -> Snapshot:
    """Return the model at `revision` as the Hub has it now; fetch what the cache lacks.

    Where the Hub cannot be reached the cached version serves, if there is one. A revision
    that is a full commit is taken from the cache without asking: it cannot change.

    Raises:
        ModelError: the Hub does not have it, or cannot be reached and the cache is empty.
    """
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision) and (hit := cached(name, revision)):
        return hit
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    wanted = f"{name}@{revision}" if revision else name
    try:
        info = _within(
            ANSWER_S, lambda: HfApi().model_info(name, revision=revision, timeout=ANSWER_S)
        )
    except HFValidationError as error:
        raise ModelError(f"{wanted}: not a Hub name: {first_line(error)}") from error
    except Exception as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status is not None and status not in OUTAGES:
            raise ModelError(
                f"{wanted}: the Hub answers {status}: there is no such model or revision, "
                "or it needs a token (HF_TOKEN)"
            ) from error
        # No network, a proxy's fault, offline mode: the libraries below raise many types.
        if hit := cached(name, revision):
            log.warning("the Hub is out of reach; serving %s from the cache", hit.commit)
            return hit
        raise ModelError(
            f"{wanted} is not in the local cache and the Hub is out of reach ({first_line(error)})"
        ) from error
    files = _needed([sibling.rfilename for sibling in info.siblings or ()])
    # A log is not a terminal: no progress bars, and no handler of the library's own.
    disable_progress_bars()
    logging.getLogger("huggingface_hub").handlers = []
    log.info("fetching %s@%s: %s", name, info.sha, ", ".join(files))
    try:
        if info.sha and not cached(name, info.sha):
            # The weights last, so that an interrupted download which counts as a model has what
            # changes their scores.
            snapshot_download(name, revision=info.sha, allow_patterns=files[:-1])
        # By the name asked for, not by `info.sha`: only then does the cache learn which commit
        # the name stands for, and a start without the Hub finds it.
        folder = snapshot_download(name, revision=revision, allow_patterns=files)
    except Exception as error:  # as above, and disk errors
        raise ModelError(f"{wanted}: download failed: {first_line(error)}") from error
    return Snapshot(Path(folder), commit=Path(folder).name)


def _needed(files: Sequence[str]) -> list[str]:
    """Return the files to fetch, the weights last: not their TensorFlow, Flax and ONNX copies."""
    weights = next((file for file in WEIGHT_FILES if file in files), WEIGHT_FILES[0])
    return [file for file in (*SIDE_FILES, "manifest.json", weights) if file in files]


def _within(limit_s: float, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, or raise `TimeoutError` after `limit_s` and leave it be."""
    answers: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            failures.append(error)

    # A daemon: a process that has decided must not wait for a silent name server.
    thread = threading.Thread(target=run, name="ask-hub", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return answers[0]
