"""The baseline loop: the minimum of any import. Fetch, parse, split, publish to JetStream; no ledger, no feedback.

`python -m benchmarks.baseline` is a process of its own, with the producer's environment. It consists of the producer's
own parts, so that a ratio to it says what the rest of the producer costs: `--mode ahead` fetches the next page
meanwhile, as the producer does, `--mode steps` does one step after another, `--mode fetch` only fetches. Prints JSON.
"""

import argparse
import asyncio
import resource
import sys
import time

import orjson

from producer.batch.execution import PublishChunks, PublishReason
from producer.batch.publisher import Publisher
from producer.run.adaptive_page_size import AdaptivePageSize
from producer.run.prefetcher import Prefetcher
from shared.broker.connection import Broker
from shared.config.settings import ProducerSettings, read_settings
from shared.model.batch import Batch
from shared.model.chunking import split_into_chunks
from shared.model.messages import ENVELOPE_MAX_BYTES
from shared.runtime.logging_setup import configure_logging
from shared.runtime.shutdown import Stop
from shared.sisu.client import SisuClient
from shared.store.codebook_cache import CodebookCache
from shared.store.redis_client import connect_redis

_EXECUTION = "0" * 24


class BaselineLoop:
    """The loop over all pages of one service, from its first ordinal to its last."""

    def __init__(self, settings: ProducerSettings, sisu: SisuClient, publisher: Publisher) -> None:
        self._settings = settings
        self._prefetcher = Prefetcher(sisu, AdaptivePageSize(settings.fetch_amount, settings.fetch_amount))
        self._publisher = publisher
        [self._service] = settings.chosen_services()

    async def run(self, mode: str) -> int:
        """Run the loop, and return the number of entities."""
        since, entities, has_more = 0, 0, True
        while has_more:
            batch = await self._prefetcher.next_batch(self._service, since)
            since, has_more = batch.greatest_ordinal, batch.has_more
            entities += len(batch.entities)
            if has_more and mode == "ahead":
                self._prefetcher.fetch_ahead(self._service, since)
            if mode != "fetch":
                await self._publish(batch)
        return entities

    async def _publish(self, batch: Batch) -> None:
        max_bytes = self._publisher.max_message_bytes - ENVELOPE_MAX_BYTES
        sizes = [len(entity) for entity in batch.entities]
        chunked = split_into_chunks(sizes, self._settings.max_chunk_size, max_bytes)
        # The ordinal serves as the attempt: the broker would discard the chunks of a second batch as duplicates.
        publish = PublishChunks(chunked.chunks, batch.since, PublishReason.FIRST)
        await self._publisher.publish(batch, _EXECUTION, publish)


async def _main(mode: str) -> None:
    settings = read_settings(ProducerSettings)
    configure_logging("WARNING", "json")
    redis = await connect_redis(settings.redis_uri.get_secret_value())
    channels = [service.channel for service in settings.service_table()]
    broker = await Broker.connect(settings, channels, "baseline", Stop())
    loop = BaselineLoop(settings, SisuClient(settings, CodebookCache(redis)), Publisher(broker))
    started, processor_started = time.perf_counter(), time.process_time()
    entities = await loop.run(mode)
    figures = {
        "entities": entities,
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor_started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    await broker.close()
    await redis.close()
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline", description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=("ahead", "steps", "fetch"), default="ahead")
    asyncio.run(_main(parser.parse_args().mode))
