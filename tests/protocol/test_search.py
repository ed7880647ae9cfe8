"""Every interleaving of small batches: the invariants hold, and without a guard one of them breaks."""

from collections.abc import Callable

import pytest

from tests.protocol.guards import BREAKS, COVERED_BY_TESTS, ENDS, REDUNDANT_PAIRS
from tests.protocol.invariants import check_i1
from tests.protocol.model import Guard, Rules
from tests.protocol.scenario import Scenario
from tests.protocol.search import BAD, SMALL, TAMPERING, Check, Explored, explore, scenarios
from tests.protocol.state import Fault


@pytest.mark.parametrize(
    ("name", "scenario"), list(scenarios()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_invariants_hold_in_every_state(
    name: str, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    """I1 to I6 hold in every state that these faults can lead to, and the import can still be completed."""
    explored = explore(scenario)
    record_property("states", explored.states)
    record_property("steps", explored.steps)
    assert explored.states > len(scenario.faults) * 20, name
    assert explored.steps > explored.states


@pytest.mark.parametrize("guard", BREAKS, ids=lambda guard: guard.name)
def test_without_a_guard_an_invariant_breaks(guard: Guard) -> None:
    """The search finds a step that breaks the invariant."""
    check, faults = BREAKS[guard]
    with pytest.raises(AssertionError, match=ENDS if check is ENDS else check.__name__[-2:].upper()):
        without({guard}, check, faults)


@pytest.mark.parametrize("guards", REDUNDANT_PAIRS, ids=lambda guards: "+".join(sorted(guard.name for guard in guards)))
def test_redundant_guards_replace_each_other(guards: frozenset[Guard]) -> None:
    """Data is safe with either of two guards, and lost without both."""
    for guard in guards:
        assert without({guard}, check_i1, REDUNDANT_PAIRS[guards]).states
    with pytest.raises(AssertionError, match="I1"):
        without(guards, check_i1, REDUNDANT_PAIRS[guards])


def test_every_guard_is_accounted_for() -> None:
    """The search needs each guard, alone or as one of a pair, or the table says why it does not."""
    assert BREAKS.keys() | frozenset().union(*REDUNDANT_PAIRS) | COVERED_BY_TESTS.keys() == set(Guard)
    assert not BREAKS.keys() & COVERED_BY_TESTS.keys()


def test_tampering_with_ledger_and_counter_is_undetected() -> None:
    """A deleted ledger together with a counter set to SCHEDULED cannot be told from a settled batch."""
    with pytest.raises(AssertionError, match="I1"):
        explore(Scenario(SMALL, BAD, TAMPERING), [check_i1], must_end=False)


def test_the_search_visits_more_than_the_first_state() -> None:
    """The search visits all states: one that visited only the first state would find no error either."""
    explored = explore(Scenario(({"0": 1},), faults=frozenset()))
    assert explored == Explored(states=7, steps=12)


def without(guards: set[Guard] | frozenset[Guard], check: Check | str, faults: set[Fault]) -> Explored:
    """Search for what breaks this check when some guards are removed."""
    scenario = Scenario(SMALL, BAD, frozenset(faults), rules=Rules(frozenset(guards)))
    if isinstance(check, str):
        return explore(scenario, [])
    return explore(scenario, [check], must_end=False)
