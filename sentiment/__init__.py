"""Financial sentiment: an analyzer for programs, a batch server around it."""

from typing import TYPE_CHECKING, Any

from sentiment.errors import SentimentError

if TYPE_CHECKING:
    from sentiment.analyzer import Analyzer
    from sentiment.bulk.scoring import Scorer
    from sentiment.bulk.table import score_table
    from sentiment.predictions import Prediction, Predictions
    from sentiment.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Analyzer",
    "Prediction",
    "Predictions",
    "Scorer",
    "SentimentError",
    "Settings",
    "score_table",
]

_MODULES = {
    "Analyzer": "sentiment.analyzer",
    "Prediction": "sentiment.predictions",
    "Predictions": "sentiment.predictions",
    "Scorer": "sentiment.bulk.scoring",
    "Settings": "sentiment.settings",
    "score_table": "sentiment.bulk.table",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `import sentiment` costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module 'sentiment' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
