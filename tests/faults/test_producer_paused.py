"""A producer stands still for longer than its lock lives, and wakes up when another one has taken over."""

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.support.waiting import wait_until

POINTS = [
    slow("after-fetch", 2),
    ("before-begin", 2),
    slow("after-begin", 2),
    slow("after-publish", 7),
    slow("after-last-publish", 2),
    ("before-advance", 2),
    slow("after-advance", 2),
]


@pytest.mark.parametrize(("point", "k"), POINTS, ids=str)
def test_a_producer_that_wakes_up_too_late_changes_nothing(make_world: MakeWorld, point: str, k: int) -> None:
    """I6: whatever it was about to do is refused, and it ends, for another one is the active producer now."""
    world = make_world()
    world.start()
    paused = world.start_producer(point, k, "--pause", once=False)
    paused.program.wait_paused()
    other = world.start_producer(once=False)
    other.wait_for('"run_finished"')
    paused.program.resume()
    paused.wait_for('"another producer took the lock over')
    wait_until(lambda: paused.outcomes, "it has ended")
    world.sisu.touch("PERSON", 10, seed=1)
    paused.stop()
    assert paused.outcomes[0].code == 3, paused.output
    other.stop()
    world.check()


@pytest.mark.slow
def test_a_producer_that_wakes_up_when_the_other_one_has_gone(make_world: MakeWorld) -> None:
    """I6: its advance is refused; it starts over from the ordinal that the other one left, and goes on."""
    world = make_world()
    world.start()
    paused = world.start_producer("before-advance", 2, "--pause", once=False)
    paused.program.wait_paused()
    world.finish()
    world.sisu.touch("PERSON", 10, seed=1)
    paused.program.resume()
    paused.wait_for('"service_started_over"')
    paused.wait_for('"run_finished"')
    paused.stop()
    world.check()


def test_a_producer_that_wakes_up_in_the_middle_of_anothers_batch(make_world: MakeWorld) -> None:
    """I6: it may begin what the other one had begun, but only one of them advances, and all is delivered."""
    world = make_world()
    world.start()
    late = world.start_producer("before-begin", 2, "--pause", once=False)
    late.program.wait_paused()
    other = world.start_producer("after-last-publish", 1, "--pause", once=False)
    other.program.wait_paused()
    late.program.resume()
    late.wait_for('"another producer took the lock over')
    other.program.resume()
    late.stop()
    other.wait_for('"run_finished"')
    other.stop()
    world.check()


@pytest.mark.slow
def test_a_producer_that_wakes_up_and_begins_another_service(make_world: MakeWorld) -> None:
    """I7: mankelis are told of its execution, and drop what the active one sends, until that sends it again."""
    world = make_world()
    world.start_collector()
    mankeli = world.start_mankeli()
    batches_of_person = -(-len(world.ids("PERSON")) // int(world.variables["FETCH_AMOUNT"]))
    late = world.start_producer("before-begin", batches_of_person + 1, "--pause", once=False)
    late.program.wait_paused()
    mankeli.program.pause()
    world.sisu.touch("PERSON", 10, seed=1)
    known = {message.execution for message in world.history.messages}
    other = world.start_producer(once=False, UPDATE_RETRY_LIMIT="30")
    wait_until(lambda: {message.execution for message in world.history.messages} - known, "the other one's chunks")
    late.program.resume()
    late.wait_for('"another producer took the lock over')
    mankeli.program.resume()
    other.wait_for('"run_finished"')
    late.stop()
    other.stop()
    world.check()
    assert '"chunks_resent"' in other.output
    assert '"service_failed"' not in other.output
