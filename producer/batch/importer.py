"""The life of a batch: split, begin, publish, wait until everything is settled, keep what was rejected, advance.

Each step is a function of its own, in the order in which they happen. A crash between any two of them is harmless:
until `_advance` has happened the ordinal is where it was, so the batch is fetched again, as a new execution, and what
is still on its way from this one is recognised by its hash and ignored. After it, the batch is done.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from producer.batch.execution import Execution, ExecutionLimits, PublishChunks, PublishReason, Settled, Wait
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from shared.model.batch import Batch
from shared.model.chunking import ChunkedBatch, split_into_chunks
from shared.model.dead_letter import DeadLetterReason
from shared.model.errors import ServiceFailedError, SupersededError
from shared.model.messages import ENVELOPE_MAX_BYTES
from shared.model.records import BatchState, now
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.tasks import run_in_thread
from shared.store.ledger import Ledger

log = structlog.get_logger()

POLL_SECONDS = 0.25
"""How long a change of the ledger can stay unnoticed when its pub/sub message was lost."""
_MANY_ENTITIES = 20_000
"""From here on a thread splits the batch; fewer take some milliseconds."""


@dataclass(frozen=True)
class BatchResult:
    """The result of a batch whose ordinal has moved. All counts but `chunks` are of entities."""

    entities: int
    chunks: int
    dead_letters: int


@dataclass(frozen=True)
class _InFlight:
    batch: Batch
    execution: Execution
    started_at: datetime

    def seconds_since_progress(self, now_seconds: float) -> float:
        """Return for how long nothing has settled, whatever was re-sent; 0 before the first step."""
        changed = self.execution.changed_at_seconds
        return 0.0 if changed is None else now_seconds - changed

    def state(self, now_seconds: float) -> BatchState:
        """Return the state for the heartbeat."""
        return BatchState(
            service=self.batch.service.name,
            execution=self.execution.hash,
            since=self.batch.since,
            greatest_ordinal=self.batch.greatest_ordinal,
            entities=len(self.batch.entities),
            chunks=len(self.execution.sizes),
            started_at=self.started_at,
            changed_at=now() - timedelta(seconds=self.seconds_since_progress(now_seconds)),
            resends=self.execution.consecutive_resends,
        )


class BatchImporter:
    """Takes batches from fetched to advanced, one after another."""

    def __init__(
        self,
        publisher: Publisher,
        progress_listener: ProgressListener,
        limits: ExecutionLimits,
        max_chunk_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._progress_listener = progress_listener
        self._limits = limits
        self._max_chunk_size = max_chunk_size
        self._clock = clock
        self._in_flight: _InFlight | None = None

    def in_flight(self) -> BatchState | None:
        """Return the batch that is being settled, if there is one."""
        return self._in_flight.state(self._clock()) if self._in_flight else None

    def is_progressing(self) -> bool:
        """Return whether the batch in flight, if there is one, has made progress within the panic time-out."""
        return self.stalled_seconds() < self._limits.panic_timeout_seconds

    def stalled_seconds(self) -> float:
        """Return for how long nothing of the batch in flight has settled; 0 without one."""
        return self._in_flight.seconds_since_progress(self._clock()) if self._in_flight else 0.0

    async def import_batch(self, batch: Batch, ledger: Ledger) -> BatchResult:
        """Publish a batch, and return when its ordinal has moved.

        Blocks for as long as mankelis make progress, and a bounded time beyond. Raises ServiceFailedError with the
        ordinal unmoved, or ProcessError.
        """
        chunked = await self._split(batch)
        execution = Execution(chunked.chunks, self._limits)
        with structlog.contextvars.bound_contextvars(execution=execution.hash, since=batch.since):
            await self._begin(batch, execution, ledger)
            self._in_flight = _InFlight(batch, execution, now())
            try:
                settled = await self._settle(batch, execution, ledger)
                await self._publish_dead_letters(batch, execution, chunked, settled)
                await self._advance(batch, execution, ledger)
            except SupersededError:
                raise  # what is on the channel now belongs to another execution
            except ServiceFailedError:
                await self._publisher.purge_chunks(batch.service)
                raise
            finally:
                self._in_flight = None
        return BatchResult(len(batch.entities), len(chunked.chunks), len(chunked.too_large) + len(settled.errors))

    async def _split(self, batch: Batch) -> ChunkedBatch:
        """Split the batch; `too_large` has the unreadable entities, too, which go into no chunk either."""
        max_bytes = self._publisher.max_message_bytes - ENVELOPE_MAX_BYTES

        def split() -> ChunkedBatch:
            sizes = [len(entity) for entity in batch.entities]
            for position in batch.unreadable:
                sizes[position] = max_bytes + 1
            return split_into_chunks(sizes, self._max_chunk_size, max_bytes)

        if len(batch.entities) < _MANY_ENTITIES:
            return split()
        # Seconds for millions of entities, which nothing keeps SISU from sending: the lock is renewed meanwhile.
        return await run_in_thread(split)

    async def _begin(self, batch: Batch, execution: Execution, ledger: Ledger) -> None:
        """Give the ledger to this execution. Only then may a chunk of it be published."""
        if await ledger.begin(execution.hash, batch.since, execution.sizes) != "BEGUN":
            raise SupersededError("the ordinal moved while the batch was fetched: another producer took over")
        log.debug(Event.BATCH_STARTED, entities=len(batch.entities), chunks=len(execution.sizes))

    async def _settle(self, batch: Batch, execution: Execution, ledger: Ledger) -> Settled:
        """Do what the execution says until everything is settled. Its first step is to publish all chunks."""
        progress = execution.initial_progress()
        while True:
            match execution.next_step(progress, self._clock()):
                case Settled() as settled:
                    return settled
                case PublishChunks() as publish:
                    await self._publish(batch, execution, ledger, publish)
                    execution.confirm_published(self._clock())
                case Wait():
                    pass
            await self._progress_listener.wait(POLL_SECONDS)
            progress = await ledger.progress()

    async def _publish(self, batch: Batch, execution: Execution, ledger: Ledger, publish: PublishChunks) -> None:
        if publish.reason is PublishReason.RESENT:
            # Another execution may have been announced meanwhile, and mankelis discard what does not belong to it.
            await ledger.announce(execution.hash)
            log.warning(Event.CHUNKS_RESENT, chunks=len(publish.chunks), attempt=publish.attempt)
        elif publish.reason is PublishReason.SPLIT:
            log.info(Event.CHUNKS_SPLIT, halves=len(publish.chunks))
        metrics.CHUNKS.labels(batch.service.name, publish.reason).inc(len(publish.chunks))
        await self._publisher.publish(batch, execution.hash, publish)

    async def _publish_dead_letters(
        self, batch: Batch, execution: Execution, chunked: ChunkedBatch, settled: Settled
    ) -> None:
        """Keep every entity that was not delivered as a dead letter, before the ordinal passes it."""
        failures = dict(self._failures(batch, execution, chunked, settled))
        if failures:
            await self._publisher.publish_dead_letters(batch, execution.hash, failures)
            for reason, _ in failures.values():
                metrics.DEAD_LETTERS.labels(batch.service.name, reason).inc()
            log.warning(
                Event.DEAD_LETTERS_PUBLISHED,
                rejected=len(settled.errors),
                too_large=len(chunked.too_large) - len(batch.unreadable),
                unreadable=len(batch.unreadable),
            )

    @staticmethod
    def _failures(
        batch: Batch, execution: Execution, chunked: ChunkedBatch, settled: Settled
    ) -> Iterator[tuple[int, tuple[DeadLetterReason, str | None]]]:
        unreadable = set(batch.unreadable)
        for position in chunked.too_large:
            is_unreadable = position in unreadable
            yield position, (DeadLetterReason.UNREADABLE if is_unreadable else DeadLetterReason.TOO_LARGE, None)
        for chunk_id, error_text in settled.errors.items():
            yield execution.slice_of(chunk_id).start, (DeadLetterReason.REJECTED, error_text)

    async def _advance(self, batch: Batch, execution: Execution, ledger: Ledger) -> None:
        """Move the ordinal to the batch's greatest."""
        if await ledger.advance(execution.hash, batch.since, batch.greatest_ordinal) == "FENCED":
            raise SupersededError("the ordinal was not moved: another execution owns the ledger or the ordinal")
        log.debug(Event.BATCH_SETTLED, entities=len(batch.entities), ordinal=batch.greatest_ordinal)
