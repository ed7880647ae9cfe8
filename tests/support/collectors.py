"""Collectors at work on a test's own servers, an execution for them to count, and what mankelis report of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ack_collector.collector import Collector
from shared import keys
from shared.broker import Broker
from shared.feedback_subscription import FeedbackSubscription
from shared.ledger import Ledger, Progress, Verdict
from shared.redis_client import Scripts
from shared.redis_client import make_redis as connect
from shared.stop import Stop
from tests.support.brokers import CHANNELS, connected
from tests.support.waiting import wait_until_async

CHANNEL, OTHER_CHANNEL = CHANNELS
EXECUTION, OLD_EXECUTION = "9f" * 12, "00" * 12
SIZES = {"0": 4, "1": 3, "2": 1}


def report(chunk: object = "0", amount: object = 4, status: object = "OK", **others: object) -> bytes:
    """What a mankeli says of a chunk, right or wrong."""
    fields = {"status": status, "executionHash": EXECUTION, "chunkId": chunk, "channel": CHANNEL, "amount": amount}
    return json.dumps(fields | others).encode()


def failure(chunk: str, stack: str = "broken") -> bytes:
    """That a chunk could not be stored."""
    return report(chunk, 0, "FAIL", stack=stack)


@dataclass
class Rig:
    """Collectors at work, and an execution of three chunks that they are to count."""

    broker: Broker
    ledgers: dict[str, Ledger]
    redis: object
    collectors: list["asyncio.Task[None]"]

    @property
    def ledger(self) -> Ledger:
        """Of the channel that reports are on unless told."""
        return self.ledgers[CHANNEL]

    async def begin(self, execution: str = EXECUTION, sizes: dict[str, int] | None = None) -> None:
        """Begin an execution of these chunks, or of three."""
        assert await self.ledger.begin(execution, 0, sizes or SIZES) is Verdict.BEGUN

    async def send(self, *messages: bytes, subject: str = keys.FEEDBACK_SUBJECT) -> None:
        """Send it to the collectors."""
        for message in messages:
            await self.broker.jetstream.publish(subject, message)

    async def is_handled(self) -> bool:
        """Every message was acknowledged or refused, so none is left and none will come again."""
        stream = await self.broker.jetstream.stream_info(keys.FEEDBACK_STREAM)
        consumer = await self.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        return not (stream.state.messages or consumer.num_pending or consumer.num_ack_pending)

    async def handled(self) -> Progress:
        """Wait until all that was sent is handled; the collectors are still up then."""
        await wait_until_async(self.is_handled, "all feedback is handled")
        assert [task for task in self.collectors if task.done()] == []
        return await self.ledger.progress()


@asynccontextmanager
async def at_work(
    nats_uri: str, redis_uri: str, collectors: int = 1, scripts: type[Scripts] = Scripts
) -> AsyncIterator[Rig]:
    """As many collectors, which use `scripts`, with connections of their own."""
    stop = Stop()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(connected(nats_uri, stop))
        redis = await stack.enter_async_context(connect(redis_uri))
        ledgers = {channel: Ledger(Scripts(redis), f"K_{channel}") for channel in CHANNELS}
        tasks = []
        for _ in range(collectors):
            own = await stack.enter_async_context(connected(nats_uri, stop))
            subscription = FeedbackSubscription(own)
            stack.push_async_callback(subscription.close)
            tasks.append(asyncio.create_task(Collector(subscription, ledgers, scripts(redis), stop).run()))
        try:
            yield Rig(broker, ledgers, redis, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def counters(progress: Progress) -> tuple[int, int, int]:
    """SCHEDULED, UPDATED and FAILED."""
    return progress.scheduled, progress.updated, progress.failed
