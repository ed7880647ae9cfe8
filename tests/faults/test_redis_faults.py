"""Redis dies, forgets, or comes back as it was some time ago."""

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.faults.world import World


def _restore(world: World, copy: Path) -> None:
    world.redis.kill()
    shutil.rmtree(world.redis.data)
    shutil.copytree(copy, world.redis.data)
    world.forget()
    world.redis.start()


def test_redis_is_killed_with_its_log(make_world: MakeWorld) -> None:
    """With an append-only file a killed Redis forgets nothing, and neither does the import."""
    world = make_world()
    world.start_collector()
    world.start_mankeli("--delay-seconds", "0.03")
    producer = world.start_producer()
    world.wait_for_chunks(8)
    world.redis.kill()
    world.redis.start()
    world.check(producer)


@pytest.mark.parametrize("how", ["killed without a log", slow("flushed")])
def test_redis_forgets_everything(make_world: MakeWorld, how: str) -> None:
    """In the middle of a batch: all is imported anew, and who knew an ordinal that is lost says so in the log."""
    world = make_world(redis_config="appendonly no")
    world.start_collector()
    world.start_mankeli("--delay-seconds", "0.1")
    producer = world.start_producer()
    world.wait_for_ordinal()
    world.redis.kill()  # a flush beside the sampler would be a moment that belongs to neither epoch
    world.forget()
    if how == "flushed":
        shutil.rmtree(world.redis.data)
        world.redis.data.mkdir()
    world.redis.start()
    world.check(producer)
    # A producer that had to be started again meanwhile knows of none.
    assert '"ordinal_lost"' in producer.output or len(producer.outcomes) > 1


@pytest.mark.parametrize("moment", ["before-advance", "after-advance"])
def test_redis_goes_back_to_the_batch_before(make_world: MakeWorld, tmp_path: Path, moment: str) -> None:
    """I1: the counters of the batch before, which add up, are back; the batch that was never delivered is not passed.

    No mankeli gets any chunk of the second batch before Redis is put back to when all of the first one was settled.
    """
    world = make_world(PANIC_TIMEOUT_SECONDS="3")
    world.start_collector()
    mankeli = world.start_mankeli()
    producer = world.start_producer(moment, 1, "--pause")
    producer.program.wait_paused()
    shutil.copytree(world.redis.data, tmp_path / "older")
    mankeli.program.pause()
    producer.program.resume()
    first = world.history.messages[0].execution
    world.wait_for_message_of_another_execution(first)
    with producer.paused():  # until what came back was seen: it would be replaced at once
        _restore(world, tmp_path / "older")
        world.wait_for_look()
        assert world.sampler.latest()["PERSON"].execution in (first, None)
    world.hold(1.0)
    mankeli.program.resume()
    world.check(producer)
    assert '"service_started_over"' in producer.output or len(producer.outcomes) > 1


@pytest.mark.slow
def test_redis_goes_back_again_and_again(make_world: MakeWorld, tmp_path: Path) -> None:
    """I1: whatever older state comes back, at any moment, nothing is passed that was not delivered."""
    world = make_world(size=150)
    world.start_collector()
    world.start_mankeli("--delay-seconds", "0.02")
    producer = world.start_producer()
    for number in range(3):
        world.wait_for_chunks(len(world.history.messages) + 4)
        shutil.copytree(world.redis.data, tmp_path / str(number))
        world.wait_for_chunks(len(world.history.messages) + 6)
        with producer.paused():  # a run that ends meanwhile would not see what came back
            _restore(world, tmp_path / str(number))
    world.check(producer)
