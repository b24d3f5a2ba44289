"""Hundreds of clients that dawdle on purpose: each is cut in time, and nobody else notices."""

import asyncio
import os
import statistics
import time
from typing import cast

from benchmarks.reliability.client import Pool
from benchmarks.reliability.load import latencies_ms, open_loop, proving
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import Server, double, serving

HEAD = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
BODY = HEAD + b"Content-Length: 1000\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

HEAD_LIMIT_S, BODY_LIMIT_S = 5.0, 15.0
"""The settings' defaults; a second more is allowed to measure."""

ATTACKS: dict[str, tuple[bytes, bytes, float]] = {
    "idle": (b"", b"", HEAD_LIMIT_S),
    "half a head": (HEAD, b"", HEAD_LIMIT_S),
    "a dripped head": (HEAD + b"X: ", b"a", HEAD_LIMIT_S),
    "a dripped body": (BODY + b'["', b"a", BODY_LIMIT_S),
    "endless chunks": (CHUNKED + b'2\r\n["\r\n', b"1\r\na\r\n", BODY_LIMIT_S),
}
"""What is sent at once, what every half second, and when the server should have had enough."""

DRIP_S = 0.5


class Attacker(asyncio.Protocol):
    """One connection that sends next to nothing, until it is cut."""

    def __init__(self, opening: bytes, drip: bytes) -> None:
        self.received = b""
        self.closed_after_s: float | None = None
        self._opening, self._drip = opening, drip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._began_at = time.perf_counter()
        if self._opening:
            self.transport.write(self._opening)
        self._next()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if self.closed_after_s is None:
            self.closed_after_s = time.perf_counter() - self._began_at

    def _next(self) -> None:
        if self._drip and self.closed_after_s is None:
            self.transport.write(self._drip)
            asyncio.get_running_loop().call_later(DRIP_S, self._next)


async def slow_clients(
    *,
    attackers: int = 500,
    rate: float = 20,
    seconds: float = 20,
    limits_s: tuple[float, float] = (HEAD_LIMIT_S, BODY_LIMIT_S),
    **settings: object,
) -> Report:
    """Attack in every way at once while good requests run.

    Args:
        attackers: connections, shared between the kinds.
        rate: good requests a second.
        seconds: of the baseline and of the attack, each.
        limits_s: of head and body, as the settings have them.
        settings: of the server, where not the defaults.
    """
    report = Report("slow_clients")
    with serving(double(), **settings) as server:
        pool = Pool(server.address)
        requests = proving()
        await open_loop(pool, requests, rate=rate, seconds=2)
        pool.close()
        base = await settled(server)
        pool = Pool(server.address)
        before = await open_loop(pool, requests, rate=rate, seconds=seconds)
        attacking = await _attack(server, attackers)
        during = await open_loop(pool, requests, rate=rate, seconds=seconds)
        most = max(limits_s) + 1
        for _ in range(int(most * 10)):
            if all(one.closed_after_s is not None for kind in attacking.values() for one in kind):
                break
            await asyncio.sleep(0.1)
        after = await open_loop(pool, requests, rate=rate, seconds=seconds)
        pool.close()
        descriptors = await settled(server, base)
        threads = server.threads
    for name, group in attacking.items():
        limit_s = limits_s[ATTACKS[name][2] == BODY_LIMIT_S]
        times = [one.closed_after_s or float("inf") for one in group]
        told = sum(b"HTTP/1.1 408" in one.received for one in group)
        report.figures[name] = {
            "attackers": len(group),
            "closed_after_s": [round(min(times), 2), round(max(times), 2)],
            "told_408": told,
        }
        report.check(f"{name}: last one closed s", max(times), "<=", limit_s + 1)
        if ATTACKS[name][0]:
            report.check(f"{name}: told why", told, "==", len(group))
    quiet_ms = statistics.mean(latencies_ms(load)["p99_ms"] for load in (before, after))
    attacked = latencies_ms(during)
    report.figures["good_before"] = latencies_ms(before)
    report.figures["good_during"] = attacked
    report.figures["good_after"] = latencies_ms(after)
    report.figures["threads"] = threads
    report.figures["load_average"] = os.getloadavg()[0]
    report.check("good p99 / without attack", attacked["p99_ms"] / quiet_ms, "<=", 2)
    report.check("good requests refused", sum(s.status != 200 for s in during), "==", 0)
    report.check("descriptors left over", descriptors - base, "<=", 2)
    return report


async def _attack(server: Server, attackers: int) -> dict[str, list[Attacker]]:
    loop = asyncio.get_running_loop()
    groups: dict[str, list[Attacker]] = {name: [] for name in ATTACKS}
    for _ in range(attackers // len(ATTACKS)):
        for name, (opening, drip, _) in ATTACKS.items():
            _, attacker = await loop.create_connection(
                lambda opening=opening, drip=drip: Attacker(opening, drip), *server.address
            )
            groups[name].append(attacker)
    return groups


async def settled(server: Server, base: int | None = None, *, within_s: float = 10) -> int:
    """Return the server's open descriptors once they are back at `base`, or stay the same."""
    seen = server.descriptors
    for _ in range(int(within_s / 0.25)):
        await asyncio.sleep(0.25)
        now = server.descriptors
        if now <= base if base is not None else now == seen:
            return now
        seen = now
    return seen
