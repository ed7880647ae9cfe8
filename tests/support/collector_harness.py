"""Running collectors on a test's own servers, an execution for them to count, and reports of mankelis on it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ack_collector.collector import Collector
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription
from shared.model import keys
from shared.model.ledger_state import Progress
from shared.runtime.shutdown import Stop
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.scripts import Scripts
from tests.support.brokers import CHANNELS, connected
from tests.support.waiting import wait_until_async

CHANNEL, OTHER_CHANNEL = CHANNELS
EXECUTION, OLD_EXECUTION = "9f" * 12, "00" * 12
SIZES = {"0": 4, "1": 3, "2": 1}


def report(chunk: object = "0", amount: object = 4, status: object = "OK", **others: object) -> bytes:
    """Return a mankeli's report on a chunk, right or wrong."""
    fields = {"status": status, "executionHash": EXECUTION, "chunkId": chunk, "channel": CHANNEL, "amount": amount}
    return json.dumps(fields | others).encode()


def failure(chunk: str, stack: str = "broken") -> bytes:
    """Return the report that a chunk could not be stored."""
    return report(chunk, 0, "FAIL", stack=stack)


@dataclass
class CollectorHarness:
    """Running collectors, and an execution of three chunks for them to count."""

    broker: Broker
    ledgers: dict[str, Ledger]
    redis: object
    collectors: list["asyncio.Task[None]"]

    @property
    def ledger(self) -> Ledger:
        """Return the ledger of `report`'s default channel."""
        return self.ledgers[CHANNEL]

    async def begin(self, execution: str = EXECUTION, sizes: dict[str, int] | None = None) -> None:
        """Begin an execution of these chunks, by default of three."""
        assert await self.ledger.begin(execution, 0, sizes or SIZES) == "BEGUN"

    async def send(self, *messages: bytes, subject: str = keys.FEEDBACK_SUBJECT) -> None:
        """Send messages to the collectors."""
        for message in messages:
            await self.broker.jetstream.publish(subject, message)

    async def is_handled(self) -> bool:
        """Return whether every message was acknowledged or terminated, so that none is left or will be redelivered."""
        stream = await self.broker.jetstream.stream_info(keys.FEEDBACK_STREAM)
        consumer = await self.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        return not (stream.state.messages or consumer.num_pending or consumer.num_ack_pending)

    async def handled(self) -> Progress:
        """Wait until all feedback is handled, check that the collectors still run, and return the progress."""
        await wait_until_async(self.is_handled, "all feedback is handled")
        assert [task for task in self.collectors if task.done()] == []
        return await self.ledger.progress()


@asynccontextmanager
async def at_work(
    nats_uri: str, redis_uri: str, collectors: int = 1, scripts: type[Scripts] = Scripts
) -> AsyncIterator[CollectorHarness]:
    """Run this number of collectors, which use `scripts`, with connections of their own."""
    stop = Stop()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(connected(nats_uri, stop))
        redis = await stack.enter_async_context(connect(redis_uri))
        ledgers = {channel: Ledger(Scripts(RedisClient(redis)), f"K_{channel}") for channel in CHANNELS}
        tasks = []
        for _ in range(collectors):
            own = await stack.enter_async_context(connected(nats_uri, stop))
            subscription = FeedbackSubscription(own)
            stack.push_async_callback(subscription.close)
            tasks.append(asyncio.create_task(Collector(subscription, ledgers, scripts(RedisClient(redis)), stop).run()))
        try:
            yield CollectorHarness(broker, ledgers, redis, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def counters(progress: Progress) -> tuple[int, int, int]:
    """Return SCHEDULED, UPDATED and FAILED."""
    return progress.scheduled, progress.updated, progress.failed
