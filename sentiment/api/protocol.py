"""uvicorn's HTTP protocol with an end to every wait and a good answer to every refusal.

uvicorn waits for ever for the rest of a head or a body, and answers what its parser refuses in
plain text. Here each of them has a deadline, and every refusal is a problem document that is
counted and logged like any other, without a byte of the client's.

A refusal before the end of a head is answered by the protocol. One inside a body is raised
in the handler that reads that body, so that the application answers, in its own order.

A route may let its body last (`clients.let_body_last`): then there is no deadline, its client may
read slowly, and the handler is told of a hang-up even while it reads nothing.
"""

import logging
from asyncio import AbstractEventLoop, BaseTransport, TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, cast
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from sentiment.api.clients import LASTING_BODY
from sentiment.api.connection import HoldableFlow, LastingTransport
from sentiment.api.lasting import LastingBody, unread_bytes, without_chunks
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.middleware import OTHER_ROUTE, report_request
from sentiment.api.parsing import StrictProtocol
from sentiment.api.responses import ProblemResponse
from sentiment.api.security_headers import SECURITY_HEADERS
from sentiment.errors import Draining, RequestError, RequestTimeout
from sentiment.metrics import Metrics
from sentiment.settings import Settings

log = logging.getLogger(__name__)

HALF_SENT_S = 1.0
"""What a draining server still gives a request that has begun to come."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What every connection of one server shares."""

    settings: Settings
    metrics: Metrics
    lifecycle: Lifecycle


def protocol_class(edge: Edge) -> type["HardenedProtocol"]:
    """Return the class to give to uvicorn as `http`."""
    return type("BoundProtocol", (HardenedProtocol,), {"edge": edge})


