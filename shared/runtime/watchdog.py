"""End a process whose event loop is stuck: the loop cannot notice that itself, so a thread does.

Counted in ticks of the thread and not by a clock: a process that was paused (SIGSTOP, a suspended machine) is paused
as a whole, and not stuck.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from shared.model.errors import StuckError
from shared.runtime.events import Event

log = structlog.get_logger()

TICK_SECONDS = 1.0
STUCK_TICKS = 60
"""Far above anything that the loop does without yielding."""


@contextmanager
def watched_loop(tick_seconds: float = TICK_SECONDS, stuck_ticks: int = STUCK_TICKS) -> Iterator[None]:
    """Watch the running event loop during the body.

    If it is stuck, the stacks of all threads are written to stderr, and the process ends at once with StuckError's exit
    code: nothing is half done by that, as with any crash.
    """
    loop = asyncio.get_running_loop()
    responded, ended = threading.Event(), threading.Event()
    responded.set()

    def watch() -> None:
        missed = 0
        while not ended.wait(tick_seconds):
            if responded.is_set():
                responded.clear()
                missed = 0
                with suppress(RuntimeError):  # the loop was closed in this moment
                    loop.call_soon_threadsafe(responded.set)
            elif (missed := missed + 1) >= stuck_ticks:
                _end_process()

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _end_process() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    log.error(
        Event.PROCESS_FAILED, reason="the event loop is stuck; the stacks are on stderr", exit_code=StuckError.exit_code
    )
    os._exit(StuckError.exit_code)  # the loop would never receive an exception
