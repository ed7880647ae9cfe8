"""A batch on real servers, with a clock that the test sets: what counts as waiting, and what does not."""

import asyncio

from producer.answers import Batch
from producer.batch import BatchImporter
from producer.execution import Patience, Publish
from producer.publisher import Publisher
from producer.wakeup import Wakeup
from shared import keys
from shared.keys import ServiceKeys
from shared.ledger import Ledger, Progress
from shared.messages import Entity
from shared.redis_client import Scripts
from shared.redis_client import make_redis as connect
from shared.services import load_services
from tests.support.brokers import connected
from tests.support.waiting import wait_until_async

PERSON = next(service for service in load_services() if service.name == "PERSON")
PANIC_SECONDS = 60.0


class SlowPublisher(Publisher):
    """Publishing takes longer than the panic time-out, by the clock of the test."""

    now_seconds = 0.0

    async def publish(self, batch: Batch, execution: str, publish: Publish) -> None:
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
        wakeup = Wakeup(redis, [ServiceKeys(PERSON.key).progress])
        ledger = WatchedLedger(Scripts(redis), PERSON.key)
        importer = BatchImporter(
            publisher, wakeup, Patience(PANIC_SECONDS, 6, None), 10, clock=lambda: publisher.now_seconds
        )
        batch = Batch(PERSON, 0, 20, has_more=False, entities=[Entity(b"{}")] * 20)
        work = asyncio.create_task(importer.import_batch(batch, ledger))
        await wait_until_async(lambda: ledger.looks >= 2, "the ledger was looked at, and what came of that was done")
        state = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).state
        assert (state.messages, publisher.now_seconds) == (2, 2 * PANIC_SECONDS)
        progress = await ledger.progress()
        for chunk, size in progress.outstanding.items():
            await ledger.settle(progress.execution, chunk, size)
        assert (await work).chunks == 2
