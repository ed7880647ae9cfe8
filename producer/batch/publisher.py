"""Publish a batch's chunks and dead letters, a few at a time, each confirmed by the broker."""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import structlog

from producer.batch.execution import PublishChunks
from shared.broker.connection import Broker
from shared.model import keys
from shared.model.batch import Batch
from shared.model.dead_letter import DeadLetter, DeadLetterReason
from shared.model.errors import DependencyLostError
from shared.model.messages import chunk_headers, encode_chunk, encode_post_update, entity_id
from shared.model.services import Service
from shared.runtime.events import Event
from shared.runtime.tasks import run_concurrently

log = structlog.get_logger()

_CONCURRENCY = 16
"""Enough to hide the round trip to the broker; a whole batch at once would only occupy more memory."""


class Publisher:
    """Publishes for one producer. Publishing raises BrokerRejectedError or DependencyLostError, as `Broker.publish`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def max_message_bytes(self) -> int:
        """The maximum size of a message's body."""
        return self._broker.max_message_bytes

    async def publish(self, batch: Batch, execution: str, publish: PublishChunks) -> None:
        """Publish chunks of a batch; return once all are confirmed."""
        channel = batch.service.channel
        await _run_with_concurrency_limit(
            self._broker.publish(
                keys.CHUNK_STREAM,
                channel,
                encode_chunk(execution, chunk_id, batch.entities[part.start : part.stop]),
                keys.message_id(execution, chunk_id, publish.attempt),
                chunk_headers(execution, chunk_id),
            )
            for chunk_id, part in publish.chunks.items()
        )

    async def publish_dead_letters(
        self, batch: Batch, execution: str, failures: Mapping[int, tuple[DeadLetterReason, str | None]]
    ) -> None:
        """Publish entities of a batch (position → reason and error text) as dead letters; return once all are kept."""
        await _run_with_concurrency_limit(
            self._publish_dead_letter(batch, execution, position, reason, error_text)
            for position, (reason, error_text) in failures.items()
        )

    async def _publish_dead_letter(
        self, batch: Batch, execution: str, position: int, reason: DeadLetterReason, error_text: str | None
    ) -> None:
        entity = batch.entities[position]
        subject = keys.dead_letter_subject(batch.service.channel, entity_id(entity))
        earlier = await self._broker.dead_letters.get(subject)
        dead_letter = DeadLetter.of(
            entity,
            service=batch.service.name,
            channel=batch.service.channel,
            execution=execution,
            reason=reason,
            error_text=error_text,
            earlier=earlier.decode() if earlier else None,
        )
        payload = dead_letter.encode(self.max_message_bytes)
        await self._broker.publish(keys.DEAD_LETTER_STREAM, subject, payload, f"{execution}:dead:{position}")

    async def purge_chunks(self, service: Service) -> None:
        """Remove what the broker still holds of a service's chunks, once their execution is given up.

        Raises nothing: what cannot be removed is stale, and mankelis discard it.
        """
        try:
            await self._broker.purge(service.channel)
        except DependencyLostError as error:  # a connection that is really lost ends the process by itself
            log.warning(Event.CHUNK_PURGE_FAILED, reason=str(error))
        else:
            log.warning(Event.CHUNKS_PURGED)

    async def publish_post_update(self, run_id: str) -> None:
        """Publish POST_UPDATE: everything of a run is stored."""
        await self._broker.publish(
            keys.CHUNK_STREAM, keys.POST_UPDATE_SUBJECT, encode_post_update(run_id), f"post-update:{run_id}"
        )

    async def purge_old_post_updates(self) -> None:
        """Remove the POST_UPDATE messages of earlier runs that no mankeli consumed: they must not accumulate."""
        await self._broker.purge(keys.POST_UPDATE_SUBJECT, keep=1)


async def _run_with_concurrency_limit(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work`, starting the next when one of a few is done, so that few messages are built at a time."""
    rest = iter(work)

    async def run_next() -> None:
        for coroutine in rest:
            await coroutine

    await run_concurrently(run_next() for _ in range(_CONCURRENCY))
