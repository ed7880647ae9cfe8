"""The time that each step of a batch takes, from a producer with a stopwatch at each of them.

`python -m benchmarks.trace` is one run of the producer with its steps wrapped, which costs some microseconds per step.
"""

import asyncio
import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.rig import BenchmarkRig, PagesProcess
from producer.app import produce
from producer.batch.importer import BatchImporter
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from producer.run.prefetcher import Prefetcher
from shared.config.settings import ProducerSettings, read_settings
from shared.runtime.logging_setup import configure_logging
from shared.runtime.shutdown import Stop
from shared.store.ledger import Ledger


@dataclass(frozen=True)
class _Step:
    owner: type
    method: Callable[..., Any]
    """The function of `owner` itself, not its name, so that a rename fails at import."""


_WAIT_FOR_PAGE = "wait for the page"
_STEPS = {
    _WAIT_FOR_PAGE: _Step(Prefetcher, Prefetcher.next_batch),
    "split into chunks": _Step(BatchImporter, BatchImporter._split),  # noqa: SLF001 - a step has no public name
    "begin": _Step(Ledger, Ledger.begin),
    "publish, confirmed": _Step(Publisher, Publisher.publish),
    "wait for feedback": _Step(ProgressListener, ProgressListener.wait),
    "read progress": _Step(Ledger, Ledger.progress),
    "advance": _Step(Ledger, Ledger.advance),
}
_BATCH = "batch"
_seconds: dict[str, float] = defaultdict(float)
_calls: dict[str, int] = defaultdict(int)


@contextmanager
def _stopwatch(name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        _seconds[name] += time.perf_counter() - started
        _calls[name] += 1


def _time_calls(name: str, step: _Step) -> None:
    if asyncio.iscoroutinefunction(step.method):

        @functools.wraps(step.method)
        async def timed(*arguments: Any, **options: Any) -> Any:
            with _stopwatch(name):
                return await step.method(*arguments, **options)
    else:

        @functools.wraps(step.method)
        def timed(*arguments: Any, **options: Any) -> Any:
            with _stopwatch(name):
                return step.method(*arguments, **options)

    setattr(step.owner, step.method.__name__, timed)


def measure(rig: BenchmarkRig, pages: PagesProcess) -> dict[str, Any]:
    """Return the milliseconds of each step and how often it happens, per batch on average."""
    rig.clean()
    with rig.run_module("benchmarks.trace", SERVICES="PERSON", **pages.variables) as process:
        figures: dict[str, Any] = orjson.loads(process.wait_for('"steps_ms"'))
    return figures


def _main() -> int:
    for name, step in _STEPS.items():
        _time_calls(name, step)
    _time_calls(_BATCH, _Step(BatchImporter, BatchImporter.import_batch))
    settings = read_settings(ProducerSettings)
    configure_logging("WARNING", "json")

    async def run() -> int:
        return await produce(settings, Stop(), once=True)

    code = asyncio.run(run())
    batches = _calls[_BATCH]
    steps = {name: 1000 * _seconds[name] / batches for name in _STEPS}
    total = 1000 * (_seconds[_BATCH] + _seconds[_WAIT_FOR_PAGE]) / batches
    figures = {
        "steps_ms": steps | {"everything else": total - sum(steps.values())},
        "calls": {name: _calls[name] / batches for name in _STEPS},
        "batch_ms": total,
    }
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")
    return code


if __name__ == "__main__":
    sys.exit(_main())
