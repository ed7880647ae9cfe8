"""The lock in Redis that makes one producer the active one. Others stand by and take over when it expires.

It keeps two producers from working against each other; safety does not rest on it. A producer that was paused beyond
the lock's time to live may still believe that it holds it: the ledger's scripts fence what it does then.
"""

import asyncio
from secrets import token_hex

import structlog

from shared.model import keys
from shared.model.errors import DependencyLostError
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop
from shared.store.scripts import Scripts

log = structlog.get_logger()

TTL_SECONDS = 15.0
_RENEW_SECONDS = TTL_SECONDS / 3
_ATTEMPT_INTERVAL_SECONDS = 1.0


class ProducerLock:
    """One producer's claim to the lock."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._token = token_hex(12)

    async def acquire(self, stop: Stop, timeout_seconds: float | None = None) -> bool:
        """Wait for the lock, without a limit or for `timeout_seconds`. Return whether it is held now.

        Returns False on shutdown, too. Raises DependencyLostError.
        """
        waited_seconds = 0.0
        while not await self._hold():
            if not waited_seconds:
                log.info(Event.STANDING_BY)
            if await stop.wait(_ATTEMPT_INTERVAL_SECONDS):
                return False
            waited_seconds += _ATTEMPT_INTERVAL_SECONDS
            if timeout_seconds is not None and waited_seconds > timeout_seconds:
                return False
        log.info(Event.LOCK_ACQUIRED)
        return True

    async def keep_renewing(self) -> None:
        """Renew the lock until cancelled. Raises DependencyLostError once another producer holds it."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renew the lock once. Raises DependencyLostError if another producer holds it."""
        if not await self._hold():
            raise DependencyLostError("another producer took the lock over while this one was paused or cut off")

    async def release(self) -> None:
        """Release the lock, so that a stand-by need not wait for it to expire."""
        await self._scripts.call("release_lock", [keys.PRODUCER_LOCK], [self._token])

    async def _hold(self) -> bool:
        ttl_milliseconds = int(TTL_SECONDS * 1000)
        reply = await self._scripts.call("hold_lock", [keys.PRODUCER_LOCK], [self._token, ttl_milliseconds])
        return bool(reply == "HELD")
