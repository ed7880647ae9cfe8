"""The scenarios, in the order in which they run; each returns plain figures, which are kept in results.json.

Values to be compared are measured in turns, so that other load on the machine affects both sides.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import stan, trace
from benchmarks.measure import (
    Import,
    empty_runs,
    run_baseline,
    run_import,
    seconds_per_request,
    seconds_to_first_publish,
    settle_backlog,
)
from benchmarks.rig import BenchmarkProcess, BenchmarkRig, PagesProcess

ENTITIES = 50_000
Figures = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """How much to measure."""

    name: str
    repetitions: int
    latencies_ms: tuple[int, ...]
    page_sizes: tuple[int, ...]
    collectors: tuple[int, ...]
    long_entities: int
    backlog_chunks: int
    """In each of the 26 services."""


SHORT = Profile("short", 3, (0, 50), (1000, 4000), (1, 2), 250_000, 400)
FULL = Profile("full", 7, (0, 10, 25, 50, 100), (250, 500, 1000, 2000, 4000, 8000), (1, 2, 3), 1_000_000, 1000)


@dataclass(frozen=True)
class _RunningImporter:
    rig: BenchmarkRig
    pages: PagesProcess
    collectors: list[BenchmarkProcess]
    mankeli: BenchmarkProcess

    def baseline(self, mode: str) -> float:
        """Return the entities per second of the baseline loop."""
        return run_baseline(self.rig, self.pages, mode)

    def importer(self, pages: PagesProcess | None = None, **variables: object) -> Import:
        """Import everything, and return the measurement."""
        return run_import(self.rig, pages or self.pages, self.collectors, self.mankeli, **variables)


@contextmanager
def _running_importer(
    rig: BenchmarkRig, *mankeli_options: object, **page_options: object
) -> Iterator[_RunningImporter]:
    """Run pages, a collector and a null mankeli during the body."""
    arguments = [word for name, value in page_options.items() for word in (f"--{name.replace('_', '-')}", value)]
    with ExitStack() as stack:
        pages = stack.enter_context(rig.pages(*arguments))
        collectors = stack.enter_context(rig.collectors(1))
        yield _RunningImporter(rig, pages, collectors, stack.enter_context(rig.mankeli(*mankeli_options)))


def _rates(imports: list[Import]) -> list[float]:
    return [each.rate for each in imports]


def throughput(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare the importer with the baseline loop, at 0 ms per page, with null mankelis."""
    steps, ahead, imports = [], [], []
    with _running_importer(rig, entities=ENTITIES) as bench:
        for _ in range(profile.repetitions):
            steps.append(bench.baseline("steps"))
            imports.append(bench.importer())
            ahead.append(bench.baseline("ahead"))
    return {
        "baseline": steps,
        "baseline_ahead": ahead,
        "importer": _rates(imports),
        "processor_seconds": [each.processor_seconds for each in imports],
        "seconds": [each.seconds for each in imports],
    }


