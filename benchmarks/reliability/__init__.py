"""Reliability, measured: each promise of the server beside the figure that shows it.

`python -m benchmarks.reliability` runs every part, `... overload` one of them. The tests in
`tests/e2e` use the same clients and servers for short slices of the same experiments.
"""
