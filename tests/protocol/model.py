"""The rules of the protocol as a small pure state machine: what Redis holds of one service, and how it may change.

Each script of `shared/store/lua` has its counterpart here, condition for condition; `poll` is the counterpart of the
rules of `producer/batch/execution.py` that decide when a batch is settled. Every condition and every effect is a
`Guard` that can be removed, so that the search (test_search.py) can show what it is for.

The model shares nothing with the product but the names of the replies; test_against_redis.py compares the two.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Guard(StrEnum):
    """What a script, or the producer, checks or does. The value is its name in `make mutate` and docs/mutation.md."""

    BEGIN_ORDINAL = "begin_execution: the batch was fetched from the stored ordinal"
    BEGIN_CHUNKS_REPLACED = "begin_execution: the old ledger is deleted"
    BEGIN_ERRORS_REPLACED = "begin_execution: old error texts are deleted"
    BEGIN_EXECUTION = "begin_execution: the new execution owns the ledger"
    BEGIN_SCHEDULED = "begin_execution: SCHEDULED is the sum of the chunks' sizes"
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

    ADVANCE_EXECUTION = "advance_ordinal: this execution still owns the ledger"
    ADVANCE_ORDINAL = "advance_ordinal: the ordinal is the one that the batch was fetched from"
    ADVANCE_COUNTERS = "advance_ordinal: UPDATED equals SCHEDULED"
    ADVANCE_LEDGER = "advance_ordinal: the ledger is empty"
    ADVANCE_MOVES = "advance_ordinal: the ordinal moves"
    ADVANCE_ERRORS = "advance_ordinal: error texts are deleted"

    POLL_EXECUTION = "producer, rule 1: this execution still owns the ledger"
    POLL_LEDGER = "producer, rule 3: the ledger is empty"
    POLL_COUNTERS = "producer, rule 3: the counters agree"
    POLL_HALVES = "producer, rule 5: halves are published"


class LedgerState(NamedTuple):
    """What Redis holds of one service. A missing counter is None."""

    ordinal: int = 0
    execution: str = ""
    scheduled: int | None = None
    updated: int | None = None
    failed: int | None = None
    chunks: frozenset[tuple[str, int]] = frozenset()
    """chunkId and size."""
    errors: frozenset[str] = frozenset()
    """chunkIds."""
    current: str = ""
    """CURRENT_EXECUTION_HASH."""


class Poll(StrEnum):
    """What the producer concludes from a poll of the ledger."""

    SETTLED = "settled"
    OUTSTANDING = "outstanding"
    GIVE_UP = "give up"


Transition = tuple[LedgerState, str]
"""The ledger after a script, and the script's reply."""


