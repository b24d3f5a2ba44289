"""More work than the server can do: what it still answers, how soon it refuses, how it recovers.

The double's capacity follows from its service time; what of it the machine can deliver is
measured, closed loop, before and after each load, so that a busy neighbour slows both.
"""

import asyncio
import itertools
import os
import random
import statistics
from collections.abc import Iterator, Sequence

import orjson

from benchmarks.reliability.client import Pool, getting, posting
from benchmarks.reliability.load import (
    LOST,
    Request,
    Sample,
    ask,
    closed_loop,
    goodput,
    latencies_ms,
    open_loop,
    percentile,
    poisson,
    proving,
    server_errors,
    statuses,
    wrong,
)
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import REAL, Server, double, serving
from benchmarks.reliability.texts import headlines

BASE_MS, TOKEN_MS = 20.0, 0.25
BATCH_TEXTS = 16
TEXT_TOKENS = 8
BATCH_S = (BASE_MS + TOKEN_MS * BATCH_TEXTS * TEXT_TOKENS) / 1000
CAPACITY = BATCH_TEXTS / BATCH_S
"""Texts a second of the double: 16 in 52 ms."""

BACKLOG_S = 1.0
SETTLE_S = 2.0
"""How long a load runs before its goodput counts: the backlog fills meanwhile."""

DOUBLE = double(base_ms=BASE_MS, token_ms=TOKEN_MS)
SETTINGS = {"token_budget": BATCH_TEXTS * TEXT_TOKENS, "max_backlog_s": BACKLOG_S}


async def overload(
    *,
    multiples: Sequence[float] = (1, 3, 10),
    seconds: float = 20,
    capacity_s: float = 4,
) -> Report:
    """Offer multiples of the double's capacity and see what is answered."""
    report = Report("overload")
    with serving(DOUBLE, **SETTINGS) as server:
        pool = Pool(server.address)
        requests = proving()
        peak = await measured_capacity(pool, requests, seconds=capacity_s)
        points = {}
        for multiple in multiples:
            cpu_s, log_bytes = server.cpu_s, server.log_bytes
            samples = await open_loop(pool, requests, rate=multiple * CAPACITY, seconds=seconds)
            used_s, logged = server.cpu_s - cpu_s, server.log_bytes - log_bytes
            after = await measured_capacity(pool, requests, seconds=capacity_s)
            good = goodput(samples, from_s=SETTLE_S, until_s=seconds)
            reference, peak = (peak + after) / 2, after
            points[f"{multiple:g}x"] = {
                "goodput": round(good, 1),
                "peak": round(reference, 1),
                "share_of_peak": round(good / reference, 3),
                "statuses": statuses(samples),
                "accepted": latencies_ms(samples),
                "refused": latencies_ms(samples, 429),
                "server_cpu_s": round(used_s, 2),
                "log_bytes": logged,
                "late_p99_ms": _late_ms(samples),
                "load_average": round(os.getloadavg()[0], 2),
            }
            name = f"{multiple:g}x"
            report.check(f"{name} goodput / peak", good / reference, ">=", 0.95)
            accepted = [s.latency_s for s in samples if s.status == 200]
            refused = [s.latency_s for s in samples if s.status == 429]
            limit_s = BACKLOG_S + 2 * BATCH_S
            report.check(f"{name} accepted p99 s", percentile(accepted, 0.99), "<=", limit_s)
            report.check(f"{name} refused p99 s", percentile(refused, 0.99), "<=", 0.05)
            report.check(f"{name} 5xx", server_errors(samples), "==", 0)
            report.check(f"{name} wrong", wrong(samples), "==", 0)
            report.check(f"{name} lost", sum(s.status == LOST for s in samples), "==", 0)
        lag = server.quantile("sentiment_event_loop_lag_seconds", 0.99)
        pool.close()
    report.figures = {"capacity": round(CAPACITY, 1), "loop_lag_p99_s": lag, "points": points}
    return report


async def measured_capacity(
    pool: Pool, requests: Iterator[Request], *, seconds: float = 4
) -> float:
    """Return the texts a second that 64 clients get, each waiting for its answer."""
    samples = await closed_loop(pool, requests, clients=64, seconds=seconds)
    return goodput(samples, from_s=1, until_s=seconds)


