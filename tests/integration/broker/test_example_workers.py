"""The example workers of the documentation: they store, report and discard, also what they cannot parse."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import redis
from nats.errors import TimeoutError as NatsTimeoutError

from demo.servers.processes import Server
from shared.broker.connection import Broker
from shared.model import keys
from shared.model.messages import Entity, chunk_headers, encode_chunk
from tests.support.brokers import CHANNELS, connected, count
from tests.support.restricted_users import as_user
from tests.support.waiting import wait_until_async

CHANNEL = CHANNELS[0]
EXECUTION, OLD = "9f" * 12, "00" * 12
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
NODE_MODULES = os.environ.get("EXAMPLES_NODE_MODULES", "")
"""A folder with the packages that the JavaScript example names, where they are installed."""

PYTHON = pytest.param([sys.executable, str(EXAMPLES / "mankeli.py"), CHANNEL], id="python")
JAVASCRIPT = pytest.param(
    ["node", "mankeli.mjs", CHANNEL],
    id="javascript",
    marks=pytest.mark.skipif(not NODE_MODULES, reason="EXAMPLES_NODE_MODULES is not set"),
)
UNPARSABLE = {
    "number": b'{"id":"a","x":1e400}',
    "nesting": b'{"id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no JSON at all": b'{"id":"a","x":',
}


@asynccontextmanager
async def worker(
    command: list[str], nats_uri: str, redis_uri: str, tmp_path: Path, *, name: str = "test", worker_uri: str = ""
) -> AsyncIterator[Broker]:
    """Run an example worker, with streams and a current execution. It may have an address, with a user, of its own."""
    redis.Redis.from_url(redis_uri).set(keys.CURRENT_EXECUTION_HASH, EXECUTION)
    if command[0] == "node":  # which looks for packages beside the program
        shutil.copy(EXAMPLES / "mankeli.mjs", tmp_path)
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    async with connected(nats_uri, name=name) as broker:
        environment = os.environ | {"NATS_URI": worker_uri or nats_uri, "REDIS_URI": redis_uri}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)  # noqa: ASYNC220 - it returns at once
        try:
            yield broker
            assert process.poll() is None, "it has ended"
        finally:
            process.kill()
            process.wait()


async def send(broker: Broker, chunk_id: str, *entities: bytes, execution: str = EXECUTION) -> None:
    """Publish a chunk as the producer does."""
    data = encode_chunk(execution, chunk_id, [Entity(entity) for entity in entities])
    message_id = keys.message_id(execution, chunk_id, 1)
    await broker.publish(keys.CHUNK_STREAM, CHANNEL, data, message_id, chunk_headers(execution, chunk_id))


async def feedback(broker: Broker) -> dict[str, object]:
    """Wait for the next report, and take it off the stream."""
    subscription = await broker.jetstream.pull_subscribe_bind(keys.COLLECTOR_CONSUMER, stream=keys.FEEDBACK_STREAM)

    async def fetch() -> dict[str, object] | None:
        try:
            [message] = await subscription.fetch(1, timeout=1)
        except NatsTimeoutError:
            return None
        await message.ack()
        return dict(orjson.loads(message.data))

    report = await wait_until_async(fetch, "there is feedback")
    await subscription.unsubscribe()
    assert report
    return report


@pytest.mark.parametrize("command", [PYTHON, JAVASCRIPT])
async def test_it_stores_reports_and_discards(
    command: list[str], nats_uri: str, redis_uri: str, tmp_path: Path
) -> None:
    """A chunk of the current execution is reported, one of another is not; both are acknowledged."""
    async with worker(command, nats_uri, redis_uri, tmp_path) as broker:
        await send(broker, "0", b"{}", execution=OLD)
        await send(broker, "1", b"{}", b"{}")
        assert await feedback(broker) == {
            "status": "OK",
            "executionHash": EXECUTION,
            "chunkId": "1",
            "channel": CHANNEL,
            "amount": 2,
        }
        await wait_until_async(lambda: _is_empty(broker), "both are acknowledged")


@pytest.mark.parametrize("command", [PYTHON, JAVASCRIPT])
@pytest.mark.parametrize("entity", UNPARSABLE)
async def test_what_it_cannot_parse_is_reported(
    command: list[str], nats_uri: str, redis_uri: str, tmp_path: Path, entity: str
) -> None:
    """A chunk that no parser, or not this one, takes is reported with FAIL by its headers, and the next one follows."""
    if command[0] == "node" and entity != "no JSON at all":
        pytest.skip("JavaScript parses it")
    async with worker(command, nats_uri, redis_uri, tmp_path) as broker:
        await send(broker, "3.0", UNPARSABLE[entity])
        report = await feedback(broker)
        assert report.pop("stack")
        assert report == {
            "status": "FAIL",
            "executionHash": EXECUTION,
            "chunkId": "3.0",
            "channel": CHANNEL,
            "amount": 0,
        }
        await send(broker, "3.1", b"{}")
        assert (await feedback(broker))["status"] == "OK"
        await wait_until_async(lambda: _is_empty(broker), "both are acknowledged")


@pytest.mark.parametrize("command", [PYTHON, JAVASCRIPT])
async def test_it_works_as_the_shipped_user(
    command: list[str], restricted_nats: Server, redis_uri: str, tmp_path: Path
) -> None:
    """From the workers' account, with the shipped permissions, a chunk is fetched, reported and acknowledged."""
    users = as_user(restricted_nats.uri, "producer"), as_user(restricted_nats.uri, "mankeli")
    async with worker(command, users[0], redis_uri, tmp_path, name="producer", worker_uri=users[1]) as broker:
        await send(broker, "1", b"{}", b"{}")
        await wait_until_async(lambda: _has_feedback(broker), "there is feedback")
        await wait_until_async(lambda: _is_empty(broker), "the chunk is acknowledged")


async def _has_feedback(broker: Broker) -> bool:
    return await count(broker.jetstream, keys.FEEDBACK_STREAM) == 1


async def _is_empty(broker: Broker) -> bool:
    return await count(broker.jetstream) == 0
