"""The event loop goes on whatever a page contains: the lock is renewed on it, and expires otherwise."""

import asyncio
import time

from producer.batch.execution import ExecutionLimits
from producer.batch.importer import BatchImporter
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from producer.control.lock import TTL_SECONDS
from shared.model.batch import Batch
from shared.model.messages import Entity
from tests.support.batch_harness import PERSON, running_importer
from tests.support.brokers import connected

MANY = 200_000


async def test_a_page_of_many_tiny_entities_leaves_the_lock_time_to_be_renewed(nats_uri: str, redis_uri: str) -> None:
    """However many entities a page has, no step of the event loop takes as long as the lock's renewal may wait."""
    async with running_importer(nats_uri, redis_uri) as harness:
        gaps: list[float] = []
        probe = asyncio.create_task(_measure_gaps(gaps))
        await harness.import_next(0, b"{}", MANY)
        probe.cancel()
        assert await harness.redis.get(PERSON.key) == str(MANY)
    assert max(gaps) < TTL_SECONDS / 3


async def test_the_event_loop_runs_while_many_entities_are_split(nats_uri: str) -> None:
    """Splitting takes seconds for millions of entities: other tasks go on meanwhile, such as the lock's renewal."""
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    async with connected(nats_uri) as broker:
        importer = BatchImporter(
            Publisher(broker),
            ProgressListener(None),  # type: ignore[arg-type]
            ExecutionLimits(60, 6, None),
            max_chunk_size=1,
        )
        counting = asyncio.create_task(count())
        chunked = await importer._split(Batch(PERSON, 0, MANY, has_more=False, entities=[Entity(b"{}")] * MANY))
        counting.cancel()
    assert len(chunked.chunks) == MANY
    assert steps > 10


async def _measure_gaps(gaps: list[float]) -> None:
    """Note how long the event loop keeps a task waiting that asks for a turn every millisecond."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - before)
        before = now