async def real_overload(*, texts: int = 8, seconds: float = 15, rounds: int = 3) -> Report:
    """Offer three times what the bundled model can do, and ask its probes meanwhile."""
    report = Report("real_overload")
    requests = itertools.cycle(real_requests(texts, count=400))
    rows = []
    with serving(REAL, max_backlog_s=BACKLOG_S) as server:
        pool, probes = Pool(server.address), Pool(server.address)
        await closed_loop(pool, requests, clients=16, seconds=3)  # the cost model learns
        for _ in range(rounds):
            before = await closed_loop(pool, requests, clients=16, seconds=6)
            rate = 3 * goodput(before, from_s=1, until_s=6) / texts
            cpu_s = server.cpu_s
            probing = asyncio.create_task(probe(probes, seconds=seconds))
            samples = await open_loop(pool, requests, rate=rate, seconds=seconds)
            cpu_s = server.cpu_s - cpu_s
            probed = await probing
            after = await closed_loop(pool, requests, clients=16, seconds=6)
            peak = (goodput(before, from_s=1, until_s=6) + goodput(after, from_s=1, until_s=6)) / 2
            good = goodput(samples, from_s=SETTLE_S, until_s=seconds)
            rows.append(
                {
                    "peak": round(peak, 1),
                    "share_of_peak": good / peak,
                    "statuses": statuses(samples),
                    "accepted": latencies_ms(samples),
                    "refused": latencies_ms(samples, 429),
                    "probes": latencies_ms(probed),
                    "probe_failures": sum(s.status != 200 for s in probed),
                    "server_cpu_s": round(cpu_s, 1),
                    "load_average": round(os.getloadavg()[0], 2),
                }
            )
            report.check("5xx", server_errors(samples), "==", 0)
            report.check("probe failures", rows[-1]["probe_failures"], "==", 0)
        batch_s = mean_pass_s(server)
        lag = server.quantile("sentiment_event_loop_lag_seconds", 0.99)
        pool.close()
        probes.close()
    share = statistics.median(row["share_of_peak"] for row in rows)
    report.check("3x goodput / peak, median", share, ">=", 0.9)
    accepted_ms = statistics.median(row["accepted"]["p99_ms"] for row in rows)
    report.check("3x accepted p99 ms, median", accepted_ms, "<=", (BACKLOG_S + 2 * batch_s) * 1000)
    refused_ms = statistics.median(row["refused"]["p99_ms"] for row in rows)
    report.check("3x refused p99 ms, median", refused_ms, "<=", 50)
    probes_ms = statistics.median(row["probes"]["p99_ms"] for row in rows)
    report.check("probes p99 ms, median", probes_ms, "<=", 100)
    report.figures = {"mean_pass_s": batch_s, "loop_lag_p99_s": lag, "rounds": rows}
    return report


async def probe(pool: Pool, *, seconds: float, every_s: float = 0.1) -> list[Sample]:
    """Ask `/livez` and `/readyz` in turn and return what they said."""
    requests = itertools.cycle(
        Request(getting(path), 0, lambda body: True) for path in ("/livez", "/readyz")
    )
    return await open_loop(pool, requests, rate=1 / every_s, seconds=seconds, seed=1)


