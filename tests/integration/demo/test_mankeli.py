"""The demo's mankeli follows the contract, as its chunks and feedback on NATS show."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import redis
from nats.aio.subscription import Subscription

from shared.broker.connection import Broker
from shared.model import keys
from tests.support.brokers import connected
from tests.support.programs import ProcessUnderTest
from tests.support.waiting import wait_until_async

CHANNEL = "ORI_PERSON_CHANNEL"
CURRENT, OLD = "c" * 24, "0" * 24


class Observer:
    """A client that sends chunks like the producer, and reads the feedback."""

    def __init__(self, broker: Broker, feedback: Subscription) -> None:
        self._broker = broker
        self._feedback = feedback

    async def send(self, execution: str, chunk: str, *ids: str) -> None:
        """Publish a chunk of entities with these ids."""
        entities = [{"id": entity, "documentState": "ACTIVE"} for entity in ids]
        payload = orjson.dumps({"executionHash": execution, "chunkId": chunk, "entities": entities})
        await self._broker.publish(keys.CHUNK_STREAM, CHANNEL, payload, f"{execution}:{chunk}:1")

    async def feedback(self) -> dict[str, Any]:
        """Return the next feedback."""
        message = await self._feedback.next_msg(timeout=20)
        fields: dict[str, Any] = orjson.loads(message.data)
        return fields

    async def left(self) -> int:
        """Return the number of chunks that are still in the work queue."""
        return (await self._broker.jetstream.stream_info(keys.CHUNK_STREAM)).state.messages


@asynccontextmanager
async def mankeli(
    nats_uri: str, redis_uri: str, db: Path, *arguments: str
) -> AsyncIterator[tuple[Observer, ProcessUnderTest]]:
    """Start a mankeli on streams of its own, while CURRENT is the execution; yield an observer and the process."""
    redis.Redis.from_url(redis_uri).set(keys.CURRENT_EXECUTION_HASH, CURRENT)
    async with connected(nats_uri) as broker:
        feedback = await broker.client.subscribe(keys.FEEDBACK_SUBJECT)
        program = ProcessUnderTest("demo.mankeli", "--db", str(db), *arguments, NATS_URI=nats_uri, REDIS_URI=redis_uri)
        with program:
            await asyncio.to_thread(program.wait_for, "ready")
            yield Observer(broker, feedback), program


def processed(db: Path) -> list[str]:
    """Return the chunks in the history."""
    with sqlite3.connect(db) as connection:
        return [chunk for (chunk,) in connection.execute("SELECT chunk FROM processed ORDER BY seq")]


async def test_a_chunk_is_stored_reported_and_acknowledged(nats_uri: str, redis_uri: str, tmp_path: Path) -> None:
    """The report OK has the execution, chunk, channel and number of entities, and then the work queue is empty."""
    db = tmp_path / "store"
    async with mankeli(nats_uri, redis_uri, db) as (observer, _):
        await observer.send(CURRENT, "0", "a", "b")
        assert await observer.feedback() == {
            "status": "OK",
            "executionHash": CURRENT,
            "chunkId": "0",
            "channel": CHANNEL,
            "amount": 2,
        }

        async def is_empty() -> bool:
            return await observer.left() == 0

        await wait_until_async(is_empty, "the chunk is acknowledged")
    assert processed(db) == ["0"]


async def test_a_stale_chunk_is_discarded_silently(nats_uri: str, redis_uri: str, tmp_path: Path) -> None:
    """A chunk of another execution is acknowledged, not stored and not reported."""
    db = tmp_path / "store"
    async with mankeli(nats_uri, redis_uri, db) as (observer, _):
        await observer.send(OLD, "0", "a")
        await observer.send(CURRENT, "1", "b")
        assert (await observer.feedback())["chunkId"] == "1"
    assert processed(db) == ["1"]


async def test_a_chunk_that_overtakes_the_announcement_is_not_discarded(
    nats_uri: str, redis_uri: str, tmp_path: Path
) -> None:
    """A mankeli that knows an older execution reads the key before it discards a chunk."""
    newer = "d" * 24
    async with mankeli(nats_uri, redis_uri, tmp_path / "store") as (observer, _):
        await observer.send(CURRENT, "0", "a")
        await observer.feedback()
        redis.Redis.from_url(redis_uri).set(keys.CURRENT_EXECUTION_HASH, newer)  # without publishing it
        await observer.send(newer, "0", "b")
        assert (await observer.feedback())["executionHash"] == newer


async def test_a_chunk_with_a_bad_entity_fails_as_a_whole(nats_uri: str, redis_uri: str, tmp_path: Path) -> None:
    """The report FAIL has amount 0 and the error, and nothing of the chunk is stored."""
    db = tmp_path / "store"
    async with mankeli(nats_uri, redis_uri, db, "--fail-id", "b") as (observer, _):
        await observer.send(CURRENT, "0", "a", "b")
        feedback = await observer.feedback()
    assert (feedback["status"], feedback["amount"]) == ("FAIL", 0)
    assert feedback["stack"]
    assert processed(db) == []


async def test_the_chunk_of_a_killed_mankeli_is_redelivered(nats_uri: str, redis_uri: str, tmp_path: Path) -> None:
    """A chunk whose mankeli is killed between storing and reporting goes to the next mankeli."""
    db = tmp_path / "store"
    short = ("--ack-wait-seconds", "1")
    async with mankeli(nats_uri, redis_uri, db, "--die-after", "1", *short) as (observer, first):
        await observer.send(CURRENT, "0", "a")
        assert (await observer.feedback())["chunkId"] == "0"
        await observer.send(CURRENT, "1", "b")
        assert (await asyncio.to_thread(first.outcome)).code == -9
        with ProcessUnderTest("demo.mankeli", "--db", str(db), *short, NATS_URI=nats_uri, REDIS_URI=redis_uri):
            assert (await observer.feedback())["chunkId"] == "1"
    assert processed(db) == ["0", "1", "1"]


async def test_a_mankeli_ends_on_sigterm(nats_uri: str, redis_uri: str, tmp_path: Path) -> None:
    """SIGTERM ends a mankeli with exit code 0."""
    async with mankeli(nats_uri, redis_uri, tmp_path / "store") as (_, program):
        program.terminate()
        assert (await asyncio.to_thread(program.outcome)).code == 0
