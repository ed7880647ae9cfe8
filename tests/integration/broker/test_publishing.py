"""Publishing to JetStream on a real server, reliably: a message is stored once, rejected, or fails."""

import asyncio
from dataclasses import replace

import pytest

from shared.broker import connection as broker_module
from shared.broker.streams import stream_configs
from shared.model import keys
from shared.model.errors import BrokerRejectedError, ConfigurationError, DependencyLostError
from shared.model.messages import chunk_headers
from tests.conftest import MakeServer
from tests.support.brokers import CHANNELS, add_stream, connected, count, publish
from tests.support.waiting import wait_until_async

CHANNEL = CHANNELS[0]


@pytest.fixture
def short_publish_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a broker that does not confirm counted as lost after a second."""
    monkeypatch.setattr(broker_module, "_PUBLISH_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(broker_module, "_PUBLISH_DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(broker_module, "_RETRY_BACKOFF_SECONDS", 0.1)


async def test_a_publish_returns_when_the_message_is_stored(nats_uri: str) -> None:
    """A published message is in the stream, on its subject and with its exact bytes."""
    async with connected(nats_uri) as broker:
        await publish(broker, "e:0:1", '{"ä": 1.0}'.encode())
        message = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, CHANNEL)
    assert message.data == '{"ä": 1.0}'.encode()
    assert (message.headers or {})["Nats-Msg-Id"] == "e:0:1"


async def test_a_repeated_message_is_stored_once(nats_uri: str) -> None:
    """A message with the same id is dropped, and one with another id is stored again."""
    async with connected(nats_uri) as broker:
        for message_id in ("e:0:1", "e:0:1", "e:0:2", "e:0:1"):
            await publish(broker, message_id)
        assert await count(broker.jetstream) == 2


async def test_the_largest_message_is_accepted_and_the_connection_survives(make_nats: MakeServer) -> None:
    """A message of exactly the announced size, with headers, is stored; the limit is the server's minus 4 KiB."""
    async with connected(make_nats(config="max_payload: 65536").uri) as broker:
        assert broker.max_message_bytes == 65536 - 4096
        chunk = "9" * 9 + ".1" * 40
        message_id, headers = keys.message_id("9f" * 12, chunk, 999), chunk_headers("9f" * 12, chunk)
        payload = b"x" * broker.max_message_bytes
        await broker.publish(keys.CHUNK_STREAM, CHANNEL, payload, message_id, headers)
        await publish(broker, "2")
        assert await count(broker.jetstream) == 2


async def test_a_server_for_tiny_messages_is_a_configuration_error(make_nats: MakeServer) -> None:
    """A process whose server's messages could hardly hold an entity ends with the reason."""
    with pytest.raises(ConfigurationError, match="max_payload of 16384 bytes"):
        async with connected(make_nats(config="max_payload: 16384").uri):
            pass


@pytest.mark.usefixtures("short_publish_deadline")
async def test_publishing_to_a_missing_stream_creates_it_again(nats_uri: str) -> None:
    """After the broker lost its streams, the next publish creates them again and is stored."""
    async with connected(nats_uri) as broker:
        for stream in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            await broker.jetstream.delete_stream(stream)
        await publish(broker, "1")
        assert await count(broker.jetstream) == 1
        assert len(await broker.jetstream.streams_info()) == 3


@pytest.mark.usefixtures("short_publish_deadline")
async def test_a_full_stream_rejects_messages_and_drops_none(nats_uri: str) -> None:
    """A message beyond the limit of its stream is rejected after the deadline, and earlier ones are kept."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        with pytest.raises(BrokerRejectedError, match=f"rejects a message on {CHANNEL}: maximum messages"):
            await publish(broker, "2")
        assert await count(broker.jetstream) == 1


@pytest.mark.usefixtures("short_publish_deadline")
async def test_a_full_stream_that_is_emptied_accepts_the_message(nats_uri: str) -> None:
    """A publish is retried, and succeeds if the stream has room within the deadline."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        publishing = asyncio.create_task(publish(broker, "2"))
        await broker.jetstream.purge_stream(keys.CHUNK_STREAM)
        await publishing
        assert await count(broker.jetstream) == 1


async def test_a_purge_affects_one_channel_only(nats_uri: str) -> None:
    """Removing the messages of a channel leaves those of other channels in the stream."""
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        await broker.publish(keys.CHUNK_STREAM, CHANNELS[1], b"{}", "2")
        await broker.purge(CHANNEL)
        left = await broker.jetstream.get_msg(keys.CHUNK_STREAM, seq=2)
        assert (await count(broker.jetstream), left.subject) == (1, CHANNELS[1])


@pytest.mark.usefixtures("short_publish_deadline")
async def test_a_failed_publish_never_arrives_later(make_nats: MakeServer) -> None:
    """A message whose publish has failed is not sent after a reconnect."""
    server = make_nats()
    async with connected(server.uri) as broker:
        server.kill()
        await wait_until_async(lambda: not broker.client.is_connected, "the loss is detected")
        with pytest.raises(DependencyLostError, match=f"did not confirm a message on {CHANNEL}"):
            await publish(broker, "failed")
        server.start()
        await wait_until_async(lambda: broker.client.is_connected, "it is connected again")
        await publish(broker, "later")
        assert await count(broker.jetstream) == 1
        message = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, CHANNEL)
        assert (message.headers or {})["Nats-Msg-Id"] == "later"


async def test_a_publish_survives_a_restart(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that returns within the deadline gets the message, once."""
    monkeypatch.setattr(broker_module, "_PUBLISH_TIMEOUT_SECONDS", 0.5)
    server = make_nats()
    async with connected(server.uri) as broker:
        await publish(broker, "1")
        server.kill()
        publishing = asyncio.create_task(publish(broker, "2"))
        await asyncio.to_thread(server.start)
        await publishing
        assert await count(broker.jetstream) == 2


@pytest.mark.usefixtures("short_publish_deadline")
async def test_a_publish_to_a_silent_server_fails(make_nats: MakeServer) -> None:
    """A server that is connected and confirms nothing counts as lost after the deadline."""
    server = make_nats()
    async with connected(server.uri) as broker:
        server.pause()
        async with asyncio.timeout(10):
            with pytest.raises(DependencyLostError, match=f"did not confirm a message on {CHANNEL}"):
                await publish(broker, "1")
        server.resume()
