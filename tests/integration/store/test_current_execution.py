"""Waves: `start_wave` changes CURRENT_EXECUTION_HASH only within the current execution."""

import pytest
from redis.asyncio import Redis

from shared.model import keys
from shared.store.current_execution import CurrentExecution
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts

EXECUTION, OTHER = "9f" * 12, "00" * 12


async def start(redis: Redis, current: str | None) -> tuple[str, str | None]:
    """Start a wave of the execution while `current` is the hash; return the reply and the hash afterwards."""
    if current is not None:
        await redis.set(keys.CURRENT_EXECUTION_HASH, current)
    reply = await CurrentExecution(Scripts(RedisClient(redis))).start_wave(EXECUTION, f"{EXECUTION}:b")
    return reply, await redis.get(keys.CURRENT_EXECUTION_HASH)


@pytest.mark.parametrize("current", [EXECUTION, f"{EXECUTION}:a", f"{EXECUTION}:b"])
async def test_a_wave_of_the_current_execution(redis_uri: str, current: str) -> None:
    """A wave follows its execution, an earlier wave of it, or itself when the call is repeated."""
    async with make_redis(redis_uri) as redis:
        assert await start(redis, current) == ("STARTED", f"{EXECUTION}:b")


@pytest.mark.parametrize("current", [None, OTHER, f"{OTHER}:a", f"{EXECUTION}0", EXECUTION[:-1], ""])
async def test_another_execution_is_not_disturbed(redis_uri: str, current: str | None) -> None:
    """While another execution is current, or none, nothing changes."""
    async with make_redis(redis_uri) as redis:
        assert await start(redis, current) == ("STALE", current)


async def test_workers_are_told(redis_uri: str) -> None:
    """The new wave is published, once for each call."""
    async with make_redis(redis_uri) as redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(keys.CURRENT_EXECUTION_HASH)
        await pubsub.get_message(timeout=5)
        await start(redis, EXECUTION)
        message = await pubsub.get_message(timeout=5)
        assert message
        assert message["data"] == f"{EXECUTION}:b"


async def test_reading_it(redis_uri: str) -> None:
    """The current value is read as it is; empty where there is none."""
    async with make_redis(redis_uri) as redis:
        current = CurrentExecution(Scripts(RedisClient(redis)))
        assert await current.read() == ""
        await redis.set(keys.CURRENT_EXECUTION_HASH, f"{EXECUTION}:a")
        assert await current.read() == f"{EXECUTION}:a"
