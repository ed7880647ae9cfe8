"""Wait for progress: pub/sub makes it prompt, but is never relied on, since it loses messages.

Only the changes of a ledger that the producer acts on wake it up: nothing is outstanding any more, or there are halves
to publish. One poll of the ledger per batch is enough then, instead of one per chunk.
"""

import asyncio

import structlog

from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.events import Event
from shared.runtime.tasks import wait_for_event
from shared.store.progress_channel import ProgressChannels

log = structlog.get_logger()

_RETRY_BACKOFF_SECONDS = 1.0
_ACTIONABLE = ("0", "split")
"""What the scripts publish: how many chunks are outstanding, or `split`."""


class ProgressListener:
    """Listens on the progress channels of all services. `listen` runs beside the work."""

    def __init__(self, channels: ProgressChannels) -> None:
        self._channels = channels
        self._progress = asyncio.Event()
        self._denied = False

    async def listen(self) -> None:
        """Receive messages until cancelled. A lost connection is restored; meanwhile waits take their full time.

        The same holds where the user may not subscribe. That is logged once, and retried, since it can be fixed.
        """
        while True:
            try:
                await self._channels.read(self._on_message, self._on_subscribed)
            except ConfigurationError as error:
                if not self._denied:
                    reason = f"{error}; `importer check` names the permission"
                    log.warning(Event.PROGRESS_SUBSCRIPTION_DENIED, reason=reason)
                self._denied = True
            except DependencyLostError:
                pass  # polling works without; a Redis that stays unavailable fails the other commands
            await asyncio.sleep(_RETRY_BACKOFF_SECONDS)

    def _on_subscribed(self) -> None:
        self._denied = False

    def _on_message(self, message: str) -> None:
        if message in _ACTIONABLE:
            self._progress.set()

    async def wait(self, seconds: float) -> None:
        """Return when there was something to act on since the last return, at the latest after `seconds`."""
        await wait_for_event(self._progress, seconds)
        self._progress.clear()
