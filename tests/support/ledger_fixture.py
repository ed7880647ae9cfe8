"""A ledger on a test's own Redis, and access to all keys."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from shared.model import keys
from shared.model.ledger_state import SettleReply
from shared.store.ledger import Ledger, settle_all
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts

KEY = "LATEST_PERSON_ORDINAL"
NAMES = keys.ServiceKeys(KEY)
ONE, TWO = "1a" * 12, "2b" * 12

_VALUES = {"string": Redis.get, "hash": Redis.hgetall}


@dataclass
class LedgerFixture:
    """A ledger, and the Redis under it."""

    ledger: Ledger
    redis: Redis

    async def all(self) -> dict[str, object]:
        """Return every key with its value."""
        return {name: await _VALUES[await self.redis.type(name)](self.redis, name) for name in await self.redis.keys()}

    async def settle(self, execution: str, chunk_id: str, size: int) -> SettleReply:
        """Settle one chunk, as the collector does with many."""
        return await settle_one(self.ledger, execution, chunk_id, size)

    async def assert_unchanged(self, call: Awaitable[str], reply: str) -> None:
        """Assert that the call returns this reply and changes nothing."""
        before = await self.all()
        assert await call == reply
        assert await self.all() == before


async def settle_one(ledger: Ledger, execution: str, chunk_id: str, size: int) -> SettleReply:
    """Settle one chunk, as the collector does with many."""
    [reply] = await settle_all(ledger._scripts, [ledger.settle_call(execution, chunk_id, size)])
    return reply


@asynccontextmanager
async def ledger_fixture(
    redis_uri: str, begun: dict[str, int] | None = None, ordinal: int = 0
) -> AsyncIterator[LedgerFixture]:
    """Yield an empty Redis with this ordinal; with `begun`, execution ONE has begun from it over these chunks."""
    async with make_redis(redis_uri) as redis:
        ledger = Ledger(Scripts(RedisClient(redis)), KEY)
        if ordinal:
            await redis.set(KEY, ordinal)
        if begun is not None:
            assert await ledger.begin(ONE, ordinal, begun) == "BEGUN"
        yield LedgerFixture(ledger, redis)
