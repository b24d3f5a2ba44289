"""What a part found: figures, and checks of them against what is promised."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measurement import REPOSITORY, git, processor

RESULTS = REPOSITORY / "benchmarks" / "results" / "reliability.json"

LIBRARIES = ("numpy", "orjson", "starlette", "tokenizers", "torch", "uvicorn", "uvloop")


@dataclass(frozen=True, slots=True)
class Check:
    """One figure beside its limit."""

    name: str
    figure: float
    relation: str
    """`<=`, `>=` or `==`: how the figure must stand to the limit."""
    limit: float

    @property
    def holds(self) -> bool:
        relations: dict[str, Callable[[float, float], bool]] = {
            "<=": lambda figure, limit: figure <= limit,
            ">=": lambda figure, limit: figure >= limit,
            "==": lambda figure, limit: figure == limit,
        }
        return relations[self.relation](self.figure, self.limit)


@dataclass
class Report:
    """What one part measured."""

    part: str
    figures: dict[str, object] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def check(self, name: str, figure: float, relation: str, limit: float) -> None:
        """Note a figure and the limit that it must keep."""
        self.checks.append(Check(name, round(figure, 4), relation, round(limit, 4)))

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def failures(self) -> list[str]:
        """Return the checks that do not hold, in words."""
        return [
            f"{check.name}: {check.figure:g}, not {check.relation} {check.limit:g}"
            for check in self.checks
            if not check.holds
        ]

    def document(self) -> dict[str, object]:
        """Return the report with when, where and on what it was measured."""
        return {
            "part": self.part,
            "holds": self.holds,
            "checks": [{**asdict(check), "holds": check.holds} for check in self.checks],
            "figures": self.figures,
            "environment": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": platform.machine(),
                "processor": processor(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "load_average": [round(load, 2) for load in os.getloadavg()],
                "commit": git("describe", "--always", "--dirty"),
                "versions": {name: version(name) for name in LIBRARIES},
            },
        }


def append(document: dict[str, object], path: Path = RESULTS) -> None:
    """Add a document to the list in `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*known, document], indent=1) + "\n")
