"""What the server keeps: memory, threads and descriptors under load, processor time at rest."""

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.reliability.client import Pool, Unanswered, posting
from benchmarks.reliability.load import Request, ask, proving, statuses
from benchmarks.reliability.overload import real_requests
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import MIB, REAL, Server, double, serving
from benchmarks.reliability.slow_clients import settled
from benchmarks.reliability.texts import headlines
from sentiment.engines import open_engine
from sentiment.engines.batches import PackedBatch
from sentiment.models import COMPACT_FOLDER, read_model
from sentiment.settings import usable_cores
from sentiment.tokenization import Tokenization, load_tokenizer

QUICK = double(base_ms=1, token_ms=0.001)
"""A double that is never what a request waits for."""

LEAK_BYTES = 2000
"""What the leaking double keeps of each text."""

PAUSE_S = 0.3
"""Between a request and a bare pass, and back."""

BAD_BODIES = (
    b"", b"[", b'["a"', b"null", b"7", b"[1]", b'[{"text": 1}]', b'[""]', b'["\\ud800"]', b"[NaN]",
    b"\xff\xfe", b"[" * 300, b'{"text": "a"}', b'[{"txt": "a"}]', b'["' + b"x" * 20_001 + b'"]',
    b"[" + b'"a",' * 4096 + b'"a"]',
)  # fmt: skip
"""One of each class of refusal."""


async def memory(
    *, requests: int = 100_000, warm_up: int = 20_000, limit_mib: float = 8, leak_bytes: int = 0
) -> Report:
    """Send good requests to the double; its memory must stay what it is."""
    command = double(base_ms=1, token_ms=0.001, leak_bytes=leak_bytes)
    report = Report("leaking_memory" if leak_bytes else "memory")
    await _watch(report, command, proving(), requests, warm_up, limit_mib, allowed={200})
    return report


async def leaking_memory(*, requests: int = 20_000, warm_up: int = 5_000) -> Report:
    """The control of the check above: a double that leaks must fail it."""
    leaking = await memory(requests=requests, warm_up=warm_up, leak_bytes=LEAK_BYTES)
    report = Report("leaking_memory", figures=leaking.figures)
    failed = [check for check in leaking.checks if not check.holds]
    report.check("the leak was found", sum("MiB" in check.name for check in failed), "==", 1)
    return report


async def real_memory(*, requests: int = 100_000, warm_up: int = 20_000) -> Report:
    """The same with the bundled model and headlines of mixed lengths, with the cache as usual."""
    report = Report("real_memory")
    texts = itertools.cycle(real_requests(1, count=20_000))
    await _watch(report, REAL, texts, requests, warm_up, 32, allowed={200}, cache_texts=8192)
    return report


async def bad_memory(*, requests: int = 100_000, warm_up: int = 10_000) -> Report:
    """The same with requests that are refused, each for another reason, or whose client leaves."""
    report = Report("bad_memory")
    bad = [Request(posting(body), 0, lambda body: False) for body in BAD_BODIES]
    await _watch(
        report, QUICK, itertools.cycle(bad), requests, warm_up, 8, allowed={400, 413, 422}, leave=10
    )
    return report


