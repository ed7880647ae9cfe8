"""When the ack_collector acknowledges: after the effect, also where Redis is unavailable or it is asked to stop."""

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


def held_up() -> tuple[asyncio.Event, asyncio.Event, type[Scripts]]:
    """Scripts that tell when they were called, and wait until they may go on."""
    reached, may_go_on = asyncio.Event(), asyncio.Event()

    class SlowScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:
            reached.set()
            await may_go_on.wait()
            return await super().call_all(calls)

    return reached, may_go_on, SlowScripts


async def test_a_message_is_acknowledged_only_after_its_effect(nats_uri: str, redis_uri: str) -> None:
    """While the ledger has not answered, the message is still the broker's to deliver again."""
    reached, may_go_on, slow_scripts = held_up()
    async with at_work(nats_uri, redis_uri, scripts=slow_scripts) as rig:
        await rig.begin()
        await rig.send(report())
        await reached.wait()
        consumer = await rig.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        assert consumer.num_ack_pending == 1
        may_go_on.set()
        assert counters(await rig.handled()) == (8, 4, 0)


async def test_a_collector_that_loses_redis_gives_its_messages_to_another(nats_uri: str, redis_uri: str) -> None:
    """What could not be counted is not acknowledged: it comes again at once, and is counted then."""

    class LostScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:  # noqa: ARG002
            raise DependencyLostError("Redis is unavailable")

    async with at_work(nats_uri, redis_uri, scripts=LostScripts) as rig:
        await rig.begin()
        await rig.send(report())
        async with asyncio.timeout(5):
            with pytest.raises(DependencyLostError, match="Redis is unavailable"):
                await rig.collectors[0]
        assert counters(await rig.ledger.progress()) == (8, 0, 0)
    async with at_work(nats_uri, redis_uri) as other:
        async with asyncio.timeout(20):  # below the ack_wait of half a minute
            assert counters(await other.handled()) == (8, 4, 0)


async def test_asked_to_stop_it_finishes_what_it_holds(nats_uri: str, redis_uri: str) -> None:
    """A collector that is asked to stop in the middle of a message ends after that message."""
    reached, may_go_on, slow_scripts = held_up()
    stop = Stop()
    async with connected(nats_uri, stop) as broker, connect(redis_uri) as redis:
        ledger = Ledger(Scripts(RedisClient(redis)), f"K_{CHANNEL}")
        await ledger.begin(EXECUTION, 0, SIZES)
        collector = Collector(FeedbackSubscription(broker), {CHANNEL: ledger}, slow_scripts(RedisClient(redis)), stop)
        running = asyncio.create_task(collector.run())
        await broker.jetstream.publish(keys.FEEDBACK_SUBJECT, report())
        await reached.wait()
        stop.request()
        may_go_on.set()
        async with asyncio.timeout(5):
            await running
        assert counters(await ledger.progress()) == (8, 4, 0)
