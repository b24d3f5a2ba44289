"""What a request's head must be, beyond what the parser minds. Pure: bytes in, refusals out.

The parser is lenient where two readers of the same bytes may disagree: which of two hosts,
where a body ends, which path is meant. A proxy in front and this server must never see two
different requests, so whatever could be read in two ways is refused.
"""

import re
from collections import Counter
from collections.abc import Sequence

from sentiment.errors import HeadersTooLarge, MalformedHttp

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, with their values, in the order they came."""

SINGLE_HEADERS = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"content-encoding",
    b"authorization",
)
"""A second one of these would let each reader choose."""

HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A name, an IPv4 or a bracketed IPv6 address, with a port or not. RFC 3986 allows more
characters in a name; no host on the Internet has them, and attacks do."""

ORIGIN_TARGET = re.compile(rb"/[!-\"$-~]*")
"""Visible ASCII without `#`: a fragment never travels."""

ABSOLUTE_TARGET = re.compile(rb"https?://([^/?#@]+)((?:[/?][!-\"$-~]*)?)", re.IGNORECASE)


def too_large() -> HeadersTooLarge:
    """Return the refusal of a head that exceeds either limit."""
    return HeadersTooLarge(
        f"more than {MAX_HEADERS} fields or {MAX_HEAD_BYTES} bytes before the body"
    )


def check_head(*, method: bytes, version: str, target: bytes, headers: Headers) -> bytes:
    """Return the target in origin form, `/path?query`, of a head that has one reading only.

    Args:
        method: of the request line.
        version: as `1.1`.
        target: of the request line, as it came.
        headers: all of the head.

    Raises:
        HeadersTooLarge: more than `MAX_HEAD_BYTES`, or than `MAX_HEADERS` fields.
        MalformedHttp: anything that could be read in two ways; the detail quotes nothing.
    """
    # As it was sent, but for blanks that the parser dropped.
    lines = sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
    request_line = len(method) + len(target) + len("  HTTP/1.1\r\n")
    if len(headers) > MAX_HEADERS or request_line + lines + len("\r\n") > MAX_HEAD_BYTES:
        raise too_large()
    if method == b"CONNECT":
        raise MalformedHttp("this is no proxy")
    if version not in ("1.0", "1.1"):
        raise MalformedHttp("expected HTTP/1.0 or HTTP/1.1")
    counts = Counter(name for name, _ in headers)
    for name in SINGLE_HEADERS:
        if counts[name] > 1:
            raise MalformedHttp(f"more than one {name.decode().title()} header")
    values = dict(headers)
    _check_framing(version, values)
    host = values.get(b"host")
    if host is None:
        if version == "1.1":
            raise MalformedHttp("HTTP/1.1 needs a Host header")
    elif HOST.fullmatch(host) is None:
        raise MalformedHttp("the Host header is no host")
    return _origin_form(target, host)


def _check_framing(version: str, values: dict[bytes, bytes]) -> None:
    coding = values.get(b"transfer-encoding")
    if coding is None:
        return
    if b"content-length" in values:
        raise MalformedHttp("both Content-Length and Transfer-Encoding")
    if version != "1.1" or coding.lower() != b"chunked":
        raise MalformedHttp("the only Transfer-Encoding is chunked, in HTTP/1.1")


def _origin_form(target: bytes, host: bytes | None) -> bytes:
    if ORIGIN_TARGET.fullmatch(target):
        return target
    # RFC 9112 wants servers to take the form that is meant for proxies. Its host replaces the
    # header's there; two that differ are two readings.
    absolute = ABSOLUTE_TARGET.fullmatch(target)
    if absolute is None or host is None or absolute[1].lower() != host.lower():
        raise MalformedHttp("the request target is neither a path nor a URL of this host")
    path: bytes = absolute[2]
    return path if path.startswith(b"/") else b"/" + path
