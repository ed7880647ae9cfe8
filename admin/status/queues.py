"""What waits in JetStream, and which consumers receive it. Read with the server's own API; changes nothing."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from shared.broker.jetstream_api import JetStreamApi
from shared.model import keys
from shared.model.records import Record


class Consumer(Record, kw_only=True):
    """A durable consumer and its state. All counts are of messages."""

    name: str
    subjects: list[str]
    """The subjects that it receives; empty for all of its stream."""
    waiting_pulls: int
    """Pull requests that wait at the server; at least one from each idle process."""
    waiting: int
    """Not delivered yet."""
    unacknowledged: int
    """Delivered, and neither acknowledged nor rejected."""
    redelivered: int
    """Of those, how many were delivered more than once."""

    def matches(self, subject: str) -> bool:
        """Return whether messages on this subject go to it."""
        return not self.subjects or subject in self.subjects or ">" in self.subjects


class Queues(Record, kw_only=True):
    """The three streams."""

    chunks: int
    """Of all channels."""
    waiting: dict[str, int]
    """Channel → chunks that are with mankelis or wait for them. Channels without any are left out."""
    oldest_chunk_at: datetime | None
    """When the oldest message of the work queue was published: a chunk, or a POST_UPDATE that nothing consumed."""
    mankelis: list[Consumer]
    """The consumers of the chunks; the server does not tell how many processes share one."""
    feedback: Consumer | None
    dead_letters: dict[str, int]
    """Channel → dead letters. Channels without any are left out."""

    def pending_chunks(self, channel: str) -> int:
        """Return how many chunks of a channel the work queue has."""
        return self.waiting.get(channel, 0)


async def read_queues(api: JetStreamApi) -> Queues:
    """Read the state of the streams. Blocks for some seconds at most; raises DependencyLostError."""
    chunks, consumers, feedback, dead_letters = await asyncio.gather(
        api.request(f"STREAM.INFO.{keys.CHUNK_STREAM}", subjects_filter=">"),
        api.request(f"CONSUMER.LIST.{keys.CHUNK_STREAM}"),
        api.request(f"CONSUMER.INFO.{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"),
        api.request(f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", subjects_filter=keys.DEAD_LETTER_SUBJECTS),
    )
    state: dict[str, Any] = chunks["state"] if chunks else {"messages": 0}
    waiting: dict[str, int] = state.get("subjects") or {}
    waiting.pop(keys.POST_UPDATE_SUBJECT, None)
    counts: dict[str, int] = {}
    for subject in (dead_letters["state"].get("subjects") or {}) if dead_letters else ():
        channel = subject.split(".")[1]
        counts[channel] = counts.get(channel, 0) + 1
    return Queues(
        chunks=sum(waiting.values()),
        waiting=waiting,
        oldest_chunk_at=msgspec.convert(state["first_ts"], datetime) if state["messages"] else None,
        mankelis=[_consumer(info) for info in ((consumers or {}).get("consumers") or [])],
        feedback=_consumer(feedback) if feedback else None,
        dead_letters=counts,
    )


def _consumer(info: dict[str, Any]) -> Consumer:
    config = info["config"]
    single = [config["filter_subject"]] if config.get("filter_subject") else []
    return Consumer(
        name=info["name"],
        subjects=config.get("filter_subjects") or single,
        waiting_pulls=info["num_waiting"] + bool(info.get("push_bound")),
        waiting=info["num_pending"],
        unacknowledged=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
    )
