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
from shared.services import Service
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
    else:
        console.print(what, markup=False)


async def look_around(settings: OperatorSettings, connected: Connections) -> Snapshot:
    snapshot = await take_snapshot(connected.scripts.redis, connected.nats, settings.service_table())
    if connected.nats_error:
        snapshot.nats_error = connected.nats_error
    judge(snapshot, settings.timezone)
    return snapshot


def reachable(snapshot: Snapshot) -> int:
    """0, or the exit code for what cannot be reached."""
    return 3 if snapshot.redis_error or snapshot.nats_error else 0


def service_named(settings: OperatorSettings, name: str) -> Service:
    table = settings.service_table()
    for service in table:
        if service.name == name.upper():
            return service
    raise ConfigurationError(f"there is no service {name}; the table has {', '.join(each.name for each in table)}")


def who() -> str:
    """Who wishes: the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"
