"""The invariants I1 to I6 of the protocol, each a function of a step: what was before it, the step, what is after it.

What they say in one line is what docs/reliability.md promises; tests/faults/invariants.py checks the same from outside.
"""

from shared.ledger import Verdict
from tests.protocol.scenario import Scenario
from tests.protocol.world import Act, Fault, Producer, Report, Step, World


def check_i1(scenario: Scenario, before: World, step: Step) -> None:  # noqa: ARG001 - one signature for all
    """I1: the ordinal passes no entity that is neither stored under the execution that moved it, nor buried by it."""
    after = step.after
    assert after.books.ordinal <= after.delivered_to, (
        f"I1: ordinal {after.books.ordinal}, delivered to {after.delivered_to}"
    )


def check_i2(scenario: Scenario, before: World, step: Step) -> None:  # noqa: ARG001
    """I2: 0 ≤ FAILED ≤ UPDATED ≤ SCHEDULED, each failure has its error text; within an execution counters only grow."""
    was, books = before.books, step.after.books
    if not books.execution or books.execution in step.after.damaged:  # none has begun, or somebody has set them
        return
    assert books.scheduled is not None, f"I2: no SCHEDULED: {books}"
    assert books.updated is not None, f"I2: no UPDATED: {books}"
    assert books.failed is not None, f"I2: no FAILED: {books}"
    assert 0 <= books.failed <= books.updated <= books.scheduled, f"I2: out of bounds: {books}"
    assert not books.errors or len(books.errors) == books.failed, f"I2: FAILED is not what failed: {books}"
    if was.execution == books.execution and step.subject is not Fault.ROLLBACK:
        assert was.scheduled == books.scheduled, f"I2: SCHEDULED changed: {was} then {books}"
        again = step.act is Act.BEGIN  # repeated after a lost reply, before anything was published
        assert again or (was.updated or 0) <= books.updated, f"I2: UPDATED went back: {was} then {books}"
        assert again or (was.failed or 0) <= books.failed, f"I2: FAILED went back: {was} then {books}"


def check_i3(scenario: Scenario, before: World, step: Step) -> None:
    """I3: feedback that is stale, of an unknown chunk, or of another amount changes nothing at all."""
    report, books = step.subject, before.books
    if not isinstance(report, Report):
        return
    size = dict(books.chunks).get(report.chunk)
    fits = size is not None and report.amount in (0, size)
    if report.execution != books.execution or not fits:
        assert step.after.books == books, f"I3: {report} changed {books} to {step.after.books}"
    elif step.verdict is Verdict.SETTLED:
        span = scenario.span(before.origins[int(report.execution)], report.chunk)
        assert scenario.stored(before, report.execution) >= set(span), f"I3: {report} was counted and not stored"


def check_i4(scenario: Scenario, before: World, step: Step) -> None:  # noqa: ARG001
    """I4: a chunk counts once, a split conserves the entities: settled and outstanding ones together are SCHEDULED."""
    was, books = before.books, step.after.books
    assert all(size > 0 for _, size in books.chunks), f"I4: an empty chunk: {books}"
    names = [name for name, _ in books.chunks]
    inside = [name for name in names for other in names if name != other and name.startswith(f"{other}.")]
    assert not inside, f"I4: outstanding beside what they are parts of: {books}"
    if not books.execution or books.execution in step.after.damaged:
        return
    total = (books.updated or 0) + sum(size for _, size in books.chunks)
    assert total == (books.scheduled or 0), f"I4: {total} are settled or outstanding: {books}"
    if isinstance(step.subject, Report):
        new = {name.rpartition(".")[0] for name in dict(books.chunks).keys() - dict(was.chunks).keys()}
        assert new <= {step.subject.chunk} & dict(was.chunks).keys(), f"I4: came from nowhere: {was} then {books}"


def check_i5(scenario: Scenario, before: World, step: Step) -> None:  # noqa: ARG001
    """I5: the ordinal never goes back, save by a rewind or Redis having lost it."""
    if step.subject not in (Fault.REWIND, Fault.ROLLBACK):
        assert before.books.ordinal <= step.after.books.ordinal, f"I5: {before.books} then {step.after.books}"


def check_i6(scenario: Scenario, before: World, step: Step) -> None:  # noqa: ARG001
    """I6: from an ordinal one execution can advance: that which was fetched from it and owns the ledger.

    And none begins that could not advance: its older entities would follow newer ones.
    """
    producer, was, books = step.subject, before.books, step.after.books
    if not isinstance(producer, Producer):
        return
    if step.act is Act.BEGIN and step.verdict is Verdict.BEGUN:
        assert producer.since == was.ordinal, f"I6: a batch from {producer.since} begins at ordinal {was.ordinal}"
        assert books.execution == producer.execution, f"I6: {producer} has begun, and the ledger is not its: {books}"
    if was.ordinal != books.ordinal or step.verdict is Verdict.ADVANCED:
        assert step.act is Act.ADVANCE, f"I6: the ordinal moved by itself: {was} then {books}"
        assert (was.ordinal, was.execution) == (producer.since, producer.execution), f"I6: {producer} advanced {was}"
        assert books.ordinal == producer.since + 1, f"I6: {producer} advanced to {books.ordinal}"


ALL = (check_i1, check_i2, check_i3, check_i4, check_i5, check_i6)
