"""Fetching ahead: while one batch is settled, the next one is already asked for.

At most one batch is ahead. It is only fetched ahead, never published ahead: an entity's newer version must not
overtake its older one.
"""

import asyncio

from producer.answers import Batch
from producer.sisu import SisuClient
from shared.services import Service


class Feed:
    """The batches of all services, in the order in which they are taken."""

    def __init__(self, sisu: SisuClient) -> None:
        self._sisu = sisu
        self._ahead: tuple[tuple[Service, int], asyncio.Task[Batch]] | None = None

    def fetch_ahead(self, service: Service, since: int) -> None:
        """Begin to fetch what will be taken next, and return. An error shows when it is taken."""
        if self._ahead is None:
            self._ahead = (service, since), asyncio.create_task(self._sisu.fetch(service, since))

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
            return await task
        finally:
            self.discard()

    def discard(self) -> None:
        """Throw away what was fetched ahead, and abandon it if it is under way."""
        if self._ahead:
            task = self._ahead[1]
            task.cancel()
            # An error that nobody will take is not worth asyncio's complaint about it.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._ahead = None
