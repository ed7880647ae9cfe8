"""Waiting for progress by Redis pub/sub: at once where the subscription works, in time where it does not."""

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
    """Yield a progress listener once it is subscribed."""
    async with connect(uri) as redis:
        listener = ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS))
        task = asyncio.create_task(listener.listen())
        await wait_until_async(lambda: subscribers(uri), "it is subscribed")
        try:
            yield listener
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def subscribers(uri: str) -> int:
    """Return the number of subscribers that all channels have."""
    async with connect(uri) as redis:
        return min(count for _, count in await redis.pubsub_numsub(*CHANNELS))


async def publish(uri: str, channel: str) -> None:
    """Publish a change on this channel, which must have one subscriber."""
    async with connect(uri) as redis:
        assert await redis.publish(channel, "0") == 1


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_change_ends_the_wait_at_once(redis_uri: str, channel: str) -> None:
    """A message on any of the channels ends the wait long before its time is over."""
    async with listening(redis_uri) as listener:
        waiting = asyncio.create_task(listener.wait(LONG_SECONDS))
        started = time.monotonic()
        await publish(redis_uri, channel)
        await waiting
        assert time.monotonic() - started < QUICK_SECONDS


async def test_a_change_before_the_wait_counts(redis_uri: str) -> None:
    """A change since the last wait ends the next one at once, and only that one."""
    async with listening(redis_uri) as listener:
        await publish(redis_uri, CHANNELS[0])
        await wait_until_async(listener._progress.is_set, "the change is received")
        started = time.monotonic()
        await listener.wait(LONG_SECONDS)
        assert time.monotonic() - started < QUICK_SECONDS
        started = time.monotonic()
        await listener.wait(0.2)
        assert time.monotonic() - started >= 0.15


async def test_without_a_change_the_wait_takes_its_time(redis_uri: str) -> None:
    """A wait without any change ends after its time and raises no error."""
    async with connect(redis_uri) as redis:
        started = time.monotonic()
        await ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS)).wait(0.2)
        assert 0.15 < time.monotonic() - started < QUICK_SECONDS


@pytest.mark.parametrize("outage", ["restart", "kill"])
async def test_a_lost_connection_is_restored(
    make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch, outage: str
) -> None:
    """When Redis is back, changes end the wait as before."""
    monkeypatch.setattr(module, "_RETRY_BACKOFF_SECONDS", 0.1)
    server = make_redis()
    async with listening(server.uri) as listener:
        await asyncio.to_thread(server.stop if outage == "restart" else server.kill)
        await listener.wait(0.1)
        await asyncio.to_thread(server.start)
        await wait_until_async(lambda: subscribers(server.uri), "it is subscribed again", 30)
        waiting = asyncio.create_task(listener.wait(LONG_SECONDS))
        started = time.monotonic()
        await publish(server.uri, CHANNELS[0])
        await waiting
        assert time.monotonic() - started < QUICK_SECONDS


async def test_a_denied_subscription_is_logged_once(make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener without permission logs that once and waits its full time; with it, changes end the wait."""
    monkeypatch.setattr(module, "_RETRY_BACKOFF_SECONDS", 0.05)
    server = make_redis(config="user restricted on >secret ~* +@all resetchannels")
    with capture_logs() as logged:
        async with connect(server.uri) as admin, connect(server.uri.replace("//", "//restricted:secret@")) as redis:
            listener = ProgressListener(ProgressChannels(RedisClient(redis), CHANNELS))
            task = asyncio.create_task(listener.listen())
            await wait_until_async(lambda: has_denied(admin, 3), "it has tried again")
            started = time.monotonic()
            await listener.wait(0.2)
            assert 0.15 < time.monotonic() - started < QUICK_SECONDS
            assert [entry["event"] for entry in logged] == [Event.PROGRESS_SUBSCRIPTION_DENIED]
            await admin.execute_command("ACL", "SETUSER", "restricted", "allchannels")
            await wait_until_async(lambda: subscribers(server.uri), "it is subscribed")
            await publish(server.uri, CHANNELS[0])
            await wait_until_async(listener._progress.is_set, "the change is received")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert len(logged) == 1


async def has_denied(admin: Redis, number: int) -> bool:
    """Return whether Redis has denied this number of commands."""
    return sum(int(entry["count"]) for entry in await admin.acl_log()) >= number


@pytest.mark.parametrize("garbage", [b"\xff\xfe", "[" * 100_000, "9" * 5000, "", "0\n", "SPLIT"])
async def test_garbage_on_a_channel_is_ignored(redis_uri: str, garbage: str | bytes) -> None:
    """An invalid message ends neither the wait nor the subscription, and the next real change is received."""
    async with listening(redis_uri) as listener, connect(redis_uri) as redis:
        assert await redis.publish(CHANNELS[0], garbage) == 1
        started = time.monotonic()
        await listener.wait(0.3)
        assert time.monotonic() - started >= 0.25
        await publish(redis_uri, CHANNELS[0])
        await wait_until_async(listener._progress.is_set, "the change is received")
