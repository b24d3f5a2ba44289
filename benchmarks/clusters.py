"""A Ray cluster on one machine, of real nodes: `python -m benchmarks.clusters CPUS ...`.

Each node has so many CPUs; the head has none. The process says its address, then takes `kill N`
and `add CPUS` on its standard input and says `killed` and `added`. It ends, with the cluster, when
its input does.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.measurement import REPOSITORY, BenchmarkError

STORE_BYTES = 80 * 2**20
"""Of each node's object store, which holds a few lines for each item."""


def main(*cpus: str) -> None:
    """Run a cluster of nodes of so many CPUs until standard input ends."""
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
    """The process, as who started it sees it."""

    def __init__(self, *cpus: int, folder: Path) -> None:
        """Start nodes of so many CPUs each; what Ray says goes to `folder`.

        Raises:
            BenchmarkError: the cluster does not start.
        """
        self._log = folder / "cluster.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.clusters", *map(str, cpus)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
            )
        self.pid = self._process.pid
        self.address = self._line(r"[\d.]+:\d+")

    def kill(self, number: int) -> None:
        """Kill a node, from 0 in the order in which they came: its raylet and its actors."""
        self._say(f"kill {number}", "killed")

    def add(self, cpus: int) -> None:
        """Add a node."""
        self._say(f"add {cpus}", "added")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _say(self, command: str, answer: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._line(answer)

    def _line(self, pattern: str) -> str:
        assert self._process.stdout
        for line in self._process.stdout:  # Ray prints lines of its own
            if re.fullmatch(pattern, line.strip()):
                return line.strip()
        raise BenchmarkError(f"the cluster ended: {self._log.read_text()[-2000:]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
