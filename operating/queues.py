"""What waits in JetStream, and who is attached to take it. Read with the server's own API; changes nothing."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import nats.errors
import orjson
from nats.aio.client import Client

from shared import keys
from shared.errors import DependencyLostError
from shared.records import Record

_ANSWER_SECONDS = 3.0
_NOT_FOUND = 404


class Consumer(Record, kw_only=True):
    """A durable consumer, and how it stands. All counts are of messages."""

    name: str
    subjects: list[str]
    """Those it takes; none for all of its stream."""
    attached: int
    """Requests for messages that wait at the server; at least one from each process that is idle."""
    waiting: int
    """Not delivered yet."""
    unacknowledged: int
    """Delivered, and neither acknowledged nor given back."""
    redelivered: int
    """Of those, how many were delivered more than once."""

    def takes(self, subject: str) -> bool:
        """Whether messages on this subject go to it."""
        return not self.subjects or subject in self.subjects or ">" in self.subjects


class Queues(Record, kw_only=True):
    """The three streams."""

    chunks: int
    """Of all channels."""
    waiting: dict[str, int]
    """Channel → chunks that are with mankelis or wait for them. Channels without any are left out."""
    oldest_chunk_at: datetime | None
    """When the oldest message of the work queue was published: a chunk, or a POST_UPDATE that nobody took."""
    mankelis: list[Consumer]
    """The consumers of the chunks; how many processes share one the server does not tell."""
    feedback: Consumer | None
    dead_letters: dict[str, int]
    """Channel → letters. Channels without any are left out."""

    def of(self, channel: str) -> int:
        """How many chunks the work queue has of a channel."""
        return self.waiting.get(channel, 0)


async def read_queues(client: Client) -> Queues:
    """Ask the server. Blocks for some seconds at most; raises DependencyLostError."""
    chunks, consumers, feedback, letters = await asyncio.gather(
        ask(client, f"STREAM.INFO.{keys.CHUNK_STREAM}", subjects_filter=">"),
        ask(client, f"CONSUMER.LIST.{keys.CHUNK_STREAM}"),
        ask(client, f"CONSUMER.INFO.{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"),
        ask(client, f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", subjects_filter=keys.DEAD_LETTER_SUBJECTS),
    )
    state: dict[str, Any] = chunks["state"] if chunks else {"messages": 0}
    waiting: dict[str, int] = state.get("subjects") or {}
    waiting.pop(keys.POST_UPDATE_SUBJECT, None)
    counted: dict[str, int] = {}
    for subject in (letters["state"].get("subjects") or {}) if letters else ():
        channel = subject.split(".")[1]
        counted[channel] = counted.get(channel, 0) + 1
    return Queues(
        chunks=sum(waiting.values()),
        waiting=waiting,
        oldest_chunk_at=msgspec.convert(state["first_ts"], datetime) if state["messages"] else None,
        mankelis=[_consumer(info) for info in ((consumers or {}).get("consumers") or [])],
        feedback=_consumer(feedback) if feedback else None,
        dead_letters=counted,
    )


def _consumer(info: dict[str, Any]) -> Consumer:
    config = info["config"]
    single = [config["filter_subject"]] if config.get("filter_subject") else []
    return Consumer(
        name=info["name"],
        subjects=config.get("filter_subjects") or single,
        attached=info["num_waiting"] + bool(info.get("push_bound")),
        waiting=info["num_pending"],
        unacknowledged=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
    )


async def ask(client: Client, what: str, **request: object) -> dict[str, Any] | None:
    """What JetStream's API answers; None where there is no such stream, consumer or message.

    Blocks for a few seconds at most. Raises DependencyLostError.
    """
    try:
        message = await client.request(f"$JS.API.{what}", orjson.dumps(request) if request else b"", _ANSWER_SECONDS)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyLostError(f"NATS does not answer about {what}: {type(error).__name__}") from error
    answer: dict[str, Any] = orjson.loads(message.data)
    if refusal := answer.get("error"):
        if refusal.get("code") == _NOT_FOUND:
            return None
        raise DependencyLostError(f"NATS JetStream refused {what}: {refusal.get('description')}")
    return answer
