"""The rules of the protocol as a small pure state machine: what Redis holds of one service, and who may change it how.

Beside each script of `shared/lua` stands the same thing in Python, condition for condition, and beside the rules of
`producer/execution.py` that say when a batch is settled stands `look`. Every condition and every effect is a `Guard`
that can be taken away, so that the search (test_search.py) can show what it is there for.

It shares nothing with the product but the names of verdicts: test_against_redis.py holds the two against each other.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from shared.ledger import Verdict


class Guard(StrEnum):
    """What a script, or the producer, checks or does. The value is the name under which `make mutate` breaks it."""

    BEGIN_ORDINAL = "begin_execution: the batch was fetched from the stored ordinal"
    BEGIN_CHUNKS_REPLACED = "begin_execution: the old ledger goes"
    BEGIN_ERRORS_REPLACED = "begin_execution: old error texts go"
    BEGIN_EXECUTION = "begin_execution: the ledger is the new execution's"
    BEGIN_SCHEDULED = "begin_execution: SCHEDULED is what the chunks add up to"
    BEGIN_UPDATED = "begin_execution: UPDATED starts at 0"
    BEGIN_FAILED = "begin_execution: FAILED starts at 0"
    BEGIN_CURRENT = "begin_execution: mankelis can read the new execution"

    SETTLE_EXECUTION = "settle_chunk: the feedback is of this execution"
    SETTLE_KNOWN = "settle_chunk: the chunk is in the ledger"
    SETTLE_SIZE = "settle_chunk: the amount is the chunk's size"
    SETTLE_REMOVES = "settle_chunk: the chunk leaves the ledger"
    SETTLE_COUNTS = "settle_chunk: its entities are counted"

    SPLIT_EXECUTION = "split_chunk: the feedback is of this execution"
    SPLIT_KNOWN = "split_chunk: the chunk is in the ledger"
    SPLIT_SEVERAL = "split_chunk: one entity is not split"
    SPLIT_REMOVES = "split_chunk: the chunk leaves the ledger"
    SPLIT_ADDS = "split_chunk: both halves enter it"

    FAIL_EXECUTION = "fail_entity: the feedback is of this execution"
    FAIL_KNOWN = "fail_entity: the chunk is in the ledger"
    FAIL_SINGLE = "fail_entity: the chunk is one entity"
    FAIL_REMOVES = "fail_entity: the chunk leaves the ledger"
    FAIL_KEEPS_ERROR = "fail_entity: the error text is kept"
    FAIL_COUNTS_UPDATED = "fail_entity: the entity counts as settled"
    FAIL_COUNTS_FAILED = "fail_entity: the entity counts as failed"

    ADVANCE_EXECUTION = "advance_ordinal: the ledger is still this execution's"
    ADVANCE_ORDINAL = "advance_ordinal: the ordinal is the one that the batch was fetched from"
    ADVANCE_COUNTERS = "advance_ordinal: UPDATED is SCHEDULED"
    ADVANCE_LEDGER = "advance_ordinal: the ledger is empty"
    ADVANCE_MOVES = "advance_ordinal: the ordinal moves"
    ADVANCE_ERRORS = "advance_ordinal: error texts go"

    LOOK_EXECUTION = "producer, rule 1: the ledger is still this execution's"
    LOOK_LEDGER = "producer, rule 3: the ledger is empty"
    LOOK_COUNTERS = "producer, rule 3: the counters agree"
    LOOK_HALVES = "producer, rule 4: halves are published"


class Books(NamedTuple):
    """What Redis holds of one service. A counter that is not there is None."""

    ordinal: int = 0
    execution: str = ""
    scheduled: int | None = None
    updated: int | None = None
    failed: int | None = None
    chunks: frozenset[tuple[str, int]] = frozenset()
    """chunkId, size."""
    errors: frozenset[str] = frozenset()
    """chunkIds."""
    current: str = ""
    """CURRENT_EXECUTION_HASH."""


class Look(StrEnum):
    """What a look at the ledger tells the producer."""

    SETTLED = "settled"
    OUTSTANDING = "outstanding"
    GIVE_UP = "give up"


Answer = tuple[Books, Verdict]


class Rules:
    """The scripts and the producer's look, without some guards."""

    def __init__(self, without: frozenset[Guard] = frozenset()) -> None:
        self._without = without

    def has(self, guard: Guard) -> bool:
        """Whether this guard is in force."""
        return guard not in self._without

    def begin(self, books: Books, execution: str, since: int, chunks: Mapping[str, int]) -> Answer:
        """begin_execution."""
        if books.ordinal != since and self.has(Guard.BEGIN_ORDINAL):
            return books, Verdict.FENCED
        kept = frozenset() if self.has(Guard.BEGIN_CHUNKS_REPLACED) else self._except(books, chunks)
        return books._replace(
            chunks=kept | frozenset(chunks.items()),
            errors=frozenset() if self.has(Guard.BEGIN_ERRORS_REPLACED) else books.errors,
            execution=execution if self.has(Guard.BEGIN_EXECUTION) else books.execution,
            scheduled=sum(chunks.values()) if self.has(Guard.BEGIN_SCHEDULED) else books.scheduled,
            updated=0 if self.has(Guard.BEGIN_UPDATED) else books.updated,
            failed=0 if self.has(Guard.BEGIN_FAILED) else books.failed,
            current=execution if self.has(Guard.BEGIN_CURRENT) else books.current,
        ), Verdict.BEGUN

    def settle(self, books: Books, execution: str, chunk: str, amount: int) -> Answer:
        """settle_chunk."""
        if books.execution != execution and self.has(Guard.SETTLE_EXECUTION):
            return books, Verdict.STALE
        size = dict(books.chunks).get(chunk)
        if size is None:
            if self.has(Guard.SETTLE_KNOWN):
                return books, Verdict.DUPLICATE
            size = amount
        if size != amount and self.has(Guard.SETTLE_SIZE):
            return books, Verdict.MISMATCH
        return books._replace(
            chunks=books.chunks - {(chunk, size)} if self.has(Guard.SETTLE_REMOVES) else books.chunks,
            updated=(books.updated or 0) + size if self.has(Guard.SETTLE_COUNTS) else books.updated,
        ), Verdict.SETTLED

    def split(self, books: Books, execution: str, chunk: str) -> Answer:
        """split_chunk."""
        if books.execution != execution and self.has(Guard.SPLIT_EXECUTION):
            return books, Verdict.STALE
        size = dict(books.chunks).get(chunk)
        if size is None:
            if self.has(Guard.SPLIT_KNOWN):
                return books, Verdict.DUPLICATE
            size = 2
        if size == 1 and self.has(Guard.SPLIT_SEVERAL):
            return books, Verdict.SINGLE
        larger = (size + 1) // 2
        halves = {f"{chunk}.0": larger, f"{chunk}.1": size - larger}
        chunks = books.chunks - {(chunk, size)} if self.has(Guard.SPLIT_REMOVES) else books.chunks
        if self.has(Guard.SPLIT_ADDS):
            chunks = self._except(books._replace(chunks=chunks), halves) | frozenset(halves.items())
        return books._replace(chunks=chunks), Verdict.SPLIT

    def fail(self, books: Books, execution: str, chunk: str) -> Answer:
        """fail_entity."""
        if books.execution != execution and self.has(Guard.FAIL_EXECUTION):
            return books, Verdict.STALE
        size = dict(books.chunks).get(chunk)
        if size is None:
            if self.has(Guard.FAIL_KNOWN):
                return books, Verdict.DUPLICATE
            size = 1
        if size != 1 and self.has(Guard.FAIL_SINGLE):
            return books, Verdict.MISMATCH
        return books._replace(
            chunks=books.chunks - {(chunk, size)} if self.has(Guard.FAIL_REMOVES) else books.chunks,
            errors=books.errors | {chunk} if self.has(Guard.FAIL_KEEPS_ERROR) else books.errors,
            updated=(books.updated or 0) + 1 if self.has(Guard.FAIL_COUNTS_UPDATED) else books.updated,
            failed=(books.failed or 0) + 1 if self.has(Guard.FAIL_COUNTS_FAILED) else books.failed,
        ), Verdict.FAILED

    def advance(self, books: Books, execution: str, since: int, to: int) -> Answer:
        """advance_ordinal."""
        if books.execution != execution and self.has(Guard.ADVANCE_EXECUTION):
            return books, Verdict.FENCED
        if books.ordinal != since and self.has(Guard.ADVANCE_ORDINAL):
            return books, Verdict.ALREADY if books.ordinal == to else Verdict.FENCED
        if (books.scheduled is None or books.updated != books.scheduled) and self.has(Guard.ADVANCE_COUNTERS):
            return books, Verdict.FENCED
        if books.chunks and self.has(Guard.ADVANCE_LEDGER):
            return books, Verdict.FENCED
        return books._replace(
            ordinal=to if self.has(Guard.ADVANCE_MOVES) else books.ordinal,
            errors=frozenset() if self.has(Guard.ADVANCE_ERRORS) else books.errors,
        ), Verdict.ADVANCED

    def look(self, books: Books, execution: str, entities: int) -> Look:
        """What the producer of an execution over so many entities makes of the ledger."""
        if books.execution != execution and self.has(Guard.LOOK_EXECUTION):
            return Look.GIVE_UP
        if books.chunks and self.has(Guard.LOOK_LEDGER):
            return Look.OUTSTANDING
        agreed = (books.scheduled, books.updated, books.failed) == (entities, entities, len(books.errors))
        return Look.SETTLED if agreed or not self.has(Guard.LOOK_COUNTERS) else Look.GIVE_UP

    @staticmethod
    def _except(books: Books, chunks: Mapping[str, int]) -> frozenset[tuple[str, int]]:
        """The ledger without these, whatever their sizes there: HSET overwrites."""
        return frozenset(entry for entry in books.chunks if entry[0] not in chunks)
