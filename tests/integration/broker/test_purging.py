"""Clean-up that NATS denies: it is logged, and ends nothing."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from producer.batch.publisher import Publisher
from shared.broker import connection as broker_module
from shared.broker.connection import Broker
from shared.broker.streams import stream_configs
from shared.model import keys
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from tests.conftest import MakeServer
from tests.support.brokers import CHANNELS, add_stream, connected, count, publish
from tests.support.restricted_users import NATS_USERS, as_user

PERSON = next(service for service in load_services() if service.channel == CHANNELS[0])
PURGE = f'          "$JS.API.STREAM.PURGE.{keys.CHUNK_STREAM}"\n'


async def test_chunks_are_purged(nats_uri: str) -> None:
    """Where nothing denies it, the chunks of an execution that was given up are gone."""
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        assert await _purge(broker) == [("chunks_purged", "")]
        assert await count(broker.jetstream) == 0


async def test_a_stream_that_denies_a_purge(nats_uri: str) -> None:
    """`deny_purge` is a warning at the start and at the purge, and what is stale stays in the queue."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], deny_purge=True))
    stop = Stop()
    with capture_logs() as logged:
        async with connected(nats_uri, stop) as broker:
            await publish(broker, "1")
            ((event, reason),) = await _purge(broker)
            assert (event, await count(broker.jetstream)) == ("chunk_purge_failed", 1)
            assert "rejected the purge of ORI_PERSON_CHANNEL" in reason
            assert not stop._failure.done()
    assert [event["stream"] for event in logged if event["event"] == "stream_purge_denied"] == [keys.CHUNK_STREAM]


async def test_a_user_who_may_not_purge(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to purge without the permission has no reply: that is logged, too, and the connection lives."""
    assert PURGE in NATS_USERS
    monkeypatch.setattr(broker_module, "_API_SECONDS", 1.0)
    server = make_nats(config=NATS_USERS.replace(PURGE, ""))
    stop = Stop()
    channels = [service.channel for service in load_services()]
    settings = broker_module.CommonSettings(nats_uri=as_user(server.uri, "producer"), redis_uri="redis://unused")
    broker = await Broker.connect(settings, channels, "producer", stop)
    async with asyncio.timeout(30):
        await publish(broker, "1")
        ((event, reason),) = await _purge(broker)
        assert event == "chunk_purge_failed"
        assert "did not reply to the purge of ORI_PERSON_CHANNEL" in reason
        await publish(broker, "2")
    assert not stop._failure.done()
    await broker.close()


async def _purge(broker: Broker) -> list[tuple[str, str]]:
    """Purge as after an execution was given up; return what is logged of it, as event and reason."""
    with capture_logs() as logged:
        await Publisher(broker).purge_chunks(PERSON)
    return [(each["event"], each.get("reason", "")) for each in logged if each["event"] != "nats_error"]
