"""The collectors' subscription on a real NATS: it receives messages at once, and never stays unresponsive."""

import asyncio
import time

import pytest
from nats.js.api import ConsumerInfo

from shared.broker import feedback_subscription as module
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription, Received
from shared.model import keys
from tests.conftest import MakeServer
from tests.support.brokers import connected
from tests.support.waiting import wait_until_async

LONG_SECONDS = 20.0
QUICK_SECONDS = 2.0
"""Far more than a message takes to arrive, and far less than the expiry of a pull request."""


async def send(broker: Broker, data: bytes, subject: str = keys.FEEDBACK_SUBJECT) -> None:
    """Send a message to the collectors."""
    await broker.jetstream.publish(subject, data)


async def receive_one(subscription: FeedbackSubscription, deadline_seconds: float = LONG_SECONDS) -> Received:
    """Return the next message, by the deadline; like a collector, call `receive` repeatedly."""
    async with asyncio.timeout(deadline_seconds):
        while True:
            messages = await subscription.receive(0.2)
            if messages:
                (message,) = messages
                return message


async def consumer(broker: Broker) -> ConsumerInfo:
    """Return the state of the collectors' consumer."""
    return await broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)


async def is_all_handled(broker: Broker) -> bool:
    """Return whether no message is left or waits for an acknowledgement."""
    info = await consumer(broker)
    stream = await broker.jetstream.stream_info(keys.FEEDBACK_STREAM)
    return not info.num_ack_pending and not stream.state.messages


@pytest.fixture
def short_unresponsive_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an unresponsive consumer detected after one second."""
    monkeypatch.setattr(module, "_UNRESPONSIVE_SECONDS", 1.0)


async def test_a_single_message_is_received_at_once(nats_uri: str) -> None:
    """One message ends a long wait, though the pull request is for hundreds and stays open for half a minute."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        for number in range(3):
            waiting = asyncio.create_task(subscription.receive(LONG_SECONDS))
            await wait_until_async(lambda: _has_open_pull(broker), "the request has reached the server")
            sent_at = time.monotonic()
            await send(broker, b"%d" % number)
            (message,) = await waiting
            assert time.monotonic() - sent_at < QUICK_SECONDS
            assert (message.subject, message.data) == (keys.FEEDBACK_SUBJECT, b"%d" % number)
            await message.acknowledge()


async def test_stored_messages_are_received_at_once(nats_uri: str) -> None:
    """Messages that are already in the stream are received in their order, each once."""
    async with connected(nats_uri) as broker:
        for number in range(50):
            await send(broker, b"%d" % number)
        subscription = FeedbackSubscription(broker)
        received: list[Received] = []
        async with asyncio.timeout(LONG_SECONDS):
            while len(received) < 50:
                received += await subscription.receive(LONG_SECONDS)
        assert [message.data for message in received] == [b"%d" % number for number in range(50)]


async def test_without_a_message_nothing_is_received(nats_uri: str) -> None:
    """If no message arrives, the wait ends after its time with an empty list."""
    async with connected(nats_uri) as broker:
        started = time.monotonic()
        assert await FeedbackSubscription(broker).receive(0.3) == []
        assert 0.25 < time.monotonic() - started < QUICK_SECONDS


async def test_both_subjects_are_received(nats_uri: str) -> None:
    """Reports on chunks and the end of a post-update are received by the same subscription."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        for subject in (keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT):
            await send(broker, b"{}", subject)
            message = await receive_one(subscription)
            assert message.subject == subject
            await message.acknowledge()


async def test_a_used_or_expired_pull_request_is_renewed(nats_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a pull request is used up or has expired, the next one is made."""
    monkeypatch.setattr(module, "_PULL_MESSAGES", 2)
    request = b'{"batch":2,"expires":1000000000}'
    monkeypatch.setattr(module, "_PULL_REQUEST", request)
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        for number in range(7):
            await send(broker, b"%d" % number)
        received: list[bytes] = []
        async with asyncio.timeout(LONG_SECONDS):
            while len(received) < 7:
                received += [message.data for message in await subscription.receive(0.2)]
        await wait_until_async(lambda: _no_open_pull(broker), "the last request has expired")
        await send(broker, b"7")
        received.append((await receive_one(subscription)).data)
    assert received == [b"%d" % number for number in range(8)]


async def test_an_acknowledged_message_is_gone(nats_uri: str) -> None:
    """A message that is acknowledged or terminated leaves the stream."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        await send(broker, b"1")
        await (await receive_one(subscription)).acknowledge()
        await send(broker, b"2")
        await (await receive_one(subscription)).terminate()
        await wait_until_async(lambda: is_all_handled(broker), "the stream is empty")


async def test_a_message_after_a_nak_is_redelivered_at_once(nats_uri: str) -> None:
    """A nak makes the server redeliver the message without waiting for ack_wait."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        await send(broker, b"1")
        await (await receive_one(subscription)).nak()
        assert (await receive_one(subscription, QUICK_SECONDS)).data == b"1"


