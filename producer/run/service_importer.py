"""One service in one run: its batches, one after another, until SISU has no more."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from producer.batch.importer import BatchImporter
from producer.control.checkpoint import Checkpoint
from producer.control.lock import ProducerLock
from producer.run.observer import RunObserver
from producer.run.outcome import ServiceTotals
from producer.run.prefetcher import Prefetcher
from producer.run.sisu_conditions import SisuConditions
from shared.model.errors import ServiceFailedError, ServiceForbiddenError, SisuConnectionError, SupersededError
from shared.model.records import ServiceOutcome, now
from shared.model.services import Service
from shared.sisu.client import SisuClient
from shared.store.ledger import Ledger

_ATTEMPTS = 3
"""How many executions in a row may be superseded, say by a Redis rollback, until the service fails for this run."""


class ServiceImporter:
    """Imports services. Remembers, for the life of the process, what their ordinals were."""

    def __init__(
        self,
        ledgers: Mapping[Service, Ledger],
        sisu: SisuClient,
        prefetcher: Prefetcher,
        batch_importer: BatchImporter,
        lock: ProducerLock,
        checkpoint: Checkpoint,
        observer: RunObserver,
    ) -> None:
        self._ledgers = ledgers
        self._prefetcher = prefetcher
        self._batch_importer = batch_importer
        self._lock = lock
        self._checkpoint = checkpoint
        self._observer = observer
        self._base_url = sisu.base_url
        self._conditions = SisuConditions(sisu.base_url)
        self._last_ordinals: dict[Service, tuple[int, datetime]] = {}
        """The ordinal of each service as this process last saw it, and when."""

    async def reset_one_time_services(self) -> None:
        """Have the one-time services fetched again: called once per start. Raises DependencyLostError."""
        one_time = [service for service in self._ledgers if service.one_time]
        for service in one_time:
            with suppress(ServiceFailedError):  # the service fails by itself, in its turn
                await self._ledgers[service].delete_ordinal()
        self._observer.one_time_services_reset(len(one_time))

    @contextmanager
    def new_run(self) -> Iterator[None]:
        """Forget what failed in the last run; after the body, cancel what was prefetched and is not needed."""
        self._conditions.clear()
        try:
            yield
        finally:
            self._prefetcher.cancel()

    async def import_service(self, service: Service, following: Sequence[Service]) -> ServiceOutcome:
        """Import everything that SISU has of `service`, and return the outcome, a failure included.

        Meanwhile the first batch of the next of `following` is fetched. Blocks for as long as SISU has more and
        mankelis make progress. Raises ShutdownRequested and ProcessError.
        """
        totals = ServiceTotals()
        if unrequested := self._conditions.unrequested_outcome(service):
            result, reason = unrequested
            if result == "skipped":
                self._observer.service_skipped(reason)
            return totals.outcome(service, result, reason)
        was_unreachable = self._conditions.is_unreachable(service)
        try:
            await self._import_batches(service, following, totals)
        except ServiceFailedError as error:
            self._conditions.record_failure(service, error)
            if isinstance(error, ServiceForbiddenError):
                self._observer.service_forbidden(str(error))
                return totals.outcome(service, "forbidden", str(error))
            if was_unreachable and isinstance(error, SisuConnectionError) and not totals.batches:
                reason = f"{self._base_url(service)} did not respond in this run"
                self._observer.service_skipped(reason)
                return totals.outcome(service, "skipped", reason)
            return totals.outcome(service, "failed", str(error))
        return totals.outcome(service, "settled")

    async def _import_batches(self, service: Service, following: Sequence[Service], totals: ServiceTotals) -> None:
        """Import batches until SISU has no more. Raises ServiceFailedError, ShutdownRequested or ProcessError."""
        ordinal = totals.ordinal = await self._read_ordinal(service)
        if service.one_time and ordinal:
            return
        attempts_left = _ATTEMPTS
        has_more = True
        while has_more:
            await self._checkpoint.reach()
            try:
                has_more = await self._import_batch(service, following, totals)
                attempts_left = _ATTEMPTS
            except SupersededError as error:
                self._observer.batch_superseded(service)
                attempts_left -= 1
                if not attempts_left:
                    raise
                await self._lock.renew()
                self._observer.service_restarted(str(error))
                totals.ordinal = await self._read_ordinal(service)

    async def _import_batch(self, service: Service, following: Sequence[Service], totals: ServiceTotals) -> bool:
        """Import one batch while the next one is fetched; return whether SISU has more."""
        assert totals.ordinal is not None
        attempts = self._conditions.attempts(service)
        fetching = self._prefetcher.next_batch(service, totals.ordinal, attempts)
        batch = await self._checkpoint.run_interruptible(fetching)
        self._conditions.record_response(service)
        totals.sisu_behind_at = batch.behind
        if batch.behind is not None:
            self._observer.sisu_behind(batch.since, batch.behind)
        if batch.has_more:
            self._prefetcher.fetch_ahead(service, batch.greatest_ordinal)
        else:
            await self._fetch_ahead_of(following)
        if batch.entities or batch.greatest_ordinal > batch.since:
            with self._observer.batch_timer(service):
                result = await self._batch_importer.import_batch(batch, self._ledgers[service])
            totals.add(result, batch.greatest_ordinal)
            self._observer.batch_advanced(service, result.entities, batch.greatest_ordinal)
            self._last_ordinals[service] = batch.greatest_ordinal, now()
        return batch.has_more

    async def _fetch_ahead_of(self, following: Sequence[Service]) -> None:
        """Start fetching the first batch of the next service that will be imported."""
        for service in following:
            if self._conditions.unrequested_outcome(service):
                continue
            try:
                ordinal = await self._ledgers[service].ordinal()
            except ServiceFailedError:
                return  # the service fails by itself, in its turn
            if not (service.one_time and ordinal):
                self._prefetcher.fetch_ahead(service, ordinal, self._conditions.attempts(service))
                return

    async def _read_ordinal(self, service: Service) -> int:
        """Read the service's ordinal; one that is lower than this process left it is logged, with the explanation."""
        ordinal = await self._ledgers[service].ordinal()
        last, since = self._last_ordinals.get(service, (0, now()))
        if ordinal < last:
            await self._observer.ordinal_decreased(service, last, ordinal, since)
        self._last_ordinals[service] = ordinal, now()
        return ordinal
