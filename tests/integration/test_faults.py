"""What breaks inside: who is told, and that everybody else is answered right."""

import asyncio
import json
import math
import shutil
import time

import numpy as np
import pytest

from sentiment.manifest import renew_entry
from sentiment.models import COMPACT_FOLDER
from sentiment.tokenization import Tokenization
from tests.application import Application, answers, scores, telling, wait_for
from tests.contract import problem

HARMLESS = [f"harmless {index}" for index in range(31)]
POISONED = "this is poison to the engine"


@pytest.fixture
def application():
    with Application(cache_texts=0) as application:
        yield application


@pytest.mark.parametrize("place", [0, 13, 31])
def test_one_poisonous_request_of_thirty_two_fails_alone(application, place):
    texts = [*HARMLESS[:place], POISONED, *HARMLESS[place:]]
    with application.occupied():
        calls = [application.spawn(text) for text in texts]
        application.wait_until_waiting(32)
    for text, call in zip(texts, calls, strict=True):
        if text == POISONED:
            problem(call.result(), 500, "inference-failed")
        else:
            assert scores(call.result()) == answers(text)
    # The occupying text, what stood ready at the gate, and the others with the search by halves.
    assert len(application.batches) <= 1 + 1 + 11
    assert application.metric("rejected_total", reason="inference-failed") == 1


