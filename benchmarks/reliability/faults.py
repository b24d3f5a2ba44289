"""What goes wrong around a server: poison, stuck logs, no descriptors, no disk, tiny chunks."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Iterator

from benchmarks.reliability.client import Pool, Unanswered, posting
from benchmarks.reliability.load import (
    Request,
    ask,
    closed_loop,
    goodput,
    open_loop,
    proving,
    statuses,
    wrong,
)
from benchmarks.reliability.overload import DOUBLE, SETTINGS
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import MIB, Server, double, serving
from benchmarks.reliability.texts import body_of, numbered

POISONED = 0.05


async def poison_stream(*, seconds: float = 20) -> Report:
    """One text in twenty makes its batch fail: the others are answered, more slowly."""
    report = Report("poison_stream")
    with serving(DOUBLE, **{**SETTINGS, "max_backlog_s": 10}) as server:
        server.tell("poison on")
        pool = Pool(server.address)
        clean = await closed_loop(pool, proving(), clients=64, seconds=5)
        bad = await closed_loop(pool, _some_poisoned(), clients=64, seconds=seconds)
        pool.close()
    good = goodput(bad, from_s=1, until_s=seconds)
    peak = goodput(clean, from_s=1, until_s=5)
    failed = [sample for sample in bad if sample.status != 200]
    report.figures = {
        "statuses": statuses(bad),
        "goodput_of_clean": round(good / peak, 3),
    }
    report.check("good requests refused", sum(s.texts == 1 for s in failed), "==", 0)
    report.check("poisoned requests answered", sum(s.status != 500 for s in failed), "==", 0)
    report.check("wrong", wrong(bad), "==", 0)
    return report


def _some_poisoned() -> Iterator[Request]:
    # `texts` 0 marks the poisoned ones: they are nothing that could be answered.
    good = proving(start=10**9)
    for number, request in enumerate(good):
        if number % round(1 / POISONED) == 0:
            text = numbered(2 * 10**9 + number, poisoned=True)
            yield Request(posting(body_of([text])), 0, lambda body: False)
        else:
            yield request


async def stuck_logs(*, seconds: float = 5) -> Report:
    """Nobody reads the logs: requests and probes must not notice."""
    report = Report("stuck_logs")
    reader, writer = os.pipe()
    try:
        with serving(double(base_ms=1, token_ms=0.001), relay_log_to=writer, log_level="debug") as (
            server
        ):
            pool = Pool(server.address)
            async with asyncio.timeout(10 * seconds):  # stuck itself, it would never answer
                samples = await closed_loop(pool, proving(), clients=8, seconds=seconds)
            probes = [
                await ask(pool, request, intended_at=0, began_at=time.perf_counter())
                for request in [Request(b"GET /livez HTTP/1.1\r\nHost: b\r\n\r\n", 0, bool)] * 20
            ]
            pool.close()
    finally:
        os.close(reader)
        os.close(writer)
    late = [s for s in samples if s.intended_at > seconds - 1]
    report.figures = {"statuses": statuses(samples), "in_the_last_second": len(late)}
    report.check("requests that failed", sum(not s.right for s in samples), "==", 0)
    report.check("requests in the last second", len(late), ">=", 100)
    report.check("slowest probe s", max(s.ended_at for s in probes), "<=", 0.25)
    return report


async def no_descriptors(*, limit: int = 64, connections: int = 200) -> Report:
    """More connections than descriptors: no crash, no busy loop, and service afterwards."""
    report = Report("no_descriptors")
    with serving(double(base_ms=1, token_ms=0.001)) as server:
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        held = [socket.create_connection(server.address) for _ in range(connections)]
        await asyncio.sleep(0.5)
        before = server.cpu_s
        await asyncio.sleep(3)
        share = (server.cpu_s - before) / 3
        for one in held:
            one.close()
        began_at = time.perf_counter()
        status = 0
        while status != 200 and time.perf_counter() - began_at < 10:
            pool = Pool(server.address)
            try:
                (sample,) = [await _once(pool)]
                status = sample
            except (Unanswered, OSError, TimeoutError):
                await asyncio.sleep(0.1)
            pool.close()
        recovered_s = time.perf_counter() - began_at
        running = server.process.poll() is None
    report.figures = {"cpu_share": round(share, 3), "recovered_s": round(recovered_s, 2)}
    report.check("process runs", running, "==", 1)
    report.check("processor's share while exhausted", share, "<=", 0.2)
    report.check("answers again after s", recovered_s, "<=", 5)
    return report


async def _once(pool: Pool) -> int:
    async with asyncio.timeout(2):
        return (await pool.request(next(proving()).data)).status


async def tiny_chunks(*, chunks: int = 1_000_000, repeats: int = 20) -> Report:
    """A body in a million chunks of one byte, again and again: refused, and nothing is kept."""
    report = Report("tiny_chunks")
    head = (
        b"POST / HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    data = head + b'1\r\n"\r\n' + b"1\r\na\r\n" * (chunks - 1) + b"0\r\n\r\n"
    said = []
    with serving(double(base_ms=1, token_ms=0.001)) as server:
        for _ in range(3):
            said.append(await asyncio.to_thread(_send_all, server, data))
        before = server.resident_bytes
        for _ in range(repeats):
            said.append(await asyncio.to_thread(_send_all, server, data))
        growth = (server.resident_bytes - before) / MIB
        pool = Pool(server.address)
        good = await open_loop(pool, proving(), rate=20, seconds=1)
        pool.close()
    report.figures = {"statuses": sorted(set(said)), "growth_mib": round(growth, 2)}
    report.check("growth MiB", growth, "<=", 1)
    report.check("not refused", sum(status not in (400, 408, 413) for status in said), "==", 0)
    report.check("good requests after it that failed", sum(not s.right for s in good), "==", 0)
    return report


def _send_all(server: Server, data: bytes) -> int:
    """Send, then read the status of the first answer; 0 if there is none."""
    with socket.create_connection(server.address, timeout=60) as connection:
        received = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while more := connection.recv(65536):
                received += more
        except OSError:
            pass
    return int(received[9:12] or 0)


async def full_disk(*, requests: int = 200) -> Report:
    """No byte can be written anywhere: temporary files and logs fail, requests do not."""
    report = Report("full_disk")
    with serving(double(base_ms=1, token_ms=0.001)) as server:
        # Every write to a file beyond what is there fails, as on a full disk.
        size = server.log_bytes
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, size))
        pool = Pool(server.address)
        samples = [
            await ask(pool, request, intended_at=0, began_at=0)
            for request, _ in zip(proving(), range(requests), strict=False)
        ]
        pool.close()
        running = server.process.poll() is None
    report.figures = {"statuses": statuses(samples)}
    report.check("process runs", running, "==", 1)
    report.check("requests that failed", sum(not s.right for s in samples), "==", 0)
    return report
