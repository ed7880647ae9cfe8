"""POST_UPDATE on real NATS and Redis: sent once, never while another one runs, and never blocked without a limit."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from producer.batch.publisher import Publisher
from producer.run.post_update import PostUpdate
from shared.broker.connection import Broker
from shared.model import keys
from shared.model.errors import DependencyLostError
from shared.store import post_update_flag as module
from shared.store.post_update_flag import EXPIRY_SECONDS, PostUpdateFlag
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.scripts import Scripts
from tests.support.brokers import CHANNELS, connected
from tests.support.waiting import wait_until_async


@asynccontextmanager
async def new_post_update(nats_uri: str, redis_uri: str) -> AsyncIterator[tuple[PostUpdate, Broker, Redis]]:
    """Yield a PostUpdate and its connections."""
    async with connected(nats_uri) as broker, connect(redis_uri) as redis:
        yield PostUpdate(PostUpdateFlag(Scripts(RedisClient(redis))), Publisher(broker)), broker, redis


async def sent(broker: Broker) -> list[object]:
    """Return the messages on POST_UPDATE."""
    state = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state
    messages = [
        await broker.jetstream.get_msg(keys.CHUNK_STREAM, seq=number)
        for number in range(state.first_seq, state.last_seq + 1)
        if state.messages
    ]
    assert {message.subject for message in messages} <= {keys.POST_UPDATE_SUBJECT}
    return [json.loads(message.data or b"") for message in messages]


async def test_it_is_sent_and_recorded(nats_uri: str, redis_uri: str) -> None:
    """The message names the run, and Redis keeps the run for as long as a reply is awaited."""
    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")
        assert await sent(broker) == [{"success": True, "runId": "run-1"}]
        assert await redis.get(keys.POST_UPDATE_RUNNING) == "run-1"
        assert EXPIRY_SECONDS - 10 < await redis.ttl(keys.POST_UPDATE_RUNNING) <= EXPIRY_SECONDS


async def test_recording_a_post_update_is_idempotent(redis_uri: str) -> None:
    """Recording the post-update of the same run again, after a lost reply, returns the same as the first time."""
    async with connect(redis_uri) as redis:
        for _ in range(2):
            assert (
                await Scripts(RedisClient(redis)).call("start_post_update", [keys.POST_UPDATE_RUNNING], ["run-1", 60])
                == "STARTED"
            )
        assert (
            await Scripts(RedisClient(redis)).call("start_post_update", [keys.POST_UPDATE_RUNNING], ["run-2", 60])
            == "RUNNING"
        )


async def test_none_is_sent_while_another_runs(nats_uri: str, redis_uri: str) -> None:
    """Until the end of a post-update is recorded, no other is sent, and its record does not live longer."""
    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")
        await redis.expire(keys.POST_UPDATE_RUNNING, 100)
        await post_update.send("run-2")
        assert len(await sent(broker)) == 1
        assert await redis.get(keys.POST_UPDATE_RUNNING) == "run-1"
        assert await redis.ttl(keys.POST_UPDATE_RUNNING) <= 100
        await redis.delete(keys.POST_UPDATE_RUNNING)
        await post_update.send("run-3")
        assert await sent(broker) == [{"success": True, "runId": "run-3"}]


async def test_unconsumed_post_updates_do_not_accumulate(nats_uri: str, redis_uri: str) -> None:
    """Only the newest of several post-updates stays in the work queue, and other messages stay as well."""
    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, redis):
        await broker.publish(keys.CHUNK_STREAM, CHANNELS[0], b"{}", "a-chunk")
        for run in ("run-1", "run-2", "run-3"):
            await post_update.send(run)
            await redis.delete(keys.POST_UPDATE_RUNNING)
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state.messages == 2
        newest = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, keys.POST_UPDATE_SUBJECT)
        assert json.loads(newest.data or b"") == {"success": True, "runId": "run-3"}


async def test_a_lost_reply_does_not_block_later_runs(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the record of a post-update has expired, the next run sends its own."""
    monkeypatch.setattr(module, "EXPIRY_SECONDS", 1)
    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")

        async def has_expired() -> bool:
            return not await redis.exists(keys.POST_UPDATE_RUNNING)

        await wait_until_async(has_expired, "the record has expired")
        await post_update.send("run-2")
        assert await sent(broker) == [{"success": True, "runId": "run-2"}]


async def test_a_repeated_post_update_is_stored_once(nats_uri: str, redis_uri: str) -> None:
    """A post-update that is sent again for the same run, after a lost reply, is one message."""
    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, _):
        await post_update.send("run-1")
        await post_update.send("run-1")
        assert len(await sent(broker)) == 1


async def test_a_failed_purge_is_logged_and_ignored(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If older post-updates cannot be purged, the new one is sent all the same, and the failure is logged."""

    async def fail(*_: object, **__: object) -> None:
        raise DependencyLostError("NATS JetStream did not reply")

    async with new_post_update(nats_uri, redis_uri) as (post_update, broker, _):
        monkeypatch.setattr(broker, "purge", fail)
        with capture_logs() as logged:
            await post_update.send("run-1")
        assert await sent(broker) == [{"success": True, "runId": "run-1"}]
    assert [event["event"] for event in logged] == ["post_update_sent", "post_update_purge_failed"]
