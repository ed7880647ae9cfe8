"""Entities that mankelis reject: each is found and kept as a dead letter, and the others are imported."""

import math

import pytest

from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.history import History
from tests.faults.harness.invariants import check_i7, check_i8, check_safety
from tests.faults.harness.rig import BOUND_SECONDS

CHUNK = 64


def deepest(history: History) -> int:
    """Return how many times a chunk was split at most."""
    return max(message.chunk.count(".") for message in history.messages)


@pytest.mark.parametrize(
    "places",
    [slow([0]), slow([CHUNK - 1]), slow([CHUNK]), [40], slow([-1]), [0, 1, 40, 41, 42, 63, 64, 100]],
    ids=["first", "last of a chunk", "first of a chunk", "in the middle", "last", "several"],
)
def test_each_rejected_entity_has_one_dead_letter(make_rig: MakeRig, places: list[int]) -> None:
    """I8: a few levels of splits find each rejected entity, wherever it is, and only it is not stored."""
    rig = make_rig(services=("PERSON",), size=160, FETCH_AMOUNT="100", MAX_CHUNK_SIZE=str(CHUNK))
    rig.start_collector()
    rig.reject(*(rig.ids()[place] for place in places))
    history = rig.check()
    assert 0 < deepest(history) <= math.ceil(math.log2(CHUNK))


def test_an_entity_that_is_rejected_again_has_one_dead_letter(make_rig: MakeRig) -> None:
    """I8: the dead letter of a newer version that is rejected, too, replaces the older one."""
    rig = make_rig(services=("PERSON",), size=40)
    rig.start_collector()
    bad = rig.ids()[3]
    rig.reject(bad)
    rig.finish()
    version = next(version for version in rig.sisu.versions("PERSON") if version.entity_id == bad)
    rig.sisu.put("PERSON", version.body.replace(b'"ACTIVE"', b'"DRAFT"'))
    rig.check()


def test_a_batch_fails_when_all_entities_are_rejected(make_rig: MakeRig) -> None:
    """A mankeli that rejects everything is broken: no ordinal moves, no dead letter is kept; a good one imports all."""
    rig = make_rig()
    rig.start_collector()
    broken = rig.start_mankeli("--fail-all")
    everything = frozenset(rig.ids()) | frozenset(rig.ids("PLAN"))
    outcome = rig.produce()
    assert outcome.code == 1, outcome.output
    assert "that looks like a broken mankeli" in outcome.output
    assert (rig.ordinal("PERSON"), rig.ordinal("PLAN")) == (0, 0)
    broken.stop()
    rig.start_mankeli()
    assert rig.history.samples
    rig.finish()
    assert not rig.history.kept_dead_letters
    check_i7(rig.history, BOUND_SECONDS)
    check_i8(rig.history)
    rig.history.rejected = everything  # by the broken mankeli, for I3
    check_safety(rig.history)
