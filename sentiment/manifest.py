"""`manifest.json`: which files a model folder consists of, by size and SHA-256.

Written when a model is promoted, verified when it is opened, so that a copy cut short, a file of
another model, or a setting changed by hand ends the start and not in other scores. It says nothing
of who wrote the folder: whoever can replace the files can replace the manifest.

`README.md` is not covered: people go on writing a card, and no answer depends on it. Other files
that the manifest does not name are no concern of the server, unless it would read them.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sentiment.errors import ModelError
from sentiment.hub import SIDE_FILES, WEIGHT_FILES

MANIFEST_FILE = "manifest.json"

SERVED_FILES = (*SIDE_FILES, *WEIGHT_FILES)
"""What an answer may depend on: a manifest must name those that are there."""

UNLISTED_FILES = (MANIFEST_FILE, "README.md")

FORMAT_KEY = "sentiment_manifest"
FORMAT = 1

REMEDY = "restore the folder, or remove manifest.json to serve it as it is"


def write_manifest(folder: Path) -> None:
    """Write the manifest of the files that lie in `folder` now, whole or not at all.

    Raises:
        OSError: a file cannot be read, or the manifest not written.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    _write(folder, {name: _entry(folder / name) for name in names if name not in UNLISTED_FILES})


def renew_entry(path: Path) -> None:
    """Have the manifest beside `path`, if there is one, name that file as it is now.

    For a program that changes a model's folder on purpose. A file that the manifest need not
    name, and does not, stays out of it.

    Raises:
        ModelError: the manifest is damaged.
        OSError: it cannot be written.
    """
    entries = _read(path.parent)
    if entries is None or (path.name not in entries and path.name not in SERVED_FILES):
        return
    _write(path.parent, {**entries, path.name: _entry(path)})


def verify_manifest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that the folder's manifest names; `{}` without a manifest.

    A record that is named and absent is no fault: the Hub's client fetches only what is served.

    Raises:
        ModelError: the manifest is damaged, or a file is not the one that it names, or is
            served but not named, or named and served but absent.
    """
    entries = _read(folder)
    if entries is None:
        return {}
    for name in SERVED_FILES:
        if name not in entries and (folder / name).exists():
            raise ModelError(f"{folder / name}: {MANIFEST_FILE} does not name it: {REMEDY}")
    digests = {}
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            if name in SERVED_FILES and not _other_weights_serve(name, entries):
                raise ModelError(f"{path}: {MANIFEST_FILE} names it, but it is absent: {REMEDY}")
            continue
        # The size costs nothing: of a copy cut short the rest need not be read.
        if path.stat().st_size != entry["bytes"] or _entry(path) != entry:
            raise ModelError(f"{path}: not the file that {MANIFEST_FILE} names: {REMEDY}")
        digests[name] = entry["sha256"]
    return digests


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _other_weights_serve(name: str, entries: Mapping[str, Any]) -> bool:
    """Whether `name` are weights that nobody reads where the preferred ones lie."""
    return name in WEIGHT_FILES[1:] and WEIGHT_FILES[0] in entries


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _read(folder: Path) -> dict[str, Any] | None:
    """Return the manifest's entries by file name; `None` without a manifest of ours.

    The name is a common one: an object that does not say it is ours is somebody else's file.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(manifest, dict) or FORMAT_KEY not in manifest:
        return None
    if manifest[FORMAT_KEY] != FORMAT:
        raise ModelError(f"{path}: of another version than {FORMAT}")
    entries = manifest.get("files")
    if not isinstance(entries, dict) or not all(
        # Nothing outside the folder is read.
        Path(name).name == name and isinstance(entry, dict) and {"bytes", "sha256"} == {*entry}
        for name, entry in entries.items()
    ):
        raise ModelError(f'{path}: expected "files": name -> {{"bytes": ..., "sha256": ...}}')
    return entries


def _write(folder: Path, entries: Mapping[str, Any]) -> None:
    manifest = {FORMAT_KEY: FORMAT, "files": dict(sorted(entries.items()))}
    handle, name = tempfile.mkstemp(prefix=f".{MANIFEST_FILE}.", dir=folder)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, folder / MANIFEST_FILE)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
