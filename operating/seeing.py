"""The commands that show: status, why, check, services, plan. They change nothing."""

import asyncio
import sys
from statistics import median
from typing import Annotated, Literal

import msgspec
import typer
from rich.live import Live

from operating import checks, plan, render
from operating.command import (
    NO,
    AsJson,
    complete_service,
    console,
    end_with,
    guarded,
    look_around,
    plural,
    reachable,
    run_command,
    service_named,
    show,
)
from operating.connections import Connections
from operating.findings import Finding
from operating.snapshot import Snapshot, to_json
from producer.sisu import CodebookCache, SisuClient
from shared.ledger import Ledger
from shared.messages import HEADERS_MAX_BYTES
from shared.settings import OperatorSettings, ProducerSettings, read_settings

_WATCH_SECONDS = 1.0

app = typer.Typer()

ServiceName = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE", help="Its name, as `importer services` lists it.", autocompletion=complete_service
    ),
]


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """How far the run is, and how each service fares.

    The run in progress, each service, the processes, the last runs.

    Examples: `importer status --watch`; `importer status --json | jq .verdict.code`
    """

    async def look(settings: OperatorSettings, connected: Connections) -> int:
        if not watch:
            snapshot = await look_around(settings, connected)
            show(to_json(snapshot) if as_json else render.status(snapshot, settings.timezone))
            return reachable(snapshot)
        if as_json or not sys.stdout.isatty():
            return await _watch_lines(settings, connected, as_json=as_json)
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                snapshot = await look_around(settings, connected)
                live.update(render.status(snapshot, settings.timezone, console.height), refresh=True)
                await asyncio.sleep(_WATCH_SECONDS)

    run_command(look)


async def _watch_lines(settings: OperatorSettings, connected: Connections, *, as_json: bool) -> int:
    """A line, or a line of JSON, whenever the verdict or the progress has changed."""
    last = None
    while True:
        snapshot = await look_around(settings, connected)
        verdict, pace = snapshot.verdict, snapshot.pace
        now = (verdict and verdict.sentence, pace and pace.entities)
        if now != last:
            done = f" · {plural(pace.entities, 'entity', 'entities')} in this run" if pace else ""
            show(
                to_json(snapshot) if as_json else f"{snapshot.at.astimezone(settings.timezone):%H:%M:%S} {now[0]}{done}"
            )
            last = now
        await asyncio.sleep(_WATCH_SECONDS)


@app.command()
def why(*, as_json: AsJson = False) -> None:
    """Why it stands still, if it does.

    A sentence, and what to do about it. Exit code 1 where somebody should do something.

    Example: `said=$(importer why) || echo "$said" | mail -s importer operators@example.org`
    """

    async def look(settings: OperatorSettings, connected: Connections) -> int:
        snapshot = await look_around(settings, connected)
        assert snapshot.verdict
        show(msgspec.json.encode(snapshot.verdict) if as_json else render.verdict(snapshot.verdict))
        return reachable(snapshot) or (0 if snapshot.verdict.well else NO)

    run_command(look)


@app.command()
def check(
    *,
    alive: Annotated[bool, typer.Option("--alive", help="Only whether processes give signs of life.")] = False,
    process: Annotated[
        Literal["producer", "ack_collector"] | None, typer.Option(help="With --alive: only of this kind.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at all that an import needs.

    Every setting, Redis, NATS and each API of SISU, all findings at once. Exit code 1 if one is an error.

    Examples: `importer check`; as a health check of a container: `importer check --alive --process producer`
    """

    async def look(_: OperatorSettings, connected: Connections) -> int:
        return report(await checks.alive(connected, process), as_json=as_json)

    if process and not alive:
        raise typer.BadParameter("goes with --alive", param_hint="--process")
    if alive:
        run_command(look)
    else:
        end_with(guarded(lambda: report(asyncio.run(checks.check(read_settings(ProducerSettings))), as_json=as_json)))


@app.command()
def services(*, as_json: AsJson = False) -> None:
    """The services of the table, in the order of a run.

    Example: `importer services --json | jq -r '.[].name'`
    """

    def listing() -> int:
        table = read_settings(OperatorSettings).service_table()
        show(render.services_json(table) if as_json else render.services(table))
        return 0

    end_with(guarded(listing))


@app.command(name="plan")
def plan_command(
    service: ServiceName,
    *,
    since: Annotated[int | None, typer.Option(min=0, help="From this ordinal; else from the service's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """What an import of a service would mean.

    Walks its feed at SISU, and publishes and stores nothing.

    Example: `importer plan PERSON --since 0`
    """

    async def look(settings: OperatorSettings, connected: Connections) -> int:
        chosen = service_named(settings, service)
        ordinal = await Ledger(connected.scripts, chosen.key).ordinal() if since is None else since
        producer = read_settings(ProducerSettings)
        sisu = SisuClient(producer, CodebookCache(connected.scripts.redis))
        max_bytes = connected.need_nats().max_payload - HEADERS_MAX_BYTES
        speed = _speed(await look_around(settings, connected), chosen.name, producer.fetch_amount)
        found = plan.Plan(service=chosen.name, since=ordinal, ordinal=ordinal)
        async for found in plan.walk(sisu, chosen, ordinal, producer.max_chunk_size, max_bytes):
            if sys.stderr.isatty():
                print(f"\r{found.pages} pages, {found.entities} entities", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        found.import_seconds = found.entities / speed if speed else None
        show(msgspec.json.encode(found) if as_json else render.plan(found))
        return 0

    run_command(look)


def report(found: list[Finding], *, as_json: bool) -> int:
    show(msgspec.json.encode(found) if as_json else render.findings(found))
    return NO if any(finding.result == "error" for finding in found) else 0


def _speed(snapshot: Snapshot, service: str, page: int) -> float | None:
    """Entities a second: the median of the runs that are remembered; None where none had any.

    Runs of less than a page say little, and count only where there are no others.
    """
    outcomes = [each for run in snapshot.runs for each in run.outcomes if each.service == service and each.seconds]
    speeds = [each.entities / each.seconds for each in outcomes if each.entities >= page]
    speeds = speeds or [each.entities / each.seconds for each in outcomes if each.entities]
    return median(speeds) if speeds else None
