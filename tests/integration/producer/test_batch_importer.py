"""A batch on real servers, with a clock that the test sets: what counts as waiting, and what does not."""

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
    """Publishing takes longer than the panic time-out, by the clock of the test."""

    now_seconds = 0.0

    async def publish(self, batch: Batch, execution: str, publish: PublishChunks) -> None:
        """Publish, and let time pass."""
        await super().publish(batch, execution, publish)
        self.now_seconds += 2 * PANIC_SECONDS


class WatchedLedger(Ledger):
    """Counts how often it is looked at."""

    looks = 0

    async def progress(self) -> Progress:
        """Look, and count it."""
        self.looks += 1
        return await super().progress()


async def test_what_takes_long_to_publish_is_not_sent_again_for_that(nats_uri: str, redis_uri: str) -> None:
    """Mankelis have the whole panic time-out from the moment in which the broker has all chunks."""
    async with connected(nats_uri) as broker, connect(redis_uri) as redis:
        publisher = SlowPublisher(broker)
        wakeup = ProgressListener(ProgressChannels(RedisClient(redis), [ServiceKeys(PERSON.key).progress]))
        ledger = WatchedLedger(Scripts(RedisClient(redis)), PERSON.key)
        importer = BatchImporter(
            publisher, wakeup, ExecutionLimits(PANIC_SECONDS, 6, None), 10, clock=lambda: publisher.now_seconds
        )
        batch = Batch(PERSON, 0, 20, has_more=False, entities=[Entity(b"{}")] * 20)
        work = asyncio.create_task(importer.import_batch(batch, ledger))
        await wait_until_async(lambda: ledger.looks >= 2, "the ledger was looked at, and what came of that was done")
        state = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state
        assert (state.messages, publisher.now_seconds) == (2, 2 * PANIC_SECONDS)
        progress = await ledger.progress()
        for chunk, size in progress.outstanding.items():
            await settle_one(ledger, progress.execution, chunk, size)
        assert (await work).chunks == 2
