"""The producer is killed outright, at every step of a batch."""

import pytest

from tests.faults.conftest import MakeWorld

POINTS = [
    ("after-fetch", 1),
    ("after-fetch", 3),
    ("before-begin", 2),
    ("after-begin", 2),
    ("after-publish", 1),
    ("after-publish", 3),
    ("after-publish", 8),
    ("after-last-publish", 2),
    ("before-advance", 2),
    ("after-advance", 2),
    ("before-post-update", 1),
]


@pytest.mark.parametrize(("point", "k"), POINTS, ids=str)
def test_a_producer_that_is_killed_loses_nothing(make_world: MakeWorld, point: str, k: int) -> None:
    """Whatever step kill -9 hits, the next start imports everything, and no ordinal ever passed what was not stored."""
    world = make_world()
    world.start()
    producer = world.start_producer(point, k)
    world.check(producer)
    assert producer.outcomes[0].code == -9, producer.output
