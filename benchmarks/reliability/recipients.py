"""A million texts, with clients that leave and engines that die: nothing lost, mixed up or twice.

Every text is different and its score proves it, every request's fate is known to its client,
and at the end the client's ledger must agree with the server's metrics.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.reliability.client import Connection, Pool, Unanswered, posting
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import Server, double, serving
from benchmarks.reliability.texts import answers_to, body_of, labels_of, numbered

CONNECTIONS = 64
MAX_TEXTS = 256
DISCONNECTS = 0.05
POISONED = 0.01
DEADLINES = 0.1
"""Shares of the requests that hang up early, hold the text on which the engine fails, and
allow less time than most requests need."""

GIVE_UP = 100
"""Wrong answers after which nothing is left to prove."""

DOUBLE = double(base_ms=1, token_ms=0.005)


@dataclass
class Ledger:
    """What the clients know."""

    answered: Counter[int] = field(default_factory=Counter)
    texts: int = 0
    """Answered right."""
    left: int = 0
    """Requests whose client hung up."""
    lost: int = 0
    """Requests that had no answer though their client waited."""
    wrong: int = 0
    """200s that are not the answer to their request."""
    unexpected: Counter[str] = field(default_factory=Counter)
    """Refusals for which there was no reason."""


async def recipients(
    *, texts: int = 1_000_000, kill_every_s: float = 10, kills: int = 1000, seed: int = 0
) -> Report:
    """Send requests until `texts` texts were answered right; compare the two ledgers."""
    report = Report("recipients")
    ledger, source, labels = Ledger(), random.Random(seed), labels_of()
    serial = 0
    deaths = 0
    with serving(DOUBLE) as server:
        server.tell("poison on")
        before = _counted(server)
        pool = Pool(server.address)

        async def client() -> None:
            nonlocal serial
            while ledger.texts < texts and ledger.wrong < GIVE_UP:
                count = source.randint(1, MAX_TEXTS)
                poisoned = source.random() < POISONED
                asked = [numbered(serial + index) for index in range(count)]
                serial += count
                if poisoned:
                    asked[source.randrange(count)] = numbered(serial, poisoned=True)
                hurried = source.random() < DEADLINES
                fields = [f"X-Timeout-Ms: {source.randint(1, 500)}"] if hurried else []
                request = posting(body_of(asked), *fields)
                connection = await pool.connection()
                answer = connection.send(request)
                if source.random() < DISCONNECTS:
                    await _leave(connection, answer, source.uniform(0, 0.1), ledger)
                    continue
                try:
                    status = (await answer).status
                except Unanswered:
                    ledger.lost += 1
                    continue
                pool.give_back(connection)
                ledger.answered[status] += 1
                if status == 200:
                    right = not poisoned and answers_to(asked, answer.result().body, labels)
                    ledger.wrong += not right
                    ledger.texts += count if right else 0
                elif status == 503:
                    await asyncio.sleep(0.1)
                elif not (
                    (status == 500 and poisoned) or (status == 504 and hurried) or status == 429
                ):
                    ledger.unexpected[str(status)] += 1

        async def killer() -> None:
            nonlocal deaths
            while deaths < kills:
                await asyncio.sleep(kill_every_s)
                await asyncio.to_thread(server.tell, "die")
                deaths += 1

        killing = asyncio.create_task(killer())
        began_at = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
        seconds = time.perf_counter() - began_at
        killing.cancel()
        unasked = sum(connection.unasked_bytes for connection in pool.all)
        surplus = await _surplus(server, before, ledger)
        restarts = server.metric("sentiment_worker_restarts_total")
        pool.close()
    report.figures = {
        "texts_right": ledger.texts,
        "texts_sent": serial,
        "seconds": round(seconds, 1),
        "requests": ledger.answered.total() + ledger.left + ledger.lost,
        "answered": {str(status): count for status, count in sorted(ledger.answered.items())},
        "left": ledger.left,
        "left_as_counted_by_the_server": {k: v for k, v in sorted(surplus.items()) if v},
        "engine_deaths": deaths,
        "engine_restarts": restarts,
        "unexpected": dict(ledger.unexpected),
    }
    report.check("texts answered right", ledger.texts, ">=", texts)
    report.check("requests lost", ledger.lost, "==", 0)
    report.check("answers to another's request", ledger.wrong, "==", 0)
    report.check("bytes of an answer too many", unasked, "==", 0)
    report.check("refusals without a reason", ledger.unexpected.total(), "==", 0)
    # Whoever left is counted by the server as 499, or as what it had begun to say.
    report.check("least surplus of a status", min(surplus.values(), default=0), ">=", 0)
    report.check("requests counted but not sent", surplus.total() - ledger.left, "<=", 0)
    if seconds > 1.5 * kill_every_s:
        report.check("engine restarts", restarts, ">=", 1)
    return report


async def _leave(
    connection: Connection, answer: "asyncio.Future[object]", after_s: float, ledger: Ledger
) -> None:
    """Hang up after a while, unless the answer comes before."""
    await asyncio.wait([answer], timeout=after_s)
    ledger.left += 1
    connection.abort()
    if answer.done():
        answer.exception()
    else:
        answer.cancel()


def _counted(server: Server) -> Counter[str]:
    return Counter(
        {
            labels["status"]: int(value)
            for labels, value in server.samples("sentiment_requests_total")
            if labels["route"] == "POST /"
        }
    )


async def _surplus(server: Server, before: Counter[str], ledger: Ledger) -> Counter[str]:
    """Return how many more requests of each status the server counted than were answered."""
    for _ in range(50):
        surplus = _counted(server)
        surplus.subtract(before)
        surplus.subtract({str(status): count for status, count in ledger.answered.items()})
        if surplus.total() >= ledger.left:
            break
        await asyncio.sleep(0.1)  # the last of those who left may still be at the engine
    return surplus
