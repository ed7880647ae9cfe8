"""The diagnosis: one message for each situation, of which the first that applies is shown."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from admin.status.diagnosis import diagnose
from admin.status.queues import Consumer, Queues
from admin.status.snapshot import Diagnosis, ServiceStatus, Snapshot
from shared.model.records import (
    AuditNote,
    BatchState,
    Phase,
    ProcessRecord,
    ProducerState,
    Result,
    RunRecord,
    ServiceOutcome,
    SisuBackoff,
)

AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")
CHANNEL = "ORI_PERSON_CHANNEL"

SLOW = "2 chunks are with mankelis, the oldest for 4 minutes, 1 of them redelivered; 300 of 1000 entities are settled."


def batch(stalled_seconds: float) -> BatchState:
    """Return a batch in which nothing has settled for this time."""
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


def process(kind: str, state: ProducerState | None = None) -> ProcessRecord:
    """Return the record of a process that is alive."""
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
    """Return a consumer of its whole stream."""
    return Consumer(
        **{"name": name, "subjects": [], "waiting_pulls": 0, "waiting": 0, "unacknowledged": 0, "redelivered": 0}
        | counts
    )


def snapshot(phase: Phase = "settling", stalled_seconds: float | None = None, **others: object) -> Snapshot:
    """Return an active producer, a collector and one service, with a batch if `stalled_seconds` is given."""
    current_service = None if phase == "retrying" else "PERSON"
    state = ProducerState(
        phase=phase, service=current_service, batch=batch(stalled_seconds) if stalled_seconds else None
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
        "producers": [process("producer", state)],
        "collectors": [process("ack_collector")],
        "services": [service],
        "queues": queues(),
    }
    return Snapshot(**fields | others)


def queues(
    chunks: int = 0, mankelis: list[Consumer] | None = None, feedback: Consumer | None = None, minutes: float = 0
) -> Queues:
    """Return the state of the queues in JetStream."""
    return Queues(
        chunks=chunks,
        waiting={CHANNEL: chunks} if chunks else {},
        oldest_chunk_at=AT - timedelta(minutes=minutes),
        mankelis=mankelis or [],
        feedback=feedback or consumer("ack-collector", waiting_pulls=1),
        dead_letters={},
    )


def diagnosis_of(state: Snapshot) -> Diagnosis:
    """Return the diagnosis of this snapshot."""
    return diagnose(state, HELSINKI)


@pytest.mark.parametrize(
    ("state", "code", "message"),
    [
        (snapshot(redis_error="Redis is unavailable"), "redis_unreachable", "Redis is unreachable."),
        (snapshot(nats_error="no response"), "nats_unreachable", "NATS is unreachable."),
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
            SLOW.replace("4 minutes", "10 minutes"),  # a chunk that is older than the batch does not belong to it
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
def test_each_problem_has_its_own_message(state: Snapshot, code: str, message: str) -> None:
    """The message of an unhealthy situation contains the relevant figures."""
    diagnosis = diagnosis_of(state)
    assert (diagnosis.code, diagnosis.message, diagnosis.healthy) == (code, message, False)


def run_with(*results: tuple[str, Result], complete: bool = False) -> RunRecord:
    """Return an ended run with these outcomes."""
    outcomes = [
        ServiceOutcome(service=name, result=result, reason=f"{name}: because", ended_at=AT) for name, result in results
    ]
    return RunRecord(
        run_id="r", trigger="cron", services=9, started_at=AT, ended_at=AT, complete=complete, outcomes=outcomes
    )


def test_an_incomplete_run_is_reported_with_the_reason() -> None:
    """Between two runs the diagnosis names the failure of the last one, not what was skipped because of it."""
    state = snapshot("idle", runs=[run_with(("PLAN", "skipped"), ("PERSON", "failed"), ("MODULE", "forbidden"))])
    diagnosis = diagnosis_of(state)
    assert (diagnosis.code, diagnosis.healthy, diagnosis.hint) == ("run_incomplete", False, "PERSON: because")
    assert diagnosis.message.startswith("The last run was incomplete: 3 services not settled")


def test_a_sisu_that_was_restored_is_reported_with_the_remedy() -> None:
    """Between two runs the diagnosis names the service for which SISU has less than was imported."""
    run = run_with(("PLAN", "settled"), ("PERSON", "settled"), complete=True)
    run.outcomes[1].ordinal, run.outcomes[1].sisu_behind_at = 5, 4
    diagnosis = diagnosis_of(snapshot("idle", runs=[run]))
    assert (diagnosis.code, diagnosis.healthy) == ("sisu_behind", True)
    assert diagnosis.message == "SISU has nothing of PERSON after 4, and our ordinal is 5."
    assert diagnosis.hint
    assert "importer rewind PERSON --to 4" in diagnosis.hint


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (snapshot("idle"), "idle"),
        (snapshot("idle", runs=[run_with(("PERSON", "forbidden"), complete=True)]), "idle"),
        (snapshot("idle", runs=[run_with()]), "idle"),
        (snapshot("idle", runs=[run_with(complete=True), run_with(("PERSON", "failed"))]), "idle"),
        (snapshot("fetching"), "fetching"),
        (snapshot("retrying"), "retrying"),
        (snapshot("retrying", stalled_seconds=1, queues=queues(1)), "retrying"),
        (snapshot(stalled_seconds=1, queues=queues(7)), "importing"),
    ],
)
def test_a_healthy_situation_needs_no_action(state: Snapshot, code: str) -> None:
    """An idle or progressing import is diagnosed as healthy."""
    diagnosis = diagnosis_of(state)
    assert (diagnosis.code, diagnosis.healthy) == (code, True)


def test_a_backoff_from_sisu_is_reported_with_its_end() -> None:
    """The time of the next attempt is given in the configured time zone."""
    state = ProducerState(
        phase="fetching",
        sisu_backoff=SisuBackoff(service="PERSON", reason="status 429", until=AT + timedelta(minutes=15)),
    )
    diagnosis = diagnosis_of(snapshot(producers=[process("producer", state)]))
    assert diagnosis.code == "sisu_backoff"
    assert diagnosis.message == "SISU fails for PERSON: status 429; the next attempt is at 04:45."


def test_a_mankeli_of_another_channel_does_not_count() -> None:
    """A mankeli that is attached to another channel does not help the channel with waiting chunks."""
    other = Consumer(
        name="m", subjects=["KORI_MODULE_CHANNEL"], waiting_pulls=1, waiting=0, unacknowledged=0, redelivered=0
    )
    assert diagnosis_of(snapshot(stalled_seconds=60, queues=queues(7, [other]))).code == "no_mankeli"
