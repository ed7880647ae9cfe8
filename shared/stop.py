"""How a process ends: asked to, or because it must. Signal handlers only set a flag; every wait heeds it.

Two ways, and no third:

* *Asked to stop* (SIGTERM, SIGINT): `requested` is set, the work finishes what it has in hand and returns. If that
  takes longer than the grace, or the signal comes again, the work is cancelled; nothing is half done even then,
  since a batch that is not settled is repeated.
* *Must stop* (`fail`): something that the process cannot do without is lost. The work is cancelled at once.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from shared.errors import Stopped
from shared.tasks import end

Result = TypeVar("Result")


class Stop:
    """The stop flag of a process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._at_once = asyncio.Event()
        self._failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask to stop; asked a second time, do not wait for the work in hand."""
        if self.requested:
            self._at_once.set()
        self._requested.set()

    def fail(self, error: Exception) -> None:
        """End the process with this error. Only the first one counts."""
        if not self._failure.done():
            self._failure.set_result(error)

    async def wait(self, seconds: float | None = None) -> bool:
        """Pause for `seconds`, or without end, unless asked to stop. Answers whether it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        except TimeoutError:
            return False
        return True

    async def interrupt(self, work: Coroutine[None, None, Result]) -> Result:
        """Await `work`, whose loss is harmless, unless asked to stop: then it is cancelled, and Stopped raised."""
        task = asyncio.create_task(work)
        flag = asyncio.create_task(self._requested.wait())
        try:
            waited: set[asyncio.Future[Any]] = {task, flag}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
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
            except Exception as error:  # noqa: BLE001 - raised again by `finish`
                self.fail(error)

        tasks = [asyncio.create_task(watched(coroutine)) for coroutine in work]
        try:
            yield
        finally:
            await end(*tasks)

    async def finish(self, work: Coroutine[None, None, int], grace_seconds: float) -> int:
        """Run `work` to its end and answer its exit code, or 0 where it had to be cut short on request.

        Raises what `work` raises, or the error given to `fail`.
        """
        task = asyncio.create_task(work)
        patience = asyncio.create_task(self._lose_patience(grace_seconds))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request)
        try:
            waited: set[asyncio.Future[Any]] = {task, patience, self._failure}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                raise self._failure.result()
            return task.result() if task.done() else 0
        finally:
            await end(task, patience)

    async def _lose_patience(self, grace_seconds: float) -> None:
        await self._requested.wait()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._at_once.wait()
        except TimeoutError:
            pass
