"""Signs of life on a real Redis: of whom there are some, what they say, and that they end."""

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


async def test_processes_that_beat_are_alive(redis_uri: str) -> None:
    """Each says what it is and does, and is told from others of its kind."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        for feedback in (1, 2):
            state = CollectorState(consumer_alive=True, feedback=feedback)
            await Heartbeat(scripts, "ack_collector", lambda state=state: state, 3003).record()
        await Heartbeat(scripts, "producer", lambda: ProducerState(phase="idle"), None).record()
        beats = await read_processes(RedisClient(redis))
        assert sorted(beat.kind for beat in beats) == ["ack_collector", "ack_collector", "producer"]
        assert {beat.collector.feedback for beat in beats if beat.collector} == {1, 2}
        assert [beat.producer.phase for beat in beats if beat.producer] == ["idle"]
        assert all(beat.port == 3003 for beat in beats if beat.collector)


async def test_who_falls_silent_is_forgotten(redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat holds for a while; then the process counts as dead, and nothing is left of it in Redis."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        monkeypatch.setattr(module, "TTL_SECONDS", 0.05)
        await Heartbeat(scripts, "producer", ProducerState, None).record()

        async def silent() -> bool:
            return not await read_processes(RedisClient(redis))

        await wait_until_async(silent, "the beat has expired")
        await wait_until_async(lambda: _nothing_left(redis), "nothing is left")


async def test_the_list_of_processes_does_not_grow(redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever beats takes those off it that fell silent, and the last one's beat does not keep it for ever."""
    async with make_redis(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        monkeypatch.setattr(module, "TTL_SECONDS", 0.05)
        silent = Heartbeat(scripts, "producer", ProducerState, None)
        await silent.record()
        [silent_id] = await redis.zrange(keys.PROCESSES, 0, -1)
        await redis.persist(keys.PROCESSES)
        monkeypatch.undo()
        alive = Heartbeat(scripts, "ack_collector", lambda: CollectorState(consumer_alive=True, feedback=1), None)

        async def is_off_the_list() -> bool:
            await alive.record()
            return silent_id not in await redis.zrange(keys.PROCESSES, 0, -1)

        await wait_until_async(is_off_the_list, "the silent one is off the list")
        assert await redis.zcard(keys.PROCESSES) == 1
        assert 0 < await redis.pttl(keys.PROCESSES) <= module.TTL_SECONDS * 1000


async def _nothing_left(redis: Redis) -> bool:
    return not await redis.keys(keys.process("*"))


async def test_a_process_that_ends_says_so(redis_uri: str) -> None:
    """Nobody waits for the silence of a process that ended in order."""
    async with make_redis(redis_uri) as redis:
        beat = Heartbeat(Scripts(RedisClient(redis)), "producer", ProducerState, None)
        async with beat.running(Stop()):
            await wait_until_async(lambda: read_processes(RedisClient(redis)), "it beats")
        assert await read_processes(RedisClient(redis)) == []


async def test_a_change_is_told_at_once(redis_uri: str) -> None:
    """When the process begins to do something else, nobody waits for the next regular beat."""
    state, changed = ProducerState(phase="fetching"), asyncio.Event()
    async with make_redis(redis_uri) as redis:
        beat = Heartbeat(Scripts(RedisClient(redis)), "producer", lambda: state, None, changed)
        async with beat.running(Stop()), asyncio.timeout(module.INTERVAL_SECONDS * 0.9):
            await wait_until_async(lambda: read_processes(RedisClient(redis)), "it beats")
            state.phase = "idle"
            changed.set()

            async def told() -> bool:
                return [each.producer.phase for each in await read_processes(RedisClient(redis)) if each.producer] == [
                    "idle"
                ]

            await wait_until_async(told, "the change is told")


async def test_what_cannot_be_read_is_left_out(redis_uri: str) -> None:
    """A beat of another version, or of nobody, is not an error."""
    async with make_redis(redis_uri) as redis:
        await Heartbeat(Scripts(RedisClient(redis)), "producer", ProducerState, None).record()
        [process_id] = await redis.zrange(keys.PROCESSES, 0, -1)
        await redis.set(keys.process(process_id), "no beat")
        assert await read_processes(RedisClient(redis)) == []
