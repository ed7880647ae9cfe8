"""What is kept in Redis about processes, runs and operators' requests, for status, dashboard and history.

Losing all of it costs the history and open requests, but skips no change. No record here contains a secret or anything
of an entity; `by` is the name of an operator.

Times are UTC; JSON has the fields in camelCase. Changed only by adding fields, which older readers ignore.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with a time zone. One without, which cannot be compared with any of ours, does not decode."""


class Record(msgspec.Struct, rename="camel"):
    """A structure that is stored or sent as JSON."""


Result = Literal["settled", "failed", "forbidden", "skipped"]


class ServiceOutcome(Record, kw_only=True):
    """The outcome of one service in one run. All counts are of this run."""

    service: str
    result: Result
    reason: str | None = None
    """Why it is not settled."""
    ordinal: int | None = None
    """At its end; None where it was not read."""
    entities: int = 0
    """Settled, dead letters included."""
    batches: int = 0
    chunks: int = 0
    dead_letters: int = 0
    sisu_behind_at: int | None = None
    """SISU's greatest ordinal, if it is before ours: SISU was restored from a backup, or a replica lags behind."""
    seconds: float = 0.0
    ended_at: Timestamp


Trigger = Literal["start", "cron", "request"]


class RunRecord(Record, kw_only=True):
    """A run, in progress or ended."""

    run_id: str
    trigger: Trigger
    services: int
    """How many it visits."""
    started_at: Timestamp
    ended_at: Timestamp | None = None
    """None while it is in progress, and where its producer died."""
    complete: bool | None = None
    """Whether all its services are settled, or were never allowed to be read; None as for `ended_at`."""
    outcomes: list[ServiceOutcome] = msgspec.field(default_factory=list)


class ServiceHistory(Record, kw_only=True):
    """The last success and the last failure of a service, over all runs."""

    last_success_at: Timestamp | None = None
    last_failure_at: Timestamp | None = None
    last_failure: str | None = None


class BatchState(Record, kw_only=True):
    """The batch in flight."""

    service: str = ""
    execution: str
    since: int
    greatest_ordinal: int
    entities: int
    chunks: int
    """As first published."""
    started_at: Timestamp
    changed_at: Timestamp
    """When a chunk of it last settled or was split."""
    resends: int = 0
    """In a row, without progress in between."""


class SisuBackoff(Record, kw_only=True):
    """A backoff before SISU is asked again."""

    service: str
    reason: str
    until: Timestamp


Phase = Literal["standing_by", "idle", "fetching", "settling", "paused", "retrying"]


class ProducerState(Record, kw_only=True):
    """What a producer is doing."""

    phase: Phase = "standing_by"
    run: RunRecord | None = None
    service: str | None = None
    service_number: int | None = None
    """From 1."""
    service_since: Timestamp | None = None
    service_entities: int = 0
    """Settled in this run."""
    batch: BatchState | None = None
    sisu_backoff: SisuBackoff | None = None
    next_run_at: Timestamp | None = None
    panic_timeout_seconds: float = 60.0


ProcessKind = Literal["producer", "ack_collector", "stan_bridge"]


class CollectorState(Record, kw_only=True):
    """What a collector is doing."""

    consumer_alive: bool
    """Whether the feedback consumer responds."""
    feedback: int = 0
    """Messages processed since it started."""


class StanBridgeState(Record, kw_only=True):
    """What a stan_bridge is doing."""

    phase: Literal["connecting", "standing_by", "active"]
    connected: bool = False
    """Whether its session with STAN responds."""
    pieces_out: int = 0
    """Pieces that were sent over STAN and not reported."""
    waiting_since: datetime | None = None
    """Since when pieces are out and no report came; None where none is out."""
    reports: int = 0
    """Reports that named a piece, since it started."""


class ProcessRecord(Record, kw_only=True):
    """What a process reports about itself every few seconds."""

    process_id: str
    kind: ProcessKind
    host: str
    pid: int
    version: str
    build: str = ""
    """Empty for a process of a version before builds were recorded."""
    started_at: Timestamp
    last_heartbeat_at: Timestamp
    port: int | None = None
    producer: ProducerState | None = None
    collector: CollectorState | None = None
    stan_bridge: StanBridgeState | None = None


class AuditNote(Record, kw_only=True):
    """Who did something, when and why: a pause, a request for a run."""

    by: str
    at: Timestamp
    reason: str = ""


RetryOutcome = Literal["stored", "obsolete", "rejected", "not_retried", "not_found"]


class RetryRequest(AuditNote, kw_only=True):
    """A request to send a dead letter again, and its outcome."""

    outcome: RetryOutcome | None = None
    explanation: str | None = None


class Rewind(AuditNote, kw_only=True):
    """An ordinal that an operator moved back."""

    service: str
    from_ordinal: int
    to_ordinal: int
    undoes_rewind_at: Timestamp | None = None
    """The `at` of the rewind that this one undoes."""


RecordT = TypeVar("RecordT", bound=Record)


def encode(record: Record) -> str:
    """Encode a record as JSON."""
    return msgspec.json.encode(record).decode()


def decode(kind: type[RecordT], text: str | bytes | None) -> RecordT | None:
    """Decode a record; None where there is none, or where it cannot be decoded, say after another version wrote it."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    # ValueError: not UTF-8, or a date that no calendar has. RecursionError: nested a thousand deep.
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None


def decode_all(kind: type[RecordT], stored: Mapping[Any, Any] | None) -> dict[str, RecordT]:
    """Decode the values of a hash, by its fields, without those that cannot be decoded."""
    return {str(name): record for name, text in (stored or {}).items() if (record := decode(kind, text))}


def decode_pause(text: str | None) -> AuditNote | None:
    """Decode the note of a pause; None where there is none. One that cannot be decoded, set by hand, is a pause too."""
    return None if text is None else decode(AuditNote, text) or AuditNote(by="unknown", at=now())


def now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)
