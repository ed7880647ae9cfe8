"""The bare loop: what nobody can do without. Fetch, parse, cut, publish to JetStream; no ledger, no feedback.

`python -m benchmarks.bare`, a process of its own, with the producer's environment. It is made of the producer's own
parts, so that a ratio to it says what the rest of the producer costs: `--mode ahead` fetches the next page meanwhile,
as the producer does, `--mode steps` does one thing after another, `--mode fetch` only fetches. Prints JSON.
"""

import argparse
import asyncio
import resource
import sys
import time

import orjson

from producer.answers import Batch
from producer.chunking import cut
from producer.execution import Publish, Why
from producer.feed import Feed
from producer.page_size import PageSize
from producer.publisher import Publisher
from producer.sisu import CodebookCache, SisuClient
from shared.broker import Broker
from shared.log import configure_logging
from shared.messages import ENVELOPE_MAX_BYTES
from shared.redis_client import make_redis
from shared.settings import ProducerSettings, read_settings
from shared.stop import Stop

_EXECUTION = "0" * 24


class BareLoop:
    """All pages of one service, from its first ordinal to its last."""

    def __init__(self, settings: ProducerSettings, sisu: SisuClient, publisher: Publisher) -> None:
        self._settings = settings
        self._feed = Feed(sisu, PageSize(settings.fetch_amount, settings.fetch_amount))
        self._publisher = publisher
        [self._service] = settings.chosen_services()

    async def run(self, mode: str) -> int:
        """Answer how many entities there were."""
        since, entities, more = 0, 0, True
        while more:
            batch = await self._feed.take(self._service, since)
            since, more = batch.greatest_ordinal, batch.has_more
            entities += len(batch.entities)
            if more and mode == "ahead":
                self._feed.fetch_ahead(self._service, since)
            if mode != "fetch":
                await self._publish(batch)
        return entities

    async def _publish(self, batch: Batch) -> None:
        max_bytes = self._publisher.max_message_bytes - ENVELOPE_MAX_BYTES
        pieces = cut([len(entity) for entity in batch.entities], self._settings.max_chunk_size, max_bytes)
        # The ordinal as the attempt, or the broker would take all batches for one.
        await self._publisher.publish(batch, _EXECUTION, Publish(pieces.chunks, batch.since, Why.FIRST))


async def _main(mode: str) -> None:
    settings = read_settings(ProducerSettings)
    configure_logging("WARNING", "json")
    redis = make_redis(settings.redis_uri.get_secret_value())
    broker = await Broker.connect(settings, [service.channel for service in settings.service_table()], "bare", Stop())
    loop = BareLoop(settings, SisuClient(settings, CodebookCache(redis)), Publisher(broker))
    started, processor = time.perf_counter(), time.process_time()
    entities = await loop.run(mode)
    figures = {
        "entities": entities,
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    await broker.close()
    await redis.aclose()
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=("ahead", "steps", "fetch"), default="ahead")
    asyncio.run(_main(parser.parse_args().mode))
