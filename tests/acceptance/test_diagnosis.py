"""`importer why` in real situations, each created with real servers and processes."""

import json

from shared.model import keys
from tests.support.programs import ProcessUnderTest, run
from tests.support.running_system import RunningSystem
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 60


def why(running_system: RunningSystem, **variables: str) -> dict[str, object]:
    """Return the output of `importer why --json`."""
    diagnosis: dict[str, object] = json.loads(
        run("admin", "why", "--json", **running_system.variables | variables).output
    )
    return diagnosis


def assert_diagnosis(running_system: RunningSystem, code: str, *words: str) -> None:
    """Wait for the diagnosis with this code, and check that its message contains these words."""
    diagnosis = wait_until(
        lambda: latest if (latest := why(running_system))["code"] == code else None,
        f"the diagnosis {code}",
        _DEADLINE_SECONDS,
    )
    assert all(word in str(diagnosis["message"]) for word in words), diagnosis


def test_no_attached_mankeli_is_diagnosed(running_system: RunningSystem) -> None:
    """Chunks are waiting, and no mankeli consumes them."""
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "no_mankeli", "ORI_PERSON_CHANNEL", "chunks are waiting")


def test_chunks_with_mankelis_are_diagnosed(running_system: RunningSystem) -> None:
    """A mankeli has had a chunk for a while."""
    running_system.start_mankeli("--delay-seconds", "300")
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "with_mankelis", "1 chunk is with mankelis, the oldest for")


def test_unread_feedback_is_diagnosed(running_system: RunningSystem) -> None:
    """The mankelis have reported, and no collector is running."""
    running_system.start_mankeli()
    running_system.collector.terminate()
    assert running_system.collector.outcome().code == 0
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "no_collector", "No collector is running")


def test_missing_chunks_are_diagnosed(running_system: RunningSystem) -> None:
    """A mankeli acknowledges chunks without reporting."""
    running_system.start_mankeli("--silent")
    running_system.start_producer(SERVICES="PERSON")
    assert_diagnosis(running_system, "chunks_missing", "neither with the broker nor reported")


def test_a_stalled_retry_of_a_dead_letter_is_diagnosed(running_system: RunningSystem) -> None:
    """The batch of a retried dead letter can stall between two runs, and is diagnosed like any other."""
    rejected = next(iter(running_system.sisu.expected("PERSON")))
    mankeli = running_system.start_mankeli("--fail-id", rejected)
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"next_run_scheduled"')
    mankeli.close()
    assert run("admin", "dead-letters", "retry", "--service", "PERSON", **running_system.variables).code == 0
    assert_diagnosis(running_system, "no_mankeli", "ORI_PERSON_CHANNEL", "1 chunk is waiting")


def test_a_backoff_from_sisu_is_diagnosed(running_system: RunningSystem) -> None:
    """SISU returned 429 with a Retry-After, and the diagnosis names the time of the next attempt."""
    running_system.sisu.fault("status", service="PERSON", status=429, retry_after=600)
    running_system.start_producer(SERVICES="PERSON", TIMEZONE="UTC")
    assert_diagnosis(running_system, "sisu_backoff", "PERSON", "429", "the next attempt is at")


def test_an_unreachable_redis_or_nats_is_diagnosed(running_system: RunningSystem) -> None:
    """The unreachable server is named, and the exit code is that of a lost dependency."""
    outcome = run("admin", "why", **running_system.variables | {"REDIS_URI": "redis://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "Redis is unreachable.")
    assert "127.0.0.1:1" in outcome.output, "the address is shown"
    producer = running_system.start_producer(SERVICES="PERSON")
    producer.wait_for('"run_started"')
    outcome = run("admin", "why", **running_system.variables | {"NATS_URI": "nats://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "NATS is unreachable.")


def test_a_lock_of_another_producer_is_diagnosed(running_system: RunningSystem) -> None:
    """A producer stands by, since another one without a heartbeat holds the lock."""
    running_system.redis.set(keys.PRODUCER_LOCK, "another producer", ex=300)
    running_system.start_producer().wait_for('"standing_by"')
    assert_diagnosis(running_system, "lock_held", "Another producer holds the lock")


def test_a_missing_producer_is_diagnosed(running_system: RunningSystem) -> None:
    """No producer is running."""
    assert_diagnosis(running_system, "no_producer")


def test_an_idle_installation_is_healthy(running_system: RunningSystem) -> None:
    """After a complete run the diagnosis names the next run, with exit code 0."""
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
