"""The stan_bridge's subscriptions to the stream of the chunks: durable pull consumers, limited to its services.

A work queue gives each subject to one consumer. So what travels over STAN is taken from JetStream's mankelis, and the
filter of a consumer is changed when STAN_SERVICES is.
"""

from collections.abc import Sequence

import nats.js.errors
import structlog
from nats.js.api import AckPolicy, ConsumerConfig

from shared.broker.collector_consumer import NANOSECONDS
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription, pull_request
from shared.broker.jetstream_api import JetStreamApi, translate_api_errors
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.model.permissions import API_PREFIX
from shared.runtime.events import Event

log = structlog.get_logger()

ACK_WAIT_SECONDS = 15.0
"""After which the chunks of a stan_bridge that died are delivered to another one; a live one keeps renewing it."""
_PULL_MESSAGES = 64
_MAX_PENDING = 1000
_NOT_UNIQUE = 10100
"""JetStream's error code for a subject of a work queue that another consumer has."""


class SubjectTakenError(ConfigurationError):
    """Another consumer of the work queue receives one of these subjects."""


class ChunkSubscription(FeedbackSubscription):
    """The subscription of the stan_bridge to these subjects of the stream of the chunks, as `consumer`."""

    unresponsive, responsive = Event.CHUNK_CONSUMER_UNRESPONSIVE, Event.CHUNK_CONSUMER_RESPONSIVE

    def __init__(self, broker: Broker, consumer: str, subjects: Sequence[str]) -> None:
        super().__init__(broker)
        self._consumer = consumer
        self._subjects = list(subjects)

    async def prepare(self) -> None:
        """Create the consumer, or change its subjects. Raises SubjectTakenError, DependencyLostError."""
        await ensure_chunk_consumer(self._broker.api, self._consumer, self._subjects)

    def _next_request(self) -> tuple[str, bytes, int]:
        subject = f"{API_PREFIX}CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.{self._consumer}"
        return subject, pull_request(_PULL_MESSAGES), _PULL_MESSAGES

    async def _ensure_consumer(self) -> None:
        await self._broker.ensure_streams()
        await self.prepare()


async def ensure_chunk_consumer(api: JetStreamApi, consumer: str, subjects: Sequence[str]) -> None:
    """Create the consumer if it does not exist, and give it these subjects and settings if it has others."""
    info = await api.request(f"CONSUMER.INFO.{keys.CHUNK_STREAM}.{consumer}")
    actual = info["config"] if info else {}
    filters = actual.get("filter_subjects") or [actual.get("filter_subject")]
    if set(filters) == set(subjects) and actual.get("ack_wait") == int(ACK_WAIT_SECONDS * NANOSECONDS):
        return
    config = ConsumerConfig(
        durable_name=consumer,
        filter_subjects=list(subjects),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=_MAX_PENDING,
    )
    with translate_api_errors(f"the consumer {consumer}"):
        try:
            await api.jetstream.add_consumer(keys.CHUNK_STREAM, config)
        except nats.js.errors.APIError as error:
            if error.err_code != _NOT_UNIQUE:
                raise
            raise SubjectTakenError(
                f"another consumer of the stream {keys.CHUNK_STREAM} receives what {consumer} should: "
                "check STAN_SERVICES and STAN_POST_UPDATE, and the consumers of JetStream's mankelis"
            ) from error
    log.info(Event.CONSUMER_CREATED, consumer=consumer)


async def remove_chunk_consumer(api: JetStreamApi, consumer: str) -> None:
    """Remove a consumer of the stan_bridge, if it exists. Raises DependencyLostError."""
    await api.request(f"CONSUMER.DELETE.{keys.CHUNK_STREAM}.{consumer}")
