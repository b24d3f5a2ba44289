"""The page for people: `GET /` in a browser, with its files from `/playground/`.

Plain HTML, CSS and ES modules from this package: no build step, no CDN. The page asks the
same routes as everybody else and knows nothing that they do not say.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.descriptions import Face
from sentiment.errors import NotFound

TAG = "playground"

FOLDER = Path(__file__).parent.parent / "static" / "playground"

PAGE = "index.html"

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Not asked of the machine: one that takes a module for something else would stop the page."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    content: bytes
    media_type: str

    etag: str
    """Of its content, so that every replica and every start says the same."""


@cache
def page_files() -> dict[str, PageFile]:
    """Return every file of the page by name; they are read once, and small."""
    return {path.name: _page_file(path) for path in FOLDER.iterdir()}


def _page_file(path: Path) -> PageFile:
    content = path.read_bytes()
    return PageFile(content, MEDIA_TYPES[path.suffix], f'"{sha256(content).hexdigest()[:32]}"')


def prefers_page(accept: str) -> bool:
    """Return whether a client rather wants HTML than plain text, as browsers say they do.

    Args:
        accept: its `Accept` header; empty is `*/*`.
    """
    return _quality(accept, "text/html") > _quality(accept, "text/plain")


def _quality(accept: str, media_type: str) -> float:
    """Return how much a client wants `media_type`, 0 to 1; the narrowest range decides."""
    ranges = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        weights = [
            value for name, _, value in (p.partition("=") for p in parameters) if name == "q"
        ]
        ranges[media_range] = _weight(weights[0]) if weights else 1.0
    major = media_type.partition("/")[0]
    for media_range in (media_type, f"{major}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0


def _weight(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0  # a header that nobody understands asks for nothing


def page() -> Response:
    """Return the page itself."""
    file = page_files()[PAGE]
    return Response(file.content, media_type=file.media_type)


async def playground_file(request: Request) -> Response:
    """One of the page's files, or 304 for a client that has it."""
    name = request.path_params["file"]
    file = page_files().get(name)
    if file is None or name == PAGE:
        raise NotFound("no such file")
    headers = {"ETag": file.etag}
    known = {tag.strip().removeprefix("W/") for tag in _if_none_match(request)}
    if known & {file.etag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _if_none_match(request: Request) -> list[str]:
    return request.headers.get("if-none-match", "").split(",")


FACE = Face(
    tag=TAG,
    description="The page for people",
    routes=(Route("/playground/{file}", playground_file),),
    paths={},
)
