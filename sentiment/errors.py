"""Everything that can go wrong, in one tree.

SentimentError
├── RequestError                what a client is told; each has a status and a code
│   ├── InvalidJson         400 invalid-json      the body is not JSON (NaN is not JSON)
│   ├── InvalidEncoding     400 invalid-encoding  the body is not UTF-8
│   ├── BodyIncomplete      400 body-incomplete   the client hung up before the body's end
│   ├── BadHeader           400 bad-header        a header of ours has an impossible value
│   ├── MalformedHttp       400 malformed-http    not HTTP, or HTTP of two readings
│   ├── Unauthorized        401 unauthorized      an API key is needed and was not given
│   ├── NotFound            404 not-found         no such route, or no such model
│   ├── MethodNotAllowed    405 method-not-allowed
│   ├── RequestTimeout      408 request-timeout   the request came too slowly
│   ├── PayloadTooLarge     413
│   │   ├── BodyTooLarge        body-too-large
│   │   ├── TooManyTexts        too-many-texts
│   │   └── TextTooLong         text-too-long
│   │       └── TooManyTokens   413 text-too-long for the model, and not to be truncated
│   ├── UnsupportedMedia    415 media-type        the body is not declared as what the route takes
│   ├── UnsupportedEncoding 415 content-encoding  the body is compressed
│   ├── InvalidInput        422 validation        items are wrong; each is named
│   │   ├── TextEmpty           text-empty        nothing visible to classify
│   │   └── InvalidUnicode      invalid-unicode   a lone surrogate, or binary that is not UTF-8
│   ├── Overloaded          429 overloaded        too much work lies ahead; retry later
│   ├── HeadersTooLarge     431 headers-too-large too many bytes or fields before the body
│   ├── ClientClosed        499 client-closed     the client hung up; never sent
│   ├── InternalError       500 internal          a defect of ours
│   ├── InferenceFailed     500 inference-failed  the model fails on one of the texts
│   ├── Unavailable         503 unavailable       the batcher does not run
│   │   ├── WorkerDown          worker-down       the engine was lost and is opened again
│   │   ├── OutOfMemory         out-of-memory     a text alone does not fit into memory
│   │   └── Draining            draining          the server is ending; ask another
│   └── DeadlineExceeded    504 deadline-exceeded no answer within the deadline
├── OptionError                  an option asks for what cannot be      exit code 2
├── SettingsError                a setting is unknown or wrong          exit code 3
├── ModelError                   the model cannot be had or loaded      exit code 3
├── ListenError                  an address cannot be listened on       exit code 3
├── ClusterError                 a Ray cluster cannot be reached or used   exit code 3
├── LibraryError                 a library that is needed is missing    exit code 3
├── DataError                    a data file cannot be used             exit code 4
├── StorageError                 the disk is full or cannot be written  exit code 5
├── Interrupted                  a signal ended what can be resumed, a training or bulk scoring:
│                                exit code 128 and the signal's number, 130 or 143
└── ThresholdMissed              a model falls short of what was asked  exit code 1

A message never contains a client's text: messages reach logs and other people's screens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class SentimentError(Exception):
    """Base of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """One wrong item of a request.

    `pointer` is an RFC 6901 JSON Pointer into the body (`""` is the body itself), or
    `None` when the query string is at fault; then `parameter` names what.
    """

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class RequestError(SentimentError):
    """A refusal that a client can read: maps to one RFC 9457 problem document."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    closes_connection: ClassVar[bool] = False
    """The rest of the body is not worth reading: the answer ends the connection."""
    retry_after_s: float | None = None
    """When to come again, where that makes sense."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to this refusal, such as `Retry-After`."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(math.ceil(self.retry_after_s))}  # whole seconds, RFC 9110


class InvalidJson(RequestError):
    status, code, title = 400, "invalid-json", "The body is not valid JSON"


class InvalidEncoding(RequestError):
    status, code, title = 400, "invalid-encoding", "The body is not UTF-8"


class BodyIncomplete(RequestError):
    status, code, title = 400, "body-incomplete", "The connection closed inside the body"
    closes_connection = True


class BadHeader(RequestError):
    status, code, title = 400, "bad-header", "A request header has an impossible value"


class MalformedHttp(RequestError):
    status, code, title = 400, "malformed-http", "The request is not well-formed HTTP"
    closes_connection = True


class Unauthorized(RequestError):
    status, code, title = 401, "unauthorized", "An API key is needed"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class NotFound(RequestError):
    status, code, title = 404, "not-found", "Not found"


class MethodNotAllowed(RequestError):
    status, code, title = 405, "method-not-allowed", "The route does not know this method"

    def __init__(self, detail: str, *, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self.allow}


