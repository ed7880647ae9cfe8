"""What the commands share: settings, connections, output, and errors that become one line and an exit code."""

import asyncio
import functools
import getpass
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from admin.connections import Connections, connect
from admin.status.diagnosis import add_diagnosis
from admin.status.snapshot import Snapshot, take_snapshot
from shared.config.settings import OperatorSettings, read_settings
from shared.model.errors import ConfigurationError, ImporterError, ProcessError
from shared.model.services import Service, find_service, load_services
from shared.runtime.logging_setup import configure_logging
from shared.runtime.printable import escape_unprintable

EXIT_FAILURE = 1
EXIT_UNREACHABLE = 3

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Recorded with the action.")]
OldReason = Annotated[str, typer.Option("--why", hidden=True)]
"""The former name of `--reason`, kept as a hidden alias."""


class _SafeConsole(Console):
    """A console on which no text is obeyed by the terminal; rich's own control codes are."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_unprintable(segment.text))


console = _SafeConsole(highlight=False, width=None if sys.stdout.isatty() else 200)

P = ParamSpec("P")


@dataclass(frozen=True)
class Context:
    """The settings and connections of one command."""

    settings: OperatorSettings
    connections: Connections
    services: Sequence[Service]
    """All services of the table."""

    async def load_snapshot(self) -> Snapshot:
        """Take a snapshot, with its diagnosis. Raises nothing for what is unreachable."""
        nats = self.connections.nats
        snapshot = await take_snapshot(
            self.connections.redis, nats.api if nats else None, self.services, self.settings.instance
        )
        if self.connections.nats_error:
            snapshot.nats_error = self.connections.nats_error
        add_diagnosis(snapshot, self.settings.timezone)
        return snapshot

    async def blocking_reason(self) -> str | None:
        """Return why a request to the producer has to wait; None where the active producer will process it."""
        snapshot = await self.load_snapshot()
        if snapshot.active is None:
            return "no producer is active now"
        return "the import is paused, and continues after `importer resume`" if snapshot.paused else None

    def service(self, name: str) -> Service:
        """Return the service of this name. Raises ConfigurationError where there is none."""
        if service := find_service(self.services, name):
            return service
        known = ", ".join(each.name for each in self.services)
        raise ConfigurationError(f"there is no service {name}; the table has {known}")


def command(work: Callable[Concatenate[Context, P], Awaitable[int]]) -> Callable[P, None]:
    """Make a command of an async function: connect, run it with a Context, and exit with the code that it returns."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def connected() -> int:
            settings = read_settings(OperatorSettings)
            async with connect(settings) as connections:
                return await work(Context(settings, connections, settings.service_table()), *args, **kwargs)

        exit_with(handle_errors(lambda: asyncio.run(connected())))

    signature = inspect.signature(work)
    _, *parameters = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    return run


def handle_errors(work: Callable[[], int]) -> int:
    """Return the exit code of `work`; an error is printed as one line on stderr."""
    configure_logging("ERROR", None)
    try:
        return work()
    except KeyboardInterrupt:
        return 0
    except ImporterError as error:
        warn(str(error))
        return error.exit_code if isinstance(error, ProcessError) else EXIT_FAILURE
    except BrokenPipeError:  # `importer … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def exit_with(code: int) -> NoReturn:
    """End the command with this exit code."""
    raise typer.Exit(code)


def connectivity_exit_code(snapshot: Snapshot) -> int:
    """Return 0, or the exit code for what is unreachable."""
    return EXIT_UNREACHABLE if snapshot.redis_error or snapshot.nats_error else 0


def print_output(output: Any) -> None:
    """Print the result of a command: JSON, given as bytes, or what rich can render."""
    if isinstance(output, bytes):
        print(escape_unprintable(output.decode()), flush=True)
    elif sys.stdout.isatty():
        console.print(output, markup=False)
    else:
        with console.capture() as lines:
            console.print(output, markup=False)
        # rich pads columns with blanks, which would wrap on a narrow screen.
        print("\n".join(line.rstrip() for line in lines.get().splitlines()), flush=True)


def warn(text: str) -> None:
    """Print a notice on stderr, apart from the output."""
    print(f"importer: {escape_unprintable(text)}", file=sys.stderr, flush=True)


def complete_service(prefix: str) -> list[str]:
    """Return the names of the built-in services table that begin with `prefix`, for a shell."""
    return [service.name for service in load_services() if service.name.startswith(prefix.upper())]


def current_user() -> str:
    """Return the user of this machine, who is recorded with requests."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"
