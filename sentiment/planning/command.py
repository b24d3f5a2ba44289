"""`python -m sentiment plan`: how many replicas a load needs, before they are paid for."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentiment.errors import OptionError, ThresholdMissed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentiment.planning.costs import ReplicaCost
    from sentiment.planning.workload import Burst, Int64, Workload
    from sentiment.settings import Settings

REQUESTS = 20_000
"""Simulated, or more, unless `--seconds` says otherwise: two hundred of them decide the p99."""

MIN_SECONDS = 10.0
"""Simulated, or less where that would be more than `USUAL_REQUESTS`."""

USUAL_REQUESTS = 100_000

MAX_REQUESTS = 2_000_000
"""More are never simulated: that would take many minutes and all of the memory."""

MAX_TEXTS = 20_000_000
"""In all of them."""

MIN_REQUESTS = 1000
"""Fewer would leave the p99 to less than ten of them."""

BURST_SHARE = 3
"""A run is at least so many times as long as the burst in its middle."""


def plan(
    lengths: Annotated[
        Path,
        typer.Option(help="Typical texts, one a line in UTF-8, or Financial PhraseBank's .txt."),
    ],
    p99: Annotated[
        str, typer.Option(metavar="TIME", help="99 of 100 are answered by then: 200ms.")
    ],
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e7, help="Texts a second, all requests together."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Instead of --rate: when requests came, a line each: seconds[,texts]."),
    ] = None,
    texts_per_request: Annotated[
        str, typer.Option(metavar="N", help="A number, or such as 1:0.9,256:0.1: sizes and shares.")
    ] = "1",
    burst: Annotated[
        str | None,
        typer.Option(metavar="TIMESx:TIME", help="10x:30s: ten times the rate for half a minute."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, max=1000, help="See what so many do, instead of searching.")
    ] = None,
    balance: Annotated[
        str, typer.Option(help="random, as kube-proxy; least, fewest in flight; round-robin.")
    ] = "random",
    refused: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the requests that may be refused.")
    ] = 0.0,
    headroom: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the capacity to be left free.")
    ] = 0.1,
    spare: Annotated[
        int,
        typer.Option(min=0, max=100, help="Replicas that may be away: a rollout, a lost node."),
    ] = 1,
    autoscale: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:MAX",
            help="Plan for --rate, then meet the --burst or the --trace with an autoscaler.",
        ),
    ] = None,
    backlog_target: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of the autoscaler; else the plan's own.")
    ] = None,
    metric_delay: Annotated[
        str, typer.Option(metavar="TIME", help="How old the metric is when the autoscaler sees it.")
    ] = "30s",
    pod_start: Annotated[
        str, typer.Option(metavar="TIME", help="From its decision until a pod is ready.")
    ] = "20s",
    cost: Annotated[
        Path | None, typer.Option(help="Cost that --save-cost wrote, here or on another machine.")
    ] = None,
    save_cost: Annotated[
        Path | None, typer.Option(help="File to write the measured cost to.")
    ] = None,
    price_per_replica_hour: Annotated[
        float | None, typer.Option(min=0, help="In any currency; gives the price of a million.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=86_400, help="To simulate; else 20,000 requests.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, cost and load: same plan.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Find out how many replicas answer a load in time.

    The server that the SENTIMENT_* settings describe is measured on this machine,
    in a quarter of a minute, or its cost is read from a file. Then replicas of it
    are simulated behind a balancer, with the server's own scheduler, until the
    fewest are found. docs/planning.md says what is simulated and what is not.
    """
    from sentiment.planning import page, quantities
    from sentiment.planning.autoscaling import Autoscaler
    from sentiment.planning.plan import STEADY_S, Goal, make_plan, with_autoscaler
    from sentiment.planning.simulation import BALANCERS, Scenario
    from sentiment.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    goal = Goal(
        p99_s=quantities.parse_duration(p99, "--p99"), refused_share=refused, headroom=headroom
    )
    sizes = quantities.parse_sizes(texts_per_request)
    wave = None if burst is None else quantities.parse_burst(burst)
    bounds = None if autoscale is None else quantities.parse_bounds(autoscale)
    delay_s = quantities.parse_duration(metric_delay, "--metric-delay")
    start_s = quantities.parse_duration(pod_start, "--pod-start")
    target_s = backlog_target and quantities.parse_duration(backlog_target, "--backlog-target")
    if balance not in BALANCERS:
        raise OptionError(f"--balance {balance!r} is none of {', '.join(BALANCERS)}")
    if cost is not None and save_cost is not None:
        raise OptionError("--save-cost saves what is measured, and --cost measures nothing")
    if rate is None and (trace is None or bounds is not None):
        raise OptionError("--rate is needed: texts a second")
    if trace is not None and (burst is not None or (rate is not None and bounds is None)):
        raise OptionError("--trace stands instead of --rate and --burst")
    settings = Settings.from_env()
    if save_cost is not None:
        _check_writable(save_cost)
    known, pool = _cost_and_lengths(settings, lengths=lengths, saved=cost)
    if save_cost is not None:
        known.write(save_cost)
    scenario = Scenario(
        cost=known,
        settings=settings,
        token_budget=known.token_budget
        if settings.token_budget == "auto"
        else settings.token_budget,
        balance=balance,
        seed=seed,
    )

    def load(
        seed: int, *, wave: "Burst | None", trace: Path | None, seconds: float | None = seconds
    ) -> "Workload":
        return _workload(
            rate=rate, wave=wave, trace=trace, sizes=sizes, pool=pool, seconds=seconds, seed=seed
        )

    steadily = wave if bounds is None else None
    planned_trace = trace if bounds is None else None
    if bounds is not None:  # before the search: it may be more than can be simulated
        steady = load(seed, wave=None, trace=None, seconds=max(STEADY_S, seconds or 0))
    made = make_plan(
        lambda seed: load(seed, wave=steadily, trace=planned_trace),
        scenario,
        goal,
        replicas=replicas,
        spare=spare,
    )
    if bounds is not None:
        autoscaler = Autoscaler(
            minimum=bounds[0],
            maximum=bounds[1],
            target_s=target_s or made.backlog_target_s,
            delay_s=delay_s,
            start_s=start_s,
        )
        made = with_autoscaler(
            made,
            scenario,
            autoscaler,
            steady=steady,
            workload=load(seed, wave=wave, trace=trace),
        )
    workload = load(seed, wave=steadily, trace=planned_trace)
    asked = page.Asked(
        workload=workload, scenario=scenario, price_per_replica_hour=price_per_replica_hour
    )
    if as_json:
        print(json.dumps(page.as_json(made, asked), indent=2, allow_nan=False))
    else:
        page.print_plan(made, asked)
    if not made.met:  # of a number of replicas that was given
        raise ThresholdMissed(
            f"--replicas {replicas} miss the p99 of {p99}, refuse too much, or leave no headroom"
        )


