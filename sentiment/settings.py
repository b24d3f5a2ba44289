"""Every setting of the server: read once from `SENTIMENT_*`, checked at start, then frozen."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sentiment.errors import SettingsError

ENV_PREFIX = "SENTIMENT_"

Auto = Literal["auto"]

API_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""What RFC 6750 lets a bearer token be made of."""


class Settings(BaseSettings):
    """The server's settings; each is the environment variable `SENTIMENT_<NAME>`.

    Raises:
        SettingsError: from `from_env`, when a name is unknown or a value impossible.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # one of the values is a secret
    )

    model: str = "auto"
    """Hub name with optional `@revision`, a local folder, `compact` (bundled), or `auto`:
    ProsusAI/finbert where it can be had, else `compact`."""

    engine: Literal["auto", "openvino", "packed", "padded"] = "auto"
    """`openvino` runs BERT without padding on a CPU, `packed` does on a GPU, and anywhere where
    there is torch; `padded` runs any sequence classifier through transformers. `auto` takes the
    first of them that runs the model here."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""

    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Of the arithmetic. `auto` is bf16 where the device computes it natively, else fp32, which
    gives transformers' numbers. int8 runs on CPUs and needs `python -m sentiment quantize` once;
    fp16 runs on GPUs."""

    threads: Auto | Annotated[int, Field(ge=1)] = "auto"
    """Threads of one forward pass on a CPU; `auto` is the number of usable cores."""

    token_budget: Auto | Annotated[int, Field(ge=1)] = "auto"
    """Most tokens in one forward pass, padding included where the engine pads. A text with
    more tokens still runs, alone. `auto` measures at start which is best for the engine."""

    cache_folder: Path | None = None
    """Where what is worth keeping until the next start is kept: the weights of a `.bin` checkpoint
    in a form that is read without torch, calibrations for int8. Unset, it is `sentiment` in the
    user's cache. A folder that cannot be written costs nothing but time."""

    max_backlog_s: float = Field(10, gt=0)
    """Predicted seconds of work that may lie ahead of a request before it is refused with 429.
    A request's own work does not count: an idle server takes any request that its deadline
    allows."""

    deadline_s: float = Field(60, gt=0, le=3600)
    """How long a request may take from the end of its body, queueing included, before it is
    answered 504. At most an hour."""

    engine_timeout_s: float = Field(30, gt=0)
    """A forward pass that takes longer hangs: its callers get 503, `/livez` turns red, and the
    engine is opened anew."""

    cache_texts: int = Field(8192, ge=0)
    """How many finished texts are remembered; 0 is off. An answer that comes at once tells its
    caller that somebody has sent the same text lately: turn it off between callers who must not
    know that of each other."""

    max_body_bytes: int = Field(4 * 2**20, ge=1)
    """Largest request body."""

    max_texts: int = Field(4096, ge=1)
    """Most texts in one request."""

    max_text_chars: int = Field(20_000, ge=1)
    """Longest text. A tokenizer reads a whole text before it truncates, so this limit is
    what bounds its work."""

    head_timeout_s: float = Field(5, gt=0, le=3600)
    """How long a request's head may take: from the connection's start, or on a connection
    that is kept alive from the head's first byte, to its end. Then 408."""

    body_timeout_s: float = Field(15, gt=0, le=3600)
    """How long a request's body may take from the end of its head. Then 408. A stream's may take
    as long as it likes."""

    max_streams: int = Field(64, ge=1)
    """Most streams open at a time; each may hold up to two MiB. More are refused with 429."""

    stream_idle_s: float = Field(60, gt=0, le=3600)
    """How long a stream's client may send nothing while it waits for nothing. Then the stream is
    ended."""

    write_timeout_s: float = Field(30, gt=0, le=3600)
    """How long a client may leave an answer unread before its connection is dropped."""

    keep_alive_s: int = Field(75, ge=1, le=3600)
    """How long a connection may idle between two requests. Longer than the pools of the usual
    clients and proxies (60 s): whoever closes first must be the side that sends, or a request
    meets a closing connection. Google's L7 load balancer keeps its own for 600 s: set 620
    behind it."""

    drain_s: float = Field(30, gt=0, le=3600)
    """How long a server that was told to end goes on answering what it accepted. What is
    unanswered then gets 503."""

    drain_delay_s: float = Field(0, ge=0, le=3600)
    """How long a server that was told to end still takes new connections, with `/readyz` red:
    for a load balancer that polls."""

    api_keys: Annotated[tuple[SecretStr, ...] | None, NoDecode] = None
    """Keys, separated by commas, one of which a client must send as
    `Authorization: Bearer <key>`. Without the setting no key is needed."""

    metrics_port: int | None = Field(None, ge=0, le=65535)
    """A port of their own for `/metrics`, `/livez` and `/readyz`; 0 takes a free one. Unset,
    they are on the main port."""

    traces: Literal["off", "otlp"] = "off"
    """`otlp` sends a trace of each request to an OpenTelemetry collector, which OpenTelemetry's own
    variables name. Needs requirements-otel.txt."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        keys = [key.strip() for key in given.split(",")]
        # An empty key would be a door that looks locked: a forgotten secret must end the start.
        if not all(API_KEY.fullmatch(key) for key in keys):
            raise ValueError("keys of A-Z a-z 0-9 . _ ~ + / - are expected, separated by commas")
        return keys

    @classmethod
    def from_env(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            SettingsError: names every wrong setting and says what would be right.
        """
        given = {
            name.upper(): value
            for name, value in os.environ.items()
            if name.upper().startswith(ENV_PREFIX)
        }
        known = [ENV_PREFIX + name.upper() for name in cls.model_fields]
        if unknown := sorted(given.keys() - known):
            # A typo must not pass for the default.
            raise SettingsError(
                f"unknown setting {', '.join(unknown)}; known are {', '.join(known)}"
            )
        try:
            return cls()
        except pydantic.ValidationError as error:
            messages: dict[str, list[str]] = {}
            for item in error.errors():
                field = str(item["loc"][0])
                name = ENV_PREFIX + field.upper()
                shown = "***" if field == "api_keys" else repr(given[name])
                messages.setdefault(f"{name}={shown}", []).append(item["msg"])
            # Not chained: the cause holds what was given, and that may be a secret.
            raise SettingsError(
                "; ".join(f"{setting}: {' or '.join(said)}" for setting, said in messages.items())
            ) from None

    @property
    def cache_path(self) -> Path:
        """Where things are kept between starts, with the default resolved."""
        return self.cache_folder or default_cache_folder()

    @property
    def thread_count(self) -> int:
        """Threads of one forward pass, with `auto` resolved for this process."""
        return usable_cores() if self.threads == "auto" else self.threads


def default_cache_folder() -> Path:
    """Return `sentiment` in the user's cache folder, which may not exist yet."""
    # A home may be unknown, as to a user without a name in a container; then `~` is taken as such.
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(user_cache) / "sentiment"


def usable_cores() -> int:
    """Return how many cores this process may use: affinity and cgroup quota considered."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _cgroup_cores()))


def _cgroup_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the cgroup v2 CPU quota in whole cores; a container's limit shows only there."""
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return 2**31
    return 2**31 if quota == "max" else max(1, int(quota) // int(period))
