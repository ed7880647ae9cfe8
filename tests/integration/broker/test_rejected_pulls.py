"""A consumer that the server does not let a collector use: told at the start, and while running no reason to spin."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.broker import feedback_subscription as module
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription
from shared.broker.streams import stream_configs
from shared.model import keys
from shared.model.errors import ConfigurationError
from tests.support.brokers import CHANNELS, add_stream, connected

MADE = {"durable_name": keys.COLLECTOR_CONSUMER, "ack_policy": "explicit", "ack_wait": 30_000_000_000}


async def make_consumer(broker: Broker, **config: Any) -> None:
    """Make the consumer as an operator might; an existing one is replaced."""
    name = f"{keys.FEEDBACK_STREAM}.{keys.COLLECTOR_CONSUMER}"
    await broker.api.request(f"CONSUMER.DELETE.{name}")
    reply = await broker.api.request(
        f"CONSUMER.DURABLE.CREATE.{name}", stream_name=keys.FEEDBACK_STREAM, config=MADE | config
    )
    assert reply


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"deliver_subject": "elsewhere"}, "deliver_subject is elsewhere, must be none"),
        ({"headers_only": True}, "headers_only is True, must be False"),
        ({"max_deliver": 5}, "max_deliver is 5, must be -1"),
        ({"max_batch": 100}, "max_batch is 100, must be none or at least 500"),
        ({"max_expires": 1_000_000_000}, "max_expires is 1000000000, must be none or at least 30000000000"),
        ({"replay_policy": "original"}, "replay_policy is original, must be instant"),
        ({"filter_subject": keys.FEEDBACK_SUBJECT}, "its filter hides POST_UPDATE_FINISH"),
        ({"filter_subjects": [keys.POST_UPDATE_FINISH_SUBJECT]}, "its filter hides SCHEDULER_STATUS_CHANNEL"),
        (
            {"priority_policy": "overflow", "priority_groups": ["a"]},
            "priority_groups is ['a'], must be none",
        ),
    ],
)
async def test_a_consumer_that_differs_is_told_at_the_start(
    nats_uri: str, change: dict[str, object], told: str
) -> None:
    """A consumer that was made otherwise stops the process with the difference and the remedy."""
    async with connected(nats_uri) as broker:
        await make_consumer(broker, **change)
    with pytest.raises(ConfigurationError, match="is not configured as required") as differs:
        async with connected(nats_uri):
            pass
    assert f"the NATS consumer ack-collector is not configured as required: {told}. Remove it" in str(differs.value)


async def test_what_does_not_matter_may_differ(nats_uri: str) -> None:
    """A filter that hides nothing, generous limits and another time to acknowledge are an operator's business."""
    async with connected(nats_uri) as broker:
        filters = [keys.FEEDBACK_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT]
        await make_consumer(broker, filter_subjects=filters, max_batch=500, max_waiting=7, ack_wait=60_000_000_000)
    async with connected(nats_uri) as broker:
        await _send(broker, b"1")
        assert [message.data for message in await FeedbackSubscription(broker).receive(5)] == [b"1"]


async def test_a_rejected_request_is_repeated_ever_more_slowly(nats_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server rejects requests there are few of them, one line says why, and it heals by itself."""
    monkeypatch.setattr(module, "_MAX_BACKOFF_SECONDS", 0.8)
    async with connected(nats_uri) as broker:
        requests = _observe_requests(broker, monkeypatch)
        subscription = FeedbackSubscription(broker)
        assert await subscription.receive(0.1) == []
        monkeypatch.setattr(broker, "ensure_streams", _nothing)  # what is compared at the start is tested above
        with capture_logs() as logged:
            await make_consumer(broker, max_batch=100)
            await _receive_for(subscription, 3.0)
        assert 3 < len(requests) < 12
        assert not subscription.is_alive
        assert _reasons(logged) == ["409 Consumer Deleted", "409 Exceeded MaxRequestBatch of 100"]
        with capture_logs() as logged:
            await make_consumer(broker)
            await _send(broker, b"1")
            async with asyncio.timeout(5):
                assert [message.data for message in await _receive_some(subscription)] == [b"1"]
        assert [event["event"] for event in logged if "consumer" in event["event"]] == ["feedback_consumer_responsive"]
        assert subscription.is_alive


async def test_a_consumer_that_is_replaced_while_running(nats_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another configuration than at the start ends nothing: it is told, and works again once it is corrected."""
    monkeypatch.setattr(module, "_MAX_BACKOFF_SECONDS", 0.4)
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        assert await subscription.receive(0.1) == []
        with capture_logs() as logged:
            await make_consumer(broker, deliver_subject="elsewhere")
            await _receive_for(subscription, 1.5)
        assert not subscription.is_alive
        first, second = _reasons(logged)
        assert first == "409 Consumer Deleted"
        assert "deliver_subject is elsewhere, must be none" in second
        await broker.jetstream.delete_consumer(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        await _send(broker, b"1")
        async with asyncio.timeout(5):
            assert [message.data for message in await _receive_some(subscription)] == [b"1"]
        assert subscription.is_alive


async def test_without_a_consumer_a_collector_does_not_spin(nats_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests without any consumer to take them (503) are few."""
    await add_stream(nats_uri, stream_configs(CHANNELS, 1)[1])
    async with connected(nats_uri) as broker:
        requests = _observe_requests(broker, monkeypatch)
        monkeypatch.setattr(broker, "ensure_streams", _nothing)
        await broker.jetstream.delete_consumer(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        subscription = FeedbackSubscription(broker)
        with capture_logs() as logged:
            await _receive_for(subscription, 2.0)
        assert 2 < len(requests) < 10
        assert not subscription.is_alive
        assert _reasons(logged) == ["503"]


async def test_a_collector_that_has_not_been_accepted_yet_is_not_alive(nats_uri: str) -> None:
    """Only the first request makes it alive."""
    async with connected(nats_uri) as broker:
        subscription = FeedbackSubscription(broker)
        assert not subscription.is_alive
        await subscription.receive(0.1)
        assert subscription.is_alive


def _reasons(logged: Sequence[Any]) -> list[str]:
    return [event["reason"] for event in logged if event["event"] == "feedback_consumer_unresponsive"]


async def _nothing() -> None:
    pass


async def _send(broker: Broker, data: bytes) -> None:
    await broker.jetstream.publish(keys.FEEDBACK_SUBJECT, data)


def _observe_requests(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that grows with each request for feedback."""
    requests: list[float] = []
    publish_on = broker.client.publish

    async def note(subject: str, *arguments: Any, **others: Any) -> None:
        if subject == module._NEXT_SUBJECT:
            requests.append(time.monotonic())
        await publish_on(subject, *arguments, **others)

    monkeypatch.setattr(broker.client, "publish", note)
    return requests


async def _receive_for(subscription: FeedbackSubscription, seconds: float) -> None:
    """Receive as a collector does, for some time in which nothing comes."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        assert await subscription.receive(left) == []


async def _receive_some(subscription: FeedbackSubscription) -> list[Any]:
    """Receive as a collector does, until there is something."""
    while not (messages := await subscription.receive(1.0)):
        pass
    return messages
