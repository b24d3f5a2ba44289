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
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("send the body as it is, without Content-Encoding")
    declared = Message()  # the standard library's reader of such headers
    # Two of them leave open which one a proxy believed.
    given = request.headers.getlist("content-type")
    declared["content-type"] = given[0] if len(given) == 1 else ""
    media_type = declared.get_content_type() if given else None
    if media_type == JSON:
        taken = declared.get_content_charset("utf-8") in ("utf-8", "utf8")
    elif media_type == FORM or (media_type is None and then_binary):
        # `curl -d` says "form" unless told otherwise, and means JSON here; Triton's clients say
        # nothing. A browser can be made to do either by any website, but adds where from.
        taken = not ("origin" in request.headers or "sec-fetch-site" in request.headers)
    else:
        taken = then_binary and media_type == BINARY
    if taken:
        return
    accepted = (JSON, BINARY) if then_binary else (JSON,)
    raise UnsupportedMedia(
        f"expected Content-Type: {' or '.join(accepted)}, in UTF-8", accepted=accepted
    )
