"""Mankelis that die, are slow, or send no feedback."""

import pytest

from tests.faults.conftest import MakeRig, slow


def test_a_mankeli_that_dies_in_the_middle_of_a_chunk(make_rig: MakeRig) -> None:
    """A mankeli stores a chunk and dies before its feedback: the chunk is redelivered, and counts once."""
    rig = make_rig(size=100)
    rig.start_collector()
    mankeli = rig.start_mankeli("--die-after", "3", ack_wait_seconds=0.5)
    rig.check()
    assert [outcome.code for outcome in mankeli.outcomes[:2]] == [-9, -9]


@pytest.mark.slow
def test_mankelis_that_are_slower_than_their_ack_wait(make_rig: MakeRig) -> None:
    """Chunks are redelivered to other mankelis while the first one still processes them: each counts once."""
    rig = make_rig(size=60, PANIC_TIMEOUT_SECONDS="5")
    rig.start_collector()
    for _ in range(3):
        rig.start_mankeli("--delay-seconds", "0.8", ack_wait_seconds=0.4)
    history = rig.check()
    assert len(history.processed) > len({(chunk.execution, chunk.chunk) for chunk in history.processed})


def test_a_mankeli_that_sends_no_feedback(make_rig: MakeRig) -> None:
    """The run fails in bounded time with a reason, and the ordinal stays; with another mankeli, all is imported."""
    rig = make_rig(PANIC_TIMEOUT_SECONDS="0.5", UPDATE_RETRY_LIMIT="2")
    rig.start_collector()
    silent = rig.start_mankeli("--silent")
    outcome = rig.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    assert "nothing settled for 0.5 s, nor after 2 re-sends" in outcome.output
    assert rig.ordinal() == 0
    silent.stop()
    rig.start_mankeli()
    rig.check()


@pytest.mark.slow
def test_a_mankeli_that_sends_feedback_for_half_of_the_chunks(make_rig: MakeRig) -> None:
    """Chunks without feedback are re-sent until there is feedback."""
    rig = make_rig(size=100, PANIC_TIMEOUT_SECONDS="0.5")
    rig.start_collector()
    rig.start_mankeli("--answer-half")
    rig.check()


@pytest.mark.parametrize("mankelis", [1, slow(2)])
def test_all_feedback_twice(make_rig: MakeRig, mankelis: int) -> None:
    """Feedback that is sent twice counts once."""
    rig = make_rig()
    collector = rig.start_collector()
    for _ in range(mankelis):
        rig.start_mankeli("--duplicate-feedback")
    rig.check()
    assert '"feedback_duplicate"' in collector.output
