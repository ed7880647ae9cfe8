"""One computation for all who want its result within the same second: many requests cost no more than one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_AGE_SECONDS = 1.0


class SharedResult(Generic[T]):
    """The result of `compute`, at most a second old. Belongs to one event loop.

    Callers that come while it is computed wait for the same computation; those that come within a second of its end
    receive the same result. An error is a result too, or requests would retry what fails as fast as they come. A
    caller that is cancelled does not cancel the computation, which others may wait for.
    """

    def __init__(
        self,
        compute: Callable[[], Awaitable[T]],
        max_age_seconds: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._task: asyncio.Task[T] | None = None
        self._computed_at_seconds: float | None = None
        """None while it is being computed."""

    async def get(self) -> T:
        """Return the result. Raises what `compute` raises."""
        if self._task is None or self._is_expired():
            self._computed_at_seconds = None
            self._task = asyncio.create_task(self._run())
            # Retrieve the error, or asyncio would log that it never was where every caller is gone.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)

    def _is_expired(self) -> bool:
        computed_at = self._computed_at_seconds
        return computed_at is not None and self._clock() - computed_at >= self._max_age_seconds

    async def _run(self) -> T:
        try:
            return await self._compute()
        finally:
            self._computed_at_seconds = self._clock()
