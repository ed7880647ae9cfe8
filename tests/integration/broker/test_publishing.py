"""Publishing to JetStream on a real server, and being sure: a message is stored once, refused or given up."""

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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a broker that does not confirm count as unavailable after a second."""
    monkeypatch.setattr(broker_module, "_PUBLISH_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(broker_module, "_PUBLISH_DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(broker_module, "_RETRY_BACKOFF_SECONDS", 0.1)


async def test_a_publish_returns_when_the_message_is_stored(nats_uri: str) -> None:
    """What was published is in the stream, on its subject and byte for byte."""
    async with connected(nats_uri) as broker:
        await publish(broker, "e:0:1", '{"ä": 1.0}'.encode())
        message = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, CHANNEL)
    assert message.data == '{"ä": 1.0}'.encode()
    assert (message.headers or {})["Nats-Msg-Id"] == "e:0:1"


async def test_a_repeated_message_is_stored_once(nats_uri: str) -> None:
    """Under the same id a message is dropped, under another one it is stored again."""
    async with connected(nats_uri) as broker:
        for message_id in ("e:0:1", "e:0:1", "e:0:2", "e:0:1"):
            await publish(broker, message_id)
        assert await count(broker.jetstream) == 2


async def test_the_largest_message_is_taken_and_the_connection_lives(make_nats: MakeServer) -> None:
    """A message of just the announced size, with headers, is stored; the limit is the server's less 4 KiB."""
    async with connected(make_nats(config="max_payload: 65536").uri) as broker:
        assert broker.max_message_bytes == 65536 - 4096
        chunk = "9" * 9 + ".1" * 40
        message_id, headers = keys.message_id("9f" * 12, chunk, 999), chunk_headers("9f" * 12, chunk)
        payload = b"x" * broker.max_message_bytes
        await broker.publish(keys.CHUNK_STREAM, CHANNEL, payload, message_id, headers)
        await publish(broker, "2")
        assert await count(broker.jetstream) == 2


async def test_a_server_for_tiny_messages_is_refused(make_nats: MakeServer) -> None:
    """Where hardly an entity would fit into a message, the process ends and says why."""
    with pytest.raises(ConfigurationError, match="max_payload of 16384 bytes"):
        async with connected(make_nats(config="max_payload: 16384").uri):
            pass


@pytest.mark.usefixtures("impatient")
async def test_a_publish_to_a_stream_that_is_gone_makes_it_again(nats_uri: str) -> None:
    """After the broker lost its streams, the same publish brings them back and is stored."""
    async with connected(nats_uri) as broker:
        for stream in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            await broker.jetstream.delete_stream(stream)
        await publish(broker, "1")
        assert await count(broker.jetstream) == 1
        assert len(await broker.jetstream.streams_info()) == 3


@pytest.mark.usefixtures("impatient")
async def test_a_full_stream_refuses_and_drops_nothing(nats_uri: str) -> None:
    """A message beyond the limit of its stream is refused after the deadline, and those before it are kept."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        with pytest.raises(BrokerRejectedError, match=f"rejects a message on {CHANNEL}: maximum messages"):
            await publish(broker, "2")
        assert await count(broker.jetstream) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_full_stream_that_is_emptied_takes_the_message(nats_uri: str) -> None:
    """A publish goes on trying: room that comes within the deadline is used."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        publishing = asyncio.create_task(publish(broker, "2"))
        await broker.jetstream.purge_stream(keys.CHUNK_STREAM)
        await publishing
        assert await count(broker.jetstream) == 1


async def test_what_is_taken_back_is_one_channels(nats_uri: str) -> None:
    """Removing what is on a channel leaves the other channels alone."""
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        await broker.publish(keys.CHUNK_STREAM, CHANNELS[1], b"{}", "2")
        await broker.purge(CHANNEL)
        left = await broker.jetstream.get_msg(keys.CHUNK_STREAM, seq=2)
        assert (await count(broker.jetstream), left.subject) == (1, CHANNELS[1])


@pytest.mark.usefixtures("impatient")
async def test_a_publish_that_was_given_up_never_arrives(make_nats: MakeServer) -> None:
    """A message that could not be sent is not sent after a reconnect, when nobody waits for it any more."""
    server = make_nats()
    async with connected(server.uri) as broker:
        server.kill()
        await wait_until_async(lambda: not broker.client.is_connected, "the loss is noticed")
        with pytest.raises(DependencyLostError, match=f"did not confirm a message on {CHANNEL}"):
            await publish(broker, "zombie")
        server.start()
        await wait_until_async(lambda: broker.client.is_connected, "it is connected again")
        await publish(broker, "living")
        assert await count(broker.jetstream) == 1
        message = await broker.jetstream.get_last_msg(keys.CHUNK_STREAM, CHANNEL)
        assert (message.headers or {})["Nats-Msg-Id"] == "living"


async def test_a_publish_outlives_a_restart(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that comes back within the deadline gets the message, once."""
    monkeypatch.setattr(broker_module, "_PUBLISH_TIMEOUT_SECONDS", 0.5)
    server = make_nats()
    async with connected(server.uri) as broker:
        await publish(broker, "1")
        server.kill()
        publishing = asyncio.create_task(publish(broker, "2"))
        await asyncio.to_thread(server.start)
        await publishing
        assert await count(broker.jetstream) == 2


@pytest.mark.usefixtures("impatient")
async def test_a_publish_to_a_silent_server_is_given_up(make_nats: MakeServer) -> None:
    """A server that is connected and confirms nothing counts as lost after the deadline."""
    server = make_nats()
    async with connected(server.uri) as broker:
        server.pause()
        async with asyncio.timeout(10):
            with pytest.raises(DependencyLostError, match=f"did not confirm a message on {CHANNEL}"):
                await publish(broker, "1")
        server.resume()
