"""The commands that steer: run, pause, resume, rewind."""

import asyncio
from typing import Annotated

import msgspec
import typer

from operating import wishes
from operating.command import (
    NO,
    AsJson,
    Why,
    complete_service,
    hint,
    nobody_to_do_it,
    run_command,
    service_named,
    show,
    who,
)
from operating.connections import Connections
from shared.errors import ConfigurationError
from shared.records import Rewind
from shared.settings import OperatorSettings

_WAIT_SECONDS = 0.5

app = typer.Typer()


@app.command()
def run(
    *,
    service: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; may be given several times.", autocompletion=complete_service),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a run begin now, or after the one that goes on.

    Example: `importer run --service PERSON --service PLAN`
    """

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        chosen = [service_named(settings, name) for name in service or []]
        await wishes.request_run(connected.scripts.redis, chosen, who())
        waits_for = await nobody_to_do_it(settings, connected)
        show(
            msgspec.json.encode({"asked": True, "waitsFor": waits_for})
            if as_json
            else f"asked for; {waits_for or 'a producer is active'}"
        )
        return NO if waits_for else 0

    run_command(act)


@app.command()
def pause(*, why: Why = "", as_json: AsJson = False) -> None:
    """Begin nothing after the batch in flight, until `importer resume`.

    Example: `importer pause --why "upgrade"`
    """

    async def act(_: OperatorSettings, connected: Connections) -> int:
        await wishes.pause(connected.scripts.redis, who(), why)
        show(b'{"paused":true}' if as_json else "paused; a batch in flight is settled first")
        return 0

    run_command(act)


@app.command()
def resume(*, as_json: AsJson = False) -> None:
    """Let a paused import go on."""

    async def act(_: OperatorSettings, connected: Connections) -> int:
        was_paused = await wishes.resume(connected.scripts.redis)
        said = "resumed" if was_paused else "it was not paused"
        show(msgspec.json.encode({"wasPaused": was_paused}) if as_json else said)
        return 0

    run_command(act)


@app.command()
def rewind(
    service: Annotated[
        str | None,
        typer.Argument(metavar="SERVICE", help="Its name; none with --undo.", autocompletion=complete_service),
    ] = None,
    *,
    to: Annotated[
        int | None, typer.Option(min=0, help="The ordinal to go back to; without it 0, so all is imported anew.")
    ] = None,
    why: Why = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a batch in flight, instead of refusing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last rewind back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set a service's ordinal back.

    What changed after it is imported once more.

    Examples: `importer rewind PERSON --why "restored a backup"`; `importer rewind PERSON --to 41200`;
    `importer rewind --undo`
    """

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        if undo:
            if service or to is not None:
                raise ConfigurationError(
                    "--undo takes the last rewind back, whichever service it was of: name no service and no ordinal"
                )
            done = await wishes.undo_rewind(connected.scripts, settings.service_table(), by=who())
        elif service:
            chosen, waiting = service_named(settings, service), False
            while await wishes.is_in_flight(connected.scripts.redis, chosen):
                if not wait:
                    raise wishes.refused_in_flight(chosen)
                if not waiting:
                    hint(f"waiting for the batch of {chosen.name} that is in flight")
                waiting = True
                await asyncio.sleep(_WAIT_SECONDS)
            done = await wishes.rewind(connected.scripts, chosen, to or 0, by=who(), why=why)
        else:
            raise ConfigurationError("name a service: `importer services` lists them")
        show(msgspec.json.encode(done) if as_json else _said(done))
        return 0

    run_command(act)


def _said(done: Rewind) -> str:
    return f"{done.service}: {done.from_ordinal} → {done.to_ordinal}. The next run goes on from there (importer run)."
