"""The collector: from the feedback stream to the ledger, for ever.

What it promises: feedback counts at most once, and only for the chunk and execution that it names (the scripts see to
that); a message is acknowledged only after its effect is in Redis, so a crash in between makes it come again, as a
DUPLICATE. It never publishes a chunk, and nothing that anybody puts on its subjects can stop it.
"""

import logging
from collections.abc import Mapping, Sequence

import structlog

from ack_collector.feedback import Feedback, FeedbackRefusedError, Refusal, parse_feedback, parse_object
from shared import keys, metrics
from shared.events import Event
from shared.feedback_subscription import FeedbackSubscription, Received
from shared.ledger import Ledger, Verdict, settle_all
from shared.redis_client import Scripts, redis_errors
from shared.stop import Stop

log = structlog.get_logger()

_IDLE_SECONDS = 1.0


class Collector:
    """Counts what mankelis report. `ledgers` has one for each channel."""

    def __init__(
        self, subscription: FeedbackSubscription, ledgers: Mapping[str, Ledger], scripts: Scripts, stop: Stop
    ) -> None:
        self._subscription = subscription
        self._ledgers = ledgers
        self._scripts = scripts
        self._stop = stop
        self.handled = 0
        """Messages that were handled, since the start."""
        metrics.begin_at_zero(metrics.FEEDBACK, [*_EVENTS, Verdict.MISMATCH])
        metrics.begin_at_zero(metrics.FEEDBACK_REFUSED, Refusal)

    async def run(self) -> None:
        """Collect until asked to stop; what is in hand by then is finished. Raises ProcessError."""
        while not self._stop.requested:
            await self.collect(await self._subscription.receive(_IDLE_SECONDS))

    async def collect(self, messages: Sequence[Received]) -> None:
        """Handle some messages, in any order: the order of feedback has no meaning. Raises ProcessError.

        All reports of success are counted in one round trip to Redis, the others one by one.
        """
        try:
            reports = [(message, feedback) for message in messages if (feedback := await self._read(message))]
            stored = [(message, feedback) for message, feedback in reports if feedback.error_text is None]
            verdicts = await self._settle_all(stored) if stored else []
            for (message, feedback), verdict in zip(stored, verdicts, strict=True):
                await self._end(message, feedback, verdict)
            for message, feedback in reports:
                if feedback.error_text is not None:
                    await self._end(message, feedback, await self._fail(feedback, feedback.error_text))
        except BaseException:
            # Redis is lost, or the process must end: another collector need not wait for ack_wait to pass.
            for message in messages:
                await message.give_back()
            raise
        self.handled += len(messages)

    async def _read(self, message: Received) -> Feedback | None:
        """The feedback in a message; None where it is none: then the message is dealt with."""
        try:
            if message.subject != keys.POST_UPDATE_FINISH_SUBJECT:
                return parse_feedback(message.data, self._ledgers.keys())
            await self._finish_post_update(message.data)
            await message.acknowledge()
        except FeedbackRefusedError as refused:
            await _refuse(message, refused.reason)
        return None

    async def _settle_all(self, stored: Sequence[tuple[Received, Feedback]]) -> list[Verdict]:
        """Count chunks that were stored."""
        settlings = [
            self._ledgers[feedback.channel].settling(feedback.execution, feedback.chunk_id, feedback.amount)
            for _, feedback in stored
        ]
        return await settle_all(self._scripts, settlings)

    async def _fail(self, feedback: Feedback, error_text: str) -> Verdict:
        """Have a chunk that failed split, or settled as failed if it is a single entity."""
        ledger = self._ledgers[feedback.channel]
        verdict = await ledger.split(feedback.execution, feedback.chunk_id)
        if verdict is Verdict.SINGLE:
            verdict = await ledger.fail(feedback.execution, feedback.chunk_id, error_text)
        return verdict

    async def _end(self, message: Received, feedback: Feedback, verdict: Verdict) -> None:
        """The report has had its effect, if any: end the message."""
        metrics.FEEDBACK.labels(verdict.value).inc()
        metrics.FEEDBACK_LAG_SECONDS.observe(message.age_seconds())
        if verdict is Verdict.MISMATCH:
            await _refuse(message, Refusal.MISMATCH)
            return
        level, event = _EVENTS[verdict]
        log.log(level, event, channel=feedback.channel, execution=feedback.execution, chunk=feedback.chunk_id)
        await message.acknowledge()

    async def _finish_post_update(self, data: bytes) -> None:
        """The post-update has ended, well or not: the next run may start another."""
        succeeded = parse_object(data).get("success")
        if not isinstance(succeeded, bool):
            raise FeedbackRefusedError(Refusal.SUCCESS)
        with redis_errors("the end of the post-update"):
            await self._scripts.redis.delete(keys.POST_UPDATE_RUNNING)
        log.info(Event.POST_UPDATE_FINISHED, success=succeeded)


async def _refuse(message: Received, reason: Refusal) -> None:
    """It can never count: tell why, without telling what it was."""
    metrics.FEEDBACK_REFUSED.labels(reason).inc()
    log.warning(Event.FEEDBACK_REFUSED, reason=reason, subject=message.subject)
    await message.refuse()


_EVENTS = {
    Verdict.SETTLED: (logging.DEBUG, Event.FEEDBACK_SETTLED),
    Verdict.SPLIT: (logging.INFO, Event.FEEDBACK_SPLIT),
    Verdict.FAILED: (logging.WARNING, Event.FEEDBACK_FAILED),
    Verdict.DUPLICATE: (logging.INFO, Event.FEEDBACK_DUPLICATE),
    Verdict.STALE: (logging.INFO, Event.FEEDBACK_STALE),
}
