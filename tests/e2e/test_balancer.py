"""HAProxy, configured by `deploy/haproxy/haproxy.cfg`, in front of three real servers.

Replicas are restarted and killed under it while Locust's users compare every answer with the one
that is right: here once each, with an engine that holds what a test wants to be lost or kept; at
night again and again, with the real one.
"""

import json
import signal
from contextlib import ExitStack

import pytest

from tests.e2e.balancing import CONTROLLED, MAX_BACKLOG_S, REAL, balanced_replicas, load
from tests.e2e.test_lifecycle import no_tracebacks, wait_until
from tests.e2e.wire import connect, exchange, get, head, metric, post, posting, take
from tests.texts import text_of

MANY_TEXTS = 500
MANY = json.dumps([f"{number} {text_of(8)}" for number in range(MANY_TEXTS)]).encode()
"""More than a pass or two: what a replica has that is held."""

MOST_TEXTS = 4096
MOST = json.dumps([f"{number} {text_of(40)}" for number in range(MOST_TEXTS)]).encode()
"""So much, 40 seconds of work for a controlled replica, that one which has it refuses another."""

HOSTILE = {400, 408, 413, 415, 422}
"""What is documented for Locust's hostile clients."""

GONE = -1
"""What HAProxy logs in place of a status if the client went before there was one."""


@pytest.fixture(scope="module")
def running(request):
    """HAProxy and its replicas: controlled ones, unless a test asks for others."""
    with balanced_replicas(*getattr(request, "param", CONTROLLED)) as running:
        yield running


real = pytest.mark.parametrize("running", [REAL], ids=["real"], indirect=True)
no_replicas = pytest.mark.parametrize("running", [()], ids=["no replicas"], indirect=True)


@pytest.fixture
def balancer(running):
    """The balancer, with all of its replicas up."""
    balancer, replicas = running
    for replica in replicas:
        replica.start_if_ended()
    balancer.wait_until_up(*replicas)
    return balancer


@pytest.fixture
def replicas(running, balancer):
    return running[1]


def restart(balancer, replica, number=signal.SIGTERM):
    """End a replica by a signal and start it again; return when requests go there."""
    replica.server.signal(number)
    assert replica.server.wait() == -number
    replica.start()
    balancer.wait_until_up(replica)


def holder(replicas):
    """Return the replica that has a request of many texts, as soon as there is one."""
    found = []

    def find():
        found[:] = [
            replica
            for replica in replicas
            if replica.serves and metric(replica.operations, "sentiment_queue_texts") > 50
        ]
        return found

    wait_until(find)
    (replica,) = found
    return replica


def sent_to_a_held_one(client, replicas, request_id, body=MANY):
    """Send a request of many texts; return the replica that has it and is held.

    The others, with whatever they were asked meanwhile, are released.
    """
    for replica in replicas:
        replica.hold()
    client.sendall(posting(body, f"X-Request-Id: {request_id}"))
    found = holder(replicas)
    for replica in replicas:
        if replica is not found:
            replica.release()
    return found


def logged(replica, request_id):
    return [line for line in replica.log if line.get("request_id") == request_id]


@no_replicas
class TestWhatHAProxySaysItself:
    """Without any replica, so that nobody else can have said it."""

    def test_no_replica_is_a_problem_with_a_time_to_come_again(self, running):
        balancer, replicas = running
        balancer.wait_until_down(*replicas)
        answer = post(balancer.address, b'["a"]', "X-Request-Id: nobody")
        assert (answer.status, answer.code) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-request-id"] == "nobody"

    @pytest.mark.parametrize(
        "sent",
        [b"EHLO mail.example.com\r\n\r\n", posting(b"")[:-2] + b"Content-Length: 1\r\n\r\n"],
        ids=["no HTTP", "two lengths"],
    )
    def test_what_it_cannot_read_is_refused_without_a_document(self, running, sent):
        (answer,) = exchange(running[0].address, sent)
        assert (answer.status, answer.code, answer.closes) == (400, None, True)

    @pytest.mark.nightly
    @pytest.mark.parametrize(
        ("sent", "code"),
        [(head("POST", "/")[:-2], None), (posting(b'["a"]')[:-1], "request-timeout")],
        ids=["half a head", "half a body"],
    )
    def test_half_a_request_is_a_problem_once_its_head_has_come(self, running, sent, code):
        (answer,) = exchange(running[0].address, sent)
        assert (answer.status, answer.code, answer.closes) == (408, code, True)


def test_an_id_arrives_end_to_end(balancer, replicas):
    answer = post(balancer.address, b'["a"]', "X-Request-Id: my-own.id_1")
    assert answer.headers["x-request-id"] == "my-own.id_1"
    wait_until(lambda: balancer.lines_of("my-own.id_1"))
    (line,) = balancer.lines_of("my-own.id_1")
    (replica,) = (each for each in replicas if each.name == line["replica"])
    wait_until(lambda: logged(replica, "my-own.id_1"))


@pytest.mark.parametrize(
    "fields",
    [(), ("X-Request-Id: not {an} id",), ("X-Request-Id: one", "X-Request-Id: other")],
    ids=["none", "no id", "two"],
)
def test_a_request_without_one_good_id_gets_one_from_the_balancer(balancer, replicas, fields):
    request_id = post(balancer.address, b'["a"]', *fields).headers["x-request-id"]
    assert request_id not in ("one", "other")
    wait_until(lambda: balancer.lines_of(request_id))
    wait_until(lambda: any(logged(replica, request_id) for replica in replicas))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/metrics?x=y"])
