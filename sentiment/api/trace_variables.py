"""OpenTelemetry's own variables: one that would not be heeded ends the start.

The SDK goes on with a default where a variable is wrong, and says so in its log.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator

from sentiment.errors import SettingsError, first_line

PROTOCOL = "http/protobuf"
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
ENDPOINT = re.compile(r"https?://[^/\s]+\S*", re.IGNORECASE)


def check_variables() -> None:
    """See that what is asked for is what is sent.

    Raises:
        SettingsError: another protocol is asked for, or an endpoint is no URL.
    """
    for name in PROTOCOL_VARIABLES:
        # Empty counts as unset, as OpenTelemetry's specification has it.
        if (given := os.environ.get(name)) and given != PROTOCOL:
            raise SettingsError(f"{name}={given!r}: expected {PROTOCOL}")
    for name in ENDPOINT_VARIABLES:
        if (given := os.environ.get(name)) and not ENDPOINT.fullmatch(given):
            raise SettingsError(f"{name}: expected a URL such as http://collector:4318")


@contextlib.contextmanager
def complaints_refused() -> Iterator[None]:
    """Turn what the SDK says of wrong variables, to go on with a default, into an error.

    Raises:
        SettingsError: the first complaint of the block.
    """
    library = logging.getLogger("opentelemetry")
    complaints = _Complaints()
    library.addHandler(complaints)
    library.propagate, propagated = False, library.propagate
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"OpenTelemetry: {first_line(error)}") from None
    finally:
        library.removeHandler(complaints)
        library.propagate = propagated
    if complaints.said:
        raise SettingsError(f"OpenTelemetry: {complaints.said[0]}")


class _Complaints(logging.Handler):
    """Keeps what is complained of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # It would quote a header for the collector, which may be a secret.
        of_headers = record.name == "opentelemetry.util.re"
        wrong = "OTEL_EXPORTER_OTLP_HEADERS is not name=value,name=value"
        self.said.append(wrong if of_headers else record.getMessage())
