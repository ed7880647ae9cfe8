"""One attempt to import one batch, as a pure state machine: what to do next, given the ledger and the time.

It knows no Redis, no NATS and no clock; `producer/batch.py` asks it after every look at the ledger and does what it
says. The rules, in the order in which they are applied:

1. The ledger is another execution's: give up. (A second producer took over, or Redis went back in time.)
2. More entities failed than are worth keeping: give up. That is a broken mankeli, not bad data.
3. The ledger is empty: the batch is settled, if the counters agree with each other and with what was begun.
4. The ledger has chunks that were not published yet (halves of a split): publish them.
5. Nothing changed for too long: publish all that is outstanding once more; after too many times in a row, give up.
6. Otherwise: wait.

Giving up moves nothing: the ordinal stays, and the next run fetches the same changes as a new execution.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from secrets import token_hex

from producer.chunking import Slice, slice_of
from shared.errors import ExecutionFailedError, SupersededError
from shared.ledger import Progress


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something changes."""


class Why(StrEnum):
    """Why chunks are published."""

    FIRST = "first"
    SPLIT = "split"
    """They are halves of chunks that failed."""
    RESENT = "resent"
    """They were published before, and seem to be lost."""


@dataclass(frozen=True)
class Publish:
    """These chunks are to be published."""

    chunks: Mapping[str, Slice]
    attempt: int
    """Goes into the message ids: the broker drops what it had under the same attempt, and takes a new one."""
    why: Why


@dataclass(frozen=True)
class Settled:
    """Every entity is stored by a mankeli or was rejected by itself."""

    errors: Mapping[str, str]
    """chunkId → error text, for each entity that was rejected; the chunk is that one entity."""


@dataclass(frozen=True)
class Patience:
    """When to give up."""

    panic_timeout_seconds: float
    """Without progress, not in total."""
    retry_limit: int
    """Re-sends in a row without progress in between."""
    dead_letter_limit: int | None
    """Entities of one execution; None: the larger of 10 and 5 % of the batch."""

    def most_failures(self, entities: int) -> int:
        """How many of so many entities may fail."""
        return max(10, entities // 20) if self.dead_letter_limit is None else self.dead_letter_limit


class Execution:
    """The state of one execution over `chunks` (chunkId → slice, as cut), none of them published yet."""

    def __init__(self, chunks: dict[str, Slice], patience: Patience) -> None:
        self.hash = token_hex(12)
        self.sizes = {chunk: piece.size for chunk, piece in chunks.items()}
        self._chunks = chunks
        self._entities = sum(self.sizes.values())
        self._patience = patience
        self._published: set[str] = set()
        self._outstanding: Mapping[str, int] = self.sizes
        self.changed_at_seconds: float | None = None
        """When the ledger last changed; None before the first look at it."""
        self._waiting_since_seconds = 0.0
        """When the ledger last changed, or chunks were last published."""
        self.repeats = 0
        """Re-sends in a row without progress in between."""
        self._attempt = 1

    def slice_of(self, chunk_id: str) -> Slice:
        """The entities of a chunk of this execution. Raises KeyError."""
        return slice_of(chunk_id, self._chunks)

    def begun(self) -> Progress:
        """The ledger as it is when the execution has just begun."""
        return Progress(self.hash, self._entities, 0, 0, self.sizes, {})

    def next_step(self, progress: Progress, now_seconds: float) -> Wait | Publish | Settled:
        """What to do now; `now_seconds` is of a monotonic clock. What is told to be published counts as published.

        Raises ExecutionFailedError or, by rule 1, SupersededError to give up.
        """
        self._must_be_ours(progress)
        if not progress.outstanding:
            return self._settled(progress)
        if self.changed_at_seconds is None or progress.outstanding != self._outstanding:
            self._outstanding = progress.outstanding
            self.changed_at_seconds = self._waiting_since_seconds = now_seconds
            self.repeats = 0
        unpublished = progress.outstanding.keys() - self._published
        if unpublished:
            return self._publish(unpublished, Why.SPLIT if self._published else Why.FIRST)
        if now_seconds - self._waiting_since_seconds < self._patience.panic_timeout_seconds:
            return Wait()
        if self.repeats == self._patience.retry_limit:
            raise ExecutionFailedError(
                f"nothing settled for {self._patience.panic_timeout_seconds:g} s, nor after {self.repeats} re-sends: "
                f"{len(progress.outstanding)} chunks are outstanding, "
                f"{progress.updated} of {progress.scheduled} entities are settled. "
                "Are mankelis and an ack_collector running?"
            )
        self.repeats += 1
        self._attempt += 1
        self._waiting_since_seconds = now_seconds
        return self._publish(progress.outstanding.keys(), Why.RESENT)

    def published(self, now_seconds: float) -> None:
        """The broker has confirmed what was to be published: only now it can be waited for."""
        self._waiting_since_seconds = now_seconds

    def _must_be_ours(self, progress: Progress) -> None:
        if progress.execution != self.hash:
            raise SupersededError(
                "the ledger is no longer this execution's: another producer took over, or Redis lost what was written"
            )
        most = self._patience.most_failures(self._entities)
        if progress.failed > most:
            raise ExecutionFailedError(
                f"mankelis rejected {progress.failed} of {self._entities} entities, more than {most}: "
                "that looks like a broken mankeli; DEAD_LETTER_LIMIT says how many may be kept as dead letters"
            )

    def _settled(self, progress: Progress) -> Settled:
        counters = (progress.scheduled, progress.updated, progress.failed)
        if counters != (self._entities, self._entities, len(progress.errors)):
            raise ExecutionFailedError(
                f"the ledger is empty, but its counters do not add up: scheduled {progress.scheduled}, updated "
                f"{progress.updated}, failed {progress.failed}, {len(progress.errors)} error texts, "
                f"{self._entities} entities in the batch. Redis lost something"
            )
        return Settled(progress.errors)

    def _publish(self, chunk_ids: AbstractSet[str], why: Why) -> Publish:
        self._published |= chunk_ids
        in_order = sorted(chunk_ids, key=lambda chunk: self.slice_of(chunk).start)
        return Publish({chunk: self.slice_of(chunk) for chunk in in_order}, self._attempt, why)
