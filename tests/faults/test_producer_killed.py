"""The producer is killed at every step of a batch."""

import pytest

from tests.faults.conftest import MakeRig, slow

CRASH_POINTS = [
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


@pytest.mark.parametrize(("crash_point", "occurrence"), CRASH_POINTS, ids=str)
def test_a_producer_that_is_killed_loses_nothing(make_rig: MakeRig, crash_point: str, occurrence: int) -> None:
    """After kill -9 at any step, the next start imports everything, and no ordinal passes what is not stored."""
    rig = make_rig()
    rig.start()
    producer = rig.start_producer(crash_point, occurrence)
    rig.check(producer)
    assert producer.outcomes[0].code == -9, producer.output
