"""What is written on the command line of `plan`: times, bursts, sizes of requests, bounds."""

import math
import re
from collections.abc import Mapping

from sentiment.errors import OptionError
from sentiment.planning.workload import Burst

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)", re.ASCII)

NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+", re.ASCII)

MAX_TEXTS = 1_000_000
"""Of one request; the server's own limit is far below."""


def parse_duration(given: str, option: str) -> float:
    """Return the seconds of such as `200ms`, `1.5s`, `2m`.

    Raises:
        OptionError: it is something else, or no time at all.
    """
    match = DURATION.fullmatch(given)
    if match is None or not (seconds := float(match[1]) * SECONDS[match[2]]):
        raise OptionError(f"{option} {given!r}: expected a time such as 200ms, 1.5s or 2m")
    return seconds


def parse_burst(given: str) -> Burst:
    """Return the burst of such as `10x:30s`: ten times the rate for half a minute.

    Raises:
        OptionError: it is something else.
    """
    times, separator, seconds = given.partition("x:")
    if not separator or not NUMBER.fullmatch(times) or not float(times):
        raise OptionError(f"--burst {given!r}: expected such as 10x:30s")
    return Burst(float(times), parse_duration(seconds, "--burst"))


def parse_sizes(given: str) -> Mapping[int, float]:
    """Return texts of a request -> how likely, of such as `32` or `1:0.9,256:0.1`.

    Raises:
        OptionError: it is something else.
    """
    sizes: dict[int, float] = {}
    for part in given.split(","):
        size, separator, share = part.partition(":")
        likely = float(share) if NUMBER.fullmatch(share) else 0.0 if separator else 1.0
        if not re.fullmatch(r"[1-9]\d{0,6}", size, re.ASCII) or not likely or int(size) in sizes:
            raise OptionError(
                f"--texts-per-request {given!r}: expected a number of texts, or such as "
                "1:0.9,256:0.1"
            )
        sizes[int(size)] = likely
    if max(sizes) > MAX_TEXTS or math.isinf(sum(sizes.values())):
        raise OptionError(f"--texts-per-request {given!r}: at most {MAX_TEXTS:,} texts")
    return sizes


def parse_bounds(given: str) -> tuple[int, int]:
    """Return least and most replicas of such as `2:40`.

    Raises:
        OptionError: it is something else.
    """
    least, _, most = given.partition(":")
    if not re.fullmatch(r"[1-9]\d{0,3}:[1-9]\d{0,3}", given, re.ASCII) or int(least) > int(most):
        raise OptionError(f"--autoscale {given!r}: expected least and most replicas, as in 2:40")
    return int(least), int(most)
