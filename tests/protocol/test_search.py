"""Every interleaving in a small world: the invariants hold, and what happens where a guard is taken away."""

from collections.abc import Callable

import pytest

from tests.protocol.guards import BACKED, ELSEWHERE, ENDS, FOUND
from tests.protocol.invariants import check_i1
from tests.protocol.model import Guard, Rules
from tests.protocol.scenario import Scenario
from tests.protocol.search import BAD, SMALL, TAMPERING, Check, Explored, explore, scenarios
from tests.protocol.world import Fault


@pytest.mark.parametrize(
    ("name", "scenario"), list(scenarios()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_whatever_happens_the_invariants_hold(
    name: str, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    """In every world that these faults can lead to, I1 to I6 hold, and the import can still be completed."""
    seen = explore(scenario)
    record_property("worlds", seen.worlds)
    record_property("steps", seen.steps)
    assert seen.worlds > len(scenario.faults) * 20, name
    assert seen.steps > seen.worlds


@pytest.mark.parametrize("guard", FOUND, ids=lambda guard: guard.name)
def test_without_a_guard_an_invariant_breaks(guard: Guard) -> None:
    """The search comes to a world that must not be."""
    check, faults = FOUND[guard]
    with pytest.raises(AssertionError, match=ENDS if check is ENDS else check.__name__[-2:].upper()):
        without({guard}, check, faults)


@pytest.mark.parametrize("guards", BACKED, ids=lambda guards: "+".join(sorted(guard.name for guard in guards)))
def test_some_guards_stand_in_for_each_other(guards: frozenset[Guard]) -> None:
    """Data is safe with either of two, and lost without both."""
    for guard in guards:
        assert without({guard}, check_i1, BACKED[guards]).worlds
    with pytest.raises(AssertionError, match="I1"):
        without(guards, check_i1, BACKED[guards])


def test_every_guard_is_accounted_for() -> None:
    """It is found by the search, alone or together with what backs it, or it is said why it cannot be."""
    assert FOUND.keys() | frozenset().union(*BACKED) | ELSEWHERE.keys() == set(Guard)
    assert not FOUND.keys() & ELSEWHERE.keys()


def test_tampering_with_all_at_once_is_not_noticed() -> None:
    """Who deletes the ledger and writes the counter says in so many words that all is settled: nothing else is left."""
    with pytest.raises(AssertionError, match="I1"):
        explore(Scenario(SMALL, BAD, TAMPERING), [check_i1], must_end=False)


def test_the_search_begins_somewhere_and_ends_elsewhere() -> None:
    """A search that saw one world only would find nothing wrong either."""
    seen = explore(Scenario(({"0": 1},), faults=frozenset()))
    assert seen == Explored(worlds=7, steps=12)


def without(guards: set[Guard] | frozenset[Guard], check: Check | str, faults: set[Fault]) -> Explored:
    """Search for what breaks this, by rules that lack some guards."""
    scenario = Scenario(SMALL, BAD, frozenset(faults), rules=Rules(frozenset(guards)))
    if isinstance(check, str):
        return explore(scenario, [])
    return explore(scenario, [check], must_end=False)
