"""What the processes keep in Redis about themselves and their runs, for status, page and history.

Nothing depends on it: the import goes the same way if all of it is lost. No record has personal data or secrets.

Times are UTC; JSON has the fields in camelCase. Changed only by adding fields, which older readers ignore.
"""

from datetime import UTC, datetime
from typing import Literal, TypeVar

import msgspec


class Record(msgspec.Struct, rename="camel"):
    """Something that is kept as JSON."""


Result = Literal["settled", "failed", "forbidden", "skipped"]


class ServiceOutcome(Record, kw_only=True):
    """How one service fared in one run. All counts are of this run."""

    service: str
    result: Result
    reason: str | None = None
    ordinal: int | None = None
    entities: int = 0
    batches: int = 0
    chunks: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    ended_at: datetime


Trigger = Literal["start", "cron", "request"]


class RunRecord(Record, kw_only=True):
    """A run, in progress or ended."""

    run_id: str
    trigger: Trigger
    services: int
    """How many it goes through."""
    started_at: datetime
    ended_at: datetime | None = None
    complete: bool | None = None
    outcomes: list[ServiceOutcome] = msgspec.field(default_factory=list)


class ServiceHistory(Record, kw_only=True):
    """How a service's last attempts ended, over all runs."""

    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure: str | None = None


class BatchState(Record, kw_only=True):
    """The batch in flight."""

    service: str = ""
    execution: str
    since: int
    greatest_ordinal: int
    entities: int
    chunks: int
    begun_at: datetime
    changed_at: datetime
    """When something of it last settled or was split."""
    resends: int = 0


class SisuWait(Record, kw_only=True):
    """A pause before SISU is asked again."""

    service: str
    reason: str
    until: datetime


Phase = Literal["standing_by", "idle", "fetching", "settling", "paused", "retrying"]


class ProducerState(Record, kw_only=True):
    """What a producer is doing."""

    phase: Phase = "standing_by"
    run: RunRecord | None = None
    service: str | None = None
    service_number: int | None = None
    """From 1."""
    service_since: datetime | None = None
    service_entities: int = 0
    """Settled in this run."""
    batch: BatchState | None = None
    sisu_wait: SisuWait | None = None
    next_run_at: datetime | None = None
    panic_timeout_seconds: float = 60.0


class CollectorState(Record, kw_only=True):
    """What a collector is doing."""

    heard: bool
    """Whether the feedback consumer gives signs of life."""
    feedback: int = 0
    """Handled since it started."""


class Beat(Record, kw_only=True):
    """What a process says of itself every few seconds."""

    process_id: str
    kind: Literal["producer", "ack_collector"]
    host: str
    pid: int
    version: str
    started_at: datetime
    beat_at: datetime
    port: int | None = None
    producer: ProducerState | None = None
    collector: CollectorState | None = None


class Note(Record, kw_only=True):
    """Who did something, when and why: a pause, a request for a run."""

    by: str
    at: datetime
    why: str = ""


RetryOutcome = Literal["stored", "obsolete", "rejected", "undecided", "gone"]


class RetryNote(Note, kw_only=True):
    """A request to send a dead letter again, and what came of it."""

    outcome: RetryOutcome | None = None
    explanation: str | None = None


class Rewind(Note, kw_only=True):
    """An ordinal that was set back."""

    service: str
    from_ordinal: int
    to_ordinal: int
    undoes: datetime | None = None
    """The `at` of the rewind that this one took back."""


AnyRecord = TypeVar("AnyRecord", bound=Record)


def encode(record: Record) -> str:
    """The JSON of a record."""
    return msgspec.json.encode(record).decode()


def decode(kind: type[AnyRecord], text: str | bytes | None) -> AnyRecord | None:
    """The record in `text`; None where there is none, or what is there cannot be read, say from another version."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
