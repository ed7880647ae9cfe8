"""One attempt to import one batch, as a pure state machine: what to do next, given the ledger's state and the time.

It imports no client library and reads no clock; `producer/batch/importer.py` calls it after every poll of the ledger
and does what it says. The rules, in the order in which they are applied:

1. The ledger belongs to another execution: give up. (A second producer took over, or Redis was rolled back.)
2. More entities failed than the limit: give up. That is a broken mankeli, not bad data.
3. The ledger is empty: the batch is settled, if the counters agree with each other and with the batch.
4. The ledger has chunks that this execution never had, or with another size: give up. (It was changed by hand.)
5. The ledger has chunks that were not published yet (halves of a split): publish them.
6. Nothing changed for too long: publish everything outstanding again; after too many re-sends in a row, give up.
7. Otherwise: wait.

Giving up moves nothing: the ordinal stays, and the next run fetches the same changes as a new execution.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from secrets import token_hex

from shared.model import keys
from shared.model.chunking import Slice, slice_of
from shared.model.errors import ExecutionFailedError, SupersededError
from shared.model.ledger_state import Progress


@dataclass(frozen=True)
class Wait:
    """The step to do nothing until something changes."""


class PublishReason(StrEnum):
    """Why chunks are published."""

    FIRST = "first"
    SPLIT = "split"
    """They are halves of chunks that failed."""
    RESENT = "resent"
    """They were published before, and seem to be lost."""


@dataclass(frozen=True)
class PublishChunks:
    """The step to publish these chunks."""

    chunks: Mapping[str, Slice]
    attempt: int
    """Part of the message ids: the broker drops what it had under the same attempt, and accepts a new one."""
    reason: PublishReason


@dataclass(frozen=True)
class Settled:
    """The step to finish: every entity is stored by a mankeli or was rejected by itself."""

    errors: Mapping[str, str]
    """chunkId → error text, for each entity that was rejected; the chunk is that one entity."""


@dataclass(frozen=True)
class ExecutionLimits:
    """The limits beyond which an execution gives up."""

    panic_timeout_seconds: float
    """Without progress, not in total."""
    retry_limit: int
    """Re-sends in a row without progress in between."""
    dead_letter_limit: int | None
    """Entities of one execution; None: the larger of 10 and 5 % of the batch."""

    def max_failures(self, entities: int) -> int:
        """Return how many of this number of entities may fail."""
        return max(10, entities // 20) if self.dead_letter_limit is None else self.dead_letter_limit


class Execution:
    """The state of one execution over `chunks` (chunkId → slice), none of them published yet."""

    def __init__(self, chunks: dict[str, Slice], limits: ExecutionLimits) -> None:
        self.hash = token_hex(12)
        """Its identity, 24 hexadecimal digits."""
        self.sizes = {chunk: part.size for chunk, part in chunks.items()}
        """chunkId → number of entities, as first published."""
        self._chunks = chunks
        self._entities = sum(self.sizes.values())
        self._limits = limits
        self._published: set[str] = set()
        self._outstanding: Mapping[str, int] = self.sizes
        self.changed_at_seconds: float | None = None
        """When the ledger last changed, by the clock of `next_step`; None before the first step."""
        self._waiting_since_seconds = 0.0
        """When the ledger last changed, or chunks were last published."""
        self.consecutive_resends = 0
        """Re-sends in a row without progress in between."""
        self._attempt = 1

    def slice_of(self, chunk_id: str) -> Slice:
        """Return the entities of a chunk of this execution. Raises KeyError."""
        return slice_of(chunk_id, self._chunks)

    def initial_progress(self) -> Progress:
        """Return the progress of an execution that has just begun."""
        return Progress(self.hash, self._entities, 0, 0, self.sizes, {})

    def next_step(self, progress: Progress, now_seconds: float) -> Wait | PublishChunks | Settled:
        """Return what to do now; `now_seconds` is of a monotonic clock. Returned chunks count as published.

        Raises ExecutionFailedError or, by rule 1, SupersededError to give up.
        """
        self._check_ownership(progress)
        self._check_failures(progress)
        if not progress.outstanding:
            return self._settled(progress)
        self._check_chunks(progress.outstanding)
        if self.changed_at_seconds is None or progress.outstanding != self._outstanding:
            self._outstanding = progress.outstanding
            self.changed_at_seconds = self._waiting_since_seconds = now_seconds
            self.consecutive_resends = 0
        unpublished = progress.outstanding.keys() - self._published
        if unpublished:
            return self._publish(unpublished, PublishReason.SPLIT if self._published else PublishReason.FIRST)
        if now_seconds - self._waiting_since_seconds < self._limits.panic_timeout_seconds:
            return Wait()
        if self.consecutive_resends == self._limits.retry_limit:
            raise ExecutionFailedError(
                f"nothing settled for {self._limits.panic_timeout_seconds:g} s, nor after {self.consecutive_resends} "
                f"re-sends: {len(progress.outstanding)} chunks are outstanding, "
                f"{progress.updated} of {progress.scheduled} entities are settled. "
                "Are mankelis and an ack_collector running?"
            )
        self.consecutive_resends += 1
        self._attempt += 1
        self._waiting_since_seconds = now_seconds
        return self._publish(progress.outstanding.keys(), PublishReason.RESENT)

    def confirm_published(self, now_seconds: float) -> None:
        """Note that the broker has confirmed the chunks of the last step: the wait for them starts now."""
        self._waiting_since_seconds = now_seconds

    def _check_ownership(self, progress: Progress) -> None:
        if progress.execution != self.hash:
            raise SupersededError(
                "another execution owns the ledger: another producer took over, or Redis lost what was written"
            )

    def _check_failures(self, progress: Progress) -> None:
        max_failures = self._limits.max_failures(self._entities)
        if progress.failed > max_failures:
            raise ExecutionFailedError(
                f"mankelis rejected {progress.failed} of {self._entities} entities, more than {max_failures}: "
                "that looks like a broken mankeli; DEAD_LETTER_LIMIT sets how many may be kept as dead letters"
            )

    def _settled(self, progress: Progress) -> Settled:
        counters = (progress.scheduled, progress.updated, progress.failed)
        if counters != (self._entities, self._entities, len(progress.errors)):
            raise ExecutionFailedError(
                f"the ledger is empty, but its counters do not add up: scheduled {progress.scheduled}, updated "
                f"{progress.updated}, failed {progress.failed}, {len(progress.errors)} error texts, "
                f"{self._entities} entities in the batch. Redis lost something"
            )
        self._check_chunks(dict.fromkeys(progress.errors, 1))
        return Settled(progress.errors)

    def _check_chunks(self, chunks: Mapping[str, int]) -> None:
        sizes = self.sizes  # of most chunks: only halves, which are few, are looked up in full
        if any(sizes.get(chunk) != size and not self._has_half(chunk, size) for chunk, size in chunks.items()):
            raise ExecutionFailedError(
                "the ledger has a chunk that is not of this execution, or has another size: it was changed by hand"
            )

    def _has_half(self, chunk_id: str, size: int) -> bool:
        try:
            return bool(keys.CHUNK_ID.fullmatch(chunk_id)) and self.slice_of(chunk_id).size == size
        except KeyError:
            return False

    def _publish(self, chunk_ids: AbstractSet[str], reason: PublishReason) -> PublishChunks:
        self._published |= chunk_ids
        if reason is PublishReason.FIRST and chunk_ids == self._chunks.keys():
            return PublishChunks(self._chunks, self._attempt, reason)  # in order already: there may be many
        slices = {chunk: self.slice_of(chunk) for chunk in chunk_ids}
        in_order = dict(sorted(slices.items(), key=lambda item: item[1].start))
        return PublishChunks(in_order, self._attempt, reason)
