"""What happened, observed from outside: append-only lists that `invariants` checks afterwards.

Every time is in nanoseconds of the wall clock of the machine that runs the tests, as in the mankelis' store.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Version = tuple[str, int]
"""Id and ordinal of one version of an entity; the ordinal is 0 if it has none."""


@dataclass(frozen=True)
class Page:
    """A page that SISU served, before any fault corrupted it: all changes between the two ordinals."""

    at_ns: int
    service: str
    since: int
    greatest: int
    entities: tuple[Version, ...]


@dataclass(frozen=True)
class Message:
    """A chunk on its channel. A message that cannot be parsed has no entities and an empty chunk id."""

    at_ns: int
    service: str
    message_id: str
    total_bytes: int
    """Including the headers, as the server counts them."""
    execution: str
    chunk: str
    entities: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Feedback on its subject, as bytes: it may be malformed."""

    at_ns: int
    data: bytes


@dataclass(frozen=True)
class DeadLetter:
    """An entity that was kept because it was not delivered."""

    at_ns: int
    service: str
    execution: str
    entity: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """What Redis held of one service at one moment. A missing value is None."""

    at_ns: int
    epoch: int
    """Increases when a test makes Redis lose data: from one epoch to the next, nothing has to be monotone."""
    service: str
    ordinal: int | None
    execution: str | None
    scheduled: int | None
    updated: int | None
    failed: int | None
    chunks: Mapping[str, int]


@dataclass(frozen=True)
class Processed:
    """A chunk that a mankeli stored."""

    at_ns: int
    service: str
    execution: str
    chunk: str
    entities: tuple[Version, ...]


@dataclass
class History:
    """Everything that was observed. The lists are in chronological order."""

    pages: list[Page] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    """All that were published."""
    kept_dead_letters: list[DeadLetter] = field(default_factory=list)
    """Those that the broker has at the end."""
    samples: list[Sample] = field(default_factory=list)
    processed: list[Processed] = field(default_factory=list)
    max_payload_bytes: int = 1024 * 1024
    rejected: frozenset[str] = frozenset()
    """Ids of the entities that mankelis reject."""
    too_large: frozenset[str] = frozenset()
    """Ids of the entities that do not fit into a message."""
    dead_letters_lost: bool = False
    """Whether a test made the broker lose some."""
    one_time: frozenset[str] = frozenset()
    """Services whose ordinal is reset at every start of a producer."""
    faults_ended_at_ns: int | None = None
    """When the last fault ended."""
    complete_at_ns: int | None = None
    """When a run was complete after that."""
    expected_ordinals: dict[str, int] = field(default_factory=dict)
    """Where each service must end."""
    differences: list[str] = field(default_factory=list)
    """How the store differs from SISU at the end, as text."""


def read_processed(db: Path) -> list[Processed]:
    """Return what mankelis stored, from their SQLite file; an empty list if there is no file yet."""
    if not db.exists():
        return []
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30) as connection:
        entities: dict[int, list[Version]] = {}
        for seq, entity, ordinal in connection.execute("SELECT seq, id, ordinal FROM processed_entities"):
            entities.setdefault(seq, []).append((entity, ordinal))
        rows = connection.execute("SELECT seq, at_ns, service, execution, chunk FROM processed ORDER BY seq")
        processed = [
            Processed(at_ns, service, execution, chunk, tuple(entities.get(seq, ())))
            for seq, at_ns, service, execution, chunk in rows
        ]
    connection.close()
    return processed
