"""The producer is killed outright, at every step of a batch."""

import pytest

from tests.faults.conftest import MakeWorld, slow

POINTS = [
    ("after-fetch", 1),
    slow("after-fetch", 3),
    slow("before-begin", 2),
    ("after-begin", 2),
    slow("after-publish", 1),
    ("after-publish", 8),
    slow("after-publish", 13),
    slow("after-last-publish", 2),
    ("before-advance", 2),
    ("after-advance", 2),
    slow("before-post-update", 1),
]


@pytest.mark.parametrize(("point", "k"), POINTS, ids=str)
def test_a_producer_that_is_killed_loses_nothing(make_world: MakeWorld, point: str, k: int) -> None:
    """Whatever step kill -9 hits, the next start imports everything, and no ordinal ever passed what was not stored."""
    world = make_world()
    world.start()
    producer = world.start_producer(point, k)
    world.check(producer)
    assert producer.outcomes[0].code == -9, producer.output
