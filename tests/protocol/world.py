"""A small world around the ledger, as a value: producers, what mankelis reported, Redis's disk, and what went wrong."""

from enum import StrEnum
from typing import NamedTuple

from shared.ledger import Verdict
from tests.protocol.model import Books, Look


class Fault(StrEnum):
    """What may go wrong, beside what feedback does anyway."""

    CRASH = "the producer dies"
    PAUSE = "the producer is paused past its lock's life, and another takes over"
    REPLY = "Redis has done it, and the reply is lost"
    ROLLBACK = "Redis comes back with an older state"
    LEDGER = "Redis loses the ledger"
    COUNTER = "somebody sets UPDATED to SCHEDULED"
    REWIND = "an operator sets the ordinal back to 0"
    FLAKY = "a mankeli fails on what it has stored"
    PARTIAL = "a mankeli stores one entity of a chunk and reports that"


class Act(StrEnum):
    """What somebody does."""

    FETCH = "fetch"
    BEGIN = "begin"
    DELIVER = "deliver"
    LOOK = "look"
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
    BURIED = "buried"


class Producer(NamedTuple):
    """A producer with a batch in hand."""

    since: int
    execution: str
    phase: Phase = Phase.FETCHED
    buried: frozenset[str] = frozenset()
    """Chunks of one entity for which it has published dead letters."""


class Report(NamedTuple):
    """What a mankeli said of a chunk; 0 entities: it failed."""

    execution: str
    chunk: str
    amount: int


class World(NamedTuple):
    """Everything at one moment."""

    books: Books = Books()
    producers: tuple[Producer | None, Producer | None] = (None, None)
    """The active one, and one that sleeps or has just woken up and believes that it is active."""
    origins: tuple[int, ...] = ()
    """For each execution, by its number, the ordinal that its batch was fetched from."""
    reports: frozenset[Report] = frozenset()
    delivered_to: int = 0
    """Up to this ordinal everything was in truth stored, or kept as a dead letter, since the last rewind."""
    saved: Books | None = None
    """What is on Redis's disk."""
    damaged: frozenset[str] = frozenset()
    """The executions whose ledger or counters somebody has tampered with."""
    spent: tuple[Fault, ...] = ()


class Step(NamedTuple):
    """Somebody's act, and the world after it; `subject` is what it was done to."""

    act: Act
    subject: Producer | Report | Fault | str | None
    after: World
    verdict: Verdict | Look | None = None
