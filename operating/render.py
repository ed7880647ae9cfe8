"""Snapshots, findings and the like for a terminal. What a script wants is JSON, and never goes through here."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from operating.findings import Finding
from operating.letters import Letters
from operating.plan import Plan
from operating.snapshot import ServiceStatus, Snapshot, Verdict
from operating.why import count
from shared.records import BatchState, ProducerState, RunRecord
from shared.services import Service

_RESULT_STYLE = {"ok": "green", "warning": "yellow", "error": "red"}
_RUNS_SHOWN = 5
_OTHER_LINES = 14
"""On a screen: what stands around the services, with the last runs."""


def status(snapshot: Snapshot, timezone: ZoneInfo, lines: int | None = None) -> RenderableType:
    """Everything; on a screen of so many lines, only as many services as fit, those that matter first."""
    parts: list[RenderableType] = []
    if snapshot.verdict:
        parts.append(verdict(snapshot.verdict))
    parts.append(_processes(snapshot))
    if snapshot.active and snapshot.active.run:
        parts.append(_run(snapshot, snapshot.active, snapshot.active.run, timezone))
    if snapshot.active and snapshot.active.batch:
        parts.append(_batch(snapshot, snapshot.active.batch))
    parts.append(_services(snapshot, timezone, None if lines is None else max(1, lines - _OTHER_LINES)))
    if snapshot.runs:
        parts.append(_runs(snapshot.runs[:_RUNS_SHOWN], timezone, snapshot.at))
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
    words.append(f"{count(len(snapshot.collectors), 'collector')} alive")
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
        f"{service.updated}/{service.scheduled} settled, {count(service.outstanding_chunks, 'chunk')} outstanding"
        + (f", sent again {batch.resends} times" if batch.resends else ""),
    )
    return bar


def _services(snapshot: Snapshot, timezone: ZoneInfo, most: int | None) -> RenderableType:
    shown = _that_matter(snapshot, most)
    # What none of them has would only make the others narrow.
    failures, dead = any(each.last_failure_at for each in shown), any(each.dead_letters != 0 for each in shown)
    table = _table("service", "ordinal", "a second", "last success", *["last failure"] * failures, *["dead"] * dead)
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


def _that_matter(snapshot: Snapshot, most: int | None) -> list[ServiceStatus]:
    """The services; no more than `most`, and then first those in hand, that have failed, or that have dead letters."""
    state = snapshot.active

    def matters(service: ServiceStatus) -> bool:
        failed_at, success_at = service.last_failure_at, service.last_success_at
        has_failed = failed_at is not None and (success_at is None or failed_at > success_at)
        return has_failed or bool(service.dead_letters) or (state is not None and state.service == service.name)

    chosen = {service.name for service in sorted(snapshot.services, key=matters, reverse=True)[:most]}
    return [service for service in snapshot.services if service.name in chosen]


def _runs(runs: Iterable[RunRecord], timezone: ZoneInfo, at: datetime) -> RenderableType:
    table = _table("last runs", "began", "seconds", "entities", "result")
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


def findings(found: Iterable[Finding]) -> RenderableType:
    """What `importer check` found, a line each."""
    table = Table.grid(padding=(0, 2))
    for finding in found:
        table.add_row(Text(finding.result, style=_RESULT_STYLE[finding.result]), finding.subject, Text(finding.text))
    return table


def services(table_of_services: Iterable[Service]) -> RenderableType:
    """The table of services."""
    table = _table("service", "API", "channel", "key", "")
    for service in table_of_services:
        table.add_row(service.name, service.api, service.channel, service.key, "one-time" if service.one_time else "")
    return table


def services_json(table_of_services: Iterable[Service]) -> bytes:
    """The same for a script, with what is asked of SISU."""
    fields = ("name", "api", "channel", "key", "path")
    return msgspec.json.encode(
        [{field: getattr(each, field) for field in fields} | {"oneTime": each.one_time} for each in table_of_services]
    )


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
    """Dead letters: the subject of each on a line of its own, to be copied, and below it what is known."""
    if not found.total:
        return Text("There are no dead letters.")
    lines = []
    for letter in found.letters:
        first, last = _when(letter.first_failed_at or letter.failed_at, timezone), _when(letter.failed_at, timezone)
        since = f"on {last}" if letter.count == 1 else f"{letter.count} times, from {first} to {last}"
        said = "".join(filter(str.isprintable, " ".join((letter.error or "").split())))
        lines.append(Text(letter.subject, style="bold", no_wrap=True, overflow="ignore"))
        lines.append(Text(f"    {letter.reason} {since}; {letter.entity_bytes:,} bytes"))
        lines += [Text(f"    {said}", no_wrap=True, overflow="ellipsis")] if said else []
    if len(found.letters) < found.total:
        lines.append(Text(f"{len(found.letters)} of {found.total}: --limit shows more"))
    return Group(*lines)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _when(moment: datetime | None, timezone: ZoneInfo, at: datetime | None = None) -> str:
    """A moment; of the day of `at` without its date."""
    if moment is None:
        return ""
    local = moment.astimezone(timezone)
    is_today = at is not None and local.date() == at.astimezone(timezone).date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%d.%m. %H:%M:%S}"
