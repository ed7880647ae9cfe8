"""The verdict: one sentence for each situation, by what hides what."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from operating.queues import Consumer, Queues
from operating.snapshot import ServiceStatus, Snapshot, Verdict
from operating.why import explain
from shared.records import BatchState, Beat, Note, Phase, ProducerState, SisuWait

AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")
CHANNEL = "ORI_PERSON_CHANNEL"

SLOW = "2 chunks are with mankelis, the oldest for 4 minutes, 1 of them redelivered; 300 of 1000 entities are settled."


def batch(still_seconds: float) -> BatchState:
    """A batch in which nothing has settled for so long."""
    return BatchState(
        service="PERSON",
        execution="9f" * 12,
        since=0,
        greatest_ordinal=9,
        entities=1000,
        chunks=10,
        begun_at=AT - timedelta(minutes=10),
        changed_at=AT - timedelta(seconds=still_seconds),
    )


def beat(kind: str, state: ProducerState | None = None) -> Beat:
    """A process that is alive."""
    return Beat(
        process_id=kind,
        kind=kind,
        host="h",
        pid=1,
        version="0",
        started_at=AT - timedelta(hours=1),
        beat_at=AT,
        producer=state,
    )


def consumer(name: str, **counts: int) -> Consumer:
    """A consumer of all of its stream."""
    return Consumer(
        **{"name": name, "subjects": [], "attached": 0, "waiting": 0, "unacknowledged": 0, "redelivered": 0} | counts
    )


def snapshot(phase: Phase = "settling", still_seconds: float | None = None, **others: object) -> Snapshot:
    """An active producer, a collector, and one service whose batch stands still for so long, if there is one."""
    service_of_the_run = None if phase == "retrying" else "PERSON"
    state = ProducerState(
        phase=phase, service=service_of_the_run, batch=batch(still_seconds) if still_seconds else None
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
    """What waits in JetStream."""
    return Queues(
        chunks=chunks,
        waiting={CHANNEL: chunks} if chunks else {},
        oldest_chunk_at=AT - timedelta(minutes=minutes),
        mankelis=mankelis or [],
        feedback=feedback or consumer("ack-collector", attached=1),
        dead_letters={},
    )


def verdict(found: Snapshot) -> Verdict:
    """What is said of it."""
    return explain(found, HELSINKI)


@pytest.mark.parametrize(
    ("found", "code", "sentence"),
    [
        (snapshot(redis_error="Redis is lost"), "redis_unreachable", "Redis is unreachable."),
        (snapshot(nats_error="no answer"), "nats_unreachable", "NATS is unreachable."),
        (snapshot(producers=[]), "no_producer", "No producer is running."),
        (
            snapshot(producers=[], lock_held=True),
            "lock_held",
            "Another producer holds the lock, and gives no sign of life.",
        ),
        (
            snapshot("standing_by", lock_held=True),
            "lock_held",
            "Another producer holds the lock, and gives no sign of life.",
        ),
        (
            snapshot("paused", paused=Note(by="ada", at=AT, why="upgrade")),
            "paused",
            "The import is paused by ada: upgrade.",
        ),
        (snapshot("idle", paused=Note(by="ada", at=AT)), "paused", "The import is paused by ada: no reason given."),
        (
            snapshot(still_seconds=60, queues=queues(10, feedback=consumer("c", waiting=1, attached=0)), collectors=[]),
            "no_collector",
            "1 report of mankelis is unread because no collector runs; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(still_seconds=60, queues=queues(7)),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 7 chunks are waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(still_seconds=60, queues=queues(7, [consumer("m", waiting=7)])),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 7 chunks are waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(still_seconds=60, queues=queues(7, [consumer("m", unacknowledged=2, redelivered=1)], minutes=4)),
            "with_mankelis",
            SLOW,
        ),
        (
            snapshot(still_seconds=60, queues=queues(7, [consumer("m", unacknowledged=2, redelivered=1)], minutes=60)),
            "with_mankelis",
            SLOW.replace("4 minutes", "10 minutes"),  # what has been there for longer is not of the batch
        ),
        (
            snapshot("retrying", still_seconds=60, queues=queues(1)),
            "no_mankeli",
            "No mankeli is attached to ORI_PERSON_CHANNEL: 1 chunk is waiting; 300 of 1000 entities are settled.",
        ),
        (
            snapshot(still_seconds=60, queues=queues(0, [consumer("m", attached=1)])),
            "unaccounted",
            "7 chunks are neither with the broker nor reported; 300 of 1000 entities are settled.",
        ),
    ],
)
def test_what_somebody_should_look_into(found: Snapshot, code: str, sentence: str) -> None:
    """Each situation has a sentence of its own, with the figures that matter."""
    said = verdict(found)
    assert (said.code, said.sentence, said.well) == (code, sentence, False)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (snapshot("idle"), "idle"),
        (snapshot("fetching"), "fetching"),
        (snapshot("retrying"), "retrying"),
        (snapshot("retrying", still_seconds=1, queues=queues(1)), "retrying"),
        (snapshot(still_seconds=1, queues=queues(7)), "moving"),
    ],
)
def test_what_is_well(found: Snapshot, code: str) -> None:
    """Nobody need do anything."""
    said = verdict(found)
    assert (said.code, said.well) == (code, True)


def test_a_pause_of_sisu_is_told_with_its_end() -> None:
    """The time is that of the operator's time zone."""
    state = ProducerState(
        phase="fetching", sisu_wait=SisuWait(service="PERSON", reason="status 429", until=AT + timedelta(minutes=15))
    )
    said = verdict(snapshot(producers=[beat("producer", state)]))
    assert said.code == "sisu_wait"
    assert said.sentence == "SISU answers PERSON with status 429; it is asked again at 04:45."


def test_a_mankeli_of_another_channel_does_not_count() -> None:
    """Somebody is attached, but not to the channel that waits."""
    other = Consumer(name="m", subjects=["KORI_MODULE_CHANNEL"], attached=1, waiting=0, unacknowledged=0, redelivered=0)
    assert verdict(snapshot(still_seconds=60, queues=queues(7, [other]))).code == "no_mankeli"
