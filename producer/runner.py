"""One run: all services in their order, one batch at a time, and the post-update at the end."""

import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from secrets import token_hex

import structlog

from producer.batch import BatchImporter
from producer.control import ALL, Control
from producer.feed import Feed
from producer.journal import Journal
from producer.lock import ProducerLock
from producer.post_update import PostUpdate
from producer.sisu import SisuClient
from producer.totals import ServiceTotals
from shared import metrics
from shared.errors import ServiceFailedError, ServiceForbiddenError, SisuUnreachableError, Stopped, SupersededError
from shared.events import Event
from shared.ledger import Ledger
from shared.records import ServiceOutcome, Trigger, now
from shared.services import Service
from shared.stop import Stop

log = structlog.get_logger()

_NEW_STARTS = 3
"""How often in a row a service starts over at once because its execution was superseded, say by Redis going back."""


class Runner:
    """Makes runs. Remembers, for the life of the process, which services are forbidden and where ordinals were."""

    def __init__(
        self,
        ledgers: Mapping[Service, Ledger],
        sisu: SisuClient,
        feed: Feed,
        importer: BatchImporter,
        post_update: PostUpdate,
        lock: ProducerLock,
        control: Control,
        journal: Journal,
        stop: Stop,
    ) -> None:
        self._ledgers = ledgers
        self._sisu = sisu
        self._feed = feed
        self._importer = importer
        self._post_update = post_update
        self._lock = lock
        self._control = control
        self._journal = journal
        self._stop = stop
        self._forbidden: set[Service] = set()
        self._unreachable: set[str] = set()
        self._last_ordinals: dict[Service, tuple[int, datetime]] = {}
        """With the time at which it was so."""

    async def forget_one_time_services(self) -> None:
        """Have the one-time services fetched anew: called once per start. Raises DependencyLostError."""
        one_time = [service for service in self._ledgers if service.one_time]
        for service in one_time:
            await self._ledgers[service].forget_ordinal()
        log.info(Event.ONE_TIME_RESET, services=len(one_time))

    def known(self, names: AbstractSet[str]) -> AbstractSet[str]:
        """Those of these names that a run can be made of; the others are logged."""
        if names == ALL:
            return ALL
        ours = names & {service.name for service in self._ledgers}
        if others := names - ours:
            log.warning(Event.RUN_NOT_OURS, services=sorted(others))
        return ours

    async def run(self, trigger: Trigger, names: AbstractSet[str] = ALL) -> bool:
        """Go through the services with these names, or all, then tell mankelis.

        Answers whether all that may be read is fully settled. Mankelis are told only after a run over all services.
        Raises Stopped after the batch in flight when asked to stop, and ProcessError.
        """
        run_id = _new_run_id()
        services = [service for service in self._ledgers if names == ALL or service.name in names]
        with structlog.contextvars.bound_contextvars(run=run_id):
            log.info(Event.RUN_STARTED, services=len(services), trigger=trigger)
            await self._journal.run_started(run_id, trigger, services)
            began_seconds = time.monotonic()
            try:
                complete = await self._go_through(services)
            except Stopped:
                await self._journal.run_ended(complete=False)
                raise
            metrics.RUN_SECONDS.observe(time.monotonic() - began_seconds)
            await self._journal.run_ended(complete=complete)
            metrics.RUNS.labels("complete" if complete else "incomplete").inc()
            log.info(Event.RUN_FINISHED, complete=complete)
            if complete and names == ALL:
                await self._post_update.send(run_id)
        return complete

    async def _go_through(self, services: Sequence[Service]) -> bool:
        self._unreachable.clear()
        complete = True
        try:
            for number, service in enumerate(services, start=1):
                with structlog.contextvars.bound_contextvars(service=service.name):
                    self._journal.service_started(service, number)
                    outcome = await self._attempt(service, services[number:])
                    await self._journal.service_ended(outcome)
                complete &= outcome.result in ("settled", "forbidden")
        finally:
            self._feed.discard()
        return complete

    async def _attempt(self, service: Service, following: Sequence[Service]) -> ServiceOutcome:
        """Import one service; a failure of it is logged, and ends here. Raises Stopped and ProcessError."""
        totals = ServiceTotals()
        address = self._sisu.address(service)
        if service in self._forbidden:
            reason = "forbidden since the start of this process"
            log.warning(Event.SERVICE_SKIPPED, reason=reason)
            return totals.outcome(service, "forbidden", reason)
        if address in self._unreachable:
            reason = f"nobody answered at {address} in this run"
            log.warning(Event.SERVICE_SKIPPED, reason=reason)
            return totals.outcome(service, "skipped", reason)
        try:
            await self._import_service(service, following, totals)
        except ServiceForbiddenError as error:
            self._forbidden.add(service)
            log.error(Event.SERVICE_FORBIDDEN, reason=str(error))
            return totals.outcome(service, "forbidden", str(error))
        except ServiceFailedError as error:
            if isinstance(error, SisuUnreachableError):
                self._unreachable.add(address)
            metrics.SERVICE_FAILURES.labels(service.name).inc()
            log.error(Event.SERVICE_FAILED, reason=str(error))
            return totals.outcome(service, "failed", str(error))
        metrics.LAST_SUCCESS.labels(service.name).set_to_current_time()
        outcome = totals.outcome(service, "settled")
        log.info(
            Event.SERVICE_FINISHED,
            ordinal=outcome.ordinal,
            entities=outcome.entities,
            chunks=outcome.chunks,
            batches=outcome.batches,
            dead_letters=outcome.dead_letters,
            seconds=outcome.seconds,
        )
        return outcome

    async def _import_service(self, service: Service, following: Sequence[Service], totals: ServiceTotals) -> None:
        """Import batches until SISU has no more. Raises ServiceFailedError, Stopped or ProcessError."""
        ordinal = totals.ordinal = await self._ordinal(service)
        if service.one_time and ordinal:
            return
        starts_left = _NEW_STARTS
        more = True
        while more:
            await self._may_go_on()
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

    async def _may_go_on(self) -> None:
        """Return between two batches, once the import is not paused. Raises Stopped when asked to stop."""
        if self._control.pause:
            self._journal.phase("paused")
            await self._control.wait_until_resumed(self._stop)
            self._journal.phase("fetching")
        if self._stop.requested:
            raise Stopped

    async def _import_batch(self, service: Service, following: Sequence[Service], totals: ServiceTotals) -> bool:
        """Take one batch, import it while the next is fetched, and answer whether there is more."""
        assert totals.ordinal is not None
        batch = await self._stop.interrupt(self._feed.take(service, totals.ordinal))
        if batch.has_more:
            self._feed.fetch_ahead(service, batch.greatest_ordinal)
        else:
            await self._fetch_ahead_of(following)
        if batch.entities or batch.greatest_ordinal > batch.since:
            began_seconds = time.monotonic()
            imported = await self._importer.import_batch(batch, self._ledgers[service])
            metrics.SETTLE_SECONDS.labels(service.name).observe(time.monotonic() - began_seconds)
            metrics.BATCHES.labels(service.name, "advanced").inc()
            metrics.ENTITIES.labels(service.name).inc(imported.entities)
            metrics.ORDINAL.labels(service.name).set(batch.greatest_ordinal)
            totals.add(imported, batch.greatest_ordinal)
            self._journal.batch_settled(imported.entities)
            self._last_ordinals[service] = batch.greatest_ordinal, now()
        return batch.has_more

    async def _fetch_ahead_of(self, following: Sequence[Service]) -> None:
        """Begin to fetch for the next service that will be imported."""
        for service in following:
            if service in self._forbidden or self._sisu.address(service) in self._unreachable:
                continue
            try:
                ordinal = await self._ledgers[service].ordinal()
            except ServiceFailedError:
                return  # it will fail by itself, when it is its turn
            if not (service.one_time and ordinal):
                self._feed.fetch_ahead(service, ordinal)
                return

    async def _ordinal(self, service: Service) -> int:
        ordinal = await self._ledgers[service].ordinal()
        last, since = self._last_ordinals.get(service, (0, now()))
        if ordinal < last:
            if rewind := await self._control.rewound(service, ordinal, since):
                log.info(Event.ORDINAL_REWOUND, last=last, now=ordinal, by=rewind.by, reason=rewind.why)
            else:
                log.error(Event.ORDINAL_LOST, last=last, now=ordinal)
        self._last_ordinals[service] = ordinal, now()
        return ordinal


def _new_run_id() -> str:
    """When it began, in UTC, and something to tell runs of the same second apart."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{token_hex(3)}"
