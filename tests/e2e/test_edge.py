"""The HTTP edge against clients that no HTTP library would be: raw bytes on real sockets."""

import json
import random
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import GATED, running_server
from tests.e2e.wire import (
    answers,
    chunked,
    connect,
    exchange,
    get,
    head,
    metric,
    post,
    posting,
    read,
    refusal,
    take,
)

SMUGGLED = head("GET", "/smuggled")
HEAD_LIMIT = 16 * 1024


@pytest.fixture(scope="module")
def edge():
    """A server with ordinary deadlines, around the double: its answers cost nothing."""
    with running_server(*GATED) as server:
        yield server
        assert server.stop() == -signal.SIGTERM  # whatever the tests have sent


@pytest.fixture(scope="module")
def hasty():
    """A server whose deadlines a test can wait for."""
    with running_server(
        *GATED,
        SENTIMENT_HEAD_TIMEOUT_S="0.5",
        SENTIMENT_BODY_TIMEOUT_S="0.5",
        SENTIMENT_WRITE_TIMEOUT_S="0.5",
        SENTIMENT_KEEP_ALIVE_S="60",  # none of these closes what should be cut
    ) as server:
        yield server
        assert server.stop() == -signal.SIGTERM  # whatever the tests have sent


@pytest.fixture(autouse=True)
def still_answers(request):
    """Whatever a test sent, the next good request is answered."""
    yield
    for name in {"edge", "hasty"} & set(request.fixturenames):
        assert post(request.getfixturevalue(name).address).status == 200


def answered(address):
    """Return how many requests the server has answered, scrapes aside."""
    total = metric(address, "sentiment_requests_total")
    return total - metric(address, "sentiment_requests_total", route="GET /metrics")


# One reading of every request


def framed(*fields):
    """Return a `POST /` whose end depends on which of `fields` one believes."""
    body = b'5\r\n["a"]\r\n0\r\n\r\n'
    return head("POST", "/", "Content-Type: application/json", *fields) + body


CHUNKED = "Transfer-Encoding: chunked"
CODINGS = (
    "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked, identity", "identity, chunked",
    "identity", "gzip", "xchunked", "chunkedx", "chunke", "ch unked", '"chunked"', "chunked;q=1",
    "chunked,", ",chunked", "chunked, ", "chunked ",
    "\x0bchunked", "chunked\x0b", "\x0cchunked", "chunked\x00",
    "chunked\xa0", "\x85chunked", "", "chunked\r\n identity", "\r\n chunked", "chunked\rx: y",
)  # fmt: skip
FRAMINGS = {
    "both, length first": ("Content-Length: 5", CHUNKED),
    "both, coding first": (CHUNKED, "Content-Length: 5"),
    "both, with an unknown coding": ("Content-Length: 5", "Transfer-Encoding: x"),
    "both, length 0": ("Content-Length: 0", CHUNKED),
    "two codings": (CHUNKED, CHUNKED),
    "two codings, one unknown": (CHUNKED, "Transfer-Encoding: x"),
    "two codings, one hidden": ("transfer-encoding: x", CHUNKED),
    "space before the colon": ("Transfer-Encoding : chunked",),
    "tab before the colon": ("Transfer-Encoding\t: chunked",),
    "vertical tab in the name": ("Transfer-Encoding\x0b: chunked",),
    "NUL in the name": ("Transfer\x00-Encoding: chunked", "Content-Length: 15"),
    "blank before the name": ("X: y", " Transfer-Encoding: chunked"),
    "line feed in a value": ("X: y\nTransfer-Encoding: chunked", "Content-Length: 15"),
    "two lengths": ("Content-Length: 15", "Content-Length: 5"),
    "two equal lengths": ("Content-Length: 15", "Content-Length: 15"),
    "a list of lengths": ("Content-Length: 15, 15",),
    "a signed length": ("Content-Length: +15",),
    "a negative length": ("Content-Length: -15",),
    "a hexadecimal length": ("Content-Length: 0xf",),
    "an underscore in the length": ("Content-Length: 1_5",),
    "an empty length": ("Content-Length:",),
    "a length of 20 digits": ("Content-Length: 99999999999999999999",),
    "two content types": (CHUNKED, "Content-Type: text/plain"),
    "two keys": (CHUNKED, "Authorization: Bearer a", "Authorization: Bearer b"),
    "two content codings": (CHUNKED, "Content-Encoding: identity", "Content-Encoding: gzip"),
    **{f"coding {coding!r}": (f"Transfer-Encoding: {coding}",) for coding in CODINGS},
}


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
def test_a_body_whose_end_is_doubtful_is_refused_and_nothing_behind_it_runs(edge, fields):
    before = answered(edge.address)
    answer = refusal(edge.address, framed(*fields) + SMUGGLED)
    assert (answer.status, answer.code) == (400, "malformed-http")
    assert answered(edge.address) == before + 1


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", "\tchunked"])
def test_chunked_has_these_spellings(edge, coding):
    request = framed(f"Transfer-Encoding: {coding}", "Connection: close")
    (answer,) = exchange(edge.address, request)
    assert answer.status == 200


