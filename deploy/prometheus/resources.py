"""Write `rules.yaml` as resources that Kubernetes takes: `python -m deploy.prometheus.resources`.

The groups are copied as they are, so that there is one set of rules: a `PrometheusRule` for the
Prometheus operator, and a `Rules` for Google's managed Prometheus.
"""

from pathlib import Path

FOLDER = Path(__file__).parent

NOTE = "# Written by deploy/prometheus/resources.py from rules.yaml; change that.\n"

HEADS = {
    "operator/prometheusrule.yaml": """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sentiment
  labels:
    app.kubernetes.io/name: ml-model
spec:
""",
    "managed/rules.yaml": """\
apiVersion: monitoring.googleapis.com/v1
kind: Rules
metadata:
  name: sentiment
  labels:
    app.kubernetes.io/name: ml-model
spec:
""",
}
"""Path of a resource -> what stands before its groups."""


def resources() -> dict[str, str]:
    """Return the text of each resource by its path from this folder."""
    _, _, groups = (FOLDER / "rules.yaml").read_text().partition("\ngroups:\n")
    indented = "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(True))
    return {path: f"{NOTE}{head}  groups:\n{indented}" for path, head in HEADS.items()}


def main() -> None:
    """Write them beside this file."""
    for path, text in resources().items():
        (FOLDER / path).write_text(text)


if __name__ == "__main__":
    main()
