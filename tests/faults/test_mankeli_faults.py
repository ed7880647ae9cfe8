"""Mankelis that die, are slow, or do not answer."""

import pytest

from tests.faults.conftest import MakeWorld, slow


def test_a_mankeli_that_dies_in_the_middle_of_a_chunk(make_world: MakeWorld) -> None:
    """It stored a chunk and died before its feedback: the chunk is delivered again, and counted once."""
    world = make_world(size=100)
    world.start_collector()
    mankeli = world.start_mankeli("--die-after", "3", ack_wait_seconds=0.5)
    world.check()
    assert [outcome.code for outcome in mankeli.outcomes[:2]] == [-9, -9]


@pytest.mark.slow
def test_mankelis_that_are_slower_than_their_ack_wait(make_world: MakeWorld) -> None:
    """Chunks are delivered to others while the first one still works at them: each counts once."""
    world = make_world(size=60, PANIC_TIMEOUT_SECONDS="5")
    world.start_collector()
    for _ in range(3):
        world.start_mankeli("--delay-seconds", "0.8", ack_wait_seconds=0.4)
    history = world.check()
    assert len(history.processed) > len({(chunk.execution, chunk.chunk) for chunk in history.processed})


def test_a_mankeli_that_never_answers(make_world: MakeWorld) -> None:
    """The run fails in bounded time and says why; the ordinal stays; with one that answers, all is imported."""
    world = make_world(PANIC_TIMEOUT_SECONDS="0.5", UPDATE_RETRY_LIMIT="2")
    world.start_collector()
    silent = world.start_mankeli("--silent")
    outcome = world.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    assert "nothing settled for 0.5 s, nor after 2 re-sends" in outcome.output
    assert world.ordinal() == 0
    silent.stop()
    world.start_mankeli()
    world.check()


@pytest.mark.slow
def test_a_mankeli_that_answers_for_half_of_the_chunks(make_world: MakeWorld) -> None:
    """What it did not answer for is sent again, until it does."""
    world = make_world(size=100, PANIC_TIMEOUT_SECONDS="0.5")
    world.start_collector()
    world.start_mankeli("--answer-half")
    world.check()


@pytest.mark.parametrize("mankelis", [1, slow(2)])
def test_all_feedback_twice(make_world: MakeWorld, mankelis: int) -> None:
    """Mankelis that report everything twice are counted once."""
    world = make_world()
    collector = world.start_collector()
    for _ in range(mankelis):
        world.start_mankeli("--duplicate-feedback")
    world.check()
    assert '"feedback_duplicate"' in collector.output
