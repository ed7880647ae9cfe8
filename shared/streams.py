"""The JetStream streams of the project and the collector's consumer: what they must be, and making them.

Made at start-up by whichever process comes first, and again where a broker lost them. Nothing is changed on a stream
that exists: it may hold messages, so a difference that matters stops the process with a message that shows it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import nats.errors
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

from shared import keys
from shared.errors import ConfigurationError, DependencyLostError
from shared.events import Event

log = structlog.get_logger()

_MUST_AGREE = ("subjects", "retention", "storage", "discard", "max_msgs_per_subject", "num_replicas", "compression")
"""Limits of size and age are left to operators; with `discard` new, a full stream refuses, and nothing is dropped."""

_FEEDBACK_ACK_WAIT_SECONDS = 30.0
_FEEDBACK_MAX_PENDING = 20_000


def stream_configs(channels: Sequence[str], replicas: int) -> list[StreamConfig]:
    """The three streams. Not Interest retention: before its first consumer that confirms a message and stores none."""
    work_queue = StreamConfig(
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        compression=StoreCompression.S2,
        # The default, discard old, would drop unsettled chunks, or dead letters that were confirmed, of a stream that
        # an operator gave a limit. An entity's newer letter still takes the place of its older one.
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=-1,
        num_replicas=replicas,
    )
    newest_of_each = replace(work_queue, retention=RetentionPolicy.LIMITS, max_msgs_per_subject=1)
    return [
        replace(work_queue, name=keys.CHUNK_STREAM, subjects=[*channels, keys.POST_UPDATE_SUBJECT]),
        replace(
            work_queue,
            name=keys.FEEDBACK_STREAM,
            subjects=[keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT],
        ),
        replace(newest_of_each, name=keys.DEAD_LETTER_STREAM, subjects=[keys.DEAD_LETTER_SUBJECTS]),
    ]


async def ensure_stream(jetstream: JetStreamContext, wanted: StreamConfig) -> None:
    """Make the stream if it is not there.

    Raises ConfigurationError where it is there with another configuration, saying what differs, and
    DependencyLostError where the broker does not answer.
    """
    name = str(wanted.name)
    with api_errors(f"the stream {name}"):
        try:
            actual = (await jetstream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            await jetstream.add_stream(wanted)
            log.info(Event.STREAM_CREATED, stream=name)
            return
    if wrong := differences(actual, wanted):
        raise ConfigurationError(
            f"the NATS stream {name} is not configured as it must be: {'; '.join(wrong)}. "
            f"Edit it (nats stream edit {name}), or remove it once nothing in it is needed, and start again"
        )


def differences(actual: StreamConfig, wanted: StreamConfig) -> list[str]:
    """What is not as it must be, in words."""
    return [
        f"{field} is {_plain(getattr(actual, field))}, must be {_plain(getattr(wanted, field))}"
        for field in _MUST_AGREE
        if _plain(getattr(actual, field)) != _plain(getattr(wanted, field))
    ]


async def ensure_collector_consumer(jetstream: JetStreamContext) -> None:
    """Make the durable consumer that all collectors share, if it is not there. Raises DependencyLostError."""
    with api_errors(f"the consumer {keys.COLLECTOR_CONSUMER}"):
        try:
            await jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        except nats.js.errors.NotFoundError:
            # No max_deliver: a work queue would keep a message past it for ever, and show it nowhere.
            # No backoff: it overrides ack_wait.
            config = ConsumerConfig(
                durable_name=keys.COLLECTOR_CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_FEEDBACK_ACK_WAIT_SECONDS,
                max_ack_pending=_FEEDBACK_MAX_PENDING,
            )
            await jetstream.add_consumer(keys.FEEDBACK_STREAM, config)
            log.info(Event.CONSUMER_CREATED, consumer=keys.COLLECTOR_CONSUMER)


@contextmanager
def api_errors(what: str) -> Iterator[None]:
    """Translate the errors of a request to JetStream's API about `what`."""
    try:
        yield
    except nats.js.errors.APIError as error:
        raise DependencyLostError(f"NATS JetStream refused {what}: {error.description or error}") from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyLostError(
            f"NATS JetStream did not answer about {what} ({type(error).__name__}): is JetStream enabled, "
            "and may this user use its API?"
        ) from error


def _plain(value: object) -> object:
    """As in the server's JSON: names of enums in lower case, lists without order, -1 for "no limit"."""
    if isinstance(value, list):
        return sorted(value)
    return str(getattr(value, "value", value)) if value is not None else "none"
