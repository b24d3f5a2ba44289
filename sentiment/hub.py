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

from sentiment.errors import ModelError

log = logging.getLogger(__name__)

ANSWER_S = 4.0
"""How long the Hub may take to name a model's commit before it counts as out of reach.
Name resolution is included, which no HTTP client's own timeout covers."""

SIDE_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""What is fetched beside the weights, where the model has it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a model in the local cache."""

    folder: Path
    commit: str


def cached(name: str, revision: str | None = None) -> Snapshot | None:
    """Return the model from the local cache, without asking the Hub; `None` if absent."""
    from huggingface_hub import try_to_load_from_cache

    # An interrupted download leaves a snapshot with some of its files: weights arrive last.
    for weights in ("model.safetensors", "pytorch_model.bin"):
        paths = [
            try_to_load_from_cache(name, file, revision=revision)
            for file in ("config.json", weights)
        ]
        if all(isinstance(path, str) for path in paths):
            folder = Path(str(paths[0])).parent
            return Snapshot(folder, commit=folder.name)
    return None


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
    except (HfHubHTTPError, HFValidationError) as error:
        raise ModelError(f"{wanted}: the Hub refuses: {_first_line(error)}") from error
    except Exception as error:
        # No network, a proxy's fault, offline mode: the libraries below raise many types.
        if hit := cached(name, revision):
            log.warning("the Hub is out of reach; serving %s from the cache", hit.commit)
            return hit
        raise ModelError(
            f"{wanted} is not in the local cache and the Hub is out of reach ({_first_line(error)})"
        ) from error
    files = _needed([sibling.rfilename for sibling in info.siblings or ()])
    disable_progress_bars()  # a log is not a terminal
    log.info("fetching %s@%s: %s", name, info.sha, ", ".join(files))
    try:
        folder = snapshot_download(name, revision=info.sha, allow_patterns=files)
    except Exception as error:  # as above, and disk errors
        raise ModelError(f"{wanted}: download failed: {_first_line(error)}") from error
    return Snapshot(Path(folder), commit=str(info.sha))


def _needed(files: Sequence[str]) -> list[str]:
    """Return the files to fetch: not the TensorFlow, Flax and ONNX copies of the weights."""
    weights = "model.safetensors" if "model.safetensors" in files else "pytorch_model.bin"
    return [file for file in (*SIDE_FILES, weights) if file in files]


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


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
