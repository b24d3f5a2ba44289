"""Logs: one JSON object a line, on standard error, without a client's text.

Exceptions are written as type and stack. Their messages are left out unless they are our
own, because a library's message may quote what it was given.
"""

import logging
import traceback
from types import TracebackType

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

from sentiment.errors import SentimentError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure_logging(level: str) -> None:
    """Send this package's and uvicorn's lines of at least `level` to standard error."""
    handler = logging.StreamHandler()
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