async def _watch(
    report: Report,
    command: tuple[str, ...],
    requests: Iterator[Request],
    count: int,
    warm_up: int,
    limit_mib: float,
    *,
    allowed: set[int],
    leave: int = 0,
    **settings: object,
) -> None:
    """Send `warm_up` requests and `count` more; of these one in `leave` hangs up at once."""
    with serving(command, **settings) as server:
        first = Pool(server.address)
        await _send(first, requests, warm_up, leave=leave)
        first.close()
        base = await settled(server)
        threads, memories = server.threads, [await _resident(server)]
        pool = Pool(server.address)
        seen: dict[str, int] = {}
        for _ in range(10):
            for status, times in (await _send(pool, requests, count // 10, leave=leave)).items():
                seen[status] = seen.get(status, 0) + times
            memories.append(await _resident(server))
        pool.close()
        descriptors = await settled(server, base)
        threads_after = server.threads
    growth = (memories[-1] - memories[0]) / MIB
    report.figures = {
        "requests": count,
        "statuses": seen,
        "resident_mib": [round(each / MIB, 1) for each in memories],
        "bytes_a_request_theil_sen": round(_slope(memories) / (count / 10), 1),
    }
    unexpected = sum(times for status, times in seen.items() if int(status) not in {*allowed, 0})
    report.check("growth MiB", growth, "<=", limit_mib)
    report.check("threads more", threads_after - threads, "<=", 0)
    report.check("descriptors more", descriptors - base, "<=", 2)
    report.check("unexpected answers", unexpected, "==", 0)


async def _send(
    pool: Pool, requests: Iterator[Request], count: int, *, leave: int, clients: int = 64
) -> dict[str, int]:
    """Send `count` requests from `clients` at a time; return the statuses."""
    left = iter(range(count))
    samples = []

    async def client() -> None:
        for number in left:
            request = next(requests)
            if leave and number % leave == 0:
                connection = await pool.connection()
                answer = connection.send(request.data)
                await asyncio.sleep(0)
                connection.abort()
                await asyncio.wait([answer])
                answer.exception()
            else:
                samples.append(await ask(pool, request, intended_at=0, began_at=0))

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses(samples)


async def _resident(server: Server) -> int:
    await asyncio.sleep(0.3)  # what is in flight ends
    return server.resident_bytes


def _slope(values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs, by index (Theil 1950, Sen 1968)."""
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs)


async def connections(*, count: int = 10_000) -> Report:
    """Open and abort connections, with and without a request; nothing of them may stay."""
    report = Report("connections")
    with serving(QUICK) as server:
        requests = proving()
        pool = Pool(server.address)
        await _send(pool, requests, 200, leave=0, clients=20)  # every thread has begun
        pool.close()
        base, threads = await settled(server), server.threads
        for start in range(0, count, 200):
            pool = Pool(server.address)
            opened = [await pool.connection() for _ in range(min(200, count - start))]
            answers = [one.send(next(requests).data) for one in opened[::2]]
            await asyncio.sleep(0)
            for one in opened:
                one.abort()
            for answer in await asyncio.gather(*answers, return_exceptions=True):
                assert not isinstance(answer, BaseException) or isinstance(answer, Unanswered)
        began_at = time.perf_counter()
        descriptors = await settled(server, base)
        report.figures = {"settled_s": round(time.perf_counter() - began_at, 2), "base": base}
        report.check("descriptors more", descriptors - base, "<=", 2)
        report.check("threads more", server.threads - threads, "<=", 0)
    return report


async def idle(*, seconds: float = 60) -> Report:
    """A server that nobody asks must not use the processor."""
    report = Report("idle")
    with serving(REAL) as server:
        pool = Pool(server.address)
        for request in real_requests(8, count=20):
            await ask(pool, request, intended_at=0, began_at=0)
        await asyncio.sleep(1)  # threads of the last pass spin for a while
        before = server.cpu_s
        await asyncio.sleep(seconds)
        share = (server.cpu_s - before) / seconds
        pool.close()
    report.figures = {"seconds": seconds, "cpu_share": round(share, 5)}
    report.check("processor's share of one core", share, "<=", 0.01)
    return report


async def added_latency(*, requests: int = 60) -> Report:
    """What the way over HTTP adds to a forward pass: the same single text, in turns."""
    report = Report("added_latency")
    text = headlines(1)[0]
    threads = usable_cores()
    model = read_model(COMPACT_FOLDER, name="compact")
    engine = open_engine(model, engine="auto", device="cpu", threads=threads)
    with Tokenization(
        load_tokenizer(model.folder), max_tokens=model.max_tokens, threads=1
    ) as tokenization:
        batch = engine.batch_type.collate(tokenization.encode_now([text]).ids)
    assert isinstance(batch, PackedBatch)
    request = Request(posting(b'["%b"]' % text.encode()), 1, lambda body: len(body) > 0)
    through, alone = [], []
    with serving(REAL) as server:
        pool = Pool(server.address)
        for _ in range(requests + 10):
            began_at = time.perf_counter()
            sample = await ask(pool, request, intended_at=0, began_at=began_at)
            through.append(sample.ended_at)
            # Threads of a pass go on spinning for a while: the other process must not feel it.
            await asyncio.sleep(PAUSE_S)
            began_at = time.perf_counter()
            engine.infer(batch)
            alone.append(time.perf_counter() - began_at)
            await asyncio.sleep(PAUSE_S)
        pool.close()
    through, alone = through[10:], alone[10:]
    added_ms = (np.median(through) - np.median(alone)) * 1000
    report.figures = {
        "tokens": batch.tokens,
        "over_http_p50_ms": round(float(np.median(through)) * 1000, 3),
        "pass_p50_ms": round(float(np.median(alone)) * 1000, 3),
        "load_average": os.getloadavg()[0],
    }
    report.check("added p50 ms", float(added_ms), "<=", 1.5)
    return report
