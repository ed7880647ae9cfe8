"""The invariants I1 to I6 of the protocol, each a function of the state before a step, and the step.

Each one-line summary is a guarantee of docs/reliability.md; tests/faults/harness/invariants.py checks the same from
outside.
"""

from tests.protocol.scenario import Scenario
from tests.protocol.state import Action, Fault, ModelState, Producer, Report, Step


def check_i1(scenario: Scenario, before: ModelState, step: Step) -> None:  # noqa: ARG001 - one signature for all
    """I1: the ordinal passes no entity that is neither stored nor a dead letter under the execution that moved it."""
    after = step.after
    assert after.ledger.ordinal <= after.delivered_to, (
        f"I1: ordinal {after.ledger.ordinal}, delivered to {after.delivered_to}"
    )


def check_i2(scenario: Scenario, before: ModelState, step: Step) -> None:  # noqa: ARG001
    """I2: 0 ≤ FAILED ≤ UPDATED ≤ SCHEDULED, each failure has its error text; within an execution counters only grow."""
    was, ledger = before.ledger, step.after.ledger
    if not ledger.execution or ledger.execution in step.after.damaged:  # none has begun, or a fault has changed them
        return
    assert ledger.scheduled is not None, f"I2: no SCHEDULED: {ledger}"
    assert ledger.updated is not None, f"I2: no UPDATED: {ledger}"
    assert ledger.failed is not None, f"I2: no FAILED: {ledger}"
    assert 0 <= ledger.failed <= ledger.updated <= ledger.scheduled, f"I2: out of bounds: {ledger}"
    assert not ledger.errors or len(ledger.errors) == ledger.failed, (
        f"I2: FAILED is not the number of failures: {ledger}"
    )
    if was.execution == ledger.execution and step.subject is not Fault.ROLLBACK:
        assert was.scheduled == ledger.scheduled, f"I2: SCHEDULED changed: {was} then {ledger}"
        repeated = step.action is Action.BEGIN  # after a lost reply, before anything was published
        assert repeated or (was.updated or 0) <= ledger.updated, f"I2: UPDATED decreased: {was} then {ledger}"
        assert repeated or (was.failed or 0) <= ledger.failed, f"I2: FAILED decreased: {was} then {ledger}"


def check_i3(scenario: Scenario, before: ModelState, step: Step) -> None:
    """I3: feedback that is stale, for an unknown chunk, or with a wrong amount changes nothing at all."""
    report, ledger = step.subject, before.ledger
    if not isinstance(report, Report):
        return
    size = dict(ledger.chunks).get(report.chunk)
    fits = size is not None and report.amount in (0, size)
    if report.execution != ledger.execution or not fits:
        assert step.after.ledger == ledger, f"I3: {report} changed {ledger} to {step.after.ledger}"
    elif step.reply == "SETTLED":
        span = scenario.span(before.origins[int(report.execution)], report.chunk)
        assert scenario.stored(before, report.execution) >= set(span), f"I3: {report} was counted but not stored"


def check_i4(scenario: Scenario, before: ModelState, step: Step) -> None:  # noqa: ARG001
    """I4: a chunk counts once, a split conserves the entities: settled plus outstanding is SCHEDULED."""
    was, ledger = before.ledger, step.after.ledger
    assert all(size > 0 for _, size in ledger.chunks), f"I4: an empty chunk: {ledger}"
    names = [name for name, _ in ledger.chunks]
    parts = [name for name in names for other in names if name != other and name.startswith(f"{other}.")]
    assert not parts, f"I4: {parts} are outstanding together with the chunk that they are parts of: {ledger}"
    if not ledger.execution or ledger.execution in step.after.damaged:
        return
    total = (ledger.updated or 0) + sum(size for _, size in ledger.chunks)
    assert total == (ledger.scheduled or 0), f"I4: {total} are settled or outstanding: {ledger}"
    if isinstance(step.subject, Report):
        new = {name.rpartition(".")[0] for name in dict(ledger.chunks).keys() - dict(was.chunks).keys()}
        assert new <= {step.subject.chunk} & dict(was.chunks).keys(), (
            f"I4: chunks without a parent appeared: {was} then {ledger}"
        )


def check_i5(scenario: Scenario, before: ModelState, step: Step) -> None:  # noqa: ARG001
    """I5: the ordinal never decreases, except by a rewind or a data loss of Redis."""
    if step.subject not in (Fault.REWIND, Fault.ROLLBACK):
        assert before.ledger.ordinal <= step.after.ledger.ordinal, f"I5: {before.ledger} then {step.after.ledger}"


def check_i6(scenario: Scenario, before: ModelState, step: Step) -> None:  # noqa: ARG001
    """I6: only one execution can advance from an ordinal: the one that was fetched from it and owns the ledger.

    No execution begins that could not advance: its older entities would follow newer ones.
    """
    producer, was, ledger = step.subject, before.ledger, step.after.ledger
    if not isinstance(producer, Producer):
        return
    if step.action is Action.BEGIN and step.reply == "BEGUN":
        assert producer.since == was.ordinal, f"I6: a batch from {producer.since} begins at ordinal {was.ordinal}"
        assert ledger.execution == producer.execution, (
            f"I6: {producer} has begun, but does not own the ledger: {ledger}"
        )
    if was.ordinal != ledger.ordinal or step.reply == "ADVANCED":
        assert step.action is Action.ADVANCE, f"I6: another action moved the ordinal: {was} then {ledger}"
        assert (was.ordinal, was.execution) == (producer.since, producer.execution), f"I6: {producer} advanced {was}"
        assert ledger.ordinal == producer.since + 1, f"I6: {producer} advanced to {ledger.ordinal}"


ALL = (check_i1, check_i2, check_i3, check_i4, check_i5, check_i6)
