"""The diagnosis: one message for each situation, by what hides what."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from admin.status.diagnosis import diagnose
from admin.status.queues import Consumer, Queues
from admin.status.snapshot import Diagnosis, ServiceStatus, Snapshot
from shared.model.records import AuditNote, BatchState, Phase, ProcessRecord, ProducerState, SisuBackoff

AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")
CHANNEL = "ORI_PERSON_CHANNEL"

SLOW = "2 chunks are with mankelis, the oldest for 4 minutes, 1 of them redelivered; 300 of 1000 entities are settled."


def batch(stalled_seconds: float) -> BatchState:
    """Return a batch in which nothing has settled for so long."""
    return BatchState(
        service="PERSON",
        execution="9f" * 12,
        since=0,
        greatest_ordinal=9,
        entities=1000,
        chunks=10,
        started_at=AT - timedelta(minutes=10),
        changed_at=AT - timedelta(seconds=stalled_seconds),
    )


def beat(kind: str, state: ProducerState | None = None) -> ProcessRecord:
    """Return a process that is alive."""
    return ProcessRecord(
        process_id=kind,
        kind=kind,
        host="h",
        pid=1,
        version="0",
        started_at=AT - timedelta(hours=1),
        last_heartbeat_at=AT,
        producer=state,
    )


def consumer(name: str, **counts: int) -> Consumer:
    """Return a consumer of all of its stream."""
    return Consumer(
        **{"name": name, "subjects": [], "waiting_pulls": 0, "waiting": 0, "unacknowledged": 0, "redelivered": 0}
        | counts
    )


def snapshot(phase: Phase = "settling", stalled_seconds: float | None = None, **others: object) -> Snapshot:
    """Return an active producer, a collector, and one service whose batch stands still for so long, if there is one."""
    service_of_the_run = None if phase == "retrying" else "PERSON"
    state = ProducerState(
        phase=phase, service=service_of_the_run, batch=batch(stalled_seconds) if stalled_seconds else None
    )
    service = ServiceStatus(
        name="PERSON",
        channel=CHANNEL,
        one_time=False,
        ordinal=0,
        scheduled=1000,
        updated=300,
        failed=0,
        outstanding_chunks=7,
        last_success_at=None,
        last_failure_at=None,
        last_failure=None,
    )
    fields: dict[str, object] = {
        "at": AT,
        "producers": [beat("producer", state)],
        "collectors": [beat("ack_collector")],
        "services": [service],
        "queues": queues(),
    }
    return Snapshot(**fields | others)


def queues(
    chunks: int = 0, mankelis: list[Consumer] | None = None, feedback: Consumer | None = None, minutes: float = 0
) -> Queues:
    """Return what waits in JetStream."""
    return Queues(
        chunks=chunks,
        waiting={CHANNEL: chunks} if chunks else {},
        oldest_chunk_at=AT - timedelta(minutes=minutes),
        mankelis=mankelis or [],
        feedback=feedback or consumer("ack-collector", waiting_pulls=1),
        dead_letters={},
    )


def diagnosis(found: Snapshot) -> Diagnosis:
    """Return what is said of it."""
    return diagnose(found, HELSINKI)


@pytest.mark.parametrize(
    ("found", "code", "message"),
    [
        (snapshot(redis_error="Redis is unavailable"), "redis_unreachable", "Redis is unreachable."),
        (snapshot(nats_error="no answer"), "nats_unreachable", "NATS is unreachable."),
        (snapshot(producers=[]), "no_producer", "No producer is running."),
        (
            snapshot(producers=[], lock_held=True),
            "lock_held",
            "Another producer holds the lock, and its heartbeat has expired.",
        ),
        (
            snapshot("standing_by", lock_held=True),
            "lock_held",
            "Another producer holds the lock, and its heartbeat has expired.",
        ),
        (
            snapshot("paused", paused=AuditNote(by="ada", at=AT, reason="upgrade")),
            "paused",
            "The import is paused by ada: upgrade.",
        ),
        (
            snapshot("idle", paused=AuditNote(by="ada", at=AT)),
            "paused",
            "The import is paused by ada: no reason given.",
        ),
        (
            snapshot(
                stalled_seconds=60, queues=queues(10, feedback=consumer("c", waiting=1, waiting_pulls=0)), collectors=[]
            ),
            "no_collector",
            "No collector is running: 1 report of mankelis unread; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(stalled_seconds=60, queues=queues(7)),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 7 chunks are waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(stalled_seconds=60, queues=queues(7, [consumer("m", waiting=7)])),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 7 chunks are waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(stalled_seconds=60, queues=queues(7, [consumer("m", unacknowledged=2, redelivered=1)], minutes=4)),
            "with_mankelis",
            SLOW,
        ),
        (
            snapshot(
                stalled_seconds=60, queues=queues(7, [consumer("m", unacknowledged=2, redelivered=1)], minutes=60)
            ),
            "with_mankelis",
            SLOW.replace("4 minutes", "10 minutes"),  # what has been there for longer is not of the batch
        ),
        (
            snapshot("retrying", stalled_seconds=60, queues=queues(1)),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 1 chunk is waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(stalled_seconds=60, queues=queues(0, [consumer("m", waiting_pulls=1)])),
            "chunks_missing",
            "7 chunks are neither with the broker nor reported; 300 of 1000 entities are settled.",
        ),
    ],
)
def test_what_somebody_should_look_into(found: Snapshot, code: str, message: str) -> None:
    """Each situation has a message of its own, with the figures that matter."""
    said = diagnosis(found)
    assert (said.code, said.message, said.healthy) == (code, message, False)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (snapshot("idle"), "idle"),
        (snapshot("fetching"), "fetching"),
        (snapshot("retrying"), "retrying"),
        (snapshot("retrying", stalled_seconds=1, queues=queues(1)), "retrying"),
        (snapshot(stalled_seconds=1, queues=queues(7)), "importing"),
    ],
)
def test_what_is_well(found: Snapshot, code: str) -> None:
    """Nobody need do anything."""
    said = diagnosis(found)
    assert (said.code, said.healthy) == (code, True)


def test_a_pause_of_sisu_is_told_with_its_end() -> None:
    """The time is that of the operator's time zone."""
    state = ProducerState(
        phase="fetching",
        sisu_backoff=SisuBackoff(service="PERSON", reason="status 429", until=AT + timedelta(minutes=15)),
    )
    said = diagnosis(snapshot(producers=[beat("producer", state)]))
    assert said.code == "sisu_backoff"
    assert said.message == "SISU fails for PERSON: status 429; the next attempt is at 04:45."


def test_a_mankeli_of_another_channel_does_not_count() -> None:
    """A mankeli is attached, but not to the channel that waits."""
    other = Consumer(
        name="m", subjects=["KORI_MODULE_CHANNEL"], waiting_pulls=1, waiting=0, unacknowledged=0, redelivered=0
    )
    assert diagnosis(snapshot(stalled_seconds=60, queues=queues(7, [other]))).code == "no_mankeli"
