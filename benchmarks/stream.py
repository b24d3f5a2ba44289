"""One stream against arrays, its memory, and bad readers: `python -m benchmarks.stream`.

Segments of as many texts go through `POST /v1/stream` and through `POST /` in turns: one stream
against four connections that post arrays of 256. First around an engine that sleeps for a known
time and is several times as fast as the model on a processor: its figures owe nothing to
neighbours, who take more from a real one than streams and arrays differ by. One long stream goes
through it, of which the server's memory is watched. Then around the model; at last come a client
that does not read, and one that hangs up. The cache is off.
"""

import argparse
import asyncio
import itertools
import re
import time
from collections.abc import Iterator, Sequence

import orjson
import uvloop

from benchmarks.children import Unavailable
from benchmarks.loads import Requests
from benchmarks.measurement import (
    BenchmarkError,
    base_parser,
    medians,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.models import model_folder
from benchmarks.processes import Neighbours, Quiet
from benchmarks.reliability.client import Pool, getting
from benchmarks.servers import RunningServer, Variant, ours, serving
from benchmarks.texts import load_texts

ARRAY_TEXTS = 256
ARRAY_CONNECTIONS = 4
SAMPLE_S = 0.5

LEAST_THROUGHPUT = 0.95
"""Of what arrays reach."""

MOST_GROWTH_MIB = 64.0
MOST_FREEING_S = 1.0

PATIENT = {"deadline_s": 3600, "max_backlog_s": 1000}
"""Settings of the server: on a slow machine four arrays of 256 are a long backlog."""

PACED = Variant(
    "paced",
    ("benchmarks.reliability.double", "--base-ms=2", "--token-ms=0.01", "--port={port}"),
    {f"SENTIMENT_{name.upper()}": str(value) for name, value in PATIENT.items()}
    | {"SENTIMENT_CACHE_TEXTS": "0"},
)
"""Some 2,600 texts a second, of which all that the engine does not sleep is our own doing."""

HEAD = (
    b"POST /v1/stream HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
INFER = re.compile(rb"^sentiment_infer_seconds_sum (\S+)$", re.MULTILINE)
END = re.compile(rb'\{"done":(true|false),"texts":(\d+),"errors":(\d+)')


def main() -> None:
    """Measure and write `benchmarks/results/stream-<model>.json`."""
    parser = base_parser(__doc__)
    parser.add_argument("--precision", default="auto", help="as SENTIMENT_PRECISION")
    parser.add_argument("--lines", type=int, default=200_000, help="of the long stream")
    parser.add_argument("--segment", type=int, default=4096, help="texts of each turn")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.patience = 1, 0
        arguments.lines, arguments.segment = 2048, 1024
    folder = model_folder(arguments.model)
    try:
        with serving(PACED) as server:
            paced = uvloop.run(paced_measurements(arguments, server))
        with serving(ours(folder, arguments.precision, **PATIENT)) as server:
            figures = uvloop.run(measurements(arguments, server))
    except Unavailable as reason:
        raise BenchmarkError(f"{folder}: {reason}") from reason
    figures = {"model": folder.name, "paced": paced, **figures}
    publish(f"stream-{folder.name}", figures, arguments)


async def paced_measurements(
    arguments: argparse.Namespace, server: RunningServer
) -> dict[str, object]:
    """Return what does not depend on the model, with longer turns, because they are fast."""
    texts = load_texts(arguments.texts, 5 * arguments.segment)
    return {
        "throughput": await throughput(arguments, server, texts),
        "memory": await memory(server, texts, arguments.lines),
    }


async def measurements(arguments: argparse.Namespace, server: RunningServer) -> dict[str, object]:
    """Return all figures, each with what it must keep to."""
    texts = load_texts(arguments.texts, arguments.segment)
    return {
        "engine": server.info()["engine"],
        "throughput": await throughput(arguments, server, texts),
        "memory": await memory(server, texts, arguments.segment),
        "unread": await unread(server, texts),
        "hang_up": await hang_up(server, texts),
    }


async def throughput(
    arguments: argparse.Namespace, server: RunningServer, texts: Sequence[str]
) -> dict[str, object]:
    """Compare one stream with arrays, in turns."""
    ways = {"stream": through_a_stream, "arrays": through_arrays}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    quiet = Quiet(arguments.patience)
    for turn in range(arguments.rounds):
        for name in turn_order(ways, turn):
            quiet.wait()
            infer_before, cpu_before = await infer_s(server), server.cpu_s()
            neighbours, began_at = Neighbours(), time.perf_counter()
            await ways[name](server, texts)
            seconds = time.perf_counter() - began_at
            rate = len(texts) / seconds
            measured[name].append(
                {
                    "texts_s": rate,
                    "engine_idle": 1 - (await infer_s(server) - infer_before) / seconds,
                    "cpu_s_per_1000_texts": (server.cpu_s() - cpu_before) / len(texts) * 1000,
                    "foreign_cores": neighbours.cores(),
                }
            )
            print(f"round {turn + 1}: {name}: {rate:.1f} texts/s", flush=True)
    found = {name: medians(each) for name, each in measured.items()}
    share = found["stream"]["texts_s"] / found["arrays"]["texts_s"]
    return {
        **found,
        "share": significant(share, 3),
        "at_least": LEAST_THROUGHPUT,
        "kept": share >= LEAST_THROUGHPUT,
    }


async def infer_s(server: RunningServer) -> float:
    """Return the seconds that the engine has worked so far."""
    pool = Pool(server.address)
    found = INFER.search((await pool.request(getting("/metrics"))).body)
    pool.close()
    if found is None:
        raise BenchmarkError("the server does not tell how long its engine works")
    return float(found[1])


async def through_a_stream(server: RunningServer, texts: Sequence[str]) -> None:
    """Send all texts through one stream and read its answer."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(HEAD)
    sending = asyncio.create_task(_send(writer, chunks(texts)))
    tail = b""
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        data = await reader.read(2**18)
        if not data:
            raise BenchmarkError("the stream was cut")
        tail = (tail + data)[-256:]
    await sending
    writer.close()
    end = END.search(tail)
    if end is None or end.groups() != (b"true", b"%d" % len(texts), b"0"):
        raise BenchmarkError("the stream did not answer every text")


async def through_arrays(server: RunningServer, texts: Sequence[str]) -> None:
    """Post all texts as arrays over a few connections."""
    pool = Pool(server.address)
    await pool.open(ARRAY_CONNECTIONS)
    count = -(-len(texts) // ARRAY_TEXTS)
    requests = itertools.islice(Requests(texts, sizes=[ARRAY_TEXTS]).of(ARRAY_TEXTS), count)

    async def client() -> None:
        for request in requests:
            answer = await pool.request(request.data)
            if not request.right(answer.body):
                raise BenchmarkError(f"an array got {answer.status}")

    await asyncio.gather(*(client() for _ in range(ARRAY_CONNECTIONS)))
    pool.close()


async def memory(server: RunningServer, texts: Sequence[str], lines: int) -> dict[str, object]:
    """Watch the server's memory during one long stream."""
    rss = [server.memory_mib()["rss"]]

    async def watch() -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            rss.append(server.memory_mib()["rss"])

    watching = asyncio.create_task(watch())
    began_at = time.perf_counter()
    many = list(itertools.islice(itertools.cycle(texts), lines))
    await through_a_stream(server, many)
    seconds = time.perf_counter() - began_at
    watching.cancel()
    growth = max(rss) - rss[0]
    return {
        "lines": lines,
        "seconds": significant(seconds),
        "texts_s": significant(lines / seconds),
        "rss_before_mib": rss[0],
        "rss_peak_mib": max(rss),
        "rss_end_mib": rss[-1],
        "growth_mib": significant(growth),
        "at_most_mib": MOST_GROWTH_MIB,
        "kept": growth <= MOST_GROWTH_MIB,
    }


async def unread(server: RunningServer, texts: Sequence[str]) -> dict[str, object]:
    """Send without reading an answer, until the server takes no more."""
    before = server.memory_mib()["rss"]
    _, writer = await asyncio.open_connection(*server.address, limit=1)
    writer.write(HEAD)
    sent = 0
    held_up = False
    for chunk in chunks(itertools.cycle(texts)):
        writer.write(chunk)
        try:
            await asyncio.wait_for(writer.drain(), 5)
        except TimeoutError:
            held_up = True
            break
        sent += len(chunk)
        if sent > 256 * 2**20:
            break
    growth = server.memory_mib()["rss"] - before
    writer.transport.abort()
    await _free(server)
    return {
        "taken_mib": significant(sent / 2**20),
        "growth_mib": significant(growth),
        "kept": held_up and growth <= MOST_GROWTH_MIB,
    }


async def hang_up(server: RunningServer, texts: Sequence[str]) -> dict[str, object]:
    """Hang up in the middle of a stream that waits for the engine."""
    seconds = []
    for _ in range(5):
        _, writer = await asyncio.open_connection(*server.address)
        writer.write(HEAD + b"".join(chunks(texts)))
        await asyncio.sleep(0.2)
        writer.transport.abort()
        began_at = time.perf_counter()
        await _free(server)
        seconds.append(time.perf_counter() - began_at)
    return {
        "freed_s": [significant(each, 3) for each in seconds],
        "at_most_s": MOST_FREEING_S,
        "kept": max(seconds) <= MOST_FREEING_S,
    }


async def _free(server: RunningServer) -> None:
    """Return when no stream is open and nothing waits."""
    pool = Pool(server.address)
    while True:
        page = (await pool.request(getting("/metrics"))).body
        if b"\nsentiment_streams 0.0" in page and b"\nsentiment_queue_texts 0.0" in page:
            pool.close()
            return
        await asyncio.sleep(0.01)


async def _send(writer: asyncio.StreamWriter, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    writer.write(b"0\r\n\r\n")


def chunks(texts: Sequence[str] | Iterator[str]) -> Iterator[bytes]:
    """Yield the texts as lines, in chunks of HTTP."""
    source = iter(texts)
    while taken := list(itertools.islice(source, ARRAY_TEXTS)):
        lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in taken)
        yield b"%x\r\n%b\r\n" % (len(lines), lines)


if __name__ == "__main__":
    run(main)
