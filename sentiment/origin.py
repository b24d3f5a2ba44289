"""`origin.json`: what the weights of a model folder are called where they were published.

An image lays every model down in the same folder, and turns a pickle into safetensors: neither the
folder's name nor the digest of what lies in it says any longer which model it is.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from sentiment.errors import ModelError

ORIGIN_FILE = "origin.json"

FORMAT_KEY = "sentiment_origin"
FORMAT = 1

REVISION = re.compile(r"[0-9a-f]{12}|[0-9a-f]{40}")
"""12 digits of a digest, or a commit."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A published model, and the weights beside this file that are still called by its name."""

    name: str
    """As `ModelFiles.name`."""
    revision: str
    """As `ModelFiles.revision`."""
    published_sha256: str
    """Of the weights as they were published."""
    weights_sha256: str
    """Of the weights that lie here, which hold the same tensors."""


def write_origin(folder: Path, origin: Origin) -> None:
    """Write where the folder's weights are from.

    Raises:
        OSError: it cannot be written.
    """
    record = {
        FORMAT_KEY: FORMAT,
        "model": origin.name,
        "revision": origin.revision,
        "published_sha256": origin.published_sha256,
        "weights_sha256": origin.weights_sha256,
    }
    (folder / ORIGIN_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_origin(folder: Path) -> Origin | None:
    """Return where the folder's weights are from; `None` where nothing of ours says so.

    Whether `weights_sha256` is that of the weights is the caller's to compare.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / ORIGIN_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    # The name is a common one: an object that does not say it is ours is somebody else's file.
    if not isinstance(record, dict) or FORMAT_KEY not in record:
        return None
    if record[FORMAT_KEY] != FORMAT:
        raise ModelError(f"{path}: of another version than {FORMAT}")
    keys = ("model", "revision", "published_sha256", "weights_sha256")
    texts = {key: record[key] for key in keys if isinstance(record.get(key), str) and record[key]}
    # The revision goes into a header as it is.
    if len(texts) < len(keys) or not REVISION.fullmatch(texts["revision"]):
        raise ModelError(f"{path}: expected {', '.join(keys)}, of which revision is hexadecimal")
    return Origin(
        texts["model"], texts["revision"], texts["published_sha256"], texts["weights_sha256"]
    )
