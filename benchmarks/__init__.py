"""How fast it is and how well it keeps its promises: `python -m benchmarks`, `... .reliability`."""
