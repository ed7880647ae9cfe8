"""What is recorded of a run: log events, metrics and history, all in one place. Decides nothing."""

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime

import structlog

from producer.run.history import RunHistory
from shared.model.records import ServiceOutcome, Trigger
from shared.model.services import Service
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.store.redis_client import RedisClient
from shared.store.rewinds import rewind_to

log = structlog.get_logger()


class RunObserver:
    """Records in log, metrics and history what happens in a run. Async methods raise DependencyLostError."""

    def __init__(self, history: RunHistory, client: RedisClient) -> None:
        self._history = history
        self._client = client

    # --- runs --------------------------------------------------------------------------------------------------------

    async def run_started(self, run_id: str, trigger: Trigger, services: Sequence[Service]) -> None:
        """Record that a run starts over these services."""
        log.info(Event.RUN_STARTED, services=len(services), trigger=trigger)
        await self._history.run_started(run_id, trigger, services)

    async def run_interrupted(self) -> None:
        """Record that a run ends early, on shutdown."""
        await self._history.run_ended(complete=False)

    async def run_finished(self, seconds: float, *, complete: bool) -> None:
        """Record that a run has visited all its services."""
        metrics.RUN_SECONDS.observe(seconds)
        await self._history.run_ended(complete=complete)
        metrics.RUNS.labels("complete" if complete else "incomplete").inc()
        log.info(Event.RUN_FINISHED, complete=complete)

    @staticmethod
    def unknown_services_requested(names: AbstractSet[str]) -> None:
        """Record that a run was requested for services that this producer does not import."""
        log.warning(Event.RUN_REQUEST_UNKNOWN_SERVICES, services=sorted(names))

    @staticmethod
    def one_time_services_reset(count: int) -> None:
        """Record that this number of one-time services will be fetched again."""
        log.info(Event.ONE_TIME_SERVICES_RESET, services=count)

    # --- one service -------------------------------------------------------------------------------------------------

    def service_started(self, service: Service, number: int) -> None:
        """Record that a service of the run starts; `number` counts from 1."""
        self._history.service_started(service, number)

    def was_imported(self, service: Service) -> bool:
        """Return whether everything of the service was settled before, by this process or an earlier one."""
        return self._history.was_imported(service)

    async def service_ended(self, service: Service, outcome: ServiceOutcome, *, is_complete: bool) -> None:
        """Record that a service of the run has ended with this outcome, which leaves the run complete, or does not."""
        if outcome.result == "settled":
            metrics.LAST_SUCCESS.labels(service.name).set_to_current_time()
            log.info(
                Event.SERVICE_FINISHED,
                ordinal=outcome.ordinal,
                entities=outcome.entities,
                chunks=outcome.chunks,
                batches=outcome.batches,
                dead_letters=outcome.dead_letters,
                seconds=outcome.seconds,
            )
        elif outcome.result == "forbidden" and not is_complete:
            metrics.SERVICE_FAILURES.labels(service.name).inc()
        elif outcome.result == "failed":
            metrics.SERVICE_FAILURES.labels(service.name).inc()
            log.error(Event.SERVICE_FAILED, reason=outcome.reason)
        await self._history.service_ended(outcome)

    @staticmethod
    def service_skipped(reason: str) -> None:
        """Record that a service is not tried in this run."""
        log.warning(Event.SERVICE_SKIPPED, reason=reason)

    @staticmethod
    def service_forbidden(reason: str) -> None:
        """Record that SISU returned 403 for a service."""
        log.error(Event.SERVICE_FORBIDDEN, reason=reason)

    @staticmethod
    def sisu_behind(ordinal: int, greatest_ordinal: int) -> None:
        """Record that SISU has less than was imported: it was restored from a backup, say."""
        log.warning(
            Event.SISU_BEHIND,
            ordinal=ordinal,
            greatest_ordinal=greatest_ordinal,
            remedy="if SISU was restored from a backup, `importer rewind` imports again what changes after it",
        )

    @staticmethod
    def service_restarted(reason: str) -> None:
        """Record that a superseded service continues from the ordinal in Redis."""
        log.warning(Event.SERVICE_RESTARTED, reason=reason)

    async def ordinal_decreased(self, service: Service, last: int, ordinal: int, since: datetime) -> None:
        """Record that an ordinal is lower than it was at `since`: a rewind explains it, or Redis lost it."""
        if rewind := await rewind_to(self._client, service, ordinal, since):
            log.info(Event.ORDINAL_REWOUND, last=last, now=ordinal, by=rewind.by, reason=rewind.reason)
        else:
            log.error(Event.ORDINAL_LOST, last=last, now=ordinal)

    # --- one batch ---------------------------------------------------------------------------------------------------

    @contextmanager
    def batch_timer(self, service: Service) -> Iterator[None]:
        """Measure the body, which settles a batch, unless it raises."""
        started_seconds = time.monotonic()
        yield
        metrics.SETTLE_SECONDS.labels(service.name).observe(time.monotonic() - started_seconds)

    def batch_advanced(self, service: Service, entities: int, ordinal: int) -> None:
        """Record that a batch is settled and its ordinal has moved."""
        metrics.BATCHES.labels(service.name, "advanced").inc()
        metrics.ENTITIES.labels(service.name).inc(entities)
        metrics.ORDINAL.labels(service.name).set(ordinal)
        self._history.batch_settled(entities)

    @staticmethod
    def batch_superseded(service: Service) -> None:
        """Record that a batch was superseded, and discarded."""
        metrics.BATCHES.labels(service.name, "superseded").inc()
