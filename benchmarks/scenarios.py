"""What is measured, in the order in which it is; each scenario answers plain figures, which end up in results.json.

What is compared is measured in turns, so that a machine that is busy with something else for a while harms both sides.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import trace
from benchmarks.measure import (
    Import,
    empty_runs,
    run_bare,
    run_import,
    seconds_per_request,
    seconds_to_first_publish,
    settle_pile,
)
from benchmarks.world import PagesProgram, Program, World

ENTITIES = 50_000
Figures = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How much is measured."""

    name: str
    repetitions: int
    latencies_ms: tuple[int, ...]
    page_sizes: tuple[int, ...]
    collectors: tuple[int, ...]
    long_entities: int
    pile_chunks: int
    """In each of the 26 services."""


SHORT = Form("short", 3, (0, 50), (1000, 4000), (1, 2), 250_000, 400)
FULL = Form("full", 7, (0, 10, 25, 50, 100), (250, 500, 1000, 2000, 4000, 8000), (1, 2, 3), 1_000_000, 1000)


@dataclass(frozen=True)
class _Installation:
    world: World
    pages: PagesProgram
    collectors: list[Program]
    mankeli: Program

    def bare(self, mode: str) -> float:
        """Entities a second of the bare loop."""
        return run_bare(self.world, self.pages, mode)

    def importer(self, pages: PagesProgram | None = None, **variables: object) -> Import:
        """One import of everything."""
        return run_import(self.world, pages or self.pages, self.collectors, self.mankeli, **variables)


@contextmanager
def _installed(world: World, *mankeli_options: object, **page_options: object) -> Iterator[_Installation]:
    """Pages, a collector and a null mankeli."""
    arguments = [word for name, value in page_options.items() for word in (f"--{name.replace('_', '-')}", value)]
    with ExitStack() as stack:
        pages = stack.enter_context(world.pages(*arguments))
        collectors = stack.enter_context(world.collectors(1))
        yield _Installation(world, pages, collectors, stack.enter_context(world.mankeli(*mankeli_options)))


def _rates(imports: list[Import]) -> list[float]:
    return [each.rate for each in imports]


def throughput(world: World, form: Form) -> Figures:
    """0 ms a page, null mankelis: the importer beside the bare loop."""
    steps, ahead, imports = [], [], []
    with _installed(world, entities=ENTITIES) as bench:
        for _ in range(form.repetitions):
            steps.append(bench.bare("steps"))
            imports.append(bench.importer())
            ahead.append(bench.bare("ahead"))
    return {
        "bare": steps,
        "bare_ahead": ahead,
        "importer": _rates(imports),
        "processor_seconds": [each.processor_seconds for each in imports],
        "seconds": [each.seconds for each in imports],
    }


def latency(world: World, form: Form) -> Figures:
    """Fetching alone beside the importer, by the time that SISU takes for a page."""
    figures: Figures = {}
    for latency_ms in form.latencies_ms:
        entities = ENTITIES if latency_ms == 0 else ENTITIES // 2
        fetch, importer = [], []
        with _installed(world, entities=entities, latency_ms=latency_ms) as bench:
            for _ in range(form.repetitions):
                fetch.append(bench.bare("fetch"))
                importer.append(bench.importer().rate)
        figures[str(latency_ms)] = {"fetch": fetch, "importer": importer}
    return figures


