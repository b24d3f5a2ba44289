"""One stream: lines are read, classified and answered at once, a few windows of them at a time.

A window is what has come when there is room for it, up to a limit: nobody waits for company. Its
room is free again when its answers are written. So a client that does not read its answers is
not read either, and memory does not depend on the length of a stream.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Message, Receive, Send

from sentiment.api.answering import analyzer_of, settings_of
from sentiment.api.clients import let_body_last
from sentiment.api.faces.stream_lines import (
    Answer,
    LineError,
    StreamedLine,
    answers,
    line_error,
    max_line_bytes,
    parse_line,
    render_answer,
    render_end,
)
from sentiment.api.lines import LineSplitter
from sentiment.errors import (
    ClientClosed,
    DeadlineExceeded,
    Draining,
    InferenceFailed,
    OutOfMemory,
    Overloaded,
    RequestError,
    RequestTimeout,
    WorkerDown,
)
from sentiment.metrics import Metrics
from sentiment.predictions import Predictions

RawHeaders = Sequence[tuple[bytes, bytes]]

WINDOWS = 4
"""Windows in flight: one is read and tokenised, one or two are classified, one is written."""

WINDOW_LINES = 256
WINDOW_BYTES = 64 * 1024
"""What a window takes at most, but for one long line; headlines fill a few batches."""

ASK_AGAIN_S = 0.1
"""After so long a window that would have missed its deadline behind others asks once more."""


class Streams:
    """Counts the streams that are open, and keeps them below a limit."""

    def __init__(self, *, max_streams: int, metrics: Metrics) -> None:
        """Let `max_streams` be open at a time."""
        self._max_streams = max_streams
        self._open = 0
        metrics.follow(metrics.streams, lambda: self._open)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count one stream inside the block.

        Raises:
            Overloaded: as many as may be are open.
        """
        if self._open >= self._max_streams:
            raise Overloaded(f"{self._open} streams are open, no more may be", retry_after_s=1.0)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


@dataclass(frozen=True, slots=True)
class Answered:
    """A window with its answers, ready to be written."""

    body: bytes
    texts: int
    errors: int


