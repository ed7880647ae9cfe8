"""The demo's output: the progress of each service while it runs, and the table at the end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from shared.runtime.events import Event

_BAR_CHARACTERS = 24


@dataclass
class ServiceState:
    """The progress of one service. All counts but `chunks` are of entities."""

    name: str
    scheduled: int = 0
    updated: int = 0
    ordinal: int = 0
    entities: int = 0
    chunks: int = 0
    dead_letters: int = 0
    last_run_entities: int = 0
    seconds: float = 0.0
    finished: bool = False
    note: str = ""

    def set_counters(self, scheduled: int, updated: int, ordinal: int) -> None:
        """Set the counters that Redis has."""
        self.scheduled, self.updated, self.ordinal = scheduled, updated, ordinal


@dataclass
class Progress:
    """The progress of all services, according to the logs and Redis."""

    services: dict[str, ServiceState] = field(default_factory=dict)
    runs: int = 0
    complete_runs: int = 0

    @classmethod
    def for_services(cls, names: Iterable[str]) -> "Progress":
        """Return the progress before the first run."""
        return cls({name: ServiceState(name) for name in names})

    def record_event(self, event: Mapping[str, Any]) -> None:
        """Apply a log event of the producer."""
        state = self.services.get(event.get("service", ""))
        name = event.get("event")
        if name == Event.RUN_STARTED:
            self.runs += 1
            for service in self.services.values():
                service.finished = False
        elif name == Event.RUN_FINISHED:
            self.complete_runs += bool(event["complete"])
        if state is None:
            return
        if name == Event.DEAD_LETTERS_PUBLISHED:
            state.dead_letters += event["rejected"] + event["too_large"]
        elif name == Event.SERVICE_FINISHED:
            state.finished, state.note = True, ""
            state.ordinal, state.last_run_entities = event["ordinal"], event["entities"]
            state.seconds += event["seconds"]
        elif name in (Event.SERVICE_FAILED, Event.SERVICE_FORBIDDEN):
            state.note = str(event.get("reason", name))
        elif name in (Event.CHUNKS_RESENT, Event.SERVICE_RESTARTED, Event.FETCH_RETRIED):
            state.note = str(name)

    def set_delivered(self, delivered: Mapping[str, tuple[int, int]]) -> None:
        """Set what mankelis processed of each service: entities and chunks."""
        for name, (entities, chunks) in delivered.items():
            self.services[name].entities, self.services[name].chunks = entities, chunks


class View(Protocol):
    """A way to show progress."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, progress: Progress) -> None:
        """Show the progress, which has changed."""


class PlainView:
    """Lines, for a pipe or a file: one for each finished service, in later runs only if it had changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[tuple[int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, progress: Progress) -> None:
        """Print a line for each service that has finished since the last call."""
        for state in progress.services.values():
            if not state.finished or (progress.runs, state.name) in self._printed:
                continue
            self._printed.add((progress.runs, state.name))
            if progress.runs == 1 or state.last_run_entities:
                counts = f"{state.last_run_entities:>6} entities  ordinal {state.ordinal:>9}  {state.seconds:6.2f} s"
                self._console.print(f"run {progress.runs}  {state.name:<28} {counts}")


class LiveView:
    """A table that is updated in place, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Update the table."""
        table = Table(box=None, pad_edge=False)
        for heading in ("service", "batch in flight", "ordinal", ""):
            table.add_column(heading)
        for state in progress.services.values():
            in_flight = not state.finished and state.scheduled > state.updated
            mark = "[green]✓[/]" if state.finished else "[yellow]…[/]" if in_flight else " "
            bar = f"{_bar(state)} {state.updated:>5}/{state.scheduled}" if state.scheduled else ""
            table.add_row(f"{mark} {state.name}", bar, f"{state.ordinal:>12}" if state.ordinal else "", state.note)
        self._live.update(table)


def _bar(state: ServiceState) -> str:
    filled = _BAR_CHARACTERS * state.updated // max(state.scheduled, 1)
    return "━" * filled + "[dim]" + "─" * (_BAR_CHARACTERS - filled) + "[/]"


def choose_view(console: Console) -> View:
    """Return the view for this console: a table on a terminal, lines otherwise."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def final_table(progress: Progress) -> Table:
    """Return the outcome of each service, and the sums."""
    table = Table(title="imported")
    table.add_column("service")
    for heading in ("entities", "chunks", "dead letters", "seconds", "ordinal"):
        table.add_column(heading, justify="right")
    states = list(progress.services.values())
    for state in states:
        counts = (state.entities, state.chunks, state.dead_letters)
        table.add_row(state.name, *(f"{count:,}" for count in counts), f"{state.seconds:.2f}", str(state.ordinal))
    table.add_section()
    sums = (sum(s.entities for s in states), sum(s.chunks for s in states), sum(s.dead_letters for s in states))
    table.add_row("total", *(f"{count:,}" for count in sums), f"{sum(s.seconds for s in states):.2f}", "")
    return table
