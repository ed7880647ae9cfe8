"""What producers, mankelis, collectors and fate may do next in a world, each as one step.

Reports of mankelis are a set that only grows, and each may reach the ledger at any time, any number of times, or never:
that is feedback that comes late, twice, in another order or not at all, and a collector that dies between the script
and its acknowledgement. A chunk that the broker loses is one that is not delivered yet. A second producer is one that
went on while the first one was asleep.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from shared.ledger import Verdict
from tests.protocol.model import Books, Guard, Look, Rules
from tests.protocol.world import Act, Fault, Phase, Producer, Report, Step, World


@dataclass(frozen=True)
class Scenario:
    """Which batches there are, what is wrong with them, and how much may go wrong besides."""

    batches: Sequence[Mapping[str, int]]
    bad: frozenset[tuple[int, int]] = frozenset()
    """Entities that mankelis reject: batch, position."""
    faults: frozenset[Fault] = frozenset(Fault)
    most: int = 2
    """Faults in all."""
    each: int = 1
    """Faults of one kind."""
    rules: Rules = field(default_factory=Rules)

    def entities(self, batch: int) -> int:
        """How many entities a batch has."""
        return sum(self.batches[batch].values())

    def steps(self, world: World) -> Iterator[Step]:
        """All that can happen next. Steps that change nothing are among them."""
        if world.producers[0] is None and world.books.ordinal < len(self.batches):
            yield self._fetch(world)
        for slot, producer in enumerate(world.producers):
            if producer:
                yield from self._produce(world, slot, producer)
        for report in world.reports:
            yield from self._collect(world, report)
        yield from self._go_wrong(world)

    # --- producers -------------------------------------------------------------------------------------------------

    def _fetch(self, world: World) -> Step:
        since = world.books.ordinal
        after = _put(world, 0, Producer(since, str(len(world.origins))))
        return Step(Act.FETCH, None, after._replace(origins=(*world.origins, since)))

    def _produce(self, world: World, slot: int, producer: Producer) -> Iterator[Step]:
        match producer.phase:
            case Phase.FETCHED:
                books, verdict = self.rules.begin(
                    world.books, producer.execution, producer.since, self.batches[producer.since]
                )
                begun = producer._replace(phase=Phase.BEGUN) if verdict is Verdict.BEGUN else None
                yield from self._scripted(world, slot, Act.BEGIN, books, begun, verdict)
            case Phase.BEGUN:
                look = self.rules.look(world.books, producer.execution, self.entities(producer.since))
                if look is Look.OUTSTANDING:
                    yield from self._deliver(world, producer)
                    yield Step(Act.LOOK, producer, world, look)
                else:
                    buried = producer._replace(phase=Phase.BURIED, buried=world.books.errors)
                    yield Step(Act.LOOK, producer, _put(world, slot, buried if look is Look.SETTLED else None), look)
            case Phase.BURIED:
                books, verdict = self.rules.advance(world.books, producer.execution, producer.since, producer.since + 1)
                if books.ordinal != world.books.ordinal and self._is_delivered(world, producer):
                    world = world._replace(delivered_to=max(world.delivered_to, books.ordinal))
                yield from self._scripted(world, slot, Act.ADVANCE, books, None, verdict)

    def _scripted(
        self, world: World, slot: int, act: Act, books: Books, then: Producer | None, verdict: Verdict
    ) -> Iterator[Step]:
        """A script of the producer's, whose reply may get lost; then the client repeats it."""
        producer, done = world.producers[slot], world._replace(books=books)
        yield Step(act, producer, _put(done, slot, then), verdict)
        if self._may(world, Fault.REPLY):
            yield Step(act, producer, _spend(done, Fault.REPLY), verdict)

    def _deliver(self, world: World, producer: Producer) -> Iterator[Step]:
        """Something outstanding is published and reaches a mankeli, which knows the current execution."""
        if world.books.current != producer.execution or world.books.execution != producer.execution:
            return
        for chunk, size in world.books.chunks:
            if "." in chunk and not self.rules.has(Guard.LOOK_HALVES):
                continue
            span = self.span(producer.since, chunk)
            fails = any((producer.since, position) in self.bad for position in span)
            reports = {Report(producer.execution, chunk, 0 if fails else size)}
            yield Step(Act.DELIVER, chunk, world._replace(reports=world.reports | reports))
            if size > 1 and self._may(world, Fault.PARTIAL):
                reports = {Report(producer.execution, chunk, 1)}
                after = _spend(world._replace(reports=world.reports | reports), Fault.PARTIAL)
                yield Step(Act.DELIVER, chunk, after)

    # --- collectors ------------------------------------------------------------------------------------------------

    def _collect(self, world: World, report: Report) -> Iterator[Step]:
        """Feedback reaches the ledger, and may do so again."""
        if report.amount:
            books, verdict = self.rules.settle(world.books, *report)
            yield Step(Act.SETTLE, report, _with(world, books), verdict)
            return
        books, verdict = self.rules.split(world.books, report.execution, report.chunk)
        yield Step(Act.SPLIT, report, _with(world, books), verdict)
        # The collector calls fail_entity where split_chunk has answered SINGLE, which may be a while ago by now.
        if len(self.span(world.origins[int(report.execution)], report.chunk)) == 1:
            books, verdict = self.rules.fail(world.books, report.execution, report.chunk)
            yield Step(Act.FAIL, report, _with(world, books), verdict)

    # --- fate ------------------------------------------------------------------------------------------------------

    def _may(self, world: World, fault: Fault) -> bool:
        return fault in self.faults and len(world.spent) < self.most and world.spent.count(fault) < self.each

    def _go_wrong(self, world: World) -> Iterator[Step]:
        if world.saved is None and self._may(world, Fault.ROLLBACK):
            yield Step(Act.SAVE, None, world._replace(saved=world.books))
        for fault in self.faults:
            if self._may(world, fault):
                for after in self._suffer(world, fault):
                    yield Step(Act.FAULT, fault, _spend(after, fault))

    def _suffer(self, world: World, fault: Fault) -> Iterator[World]:
        books, (active, sleeper) = world.books, world.producers
        match fault:
            case Fault.CRASH if active:
                yield _put(world, 0, None)
            case Fault.PAUSE if active and sleeper is None:
                yield world._replace(producers=(None, active))
            case Fault.ROLLBACK if world.saved not in (None, books):
                yield self._rolled_back(world)
            case Fault.LEDGER if books.chunks:
                yield self._damaged(world, chunks=frozenset())
            case Fault.COUNTER if books.updated != books.scheduled:
                yield self._damaged(world, updated=books.scheduled)
            case Fault.REWIND if books.ordinal > 0:
                yield world._replace(books=books._replace(ordinal=0), delivered_to=0)
            case Fault.FLAKY:
                for report in world.reports:
                    if report.amount:
                        yield world._replace(reports=world.reports | {report._replace(amount=0)})

    def _rolled_back(self, world: World) -> World:
        saved = world.saved or world.books
        # A rewind that Redis has lost was never made.
        return world._replace(books=saved, saved=None, delivered_to=max(world.delivered_to, saved.ordinal))

    def _damaged(self, world: World, **fields: object) -> World:
        return world._replace(books=world.books._replace(**fields), damaged=world.damaged | {world.books.execution})

    # --- truth -----------------------------------------------------------------------------------------------------

    def span(self, batch: int, chunk: str) -> range:
        """The positions of a chunk's entities in its batch."""
        return _span(tuple(self.batches[batch].items()), chunk)

    def stored(self, world: World, execution: str) -> set[int]:
        """What mankelis have stored under an execution: positions in its batch."""
        batch = world.origins[int(execution)]
        spans = ((self.span(batch, each.chunk), each) for each in world.reports if each.execution == execution)
        return {position for span, report in spans for position in span[: report.amount]}

    def _is_delivered(self, world: World, producer: Producer) -> bool:
        """Whether the batch is stored or buried under just this execution, and so is all before it."""
        kept = {position for chunk in producer.buried for position in self.span(producer.since, chunk)}
        settled = self.stored(world, producer.execution) | kept
        return producer.since <= world.delivered_to and settled >= set(range(self.entities(producer.since)))


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


def _with(world: World, books: Books) -> World:
    return world if books is world.books else world._replace(books=books)


def _put(world: World, slot: int, producer: Producer | None) -> World:
    active, sleeper = world.producers
    return world._replace(producers=(producer, sleeper) if slot == 0 else (active, producer))


def _spend(world: World, fault: Fault) -> World:
    return world._replace(spent=tuple(sorted((*world.spent, fault))))
