"""How long `python -m sentiment serve` takes until it answers /readyz; last line is JSON."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request


def seconds_until_ready(port: int) -> float:
    """Start a server, wait until it is ready, stop it; return the seconds in between."""
    began_at = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "sentiment", "serve", "--port", str(port)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "SENTIMENT_MODEL": os.environ.get("SENTIMENT_MODEL", "compact")},
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return time.perf_counter() - began_at
            except urllib.error.URLError:
                if server.poll() is not None:
                    sys.exit(f"the server ended with code {server.returncode}")
                time.sleep(0.01)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure several starts and print their median and spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--port", type=int, default=8123)
    arguments = parser.parse_args()
    times = [seconds_until_ready(arguments.port) for _ in range(arguments.starts)]
    result = {
        "ready_s_median": round(statistics.median(times), 2),
        "ready_s_min": round(min(times), 2),
        "ready_s_max": round(max(times), 2),
        "starts": len(times),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