@pytest.mark.parametrize(
    "chunks",
    [
        b'0x5\r\n["a"]\r\n0\r\n\r\n',
        b'-5\r\n["a"]\r\n0\r\n\r\n',
        b'+5\r\n["a"]\r\n0\r\n\r\n',
        b'0_5\r\n["a"]\r\n0\r\n\r\n',
        b' 5\r\n["a"]\r\n0\r\n\r\n',
        b'5 \r\n["a"]\r\n0\r\n\r\n',
        b'5\n["a"]\n0\n\n',
        b'5\r["a"]\r\n0\r\n\r\n',
        b'5\r\n["a"]0\r\n\r\n',
        b'5\r\n["a"]\n\n0\r\n\r\n',
        b'fffffffffffffffff\r\n["a"]\r\n0\r\n\r\n',
        b'\r\n["a"]\r\n0\r\n\r\n',
        b'5;a\nb\r\n["a"]\r\n0\r\n\r\n',
        b'5\r\n["a"]\r\n0\r\nX: y\r\n\r\n',
        b'5\r\n["a"]\r\n0\r\nContent-Length: 5\r\n\r\n',
    ],
)
def test_a_broken_chunk_is_refused_and_nothing_behind_it_runs(edge, chunks):
    before = answered(edge.address)
    answer = refusal(edge.address, chunked(chunks) + SMUGGLED)
    assert (answer.status, answer.code) == (400, "malformed-http")
    assert answered(edge.address) == before + 1


