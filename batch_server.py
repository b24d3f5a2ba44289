"""ASGI entry point: `uvicorn batch_server:app`. Importing it loads no model.

`python -m sentiment serve` runs the same application behind a hardened HTTP protocol, drains it
at SIGTERM and can give its metrics a port of their own; another server does what it does.
"""

import sys

from sentiment.api.app import create_app
from sentiment.errors import SettingsError
from sentiment.logs import configure_logging
from sentiment.settings import Settings

try:
    settings = Settings.from_env()
    if settings.metrics_port is not None:
        raise SettingsError("SENTIMENT_METRICS_PORT needs: python -m sentiment serve")
    configure_logging(settings.log_level)
    app = create_app(settings)
except SettingsError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(3)
