"""A mankeli that stores into SQLite, and can be told to be slow, to fail, to be silent or to die.

It keeps the contract of a mankeli that the documentation describes; `docs/examples` has the same without the
misbehaviour. Any number of mankelis share the work. `python -m demo.mankeli` runs one.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nats.errors
import nats.js.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from redis.asyncio import RedisError

from demo.mankeli.store import MankeliStore
from shared.model import keys
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient

_CONSUMER = "mankeli"
_POST_UPDATE_CONSUMER = "mankeli-post-update"
_FETCH_SECONDS = 1.0
_STREAM_SECONDS = 120.0
"""How long to wait until importer-api has created the stream."""
_POLL_SECONDS = 0.2
_RESUBSCRIBE_SECONDS = 1.0
_FAILURES_BEFORE_CHECK = 5
"""After this many fetches in a row without a message, check whether the consumers still exist."""


class _Chunk(msgspec.Struct):
    executionHash: str  # noqa: N815 - the contract's names
    chunkId: str  # noqa: N815
    entities: list[msgspec.Raw]


class _Identity(msgspec.Struct):
    id: str | None = None


@dataclass(frozen=True)
class MankeliOptions:
    """The services table to work on, and how to misbehave."""

    services_file: Path
    ack_wait_seconds: float
    """After which an unacknowledged chunk goes to another mankeli."""
    delay_seconds: float
    """For each chunk."""
    fail_id: Sequence[str]
    """The ids of entities whose chunks are rejected."""
    fail_every: int
    """Every Nth chunk is rejected; 0: none."""
    fail_all: bool
    silent: bool
    """Send no feedback."""
    answer_half: bool
    """Send feedback for every second chunk only."""
    duplicate_feedback: bool
    die_after: int
    """After N chunks, die between storing a chunk and its feedback; 0: never."""


class RejectedError(Exception):
    """This mankeli cannot parse this chunk, or was told to fail on it."""


class CurrentExecution:
    """CURRENT_EXECUTION_HASH, kept up to date by pub/sub and read again before a chunk is discarded because of it."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._hash: str | None = None

    async def matches(self, execution: str) -> bool:
        """Return whether `execution` is the current one. Raises DependencyLostError."""
        if execution != self._hash:
            # The chunk may have overtaken the message that announces its execution.
            stored = await self._redis.run(
                "reading the current execution", lambda redis: redis.get(keys.CURRENT_EXECUTION_HASH)
            )
            self._hash = None if stored is None else str(stored)
        return execution == self._hash

    async def follow(self) -> None:
        """Follow changes until cancelled. While Redis is unavailable none is received, and `matches` reads the key."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(keys.CURRENT_EXECUTION_HASH)
                    async for message in pubsub.listen():
                        self._hash = message["data"]
            await asyncio.sleep(_RESUBSCRIBE_SECONDS)


class Mankeli:
    """One worker."""

    def __init__(self, options: MankeliOptions, client: Client, redis: RedisClient, store: MankeliStore) -> None:
        self._options = options
        self._client = client
        self._jetstream = client.jetstream()
        self._store = store
        self._current = CurrentExecution(redis)
        self._services = {service.channel: service.name for service in load_services(options.services_file)}
        self._chunk_numbers = itertools.count(1)

    async def run(self, stop: Stop) -> int:
        """Work until stopped by signal, and return the exit code."""
        await self._add_consumers()
        print("ready", flush=True)  # noqa: T201 - read by the process that started it
        async with stop.background(
            self._current.follow(), self._consume(_POST_UPDATE_CONSUMER, self._handle_post_update, stop)
        ):
            await self._consume(_CONSUMER, self._handle_chunk, stop)
        return 0

    async def _add_consumers(self) -> None:
        await self._add_consumer(_CONSUMER, list(self._services))
        await self._add_consumer(_POST_UPDATE_CONSUMER, [keys.POST_UPDATE_SUBJECT])

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
                    await asyncio.sleep(_POLL_SECONDS)  # importer-api has not created the stream yet
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
                # A consumer that the broker lost with its store looks idle, or there are no responders (503).
                if failures % _FAILURES_BEFORE_CHECK == 0 and self._client.is_connected:
                    await self._restore_consumers()
                elif not isinstance(error, nats.errors.TimeoutError):
                    await asyncio.sleep(_FETCH_SECONDS)
            else:
                failures = 0
                await handle(message)

    async def _restore_consumers(self) -> None:
        try:
            await self._jetstream.consumer_info(keys.CHUNK_STREAM, _CONSUMER)
        except nats.js.errors.NotFoundError:
            await self._add_consumers()
        except nats.errors.Error:
            return

    async def _handle_chunk(self, message: Msg) -> None:
        chunk, parse_error = _parse_chunk(message)
        if not await self._current.matches(chunk.executionHash):
            await message.ack()
            return
        number = next(self._chunk_numbers)
        if self._options.delay_seconds:
            await asyncio.sleep(self._options.delay_seconds)
        feedback: dict[str, object] = {
            "executionHash": chunk.executionHash,
            "chunkId": chunk.chunkId,
            "channel": message.subject,
        }
        try:
            self._reject(chunk, number, parse_error)
            await self._store_chunk(chunk, self._services[message.subject])
            feedback |= {"status": "OK", "amount": len(chunk.entities)}
        except Exception as error:  # noqa: BLE001 - every error in a chunk is reported
            feedback |= {"status": "FAIL", "amount": 0, "stack": f"{type(error).__name__}: {error}"}
        if self._options.die_after and number > self._options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._report(feedback, number)
        await message.ack()

    async def _store_chunk(self, chunk: _Chunk, service: str) -> None:
        # In a thread: the connection must reply to the broker's pings while SQLite waits for another writer.
        await asyncio.to_thread(
            self._store.apply,
            execution=chunk.executionHash,
            chunk=chunk.chunkId,
            service=service,
            entities=chunk.entities,
        )

    def _reject(self, chunk: _Chunk, number: int, parse_error: Exception | None) -> None:
        """Raise where the chunk could not be parsed, or where this mankeli was told to fail."""
        if parse_error:
            raise RejectedError("it cannot be parsed") from parse_error
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

        In the opposite order, a crash in between would lose it; in this one, the chunk is redelivered, and counts once.
        """
        if self._options.silent or (self._options.answer_half and number % 2):
            return
        for _ in range(2 if self._options.duplicate_feedback else 1):
            await self._jetstream.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(feedback))

    async def _handle_post_update(self, message: Msg) -> None:
        await asyncio.to_thread(self._store.post_update, orjson.loads(message.data)["runId"])
        await self._jetstream.publish(keys.POST_UPDATE_FINISH_SUBJECT, orjson.dumps({"success": True}))
        await message.ack()


def _parse_chunk(message: Msg) -> tuple[_Chunk, Exception | None]:
    """Return a chunk; one that cannot be parsed is known by its headers, has no entities, and comes with the error."""
    try:
        return msgspec.json.decode(message.data, type=_Chunk), None
    except (msgspec.DecodeError, RecursionError) as error:
        headers = message.headers or {}
        return _Chunk(headers.get(keys.EXECUTION_HEADER, ""), headers.get(keys.CHUNK_HEADER, ""), []), error