HOSTS = (
    "", "a b", "a/healthz?x=", "a\\b", "a#b", "a@b", "user:pw@a", "[::1", "::1", "[::1]x", "[x]",
    "a:b", "a:", "a:123456", "a,b", "a=1", "http://a", "<a>", "a\x7f", "\xe4", "a" * 4096,
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_none_is_refused(edge, host):
    answer = refusal(edge.address, head("GET", "/", host=f"Host: {host}") + SMUGGLED)
    assert (answer.status, answer.code) == (400, "malformed-http")


@pytest.mark.parametrize(
    "host", ["a", "A-1.example:65535", "a_b", "127.0.0.1:8000", "[::1]", "[fe80::1]:80", "a."]
)
def test_these_are_hosts(edge, host):
    (answer,) = exchange(edge.address, head("GET", "/", "Connection: close", host=f"Host: {host}"))
    assert answer.status == 200
    assert f"http://{host.lower()}/" in answer.body.decode().lower()


BROKEN_HEADS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two hosts in 1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "lower case version": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"GET / FTP/1.1\r\nHost: x\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(189)),
    "line feeds alone": b"GET / HTTP/1.1\nHost: x\n\n",
    "a folded field": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "a field without a colon": b"GET / HTTP/1.1\r\nHost: x\r\nab\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "BEL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x07c\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes beyond ASCII in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW\xff / HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
    "CONNECT of a path": b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
    "authority form": b"GET x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "relative target": b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL of another host": b"GET http://y/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL of another port": b"GET http://x:1/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL with a user": b"GET http://u@x/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL without a host": b"GET http:///livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL of another scheme": b"GET ftp://x/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL where 1.0 has no host": b"GET http://x/livez HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
def test_a_head_that_is_not_plain_http_is_refused_and_nothing_behind_it_runs(edge, request_bytes):
    before = answered(edge.address)
    answer = refusal(edge.address, request_bytes + SMUGGLED)
    assert (answer.status, answer.code) == (400, "malformed-http")
    assert answered(edge.address) == before + 1


@pytest.mark.parametrize(
    "request_line",
    [
        b"\r\n\r\nGET /livez HTTP/1.1",  # RFC 9112, 2.2 advises to skip line ends
        b"GET  /livez HTTP/1.1",  # and 3. allows to take several blanks for one
        b"GET /livez RTSP/1.0",  # the parser does not say which protocol it saw
    ],
)
def test_the_parser_forgives_these_because_they_have_one_reading(edge, request_line):
    request = request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
    (answer,) = exchange(edge.address, request)
    assert answer.status == 200


@pytest.mark.parametrize("target", ["http://x/livez", "HTTP://X/livez?a=b", "https://x/livez"])
def test_a_url_of_this_host_is_a_target(edge, target):
    assert get(edge.address, target).body == b'{"status":"ok"}'


@pytest.mark.parametrize("target", ["http://x", "http://x?a"])
def test_a_url_without_a_path_means_the_root(edge, target):
    assert b"curl" in get(edge.address, target).body


def test_http_1_0_needs_no_host(edge):
    (answer,) = exchange(edge.address, b"GET /livez HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.closes) == (200, True)


def test_random_bytes_are_refused_one_by_one(edge):
    source = random.Random(7)
    for _ in range(200):
        # The line ends make it a whole head: without them it would only be a slow one.
        noise = source.randbytes(64) + b"\r\n\r\n"
        assert refusal(edge.address, noise).status == 400


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.2, HTTP/1.1"])
def test_an_upgrade_is_ignored_and_its_body_is_no_second_request(edge, protocol):
    fields = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AA")
    request = posting(b'["a"]', *fields) + head("GET", "/livez", "Connection: close")
    first, second = exchange(edge.address, request)
    assert len(json.loads(first.body)) == 1
    assert second.body == b'{"status":"ok"}'
    assert not any(line["level"] == "WARNING" for line in edge.log)


def test_an_upgrade_in_pieces_is_ignored_too(edge):
    request = posting(b'["a"]', "Connection: Upgrade, close", "Upgrade: websocket")
    with connect(edge.address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        (answer,) = answers(read(connection))
    assert answer.status == 200


# Limits


def sized(size):
    """Return a head of `size` bytes."""
    empty = head("GET", "/livez", "Connection: close", "A: ")
    return head("GET", "/livez", "Connection: close", "A: " + "a" * (size - len(empty)))


def test_a_head_may_have_16_kib_and_no_byte_more(edge):
    (answer,) = exchange(edge.address, sized(HEAD_LIMIT))
    assert answer.status == 200
    answer = refusal(edge.address, sized(HEAD_LIMIT + 1))
    assert (answer.status, answer.code) == (431, "headers-too-large")


def test_a_head_may_have_100_fields_and_no_more(edge):
    fields = [f"A{index}: b" for index in range(98)]
    assert get(edge.address, "/livez", *fields).status == 200
    answer = refusal(edge.address, head("GET", "/livez", "Connection: close", *fields, "C: d"))
    assert (answer.status, answer.code) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"GET / HTTP/1.1\r\nHost: x\r\nA", b"GET /", b"\r\n"],
    ids=["value", "name", "target", "nothing"],
)
def test_a_head_without_an_end_is_cut_before_it_fills_the_memory(edge, start):
    status = Path(f"/proc/{edge.process.pid}/status")
    more = b"\r\n" if start == b"\r\n" else b"a"
    before = resident_bytes(status)
    answer = refusal(edge.address, start + more * 20_000_000)
    assert (answer.status, answer.code) == (431, "headers-too-large")
    assert resident_bytes(status) - before < 8 * 2**20


def resident_bytes(status):
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_a_body_in_single_bytes_is_read(edge):
    text = b'["' + b"a" * 15_000 + b'"]' + b" " * 285_000
    answer, *_ = exchange(
        edge.address,
        chunked(*(b"1\r\n%c\r\n" % byte for byte in text), b"0\r\n\r\n")
        + head("GET", "/livez", "Connection: close"),
    )
    assert len(json.loads(answer.body)) == 1


@pytest.mark.parametrize(
    "chunk",
    [
        b"1;" + b"a" * 100_000 + b"\r\n[\r\n",
        (b"1;" + b"a" * 1_000 + b"\r\n \r\n") * 1_000,
        b"0" * 100_000 + b"1\r\n[\r\n",
    ],
    ids=["one long", "many", "zeros"],
)
def test_chunks_that_are_mostly_wrapping_are_refused(edge, chunk):
    answer = refusal(edge.address, chunked(chunk))
    assert (answer.status, answer.code) == (400, "malformed-http")


# Pipelining


def test_pipelined_requests_are_answered_in_their_order(edge):
    kinds = [(posting(b'["a"]'), 200), (posting(b"["), 400), (posting(b"[1]"), 422)]
    source = random.Random(11)
    chosen = [source.choice(kinds) for _ in range(50)]
    got = exchange(
        edge.address,
        b"".join(request for request, _ in chosen) + head("GET", "/livez", "Connection: close"),
    )
    assert [answer.status for answer in got] == [*(status for _, status in chosen), 200]


def test_more_pipelined_requests_than_are_parsed_at_once_are_all_answered(edge):
    got = exchange(
        edge.address, head("GET", "/livez") * 1000 + head("GET", "/x", "Connection: close")
    )
    assert [answer.status for answer in got] == [200] * 1000 + [404]


def test_what_is_owed_is_answered_before_a_broken_request_ends_the_connection(edge):
    got = exchange(edge.address, posting(b'["a"]') * 3 + b"broken\r\n\r\n" + posting(b'["a"]'))
    assert [answer.status for answer in got] == [200, 200, 200, 400]
    assert got[-1].code == "malformed-http"
    assert got[-1].closes


def test_nothing_runs_after_a_request_that_closes(edge):
    before = answered(edge.address)
    (answer,) = exchange(edge.address, head("GET", "/livez", "Connection: close") + SMUGGLED)
    assert answer.status == 200
    assert answered(edge.address) == before + 1


# Deadlines


def test_a_connection_that_says_nothing_is_closed(hasty):
    with connect(hasty.address) as connection:
        assert read(connection) == b""


HALF_HEADS = (b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"\r\nGET")


@pytest.mark.parametrize("half", HALF_HEADS)
def test_half_a_head_gets_408(hasty, half):
    answer = refusal(hasty.address, half)
    assert (answer.status, answer.code) == (408, "request-timeout")


@pytest.mark.parametrize("half", HALF_HEADS)
def test_half_a_head_on_a_connection_that_was_kept_alive_gets_408(hasty, half):
    first, second = exchange(hasty.address, head("GET", "/livez") + half)
    assert (first.status, second.status, second.code) == (200, 408, "request-timeout")


def test_half_a_body_gets_408(hasty):
    for half in (posting(b'["a"]')[:-1], chunked(b'5\r\n["a"]\r\n')):
        answer = refusal(hasty.address, half)
        assert (answer.status, answer.code) == (408, "request-timeout")


def test_a_body_that_nobody_wanted_has_its_deadline_too(hasty):
    request = head("POST", "/nothing", "Content-Length: 9") + b"12345678"
    (answer,) = exchange(hasty.address, request)
    assert answer.status == 404


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nA: ", posting(b'["a"]' + b" " * 1_000_000)[:-1_000_000], b"\r\n"],
    ids=["head", "body", "nothing"],
)
def test_dripping_does_not_move_a_deadline(hasty, start):
    with connect(hasty.address) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        began_at = time.monotonic()
        while time.monotonic() - began_at < 20:
            try:
                connection.sendall(b"\r\n" if start == b"\r\n" else b" ")
                if not connection.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began_at < 10


