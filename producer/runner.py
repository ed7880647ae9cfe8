"""One run: all services in their order, one batch at a time, and the post-update at the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex

import structlog

from producer.batch import BatchImporter, Imported
from producer.feed import Feed
from producer.lock import ProducerLock
from producer.post_update import PostUpdate
from producer.sisu import SisuClient
from shared import metrics
from shared.errors import ServiceFailedError, ServiceForbiddenError, SisuUnreachableError, Stopped, SupersededError
from shared.events import Event
from shared.ledger import Ledger
from shared.redis_client import Scripts
from shared.services import Service
from shared.stop import Stop

log = structlog.get_logger()

_NEW_STARTS = 3
"""How often in a row a service starts over at once because its execution was superseded, say by Redis going back."""


@dataclass
class ServiceTotals:
    """What a run has done for a service so far."""

    ordinal: int
    entities: int = 0
    chunks: int = 0
    batches: int = 0
    dead_letters: int = 0
    started_seconds: float = field(default_factory=time.monotonic)

    def add(self, imported: Imported, ordinal: int) -> None:
        """Count one batch whose ordinal has moved on."""
        self.ordinal = ordinal
        self.entities += imported.entities
        self.chunks += imported.chunks
        self.dead_letters += imported.dead_letters
        self.batches += 1


class Runner:
    """Makes runs. Remembers, for the life of the process, which services are forbidden and where ordinals were."""

    def __init__(
        self,
        services: Sequence[Service],
        sisu: SisuClient,
        importer: BatchImporter,
        post_update: PostUpdate,
        lock: ProducerLock,
        scripts: Scripts,
        stop: Stop,
    ) -> None:
        self._services = services
        self._sisu = sisu
        self._feed = Feed(sisu)
        self._importer = importer
        self._post_update = post_update
        self._lock = lock
        self._ledgers = {service: Ledger(scripts, service.key) for service in services}
        self._stop = stop
        self._forbidden: set[Service] = set()
        self._unreachable: set[str] = set()
        self._last_ordinals: dict[Service, int] = {}

    async def forget_one_time_services(self) -> None:
        """Have the one-time services fetched anew: called once per start. Raises DependencyLostError."""
        one_time = [service for service in self._services if service.one_time]
        for service in one_time:
            await self._ledgers[service].forget_ordinal()
        log.info(Event.ONE_TIME_RESET, services=len(one_time))

    async def run(self) -> bool:
        """Go through all services, then tell mankelis. Answers whether all that may be read is fully settled.

        Raises Stopped after the batch in flight when asked to stop, and ProcessError.
        """
        run_id = _new_run_id()
        with structlog.contextvars.bound_contextvars(run=run_id):
            log.info(Event.RUN_STARTED, services=len(self._services))
            with metrics.RUN_SECONDS.time():
                complete = await self._go_through_services()
            if complete:
                await self._post_update.send(run_id)
            metrics.RUNS.labels("complete" if complete else "incomplete").inc()
            log.info(Event.RUN_FINISHED, complete=complete)
        return complete

    async def _go_through_services(self) -> bool:
        self._unreachable.clear()
        complete = True
        try:
            for number, service in enumerate(self._services):
                with structlog.contextvars.bound_contextvars(service=service.name):
                    complete &= await self._attempt(service, self._services[number + 1 :])
        finally:
            self._feed.discard()
        return complete

    async def _attempt(self, service: Service, following: Sequence[Service]) -> bool:
        """Import one service; a failure of it is logged, and ends here. Answers whether it is no obstacle."""
        if service in self._forbidden:
            log.warning(Event.SERVICE_SKIPPED, reason="forbidden since the start of this process")
            return True
        if self._sisu.address(service) in self._unreachable:
            log.warning(Event.SERVICE_SKIPPED, reason=f"nobody answered at {self._sisu.address(service)} in this run")
            return False
        try:
            await self._import_service(service, following)
        except ServiceForbiddenError as error:
            self._forbidden.add(service)
            log.error(Event.SERVICE_FORBIDDEN, reason=str(error))
        except ServiceFailedError as error:
            if isinstance(error, SisuUnreachableError):
                self._unreachable.add(self._sisu.address(service))
            metrics.SERVICE_FAILURES.labels(service.name).inc()
            log.error(Event.SERVICE_FAILED, reason=str(error))
            return False
        return True

    async def _import_service(self, service: Service, following: Sequence[Service]) -> None:
        """Import batches until SISU has no more. Raises ServiceFailedError, Stopped or ProcessError."""
        totals = ServiceTotals(await self._ordinal(service))
        if service.one_time and totals.ordinal:
            return
        starts_left = _NEW_STARTS
        more = True
        while more:
            if self._stop.requested:
                raise Stopped
            try:
                more = await self._import_batch(service, following, totals)
                starts_left = _NEW_STARTS
            except SupersededError as error:
                metrics.BATCHES.labels(service.name, "superseded").inc()
                starts_left -= 1
                if not starts_left:
                    raise
                await self._lock.renew()
                log.warning(Event.SERVICE_STARTED_OVER, reason=str(error))
                totals.ordinal = await self._ordinal(service)
        log.info(
            Event.SERVICE_FINISHED,
            ordinal=totals.ordinal,
            entities=totals.entities,
            chunks=totals.chunks,
            batches=totals.batches,
            dead_letters=totals.dead_letters,
            seconds=round(time.monotonic() - totals.started_seconds, 3),
        )

    async def _import_batch(self, service: Service, following: Sequence[Service], totals: ServiceTotals) -> bool:
        """Take one batch, import it while the next is fetched, and answer whether there is more."""
        batch = await self._stop.interrupt(self._feed.take(service, totals.ordinal))
        if batch.has_more:
            self._feed.fetch_ahead(service, batch.greatest_ordinal)
        else:
            await self._fetch_ahead_of(following)
        if batch.entities or batch.greatest_ordinal > batch.since:
            with metrics.SETTLE_SECONDS.labels(service.name).time():
                imported = await self._importer.import_batch(batch, self._ledgers[service])
            metrics.BATCHES.labels(service.name, "advanced").inc()
            metrics.ENTITIES.labels(service.name).inc(imported.entities)
            metrics.ORDINAL.labels(service.name).set(batch.greatest_ordinal)
            totals.add(imported, batch.greatest_ordinal)
            self._last_ordinals[service] = batch.greatest_ordinal
        return batch.has_more

    async def _fetch_ahead_of(self, following: Sequence[Service]) -> None:
        """Begin to fetch for the next service that will be imported."""
        for service in following:
            if service in self._forbidden or self._sisu.address(service) in self._unreachable:
                continue
            ordinal = await self._ledgers[service].ordinal()
            if not (service.one_time and ordinal):
                self._feed.fetch_ahead(service, ordinal)
                return

    async def _ordinal(self, service: Service) -> int:
        ordinal = await self._ledgers[service].ordinal()
        last = self._last_ordinals.get(service, 0)
        if ordinal < last:
            log.error(Event.ORDINAL_LOST, last=last, now=ordinal)
        self._last_ordinals[service] = ordinal
        return ordinal


def _new_run_id() -> str:
    """When it began, in UTC, and something to tell runs of the same second apart."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{token_hex(3)}"
