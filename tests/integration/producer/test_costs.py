"""What a batch costs, in counts that no busy machine changes: round trips, messages, bytes, memory that is copied.

Each of these was found to matter when it was measured (docs/performance.md). A test that fails here tells of a change
that makes an import slower, where `make bench` would only show a number among others.
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
from tests.support.batch_harness import CHUNKS, ENTITIES, ENTITY, PERSON, at_work
from tests.support.brokers import connected
from tests.support.waiting import wait_until_async

LONG_SECONDS = 30.0
"""Longer than any batch takes here, so that only what happened wakes anybody up."""


async def test_a_batch_costs_three_round_trips_to_redis(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin, one look when all is settled, advance: feedback on ten chunks makes the producer look once."""
    monkeypatch.setattr(batch_module, "POLL_SECONDS", LONG_SECONDS)
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.import_next(0)  # the server learns the scripts
        before = await rig.scripts_run()
        await rig.import_next(ENTITIES)
        assert rig.settler.verdicts == ["SETTLED"] * 2 * CHUNKS
        assert await rig.scripts_run() - before - CHUNKS == 3


async def test_a_batch_costs_a_message_and_a_confirmation_a_chunk(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else goes to NATS, and every entity goes once: what is around the entities is below 1 % of the bytes."""
    monkeypatch.setattr(batch_module, "POLL_SECONDS", LONG_SECONDS)
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.import_next(0)
        before = dict(rig.broker.client.stats)
        await rig.import_next(ENTITIES)
        cost = {name: rig.broker.client.stats[name] - count for name, count in before.items()}
    assert (cost["out_msgs"], cost["in_msgs"]) == (CHUNKS, CHUNKS)
    payload = ENTITIES * (len(ENTITY) + 1)
    assert payload < cost["out_bytes"] < payload * 1.01


async def test_feedback_that_has_come_is_counted_in_one_round_trip(
    nats_uri: str, redis_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many reports of success there are, and of however many services."""
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
    """So many chunks of each ledger are outstanding; answers the reports on all of them."""
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

    async def all_are_here() -> bool:
        messages.extend(await subscription.receive(1))
        return len(messages) == number * len(ledgers)

    await wait_until_async(all_are_here, "all reports are here")
    return messages


def test_cutting_a_page_copies_no_entity() -> None:
    """Entities are views of SISU's answer: a page of 1.9 MB is cut within a tenth of that."""
    body = b'{"hasMore":true,"greatestOrdinal":1000,"entities":[' + b",".join([ENTITY] * ENTITIES) + b"]}"
    parse_response(PERSON, 0, body)  # what is made once is there now
    assert _peak_bytes(lambda: parse_response(PERSON, 0, body)) < len(body) / 10


def test_a_chunk_is_copied_once() -> None:
    """From the page into its message, and not on the way there too: joining the entities first would be twice."""
    entities = [Entity(ENTITY)] * 100
    size = sum(map(len, entities))
    assert size < _peak_bytes(lambda: encode_chunk("0" * 24, "1", entities)) < 1.1 * size


def _peak_bytes(work: Callable[[], object]) -> int:
    """Of memory, while this is done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("process", "strangers"),
    [
        ("producer.main", {"typer"}),
        ("ack_collector.main", {"typer", "requests", "urllib3"}),
    ],
)
def test_a_process_loads_only_what_it_needs(process: str, strangers: set[str]) -> None:
    """A library that is loaded for nothing costs start-up and memory: the command line's, or SISU's for a collector."""
    code = f"import sys, {process}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "nats" in loaded
    assert not strangers & set(loaded)
