"""`importer`: inspect and control an installation. Settings come from the environment, as for the processes.

With --json, stdout has JSON and nothing else.
"""

from typing import Annotated

import typer

from admin.cli import control_commands, dead_letter_commands, status_commands
from shared.runtime.version import BUILD, VERSION

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Inspect and control an importer-api installation.\n\nSettings are those of the processes, from the "
    "environment. Exit codes: 0 success, 1 problem found or request rejected, 2 usage or configuration error, 3 Redis "
    "or NATS is unreachable.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"importer-api {VERSION} ({BUILD})")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and the build."),
    ] = False,
) -> None:
    """Leave the help of the program as it is: a docstring of a callback does not replace it."""


app.add_typer(status_commands.app)
app.add_typer(control_commands.app)
app.add_typer(dead_letter_commands.app, name="dead-letters")


def main() -> None:
    """Run the program `importer`."""
    app()
