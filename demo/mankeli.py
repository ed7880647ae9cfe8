"""A mankeli that stores into SQLite, and can be told to be slow, to fail, to be silent or to die.

`python -m demo.mankeli --db PATH`, with NATS_URI, NATS_TOKEN and REDIS_URI in the environment. It keeps the contract
that README.md describes ("Writing a mankeli"); `docs/examples` has the same without the misbehaviour. Any number of
them share the work. It prints `ready` when it is attached, and on SIGTERM finishes the chunk in hand.
"""

import argparse
import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import nats
import nats.errors
import nats.js.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from redis.asyncio import Redis, RedisError

from demo.store import Store
from shared import keys
from shared.redis_client import make_redis
from shared.services import BUILT_IN_TABLE, load_services
from shared.stop import Stop

_FETCH_SECONDS = 1.0
_STREAM_SECONDS = 120.0
"""How long to wait for importer-api to make the stream."""


class _Chunk(msgspec.Struct):
    executionHash: str  # noqa: N815 - the contract's names
    chunkId: str  # noqa: N815
    entities: list[msgspec.Raw]


class _Identity(msgspec.Struct):
    id: str | None = None


class RejectedError(Exception):
    """This mankeli was told to fail on this chunk."""


class CurrentExecution:
    """CURRENT_EXECUTION_HASH, kept by pub/sub and read again before anything is discarded for it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: str | None = None

    async def is_it(self, execution: str) -> bool:
        """Whether `execution` is the current one."""
        if execution != self._known:
            # The chunk may have overtaken the message that announces its execution.
            known = await self._redis.get(keys.CURRENT_EXECUTION_HASH)
            self._known = None if known is None else str(known)
        return execution == self._known

    async def follow(self) -> None:
        """Hear of changes, until cancelled. While Redis is away nothing is heard, and `is_it` asks."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(keys.CURRENT_EXECUTION_HASH)
                    async for message in pubsub.listen():
                        self._known = message["data"]
            await asyncio.sleep(1)


