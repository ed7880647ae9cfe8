"""Without a fault."""

import pytest

from tests.faults.conftest import MakeRig
from tests.faults.harness.invariants import check_i10


def test_without_a_fault_nothing_is_delivered_twice(make_rig: MakeRig) -> None:
    """I10 and all other invariants hold for an import, changes, and a second import that fetches a codebook again."""
    rig = make_rig(services=("PERSON", "PLAN", "COUNTRY"))
    rig.start()
    rig.finish()
    rig.sisu.touch("PERSON", 30, seed=1)
    history = rig.check()
    check_i10(history)
    assert len(history.samples) > 20, "the sampler has missed changes"
    assert len(history.messages) == len(history.processed)


@pytest.mark.parametrize("mankelis", [3])
def test_two_producers_and_three_collectors(make_rig: MakeRig, mankelis: int) -> None:
    """I4, I6 and I10 hold with two producers, three collectors and several mankelis at once."""
    rig = make_rig()
    for _ in range(3):
        rig.start_collector()
    for _ in range(mankelis):
        rig.start_mankeli()
    producers = [rig.start_producer() for _ in range(2)]
    producers[0].wait_done()
    check_i10(rig.check(producers[1]))
