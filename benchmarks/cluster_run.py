"""`score --ray` to watch: `python -m benchmarks.cluster_run [option ...] -- score INPUT ...`.

The command itself, but for the size of its items and for what it tells: `done N` on standard
output for each item, and in a ledger which process did what.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sentiment import cli
from sentiment.bulk import cluster, cluster_run
from sentiment.bulk.items import Item
from sentiment.bulk.parts import ScoreRows
from sentiment.bulk.places import Drafts, Facts


@dataclass(frozen=True, kw_only=True)
class NotedRows(ScoreRows):
    """Scores items, and keeps a ledger of them."""

    ledger: str
    """A line for each model that is opened and each item that is begun, with the process."""
    deadly: int | None
    """An item that ends its process, as one does for want of memory."""

    @contextmanager
    def open(self, *, threads: int) -> Iterator[Callable[[Item, Drafts], Facts]]:
        """Load the model for one actor."""
        with ScoreRows.open(self, threads=threads) as score:
            self._note({"opened": os.getpid()})

            def noted(item: Item, drafts: Drafts) -> Facts:
                self._note({"item": item.number, "process": os.getpid()})
                if item.number == self.deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
                return score(item, drafts)

            yield noted

    def _note(self, line: dict[str, int]) -> None:
        with Path(self.ledger).open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")


def main() -> None:
    """Run the command as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", default=os.devnull)
    parser.add_argument("--deadly", type=int, metavar="ITEM")
    parser.add_argument("--item-rows", type=int, default=100)
    parser.add_argument("--patience", type=float, default=600, metavar="SECONDS")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    watched: Any = cluster_run
    watched.ITEM_ROWS, watched.CUT_BYTES = arguments.item_rows, 0
    watched.ScoreRows = partial(NotedRows, ledger=arguments.ledger, deadly=arguments.deadly)
    watched.score_on_cluster = _telling(cluster.score_on_cluster)
    options: Any = cluster
    options.ClusterOptions = partial(cluster.ClusterOptions, patience_s=arguments.patience)
    sys.argv = ["sentiment", *arguments.command]
    cli.main()


def _telling(score_on_cluster: Callable[..., dict[int, Facts]]) -> Callable[..., dict[int, Facts]]:
    """Return the same that says of each item that it is done."""

    def told(items: Sequence[Item], *, on_done: Callable[..., None], **more: Any) -> Any:
        def tell(item: Item, facts: Facts) -> None:
            on_done(item, facts)
            print(f"done {item.number}", flush=True)

        return score_on_cluster(items, on_done=tell, **more)

    return told


if __name__ == "__main__":
    main()
