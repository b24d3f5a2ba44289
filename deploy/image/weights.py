"""The model of an image: fetched, checked, laid down in a folder of its own, and tried.

python deploy/image/weights.py fetch MODEL FOLDER [--sha256 DIGEST]
python deploy/image/weights.py convert FOLDER
python deploy/image/weights.py try FOLDER

Failures are one line on standard error; exit code 2 usage, 3 the model.
"""

import argparse
import asyncio
import json
import re
import shutil
import sys
from pathlib import Path

from sentiment import Analyzer, Settings
from sentiment.errors import ModelError, SentimentError, SettingsError
from sentiment.hub import SIDE_FILES
from sentiment.manifest import MANIFEST_FILE, write_manifest
from sentiment.models import ModelFiles, read_model, resolve_model

ORIGIN_FILE = "origin.json"
"""Where the weights come from: their own digest is another once they have been converted."""

FITTED_FILES = ("temperature.json", "int8.safetensors")
"""They hold for exactly the weights that they name."""

PINNED = re.compile(r"[^@]+@[0-9a-f]{40}")


def fetch(model: str, folder: Path, *, sha256: str | None) -> None:
    """Put `model` into `folder`, with a manifest that every start will verify.

    Args:
        model: `compact`, a folder, or a Hub name with its commit.
        sha256: what the digest of its weights must be; a model from the Hub needs it.

    Raises:
        SettingsError: a model from the Hub is not named as exactly as that.
        ModelError: it cannot be had, is not what its manifest says, or has another digest.
    """
    if model != "compact" and not Path(model).is_dir():
        # Labels and vocabulary decide an answer as the weights do, and only a commit fixes those.
        if not PINNED.fullmatch(model):
            raise SettingsError(f"MODEL={model}: neither a folder nor a Hub name with its commit")
        if sha256 is None:
            raise SettingsError(f"MODEL={model} needs MODEL_SHA256, the digest of its weights")
    found = resolve_model(model)
    if sha256 not in (None, found.weights_sha256):
        raise ModelError(f"{model}: the SHA-256 of its weights is {found.weights_sha256}")
    folder.mkdir(parents=True)
    for name in (*SIDE_FILES, MANIFEST_FILE, "README.md", found.weights.name):
        if (found.folder / name).is_file():
            shutil.copyfile(found.folder / name, folder / name)
    _write_origin(found, folder)
    if not (folder / MANIFEST_FILE).exists():
        write_manifest(folder)
    print(f"{found.reference}: weights {found.weights.name}, SHA-256 {found.weights_sha256}")


def convert(folder: Path) -> None:
    """Turn the folder's `pytorch_model.bin` into safetensors, which is read without torch.

    Raises:
        ModelError: it cannot be read, or other files hold for the pickle alone.
    """
    import torch
    from safetensors.torch import save_file

    weights = read_model(folder, name=folder.name).weights
    if fitted := [name for name in FITTED_FILES if (folder / name).exists()]:
        raise ModelError(f"{folder}: {', '.join(fitted)} would not hold for converted weights")
    try:
        # weights_only: a pickle that asks for anything but tensors is refused unrun.
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{weights}: cannot be read: {type(error).__name__}") from error
    # Cloned, because safetensors takes no two names for one memory, which tied weights have.
    kept = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    # The format is that of the tensors' layout; transformers refuses a file without it.
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    weights.unlink()
    write_manifest(folder)
    print(f"{folder}: {weights.name} is now model.safetensors")


def try_out(folder: Path) -> None:
    """Classify one text with what the image has: what is missing fails the build, not a start.

    Raises:
        ModelError: the model cannot be opened.
    """

    async def classify() -> str:
        async with Analyzer.open(Settings(model=str(folder))) as analyzer:
            (prediction,) = await analyzer.classify(["Profit rose."])
            return f"{analyzer.model.reference} answers {prediction.label}"

    print(asyncio.run(classify()))


def _write_origin(found: ModelFiles, folder: Path) -> None:
    origin = {
        "model": found.name,
        "revision": found.revision,
        "weights": found.weights.name,
        "weights_sha256": found.weights_sha256,
    }
    (folder / ORIGIN_FILE).write_text(json.dumps(origin, indent=2) + "\n")


def main() -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch")
    fetching.add_argument("model")
    fetching.add_argument("folder", type=Path)
    fetching.add_argument("--sha256", type=str.lower)
    for name in ("convert", "try"):
        commands.add_parser(name).add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        match given.command:
            case "fetch":
                fetch(given.model, given.folder, sha256=given.sha256)
            case "convert":
                convert(given.folder)
            case "try":
                try_out(given.folder)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError) else 3)


if __name__ == "__main__":
    main()
