"""The sockets of a server, taken before anything is loaded and opened when it is ready.

Knows neither HTTP nor the server, so that the parent of several workers can hold the ports.
"""

import errno
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sentiment.errors import ListenError

log = logging.getLogger(__name__)

NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What the next `accept` would fail with too."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Bound sockets; nobody can connect to them until `listen`."""

    api: Sequence[socket.socket]
    """One for each address of the host, all with one port."""
    operations: Sequence[socket.socket] = ()
    """As many for probes and metrics, where those have a port of their own."""

    @classmethod
    def take(cls, *, host: str, port: int, metrics_port: int | None) -> Self:
        """Take the ports.

        Raises:
            ListenError: as `bind`.
        """
        api = bind(host, port)
        return cls(api, [] if metrics_port is None else bind(host, metrics_port))

    @classmethod
    def inherited(cls, *, api: Sequence[int], operations: Sequence[int]) -> Self:
        """Return those that the parent process took, by their descriptors."""
        return cls(
            [socket.socket(fileno=descriptor) for descriptor in api],
            [socket.socket(fileno=descriptor) for descriptor in operations],
        )

    def listen(self, backlog: int) -> None:
        """Open the ports: from here on clients can connect.

        Raises:
            ListenError: another process was quicker.
        """
        try:
            for listener in (*self.api, *self.operations):
                listener.listen(backlog)
        except OSError as error:
            raise ListenError(f"cannot listen: {os.strerror(error.errno or 0).lower()}") from error

    def accept_waiting(self, *, most: int) -> list[socket.socket]:
        """Return the connections to `api` that the kernel has completed and nobody has accepted.

        Args:
            most: of each socket, so that it ends however fast more of them come.
        """
        return [each for listener in self.api for each in _accept_waiting(listener, most)]

    def close(self) -> None:
        """Give back this process' hold of them; others that inherited them keep theirs."""
        for listener in (*self.api, *self.operations):
            listener.close()


def _accept_waiting(listener: socket.socket, most: int) -> list[socket.socket]:
    listener.setblocking(False)
    accepted: list[socket.socket] = []
    left = "they come faster than they are accepted"
    for _ in range(most):
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            return accepted
        except OSError as error:  # of that connection alone, as when its client has gone
            if error.errno in NO_ROOM:
                left = os.strerror(error.errno).lower()
                break
    log.warning("connections are left unaccepted", extra={"accepted": len(accepted), "why": left})
    return accepted


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of `host`, all with one port; nobody listens yet.

    Raises:
        ListenError: the port is taken, or the host is none of this machine's.
    """
    bound: list[socket.socket] = []
    failure = "no such address"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}") from error
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            same_port = bound[0].getsockname()[1] if bound else port
            listener.bind((address[0], same_port, *address[2:]))
        except OSError as error:
            listener.close()
            failure = os.strerror(error.errno or 0).lower()
            if error.errno == errno.EADDRNOTAVAIL:  # as ::1 where IPv6 is switched off
                continue
            break
        bound.append(listener)
    else:
        if bound:
            return bound
    for listener in bound:
        listener.close()
    raise ListenError(f"cannot listen on {shown_address(host, port)}: {failure}")


def shown_address(host: str, port: int) -> str:
    """Return `host:port` as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
