"""The project's programs as subprocesses with an environment of their own, run to their end or beside a test."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
_KILL_SECONDS = 20


@dataclass(frozen=True)
class Outcome:
    """How a program ended. `output` is what it wrote to stdout and stderr."""

    code: int
    output: str
    seconds: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return its log. A line that is not JSON is an error, whether a traceback or the output of a library."""
        return [json.loads(line) for line in self.output.splitlines()]


class ProcessUnderTest:
    """`python -m <module> <arguments>`, started at once; killed at the end, unless it has ended by then.

    It has these environment variables, and none of the project's settings from the environment of the tests.
    """

    def __init__(self, module: str, *arguments: str, **variables: str) -> None:
        self._started = time.monotonic()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`; a pipe could fill up
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def output(self) -> str:
        """Return its output so far."""
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode()

    def wait_for(self, text: str, deadline_seconds: float = 30) -> None:
        """Wait until its output contains this text."""

        def written() -> bool:
            ended = self._process.poll() is not None
            assert text in self.output or not ended, f"it has ended without {text!r}:\n{self.output}"
            return text in self.output

        wait_until(written, f"{text!r} is written", deadline_seconds)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def outcome(self, deadline_seconds: float = 60) -> Outcome:
        """Wait for its end, and return the outcome."""
        try:
            code = self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {deadline_seconds:g} s:\n{self.output}") from None
        return Outcome(code, self.output, time.monotonic() - self._started)

    def close(self) -> None:
        """Kill it, if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_KILL_SECONDS)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run(module: str, *arguments: str, deadline_seconds: float = 60, **variables: str) -> Outcome:
    """Run a program to its end, and return the outcome."""
    with ProcessUnderTest(module, *arguments, **variables) as program:
        return program.outcome(deadline_seconds)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept: Sequence[str] = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | variables
