"""The results as a table on the terminal, as tables in docs/performance.md, and as results.json beside its plots."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.goals import Outcome, Results, evaluate_goals
from benchmarks.rig import ROOT, BenchmarkRig

FOLDER = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "performance.md"


def machine(rig: BenchmarkRig) -> dict[str, Any]:
    """Return the machine and the versions that are measured."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - the developer's own git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cores": os.cpu_count(),
        "processor": cpu[1] if cpu else platform.processor(),
        "memory_gb": round(int(memory[1]) / 1024**2) if memory else None,
        "python": platform.python_version(),
        "servers": [rig.nats.version, rig.redis_server.version],
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def show(results: Results, console: Console) -> None:
    """Print each goal with its measured value, and what limits those that were missed."""
    table = Table("goal", "bound", "median", "lowest … highest", "")
    outcomes = evaluate_goals(results)
    for outcome in outcomes:
        table.add_row(*_row(outcome), style=None if outcome.met else "red")
    console.print(table)
    for outcome in outcomes:
        if not outcome.met:
            console.print(f"missed: {outcome.goal.text}. Limited by: {outcome.goal.limit}.")


def _row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    goal = outcome.goal
    bound = f"{'≤' if goal.at_most else '≥'} {goal.bound:g}{' ' + goal.unit if goal.unit else ''}"
    value_range = f"{_number(outcome.lowest)} … {_number(outcome.highest)}"
    return goal.text, bound, _number(outcome.value), value_range, "met" if outcome.met else "missed"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 50 else f"{value:.2f}"  # noqa: PLR2004 - ratios below, rates above


def save(results: Results) -> None:
    """Write results.json, and the tables of the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "results.json").write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    if not PAGE.exists():
        return
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in (("goals", _goals(results)), ("rates", _rates(results)), ("time", _time(results))):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, lines=lines: match[1] + "\n".join(lines) + "\n" + match[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text, encoding="utf-8")


def _goals(results: Results) -> list[str]:
    outcomes = evaluate_goals(results)
    facts = results["machine"]
    measured = (
        f"Measured {facts['measured_at']} at {facts['commit']} ({results['profile']} profile) on "
        f"{facts['cores']} cores of {facts['processor']}, {facts['memory_gb']} GB; Python {facts['python']}; "
        f"{_versions(facts['servers'])}; load before: {facts['load_before']:.1f}."
    )
    lines = [
        measured,
        "",
        "| goal | bound | median | lowest … highest | |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_row(outcome))} |" for outcome in outcomes]
    missed = [f"- **{outcome.goal.text}**: {outcome.goal.limit}." for outcome in outcomes if not outcome.met]
    return [*lines, "", "Missed, with what limits it:" if missed else "None is missed.", "", *missed]


def _versions(servers: list[str]) -> str:
    return ", ".join(server.split(" at ")[0] for server in servers)


def _rates(results: Results) -> list[str]:
    if "throughput" not in results:
        return []
    figures = results["throughput"]
    lines = ["| | entities/s, median | lowest … highest |", "|---|---|---|"]
    for name, text in (
        ("baseline", "baseline loop, one step after another"),
        ("baseline_ahead", "baseline loop, fetching ahead"),
        ("importer", "the importer"),
    ):
        rates = figures[name]
        lines.append(f"| {text} | {median(rates):,.0f} | {min(rates):,.0f} … {max(rates):,.0f} |")
    lines += ["", "| process | processor seconds for 50,000 entities |", "|---|---|"]
    processes = figures["processor_seconds"]
    lines += [f"| {name} | {median([run[name] for run in processes]):.2f} |" for name in processes[0]]
    return lines


def _time(results: Results) -> list[str]:
    if "step_breakdown" not in results:
        return []
    figures = results["step_breakdown"]
    lines = ["| step of a batch | ms | times |", "|---|---|---|"]
    lines += [
        f"| {name} | {ms:.2f} | {figures['calls'].get(name, 1):.1f} |" for name, ms in figures["steps_ms"].items()
    ]
    return [*lines, f"| **total** | **{figures['batch_ms']:.2f}** | |"]


def load() -> Results:
    """Return the results that were kept last."""
    results: Results = orjson.loads((FOLDER / "results.json").read_bytes())
    return results