class Rules:
    """The scripts and the producer's poll, except for the guards that were removed."""

    def __init__(self, without: frozenset[Guard] = frozenset()) -> None:
        self._without = without

    def has(self, guard: Guard) -> bool:
        """Return whether this guard is in force."""
        return guard not in self._without

    def begin(self, ledger: LedgerState, execution: str, since: int, chunks: Mapping[str, int]) -> Transition:
        """Apply begin_execution."""
        if ledger.ordinal != since and self.has(Guard.BEGIN_ORDINAL):
            return ledger, "FENCED"
        kept = frozenset() if self.has(Guard.BEGIN_CHUNKS_REPLACED) else self._except(ledger, chunks)
        return ledger._replace(
            chunks=kept | frozenset(chunks.items()),
            errors=frozenset() if self.has(Guard.BEGIN_ERRORS_REPLACED) else ledger.errors,
            execution=execution if self.has(Guard.BEGIN_EXECUTION) else ledger.execution,
            scheduled=sum(chunks.values()) if self.has(Guard.BEGIN_SCHEDULED) else ledger.scheduled,
            updated=0 if self.has(Guard.BEGIN_UPDATED) else ledger.updated,
            failed=0 if self.has(Guard.BEGIN_FAILED) else ledger.failed,
            current=execution if self.has(Guard.BEGIN_CURRENT) else ledger.current,
        ), "BEGUN"

    def settle(self, ledger: LedgerState, execution: str, chunk: str, amount: int) -> Transition:
        """Apply settle_chunk."""
        if ledger.execution != execution and self.has(Guard.SETTLE_EXECUTION):
            return ledger, "STALE"
        size = dict(ledger.chunks).get(chunk)
        if size is None:
            if self.has(Guard.SETTLE_KNOWN):
                return ledger, "DUPLICATE"
            size = amount
        if size != amount and self.has(Guard.SETTLE_SIZE):
            return ledger, "MISMATCH"
        return ledger._replace(
            chunks=ledger.chunks - {(chunk, size)} if self.has(Guard.SETTLE_REMOVES) else ledger.chunks,
            updated=(ledger.updated or 0) + size if self.has(Guard.SETTLE_COUNTS) else ledger.updated,
        ), "SETTLED"

    def split(self, ledger: LedgerState, execution: str, chunk: str) -> Transition:
        """Apply split_chunk."""
        if ledger.execution != execution and self.has(Guard.SPLIT_EXECUTION):
            return ledger, "STALE"
        size = dict(ledger.chunks).get(chunk)
        if size is None:
            if self.has(Guard.SPLIT_KNOWN):
                return ledger, "DUPLICATE"
            size = 2
        if size == 1 and self.has(Guard.SPLIT_SEVERAL):
            return ledger, "SINGLE"
        larger = (size + 1) // 2
        halves = {f"{chunk}.0": larger, f"{chunk}.1": size - larger}
        chunks = ledger.chunks - {(chunk, size)} if self.has(Guard.SPLIT_REMOVES) else ledger.chunks
        if self.has(Guard.SPLIT_ADDS):
            chunks = self._except(ledger._replace(chunks=chunks), halves) | frozenset(halves.items())
        return ledger._replace(chunks=chunks), "SPLIT"

    def fail(self, ledger: LedgerState, execution: str, chunk: str) -> Transition:
        """Apply fail_entity."""
        if ledger.execution != execution and self.has(Guard.FAIL_EXECUTION):
            return ledger, "STALE"
        size = dict(ledger.chunks).get(chunk)
        if size is None:
            if self.has(Guard.FAIL_KNOWN):
                return ledger, "DUPLICATE"
            size = 1
        if size != 1 and self.has(Guard.FAIL_SINGLE):
            return ledger, "MISMATCH"
        return ledger._replace(
            chunks=ledger.chunks - {(chunk, size)} if self.has(Guard.FAIL_REMOVES) else ledger.chunks,
            errors=ledger.errors | {chunk} if self.has(Guard.FAIL_KEEPS_ERROR) else ledger.errors,
            updated=(ledger.updated or 0) + 1 if self.has(Guard.FAIL_COUNTS_UPDATED) else ledger.updated,
            failed=(ledger.failed or 0) + 1 if self.has(Guard.FAIL_COUNTS_FAILED) else ledger.failed,
        ), "FAILED"

    def advance(self, ledger: LedgerState, execution: str, since: int, to: int) -> Transition:
        """Apply advance_ordinal."""
        if ledger.execution != execution and self.has(Guard.ADVANCE_EXECUTION):
            return ledger, "FENCED"
        if ledger.ordinal != since and self.has(Guard.ADVANCE_ORDINAL):
            return ledger, "ALREADY" if ledger.ordinal == to else "FENCED"
        if (ledger.scheduled is None or ledger.updated != ledger.scheduled) and self.has(Guard.ADVANCE_COUNTERS):
            return ledger, "FENCED"
        if ledger.chunks and self.has(Guard.ADVANCE_LEDGER):
            return ledger, "FENCED"
        return ledger._replace(
            ordinal=to if self.has(Guard.ADVANCE_MOVES) else ledger.ordinal,
            errors=frozenset() if self.has(Guard.ADVANCE_ERRORS) else ledger.errors,
        ), "ADVANCED"

    def poll(self, ledger: LedgerState, execution: str, entities: int) -> Poll:
        """Return what the producer of an execution over this number of entities concludes from the ledger."""
        if ledger.execution != execution and self.has(Guard.POLL_EXECUTION):
            return Poll.GIVE_UP
        if ledger.chunks and self.has(Guard.POLL_LEDGER):
            return Poll.OUTSTANDING
        agree = (ledger.scheduled, ledger.updated, ledger.failed) == (
            entities,
            entities,
            len(ledger.errors),
        )
        return Poll.SETTLED if agree or not self.has(Guard.POLL_COUNTERS) else Poll.GIVE_UP

    @staticmethod
    def _except(ledger: LedgerState, chunks: Mapping[str, int]) -> frozenset[tuple[str, int]]:
        """Return the ledger's chunks without these, whatever their sizes: HSET overwrites."""
        return frozenset(entry for entry in ledger.chunks if entry[0] not in chunks)
