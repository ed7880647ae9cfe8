"""Snapshots for open pages: taken once a second for all of them together, and only while somebody looks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from shared.events import Event

log = structlog.get_logger()

_EVERY_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 15.0
_LISTENERS_MAX = 50


class Live:
    """Hands the newest snapshot, as JSON that `take` makes, to all who listen. `run` runs beside the work."""

    def __init__(self, take: Callable[[], Awaitable[bytes]]) -> None:
        self._take = take
        self._newest = b""
        self._listeners = 0
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()

    async def newest(self) -> bytes:
        """A snapshot of now."""
        return await self._take()

    async def run(self) -> None:
        """Take snapshots while somebody listens, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                self._newest = await self._take()
            except Exception as error:  # noqa: BLE001 - the page is no reason for the import to end
                log.error(Event.PAGE_FAILED, reason=type(error).__name__)
            else:
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(_EVERY_SECONDS)

    def listen(self) -> AsyncIterator[bytes] | None:
        """Server-sent events, one for each snapshot; None where too many listen already."""
        return self._listen() if self._listeners < _LISTENERS_MAX else None

    async def _listen(self) -> AsyncIterator[bytes]:
        self._listeners += 1
        self._wanted.set()
        try:
            while True:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_SECONDS), self._changed:
                        await self._changed.wait()
                        newest = self._newest
                except TimeoutError:
                    yield b": still here\n\n"
                else:
                    yield b"data: " + newest + b"\n\n"
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._wanted.clear()
