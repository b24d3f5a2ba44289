"""For Locust: `locust -f loadtests/locustfile.py --host http://localhost:8000`."""

from loadtests import listeners  # noqa: F401  options, the table, the summary
from loadtests.shaping import TableShape
from loadtests.users import (
    AnalystArrays,
    DocumentReaders,
    HeadlineSingles,
    HostileClients,
    Streamers,
)

__all__ = [
    "AnalystArrays",
    "DocumentReaders",
    "HeadlineSingles",
    "HostileClients",
    "Streamers",
    "TableShape",
]
