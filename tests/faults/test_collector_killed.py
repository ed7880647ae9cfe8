"""A collector is killed outright, at every step of a report."""

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.support.waiting import wait_until

SETTLING = [slow("before-script", 2), ("after-script", 2)]
FAILING = [slow("before-split", 1), ("after-split", 2), slow("before-fail", 1), ("after-fail", 1)]

AGAIN = ('"feedback_duplicate"', '"feedback_stale"')
"""Stale where the execution has ended meanwhile."""


@pytest.mark.parametrize(("point", "k"), SETTLING + FAILING, ids=str)
def test_a_collector_that_is_killed_counts_once(make_world: MakeWorld, point: str, k: int) -> None:
    """Kill -9 before, within and after a report's effect: it is delivered again, and counts once."""
    world = make_world()
    collector = world.start_collector(point, k)
    world.reject(world.ids()[37])
    producer = world.start_producer()
    world.check(producer)
    assert collector.outcomes[0].code == -9, collector.output
    if point in ("after-script", "after-fail", "after-split"):
        wait_until(lambda: any(word in collector.output for word in AGAIN), "the report is delivered again")
