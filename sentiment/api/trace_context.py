"""Which trace a request belongs to, as its client says it. Pure: headers in, identifiers out.

The headers are those of W3C Trace Context. What does not follow it to the letter is ignored, as it
asks: such a request is one without a trace, and is answered like any other.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""Version, trace, span, flags; what follows them is a later version's."""

VERSION = b"00"
NO_VERSION = b"ff"

SAMPLED = 0x01
RANDOM = 0x02
"""The flags that have a meaning: its sender records the trace; the trace's identifier is random."""

NO_TRACE = b"0" * 32
NO_SPAN = b"0" * 16

MEMBER = re.compile(
    rb"((?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}))"
    rb"=([ -+\--<>-~]{0,255}[!-+\--<>-~])"
)
"""A vendor's key and what it noted under it."""

MAX_MEMBERS = 32
MAX_STATE_BYTES = 512
"""What has to be passed on of `tracestate`; a longer one is left out."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The span that a request was sent from, in another process."""

    trace_id: str
    """32 hexadecimal digits in lower case."""
    span_id: str
    """16 of them."""
    flags: int
    state: tuple[tuple[str, str], ...]
    """What tracing systems noted on the way, by key."""


def trace_context(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """Return the trace context of a request; `None` if it has none that follows the standard.

    Args:
        headers: names in lower case, with their values, in the order they came.
    """
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    if len(parents) != 1:
        return None
    match = TRACEPARENT.fullmatch(parents[0].strip(b" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, later = match.groups()
    if version == NO_VERSION or (version == VERSION and later is not None):
        return None
    if trace_id == NO_TRACE or span_id == NO_SPAN:
        return None
    return TraceContext(
        trace_id.decode(), span_id.decode(), int(flags, 16) & (SAMPLED | RANDOM), _state(states)
    )


def _state(values: list[bytes]) -> tuple[tuple[str, str], ...]:
    """Return the members of all `tracestate` headers; none if any of them is wrong."""
    joined = b",".join(values)
    if len(joined) > MAX_STATE_BYTES:
        return ()
    members: dict[str, str] = {}
    for member in joined.split(b","):
        given = member.strip(b" \t")
        if not given:
            continue
        match = MEMBER.fullmatch(given)
        if match is None or (key := match[1].decode()) in members or len(members) == MAX_MEMBERS:
            return ()
        members[key] = match[2].decode()
    return tuple(members.items())
