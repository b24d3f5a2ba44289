"""Request bodies: how much of them is read, and what they must be declared as."""

from email.message import Message

from starlette.requests import ClientDisconnect, Request

from sentiment.errors import (
    BodyIncomplete,
    BodyTooLarge,
    Overloaded,
    UnsupportedEncoding,
    UnsupportedMedia,
)

MAX_BODIES = 64
"""Bodies of the largest size that may be held at once. A body counts while it comes in, so that
many clients who send slowly cannot fill the memory."""

JSON = "application/json"
BINARY = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
"""`curl -d` says so unless told otherwise, and means JSON here."""

LINES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"}
)
"""The names under which JSON, a document on each line, goes about. None is registered."""


class Bodies:
    """Reads JSON bodies within a limit for each and one for all of them."""

    def __init__(self, *, max_body_bytes: int) -> None:
        """Refuse bodies of more than `max_body_bytes`."""
        self._max_body_bytes = max_body_bytes
        self._free_bytes = MAX_BODIES * max_body_bytes

    async def read_json(self, request: Request, *, then_binary: bool = False) -> bytes:
        """Return the body, refusing one that is too large before reading it.

        Args:
            request: whose body was not read yet.
            then_binary: whether binary data may follow the JSON.

        Raises:
            UnsupportedMedia, UnsupportedEncoding: as `require_json`.
            BodyTooLarge: by its declared length, or as soon as more than the limit has come.
            BodyIncomplete: the client hung up.
            Overloaded: too much of other bodies is held.
        """
        require_json(request, then_binary=then_binary)
        if int(request.headers.get("content-length", "0")) > self._max_body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async for chunk in request.stream():
                if len(body) + len(chunk) > self._max_body_bytes:
                    raise self._too_large()
                if len(chunk) > self._free_bytes:
                    raise Overloaded("too many large bodies are coming in", retry_after_s=1.0)
                self._free_bytes -= len(chunk)
                body += chunk
            return bytes(body)
        except ClientDisconnect as error:
            raise BodyIncomplete("the client closed the connection") from error
        finally:
            self._free_bytes += len(body)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"more than {self._max_body_bytes} bytes")


def require_json(request: Request, *, then_binary: bool = False) -> None:
    """Return if the body is declared as JSON in UTF-8, uncompressed.

    With `then_binary` it may be declared as bytes too, or not at all.

    Raises:
        UnsupportedEncoding, UnsupportedMedia: it is not.
    """
    declared = _declared_type(request)
    if declared == JSON or (then_binary and declared == BINARY):
        return
    # Triton's clients declare nothing.
    undeclared = declared == FORM or (then_binary and "content-type" not in request.headers)
    if undeclared and not _from_a_website(request):
        return
    accepted = (JSON, BINARY) if then_binary else (JSON,)
    raise UnsupportedMedia(
        f"expected Content-Type: {' or '.join(accepted)}, in UTF-8", accepted=accepted
    )


def require_lines(request: Request) -> None:
    """Return if the body is declared as lines of JSON in UTF-8, or as nothing in particular.

    `curl -T` declares nothing.

    Raises:
        UnsupportedEncoding, UnsupportedMedia: it is declared as something else.
    """
    declared = _declared_type(request)
    if declared in LINES:
        return
    undeclared = declared in ("text/plain", FORM) or "content-type" not in request.headers
    if undeclared and not _from_a_website(request):
        return
    raise UnsupportedMedia(
        "expected Content-Type: application/x-ndjson, in UTF-8", accepted=("application/x-ndjson",)
    )


def _declared_type(request: Request) -> str | None:
    """Return the media type of a body in UTF-8; `None` if there is not one, or in another charset.

    Raises:
        UnsupportedEncoding: the body is compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("send the body as it is, without Content-Encoding")
    # Two of them leave open which one a proxy believed.
    given = request.headers.getlist("content-type")
    if len(given) != 1:
        return None
    declared = Message()  # the standard library's reader of such headers
    declared["content-type"] = given[0]
    in_utf_8 = declared.get_content_charset("utf-8") in ("utf-8", "utf8")
    return declared.get_content_type() if in_utf_8 else None


def _from_a_website(request: Request) -> bool:
    """Whether a browser sends the request for a page, which may be anybody's.

    It sends forms, plain text and what has no type to whatever server a page names, without
    asking that server first, but adds where from.
    """
    return "origin" in request.headers or "sec-fetch-site" in request.headers