def test_an_idle_connection_is_closed_after_its_time_and_line_ends_do_not_prolong_it():
    with (
        running_server(*GATED, SENTIMENT_KEEP_ALIVE_S="1") as server,
        connect(server.address) as connection,
    ):
        connection.sendall(head("GET", "/livez"))
        assert take(connection).status == 200
        connection.settimeout(0.1)
        for _ in range(100):
            try:
                connection.sendall(b"\r\n")
                if not connection.recv(65536):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("line ends kept an idle connection alive for ten seconds")


def test_a_slow_answer_is_no_slow_request(hasty):
    hasty.tell("hold", until="held")
    with connect(hasty.address) as waiting:
        # Half of the next head is there already: it is not late before it may be read.
        waiting.sendall(posting(b'["a"]') + b"GET /li")
        hasty.hear("entered")
        assert refusal(hasty.address, b"GET").status == 408  # longer than every deadline
        assert refusal(hasty.address, posting(b'["b"]')[:-1]).status == 408
        hasty.tell("release", until="released")
        waiting.sendall(b"vez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first, second = answers(read(waiting))
    assert (first.status, second.status) == (200, 200)


def test_fifty_slow_clients_are_all_cut_while_others_are_served(hasty):
    halves = [b"", b"GET / HT", chunked(b"1\r\n["), posting(b'["a"]')[:-1], chunked(b"1\r\n[\r\n")]
    slow = [(connect(hasty.address), halves[index % len(halves)]) for index in range(50)]
    for connection, half in slow:
        connection.sendall(half)
    assert [post(hasty.address).status for _ in range(20)] == [200] * 20
    for connection, half in slow:
        with connection:
            got = answers(read(connection))
        assert [answer.status for answer in got] == ([408] if half else [])
    assert answered(hasty.address)  # and no connection is left:
    assert open_connections(hasty) <= 1


def open_connections(server):
    """Return how many TCP connections the server still holds, this test's own included."""
    sockets = {
        link.readlink().name
        for link in Path(f"/proc/{server.process.pid}/fd").iterdir()
        if link.is_symlink()
    }
    port = f":{server.address[1]:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        port in line.split(maxsplit=2)[1] + " "
        and f"socket:[{line.split()[9]}]" in sockets
        and line.split()[3] == "01"
        for line in lines
    )


