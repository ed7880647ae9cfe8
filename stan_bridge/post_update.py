"""POST_UPDATE goes over STAN, and POST_UPDATE_FINISH comes back. Each is confirmed before it is acknowledged."""

from secrets import token_hex

import structlog

from shared.broker.chunk_subscription import ChunkSubscription
from shared.broker.connection import Broker
from shared.broker.stan.session import StanDelivery, StanSession
from shared.model import keys
from shared.model.errors import BrokerRejectedError
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop

log = structlog.get_logger()

_IDLE_SECONDS = 1.0


class PostUpdateForwarder:
    """Forwards in both directions. What is forwarded twice after a crash is harmless: a post-update may be repeated."""

    def __init__(self, subscription: ChunkSubscription, broker: Broker, session: StanSession, stop: Stop) -> None:
        self._subscription = subscription
        self._broker = broker
        self._session = session
        self._stop = stop

    async def run(self) -> None:
        """Forward POST_UPDATE until shutdown. Raises ProcessError."""
        while not self._stop.requested:
            for message in await self._subscription.receive(_IDLE_SECONDS):
                await self._session.publish(keys.POST_UPDATE_SUBJECT, message.data)
                await message.acknowledge()
                log.info(Event.STAN_POST_UPDATE_FORWARDED)

    async def receive(self, delivery: StanDelivery) -> None:
        """Forward POST_UPDATE_FINISH: the collector checks what it says."""
        try:
            await self._broker.publish(
                keys.FEEDBACK_STREAM, keys.POST_UPDATE_FINISH_SUBJECT, delivery.data, f"stan:finish:{token_hex(8)}"
            )
        except BrokerRejectedError:
            return  # STAN delivers it again
        await delivery.acknowledge()
