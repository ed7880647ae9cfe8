"""A collector is killed at every step of handling a report."""

import pytest

from tests.faults.conftest import MakeRig, slow
from tests.support.waiting import wait_until

SETTLING = [slow("before-script", 2), ("after-script", 2)]
FAILING = [slow("before-split", 1), ("after-split", 2), slow("before-fail", 1), ("after-fail", 1)]

REDELIVERED = ('"feedback_duplicate"', '"feedback_stale"')
"""Stale if the execution has ended in the meantime."""


@pytest.mark.parametrize(("crash_point", "occurrence"), SETTLING + FAILING, ids=str)
def test_feedback_counts_once_if_the_collector_is_killed(make_rig: MakeRig, crash_point: str, occurrence: int) -> None:
    """A report is redelivered after kill -9 before, during or after its effect, and counts once."""
    rig = make_rig()
    collector = rig.start_collector(crash_point, occurrence)
    rig.reject(rig.ids()[37])
    producer = rig.start_producer()
    rig.check(producer)
    assert collector.outcomes[0].code == -9, collector.output
    if crash_point in ("after-script", "after-fail", "after-split"):
        wait_until(lambda: any(event in collector.output for event in REDELIVERED), "the report is redelivered")
