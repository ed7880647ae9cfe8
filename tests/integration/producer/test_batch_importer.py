"""A batch on real servers, with a clock that the test sets: which time counts towards the panic time-out."""

import asyncio

from producer.batch.execution import ExecutionLimits, PublishChunks
from producer.batch.importer import BatchImporter
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from shared.model import keys
from shared.model.batch import Batch
from shared.model.keys import ServiceKeys
from shared.model.ledger_state import Progress
from shared.model.messages import Entity
from shared.model.services import load_services
from shared.store.ledger import Ledger
from shared.store.progress_channel import ProgressChannels
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.scripts import Scripts
from tests.support.brokers import connected
from tests.support.ledger_fixture import settle_one
from tests.support.waiting import wait_until_async

PERSON = next(service for service in load_services() if service.name == "PERSON")
PANIC_SECONDS = 60.0


class SlowPublisher(Publisher):
    """A publisher that takes longer than the panic time-out, by the clock of the test."""

    now_seconds = 0.0

    async def publish(self, batch: Batch, execution: str, publish: PublishChunks) -> None:
        """Publish, and move the clock."""
        await super().publish(batch, execution, publish)
        self.now_seconds += 2 * PANIC_SECONDS


class CountingLedger(Ledger):
    """A ledger that counts how often its progress is read."""

    reads = 0

    async def progress(self) -> Progress:
        """Read the progress, and count it."""
        self.reads += 1
        return await super().progress()


async def test_time_spent_on_publishing_causes_no_re_send(nats_uri: str, redis_uri: str) -> None:
    """The panic time-out starts when the broker has confirmed all chunks, so slow publishing triggers no re-send."""
    async with connected(nats_uri) as broker, connect(redis_uri) as redis:
        publisher = SlowPublisher(broker)
        listener = ProgressListener(ProgressChannels(RedisClient(redis), [ServiceKeys(PERSON.key).progress]))
        ledger = CountingLedger(Scripts(RedisClient(redis)), PERSON.key)
        importer = BatchImporter(
            publisher, listener, ExecutionLimits(PANIC_SECONDS, 6, None), 10, clock=lambda: publisher.now_seconds
        )
        batch = Batch(PERSON, 0, 20, has_more=False, entities=[Entity(b"{}")] * 20)
        work = asyncio.create_task(importer.import_batch(batch, ledger))
        await wait_until_async(
            lambda: ledger.reads >= 2, "the ledger was read twice, and the first reading was acted upon"
        )
        state = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state
        assert (state.messages, publisher.now_seconds) == (2, 2 * PANIC_SECONDS)
        progress = await ledger.progress()
        for chunk, size in progress.outstanding.items():
            await settle_one(ledger, progress.execution, chunk, size)
        assert (await work).chunks == 2
