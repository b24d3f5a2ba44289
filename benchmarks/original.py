"""The design that this server replaces, made again to measure against.

One queue, and one worker that calls a `transformers` pipeline for each request on the event loop,
after the transformers documentation's web server and the published `batch_server.py`.
`python -m benchmarks.original FOLDER PORT`
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import pipeline

Waiting = tuple[list[str], asyncio.Queue[Any]]


class State(TypedDict):
    """What the lifespan hands to requests."""

    queue: asyncio.Queue[Waiting]


async def classify(request: Request) -> JSONResponse:
    """Put the texts into the queue and wait for their labels."""
    answers: asyncio.Queue[Any] = asyncio.Queue()
    texts = [item["text"] for item in await request.json()]
    await request.state.queue.put((texts, answers))
    return JSONResponse(await answers.get())


async def work(queue: asyncio.Queue[Waiting], folder: str) -> None:
    """Answer one request after the other."""
    model = pipeline("sentiment-analysis", model=folder, truncation=True)
    while True:
        texts, answers = await queue.get()
        await answers.put(model(texts))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    """Run the worker beside the application."""
    queue: asyncio.Queue[Waiting] = asyncio.Queue()
    worker = asyncio.create_task(work(queue, sys.argv[1]))
    yield {"queue": queue}
    worker.cancel()


app = Starlette(routes=[Route("/", classify, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
