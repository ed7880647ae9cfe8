"""`importer`: see an installation, understand it, steer it. Settings come from the environment, as for the processes.

Exit codes: 0 done, or all is well; 1 no: something is wrong, or the wish was refused; 2 wrong usage or settings;
3 Redis or NATS cannot be reached. With --json, stdout has JSON and nothing else.
"""

import typer

from operating import dead_letters, seeing, steering

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="See an installation of importer-api, understand it, steer it.\n\nSettings are those of the processes, from "
    "the environment. Exit codes: 0 done or well, 1 not well or refused, 2 wrong usage or settings, 3 Redis or NATS "
    "cannot be reached.",
)
app.add_typer(seeing.app)
app.add_typer(steering.app)
app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """The program `importer`."""
    app()
