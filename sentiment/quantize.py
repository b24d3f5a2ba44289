"""`python -m sentiment quantize`: from a model and texts to a calibration on disk."""

import logging
from pathlib import Path

from sentiment.engines.calibration import calibrate
from sentiment.engines.quantization import calibration_in_cache
from sentiment.errors import DataError, ModelError, StorageError, first_line
from sentiment.manifest import renew_entry
from sentiment.models import resolve_model
from sentiment.tokenization import Tokenization, load_tokenizer

log = logging.getLogger(__name__)

TEXTS = Path(__file__).with_name("calibration_texts.txt")
"""Sentences written for this purpose, in the ways that financial news, filings and posts put
things; none of a public data set, so that each of them may measure the result."""

MAX_TEXTS = 2000
"""More make the calibration slower, not better."""


def quantize_model(
    model: str, *, texts: Path | None, output: Path | None, cache: Path, threads: int
) -> Path:
    """Calibrate `model` and return the file that was written.

    Raises:
        ModelError: the model cannot be had, or is no BERT.
        DataError: `texts` cannot be read, or holds none.
        StorageError: the result cannot be written.
    """
    found = resolve_model(model)
    lines = read_texts(texts or TEXTS)
    tokenizer = load_tokenizer(found.folder)
    with Tokenization(tokenizer, max_tokens=found.max_tokens, threads=1) as tokenization:
        encodings = tokenization.encode_now(lines).ids
    log.info("calibrating %s on %d texts", found.reference, len(lines))
    calibration = calibrate(found, encodings, threads=threads)
    path = output or calibration_in_cache(cache, calibration.weights_sha256)
    try:
        calibration.write(path)
        renew_entry(path)
    except ModelError:
        raise
    except Exception as error:  # the library has types of its own for a full disk
        raise StorageError(f"{path}: cannot be written: {first_line(error)}") from error
    return path


def read_texts(path: Path) -> list[str]:
    """Return the lines of a file that say something, at most `MAX_TEXTS`, evenly chosen.

    Raises:
        DataError: the file cannot be read, or has none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"{path}: no text in it; one a line is expected")
    return lines[:: -(-len(lines) // MAX_TEXTS)]
