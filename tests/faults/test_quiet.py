"""Without a fault."""

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.invariants import check_i10


def test_without_a_fault_nothing_is_delivered_twice(make_world: MakeWorld) -> None:
    """I10, and all other invariants: an import, changes, and a second import with a codebook that is fetched anew."""
    world = make_world(services=("PERSON", "PLAN", "COUNTRY"))
    world.start()
    world.finish()
    world.sisu.touch("PERSON", 30, seed=1)
    history = world.check()
    check_i10(history)
    assert len(history.samples) > 20, "the sampler was blind"
    assert len(history.messages) == len(history.processed)


@pytest.mark.parametrize("mankelis", [3])
def test_two_producers_and_three_collectors(make_world: MakeWorld, mankelis: int) -> None:
    """I4, I6 and I10 hold with two producers, three collectors and several mankelis at once."""
    world = make_world()
    for _ in range(3):
        world.start_collector()
    for _ in range(mankelis):
        world.start_mankeli()
    producers = [world.start_producer() for _ in range(2)]
    producers[0].wait_done()
    check_i10(world.check(producers[1]))
