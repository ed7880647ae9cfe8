"""The wall clock jumps by an hour, either way, while a batch is settled."""

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.faults.invariants import check_i10

HOUR_SECONDS = 3600


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, slow(-HOUR_SECONDS)], ids=["forward", "back"])
@pytest.mark.parametrize("program", ["producer", "ack_collector"])
def test_no_time_out_comes_early(make_world: MakeWorld, program: str, seconds: int) -> None:
    """No time-out is measured by a clock that people may set: nothing is given up, and nothing sent twice."""
    world = make_world(services=("PERSON",), size=40, PANIC_TIMEOUT_SECONDS="10")
    jump = ("--jump-seconds", str(seconds))
    collector = world.start_collector("none", 1, *jump)
    # Slow enough for the producer to look more than once, at a ledger that has not changed, after the jump.
    world.start_mankeli("--delay-seconds", "0.6", ack_wait_seconds=30)
    producer = world.start_producer("none", 1, *jump)
    world.wait_for_settled_chunk()
    (producer if program == "producer" else collector).program.jump()
    history = world.check(producer)
    check_i10(history)
    assert history.complete_at_ns
    assert len(producer.outcomes) == 1
    assert not collector.outcomes
    assert '"chunks_resent"' not in producer.output


@pytest.mark.slow
def test_runs_go_on_after_a_clock_that_was_set_back(make_world: MakeWorld) -> None:
    """The next run by cron is not put off by the hour that comes again."""
    world = make_world(size=60)
    world.start()
    producer = world.start_producer("none", 1, f"--jump-seconds=-{HOUR_SECONDS}", once=False)
    world.wait_for_runs(producer, 1)
    producer.program.jump()
    world.wait_for_runs(producer, producer.output.count('"run_finished"') + 3)
    producer.stop()
    hours = {event["timestamp"][:13] for event in producer.outcomes[0].events}
    assert len(hours) > 1, "the clock did not jump"
    world.check()
