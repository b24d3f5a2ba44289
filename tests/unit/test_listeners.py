"""What waits at ports that close: real sockets, of which some fail as the kernel lets them."""

import errno
import logging
import os
import socket
from contextlib import ExitStack

import pytest

from sentiment.listeners import Listeners, bind
from tests.e2e.wire import connect

HOSTS = ("127.0.0.1", "127.0.0.2")


class FailingSocket(socket.socket):
    """Fails to accept as often and in the ways that a test says, and then accepts."""

    failures = ()

    def accept(self):
        if self.failures:
            number, *self.failures = self.failures
            raise OSError(number, os.strerror(number))
        return super().accept()


def listening(host, *failures):
    (bound,) = bind(host, 0)
    listener = FailingSocket(fileno=bound.detach())
    listener.failures = failures
    listener.listen()
    return listener


@pytest.fixture
def accepted():
    """A function that has clients connect to sockets and says how many of them it accepts."""
    with ExitStack() as opened:

        def accept(listeners, *, clients, most=100):
            for each in listeners:
                opened.enter_context(each)
                for _ in range(clients):
                    opened.enter_context(connect(each.getsockname()))
            found = Listeners(api=listeners).accept_waiting(most=most)
            for connection in found:
                opened.enter_context(connection)
            return len(found)

        yield accept


def test_all_that_wait_at_any_port_are_accepted(accepted, caplog):
    assert accepted([listening(host) for host in HOSTS], clients=3) == 6
    assert not caplog.records


def test_the_most_that_are_accepted_is_counted_for_each_port(accepted, caplog):
    assert accepted([listening(host) for host in HOSTS], clients=4, most=3) == 6
    assert [record.accepted for record in caplog.records] == [3, 3]


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EHOSTUNREACH])
def test_a_client_that_has_gone_costs_nobody_else(accepted, number):
    assert accepted([listening("127.0.0.1", number, number)], clients=3) == 3


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_that_no_descriptor_is_left_is_said(accepted, caplog, number):
    caplog.set_level(logging.WARNING)
    assert accepted([listening("127.0.0.1", number)], clients=3) == 0
    (record,) = caplog.records
    assert record.message == "connections are left unaccepted"
    assert (record.accepted, record.why) == (0, os.strerror(number).lower())
