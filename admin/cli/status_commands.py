"""The commands that only show: status, why, check, services, plan."""

import asyncio
import sys
from statistics import median
from typing import Annotated, Literal

import msgspec
import typer
from rich.live import Live

from admin import plan
from admin.checks import checks
from admin.checks.finding import Finding
from admin.cli import render
from admin.cli.context import (
    EXIT_FAILURE,
    AsJson,
    Context,
    command,
    complete_service,
    connectivity_exit_code,
    console,
    exit_with,
    handle_errors,
    print_output,
)
from admin.status.snapshot import Snapshot, to_json
from admin.text import pluralize
from shared.config.settings import OperatorSettings, ProducerSettings, read_settings
from shared.sisu.client import SisuClient
from shared.store.codebook_cache import CodebookCache
from shared.store.ledger import Ledger

_WATCH_SECONDS = 1.0

app = typer.Typer()

ServiceName = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE", help="Its name, as `importer services` lists it.", autocompletion=complete_service
    ),
]


@app.command()
@command
async def status(
    context: Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show the current run, services, processes and recent runs.

    Examples: `importer status --watch`; `importer status --json | jq .diagnosis.code`
    """
    timezone = context.settings.timezone
    if not watch:
        snapshot = await context.load_snapshot()
        print_output(to_json(snapshot) if as_json else render.status(snapshot, timezone))
        return connectivity_exit_code(snapshot)
    if as_json or not sys.stdout.isatty():
        return await _watch_lines(context, as_json=as_json)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            snapshot = await context.load_snapshot()
            live.update(render.status(snapshot, timezone, console.height), refresh=True)
            await asyncio.sleep(_WATCH_SECONDS)


async def _watch_lines(context: Context, *, as_json: bool) -> int:
    """Print a line, or a line of JSON, whenever the diagnosis or the progress has changed."""
    last = None
    while True:
        snapshot = await context.load_snapshot()
        diagnosis, throughput = snapshot.diagnosis, snapshot.throughput
        current = (diagnosis and diagnosis.message, throughput and throughput.entities)
        if current != last:
            done = f" · {pluralize(throughput.entities, 'entity', 'entities')} in this run" if throughput else ""
            line = f"{snapshot.at.astimezone(context.settings.timezone):%H:%M:%S} {current[0]}{done}"
            print_output(to_json(snapshot) if as_json else line)
            last = current
        await asyncio.sleep(_WATCH_SECONDS)


@app.command()
@command
async def why(context: Context, *, as_json: AsJson = False) -> int:
    """Explain why the import is not progressing and what to do.

    Exit code 1 where action is needed.

    Example: `text=$(importer why) || echo "$text" | mail -s importer operators@example.org`
    """
    snapshot = await context.load_snapshot()
    assert snapshot.diagnosis
    print_output(msgspec.json.encode(snapshot.diagnosis) if as_json else render.diagnosis(snapshot.diagnosis))
    return connectivity_exit_code(snapshot) or (0 if snapshot.diagnosis.healthy else EXIT_FAILURE)


@app.command()
def check(
    *,
    alive: Annotated[bool, typer.Option("--alive", help="Only whether processes report heartbeats.")] = False,
    process: Annotated[
        Literal["producer", "ack_collector", "stan_bridge"] | None,
        typer.Option(help="With --alive: only of this kind."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, connectivity and permissions.

    Every setting, Redis, NATS and each API of SISU; all findings at once. Exit code 1 if one is an error.

    Examples: `importer check`; as a health check of a container: `importer check --alive --process producer`
    """
    if process and not alive:
        raise typer.BadParameter("requires --alive", param_hint="--process")
    if alive:
        command(_check_alive)(process, as_json=as_json)
    else:
        exit_with(
            handle_errors(lambda: _report(asyncio.run(checks.check(read_settings(ProducerSettings))), as_json=as_json))
        )


async def _check_alive(context: Context, process: str | None, *, as_json: bool) -> int:
    return _report(await checks.check_alive(context.connections.redis, process), as_json=as_json)


def _report(findings: list[Finding], *, as_json: bool) -> int:
    """Print findings and return the exit code for them."""
    print_output(msgspec.json.encode(findings) if as_json else render.findings(findings))
    return EXIT_FAILURE if any(finding.result == "error" for finding in findings) else 0


@app.command()
def services(*, as_json: AsJson = False) -> None:
    """List the configured services in run order.

    Example: `importer services --json | jq -r '.[].name'`
    """

    def print_services() -> int:
        table = read_settings(OperatorSettings).service_table()
        print_output(render.services_json(table) if as_json else render.services(table))
        return 0

    exit_with(handle_errors(print_services))


@app.command(name="plan")
@command
async def plan_command(
    context: Context,
    service: ServiceName,
    *,
    since: Annotated[int | None, typer.Option(min=0, help="From this ordinal; else from the service's own.")] = None,
    as_json: AsJson = False,
) -> int:
    """Dry run: count what importing a service would fetch.

    Fetches all its pages from SISU, and publishes and stores nothing.

    Example: `importer plan PERSON --since 0`
    """
    connections, chosen = context.connections, context.service(service)
    ordinal = await Ledger(connections.scripts, chosen.key).ordinal() if since is None else since
    producer = read_settings(ProducerSettings)
    sisu = SisuClient(producer, CodebookCache(connections.redis))
    max_bytes = connections.require_nats().max_message_bytes
    rate = _recent_rate(await context.load_snapshot(), chosen.name, producer.fetch_amount)
    result = plan.Plan(service=chosen.name, since=ordinal, ordinal=ordinal)
    async for result in plan.plan_import(sisu, chosen, ordinal, producer.max_chunk_size, max_bytes):
        if sys.stderr.isatty():
            print(f"\r{result.pages} pages, {result.entities} entities", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    result.import_seconds = result.entities / rate if rate else None
    print_output(msgspec.json.encode(result) if as_json else render.plan(result))
    return 0


def _recent_rate(snapshot: Snapshot, service: str, page: int) -> float | None:
    """Return the service's entities per second: the median of the known runs; None where none imported any.

    Runs of less than a page say little, and count only where there are no others.
    """
    outcomes = [each for run in snapshot.runs for each in run.outcomes if each.service == service and each.seconds]
    rates = [each.entities / each.seconds for each in outcomes if each.entities >= page]
    rates = rates or [each.entities / each.seconds for each in outcomes if each.entities]
    return median(rates) if rates else None
