"""HEALTHCHECK of the image: ends with 0 if /livez answers 200, else with 1 and one line.

It asks where probes are: on SENTIMENT_METRICS_PORT if that is set, else on port 8000. /livez, not
/readyz: who restarts an unhealthy container must not restart one that drains. The port opens when
the server is ready, so "healthy" still means that it has been.
"""

import http.client
import os
import sys

PORT = 8000
"""Of the image's own command."""

TIMEOUT_S = 3.0


def main() -> None:
    """Ask once; the environment's HTTP proxies are no concern of this client."""
    port = int(os.environ.get("SENTIMENT_METRICS_PORT", PORT))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"port {port}: {error}")
    if status != http.HTTPStatus.OK:
        sys.exit(f"port {port}: /livez answers {status}")


if __name__ == "__main__":
    main()
