"""The real scripts on a real Redis, and the producer's real rules, side by side with the model, step by step.

Hypothesis chooses what happens next; the model says what must come of it. After each step verdict and every key are the
same on both sides, and I1 to I6 hold. When the faults end, what is left is imported: I7.
"""

from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import event, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.protocol import invariants
from tests.protocol.real_side import RealSide
from tests.protocol.scenario import Scenario
from tests.protocol.world import Act, Fault, Producer, Report, Step, World

BATCHES = ({"0": 4, "1": 4, "2": 1}, {"0": 4, "1": 5}, {"0": 9})
BAD = frozenset({(0, 0), (0, 8), (1, 6)})
FAULTS = frozenset(Fault) - {Fault.LEDGER, Fault.COUNTER}


class SideBySide(RuleBasedStateMachine):
    """The model's world and the real side, which do the same."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.real = RealSide(uri)
        self.world = World()
        self.scenario = Scenario(BATCHES, BAD, FAULTS, most=8, each=2)
        self.is_sound = True

    @initialize(tampering=st.sampled_from([Fault.LEDGER, Fault.COUNTER]))
    def choose_tampering(self, tampering: Fault) -> None:
        """Each by itself is noticed; both together are not, and cannot be."""
        self.scenario = Scenario(BATCHES, BAD, FAULTS | {tampering}, most=8, each=2)

    @rule(data=st.data())
    def producer_goes_on(self, data: st.DataObject) -> None:
        """It fetches, begins, looks at the ledger, or moves the ordinal; perhaps the reply is lost."""
        self.choose(data, self.changes(Act.FETCH, Act.BEGIN, Act.LOOK, Act.ADVANCE))

    @rule(steps=st.integers(1, 20))
    def quiet_for_a_while(self, steps: int) -> None:
        """Everybody does what there is to do."""
        for _ in range(steps):
            if self.world.books.ordinal < len(BATCHES):
                self.take(self.step_ahead())

    @precondition(lambda self: self.steps(Act.DELIVER))
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        """A chunk reaches a mankeli, which has an answer."""
        self.choose(data, self.steps(Act.DELIVER))

    @precondition(lambda self: self.changes(Act.SETTLE))
    @rule(data=st.data())
    def ok(self, data: st.DataObject) -> None:
        """Feedback counts."""
        self.choose(data, self.changes(Act.SETTLE))

    @precondition(lambda self: self.changes(Act.SPLIT, Act.FAIL))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """A chunk is split, or an entity fails."""
        self.choose(data, self.changes(Act.SPLIT, Act.FAIL))

    @precondition(lambda self: self.useless())
    @rule(data=st.data())
    def duplicate_or_stale(self, data: st.DataObject) -> None:
        """Feedback comes that is of no use any more."""
        self.choose(data, self.useless())

    @rule(
        execution=st.integers(0, 5), chunk=st.sampled_from(["0", "1", "2", "0.0", "0.1", "1.0.1", "7"]), data=st.data()
    )
    def wrong_amount(self, execution: int, chunk: str, data: st.DataObject) -> None:
        """Somebody makes a report up, which does not fit."""
        size = dict(self.world.books.chunks).get(chunk)
        report = Report(str(execution), chunk, data.draw(st.integers(0, 10**6).filter(lambda amount: amount != size)))
        books, verdict = self.scenario.rules.settle(self.world.books, *report)
        assert books == self.world.books
        assert self.real.report(Act.SETTLE, report) is verdict
        assert self.real.books() == books

    @precondition(lambda self: any(self.looking()))
    @rule(data=st.data())
    def lost_by_the_broker(self, data: st.DataObject) -> None:
        """Nothing comes for long."""
        self.real.panic(data.draw(st.sampled_from(self.looking())))

    @precondition(lambda self: self.steps(Act.SAVE))
    @rule()
    def save(self) -> None:
        """Redis writes itself to its disk."""
        self.take(self.steps(Act.SAVE)[0])

    @precondition(lambda self: self.steps(Act.FAULT))
    @rule(data=st.data())
    def go_wrong(self, data: st.DataObject) -> None:
        """A crash, a second producer, a rollback, a rewind, something lost, a mankeli that contradicts itself."""
        fault = data.draw(st.sampled_from(sorted({step.subject for step in self.steps(Act.FAULT)})))
        self.choose(data, [step for step in self.steps(Act.FAULT) if step.subject is fault])

    def teardown(self) -> None:
        """The faults have ended: the import can be completed, and is."""
        try:
            while self.is_sound and self.world.books.ordinal < len(BATCHES):
                self.take(self.step_ahead())
        finally:
            self.real.close()

    # --- what the rules have in common -----------------------------------------------------------------------------

    def steps(self, *acts: Act) -> list[Step]:
        """What can happen of this kind, always in the same order."""
        return sorted((step for step in self.scenario.steps(self.world) if step.act in acts), key=repr)

    def changes(self, *acts: Act) -> list[Step]:
        """What can happen of this kind and has an effect."""
        return [step for step in self.steps(*acts) if step.after != self.world]

    def useless(self) -> list[Step]:
        """Feedback that can come and has no effect."""
        return [step for step in self.steps(Act.SETTLE, Act.SPLIT, Act.FAIL) if step.after == self.world]

    def looking(self) -> list[Producer]:
        """Producers that wait for their ledger."""
        return [step.subject for step in self.steps(Act.LOOK) if isinstance(step.subject, Producer)]

    def step_ahead(self) -> Step:
        """What leads on, without another fault. Raises ValueError where nothing does: the import would be stuck."""
        steps = [step for step in self.changes(*ORDER) if step.after.spent == self.world.spent]
        return min(steps, key=lambda step: ORDER.index(step.act))

    def choose(self, data: st.DataObject, steps: Sequence[Step]) -> None:
        """Take one of these steps, if there is one."""
        if steps:
            self.take(steps[data.draw(st.integers(0, len(steps) - 1))])

    def take(self, step: Step) -> None:
        """Take it on both sides, and compare."""
        self.is_sound = False
        before, self.world = self.world, step.after
        event(f"{step.act} {step.verdict or (step.subject if step.act is Act.FAULT else '')}")
        if step.act is Act.FETCH:
            self.real.fetch(BATCHES[before.books.ordinal])
        elif step.act is Act.DELIVER:
            self.real.check_published(before.books.execution, str(step.subject))
        assert self.real.do(step) == step.verdict, step
        assert self.real.books() == step.after.books, step
        for check in invariants.ALL:
            check(self.scenario, before, step)
        self.is_sound = True


ORDER = (Act.ADVANCE, Act.LOOK, Act.BEGIN, Act.SETTLE, Act.SPLIT, Act.FAIL, Act.DELIVER, Act.FETCH)
"""What comes first when there are no faults."""


def test_the_scripts_and_the_producer_do_what_the_model_does(redis_uri: str) -> None:
    """Whatever happens, in whatever order, both sides agree, the invariants hold, and the import ends."""
    run_state_machine_as_test(
        lambda: SideBySide(redis_uri),
        settings=settings(max_examples=60, stateful_step_count=60, deadline=None, print_blob=True),
    )
