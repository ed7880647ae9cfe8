"""The connections of one command: quickly made or quickly given up, and closed in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client

from shared.broker import addresses, client_options, describe
from shared.errors import DependencyLostError
from shared.redis_client import Scripts, make_redis
from shared.settings import CommonSettings

_CONNECT_SECONDS = 5.0
_REDIS_ATTEMPTS = 2


@dataclass
class Connections:
    """Redis, which connects when first used, and NATS, if it answers."""

    scripts: Scripts
    nats: Client | None
    nats_error: str | None
    nats_complaints: list[Exception]
    """What the client reports meanwhile, such as rights that the user lacks."""

    def need_nats(self) -> Client:
        """The connection to NATS. Raises DependencyLostError where there is none."""
        if self.nats is None:
            raise DependencyLostError(self.nats_error or "")
        return self.nats


@asynccontextmanager
async def connections(settings: CommonSettings) -> AsyncIterator[Connections]:
    """Connect; that NATS cannot be reached is no error yet."""
    redis = make_redis(settings.redis_uri.get_secret_value(), settings.redis_tls(), _REDIS_ATTEMPTS)
    client, errors = Client(), list[Exception]()

    async def keep(error: Exception) -> None:
        errors.append(error)

    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                **client_options(settings, "operator"), allow_reconnect=False, connect_timeout=3, error_cb=keep
            )
    except (nats.errors.Error, TimeoutError, OSError) as error:
        reason = describe(errors[-1] if errors else error)
        failed: str | None = f"NATS at {addresses(settings)} cannot be reached: {reason}"
    else:
        failed = None
    try:
        yield Connections(Scripts(redis), None if failed else client, failed, errors)
    finally:
        await client.close()
        await redis.aclose()
