"""What one replica's work costs, and the file that carries it from one machine to another."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from sentiment.batching.cost import Coefficients
from sentiment.errors import DataError, StorageError

VERSION = 1
"""Of the file's form."""

PADDED, PACKED = "padded", "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCost:
    """Seconds that a replica's work takes, on the machine where they were measured."""

    model: str
    """Reference of the model, as `X-Model` has it."""
    engine: str
    precision: str
    layout: str
    """`packed` or `padded`: how the engine wants its batches."""
    machine: str
    """The processor's name."""
    measured_on: str
    """The day, such as 2026-11-21; empty if nobody said."""
    load_average: float
    """Of the machine when the measurement began: more than little made everything look dear."""
    cores: int
    """That the replica may use."""
    threads: int
    """Of one forward pass."""
    batch_s: float
    """Of every forward pass, however small."""
    token_s: float
    """Of every token of it."""
    pair_s: float
    """Of every token and column of its row."""
    spread: tuple[float, ...] = (1.0,)
    """What passes took over what the three say, ascending: as likely one as the other."""
    request_s: float
    """Processor seconds of a request beside its texts and its passes: HTTP, JSON, queueing."""
    text_s: float
    """Processor seconds of a text beside the engine: reading, tokenising, answering."""
    token_budget: int
    """Which is best for the engine, as the server measures it when it starts."""
    token_budgets: tuple[int, ...]
    """That may be best for it."""
    memory_bytes: int
    """That the replica occupied after its largest passes."""

    @property
    def coefficients(self) -> Coefficients:
        """What the scheduler's own cost model would know after many passes."""
        return Coefficients(self.batch_s, self.token_s, self.pair_s)

    @property
    def shares_cores(self) -> bool:
        """Whether a pass needs every core, so that it stands still while the loop works."""
        return self.threads >= self.cores

    def pass_s(self, *, tokens: int, width: int) -> float:
        """Return the seconds of a pass over `tokens` computed tokens in rows of `width`."""
        return self.batch_s + tokens * (self.token_s + width * self.pair_s)

    def write(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            path.write_text(json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n")
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            DataError: the file cannot be read, or is something else.
        """
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if not isinstance(given, dict) or given.pop("version", None) != VERSION:
            raise DataError(f"{path}: not a cost file of version {VERSION}; see --save-cost")
        if wrong := _wrong(given):
            raise DataError(f"{path}: {wrong}")
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**{**given, **lists})


def _wrong(given: dict[str, Any]) -> str:
    """Return what is wrong with a cost file's content; nothing if nothing is."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(ReplicaCost)}
    if strange := sorted(given.keys() ^ kinds.keys()):
        return f"{strange[0]} is {'unknown' if strange[0] in given else 'missing'}"
    checks: dict[Any, Callable[[object], bool]] = {
        str: _text,
        int: _count,
        float: _seconds,
        tuple[int, ...]: lambda value: _all(value, _count),
        tuple[float, ...]: lambda value: _all(value, lambda each: _seconds(each) and each > 0),
    }
    for name, kind in kinds.items():
        if not checks[kind](given[name]):
            return f"{name} is {given[name]!r}, which it cannot be"
    if given["layout"] not in (PADDED, PACKED):
        return f"layout is {given['layout']!r}, neither {PADDED} nor {PACKED}"
    if not given["batch_s"] + given["token_s"] + given["pair_s"]:
        return "a pass that takes no time cannot be planned for"
    return ""


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _all(value: object, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(check, value))
