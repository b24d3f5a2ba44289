"""What an operator reads from `/metrics` beside what requests leave there."""

import pytest

from sentiment.api.routes import route_names
from sentiment.metrics import outcome_of, resident_bytes
from tests.application import Application


def test_a_server_says_whether_requests_should_come_as_its_probe_does():
    with Application() as application:
        assert application.client.get("/readyz").status_code == 200
        assert application.metric("ready") == 1
        application.client.app_state["lifecycle"].drain()
        assert application.client.get("/readyz").status_code == 503
        assert application.metric("ready") == 0
        application.lost = True


def test_a_server_of_one_process_wants_one():
    with Application() as application:
        assert application.metric("wanted_worker_processes") == 1
        assert application.metric("worker_processes") == 1


def test_failures_are_shown_as_none_before_the_first_of_them():
    # Else the first of each would be no growth, and no alert would see it.
    with Application() as application:
        shown = {
            (sample.labels["route"], sample.labels["status"]): sample.value
            for family in application.families()
            for sample in family.samples
            if sample.name == "sentiment_requests_total"
        }
    classifying = {route for route in route_names() if route.startswith(("POST ", "PUT "))}
    assert len(classifying) >= 8
    for route in classifying:
        for status in ("200", "429", "500", "503", "504"):
            assert shown[route, status] == 0


def test_what_is_refused_is_no_quick_answer():
    with Application() as application:

        def observed(outcome):
            labels = {"route": "POST /", "outcome": outcome}
            return application.metric("request_seconds_count", **labels)

        application.get("one")
        assert application.client.post("/", json=[1]).status_code == 422
        assert application.post("poison").status_code == 500
        assert [observed(outcome) for outcome in ("answered", "refused", "failed")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "answered"),
        (304, "answered"),
        (401, "refused"),
        (429, "refused"),
        (499, "refused"),
        (500, "failed"),
        (504, "failed"),
    ],
)
def test_every_status_is_one_of_three_outcomes(status, outcome):
    assert outcome_of(status) == outcome


def test_the_limit_that_the_backlog_is_held_against_is_shown():
    with Application(max_backlog_s=7.5) as application:
        assert application.metric("max_backlog_seconds") == 7.5


def test_how_many_texts_are_remembered_is_shown():
    with Application(cache_texts=2) as application:
        assert application.metric("cache_texts") == 0
        application.get("one")
        assert application.metric("cache_texts") == 1
        application.get("one", "two", "three")
        assert application.metric("cache_texts") == 2


def test_memory_and_time_of_cores_are_those_of_the_process():
    with Application() as application:
        assert application.metric("memory_bytes") > 2**24
        before = application.metric("cpu_seconds_total")
        while application.metric("cpu_seconds_total") < before + 0.01:
            application.get("work")


def test_memory_is_not_made_up_where_the_kernel_does_not_tell(tmp_path):
    assert resident_bytes() > 2**24
    assert str(resident_bytes(tmp_path / "absent")) == "nan"
