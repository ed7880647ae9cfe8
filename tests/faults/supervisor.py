"""Programs kept running as supervisord keeps them: started again after every exit but 0 and 2."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support.programs import Outcome, Program
from tests.support.waiting import wait_until

_DONE = (0, 2)
_POLL_SECONDS = 0.01
_JOIN_SECONDS = 30.0
_STOP_SECONDS = 45.0


class Victim(Program):
    """A program that can be killed, and paused."""

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended; minus the signal's number where that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wait_paused(self, deadline_seconds: float = 30) -> None:
        """Wait until it has stopped itself."""

        def stands_still() -> bool:
            assert self.code is None, f"it has ended with {self.code}:\n{self.output}"
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None

        wait_until(stands_still, "it has paused itself", deadline_seconds)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def jump(self) -> None:
        """Have its clock jump, if the launcher was told by how much."""
        self._process.send_signal(signal.SIGUSR1)


class Supervised:
    """One program, started by `start`, which is told the how-manieth start it is; ended in the end."""

    def __init__(self, start: Callable[[int], Victim]) -> None:
        self._start = start
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._starting = threading.Lock()
        self.outcomes: list[Outcome] = []
        """How it ended each time so far."""
        self.program = start(next(self._numbers))
        """The one that runs now, or ran last."""
        self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended in a way that is left at that."""
        return not self._thread.is_alive()

    @property
    def output(self) -> str:
        """What all of them wrote."""
        return "".join([outcome.output for outcome in self.outcomes] + ([] if self.done else [self.program.output]))

    def wait_for(self, text: str, deadline_seconds: float = 30) -> None:
        """Wait until any of them has written this."""
        wait_until(lambda: text in self.output, f"{text!r} is written", deadline_seconds)

    def wait_done(self, deadline_seconds: float = 60) -> Outcome:
        """Wait for its end with 0 or 2, and answer the last outcome."""
        try:
            wait_until(lambda: self.done, "it has ended with 0 or 2", deadline_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-6000:]}") from None
        return self.outcomes[-1]

    def kill(self) -> None:
        """SIGKILL the one that runs now."""
        with contextlib.suppress(ProcessLookupError):
            self.program.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the one that runs now stand still meanwhile."""
        program = self.program
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            program.pause()
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                program.resume()

    def stop(self) -> None:
        """Ask it to stop, and start it no more."""
        self._end()
        self.program.terminate()
        with contextlib.suppress(ProcessLookupError):
            self.program.resume()
        self._thread.join(_STOP_SECONDS)

    def close(self) -> None:
        """Kill it."""
        self._end()
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

    def _end(self) -> None:
        with self._starting:  # `program` is the last one from here on
            self._over.set()

    def _keep(self) -> None:
        while True:
            while self.program.code is None:
                self._over.wait(_POLL_SECONDS) if not self._over.is_set() else self.program.outcome(_STOP_SECONDS)
            self.outcomes.append(self.program.outcome())
            with self._starting:
                if self._over.is_set() or self.outcomes[-1].code in _DONE:
                    return
                ended, self.program = self.program, self._start(next(self._numbers))
            ended.close()
