"""The real scripts on a real Redis, and the producer's real rules, compared with the model step by step.

Hypothesis chooses what happens next; the model predicts the result. After each step the reply and every key are the
same on both sides, and I1 to I6 hold. After the last fault, the rest is imported (I7).
"""

from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import event, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.protocol import invariants
from tests.protocol.real_side import RealSide
from tests.protocol.scenario import Scenario
from tests.protocol.state import Action, Fault, ModelState, Producer, Report, Step

BATCHES = ({"0": 4, "1": 4, "2": 1}, {"0": 4, "1": 5}, {"0": 9})
BAD = frozenset({(0, 0), (0, 8), (1, 6)})
FAULTS = frozenset(Fault) - {Fault.LEDGER, Fault.COUNTER}


class SideBySide(RuleBasedStateMachine):
    """The model and the real side, which take the same steps."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.real = RealSide(uri)
        self.state = ModelState()
        self.scenario = Scenario(BATCHES, BAD, FAULTS, max_faults=8, max_faults_per_kind=2)
        self.is_sound = True

    @initialize(tampering=st.sampled_from([Fault.LEDGER, Fault.COUNTER]))
    def choose_tampering(self, tampering: Fault) -> None:
        """Choose one of two faults: each alone is detected; both together are not, and cannot be."""
        self.scenario = Scenario(BATCHES, BAD, FAULTS | {tampering}, max_faults=8, max_faults_per_kind=2)

    @rule(data=st.data())
    def producer_step(self, data: st.DataObject) -> None:
        """Let a producer fetch, begin, poll the ledger, or move the ordinal; the reply may be lost."""
        self.choose(data, self.changes(Action.FETCH, Action.BEGIN, Action.POLL, Action.ADVANCE))

    @rule(steps=st.integers(1, 20))
    def progress_without_faults(self, steps: int) -> None:
        """Take some steps that lead towards completion."""
        for _ in range(steps):
            if self.state.ledger.ordinal < len(BATCHES):
                self.apply(self.step_ahead())

    @precondition(lambda self: self.steps(Action.DELIVER))
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        """Deliver a chunk to a mankeli, which reports on it."""
        self.choose(data, self.steps(Action.DELIVER))

    @precondition(lambda self: self.changes(Action.SETTLE))
    @rule(data=st.data())
    def ok(self, data: st.DataObject) -> None:
        """Apply feedback that counts."""
        self.choose(data, self.changes(Action.SETTLE))

    @precondition(lambda self: self.changes(Action.SPLIT, Action.FAIL))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Apply feedback that splits a chunk or fails an entity."""
        self.choose(data, self.changes(Action.SPLIT, Action.FAIL))

    @precondition(lambda self: self.without_effect())
    @rule(data=st.data())
    def duplicate_or_stale(self, data: st.DataObject) -> None:
        """Apply feedback that no longer has an effect."""
        self.choose(data, self.without_effect())

    @rule(
        execution=st.integers(0, 5), chunk=st.sampled_from(["0", "1", "2", "0.0", "0.1", "1.0.1", "7"]), data=st.data()
    )
    def wrong_amount(self, execution: int, chunk: str, data: st.DataObject) -> None:
        """Apply a made-up report with a wrong amount."""
        size = dict(self.state.ledger.chunks).get(chunk)
        report = Report(str(execution), chunk, data.draw(st.integers(0, 10**6).filter(lambda amount: amount != size)))
        ledger, reply = self.scenario.rules.settle(self.state.ledger, *report)
        assert ledger == self.state.ledger
        assert self.real.apply_report(Action.SETTLE, report) == reply
        assert self.real.ledger() == ledger

    @precondition(lambda self: any(self.polling()))
    @rule(data=st.data())
    def lost_by_the_broker(self, data: st.DataObject) -> None:
        """Let the panic time-out of a producer pass."""
        self.real.panic(data.draw(st.sampled_from(self.polling())))

    @precondition(lambda self: self.steps(Action.SAVE))
    @rule()
    def save(self) -> None:
        """Let Redis save its data to disk."""
        self.apply(self.steps(Action.SAVE)[0])

    @precondition(lambda self: self.steps(Action.FAULT))
    @rule(data=st.data())
    def fault(self, data: st.DataObject) -> None:
        """Inject a fault."""
        chosen = data.draw(st.sampled_from(sorted({step.subject for step in self.steps(Action.FAULT)})))
        self.choose(data, [step for step in self.steps(Action.FAULT) if step.subject is chosen])

    def teardown(self) -> None:
        """Complete the import without further faults, which must be possible."""
        try:
            while self.is_sound and self.state.ledger.ordinal < len(BATCHES):
                self.apply(self.step_ahead())
        finally:
            self.real.close()

    # --- what the rules have in common -----------------------------------------------------------------------------

    def steps(self, *actions: Action) -> list[Step]:
        """Return the possible steps of these kinds, always in the same order."""
        return sorted((step for step in self.scenario.steps(self.state) if step.action in actions), key=repr)

    def changes(self, *actions: Action) -> list[Step]:
        """Return the possible steps of these kinds that have an effect."""
        return [step for step in self.steps(*actions) if step.after != self.state]

    def without_effect(self) -> list[Step]:
        """Return the possible feedback that has no effect."""
        return [step for step in self.steps(Action.SETTLE, Action.SPLIT, Action.FAIL) if step.after == self.state]

    def polling(self) -> list[Producer]:
        """Return the producers that poll their ledger."""
        return [step.subject for step in self.steps(Action.POLL) if isinstance(step.subject, Producer)]

    def step_ahead(self) -> Step:
        """Return the next step towards completion. Raises ValueError if there is none: the import would be stuck."""
        steps = [step for step in self.changes(*ORDER) if step.after.spent == self.state.spent]
        return min(steps, key=lambda step: ORDER.index(step.action))

    def choose(self, data: st.DataObject, steps: Sequence[Step]) -> None:
        """Apply one of these steps, if there is one."""
        if steps:
            self.apply(steps[data.draw(st.integers(0, len(steps) - 1))])

    def apply(self, step: Step) -> None:
        """Apply a step on both sides, and compare them."""
        self.is_sound = False
        before, self.state = self.state, step.after
        event(f"{step.action} {step.reply or (step.subject if step.action is Action.FAULT else '')}")
        if step.action is Action.FETCH:
            self.real.fetch(BATCHES[before.ledger.ordinal])
        elif step.action is Action.DELIVER:
            self.real.check_published(before.ledger.execution, str(step.subject))
        assert self.real.apply(step) == step.reply, step
        assert self.real.ledger() == step.after.ledger, step
        for check in invariants.ALL:
            check(self.scenario, before, step)
        self.is_sound = True


ORDER = (
    Action.ADVANCE,
    Action.POLL,
    Action.BEGIN,
    Action.SETTLE,
    Action.SPLIT,
    Action.FAIL,
    Action.DELIVER,
    Action.FETCH,
)
"""The order of preference when there are no faults."""


def test_scripts_and_producer_agree_with_the_model(redis_uri: str) -> None:
    """For every order of events both sides agree, the invariants hold, and the import completes."""
    run_state_machine_as_test(
        lambda: SideBySide(redis_uri),
        settings=settings(max_examples=60, stateful_step_count=60, deadline=None, print_blob=True),
    )
