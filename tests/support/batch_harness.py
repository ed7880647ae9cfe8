"""A batch importer on real servers, and a settler that settles its chunks at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec
import orjson
from nats.aio.msg import Msg
from redis.asyncio import Redis

from producer.batch.execution import ExecutionLimits
from producer.batch.importer import BatchImporter
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from shared.broker.connection import Broker
from shared.model.batch import Batch
from shared.model.keys import ServiceKeys
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
ENTITIES, CHUNKS = 1000, 10
ENTITY = orjson.dumps({"id": "hy-hlo-1", "documentState": "ACTIVE", "n": "x" * 1850})


class Settler:
    """A mankeli and a collector in one: it settles every chunk at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.replies: list[str] = []

    async def settle(self, message: Msg) -> None:
        """Settle the chunk of this message."""
        chunk = msgspec.json.decode(message.data)
        size = len(chunk["entities"])
        self.replies.append(await settle_one(self._ledger, chunk["executionHash"], chunk["chunkId"], size))


@dataclass
class ImporterHarness:
    """A batch importer on real servers, with a settler on other connections."""

    importer: BatchImporter
    ledger: Ledger
    broker: Broker
    redis: Redis
    settler: Settler

    async def count_script_calls(self) -> int:
        """Return how often the server was asked to run a script, by any client."""
        statistics = await self.redis.info("commandstats")
        return int(statistics.get("cmdstat_evalsha", {}).get("calls", 0))

    async def import_next(self, since: int, entity: bytes = ENTITY, number: int = ENTITIES) -> None:
        """Import a batch of this number of entities from this ordinal."""
        batch = Batch(PERSON, since, since + number, has_more=True, entities=[Entity(entity)] * number)
        await self.importer.import_batch(batch, self.ledger)


@asynccontextmanager
async def running_importer(nats_uri: str, redis_uri: str) -> AsyncIterator[ImporterHarness]:
    """Connect a batch importer whose progress listener is subscribed."""
    async with AsyncExitStack() as stack:
        broker, other_broker = [await stack.enter_async_context(connected(nats_uri)) for _ in range(2)]
        redis, other_redis = [await stack.enter_async_context(connect(redis_uri)) for _ in range(2)]
        settler = Settler(Ledger(Scripts(RedisClient(other_redis)), PERSON.key))
        await other_broker.client.subscribe(PERSON.channel, cb=settler.settle)
        await other_broker.client.flush()
        listener = ProgressListener(ProgressChannels(RedisClient(redis), [ServiceKeys(PERSON.key).progress]))
        listening = asyncio.create_task(listener.listen())
        stack.callback(listening.cancel)
        await wait_until_async(lambda: _is_subscribed(other_redis), "the progress listener is subscribed")
        importer = BatchImporter(Publisher(broker), listener, ExecutionLimits(60, 6, None), max_chunk_size=100)
        yield ImporterHarness(importer, Ledger(Scripts(RedisClient(redis)), PERSON.key), broker, other_redis, settler)


async def _is_subscribed(redis: Redis) -> bool:
    channel = ServiceKeys(PERSON.key).progress
    return bool(await redis.pubsub_numsub(channel) == [(channel, 1)])
