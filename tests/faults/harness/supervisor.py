"""Programs that are restarted as supervisord does: after every exit code but 0 and 2."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support.programs import Outcome, ProcessUnderTest
from tests.support.waiting import wait_until

_DONE = (0, 2)
_POLL_SECONDS = 0.01
_JOIN_SECONDS = 30.0
_STOP_SECONDS = 45.0


class KillableProcess(ProcessUnderTest):
    """A program that can be killed and paused."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Return its exit code, or minus the number of the signal that ended it; None while it is running."""
        return self._process.poll()

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Send SIGSTOP, and wait until it is stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wait_paused(self, deadline_seconds: float = 30) -> None:
        """Wait until it has paused itself."""

        def is_stopped() -> bool:
            assert self.code is None, f"it has ended with {self.code}:\n{self.output}"
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None

        wait_until(is_stopped, "it has paused itself", deadline_seconds)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def jump(self) -> None:
        """Let its clock jump, by the seconds that the launcher was given."""
        self._process.send_signal(signal.SIGUSR1)


class Supervised:
    """One program, which `start` starts, given the number of the start (1, 2, …); killed at the end."""

    def __init__(self, start: Callable[[int], KillableProcess]) -> None:
        self._start = start
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self.outcomes: list[Outcome] = []
        """The outcome of each process that has ended."""
        self.program = start(next(self._numbers))
        """The process that is running, or ran last."""
        self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Return whether it has ended and will not be restarted."""
        return not self._thread.is_alive()

    @property
    def output(self) -> str:
        """Return the output of all its processes."""
        while True:
            # The current one may end, be replaced and be closed at this moment: then its output is in `outcomes`.
            with contextlib.suppress(OSError):
                current = [] if self.done else [self.program.output]
                return "".join([outcome.output for outcome in self.outcomes] + current)

    def wait_for(self, text: str, deadline_seconds: float = 30) -> None:
        """Wait until the output contains this text."""
        wait_until(lambda: text in self.output, f"{text!r} is written", deadline_seconds)

    def wait_done(self, deadline_seconds: float = 60) -> Outcome:
        """Wait for its end with 0 or 2, and return the last outcome."""
        try:
            wait_until(lambda: self.done, "it has ended with 0 or 2", deadline_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-6000:]}") from None
        return self.outcomes[-1]

    def kill(self) -> None:
        """Send SIGKILL to the running process."""
        with contextlib.suppress(ProcessLookupError):
            self.program.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the running process for the duration of the context."""
        program = self.program
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            program.pause()
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                program.resume()

    def stop(self) -> None:
        """Send SIGTERM, do not restart it, and wait for its end."""
        self._end_restarts()
        self.program.terminate()
        with contextlib.suppress(ProcessLookupError):
            self.program.resume()
        self._thread.join(_STOP_SECONDS)

    def close(self) -> None:
        """Kill it, and do not restart it."""
        self._end_restarts()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.program.pid, signal.SIGKILL)
        self._thread.join(_JOIN_SECONDS)
        self.program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_restarts(self) -> None:
        with self._starting:  # `program` does not change any more
            self._closing.set()

    def _keep(self) -> None:
        while True:
            while self.program.code is None:
                self._closing.wait(_POLL_SECONDS) if not self._closing.is_set() else self.program.outcome(_STOP_SECONDS)
            self.outcomes.append(self.program.outcome())
            with self._starting:
                if self._closing.is_set() or self.outcomes[-1].code in _DONE:
                    return
                ended, self.program = self.program, self._start(next(self._numbers))
            ended.close()
