"""Logs: one JSON object a line, on standard error, without a client's text.

Exceptions are written as type and stack. Their messages are left out unless they are our
own, because a library's message may quote what it was given.

A line is written only as far as that does not block: a collector that stopped reading must not
stop the server with it.
"""

import logging
import os
import select
import sys
import traceback
from types import TracebackType
from typing import TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

from sentiment.errors import SentimentError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

PAGE_BYTES = select.PIPE_BUF
"""A pipe that polls as writable takes so many bytes without blocking (POSIX)."""

MAX_UNWRITTEN_BYTES = 2**20
"""What is kept for a reader that lags behind; more is dropped, and the loss is logged."""


def configure_logging(level: str) -> None:
    """Send this package's and uvicorn's lines of at least `level` to standard error."""
    handler = NonBlockingHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("sentiment", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level.upper())
    # Whatever else warns, such as the Hub's client, comes as JSON too.
    logging.getLogger().handlers = [handler]
    # `sentiment.api.middleware` writes the access log, with route, texts and request id.
    logging.getLogger("uvicorn.access").disabled = True


class NonBlockingHandler(logging.Handler):
    """Writes lines to a stream's file as it takes them, and counts what it had to drop."""

    def __init__(self, stream: TextIO) -> None:
        """Write to the file behind `stream`, or to `stream` itself if there is none."""
        super().__init__()
        self._stream = stream
        self._unwritten = bytearray()
        self._dropped = 0
        try:
            self._file: int | None = stream.fileno()
        except (OSError, ValueError):  # a notebook's, or a captured one
            self._file = None
        else:
            self._writable = select.poll()
            self._writable.register(self._file, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._file is None:
                self._stream.write(line + "\n")
                return
            self._write()
            if len(self._unwritten) > MAX_UNWRITTEN_BYTES:
                self._dropped += 1
                return
            if self._dropped:
                lost = logging.makeLogRecord(
                    {"msg": "log lines were lost", "levelname": "WARNING", "name": __name__}
                    | {"lines": self._dropped}
                )
                self._dropped = 0
                self._unwritten += self.format(lost).encode() + b"\n"
            self._unwritten += line.encode() + b"\n"
            self._write()
        except Exception:
            self.handleError(record)

    def _write(self) -> None:
        """Write whole pages for as long as the file takes one without blocking."""
        assert self._file is not None
        while self._unwritten and self._writable.poll(0):
            try:
                written = os.write(self._file, self._unwritten[:PAGE_BYTES])
            except OSError:  # nobody will ever read it
                written = len(self._unwritten)
            del self._unwritten[:written]


class JsonFormatter(OrjsonFormatter):
    """Time, level, logger and message, then whatever `extra` holds."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            timestamp="time",
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's, for terminals
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        )

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
