"""What importing a service would mean: walks its feed, and publishes and stores nothing."""

import time
from collections.abc import AsyncIterator

from producer.chunking import cut
from producer.sisu import SisuClient
from shared.messages import ENVELOPE_MAX_BYTES
from shared.records import Record
from shared.services import Service


class Plan(Record, kw_only=True):
    """What was found up to now. The walk is over when `complete` is true."""

    service: str
    since: int
    ordinal: int
    """The greatest one so far."""
    complete: bool = False
    pages: int = 0
    entities: int = 0
    entity_bytes: int = 0
    chunks: int = 0
    too_large: int = 0
    """Entities that would become dead letters, since no message can hold them."""
    fetch_seconds: float = 0.0
    import_seconds: float | None = None
    """An estimate, by the speed that this service had in its last runs; None where it had none."""


async def walk(
    sisu: SisuClient, service: Service, since: int, max_chunk_size: int, max_message_bytes: int
) -> AsyncIterator[Plan]:
    """Fetch page after page, and answer after each what was found up to it. Raises as `SisuClient.fetch`."""
    plan = Plan(service=service.name, since=since, ordinal=since)
    while not plan.complete:
        began = time.monotonic()
        batch = await sisu.fetch(service, plan.ordinal)
        plan.fetch_seconds += time.monotonic() - began
        sizes = [len(entity) for entity in batch.entities]
        pieces = cut(sizes, max_chunk_size, max_message_bytes - ENVELOPE_MAX_BYTES)
        plan.pages += 1
        plan.entities += len(sizes)
        plan.entity_bytes += sum(sizes)
        plan.chunks += len(pieces.chunks)
        plan.too_large += len(pieces.too_large)
        plan.ordinal = batch.greatest_ordinal
        plan.complete = not batch.has_more
        yield plan
