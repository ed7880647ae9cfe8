"""Prefetch: while one batch is settled, the next one is already requested.

At most one batch is ahead. It is only fetched ahead, never published ahead: an entity's newer version must not overtake
its older one.
"""

import asyncio
import time

import structlog

from producer.run.adaptive_page_size import AdaptivePageSize
from shared.model.batch import Batch
from shared.model.errors import FetchError, SisuConnectionError, SisuUnavailableError
from shared.model.services import Service
from shared.runtime.events import Event
from shared.sisu.client import SisuClient

log = structlog.get_logger()


class Prefetcher:
    """Fetches the batches of all services, each of at most as many entities as `page_size` says."""

    def __init__(self, sisu: SisuClient, page_size: AdaptivePageSize) -> None:
        self._sisu = sisu
        self._page_size = page_size
        self._ahead: tuple[tuple[Service, int], asyncio.Task[tuple[int, Batch]]] | None = None

    def fetch_ahead(self, service: Service, since: int, attempts: int | None = None) -> None:
        """Start fetching what `next_batch` will be asked for, and return. An error is raised by `next_batch`.

        `attempts` limits how often it is tried; None for the usual number.
        """
        if self._ahead is None:
            self._ahead = (service, since), asyncio.create_task(self._fetch(service, since, attempts))

    async def next_batch(self, service: Service, since: int, attempts: int | None = None) -> Batch:
        """Return the batch of `service` after `since`: the one fetched ahead, if it is that one.

        Another one that was fetched ahead is discarded. Blocks and raises as SisuClient.fetch.
        """
        if self._ahead is None or self._ahead[0] != (service, since):
            self.cancel()
            self.fetch_ahead(service, since, attempts)
        assert self._ahead
        _, task = self._ahead
        try:
            requested, batch = await task
        finally:
            self.cancel()
        size_bytes = sum(map(len, batch.entities))
        self._page_size.record_page(service, requested, len(batch.entities), size_bytes, time.monotonic())
        return batch

    def cancel(self) -> None:
        """Discard what was fetched ahead, and abandon it if it is under way."""
        if self._ahead:
            task = self._ahead[1]
            task.cancel()
            # Retrieve the error, or asyncio would log that it never was.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._ahead = None

    async def _fetch(self, service: Service, since: int, attempts: int | None) -> tuple[int, Batch]:
        """Return how many entities were requested, and the batch. Raises as SisuClient.fetch."""
        amount = self._page_size.for_service(service)
        try:
            return amount, await self._sisu.fetch(service, since, amount, attempts=attempts)
        except (SisuConnectionError, SisuUnavailableError):
            raise  # an outage says nothing about the amount
        except FetchError as error:
            if not self._page_size.record_failure(service):
                raise
            minimum = self._page_size.for_service(service)
            log.warning(Event.FETCH_AMOUNT_REDUCED, service=service.name, reason=str(error), amount=amount, now=minimum)
            return minimum, await self._sisu.fetch(service, since, minimum, attempts=attempts)