def both_slow(world: World, form: Form) -> Figures:
    """SISU takes 50 ms for a page, and a mankeli 50 ms for a batch: 5 ms for each of its ten chunks."""
    fetch, importer = [], []
    with _installed(world, "--delay-ms", 5, entities=ENTITIES // 2, latency_ms=50) as bench:
        for _ in range(form.repetitions):
            fetch.append(1000 / bench.bare("fetch"))
            importer.append(1000 / bench.importer().rate)
    return {"fetch_seconds": fetch, "mankeli_seconds": 0.05, "batch_seconds": importer}


def page_size(world: World, form: Form) -> Figures:
    """Entities a second by FETCH_AMOUNT, at 0 ms a page."""
    figures: Figures = {str(size): [] for size in form.page_sizes}
    peaks: Figures = {}
    with _installed(world, entities=ENTITIES) as bench:
        for _ in range(form.repetitions):
            for size in form.page_sizes:
                done = bench.importer(FETCH_AMOUNT=size)
                figures[str(size)].append(done.rate)
                peaks[str(size)] = done.producer_peak_mb
    return {"importer": figures, "producer_peak_mb": peaks}


def adaptive(world: World, form: Form) -> Figures:
    """The page's size fixed, and left to the importer up to 4,000, at 20 ms a page: in turns."""
    fixed, adapted, peaks = [], [], []
    with _installed(world, entities=2 * ENTITIES, latency_ms=20) as bench:
        for _ in range(form.repetitions):
            fixed.append(bench.importer().rate)
            done = bench.importer(FETCH_AMOUNT_MAX=4000)
            adapted.append(done.rate)
            peaks.append(done.producer_peak_mb)
    return {"fixed": fixed, "adapted": adapted, "producer_peak_mb": peaks}


def length(world: World, form: Form) -> Figures:
    """A long import beside a short one: cost per entity, memory, and memory over time."""
    figures: Figures = {}
    repetitions = max(1, form.repetitions // 3)
    for name, entities in (("short", ENTITIES), ("long", form.long_entities)):
        with _installed(world, entities=entities) as bench:
            imports = [bench.importer() for _ in range(repetitions)]
            figures[name] = {
                "entities": entities,
                "seconds_per_entity": [1 / each.rate for each in imports],
                "producer_peak_mb": [each.producer_peak_mb for each in imports],
                "collector_peak_mb": [each.collector_peak_mb for each in imports],
                "memory_mb": imports[-1].memory_mb,
            }
    return figures


def collectors(world: World, form: Form) -> Figures:
    """Feedback a second, by the number of collectors."""
    figures: Figures = {str(number): [] for number in form.collectors}
    for _ in range(form.repetitions):
        for number in form.collectors:
            with world.collectors(number) as programs:
                figures[str(number)].append(settle_pile(world, programs, form.pile_chunks))
    return figures


def nothing_new(world: World, form: Form) -> Figures:
    """Runs that find nothing new, at 50 ms a request, and what the requests alone take."""
    with _installed(world, entities=0, latency_ms=50) as bench:
        request = [seconds_per_request(bench.pages) for _ in range(form.repetitions)]
        first, *hourly = empty_runs(world, bench.pages, 2 * form.repetitions)
    return {"request_seconds": request, "first": asdict(first), "hourly": [asdict(run) for run in hourly]}


def isolation(world: World, form: Form) -> Figures:
    """A batch of 1,000 with one entity that mankelis reject, beside a clean one, in turns."""
    batches = 20
    entities = batches * 1000
    clean, failing = [], []
    with (
        _installed(world, "--rejects", entities=entities) as bench,
        world.pages("--entities", entities, "--bad-every", 1000) as bad_pages,
    ):
        for _ in range(form.repetitions):
            clean.append(bench.importer().seconds / batches)
            failing.append(bench.importer(bad_pages).seconds / batches)
    return {"clean_batch_seconds": clean, "failing_batch_seconds": failing}


def start(world: World, form: Form) -> Figures:
    """From the start of the producer's process to its first chunk."""
    with _installed(world, entities=1000) as bench:
        return {"seconds": [seconds_to_first_publish(world, bench.pages) for _ in range(form.repetitions)]}


def where_time_goes(world: World, form: Form) -> Figures:  # noqa: ARG001 - a scenario's signature
    """The steps of a batch, timed in the producer itself."""
    with _installed(world, entities=ENTITIES) as bench:
        return trace.measure(world, bench.pages)


SCENARIOS: tuple[Callable[[World, Form], Figures], ...] = (
    throughput,
    latency,
    both_slow,
    length,
    collectors,
    nothing_new,
    isolation,
    start,
    page_size,
    adaptive,
    where_time_goes,
)