def _cost_and_lengths(
    settings: "Settings", *, lengths: Path, saved: Path | None
) -> "tuple[ReplicaCost, Int64]":
    """Return what a replica costs, and the tokens of the typical texts."""
    from sentiment.models import resolve_model
    from sentiment.planning.costs import ReplicaCost
    from sentiment.planning.measurement import measure_replica, token_lengths
    from sentiment.planning.workload import read_sample

    texts = read_sample(lengths)
    known = None if saved is None else ReplicaCost.read(saved)
    model = resolve_model(settings.model)
    if known is not None and known.model != model.reference:
        raise OptionError(
            f"{saved} was measured with {known.model}, and SENTIMENT_MODEL is {model.reference}"
        )
    pool = token_lengths(model, texts)
    return known or measure_replica(settings, texts=texts, lengths=pool), pool


def _workload(
    *,
    rate: float | None,
    wave: "Burst | None",
    trace: Path | None,
    sizes: "Mapping[int, float]",
    pool: "Int64",
    seconds: float | None,
    seed: int,
) -> "Workload":
    """Return the requests to be simulated.

    Raises:
        DataError: the trace cannot be read.
        OptionError: there is no time for the burst, or next to nothing to simulate.
    """
    from sentiment.planning.workload import Workload, read_trace

    if trace is not None:
        arrivals, texts = read_trace(trace)
        ends_at = float(arrivals[-1]) or 1.0
        return Workload.at(
            arrivals, seconds=ends_at, pool=pool, sizes=sizes, seed=seed, texts=texts
        )
    assert rate is not None
    mean_size = sum(size * share for size, share in sizes.items()) / sum(sizes.values())
    requests_per_s = rate / mean_size
    if seconds is None:
        burst_s = BURST_SHARE * wave.seconds if wave else 0.0
        usual_s = min(MIN_SECONDS, USUAL_REQUESTS / requests_per_s)
        seconds = max(usual_s, REQUESTS / requests_per_s, burst_s)
    if wave is not None and wave.seconds >= seconds:
        raise OptionError(f"--seconds {seconds:g} leaves no time around --burst")
    expected = requests_per_s * (seconds + ((wave.times - 1) * wave.seconds if wave else 0.0))
    if expected > MAX_REQUESTS or expected * mean_size > MAX_TEXTS:
        raise OptionError(
            f"{expected:,.0f} requests in {seconds:g} s are more than can be simulated "
            f"({MAX_REQUESTS:,} of {MAX_TEXTS:,} texts): plan a part of the load, or less --seconds"
        )
    drawn = Workload.draw(rate=rate, seconds=seconds, pool=pool, sizes=sizes, burst=wave, seed=seed)
    if len(drawn.arrivals) < MIN_REQUESTS:
        raise OptionError(
            f"{len(drawn.arrivals)} requests in {seconds:g} s tell nothing of a p99; "
            "simulate more --seconds"
        )
    return drawn


def _check_writable(path: Path) -> None:
    """See, before the measurement, that its file can be written.

    Raises:
        OptionError: it cannot.
    """
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OptionError(f"--save-cost {path}: cannot be written")
