"""The permanent subscription to the feedback stream: a durable pull consumer that all collectors share.

nats-py's own `fetch(n)` waits for all n messages or its time-out once it had to wait for the first one, which would
delay every small batch; and it takes a consumer that was deleted for one that is idle. So the pull requests are sent
here, and watched: while one is open the server sends a heartbeat when it has nothing else to send, and two that stay
out mean that the request, or the consumer, is gone.

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

from shared import keys
from shared.broker import Broker
from shared.events import Event

log = structlog.get_logger()

_PULL_MESSAGES = 500
_PULL_SECONDS = 30.0
_HEARTBEAT_SECONDS = 5.0
_DEAF_SECONDS = 2 * _HEARTBEAT_SECONDS + 1
_NANOSECONDS = 1_000_000_000
_HEARTBEAT_STATUS = "100"
_NEXT_SUBJECT = f"$JS.API.CONSUMER.MSG.NEXT.{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"
_PULL_REQUEST = orjson.dumps(
    {
        "batch": _PULL_MESSAGES,
        "expires": int(_PULL_SECONDS * _NANOSECONDS),
        "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANOSECONDS),
    }
)


@dataclass(frozen=True)
class Received:
    """A message of the feedback stream. One of its three answers ends it; without any it is delivered again.

    The answers wait for nothing, and one that is lost is harmless: the message comes again and changes nothing.
    """

    subject: str
    data: bytes
    _message: Msg

    def age_seconds(self) -> float:
        """How long ago the broker took it, by the clocks of both machines."""
        return max(0.0, time.time() - self._message.metadata.timestamp.timestamp())

    async def acknowledge(self) -> None:
        """It had its effect."""
        with suppress(nats.errors.Error):
            await self._message.ack()

    async def refuse(self) -> None:
        """It can never have any effect: never deliver it again."""
        with suppress(nats.errors.Error):
            await self._message.term()

    async def give_back(self) -> None:
        """It was not handled: deliver it to another collector, now."""
        with suppress(nats.errors.Error):
            await self._message.nak()


class FeedbackSubscription:
    """The subscription of one collector."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._arrived: deque[Received] = deque()
        self._wakeup = asyncio.Event()
        self._subscription: Subscription | None = None
        self._inbox = broker.client.new_inbox()
        self._open_pulls_messages = 0
        """How many messages the server may still send for the requests that are open."""
        self._connection = 0
        """On which connection, by number, they were sent."""
        self._heard_at = 0.0

    @property
    def is_heard(self) -> bool:
        """Whether the server has given a sign of life for the open request lately."""
        return time.monotonic() - self._heard_at < _DEAF_SECONDS

    async def receive(self, seconds: float) -> list[Received]:
        """Wait up to `seconds` for a message, and take all that have come by then; an empty list if none has.

        Raises DependencyLostError, or ConfigurationError, where the consumer is gone and cannot be made again.
        """
        await self._keep_asking()
        if not self._arrived:
            self._wakeup.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wakeup.wait()
        taken = list(self._arrived)
        self._arrived.clear()
        return taken

    async def close(self) -> None:
        """End the subscription, and give back what came and was not taken."""
        if self._subscription:
            with suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
        while self._arrived:
            await self._arrived.popleft().give_back()

    async def _keep_asking(self) -> None:
        now = time.monotonic()
        connection = self._broker.client.stats["reconnects"]
        if self._broker.client.is_connected and connection != self._connection:
            # The server forgets a request with the connection that it came on.
            self._connection, self._open_pulls_messages = connection, 0
        if self._subscription is None:
            self._subscription = await self._broker.client.subscribe(self._inbox, cb=self._on_message)
        elif self._open_pulls_messages > 0 and now - self._heard_at < _DEAF_SECONDS:
            return
        elif self._open_pulls_messages > 0:
            log.warning(Event.FEEDBACK_DEAF)
            if self._broker.client.is_connected:
                await self._broker.ensure_streams()
        with suppress(nats.errors.Error):  # while disconnected; silence will tell
            await self._broker.client.publish(_NEXT_SUBJECT, _PULL_REQUEST, self._inbox)
        self._open_pulls_messages = _PULL_MESSAGES
        self._heard_at = now

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        status = (message.headers or {}).get("Status")
        if status is None:
            self._open_pulls_messages -= 1
            self._arrived.append(Received(message.subject, message.data, message))
        elif status == "408":
            self._open_pulls_messages = 0  # expired: ask again
        elif status != _HEARTBEAT_STATUS:
            # 503 no consumer, 409 it was deleted, 404 …: deaf until it is there again.
            self._heard_at = -_DEAF_SECONDS
        self._wakeup.set()
