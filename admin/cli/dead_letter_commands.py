"""The commands on dead letters: list, show, retry, drop."""

import asyncio
from typing import Annotated

import msgspec
import typer

from admin.cli import render
from admin.cli.context import EXIT_FAILURE, AsJson, Context, command, current_user, print_output, warn
from admin.text import pluralize
from shared.model.errors import ConfigurationError, RequestConflictError
from shared.store import operator_requests

_POLL_SECONDS = 0.5
_CLOSED = ("stored", "obsolete", "not_found")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, retry or drop dead letters.")

Subjects = Annotated[list[str] | None, typer.Argument(metavar="SUBJECT…", help="As `list` prints them.")]
OfService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="All of this service.")]


@app.command(name="list")
@command
async def list_dead_letters(
    context: Context,
    *,
    service: OfService = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number to list.")] = 100,
    as_json: AsJson = False,
) -> int:
    """List dead letters (shows entity ids).

    Example: `importer dead-letters list`
    """
    channel = context.service(service).channel if service else None
    page = await context.connections.require_nats().dead_letters.page(channel, limit)
    print_output(msgspec.json.encode(page) if as_json else render.dead_letters(page, context.settings.timezone))
    return 0


@app.command(name="show")
@command
async def show_dead_letter(
    context: Context, subject: Annotated[str, typer.Argument(help="As `list` prints it.")]
) -> int:
    """Show one dead letter as JSON, with its error and the entity (personal data)."""
    stored = await context.connections.require_nats().dead_letters.get(subject)
    if stored is None:
        raise RequestConflictError(f"there is no dead letter {subject}")
    print_output(stored.data)
    return 0


@app.command()
@command
async def retry(
    context: Context,
    subjects: Subjects = None,
    *,
    service: OfService = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all are processed.")] = False,
    as_json: AsJson = False,
) -> int:
    """Request that dead letters be sent again.

    Each is sent only if SISU still has this version; one that changed since is obsolete, and deleted.

    Example: `importer dead-letters retry --service PERSON --wait`
    """
    chosen = await _chosen_subjects(context, subjects, service)
    await operator_requests.request_retries(context.connections.redis, chosen, current_user())
    blocked_by = await context.blocking_reason()
    if wait:
        if blocked_by:
            warn(blocked_by)
        return await _wait_for_outcomes(context, chosen, as_json=as_json)
    text = f"Retry of {pluralize(len(chosen), 'dead letter')} requested"
    text += f"; {blocked_by}." if blocked_by else "; the active producer will process it."
    print_output(msgspec.json.encode({"requested": len(chosen), "blockedBy": blocked_by}) if as_json else text)
    return EXIT_FAILURE if blocked_by else 0


async def _wait_for_outcomes(context: Context, subjects: list[str], *, as_json: bool) -> int:
    """Print the outcome of each retry, a line each, as it becomes known. Return 1 unless all are closed."""
    open_subjects, all_closed = list(subjects), True
    while open_subjects:
        requests = await operator_requests.read_retry_requests(context.connections.redis)
        for subject in [each for each in open_subjects if each not in requests or requests[each].outcome]:
            request = requests.get(subject)
            outcome, explanation = (request.outcome, request.explanation) if request else (None, None)
            if as_json:
                result = {"subject": subject, "outcome": outcome or "unknown", "explanation": explanation}
                print_output(msgspec.json.encode(result))
            else:
                print_output(f"{subject}  {outcome or 'unknown'}{f': {explanation}' if explanation else ''}")
            all_closed &= outcome in _CLOSED
            open_subjects.remove(subject)
        if open_subjects:
            await asyncio.sleep(_POLL_SECONDS)
    return 0 if all_closed else EXIT_FAILURE


@app.command()
@command
async def drop(
    context: Context,
    subjects: Subjects = None,
    *,
    service: OfService = None,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
    as_json: AsJson = False,
) -> int:
    """Permanently delete dead letters. The entities are delivered again only when they change."""
    chosen = await _chosen_subjects(context, subjects, service)
    if not yes and as_json:
        raise ConfigurationError("--json cannot ask for confirmation: add --yes")
    question = f"Permanently delete {pluralize(len(chosen), 'dead letter')}?"
    if not yes and not await asyncio.to_thread(typer.confirm, question):
        return EXIT_FAILURE
    store = context.connections.require_nats().dead_letters
    deleted = [await store.delete_subject(subject) for subject in chosen]
    text = f"Deleted {pluralize(sum(deleted), 'dead letter')}."
    print_output(msgspec.json.encode({"deleted": sum(deleted)}) if as_json else text)
    return 0 if all(deleted) else EXIT_FAILURE


async def _chosen_subjects(context: Context, subjects: list[str] | None, service: str | None) -> list[str]:
    if bool(subjects) == bool(service):
        raise ConfigurationError("name either subjects of dead letters, or a service with --service")
    store = context.connections.require_nats().dead_letters
    if subjects:
        for subject in subjects:
            if await store.get(subject) is None:
                raise RequestConflictError(f"there is no dead letter {subject}: nothing was done")
        return subjects
    found = await store.subjects(context.service(service or "").channel)
    if not found:
        raise RequestConflictError(f"{service} has no dead letters")
    return found
