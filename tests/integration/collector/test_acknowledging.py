"""When the ack_collector acknowledges: after the effect, even if Redis is unavailable or a shutdown is requested."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ack_collector.collector import Collector
from shared.broker.feedback_subscription import FeedbackSubscription
from shared.model import keys
from shared.model.errors import DependencyLostError
from shared.runtime.shutdown import Stop
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.scripts import Call, Scripts
from tests.support.brokers import connected
from tests.support.collector_harness import CHANNEL, EXECUTION, SIZES, at_work, counters, report


def blocked_scripts() -> tuple[asyncio.Event, asyncio.Event, type[Scripts]]:
    """Return events for "called" and "may continue", and scripts that set the first and wait for the second."""
    called, may_continue = asyncio.Event(), asyncio.Event()

    class BlockedScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:
            called.set()
            await may_continue.wait()
            return await super().call_all(calls)

    return called, may_continue, BlockedScripts


async def test_a_message_is_acknowledged_only_after_its_effect(nats_uri: str, redis_uri: str) -> None:
    """Until the ledger has replied, the message stays unacknowledged, so the broker would deliver it again."""
    called, may_continue, scripts = blocked_scripts()
    async with at_work(nats_uri, redis_uri, scripts=scripts) as harness:
        await harness.begin()
        await harness.send(report())
        await called.wait()
        consumer = await harness.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        assert consumer.num_ack_pending == 1
        may_continue.set()
        assert counters(await harness.handled()) == (8, 4, 0)


async def test_a_collector_that_loses_redis_returns_its_messages(nats_uri: str, redis_uri: str) -> None:
    """A report that could not be counted is not acknowledged, and the next collector gets and counts it at once."""

    class LostScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:  # noqa: ARG002
            raise DependencyLostError("Redis is unavailable")

    async with at_work(nats_uri, redis_uri, scripts=LostScripts) as harness:
        await harness.begin()
        await harness.send(report())
        async with asyncio.timeout(5):
            with pytest.raises(DependencyLostError, match="Redis is unavailable"):
                await harness.collectors[0]
        assert counters(await harness.ledger.progress()) == (8, 0, 0)
    async with at_work(nats_uri, redis_uri) as other:
        async with asyncio.timeout(20):  # below the ack_wait of half a minute
            assert counters(await other.handled()) == (8, 4, 0)


async def test_on_shutdown_it_finishes_the_current_message(nats_uri: str, redis_uri: str) -> None:
    """A collector that gets a shutdown request in the middle of a message ends after that message."""
    called, may_continue, scripts = blocked_scripts()
    stop = Stop()
    async with connected(nats_uri, stop) as broker, connect(redis_uri) as redis:
        ledger = Ledger(Scripts(RedisClient(redis)), f"K_{CHANNEL}")
        await ledger.begin(EXECUTION, 0, SIZES)
        collector = Collector(FeedbackSubscription(broker), {CHANNEL: ledger}, scripts(RedisClient(redis)), stop)
        running = asyncio.create_task(collector.run())
        await broker.jetstream.publish(keys.FEEDBACK_SUBJECT, report())
        await called.wait()
        stop.request()
        may_continue.set()
        async with asyncio.timeout(5):
            await running
        assert counters(await ledger.progress()) == (8, 4, 0)
