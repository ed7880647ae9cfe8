"""A producer is paused until its lock has expired, and is resumed after another one has taken over."""

import pytest

from tests.faults.conftest import MakeRig, slow
from tests.support.waiting import wait_until

PAUSE_POINTS = [
    slow("after-fetch", 2),
    ("before-begin", 2),
    slow("after-begin", 2),
    slow("after-publish", 7),
    slow("after-last-publish", 2),
    ("before-advance", 2),
    slow("after-advance", 2),
]


@pytest.mark.parametrize(("crash_point", "occurrence"), PAUSE_POINTS, ids=str)
def test_a_producer_that_resumes_too_late_changes_nothing(make_rig: MakeRig, crash_point: str, occurrence: int) -> None:
    """I6: its next step is fenced, and it exits, because another producer is active."""
    rig = make_rig()
    rig.start()
    paused = rig.start_producer(crash_point, occurrence, "--pause", once=False)
    paused.program.wait_paused()
    other = rig.start_producer(once=False)
    other.wait_for('"run_finished"')
    paused.program.resume()
    paused.wait_for('"another producer took the lock over')
    wait_until(lambda: paused.outcomes, "the producer has ended")
    rig.sisu.touch("PERSON", 10, seed=1)
    paused.stop()
    assert paused.outcomes[0].code == 3, paused.output
    other.stop()
    rig.check()


@pytest.mark.slow
def test_a_producer_that_resumes_after_the_other_one_has_ended(make_rig: MakeRig) -> None:
    """I6: its advance is fenced; it restarts the service from the ordinal that the other one left, and continues."""
    rig = make_rig()
    rig.start()
    paused = rig.start_producer("before-advance", 2, "--pause", once=False)
    paused.program.wait_paused()
    rig.finish()
    rig.sisu.touch("PERSON", 10, seed=1)
    paused.program.resume()
    paused.wait_for('"service_restarted"')
    paused.wait_for('"run_finished"')
    paused.stop()
    rig.check()


def test_a_producer_that_resumes_during_a_batch_of_the_other_one(make_rig: MakeRig) -> None:
    """I6: it may begin the batch that the other one has begun, but only one of them advances, and all is delivered."""
    rig = make_rig()
    rig.start()
    late = rig.start_producer("before-begin", 2, "--pause", once=False)
    late.program.wait_paused()
    other = rig.start_producer("after-last-publish", 1, "--pause", once=False)
    other.program.wait_paused()
    late.program.resume()
    late.wait_for('"another producer took the lock over')
    other.program.resume()
    late.stop()
    other.wait_for('"run_finished"')
    other.stop()
    rig.check()


@pytest.mark.slow
def test_a_producer_that_resumes_and_begins_another_service(make_rig: MakeRig) -> None:
    """I7: mankelis switch to its execution and discard the chunks of the active producer, until it re-sends them."""
    rig = make_rig()
    rig.start_collector()
    mankeli = rig.start_mankeli()
    batches_of_person = -(-len(rig.ids("PERSON")) // int(rig.variables["FETCH_AMOUNT"]))
    late = rig.start_producer("before-begin", batches_of_person + 1, "--pause", once=False)
    late.program.wait_paused()
    mankeli.program.pause()
    rig.sisu.touch("PERSON", 10, seed=1)
    known = {message.execution for message in rig.history.messages}
    other = rig.start_producer(once=False, UPDATE_RETRY_LIMIT="30")
    wait_until(
        lambda: {message.execution for message in rig.history.messages} - known,
        "chunks of the other producer are published",
    )
    late.program.resume()
    late.wait_for('"another producer took the lock over')
    mankeli.program.resume()
    other.wait_for('"run_finished"')
    late.stop()
    other.stop()
    rig.check()
    assert '"chunks_resent"' in other.output
    assert '"service_failed"' not in other.output
