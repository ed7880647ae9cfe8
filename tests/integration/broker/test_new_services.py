"""New services in the table: their channels are added to the stream of the chunks, and nothing is removed from it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.broker import connection as broker_module
from shared.broker.connection import Broker
from shared.broker.streams import covers, stream_configs
from shared.config.settings import CollectorSettings
from shared.model import keys
from shared.model.errors import BrokerRejectedError
from shared.model.services import load_services
from shared.runtime.shutdown import Stop
from tests.conftest import MakeServer
from tests.support.brokers import CHANNELS, add_stream, connected, publish, settings_for
from tests.support.restricted_users import NATS_USERS, as_user

CHANNEL, NEW = CHANNELS
UPDATE = f'          "$JS.API.STREAM.UPDATE.{keys.CHUNK_STREAM}"\n'


async def add_older_stream(nats_uri: str, *subjects: str, **others: object) -> None:
    """Create the stream of the chunks as an older table made it."""
    await add_stream(nats_uri, replace(stream_configs(CHANNELS, 1)[0], subjects=[*subjects], **others))


async def subjects(broker: Broker) -> set[str]:
    return set((await broker.jetstream.stream_info(keys.CHUNK_STREAM)).config.subjects or ())


async def test_a_new_channel_is_added(nats_uri: str) -> None:
    """An older stream gets what it lacks, keeps its messages and an operator's limits, and takes the new chunks."""
    await add_older_stream(nats_uri, CHANNEL, "POST_UPDATE", max_msgs=1000)
    with capture_logs() as logged:
        async with connected(nats_uri) as broker:
            assert await subjects(broker) == {*CHANNELS, "POST_UPDATE"}
            await publish(broker, "1")
            await broker.publish(keys.CHUNK_STREAM, NEW, b"{}", "2")
            info = await broker.jetstream.stream_info(keys.CHUNK_STREAM)
            assert (info.config.max_msgs, info.state.messages) == (1000, 2)
    assert [event["subjects"] for event in logged if event["event"] == "stream_subjects_added"] == [[NEW]]


async def test_what_the_table_lacks_stays(nats_uri: str) -> None:
    """A channel that this table does not have may be another table's: it is noted once, and left alone."""
    await add_older_stream(nats_uri, CHANNEL, "OTHER_CHANNEL")
    with capture_logs() as logged:
        async with connected(nats_uri) as broker:
            await broker.ensure_streams()
            assert await subjects(broker) == {*CHANNELS, "POST_UPDATE", "OTHER_CHANNEL"}
    noted = [event["subjects"] for event in logged if event["event"] == "stream_subjects_unknown"]
    assert noted == [["OTHER_CHANNEL"]]


async def test_a_wildcard_covers_a_channel(nats_uri: str) -> None:
    """What a stream takes by a wildcard need not be added, and could not."""
    await add_older_stream(nats_uri, "*_NONE", "ORI_PERSON_CHANNEL.>", CHANNEL, NEW, "POST_UPDATE")
    async with connected(nats_uri) as broker:
        assert NEW in await subjects(broker)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("A", "A", True),
        ("A", "B", False),
        ("A", "A.B", False),
        ("*", "A", True),
        ("*", "A.B", False),
        ("A.*", "A.B", True),
        (">", "A", True),
        ("A.>", "A.B.C", True),
        ("A.>", "A", False),
        ("A.*.>", "A.B", False),
        ("A.>", "B.C", False),
    ],
)
def test_wildcards(pattern: str, subject: str, *, expected: bool) -> None:
    """`*` stands for one token, `>` for one or more."""
    assert covers(pattern, subject) is expected


async def test_a_collector_changes_no_stream(nats_uri: str) -> None:
    """A process that publishes no chunks works with the older stream, and leaves it as it is."""
    await add_older_stream(nats_uri, CHANNEL, "POST_UPDATE")
    broker = await Broker.connect(settings_for(nats_uri), CHANNELS, "collector", Stop(), add_subjects=False)
    assert await subjects(broker) == {CHANNEL, "POST_UPDATE"}
    await broker.close()


async def test_a_stream_that_loses_a_channel_gets_it_again(nats_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer with an older table that changes the stream at the same time does no lasting harm."""
    monkeypatch.setattr(broker_module, "_RETRY_BACKOFF_SECONDS", 0.1)
    async with connected(nats_uri) as broker:
        config = (await broker.jetstream.stream_info(keys.CHUNK_STREAM)).config
        await broker.jetstream.update_stream(config.evolve(subjects=[CHANNEL]))
        await broker.publish(keys.CHUNK_STREAM, NEW, b"{}", "1")
        assert await subjects(broker) == {*CHANNELS, "POST_UPDATE"}


async def test_a_channel_that_another_stream_has(nats_uri: str) -> None:
    """One channel that cannot be added fails its own service, with the server's words, and no other."""
    await add_older_stream(nats_uri, CHANNEL, "POST_UPDATE")
    await add_stream(nats_uri, replace(stream_configs((), 1)[0], name="FOREIGN", subjects=[NEW]))
    stop = Stop()
    with capture_logs() as logged:
        async with connected(nats_uri, stop) as broker:
            await publish(broker, "1")
    (reason,) = [event["reason"] for event in logged if event["event"] == "stream_subjects_missing"]
    assert f"the NATS stream IMPORTER lacks {NEW}, which could not be added: " in reason
    assert "subjects overlap" in reason
    assert not stop._failure.done()


async def test_a_user_who_may_not_change_the_stream(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the users of an older release the new service fails, naming its channel and the remedy; others go on."""
    monkeypatch.setattr(broker_module, "_API_SECONDS", 1.0)
    assert UPDATE in NATS_USERS
    server = make_nats(config=NATS_USERS.replace(UPDATE, ""))
    channels = [service.channel for service in load_services()]
    stop = Stop()
    await (await _connect(server.uri, channels[:-1], stop)).close()
    with capture_logs() as logged:
        broker = await _connect(server.uri, channels, stop)
    (reason,) = [event["reason"] for event in logged if event["event"] == "stream_subjects_missing"]
    for words in (channels[-1], "Allow this user to publish on $JS.API.STREAM.UPDATE.IMPORTER", "nats stream edit"):
        assert words in reason
    await broker.publish(keys.CHUNK_STREAM, channels[0], b"{}", "1")
    with pytest.raises(BrokerRejectedError, match=f"lacks {channels[-1]}, which could not be added"):
        await broker.publish(keys.CHUNK_STREAM, channels[-1], b"{}", "2")
    assert not stop._failure.done()
    await broker.close()


async def _connect(uri: str, channels: Sequence[str], stop: Stop) -> Broker:
    settings = CollectorSettings(nats_uri=as_user(uri, "producer"), redis_uri="redis://unused")
    return await Broker.connect(settings, channels, "producer", stop)
