"""Where a batch spends its time: the producer with a stopwatch at each of its steps.

`python -m benchmarks.trace` is the producer's one run, its steps wrapped; the wrapping costs some microseconds a step.
"""

import asyncio
import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from benchmarks.world import PagesProgram, World
from producer import main as producer_main
from producer.batch import BatchImporter
from producer.feed import Feed
from producer.publisher import Publisher
from producer.wakeup import Wakeup
from shared.ledger import Ledger
from shared.log import configure_logging
from shared.settings import ProducerSettings, read_settings
from shared.stop import Stop

STEPS: dict[str, tuple[type, str]] = {
    "wait for the page": (Feed, "take"),
    "cut": (BatchImporter, "_cut"),
    "begin": (Ledger, "begin"),
    "publish, confirmed": (Publisher, "publish"),
    "wait for feedback": (Wakeup, "wait"),
    "read progress": (Ledger, "progress"),
    "advance": (Ledger, "advance"),
}
_seconds: dict[str, float] = defaultdict(float)
_calls: dict[str, int] = defaultdict(int)


def _timed(name: str, owner: type, method: str) -> None:
    original: Callable[..., Any] = getattr(owner, method)

    def note(started: float) -> None:
        _seconds[name] += time.perf_counter() - started
        _calls[name] += 1

    if asyncio.iscoroutinefunction(original):

        @functools.wraps(original)
        async def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return await original(*arguments, **options)
            finally:
                note(started)
    else:

        @functools.wraps(original)
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                note(started)

    setattr(owner, method, timed)


def measure(world: World, pages: PagesProgram) -> dict[str, Any]:
    """Milliseconds of each step, and how often it is done, for one batch in the mean."""
    world.clean()
    with world.program("benchmarks.trace", SERVICES="PERSON", **pages.variables) as program:
        figures: dict[str, Any] = orjson.loads(program.wait_for('"steps_ms"'))
    return figures


def _main() -> int:
    for name, (owner, method) in STEPS.items():
        _timed(name, owner, method)
    _timed("batch", BatchImporter, "import_batch")
    settings = read_settings(ProducerSettings)
    configure_logging("WARNING", "json")

    async def run() -> int:
        work: Coroutine[None, None, int] = producer_main.produce(settings, Stop(), once=True)
        return await work

    code = asyncio.run(run())
    batches = _calls["batch"]
    steps = {name: 1000 * _seconds[name] / batches for name in STEPS}
    total = 1000 * (_seconds["batch"] + _seconds["wait for the page"]) / batches
    figures = {
        "steps_ms": steps | {"everything else": total - sum(steps.values())},
        "calls": {name: _calls[name] / batches for name in STEPS},
        "batch_ms": total,
    }
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")
    return code


if __name__ == "__main__":
    sys.exit(_main())
