"""A minimal mankeli: python mankeli.py ORI_PERSON_CHANNEL. Requires nats-py, redis, orjson."""

import asyncio
import os
import sys
import traceback

import nats.aio.client
import nats.errors
import orjson
import redis.asyncio
from nats.js.api import ConsumerConfig

CHANNEL = sys.argv[1]


class Client(nats.aio.client.Client):
    """A client that sends no password in clear text where NATS_URI is tls://. nats-py 2.16 lets the server decide."""

    def _connect_command(self) -> bytes:
        if "tls://" in os.environ["NATS_URI"] and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server does not demand TLS")
        return super()._connect_command()


async def store(entities: list[dict]) -> None:
    """Replace this: store all or none, in one transaction; remove DELETED ones; keep the newer version of each."""
    print(f"{CHANNEL}: {len(entities)} entities", flush=True)


async def main() -> None:
    """Consume the chunks of the channel until stopped."""
    connection = Client()
    await connection.connect(os.environ["NATS_URI"], pending_size=0)
    jetstream = connection.jetstream()
    current = redis.asyncio.from_url(os.environ["REDIS_URI"], decode_responses=True)

    # Durable: all processes of this mankeli share the work. No max_deliver: a chunk is redelivered until acknowledged.
    config = ConsumerConfig(durable_name=f"mankeli-{CHANNEL}", filter_subject=CHANNEL, ack_wait=60)
    await jetstream.add_consumer("IMPORTER", config)
    subscription = await jetstream.pull_subscribe_bind(config.durable_name, stream="IMPORTER")

    while True:
        try:
            [message] = await subscription.fetch(1, timeout=30)
        except nats.errors.TimeoutError:  # no message, or the consumer is gone: create it
            await jetstream.add_consumer("IMPORTER", config)
            continue
        headers = message.headers or {}
        execution, chunk_id = headers.get("Importer-Execution"), headers.get("Importer-Chunk")

        # Discard a chunk of an obsolete execution: its changes are sent again in a later one.
        if execution != await current.get("CURRENT_EXECUTION_HASH"):
            await message.ack()
            continue

        # The headers, not the body: a chunk that cannot be parsed must be reported like one that cannot be stored.
        feedback = {"executionHash": execution, "chunkId": chunk_id, "channel": CHANNEL}
        try:
            entities = orjson.loads(message.data)["entities"]
            await store(entities)
            feedback |= {"status": "OK", "amount": len(entities)}
        except Exception:
            feedback |= {"status": "FAIL", "amount": 0, "stack": traceback.format_exc()}

        # Acknowledge only after the feedback is confirmed: in the reverse order a crash in between would lose the
        # feedback. In this order the chunk is redelivered, and its second feedback changes nothing.
        await jetstream.publish("SCHEDULER_STATUS_CHANNEL", orjson.dumps(feedback))
        await message.ack()


asyncio.run(main())
