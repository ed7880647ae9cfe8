"""The connections of one command: made within seconds or not at all, and closed in the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.broker.operator_connection import OperatorConnection
from shared.config.settings import CommonSettings
from shared.model.errors import DependencyLostError
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts

_REDIS_ATTEMPTS = 3


@dataclass
class Connections:
    """Redis, which connects when it is first used, and NATS, if it responds."""

    redis: RedisClient
    scripts: Scripts
    nats: OperatorConnection | None
    nats_error: str | None
    """Why there is no connection to NATS."""

    def require_nats(self) -> OperatorConnection:
        """Return the connection to NATS. Raises DependencyLostError where there is none."""
        if self.nats is None:
            raise DependencyLostError(self.nats_error or "")
        return self.nats


@asynccontextmanager
async def connect(settings: CommonSettings) -> AsyncIterator[Connections]:
    """Connect for the body; an unreachable NATS is not an error yet. Blocks for at most five seconds."""
    redis = RedisClient(make_redis(settings.redis_uri.get_secret_value(), settings.redis_tls()), _REDIS_ATTEMPTS)
    nats, nats_error = None, None
    try:
        try:
            nats = await OperatorConnection.connect(settings)
        except DependencyLostError as error:
            nats_error = str(error)
        yield Connections(redis, Scripts(redis), nats, nats_error)
    finally:
        if nats:
            await nats.close()
        await redis.close()
