"""The commands that control the import: run, pause, resume, rewind."""

import asyncio
from typing import Annotated

import msgspec
import typer

from admin.cli.context import (
    EXIT_FAILURE,
    AsJson,
    Context,
    OldReason,
    Reason,
    command,
    complete_service,
    current_user,
    print_output,
    warn,
)
from shared.model.errors import ConfigurationError
from shared.model.records import Rewind
from shared.store import operator_requests, rewinds

_POLL_SECONDS = 0.5

app = typer.Typer()


@app.command()
@command
async def run(
    context: Context,
    *,
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this service; may be repeated.", autocompletion=complete_service),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Request a run now, or right after the current one.

    Example: `importer run --service PERSON --service PLAN`
    """
    services = [context.service(name) for name in service or []]
    await operator_requests.request_run(context.connections.redis, services, current_user())
    blocked_by = await context.blocking_reason()
    if as_json:
        print_output(msgspec.json.encode({"requested": True, "blockedBy": blocked_by}))
    elif blocked_by:
        print_output(f"Run requested; {blocked_by}.")
    else:
        print_output("Run requested; the active producer will start it.")
    return EXIT_FAILURE if blocked_by else 0


@app.command()
@command
async def pause(context: Context, *, reason: Reason = "", why: OldReason = "", as_json: AsJson = False) -> int:
    """Pause after the current batch.

    Example: `importer pause --reason "upgrade"`
    """
    await operator_requests.pause(context.connections.redis, current_user(), reason or why)
    print_output(b'{"paused":true}' if as_json else "Paused. The current batch is settled first.")
    return 0


@app.command()
@command
async def resume(context: Context, *, as_json: AsJson = False) -> int:
    """Resume a paused import."""
    was_paused = await operator_requests.resume(context.connections.redis)
    text = "Resumed." if was_paused else "The import was not paused."
    print_output(msgspec.json.encode({"wasPaused": was_paused}) if as_json else text)
    return 0


@app.command()
@command
async def rewind(
    context: Context,
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE", help="The service to rewind; omit it with --undo.", autocompletion=complete_service
        ),
    ] = None,
    *,
    to: Annotated[
        int | None, typer.Option(min=0, help="The ordinal to move back to; the default, 0, imports everything again.")
    ] = None,
    reason: Reason = "",
    why: OldReason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a batch in flight instead of failing.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last rewind.")] = False,
    as_json: AsJson = False,
) -> int:
    """Move a service's ordinal back and re-import from there.

    Examples: `importer rewind PERSON --reason "restored a backup"`; `importer rewind PERSON --to 41200`;
    `importer rewind --undo`
    """
    scripts = context.connections.scripts
    if undo:
        if service or to is not None:
            raise ConfigurationError("--undo undoes the last rewind of any service: name no service and no ordinal")
        made = await rewinds.undo_rewind(scripts, context.services, by=current_user())
    elif service:
        await _wait_for_batch(context, service, wait=wait)
        made = await rewinds.rewind(scripts, context.service(service), to or 0, by=current_user(), reason=reason or why)
    else:
        raise ConfigurationError("name a service: `importer services` lists them")
    print_output(msgspec.json.encode(made) if as_json else _describe(made))
    return 0


async def _wait_for_batch(context: Context, service: str, *, wait: bool) -> None:
    """Return when no batch of the service is in flight; without `wait` raise RequestConflictError if one is."""
    chosen, redis, is_waiting = context.service(service), context.connections.redis, False
    while await rewinds.is_in_flight(redis, chosen):
        if not wait:
            raise rewinds.batch_in_flight_error(chosen)
        if not is_waiting:
            warn(f"waiting for the batch of {chosen.name} that is in flight")
        is_waiting = True
        await asyncio.sleep(_POLL_SECONDS)


def _describe(made: Rewind) -> str:
    return (
        f"{made.service}: ordinal {made.from_ordinal} → {made.to_ordinal}. The next run starts there; trigger it with "
        "`importer run`."
    )
