"""The JetStream streams of the project: their configuration, comparing it, and creating them.

Created at start-up by whichever process comes first, and again where a broker lost them. Of an existing stream only the
channels of new services are added: it may hold messages, so any other difference that matters stops the process with a
message that shows it.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import nats.js.errors
import structlog
from nats.js.api import (
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)

from shared.broker.jetstream_api import JetStreamApi, translate_api_errors
from shared.model import keys
from shared.model.errors import BrokerRejectedError, ConfigurationError, DependencyLostError
from shared.model.permissions import API_PREFIX
from shared.runtime.events import Event

log = structlog.get_logger()

_REQUIRED_FIELDS = (
    "retention",
    "storage",
    "discard",
    "max_msgs_per_subject",
    "num_replicas",
    "compression",
    "no_ack",
    "sealed",
)
"""Limits of size and age are left to operators; with `discard` new a full stream rejects, and nothing is dropped."""


@dataclass(frozen=True)
class Note:
    """Something about a stream that deserves a line of the log, once."""

    level: int
    event: Event
    stream: str
    subjects: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, object]:
        """Return what the line says besides the stream."""
        return {"subjects": list(self.subjects)} if self.subjects else {}


class MissingSubjectsError(BrokerRejectedError):
    """The chunk stream lacks the channels of some services, and could not be given them."""

    def __init__(self, message: str, subjects: Sequence[str]) -> None:
        super().__init__(message)
        self.subjects = frozenset(subjects)


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


async def ensure_stream(api: JetStreamApi, wanted: StreamConfig, *, add_subjects: bool = True) -> list[Note]:
    """Create the stream if it does not exist, and add subjects that it lacks; return what to note about it.

    Raises ConfigurationError where it exists with another configuration, saying what differs, MissingSubjectsError
    where it cannot be given a subject, and DependencyLostError where the broker does not reply.
    """
    name = str(wanted.name)
    with translate_api_errors(f"the stream {name}"):
        try:
            actual = (await api.jetstream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            await api.jetstream.add_stream(wanted)
            log.info(Event.STREAM_CREATED, stream=name)
            return []
    if mismatches := config_mismatches(actual, wanted, api.max_payload_bytes):
        raise ConfigurationError(
            f"the NATS stream {name} is not configured as required: {'; '.join(mismatches)}. "
            f"Edit it (nats stream edit {name}), or remove it once nothing in it is needed, and start again"
        )
    if (missing := missing_subjects(actual, wanted)) and add_subjects:
        await _add_subjects(api, name, missing)
    return list(_notes(actual, wanted))


def config_mismatches(actual: StreamConfig, wanted: StreamConfig, max_payload_bytes: int) -> list[str]:
    """Return what is not as required, in words. Subjects of the chunk stream are not compared: they can be added."""
    required = _REQUIRED_FIELDS if wanted.name == keys.CHUNK_STREAM else ("subjects", *_REQUIRED_FIELDS)
    if wanted.name == keys.DEAD_LETTER_STREAM:
        required = (*required, "deny_delete")
    mismatches = [
        f"{field} is {_normalize(getattr(actual, field))}, must be {_normalize(getattr(wanted, field))}"
        for field in required
        if _normalize(getattr(actual, field)) != _normalize(getattr(wanted, field))
    ]
    if 0 < (actual.max_msg_size or 0) < max_payload_bytes:
        mismatches.append(
            f"max_msg_size is {actual.max_msg_size}, must be -1, or at least the server's max_payload of "
            f"{max_payload_bytes}"
        )
    return mismatches


def missing_subjects(actual: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Return the subjects of `wanted` that the stream does not have, by name or by a wildcard."""
    patterns = actual.subjects or ()
    return [subject for subject in wanted.subjects or () if not any(covers(pattern, subject) for pattern in patterns)]


def covers(pattern: str, subject: str) -> bool:
    """Return whether a subject, in which `*` and `>` have no meaning, matches a pattern, in which they have."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">" and len(tokens) >= len(wanted):
        tokens = [*tokens[: len(wanted) - 1], ">"]
    return len(wanted) == len(tokens) and all(a in ("*", b) for a, b in zip(wanted, tokens, strict=True))


def _notes(actual: StreamConfig, wanted: StreamConfig) -> Iterator[Note]:
    """Yield what is worth a line of the log, though nothing needs to be done."""
    name = str(wanted.name)
    if name != keys.CHUNK_STREAM:
        return
    if actual.deny_purge:
        yield Note(logging.WARNING, Event.STREAM_PURGE_DENIED, name)
    if unknown := sorted(set(actual.subjects or ()) - set(wanted.subjects or ())):
        yield Note(logging.INFO, Event.STREAM_SUBJECTS_UNKNOWN, name, tuple(unknown))


async def _add_subjects(api: JetStreamApi, name: str, missing: Sequence[str]) -> None:
    """Add subjects to a stream that is as required otherwise, and remove none. Raises MissingSubjectsError."""
    operation = f"STREAM.UPDATE.{name}"
    try:
        # As JSON, not as nats-py's class: what that does not know would be lost.
        info = await api.request(f"STREAM.INFO.{name}")
        config = info["config"] if info else {}
        await api.request(operation, **config | {"subjects": [*config.get("subjects", ()), *missing]})
    except DependencyLostError as error:
        raise MissingSubjectsError(
            f"the NATS stream {name} lacks {', '.join(missing)}, which could not be added: {error}. Allow this user to "
            f"publish on {API_PREFIX}{operation}, or add what is missing to its subjects: nats stream edit {name}",
            missing,
        ) from error
    log.info(Event.STREAM_SUBJECTS_ADDED, stream=name, subjects=list(missing))


@dataclass(frozen=True)
class StreamStatus:
    """One stream as it is on the server."""

    name: str
    exists: bool
    mismatches: Sequence[str] = ()
    """What is not as required, in words."""
    missing_subjects: Sequence[str] = ()
    """What the producer will add."""
    max_age_seconds: float = 0.0
    """After this time messages are dropped, whether or not they were processed; 0: never."""


async def read_stream_status(api: JetStreamApi, wanted: StreamConfig) -> StreamStatus:
    """Compare a stream with its required configuration; changes nothing. Raises DependencyLostError."""
    name = str(wanted.name)
    with translate_api_errors(f"the stream {name}"):
        try:
            actual = (await api.jetstream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            return StreamStatus(name, exists=False)
    missing = missing_subjects(actual, wanted) if name == keys.CHUNK_STREAM else ()
    mismatches = config_mismatches(actual, wanted, api.max_payload_bytes)
    return StreamStatus(name, True, mismatches, missing, actual.max_age or 0.0)


def _normalize(value: object) -> object:
    """Return a value as in the server's JSON: enum names in lower case, lists without order, "none" for no limit."""
    if isinstance(value, list):
        return sorted(value)
    return str(getattr(value, "value", value)) if value is not None else "none"
