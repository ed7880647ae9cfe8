"""The life of a batch: cut, begin, publish, wait until all is settled, bury what was rejected, advance.

Each step is a function of its own, in the order in which they happen. A crash between any two of them is harmless:
until `_advance` has happened the ordinal is where it was, so the batch is fetched again, as a new execution, and what
is still on its way from this one is recognised by its hash and ignored. After it, the batch is done.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from producer.answers import Batch
from producer.chunking import Cut, cut
from producer.execution import Execution, Patience, Publish, Settled, Wait, Why
from producer.publisher import Publisher
from producer.wakeup import Wakeup
from shared import metrics
from shared.errors import ServiceFailedError, SupersededError
from shared.events import Event
from shared.ledger import Ledger, Verdict
from shared.messages import ENVELOPE_MAX_BYTES, DeadLetterReason
from shared.records import BatchState, now

log = structlog.get_logger()

POLL_SECONDS = 0.25
"""How long a change of the ledger can stay unseen when its wake-up was lost: pub/sub forgets."""


@dataclass(frozen=True)
class Imported:
    """What became of a batch whose ordinal has moved on. All counts but `chunks` are of entities."""

    entities: int
    chunks: int
    dead_letters: int


@dataclass(frozen=True)
class _InFlight:
    batch: Batch
    execution: Execution
    begun_at: datetime

    def seconds_unchanged(self, now_seconds: float) -> float:
        """How long nothing has settled, re-sends notwithstanding; 0 before the first look at the ledger."""
        changed = self.execution.changed_at_seconds
        return 0.0 if changed is None else now_seconds - changed

    def state(self, now_seconds: float) -> BatchState:
        """For the heartbeat."""
        return BatchState(
            service=self.batch.service.name,
            execution=self.execution.hash,
            since=self.batch.since,
            greatest_ordinal=self.batch.greatest_ordinal,
            entities=len(self.batch.entities),
            chunks=len(self.execution.sizes),
            begun_at=self.begun_at,
            changed_at=now() - timedelta(seconds=self.seconds_unchanged(now_seconds)),
            resends=self.execution.repeats,
        )


class BatchImporter:
    """Takes batches from fetched to advanced, one after another."""

    def __init__(
        self,
        publisher: Publisher,
        wakeup: Wakeup,
        patience: Patience,
        max_chunk_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._wakeup = wakeup
        self._patience = patience
        self._max_chunk_size = max_chunk_size
        self._clock = clock
        self._in_flight: _InFlight | None = None

    @property
    def in_flight(self) -> BatchState | None:
        """The batch that is being settled, if there is one."""
        return self._in_flight.state(self._clock()) if self._in_flight else None

    @property
    def is_progressing(self) -> bool:
        """Whether the batch in flight, if there is one, settled, split or was taken up within the panic time-out."""
        return self.still_seconds() < self._patience.panic_timeout_seconds

    def still_seconds(self) -> float:
        """For how long nothing of the batch in flight has settled; 0 without one."""
        return self._in_flight.seconds_unchanged(self._clock()) if self._in_flight else 0.0

    async def import_batch(self, batch: Batch, ledger: Ledger) -> Imported:
        """Publish a batch and return when its ordinal has moved on.

        Blocks for as long as mankelis make progress, and a bounded time beyond. Raises ServiceFailedError with the
        ordinal unmoved, or ProcessError.
        """
        pieces = self._cut(batch)
        execution = Execution(pieces.chunks, self._patience)
        with structlog.contextvars.bound_contextvars(execution=execution.hash, since=batch.since):
            await self._begin(batch, execution, ledger)
            self._in_flight = _InFlight(batch, execution, now())
            try:
                settled = await self._settle(batch, execution, ledger)
                await self._bury(batch, execution, pieces, settled)
                await self._advance(batch, execution, ledger)
            except SupersededError:
                raise  # what is on the channel now is another execution's
            except ServiceFailedError:
                await self._publisher.take_back(batch.service)
                log.warning(Event.CHUNKS_TAKEN_BACK)
                raise
            finally:
                self._in_flight = None
        return Imported(len(batch.entities), len(pieces.chunks), len(pieces.too_large) + len(settled.errors))

    def _cut(self, batch: Batch) -> Cut:
        max_bytes = self._publisher.max_message_bytes - ENVELOPE_MAX_BYTES
        return cut([len(entity) for entity in batch.entities], self._max_chunk_size, max_bytes)

    async def _begin(self, batch: Batch, execution: Execution, ledger: Ledger) -> None:
        """The ledger becomes this execution's. Only then may a chunk of it be on its way."""
        verdict = await ledger.begin(execution.hash, batch.since, execution.sizes)
        if verdict is not Verdict.BEGUN:
            raise SupersededError("the ordinal moved while the batch was fetched: another producer took over")
        log.debug(Event.BATCH_BEGUN, entities=len(batch.entities), chunks=len(execution.sizes))

    async def _settle(self, batch: Batch, execution: Execution, ledger: Ledger) -> Settled:
        """Do what the execution says until everything is settled. The first thing it says is to publish all chunks."""
        progress = execution.begun()
        while True:
            match execution.next_step(progress, self._clock()):
                case Settled() as settled:
                    return settled
                case Publish() as publish:
                    await self._publish(batch, execution, ledger, publish)
                    execution.published(self._clock())
                case Wait():
                    pass
            await self._wakeup.wait(POLL_SECONDS)
            progress = await ledger.progress()

    async def _publish(self, batch: Batch, execution: Execution, ledger: Ledger, publish: Publish) -> None:
        if publish.why is Why.RESENT:
            # Mankelis may have been told of another execution meanwhile, and drop what is not of that one.
            await ledger.announce(execution.hash)
            log.warning(Event.CHUNKS_RESENT, chunks=len(publish.chunks), attempt=publish.attempt)
        elif publish.why is Why.SPLIT:
            log.info(Event.CHUNKS_SPLIT, halves=len(publish.chunks))
        metrics.CHUNKS.labels(batch.service.name, publish.why).inc(len(publish.chunks))
        await self._publisher.publish(batch, execution.hash, publish)

    async def _bury(self, batch: Batch, execution: Execution, pieces: Cut, settled: Settled) -> None:
        """Keep every entity that was not delivered as a dead letter, before the ordinal passes it."""
        letters = dict(self._dead_letters(execution, pieces, settled))
        if letters:
            await self._publisher.bury(batch, execution.hash, letters)
            for reason, _ in letters.values():
                metrics.DEAD_LETTERS.labels(batch.service.name, reason).inc()
            log.warning(Event.DEAD_LETTERS, rejected=len(settled.errors), too_large=len(pieces.too_large))

    @staticmethod
    def _dead_letters(
        execution: Execution, pieces: Cut, settled: Settled
    ) -> Iterator[tuple[int, tuple[DeadLetterReason, str | None]]]:
        for position in pieces.too_large:
            yield position, (DeadLetterReason.TOO_LARGE, None)
        for chunk_id, error_text in settled.errors.items():
            yield execution.slice_of(chunk_id).start, (DeadLetterReason.REJECTED, error_text)

    async def _advance(self, batch: Batch, execution: Execution, ledger: Ledger) -> None:
        verdict = await ledger.advance(execution.hash, batch.since, batch.greatest_ordinal)
        if verdict not in (Verdict.ADVANCED, Verdict.ALREADY):
            raise SupersededError("the ordinal was not moved: this execution is no longer the one that may do it")
        log.debug(Event.BATCH_SETTLED, entities=len(batch.entities), ordinal=batch.greatest_ordinal)
