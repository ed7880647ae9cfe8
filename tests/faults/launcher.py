"""Starts a program of the product with one of its steps, or its times, changed, so that it needs no hooks for tests.

    python tests/faults/launcher.py <producer|ack_collector> <crash point or none> [k] [options] [-- its arguments]

At the k-th time that the crash point is reached (the first, unless told) the process kills itself with SIGKILL, or
with --pause stops itself with SIGSTOP. Times
are made shorter for all (`_SHORT`), so that a test of what happens after them takes seconds; nothing else is changed.
A name that the product no longer has is an error here, and not a test that tests nothing.
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
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

# module, attribute, value. Those that another module imported by name are listed there, too.
_SHORT: list[tuple[str, str, object]] = [
    ("producer.lock", "LIFE_SECONDS", 1.0),
    ("producer.lock", "_RENEW_SECONDS", 0.25),
    ("producer.lock", "_TRY_SECONDS", 0.1),
    ("producer.main", "LIFE_SECONDS", 1.0),
    ("producer.wakeup", "_RETRY_PAUSE_SECONDS", 0.1),
    ("shared.broker", "_START_SECONDS", 3.0),
    ("shared.broker", "_PUBLISH_TIMEOUT_SECONDS", 0.8),
    ("shared.broker", "_PUBLISH_DEADLINE_SECONDS", 2.5),
    ("shared.broker", "_RETRY_PAUSE_SECONDS", 0.1),
    ("shared.redis_client", "_CONNECT_TIMEOUT_SECONDS", 0.5),
    ("shared.redis_client", "_REPLY_TIMEOUT_SECONDS", 1.0),
    ("shared.redis_client", "_ATTEMPTS", 3),
    ("shared.feedback_subscription", "_DEAF_SECONDS", 6.0),
    ("shared.streams", "_FEEDBACK_ACK_WAIT_SECONDS", 1.0),
]

# Crash point → module, class, method, and whether to die before or after it.
_POINTS = {
    "after-fetch": ("producer.feed", "Feed", "take", "after"),
    "before-begin": ("shared.ledger", "Ledger", "begin", "before"),
    "after-begin": ("shared.ledger", "Ledger", "begin", "after"),
    "after-publish": ("shared.broker", "Broker", "publish", "after"),
    "after-last-publish": ("producer.publisher", "Publisher", "publish", "after"),
    "before-bury": ("producer.publisher", "Publisher", "bury", "before"),
    "after-bury": ("producer.publisher", "Publisher", "bury", "after"),
    "before-advance": ("shared.ledger", "Ledger", "advance", "before"),
    "after-advance": ("shared.ledger", "Ledger", "advance", "after"),
    "before-post-update": ("producer.publisher", "Publisher", "publish_post_update", "before"),
    "before-script": ("ack_collector.collector", "Collector", "_settle_all", "before"),
    "after-script": ("ack_collector.collector", "Collector", "_settle_all", "after"),
    "before-split": ("shared.ledger", "Ledger", "split", "before"),
    "after-split": ("shared.ledger", "Ledger", "split", "after"),
    "before-fail": ("shared.ledger", "Ledger", "fail", "before"),
    "after-fail": ("shared.ledger", "Ledger", "fail", "after"),
}


def _shorten(first_pause_seconds: float) -> None:
    for module_name, attribute, value in _SHORT:
        module = importlib.import_module(module_name)
        _ = getattr(module, attribute)
        setattr(module, attribute, value)
    from producer.sisu import SisuClient  # noqa: PLC0415 - after the search path is set

    defaults = SisuClient.__init__.__kwdefaults__
    assert "first_pause_seconds" in defaults
    defaults["first_pause_seconds"] = first_pause_seconds


def _crash_at(point: str, k: int, number: signal.Signals) -> None:
    module_name, class_name, method, when = _POINTS[point]
    owner = getattr(importlib.import_module(module_name), class_name)
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)
    numbers = itertools.count(1)

    async def changed(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            if next(numbers) == k:
                os.kill(os.getpid(), number)
            return await original(*args, **kwargs)
        answer = await original(*args, **kwargs)
        if next(numbers) == k:
            os.kill(os.getpid(), number)
        return answer

    setattr(owner, method, changed)


def _jump_on_signal(seconds: float) -> None:
    """Let the wall clock of this process jump at SIGUSR1, as libfaketime does with the monotonic one left alone.

    A wall clock that is set says nothing of how much time has passed; the monotonic clock cannot jump by definition.
    """
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

    time.time = lambda: real_time() + offset()
    time.time_ns = lambda: int((real_time() + offset()) * 1_000_000_000)
    dt.datetime = Jumping  # type: ignore[misc]


def main() -> int:
    """Change what is asked for, then be that program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["producer", "ack_collector"])
    parser.add_argument("point", choices=["none", *_POINTS])
    parser.add_argument("k", nargs="?", type=int, default=1)
    parser.add_argument("--pause", action="store_true", help="stop there, instead of being killed")
    parser.add_argument("--jump-seconds", type=float, default=0.0, help="of the wall clock, at SIGUSR1")
    parser.add_argument("--first-pause-seconds", type=float, default=0.02, help="between attempts at SISU")
    parser.add_argument("--times-as-they-are", action="store_true")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    if options.jump_seconds:
        _jump_on_signal(options.jump_seconds)  # before anything imports these names
    if not options.times_as_they_are:
        _shorten(options.first_pause_seconds)
    if options.point != "none":
        _crash_at(options.point, options.k, signal.SIGSTOP if options.pause else signal.SIGKILL)
    sys.argv = [options.program, *(["--once"] if options.once else [])]
    entry = importlib.import_module(f"{options.program}.main")
    return int(entry.main())


if __name__ == "__main__":
    sys.exit(main())
