"""Models to measure with: the bundled one, a folder, or a BERT with random weights.

Random weights cost what FinBERT's cost, and need no network. A tiny BERT costs next to nothing:
what is measured with it is everything else.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measurement import REPOSITORY, BenchmarkError

COMPACT = REPOSITORY / "models" / "compact"
LABELS = ("positive", "negative", "neutral")
SEED = 0

TINY = {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def model_folder(name: str) -> Path:
    """Return the folder of `compact`, of `bert-base` or `bert-tiny`, made when first wanted, or
    itself.

    Raises:
        BenchmarkError: no model lies there.
    """
    match name:
        case "compact":
            folder = COMPACT
        case "bert-base":
            folder = bert_base()
        case "bert-tiny":
            folder = _made("bert-tiny", **TINY)
        case _:
            folder = Path(name)
    if not (folder / "config.json").is_file():
        raise BenchmarkError(f"{folder}: no config.json there; --model names a model folder")
    return folder.resolve()


def bert_base() -> Path:
    """Return the folder of a BERT-base of 12 layers of 768 dimensions, made if need be.

    It has the published form, with the bundled model's tokenizer, and what int8 needs to know of
    it where this version of the project can measure that.
    """
    folder = _made("bert-base")
    calibration = folder / "int8.safetensors"
    if not calibration.exists():
        _quantize(folder, calibration)
    return folder


def _made(name: str, **shape: int) -> Path:
    """Return the folder of a BERT of this shape, made if need be; BERT-base is the default."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "sentiment-benchmarks" / f"seed-{SEED}" / name
    if not folder.exists():
        unfinished = folder.with_suffix(f".{os.getpid()}")
        unfinished.mkdir(parents=True)
        _write_bert(unfinished, shape)
        unfinished.rename(folder)
    return folder


def _write_bert(folder: Path, shape: Mapping[str, int]) -> None:
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(SEED)
    config = transformers.BertConfig(
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        **shape,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(COMPACT / name, folder)


def _quantize(folder: Path, output: Path) -> None:
    """Measure what int8 needs to know; without it the rest can still be measured."""
    done = subprocess.run(
        [sys.executable, "-m", "sentiment", "quantize", str(folder), "--output", str(output)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        print(f"int8 will be unavailable: {said}", file=sys.stderr)
