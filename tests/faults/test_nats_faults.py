"""NATS dies, stands still, or comes back with less than it had."""

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.faults.invariants import check_no_zombies
from tests.faults.world import World


def _busy(world: World) -> None:
    """Mankelis that take their time, so that a fault hits a batch in flight."""
    world.start_collector()
    world.start_mankeli("--delay-seconds", "0.03")


@pytest.mark.parametrize("how", ["killed", slow("restarted"), "wiped"])
def test_nats_comes_back(make_world: MakeWorld, how: str) -> None:
    """Killed, restarted or with its store lost, in the middle of a batch: streams are made again, all is delivered."""
    world = make_world(size=150)
    _busy(world)
    producer = world.start_producer()
    world.wait_for_chunks(8)
    if how == "restarted":
        world.nats.restart()
    else:
        world.nats.kill()
        if how == "wiped":
            shutil.rmtree(world.nats.data)
            world.nats.data.mkdir()
        world.nats.start()
    check_no_zombies(world.check(producer))


@pytest.mark.slow
def test_nats_comes_back_with_an_older_store(make_world: MakeWorld, tmp_path: Path) -> None:
    """Chunks and feedback of the past come again from a store that was put back: they change nothing."""
    world = make_world(size=150)
    _busy(world)
    producer = world.start_producer()
    world.wait_for_chunks(3)
    world.nats.kill()
    shutil.copytree(world.nats.data, tmp_path / "older")
    world.nats.start()
    world.wait_for_ordinal(above=world.wait_for_ordinal())
    world.nats.kill()
    shutil.rmtree(world.nats.data)
    shutil.copytree(tmp_path / "older", world.nats.data)
    world.nats.start()
    check_no_zombies(world.check(producer))


@pytest.mark.parametrize("seconds", [1.5, slow(9.0)])
def test_nats_stands_still(make_world: MakeWorld, seconds: float) -> None:
    """Paused for less, or for longer, than anybody waits for it: nothing is sent late, and all is delivered."""
    world = make_world(size=150)
    _busy(world)
    producer = world.start_producer()
    world.wait_for_chunks(8)
    world.nats.pause()
    world.hold(seconds)
    world.nats.resume()
    check_no_zombies(world.check(producer))
