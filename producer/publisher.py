"""Putting a batch's chunks and dead letters on the wire, a few at a time, each confirmed by the broker."""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from producer.answers import Batch
from producer.execution import Publish
from shared import keys
from shared.broker import Broker
from shared.messages import DeadLetterReason, encode_chunk, encode_dead_letter, encode_post_update, entity_id
from shared.services import Service
from shared.tasks import together

_AT_ONCE = 16
"""Enough to hide the round trip to the broker; a window of a whole batch would only hold its memory longer."""


class Publisher:
    """Publishes for one producer. All methods raise BrokerRefusedError and DependencyLostError, as `Broker.publish`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def max_message_bytes(self) -> int:
        """What the body of a message may have."""
        return self._broker.max_message_bytes

    async def publish(self, batch: Batch, execution: str, publish: Publish) -> None:
        """Publish chunks of a batch; returns once all are confirmed."""
        channel = batch.service.channel
        await _a_few_at_a_time(
            self._broker.publish(
                keys.CHUNK_STREAM,
                channel,
                encode_chunk(execution, chunk_id, batch.entities[piece.start : piece.stop]),
                keys.message_id(execution, chunk_id, publish.attempt),
            )
            for chunk_id, piece in publish.chunks.items()
        )

    async def bury(
        self, batch: Batch, execution: str, letters: Mapping[int, tuple[DeadLetterReason, str | None]]
    ) -> None:
        """Keep entities of a batch (by position: reason and error text) as dead letters; returns once all are."""
        await _a_few_at_a_time(
            self._bury(batch, execution, position, reason, error_text)
            for position, (reason, error_text) in letters.items()
        )

    async def _bury(
        self, batch: Batch, execution: str, position: int, reason: DeadLetterReason, error_text: str | None
    ) -> None:
        entity = batch.entities[position]
        subject = keys.dead_letter_subject(batch.service.channel, entity_id(entity))
        earlier = await self._broker.dead_letter(subject)
        letter = encode_dead_letter(
            service=batch.service.name,
            channel=batch.service.channel,
            execution=execution,
            reason=reason,
            error_text=error_text,
            entity=entity,
            earlier=earlier.data if earlier else None,
            max_bytes=self.max_message_bytes,
        )
        await self._broker.publish(keys.DEAD_LETTER_STREAM, subject, letter, f"{execution}:dead:{position}")

    async def take_back(self, service: Service) -> None:
        """Remove what the broker still holds of a service's chunks, once their execution is given up."""
        await self._broker.take_back(service.channel)

    async def publish_post_update(self, run_id: str) -> None:
        """Tell mankelis that everything of a run is stored."""
        await self._broker.publish(
            keys.CHUNK_STREAM, keys.POST_UPDATE_SUBJECT, encode_post_update(run_id), f"post-update:{run_id}"
        )

    async def take_back_post_updates(self) -> None:
        """Remove what tells mankelis of earlier runs, and was taken by nobody: it must not pile up."""
        await self._broker.take_back(keys.POST_UPDATE_SUBJECT, keep=1)


async def _a_few_at_a_time(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work`, taking the next piece when one of a few is done, so that few messages are built at a time."""
    rest = iter(work)

    async def take() -> None:
        for piece in rest:
            await piece

    await together(take() for _ in range(_AT_ONCE))
