"""What every route that classifies does: read, ask, say how it went."""

from collections.abc import Collection, Sequence
from typing import Any

from starlette.requests import Request

from sentiment.analyzer import Analyzer
from sentiment.api.bodies import Bodies
from sentiment.api.clients import WhileConnected, timeout_s
from sentiment.api.json_bodies import parse_json
from sentiment.errors import Draining, TooManyTokens
from sentiment.predictions import Predictions, Timing
from sentiment.settings import Settings
from sentiment.tokenization import Truncation


def analyzer_of(request: Request) -> Analyzer:
    """Return the analyzer that the lifespan opened."""
    analyzer: Analyzer = request.state.analyzer
    return analyzer


def settings_of(request: Request) -> Settings:
    """Return the settings of the application."""
    settings: Settings = request.state.settings
    return settings


def check_ready(request: Request) -> None:
    """Return if requests should come here. The port opens after warm-up, so alive is ready.

    Raises:
        Draining: the server is ending.
        WorkerDown, Unavailable: as `Analyzer.check_running`.
    """
    if request.state.lifecycle.draining:
        raise Draining("the server was told to end and answers what it has accepted")
    analyzer_of(request).check_running()


async def read_json(request: Request, *, then_binary: bool = False) -> bytes:
    """Return the body of a request that wants something classified.

    Args:
        request: whose body was not read yet.
        then_binary: whether binary data may follow the JSON.

    Raises:
        RequestError: it would be refused for want of time, or as `Bodies.read_json`.
    """
    # What would be refused for want of time is refused before it is read.
    analyzer_of(request).check_admission()
    bodies: Bodies = request.state.bodies
    return await bodies.read_json(request, then_binary=then_binary)


async def read_document(request: Request, *, members: Collection[str]) -> Any:
    """Return what the body says of a request that wants something classified.

    Args:
        members: names under which a string is a text of ours.

    Raises:
        RequestError: as `read_json` and `parse_json`.
    """
    return parse_json(await read_json(request), members=members)


async def classify(
    request: Request,
    texts: Sequence[str],
    *,
    truncation: Truncation = Truncation.RIGHT,
    pointer: str = "/{}",
) -> Predictions:
    """Classify the texts of `request`, whose body was read, while its client waits.

    Args:
        request: whose client may hang up.
        texts: checked.
        truncation: what becomes of those with more tokens than the model reads.
        pointer: JSON Pointer to a text, with `{}` for its index.

    Raises:
        RequestError: as `Analyzer.classify`; a header is wrong; the client hung up.
    """
    request.state.log_fields["texts"] = len(texts)
    allowed_s = timeout_s(request)
    async with WhileConnected(request):
        try:
            return await analyzer_of(request).classify(
                texts, timeout_s=allowed_s, truncation=truncation
            )
        except TooManyTokens as error:
            raise TooManyTokens(
                error.tokens, max_tokens=error.max_tokens, pointer=pointer
            ) from None


def answer_headers(request: Request, predictions: Predictions) -> dict[str, str]:
    """Return what the answer's headers say of the model, the time and truncated texts."""
    headers = {
        "Cache-Control": "no-store",
        "X-Model": analyzer_of(request).model.reference,
        "Server-Timing": server_timing(predictions.timing),
    }
    if truncated := predictions.truncated_count:
        headers["X-Truncated"] = str(truncated)
    return headers


def server_timing(timing: Timing) -> str:
    """Return the value of `Server-Timing`, in milliseconds."""
    return (
        f"queue;dur={timing.queue_s * 1000:.2f}, "
        f"tokenize;dur={timing.tokenize_s * 1000:.2f}, "
        f"infer;dur={timing.infer_s * 1000:.2f}"
    )
