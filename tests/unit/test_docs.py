"""What exists is documented, and what is documented exists."""

import re

from sentiment.api.openapi import error_classes
from sentiment.api.routes import route_names
from sentiment.metrics import Metrics
from sentiment.settings import ENV_PREFIX, Settings


def rows(path):
    """Yield the cells of every table row of a page whose first cell is code or a number."""
    for line in path.read_text().splitlines():
        if re.match(r"\| (`[^`]+`|\d+) \|", line):
            yield [cell.strip().strip("`") for cell in line.split("|")[1:-1]]


def test_every_setting_is_documented_with_its_default(repository):
    documented = {row[0]: row[1] for row in rows(repository / "docs" / "settings.md")}
    defaults = {
        ENV_PREFIX + name.upper(): str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert documented == defaults


def test_every_metric_is_documented_with_its_labels(repository):
    documented = {
        row[0]: re.findall(r"\w+", row[2]) for row in rows(repository / "docs/metrics.md")
    }
    metrics = Metrics()
    served = {}
    for metric in vars(metrics).values():
        if name := getattr(metric, "_name", None):
            suffix = "_total" if metric._type == "counter" else ""
            served[name + suffix] = list(metric._labelnames)
    assert documented == served
    assert len(served) >= 14


def test_every_error_code_is_documented_with_its_status(repository):
    documented = {
        (int(row[0]), row[1]) for row in rows(repository / "docs/api.md") if row[0].isdigit()
    }
    assert documented == {(error.status, error.code) for error in error_classes()}


def test_the_tree_of_errors_shows_every_status_and_code(repository):
    tree = (repository / "sentiment/errors.py").read_text().split('"""')[1].splitlines()
    for error in error_classes():
        parent = error.__mro__[1]
        (own,) = (line for line in tree if re.search(rf"─ {error.__name__}\b", line))
        (above,) = (line for line in tree if re.search(rf"─ {parent.__name__}\b", line))
        assert error.code in own
        assert str(error.status) in own or str(error.status) in above


def test_every_route_is_documented(repository):
    page = (repository / "docs/api.md").read_text()
    documented = set(re.findall(r"`((?:GET|POST|PUT) /[^`]*)`", page))
    assert documented == {name for name in route_names() if not name.startswith("HEAD")}


def test_links_between_pages_lead_somewhere(repository):
    for page in [repository / "README.md", *(repository / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_tests_that_the_pages_name_exist(repository):
    for page in (repository / "docs").glob("*.md"):
        for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text()):
            assert (repository / name).exists(), f"{page.name}: {name}"
