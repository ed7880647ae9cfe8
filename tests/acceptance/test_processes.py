"""Both programs as an operator runs them: once, twice, by cron, several at a time, and stopped by a signal."""

from typing import Any

import nats

from tests.support.brokers import count
from tests.support.programs import Outcome, ProcessUnderTest
from tests.support.running_system import SERVICES, RunningSystem
from tests.support.waiting import wait_until

ONE_TIME = {service.name for service in SERVICES if service.one_time}


def finished(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return the events of the finished services, by service."""
    return {event["service"]: event for event in outcome.events if event["event"] == "service_finished"}


def test_a_second_run_publishes_nothing_but_the_one_time_services(running_system: RunningSystem) -> None:
    """The first run imports everything; the second finds nothing new and only fetches the one-time services again."""
    running_system.start_mankeli()
    first = running_system.import_once()
    assert first.code == 0, first.output
    assert sum(event["entities"] for event in finished(first).values()) == 1500
    running_system.assert_all_is_stored()
    second = running_system.import_once()
    assert second.code == 0, second.output
    assert {name for name, event in finished(second).items() if event["chunks"]} == ONE_TIME


def test_only_changes_are_imported(running_system: RunningSystem) -> None:
    """After changes, including deletions, a run imports exactly those."""
    running_system.start_mankeli()
    assert running_system.import_once().code == 0
    changed = running_system.sisu.touch("PERSON", 40, seed=3)
    outcome = running_system.import_once(SERVICES="PERSON")
    assert finished(outcome)["PERSON"]["entities"] == len(set(changed))
    running_system.assert_all_is_stored()


def test_a_producer_stops_after_the_batch_in_flight(running_system: RunningSystem) -> None:
    """SIGTERM during a run ends the producer with exit code 0 after the batch in flight is settled."""
    running_system.start_mankeli("--delay-seconds", "0.05")
    producer = running_system.stack.enter_context(
        ProcessUnderTest("producer", FETCH_AMOUNT="100", **running_system.variables)
    )
    wait_until(lambda: int(running_system.redis.get("LATEST_PERSON_ORDINAL") or 0) > 0, "a batch is settled")
    producer.terminate()
    outcome = producer.outcome()
    assert outcome.code == 0, outcome.output
    assert outcome.events[-1]["event"] == "stopped"
    assert "run_finished" not in outcome.output
    for service in SERVICES:
        assert not running_system.redis.exists(f"{service.key}_CHUNKS"), "no batch is left"


def test_an_idle_producer_stops_at_once(running_system: RunningSystem) -> None:
    """SIGTERM between two runs ends the producer with exit code 0."""
    running_system.start_mankeli()
    producer = running_system.stack.enter_context(ProcessUnderTest("producer", **running_system.variables))
    producer.wait_for('"next_run_scheduled"')
    producer.terminate()
    assert producer.outcome(10).code == 0


def test_runs_start_by_cron(running_system: RunningSystem) -> None:
    """After the run at start-up, the next one starts at the time of CRON."""
    running_system.start_mankeli()
    variables = running_system.variables | {"CRON": "* * * * * *"}
    producer = running_system.stack.enter_context(ProcessUnderTest("producer", **variables))
    wait_until(lambda: producer.output.count('"run_started"') > 1, "a second run")
    producer.terminate()
    assert producer.outcome().code == 0


def test_a_second_producer_stands_by_and_takes_over(running_system: RunningSystem) -> None:
    """The second of two producers waits, and continues when the first one stops."""
    running_system.start_mankeli()
    first = running_system.stack.enter_context(ProcessUnderTest("producer", **running_system.variables))
    first.wait_for('"next_run_scheduled"')
    second = running_system.stack.enter_context(ProcessUnderTest("producer", **running_system.variables))
    second.wait_for('"standing_by"')
    first.terminate()
    assert first.outcome().code == 0
    second.wait_for('"run_finished"')
    second.terminate()
    assert second.outcome().code == 0


def test_a_collector_stops_in_order(running_system: RunningSystem) -> None:
    """SIGTERM ends an idle collector with exit code 0."""
    running_system.collector.terminate()
    outcome = running_system.collector.outcome(15)
    assert (outcome.code, outcome.events[-1]["event"]) == (0, "stopped")


async def test_without_a_mankeli_the_run_fails_in_bounded_time(running_system: RunningSystem) -> None:
    """Without a consumer, --once ends with exit code 1, moves no ordinal and leaves no chunk in the broker."""
    limits = {"PANIC_TIMEOUT_SECONDS": "0.2", "UPDATE_RETRY_LIMIT": "2"}
    outcome = running_system.import_once(SERVICES="PERSON", **limits)
    assert outcome.code == 1, outcome.output
    assert "nothing settled for 0.2 s, nor after 2 re-sends" in outcome.output
    assert running_system.redis.get("LATEST_PERSON_ORDINAL") is None
    client = await nats.connect(running_system.variables["NATS_URI"])
    try:
        assert await count(client.jetstream()) == 0
    finally:
        await client.close()


def test_a_complete_run_sends_a_post_update(running_system: RunningSystem) -> None:
    """Mankelis get a POST_UPDATE after a complete run, and their reply allows the next one."""
    running_system.start_mankeli()
    assert running_system.import_once().code == 0
    running_system.collector.wait_for('"post_update_finished"')
    assert running_system.redis.get("POST_UPDATE_RUNNING") is None


def test_an_incomplete_run_sends_no_post_update(running_system: RunningSystem) -> None:
    """After a run in which a service failed, no POST_UPDATE is sent."""
    running_system.start_mankeli()
    running_system.sisu.fault("no_progress", service="MODULE", times=None)
    outcome = running_system.import_once()
    assert outcome.code == 1
    assert "post_update_sent" not in outcome.output
    assert finished(outcome).keys() == {service.name for service in SERVICES} - {"MODULE"}


def test_a_forbidden_service_does_not_hold_up_the_rest(running_system: RunningSystem) -> None:
    """A service that SISU forbids is skipped with a log event, and the run counts as complete without it."""
    running_system.start_mankeli()
    running_system.sisu.forbidden = {"DISCLOSURE"}
    outcome = running_system.import_once()
    assert outcome.code == 0, outcome.output
    assert '"service_forbidden"' in outcome.output
    assert "post_update_sent" in outcome.output