def test_a_client_that_does_not_read_its_answers_is_dropped(hasty):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(hasty.address)
        connection.sendall(head("GET", "/docs/swagger-ui-bundle.js") * 4)
        hasty.wait_for_line("does not read its answer")
        assert post(hasty.address).status == 200


# What is said and counted


def test_a_refusal_is_counted_and_logged_like_any_other_without_the_clients_bytes(edge):
    canary = "CANARY"
    before = metric(edge.address, "sentiment_rejected_total", reason="malformed-http")
    others = metric(edge.address, "sentiment_requests_total", route="other", status="400")
    refused = [
        refusal(edge.address, request)
        for request in (
            f"GET /{canary} HTTP/1.1\r\n\r\n".encode(),
            f"{canary} / HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            head("GET", f"/{canary}", f"{canary}: x\x01"),
            head("GET", "/", host=f"Host: {canary}/"),
        )
    ]
    after = metric(edge.address, "sentiment_rejected_total", reason="malformed-http")
    assert after == before + 4
    assert get(edge.address, f"/{canary}?{canary}", f"User-Agent: {canary}").status == 404
    assert metric(edge.address, "sentiment_requests_total", route="other", status="400") == (
        others + 4
    )
    exposition = get(edge.address, "/metrics").body
    for answer in refused:
        assert canary.encode() not in answer.body
        logged = [x for x in edge.log if x.get("request_id") == answer.headers["x-request-id"]]
        (line,) = logged
        assert (line["route"], line["status"], line["code"]) == ("other", 400, "malformed-http")
    assert canary not in json.dumps(edge.log)
    assert canary.encode() not in exposition


