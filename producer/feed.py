"""Fetching ahead: while one batch is settled, the next one is already asked for.

At most one batch is ahead. It is only fetched ahead, never published ahead: an entity's newer version must not
overtake its older one.
"""

import asyncio
import time

import structlog

from producer.answers import Batch
from producer.page_size import PageSize
from producer.sisu import SisuClient
from shared.errors import FetchError, SisuAbsentError
from shared.events import Event
from shared.services import Service

log = structlog.get_logger()


class Feed:
    """The batches of all services, in the order in which they are taken, of at most as many entities as `page_size`."""

    def __init__(self, sisu: SisuClient, page_size: PageSize) -> None:
        self._sisu = sisu
        self._page_size = page_size
        self._ahead: tuple[tuple[Service, int], asyncio.Task[tuple[int, Batch]]] | None = None

    def fetch_ahead(self, service: Service, since: int) -> None:
        """Begin to fetch what will be taken next, and return. An error shows when it is taken."""
        if self._ahead is None:
            self._ahead = (service, since), asyncio.create_task(self._fetch(service, since))

    async def take(self, service: Service, since: int) -> Batch:
        """The batch of `service` after `since`: the one fetched ahead, if that is the one. Raises as SisuClient.fetch.

        Where another one was fetched ahead, for things went otherwise, it is thrown away.
        """
        if self._ahead is None or self._ahead[0] != (service, since):
            self.discard()
            self.fetch_ahead(service, since)
        assert self._ahead
        _, task = self._ahead
        try:
            asked, batch = await task
        finally:
            self.discard()
        size_bytes = sum(map(len, batch.entities))
        self._page_size.taken(service, asked, len(batch.entities), size_bytes, time.monotonic())
        return batch

    def discard(self) -> None:
        """Throw away what was fetched ahead, and abandon it if it is under way."""
        if self._ahead:
            task = self._ahead[1]
            task.cancel()
            # An error that nobody will take is not worth asyncio's complaint about it.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._ahead = None

    async def _fetch(self, service: Service, since: int) -> tuple[int, Batch]:
        """How many entities were asked for, and the batch. Raises as SisuClient.fetch."""
        amount = self._page_size.of(service)
        try:
            return amount, await self._sisu.fetch(service, since, amount)
        except SisuAbsentError:
            raise  # an outage says nothing of the amount
        except FetchError as error:
            if not self._page_size.failed(service):
                raise
            least = self._page_size.of(service)
            log.warning(Event.PAGE_TOO_LARGE, service=service.name, reason=str(error), amount=amount, now=least)
            return least, await self._sisu.fetch(service, since, least)
