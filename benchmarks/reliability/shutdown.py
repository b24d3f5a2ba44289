"""SIGTERM under load: whatever was accepted is answered, and the process ends in time.

A request counts as accepted when, before the signal was sent, the kernel had taken its last
byte on a connection on which the server had answered before. What a client sends later may meet
a connection that is being closed: if not a byte of an answer came, it may send it again
elsewhere, as every HTTP client does (RFC 9110, 9.2.2), and that is no loss.
"""

import asyncio
import random
import signal
import time

from benchmarks.reliability.client import Connection, Pool, Unanswered, posting
from benchmarks.reliability.report import Report
from benchmarks.reliability.server import double, serving
from benchmarks.reliability.texts import answers_to, body_of, labels_of, numbered

CONNECTIONS = 40
EXIT_S = 10.0
DOUBLE = double(base_ms=10, token_ms=0.05)


async def shutdown(*, runs: int = 50) -> Report:
    """End `runs` servers under load, each at another moment."""
    report = Report("shutdown")
    rows = [await one_shutdown(seed) for seed in range(runs)]
    keys = ("accepted", "lost", "wrong", "cut", "late_answered", "late_refused", "late_unanswered")
    report.figures = {key: sum(row[key] for row in rows) for key in keys}
    report.figures["exit_s_max"] = max(row["exit_s"] for row in rows)
    report.figures["runs"] = runs
    report.check("accepted requests lost", sum(row["lost"] for row in rows), "==", 0)
    report.check("answers wrong", sum(row["wrong"] for row in rows), "==", 0)
    report.check("answers cut", sum(row["cut"] for row in rows), "==", 0)
    report.check("longest exit s", max(row["exit_s"] for row in rows), "<=", EXIT_S)
    codes = {row["exit_code"] for row in rows}
    report.check("exits other than by the signal", len(codes - {-signal.SIGTERM, 0}), "==", 0)
    report.check("fewest accepted in a run", min(row["accepted"] for row in rows), ">=", 1)
    return report


async def one_shutdown(seed: int) -> dict[str, float]:
    """End one server; say what became of what it had accepted, and of what came too late."""
    source, labels = random.Random(seed), labels_of()
    found = dict.fromkeys(
        ("accepted", "lost", "wrong", "cut", "late_answered", "late_refused", "late_unanswered"), 0
    )
    accepted: set[int] = set()
    in_flight: dict[int, Connection] = {}
    with serving(DOUBLE) as server:
        pool = Pool(server.address)
        ended = False

        async def client(number: int) -> None:
            serial = number * 1_000_000
            connection = await pool.connection()
            while connection.open:
                count = source.randint(1, 64)
                asked = [numbered(serial + index) for index in range(count)]
                serial += count
                answer = connection.send(posting(body_of(asked)))
                in_flight[number] = connection
                try:
                    status = (await answer).status
                except Unanswered as error:
                    status = 0
                    found["cut"] += bool(error.received)
                was_accepted = number in accepted
                accepted.discard(number)
                del in_flight[number]
                if status == 200:
                    found["wrong"] += not answers_to(asked, answer.result().body, labels)
                if was_accepted:
                    found["lost"] += status != 200
                elif ended:
                    name = {200: "answered", 0: "unanswered"}.get(status, "refused")
                    found[f"late_{name}"] += 1
                await asyncio.sleep(source.choice((0, 0, source.uniform(0, 0.02))))

        clients = [asyncio.create_task(client(number)) for number in range(CONNECTIONS)]
        await asyncio.sleep(source.uniform(0.3, 1.0))
        accepted |= {
            number for number, one in in_flight.items() if one.requests and one.sent and one.open
        }
        found["accepted"] = len(accepted)
        server.process.send_signal(signal.SIGTERM)
        ended = True
        began_at = time.perf_counter()
        await asyncio.gather(*clients)
        code = await asyncio.to_thread(server.process.wait, EXIT_S * 2)
        exit_s = time.perf_counter() - began_at
    return {**found, "exit_s": round(exit_s, 3), "exit_code": code}
