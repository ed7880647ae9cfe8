"""The permanent subscription to a durable pull consumer: the collectors share one, and the stan_bridge has others.

nats-py's own `fetch(n)` waits for all n messages or its time-out once it had to wait for the first one, which would
delay every small batch; and it takes a deleted consumer for an idle one. The pull requests are therefore sent and
monitored here: while one is open the server sends a heartbeat when it has nothing else to send, and two missing ones
mean that the request, or the consumer, is gone.

Source for the requests and status codes: NATS ADR-13, "Pull Subscribe internals".
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import nats.errors
import orjson
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.broker.collector_consumer import NANOSECONDS, PULL_MESSAGES, PULL_SECONDS
from shared.broker.connection import Broker
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.model.permissions import API_PREFIX
from shared.runtime.events import Event
from shared.runtime.tasks import wait_for_event

log = structlog.get_logger()

_HEARTBEAT_SECONDS = 5.0
_UNRESPONSIVE_SECONDS = 2 * _HEARTBEAT_SECONDS + 1
_HEARTBEAT_STATUS, _EXPIRED_STATUS = "100", "408"
_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.1, 5.0
"""After a request that was rejected; the first one is followed by another at once, as after a consumer was deleted."""
_PULL_MESSAGES = PULL_MESSAGES
_NEXT_SUBJECT = f"{API_PREFIX}CONSUMER.MSG.NEXT.{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"


def pull_request(messages: int) -> bytes:
    """Return a request for this number of messages."""
    return orjson.dumps(
        {
            "batch": messages,
            "expires": int(PULL_SECONDS * NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * NANOSECONDS),
        }
    )


_PULL_REQUEST = pull_request(_PULL_MESSAGES)


@dataclass(frozen=True)
class Received:
    """A message of the feedback stream. One of three replies ends it; without any it is delivered again.

    The replies do not block, and a lost one is harmless: the message is delivered again and changes nothing.
    """

    subject: str
    data: bytes
    _message: Msg

    def age_seconds(self) -> float:
        """Return how long ago the broker received it, by the clocks of both machines."""
        return max(0.0, time.time() - self._message.metadata.timestamp.timestamp())

    async def acknowledge(self) -> None:
        """Acknowledge it: it had its effect."""
        with suppress(nats.errors.Error):
            await self._message.ack()

    @property
    def message_id(self) -> str:
        """The Nats-Msg-Id that it was published with; empty without one."""
        return (self._message.headers or {}).get("Nats-Msg-Id", "")

    def header(self, name: str) -> str:
        """Return a header; empty where it is missing."""
        return (self._message.headers or {}).get(name, "")

    async def keep(self) -> None:
        """Say that it is being processed: its ack wait begins again."""
        with suppress(nats.errors.Error):
            await self._message.in_progress()

    async def terminate(self) -> None:
        """Terminate it: it can never have any effect, and is never delivered again."""
        with suppress(nats.errors.Error):
            await self._message.term()

    async def nak(self) -> None:
        """Reject it for now: it was not processed, and is delivered to another collector at once."""
        with suppress(nats.errors.Error):
            await self._message.nak()


class _PullHealth:
    """Whether the server accepts the requests, why not, and when to send the next one after a rejection."""

    def __init__(self, unresponsive: Event, responsive: Event) -> None:
        self._unresponsive = unresponsive
        self._responsive = responsive
        self._reason: str | None = None
        self._logged: str | None = None
        self._backoff_seconds = 0.0
        self._retry_at = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether nothing was rejected since the server last accepted a request."""
        return self._reason is None

    def seconds_until_retry(self, now_seconds: float) -> float:
        """Return for how long no request must be sent."""
        return max(0.0, self._retry_at - now_seconds)

    def accept(self) -> None:
        """Note that the server sent what only an accepted request leads to."""
        if self._logged:
            log.info(self._responsive)
        self._reason = self._logged = None
        self._backoff_seconds = self._retry_at = 0.0

    def reject(self, reason: str, now_seconds: float) -> None:
        """Note that a request was rejected, or had no effect; the pause doubles with each time in a row."""
        self._reason = reason
        self._retry_at = now_seconds + self._backoff_seconds
        self._backoff_seconds = min(2 * self._backoff_seconds or _BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
        if reason != self._logged:
            self._logged = reason
            log.warning(self._unresponsive, reason=reason)


class FeedbackSubscription:
    """The subscription of one collector. `ChunkSubscription` is the same for another consumer."""

    unresponsive, responsive = Event.FEEDBACK_CONSUMER_UNRESPONSIVE, Event.FEEDBACK_CONSUMER_RESPONSIVE

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._arrived: deque[Received] = deque()
        self._wakeup = asyncio.Event()
        self._subscription: Subscription | None = None
        self._inbox = broker.client.new_inbox()
        self._open_pulls_messages = 0
        """How many messages the server may still send for the requests that are open."""
        self._connection = 0
        """The number of the connection that they were sent on."""
        self._last_message_at = -_UNRESPONSIVE_SECONDS
        self._health = _PullHealth(self.unresponsive, self.responsive)

    @property
    def is_alive(self) -> bool:
        """Whether the server accepts requests, and sent a message or heartbeat for the open one recently."""
        return self._health.is_accepted and time.monotonic() - self._last_message_at < _UNRESPONSIVE_SECONDS

    async def receive(self, seconds: float) -> list[Received]:
        """Wait up to `seconds` for a message, and return all that have arrived by then; an empty list if none has.

        Raises DependencyLostError where the consumer is gone and cannot be created again. A consumer that rejects
        requests, or is configured otherwise than at the start, is asked again after a pause.
        """
        await self._ensure_pull_request()
        if not self._arrived:
            self._wakeup.clear()
            pause_seconds = 0 if self._open_pulls_messages else self._health.seconds_until_retry(time.monotonic())
            await wait_for_event(self._wakeup, min(seconds, pause_seconds or seconds))
        messages = list(self._arrived)
        self._arrived.clear()
        return messages

    async def close(self) -> None:
        """End the subscription, and nak what arrived and was not processed: it is delivered again at once."""
        if self._subscription:
            with suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
        while self._arrived:
            await self._arrived.popleft().nak()

    async def _ensure_pull_request(self) -> None:
        """Send a pull request unless one is open and the server responds; restore a consumer that is gone."""
        now = time.monotonic()
        connection = self._broker.client.stats["reconnects"]
        if self._broker.client.is_connected and connection != self._connection:
            # The server drops a request with the connection that it came on.
            self._connection, self._open_pulls_messages = connection, 0
        if self._subscription is None:
            self._subscription = await self._broker.client.subscribe(self._inbox, cb=self._on_message)
        elif self._open_pulls_messages > 0 and now - self._last_message_at < _UNRESPONSIVE_SECONDS:
            return
        elif self._open_pulls_messages > 0:
            self._open_pulls_messages = 0
            self._health.reject("no heartbeat", now)
        if self._health.seconds_until_retry(now) or not (self._health.is_accepted or await self._restore(now)):
            return
        subject, request, messages = self._next_request()
        with suppress(nats.errors.Error):  # while disconnected; the missing heartbeat will tell
            await self._broker.client.publish(subject, request, self._inbox)
        self._open_pulls_messages = messages
        self._last_message_at = now

    def _next_request(self) -> tuple[str, bytes, int]:
        """Return the subject of a pull request, the request, and how many messages it asks for."""
        return _NEXT_SUBJECT, _PULL_REQUEST, _PULL_MESSAGES

    async def _ensure_consumer(self) -> None:
        """Create the consumer if it is missing. Raises ConfigurationError where it is configured otherwise."""
        await self._broker.ensure_streams()

    async def _restore(self, now_seconds: float) -> bool:
        """Create the consumer again where it is missing; return whether it is worth another request."""
        if self._broker.client.is_connected:
            try:
                await self._ensure_consumer()
            except ConfigurationError as error:
                # It was as required at the start, and may be corrected while this process runs.
                self._health.reject(str(error), now_seconds)
                return False
        return True

    async def _on_message(self, message: Msg) -> None:
        now = time.monotonic()
        self._last_message_at = now
        status = (message.headers or {}).get("Status")
        if status is None:
            self._open_pulls_messages -= 1
            self._arrived.append(Received(message.subject, message.data, message))
        elif status not in (_HEARTBEAT_STATUS, _EXPIRED_STATUS):
            # 409 rejected, or the consumer was deleted; 503 no consumer; 400 not understood, …
            # nats-py takes the headers after a status without words for its description, on further lines.
            description = (message.headers or {}).get("Description", "").partition("\n")[0]
            self._open_pulls_messages = 0
            self._health.reject(f"{status} {description}".strip(), now)
            self._wakeup.set()
            return
        elif status == _EXPIRED_STATUS:
            self._open_pulls_messages = 0  # send another request
        self._health.accept()
        self._wakeup.set()
