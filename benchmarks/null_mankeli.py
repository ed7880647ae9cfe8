"""`python -m benchmarks.null_mankeli`: answers every chunk at once, and stores nothing. Prints `ready`.

It keeps the contract but for two things that cost time and that a benchmark without faults does not need: it does not
wait for the broker's confirmation of its feedback, and it does not look at CURRENT_EXECUTION_HASH.
"""

import argparse
import asyncio
import os
import sys

import msgspec
import nats
import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from shared import keys

_PULL_MESSAGES = 100


class _Chunk(msgspec.Struct):
    executionHash: str  # noqa: N815 - the contract's names
    chunkId: str  # noqa: N815
    entities: list[msgspec.Raw]


async def work(options: argparse.Namespace) -> None:
    """Answer until killed."""
    client = await nats.connect(os.environ["NATS_URI"])
    jetstream = client.jetstream()
    config = ConsumerConfig(durable_name="null", ack_policy=AckPolicy.EXPLICIT, ack_wait=60, max_ack_pending=20_000)
    await jetstream.add_consumer(keys.CHUNK_STREAM, config)
    inbox = client.new_inbox()
    request = orjson.dumps({"batch": _PULL_MESSAGES, "expires": 30 * 10**9})
    due = _PULL_MESSAGES
    failed: set[str] = set()

    async def answer(message: Msg) -> None:
        nonlocal due
        if (message.headers or {}).get("Status"):
            await client.publish(next_subject, request, inbox)
            return
        due -= 1
        if due == _PULL_MESSAGES // 2:
            due += _PULL_MESSAGES
            await client.publish(next_subject, request, inbox)
        if options.delay_ms:
            await asyncio.sleep(options.delay_ms / 1000)
        if message.subject != keys.POST_UPDATE_SUBJECT:
            chunk = msgspec.json.decode(message.data, type=_Chunk)
            bad = options.bad_id and options.bad_id.encode() in message.data
            feedback = {
                "status": "FAIL" if bad else "OK",
                "executionHash": chunk.executionHash,
                "chunkId": chunk.chunkId,
                "channel": message.subject,
                "amount": 0 if bad else len(chunk.entities),
            }
            failed.add(chunk.chunkId) if bad else None
            await client.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(feedback))
        else:
            await client.publish(keys.POST_UPDATE_FINISH_SUBJECT, b'{"success":true}')
        await client.publish(message.reply, b"+ACK")

    next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.null"
    await client.subscribe(inbox, cb=answer)
    await client.publish(next_subject, request, inbox)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Read the options and work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--delay-ms", type=float, default=0, help="for each chunk, one after another")
    parser.add_argument("--bad-id", default="", help="reject chunks that have the entity with this id")
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
