"""The watchdog: a process whose event loop is stuck ends; one that is only busy, or was paused, does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.programs import ROOT
from tests.support.waiting import wait_until

_STUCK = """
import asyncio, time
from shared.runtime.watchdog import watched_loop
async def main():
    with watched_loop(tick_seconds=0.05, stuck_ticks=6):
        print("started", flush=True)
        {body}
        print("done", flush=True)
asyncio.run(main())
"""


def start(body: str) -> "subprocess.Popen[str]":
    """Start a program that does this in its event loop, with a watchdog that waits for 0.3 s."""
    return subprocess.Popen(
        [sys.executable, "-c", _STUCK.format(body=body)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stuck_loop_ends_the_process_with_its_stacks() -> None:
    """The exit code is 4, and stderr shows where the loop is stuck."""
    with start("time.sleep(60)") as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    assert "the event loop is stuck" in output
    assert "in main" in errors
    assert "done" not in output


_FILL_PIPES = """
import os
for stream in (1, 2):
    os.set_blocking(stream, False)
    try:
        while True:
            os.write(stream, b"x" * 4096)
    except BlockingIOError:
        pass
    try:
        while True:
            os.write(stream, b"x")
    except BlockingIOError:
        pass
    os.set_blocking(stream, True)
"""


@pytest.mark.parametrize("body", ["time.sleep(60)", "print('x' * 100_000, flush=True)"])
def test_full_pipes_do_not_delay_the_exit(body: str) -> None:
    """If stdout and stderr are full and are not read, the process ends with exit code 4 within a bounded time.

    The loop may be stuck anywhere, even in the output of a log line.
    """
    program = _STUCK.format(body=body).replace('print("started", flush=True)', f"exec({_FILL_PIPES!r})")
    assert repr(_FILL_PIPES) in program
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.wait(timeout=30) == 4
        finally:
            process.kill()


def test_a_last_line_that_cannot_be_written_does_not_delay_the_exit() -> None:
    """A process that failed ends with its own exit code, even if its log is not read."""
    program = f"""
import sys
from shared.runtime import process
from shared.config.settings import CollectorSettings
exec({_FILL_PIPES!r})
process.LAST_LINE_SECONDS = 0.5
sys.exit(process.run_process("ack_collector", CollectorSettings, None, 1))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.wait(timeout=30) == 2
        finally:
            process.kill()


def test_a_busy_loop_does_not_end_the_process() -> None:
    """Many short steps do not trigger the watchdog."""
    with start("[await asyncio.sleep(0.01) for _ in range(100)]") as process:
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, "done" in output) == (0, True)


def test_a_process_that_was_paused_continues() -> None:
    """SIGSTOP pauses the watchdog, too, so the loop does not count as stuck afterwards."""
    with start("[await asyncio.sleep(0.01) for _ in range(100)]") as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGSTOP)
        paused_until = time.monotonic() + 1  # three times what counts as stuck
        wait_until(lambda: time.monotonic() > paused_until, "the pause is over")
        os.kill(process.pid, signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, "done" in output) == (0, True)
