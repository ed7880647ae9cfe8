"""What was delivered, by which execution and when, according to a history: the input of I1."""

from collections import defaultdict
from collections.abc import Iterable

from tests.faults.harness.history import History, Page, Sample

Edge = tuple[int, int]
"""The ordinal that a page was fetched from, and the one that it ends at."""
SECOND_NS = 1_000_000_000
OBSERVATION_DELAY_NS = SECOND_NS
"""A dead letter has the time at which the recorder received it, up to this long after the broker stored it."""


class Deliveries:
    """The deliveries of one service."""

    def __init__(self, history: History, service: str) -> None:
        self._history = history
        self._pages = [page for page in history.pages if page.service == service]
        # (execution, entity) → ordinal, or None for a dead letter → time when that was first stored.
        self._settled: dict[tuple[str, str], dict[int | None, int]] = defaultdict(dict)
        # execution → time of its last known delivery.
        self._last: dict[str, int] = {}
        for chunk in history.processed:
            if chunk.service == service:
                for entity, ordinal in chunk.entities:
                    self._add(chunk.execution, entity, ordinal, chunk.at_ns)
        published = [(each.at_ns - OBSERVATION_DELAY_NS, each) for each in history.dead_letters]
        kept = [(each.at_ns, each) for each in history.kept_dead_letters]
        for at_ns, dead_letter in sorted(published + kept, key=lambda timed: timed[0]):
            if dead_letter.service == service:
                self._add(dead_letter.execution, dead_letter.entity, None, at_ns)
                self._last[dead_letter.execution] = max(self._last[dead_letter.execution], dead_letter.at_ns)
        self._executions: dict[str, set[str]] = defaultdict(set)
        for execution, entity in self._settled:
            self._executions[entity].add(execution)

    def _add(self, execution: str, entity: str, ordinal: int | None, at_ns: int) -> None:
        self._settled[execution, entity].setdefault(ordinal, at_ns)
        self._last[execution] = max(at_ns, self._last.get(execution, at_ns))

    def steps(self, before: Sample | None, after: Sample) -> set[Edge]:
        """Return the pages that were completely delivered by the time of `after`, each under one execution.

        Only executions count that were active after `before`: those whose ledger the samples show, and those that
        delivered something since then, because one may begin and advance between two samples.
        """
        active = {execution for execution, at_ns in self._last.items() if not before or at_ns >= before.at_ns}
        active |= {str(sample.execution) for sample in (before, after) if sample}
        return {(page.since, page.greatest) for page in self._pages if self._is_delivered(page, active, after.at_ns)}

    def _is_delivered(self, page: Page, active: set[str], by_ns: int) -> bool:
        if not page.entities:
            return page.at_ns <= by_ns
        return any(
            all(self._is_settled(execution, entity, ordinal, by_ns) for entity, ordinal in page.entities)
            for execution in self._executions[page.entities[0][0]] & active
        )

    def _is_settled(self, execution: str, entity: str, ordinal: int, by_ns: int) -> bool:
        versions = self._settled.get((execution, entity), {})
        at_ns = versions.get(ordinal, versions.get(None))
        return at_ns is not None and at_ns <= by_ns

    def missing(self, sample: Sample) -> str:
        """Describe what the sample's execution had not delivered by then of each page that ends at its ordinal."""
        texts = []
        for page in self._pages:
            if page.greatest == sample.ordinal:
                versions = [
                    (entity, self._settled.get((str(sample.execution), entity), {})) for entity, _ in page.entities
                ]
                late = {
                    entity: when for entity, when in versions if not any(at <= sample.at_ns for at in when.values())
                }
                rejected = sorted(late.keys() & self._history.rejected)
                texts.append(
                    f"of the page from {page.since}, {len(late)} of {len(versions)} are missing: {[*late.items()][:3]}"
                )
                texts[-1] += f", of which mankelis reject {rejected}" if rejected else ""
        return "; ".join(texts) or "no served page ends there"


def reachable(start: int, edges: Iterable[Edge]) -> set[int]:
    """Return all ordinals that pages lead to from `start`."""
    following: dict[int, list[int]] = defaultdict(list)
    for origin, target in edges:
        following[origin].append(target)
    reached, waiting = {start}, [start]
    while waiting:
        for target in following[waiting.pop()]:
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached
