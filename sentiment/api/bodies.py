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


class Bodies:
    """Reads JSON bodies within a limit for each and one for all of them."""

    def __init__(self, *, max_body_bytes: int) -> None:
        """Refuse bodies of more than `max_body_bytes`."""
        self._max_body_bytes = max_body_bytes
        self._free_bytes = MAX_BODIES * max_body_bytes

    async def read_json(self, request: Request) -> bytes:
        """Return the body, refusing one that is too large before reading it.

        Raises:
            UnsupportedMedia, UnsupportedEncoding: declared as something other than plain JSON.
            BodyTooLarge: by its declared length, or as soon as more than the limit has come.
            BodyIncomplete: the client hung up.
            Overloaded: too much of other bodies is held.
        """
        require_json(request)
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


def require_json(request: Request) -> None:
    """Return if the body is declared as JSON in UTF-8, uncompressed.

    Raises:
        UnsupportedEncoding, UnsupportedMedia: it is not.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("send the body as it is, without Content-Encoding")
    declared = Message()  # the standard library's reader of such headers
    # Two of them leave open which one a proxy believed.
    given = request.headers.getlist("content-type")
    declared["content-type"] = given[0] if len(given) == 1 else ""
    if declared.get_content_type() == "application/json":
        if declared.get_content_charset("utf-8") in ("utf-8", "utf8"):
            return
    # `curl -d` says "form" unless told otherwise, and means JSON here. A browser says it too,
    # for a form on any website, but adds where from: that is refused.
    elif declared.get_content_type() == "application/x-www-form-urlencoded" and not (
        "origin" in request.headers or "sec-fetch-site" in request.headers
    ):
        return
    raise UnsupportedMedia("expected Content-Type: application/json, in UTF-8")
