"""How far a run is: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from sentiment.bulk.summary import duration

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 10.0
RATE_WINDOW_S = 30.0
FEWEST_RATE_S = 1.0
"""Of a shorter time no rate is told: it would be chance."""
FILE_CHARACTERS = 30


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass over the input, and how it is spoken of."""

    doing: str
    done: str
    unit: str
    """What its rate counts: texts or rows."""


SCORING = Phase("scoring", "scored", "texts")
WRITING = Phase("writing", "wrote", "rows")


class Progress:
    """Shows one phase after the other. Used by one thread.

    Nobody who looks is no reason to end a run: what the stream does not take is passed over.
    """

    def __init__(
        self, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to standard error or to `stream`, at times of `clock` in seconds."""
        stream = sys.stderr if stream is None else stream
        self._console = _Console(file=stream, highlight=False)
        self._on_terminal = stream.isatty() and not self._console.is_dumb_terminal
        self._clock = clock
        self._pass: _Pass | None = None
        self._bar: Bar | None = None
        self._looked_at = self._line_at = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_phase(finished=kind is None)

    def begin(
        self,
        phase: Phase,
        *,
        total_bytes: int | None = None,
        total_rows: int | None = None,
        rows: int = 0,
        bytes_read: int = 0,
    ) -> None:
        """Begin a phase; the one before is finished.

        Args:
            phase: `SCORING` or `WRITING`.
            total_bytes: of the input; where it is not known, `total_rows` tells the share.
            total_rows: of the input.
            rows: that an earlier process of the same run did: they count for the share, not for
                the rate.
            bytes_read: of these rows.
        """
        self._end_phase(finished=True)
        now = self._clock()
        self._looked_at = self._line_at = now
        self._pass = _Pass(
            phase,
            now,
            total=total_rows if total_bytes is None else total_bytes,
            in_bytes=total_bytes is not None,
            rows=rows,
            bytes_read=bytes_read,
        )
        if self._on_terminal:
            with suppress(OSError):
                self._bar = _bar(self._console)
                self._bar.start()
                self._draw(self._bar, self._pass)

    def update(
        self, *, rows: int, bytes_read: int = 0, texts: int = 0, file: str | None = None
    ) -> None:
        """Tell how far the phase is. Most of the time it costs a look at the clock.

        Args:
            rows: done, from the beginning of the input.
            bytes_read: from the beginning of the input.
            texts: scored by this process.
            file: that is being read.
        """
        assert self._pass is not None, "update before begin"
        self._pass.reached(rows=rows, bytes_read=bytes_read, texts=texts, file=file)
        now = self._clock()
        if now - self._looked_at < BAR_INTERVAL_S:
            return
        self._looked_at = now
        self._pass.sample(now)
        if self._bar is not None:
            with suppress(OSError):
                self._draw(self._bar, self._pass)
        elif not self._on_terminal and now - self._line_at >= LINE_INTERVAL_S:
            self._line_at = now
            self.say(f"{self._pass.phase.done} {self._pass.figures()}")

    def say(self, line: str) -> None:
        """Write a line; a bar stays below it."""
        with suppress(OSError):
            # Not wrapped at a width: of a file rich does not know it.
            self._console.print(line, markup=False, soft_wrap=True)

    def _draw(self, bar: Bar, course: "_Pass") -> None:
        bar.update(
            bar.task_ids[0],
            total=course.total,
            completed=course.passed,
            description=f"{course.phase.doing} {_shown(course.file)}".rstrip(),
            figures=course.figures(),
        )
        bar.refresh()

    def _end_phase(self, *, finished: bool) -> None:
        ended, self._pass = self._pass, None
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError):
                bar.stop()
        if ended is not None and finished:
            seconds = self._clock() - ended.began_at
            if seconds >= LINE_INTERVAL_S:
                self.say(f"{ended.phase.done} {ended.new_rows:,} rows in {duration(seconds)}")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say no more, and let the run go on, which `rich` would end."""
        self.quiet = True


class _Sample(NamedTuple):
    at: float
    counted: int
    """Texts or rows, as the phase's rate counts."""
    passed: int
    """Bytes or rows, as the total is known in."""


class _Pass:
    """How far a phase is, and how fast it was in the last half minute."""

    def __init__(
        self,
        phase: Phase,
        began_at: float,
        *,
        total: int | None,
        in_bytes: bool,
        rows: int,
        bytes_read: int,
    ) -> None:
        self.phase = phase
        self.began_at = began_at
        self.total = total
        self.file = ""
        self._in_bytes = in_bytes
        self._first_row = self._rows = rows
        self._bytes_read = bytes_read
        self._texts = 0
        self._samples: deque[_Sample] = deque()
        self.sample(began_at)

    @property
    def passed(self) -> int:
        """Bytes or rows, as the total is known in."""
        return self._bytes_read if self._in_bytes else self._rows

    @property
    def new_rows(self) -> int:
        """Rows done by this process."""
        return self._rows - self._first_row

    def reached(self, *, rows: int, bytes_read: int, texts: int, file: str | None) -> None:
        self._rows, self._bytes_read, self._texts = rows, bytes_read, texts
        self.file = self.file if file is None else file

    def sample(self, now: float) -> None:
        """Remember where the phase is, and forget where it was long ago."""
        counted = self._texts if self.phase.unit == "texts" else self.new_rows
        self._samples.append(_Sample(now, counted, self.passed))
        while len(self._samples) > 2 and self._samples[1].at <= now - RATE_WINDOW_S:
            self._samples.popleft()

    def figures(self) -> str:
        """Return such as `120,000 rows, 38 %, 1,050 texts/s, 3 min left`."""
        said = [f"{self._rows:,} rows"]
        if self.total:
            # Rounded down: 100 % are not said before they are reached.
            said.append(f"{min(100, 100 * self.passed // self.total)} %")
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        if seconds >= FEWEST_RATE_S:
            said.append(f"{(last.counted - first.counted) / seconds:,.0f} {self.phase.unit}/s")
            if self.total and last.passed > first.passed:
                left = max(0, self.total - last.passed)
                said.append(f"{roughly(left * seconds / (last.passed - first.passed))} left")
        return ", ".join(said)


def _bar(console: Console) -> Bar:
    bar = Bar(
        # A file's name may hold what rich reads as markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        transient=True,
        # Drawn by `update`: a thread of its own would take time from the engine's.
        auto_refresh=False,
    )
    bar.add_task("", total=None, figures="")
    return bar


def roughly(seconds: float) -> str:
    """Return a time that is but guessed: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else duration(60 * minutes)


def _shown(file: str) -> str:
    """Return the end of a file's name, without what would move the cursor."""
    name = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in file)
    return name if len(name) <= FILE_CHARACTERS else f"...{name[3 - FILE_CHARACTERS :]}"
