"""JetStream as the project uses it, on a real server: its streams, publishing and being sure, and every refusal."""

import asyncio
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig

from shared import broker as broker_module
from shared import keys
from shared.broker import Broker, BrokerRefusedError
from shared.errors import ConfigurationError, DependencyLostError
from shared.stop import Stop
from shared.streams import stream_configs
from tests.conftest import MakeServer
from tests.support.brokers import CHANNELS, connected, settings_for
from tests.support.certificates import make_certificates
from tests.support.waiting import wait_until_async

CHANNEL = CHANNELS[0]
SECRET = "s3cret-t0ken"


async def count(jetstream: JetStreamContext, stream: str = keys.CHUNK_STREAM) -> int:
    return (await jetstream.stream_info(stream)).state.messages


async def publish(broker: Broker, message_id: str, payload: bytes = b"{}") -> None:
    await broker.publish(keys.CHUNK_STREAM, CHANNEL, payload, message_id)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not confirm counts as lost after a second."""
    monkeypatch.setattr(broker_module, "_PUBLISH_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(broker_module, "_PUBLISH_DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(broker_module, "_RETRY_PAUSE_SECONDS", 0.1)


async def test_the_streams_and_the_consumer_are_made_as_they_must_be(nats_uri: str) -> None:
    """The first process that comes makes three streams on disk and the durable consumer of the collectors."""
    async with connected(nats_uri) as broker:
        made = {}
        for name in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            made[name] = (await broker.jetstream.stream_info(name)).config
        consumer = await broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
    assert set(made[keys.CHUNK_STREAM].subjects or ()) == {*CHANNELS, "POST_UPDATE"}
    assert set(made[keys.FEEDBACK_STREAM].subjects or ()) == {"SCHEDULER_STATUS_CHANNEL", "POST_UPDATE_FINISH"}
    assert made[keys.DEAD_LETTER_STREAM].subjects == ["DEAD_LETTER.>"]
    for config in made.values():
        assert (config.storage, config.compression) == (StorageType.FILE, StoreCompression.S2)
    for name in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM):
        assert (made[name].retention, made[name].discard) == (RetentionPolicy.WORK_QUEUE, DiscardPolicy.NEW)
    letters = made[keys.DEAD_LETTER_STREAM]
    assert (letters.retention, letters.max_msgs_per_subject) == (RetentionPolicy.LIMITS, 1)
    assert (consumer.config.durable_name, consumer.config.max_deliver) == ("ack-collector", -1)
    assert not consumer.config.backoff


async def test_several_processes_may_make_them_at_once(nats_uri: str) -> None:
    """Processes that start together on an empty server all find what they need."""
    brokers = await asyncio.gather(
        *(Broker.connect(settings_for(nats_uri), CHANNELS, f"test-{number}", Stop()) for number in range(6))
    )
    try:
        assert len(await brokers[0].jetstream.streams_info()) == 3
    finally:
        await asyncio.gather(*(broker.close() for broker in brokers))


async def test_what_a_stream_holds_outlives_a_start(nats_uri: str) -> None:
    """A process that starts later leaves the messages where they are."""
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
    async with connected(nats_uri) as broker:
        assert await count(broker.jetstream) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"retention": RetentionPolicy.LIMITS}, "retention is limits, must be workqueue"),
        ({"retention": RetentionPolicy.INTEREST}, "retention is interest, must be workqueue"),
        ({"storage": StorageType.MEMORY}, "storage is memory, must be file"),
        ({"discard": DiscardPolicy.OLD}, "discard is old, must be new"),
        ({"compression": StoreCompression.NONE}, "compression is none, must be s2"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject is 5, must be -1"),
        ({"subjects": [CHANNEL]}, "subjects is ['ORI_PERSON_CHANNEL'], must be ['KORI_MODULE_CHANNEL', "),
    ],
)
async def test_a_stream_that_differs_is_refused_with_the_difference(
    nats_uri: str, change: dict[str, object], told: str
) -> None:
    """A stream that is configured otherwise stops the process, and is not changed."""
    wanted = stream_configs(CHANNELS, 1)[0]
    await _add(nats_uri, replace(wanted, **change))
    with pytest.raises(ConfigurationError) as refused:
        async with connected(nats_uri):
            pass
    assert f"the NATS stream {keys.CHUNK_STREAM} is not configured as it must be: {told}" in str(refused.value)
    assert "; " not in str(refused.value)


async def test_limits_of_an_operator_are_accepted(nats_uri: str) -> None:
    """How much a stream may hold, and for how long, is not the project's business."""
    limited = replace(stream_configs(CHANNELS, 1)[0], max_bytes=10_000_000, max_msgs=1000, max_age=3600)
    await _add(nats_uri, limited)
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).config.max_msgs == 1000


