"""The JetStream streams of the project and the collectors' consumer: their configuration, and creating them.

Created at start-up by whichever process comes first, and again where a broker lost them. An existing stream is never
changed: it may hold messages, so a difference that matters stops the process with a message that shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import nats.js.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)

from shared.broker.jetstream_api import translate_api_errors
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.runtime.events import Event

log = structlog.get_logger()

_REQUIRED_FIELDS = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "max_msgs_per_subject",
    "num_replicas",
    "compression",
)
"""Limits of size and age are left to operators; with `discard` new a full stream rejects, and nothing is dropped."""

_FEEDBACK_ACK_WAIT_SECONDS = 30.0
_FEEDBACK_MAX_PENDING = 20_000


def stream_configs(channels: Sequence[str], replicas: int) -> list[StreamConfig]:
    """Return the configuration of the three streams.

    Not Interest retention: before its first consumer it confirms a message and stores none.
    """
    work_queue = StreamConfig(
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        compression=StoreCompression.S2,
        # The default, discard old, would drop unsettled chunks, or confirmed dead letters, of a stream that an operator
        # limited. An entity's newer dead letter still replaces its older one.
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=-1,
        num_replicas=replicas,
    )
    newest_per_subject = replace(work_queue, retention=RetentionPolicy.LIMITS, max_msgs_per_subject=1)
    return [
        replace(work_queue, name=keys.CHUNK_STREAM, subjects=[*channels, keys.POST_UPDATE_SUBJECT]),
        replace(
            work_queue,
            name=keys.FEEDBACK_STREAM,
            subjects=[keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT],
        ),
        replace(newest_per_subject, name=keys.DEAD_LETTER_STREAM, subjects=[keys.DEAD_LETTER_SUBJECTS]),
    ]


async def ensure_stream(jetstream: JetStreamContext, wanted: StreamConfig) -> None:
    """Create the stream if it does not exist.

    Raises ConfigurationError where it exists with another configuration, saying what differs, and DependencyLostError
    where the broker does not reply.
    """
    name = str(wanted.name)
    with translate_api_errors(f"the stream {name}"):
        try:
            actual = (await jetstream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            await jetstream.add_stream(wanted)
            log.info(Event.STREAM_CREATED, stream=name)
            return
    if mismatches := config_mismatches(actual, wanted):
        raise ConfigurationError(
            f"the NATS stream {name} is not configured as required: {'; '.join(mismatches)}. "
            f"Edit it (nats stream edit {name}), or remove it once nothing in it is needed, and start again"
        )


def config_mismatches(actual: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Return what is not as required, in words."""
    return [
        f"{field} is {_normalize(getattr(actual, field))}, must be {_normalize(getattr(wanted, field))}"
        for field in _REQUIRED_FIELDS
        if _normalize(getattr(actual, field)) != _normalize(getattr(wanted, field))
    ]


@dataclass(frozen=True)
class StreamStatus:
    """One stream as it is on the server."""

    name: str
    exists: bool
    mismatches: Sequence[str] = ()
    """What is not as required, in words."""
    max_age_seconds: float = 0.0
    """After this time messages are dropped, whether or not they were processed; 0: never."""


async def read_stream_status(jetstream: JetStreamContext, wanted: StreamConfig) -> StreamStatus:
    """Compare a stream with its required configuration; changes nothing. Raises DependencyLostError."""
    name = str(wanted.name)
    with translate_api_errors(f"the stream {name}"):
        try:
            actual = (await jetstream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            return StreamStatus(name, exists=False)
    return StreamStatus(name, True, config_mismatches(actual, wanted), actual.max_age or 0.0)


async def ensure_collector_consumer(jetstream: JetStreamContext) -> None:
    """Create the durable consumer that all collectors share, if it does not exist. Raises DependencyLostError."""
    with translate_api_errors(f"the consumer {keys.COLLECTOR_CONSUMER}"):
        try:
            await jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        except nats.js.errors.NotFoundError:
            # No max_deliver: a work queue would keep a message beyond it without a limit, and show it nowhere.
            # No backoff: it overrides ack_wait.
            config = ConsumerConfig(
                durable_name=keys.COLLECTOR_CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_FEEDBACK_ACK_WAIT_SECONDS,
                max_ack_pending=_FEEDBACK_MAX_PENDING,
            )
            await jetstream.add_consumer(keys.FEEDBACK_STREAM, config)
            log.info(Event.CONSUMER_CREATED, consumer=keys.COLLECTOR_CONSUMER)


def _normalize(value: object) -> object:
    """Return a value as in the server's JSON: enum names in lower case, lists without order, "none" for no limit."""
    if isinstance(value, list):
        return sorted(value)
    return str(getattr(value, "value", value)) if value is not None else "none"