async def test_closing_returns_unhandled_messages(nats_uri: str) -> None:
    """Messages that a stopping collector had received are redelivered to another one at once."""
    async with connected(nats_uri) as broker:
        stopping = FeedbackSubscription(broker)
        assert await stopping.receive(0.01) == []
        for number in range(5):
            await send(broker, b"%d" % number)
        await wait_until_async(lambda: len(stopping._arrived) == 5, "all have arrived")
        await stopping.close()
        other = FeedbackSubscription(broker)
        received: set[bytes] = set()
        async with asyncio.timeout(QUICK_SECONDS):
            while len(received) < 5:
                received |= {message.data for message in await other.receive(QUICK_SECONDS)}
        assert received == {b"%d" % number for number in range(5)}


async def test_each_message_reaches_one_subscription(nats_uri: str) -> None:
    """Several subscriptions share the messages."""
    async with connected(nats_uri) as broker, connected(nats_uri) as other:
        subscriptions = [FeedbackSubscription(broker), FeedbackSubscription(other)]
        received: list[bytes] = []
        for subscription in subscriptions:
            received += [message.data for message in await subscription.receive(0.01)]
        for number in range(100):
            await send(broker, b"%d" % number)
        async with asyncio.timeout(LONG_SECONDS):
            while len(received) < 100:
                for subscription in subscriptions:
                    for message in await subscription.receive(0.05):
                        received.append(message.data)
                        await message.acknowledge()
        assert sorted(received) == sorted(b"%d" % number for number in range(100))
        await wait_until_async(lambda: is_all_handled(broker), "nothing is left")


@pytest.mark.usefixtures("short_unresponsive_time")
async def test_a_deleted_consumer_is_created_again(nats_uri: str) -> None:
    """A deleted consumer is not mistaken for an idle one; it is created again, and no message is missed."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        assert await subscription.receive(0.01) == []
        await wait_until_async(lambda: _has_open_pull(broker), "the request has reached the server")
        await broker.jetstream.delete_consumer(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        await send(broker, b"not missed")
        assert (await receive_one(subscription)).data == b"not missed"


@pytest.mark.usefixtures("short_unresponsive_time")
async def test_a_deleted_stream_is_created_again(nats_uri: str) -> None:
    """A deleted feedback stream is created again, and its messages are received."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        assert await subscription.receive(0.01) == []
        await broker.jetstream.delete_stream(keys.FEEDBACK_STREAM)
        async with asyncio.timeout(LONG_SECONDS):
            while not await _exists(broker):
                assert await subscription.receive(0.1) == []
        await send(broker, b"1")
        assert (await receive_one(subscription)).data == b"1"


@pytest.mark.usefixtures("short_unresponsive_time")
async def test_messages_are_received_after_a_restart_of_the_server(make_nats: MakeServer) -> None:
    """After a server was restarted or killed and started, messages are received as before."""
    server = make_nats()
    async with connected(server.uri) as broker:
        subscription = FeedbackSubscription(broker)
        for restart in (server.restart, lambda: (server.kill(), server.start())):
            assert await subscription.receive(0.01) == []
            await asyncio.to_thread(restart)
            await wait_until_async(lambda: broker.client.is_connected, "it is connected again")
            await send(broker, b"after")
            message = await receive_one(subscription)
            assert message.data == b"after"
            await message.acknowledge()


async def test_silence_is_detected_without_a_message_from_the_server(
    make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request that the server has lost is made again, though the server never reports the loss."""
    monkeypatch.setattr(module, "_UNRESPONSIVE_SECONDS", 1.0)
    async with connected(make_nats().uri) as broker:
        subscription = FeedbackSubscription(broker)
        monkeypatch.setattr(module, "_NEXT_SUBJECT", "no.such.subject")
        assert await subscription.receive(0.01) == []
        monkeypatch.undo()
        monkeypatch.setattr(module, "_UNRESPONSIVE_SECONDS", 1.0)
        await send(broker, b"1")
        assert (await receive_one(subscription)).data == b"1"


async def _has_open_pull(broker: Broker) -> bool:
    return bool((await consumer(broker)).num_waiting)


async def _no_open_pull(broker: Broker) -> bool:
    return not (await consumer(broker)).num_waiting


async def _exists(broker: Broker) -> bool:
    return any(stream.config.name == keys.FEEDBACK_STREAM for stream in await broker.jetstream.streams_info())
