"""Render snapshots, findings and other results for a terminal. JSON for scripts never passes through here."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from admin.checks.finding import Finding
from admin.plan import Plan
from admin.status.snapshot import Diagnosis, ServiceStatus, Snapshot
from admin.text import pluralize
from shared.model.dead_letter import DeadLetterPage
from shared.model.records import BatchState, ProducerState, RunRecord
from shared.model.services import Service

_RESULT_STYLE = {"ok": "green", "warning": "yellow", "error": "red"}
_RUNS_SHOWN = 5
_OTHER_LINES = 14
"""The lines of a screen around the services, with the last runs."""


def status(snapshot: Snapshot, timezone: ZoneInfo, lines: int | None = None) -> RenderableType:
    """Render everything; on a screen of `lines` lines only as many services as fit, the most relevant first."""
    parts: list[RenderableType] = []
    if snapshot.diagnosis:
        parts.append(diagnosis(snapshot.diagnosis))
    parts.append(_processes(snapshot))
    if snapshot.active and snapshot.active.run:
        parts.append(_run(snapshot, snapshot.active, snapshot.active.run, timezone))
    if snapshot.active and snapshot.active.batch:
        parts.append(_batch(snapshot, snapshot.active.batch))
    parts.append(_services(snapshot, timezone, None if lines is None else max(1, lines - _OTHER_LINES)))
    if snapshot.runs:
        parts.append(_runs(snapshot.runs[:_RUNS_SHOWN], timezone, snapshot.at))
    return Group(*parts)


def diagnosis(result: Diagnosis) -> RenderableType:
    """Render a diagnosis and its hint."""
    text = Text(result.message, style="bold green" if result.healthy else "bold yellow")
    return Text("\n").join([text, Text(result.hint)]) if result.hint else text


def _processes(snapshot: Snapshot) -> RenderableType:
    words = [snapshot.instance] if snapshot.instance else []
    words += [
        f"producer {each.host}:{each.pid} {each.producer.phase.replace('_', ' ') if each.producer else ''}".rstrip()
        for each in snapshot.producers
    ] or ["no producer running"]
    words.append(f"{pluralize(len(snapshot.collectors), 'collector')} running")
    for each in snapshot.stan_bridges:
        phase = each.stan_bridge.phase.replace("_", " ") if each.stan_bridge else ""
        words.append(f"stan_bridge {each.host}:{each.pid} {phase}".rstrip())
    if versions := sorted({f"{each.version} ({each.build})" for each in snapshot.producers + snapshot.collectors}):
        words.append(f"version {', '.join(versions)}")
    return Text(" · ".join(words))


def _run(snapshot: Snapshot, state: ProducerState, run: RunRecord, timezone: ZoneInfo) -> RenderableType:
    throughput = snapshot.throughput
    words = [f"run {run.run_id} ({run.trigger})"]
    if state.service:
        words.append(f"service {state.service_number} of {run.services}: {state.service}")
    if throughput:
        words.append(f"{throughput.entities:,} entities")
        if throughput.entities_per_second:
            words.append(f"{throughput.entities_per_second:,.0f} entities/s")
        if throughput.batch_ends_at:
            words.append(f"batch ETA {throughput.batch_ends_at.astimezone(timezone):%H:%M:%S}")
    return Text(" · ".join(words))


def _batch(snapshot: Snapshot, batch: BatchState) -> RenderableType:
    service = snapshot.service(batch.service)
    if service is None:
        return Text()
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        "batch",
        ProgressBar(total=max(service.scheduled, 1), completed=service.updated, width=30),
        f"{service.updated}/{service.scheduled} settled, {pluralize(service.outstanding_chunks, 'chunk')} outstanding"
        + (f", resent {batch.resends}×" if batch.resends else ""),  # noqa: RUF001 - a multiplication sign
    )
    return bar


def _services(snapshot: Snapshot, timezone: ZoneInfo, limit: int | None) -> RenderableType:
    shown = _most_relevant(snapshot, limit)
    # A column that is empty for all would only make the others narrow.
    failures, dead = any(each.last_failure_at for each in shown), any(each.dead_letters != 0 for each in shown)
    table = _table("service", "ordinal", "entities/s", "last success", *["last failure"] * failures, *["dead"] * dead)
    table.columns[0].no_wrap = True
    for column in (1, 2, *[-1] * dead):
        table.columns[column].justify = "right"
    for service in shown:
        failed = _when(service.last_failure_at, timezone, snapshot.at)
        table.add_row(
            service.name,
            "-" if service.ordinal is None else str(service.ordinal),
            "" if service.entities_per_second is None else f"{service.entities_per_second:,.0f}",
            _when(service.last_success_at, timezone, snapshot.at),
            *[Text(f"{failed} {service.last_failure or ''}".strip() if failed else "")] * failures,
            *["?" if service.dead_letters is None else str(service.dead_letters or "")] * dead,
        )
    left_out = len(snapshot.services) - len(shown)
    return Group(table, Text(f"… and {left_out} more services")) if left_out else table


def _most_relevant(snapshot: Snapshot, limit: int | None) -> list[ServiceStatus]:
    """Return the services; with a limit, first those that are being imported, have failed, or have dead letters."""
    state = snapshot.active

    def is_relevant(service: ServiceStatus) -> bool:
        failed_at, success_at = service.last_failure_at, service.last_success_at
        has_failed = failed_at is not None and (success_at is None or failed_at > success_at)
        return has_failed or bool(service.dead_letters) or (state is not None and state.service == service.name)

    chosen = {service.name for service in sorted(snapshot.services, key=is_relevant, reverse=True)[:limit]}
    return [service for service in snapshot.services if service.name in chosen]


def _runs(runs: Iterable[RunRecord], timezone: ZoneInfo, at: datetime) -> RenderableType:
    table = _table("last runs", "started", "seconds", "entities", "result")
    for column in (2, 3):
        table.columns[column].justify = "right"
    for run in runs:
        seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at else None
        failed = [outcome.service for outcome in run.outcomes if outcome.result != "settled"]
        result = "complete" if run.complete else "interrupted" if run.complete is None else "incomplete"
        table.add_row(
            f"{run.run_id} ({run.trigger})",
            _when(run.started_at, timezone, at),
            "" if seconds is None else f"{seconds:.0f}",
            f"{sum(outcome.entities for outcome in run.outcomes):,}",
            f"{result}: {', '.join(failed)}" if failed else result,
        )
    return table


def findings(results: Iterable[Finding]) -> RenderableType:
    """Render the findings of `importer check`, a line each."""
    table = Table.grid(padding=(0, 2))
    for finding in results:
        table.add_row(Text(finding.result, style=_RESULT_STYLE[finding.result]), finding.subject, Text(finding.text))
    return table


def services(configured: Iterable[Service]) -> RenderableType:
    """Render the services table."""
    table = _table("service", "API", "channel", "key", "")
    for service in configured:
        table.add_row(service.name, service.api, service.channel, service.key, "one-time" if service.one_time else "")
    return table


def services_json(configured: Iterable[Service]) -> bytes:
    """Encode the services table for a script, with the path that is requested from SISU."""
    fields = ("name", "api", "channel", "key", "path")
    return msgspec.json.encode(
        [{field: getattr(each, field) for field in fields} | {"oneTime": each.one_time} for each in configured]
    )


def plan(result: Plan) -> RenderableType:
    """Render the result of a dry run."""
    table = Table.grid(padding=(0, 2))
    rows = {
        "pages": f"{result.pages:,}",
        "entities": f"{result.entities:,}",
        "bytes": f"{result.entity_bytes:,}",
        "chunks": f"{result.chunks:,}",
        "too large": f"{result.too_large:,}",
        "ordinal": f"{result.since} → {result.ordinal}",
        "fetching took": f"{result.fetch_seconds:.1f} s",
        "importing would take": "unknown: no run has imported it yet"
        if result.import_seconds is None
        else f"about {result.import_seconds:.0f} s, at the rate of the last runs",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def dead_letters(page: DeadLetterPage, timezone: ZoneInfo) -> RenderableType:
    """Render dead letters: the subject of each on a line of its own, to be copied, and its details below."""
    if not page.total:
        return Text("There are no dead letters.")
    lines = []
    for each in page.dead_letters:
        first, last = _when(each.first_failed_at or each.failed_at, timezone), _when(each.failed_at, timezone)
        since = f"on {last}" if each.count == 1 else f"{each.count} times, from {first} to {last}"
        error = "".join(filter(str.isprintable, " ".join((each.error or "").split())))
        lines.append(Text(each.subject, style="bold", no_wrap=True, overflow="ignore"))
        lines.append(Text(f"    {each.reason} {since}; {each.entity_bytes:,} bytes"))
        lines += [Text(f"    {error}", no_wrap=True, overflow="ellipsis")] if error else []
    if len(page.dead_letters) < page.total:
        lines.append(Text(f"{len(page.dead_letters)} of {page.total}: --limit shows more"))
    return Group(*lines)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _when(moment: datetime | None, timezone: ZoneInfo, at: datetime | None = None) -> str:
    """Format a time; without its date if that is the day of `at`."""
    if moment is None:
        return ""
    local = moment.astimezone(timezone)
    is_today = at is not None and local.date() == at.astimezone(timezone).date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%d.%m. %H:%M:%S}"
