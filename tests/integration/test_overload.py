"""More work than the engine does: refused early, told honestly, shared fairly."""

import pytest

from sentiment.api import answering
from sentiment.tokenization import Tokenization
from tests.application import Application, answers, ids_of, scores, wait_for
from tests.contract import problem

TOKEN_S = 10.0
"""Predicted seconds of a token: what a test takes is nothing beside it."""
TEXT_TOKENS = 6
TEXTS = [
    text
    for text in (f"a b c {number}" for number in range(100, 200))
    if len(ids_of(text)) == TEXT_TOKENS
]
OCCUPYING_TOKENS = 8
PLACES = 10
ALMOST_FULL = {
    "cache_texts": 0,
    "deadline_s": 3600,
    # Room for PLACES texts behind the occupying one, and half a text more.
    "max_backlog_s": TOKEN_S * (OCCUPYING_TOKENS + TEXT_TOKENS * (PLACES - 0.5)),
}


@pytest.fixture
def application():
    with Application(cache_texts=0) as application:
        yield application


@pytest.fixture
def full():
    """An application whose queue takes nothing more; `waiting` are the accepted calls."""
    with Application(**ALMOST_FULL) as application:
        application.predict(token_s=TOKEN_S)
        with application.occupied():
            application.waiting = []
            for text in TEXTS[:PLACES]:
                application.waiting.append(application.spawn(text))
                application.wait_until_waiting(len(application.waiting))
            yield application
        assert [call.result().status_code for call in application.waiting] == [200] * PLACES


def test_exactly_what_is_too_much_is_refused_and_counted(full):
    refusals = [full.post(text) for text in TEXTS[PLACES : PLACES + 7]]
    for refusal in refusals:
        document = problem(refusal, 429, "overloaded")
        assert 0 < document["retry_after_ms"] <= int(refusal.headers["retry-after"]) * 1000
    assert len({refusal.json()["retry_after_ms"] for refusal in refusals}) > 1  # not all at once
    assert full.metric("rejected_total", reason="overloaded") == 7
    assert full.metric("requests_total", route="POST /", status="429") == 7
    assert full.metric("queue_texts") == PLACES
    full.engine.release()
    for text, call in zip(TEXTS, full.waiting, strict=False):
        assert scores(call.result()) == answers(text)
    assert not any(full.seen(text) for text in TEXTS[PLACES:])


def test_a_refusal_costs_neither_parsing_nor_tokenising(full, monkeypatch):
    done = []
    encode = Tokenization.encode

    async def counted(self, *arguments):
        done.append("tokenised")
        return await encode(self, *arguments)

    def parse(*_, **__):
        done.append("parsed")

    monkeypatch.setattr(Tokenization, "encode", counted)
    monkeypatch.setattr(answering, "parse_json", parse)
    problem(full.post("one too many"), 429, "overloaded")
    headers = {"Content-Type": "application/json"}
    problem(full.client.post("/", content=b"{not json", headers=headers), 429, "overloaded")
    problem(
        full.client.post("/analyze_sentiment", content=b"{", headers=headers), 429, "overloaded"
    )
    monkeypatch.undo()
    assert done == []


def test_no_stream_begins_while_the_queue_is_full(full):
    refusal = full.client.post("/v1/stream", content=b"")  # one with lines would wait for room
    document = problem(refusal, 429, "overloaded")
    assert 0 < document["retry_after_ms"] <= int(refusal.headers["retry-after"]) * 1000
    assert full.metric("requests_total", route="POST /v1/stream", status="429") == 1


def test_only_what_is_accepted_is_tokenised(monkeypatch):
    tokenised = []
    encode = Tokenization.encode

    async def counted(self, texts, *options):
        tokenised.extend(texts)
        return await encode(self, texts, *options)

    with Application(deadline_s=3600, max_backlog_s=1000) as application:
        application.predict(token_s=TOKEN_S)
        with application.occupied(), monkeypatch.context() as patch:
            patch.setattr(Tokenization, "encode", counted)
            refused = application.post(*TEXTS[:3], timeout_ms=90_000)
            problem(refused, 504, "deadline-exceeded")
            assert refused.json()["texts_that_fit"] == 0  # the occupying one takes 80 s
            accepted = application.spawn(*TEXTS[:2])
            application.wait_until_waiting(2)
        assert scores(accepted.result()) == answers(*TEXTS[:2])
    assert tokenised == TEXTS[:2]


def test_probes_are_green_while_the_queue_is_full(full):
    problem(full.post("one too many"), 429, "overloaded")
    assert full.client.get("/livez").is_success
    assert full.client.get("/readyz").is_success  # or all replicas would be taken out together
    assert full.client.get("/info").is_success


def test_the_queue_takes_again_as_soon_as_it_has_room(full):
    problem(full.post(TEXTS[-1]), 429, "overloaded")
    full.engine.release()
    wait_for(lambda: full.metric("queue_texts") == 0)
    assert full.get(TEXTS[-1]) == answers(TEXTS[-1])


def test_a_deadline_passes_in_the_queue_though_the_engine_is_busy(application):
    with application.occupied():
        late = application.post("comes too late", "and so does this", timeout_ms=50)
        problem(late, 504, "deadline-exceeded")
        assert application.metric("queue_texts") == 0
    application.get("another")
    assert not application.seen("comes too late")
    assert not application.seen("and so does this")
    assert application.metric("rejected_total", reason="deadline-exceeded") == 1


def test_a_client_cannot_lengthen_the_servers_deadline():
    with Application(deadline_s=0.1) as application, application.occupied() as occupying:
        late = application.post("late", timeout_ms=999_999_999)
        assert "within 0.1 s" in problem(late, 504, "deadline-exceeded")["detail"]
        problem(occupying.result(), 504, "deadline-exceeded")


def test_single_texts_overtake_a_large_request(application):
    large = [f"large {index}" for index in range(1000)]
    small = [f"small {index}" for index in range(50)]
    with application.occupied():
        giant = application.spawn(*large)
        application.wait_until_waiting(len(large))  # a batch of it at the gate
        calls = [application.spawn(text) for text in small]
        application.wait_until_waiting(len(large) + len(small))
    assert scores(giant.result()) == answers(*large)
    for text, call in zip(small, calls, strict=True):
        assert scores(call.result()) == answers(text)
    batches = application.batches
    last = max(
        index
        for index, batch in enumerate(batches)
        if any(tuple(ids_of(text)) in batch for text in small)
    )
    assert last <= 3  # behind the occupying one and the one that stood ready
    tokens = sum(len(ids_of(text)) for text in (*large, *small))
    assert len(batches) <= 2 + 1.1 * tokens / 1024


def test_single_texts_that_wait_together_share_one_batch(application):
    with application.occupied():
        calls = [application.spawn(text) for text in TEXTS[:32]]
        application.wait_until_waiting(32)
    for text, call in zip(TEXTS, calls, strict=False):
        assert scores(call.result()) == answers(text)
    assert len(application.batches) <= 3  # the occupying text, what stood ready, all the rest