class Mankeli:
    """One worker."""

    def __init__(self, options: argparse.Namespace, client: Client, redis: Redis, store: Store) -> None:
        self._options = options
        self._client = client
        self._jetstream = client.jetstream()
        self._store = store
        self._current = CurrentExecution(redis)
        self._services = {service.channel: service.name for service in load_services(options.services_file)}
        self._numbers = itertools.count(1)

    async def run(self, stop: Stop) -> int:
        """Work until asked to stop. Answers the exit code."""
        await self._add_consumer("mankeli", list(self._services))
        await self._add_consumer("mankeli-post-update", [keys.POST_UPDATE_SUBJECT])
        print("ready", flush=True)  # noqa: T201 - for whoever started it
        async with stop.background(
            self._current.follow(), self._consume("mankeli-post-update", self._post_update, stop)
        ):
            await self._consume("mankeli", self._chunk, stop)
        return 0

    async def _add_consumer(self, name: str, subjects: list[str]) -> None:
        config = ConsumerConfig(
            durable_name=name,
            filter_subjects=subjects,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._options.ack_wait_seconds,
        )
        async with asyncio.timeout(_STREAM_SECONDS):
            while True:
                try:
                    await self._jetstream.add_consumer(keys.CHUNK_STREAM, config)
                except (nats.js.errors.NotFoundError, nats.errors.Error):
                    await asyncio.sleep(0.2)  # importer-api has not made the stream yet
                else:
                    return

    async def _consume(self, consumer: str, handle: Callable[[Msg], Awaitable[None]], stop: Stop) -> None:
        subscription = await self._jetstream.pull_subscribe_bind(consumer, stream=keys.CHUNK_STREAM)
        failures = 0
        while not stop.requested:
            try:
                [message] = await subscription.fetch(1, timeout=_FETCH_SECONDS)
            except nats.errors.Error as error:
                failures += 1
                # A consumer that went with the broker's store looks like one that is idle, or nobody answers (503).
                if failures % 5 == 0 and self._client.is_connected:
                    await self._restore_consumers()
                elif not isinstance(error, nats.errors.TimeoutError):
                    await asyncio.sleep(_FETCH_SECONDS)
            else:
                failures = 0
                await handle(message)

    async def _restore_consumers(self) -> None:
        try:
            await self._jetstream.consumer_info(keys.CHUNK_STREAM, "mankeli")
        except nats.js.errors.NotFoundError:
            await self._add_consumer("mankeli", list(self._services))
            await self._add_consumer("mankeli-post-update", [keys.POST_UPDATE_SUBJECT])
        except nats.errors.Error:
            return

    async def _chunk(self, message: Msg) -> None:
        chunk = msgspec.json.decode(message.data, type=_Chunk)
        if not await self._current.is_it(chunk.executionHash):
            await message.ack()
            return
        number = next(self._numbers)
        if self._options.delay_seconds:
            await asyncio.sleep(self._options.delay_seconds)
        feedback: dict[str, object] = {
            "executionHash": chunk.executionHash,
            "chunkId": chunk.chunkId,
            "channel": message.subject,
        }
        try:
            self._reject_if_told_to(chunk, number)
            # In a thread: the connection must answer the broker's pings while SQLite waits for another writer.
            await asyncio.to_thread(
                self._store.apply,
                execution=chunk.executionHash,
                chunk=chunk.chunkId,
                service=self._services[message.subject],
                entities=chunk.entities,
            )
            feedback |= {"status": "OK", "amount": len(chunk.entities)}
        except Exception as error:  # noqa: BLE001 - whatever goes wrong with a chunk is reported
            feedback |= {"status": "FAIL", "amount": 0, "stack": f"{type(error).__name__}: {error}"}
        if self._options.die_after and number > self._options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._report(feedback, number)
        await message.ack()

    def _reject_if_told_to(self, chunk: _Chunk, number: int) -> None:
        options = self._options
        if options.fail_all or (options.fail_every and number % options.fail_every == 0):
            raise RejectedError("told to fail")
        if options.fail_id:
            for entity in chunk.entities:
                identity = msgspec.json.decode(entity, type=_Identity).id
                if identity in options.fail_id:
                    raise RejectedError(f"told to fail on {identity}")

    async def _report(self, feedback: dict[str, object], number: int) -> None:
        """Send feedback, confirmed, before the chunk is acknowledged.

        The other way round a crash in between would lose it; this way the chunk comes again, and counts once.
        """
        if self._options.silent or (self._options.answer_half and number % 2):
            return
        for _ in range(2 if self._options.duplicate_feedback else 1):
            await self._jetstream.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(feedback))

    async def _post_update(self, message: Msg) -> None:
        await asyncio.to_thread(self._store.post_update, orjson.loads(message.data)["runId"])
        await self._jetstream.publish(keys.POST_UPDATE_FINISH_SUBJECT, orjson.dumps({"success": True}))
        await message.ack()


async def _main(options: argparse.Namespace) -> int:
    stop = Stop()
    closing = False

    async def closed() -> None:
        if not closing:
            stop.fail(ConnectionError("NATS closed the connection for good"))

    client = await nats.connect(
        os.environ["NATS_URI"],
        token=os.environ.get("NATS_TOKEN"),
        pending_size=0,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        ping_interval=10,
        closed_cb=closed,
        error_cb=_ignore,
    )
    redis = make_redis(os.environ["REDIS_URI"])
    store = Store(options.db)
    try:
        return await stop.finish(Mankeli(options, client, redis, store).run(stop), grace_seconds=10)
    finally:
        closing = True
        await client.close()
        await redis.aclose()
        store.close()


async def _ignore(_: Exception) -> None:
    """Ignore what the client reports: it reconnects by itself, and `closed` tells when it cannot."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.mankeli", description=__doc__.splitlines()[0])
    parser.add_argument("--db", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--services-file", type=Path, default=BUILT_IN_TABLE)
    parser.add_argument("--ack-wait-seconds", type=float, default=30, help="until a chunk goes to another mankeli")
    parser.add_argument("--delay-seconds", type=float, default=0, help="for each chunk")
    parser.add_argument("--fail-id", action="append", default=[], help="reject the entity with this id")
    parser.add_argument("--fail-every", type=int, default=0, help="reject every so-manieth chunk")
    parser.add_argument("--fail-all", action="store_true", help="reject every chunk")
    parser.add_argument("--silent", action="store_true", help="store, but send no feedback")
    parser.add_argument("--answer-half", action="store_true", help="send feedback for every second chunk")
    parser.add_argument("--duplicate-feedback", action="store_true", help="send all feedback twice")
    parser.add_argument("--die-after", type=int, default=0, help="so many chunks; between storing and feedback")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(_main(_options())))
    except (OSError, RedisError, nats.errors.Error) as lost:
        sys.exit(f"mankeli: {type(lost).__name__}: {lost}")
