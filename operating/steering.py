"""The commands that steer: run, pause, resume, rewind."""

import asyncio
from typing import Annotated

import msgspec
import typer

from operating import wishes
from operating.command import NO, AsJson, Why, look_around, run_command, service_named, show, who
from operating.connections import Connections
from shared.errors import ConfigurationError
from shared.records import Rewind
from shared.settings import OperatorSettings

_WAIT_SECONDS = 0.5

app = typer.Typer()


@app.command()
def run(
    *, service: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None
) -> None:
    """Have a run begin now, or after the one that goes on.

    Example: `importer run --service PERSON --service PLAN`
    """

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        chosen = [service_named(settings, name) for name in service or []]
        await wishes.request_run(connected.scripts.redis, chosen, who())
        snapshot = await look_around(settings, connected)
        show("asked for; " + ("a producer is active" if snapshot.active else "no producer is active now"))
        return 0 if snapshot.active else NO

    run_command(act)


@app.command()
def pause(*, why: Why = "") -> None:
    """Begin nothing after the batch in flight, until `importer resume`.

    Example: `importer pause --why "upgrade"`
    """

    async def act(_: OperatorSettings, connected: Connections) -> int:
        await wishes.pause(connected.scripts.redis, who(), why)
        show("paused; a batch in flight is settled first")
        return 0

    run_command(act)


@app.command()
def resume() -> None:
    """Let a paused import go on."""

    async def act(_: OperatorSettings, connected: Connections) -> int:
        show("resumed" if await wishes.resume(connected.scripts.redis) else "it was not paused")
        return 0

    run_command(act)


@app.command()
def rewind(
    service: Annotated[str | None, typer.Argument(metavar="SERVICE")] = None,
    *,
    to: Annotated[int, typer.Option(min=0, help="The ordinal to go back to; 0 imports everything anew.")] = 0,
    why: Why = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a batch in flight, instead of refusing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last rewind back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a service's ordinal back, so that what changed after it is imported once more.

    Examples: `importer rewind PERSON --why "restored a backup"`; `importer rewind PERSON --to 41200`;
    `importer rewind --undo`
    """

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        if undo:
            if service:
                raise ConfigurationError("--undo takes the last rewind back, whichever service it was of: name none")
            done = await wishes.undo_rewind(connected.scripts, settings.service_table(), by=who())
        elif service:
            chosen = service_named(settings, service)
            while await wishes.is_in_flight(connected.scripts.redis, chosen):
                if not wait:
                    raise wishes.refused_in_flight(chosen)
                await asyncio.sleep(_WAIT_SECONDS)
            done = await wishes.rewind(connected.scripts, chosen, to, by=who(), why=why)
        else:
            raise ConfigurationError("name a service: `importer services` lists them")
        show(msgspec.json.encode(done) if as_json else _said(done))
        return 0

    run_command(act)


def _said(done: Rewind) -> str:
    return f"{done.service}: {done.from_ordinal} → {done.to_ordinal}. The next run goes on from there (importer run)."
