"""The collector: from the feedback stream to the ledger, until it is stopped.

It guarantees: feedback counts at most once, and only for the chunk and execution that it names (the scripts see to
that); a message is acknowledged only after its effect is in Redis, so after a crash in between it is delivered again,
as a DUPLICATE. It never publishes a chunk, and no message on its subjects can stop it. Where a key of a service cannot
be used, its feedback stays unacknowledged, and that of the others counts.
"""

import logging
from collections.abc import Mapping, Sequence

import structlog

from ack_collector.feedback import (
    Feedback,
    InvalidFeedbackError,
    InvalidFeedbackReason,
    parse_feedback,
    parse_object,
)
from ack_collector.feedback_log import FeedbackLog
from shared.broker.feedback_subscription import FeedbackSubscription, Received
from shared.model import keys
from shared.model.errors import ServiceFailedError
from shared.model.ledger_state import FeedbackResult, SettleReply
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop
from shared.store.ledger import Ledger, settle_all
from shared.store.post_update_flag import PostUpdateFlag
from shared.store.scripts import Scripts

log = structlog.get_logger()

_IDLE_SECONDS = 1.0
_CHANGES_NOTHING = ("DUPLICATE", "STALE")
_EVENTS: Mapping[FeedbackResult, tuple[int, Event]] = {
    "SETTLED": (logging.DEBUG, Event.FEEDBACK_SETTLED),
    "SPLIT": (logging.INFO, Event.FEEDBACK_SPLIT),
    "FAILED": (logging.WARNING, Event.FEEDBACK_FAILED),
    "DUPLICATE": (logging.INFO, Event.FEEDBACK_DUPLICATE),
    "STALE": (logging.INFO, Event.FEEDBACK_STALE),
}


class Collector:
    """Counts what mankelis report. `ledgers` has one for each channel."""

    def __init__(
        self, subscription: FeedbackSubscription, ledgers: Mapping[str, Ledger], scripts: Scripts, stop: Stop
    ) -> None:
        self._subscription = subscription
        self._ledgers = ledgers
        self._scripts = scripts
        self._post_update_flag = PostUpdateFlag(scripts)
        self._stop = stop
        self._log = FeedbackLog()
        self.processed = 0
        """Messages processed since the start."""
        metrics.init_series(metrics.FEEDBACK, [*_EVENTS, "MISMATCH"])
        metrics.init_series(metrics.FEEDBACK_INVALID, InvalidFeedbackReason)

    async def run(self) -> None:
        """Collect until shutdown; messages in hand are finished first. Raises ProcessError."""
        try:
            while not self._stop.requested:
                await self.collect(await self._subscription.receive(_IDLE_SECONDS))
                self._log.flush()
        finally:
            self._log.flush(at_once=True)

    async def collect(self, messages: Sequence[Received]) -> None:
        """Process some messages, in any order: the order of feedback has no meaning. Raises ProcessError.

        All reports of success are counted in one round trip to Redis, the others one by one.
        """
        try:
            reports = [(message, feedback) for message in messages if (feedback := await self._parse(message))]
            stored = [(message, feedback) for message, feedback in reports if feedback.error_text is None]
            replies = await self._settle_all(stored) if stored else []
            for (message, feedback), reply in zip(stored, replies, strict=True):
                await self._finish(message, feedback, reply)
            for message, feedback in reports:
                if feedback.error_text is not None:
                    await self._finish(message, feedback, await self._fail(feedback, feedback.error_text))
        except BaseException:
            # Redis is unavailable, or the process must end: another collector need not wait until ack_wait expires.
            # Unsubscribe first, or the messages would be delivered to this collector again, which processes no more.
            await self._subscription.close()
            for message in messages:
                await message.nak()
            raise
        self.processed += len(messages)

    async def _parse(self, message: Received) -> Feedback | None:
        """Return the feedback in a message; None where it is not feedback: then the message is finished."""
        try:
            if message.subject != keys.POST_UPDATE_FINISH_SUBJECT:
                return parse_feedback(message.data, self._ledgers.keys())
            await self._finish_post_update(message.data)
            await message.acknowledge()
        except InvalidFeedbackError as error:
            await self._terminate(message, error.reason)
        return None

    async def _settle_all(self, stored: Sequence[tuple[Received, Feedback]]) -> list[SettleReply | ServiceFailedError]:
        """Count chunks that were stored."""
        calls = [
            self._ledgers[feedback.channel].settle_call(feedback.execution, feedback.chunk_id, feedback.amount)
            for _, feedback in stored
        ]
        return await settle_all(self._scripts, calls)

    async def _fail(self, feedback: Feedback, error_text: str) -> FeedbackResult | ServiceFailedError:
        """Split a chunk that failed, or settle it as failed if it is a single entity."""
        ledger = self._ledgers[feedback.channel]
        try:
            reply = await ledger.split(feedback.execution, feedback.chunk_id)
            return reply if reply != "SINGLE" else await ledger.fail(feedback.execution, feedback.chunk_id, error_text)
        except ServiceFailedError as error:
            return error

    async def _finish(self, message: Received, feedback: Feedback, result: FeedbackResult | ServiceFailedError) -> None:
        """Finish a message whose report has had its effect, if any."""
        if isinstance(result, ServiceFailedError):
            # Left unacknowledged, it is delivered again once ack_wait expires.
            self._log.add(Event.FEEDBACK_UNCOUNTED, level=logging.ERROR, reason=str(result), channel=feedback.channel)
            return
        metrics.FEEDBACK.labels(result).inc()
        metrics.FEEDBACK_LAG_SECONDS.observe(message.age_seconds())
        if result == "MISMATCH":
            await self._terminate(message, InvalidFeedbackReason.MISMATCH)
            return
        level, event = _EVENTS[result]
        fields = {"channel": feedback.channel, "execution": feedback.execution, "chunk": feedback.chunk_id}
        if result in _CHANGES_NOTHING:
            self._log.add(event, level=level, **fields)
        else:
            log.log(level, event, **fields)
        await message.acknowledge()

    async def _terminate(self, message: Received, reason: InvalidFeedbackReason) -> None:
        """Terminate a message that can never count, and log why, but not what it contained."""
        metrics.FEEDBACK_INVALID.labels(reason).inc()
        self._log.add(Event.FEEDBACK_INVALID, reason=reason, subject=message.subject)
        await message.terminate()

    async def _finish_post_update(self, data: bytes) -> None:
        """Note that the post-update has finished, successfully or not: the next run may start another."""
        succeeded = parse_object(data).get("success")
        if not isinstance(succeeded, bool):
            raise InvalidFeedbackError(InvalidFeedbackReason.SUCCESS)
        await self._post_update_flag.clear()
        log.info(Event.POST_UPDATE_FINISHED, success=succeeded)
