"""Connections of the project's own kind to the servers of a test, and messages on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from shared.broker.connection import Broker
from shared.config.settings import CollectorSettings
from shared.model import keys
from shared.runtime.shutdown import Stop

CHANNELS = ("ORI_PERSON_CHANNEL", "KORI_MODULE_CHANNEL")


def settings_for(nats_uri: str, redis_uri: str = "redis://unused", **others: Any) -> CollectorSettings:
    """Return settings with these addresses, and `others` by the names of their fields."""
    return CollectorSettings(nats_uri=nats_uri, redis_uri=redis_uri, **others)


@asynccontextmanager
async def connected(
    nats_uri: str, stop: Stop | None = None, *, name: str = "test", **others: Any
) -> AsyncIterator[Broker]:
    """Open a connection with all streams, and close it at the end."""
    broker = await Broker.connect(settings_for(nats_uri, **others), CHANNELS, name, stop or Stop())
    try:
        yield broker
    finally:
        await broker.close()


async def publish(broker: Broker, message_id: str, payload: bytes = b"{}") -> None:
    """Publish on the first channel."""
    await broker.publish(keys.CHUNK_STREAM, CHANNELS[0], payload, message_id)


async def count(jetstream: JetStreamContext, stream: str = keys.CHUNK_STREAM) -> int:
    """Return the number of messages in the stream."""
    return (await jetstream.stream_info(stream)).state.messages


async def add_stream(nats_uri: str, config: StreamConfig) -> None:
    """Create a stream as another program would, before the project does."""
    client = await nats.connect(nats_uri, allow_reconnect=False)
    await client.jetstream().add_stream(config)
    await client.close()
