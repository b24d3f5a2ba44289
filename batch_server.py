"""ASGI entry point: `uvicorn batch_server:app`. Importing it loads no model.

`python -m sentiment serve` runs the same application with the server's own uvicorn settings.
"""

import sys

from sentiment.api.app import create_app
from sentiment.errors import SettingsError
from sentiment.logs import configure_logging
from sentiment.settings import Settings

try:
    settings = Settings.from_env()
except SettingsError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

configure_logging(settings.log_level)
app = create_app(settings)
