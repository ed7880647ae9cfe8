"""The collector: from the feedback stream to the ledger, for ever.

What it promises: feedback counts at most once, and only for the chunk and execution that it names (the scripts see to
that); a message is acknowledged only after its effect is in Redis, so a crash in between makes it come again, as a
DUPLICATE. It never publishes a chunk, and nothing that anybody puts on its subjects can stop it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import structlog
from redis.asyncio import Redis

from ack_collector.feedback import Feedback, FeedbackRefusedError, parse_feedback, parse_object
from shared import keys, metrics
from shared.events import Event
from shared.feedback_subscription import FeedbackSubscription, Received
from shared.ledger import Ledger, Verdict
from shared.redis_client import redis_errors
from shared.stop import Stop
from shared.tasks import together

log = structlog.get_logger()

_IDLE_SECONDS = 1.0
_AT_ONCE = 32
"""Feedback settled at the same time: what hides the round trips to Redis."""


class Collector:
    """Counts what mankelis report. `ledgers` has one for each channel."""

    def __init__(
        self, subscription: FeedbackSubscription, ledgers: Mapping[str, Ledger], redis: Redis, stop: Stop
    ) -> None:
        self._subscription = subscription
        self._ledgers = ledgers
        self._redis = redis
        self._stop = stop
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.handled = 0
        """Messages that were handled, since the start."""

    async def run(self) -> None:
        """Collect until asked to stop; what is in hand by then is finished. Raises ProcessError."""
        while not self._stop.requested:
            await self.collect(await self._subscription.receive(_IDLE_SECONDS))

    async def collect(self, messages: Sequence[Received]) -> None:
        """Handle some messages, in any order: the order of feedback has no meaning."""
        await together(self._handle(message) for message in messages)

    async def _handle(self, message: Received) -> None:
        async with self._slots:
            try:
                if message.subject == keys.POST_UPDATE_FINISH_SUBJECT:
                    await self._finish_post_update(message.data)
                else:
                    await self._apply(parse_feedback(message.data, self._ledgers.keys()))
            except FeedbackRefusedError as refused:
                metrics.FEEDBACK_REFUSED.labels(refused.reason).inc()
                log.warning(Event.FEEDBACK_REFUSED, reason=refused.reason, subject=message.subject)
                await message.refuse()
            except BaseException:
                # Redis is lost, or the process must end: another collector need not wait for ack_wait to pass.
                await message.give_back()
                raise
            else:
                metrics.FEEDBACK_LAG_SECONDS.observe(message.age_seconds())
                await message.acknowledge()
            self.handled += 1

    async def _apply(self, feedback: Feedback) -> None:
        """Bring one report to the ledger. Raises FeedbackRefusedError where the ledger contradicts it."""
        ledger = self._ledgers[feedback.channel]
        if feedback.error_text is None:
            verdict = await ledger.settle(feedback.execution, feedback.chunk_id, feedback.amount)
        else:
            verdict = await ledger.split(feedback.execution, feedback.chunk_id)
            if verdict is Verdict.SINGLE:
                verdict = await ledger.fail(feedback.execution, feedback.chunk_id, feedback.error_text)
        metrics.FEEDBACK.labels(verdict.value).inc()
        if verdict is Verdict.MISMATCH:
            raise FeedbackRefusedError("amount is not the chunk's size")
        level, event = _EVENTS[verdict]
        log.log(level, event, channel=feedback.channel, execution=feedback.execution, chunk=feedback.chunk_id)

    async def _finish_post_update(self, data: bytes) -> None:
        """The post-update has ended, well or not: the next run may start another."""
        succeeded = parse_object(data).get("success")
        if not isinstance(succeeded, bool):
            raise FeedbackRefusedError("success")
        with redis_errors("the end of the post-update"):
            await self._redis.delete(keys.POST_UPDATE_RUNNING)
        log.info(Event.POST_UPDATE_FINISHED, success=succeeded)


_EVENTS = {
    Verdict.SETTLED: (logging.DEBUG, Event.FEEDBACK_SETTLED),
    Verdict.SPLIT: (logging.INFO, Event.FEEDBACK_SPLIT),
    Verdict.FAILED: (logging.WARNING, Event.FEEDBACK_FAILED),
    Verdict.DUPLICATE: (logging.INFO, Event.FEEDBACK_DUPLICATE),
    Verdict.STALE: (logging.INFO, Event.FEEDBACK_STALE),
}
