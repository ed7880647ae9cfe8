"""Visit every state that a scenario can reach, breadth first, and check the invariants on each step.

The search also checks I7 as far as a model can: no execution begins that no fault explains, and no state is reached
from which the import could not be completed. `python -m tests.protocol.search` prints the number of states.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from tests.protocol import invariants
from tests.protocol.scenario import Scenario
from tests.protocol.state import Fault, ModelState, Step

Check = Callable[[Scenario, ModelState, Step], None]

WHOLE = ({"0": 2, "1": 1}, {"0": 2, "1": 1})
"""Two batches of the same size, so that the counters of one could be mistaken for those of the other."""
SMALL = ({"0": 2}, {"0": 2})
BAD = frozenset({(0, 0)})
"""The very first entity is rejected: its chunk is split, and one half fails."""

TAMPERING = frozenset({Fault.LEDGER, Fault.COUNTER})
"""Both together, the ledger deleted and UPDATED set to SCHEDULED, are indistinguishable from a settled batch."""

_EXECUTIONS_PER_FAULT = 2


class Explored(NamedTuple):
    """How much the search has visited."""

    states: int
    steps: int


def explore(scenario: Scenario, checks: Iterable[Check] = invariants.ALL, *, must_end: bool = True) -> Explored:
    """Visit all states. Raises AssertionError at the first step that breaks an invariant, or I7 if `must_end`."""
    checks, start = tuple(checks), ModelState()
    numbers, states, steps = {start: 0}, [start], 0
    origins: list[list[int]] = [[]]
    for number, before in enumerate(states):  # the list grows during the loop
        for step in scenario.steps(before):
            steps += 1
            if step.after is before:
                continue
            for check in checks:
                check(scenario, before, step)
            if step.after not in numbers:
                if not _is_explained(scenario, step.after):
                    assert not must_end, f"I7: executions begin that no fault explains: {step.after}"
                    continue
                numbers[step.after] = len(states)
                states.append(step.after)
                origins.append([])
            origins[numbers[step.after]].append(number)
    if must_end:
        _check_completable(scenario, states, origins)
    return Explored(len(states), steps)


def _is_explained(scenario: Scenario, state: ModelState) -> bool:
    return len(state.origins) <= len(scenario.batches) + _EXECUTIONS_PER_FAULT * len(state.spent)


def _check_completable(scenario: Scenario, states: list[ModelState], origins: list[list[int]]) -> None:
    """Check I7: from every state, everything can still be imported."""
    waiting = [number for number, state in enumerate(states) if state.ledger.ordinal == len(scenario.batches)]
    reached = set(waiting)
    while waiting:
        new = set(origins[waiting.pop()]) - reached
        reached |= new
        waiting += new
    stuck = set(range(len(states))) - reached
    assert not stuck, f"I7: from here the import cannot be completed: {states[min(stuck)]}"


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """Yield what is searched: each fault, each pair of faults, and larger batches with a crash and a rollback."""
    yield "no fault", Scenario(WHOLE, BAD, frozenset())
    for fault in Fault:
        yield fault.name, Scenario(WHOLE, BAD, frozenset({fault}))
    for pair in map(frozenset, combinations(Fault, 2)):
        if pair != TAMPERING:
            yield " and ".join(sorted(fault.name for fault in pair)), Scenario(SMALL, BAD, pair)
    pair = frozenset({Fault.CRASH, Fault.ROLLBACK})
    yield "CRASH and ROLLBACK, two chunks", Scenario(WHOLE, BAD, pair)


def main() -> None:
    """Print how much each search visits."""
    total = Explored(0, 0)
    for name, scenario in scenarios():
        explored = explore(scenario)
        total = Explored(total.states + explored.states, total.steps + explored.steps)
        sys.stdout.write(f"{name:32} {explored.states:9,} states {explored.steps:9,} steps\n")
    sys.stdout.write(f"{'total':32} {total.states:9,} states {total.steps:9,} steps\n")


if __name__ == "__main__":
    main()
