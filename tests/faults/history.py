"""What happened, as seen from outside: lists that are only ever added to, and judged by `invariants` afterwards.

Every time is in nanoseconds of the wall clock of the machine that runs the tests, as the mankelis' store has it.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Version = tuple[str, int]
"""Id and ordinal of one version of an entity; what has no ordinal has 0."""


@dataclass(frozen=True)
class Page:
    """What SISU served, or would have, had it not been told to spoil it: nothing lies between the two ordinals else."""

    at_ns: int
    service: str
    since: int
    greatest: int
    entities: tuple[Version, ...]


@dataclass(frozen=True)
class Message:
    """A chunk on its channel. A message that cannot be read has no entities and an empty chunk id."""

    at_ns: int
    service: str
    message_id: str
    total_bytes: int
    """With its headers, as the server counts it."""
    execution: str
    chunk: str
    entities: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Feedback on its subject, as bytes: it may be anything."""

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
    """What Redis held of one service at one moment. A value that is not there is None."""

    at_ns: int
    epoch: int
    """Goes up when a test made Redis forget something: across that, nothing has to be monotone."""
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
    """All of it. The lists are in the order of their times."""

    pages: list[Page] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    """Each that was published."""
    kept_dead_letters: list[DeadLetter] = field(default_factory=list)
    """Those that the broker has in the end."""
    samples: list[Sample] = field(default_factory=list)
    processed: list[Processed] = field(default_factory=list)
    max_payload_bytes: int = 1024 * 1024
    rejected: frozenset[str] = frozenset()
    """Ids of the entities that mankelis reject."""
    too_large: frozenset[str] = frozenset()
    """Ids of the entities that no message can hold."""
    dead_letters_lost: bool = False
    """Whether a test made the broker forget some."""
    one_time: frozenset[str] = frozenset()
    """Services whose ordinal every start of a producer forgets."""
    quiet_at_ns: int | None = None
    """When the last fault ended."""
    complete_at_ns: int | None = None
    """When a run, after that, was complete."""
    expected_ordinals: dict[str, int] = field(default_factory=dict)
    """Where each service must end."""
    differences: list[str] = field(default_factory=list)
    """How the store differs from SISU in the end, in words."""


def read_processed(db: Path) -> list[Processed]:
    """What mankelis stored, from their SQLite file; nothing where there is none yet."""
    if not db.exists():
        return []
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30) as connection:
        entities: dict[int, list[Version]] = {}
        for seq, entity, ordinal in connection.execute("SELECT seq, id, ordinal FROM processed_entities"):
            entities.setdefault(seq, []).append((entity, ordinal))
        rows = connection.execute("SELECT seq, at_ns, service, execution, chunk FROM processed ORDER BY seq")
        found = [
            Processed(at_ns, service, execution, chunk, tuple(entities.get(seq, ())))
            for seq, at_ns, service, execution, chunk in rows
        ]
    connection.close()
    return found
