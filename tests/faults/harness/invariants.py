"""The invariants of docs/reliability.md, each a function of a history that raises AssertionError if it is broken.

They do not use the product's code, only the names of its interface that mankelis and operators see.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.faults.harness.deliveries import SECOND_NS, Deliveries, reachable
from tests.faults.harness.history import History, Sample


def check_i1(history: History) -> None:
    """I1: ordinal = X ⇒ every entity of every page up to X was processed by a mankeli, or is a dead letter.

    Under the execution that advanced it: wherever the ordinal was seen to advance there must be a path of pages that
    SISU served, each of them completely delivered by then under one of the executions that were active at that moment.
    The ordinal of the first sample, or of the first one after a data loss of Redis, may be of any execution.
    """
    for service in {sample.service for sample in history.samples}:
        deliveries = Deliveries(history, service)
        last: Sample | None = None
        for sample in history.samples:
            if sample.service != service:
                continue
            before = last if last and last.epoch == sample.epoch else None
            last, origin = sample, (before and before.ordinal) or 0
            if (sample.ordinal or 0) <= origin:
                continue
            assert sample.ordinal in reachable(origin, deliveries.steps(before, sample)), (
                f"I1: {service} has the ordinal {sample.ordinal} (execution {sample.execution}, seen at "
                f"{sample.at_ns}), but the pages delivered by then do not lead there from {origin}; "
                f"{deliveries.missing(sample)}"
            )


def check_i2(history: History) -> None:
    """I2: 0 ≤ FAILED ≤ UPDATED ≤ SCHEDULED; monotone within an execution."""
    for sample in history.samples:
        if sample.execution is None:
            continue
        counters = (sample.failed, sample.updated, sample.scheduled)
        assert None not in counters, f"I2: a counter is missing: {sample}"
        assert 0 <= sample.failed <= sample.updated <= sample.scheduled, f"I2: out of bounds: {sample}"  # type: ignore[operator]
    for before, after in _within_executions(history):
        assert before.scheduled == after.scheduled, f"I2: SCHEDULED changed: {before} then {after}"
        assert before.updated <= after.updated, f"I2: UPDATED decreased: {before} then {after}"  # type: ignore[operator]
        assert before.failed <= after.failed, f"I2: FAILED decreased: {before} then {after}"  # type: ignore[operator]


def check_i3(history: History) -> None:
    """I3: stale, foreign or malformed feedback never changes a counter.

    So the counters never exceed what mankelis stored under the same execution, and FAILED never exceeds the number of
    entities that they reject.
    """
    stored_chunks: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for chunk in history.processed:
        stored_chunks[chunk.execution].setdefault(chunk.chunk, (chunk.at_ns, len(chunk.entities)))
    for sample in history.samples:
        if not sample.updated or sample.execution is None or sample.failed is None:
            continue
        chunks = stored_chunks[sample.execution]
        by_then = {chunk: size for chunk, (at_ns, size) in chunks.items() if at_ns <= sample.at_ns}
        stored = sum(size for chunk, size in by_then.items() if not any(each in by_then for each in _ancestors(chunk)))
        counted = sample.updated - sample.failed
        assert counted <= stored, f"I3: {counted} entities are counted, but {stored} were stored by then: {sample}"
        assert sample.failed <= len(history.rejected), f"I3: FAILED exceeds the rejected entities: {sample}"


def check_i4(history: History) -> None:
    """I4: a chunk counts once; a split conserves the entities.

    At every moment UPDATED plus the outstanding chunks is SCHEDULED, no chunk is outstanding beside a part of it,
    and no settled chunk becomes outstanding again.
    """
    for sample in history.samples:
        if sample.execution is None or sample.updated is None or sample.scheduled is None:
            continue
        total = sample.updated + sum(sample.chunks.values())
        assert total == sample.scheduled, f"I4: counted plus outstanding is {total}, not SCHEDULED: {sample}"
        parts = {chunk for chunk in sample.chunks if any(each in sample.chunks for each in _ancestors(chunk))}
        assert not parts, f"I4: {parts} are outstanding together with the chunk that they are parts of: {sample}"
    settled: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for before, after in _within_executions(history):
        settled_before = settled[after.epoch, after.service, str(after.execution)]
        settled_before |= before.chunks.keys() - after.chunks.keys()
        returned = settled_before & after.chunks.keys()
        assert not returned, f"I4: {returned} were settled and are outstanding again: {after}"
    _check_split_messages(history)


def _check_split_messages(history: History) -> None:
    sent = {(message.execution, message.chunk): message.entities for message in history.messages if message.chunk}
    for (execution, chunk), entities in sent.items():
        first, second = sent.get((execution, f"{chunk}.0")), sent.get((execution, f"{chunk}.1"))
        if first is not None and second is not None:
            assert first + second == entities, f"I4: the halves of {chunk} of {execution} differ from the chunk"


def check_i5(history: History) -> None:
    """I5: the ordinal never decreases, except by a logged reset or a data loss of Redis."""
    for before, after in _consecutive(history):
        if after.service in history.one_time and after.ordinal is None:
            continue  # a producer has started
        assert (before.ordinal or 0) <= (after.ordinal or 0), f"I5: the ordinal decreased: {before} then {after}"


def check_i6(history: History) -> None:
    """I6: at most one execution can advance from a given ordinal.

    Every advance follows a path of pages that SISU served, and no two executions advance from the same ordinal, nor one
    to two different ordinals.
    """
    advances: dict[tuple[int, str, int], Sample] = {}
    for before, after in _consecutive(history):
        origin, target = before.ordinal or 0, after.ordinal or 0
        if target <= origin:
            continue
        edges = {(page.since, page.greatest) for page in history.pages if page.service == after.service}
        assert target in reachable(origin, edges), f"I6: no pages lead from {origin} to {target}: {after}"
        earlier = advances.setdefault((after.epoch, after.service, origin), after)
        same = (earlier.execution, earlier.ordinal) == (after.execution, after.ordinal)
        assert same or after.service in history.one_time, f"I6: two advances from {origin}: {earlier} and {after}"


def check_i7(history: History, bound_seconds: float) -> None:
    """I7: after the faults, the run completes within a bounded time, and the store equals SISU."""
    assert history.faults_ended_at_ns is not None, "I7: the test did not record when the faults ended"
    assert history.complete_at_ns is not None, "I7: no run was complete after the faults"
    took = (history.complete_at_ns - history.faults_ended_at_ns) / SECOND_NS
    assert took <= bound_seconds, f"I7: the run took {took:.1f} s after the faults, more than {bound_seconds:g} s"
    last = {sample.service: sample for sample in history.samples}
    for service, ordinal in history.expected_ordinals.items():
        assert service in last, f"I7: Redis never had values of {service}"
        assert last[service].ordinal == ordinal, f"I7: {service} must end at {ordinal}: {last[service]}"
        assert not last[service].chunks, f"I7: chunks are outstanding: {last[service]}"
    assert not history.differences, "I7: the store differs from SISU:\n" + "\n".join(history.differences)


def check_i8(history: History) -> None:
    """I8: each entity that mankelis reject, and each that is too large, has exactly one dead letter; no other has one.

    It has at most one if a test made the broker lose dead letters.
    """
    served = {entity for page in history.pages for entity, _ in page.entities}
    undeliverable = (history.rejected | history.too_large) & served
    kept = Counter(dead_letter.entity for dead_letter in history.kept_dead_letters)
    minimum = 0 if history.dead_letters_lost else 1
    wrong = {entity: kept[entity] for entity in undeliverable if not minimum <= kept[entity] <= 1}
    assert not wrong, f"I8: entities without exactly one dead letter: {wrong}"
    others = kept.keys() - undeliverable
    assert not others, f"I8: dead letters of entities that were not rejected: {others}"


def check_i9(history: History) -> None:
    """I9: no message exceeds max_payload; no chunk is empty."""
    for message in history.messages:
        assert message.total_bytes <= history.max_payload_bytes, f"I9: {message.total_bytes} bytes: {message}"
        assert message.entities, f"I9: an empty or malformed chunk: {message}"


def check_i10(history: History) -> None:
    """I10: without a fault nothing is delivered twice: no message, no chunk, no version of an entity."""
    _assert_once("message id", (message.message_id for message in history.messages))
    _assert_once("chunk stored", ((chunk.execution, chunk.chunk) for chunk in history.processed))
    _assert_once(
        "version stored",
        (
            (c.service, *version)
            for c in history.processed
            if c.service not in history.one_time
            for version in c.entities
        ),
    )


def check_no_zombies(history: History) -> None:
    """Check that no message of an execution is sent once the next execution of its service has begun."""
    executions: dict[str, list[str]] = defaultdict(list)
    for message in history.messages:
        known = executions[message.service]
        if not known or known[-1] != message.execution:
            assert message.execution not in known, f"zombie: {message} after messages of {known[-1]}"
            known.append(message.execution)


def check_safety(history: History) -> None:
    """Check everything that must hold at any moment."""
    check_i1(history)
    check_i2(history)
    check_i3(history)
    check_i4(history)
    check_i5(history)
    check_i6(history)
    check_i9(history)


def check_all(history: History, bound_seconds: float) -> None:
    """Check everything that must hold after a completed run, whatever the faults were: I1 to I9."""
    check_safety(history)
    check_i7(history, bound_seconds)
    check_i8(history)


# --- what the checks have in common ----------------------------------------------------------------------------------


def _consecutive(history: History) -> Iterator[tuple[Sample, Sample]]:
    """Yield each sample and its successor of the same service, unless Redis lost data in between."""
    last: dict[str, Sample] = {}
    for sample in history.samples:
        before = last.get(sample.service)
        last[sample.service] = sample
        if before and before.epoch == sample.epoch:
            yield before, sample


def _within_executions(history: History) -> Iterator[tuple[Sample, Sample]]:
    return (
        (before, after)
        for before, after in _consecutive(history)
        if before.execution and before.execution == after.execution
    )


def _ancestors(chunk: str) -> Iterator[str]:
    while "." in chunk:
        chunk = chunk.rpartition(".")[0]
        yield chunk


def _assert_once(what: str, things: Iterable[object]) -> None:
    twice = [thing for thing, times in Counter(things).items() if times > 1]
    assert not twice, f"I10: {what} twice: {twice[:3]} and {max(0, len(twice) - 3)} more"
