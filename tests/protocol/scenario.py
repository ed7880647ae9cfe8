"""What producers, mankelis, collectors and faults may do next in a state, each as one step.

The reports of mankelis are a set that only grows, and each may reach the ledger at any time, any number of times, or
never. That covers feedback that is late, duplicated, reordered or lost, and a collector that dies between the script
and its acknowledgement. A chunk that the broker loses is one that is not delivered yet. A second producer is one that
continues while the first one is paused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tests.protocol.model import Guard, LedgerState, Poll, Rules
from tests.protocol.state import Action, Fault, ModelState, Phase, Producer, Report, Step


@dataclass(frozen=True)
class Scenario:
    """The batches, the entities that are rejected, and the faults that may occur."""

    batches: Sequence[Mapping[str, int]]
    bad: frozenset[tuple[int, int]] = frozenset()
    """The entities that mankelis reject: batch and position."""
    faults: frozenset[Fault] = frozenset(Fault)
    max_faults: int = 2
    max_faults_per_kind: int = 1
    rules: Rules = field(default_factory=Rules)

    def entities(self, batch: int) -> int:
        """Return the number of entities of a batch."""
        return sum(self.batches[batch].values())

    def steps(self, state: ModelState) -> Iterator[Step]:
        """Yield everything that can happen next, including steps that change nothing."""
        if state.producers[0] is None and state.ledger.ordinal < len(self.batches):
            yield self._fetch(state)
        for slot, producer in enumerate(state.producers):
            if producer:
                yield from self._produce(state, slot, producer)
        for report in state.reports:
            yield from self._collect(state, report)
        yield from self._faults(state)

    # --- producers -------------------------------------------------------------------------------------------------

    def _fetch(self, state: ModelState) -> Step:
        since = state.ledger.ordinal
        after = _put(state, 0, Producer(since, str(len(state.origins))))
        return Step(Action.FETCH, None, after._replace(origins=(*state.origins, since)))

    def _produce(self, state: ModelState, slot: int, producer: Producer) -> Iterator[Step]:
        match producer.phase:
            case Phase.FETCHED:
                ledger, reply = self.rules.begin(
                    state.ledger, producer.execution, producer.since, self.batches[producer.since]
                )
                begun = producer._replace(phase=Phase.BEGUN) if reply == "BEGUN" else None
                yield from self._scripted(state, slot, Action.BEGIN, ledger, begun, reply)
            case Phase.BEGUN:
                poll = self.rules.poll(state.ledger, producer.execution, self.entities(producer.since))
                if poll is Poll.OUTSTANDING:
                    yield from self._deliver(state, producer)
                    yield Step(Action.POLL, producer, state, poll)
                else:
                    done = producer._replace(phase=Phase.DEAD_LETTERED, dead_letters=state.ledger.errors)
                    yield Step(Action.POLL, producer, _put(state, slot, done if poll is Poll.SETTLED else None), poll)
            case Phase.DEAD_LETTERED:
                ledger, reply = self.rules.advance(state.ledger, producer.execution, producer.since, producer.since + 1)
                if ledger.ordinal != state.ledger.ordinal and self._is_delivered(state, producer):
                    state = state._replace(delivered_to=max(state.delivered_to, ledger.ordinal))
                yield from self._scripted(state, slot, Action.ADVANCE, ledger, None, reply)

    def _scripted(
        self,
        state: ModelState,
        slot: int,
        action: Action,
        ledger: LedgerState,
        next_producer: Producer | None,
        reply: str,
    ) -> Iterator[Step]:
        """Yield a script call of the producer, and one whose reply is lost, which the client then repeats."""
        producer, done = state.producers[slot], state._replace(ledger=ledger)
        yield Step(action, producer, _put(done, slot, next_producer), reply)
        if self._may(state, Fault.REPLY):
            yield Step(action, producer, _spend(done, Fault.REPLY), reply)

    def _deliver(self, state: ModelState, producer: Producer) -> Iterator[Step]:
        """Yield each outstanding chunk's delivery to a mankeli that knows the current execution."""
        if state.ledger.current != producer.execution or state.ledger.execution != producer.execution:
            return
        for chunk, size in state.ledger.chunks:
            if "." in chunk and not self.rules.has(Guard.POLL_HALVES):
                continue
            span = self.span(producer.since, chunk)
            fails = any((producer.since, position) in self.bad for position in span)
            reports = {Report(producer.execution, chunk, 0 if fails else size)}
            yield Step(Action.DELIVER, chunk, state._replace(reports=state.reports | reports))
            if size > 1 and self._may(state, Fault.PARTIAL):
                reports = {Report(producer.execution, chunk, 1)}
                after = _spend(state._replace(reports=state.reports | reports), Fault.PARTIAL)
                yield Step(Action.DELIVER, chunk, after)

    # --- collectors ------------------------------------------------------------------------------------------------

    def _collect(self, state: ModelState, report: Report) -> Iterator[Step]:
        """Yield what a report does to the ledger when it arrives, the first time or again."""
        if report.amount:
            ledger, reply = self.rules.settle(state.ledger, *report)
            yield Step(Action.SETTLE, report, _with(state, ledger), reply)
            return
        ledger, reply = self.rules.split(state.ledger, report.execution, report.chunk)
        yield Step(Action.SPLIT, report, _with(state, ledger), reply)
        # The collector calls fail_entity where split_chunk has returned SINGLE, possibly some steps ago.
        if len(self.span(state.origins[int(report.execution)], report.chunk)) == 1:
            ledger, reply = self.rules.fail(state.ledger, report.execution, report.chunk)
            yield Step(Action.FAIL, report, _with(state, ledger), reply)

    # --- faults ----------------------------------------------------------------------------------------------------

    def _may(self, state: ModelState, fault: Fault) -> bool:
        return (
            fault in self.faults
            and len(state.spent) < self.max_faults
            and state.spent.count(fault) < self.max_faults_per_kind
        )

    def _faults(self, state: ModelState) -> Iterator[Step]:
        if state.saved is None and self._may(state, Fault.ROLLBACK):
            yield Step(Action.SAVE, None, state._replace(saved=state.ledger))
        for fault in self.faults:
            if self._may(state, fault):
                for after in self._inject(state, fault):
                    yield Step(Action.FAULT, fault, _spend(after, fault))

    def _inject(self, state: ModelState, fault: Fault) -> Iterator[ModelState]:
        ledger, (active, sleeper) = state.ledger, state.producers
        match fault:
            case Fault.CRASH if active:
                yield _put(state, 0, None)
            case Fault.PAUSE if active and sleeper is None:
                yield state._replace(producers=(None, active))
            case Fault.ROLLBACK if state.saved not in (None, ledger):
                yield self._rolled_back(state)
            case Fault.LEDGER if ledger.chunks:
                yield self._damaged(state, chunks=frozenset())
            case Fault.COUNTER if ledger.updated != ledger.scheduled:
                yield self._damaged(state, updated=ledger.scheduled)
            case Fault.REWIND if ledger.ordinal > 0:
                yield state._replace(ledger=ledger._replace(ordinal=0), delivered_to=0)
            case Fault.FLAKY:
                for report in state.reports:
                    if report.amount:
                        yield state._replace(reports=state.reports | {report._replace(amount=0)})

    def _rolled_back(self, state: ModelState) -> ModelState:
        saved = state.saved or state.ledger
        # A rewind that Redis has lost never happened.
        return state._replace(ledger=saved, saved=None, delivered_to=max(state.delivered_to, saved.ordinal))

    def _damaged(self, state: ModelState, **fields: object) -> ModelState:
        return state._replace(
            ledger=state.ledger._replace(**fields),
            damaged=state.damaged | {state.ledger.execution},
        )

    # --- the facts ---------------------------------------------------------------------------------------------------

    def span(self, batch: int, chunk: str) -> range:
        """Return the positions of a chunk's entities in its batch."""
        return _span(tuple(self.batches[batch].items()), chunk)

    def stored(self, state: ModelState, execution: str) -> set[int]:
        """Return the positions, in its batch, of what mankelis have stored under an execution."""
        batch = state.origins[int(execution)]
        spans = ((self.span(batch, each.chunk), each) for each in state.reports if each.execution == execution)
        return {position for span, report in spans for position in span[: report.amount]}

    def _is_delivered(self, state: ModelState, producer: Producer) -> bool:
        """Return whether the batch is stored or dead-lettered under exactly this execution, and so is all before it."""
        kept = {position for chunk in producer.dead_letters for position in self.span(producer.since, chunk)}
        settled = self.stored(state, producer.execution) | kept
        return producer.since <= state.delivered_to and settled >= set(range(self.entities(producer.since)))


@cache
def _span(chunks: tuple[tuple[str, int], ...], chunk: str) -> range:
    number, *path = chunk.split(".")
    start = 0
    for name, size in chunks:
        if name == number:
            break
        start += size
    span = range(start, start + dict(chunks)[number])
    for half in path:
        middle = (len(span) + 1) // 2
        span = span[:middle] if half == "0" else span[middle:]
    return span


def _with(state: ModelState, ledger: LedgerState) -> ModelState:
    return state if ledger is state.ledger else state._replace(ledger=ledger)


def _put(state: ModelState, slot: int, producer: Producer | None) -> ModelState:
    active, sleeper = state.producers
    return state._replace(producers=(producer, sleeper) if slot == 0 else (active, producer))


def _spend(state: ModelState, fault: Fault) -> ModelState:
    return state._replace(spent=tuple(sorted((*state.spent, fault))))
