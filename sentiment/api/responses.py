"""Answers: JSON bytes that are already made, and problems."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sentiment.api.problems import render_problem
from sentiment.errors import RequestError

LINGER_S = 2.0
"""How long an answer that ends a connection goes on reading what the client still sends.

Closing a socket with unread bytes resets it, and the client may lose the answer that it has
not read yet."""


class JSONBytes(Response):
    """A body that is JSON already."""

    media_type = "application/json"


class ProblemResponse(Response):
    """An RFC 9457 problem document for one refused request."""

    media_type = "application/problem+json"

    def __init__(self, error: RequestError, request_id: str, *, path: str = "") -> None:
        """Refuse with `error`; `path` is the request's, where one is known."""
        closing = {"Connection": "close"} if error.closes_connection else {}
        super().__init__(
            render_problem(error, request_id, path=path),
            status_code=error.status,
            headers={**error.headers, **closing, "Cache-Control": "no-store"},
        )
        self._lingers = error.closes_connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._lingers:
            await super().__call__(scope, receive, send)
            return
        # Closing a socket with unread bytes resets it, and the client may lose this answer
        # while it still sends. So answer first, then swallow the rest for a while.
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
