"""Snapshots for open dashboards: one per second for all of them together, and only while one is open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from shared.runtime.events import Event
from shared.runtime.shared_result import SharedResult

log = structlog.get_logger()

_INTERVAL_SECONDS = 1.0
_MAX_SUBSCRIBERS = 50


class SnapshotBroadcaster:
    """Sends the newest snapshot, as JSON that `fetch` returns, to all subscribers. `run` runs beside the work.

    However many request one, `fetch` is called once per second.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        self._shared = SharedResult(fetch)
        self._newest = b""
        self._subscribers = 0
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()

    async def snapshot(self) -> bytes:
        """Return a snapshot of this second. Raises what `fetch` raises."""
        return await self._shared.get()

    async def run(self) -> None:
        """Fetch snapshots while there are subscribers, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                self._newest = await self._shared.get()
            except Exception as error:  # noqa: BLE001 - a defect of the dashboard must not end the import
                log.error(Event.DASHBOARD_FAILED, reason=type(error).__name__)
            else:
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(_INTERVAL_SECONDS)

    def subscribe(self) -> AsyncIterator[str] | None:
        """Return the snapshots from now on; None where there are too many subscribers already."""
        return self._snapshots() if self._subscribers < _MAX_SUBSCRIBERS else None

    async def _snapshots(self) -> AsyncIterator[str]:
        self._subscribers += 1
        self._wanted.set()
        try:
            while True:
                async with self._changed:
                    await self._changed.wait()
                    newest = self._newest
                yield newest.decode()
        finally:
            self._subscribers -= 1
            if not self._subscribers:
                self._wanted.clear()
