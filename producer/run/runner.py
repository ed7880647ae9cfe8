"""One run: all services in their order, and the post-update at the end. Start reading here to follow one batch.

`Runner` → `ServiceImporter` (one service) → `BatchImporter` (one batch) → `Execution` (what to do next) → `Ledger`, and
on the other side `ack_collector.collector.Collector`.
"""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from secrets import token_hex

import structlog

from producer.run.observer import RunObserver
from producer.run.post_update import PostUpdate
from producer.run.service_importer import ServiceImporter
from shared.model.errors import ShutdownRequested
from shared.model.records import ServiceOutcome, Trigger, now
from shared.model.services import Service
from shared.store.operator_requests import ALL


class Runner:
    """Makes runs over `services`, in their order."""

    def __init__(
        self,
        services: Sequence[Service],
        service_importer: ServiceImporter,
        post_update: PostUpdate,
        observer: RunObserver,
    ) -> None:
        self._services = services
        self._service_importer = service_importer
        self._post_update = post_update
        self._observer = observer

    def select_known(self, names: AbstractSet[str]) -> AbstractSet[str]:
        """Return those of the requested names that this producer imports; the others are logged."""
        if names == ALL:
            return ALL
        known = names & {service.name for service in self._services}
        if unknown := names - known:
            self._observer.unknown_services_requested(unknown)
        return known

    async def run(self, trigger: Trigger, names: AbstractSet[str] = ALL) -> bool:
        """Import the services with these names, or all, then publish POST_UPDATE if all of them are settled.

        Return whether everything that may be read is settled. POST_UPDATE follows only a run over all services. Raises
        ShutdownRequested after the current batch on shutdown, and ProcessError.
        """
        run_id = _new_run_id()
        services = [service for service in self._services if names == ALL or service.name in names]
        with structlog.contextvars.bound_contextvars(run=run_id):
            await self._observer.run_started(run_id, trigger, services)
            started_seconds = time.monotonic()
            try:
                complete = await self._import_all(services)
            except ShutdownRequested:
                await self._observer.run_interrupted()
                raise
            await self._observer.run_finished(time.monotonic() - started_seconds, complete=complete)
            if complete and names == ALL:
                await self._post_update.send(run_id)
        return complete

    async def _import_all(self, services: Sequence[Service]) -> bool:
        """Import one service after another; one that fails does not stop the others. Return whether all is settled."""
        complete = True
        with self._service_importer.new_run():
            for number, service in enumerate(services, start=1):
                with structlog.contextvars.bound_contextvars(service=service.name):
                    self._observer.service_started(service, number)
                    outcome = await self._service_importer.import_service(service, following=services[number:])
                    is_complete = self._is_complete(service, outcome)
                    await self._observer.service_ended(service, outcome, is_complete=is_complete)
                complete &= is_complete
        return complete

    def _is_complete(self, service: Service, outcome: ServiceOutcome) -> bool:
        """Return whether all of a service is settled, or it is one that these credentials could never read."""
        if outcome.result == "forbidden":
            return not outcome.ordinal and not self._observer.was_imported(service)
        return outcome.result == "settled"


def _new_run_id() -> str:
    """Return the time of the start, in UTC, and a random part that distinguishes runs of the same second."""
    return f"{now():%Y%m%dT%H%M%SZ}-{token_hex(3)}"
