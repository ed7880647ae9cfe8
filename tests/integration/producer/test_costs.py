"""The costs of a batch, in counts that do not depend on the load of the machine: round trips, messages, bytes, copies.

Each of them was found to matter by measurement (docs/performance.md). A test that fails here shows a change that makes
an import slower, where `make bench` would only show one number among others.
"""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import orjson
import pytest
from redis.asyncio.connection import AbstractConnection

from ack_collector.collector import Collector
from producer.batch import importer as batch_module
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription, Received
from shared.model import keys
from shared.model.messages import Entity, encode_chunk
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from shared.sisu.responses import parse_response
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.redis_client import make_redis as connect
from shared.store.scripts import Scripts
from tests.support.batch_harness import CHUNKS, ENTITIES, ENTITY, PERSON, running_importer
from tests.support.brokers import connected
from tests.support.waiting import wait_until_async

LONG_SECONDS = 30.0
"""Longer than any batch takes here, so that the producer only wakes up because of an event."""


async def test_a_batch_costs_three_round_trips_to_redis(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer begins the execution, reads the progress once when all ten chunks are settled, and advances."""
    monkeypatch.setattr(batch_module, "POLL_SECONDS", LONG_SECONDS)
    async with running_importer(nats_uri, redis_uri) as harness:
        await harness.import_next(0)  # the server learns the scripts
        before = await harness.count_script_calls()
        await harness.import_next(ENTITIES)
        assert harness.settler.replies == ["SETTLED"] * 2 * CHUNKS
        assert await harness.count_script_calls() - before - CHUNKS == 3


async def test_a_batch_costs_one_message_and_one_confirmation_per_chunk(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is sent to NATS, every entity is sent once, and the overhead is below 1 % of the bytes."""
    monkeypatch.setattr(batch_module, "POLL_SECONDS", LONG_SECONDS)
    async with running_importer(nats_uri, redis_uri) as harness:
        await harness.import_next(0)
        before = dict(harness.broker.client.stats)
        await harness.import_next(ENTITIES)
        cost = {name: harness.broker.client.stats[name] - count for name, count in before.items()}
    assert (cost["out_msgs"], cost["in_msgs"]) == (CHUNKS, CHUNKS)
    payload = ENTITIES * (len(ENTITY) + 1)
    assert payload < cost["out_bytes"] < payload * 1.01


async def test_received_feedback_is_counted_in_one_round_trip(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All received reports of success, of any number of services, are counted by one request to Redis."""
    sent: list[object] = []
    async with connected(nats_uri) as broker, connect(redis_uri) as redis:
        scripts = Scripts(RedisClient(redis))
        services = load_services()[:2]
        ledgers = {service.channel: Ledger(scripts, service.key) for service in services}
        subscription = FeedbackSubscription(broker)
        collector = Collector(subscription, ledgers, scripts, Stop())
        await collector.collect(await _reports(broker, subscription, ledgers, 1))  # the server learns the script
        messages = await _reports(broker, subscription, ledgers, 100)
        send = AbstractConnection.send_packed_command

        async def counted(connection: AbstractConnection, command: object, **options: object) -> None:
            sent.append(command)
            await send(connection, command, **options)

        monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
        await collector.collect(messages)
        monkeypatch.undo()
        assert [(await ledger.progress()).outstanding for ledger in ledgers.values()] == [{}, {}]
    assert len(sent) == 1


async def _reports(
    broker: Broker, subscription: FeedbackSubscription, ledgers: dict[str, Ledger], number: int
) -> list[Received]:
    """Start executions with this number of chunks, send reports on all of them, and return the received messages."""
    execution = f"{number:024x}"
    for channel, ledger in ledgers.items():
        await ledger.begin(execution, 0, {str(chunk): 1 for chunk in range(number)})
        for chunk in range(number):
            report = {
                "status": "OK",
                "executionHash": execution,
                "chunkId": str(chunk),
                "channel": channel,
                "amount": 1,
            }
            await broker.jetstream.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(report))
    messages: list[Received] = []

    async def are_received() -> bool:
        messages.extend(await subscription.receive(1))
        return len(messages) == number * len(ledgers)

    await wait_until_async(are_received, "all reports are received")
    return messages


def test_parsing_a_page_copies_no_entity() -> None:
    """Entities are views of SISU's response: parsing a page of 1.9 MB takes less than a tenth of that memory."""
    body = b'{"hasMore":true,"greatestOrdinal":1000,"entities":[' + b",".join([ENTITY] * ENTITIES) + b"]}"
    parse_response(PERSON, 0, body)  # the decoder is created now
    assert _peak_bytes(lambda: parse_response(PERSON, 0, body)) < len(body) / 10


def test_a_chunk_is_copied_once() -> None:
    """The entities are copied once, from the page into the message; joining them first would be a second copy."""
    entities = [Entity(ENTITY)] * 100
    size = sum(map(len, entities))
    assert size < _peak_bytes(lambda: encode_chunk("0" * 24, "1", entities)) < 1.1 * size


def _peak_bytes(work: Callable[[], object]) -> int:
    """Return the peak of the memory that is allocated by this work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("process", "unneeded"),
    [
        ("producer.main", {"typer"}),
        ("ack_collector.main", {"typer", "requests", "urllib3"}),
    ],
)
def test_a_process_loads_only_what_it_needs(process: str, unneeded: set[str]) -> None:
    """No process loads the command line's libraries, nor the collector SISU's, since they cost time and memory."""
    code = f"import sys, {process}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "nats" in loaded
    assert not unneeded & set(loaded)
