"""Snapshots, findings and the like for a terminal. What a script wants is JSON, and never goes through here."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from operating.findings import Finding
from operating.letters import Letters
from operating.plan import Plan
from operating.snapshot import Snapshot, Verdict
from shared.records import BatchState, ProducerState, RunRecord
from shared.services import Service

_RESULT_STYLE = {"ok": "green", "warning": "yellow", "error": "red"}
_RUNS_SHOWN = 5


def status(snapshot: Snapshot, timezone: ZoneInfo) -> RenderableType:
    """Everything, on one screen."""
    parts: list[RenderableType] = []
    if snapshot.verdict:
        parts.append(verdict(snapshot.verdict))
    parts.append(_processes(snapshot))
    if snapshot.active and snapshot.active.run:
        parts.append(_run(snapshot, snapshot.active, snapshot.active.run, timezone))
    if snapshot.active and snapshot.active.batch:
        parts.append(_batch(snapshot, snapshot.active.batch))
    parts.append(_services(snapshot, timezone))
    if snapshot.runs:
        parts.append(_runs(snapshot.runs[:_RUNS_SHOWN], timezone))
    return Group(*parts)


def verdict(found: Verdict) -> RenderableType:
    """A sentence, and what to do."""
    text = Text(found.sentence, style="bold green" if found.well else "bold yellow")
    return Text("\n").join([text, Text(found.advice)]) if found.advice else text


def _processes(snapshot: Snapshot) -> RenderableType:
    words = [
        f"producer {beat.host}:{beat.pid} {beat.producer.phase.replace('_', ' ') if beat.producer else ''}".rstrip()
        for beat in snapshot.producers
    ] or ["no producer alive"]
    number = len(snapshot.collectors)
    words.append(f"{number} collector{'' if number == 1 else 's'} alive")
    if snapshot.nats_error:
        words.append(snapshot.nats_error)
    return Text(" · ".join(words))


def _run(snapshot: Snapshot, state: ProducerState, run: RunRecord, timezone: ZoneInfo) -> RenderableType:
    pace = snapshot.pace
    words = [f"run {run.run_id} ({run.trigger})"]
    if state.service:
        words.append(f"service {state.service_number} of {run.services}: {state.service}")
    if pace:
        words.append(f"{pace.entities:,} entities")
        if pace.entities_per_second:
            words.append(f"{pace.entities_per_second:,.0f} a second")
        if pace.batch_ends_at:
            words.append(f"this batch until about {pace.batch_ends_at.astimezone(timezone):%H:%M:%S}")
    return Text(" · ".join(words))


def _batch(snapshot: Snapshot, batch: BatchState) -> RenderableType:
    service = snapshot.service(batch.service)
    if service is None:
        return Text()
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        "batch",
        ProgressBar(total=max(service.scheduled, 1), completed=service.updated, width=30),
        f"{service.updated}/{service.scheduled} settled, {service.outstanding_chunks} chunks outstanding"
        + (f", sent again {batch.resends} times" if batch.resends else ""),
    )
    return bar


def _services(snapshot: Snapshot, timezone: ZoneInfo) -> RenderableType:
    table = _table("service", "ordinal", "a second", "last success", "last failure", "dead letters")
    for column in (1, 2, 5):
        table.columns[column].justify = "right"
    for service in snapshot.services:
        failed = _when(service.last_failure_at, timezone)
        table.add_row(
            service.name,
            "-" if service.ordinal is None else str(service.ordinal),
            "" if service.entities_per_second is None else f"{service.entities_per_second:,.0f}",
            _when(service.last_success_at, timezone),
            f"{failed} {service.last_failure or ''}".strip() if failed else "",
            "?" if service.dead_letters is None else str(service.dead_letters or ""),
        )
    return table


def _runs(runs: Iterable[RunRecord], timezone: ZoneInfo) -> RenderableType:
    table = _table("last runs", "began", "seconds", "entities", "result")
    for run in runs:
        seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at else None
        failed = [outcome.service for outcome in run.outcomes if outcome.result != "settled"]
        result = "complete" if run.complete else "interrupted" if run.complete is None else "incomplete"
        table.add_row(
            f"{run.run_id} ({run.trigger})",
            _when(run.started_at, timezone),
            "" if seconds is None else f"{seconds:.0f}",
            f"{sum(outcome.entities for outcome in run.outcomes):,}",
            f"{result}: {', '.join(failed)}" if failed else result,
        )
    return table


def findings(found: Iterable[Finding]) -> RenderableType:
    """What `importer check` found, a line each."""
    table = Table.grid(padding=(0, 2))
    for finding in found:
        table.add_row(Text(finding.result, style=_RESULT_STYLE[finding.result]), finding.subject, Text(finding.text))
    return table


def services(table_of_services: Iterable[Service]) -> RenderableType:
    """The table of services."""
    table = _table("service", "API", "channel", "key")
    for service in table_of_services:
        table.add_row(service.name, service.api, service.channel, service.key)
    return table


def plan(found: Plan) -> RenderableType:
    """What importing would mean."""
    table = Table.grid(padding=(0, 2))
    rows = {
        "pages": f"{found.pages:,}",
        "entities": f"{found.entities:,}",
        "bytes": f"{found.entity_bytes:,}",
        "chunks": f"{found.chunks:,}",
        "too large": f"{found.too_large:,}",
        "ordinal": f"{found.since} → {found.ordinal}",
        "fetching took": f"{found.fetch_seconds:.1f} s",
        "importing would take": "unknown: no run has imported it yet"
        if found.import_seconds is None
        else f"about {found.import_seconds:.0f} s, as quick as in the last runs",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def letters(found: Letters, timezone: ZoneInfo) -> RenderableType:
    """Dead letters, a row each."""
    table = _table("subject", "reason", "first", "last", "times", "bytes", "error")
    for letter in found.letters:
        first = letter.first_failed_at or letter.failed_at
        table.add_row(
            letter.subject,
            letter.reason,
            _when(first, timezone),
            _when(letter.failed_at, timezone),
            str(letter.count),
            f"{letter.entity_bytes:,}",
            Text("".join(filter(str.isprintable, " ".join((letter.error or "").split())))),
        )
    shown = len(found.letters)
    return Group(table, Text(f"{shown} of {found.total}: --limit shows more")) if shown < found.total else table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _when(moment: datetime | None, timezone: ZoneInfo) -> str:
    if moment is None:
        return ""
    return f"{moment.astimezone(timezone):%d.%m. %H:%M:%S}"