def latency(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare the importer with fetching alone, by SISU's latency."""
    figures: Figures = {}
    for latency_ms in profile.latencies_ms:
        entities = ENTITIES if latency_ms == 0 else ENTITIES // 2
        fetch, importer = [], []
        with _running_importer(rig, entities=entities, latency_ms=latency_ms) as bench:
            for _ in range(profile.repetitions):
                fetch.append(bench.baseline("fetch"))
                importer.append(bench.importer().rate)
        figures[str(latency_ms)] = {"fetch": fetch, "importer": importer}
    return figures


def latency_overlap(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Measure a SISU of 50 ms per page with a mankeli of 50 ms per batch: 5 ms for each of ten chunks."""
    fetch, importer = [], []
    with _running_importer(rig, "--delay-ms", 5, entities=ENTITIES // 2, latency_ms=50) as bench:
        for _ in range(profile.repetitions):
            fetch.append(1000 / bench.baseline("fetch"))
            importer.append(1000 / bench.importer().rate)
    return {"fetch_seconds": fetch, "mankeli_seconds": 0.05, "batch_seconds": importer}


def page_size(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Measure entities per second by FETCH_AMOUNT, at 0 ms per page."""
    figures: Figures = {str(size): [] for size in profile.page_sizes}
    peaks: Figures = {}
    with _running_importer(rig, entities=ENTITIES) as bench:
        for _ in range(profile.repetitions):
            for size in profile.page_sizes:
                measured = bench.importer(FETCH_AMOUNT=size)
                figures[str(size)].append(measured.rate)
                peaks[str(size)] = measured.producer_peak_mb
    return {"importer": figures, "producer_peak_mb": peaks}


def adaptive(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare a fixed page size with an adaptive one of up to 4,000, at 20 ms per page."""
    fixed, adapted, peaks = [], [], []
    with _running_importer(rig, entities=2 * ENTITIES, latency_ms=20) as bench:
        for _ in range(profile.repetitions):
            fixed.append(bench.importer().rate)
            measured = bench.importer(FETCH_AMOUNT_MAX=4000)
            adapted.append(measured.rate)
            peaks.append(measured.producer_peak_mb)
    return {"fixed": fixed, "adapted": adapted, "producer_peak_mb": peaks}


def length(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare a long import with a short one: cost per entity, memory, and memory over time."""
    figures: Figures = {}
    repetitions = max(1, profile.repetitions // 3)
    for name, entities in (("short", ENTITIES), ("long", profile.long_entities)):
        with _running_importer(rig, entities=entities) as bench:
            imports = [bench.importer() for _ in range(repetitions)]
            figures[name] = {
                "entities": entities,
                "seconds_per_entity": [1 / each.rate for each in imports],
                "producer_peak_mb": [each.producer_peak_mb for each in imports],
                "collector_peak_mb": [each.collector_peak_mb for each in imports],
                "memory_mb": imports[-1].memory_mb,
            }
    return figures


def collectors(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Measure feedback per second by the number of collectors."""
    figures: Figures = {str(number): [] for number in profile.collectors}
    for _ in range(profile.repetitions):
        for number in profile.collectors:
            with rig.collectors(number) as processes:
                figures[str(number)].append(settle_backlog(rig, processes, profile.backlog_chunks))
    return figures


def idle_run(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Measure runs that find no changes, at 50 ms per request, and the time of the requests alone."""
    with _running_importer(rig, entities=0, latency_ms=50) as bench:
        request = [seconds_per_request(bench.pages) for _ in range(profile.repetitions)]
        first, *hourly = empty_runs(rig, bench.pages, 2 * profile.repetitions)
    return {"request_seconds": request, "first": asdict(first), "hourly": [asdict(run) for run in hourly]}


def isolation(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare a batch of 1,000 with one entity that mankelis reject, with a clean one."""
    batches = 20
    entities = batches * 1000
    clean, failing = [], []
    with (
        _running_importer(rig, "--rejects", entities=entities) as bench,
        rig.pages("--entities", entities, "--bad-every", 1000) as bad_pages,
    ):
        for _ in range(profile.repetitions):
            clean.append(bench.importer().seconds / batches)
            failing.append(bench.importer(bad_pages).seconds / batches)
    return {"clean_batch_seconds": clean, "failing_batch_seconds": failing}


def start(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Measure the time from the start of the producer's process to its first chunk."""
    with _running_importer(rig, entities=1000) as bench:
        return {"seconds": [seconds_to_first_publish(rig, bench.pages) for _ in range(profile.repetitions)]}


def step_breakdown(rig: BenchmarkRig, profile: Profile) -> Figures:  # noqa: ARG001 - a scenario's signature
    """Time the steps of a batch in the producer itself."""
    with _running_importer(rig, entities=ENTITIES) as bench:
        return trace.measure(rig, bench.pages)


def over_stan(rig: BenchmarkRig, profile: Profile) -> Figures:
    """Compare the importer over STAN with a bare publisher of STAN, with the same workers."""
    return stan.measure(rig, profile.repetitions)


SCENARIOS: tuple[Callable[[BenchmarkRig, Profile], Figures], ...] = (
    throughput,
    latency,
    latency_overlap,
    length,
    collectors,
    idle_run,
    isolation,
    start,
    page_size,
    adaptive,
    over_stan,
    step_breakdown,
)
