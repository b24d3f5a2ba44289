"""What the kernel says of processes and of the machine: `/proc`."""

import os
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

SETTLE_S = 0.3
"""Between two measurements: what the last one left must not run into the next."""

QUIET_CORES = 0.1
"""Used by others; less is always there."""


def tree(process_id: int) -> list[int]:
    """Return a process and the descendants of it that live."""
    parents = {
        int(entry.name): int(fields[1])
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (fields := _stat(int(entry.name)))
    }
    found = [process_id]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def cpu_s(process_id: int) -> float:
    """Return the processor seconds that a process and its descendants have used."""
    return sum(
        sum(map(int, fields[11:13])) / TICKS_A_SECOND
        for fields in map(_stat, tree(process_id))
        if fields
    )


def memory_mib(process_id: int) -> dict[str, float]:
    """Return resident, proportional and unshared memory of a process and its descendants."""
    totals = {"rss": 0, "pss": 0, "uss": 0}
    for each in tree(process_id):
        kib = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            name, _, amount = line.partition(":")
            if name in kib:
                kib[name] = int(amount.split()[0])
        totals["rss"] += kib["Rss"]
        totals["pss"] += kib["Pss"]
        totals["uss"] += kib["Private_Clean"] + kib["Private_Dirty"]
    return {name: round(amount / 1024, 1) for name, amount in totals.items()}


class Neighbours:
    """How busy the machine is with what is neither this process nor started by it.

    A torch server shares two cores badly: each of its threads waits for the other at every layer.
    Half a core of somebody else's can cost it most of its speed, so every figure comes with this.
    """

    def __init__(self) -> None:
        """Begin to count."""
        self._began_at = time.perf_counter()
        self._began = self._foreign_s()

    def cores(self) -> float:
        """Return how many cores others have used since the beginning."""
        elapsed_s = time.perf_counter() - self._began_at
        return max(0.0, self._foreign_s() - self._began) / elapsed_s

    @staticmethod
    def _foreign_s() -> float:
        user, nice, system, _, _, interrupts, soft, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        busy = (user + nice + system + interrupts + soft) / TICKS_A_SECOND
        return busy - cpu_s(os.getpid())


class Quiet:
    """Waits before a measurement until the neighbours rest, as long as there is patience."""

    def __init__(self, patience_s: float) -> None:
        """Wait for `patience_s` at most, all measurements together."""
        self._patience_s = patience_s

    def wait(self) -> None:
        """Return when the machine is free, and what was measured before has settled."""
        while True:
            neighbours = Neighbours()
            time.sleep(SETTLE_S)
            if neighbours.cores() <= QUIET_CORES or self._patience_s <= 0:
                return
            self._patience_s -= SETTLE_S


def _stat(process_id: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on; none where it has ended."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
