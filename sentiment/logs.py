"""Logs: one JSON object a line, on standard error, without a client's text.

Exceptions are written as type and stack. Their messages are left out unless they are our
own, because a library's message may quote what it was given.

A line costs a few microseconds, because an overloaded server writes one for each request that it
refuses, and never waits: whoever reads them may be stuck, and the event loop must not be.
"""

import contextlib
import fcntl
import io
import logging
import os
import select
import stat
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import orjson

from sentiment.errors import SentimentError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

STANDARD_FIELDS = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
"""What every record has, and what uvicorn adds for terminals; the rest is `extra`."""

PIPE_BYTES = 2**20
"""What a pipe to the reader of the logs holds, where the kernel allows it; 64 KiB is usual."""

SLICE_BYTES = 4096
"""A pipe that says it can be written to takes this much without waiting (POSIX: PIPE_BUF)."""


def configure_logging(level: str, *, worker: int | None = None) -> None:
    """Send this package's and uvicorn's lines of at least `level` to standard error.

    Args:
        worker: number of this process among several that write there; each line tells it.
    """
    handler: logging.Handler = logging.NullHandler()  # where standard error is closed
    if sys.stderr is not None:
        handler = DroppingHandler(sys.stderr, shared=worker is not None)
        handler.setFormatter(JsonFormatter({} if worker is None else {"worker": worker}))
    for name in ("sentiment", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level.upper())
    # Whatever else warns, such as the Hub's client, comes as JSON too.
    logging.getLogger().handlers = [handler]
    logging.getLogger("uvicorn.error").addFilter(_says_why)
    # `sentiment.api.middleware` writes the access log, with route, texts and request id.
    logging.getLogger("uvicorn.access").disabled = True


def _says_why(record: logging.LogRecord) -> bool:
    """Whether a line tells more than that the start has failed.

    The line before it says why, and must be the last: it is the one that Kubernetes shows.
    """
    return record.msg != "Application startup failed. Exiting."


class DroppingHandler(logging.Handler):
    """Writes whole lines to a stream, and drops those for which it would have to wait.

    How many were dropped is the first thing that is written when there is room again.
    """

    def __init__(self, stream: TextIO, *, shared: bool = False) -> None:
        """Write to the file behind `stream`, or to `stream` itself if there is none.

        Args:
            shared: other processes write there as well.
        """
        super().__init__()
        self._stream = stream
        self._dropped = 0
        self._torn = False  # half a line was written, and there was no room for the rest
        self._descriptor: int | None = None
        with contextlib.suppress(io.UnsupportedOperation, AttributeError):
            self._descriptor = stream.fileno()
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLOUT)
            with contextlib.suppress(OSError, AttributeError):  # no pipe, or not Linux
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            if shared:
                self._descriptor = _never_waiting(self._descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        if self._descriptor is None:
            self._stream.write(line)
            return
        if self._dropped and self._writable():
            notice = logging.makeLogRecord(
                {"name": __name__, "levelname": "WARNING", "msg": "log lines were dropped"}
            )
            notice.lines = self._dropped
            self._dropped = 0
            self._write(self._descriptor, self.format(notice) + "\n")
        self._write(self._descriptor, line)

    def _write(self, descriptor: int, line: str) -> None:
        data = ("\n" + line if self._torn else line).encode("utf-8", "replace")
        for start in range(0, len(data), SLICE_BYTES):
            try:
                if not self._writable():
                    raise BlockingIOError
                os.write(descriptor, data[start : start + SLICE_BYTES])
            except OSError:  # no room, a full disk, or nobody reads any more
                self._dropped += 1
                self._torn = self._torn or start > 0
                return
        self._torn = False

    def _writable(self) -> bool:
        return bool(self._poll.poll(0))


def _never_waiting(descriptor: int) -> int:
    """Return another descriptor of the same pipe, to which a write fails if it would wait.

    Between a look whether there is room and the write, another process may take that room. The
    descriptor at hand cannot be told not to wait: whoever gave it to us would not wait either.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with contextlib.suppress(OSError):  # not Linux, or another user's
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return descriptor


class LineLimit:
    """Lets a few lines through each second and counts the others."""

    def __init__(self, lines_per_s: int) -> None:
        self._lines_per_s = lines_per_s
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def next(self, now: float) -> int | None:
        """Return how many were left out before this one, or `None` if it is left out too."""
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines > self._lines_per_s:
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, then whatever `extra` holds."""

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        """Have every line bear `fields`."""
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        for name, value in vars(record).items():
            if name not in STANDARD_FIELDS:
                fields[name] = value
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        fields["time"] = datetime.fromtimestamp(record.created, UTC)
        return orjson.dumps(fields, default=str).decode()

    def formatException(self, ei: ExcInfo) -> str:
        """Return stack and type of an exception and of its causes, outermost last."""
        error = ei[1]
        parts: list[str] = []
        while error is not None and len(parts) < 8:  # a chain may be a circle
            stack = "".join(traceback.format_tb(error.__traceback__))
            said = f": {error}" if isinstance(error, SentimentError) else ""
            parts.append(f"{stack}{type(error).__name__}{said}")
            error = error.__cause__ or error.__context__
        return "\n".join(reversed(parts))
