"""A mankeli of the STAN era: it speaks STAN, knows the current execution by one text, and names no chunk.

It does what the workers of that time do, their weaknesses included: it never reads CURRENT_EXECUTION_HASH again, so it
drops what a missed pub/sub message made foreign; and it may be told to misbehave as they were seen to.
`python -m demo.stan_mankeli` runs one.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
from redis.asyncio import Redis, RedisError

from demo.mankeli.store import MankeliStore
from shared.broker.stan.messages import StartPosition
from shared.broker.stan.session import StanDelivery, StanSession
from shared.model import keys
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient

GROUP = "importer-api.workers"
_LOCK_SECONDS = 30
_RESUBSCRIBE_SECONDS = 0.2


class _Chunk(msgspec.Struct):
    executionHash: str  # noqa: N815 - the contract's names
    entities: list[msgspec.Raw]
    chunkId: str = ""  # noqa: N815
    piece: str = ""


class _Identity(msgspec.Struct):
    id: str | None = None


@dataclass(frozen=True)
class StanMankeliOptions:
    """The services table to work on, and how to misbehave."""

    services_file: Path
    ack_wait_seconds: int
    delay_seconds: float
    """For each message."""
    fail_id: Sequence[str]
    """The ids of entities whose messages are rejected."""
    fail_every: int
    """Every Nth message is rejected; 0: none."""
    report_twice: bool
    drop_every: int
    """Every Nth message is acknowledged without being stored or reported; 0: none."""
    unresponsive: bool
    """Receive messages, and do nothing with them: what these workers do once STAN was away for long."""
    die_after: int
    """After N messages, die between storing one and its report; 0: never."""


class RejectedError(Exception):
    """This mankeli was told to fail on this message."""


class StanMankeli:
    """One worker."""

    def __init__(
        self, options: StanMankeliOptions, session: StanSession, redis: RedisClient, store: MankeliStore
    ) -> None:
        self._options = options
        self._session = session
        self._redis = redis
        self._store = store
        self._services = {service.channel: service.name for service in load_services(options.services_file)}
        self._numbers = itertools.count(1)
        self._hash: str | None = None
        self._hash_known = asyncio.Event()

    async def run(self, stop: Stop) -> int:
        """Work until stopped by signal, and return the exit code."""
        async with stop.background(self._session.run(), self._follow()):
            await self._migrate()
            await self._subscribe(keys.POST_UPDATE_SUBJECT)
            print("ready", flush=True)  # noqa: T201 - read by the process that started it
            # The channels only once an execution is known.
            await stop.run_interruptible(self._hash_known.wait())
            for channel in self._services:
                await self._subscribe(channel)
            print("subscribed", flush=True)  # noqa: T201
            await stop.wait()
        return 0

    async def _migrate(self) -> None:
        """Take the lock under which workers of that time migrate their database, and release it."""

        async def take_and_release(redis: Redis) -> None:
            await redis.set(keys.STAN_MANKELI_LOCK, "1", ex=_LOCK_SECONDS)
            await redis.delete(keys.STAN_MANKELI_LOCK)

        await self._redis.run("the lock of the migrations", take_and_release)

    async def _subscribe(self, channel: str) -> None:
        handle = self._handle_post_update if channel == keys.POST_UPDATE_SUBJECT else self._handle
        await self._session.subscribe(
            channel,
            handle,
            queue_group=GROUP,
            durable_name=GROUP,
            start=StartPosition.FIRST,
            max_in_flight=1,
            ack_wait_seconds=self._options.ack_wait_seconds,
        )

    async def _follow(self) -> None:
        """Learn the current execution: once by reading the key, then by pub/sub alone."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(keys.CURRENT_EXECUTION_HASH)
                    if self._hash is None:
                        current = await self._redis.redis.get(keys.CURRENT_EXECUTION_HASH)
                        self._learn(None if current is None else str(current))
                    async for message in pubsub.listen():
                        self._learn(message["data"])
            await asyncio.sleep(_RESUBSCRIBE_SECONDS)

    def _learn(self, execution: str | None) -> None:
        if execution is not None:
            self._hash = execution
            self._hash_known.set()

    async def _handle(self, delivery: StanDelivery) -> None:
        chunk = msgspec.json.decode(delivery.data, type=_Chunk)
        options, number = self._options, next(self._numbers)
        if options.unresponsive:
            return
        is_dropped = options.drop_every and number % options.drop_every == 0
        if chunk.executionHash != self._hash or is_dropped:
            await delivery.acknowledge()  # without a report
            return
        if options.delay_seconds:
            await asyncio.sleep(options.delay_seconds)
        try:
            self._reject(chunk, number)
            await self._store_piece(chunk, delivery.channel)
            report = {
                "status": "OK",
                "amount": len(chunk.entities),
                "channel": delivery.channel,
                "executionHash": chunk.executionHash,
            }
        except Exception as error:  # noqa: BLE001 - every error is reported, with the whole message
            echo = {
                "status": "FAIL",
                "amount": 0,
                "channel": delivery.channel,
                "stack": f"{type(error).__name__}: {error}",
            }
            report = orjson.loads(delivery.data) | echo
        if options.die_after and number > options.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(2 if options.report_twice else 1):
            await self._session.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(report))
        await delivery.acknowledge()

    def _reject(self, chunk: _Chunk, number: int) -> None:
        if self._options.fail_every and number % self._options.fail_every == 0:
            raise RejectedError("told to fail")
        for entity in chunk.entities if self._options.fail_id else ():
            identity = msgspec.json.decode(entity, type=_Identity).id
            if identity in self._options.fail_id:
                raise RejectedError(f"told to fail on {identity}")

    async def _store_piece(self, chunk: _Chunk, channel: str) -> None:
        # In a thread: the session must reply to heartbeats while SQLite waits for another writer.
        await asyncio.to_thread(
            self._store.apply,
            execution=chunk.executionHash.partition(":")[0],
            chunk=chunk.piece,
            service=self._services[channel],
            entities=chunk.entities,
        )

    async def _handle_post_update(self, delivery: StanDelivery) -> None:
        run_id = str(orjson.loads(delivery.data).get("runId", ""))
        await asyncio.to_thread(self._store.post_update, run_id)
        await self._session.publish(keys.POST_UPDATE_FINISH_SUBJECT, orjson.dumps({"success": True}))
        await delivery.acknowledge()
