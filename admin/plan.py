"""The dry run of an import: fetch all pages of a service and count; publish and store nothing."""

import time
from collections.abc import AsyncIterator

from shared.model.chunking import split_into_chunks
from shared.model.messages import ENVELOPE_MAX_BYTES
from shared.model.records import Record
from shared.model.services import Service
from shared.sisu.client import SisuClient


class Plan(Record, kw_only=True):
    """What was counted so far. The dry run is over when `complete` is true."""

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
    """An estimate, from the throughput of this service in its last runs; None where it had none."""


async def plan_import(
    sisu: SisuClient, service: Service, since: int, max_chunk_size: int, max_message_bytes: int
) -> AsyncIterator[Plan]:
    """Fetch page after page, and yield after each what was counted so far. Raises as `SisuClient.fetch`."""
    plan = Plan(service=service.name, since=since, ordinal=since)
    while not plan.complete:
        started_seconds = time.monotonic()
        batch = await sisu.fetch(service, plan.ordinal)
        plan.fetch_seconds += time.monotonic() - started_seconds
        sizes = [len(entity) for entity in batch.entities]
        chunked = split_into_chunks(sizes, max_chunk_size, max_message_bytes - ENVELOPE_MAX_BYTES)
        plan.pages += 1
        plan.entities += len(sizes)
        plan.entity_bytes += sum(sizes)
        plan.chunks += len(chunked.chunks)
        plan.too_large += len(chunked.too_large)
        plan.ordinal = batch.greatest_ordinal
        plan.complete = not batch.has_more
        yield plan
