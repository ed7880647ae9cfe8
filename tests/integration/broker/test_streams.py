"""The streams as the project makes them on a real server: of one kind only, and an operator's limits."""

import asyncio
from dataclasses import replace

import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig

from shared.broker.connection import Broker
from shared.broker.streams import stream_configs
from shared.model import keys
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.shutdown import Stop
from tests.support.brokers import CHANNELS, add_stream, connected, count, publish, settings_for

CHANNEL = CHANNELS[0]


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
    assert (letters.retention, letters.max_msgs_per_subject, letters.discard) == (
        RetentionPolicy.LIMITS,
        1,
        DiscardPolicy.NEW,
    )
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
        ({"no_ack": True}, "no_ack is True, must be False"),
        ({"max_msg_size": 1000}, "max_msg_size is 1000, must be -1, or at least the server's max_payload of 1048576"),
    ],
)
async def test_a_stream_that_differs_is_refused_with_the_difference(
    nats_uri: str, change: dict[str, object], told: str
) -> None:
    """A stream that is configured otherwise stops the process, and is not changed."""
    wanted = stream_configs(CHANNELS, 1)[0]
    await add_stream(nats_uri, replace(wanted, **change))
    with pytest.raises(ConfigurationError) as refused:
        async with connected(nats_uri):
            pass
    assert f"the NATS stream {keys.CHUNK_STREAM} is not configured as required: {told}" in str(refused.value)
    assert "; " not in str(refused.value)


@pytest.mark.parametrize(
    ("stream", "change", "told"),
    [
        (1, {"subjects": [keys.FEEDBACK_SUBJECT]}, "subjects is ['SCHEDULER_STATUS_CHANNEL'], must be ['POST_UPDATE_"),
        (1, {"max_msg_size": 1000}, "max_msg_size is 1000, must be -1"),
        (2, {"subjects": ["DEAD_LETTER.*"]}, "subjects is ['DEAD_LETTER.*'], must be ['DEAD_LETTER.>']"),
        (2, {"deny_delete": True}, "deny_delete is True, must be False"),
    ],
)
async def test_the_other_streams_are_compared_too(
    nats_uri: str, stream: int, change: dict[str, object], told: str
) -> None:
    """The streams of feedback and of dead letters have their subjects, and a dead letter can be deleted."""
    wanted = stream_configs(CHANNELS, 1)[stream]
    await add_stream(nats_uri, replace(wanted, **change))
    with pytest.raises(ConfigurationError, match="is not configured as required: ") as refused:
        async with connected(nats_uri):
            pass
    assert f"the NATS stream {wanted.name} is not configured as required: {told}" in str(refused.value)


async def test_a_sealed_stream_is_refused(nats_uri: str) -> None:
    """A stream that takes nothing any more stops the process."""
    async with connected(nats_uri) as broker:
        config = (await broker.jetstream.stream_info(keys.DEAD_LETTER_STREAM)).config
        await broker.jetstream.update_stream(config.evolve(sealed=True))
    with pytest.raises(ConfigurationError, match=r"IMPORTER_DEAD_LETTERS is not configured .* sealed is True, must be"):
        async with connected(nats_uri):
            pass


async def test_a_denied_deletion_does_not_matter_where_nothing_is_deleted(nats_uri: str) -> None:
    """Chunks leave their stream by their acknowledgement."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], deny_delete=True))
    async with connected(nats_uri) as broker:
        await publish(broker, "1")


async def test_limits_of_an_operator_are_accepted(nats_uri: str) -> None:
    """How much a stream may hold, and for how long, is not the project's business."""
    limits = {"max_bytes": 10_000_000, "max_msgs": 1000, "max_age": 3600, "max_msg_size": 1_048_576}
    limited = replace(stream_configs(CHANNELS, 1)[0], **limits)
    await add_stream(nats_uri, limited)
    async with connected(nats_uri) as broker:
        await publish(broker, "1")
        assert (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).config.max_msgs == 1000


async def test_subjects_that_another_stream_has_are_told(nats_uri: str) -> None:
    """Where somebody else's stream takes our subjects, the process ends with what the server says."""
    await add_stream(nats_uri, StreamConfig(name="FOREIGN", subjects=[CHANNEL]))
    with pytest.raises(DependencyLostError, match=f"rejected the stream {keys.CHUNK_STREAM}: subjects overlap"):
        async with connected(nats_uri):
            pass
