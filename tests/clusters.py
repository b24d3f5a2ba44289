"""A Ray cluster that a test controls, of real nodes: `python -m tests.clusters CPUS ...`.

Each node has so many CPUs; the head has none. The process says its address, then takes `kill N`
and `add CPUS` on its standard input and says `killed` and `added`. It ends, with the cluster, when
its input does.
"""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

STORE_BYTES = 80 * 2**20
"""Of each node's object store, which holds a few lines for each item."""


def main(*cpus):
    from ray.cluster_utils import Cluster

    sizes = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **sizes})
    nodes = [cluster.add_node(num_cpus=int(count), **sizes) for count in cpus]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        match line.split():
            case ["kill", number]:
                cluster.remove_node(nodes[int(number)], allow_graceful=False)
                print("killed", flush=True)
            case ["add", count]:
                nodes.append(cluster.add_node(num_cpus=int(count), **sizes))
                print("added", flush=True)
    cluster.shutdown()


class LocalCluster:
    """The process, as a test sees it."""

    def __init__(self, *cpus, folder):
        self._log = Path(folder, "cluster.log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.clusters", *map(str, cpus)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
            )
        self.address = self._line(r"[\d.]+:\d+")

    def kill(self, number):
        """Kill a node: its raylet, and all that runs on it."""
        self._say(f"kill {number}", "killed")

    def add(self, cpus):
        self._say(f"add {cpus}", "added")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _say(self, command, answer):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._line(answer)

    def _line(self, pattern):
        for line in self._process.stdout:  # Ray prints lines of its own
            if re.fullmatch(pattern, line.strip()):
                return line.strip()
        raise AssertionError(self._log.read_text())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
