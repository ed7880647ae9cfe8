"""Waking up by Redis' pub/sub: at once where it works, in time where it does not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from producer.batch import progress_listener as module
from producer.batch.progress_listener import ProgressListener
from shared.runtime.events import Event
from shared.store.progress_channel import ProgressChannels
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from tests.conftest import MakeServer
from tests.support.waiting import wait_until_async

CHANNELS = ["A_PROGRESS", "B_PROGRESS"]
LONG_SECONDS = 15.0
QUICK_SECONDS = 2.0


@asynccontextmanager
async def listening(uri: str) -> AsyncIterator[ProgressListener]:
    """Return a wake-up that listens, once it is subscribed."""
    async with connect(uri) as redis:
        wakeup = ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS))
        task = asyncio.create_task(wakeup.listen())
        await wait_until_async(lambda: subscribers(uri), "it is subscribed")
        try:
            yield wakeup
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def subscribers(uri: str) -> int:
    async with connect(uri) as redis:
        return min(count for _, count in await redis.pubsub_numsub(*CHANNELS))


async def publish(uri: str, channel: str) -> None:
    async with connect(uri) as redis:
        assert await redis.publish(channel, "0") == 1


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_change_ends_the_wait_at_once(redis_uri: str, channel: str) -> None:
    """A message on any of the channels wakes up long before the time is over."""
    async with listening(redis_uri) as wakeup:
        waiting = asyncio.create_task(wakeup.wait(LONG_SECONDS))
        begun = time.monotonic()
        await publish(redis_uri, channel)
        await waiting
        assert time.monotonic() - begun < QUICK_SECONDS


async def test_a_change_before_the_wait_counts(redis_uri: str) -> None:
    """What changed since the last wait ends the next one at once, and only that one."""
    async with listening(redis_uri) as wakeup:
        await publish(redis_uri, CHANNELS[0])
        await wait_until_async(wakeup._progress.is_set, "it is heard")
        begun = time.monotonic()
        await wakeup.wait(LONG_SECONDS)
        assert time.monotonic() - begun < QUICK_SECONDS
        begun = time.monotonic()
        await wakeup.wait(0.2)
        assert time.monotonic() - begun >= 0.15


async def test_without_a_change_the_wait_takes_its_time(redis_uri: str) -> None:
    """Nothing heard, the wait ends after its time and raises nothing."""
    async with connect(redis_uri) as redis:
        begun = time.monotonic()
        await ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS)).wait(0.2)
        assert 0.15 < time.monotonic() - begun < QUICK_SECONDS


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_lost_connection_is_made_again(
    make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """When Redis comes back, changes wake up as before."""
    monkeypatch.setattr(module, "_RETRY_BACKOFF_SECONDS", 0.1)
    server = make_redis()
    async with listening(server.uri) as wakeup:
        await asyncio.to_thread(server.stop if how == "restart" else server.kill)
        await wakeup.wait(0.1)
        await asyncio.to_thread(server.start)
        await wait_until_async(lambda: subscribers(server.uri), "it is subscribed again", 30)
        waiting = asyncio.create_task(wakeup.wait(LONG_SECONDS))
        begun = time.monotonic()
        await publish(server.uri, CHANNELS[0])
        await waiting
        assert time.monotonic() - begun < QUICK_SECONDS


async def test_channels_that_the_user_may_not_hear_are_said_once(
    make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, it logs that once, waits take their full time, and once the right is given changes wake up."""
    monkeypatch.setattr(module, "_RETRY_BACKOFF_SECONDS", 0.05)
    server = make_redis(config="user deaf on >secret ~* +@all resetchannels")
    with capture_logs() as logged:
        async with connect(server.uri) as admin, connect(server.uri.replace("//", "//deaf:secret@")) as redis:
            wakeup = ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS))
            task = asyncio.create_task(wakeup.listen())
            await wait_until_async(lambda: refusals(admin, 3), "it has tried again")
            begun = time.monotonic()
            await wakeup.wait(0.2)
            assert 0.15 < time.monotonic() - begun < QUICK_SECONDS
            assert [entry["event"] for entry in logged] == [Event.PROGRESS_SUBSCRIPTION_DENIED]
            await admin.execute_command("ACL", "SETUSER", "deaf", "allchannels")
            await wait_until_async(lambda: subscribers(server.uri), "it is subscribed")
            await publish(server.uri, CHANNELS[0])
            await wait_until_async(wakeup._progress.is_set, "it is heard")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert len(logged) == 1


async def refusals(admin: Redis, number: int) -> bool:
    """Whether so many were refused."""
    return sum(int(entry["count"]) for entry in await admin.acl_log()) >= number


@pytest.mark.parametrize("garbage", [b"\xff\xfe", "[" * 100_000, "9" * 5000, "", "0\n", "SPLIT"])
async def test_garbage_on_a_channel_is_ignored(redis_uri: str, garbage: str | bytes) -> None:
    """It neither wakes up nor ends the subscription: the next real change does wake up."""
    async with listening(redis_uri) as wakeup, connect(redis_uri) as redis:
        assert await redis.publish(CHANNELS[0], garbage) == 1
        begun = time.monotonic()
        await wakeup.wait(0.3)
        assert time.monotonic() - begun >= 0.25
        await publish(redis_uri, CHANNELS[0])
        await wait_until_async(wakeup._progress.is_set, "it is heard")
