"""A package index on this machine: some wheels of a folder, and for all else a way on to PyPI.

It stands in for an index that serves one build of a library, such as PyTorch's own.
"""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from packaging.utils import canonicalize_name

ELSEWHERE = "https://pypi.org/simple"


@contextmanager
def serving(wheels: Path):
    """Serve the wheels that lie in a folder; yield the index's URL and what was asked of it."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, asked, directory=str(wheels)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    """`/NAME/` is a project's page, `/FILE.whl` a wheel."""

    def __init__(self, asked: list[str], *arguments, **named) -> None:
        self._asked = asked
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        if self.path.endswith(".whl"):
            super().do_GET()
            return
        name = self.path.strip("/")
        ours = [
            path.name
            for path in sorted(Path(self.directory).glob("*.whl"))
            if canonicalize_name(path.name.partition("-")[0]) == name
        ]
        page = "".join(f'<a href="/{quote(wheel)}">{wheel}</a>\n' for wheel in ours).encode()
        if ours:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
        else:
            self.send_response(302)
            self.send_header("Location", f"{ELSEWHERE}/{name}/")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *arguments: object) -> None:
        pass