def test_no_path_method_or_id_becomes_a_metric(edge):
    assert post(edge.address).status == 200
    assert get(edge.address, "/metrics").status == 200  # which is counted when it is answered
    series = []
    for start in (1000, 2000):  # the first round makes what series there are
        for made_up in (f"made-up-{number}" for number in range(start, start + 100)):
            assert get(edge.address, f"/{made_up}", f"X-Request-Id: {made_up}").status == 404
            exchange(edge.address, head(made_up.upper(), "/"))
            exchange(edge.address, head("PUT", f"/?{made_up}", "Connection: close"))
        series.append(len(get(edge.address, "/metrics").body.splitlines()))
    assert series[0] == series[1]
    assert b"made-up" not in get(edge.address, "/metrics").body.lower()


@pytest.mark.parametrize(
    "given",
    [
        "a" * 65,
        '{"a":1}',
        "<b>",
        "\x80",
        "a b",
        "a\tb",
        "%0d%0aX: y",
        "\u2028".encode().decode("latin-1"),
    ],
)
def test_a_request_id_is_echoed_once_and_only_if_it_is_one(edge, given):
    answer = get(edge.address, "/livez", f"X-Request-Id: {given}")  # `answers` minds doubles
    assert len(answer.headers["x-request-id"]) == 32
    assert get(edge.address, "/livez", "X-Request-Id: mine").headers["x-request-id"] == "mine"


def test_what_a_client_calls_itself_forges_no_line_of_the_log(edge):
    nasty = '"}\\n{"level":"CRITICAL"\x1b[31m\u2028'.encode().decode("latin-1")
    for fields in ([f"User-Agent: {nasty}"], [f"X-Request-Id: {nasty}"]):
        exchange(edge.address, head("GET", "/livez", *fields, "Connection: close"))
    get(edge.address, "/" + nasty.encode("latin-1").hex())
    # Every line was parsed as one JSON object when it came.
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in edge.log)
    assert not any(line["level"] == "CRITICAL" for line in edge.log)


ANSWERS = {
    "page": head("GET", "/docs", "Connection: close"),
    "file": head("GET", "/docs/docs.js", "Connection: close"),
    "help": head("GET", "/", "Connection: close"),
    "answer": posting(b'["a"]', "Connection: close"),
    "not found": head("GET", "/x", "Connection: close"),
    "unprocessable": posting(b"[1]", "Connection: close"),
    "malformed": b"x\r\n\r\n",
    "too large": sized(HEAD_LIMIT + 1),
}


@pytest.mark.parametrize("request_bytes", ANSWERS.values(), ids=ANSWERS.keys())
def test_every_answer_tells_browsers_to_be_careful(edge, request_bytes):
    (answer,) = exchange(edge.address, request_bytes)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    is_page = request_bytes == ANSWERS["page"]
    assert ("script-src 'self';" in policy) == is_page
    assert "unsafe-eval" not in policy
    cached = request_bytes == ANSWERS["file"]
    assert (answer.headers["cache-control"] == "no-store") != cached
    assert "server" not in answer.headers
    assert not any(name.startswith("access-control-") for name in answer.headers)
