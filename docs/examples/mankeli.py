"""A mankeli in its simplest form: python mankeli.py ORI_PERSON_CHANNEL. Needs nats-py, redis, orjson."""

import asyncio
import os
import sys
import traceback

import nats
import orjson
import redis.asyncio
from nats.js.api import ConsumerConfig

CHANNEL = sys.argv[1]


async def store(entities: list[dict]) -> None:
    """Your part: all of them or none, in one transaction; DELETED removes; never an older version over a newer one."""
    print(f"{CHANNEL}: {len(entities)} entities", flush=True)


async def main() -> None:
    connection = await nats.connect(os.environ["NATS_URI"], pending_size=0)
    jetstream = connection.jetstream()
    current = redis.asyncio.from_url(os.environ["REDIS_URI"], decode_responses=True)

    # Durable, so that all processes of this mankeli share the work. No max_deliver: never give up on a chunk.
    config = ConsumerConfig(durable_name=f"mankeli-{CHANNEL}", filter_subject=CHANNEL, ack_wait=60)
    await jetstream.add_consumer("IMPORTER", config)
    subscription = await jetstream.pull_subscribe_bind(config.durable_name, stream="IMPORTER")

    while True:
        try:
            [message] = await subscription.fetch(1, timeout=30)
        except nats.errors.TimeoutError:  # nothing came; or the consumer went with the broker's store: make it again
            await jetstream.add_consumer("IMPORTER", config)
            continue
        chunk = orjson.loads(message.data)

        # A chunk of an execution that was given up: its changes come again in a later one. Drop it.
        if chunk["executionHash"] != await current.get("CURRENT_EXECUTION_HASH"):
            await message.ack()
            continue

        feedback = {"executionHash": chunk["executionHash"], "chunkId": chunk["chunkId"], "channel": CHANNEL}
        try:
            await store(chunk["entities"])
            feedback |= {"status": "OK", "amount": len(chunk["entities"])}
        except Exception:
            feedback |= {"status": "FAIL", "amount": 0, "stack": traceback.format_exc()}

        # Feedback first and confirmed, then the acknowledgement: the other way round a crash in between would lose
        # the feedback. This way the chunk comes again, and its second feedback changes nothing.
        await jetstream.publish("SCHEDULER_STATUS_CHANNEL", orjson.dumps(feedback))
        await message.ack()


asyncio.run(main())
