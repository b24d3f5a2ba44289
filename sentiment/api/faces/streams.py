"""Streams: `POST /v1/stream`, lines in and lines out at the same time."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sentiment import errors
from sentiment.api.answering import analyzer_of
from sentiment.api.bodies import require_lines
from sentiment.api.clients import timeout_s
from sentiment.api.descriptions import NOT_WORKING, READING, TOP_K, Face, classifying, ref
from sentiment.api.faces.stream_lines import StreamedAnswer, StreamedText, StreamEnd
from sentiment.api.faces.streaming import Stream, Streams
from sentiment.api.schemas import parse_flag, parse_top_k

TAG = "streams"

MEDIA_TYPE = "application/x-ndjson"


async def stream(request: Request) -> Response:
    """`POST /v1/stream`: any number of texts, each answered as soon as it can be."""
    top_k = parse_top_k(request.query_params.get("top_k"))
    ordered = parse_flag("ordered", request.query_params.get("ordered"))
    allowed_s = timeout_s(request)
    require_lines(request)
    # What would be refused for want of time is refused before it is read.
    analyzer_of(request).check_admission()
    return StreamedLines(request, top_k=top_k, ordered=ordered, timeout_s=allowed_s)


class StreamedLines(Response):
    """The answer to a stream: begins before the request has ended."""

    media_type = MEDIA_TYPE

    def __init__(
        self, request: Request, *, top_k: int | None, ordered: bool, timeout_s: float | None
    ) -> None:
        """Answer `request`; further arguments as of `Stream`."""
        self.init_headers(
            {
                "X-Model": analyzer_of(request).model.reference,
                "X-Accel-Buffering": "no",  # nginx would keep lines until it has a few pages
            }
        )
        self._request = request
        self._stream = Stream(
            request, self.raw_headers, top_k=top_k, ordered=ordered, timeout_s=timeout_s
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams: Streams = self._request.state.streams
        log_fields = self._request.state.log_fields
        with streams.admitted():
            try:
                why = await self._stream.run(receive, send)
            finally:
                log_fields["texts"] = self._stream.texts
                log_fields["errors"] = self._stream.errors
        if why is not None:
            log_fields["code"] = why.code


_OPERATION = classifying(
    TAG,
    "Classify a stream of texts",
    request={
        "type": "string",
        "description": "A `StreamedText`, or a JSON string, on each line; blank lines are skipped.",
        "x-line": {"anyOf": [ref("StreamedText"), {"type": "string"}]},
    },
    examples={
        "Objects": '{"id": "a", "text": "Profit doubles"}\n{"id": "b", "text": "Loss widens"}\n',
        "Strings": '"Profit doubles"\n"Loss widens"\n',
    },
    answer={
        "type": "string",
        "description": "A `StreamedAnswer` on each line, and one `StreamEnd` on the last.",
        "x-line": {"anyOf": [ref("StreamedAnswer"), ref("StreamEnd")]},
    },
    answered="A line for each text as soon as it is ready, and a last one that says how it ended",
    media_type=MEDIA_TYPE,
    headers=("X-Request-Id", "X-Model"),
    failures=(
        *READING,
        errors.Unauthorized,
        errors.BadHeader,
        errors.UnsupportedMedia,
        errors.UnsupportedEncoding,
        errors.InvalidInput,
        errors.Overloaded,
        *NOT_WORKING,
        errors.Draining,
    ),
    parameters=[
        TOP_K,
        {
            "name": "ordered",
            "in": "query",
            "description": "`false`: answers come as they are ready; `index` or `id` tells whose.",
            "schema": {"type": "boolean", "default": True},
        },
    ],
)

FACE = Face(
    tag=TAG,
    description="Any number of texts over one connection, in bounded memory",
    routes=(Route("/v1/stream", stream, methods=["POST", "PUT"]),),
    paths={"/v1/stream": {"post": _OPERATION, "put": _OPERATION}},
    models=[
        (StreamedText, "validation"),
        (StreamedAnswer, "serialization"),
        (StreamEnd, "serialization"),
    ],
)
