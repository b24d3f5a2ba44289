"""What it costs to post articles whole: `python -m benchmarks.documents`.

The same articles are posted to `/v1/documents` and, split into sentences before, as arrays to `/`.
Both kinds of request take turns on one server, one request at a time, so that what else the
machine does slows both down alike; medians are compared. Writes `documents.json`.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
import uvloop

from benchmarks.measurement import (
    BenchmarkError,
    base_parser,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.models import model_folder
from benchmarks.processes import Neighbours
from benchmarks.reliability.client import Pool, posting
from benchmarks.servers import RunningServer, ours, serving
from benchmarks.texts import load_texts
from sentiment.sentences import sentence_spans

T = TypeVar("T")

PATIENT = {"deadline_s": 3600, "max_backlog_s": 100_000}
"""Settings of the server: a busy machine must not make it refuse."""

PARAGRAPH_TEXTS = 4
"""Texts of the source in one paragraph of an article."""

MAX_SENTENCE_CHARS = 20_000
"""As the server's own limit."""


@dataclass(slots=True)
class Way:
    """One way to post the same articles."""

    path: str
    bodies: list[list[dict[str, str]]]
    latencies_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def document(self, articles: int) -> dict[str, float]:
        """Return its figures; `articles` are in each request."""
        return {
            "median_ms_an_article": significant(
                statistics.median(self.latencies_s) * 1000 / articles
            ),
            "cpu_ms_an_article": significant(self.cpu_s * 1000 / articles / len(self.latencies_s)),
        }


def main() -> None:
    """Measure and write `benchmarks/results/documents.json`."""
    parser = base_parser(__doc__)
    parser.add_argument("--precision", default="fp32", help="as SENTIMENT_PRECISION")
    parser.add_argument("--articles", type=int, default=100)
    parser.add_argument("--words", type=int, default=1000, help="of an article")
    parser.add_argument("--together", type=int, default=5, help="articles in a request")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.articles, arguments.rounds = 10, 1
    publish("documents", uvloop.run(comparison(arguments)), arguments)


async def comparison(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the figures of both ways and the ratio of their medians."""
    folder, together = model_folder(arguments.model), arguments.together
    source = load_texts(arguments.texts, arguments.articles * arguments.words // 5)
    articles = list(itertools.islice(composed(source, arguments.words), arguments.articles))
    if len(articles) < arguments.articles:
        raise BenchmarkError(f"texts for {len(articles)} of {arguments.articles} articles")
    sentences = [sentences_of(article) for article in articles]
    ways = {
        "documents": Way(
            "/v1/documents",
            [[{"text": article} for article in group] for group in grouped(articles, together)],
        ),
        "arrays": Way(
            "/",
            [
                [{"text": text} for own in group for text in own]
                for group in grouped(sentences, together)
            ],
        ),
    }
    with serving(ours(folder, arguments.precision, **PATIENT)) as server:
        neighbours = Neighbours()
        await _measure(ways, server, rounds=arguments.rounds)
        foreign_cores = neighbours.cores()
        facts = server.info()
    figures = {name: way.document(together) for name, way in ways.items()}
    return {
        "model": folder.name,
        "engine": facts["engine"],
        "articles": len(articles),
        "words_an_article": arguments.words,
        "sentences": sum(map(len, sentences)),
        "articles_in_a_request": together,
        "rounds": arguments.rounds,
        "foreign_cores": significant(foreign_cores, 2),
        "split_cpu_ms_an_article": significant(_split_s(articles) * 1000 / len(articles)),
        "ways": figures,
        "documents_to_arrays": {
            name: significant(figures["documents"][name] / figures["arrays"][name])
            for name in figures["arrays"]
        },
    }


def composed(texts: Sequence[str], words: int) -> Iterator[str]:
    """Yield articles of `words` words or a few more, in paragraphs, no text in two of them."""
    article: list[str] = []
    for text in texts:
        article.append(text)
        if sum(len(each.split()) for each in article) >= words:
            yield "\n\n".join(" ".join(group) for group in grouped(article, PARAGRAPH_TEXTS))
            article = []


def sentences_of(article: str) -> list[str]:
    """Return what the server makes of an article."""
    return [
        article[start:end] for start, end in sentence_spans(article, max_chars=MAX_SENTENCE_CHARS)
    ]


def grouped(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Return the items in groups of `size`; the last may be smaller."""
    return [items[first : first + size] for first in range(0, len(items), size)]


async def _measure(ways: dict[str, Way], server: RunningServer, *, rounds: int) -> None:
    pool = Pool(server.address)
    await pool.open(1)
    for way in ways.values():  # once unmeasured: kernels are made for shapes as they come
        await _post(pool, way, 0)
    for turn in range(rounds):
        for index in range(len(ways["arrays"].bodies)):
            for name in turn_order(ways, turn + index):
                way = ways[name]
                cpu_before, began_at = server.cpu_s(), time.perf_counter()
                await _post(pool, way, index)
                way.latencies_s.append(time.perf_counter() - began_at)
                way.cpu_s += server.cpu_s() - cpu_before
    pool.close()


async def _post(pool: Pool, way: Way, index: int) -> None:
    answer = await pool.request(posting(orjson.dumps(way.bodies[index]), path=way.path))
    if answer.status != 200:
        raise BenchmarkError(f"{way.path} answers {answer.status}: {answer.body.decode()}")


def _split_s(articles: Sequence[str]) -> float:
    """Return the processor time that splitting takes."""
    measured = []
    for _ in range(5):
        began_at = time.process_time()
        for article in articles:
            sentences_of(article)
        measured.append(time.process_time() - began_at)
    return min(measured)


if __name__ == "__main__":
    run(main)