def test_probes_and_metrics_are_not_for_clients(balancer, path):
    sent = balancer.count("stot")
    answer = get(balancer.address, path, "X-Request-Id: probe")
    assert (answer.status, answer.code) == (404, "not-found")
    assert answer.headers["x-request-id"] == "probe"
    assert balancer.count("stot") == sent


def test_a_stream_answers_while_it_is_still_being_sent(balancer):
    with connect(balancer.address) as connection:
        fields = "Host: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"POST /v1/stream HTTP/1.1\r\n{fields}\r\n".encode())
        for index in range(3):
            connection.sendall(b'4\r\n"a"\n\r\n')
            received = b""
            while b'{"index":%d,' % index not in received:
                received += connection.recv(65536)
                assert received
        connection.sendall(b"0\r\n\r\n")
        received = b""
        while b'"done":true' not in received:
            received += connection.recv(65536)


def test_full_replicas_refuse_as_one_does_and_nobody_is_asked_twice(balancer, replicas):
    def refused():
        return sum(
            metric(replica.operations, "sentiment_rejected_total", reason="overloaded")
            for replica in replicas
        )

    before, retried = refused(), balancer.count("wretr")
    with ExitStack() as stack:
        for count, _ in enumerate(replicas, start=1):
            connection = stack.enter_context(connect(balancer.address))
            connection.sendall(posting(MOST, f"X-Request-Id: most-{count}"))
            wait_until(
                lambda full=count: (
                    full
                    == sum(
                        metric(replica.operations, "sentiment_backlog_seconds") > MAX_BACKLOG_S
                        for replica in replicas
                    )
                )
            )
        for _ in range(5):
            answer = post(balancer.address, MOST)
            assert (answer.status, answer.code) == (429, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
            assert json.loads(answer.body)["retry_after_ms"] > 0
        assert refused() == before + 5
        assert balancer.count("wretr") == retried
    # Their clients have hung up, which the replicas must learn, to be free again.
    for number in range(1, len(replicas) + 1):
        wait_until(lambda most=f"most-{number}": any(logged(each, most) for each in replicas))
    most = [line for each in replicas for line in each.log if line.get("texts") == MOST_TEXTS]
    assert [line["status"] for line in most if line["status"] != 429] == [499] * len(replicas)


def test_under_load_replicas_that_end_or_are_killed_lose_nothing(balancer, replicas):
    began_at, retried = len(balancer.log), balancer.count("wretr")
    with load(balancer, "HeadlineSingles", rate=8) as users, connect(balancer.address) as client:
        leaving = sent_to_a_held_one(client, replicas, "kept")
        leaving.server.signal(signal.SIGTERM)
        balancer.wait_until_down(leaving)
        sent = balancer.count("stot", leaving.name)
        balancer.wait_for_more(5)
        assert balancer.count("stot", leaving.name) == sent
        leaving.release()
        assert len(json.loads(take(client).body)) == MANY_TEXTS
        assert leaving.server.wait() == -signal.SIGTERM
        leaving.start()
        balancer.wait_until_up(leaving)
        killed = sent_to_a_held_one(client, replicas, "lost")
        killed.server.signal(signal.SIGKILL)
        assert len(json.loads(take(client).body)) == MANY_TEXTS
        answered = users.stop()
    assert answered > 10
    assert {line["status"] for line in balancer.log[began_at:]} == {200}
    (kept,) = logged(leaving, "kept")
    messages = [line["message"] for line in leaving.log]
    assert messages.index("draining") < leaving.log.index(kept)
    no_tracebacks(leaving.servers[0])
    (lost,) = balancer.lines_of("lost")
    assert lost["retries"] == "+1"
    assert lost["replica"] not in (killed.name, "<NOSRV>")
    assert balancer.count("wretr") > retried


@pytest.mark.nightly
def test_what_does_not_fit_into_the_balancers_buffer_is_not_sent_again(balancer, replicas):
    body = json.dumps([f"{number} {text_of(80)}" for number in range(4096)]).encode()
    assert 2**20 < len(body) < 4 * 2**20
    with connect(balancer.address) as connection:
        killed = sent_to_a_held_one(connection, replicas, "large", body)
        killed.server.signal(signal.SIGKILL)
        answer = take(connection)
    assert (answer.status, answer.code) == (502, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-request-id"] == "large"


@pytest.mark.nightly
@real
def test_under_every_kind_of_load_rolling_restarts_lose_nothing(balancer, replicas):
    kinds = ("HeadlineSingles", "AnalystArrays", "DocumentReaders", "Streamers", "HostileClients")
    began_at = len(balancer.log)
    with load(balancer, *kinds, rate=20) as users:
        for replica in 3 * replicas:
            restart(balancer, replica)
            no_tracebacks(replica.servers[-2])
        print(users.stop(), "answers in 9 restarts,", balancer.count("wretr"), "retries")
    # 429 where two replicas are too few for a while: Locust's users come back, and are answered.
    assert {line["status"] for line in balancer.log[began_at:]} <= {200, 429, GONE} | HOSTILE


@pytest.mark.nightly
@real
def test_under_load_nine_kills_lose_nothing(balancer, replicas):
    retried, began_at = balancer.count("wretr"), len(balancer.log)
    with load(balancer, "HeadlineSingles", "AnalystArrays", "DocumentReaders", rate=10) as users:
        for replica in 3 * replicas:
            wait_until(lambda at=replica: balancer.count("scur", at.name) > 0)
            restart(balancer, replica, signal.SIGKILL)
        print(users.stop(), "answers in 9 kills,", balancer.count("wretr") - retried, "retries")
    # Two replicas may be too few for a while; that is said, and Locust's users come back.
    assert {line["status"] for line in balancer.log[began_at:]} <= {200, 429}
    assert balancer.count("wretr") > retried
