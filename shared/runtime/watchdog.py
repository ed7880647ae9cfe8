"""End a process whose event loop is stuck: the loop cannot notice that itself, so a thread does.

Counted in ticks of the thread and not by a clock: a process that was paused (SIGSTOP, a suspended machine) is paused
as a whole, and not stuck.

The exit depends on nothing that may be stuck itself, least of all on a reader of the log: where a pipe is full, the
loop may have stopped for just that reason, and faulthandler would wait for it while it holds the interpreter's lock.
"""

import asyncio
import faulthandler
import os
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
_LAST_WORDS_SECONDS = 2.0
_STACKS_MAX_BYTES = 64 * 1024
_STDERR = 2


@contextmanager
def watched_loop(tick_seconds: float = TICK_SECONDS, stuck_ticks: int = STUCK_TICKS) -> Iterator[None]:
    """Watch the running event loop during the body.

    If it is stuck, the stacks of all threads are written to stderr, and the process ends with StuckError's exit code,
    after two seconds even if nothing can be written: nothing is half done by that, as with any crash.
    """
    loop = asyncio.get_running_loop()
    responded, ended = threading.Event(), threading.Event()
    responded.set()
    stacks = os.pipe()  # made now: there may be no free descriptor later
    for end in stacks:
        os.set_blocking(end, False)

    def watch() -> None:
        missed = 0
        while not ended.wait(tick_seconds):
            if responded.is_set():
                responded.clear()
                missed = 0
                with suppress(RuntimeError):  # the loop was closed in this moment
                    loop.call_soon_threadsafe(responded.set)
            elif (missed := missed + 1) >= stuck_ticks:
                _end_process(stacks)

    watchdog = threading.Thread(target=watch, name="watchdog", daemon=True)
    watchdog.start()
    try:
        yield
    finally:
        ended.set()
        watchdog.join()  # it uses the pipe
        for end in stacks:
            os.close(end)


@contextmanager
def exits_within(seconds: float, exit_code: int) -> Iterator[None]:
    """End the process with this exit code if the body takes longer: it only writes a last line of the log."""
    timer = threading.Timer(seconds, os._exit, [exit_code])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(stacks: tuple[int, int]) -> None:
    """End the process, whatever stdout and stderr do. `stacks` is an empty pipe, neither end of which blocks."""
    try:
        faulthandler.dump_traceback(file=stacks[1], all_threads=True)
        text = os.read(stacks[0], _STACKS_MAX_BYTES)
        # Each in a thread of its own, which may be left behind: one stream may be stuck, and the other may not.
        writers = [
            threading.Thread(target=work, daemon=True) for work in (lambda: os.write(_STDERR, text), _log_last_line)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(_LAST_WORDS_SECONDS / len(writers))
    finally:
        os._exit(StuckError.exit_code)  # the loop would never receive an exception


def _log_last_line() -> None:
    log.error(
        Event.PROCESS_FAILED, reason="the event loop is stuck; the stacks are on stderr", exit_code=StuckError.exit_code
    )
