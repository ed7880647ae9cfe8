"""A producer's parts for one batch after another on real servers, and what settles their chunks at once."""

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
    """A mankeli and a collector in one: every chunk that comes is settled at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.verdicts: list[str] = []

    async def take(self, message: Msg) -> None:
        """Settle the chunk in a message."""
        chunk = msgspec.json.decode(message.data)
        size = len(chunk["entities"])
        self.verdicts.append(await settle_one(self._ledger, chunk["executionHash"], chunk["chunkId"], size))


@dataclass
class BatchHarness:
    """A producer's parts on real servers, with a settler on other connections."""

    importer: BatchImporter
    ledger: Ledger
    broker: Broker
    redis: Redis
    settler: Settler

    async def scripts_run(self) -> int:
        """So many times the server was asked to run a script, by anybody."""
        statistics = await self.redis.info("commandstats")
        return int(statistics.get("cmdstat_evalsha", {}).get("calls", 0))

    async def import_next(self, since: int, entity: bytes = ENTITY, number: int = ENTITIES) -> None:
        """Import a batch of this many entities."""
        batch = Batch(PERSON, since, since + number, has_more=True, entities=[Entity(entity)] * number)
        await self.importer.import_batch(batch, self.ledger)


@asynccontextmanager
async def at_work(nats_uri: str, redis_uri: str) -> AsyncIterator[BatchHarness]:
    """Yield a batch importer on these servers, whose every chunk is settled at once."""
    async with AsyncExitStack() as stack:
        broker, others = [await stack.enter_async_context(connected(nats_uri)) for _ in range(2)]
        redis, other_redis = [await stack.enter_async_context(connect(redis_uri)) for _ in range(2)]
        settler = Settler(Ledger(Scripts(RedisClient(other_redis)), PERSON.key))
        await others.client.subscribe(PERSON.channel, cb=settler.take)
        await others.client.flush()
        wakeup = ProgressListener(ProgressChannels(RedisClient(redis), [ServiceKeys(PERSON.key).progress]))
        listening = asyncio.create_task(wakeup.listen())
        stack.callback(listening.cancel)
        await wait_until_async(lambda: _is_heard(other_redis), "the wake-up listens")
        importer = BatchImporter(Publisher(broker), wakeup, ExecutionLimits(60, 6, None), max_chunk_size=100)
        yield BatchHarness(importer, Ledger(Scripts(RedisClient(redis)), PERSON.key), broker, other_redis, settler)


async def _is_heard(redis: Redis) -> bool:
    return bool(await redis.pubsub_numsub(ServiceKeys(PERSON.key).progress) == [(ServiceKeys(PERSON.key).progress, 1)])
