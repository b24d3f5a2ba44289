"""Who loads the server: analysts, feeds of headlines, readers of articles, streams, and a bad one.

Every answer is compared with what the same server answered for that text alone, so that an answer
that reached somebody else is a failure. To use them, import them in a locustfile: it gives Locust
their options, and asks for the answers before the first of them begins.
"""

import itertools
import math
import random
from collections.abc import Sequence

import orjson

from loadtests import listeners  # noqa: F401  their options, and their target
from loadtests.answers import Known
from loadtests.arrivals import Exchange, OpenLoopUser, Request, judged
from loadtests.connections import Answer, chunked
from loadtests.hostile import ATTACKS, Attack, unexpected
from loadtests.texts import Lengths

ARRAY_TEXTS = (10, 500)
STREAM_TEXTS = (50, 300)
"""Fewest and most; between them every size is as likely as half of it."""

STREAM_HEADERS = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
STREAM_ENDINGS = ("draining", "worker-down", "unavailable")
"""Of a stream that the server had to end: documented, and begun again by its client."""

LINES_A_PIECE = 50


class HeadlineSingles(OpenLoopUser):
    """A feed: one headline a request, on the route for one text or as an array of one."""

    weight = 93
    mean_texts = 1

    def compose(self) -> Request:
        asked = self.target.table.take("headline", 1)
        if random.random() < 0.5:
            return Request("/analyze_sentiment", 1, lambda: self._analyze(asked))
        return Request("/ (1 text)", 1, lambda: classify(self, asked))

    def _analyze(self, asked: Sequence[Known]) -> Exchange:
        answer = self.target.connections.post("/analyze_sentiment", {"text": asked[0].text})
        return judged(answer, lambda answer: self.target.table.wrong(asked, _analyzed(answer)))


class AnalystArrays(OpenLoopUser):
    """An analyst: an array of headlines of the morning."""

    weight = 3
    mean_texts = 125

    def compose(self) -> Request:
        asked = self.target.table.take("headline", size_between(*ARRAY_TEXTS))
        return Request("/ (array)", len(asked), lambda: classify(self, asked))


class DocumentReaders(OpenLoopUser):
    """A reader of articles: one to three of them, sentence by sentence."""

    weight = 1
    mean_texts = 110
    lengths = Lengths.read()

    def compose(self) -> Request:
        documents = [self._sentences() for _ in range(random.randint(1, 3))]
        count = sum(map(len, documents))
        return Request("/v1/documents", count, lambda: self._read(documents))

    def _sentences(self) -> list[Known]:
        """Return sentences of as many words as an article has."""
        missing = self.lengths.draw("article", random.Random())
        sentences: list[Known] = []
        while missing > 0:
            sentences += self.target.table.take("sentence", 1)
            missing -= len(sentences[-1].text.split())
        return sentences

    def _read(self, documents: Sequence[Sequence[Known]]) -> Exchange:
        texts = ["\n\n".join(known.text for known in sentences) for sentences in documents]
        asked = [{"id": number, "text": text} for number, text in enumerate(texts)]
        answer = self.target.connections.post("/v1/documents", asked)
        return judged(answer, lambda answer: self._wrong(documents, texts, answer))

    def _wrong(
        self, documents: Sequence[Sequence[Known]], texts: Sequence[str], answer: Answer
    ) -> str:
        read = answer.document()
        try:
            if [document["id"] for document in read] != list(range(len(documents))):
                return "not one answer for each document, in their order"
            for sentences, text, document in zip(documents, texts, read, strict=True):
                places = [text[each["start"] : each["end"]] for each in document["sentences"]]
                if places != [known.text for known in sentences]:
                    return "not the sentences of this document"
                if wrong := self.target.table.wrong(sentences, document["sentences"]):
                    return wrong
        except (TypeError, KeyError):
            return "not what /v1/documents answers"
        return ""


class Streamers(OpenLoopUser):
    """A file that is piped through `/v1/stream`: NDJSON, answered line by line."""

    weight = 1
    mean_texts = 140

    def compose(self) -> Request:
        asked = self.target.table.take("sentence", size_between(*STREAM_TEXTS))
        return Request("/v1/stream", len(asked), lambda: self._stream(asked))

    def _stream(self, asked: Sequence[Known]) -> Exchange:
        lines = (
            orjson.dumps({"text": known.text, "id": number}) + b"\n"
            for number, known in enumerate(asked)
        )
        pieces = iter(lambda: b"".join(itertools.islice(lines, LINES_A_PIECE)), b"")
        with self.target.connections.open() as conversation:
            conversation.send_head("/v1/stream", STREAM_HEADERS)
            # All at once would deadlock: who does not read is not read.
            conversation.send_meanwhile(chunked(pieces))
            answer = conversation.answer()
        return self._ended(asked, answer) or judged(
            answer, lambda answer: self._wrong(asked, _lines(answer))
        )

    def _ended(self, asked: Sequence[Known], answer: Answer) -> Exchange | None:
        """Return what it means that the server ended the stream or had no time for lines."""
        lines = _lines(answer) if answer.status == 200 else []
        if not lines:
            return None
        size = len(answer.body)
        if _code(lines[-1]) in STREAM_ENDINGS and not lines[-1].get("done"):
            return Exchange(answer.status, size, refused_for_s=0)
        if any(_code(line) == "deadline-exceeded" for line in lines):
            return Exchange(answer.status, size, late=True)
        return None

    def _wrong(self, asked: Sequence[Known], lines: Sequence[dict]) -> str:
        if not lines or lines[-1] != {"done": True, "texts": len(asked), "errors": 0}:
            return "a stream without its end"
        answers = lines[:-1]
        if [line.get("id") for line in answers] != list(range(len(asked))):
            return "not one line for each line, in their order"
        return self.target.table.wrong(asked, answers)


class HostileClients(OpenLoopUser):
    """A client that means no good; anything but the documented refusal is a failure."""

    weight = 2
    mean_texts = 1

    def compose(self) -> Request:
        attack = random.choice(ATTACKS)
        return Request(f"hostile: {attack.name}", 0, lambda: self._attack(attack))

    def _attack(self, attack: Attack) -> Exchange:
        answer = attack.perform(self.target.connections, self.target.limits)
        if answer is None:
            return Exchange(0)
        size = len(answer.body)
        if answer.refused:
            return Exchange(answer.status, size, refused_for_s=answer.retry_after_s)
        proxied = self.environment.parsed_options.behind_proxy
        wrong = unexpected(attack, answer, behind_proxy=proxied)
        return Exchange(answer.status, size, wrong=wrong)


def classify(user: OpenLoopUser, asked: Sequence[Known]) -> Exchange:
    """Post an array of texts and compare the answers."""
    table = user.target.table
    answer = user.target.connections.post("/", [{"text": known.text} for known in asked])
    return judged(answer, lambda answer: table.wrong(asked, answer.document()))


def size_between(fewest: int, most: int) -> int:
    """Return a size of which the logarithm is evenly distributed: small ones are frequent."""
    return round(math.exp(random.uniform(math.log(fewest), math.log(most))))


def _analyzed(answer: Answer) -> list[dict]:
    document = answer.document()
    if not isinstance(document, dict):
        return []
    return [{"label": document.get("sentiment"), "score": document.get("confidence_score")}]


def _lines(answer: Answer) -> list[dict]:
    try:
        return [orjson.loads(line) for line in answer.body.splitlines()]
    except orjson.JSONDecodeError:
        return []


def _code(line: dict) -> str:
    error = line.get("error")
    return error.get("code", "") if isinstance(error, dict) else ""
