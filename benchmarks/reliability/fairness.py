"""The largest request there may be, beside single texts, on the bundled model."""

import asyncio
import statistics
import time

import orjson

from benchmarks.reliability.client import Pool, posting
from benchmarks.reliability.load import Request, Sample, ask, latencies_ms, percentile, poisson
from benchmarks.reliability.overload import real_requests
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import REAL, Server, serving
from benchmarks.reliability.texts import headlines
from sentiment.batching.tuning import best_token_budget
from sentiment.engines import open_engine
from sentiment.models import COMPACT_FOLDER, read_model
from sentiment.settings import usable_cores
from sentiment.tokenization import Tokenization, load_tokenizer

GIANT_TEXTS = 4096
SLACK_S = 0.01
"""What tokenising, parsing and two ends of a socket may take beside two batches."""


async def fairness(*, rate: float = 5, rounds: int = 3) -> Report:
    """Send 4,096 texts in one request, alone and with single texts beside, in turns.

    The single texts' bound is two batch times and 10 ms; the batch time is the mean of the
    passes that ran meanwhile, from the server's metrics.
    """
    report = Report("fairness")
    texts = headlines(GIANT_TEXTS, seed=5)
    giant = Request(
        posting(orjson.dumps(texts)), GIANT_TEXTS, lambda body: body.count(b"label") == GIANT_TEXTS
    )
    singles = iter(real_requests(1, count=10_000))
    engine_s = await asyncio.to_thread(_engine_alone_s, texts)
    rows = []
    with serving(REAL, max_backlog_s=30) as server:
        pool, others = Pool(server.address), Pool(server.address)
        await ask(pool, giant, intended_at=0, began_at=time.perf_counter())
        for _ in range(rounds):
            alone = await ask(pool, giant, intended_at=0, began_at=time.perf_counter())
            passes = _passes(server)
            running = asyncio.create_task(
                ask(pool, giant, intended_at=0, began_at=time.perf_counter())
            )
            samples: list[Sample] = []

            async def single(
                intended_at: float,
                began_at: float,
                *,
                running: asyncio.Task[Sample] = running,
                samples: list[Sample] = samples,
            ) -> None:
                request = next(singles)
                if not running.done():
                    samples.append(
                        await ask(others, request, intended_at=intended_at, began_at=began_at)
                    )

            await poisson(single, rate=rate, seconds=alone.ended_at * 1.2)
            beside = await running
            count, seconds = (now - then for now, then in zip(_passes(server), passes, strict=True))
            held = [s for s in samples if s.intended_at < beside.ended_at]
            rows.append(
                {
                    "alone_s": alone.ended_at,
                    "beside_s": beside.ended_at,
                    "batch_s": seconds / count,
                    "singles": latencies_ms(held),
                    "p99_s": percentile([s.latency_s for s in held], 0.99),
                    "right": alone.right and beside.right and all(s.right for s in samples),
                }
            )
        pool.close()
        others.close()

    def median(key: str) -> float:
        return statistics.median(float(row[key]) for row in rows)  # type: ignore[arg-type]

    report.figures = {
        "rounds": rows,
        "giant_alone_s": round(median("alone_s"), 2),
        "giant_beside_singles_s": round(median("beside_s"), 2),
        "engine_alone_s": round(engine_s, 2),
        "batch_s": round(median("batch_s"), 4),
    }
    bound_s = 2 * median("batch_s") + SLACK_S
    report.check("single texts' p99 s, median of rounds", median("p99_s"), "<=", bound_s)
    loss = median("beside_s") / median("alone_s") - 1
    report.check("the giant's loss to its neighbours", loss, "<=", 0.1)
    report.check("the giant's loss to the bare engine", median("alone_s") / engine_s - 1, "<=", 0.1)
    report.check("wrong answers", sum(not row["right"] for row in rows), "==", 0)
    return report


async def giants_beside_one(*, seconds: float = 30, giants: int = 10) -> Report:
    """Ten clients that send nothing but large requests, and one that sends single texts."""
    report = Report("giants_beside_one")
    body = posting(orjson.dumps(headlines(1024, seed=6)))
    giant = Request(body, 1024, lambda body: True)
    singles = iter(real_requests(1, count=10_000))
    samples: list[Sample] = []
    with serving(REAL, max_backlog_s=60) as server:
        pool = Pool(server.address)
        ends_at = time.perf_counter() + seconds
        began_at = time.perf_counter()

        async def insist() -> None:
            while time.perf_counter() < ends_at:
                await ask(pool, giant, intended_at=0, began_at=began_at)

        async def one() -> None:
            await asyncio.sleep(3)
            while (now := time.perf_counter()) < ends_at:
                samples.append(
                    await ask(pool, next(singles), intended_at=now - began_at, began_at=began_at)
                )

        passes = _passes(server)
        running = asyncio.gather(*(insist() for _ in range(giants)), one())
        await asyncio.sleep(seconds)
        count, total_s = (now - then for now, then in zip(_passes(server), passes, strict=True))
        await running
        pool.close()
    batch_s = total_s / count
    p99_s = percentile([sample.latency_s for sample in samples], 0.99)
    report.figures = {"batch_s": round(batch_s, 4), "singles": latencies_ms(samples)}
    refused = sum(sample.status != 200 for sample in samples) / len(samples)
    report.check("the small client refused", refused, "<=", 0.01)
    report.check("its p99 s", p99_s, "<=", 4 * batch_s + SLACK_S)
    return report


def _engine_alone_s(texts: list[str]) -> float:
    """Return the seconds that the bare engine takes for `texts`, tokenised, in full batches."""
    model = read_model(COMPACT_FOLDER, name="compact")
    engine = open_engine(model, engine="auto", device="cpu", threads=usable_cores())
    budget = best_token_budget(engine)
    with Tokenization(
        load_tokenizer(model.folder), max_tokens=model.max_tokens, threads=1
    ) as tokenization:
        encodings = tokenization.encode_now(texts).ids
    batches, tokens = [[]], 0
    for ids in encodings:
        if tokens + len(ids) > budget:
            batches.append([])
            tokens = 0
        batches[-1].append(ids)
        tokens += len(ids)
    times = []
    for _ in range(3):
        began_at = time.perf_counter()
        for batch in batches:
            engine.infer(engine.batch_type.collate(batch))
        times.append(time.perf_counter() - began_at)
    return statistics.median(times)


def _passes(server: Server) -> tuple[float, float]:
    name = "sentiment_infer_seconds"
    return server.metric(f"{name}_count"), server.metric(f"{name}_sum")
