"""The form of every refusal: RFC 9457 problem details."""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field

from sentiment.errors import DeadlineExceeded, InvalidInput, RequestError, TextTooLong

MAX_LISTED_ERRORS = 20
"""A refusal names this many wrong items; the count is always complete."""


ERROR_MEMBER_PATHS = ("/v2",)
"""Under these a refusal says its reason once more in the member `error`, where the clients of the
Open Inference Protocol look for it."""


class ProblemItem(BaseModel):
    """One wrong item, found by `pointer` (RFC 6901) in the body or `parameter` in the query."""

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(BaseModel):
    """Every answer other than 2xx: RFC 9457 problem details."""

    type: Annotated[str, Field(examples=["urn:sentiment:problem:validation"])]
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; meant for programs.")]
    request_id: str
    errors: list[ProblemItem] | None = None
    retry_after_ms: int | None = None
    texts_that_fit: int | None = None
    error: Annotated[str | None, Field(description="Under `/v2` only: what is wrong.")] = None


def render_problem(error: RequestError, request_id: str, *, path: str = "") -> bytes:
    """Return an RFC 9457 problem document for a request of `path`."""
    problem: dict[str, Any] = {
        "type": f"urn:sentiment:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, InvalidInput | TextTooLong):
        problem["errors"] = [
            ProblemItem(
                code=item.code, detail=item.detail, pointer=item.pointer, parameter=item.parameter
            ).model_dump(exclude_none=True)
            for item in error.errors[:MAX_LISTED_ERRORS]
        ]
    if error.retry_after_s is not None:
        problem["retry_after_ms"] = round(error.retry_after_s * 1000)
    if isinstance(error, DeadlineExceeded) and error.texts_that_fit is not None:
        problem["texts_that_fit"] = error.texts_that_fit
    if any(path == each or path.startswith(f"{each}/") for each in ERROR_MEMBER_PATHS):
        problem["error"] = _in_one_line(error)
    return orjson.dumps(problem)


def _in_one_line(error: RequestError) -> str:
    """Return the detail, with that of the first wrong item: all that some clients show."""
    if not isinstance(error, InvalidInput | TextTooLong):
        return error.detail
    first = error.errors[0]
    return f"{error.detail}; {first.pointer or first.parameter or 'the body'}: {first.detail}"
