"""What the commands share: settings, connections, output, and errors that become one line and an exit code."""

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from rich.console import Console

from operating.connections import Connections, connections
from operating.snapshot import Snapshot, take_snapshot
from operating.why import judge
from shared.errors import ConfigurationError, ImporterError, ProcessError
from shared.log import configure_logging
from shared.services import Service, load_services
from shared.settings import OperatorSettings, read_settings

NO = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--why", help="Kept with it, for whoever wonders later.")]

console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def run_command(work: Callable[[OperatorSettings, Connections], Coroutine[Any, Any, int]]) -> None:
    """Run a command with its connections, and exit with what it answers."""

    async def connected() -> int:
        settings = read_settings(OperatorSettings)
        async with connections(settings) as made:
            return await work(settings, made)

    end_with(guarded(lambda: asyncio.run(connected())))


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`; an error is one line on stderr."""
    configure_logging("ERROR", None)
    try:
        return work()
    except KeyboardInterrupt:
        return 0
    except ImporterError as error:
        print(f"importer: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ProcessError) else NO
    except BrokenPipeError:  # `importer … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def end_with(code: int) -> None:
    raise typer.Exit(code)


def show(what: object) -> None:
    if isinstance(what, bytes):
        print(what.decode(), flush=True)
    elif sys.stdout.isatty():
        console.print(what, markup=False)
    else:
        with console.capture() as lines:
            console.print(what, markup=False)
        # Columns are filled up with blanks, which wrap on a narrow screen.
        print("\n".join(line.rstrip() for line in lines.get().splitlines()), flush=True)


async def look_around(settings: OperatorSettings, connected: Connections) -> Snapshot:
    snapshot = await take_snapshot(connected.scripts.redis, connected.nats, settings.service_table())
    if connected.nats_error:
        snapshot.nats_error = connected.nats_error
    judge(snapshot, settings.timezone)
    return snapshot


async def nobody_to_do_it(settings: OperatorSettings, connected: Connections) -> str | None:
    """Why a wish for a producer will wait, in words; None where one will take it up."""
    snapshot = await look_around(settings, connected)
    if snapshot.active is None:
        return "no producer is active now"
    return "the import is paused: it begins after `importer resume`" if snapshot.paused else None


def reachable(snapshot: Snapshot) -> int:
    """0, or the exit code for what cannot be reached."""
    return 3 if snapshot.redis_error or snapshot.nats_error else 0


def service_named(settings: OperatorSettings, name: str) -> Service:
    table = settings.service_table()
    for service in table:
        if service.name == name.upper():
            return service
    raise ConfigurationError(f"there is no service {name}; the table has {', '.join(each.name for each in table)}")


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number of things."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def complete_service(begun: str) -> list[str]:
    """Names of services of the built-in table, for a shell: settings may not be there."""
    return [service.name for service in load_services() if service.name.startswith(begun.upper())]


def hint(text: str) -> None:
    """Tell on stderr what a command waits for, or what it will not bring about by itself."""
    print(f"importer: {text}", file=sys.stderr, flush=True)


def who() -> str:
    """Who wishes: the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"
