"""A ledger on a test's own Redis, and all that stands in it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from shared import keys
from shared.ledger import Ledger, Verdict
from shared.redis_client import Scripts, make_redis

KEY = "LATEST_PERSON_ORDINAL"
NAMES = keys.ServiceKeys(KEY)
ONE, TWO = "1a" * 12, "2b" * 12

_VALUES = {"string": Redis.get, "hash": Redis.hgetall}


@dataclass
class Books:
    """A ledger, and the Redis under it."""

    ledger: Ledger
    redis: Redis

    async def all(self) -> dict[str, object]:
        """Every key with its value."""
        return {name: await _VALUES[await self.redis.type(name)](self.redis, name) for name in await self.redis.keys()}

    async def changes_nothing(self, call: Awaitable[Verdict], verdict: Verdict) -> None:
        """This answers so, and leaves everything as it is."""
        before = await self.all()
        assert await call is verdict
        assert await self.all() == before


@asynccontextmanager
async def books(redis_uri: str, begun: dict[str, int] | None = None, ordinal: int = 0) -> AsyncIterator[Books]:
    """An empty Redis, with execution ONE begun from `ordinal` over these chunks, if there are some."""
    async with make_redis(redis_uri) as redis:
        ledger = Ledger(Scripts(redis), KEY)
        if ordinal:
            await redis.set(KEY, ordinal)
        if begun is not None:
            assert await ledger.begin(ONE, ordinal, begun) is Verdict.BEGUN
        yield Books(ledger, redis)