async def test_subjects_that_another_stream_has_are_told(nats_uri: str) -> None:
    """Where somebody else's stream takes our subjects, the process ends with what the server says."""
    await _add(nats_uri, StreamConfig(name="FOREIGN", subjects=[CHANNEL]))
    with pytest.raises(DependencyLostError, match=f"refused the stream {keys.CHUNK_STREAM}: subjects overlap"):
        async with connected(nats_uri):
            pass


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
        await publish(broker, "9f" * 12 + ":" + "9" * 9 + ".1" * 40 + ":1", b"x" * broker.max_message_bytes)
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
    await _add(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        with pytest.raises(BrokerRefusedError, match=f"will not take a message on {CHANNEL}: maximum messages"):
            await publish(broker, "2")
        assert await count(broker.jetstream) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_full_stream_that_is_emptied_takes_the_message(nats_uri: str) -> None:
    """A publish goes on trying: room that comes within the deadline is used."""
    await _add(nats_uri, replace(stream_configs(CHANNELS, 1)[0], max_msgs=1))
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
        await broker.take_back(CHANNEL)
        left = await broker.jetstream.get_msg(keys.CHUNK_STREAM, seq=2)
        assert (await count(broker.jetstream), left.subject) == (1, CHANNELS[1])


@pytest.mark.parametrize(
    ("authorization", "credentials", "token"),
    [
        ("token: right", "", SECRET),
        ("token: right", "", None),
        ("user: importer, password: right", f"importer:{SECRET}@", None),
    ],
)
async def test_refused_credentials_are_a_matter_of_configuration(
    make_nats: MakeServer, authorization: str, credentials: str, token: str | None
) -> None:
    """A wrong or missing token or password ends the process at once, naming the address and never the secret."""
    server = make_nats(config=f"authorization {{ {authorization} }}")
    error = await _ends_with(f"nats://{credentials}127.0.0.1:{server.port}", nats_token=token)
    assert isinstance(error, ConfigurationError)
    assert f"NATS at 127.0.0.1:{server.port} refused the credentials: check NATS_TOKEN" in str(error)
    assert SECRET not in str(error)


async def test_the_right_credentials_are_taken(make_nats: MakeServer) -> None:
    """A token from the settings, and a user and password from the address, open the door."""
    by_token = make_nats(config=f"authorization {{ token: {SECRET} }}")
    async with connected(by_token.uri, nats_token=SECRET) as broker:
        await publish(broker, "1")
    by_password = make_nats(config=f"authorization {{ user: importer, password: {SECRET} }}")
    async with connected(f"nats://importer:{SECRET}@127.0.0.1:{by_password.port}") as broker:
        await publish(broker, "1")


@pytest.mark.parametrize("credentials", ["", f"importer:{SECRET}@"])
async def test_an_unreachable_server_is_given_up(
    make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch, credentials: str
) -> None:
    """Where nobody listens, attempts end after a bounded time with the address and the reason."""
    monkeypatch.setattr(broker_module, "_START_SECONDS", 0.5)
    port = make_nats(start=False).port
    async with asyncio.timeout(5):
        error = await _ends_with(f"nats://{credentials}127.0.0.1:{port}")
    assert isinstance(error, DependencyLostError)
    assert f"NATS at 127.0.0.1:{port} cannot be reached: ConnectionRefusedError" in str(error)
    assert SECRET not in str(error)


async def test_a_server_that_says_nothing_is_given_up(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and never answers is no different."""
    monkeypatch.setattr(broker_module, "_START_SECONDS", 0.5)
    server = make_nats()
    server.pause()
    async with asyncio.timeout(5):
        error = await _ends_with(server.uri)
    assert isinstance(error, DependencyLostError)
    assert f"NATS at 127.0.0.1:{server.port} cannot be reached" in str(error)


async def test_a_server_that_comes_late_is_waited_for(make_nats: MakeServer) -> None:
    """A process that starts before its NATS connects as soon as that is there."""
    server = make_nats(start=False)
    connecting = asyncio.create_task(Broker.connect(settings_for(server.uri), CHANNELS, "test", Stop()))
    await asyncio.to_thread(server.start)
    broker = await connecting
    assert broker.client.is_connected
    await broker.close()


@pytest.mark.usefixtures("impatient")
async def test_a_publish_that_was_given_up_never_arrives(make_nats: MakeServer) -> None:
    """A message that could not be sent is not sent after a reconnect, when nobody waits for it any more."""
    server = make_nats()
    async with connected(server.uri) as broker:
        server.kill()
        await wait_until_async(lambda: not broker.client.is_connected, "the loss is noticed")
        with pytest.raises(DependencyLostError, match=f"confirmed no message on {CHANNEL}"):
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
            with pytest.raises(DependencyLostError, match=f"confirmed no message on {CHANNEL}"):
                await publish(broker, "1")
        server.resume()


async def test_a_connection_that_is_closed_for_good_ends_the_process(nats_uri: str) -> None:
    """After an error that no reconnect follows, the process ends and says where and why."""
    stop = Stop()
    async with connected(nats_uri, stop) as broker:
        broker.client._max_payload = 64 * 1024 * 1024
        await broker.client.publish(CHANNEL, b"x" * 4 * 1024 * 1024)
        with pytest.raises(DependencyLostError, match=r"NATS at .* closed the connection for good: .*payload"):
            await stop.finish(asyncio.Event().wait(), 60)  # type: ignore[arg-type]


async def test_an_orderly_close_is_no_loss(nats_uri: str) -> None:
    """Closing the connection ourselves is not reported as one that was lost."""
    stop = Stop()
    async with connected(nats_uri, stop) as broker:
        pass
    assert broker.client.is_closed
    assert not stop._failure.done()


async def test_tls_is_verified_and_a_private_authority_can_be_named(make_nats: MakeServer, tmp_path: Path) -> None:
    """A certificate that nobody vouches for ends the process; with NATS_CA_PATH it is trusted."""
    config = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }'
    certificates = make_certificates()
    server = make_nats(tls=True, config=config, files=certificates)
    error = await _ends_with(server.uri)
    assert isinstance(error, ConfigurationError)
    assert f"the certificate of NATS at 127.0.0.1:{server.port} cannot be trusted" in str(error)
    assert "NATS_CA_PATH" in str(error)
    ca_path = tmp_path / "ca.pem"
    ca_path.write_bytes(certificates["ca.pem"])
    async with connected(server.uri, nats_ca_path=ca_path) as broker:
        await publish(broker, "1")


async def _add(nats_uri: str, config: StreamConfig) -> None:
    client = await nats.connect(nats_uri, allow_reconnect=False)
    await client.jetstream().add_stream(config)
    await client.close()


async def _ends_with(nats_uri: str, **others: object) -> Exception:
    """Connect as a process does, and answer the error that it ends with."""
    stop = Stop()

    async def work() -> int:
        async with connected(nats_uri, stop, **others):
            return 0

    with pytest.raises((ConfigurationError, DependencyLostError)) as ended:
        await stop.finish(work(), 60)
    return ended.value
