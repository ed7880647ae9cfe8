"""Faults of the suite that concern a worker, with a stan_bridge and mankelis of the STAN era in its place.

The tests are those of the other modules; only the rig differs. Reports that come twice end at the bridge, and have a
test of their own in test_stan.py.
"""

import pytest

from tests.conftest import MakeServer
from tests.faults.conftest import MakeRig
from tests.faults.harness.stan_rig import SHORT_HEARTBEATS, StanRig
from tests.faults.test_bad_entities import (
    test_a_batch_fails_when_all_entities_are_rejected,
    test_an_entity_that_is_rejected_again_has_one_dead_letter,
)
from tests.faults.test_collector_killed import test_feedback_counts_once_if_the_collector_is_killed
from tests.faults.test_feedback_faults import test_all_feedback_repeated_in_another_order
from tests.faults.test_mankeli_faults import (
    test_a_mankeli_that_sends_feedback_for_half_of_the_chunks,
    test_a_mankeli_that_sends_no_feedback,
)
from tests.faults.test_nats_faults import test_nats_is_paused, test_nats_restarts
from tests.faults.test_producer_killed import test_a_producer_that_is_killed_loses_nothing
from tests.faults.test_redis_faults import (
    test_redis_is_killed_with_an_append_only_file,
    test_redis_is_rolled_back_repeatedly,
    test_redis_loses_everything,
)
from tests.faults.test_sizes import test_a_small_max_payload

__all__ = [
    "test_a_batch_fails_when_all_entities_are_rejected",
    "test_a_mankeli_that_sends_feedback_for_half_of_the_chunks",
    "test_a_mankeli_that_sends_no_feedback",
    "test_a_producer_that_is_killed_loses_nothing",
    "test_a_small_max_payload",
    "test_all_feedback_repeated_in_another_order",
    "test_an_entity_that_is_rejected_again_has_one_dead_letter",
    "test_feedback_counts_once_if_the_collector_is_killed",
    "test_nats_is_paused",
    "test_nats_restarts",
    "test_redis_is_killed_with_an_append_only_file",
    "test_redis_is_rolled_back_repeatedly",
    "test_redis_loses_everything",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def make_rig(make_rig: MakeRig, make_stan: MakeServer) -> MakeRig:
    """Make a rig whose mankelis are of the STAN era."""

    def make(**options: object) -> StanRig:
        rig = make_rig(kind=StanRig, stan=make_stan(streaming=SHORT_HEARTBEATS), **options)
        assert isinstance(rig, StanRig)
        return rig

    return make
