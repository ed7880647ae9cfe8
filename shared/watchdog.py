"""A process whose event loop is stuck: it cannot notice that itself, so a thread does, and ends it.

Counted in ticks of the thread and not by a clock: a process that was paused (SIGSTOP, a sleeping machine) stands still
as a whole, and is not stuck.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from shared.errors import StuckError
from shared.events import Event

log = structlog.get_logger()

TICK_SECONDS = 1.0
STUCK_TICKS = 60
"""Far above anything that the loop does without a pause."""


@contextmanager
def watched_loop(tick_seconds: float = TICK_SECONDS, stuck_ticks: int = STUCK_TICKS) -> Iterator[None]:
    """Watch the running event loop during the body.

    If it stands still, the stacks of all threads go to stderr, and the process ends at once with StuckError's exit
    code: nothing is half done by that, as with any crash.
    """
    loop = asyncio.get_running_loop()
    answered, ended = threading.Event(), threading.Event()
    answered.set()

    def watch() -> None:
        missed = 0
        while not ended.wait(tick_seconds):
            if answered.is_set():
                answered.clear()
                missed = 0
                with suppress(RuntimeError):  # the loop was closed in this moment
                    loop.call_soon_threadsafe(answered.set)
            elif (missed := missed + 1) >= stuck_ticks:
                _end_process()

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _end_process() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    log.error(Event.FAILED, reason="the event loop is stuck; the stacks are on stderr", exit_code=StuckError.exit_code)
    os._exit(StuckError.exit_code)  # the loop would never hear of an exception
