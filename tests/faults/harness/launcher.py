"""Start a program of the product with a crash point or shorter time-outs, so that the product needs no hooks for tests.

    python -m tests.faults.harness.launcher <producer|ack_collector|stan_bridge> <crash point or none> [n] [options]

When the crash point is reached for the nth time (by default the first), the process kills itself with SIGKILL, or stops
itself with SIGSTOP if `--pause` is given. Time-outs are shortened (`_short_timeouts`), so that a test of what happens
after them takes seconds; nothing else changes. Crash points are imported objects, so that a rename breaks at import.
"""

import argparse
import datetime as dt
import importlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Literal

When = Literal["before", "after"]
CrashPoint = tuple[type, Callable[..., Any], When]


def crash_points() -> dict[str, CrashPoint]:
    """Return the crash points by name: class, method, and whether to crash before or after it."""
    from ack_collector.collector import Collector  # noqa: PLC0415 - after `_jump_on_signal`
    from producer.batch.publisher import Publisher  # noqa: PLC0415
    from producer.run.prefetcher import Prefetcher  # noqa: PLC0415
    from shared.broker.connection import Broker  # noqa: PLC0415
    from shared.broker.stan.session import StanSession  # noqa: PLC0415
    from shared.store.current_execution import CurrentExecution  # noqa: PLC0415
    from shared.store.ledger import Ledger  # noqa: PLC0415
    from stan_bridge.bridge import Bridge  # noqa: PLC0415

    return {
        "after-take": (Bridge, Bridge._take, "after"),
        "before-wave": (CurrentExecution, CurrentExecution.start_wave, "before"),
        "after-wave": (CurrentExecution, CurrentExecution.start_wave, "after"),
        "before-piece": (StanSession, StanSession.publish, "before"),
        "after-piece": (StanSession, StanSession.publish, "after"),
        "on-report": (Bridge, Bridge.receive, "before"),
        "before-feedback": (Bridge, Bridge._send_feedback, "before"),
        "after-feedback": (Bridge, Bridge._send_feedback, "after"),
        "after-fetch": (Prefetcher, Prefetcher.next_batch, "after"),
        "before-begin": (Ledger, Ledger.begin, "before"),
        "after-begin": (Ledger, Ledger.begin, "after"),
        "after-publish": (Broker, Broker.publish, "after"),
        "after-last-publish": (Publisher, Publisher.publish, "after"),
        "before-dead-letters": (Publisher, Publisher.publish_dead_letters, "before"),
        "after-dead-letters": (Publisher, Publisher.publish_dead_letters, "after"),
        "before-advance": (Ledger, Ledger.advance, "before"),
        "after-advance": (Ledger, Ledger.advance, "after"),
        "before-post-update": (Publisher, Publisher.publish_post_update, "before"),
        "before-script": (Collector, Collector._settle_all, "before"),
        "after-script": (Collector, Collector._settle_all, "after"),
        "before-split": (Ledger, Ledger.split, "before"),
        "after-split": (Ledger, Ledger.split, "after"),
        "before-fail": (Ledger, Ledger.fail, "before"),
        "after-fail": (Ledger, Ledger.fail, "after"),
    }


