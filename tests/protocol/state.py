"""The model's state, as a value: the ledger, producers, mankelis' reports, Redis's disk, and the faults so far."""

from enum import StrEnum
from typing import NamedTuple

from tests.protocol.model import LedgerState, Poll


class Fault(StrEnum):
    """What may go wrong, in addition to feedback that is late, duplicated or lost."""

    CRASH = "the producer dies"
    PAUSE = "the producer is paused until its lock expires, and another takes over"
    REPLY = "Redis executes a script, and the reply is lost"
    ROLLBACK = "Redis restarts with an older state"
    LEDGER = "Redis loses the ledger"
    COUNTER = "UPDATED is set to SCHEDULED from outside"
    REWIND = "an operator rewinds the ordinal to 0"
    FLAKY = "a mankeli reports a failure for a chunk that it has stored"
    PARTIAL = "a mankeli stores one entity of a chunk and reports one"


class Action(StrEnum):
    """The kind of a step."""

    FETCH = "fetch"
    BEGIN = "begin"
    DELIVER = "deliver"
    POLL = "poll"
    ADVANCE = "advance"
    SETTLE = "settle"
    SPLIT = "split"
    FAIL = "fail"
    SAVE = "save"
    FAULT = "fault"


class Phase(StrEnum):
    """How far a producer is with its batch."""

    FETCHED = "fetched"
    BEGUN = "begun"
    DEAD_LETTERED = "dead-lettered"


class Producer(NamedTuple):
    """A producer with a fetched batch."""

    since: int
    execution: str
    phase: Phase = Phase.FETCHED
    dead_letters: frozenset[str] = frozenset()
    """Chunks of one entity for which it has published dead letters."""


class Report(NamedTuple):
    """The feedback of a mankeli on a chunk; an amount of 0 means that it failed."""

    execution: str
    chunk: str
    amount: int


class ModelState(NamedTuple):
    """Everything at one moment."""

    ledger: LedgerState = LedgerState()
    producers: tuple[Producer | None, Producer | None] = (None, None)
    """The active one, and one that is paused, or has been resumed and still acts as the active one."""
    origins: tuple[int, ...] = ()
    """For each execution, by its number, the ordinal that its batch was fetched from."""
    reports: frozenset[Report] = frozenset()
    delivered_to: int = 0
    """Up to this ordinal everything is in fact stored, or kept as a dead letter, since the last rewind."""
    saved: LedgerState | None = None
    """What is on Redis's disk."""
    damaged: frozenset[str] = frozenset()
    """The executions whose ledger or counters were changed from outside."""
    spent: tuple[Fault, ...] = ()
    """The faults so far."""


class Step(NamedTuple):
    """An action and the state after it; `subject` is what acted or was acted on."""

    action: Action
    subject: Producer | Report | Fault | str | None
    after: ModelState
    reply: str | Poll | None = None
