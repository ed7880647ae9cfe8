"""`importer why` in situations that are real: each made with real servers and processes, and left to itself."""

import json

from shared.model import keys
from tests.support.programs import ProcessUnderTest, run
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 60


def why(running_system: RunningSystem, **variables: str) -> dict[str, object]:
    """Return what `importer why --json` says now."""
    answer: dict[str, object] = json.loads(run("admin", "why", "--json", **running_system.variables | variables).output)
    return answer


def assert_diagnosis(running_system: RunningSystem, code: str, *words: str) -> None:
    """Wait until this is the diagnosis, and look for words in its message."""
    diagnosis = wait_until(
        lambda: found if (found := why(running_system))["code"] == code else None, f"why: {code}", _DEADLINE_SECONDS
    )
    assert all(word in str(diagnosis["message"]) for word in words), diagnosis


def test_no_mankeli_is_attached(running_system: RunningSystem) -> None:
    """Chunks wait, and nobody takes them."""
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "no_mankeli", "ORI_PERSON_CHANNEL", "chunks are waiting")


def test_chunks_are_with_mankelis(running_system: RunningSystem) -> None:
    """A mankeli has a chunk, and takes its time."""
    running_system.start_mankeli("--delay-seconds", "300")
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "with_mankelis", "1 chunk is with mankelis, the oldest for")


def test_feedback_waits_unread(running_system: RunningSystem) -> None:
    """The mankelis have reported, and no collector runs."""
    running_system.start_mankeli()
    running_system.collector.terminate()
    assert running_system.collector.outcome().code == 0
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "no_collector", "No collector is running")


def test_chunks_are_unaccounted_for(running_system: RunningSystem) -> None:
    """A mankeli acknowledges chunks without reporting."""
    running_system.start_mankeli("--silent")
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "chunks_missing", "neither with the broker nor reported")


def test_a_dead_letter_that_is_sent_again_stands_still(running_system: RunningSystem) -> None:
    """Between two runs a batch of one can stand still like any other: that is told then, too."""
    bad = next(iter(running_system.sisu.expected("PERSON")))
    mankeli = running_system.start_mankeli("--fail-id", bad)
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    mankeli.close()
    assert run("admin", "dead-letters", "retry", "--service", "PERSON", **running_system.variables).code == 0
    assert_diagnosis(running_system, "no_mankeli", "ORI_PERSON_CHANNEL", "1 chunk is waiting")


def test_sisu_asks_to_wait(running_system: RunningSystem) -> None:
    """SISU answers 429, and says until when."""
    running_system.sisu.fault("status", service="PERSON", status=429, retry_after=600)
    running_system.start_producer(SERVICES="PERSON", TIMEZONE="UTC")
    assert_diagnosis(running_system, "sisu_backoff", "PERSON", "429", "the next attempt is at")


def test_redis_or_nats_is_unreachable(running_system: RunningSystem) -> None:
    """What does not answer is named, and the exit code is that of a lost dependency."""
    outcome = run("admin", "why", **running_system.variables | {"REDIS_URI": "redis://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "Redis is unreachable.")
    assert "127.0.0.1:1" in outcome.output, "which address it was"
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"run_started"')
    outcome = run("admin", "why", **running_system.variables | {"NATS_URI": "nats://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "NATS is unreachable.")


def test_another_producer_holds_the_lock(running_system: RunningSystem) -> None:
    """A producer stands by for one of which nothing is heard."""
    running_system.redis.set(keys.PRODUCER_LOCK, "of somebody else", ex=300)
    running_system.start_producer().wait_for('"standing_by"')
    assert_diagnosis(running_system, "lock_held", "Another producer holds the lock")


def test_no_producer_runs(running_system: RunningSystem) -> None:
    """There is nobody to import."""
    assert_diagnosis(running_system, "no_producer")


def test_a_quiet_installation_is_well(running_system: RunningSystem) -> None:
    """After a complete run the diagnosis is that nothing is to be done, with exit code 0."""
    running_system.start_mankeli()
    producer: ProcessUnderTest = running_system.start_producer()
    producer.wait_for('"next_run_scheduled"')
    assert_diagnosis(running_system, "idle", "the next run starts at")
    assert run("admin", "why", **running_system.variables).code == 0


def test_sisu_was_restored_from_a_backup(running_system: RunningSystem) -> None:
    """SISU has less than was imported: that is said with the remedy, and the exit code stays 0."""
    running_system.start_mankeli()
    assert run("producer", "--once", **running_system.variables | {"SERVICES": "PERSON"}).code == 0
    running_system.sisu.fault("idle_page", service="PERSON", times=None, ordinal=3)
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "sisu_behind", "SISU has nothing of PERSON after 3")
    outcome = run("admin", "why", **running_system.variables)
    assert outcome.code == 0
    assert "importer rewind PERSON --to 3" in outcome.output
