"""The documentation names what exists, and all of it."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase

from admin.cli.app import app
from shared.config.settings import CollectorSettings, OperatorSettings, ProducerSettings, StanBridgeSettings
from shared.model import keys
from shared.runtime import metrics
from shared.runtime.events import Event

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "tests" / "README.md", *sorted(DOCS.rglob("*.md"))]
_SUFFIXES = ("_bucket", "_sum", "_count")


def read(page: str) -> str:
    """Return the text of a page of the documentation."""
    return (DOCS / page).read_text(encoding="utf-8")


def metric_names() -> set[str]:
    """Return the names of all metrics, as Prometheus has them."""
    names = set()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if isinstance(metric, Counter) else "_info" if isinstance(metric, Info) else ""
            names.add(metric._name + suffix)
    return names


def test_every_event_is_documented() -> None:
    """The table has each event of the log with its meaning, and no other."""
    events = read("operations/log-events.md").partition("## Events")[2]
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", events, re.MULTILINE))
    assert listed.keys() == {event.value for event in Event}
    assert all(meaning.strip() for meaning in listed.values())


def test_every_metric_is_documented() -> None:
    """The table has each metric, and no other."""
    listed = re.findall(r"^\| `(importer_[a-z_]+)` \|", read("operations/monitoring.md"), re.MULTILINE)
    assert sorted(listed) == sorted(metric_names())


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_alerts_and_dashboard_use_metrics_that_exist(file: str) -> None:
    """An expression over a metric that does not exist would never fire."""
    used = {re.sub(f"({'|'.join(_SUFFIXES)})$", "", name) for name in re.findall(r"\bimporter_[a-z_]+", read(file))}
    assert used
    assert used <= metric_names()


def test_prometheus_accepts_the_alerts() -> None:
    """Its own checker finds no problem, where it is installed."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("there is no promtool on this machine")
    checked = subprocess.run(
        [promtool, "check", "rules", DOCS / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_grafana_dashboard_is_valid() -> None:
    """Its panels have distinct ids and an expression each."""
    panels = json.loads(read("grafana.json"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_every_setting_is_documented() -> None:
    """Each variable that a process reads is in the table of settings."""
    kinds = (ProducerSettings, CollectorSettings, OperatorSettings, StanBridgeSettings)
    fields = {name for kind in kinds for name in kind.model_fields}
    text = read("configuration.md")
    assert {name.upper() for name in fields if f"`{name.upper()}`" not in text} == set()


def test_every_redis_key_is_documented() -> None:
    """Each key that the importer uses is in the table of keys."""
    names = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    of_redis = [name for name in names if name.startswith(("IMPORTER_", "CURRENT", "POST_UPDATE_RUNNING"))]
    streams = {keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM}
    text = read("redis-keys.md")
    assert {name for name in of_redis if name not in streams and f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    """Whatever a page links to in this project exists, and so does the heading that a link names."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)", page.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if heading and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, target


def test_every_page_is_in_the_index() -> None:
    """The index of the documentation links every page."""
    index = read("index.md")
    pages = [page for page in DOCS.rglob("*.md") if page.name != "index.md" and page.parent.name != "decisions"]
    assert [str(page.relative_to(DOCS)) for page in pages if f"({page.relative_to(DOCS)})" not in index] == []


def test_every_command_is_documented() -> None:
    """Each command of `importer` is described for operators."""
    text = read("operations/cli.md")
    names = {
        command.name or command.callback.__name__
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
        if command.callback
    }
    assert {name for name in names if name not in text} == set()


def test_the_diagram_of_the_layers_matches_the_contracts() -> None:
    """Architecture shows the layers that import-linter enforces, in the same order."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = [name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")]
    diagram = read("architecture.md").partition("## Layers")[2].split("```")[1]
    places = [diagram.index(name) for name in layers]
    assert places == sorted(places)
