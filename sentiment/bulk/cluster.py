"""A run on the machines of a Ray cluster: `score --ray`.

The driver cuts the input into items and hands them to actors through Ray Data's `map_batches`;
each actor loads the model once and writes the parts of its items where all machines see them
(`bulk.places`). Only facts come back, a line for each item. A part's name and content follow from
its item: what Ray repeats when it has lost a node replaces the same part, or finds it done.
"""

import json
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sentiment import errors
from sentiment.bulk.items import Item
from sentiment.bulk.places import Drafts, Facts, Place
from sentiment.errors import (
    ClusterError,
    InferenceFailed,
    LibraryError,
    OptionError,
    RequestError,
    SentimentError,
    StorageError,
    first_line,
)

log = logging.getLogger(__name__)

ITEM_ATTEMPTS = 10
"""How many nodes may be lost under one item, as happens to those that are cheap because they can
be taken away. Ray would begin it for ever, also one that itself ends its process, for want of
memory."""

ITEMS_IN_HAND = 2
"""Of an actor: one that it computes, and the next, so that it never waits for the driver."""

PROBE_S = 10.0
"""How long the head may take to answer: Ray itself tries for minutes."""

AUTO, LOCAL = "auto", "local"

LOOK_S = 5.0
"""How often the driver looks whether there is a node left, while nothing comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How a run uses a cluster."""

    address: str = AUTO
    """`host:port` of its head; `auto` is RAY_ADDRESS, else the cluster that runs on this machine;
    `local` is one made for the run, of this machine alone."""
    actors: int | None = None
    """How many at most, each with a model; `None` is as many as there is room for, while the
    cluster grows too."""
    cpus_per_actor: int = 1
    """Threads of its engine, and what Ray reserves for it."""
    gpus_per_actor: float = 0.0
    """What Ray reserves of them; a share lets actors live on one GPU together."""
    patience_s: float = 600.0
    """How long the cluster may be without a node that an actor fits on."""

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise OptionError(
                f"--ray {self.address}: is Ray Client's; name the head's port, as host:6379, or "
                "hand the command in on the cluster: ray job submit -- python -m sentiment score"
            )
        if self.address not in (AUTO, LOCAL) and ":" not in self.address:
            raise OptionError(f"--ray {self.address}: expected auto, local or host:port")


class Work(Protocol):
    """What is done with each item. Goes by pickle to every actor, so holds no model."""

    def open(self, *, threads: int) -> AbstractContextManager[Callable[[Item, Drafts], Facts]]:
        """Load the model, for one actor.

        Returns:
            What writes an item's part to a draft, the same bytes each time, and tells of it.

        Raises:
            SentimentError: it cannot be loaded.
        """
        ...


def score_on_cluster(
    items: Sequence[Item],
    *,
    work: Work,
    place: Place,
    done: Mapping[int, Facts],
    options: ClusterOptions,
    on_done: Callable[[Item, Facts], None] = lambda item, facts: None,
) -> dict[int, Facts]:
    """Have every item of `items` done that is not, and return the facts of all by their number.

    The parts then stand; that the output appears is the caller's, by `place.finish`.

    Args:
        done: facts of what a former run did, as `place.begin` returns them.
        on_done: is told of each item as it is done, in any order.

    Raises:
        ClusterError: the cluster cannot be reached, has no room, or a worker failed.
        InferenceFailed: the model fails on everything.
        LibraryError: Ray is not installed.
        SentimentError: what an item's work raised. What is done stays done.
    """
    facts = dict(done)
    if missing := [item for item in items if item.number not in facts]:
        by_number = {item.number: item for item in missing}
        with _connected(options) as ray:
            for answer in _answers(ray, missing, work=work, place=place, options=options):
                number, told = answer["number"], facts_of(answer)
                if number not in facts:
                    facts[number] = told
                    on_done(by_number[number], told)
    return facts


