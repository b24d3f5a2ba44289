"""What is asked of the replicas: when requests come, how many texts each, how long those are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sentiment.errors import DataError
from sentiment.training.phrasebank import read_sentences

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

PHRASEBANK_LABELS = (b"@positive", b"@negative", b"@neutral")


@dataclass(frozen=True, slots=True)
class Burst:
    """A time in which more comes, in the middle of the run."""

    times: float
    """The rate of the burst over the rate before and after it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in the order in which they come."""

    arrivals: Float64
    """`[requests]`: seconds from the start, ascending."""
    texts: Int64
    """`[requests]`: texts of each, at least one."""
    lengths: Int64
    """`[texts]`: tokens of each text, request by request."""
    seconds: float
    """How long requests come."""

    @classmethod
    def draw(
        cls,
        *,
        rate: float,
        seconds: float,
        pool: Int64,
        sizes: Mapping[int, float],
        burst: Burst | None = None,
        seed: int,
    ) -> Self:
        """Draw requests that come at random times, independently of each other (Poisson).

        Args:
            rate: texts a second, before a burst.
            pool: tokens of the texts to draw from.
            sizes: texts of a request -> how likely.
        """
        mean_size = sum(size * share for size, share in sizes.items()) / sum(sizes.values())
        parts = [(0.0, seconds, 1.0)]
        if burst is not None:
            begins_at = (seconds - burst.seconds) / 2
            ends_at = begins_at + burst.seconds
            parts = [
                (0.0, begins_at, 1.0),
                (begins_at, ends_at, burst.times),
                (ends_at, seconds, 1.0),
            ]
        source = np.random.default_rng(seed)
        arrivals = []
        for begins_at, ends_at, times in parts:
            # Given how many come in a stretch, each comes at any time of it: that is Poisson.
            count = source.poisson(rate * times / mean_size * (ends_at - begins_at))
            arrivals.append(np.sort(source.uniform(begins_at, ends_at, count)))
        return cls.at(
            np.concatenate(arrivals), seconds=seconds, pool=pool, sizes=sizes, seed=seed + 1
        )

    @classmethod
    def at(
        cls,
        arrivals: Float64,
        *,
        seconds: float,
        pool: Int64,
        sizes: Mapping[int, float],
        seed: int,
        texts: Int64 | None = None,
    ) -> Self:
        """Draw the texts of requests that come at known times; their number too, if not given."""
        source = np.random.default_rng(seed)
        if texts is None:
            shares = np.array(list(sizes.values()), np.float64)
            texts = source.choice(list(sizes), size=len(arrivals), p=shares / shares.sum())
        return cls(arrivals, texts, source.choice(pool, size=int(texts.sum())), seconds)

    @property
    def rate(self) -> float:
        """Texts a second, in the mean."""
        return float(self.texts.sum()) / self.seconds

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return int(self.lengths.max(initial=1))


def read_sample(path: Path) -> list[str]:
    """Return the texts of a file: one a line in UTF-8, or PhraseBank's `sentence@label`.

    Raises:
        DataError: the file cannot be read, or has none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if lines and all(line.endswith(PHRASEBANK_LABELS) for line in lines):
        return [sentence for _, sentence, _ in read_sentences(path)]
    try:
        texts = [line.decode() for line in lines]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: neither UTF-8 nor PhraseBank's form: {error.reason}") from error
    if not texts:
        raise DataError(f"{path}: no text in it; one a line is expected")
    return texts


def read_trace(path: Path) -> tuple[Float64, Int64 | None]:
    """Return the arrivals `[requests]` of a file, from zero, and their texts, if it says.

    A line is the second at which a request came, and after a comma how many texts it had.

    Raises:
        DataError: the file cannot be read, or a line is something else; names it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    arrivals: list[float] = []
    texts: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            second, *size = line.split(",")
            arrivals.append(float(second))
            texts += map(int, size)
        except ValueError:
            raise DataError(f"{path}:{number}: expected seconds, or seconds,texts") from None
        _check_arrival(arrivals, texts, where=f"{path}:{number}")
    if len(arrivals) < 2:
        raise DataError(f"{path}: fewer than two requests")
    times = np.array(arrivals, np.float64)
    return times - times[0], np.array(texts, np.int64) if texts else None


def _check_arrival(arrivals: Sequence[float], texts: Sequence[int], *, where: str) -> None:
    """See that the last of them makes sense after those before it.

    Raises:
        DataError: it does not.
    """
    if not np.isfinite(arrivals[-1]) or (len(arrivals) > 1 and arrivals[-1] < arrivals[-2]):
        raise DataError(f"{where}: seconds must be finite and not fall")
    if len(texts) not in (0, len(arrivals)) or (texts and texts[-1] < 1):
        raise DataError(f"{where}: every line has a number of texts, 1 or more, or none has")
