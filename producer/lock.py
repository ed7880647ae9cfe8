"""The lock that makes one producer the active one, in Redis. Others stand by and take over when it expires.

It keeps two producers from working against each other; safety does not rest on it. A producer that was paused past
the life of its lock may still believe that it holds it: what it does then is refused by the ledger's scripts.
"""

import asyncio
from secrets import token_hex

import structlog

from shared import keys
from shared.errors import DependencyLostError
from shared.events import Event
from shared.redis_client import Scripts
from shared.stop import Stop

log = structlog.get_logger()

LIFE_SECONDS = 15.0
_RENEW_SECONDS = LIFE_SECONDS / 3
_TRY_SECONDS = 1.0


class ProducerLock:
    """One producer's claim to the lock."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._token = token_hex(12)

    async def acquire(self, stop: Stop, patience_seconds: float | None = None) -> bool:
        """Wait for the lock: without end, or for `patience_seconds`. Answers whether it is held now.

        False also when asked to stop. Raises DependencyLostError.
        """
        waited_seconds = 0.0
        while not await self._hold():
            if not waited_seconds:
                log.info(Event.STANDING_BY)
            if await stop.wait(_TRY_SECONDS):
                return False
            waited_seconds += _TRY_SECONDS
            if patience_seconds is not None and waited_seconds > patience_seconds:
                return False
        log.info(Event.LOCK_HELD)
        return True

    async def keep(self) -> None:
        """Renew the lock until cancelled. Raises DependencyLostError once it is another's."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Hold the lock for another life. Raises DependencyLostError if it is another's."""
        if not await self._hold():
            raise DependencyLostError("another producer took the lock over while this one was paused or cut off")

    async def release(self) -> None:
        """Give the lock back, so that a stand-by need not wait for it to expire."""
        await self._scripts.call("release_lock", [keys.PRODUCER_LOCK], [self._token])

    async def _hold(self) -> bool:
        life_milliseconds = int(LIFE_SECONDS * 1000)
        answer = await self._scripts.call("hold_lock", [keys.PRODUCER_LOCK], [self._token, life_milliseconds])
        return bool(answer == "HELD")