class ScoreItems:
    """What Ray makes an actor of: a model, and the items that it is given."""

    def __init__(self, work: Work, place: Place, threads: int) -> None:
        self._place = place
        self._stack = ExitStack()
        self._failure: SentimentError | None = None
        try:
            self._score = self._stack.enter_context(work.open(threads=threads))
        except SentimentError as error:
            self._failure = error  # Ray would start the actor again and again

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do the items of `batch["item"]`, as JSON; answer in `answer`."""
        items = [Item.from_json(json.loads(item)) for item in batch["item"]]
        return {"answer": [json.dumps(self._answer(item)) for item in items]}

    def _answer(self, item: Item) -> dict[str, Any]:
        try:
            return {"number": item.number, "facts": self._do(item)}
        except SentimentError as error:
            kind = type(error).__name__
            return {"number": item.number, "error": kind, "message": str(error)}

    def _do(self, item: Item) -> Facts:
        if self._failure is not None:
            raise self._failure
        # A node may be lost between an item's last write and the news of it.
        if (known := self._place.facts(item)) is not None:
            return known
        if self._place.count_attempt(item) > ITEM_ATTEMPTS:
            raise ClusterError(
                f"{item.file}: item {item.number} was begun {ITEM_ATTEMPTS} times, and each time "
                "the worker or its node was lost, perhaps for want of memory; --resume tries again"
            )
        try:
            with self._place.writing(item) as drafts:
                facts = self._score(item, drafts)
        except OSError as error:
            raise StorageError(f"{error.filename or item.file}: {first_line(error)}") from error
        self._place.finish_item(item, facts)
        return facts


def facts_of(answer: Mapping[str, Any]) -> Facts:
    """Return the facts of an answer, or raise here what the item's work raised there."""
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        # What else a client of the server is told takes more than a message.
        if issubclass(kind, RequestError) and kind is not InferenceFailed:
            kind = ClusterError
        raise kind(answer["message"])
    facts: Facts = answer["facts"]
    return facts


@contextmanager
def _connected(options: ClusterOptions) -> Iterator[Any]:
    """Connect this process to a cluster, and give it back; yields the module `ray`."""
    address = options.address
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if ":" in address:
        _see_head(address)
    # Read when Ray is imported, and by the cluster that it may start: nothing is told to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The thread that listens may ask Ray for something after the end, and would connect it anew.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise LibraryError("ray not installed: pip install -r requirements-ray.txt") from error
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "on this machine" if address in (AUTO, LOCAL) else address
        raise ClusterError(f"no Ray cluster {where}: {first_line(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in its place
    try:
        yield ray
    finally:
        ray.shutdown()  # ends the actors, and a cluster that was made for the run


def _see_head(address: str) -> None:
    """Raise ClusterError where nobody listens, OptionError where the address is none."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except ValueError as error:
        raise OptionError(f"--ray {address}: expected auto, local or host:port") from error
    except OSError as error:
        raise ClusterError(f"no Ray cluster {address}: {error.strerror or error}") from error


def _answers(
    ray: Any, items: Sequence[Item], *, work: Work, place: Place, options: ClusterOptions
) -> Iterator[dict[str, Any]]:
    """Yield what the actors answer, as it comes."""
    _quiet(ray)
    room = _room(ray, options)
    most = min(len(items), options.actors or len(items))
    dataset = ray.data.from_items(
        [json.dumps(item.as_json()) for item in items],
        override_num_blocks=len(items),  # what is lost with a node, and handed out, is one item
    ).map_batches(
        ScoreItems,
        fn_constructor_args=(work, place, options.cpus_per_actor),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=max(1, min(most, room)),
            max_size=most,
            max_tasks_in_flight_per_actor=ITEMS_IN_HAND,
        ),
        num_cpus=options.cpus_per_actor,
        num_gpus=options.gpus_per_actor or None,
    )
    arrived: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for row in dataset.iter_rows():
                arrived.put(json.loads(row["answer"]))
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    # Ray waits for nodes without end; so it waits in a thread, and this one looks after it.
    threading.Thread(target=listen, name="ray-answers", daemon=True).start()
    room_at = time.monotonic()
    while True:
        try:
            answer = arrived.get(timeout=LOOK_S)
        except queue.Empty:
            if _room(ray, options):
                room_at = time.monotonic()
            elif time.monotonic() - room_at > options.patience_s:
                raise ClusterError(
                    f"for {options.patience_s:g} s no node of the cluster has had "
                    f"{_needs(options)}; what is done stays done: go on with --resume"
                ) from None
            continue
        room_at = time.monotonic()
        if answer is None:
            return
        if isinstance(answer, BaseException):
            last = (str(answer).strip() or type(answer).__name__).splitlines()[-1]
            raise ClusterError(
                f"a worker failed: {last}; what is done stays done: go on with --resume"
            ) from answer
        yield answer


def _quiet(ray: Any) -> None:
    """Leave the terminal to the run's own progress."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _room(ray: Any, options: ClusterOptions) -> int:
    """Return how many actors the nodes that are there could hold, if they did nothing else."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            held = int(has.get("CPU", 0) // options.cpus_per_actor)
            if options.gpus_per_actor:
                held = min(held, int(has.get("GPU", 0) // options.gpus_per_actor))
            room += held
    return room


def _needs(options: ClusterOptions) -> str:
    cpus = f"{options.cpus_per_actor} CPU" + "s" * (options.cpus_per_actor > 1)
    return cpus + (f" and {options.gpus_per_actor:g} GPU" if options.gpus_per_actor else "")
