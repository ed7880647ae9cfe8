"""How a process ends: on request, or on a failure. Signal handlers only set a flag; every wait checks it.

* *Shutdown requested* (SIGTERM, SIGINT): `requested` is set, and the work finishes what it has in hand and returns. If
  that takes longer than the grace period, or the signal comes again, the work is cancelled; nothing is half done even
  then, since a batch that is not settled is repeated.
* *Failure* (`fail`): the process lost something that it cannot work without. The work is cancelled at once.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from shared.model.errors import ShutdownRequested
from shared.runtime.tasks import cancel_and_wait, wait_for_event

T = TypeVar("T")


class Stop:
    """The stop flag of a process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._at_once = asyncio.Event()
        self._failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    @property
    def requested(self) -> bool:
        """Whether a shutdown was requested."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request a shutdown; a second request cancels the work in hand, too."""
        if self.requested:
            self._at_once.set()
        self._requested.set()

    def fail(self, error: Exception) -> None:
        """End the process with this error. Only the first one counts."""
        if not self._failure.done():
            self._failure.set_result(error)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for `seconds`, or without a limit, or until shutdown. Return whether it was requested."""
        return await wait_for_event(self._requested, seconds)

    async def run_interruptible(self, work: Coroutine[None, None, T]) -> T:
        """Await `work`, whose loss is harmless; on shutdown cancel it and raise ShutdownRequested."""
        task = asyncio.create_task(work)
        flag = asyncio.create_task(self._requested.wait())
        try:
            waited: set[asyncio.Future[Any]] = {task, flag}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ShutdownRequested
            return task.result()
        finally:
            task.cancel()
            flag.cancel()

    @asynccontextmanager
    async def background(self, *work: Coroutine[None, None, None]) -> AsyncIterator[None]:
        """Run `work` beside the body, and cancel it after the body. An error in it ends the process."""

        async def watched(coroutine: Coroutine[None, None, None]) -> None:
            try:
                await coroutine
            except Exception as error:  # noqa: BLE001 - raised again by `run_to_completion`
                self.fail(error)

        tasks = [asyncio.create_task(watched(coroutine)) for coroutine in work]
        try:
            yield
        finally:
            await cancel_and_wait(*tasks)

    async def run_to_completion(self, work: Coroutine[None, None, int], grace_seconds: float) -> int:
        """Run `work` and return its exit code, or 0 where it was cancelled on shutdown.

        Raises what `work` raises, or the error given to `fail`.
        """
        task = asyncio.create_task(work)
        grace = asyncio.create_task(self._wait_for_grace(grace_seconds))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request)
        try:
            waited: set[asyncio.Future[Any]] = {task, grace, self._failure}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                raise self._failure.result()
            return task.result() if task.done() else 0
        finally:
            await cancel_and_wait(task, grace)

    async def _wait_for_grace(self, grace_seconds: float) -> None:
        await self._requested.wait()
        await wait_for_event(self._at_once, grace_seconds)
