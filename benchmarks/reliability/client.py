"""An HTTP client cheap enough to share two cores with the server that it loads."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

STATUS_AT = slice(9, 12)  # HTTP/1.1 200
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    body: bytes
    retry_after_s: int | None
    closes: bool


class Unanswered(Exception):
    """The connection ended, or could not be opened, before the answer was whole."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"{len(received)} bytes of an answer")
        self.received = received


class Connection(asyncio.Protocol):
    """One kept-alive connection; one request at a time."""

    def __init__(self) -> None:
        self.requests = 0
        """Answered so far."""
        self.unasked_bytes = 0
        """What came without a request, such as a second answer."""
        self.open = True
        self._received = bytearray()
        self._needed = 0  # bytes of the whole answer, once its head is known
        self._waiter: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Unanswered(bytes(self._received)))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.unasked_bytes += len(data)
            return
        received = self._received
        received += data
        if not self._needed:
            head_end = received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            length = LENGTH.search(received, 0, head_end)
            assert length, "an answer without a length"
            self._needed = head_end + 4 + int(length[1])
            self._head_end = head_end
        if len(received) >= self._needed:
            self._finish()

    def send(self, request: bytes) -> "asyncio.Future[Answer]":
        """Write a request now; the future ends with its answer, or with `Unanswered`."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self.open:
            self.transport.write(request)
        else:
            self._waiter.set_exception(Unanswered(b""))
        return self._waiter

    @property
    def sent(self) -> bool:
        """Whether the kernel has every byte that was to be sent."""
        return self.transport.get_write_buffer_size() == 0

    def abort(self) -> None:
        """Hang up without a word."""
        self.open = False
        self.transport.abort()

    def _finish(self) -> None:
        received, end = self._received, self._head_end
        retry = RETRY_AFTER.search(received, 0, end)
        answer = Answer(
            status=int(received[STATUS_AT]),
            body=bytes(received[end + 4 : self._needed]),
            retry_after_s=int(retry[1]) if retry else None,
            closes=CLOSES.search(received, 0, end) is not None,
        )
        self.unasked_bytes += len(received) - self._needed
        received.clear()
        self._needed = 0
        self.requests += 1
        if answer.closes:
            self.open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)


class Pool:
    """As many connections as are needed at once, each used again as soon as it is free."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Connect to `address` when asked to."""
        self._address = address
        self._idle: list[Connection] = []
        self.all: set[Connection] = set()

    async def connection(self) -> Connection:
        """Return a connection that nobody uses.

        Raises:
            Unanswered: none can be opened.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
            self.all.discard(connection)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, *self._address
            )
        except OSError as error:
            raise Unanswered(b"") from error
        self.all.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Let others have it."""
        if connection.open:
            self._idle.append(connection)
        else:
            self.all.discard(connection)

    async def request(self, data: bytes) -> Answer:
        """Send a request on any connection and return its answer.

        Raises:
            Unanswered: there was none.
        """
        connection = await self.connection()
        try:
            return await connection.send(data)
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            self.give_back(connection)

    async def open(self, count: int) -> None:
        """Have `count` idle connections ready."""
        self._idle += [await self.connection() for _ in range(count - len(self._idle))]

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in self.all:
            connection.transport.close()


def posting(body: bytes, *fields: str, path: str = "/") -> bytes:
    """Return the bytes of a `POST`."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", *fields]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode("latin-1") + body


def getting(path: str) -> bytes:
    """Return the bytes of a `GET`."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
