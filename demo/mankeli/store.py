"""The store of the demo's mankelis: one SQLite file, shared by all of them.

The newest version of each entity is kept as its bytes; a deleted one as a row without a body, so that a version that
arrives late cannot bring it back. The same transactions append to a history, from which tests tell what was processed,
under which execution and how often.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entities (
    service TEXT, id TEXT, ordinal INTEGER NOT NULL, state TEXT NOT NULL, body BLOB, PRIMARY KEY (service, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS processed (
    seq INTEGER PRIMARY KEY, at_ns INTEGER, execution TEXT, chunk TEXT, service TEXT, entities INTEGER
);
CREATE TABLE IF NOT EXISTS processed_entities (seq INTEGER, id TEXT, ordinal INTEGER);
CREATE TABLE IF NOT EXISTS post_updates (seq INTEGER PRIMARY KEY, at_ns INTEGER, run_id TEXT);
"""

# An older version never overwrites a newer one, in whatever order they arrive.
_UPSERT = """
INSERT INTO entities (service, id, ordinal, state, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (service, id) DO UPDATE SET ordinal = excluded.ordinal, state = excluded.state, body = excluded.body
WHERE excluded.ordinal >= entities.ordinal
"""

_BUSY_SECONDS = 30.0


class _Metadata(msgspec.Struct):
    modificationOrdinal: int = 0  # noqa: N815 - SISU's name


class _Head(msgspec.Struct):
    """The fields of an entity that the store reads."""

    id: str
    documentState: str = "ACTIVE"  # noqa: N815 - SISU's name; codebooks and the like have none
    metadata: _Metadata | None = None


class MankeliStore:
    """One process's connection to the file at `path`, which is created if it is missing.

    Every method blocks. Several processes may write, one at a time.
    """

    def __init__(self, path: Path) -> None:
        # Its own transactions, not sqlite3's; used by one thread at a time, though not always the same.
        self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the newest transactions; a demo has none, and a killed process loses nothing.
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    def apply(self, *, execution: str, chunk: str, service: str, entities: Sequence[msgspec.Raw]) -> None:
        """Store all entities of a chunk, or none of them if one is invalid.

        Raises msgspec.DecodeError for an invalid entity, sqlite3.Error for one that cannot be stored.
        """
        heads = [msgspec.json.decode(entity, type=_Head) for entity in entities]
        ordinals = [head.metadata.modificationOrdinal if head.metadata else 0 for head in heads]
        rows = [
            (service, head.id, ordinal, head.documentState, None if head.documentState == "DELETED" else bytes(entity))
            for head, ordinal, entity in zip(heads, ordinals, entities, strict=True)
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_UPSERT, rows)
            seq = self._db.execute(
                "INSERT INTO processed (at_ns, execution, chunk, service, entities) VALUES (?, ?, ?, ?, ?)",
                (time.time_ns(), execution, chunk, service, len(rows)),
            ).lastrowid
            self._db.executemany(
                "INSERT INTO processed_entities VALUES (?, ?, ?)", [(seq, row[1], row[2]) for row in rows]
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def post_update(self, run_id: str) -> None:
        """Do what a mankeli does when a run is complete: here, update SQLite's statistics."""
        self._db.execute("ANALYZE")
        self._db.execute("INSERT INTO post_updates (at_ns, run_id) VALUES (?, ?)", (time.time_ns(), run_id))

    def stored(self, service: str) -> Iterator[tuple[str, str, bytes]]:
        """Yield id, documentState and body of every entity of a service, without the deleted ones."""
        yield from self._db.execute(
            "SELECT id, state, body FROM entities WHERE service = ? AND body IS NOT NULL ORDER BY id", (service,)
        )

    def delivered(self) -> dict[str, tuple[int, int]]:
        """Return how many entities and chunks of each service were processed, repetitions included."""
        rows = self._db.execute("SELECT service, SUM(entities), COUNT(*) FROM processed GROUP BY service")
        return {service: (entities, chunks) for service, entities, chunks in rows}

    def close(self) -> None:
        """Close the file."""
        self._db.close()
