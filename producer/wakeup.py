"""Waking up when there is something to do: pub/sub for speed, and never to be relied on, since it forgets.

Of the changes of a ledger only those wake that the producer acts upon: nothing is outstanding any more, or there are
halves to be published. One look at the ledger for each batch is enough then, instead of one for each chunk.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from redis.asyncio import Redis, RedisError
from redis.exceptions import NoPermissionError

from shared.events import Event

log = structlog.get_logger()

_LISTEN_SECONDS = 5.0
_RETRY_PAUSE_SECONDS = 1.0
_TO_ACT_UPON = ("0", "split")
"""What the scripts publish: how many chunks are outstanding, or `split`."""


class Wakeup:
    """Listens on the progress channels of all services. `listen` runs beside the work."""

    def __init__(self, redis: Redis, channels: Sequence[str]) -> None:
        self._redis = redis
        self._channels = channels
        self._woken = asyncio.Event()
        self._refused = False

    async def listen(self) -> None:
        """Hear of changes until cancelled. A lost connection is made again; meanwhile waits take their full time.

        So they do where the user may not hear the channels. That is logged once, and tried again: it can be mended.
        """
        while True:
            try:
                await self._hear()
            except NoPermissionError as error:
                if not self._refused:
                    log.warning(Event.WAKEUPS_REFUSED, reason=f"{error}; `importer check` names the right")
                self._refused = True
            except (RedisError, OSError):
                pass
            await asyncio.sleep(_RETRY_PAUSE_SECONDS)

    async def _hear(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(*self._channels)
            while True:
                message = await pubsub.get_message(timeout=_LISTEN_SECONDS)
                self._refused = False
                if message and message["data"] in _TO_ACT_UPON:
                    self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Return when there was something to do since the last return, at the latest after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
