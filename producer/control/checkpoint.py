"""The checkpoint between two batches: where a pause holds the import and a shutdown ends it."""

from collections.abc import Callable, Coroutine
from typing import TypeVar

from shared.model.errors import ShutdownRequested
from shared.model.records import Phase
from shared.runtime.shutdown import Stop
from shared.store.operator_requests import OperatorRequests

T = TypeVar("T")


class Checkpoint:
    """The checkpoint of one producer. Calls `enter_phase` when a pause begins to hold it, and when it ends."""

    def __init__(self, requests: OperatorRequests, stop: Stop, enter_phase: Callable[[Phase], None]) -> None:
        self._requests = requests
        self._stop = stop
        self._enter_phase = enter_phase

    @property
    def is_open(self) -> bool:
        """Whether `reach` would return at once."""
        return not self._stop.requested and not self._requests.pause

    async def reach(self) -> None:
        """Return at once unless the import is paused, else when it is resumed. Raises ShutdownRequested on shutdown."""
        if self._requests.pause:
            self._enter_phase("paused")
            await self._requests.wait_until_resumed(self._stop)
            self._enter_phase("fetching")
        if self._stop.requested:
            raise ShutdownRequested

    async def run_interruptible(self, work: Coroutine[None, None, T]) -> T:
        """Await `work`, whose loss is harmless; on shutdown cancel it and raise ShutdownRequested."""
        return await self._stop.run_interruptible(work)
