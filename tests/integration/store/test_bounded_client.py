"""What is requested over HTTP has few connections to Redis, and none of the import's."""

import asyncio

import pytest

from shared.model.errors import DependencyLostError
from shared.store import bounded_client
from shared.store.bounded_client import CONNECTIONS, BoundedRedisClient
from shared.store.redis_client import make_redis


async def test_many_commands_share_few_connections(redis_uri: str) -> None:
    """200 commands at once all succeed, over at most four connections."""
    async with make_redis(redis_uri) as observer, make_redis(redis_uri) as redis:
        await observer.ping()
        before = len(await observer.client_list())
        client = BoundedRedisClient(redis)
        replies = await asyncio.gather(
            *(client.run("a test", lambda redis: redis.get("x")) for _ in range(100)),
            *(client.is_reachable() for _ in range(100)),
        )
        assert replies == [None] * 100 + [True] * 100
        assert len(await observer.client_list()) - before <= CONNECTIONS


async def test_a_command_waits_for_its_turn_only_for_a_while(redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not come to its turn fails by itself, and the next one after those in hand succeeds."""
    monkeypatch.setattr(bounded_client, "_WAIT_SECONDS", 0.1)
    async with make_redis(redis_uri) as redis:
        client, may_end = BoundedRedisClient(redis, connections=1), asyncio.Event()

        async def wait(_: object) -> bool:
            return await may_end.wait()

        in_hand = asyncio.create_task(client.run("a long command", wait))
        await asyncio.sleep(0)
        with pytest.raises(DependencyLostError, match="at once"):
            await client.run("a test", lambda redis: redis.get("x"))
        assert not await client.is_reachable()
        may_end.set()
        assert await in_hand
        assert await client.is_reachable()
