"""`importer why` in situations that are real: each made with real servers and processes, and left to itself."""

import json

from shared import keys
from tests.support.installation import Installation
from tests.support.programs import Program, run
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 60


def why(installation: Installation, **variables: str) -> dict[str, object]:
    """What `importer why --json` says now."""
    answer: dict[str, object] = json.loads(
        run("operating", "why", "--json", **installation.variables | variables).output
    )
    return answer


def assert_verdict(installation: Installation, code: str, *words: str) -> None:
    """Wait until this is the verdict, and look for words in its sentence."""
    verdict = wait_until(
        lambda: found if (found := why(installation))["code"] == code else None, f"why: {code}", _DEADLINE_SECONDS
    )
    assert all(word in str(verdict["sentence"]) for word in words), verdict


def test_no_mankeli_is_attached(installation: Installation) -> None:
    """Chunks wait, and nobody takes them."""
    installation.start_producer(SERVICES="PERSON")
    assert_verdict(installation, "no_mankeli", "ORI_PERSON_CHANNEL", "chunks are waiting")


def test_chunks_are_with_mankelis(installation: Installation) -> None:
    """A mankeli has a chunk, and takes its time."""
    installation.start_mankeli("--delay-seconds", "300")
    installation.start_producer(SERVICES="PERSON")
    assert_verdict(installation, "with_mankelis", "1 chunk is with mankelis, the oldest for")


def test_feedback_waits_unread(installation: Installation) -> None:
    """The mankelis have reported, and no collector runs."""
    installation.start_mankeli()
    installation.collector.terminate()
    assert installation.collector.outcome().code == 0
    installation.start_producer(SERVICES="PERSON")
    assert_verdict(installation, "no_collector", "unread because no collector runs")


def test_chunks_are_unaccounted_for(installation: Installation) -> None:
    """A mankeli acknowledges chunks without reporting."""
    installation.start_mankeli("--silent")
    installation.start_producer(SERVICES="PERSON")
    assert_verdict(installation, "unaccounted", "neither with the broker nor reported")


def test_a_dead_letter_that_is_sent_again_stands_still(installation: Installation) -> None:
    """Between two runs a batch of one can stand still like any other: that is told then, too."""
    bad = next(iter(installation.sisu.expected("PERSON")))
    mankeli = installation.start_mankeli("--fail-id", bad)
    producer = installation.start_producer(SERVICES="PERSON")
    producer.wait_for('"waiting_for_cron"')
    mankeli.close()
    assert run("operating", "dead-letters", "retry", "--service", "PERSON", **installation.variables).code == 0
    assert_verdict(installation, "no_mankeli", "ORI_PERSON_CHANNEL", "1 chunk is waiting")


def test_sisu_asks_to_wait(installation: Installation) -> None:
    """SISU answers 429, and says until when."""
    installation.sisu.fault("status", service="PERSON", status=429, retry_after=600)
    installation.start_producer(SERVICES="PERSON", TIMEZONE="UTC")
    assert_verdict(installation, "sisu_wait", "PERSON", "429", "asked again at")


def test_redis_or_nats_is_unreachable(installation: Installation) -> None:
    """What does not answer is named, and the exit code is that of a lost dependency."""
    outcome = run("operating", "why", **installation.variables | {"REDIS_URI": "redis://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "Redis is unreachable.")
    assert "127.0.0.1:1" in outcome.output, "which address it was"
    producer = installation.start_producer(SERVICES="PERSON")
    producer.wait_for('"run_started"')
    outcome = run("operating", "why", **installation.variables | {"NATS_URI": "nats://127.0.0.1:1"})
    assert (outcome.code, outcome.output.splitlines()[0]) == (3, "NATS is unreachable.")


def test_another_producer_holds_the_lock(installation: Installation) -> None:
    """A producer stands by for one of which nothing is heard."""
    installation.redis.set(keys.PRODUCER_LOCK, "of somebody else", ex=300)
    installation.start_producer().wait_for('"standing_by"')
    assert_verdict(installation, "lock_held", "Another producer holds the lock")


def test_no_producer_runs(installation: Installation) -> None:
    """There is nobody to import."""
    assert_verdict(installation, "no_producer")


def test_a_quiet_installation_is_well(installation: Installation) -> None:
    """After a complete run the verdict is that nothing is to be done, with exit code 0."""
    installation.start_mankeli()
    producer: Program = installation.start_producer()
    producer.wait_for('"waiting_for_cron"')
    assert_verdict(installation, "idle", "the next run begins at")
    assert run("operating", "why", **installation.variables).code == 0
