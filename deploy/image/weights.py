"""The model of an image: fetched, checked, laid down in a folder of its own, and tried.

python deploy/image/weights.py fetch MODEL FOLDER [--sha256 DIGEST]
python deploy/image/weights.py convert FOLDER
python deploy/image/weights.py try FOLDER

Failures are one line on standard error; exit code 2 usage, 3 the model.
"""

import argparse
import asyncio
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from sentiment.errors import ModelError, OptionError, SentimentError
from sentiment.hub import SIDE_FILES
from sentiment.manifest import MANIFEST_FILE, file_sha256, verify_manifest, write_manifest
from sentiment.models import read_model, resolve_model
from sentiment.origin import Origin, read_origin, write_origin

FITTED_FILES = ("temperature.json", "int8.safetensors")
"""They hold for exactly the weights that they name."""

PINNED = re.compile(r"[^@]+@[0-9a-f]{40}")


def fetch(model: str, folder: Path, *, sha256: str | None) -> None:
    """Put `model` into `folder`, with a manifest that every start will verify.

    Args:
        model: `compact`, a folder, or a Hub name with its commit.
        sha256: what the digest of its weights must be; a model from the Hub needs it.

    Raises:
        OptionError: a model from the Hub is not named as exactly as that.
        ModelError: it cannot be had, is not what its manifest says, or has another digest.
    """
    if model != "compact" and not Path(model).is_dir():
        # Labels and vocabulary decide an answer as the weights do, and only a commit fixes those.
        if not PINNED.fullmatch(model):
            raise OptionError(f"MODEL={model}: neither a folder nor a Hub name with its commit")
        if sha256 is None:
            raise OptionError(f"MODEL={model} needs MODEL_SHA256, the digest of its weights")
    found = resolve_model(model)
    if sha256 not in (None, found.weights_sha256):
        raise ModelError(f"{model}: the SHA-256 of its weights is {found.weights_sha256}")
    folder.mkdir(parents=True)
    for name in (*SIDE_FILES, MANIFEST_FILE, "README.md", found.weights.name):
        if (found.folder / name).is_file():
            shutil.copyfile(found.folder / name, folder / name)
    verify_manifest(folder)  # of what was copied, before it is written anew to name the origin
    digest = found.weights_sha256
    write_origin(folder, Origin(found.name, found.revision, digest, digest))
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
    if origin := read_origin(folder):
        converted = file_sha256(folder / "model.safetensors")
        write_origin(folder, replace(origin, weights_sha256=converted))
    write_manifest(folder)
    print(f"{folder}: {weights.name} is now model.safetensors")


def try_out(folder: Path) -> None:
    """Classify one text with what the image has: what is missing fails the build, not a start.

    Raises:
        ModelError: the model cannot be opened.
    """
    from sentiment import Analyzer, Settings  # the stage that fetches a model has neither

    async def classify() -> str:
        async with Analyzer.open(Settings(model=str(folder))) as analyzer:
            (prediction,) = await analyzer.classify(["Profit rose."])
            return f"{analyzer.model.reference} answers {prediction.label}"

    print(asyncio.run(classify()))


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
        sys.exit(2 if isinstance(error, OptionError) else 3)


if __name__ == "__main__":
    main()