def _short_timeouts() -> list[tuple[ModuleType, dict[str, object]]]:
    """Return the time-outs to shorten, also for modules that import one of them by name."""
    from producer import app  # noqa: PLC0415 - as above
    from producer.batch import progress_listener  # noqa: PLC0415
    from producer.control import lock  # noqa: PLC0415
    from shared.broker import (  # noqa: PLC0415
        chunk_subscription,
        collector_consumer,
        connection,
        feedback_subscription,
    )
    from shared.broker.stan import session  # noqa: PLC0415
    from shared.store import redis_client  # noqa: PLC0415
    from stan_bridge import bridge  # noqa: PLC0415
    from stan_bridge import main as stan_bridge  # noqa: PLC0415

    return [
        (lock, {"TTL_SECONDS": 1.0, "_RENEW_SECONDS": 0.25, "_ATTEMPT_INTERVAL_SECONDS": 0.1}),
        (app, {"TTL_SECONDS": 1.0}),
        (progress_listener, {"_RETRY_BACKOFF_SECONDS": 0.1}),
        (
            connection,
            {
                "_START_SECONDS": 3.0,
                "_PUBLISH_TIMEOUT_SECONDS": 0.8,
                "_PUBLISH_DEADLINE_SECONDS": 2.5,
                "_RETRY_BACKOFF_SECONDS": 0.1,
            },
        ),
        (redis_client, {"_CONNECT_TIMEOUT_SECONDS": 0.5, "_REPLY_TIMEOUT_SECONDS": 1.0, "_ATTEMPTS": 4}),
        (feedback_subscription, {"_UNRESPONSIVE_SECONDS": 6.0}),
        (collector_consumer, {"_ACK_WAIT_SECONDS": 1.0}),
        (chunk_subscription, {"ACK_WAIT_SECONDS": 2.0}),
        (bridge, {"ACK_WAIT_SECONDS": 2.0, "_KEEP_SECONDS": 0.5}),
        (stan_bridge, {"_RETRY_SECONDS": 0.2}),
        (
            session,
            {
                "PING_INTERVAL_SECONDS": 1,
                "_REQUEST_SECONDS": 1.0,
                "_PUBLISH_TIMEOUT_SECONDS": 0.8,
                "_RETRY_BACKOFF_SECONDS": 0.1,
            },
        ),
    ]


def _shorten(first_backoff_seconds: float) -> None:
    from shared.sisu.client import SisuClient  # noqa: PLC0415 - as above

    for module, values in _short_timeouts():
        for name, value in values.items():
            _ = getattr(module, name)  # raises AttributeError if the product no longer has this name
            setattr(module, name, value)
    defaults = SisuClient.__init__.__kwdefaults__
    assert "first_backoff_seconds" in defaults
    defaults["first_backoff_seconds"] = first_backoff_seconds


def _crash_at(crash_point: CrashPoint, occurrence: int, number: signal.Signals) -> None:
    owner, method, when = crash_point
    original: Callable[..., Awaitable[Any]] = method
    occurrences = itertools.count(1)

    async def crashing(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            if next(occurrences) == occurrence:
                os.kill(os.getpid(), number)
            return await original(*args, **kwargs)
        result = await original(*args, **kwargs)
        if next(occurrences) == occurrence:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, method.__name__, crashing)


def _jump_on_signal(seconds: float) -> None:
    """Let the wall clock of this process jump at SIGUSR1. The monotonic clock stays as it is: it cannot jump."""
    real_time, real_datetime = time.time, dt.datetime
    jumped = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: jumped.set())

    def offset() -> float:
        return seconds if jumped.is_set() else 0.0

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real_datetime)

    class Jumping(real_datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return real_datetime.fromtimestamp(real_time() + offset(), tz)

    # msgspec decodes times into the real class only, so the records are defined with that, and tell the time with this.
    from shared.model import dead_letter, records  # noqa: PLC0415

    for module in (dead_letter, records):
        module.datetime = Jumping  # type: ignore[misc]
    time.time = lambda: real_time() + offset()
    time.time_ns = lambda: int((real_time() + offset()) * 1_000_000_000)
    dt.datetime = Jumping  # type: ignore[misc]


def main() -> int:
    """Apply the options, then run the program; return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["producer", "ack_collector", "stan_bridge"])
    parser.add_argument("crash_point", help="the name of a crash point, or none")
    parser.add_argument("occurrence", nargs="?", type=int, default=1)
    parser.add_argument("--pause", action="store_true", help="stop the process there, instead of killing it")
    parser.add_argument("--jump-seconds", type=float, default=0.0, help="let the wall clock jump at SIGUSR1")
    parser.add_argument(
        "--first-backoff-seconds", type=float, default=0.02, help="the first backoff between requests to SISU"
    )
    parser.add_argument("--keep-timeouts", action="store_true", help="do not shorten the time-outs")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    if options.jump_seconds:
        _jump_on_signal(options.jump_seconds)  # before another module imports these names
    if not options.keep_timeouts:
        _shorten(options.first_backoff_seconds)
    if options.crash_point != "none":
        number = signal.SIGSTOP if options.pause else signal.SIGKILL
        _crash_at(crash_points()[options.crash_point], options.occurrence, number)
    sys.argv = [options.program, *(["--once"] if options.once else [])]
    entry = importlib.import_module(f"{options.program}.main")
    return int(entry.main())


if __name__ == "__main__":
    sys.exit(main())
