"""POST_UPDATE on real NATS and Redis: sent once, never while another runs, never blocked for ever."""

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
async def post_updates(nats_uri: str, redis_uri: str) -> AsyncIterator[tuple[PostUpdate, Broker, Redis]]:
    async with connected(nats_uri) as broker, connect(redis_uri) as redis:
        yield PostUpdate(PostUpdateFlag(Scripts(RedisClient(redis))), Publisher(broker)), broker, redis


async def sent(broker: Broker) -> list[object]:
    """Return what is on POST_UPDATE."""
    state = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state
    messages = [
        await broker.jetstream.get_msg(keys.CHUNK_STREAM, seq=number)
        for number in range(state.first_seq, state.last_seq + 1)
        if state.messages
    ]
    assert {message.subject for message in messages} <= {keys.POST_UPDATE_SUBJECT}
    return [json.loads(message.data or b"") for message in messages]


async def test_it_is_sent_and_noted(nats_uri: str, redis_uri: str) -> None:
    """The message names the run, and Redis has the run for as long as an answer is awaited."""
    async with post_updates(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")
        assert await sent(broker) == [{"success": True, "runId": "run-1"}]
        assert await redis.get(keys.POST_UPDATE_RUNNING) == "run-1"
        assert EXPIRY_SECONDS - 10 < await redis.ttl(keys.POST_UPDATE_RUNNING) <= EXPIRY_SECONDS


async def test_a_lost_reply_does_not_keep_a_run_from_its_post_update(redis_uri: str) -> None:
    """Noting that the same run's is running, once more, says the same as the first time."""
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
    """Until its end is noted, a post-update has no successor, and its note is not prolonged."""
    async with post_updates(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")
        await redis.expire(keys.POST_UPDATE_RUNNING, 100)
        await post_update.send("run-2")
        assert len(await sent(broker)) == 1
        assert await redis.get(keys.POST_UPDATE_RUNNING) == "run-1"
        assert await redis.ttl(keys.POST_UPDATE_RUNNING) <= 100
        await redis.delete(keys.POST_UPDATE_RUNNING)
        await post_update.send("run-3")
        assert await sent(broker) == [{"success": True, "runId": "run-3"}]


async def test_it_does_not_pile_up_where_nobody_takes_it(nats_uri: str, redis_uri: str) -> None:
    """Of several runs only the newest one's waits; what else is in the work queue stays."""
    async with post_updates(nats_uri, redis_uri) as (post_update, broker, redis):
        await broker.publish(keys.CHUNK_STREAM, CHANNELS[0], b"{}", "a-chunk")
        for run in ("run-1", "run-2", "run-3"):
            await post_update.send(run)
            await redis.delete(keys.POST_UPDATE_RUNNING)
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state.messages == 2
        newest = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, keys.POST_UPDATE_SUBJECT)
        assert json.loads(newest.data or b"") == {"success": True, "runId": "run-3"}


async def test_a_lost_answer_does_not_block_for_ever(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the note has expired, the next run sends its post-update."""
    monkeypatch.setattr(module, "EXPIRY_SECONDS", 1)
    async with post_updates(nats_uri, redis_uri) as (post_update, broker, redis):
        await post_update.send("run-1")

        async def has_expired() -> bool:
            return not await redis.exists(keys.POST_UPDATE_RUNNING)

        await wait_until_async(has_expired, "the note has expired")
        await post_update.send("run-2")
        assert await sent(broker) == [{"success": True, "runId": "run-2"}]


async def test_repeating_it_sends_it_once(nats_uri: str, redis_uri: str) -> None:
    """Sent again for the same run, after a reply was lost, there is one message nevertheless."""
    async with post_updates(nats_uri, redis_uri) as (post_update, broker, _):
        await post_update.send("run-1")
        await post_update.send("run-1")
        assert len(await sent(broker)) == 1


async def test_what_cannot_be_tidied_ends_nothing(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may not purge has sent the post-update all the same, and is told what that costs."""

    async def refused(*_: object, **__: object) -> None:
        raise DependencyLostError("NATS JetStream did not answer")

    async with post_updates(nats_uri, redis_uri) as (post_update, broker, _):
        monkeypatch.setattr(broker, "purge", refused)
        with capture_logs() as logged:
            await post_update.send("run-1")
        assert await sent(broker) == [{"success": True, "runId": "run-1"}]
    assert [event["event"] for event in logged] == ["post_update_sent", "post_update_purge_failed"]
