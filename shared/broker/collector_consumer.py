"""The durable pull consumer of the feedback stream that all collectors share: its configuration, and creating it.

It is compared as the streams are: one that was made otherwise rejects every request of a collector, or hides feedback.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from nats.js.api import AckPolicy, ConsumerConfig

from shared.broker.jetstream_api import JetStreamApi, translate_api_errors
from shared.broker.streams import covers
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.runtime.events import Event

log = structlog.get_logger()

PULL_MESSAGES = 500
PULL_SECONDS = 30.0
NANOSECONDS = 1_000_000_000
_ACK_WAIT_SECONDS = 30.0
_MAX_PENDING = 20_000
_REQUIRED: Mapping[str, object] = {
    "ack_policy": "explicit",
    "replay_policy": "instant",
    "deliver_subject": "none",
    "headers_only": False,
    "max_deliver": -1,
    "priority_groups": "none",
}
"""By the names of the server's JSON; `deliver_subject` makes a push consumer."""
_AT_LEAST = {"max_batch": PULL_MESSAGES, "max_expires": int(PULL_SECONDS * NANOSECONDS)}
"""Limits of one request, which are the options `max_request_batch` and `max_request_expires`; 0: without a limit."""
_ABSENT = {"deliver_subject": "none", "headers_only": False, "priority_groups": "none", "max_deliver": -1}


async def ensure_collector_consumer(api: JetStreamApi) -> None:
    """Create the consumer if it does not exist.

    Raises ConfigurationError where it exists with another configuration, saying what differs, and DependencyLostError
    where the broker does not reply.
    """
    name = keys.COLLECTOR_CONSUMER
    info = await api.request(f"CONSUMER.INFO.{keys.FEEDBACK_STREAM}.{name}")
    if info is None:
        # No max_deliver: a work queue would keep a message beyond it without a limit, and show it nowhere.
        # No backoff: it overrides ack_wait.
        config = ConsumerConfig(
            durable_name=name,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_SECONDS,
            max_ack_pending=_MAX_PENDING,
        )
        with translate_api_errors(f"the consumer {name}"):
            await api.jetstream.add_consumer(keys.FEEDBACK_STREAM, config)
        log.info(Event.CONSUMER_CREATED, consumer=name)
    elif mismatches := list(consumer_mismatches(info["config"])):
        raise ConfigurationError(
            f"the NATS consumer {name} is not configured as required: {'; '.join(mismatches)}. Remove it "
            f"(nats consumer rm {keys.FEEDBACK_STREAM} {name}): it is created again, and the stream keeps the feedback"
        )


def consumer_mismatches(actual: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as required, in words; `actual` is the consumer's configuration as JSON."""
    for field, required in _REQUIRED.items():
        value = actual.get(field) or _ABSENT.get(field)
        if value != required:
            yield f"{field} is {value}, must be {required}"
    for field, least in _AT_LEAST.items():
        value = actual.get(field) or 0
        if 0 < value < least:
            yield f"{field} is {value}, must be none or at least {least}"
    filters = actual.get("filter_subjects") or [actual.get("filter_subject") or ">"]
    for subject in (keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT):
        if not any(covers(pattern, subject) for pattern in filters):
            yield f"its filter hides {subject}"
