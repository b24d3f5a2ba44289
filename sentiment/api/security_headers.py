"""What every answer tells a browser: guess nothing, run nothing, frame nothing, keep nothing.

There is no CORS header on purpose: no website may read answers with its visitors' network.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer; the docs page alone has a policy of its own."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Swagger UI from this server's files, the narrowest with which it works in Chromium: its icons
are `data:` URLs; scripts, styles and connections stay with this server."""

CACHE_FILES = "public, max-age=3600"
"""The docs' own files change with a release; an hour spares most of the 1.5 MB."""


class SecurityHeaders:
    """Adds `SECURITY_HEADERS` and `Cache-Control` to every answer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if message["status"] == 200 and scope["path"] == "/docs":
                    headers["Content-Security-Policy"] = DOCS_POLICY
                keep = message["status"] in (200, 304) and scope["path"].startswith("/docs/")
                headers["Cache-Control"] = CACHE_FILES if keep else "no-store"
            await send(message)

        await self._app(scope, receive, send_guarded)
