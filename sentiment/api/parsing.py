"""uvicorn's HTTP protocol, strict: limits on what is parsed, and one reading of a request.

uvicorn takes heads of any size and whatever its parser forgives. Here heads pass
`request_guard`, memory is bounded before a head or a chunk ends, and a request to upgrade is
a request. What to do with a refusal, and when to stop waiting, is left to `protocol`.
"""

import logging
from asyncio import AbstractEventLoop, Transport
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sentiment.api.connection import HoldableFlow
from sentiment.api.request_guard import MAX_HEAD_BYTES, MAX_HEADERS, check_head, too_large
from sentiment.errors import MalformedHttp, RequestError

log = logging.getLogger(__name__)

SLICE_BYTES = 16 * 1024
"""Bytes parsed at a time: what is known of a head or a chunk is known this exactly."""

MAX_PIPELINED = 64
"""Requests of one connection that wait for the one before; more stay unparsed."""

CHUNK_BYTES = 24
"""What the size line and the ends of a chunk may take: 16 digits, two line ends, and some."""

UPGRADES = (b"upgrade", b"http2-settings")


class StrictProtocol(HttpToolsProtocol):
    """Feeds the parser of one connection; what follows from it is its subclass's to say."""

    transport: Transport
    flow: HoldableFlow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._heads = 0  # ended so far: which request a deadline belongs to
        self._head_begun = False
        self._head_fed = 0  # bytes of this head, as far as whole slices tell
        self._in_body = False
        self._body_fed = 0  # bytes on the wire, and what they carried
        self._body_carried = 0
        self._body_pieces = 0
        self._ignoring_upgrade = False
        self._unparsed = b""
        self._deaf = False

    def _refuse(self, error: RequestError) -> None:
        """End the connection with `error`; parse nothing more."""
        raise NotImplementedError

    def _parsed(self) -> None:
        """Learn that more has been parsed."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._unparsed:
            self._unparsed += data
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if len(self.pipeline) >= MAX_PIPELINED:
                self._unparsed = data[start:]
                self.flow.hold()
                break
            self._feed(data[start : start + SLICE_BYTES])
            if self._deaf:
                break
        self._parsed()

    def _parse_unparsed(self) -> None:
        """Go on with what was left when too many requests waited."""
        if self._unparsed and len(self.pipeline) < MAX_PIPELINED:
            data, self._unparsed = self._unparsed, b""
            self.flow.let_go()
            self.flow.resume_reading()
            self._parse(data)

    def _feed(self, piece: bytes) -> None:
        was = (self._heads, self._in_body)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(piece[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, RequestError):
                log.error("a request broke its parser", exc_info=cause)
            self._refuse(
                cause
                if isinstance(cause, RequestError)
                else MalformedHttp("the bytes that came are not HTTP/1.1")
            )
            return
        if was != (self._heads, self._in_body):
            return
        # The whole slice belongs to one head or to one body.
        if not self._in_body:
            self._head_fed += len(piece)
            if self._head_fed > MAX_HEAD_BYTES:
                self._refuse(too_large())
            return
        self._body_fed += len(piece)
        allowed = self._body_carried + CHUNK_BYTES * self._body_pieces + MAX_HEAD_BYTES
        if self._body_fed > allowed:
            self._refuse(MalformedHttp("the body's chunks are mostly wrapping"))

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the head again as if no upgrade was asked for: RFC 9110 lets servers ignore it.

        The parser skips the body of such a request and would read it as the next request.
        """
        self._ignoring_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = [
            b"%b: %b\r\n" % (name, value) for name, value in self.headers if name not in UPGRADES
        ]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))
        self._feed(head)
        if rest and not self._deaf:
            self._feed(rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            raise MalformedHttp("fields after the body")
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise too_large()

    def on_headers_complete(self) -> None:
        self.url = check_head(
            method=self.parser.get_method(),
            version=self.parser.get_http_version(),
            target=self.url,
            headers=self.headers,
        )
        if self.parser.should_upgrade():
            self._ignoring_upgrade = True
            return
        self._heads += 1
        self._head_begun = False
        self._head_fed = 0
        self._in_body = True
        self._body_fed = self._body_carried = self._body_pieces = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_carried += len(body)
        self._body_pieces += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignoring_upgrade:
            return
        self._in_body = False
        super().on_message_complete()
