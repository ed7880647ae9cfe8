"""Connections of the project's own kind to the servers of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.broker import Broker
from shared.settings import CollectorSettings
from shared.stop import Stop

CHANNELS = ("ORI_PERSON_CHANNEL", "KORI_MODULE_CHANNEL")


def settings_for(nats_uri: str, redis_uri: str = "redis://unused", **others: Any) -> CollectorSettings:
    """Settings with these addresses, and `others` by the names of their fields."""
    return CollectorSettings(nats_uri=nats_uri, redis_uri=redis_uri, **others)


@asynccontextmanager
async def connected(nats_uri: str, stop: Stop | None = None, **others: Any) -> AsyncIterator[Broker]:
    """A connection with all streams, closed in the end."""
    broker = await Broker.connect(settings_for(nats_uri, **others), CHANNELS, "test", stop or Stop())
    try:
        yield broker
    finally:
        await broker.close()
