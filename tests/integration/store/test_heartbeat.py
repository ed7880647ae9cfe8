"""Heartbeats on a real Redis: which processes are alive, what they do, and how their records expire."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.model import keys
from shared.model.records import CollectorState, ProducerState
from shared.runtime.shutdown import Stop
from shared.store import heartbeat as module
from shared.store.heartbeat import Heartbeat, read_processes
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts
from tests.support.waiting import wait_until_async


async def test_processes_with_a_heartbeat_are_alive(redis_uri: str) -> None:
    """Each process is listed with its kind and its state, also beside others of its kind."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        for feedback in (1, 2):
            state = CollectorState(consumer_alive=True, feedback=feedback)
            await Heartbeat(scripts, "ack_collector", lambda state=state: state, 3003).record()
        await Heartbeat(scripts, "producer", lambda: ProducerState(phase="idle"), None).record()
        processes = await read_processes(RedisClient(redis))
        assert sorted(process.kind for process in processes) == ["ack_collector", "ack_collector", "producer"]
        assert {process.collector.feedback for process in processes if process.collector} == {1, 2}
        assert [process.producer.phase for process in processes if process.producer] == ["idle"]
        assert all(process.port == 3003 for process in processes if process.collector)


async def test_an_expired_process_is_removed(redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat is valid for a limited time; then the process counts as dead, and nothing of it is left in Redis."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        monkeypatch.setattr(module, "TTL_SECONDS", 0.05)
        await Heartbeat(scripts, "producer", ProducerState, None).record()

        async def has_expired() -> bool:
            return not await read_processes(RedisClient(redis))

        await wait_until_async(has_expired, "the heartbeat has expired")
        await wait_until_async(lambda: _nothing_left(redis), "nothing is left")


async def test_the_list_of_processes_does_not_grow(redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each heartbeat removes expired processes from the list, and the list itself expires after the last one."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        monkeypatch.setattr(module, "TTL_SECONDS", 0.05)
        expired = Heartbeat(scripts, "producer", ProducerState, None)
        await expired.record()
        [expired_id] = await redis.zrange(keys.PROCESSES, 0, -1)
        await redis.persist(keys.PROCESSES)
        monkeypatch.undo()
        alive = Heartbeat(scripts, "ack_collector", lambda: CollectorState(consumer_alive=True, feedback=1), None)

        async def is_removed() -> bool:
            await alive.record()
            return expired_id not in await redis.zrange(keys.PROCESSES, 0, -1)

        await wait_until_async(is_removed, "the expired process is removed from the list")
        assert await redis.zcard(keys.PROCESSES) == 1
        assert 0 < await redis.pttl(keys.PROCESSES) <= module.TTL_SECONDS * 1000


async def _nothing_left(redis: Redis) -> bool:
    return not await redis.keys(keys.process("*"))


async def test_a_process_that_ends_is_removed_at_once(redis_uri: str) -> None:
    """The record of a process that ended in order does not have to expire first."""
    async with make_redis(redis_uri) as redis:
        heartbeat = Heartbeat(Scripts(RedisClient(redis)), "producer", ProducerState, None)
        async with heartbeat.running(Stop()):
            await wait_until_async(lambda: read_processes(RedisClient(redis)), "its first heartbeat")
        assert await read_processes(RedisClient(redis)) == []


async def test_a_change_of_state_is_recorded_at_once(redis_uri: str) -> None:
    """A change of the process's state does not wait for the next regular heartbeat."""
    state, changed = ProducerState(phase="fetching"), asyncio.Event()
    async with make_redis(redis_uri) as redis:
        heartbeat = Heartbeat(Scripts(RedisClient(redis)), "producer", lambda: state, None, changed)
        async with heartbeat.running(Stop()), asyncio.timeout(module.INTERVAL_SECONDS * 0.9):
            await wait_until_async(lambda: read_processes(RedisClient(redis)), "its first heartbeat")
            state.phase = "idle"
            changed.set()

            async def is_recorded() -> bool:
                processes = await read_processes(RedisClient(redis))
                return [process.producer.phase for process in processes if process.producer] == ["idle"]

            await wait_until_async(is_recorded, "the change is recorded")


async def test_an_unreadable_record_is_left_out(redis_uri: str) -> None:
    """A record of another version, or an invalid one, is not an error."""
    async with make_redis(redis_uri) as redis:
        await Heartbeat(Scripts(RedisClient(redis)), "producer", ProducerState, None).record()
        [process_id] = await redis.zrange(keys.PROCESSES, 0, -1)
        await redis.set(keys.process(process_id), "not a record")
        assert await read_processes(RedisClient(redis)) == []
