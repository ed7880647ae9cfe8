"""Going through every world that a scenario can reach, breadth first, and holding the invariants against each step.

Besides it sees to I7, as far as a model can: no execution is begun that no fault explains, and no world is reached
from which the import could not be completed. `python -m tests.protocol.search` says how many worlds there are.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from tests.protocol import invariants
from tests.protocol.scenario import Scenario
from tests.protocol.world import Fault, Step, World

Check = Callable[[Scenario, World, Step], None]

WHOLE = ({"0": 2, "1": 1}, {"0": 2, "1": 1})
"""Two batches, of the same size so that the counters of one could be taken for those of the other."""
SMALL = ({"0": 2}, {"0": 2})
BAD = frozenset({(0, 0)})
"""The very first entity is rejected: its chunk is split, and one half fails."""

TAMPERING = frozenset({Fault.LEDGER, Fault.COUNTER})
"""Both together, the ledger deleted and UPDATED set to SCHEDULED, look just like a batch that is settled."""

_EXECUTIONS_A_FAULT_COSTS = 2


class Explored(NamedTuple):
    """How much was seen."""

    worlds: int
    steps: int


def explore(scenario: Scenario, checks: Iterable[Check] = invariants.ALL, *, must_end: bool = True) -> Explored:
    """Go everywhere. Raises AssertionError at the first step that breaks an invariant, or I7 where it must end."""
    checks, start = tuple(checks), World()
    numbers, worlds, steps = {start: 0}, [start], 0
    origins: list[list[int]] = [[]]
    for number, before in enumerate(worlds):  # it grows meanwhile
        for step in scenario.steps(before):
            steps += 1
            if step.after is before:
                continue
            for check in checks:
                check(scenario, before, step)
            if step.after not in numbers:
                if not _is_explained(scenario, step.after):
                    assert not must_end, f"I7: one execution after another is begun: {step.after}"
                    continue
                numbers[step.after] = len(worlds)
                worlds.append(step.after)
                origins.append([])
            origins[numbers[step.after]].append(number)
    if must_end:
        _check_ways_out(scenario, worlds, origins)
    return Explored(len(worlds), steps)


def _is_explained(scenario: Scenario, world: World) -> bool:
    return len(world.origins) <= len(scenario.batches) + _EXECUTIONS_A_FAULT_COSTS * len(world.spent)


def _check_ways_out(scenario: Scenario, worlds: list[World], origins: list[list[int]]) -> None:
    """I7: wherever one is, everything can still be imported."""
    waiting = [number for number, world in enumerate(worlds) if world.books.ordinal == len(scenario.batches)]
    reached = set(waiting)
    while waiting:
        new = set(origins[waiting.pop()]) - reached
        reached |= new
        waiting += new
    stuck = set(range(len(worlds))) - reached
    assert not stuck, f"I7: from here the import is never completed: {worlds[min(stuck)]}"


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """What is gone through: each fault by itself, each pair of them, and a larger world with a crash and a rollback."""
    yield "no fault", Scenario(WHOLE, BAD, frozenset())
    for fault in Fault:
        yield fault.name, Scenario(WHOLE, BAD, frozenset({fault}))
    for pair in map(frozenset, combinations(Fault, 2)):
        if pair != TAMPERING:
            yield " and ".join(sorted(fault.name for fault in pair)), Scenario(SMALL, BAD, pair)
    pair = frozenset({Fault.CRASH, Fault.ROLLBACK})
    yield "CRASH and ROLLBACK, two chunks", Scenario(WHOLE, BAD, pair)


def main() -> None:
    """Print what was seen."""
    total = Explored(0, 0)
    for name, scenario in scenarios():
        seen = explore(scenario)
        total = Explored(total.worlds + seen.worlds, total.steps + seen.steps)
        sys.stdout.write(f"{name:32} {seen.worlds:9,} worlds {seen.steps:9,} steps\n")
    sys.stdout.write(f"{'in all':32} {total.worlds:9,} worlds {total.steps:9,} steps\n")


if __name__ == "__main__":
    main()