class RequestTimeout(RequestError):
    status, code, title = 408, "request-timeout", "The request came too slowly"
    closes_connection = True


class PayloadTooLarge(RequestError):
    status = 413


class BodyTooLarge(PayloadTooLarge):
    code, title = "body-too-large", "The body is too large"
    closes_connection = True


class TooManyTexts(PayloadTooLarge):
    code, title = "too-many-texts", "The request holds too many texts"


class TextTooLong(PayloadTooLarge):
    code, title = "text-too-long", "A text is too long"

    def __init__(self, detail: str, errors: Sequence[ItemError]) -> None:
        super().__init__(detail)
        self.errors = errors


class TooManyTokens(TextTooLong):
    """Texts have more tokens than the model reads, and their caller wants none truncated."""

    def __init__(self, tokens: Mapping[int, int], *, max_tokens: int, pointer: str = "/{}") -> None:
        """Name the texts.

        Args:
            tokens: index of a text -> how many it has, special tokens included.
            max_tokens: how many the model reads.
            pointer: JSON Pointer to a text, with `{}` for its index.
        """
        super().__init__(
            f"the model reads {max_tokens} tokens of a text, and {len(tokens)} of these have more",
            [
                ItemError(
                    self.code,
                    f"{count} tokens, of which {max_tokens} fit",
                    pointer=pointer.format(index),
                )
                for index, count in tokens.items()
            ],
        )
        self.tokens = tokens
        self.max_tokens = max_tokens


class UnsupportedMedia(RequestError):
    status, code, title = 415, "media-type", "The body is not declared as what the route takes"

    def __init__(self, detail: str, *, accepted: Sequence[str]) -> None:
        super().__init__(detail)
        self.accepted = accepted
        """The media types that the route takes."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Post": ", ".join(self.accepted)}


class UnsupportedEncoding(RequestError):
    status, code, title = 415, "content-encoding", "The body must not be compressed"

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "identity"}


class InvalidInput(RequestError):
    status, code, title = 422, "validation", "Request failed validation"

    def __init__(self, detail: str, errors: Sequence[ItemError]) -> None:
        super().__init__(detail)
        self.errors = errors


class TextEmpty(InvalidInput):
    code, title = "text-empty", "A text has nothing visible to classify"


class InvalidUnicode(InvalidInput):
    code, title = "invalid-unicode", "A text is not valid Unicode"


class Overloaded(RequestError):
    status, code, title = 429, "overloaded", "Too much work lies ahead"

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class HeadersTooLarge(RequestError):
    status, code, title = 431, "headers-too-large", "The request's head is too large"
    closes_connection = True


class ClientClosed(RequestError):
    status, code, title = 499, "client-closed", "The client closed the connection"


class InternalError(RequestError):
    status, code, title = 500, "internal", "Internal error"


class InferenceFailed(RequestError):
    status, code, title = 500, "inference-failed", "The model failed on this request"


class Unavailable(RequestError):
    status, code, title = 503, "unavailable", "The server cannot answer now"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class WorkerDown(Unavailable):
    code, title = "worker-down", "The engine is being replaced"


class OutOfMemory(Unavailable):
    code, title = "out-of-memory", "Not enough memory for this request"


class Draining(Unavailable):
    code, title = "draining", "The server is ending"
    closes_connection = True


class DeadlineExceeded(RequestError):
    status, code, title = 504, "deadline-exceeded", "No answer within the deadline"

    def __init__(self, detail: str, *, texts_that_fit: int | None = None) -> None:
        super().__init__(detail)
        self.texts_that_fit = texts_that_fit
        """How many of the request's texts could be answered in time, where that is known."""


class OptionError(SentimentError):
    """An option of a command has an impossible value, or its result would be in the way."""


class SettingsError(SentimentError):
    """A setting is unknown or has an impossible value; the server does not start."""


class ModelError(SentimentError):
    """The model cannot be had, or what lies there cannot be served."""


class ListenError(SentimentError):
    """An address or port cannot be listened on; the server does not start."""


class ClusterError(SentimentError):
    """A cluster cannot be reached, or has lost what a run needs; the message says how to go on."""


class LibraryError(SentimentError):
    """A library that is needed is not installed; the message says how to get it."""


class DataError(SentimentError):
    """A data file cannot be used; the message names file and line."""


class ThresholdMissed(SentimentError):
    """An evaluated model falls short of `--fail-below` or `--fail-above`."""


class StorageError(SentimentError):
    """What a command keeps cannot be written or read; the message names the file."""


class Interrupted(SentimentError):
    """A signal ended what can be resumed; the message says how to go on."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def first_line(error: BaseException) -> str:
    """Return what a library's error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
