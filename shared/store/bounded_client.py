"""A client of Redis for what must not disturb the import: few connections of its own, and few attempts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.asyncio import Redis

from shared.model.errors import DependencyLostError
from shared.store.redis_client import RedisClient

CONNECTIONS = 4
_ATTEMPTS = 2
_WAIT_SECONDS = 3.0

T = TypeVar("T")


class BoundedRedisClient(RedisClient):
    """A client that runs at most `connections` commands at a time, so that it has at most as many connections.

    Further commands wait for their turn for at most three seconds. A limit of redis-py's pool would not do: it raises
    "Too many connections" at once, and its blocking pool does not work with Sentinel.
    """

    def __init__(self, redis: Redis, connections: int = CONNECTIONS) -> None:
        super().__init__(redis, _ATTEMPTS)
        self._free = asyncio.Semaphore(connections)

    async def run(self, operation: str, command: Callable[[Redis], Awaitable[T]], key: str = "a key") -> T:
        """Run `command` as RedisClient does, in its turn. Raises DependencyLostError where that does not come."""
        async with self._turn(operation):
            return await super().run(operation, command, key)

    async def is_reachable(self) -> bool:
        """Return whether Redis replies within a few seconds. Raises nothing."""
        try:
            async with self._turn("a ping"):
                return await super().is_reachable()
        except DependencyLostError:
            return False

    @asynccontextmanager
    async def _turn(self, operation: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise DependencyLostError(f"too much is requested of Redis at once ({operation}): try again") from None
        try:
            yield
        finally:
            self._free.release()
