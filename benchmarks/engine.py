"""How near each engine comes to what the machine can do: `python -m benchmarks.engine`.

No HTTP, no tokenizer: batches of token ids in, logits out. Every candidate has a process of its
own; they are measured in turns, and medians over the rounds are reported. The share of the limit
may be over the truth by the last layer's part: packed engines compute of it what the classifier
reads.
"""

import argparse
import contextlib
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.candidates import CANDIDATES
from benchmarks.children import Child, Unavailable
from benchmarks.limits import HIDDEN, ROWS, WIDE, model_flop
from benchmarks.measurement import (
    BenchmarkError,
    base_parser,
    medians,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.models import model_folder
from benchmarks.processes import Neighbours, Quiet
from benchmarks.texts import load_texts

LATENCY_TOKENS = 26
"""A headline; `performance` figures of single texts are of this length."""

LIMIT_S = 0.5
"""Of each way to multiply, each round."""


def main() -> None:
    """Measure and write `benchmarks/results/engine-<model>.json`."""
    parser = base_parser(__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--count", type=int, default=256, help="texts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each, each round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.count, arguments.seconds = 1, 64, 0.5
        arguments.patience = 0
    folder = model_folder(arguments.model)
    publish(f"engine-{folder.name}", measure(arguments, folder), arguments)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the figures of all candidates, and why the others are none."""
    texts = load_texts(arguments.texts, arguments.count)
    rounds: dict[str, list[dict[str, Any]]] = {}
    limits: list[dict[str, dict[str, float]]] = []
    unavailable: dict[str, str] = {}
    loaded: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        limit = stack.enter_context(
            Child("benchmarks.limits", str(min(LIMIT_S, arguments.seconds)), arguments.device)
        )
        children: dict[str, Child] = {}
        for candidate in CANDIDATES:
            try:
                child = Child.engine(candidate, folder, arguments.device)
            except Unavailable as reason:
                unavailable[candidate.name] = str(reason)
                print(f"{candidate.name}: unavailable: {reason}")
                continue
            children[candidate.name] = stack.enter_context(child)
            loaded[candidate.name] = child.facts["load_s"]
        if not children:
            raise BenchmarkError(f"no engine runs {folder}")
        for child in children.values():  # laid out and warm before the first round
            child.ask(do="throughput", texts=texts, seconds=0)
        quiet = Quiet(arguments.patience)
        for turn in range(arguments.rounds):
            quiet.wait()
            limits.append(limit.ask()["gflops"])
            print(f"round {turn + 1}: limit, GFLOP/s: {limits[-1]}", flush=True)
            for name in turn_order(children, turn):
                quiet.wait()
                rounds.setdefault(name, []).append(
                    _measure(children[name], texts, arguments.seconds)
                )
                print(
                    f"round {turn + 1}: {name}: {rounds[name][-1]['texts_s']:.1f} texts/s, "
                    f"{rounds[name][-1]['one_text_ms']:.2f} ms",
                    flush=True,
                )
    bounds = _limits(limits, folder)
    return {
        "model": folder.name,
        "texts": len(texts),
        "rounds": arguments.rounds,
        "limit": {
            "matrices": f"[{ROWS}, {HIDDEN}] x [{HIDDEN}, {WIDE}]",
            "missing": limit.facts["missing"],
            **bounds,
        },
        "engines": {name: _figures(each, bounds, loaded[name]) for name, each in rounds.items()},
        "unavailable": unavailable,
    }


def _measure(child: Child, texts: list[str], seconds: float) -> dict[str, Any]:
    neighbours = Neighbours()
    measured = child.ask(do="throughput", texts=texts, seconds=seconds)
    measured["foreign_cores"] = neighbours.cores()
    alone = child.ask(do="latency", tokens=LATENCY_TOKENS, seconds=seconds / 3)
    return {**measured, "one_text_ms": alone["p50_ms"]}


def _limits(measured: list[dict[str, dict[str, float]]], folder: Path) -> dict[str, Any]:
    """Return for each precision the best way's rate, and what it means for this model."""
    config = json.loads((folder / "config.json").read_text())
    hidden = config["hidden_size"]
    flop = model_flop(
        hidden, config.get("intermediate_size", 4 * hidden), config["num_hidden_layers"]
    )
    bounds: dict[str, Any] = {"flop_a_token": flop}
    for precision in measured[0]:
        rates = medians([each[precision] for each in measured])
        best = max(rates, key=rates.__getitem__)
        bounds[precision] = {
            "gflops": rates[best],
            "way": best,
            "all_gflops": rates,
            "tokens_s": significant(rates[best] * 1e9 / flop),
        }
    return bounds


def _figures(
    measured: list[dict[str, Any]], bounds: dict[str, Any], load_s: float
) -> dict[str, Any]:
    names = ("texts_s", "tokens_s", "padding_ratio", "one_text_ms", "foreign_cores")
    facts = measured[-1]["facts"]
    figures: dict[str, Any] = medians([{name: each[name] for name in names} for each in measured])
    if bound := bounds.get(facts["precision"]):
        figures["share_of_limit"] = significant(figures["tokens_s"] / bound["tokens_s"], 3)
    spread = [each["texts_s"] for each in measured]
    figures["texts_s_range"] = [significant(min(spread)), significant(max(spread))]
    figures["mean_tokens"] = significant(
        statistics.median(each["tokens_s"] / each["texts_s"] for each in measured)
    )
    return {**figures, "load_s": load_s, **facts}


if __name__ == "__main__":
    run(main)
