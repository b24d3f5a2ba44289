"""API keys: `Authorization: Bearer <key>`, where the settings name any.

Pure ASGI, before the routes and before the body: a stranger costs no parsing. Whether a key
is needed depends on method and `scope["path"]` alone, which is also what routes a request, so
no `Host` or spelling of the target can make the two disagree.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from sentiment.api.responses import ProblemResponse
from sentiment.errors import Unauthorized

OPEN_PATHS = frozenset(
    {
        "/",
        "/docs",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
    }
)
"""Readable without a key: help, documents, probes. `POST /` is no reading."""

OPEN_FOLDERS = ("/docs/", "/playground/")

BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *")


class ApiKeys:
    """Refuses with 401 whatever needs a key and comes without one."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str]) -> None:
        """Guard `app`. With no `keys` nothing is refused."""
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or not self._digests
            or is_open(scope["method"], scope["path"])
            or self._allows(scope)
        ):
            await self._app(scope, receive, send)
            return
        refusal = Unauthorized("send a valid key as Authorization: Bearer <key>")
        scope["state"]["log_fields"]["code"] = refusal.code
        answer = ProblemResponse(refusal, scope["state"]["request_id"], path=scope["path"])
        await answer(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        # Two headers are refused: a proxy in front may have looked at the other one.
        match = BEARER.fullmatch(given[0]) if len(given) == 1 else None
        digest = _digest(match[1] if match else b"")
        # Every key is compared, and all of it: the time taken says nothing about the keys.
        allowed = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(allowed)


def is_open(method: str, path: str) -> bool:
    """Return whether a request needs no key."""
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_FOLDERS))


def _digest(key: bytes) -> bytes:
    """Return bytes of one length for a key of any: comparing them does not tell its length."""
    return hashlib.sha256(key).digest()