async def recovery(*, burst_s: float = 1, calm_s: float = 8, calm: float = 0.5) -> Report:
    """After a burst of ten times the capacity, `calm` of it must be served as if nothing was.

    The backlog that the burst leaves is worked off by the share that is free: with the half of
    it in twice `max_backlog_s`, which is set to half a second here.
    """
    report = Report("recovery")
    with serving(DOUBLE, **{**SETTINGS, "max_backlog_s": 0.5}) as server:
        pool = Pool(server.address)
        requests = proving()
        await measured_capacity(pool, requests, seconds=2)
        baseline = await open_loop(pool, requests, rate=calm * CAPACITY, seconds=calm_s)
        burst = asyncio.create_task(
            open_loop(pool, requests, rate=10 * CAPACITY, seconds=burst_s, seed=1)
        )
        await asyncio.sleep(burst_s)
        after_it = await open_loop(pool, requests, rate=calm * CAPACITY, seconds=calm_s, seed=2)
        bursts = await burst
        waiting = server.metric("sentiment_queue_texts")
        pool.close()
    settled = [sample for sample in after_it if sample.intended_at > 2]
    before, after = latencies_ms(baseline)["p99_ms"], latencies_ms(settled)["p99_ms"]
    report.figures = {
        "baseline": latencies_ms(baseline),
        "burst": statuses(bursts),
        "from_2_s_on": latencies_ms(settled),
        "second_by_second_p99_ms": _by_second(after_it, calm_s),
    }
    report.check("p99 from 2 s on / baseline", after / before, "<=", 1.2)
    report.check("refused from 2 s on", sum(s.status != 200 for s in settled), "==", 0)
    report.check("5xx", server_errors([*bursts, *after_it]), "==", 0)
    report.check("texts that wait at the end", waiting, "==", 0)
    return report


async def retries(*, seconds: float = 30) -> Report:
    """Twice the capacity from clients that come again: the overload must not feed itself."""
    report = Report("retries")
    for honours in (True, False):
        with serving(DOUBLE, **SETTINGS) as server:
            pool = Pool(server.address)
            requests = proving()
            peak = await measured_capacity(pool, requests)
            samples = await _retrying(
                pool, requests, rate=2 * CAPACITY, seconds=seconds, honours=honours
            )
            good = goodput(samples, from_s=SETTLE_S, until_s=seconds)
            after = await open_loop(pool, requests, rate=0.8 * CAPACITY, seconds=8, seed=3)
            peak = (peak + await measured_capacity(pool, requests)) / 2
            pool.close()
        late = [sample for sample in after if sample.intended_at > 3]
        name = "honouring Retry-After" if honours else "at once"
        report.figures[name] = {
            "goodput": round(good, 1),
            "peak": round(peak, 1),
            "attempts": len(samples),
            "statuses": statuses(samples),
            "afterwards": statuses(after),
        }
        report.check(f"{name}: goodput / peak", good / peak, ">=", 0.9)
        report.check(f"{name}: refused 3 s after", sum(s.status != 200 for s in late), "==", 0)
        report.check(f"{name}: 5xx", server_errors([*samples, *after]), "==", 0)
    return report


async def _retrying(
    pool: Pool, requests: Iterator[Request], *, rate: float, seconds: float, honours: bool
) -> list[Sample]:
    """As `open_loop`, with up to three more attempts at whatever is refused."""
    samples: list[Sample] = []
    source = random.Random(4)

    async def insist(intended_at: float, began_at: float) -> None:
        request = next(requests)
        for attempt in range(4):
            sample = await ask(pool, request, intended_at=intended_at, began_at=began_at)
            samples.append(sample)
            if sample.status != 429 or attempt == 3:
                return
            wait_s = float(sample.retry_after_s or 1) if honours else source.uniform(0, 0.1)
            await asyncio.sleep(wait_s)
            intended_at = sample.ended_at + wait_s

    await poisson(insist, rate=rate, seconds=seconds)
    return samples


def real_requests(texts: int, *, count: int) -> list[Request]:
    """Return requests to the real model; that the answer has as many items is checked."""
    pool = headlines(texts * count)
    return [
        Request(
            posting(orjson.dumps(pool[start : start + texts])),
            texts,
            lambda body: len(orjson.loads(body)) == texts,
        )
        for start in range(0, len(pool), texts)
    ]


def mean_pass_s(server: Server) -> float:
    """Return the mean of the forward passes so far."""
    name = "sentiment_infer_seconds"
    return server.metric(f"{name}_sum") / max(1.0, server.metric(f"{name}_count"))


def _late_ms(samples: Sequence[Sample]) -> float:
    """Return the 99th percentile of how late the client itself was."""
    return round(percentile([s.sent_at - s.intended_at for s in samples], 0.99) * 1000, 1)


def _by_second(samples: Sequence[Sample], seconds: float) -> list[float]:
    return [
        latencies_ms([s for s in samples if second <= s.intended_at < second + 1])["p99_ms"]
        for second in range(int(seconds))
    ]
