"""Entities that mankelis reject: each is found, kept as a dead letter, and the rest goes on."""

import math

import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.faults.history import History

CHUNK = 64


def deepest(history: History) -> int:
    """How often a chunk was split at most."""
    return max(message.chunk.count(".") for message in history.messages)


@pytest.mark.parametrize(
    "places",
    [slow([0]), slow([CHUNK - 1]), slow([CHUNK]), [40], slow([-1]), [0, 1, 40, 41, 42, 63, 64, 100]],
    ids=["first", "last of a chunk", "first of a chunk", "in the middle", "last", "several"],
)
def test_each_rejected_entity_has_one_dead_letter(make_world: MakeWorld, places: list[int]) -> None:
    """I8: few levels of splits find it, wherever it is, and only it is not stored."""
    world = make_world(services=("PERSON",), size=160, FETCH_AMOUNT="100", MAX_CHUNK_SIZE=str(CHUNK))
    world.start_collector()
    world.reject(*(world.ids()[place] for place in places))
    history = world.check()
    assert 0 < deepest(history) <= math.ceil(math.log2(CHUNK))


def test_an_entity_that_is_rejected_again_has_one_dead_letter(make_world: MakeWorld) -> None:
    """I8: a newer version of it that fails, too, takes the place of the older one."""
    world = make_world(services=("PERSON",), size=40)
    world.start_collector()
    bad = world.ids()[3]
    world.reject(bad)
    world.finish()
    version = next(version for version in world.sisu.versions("PERSON") if version.entity_id == bad)
    world.sisu.put("PERSON", version.body.replace(b'"ACTIVE"', b'"DRAFT"'))
    world.check()


def test_when_all_are_rejected_the_batch_is_given_up(make_world: MakeWorld) -> None:
    """A mankeli that rejects everything is broken: no ordinal moves, nothing is buried; a good one imports it all."""
    world = make_world()
    world.start_collector()
    broken = world.start_mankeli("--fail-all")
    world.history.rejected = frozenset(world.ids()) | frozenset(world.ids("PLAN"))
    outcome = world.produce()
    assert outcome.code == 1, outcome.output
    assert "that looks like a broken mankeli" in outcome.output
    assert (world.ordinal("PERSON"), world.ordinal("PLAN")) == (0, 0)
    broken.stop()
    world.start_mankeli()
    samples_until_now = len(world.history.samples)
    assert samples_until_now
    world.finish()
    world.history.rejected = frozenset()
    assert not world.history.kept_dead_letters
