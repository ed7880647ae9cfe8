"""The streams that the project creates on a real server: their required configuration, and an operator's limits."""

import asyncio
from dataclasses import replace

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig

from shared.broker.connection import Broker
from shared.broker.streams import stream_configs
from shared.model import keys
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.shutdown import Stop
from tests.support.brokers import CHANNELS, add_stream, connected, count, publish, settings_for

CHANNEL = CHANNELS[0]


async def chunk_stream_config(nats_uri: str) -> StreamConfig:
    """Return the configuration of the chunk stream, read by another client."""
    client = await nats.connect(nats_uri)
    try:
        return (await client.jetstream().stream_info(keys.CHUNK_STREAM)).config
    finally:
        await client.close()


async def test_the_streams_and_the_consumer_are_created_as_required(nats_uri: str) -> None:
    """The first process creates three streams on disk and the durable consumer of the collectors."""
    async with connected(nats_uri) as broker:
        configs = {}
        for name in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM, keys.DEAD_LETTER_STREAM):
            configs[name] = (await broker.jetstream.stream_info(name)).config
        consumer = await broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
    assert set(configs[keys.CHUNK_STREAM].subjects or ()) == {*CHANNELS, "POST_UPDATE"}
    assert set(configs[keys.FEEDBACK_STREAM].subjects or ()) == {"SCHEDULER_STATUS_CHANNEL", "POST_UPDATE_FINISH"}
    assert configs[keys.DEAD_LETTER_STREAM].subjects == ["DEAD_LETTER.>"]
    for config in configs.values():
        assert (config.storage, config.compression) == (StorageType.FILE, StoreCompression.S2)
    for name in (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM):
        assert (configs[name].retention, configs[name].discard) == (RetentionPolicy.WORK_QUEUE, DiscardPolicy.NEW)
    dead_letters = configs[keys.DEAD_LETTER_STREAM]
    assert (dead_letters.retention, dead_letters.max_msgs_per_subject, dead_letters.discard) == (
        RetentionPolicy.LIMITS,
        1,
        DiscardPolicy.NEW,
    )
    assert (consumer.config.durable_name, consumer.config.max_deliver) == ("ack-collector", -1)
    assert not consumer.config.backoff


async def test_several_processes_can_create_them_at_once(nats_uri: str) -> None:
    """Processes that start together on an empty server all find the streams that they need."""
    brokers = await asyncio.gather(
        *(Broker.connect(settings_for(nats_uri), CHANNELS, f"test-{number}", Stop()) for number in range(6))
    )
    try:
        assert len(await brokers[0].jetstream.streams_info()) == 3
    finally:
        await asyncio.gather(*(broker.close() for broker in brokers))


async def test_the_messages_of_a_stream_survive_a_start(nats_uri: str) -> None:
    """A process that starts later keeps the messages in the streams."""
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
    async with connected(nats_uri) as broker:
        assert await count(broker.jetstream) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"retention": RetentionPolicy.LIMITS}, "retention is limits, must be workqueue"),
        ({"retention": RetentionPolicy.INTEREST}, "retention is interest, must be workqueue"),
        ({"storage": StorageType.MEMORY}, "storage is memory, must be file"),
        ({"discard": DiscardPolicy.OLD}, "discard is old, must be new"),
        ({"compression": StoreCompression.NONE}, "compression is none, must be s2"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject is 5, must be -1"),
        ({"no_ack": True}, "no_ack is True, must be False"),
        ({"max_msg_size": 1000}, "max_msg_size is 1000, must be -1, or at least the server's max_payload of 1048576"),
    ],
)
async def test_a_stream_that_is_configured_differently_is_an_error(
    nats_uri: str, change: dict[str, object], error: str
) -> None:
    """A stream with another configuration ends the process with the difference, and is not changed."""
    required = stream_configs(CHANNELS, 1)[0]
    await add_stream(nats_uri, replace(required, **change))
    before = await chunk_stream_config(nats_uri)
    with pytest.raises(ConfigurationError) as raised:
        async with connected(nats_uri):
            pass
    assert f"the NATS stream {keys.CHUNK_STREAM} is not configured as required: {error}" in str(raised.value)
    assert "; " not in str(raised.value)
    assert await chunk_stream_config(nats_uri) == before


@pytest.mark.parametrize(
    ("stream", "change", "error"),
    [
        (1, {"subjects": [keys.FEEDBACK_SUBJECT]}, "subjects is ['SCHEDULER_STATUS_CHANNEL'], must be ['POST_UPDATE_"),
        (1, {"max_msg_size": 1000}, "max_msg_size is 1000, must be -1"),
        (2, {"subjects": ["DEAD_LETTER.*"]}, "subjects is ['DEAD_LETTER.*'], must be ['DEAD_LETTER.>']"),
        (2, {"deny_delete": True}, "deny_delete is True, must be False"),
    ],
)
async def test_the_other_streams_are_compared_too(
    nats_uri: str, stream: int, change: dict[str, object], error: str
) -> None:
    """The streams of feedback and dead letters need the required subjects, and must allow deleting a dead letter."""
    required = stream_configs(CHANNELS, 1)[stream]
    await add_stream(nats_uri, replace(required, **change))
    with pytest.raises(ConfigurationError, match="is not configured as required: ") as raised:
        async with connected(nats_uri):
            pass
    assert f"the NATS stream {required.name} is not configured as required: {error}" in str(raised.value)


async def test_a_sealed_stream_is_an_error(nats_uri: str) -> None:
    """A stream that accepts no more messages ends the process."""
    async with connected(nats_uri) as broker:
        config = (await broker.jetstream.stream_info(keys.DEAD_LETTER_STREAM)).config
        await broker.jetstream.update_stream(config.evolve(sealed=True))
    with pytest.raises(ConfigurationError, match=r"IMPORTER_DEAD_LETTERS is not configured .* sealed is True, must be"):
        async with connected(nats_uri):
            pass


async def test_the_chunk_stream_may_deny_deletion(nats_uri: str) -> None:
    """No process deletes chunks: they are removed when they are acknowledged."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], deny_delete=True))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")


async def test_limits_of_an_operator_are_accepted(nats_uri: str) -> None:
    """Limits of size, number, age and message size that an operator sets on a stream are kept."""
    limits = {"max_bytes": 10_000_000, "max_msgs": 1000, "max_age": 3600, "max_msg_size": 1_048_576}
    limited = replace(stream_configs(CHANNELS, 1)[0], **limits)
    await add_stream(nats_uri, limited)
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).config.max_msgs == 1000


async def test_subjects_of_another_stream_are_an_error(nats_uri: str) -> None:
    """If a foreign stream has the same subjects, the process ends with the server's error."""
    await add_stream(nats_uri, StreamConfig(name="FOREIGN", subjects=[CHANNEL]))
    with pytest.raises(DependencyLostError, match=f"rejected the stream {keys.CHUNK_STREAM}: subjects overlap"):
        async with connected(nats_uri):
            pass
