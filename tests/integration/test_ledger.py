"""What clients got and what the metrics say agree to the last request; so do texts and answers."""

from collections import Counter

from tests.application import Application, answers, scores, wait_for
from tests.texts import text_of

JSON = {"Content-Type": "application/json"}


class Ledger:
    """Counts what clients got, by the names that the metrics have for it."""

    def __init__(self, application):
        self.application = application
        self.requests = Counter()
        self.rejected = Counter()
        self.labels = Counter()

    def enter(self, response, route="POST /"):
        self.requests[route, str(response.status_code)] += 1
        if response.is_success:
            if route == "POST /":
                for ranked in response.json():
                    self.labels[ranked[0]["label"]] += 1
            elif route == "POST /analyze_sentiment":
                self.labels[response.json()["sentiment"]] += 1
        else:
            self.rejected[response.json()["code"]] += 1
        return response

    def post(self, *texts, **options):
        return self.enter(self.application.post(*texts, **options))

    def send(self, method, path, *, route=None, **options):
        response = self.application.client.request(method, path, **options)
        return self.enter(response, route or f"{method} {path}")

    def check(self):
        """Compare every counter with every label, those that nobody expected included."""
        counted = {"requests": Counter(), "rejected": Counter(), "texts": Counter()}
        for family in self.application.families():
            for sample in family.samples:
                name = sample.name.removeprefix("sentiment_").removesuffix("_total")
                if name in counted and sample.labels.get("route") != "GET /metrics":
                    values = tuple(sample.labels.values())
                    counted[name][values if len(values) > 1 else values[0]] += int(sample.value)
        assert counted["requests"] == self.requests
        assert counted["rejected"] == self.rejected
        assert counted["texts"] == self.labels


def test_metrics_agree_with_what_clients_got():
    with Application(max_texts=50, max_backlog_s=1000, deadline_s=3600) as application:
        ledger = Ledger(application)
        application.analyzer._metrics.cache_hits.reset()

        # Good ones: new, cached in part, cached whole, none at all, cut.
        ledger.post("one", "two", "three")
        ledger.post("three", "four")
        ledger.post("one", "two")
        ledger.post()
        ledger.post(text_of(600), "short")
        ledger.send("POST", "/analyze_sentiment", json={"text": "five"})
        assert application.metric("cache_hits_total") == 3
        assert application.metric("truncated_total") == 1
        assert application.metric("tokenize_seconds_count") == 4 + 4  # four of the warm-up

        # Bad ones.
        for _ in range(2):
            ledger.send("POST", "/", content=b"[", headers=JSON)
        ledger.send("POST", "/", content=b'["\xff"]', headers=JSON)
        ledger.send("POST", "/", content=b"[]", headers={"Content-Type": "text/plain"})
        ledger.post("fine", " ")
        ledger.post("fine", timeout_ms="soon")
        ledger.post(*["many"] * 51)
        ledger.send("GET", "/nothing", route="other")
        ledger.send("PUT", "/", route="other")
        ledger.send("GET", "/livez")

        # Coalesced: with the one that waits, with the one that runs, and within a request.
        computed = application.metric("batch_texts_sum")
        application.predict(token_s=10)  # so that none stands ready at the gate
        with application.occupied() as occupying:
            calls = [application.spawn("seven", "eight"), occupying]
            application.wait_until_waiting(2)
            calls.append(application.spawn("eight", "nine", "nine"))
            wait_for(lambda: application.metric("coalesced_total") == 2)
            ledger.post("comes too late", timeout_ms=50)
            application.predict(token_s=1000)
            ledger.post("has too much before it")
        for call in calls:
            ledger.enter(call.result())
        assert application.metric("batch_texts_sum") == computed + 4
        assert application.metric("coalesced_total") == 2

        # Poison, alone and in company.
        ledger.post("poison")
        ledger.post("twelve", "poison")
        assert application.metric("failed_batches_total") == 3

        ledger.check()
        assert ledger.requests["POST /", "200"] == 8
        assert ledger.rejected == {
            "invalid-json": 2, "invalid-encoding": 1, "media-type": 1, "text-empty": 1,
            "bad-header": 1, "too-many-texts": 1, "not-found": 1, "method-not-allowed": 1,
            "deadline-exceeded": 1, "overloaded": 1, "inference-failed": 2,
        }  # fmt: skip


def test_answers_keep_their_order_however_they_are_cut_into_batches():
    sizes = (1, 2, 3, 5, 16, 17, 63, 64, 255, 256)
    requests = [[f"request {size} text {index}" for index in range(size)] for size in sizes]
    with Application(token_budget=64, cache_texts=0) as application:
        calls = [application.spawn(*texts) for texts in requests]
        for texts, call in zip(requests, calls, strict=True):
            assert scores(call.result()) == answers(*texts)
        assert len(application.batches) > sum(sizes) * 6 / 64


def test_answers_keep_their_order_where_texts_are_shared_cached_and_repeated():
    pool = [f"shared {index}" for index in range(30)]
    with Application(token_budget=64, cache_texts=10) as application:
        requests = [[pool[i * step % 30] for i in range(1 + step)] for step in range(1, 40)]
        calls = [application.spawn(*texts) for texts in requests]
        for texts, call in zip(requests, calls, strict=True):
            assert scores(call.result()) == answers(*texts)
