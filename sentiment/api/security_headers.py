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
"""On every answer; only the pages have policies of their own."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Swagger UI from this server's files, the narrowest with which it works in Chromium: its icons
are `data:` URLs; scripts, styles and connections stay with this server."""

PLAYGROUND_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The playground from this server's files. It makes no HTML and no script from strings, and a
browser that knows Trusted Types lets it do neither."""

PAGE_HEADERS = {
    "/": {"Content-Security-Policy": PLAYGROUND_POLICY},
    "/docs": {"Content-Security-Policy": DOCS_POLICY},
}
"""Path -> what a page there says instead."""

CACHE_CONTROL = {"/docs/": "public, max-age=3600", "/playground/": "no-cache"}
"""Folder -> how its files may be kept. Those of the docs change with a release; an hour spares
most of the 1.5 MB. Those of the playground are modules that must be of one release: a browser
keeps them and asks each time, which a 304 answers."""


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
                if headers.get("content-type", "").startswith("text/html"):
                    headers.update(PAGE_HEADERS.get(scope["path"], {}))
                headers["Cache-Control"] = _cache_control(message["status"], scope["path"])
            await send(message)

        await self._app(scope, receive, send_guarded)


def _cache_control(status: int, path: str) -> str:
    if status in (200, 304):
        for folder, value in CACHE_CONTROL.items():
            if path.startswith(folder):
                return value
    return "no-store"