class Stream:
    """The body of one request and the answer to it, both under way."""

    def __init__(
        self,
        request: Request,
        headers: RawHeaders,
        *,
        top_k: int | None,
        ordered: bool,
        timeout_s: float | None,
    ) -> None:
        """Answer the lines of `request`.

        Args:
            headers: of the answer.
            top_k: how many labels each text gets; `None` is the best, without an array.
            ordered: whether answers come in the order of their lines, or as they are ready.
            timeout_s: of each window; may shorten the server's deadline.
        """
        self.texts = 0
        self.errors = 0
        """Lines that were answered so far."""
        self._request = request
        self._headers = headers
        self._settings = settings_of(request)
        self._analyzer = analyzer_of(request)
        self._top_k = top_k
        self._ordered = ordered
        self._deadline_s = min(timeout_s or math.inf, self._settings.deadline_s)
        self._begun = False
        self._splitter = LineSplitter(max_line_bytes=max_line_bytes(self._settings))
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(WINDOWS)
        self._next_index = 0
        self._body_ended = False
        self._owed = 0  # windows that were read and are not written
        self._silent_since = self._loop.time()
        self._tasks: set[asyncio.Task[Answered]] = set()
        self._to_write: asyncio.Queue[asyncio.Task[Answered]] = asyncio.Queue()

    async def run(self, receive: Receive, send: Send) -> RequestError | None:
        """Answer until the body or the server ends.

        Returns:
            Why the stream ended before its time, if it did; its client has been told, unless
            it is gone.
        """
        try:
            why = await self._until_the_end(receive, send)
        except asyncio.CancelledError:  # the time to drain is over
            await self._say_end(send, Draining("not answered before the server had to end"))
            raise
        if not isinstance(why, ClientClosed):
            await self._say_end(send, why)
        return why

    async def _until_the_end(self, receive: Receive, send: Send) -> RequestError | None:
        hung_up = asyncio.Event()
        let_body_last(self._request, hung_up.set)
        # Reads first: a client that asked whether to go on is told so before the answer begins.
        reading = asyncio.create_task(self._read(receive), name="stream reader")
        writing = asyncio.create_task(self._write(send), name="stream writer")
        leaving = asyncio.create_task(hung_up.wait(), name="stream hang-up watcher")
        try:
            await asyncio.wait((leaving, reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if hung_up.is_set():
                return ClientClosed("the client closed the connection")
            (writing if writing.done() else reading).result()
            return None
        except RequestError as error:
            return error
        finally:
            under_way = [leaving, reading, writing, *self._tasks]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    # Reading

    async def _read(self, receive: Receive) -> None:
        """Read windows until the body ends and all of them are written.

        Raises:
            RequestError: why the body ended before its time; what had come of it is answered.
        """
        why: RequestError | None = None
        await self._room.acquire()
        try:
            while lines := await self._next_window(receive):
                self._owed += 1
                task = asyncio.create_task(self._answer(lines), name="stream window")
                self._tasks.add(task)
                if self._ordered:
                    self._to_write.put_nowait(task)
                else:
                    task.add_done_callback(self._to_write.put_nowait)
                await self._room.acquire()
        except ClientClosed:
            raise
        except RequestError as error:
            why = error
        for _ in range(WINDOWS - 1):  # one is in hand: the window that never came
            await self._room.acquire()
        if why is not None:
            raise why

    async def _next_window(self, receive: Receive) -> list[StreamedLine]:
        """Return the lines that have come, as many as a window takes; none at the end.

        Raises:
            RequestError: as `_hear`.
        """
        while not (lines := self._lines_at_hand()) and not self._body_ended:
            message = await self._hear(receive)
            self._splitter.push(message.get("body", b""))
            if not message.get("more_body", False):
                self._body_ended = True
                self._splitter.end()
        return lines

    def _lines_at_hand(self) -> list[StreamedLine]:
        lines: list[StreamedLine] = []
        size = 0
        for line in self._splitter:
            lines.append(parse_line(line, self._next_index, self._settings))
            self._next_index += 1
            size += len(line.content or b"")
            if len(lines) >= WINDOW_LINES or size >= WINDOW_BYTES:
                break
        return lines

    async def _hear(self, receive: Receive) -> Message:
        """Wait for a piece of the body.

        Raises:
            ClientClosed: the client hung up.
            RequestTimeout: it sends nothing though it waits for nothing.
            RequestError: the body is broken, or the server ends.
        """
        limit_s = self._settings.stream_idle_s
        while True:
            try:
                async with asyncio.timeout_at(self._silent_since + limit_s):
                    message = await receive()
            except TimeoutError:
                if self._owed:  # it may wait for an answer before it sends the next line
                    self._silent_since = self._loop.time()
                elif self._loop.time() >= self._silent_since + limit_s:
                    raise RequestTimeout(f"nothing came for {limit_s:g} s") from None
                continue
            if message["type"] == "http.disconnect":
                raise ClientClosed("the client closed the connection")
            self._silent_since = self._loop.time()
            return message

    # Answering

    async def _answer(self, lines: Sequence[StreamedLine]) -> Answered:
        texts = [line.text for line in lines if line.text is not None]
        found = iter(await self._classify(texts) if texts else [])
        given = [line.error or next(found) for line in lines]
        errors = sum(isinstance(answer, LineError) for answer in given)
        body = b"".join(map(render_answer, lines, given))
        return Answered(body, texts=len(lines) - errors, errors=errors)

    async def _classify(self, texts: Sequence[str]) -> list[Answer]:
        """Return what each text got; only those get an error that have earned it.

        Raises:
            Unavailable: no text is classified any more.
        """
        try:
            return answers(await self._classify_patiently(texts), self._top_k)
        except DeadlineExceeded as error:
            fitting = error.texts_that_fit
            if not fitting:
                return [line_error(error)] * len(texts)
            # As a client would: those first, and then the rest.
            return [
                *await self._classify(texts[:fitting]),
                *await self._classify(texts[fitting:]),
            ]
        except (InferenceFailed, OutOfMemory) as error:
            if len(texts) == 1:
                return [line_error(error)]
            # They fail together, whoever is to blame. Each on its own, they share batches again.
            alone = await asyncio.gather(*(self._classify([text]) for text in texts))
            return [answer for (answer,) in alone]

    async def _classify_patiently(self, texts: Sequence[str]) -> Predictions:
        """Classify as soon as the server can take them: overload only slows a stream.

        Raises:
            WorkerDown: the engine was away for longer than a window may take.
            DeadlineExceeded: so long there was no room, or there is room for some of the texts
                only, or they were not answered in time.
            InferenceFailed, Unavailable: as `Analyzer.classify`.
        """
        gives_up_at = self._loop.time() + self._deadline_s
        while True:
            try:
                return await self._analyzer.classify(texts, timeout_s=self._deadline_s)
            except Overloaded as error:
                wait_s = error.retry_after_s or 0.0
                gives_up_at = self._loop.time() + wait_s + self._deadline_s
            except WorkerDown as error:
                if self._loop.time() > gives_up_at:
                    raise
                wait_s = error.retry_after_s or 0.0
            except DeadlineExceeded as error:
                # Predicted, because of what lies ahead: windows of this stream, for the most part.
                if error.texts_that_fit != 0 or self._loop.time() > gives_up_at:
                    raise
                wait_s = ASK_AGAIN_S
            await asyncio.sleep(wait_s)

    # Writing

    async def _write(self, send: Send) -> None:
        """Write what is answered, for ever; a client that does not read holds it up.

        Raises:
            RequestError: a window could not be answered, nor could any after it.
        """
        await self._begin(send)
        while True:
            task = await self._to_write.get()
            answered = await task
            await send({"type": "http.response.body", "body": answered.body, "more_body": True})
            self.texts += answered.texts
            self.errors += answered.errors
            self._tasks.discard(task)
            self._owed -= 1
            self._silent_since = self._loop.time()
            self._room.release()

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*self._headers]})
        self._begun = True

    async def _say_end(self, send: Send, why: RequestError | None) -> None:
        if not self._begun:
            await self._begin(send)
        end = render_end(texts=self.texts, errors=self.errors, why=why)
        await send({"type": "http.response.body", "body": end, "more_body": False})
