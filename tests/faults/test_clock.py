"""The wall clock jumps by an hour, forward or back, while a batch is settled."""

import pytest

from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.invariants import check_i10

HOUR_SECONDS = 3600


@pytest.mark.parametrize("seconds", [HOUR_SECONDS, slow(-HOUR_SECONDS)], ids=["forward", "back"])
@pytest.mark.parametrize("program", ["producer", "ack_collector"])
def test_no_time_out_is_early(make_rig: MakeRig, program: str, seconds: int) -> None:
    """No time-out is measured with the wall clock: no execution is given up, and no chunk is sent twice."""
    rig = make_rig(services=("PERSON",), size=40, PANIC_TIMEOUT_SECONDS="10")
    jump = ("--jump-seconds", str(seconds))
    collector = rig.start_collector("none", 1, *jump)
    # Slow enough that the producer polls an unchanged ledger more than once after the jump.
    rig.start_mankeli("--delay-seconds", "0.6", ack_wait_seconds=30)
    producer = rig.start_producer("none", 1, *jump)
    rig.wait_for_settled_chunk()
    (producer if program == "producer" else collector).program.jump()
    history = rig.check(producer)
    check_i10(history)
    assert history.complete_at_ns
    assert len(producer.outcomes) == 1
    assert not collector.outcomes
    assert '"chunks_resent"' not in producer.output


@pytest.mark.slow
def test_runs_continue_after_the_clock_was_set_back(make_rig: MakeRig) -> None:
    """The repeated hour does not delay the next run by cron."""
    rig = make_rig(size=60)
    rig.start()
    producer = rig.start_producer("none", 1, f"--jump-seconds=-{HOUR_SECONDS}", once=False)
    rig.wait_for_runs(producer, 1)
    producer.program.jump()
    rig.wait_for_runs(producer, producer.output.count('"run_finished"') + 3)
    producer.stop()
    hours = {event["timestamp"][:13] for event in producer.outcomes[0].events}
    assert len(hours) > 1, "the clock did not jump"
    rig.check()
