"""The commands on dead letters: list, show, retry, drop."""

import asyncio
from typing import Annotated

import msgspec
import typer

from operating import letters, render, wishes
from operating.command import (
    NO,
    AsJson,
    hint,
    nobody_to_do_it,
    plural,
    run_command,
    service_named,
    show,
    who,
)
from operating.connections import Connections
from shared.errors import ConfigurationError
from shared.settings import OperatorSettings

_WAIT_SECONDS = 0.5

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Entities that were not delivered.")

Subjects = Annotated[list[str] | None, typer.Argument(metavar="SUBJECT…", help="As `list` prints them.")]
OfService = Annotated[str | None, typer.Option("--service", help="All of this service.")]


@app.command(name="list")
def list_letters(
    *,
    service: OfService = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Which entities, why, since when and how often. Their ids are in it.

    Example: `importer dead-letters list`
    """

    async def look(settings: OperatorSettings, connected: Connections) -> int:
        channel = service_named(settings, service).channel if service else None
        found = await letters.list_letters(connected.need_nats(), channel, limit)
        show(msgspec.json.encode(found) if as_json else render.letters(found, settings.timezone))
        return 0

    run_command(look)


@app.command(name="show")
def show_letter(subject: Annotated[str, typer.Argument(help="As `list` prints it.")]) -> None:
    """One letter, whole, with its error and the entity: personal data, as JSON."""

    async def look(_: OperatorSettings, connected: Connections) -> int:
        letter = await letters.read_letter(connected.need_nats(), subject)
        if letter is None:
            raise wishes.RefusedError(f"there is no dead letter {subject}")
        show(letter)
        return 0

    run_command(look)


@app.command()
def retry(
    subjects: Subjects = None,
    *,
    service: OfService = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the producer has dealt with all of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have letters sent again.

    If SISU still has just this version; one that changed since is obsolete, and closed.

    Example: `importer dead-letters retry --service PERSON --wait`
    """

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        chosen = await _chosen_letters(settings, connected, subjects, service)
        await wishes.request_retries(connected.scripts.redis, chosen, who())
        waits_for = await nobody_to_do_it(settings, connected)
        if wait:
            if waits_for:
                hint(waits_for)
            return await _outcomes(connected, chosen, as_json=as_json)
        asked = f"asked for {plural(len(chosen), 'dead letter')}; {waits_for or 'a producer is active'}"
        show(msgspec.json.encode({"asked": len(chosen), "waitsFor": waits_for}) if as_json else asked)
        return NO if waits_for else 0

    run_command(act)


async def _outcomes(connected: Connections, subjects: list[str], *, as_json: bool) -> int:
    """Print what came of each letter, a line each, as the producer deals with it. Answers 1 unless all are closed."""
    left, closed = list(subjects), True
    while left:
        notes = await wishes.retry_notes(connected.scripts.redis)
        for subject in [each for each in left if each not in notes or notes[each].outcome]:
            note = notes.get(subject)
            outcome, why = (note.outcome, note.explanation) if note else (None, None)
            if as_json:
                show(msgspec.json.encode({"subject": subject, "outcome": outcome or "unknown", "explanation": why}))
            else:
                show(f"{subject}  {outcome or 'unknown'}{f': {why}' if why else ''}")
            closed &= outcome in ("stored", "obsolete", "gone")
            left.remove(subject)
        if left:
            await asyncio.sleep(_WAIT_SECONDS)
    return 0 if closed else NO


@app.command()
def drop(
    subjects: Subjects = None,
    *,
    service: OfService = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove letters for good. The entities come again only when they change."""

    async def act(settings: OperatorSettings, connected: Connections) -> int:
        chosen = await _chosen_letters(settings, connected, subjects, service)
        if not yes and as_json:
            raise ConfigurationError("with --json nobody is asked: say --yes, too")
        count = plural(len(chosen), "dead letter")
        if not yes and not await asyncio.to_thread(typer.confirm, f"Remove {count} for good?"):
            return NO
        dropped = [await letters.drop_letter(connected.need_nats(), subject) for subject in chosen]
        show(msgspec.json.encode({"dropped": sum(dropped)}) if as_json else f"dropped {sum(dropped)}")
        return 0 if all(dropped) else NO

    run_command(act)


async def _chosen_letters(
    settings: OperatorSettings, connected: Connections, subjects: list[str] | None, service: str | None
) -> list[str]:
    if bool(subjects) == bool(service):
        raise ConfigurationError("name either subjects of dead letters, or a service with --service")
    if subjects:
        for subject in subjects:
            if await letters.read_letter(connected.need_nats(), subject) is None:
                raise wishes.RefusedError(f"there is no dead letter {subject}: nothing was done")
        return subjects
    channel = service_named(settings, service or "").channel
    chosen = await letters.subjects(connected.need_nats(), channel)
    if not chosen:
        raise wishes.RefusedError(f"{service} has no dead letters")
    return chosen