class HardenedProtocol(StrictProtocol):
    """One connection. Made by `protocol_class`, which says for which server."""

    edge: ClassVar[Edge]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._cut_short = False
        self._running: RequestResponseCycle | None = None
        self._failed: RequestResponseCycle | None = None
        self._failure: RequestError | None = None  # to be raised in the failed one's handler
        self._last_words: RequestError | None = None  # to be sent after what is owed
        self._deadline: TimerHandle | None = None
        self._deadline_of: tuple[str, int] | None = None
        self._began_at = self.loop.time()
        self._unread_since: TimerHandle | None = None
        self._unread_bytes = 0
        self._lasting: LastingBody | None = None

    # The connection

    def connection_made(self, transport: BaseTransport) -> None:
        lasting = LastingTransport(
            cast(Transport, transport),
            loop=self.loop,
            unread=lambda: self._deaf or self._in_body or self._head_begun,
            flush_timeout_s=self.edge.settings.write_timeout_s,
        )
        super().connection_made(lasting)
        self.flow = HoldableFlow(lasting)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._unparsed = b""
        self._watch()
        self.resume_writing()
        # uvicorn tells the last request only; of a pipeline the first one runs.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        if self._lasting is not None:
            self._lasting.end()
            self._lasting.tell_hung_up()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        cast(LastingTransport, self.transport).lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_since is None:
            self._watch_reader()

    def _watch_reader(self) -> None:
        self._unread_bytes = unread_bytes(self.transport)
        self._unread_since = self.loop.call_later(
            self.edge.settings.write_timeout_s, self._drop_slow_reader
        )

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_since is not None:
            self._unread_since.cancel()
            self._unread_since = None

    def _drop_slow_reader(self) -> None:
        if self._lasting is not None and unread_bytes(self.transport) < self._unread_bytes:
            self._watch_reader()  # what is read slowly is written slowly, and holds little
            return
        log.info("dropped a client that does not read its answer")
        self.transport.abort()

    def shutdown(self) -> None:
        """Answer what has come, give what has half come a moment, close what idles."""
        if self._cut_short:
            return
        self._cut_short = True
        if self._busy:
            self.cycle.keep_alive = False
            if self._in_body and self._lasts(self.cycle):
                self._refuse(Draining("the server is ending and reads no further"))
        elif self._in_body or (self._heads and not self._head_begun):
            self.transport.close()
        self._watch(anew=True)

    # Answering

    @property
    def _busy(self) -> bool:
        """Whether an answer is owed, to the last request or to one before it."""
        return self.cycle is not None and not self.cycle.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if self.edge.lifecycle.draining:
            cycle.keep_alive = False
        scope = cast(Scope, cycle.scope)
        scope["extensions"] = {LASTING_BODY: partial(self._let_last, cycle)}
        super()._start_asgi_task(cycle, self._failing(cycle, app))

    def _failing(self, cycle: RequestResponseCycle, app: ASGIApp) -> Any:
        """Return `app`, reading a body that may fail under it."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_or_fail() -> Message:
                lasting = self._lasts(cycle)
                message: Message = {"type": "http.disconnect"}
                # Of a body that lasts, what has come counts even if no more of it can come.
                if self._failed is not cycle or (lasting and cycle.body):
                    message = await receive()
                if self._failed is cycle and not (lasting and message.get("body")):
                    failure, self._failure = self._failure, None
                    if failure is not None and (lasting or not cycle.response_started):
                        raise failure
                    return {"type": "http.disconnect"}
                return message

            if cycle.scope["http_version"] == "1.0":
                send = without_chunks(cycle, send)
            await app(scope, receive_or_fail, send)

        return run

    def _let_last(self, cycle: RequestResponseCycle, tell_hung_up: Callable[[], object]) -> None:
        if cycle.disconnected:
            tell_hung_up()
            return
        self._lasting = LastingBody(
            cycle, self.transport, self.flow, loop=self.loop, tell_hung_up=tell_hung_up
        )
        self._watch()

    def _lasts(self, cycle: RequestResponseCycle) -> bool:
        return self._lasting is not None and self._lasting.cycle is cycle

    def on_response_complete(self) -> None:
        if self._lasting is not None:
            self._lasting.end()
            self._lasting = None
            if self._in_body:  # answered before it ended: what still comes is no request
                self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._parse_unparsed()
        if self._last_words is not None and not self._busy:
            self._answer(self._last_words)
        self._watch()

    def _refuse(self, error: RequestError) -> None:
        """End the connection with `error`, after the answers that are owed before it."""
        self._deaf = True
        if not self._in_body:
            if self._busy:
                self._last_words = error
            else:
                self._answer(error)
        elif self._busy:
            self._failed, self._failure = self.cycle, error
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
        else:  # answered before its body had come: there is nothing left to say
            self.transport.close()

    def _answer(self, error: RequestError) -> None:
        request_id = uuid4().hex
        answer = ProblemResponse(error, request_id)
        for name, value in {"X-Request-Id": request_id, **SECURITY_HEADERS}.items():
            answer.headers[name] = value
        fields = [*self.server_state.default_headers, *answer.raw_headers]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        report_request(
            self.edge.metrics,
            request_id=request_id,
            route=OTHER_ROUTE,
            status=error.status,
            duration_s=self.loop.time() - self._began_at,
            log_fields={"code": error.code},
        )
        self.transport.close()

    # Deadlines

    def on_message_begin(self) -> None:
        if not self._head_begun and not self._busy:
            self._began_at = self.loop.time()
        super().on_message_begin()

    def _parsed(self) -> None:
        self._watch()

    def _watch(self, *, anew: bool = False) -> None:
        """Set the deadline of what is awaited from the client now; keep one that runs."""
        awaited = self._awaited()
        if awaited is not None or self._busy:
            self._unset_keepalive_if_required()
        wanted = None if awaited is None else (awaited, self._heads)
        if wanted == self._deadline_of and not anew:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._deadline_of = wanted
        if awaited is not None:
            settings = self.edge.settings
            limit_s = settings.head_timeout_s if awaited == "head" else settings.body_timeout_s
            if self._cut_short:
                limit_s = min(limit_s, HALF_SENT_S)
            self._deadline = self.loop.call_later(limit_s, self._on_deadline, limit_s)

    def _awaited(self) -> Literal["head", "body"] | None:
        if self._deaf or self.transport.is_closing():
            return None
        if self._in_body:
            # Of a request that waits in the pipeline we do not read the body: no blame.
            blamed = self._running is self.cycle and not self._lasts(self.cycle)
            return "body" if blamed else None
        if self._busy:
            return None
        return "head" if self._head_begun or not self._heads else None

    def _on_deadline(self, limit_s: float) -> None:
        self._deadline = None
        if not (self._in_body or self._head_begun):
            self.transport.close()  # it never said a word: there is nothing to answer
        elif self._cut_short:
            self._refuse(Draining("the server is ending and the request had not come whole"))
        else:
            part = "body" if self._in_body else "head"
            self._refuse(RequestTimeout(f"the request's {part} took more than {limit_s:g} s"))