def test_a_poisonous_text_fails_its_whole_request_and_no_neighbour(application):
    with application.occupied():
        poisoned = application.spawn(*HARMLESS[:16], POISONED, *HARMLESS[16:])
        neighbours = [application.spawn(f"neighbour {index}") for index in range(20)]
        application.wait_until_waiting(52)
    problem(poisoned.result(), 500, "inference-failed")
    for index, call in enumerate(neighbours):
        assert scores(call.result()) == answers(f"neighbour {index}")
    # Nothing is held against a text that failed: it is tried again.
    before = application.seen(POISONED)
    problem(application.post(POISONED), 500, "inference-failed")
    assert application.seen(POISONED) == before + 1


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, KeyError, RecursionError])
def test_an_engine_that_fails_on_everything_for_a_while_costs_that_while_alone(application, error):
    def fail(logits):
        raise error("secret of the implementation")

    application.engine.tamper = fail
    for _ in range(3):
        response = application.post("a", "b", "c")
        expected = (503, "out-of-memory") if error is MemoryError else (500, "inference-failed")
        problem(response, *expected)
        assert "secret" not in response.text
    application.engine.tamper = telling
    wait_for(lambda: application.client.get("/livez").is_success)  # it may have been replaced
    assert application.get("a", "b", "c") == answers("a", "b", "c")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda logits: logits[1:],
        lambda logits: np.concatenate([logits, logits[:1]]),
        lambda logits: logits * math.nan,
        lambda logits: logits + math.inf,
        lambda logits: -logits / 0.0,
        lambda logits: logits[:, :2],
        lambda logits: np.concatenate([logits, logits[:, :1]], axis=1),
    ],
    ids=["a row too few", "a row too many", "NaN", "infinity", "minus infinity",
         "a label too few", "a label too many"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_an_engine_that_answers_nonsense_answers_nobody(tamper):
    with Application() as application:  # with the cache: nonsense must not be remembered
        application.engine.tamper = tamper
        texts = HARMLESS[:5]
        problem(application.post(*texts), 500, "inference-failed")
        application.engine.tamper = telling
        assert application.get(*texts) == answers(*texts)


def test_logits_may_be_negative_and_large(application):
    application.engine.tamper = lambda logits: -1e30 * logits
    for scored in application.get("a", "b"):
        assert sum(scored.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
)
def test_an_engine_thread_that_ends_is_replaced_and_everybody_is_told(application, error):
    def die(logits):
        raise error

    with application.occupied() as occupying:
        application.engine.tamper = die
        waiting = [application.spawn(text) for text in HARMLESS]
        application.wait_until_waiting(31)
    for call in (occupying, *waiting):
        problem(call.result(), 503, "worker-down")
        assert 1 <= int(call.result().headers["retry-after"]) <= 3
    wait_for(lambda: application.client.get("/livez").is_success)
    assert application.metric("worker_restarts_total") == 1
    assert len(application.engines) == 2
    assert application.get(*HARMLESS) == answers(*HARMLESS)


def test_an_engine_that_hangs_turns_probes_red_and_is_replaced():
    with Application(engine_timeout_s=0.3) as application:
        hung = application.engine
        hung.hold()
        impatient = application.spawn("impatient", timeout_ms=50)
        waiting = [application.spawn(text) for text in HARMLESS]
        problem(impatient.result(), 504, "deadline-exceeded")
        for call in waiting:
            problem(call.result(), 503, "worker-down")
        wait_for(lambda: application.client.get("/livez").is_success)
        assert application.engine is not hung
        assert application.metric("worker_restarts_total") == 1
        before = len(hung.batches)
        hung.release()  # its late answers are for nobody
        wait_for(lambda: len(hung.batches) > before)
        assert application.get(*HARMLESS) == answers(*HARMLESS)
        assert len(hung.batches) == before + 1


def test_while_no_engine_can_be_opened_everybody_is_told_so(monkeypatch):
    with Application() as application:

        def fail(*_):
            raise OSError("no weights here")

        batcher = application.analyzer._batcher
        monkeypatch.setattr(batcher, "_reopen", fail)
        application.engine.tamper = lambda logits: exec("raise SystemExit")
        problem(application.post("a"), 503, "worker-down")
        for path in ("/livez", "/readyz"):
            problem(application.client.get(path), 503, "worker-down")
        assert application.metric("ready") == 0
        problem(application.post("b"), 503, "worker-down")
        assert application.client.get("/info").is_success
        monkeypatch.undo()


def test_a_text_that_the_tokenizer_cannot_bear_costs_its_own_request(application, monkeypatch):
    encode = Tokenization._encode_chunk

    def fail_on_some(self, texts, left=False):
        if any("indigestible" in text for text in texts):
            raise RuntimeError("secret of the implementation")
        return encode(self, texts, left)

    monkeypatch.setattr(Tokenization, "_encode_chunk", fail_on_some)
    application.expected_defects = True
    with application.occupied():
        neighbours = [application.spawn(text) for text in HARMLESS]
        refused = application.post(*HARMLESS, *["indigestible"] * 300)
        document = problem(refused, 500, "internal")
        assert "secret" not in json.dumps(document)
    for text, call in zip(HARMLESS, neighbours, strict=True):
        assert scores(call.result()) == answers(text)
    assert application.metric("rejected_total", reason="internal") == 1


def test_a_loop_that_was_blocked_says_so_and_goes_on(application):
    def late():
        return application.metric("event_loop_lag_seconds_count") - application.metric(
            "event_loop_lag_seconds_bucket", le="0.1"
        )

    async def block():
        time.sleep(0.6)  # noqa: ASYNC251 the fault itself

    assert late() == 0
    application.client.portal.call(block)
    wait_for(lambda: late() == 1)
    assert application.client.get("/livez").is_success


def test_labels_keep_the_order_that_the_model_gives_them(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(COMPACT_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    labels = ["Neutral", "POSITIVE", "negative"]
    changed = {
        "id2label": dict(enumerate(labels)),
        "label2id": {n: i for i, n in enumerate(labels)},
    }
    (folder / "config.json").write_text(json.dumps(config | changed))
    renew_entry(folder / "config.json")
    with Application(model=str(folder)) as application:
        application.engine.tamper = lambda logits: np.tile(np.float32([0, 1, 2]), (len(logits), 1))
        response = application.post("a")
        assert [item["label"] for item in response.json()[0]] == ["negative", "positive", "neutral"]
        assert application.client.get("/info").json()["model"]["labels"] == [
            "neutral",
            "positive",
            "negative",
        ]


def test_the_clock_on_the_wall_may_jump_by_an_hour(application, monkeypatch):
    now, jumps = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * (-1) ** next(jumps))
    with application.occupied():
        calls = [application.spawn(text, timeout_ms=20_000) for text in HARMLESS]
        application.wait_until_waiting(31)
    for text, call in zip(HARMLESS, calls, strict=True):
        assert scores(call.result()) == answers(text)


def test_probes_turn_red_when_the_batcher_dies():
    with Application() as application:
        application.client.portal.call(application.analyzer._batcher._task.cancel)
        for path in ("/livez", "/readyz"):
            problem(application.client.get(path), 503, "unavailable")
        problem(application.post("a"), 503, "unavailable")
        application.lost = True


def raise_secret(*_):
    raise RuntimeError("secret of the implementation")


def raise_cancelled(*_):
    raise asyncio.CancelledError  # nobody cancelled: no drain, but a defect


@pytest.mark.parametrize("defect", [raise_secret, raise_cancelled])
def test_a_defect_of_ours_is_a_problem_without_details(application, monkeypatch, defect):
    application.expected_defects = True
    with monkeypatch.context() as patch:
        patch.setattr("sentiment.api.faces.classification.render_predictions", defect)
        response = application.post("a")
    problem(response, 500, "internal")
    assert "secret" not in response.text
