"""What is written for operators names what is there, and all of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase

from operating.cli import app
from shared import metrics
from shared.events import Event
from shared.settings import CollectorSettings, OperatorSettings, ProducerSettings

DOCS = Path(__file__).parents[2] / "docs"
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
_SUFFIXES = ("_bucket", "_sum", "_count")


def metric_names() -> set[str]:
    """As Prometheus sees them."""
    names = set()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if isinstance(metric, Counter) else "_info" if isinstance(metric, Info) else ""
            names.add(metric._name + suffix)
    return names


def test_every_event_is_in_the_catalogue() -> None:
    """The catalogue has each event of the log with what it means, and no other."""
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", OPERATING.partition("## Events")[2], re.MULTILINE))
    assert listed.keys() == {event.value for event in Event}
    assert all(meaning.strip() for meaning in listed.values())


def test_every_metric_is_in_the_catalogue() -> None:
    """The table has each metric, and no other."""
    listed = re.findall(r"^\| `(importer_[a-z_]+)` \|", OPERATING, re.MULTILINE)
    assert sorted(listed) == sorted(metric_names())


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_alerts_and_dashboard_use_metrics_that_exist(file: str) -> None:
    """An expression over a metric that nobody serves would be silent for ever."""
    text = (DOCS / file).read_text(encoding="utf-8")
    used = {re.sub(f"({'|'.join(_SUFFIXES)})$", "", name) for name in re.findall(r"\bimporter_[a-z_]+", text)}
    assert used
    assert used <= metric_names()


def test_prometheus_takes_the_alerts() -> None:
    """Its own checker finds nothing wrong, where it is installed."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("there is no promtool on this machine")
    checked = subprocess.run(
        [promtool, "check", "rules", DOCS / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_dashboard_is_one() -> None:
    """Its panels have a place each and an expression."""
    panels = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_every_setting_is_in_the_readme() -> None:
    """Each variable that a process reads stands in the table of settings."""
    fields = {name for kind in (ProducerSettings, CollectorSettings, OperatorSettings) for name in kind.model_fields}
    missing = {name.upper() for name in fields if f"`{name.upper()}`" not in README}
    assert not missing


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Whatever a page links to in this project is there."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_command_is_in_the_readme_or_its_page() -> None:
    """Each command of `importer` is described for operators."""
    names = {
        command.name or command.callback.__name__
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
        if command.callback
    }
    assert {name for name in names if name not in OPERATING} <= {"show_letter"}
