"""The progress channels, on which the scripts publish what the producer acts on. Pub/sub loses messages."""

from collections.abc import Callable, Sequence

from redis.asyncio import RedisError
from redis.exceptions import NoPermissionError

from shared.model.errors import ConfigurationError, DependencyLostError
from shared.store.redis_client import RedisClient

_READ_SECONDS = 5.0


class ProgressChannels:
    """The progress channels of some services (`ServiceKeys.progress`)."""

    def __init__(self, client: RedisClient, channels: Sequence[str]) -> None:
        self._client = client
        self._channels = channels

    async def read(self, on_message: Callable[[str], None], on_subscribed: Callable[[], None]) -> None:
        """Subscribe, and call `on_message` with what is published, until cancelled or until the connection is lost.

        What is published is how many chunks are outstanding, or `split`. Raises ConfigurationError where the user may
        not subscribe, DependencyLostError otherwise.
        """
        try:
            async with self._client.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(*self._channels)
                while True:
                    message = await pubsub.get_message(timeout=_READ_SECONDS)
                    on_subscribed()
                    if message:
                        on_message(str(message["data"]))
        except NoPermissionError as error:  # retried while the process runs, whatever it has done before
            raise ConfigurationError(str(error)) from error
        except (RedisError, OSError) as error:
            raise DependencyLostError(f"Redis is unavailable (the progress channels): {error}") from error
