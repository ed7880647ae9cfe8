"""The producer's lock on a real Redis: one holder, which keeps it while it runs, and a stand-by that takes over."""

import asyncio
import itertools

import pytest

from producer.control import lock as module
from producer.control.lock import ProducerLock
from shared.model import keys
from shared.model.errors import DependencyLostError
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts
from tests.support.waiting import wait_until_async

TTL_SECONDS = 1.0


@pytest.fixture
def short_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have locks expire soon, and attempts to acquire them repeated often."""
    monkeypatch.setattr(module, "TTL_SECONDS", TTL_SECONDS)
    monkeypatch.setattr(module, "_RENEW_SECONDS", TTL_SECONDS / 5)
    monkeypatch.setattr(module, "_ATTEMPT_INTERVAL_SECONDS", TTL_SECONDS / 10)


async def test_a_free_lock_is_acquired_at_once(redis_uri: str) -> None:
    """The first producer gets the lock, for a limited time."""
    async with make_redis(redis_uri) as redis:
        assert await ProducerLock(Scripts(RedisClient(redis))).acquire(Stop())
        assert 14_000 < await redis.pttl(keys.PRODUCER_LOCK) <= 15_000


@pytest.mark.usefixtures("short_ttl")
async def test_a_held_lock_is_waited_for(redis_uri: str) -> None:
    """A second producer does not get the lock within its time-out, and leaves it with its holder."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        holder, other = ProducerLock(scripts), ProducerLock(scripts)
        assert await holder.acquire(Stop())
        keeping = asyncio.create_task(holder.keep_renewing())
        assert not await other.acquire(Stop(), timeout_seconds=TTL_SECONDS * 1.5)
        keeping.cancel()
        await holder.renew()


async def test_acquiring_is_idempotent(redis_uri: str) -> None:
    """A holder that acquires the lock again, since the first reply was lost, still holds it."""
    async with make_redis(redis_uri) as redis:
        lock = ProducerLock(Scripts(RedisClient(redis)))
        assert await lock.acquire(Stop(), timeout_seconds=0)
        assert await lock.acquire(Stop(), timeout_seconds=0)


async def test_a_released_lock_is_free(redis_uri: str) -> None:
    """After it is released, another producer can acquire the lock at once."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        holder, other = ProducerLock(scripts), ProducerLock(scripts)
        assert await holder.acquire(Stop())
        await holder.release()
        assert await other.acquire(Stop(), timeout_seconds=0)


async def test_only_the_holder_releases_the_lock(redis_uri: str) -> None:
    """A producer that lost the lock does not release it for the present holder."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        former, holder = ProducerLock(scripts), ProducerLock(scripts)
        await former.acquire(Stop())
        await redis.delete(keys.PRODUCER_LOCK)
        await holder.acquire(Stop())
        held = await redis.get(keys.PRODUCER_LOCK)
        await former.release()
        assert await redis.get(keys.PRODUCER_LOCK) == held
        await holder.renew()


@pytest.mark.usefixtures("short_ttl")
async def test_a_renewed_lock_does_not_expire(redis_uri: str) -> None:
    """A lock that is renewed in the background outlives its time to live many times over."""
    async with make_redis(redis_uri) as redis:
        lock = ProducerLock(Scripts(RedisClient(redis)))
        await lock.acquire(Stop())
        keeping = asyncio.create_task(lock.keep_renewing())
        ttls = []

        async def is_renewed() -> bool:
            ttls.append(await redis.pttl(keys.PRODUCER_LOCK))
            return len([1 for before, after in itertools.pairwise(ttls) if after > before]) >= 8

        await wait_until_async(is_renewed, "it is renewed eight times")
        keeping.cancel()
        assert min(ttls) > 0


@pytest.mark.usefixtures("short_ttl")
async def test_a_lock_that_is_not_renewed_is_taken_over(redis_uri: str) -> None:
    """When its holder is gone, a stand-by gets the lock after its time to live."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await ProducerLock(scripts).acquire(Stop())
        stand_by = ProducerLock(scripts)
        async with asyncio.timeout(5):
            assert await stand_by.acquire(Stop())
        await stand_by.renew()


@pytest.mark.usefixtures("short_ttl")
async def test_a_former_holder_ends(redis_uri: str) -> None:
    """A producer that was paused beyond the lock's time to live, and finds another holder, ends with an error."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        former, other = ProducerLock(scripts), ProducerLock(scripts)
        await former.acquire(Stop())
        await redis.delete(keys.PRODUCER_LOCK)
        await other.acquire(Stop())
        async with asyncio.timeout(5):
            with pytest.raises(DependencyLostError, match="another producer took the lock over"):
                await former.keep_renewing()
        with pytest.raises(DependencyLostError):
            await former.renew()
        await other.renew()


async def test_a_paused_holder_without_a_successor_continues(redis_uri: str) -> None:
    """A lock that expired without another producer waiting is simply acquired again."""
    async with make_redis(redis_uri) as redis:
        lock = ProducerLock(Scripts(RedisClient(redis)))
        await lock.acquire(Stop())
        await redis.delete(keys.PRODUCER_LOCK)
        await lock.renew()
        assert await redis.get(keys.PRODUCER_LOCK)


async def test_a_stand_by_can_be_stopped(redis_uri: str) -> None:
    """A producer that gets a shutdown request while it waits for the lock ends without it."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        await ProducerLock(scripts).acquire(Stop())
        stop = Stop()
        waiting = asyncio.create_task(ProducerLock(scripts).acquire(stop))
        asyncio.get_running_loop().call_soon(stop.request)
        async with asyncio.timeout(5):
            assert await waiting is False


async def test_only_one_of_many_gets_the_lock(redis_uri: str) -> None:
    """If many producers try to acquire the lock at the same time, one of them gets it."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        stop = Stop()
        stop.request()
        acquired = await asyncio.gather(*(ProducerLock(scripts).acquire(stop) for _ in range(10)))
        assert sorted(acquired) == [False] * 9 + [True]


async def test_a_lock_of_another_type_is_named(redis_uri: str) -> None:
    """A foreign value under the name of the lock ends the process for a restart, and the error names the key."""
    async with make_redis(redis_uri) as redis:
        await redis.rpush(keys.PRODUCER_LOCK, "foreign")
        with pytest.raises(DependencyLostError, match=f"^{keys.PRODUCER_LOCK} in Redis has another type"):
            await ProducerLock(Scripts(RedisClient(redis))).acquire(Stop(), 1)
