"""What the producer is doing, for its heartbeat, and what became of its runs, kept small in Redis. Decides nothing."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from redis.asyncio import Redis

from producer.batch import BatchImporter
from producer.sisu import SisuClient
from shared import keys, metrics
from shared.records import (
    Phase,
    ProducerState,
    RunRecord,
    ServiceHistory,
    ServiceOutcome,
    Trigger,
    decode,
    encode,
    now,
)
from shared.redis_client import redis_errors
from shared.services import Service

RUNS_KEPT = 100
RUNS_SECONDS = 90 * 24 * 60 * 60


class Journal:
    """The journal of one producer. What it does not say itself it asks `importer` and `sisu`."""

    def __init__(self, redis: Redis, importer: BatchImporter, sisu: SisuClient, panic_timeout_seconds: float) -> None:
        self._redis = redis
        self._importer = importer
        self._sisu = sisu
        self._state = ProducerState(panic_timeout_seconds=panic_timeout_seconds)
        self._phase: Phase = self._state.phase
        self.changed = asyncio.Event()
        """Set when the producer begins to do something else."""

    def state(self) -> ProducerState:
        """What the producer is doing now."""
        state = self._state
        state.batch = self._importer.in_flight
        if self._phase == "fetching":
            state.phase = "settling" if state.batch else "fetching"
        state.sisu_wait = self._sisu.wait
        return state

    def phase(self, phase: Phase, next_run_at: datetime | None = None) -> None:
        """The producer begins to do something else."""
        self._phase = self._state.phase = phase
        self._state.next_run_at = next_run_at
        self.changed.set()

    async def recall(self, services: Sequence[Service]) -> None:
        """Have the metrics tell of successes before this process, too. Raises DependencyLostError."""
        with redis_errors("the journal"):
            kept = await self._redis.hgetall(keys.SERVICES)
        for service in services:
            history = decode(ServiceHistory, kept.get(service.name))
            if history and history.last_success_at:
                metrics.LAST_SUCCESS.labels(service.name).set(history.last_success_at.timestamp())

    async def run_started(self, run_id: str, trigger: Trigger, services: Sequence[Service]) -> None:
        """A run begins. One that a dead producer left behind is kept as it was. Raises DependencyLostError."""
        self._state.run = RunRecord(run_id=run_id, trigger=trigger, services=len(services), started_at=now())
        with redis_errors("the journal"):
            left_behind = decode(RunRecord, await self._redis.get(keys.RUN))
        if left_behind:
            await self._keep(left_behind)
        await self._save()

    def service_started(self, service: Service, number: int) -> None:
        """A service of the run begins; `number` counts from 1."""
        state = self._state
        state.service, state.service_number, state.service_since, state.service_entities = (
            service.name,
            number,
            now(),
            0,
        )
        self.phase("fetching")

    def batch_settled(self, entities: int) -> None:
        """So many more entities of the service are settled."""
        self._state.service_entities += entities

    async def service_ended(self, outcome: ServiceOutcome) -> None:
        """A service of the run is through, one way or another. Raises DependencyLostError."""
        state = self._state
        state.service = state.service_number = state.service_since = None
        if state.run:
            state.run.outcomes.append(outcome)
        await self._save(outcome)

    async def run_ended(self, *, complete: bool) -> None:
        """The run is through. Raises DependencyLostError."""
        run, self._state.run = self._state.run, None
        if run:
            run.ended_at, run.complete = now(), complete
            await self._keep(run)

    async def _save(self, outcome: ServiceOutcome | None = None) -> None:
        """Keep how far the run is, and how its newest service fared."""
        with redis_errors("the journal"):
            history = await self._history_with(outcome) if outcome else None
            async with self._redis.pipeline(transaction=True) as pipeline:
                if self._state.run:
                    pipeline.set(keys.RUN, encode(self._state.run), ex=RUNS_SECONDS)
                if outcome and history:
                    pipeline.hset(keys.SERVICES, outcome.service, encode(history))
                await pipeline.execute()

    async def _history_with(self, outcome: ServiceOutcome) -> ServiceHistory:
        kept = await self._redis.hget(keys.SERVICES, outcome.service)
        history = decode(ServiceHistory, kept) or ServiceHistory()
        if outcome.result == "settled":
            history.last_success_at = outcome.ended_at
        elif outcome.result != "skipped":
            history.last_failure_at, history.last_failure = outcome.ended_at, outcome.reason
        return history

    async def _keep(self, run: RunRecord) -> None:
        """Put a run that has ended at the head of the list. Of its services, those that had nothing new are left out.

        Repeated after a lost reply it could stand there twice; readers take one of each id.
        """
        run.outcomes = [outcome for outcome in run.outcomes if outcome.entities or outcome.result != "settled"]
        with redis_errors("the journal"):
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.lpush(keys.RUNS, encode(run))
                pipeline.ltrim(keys.RUNS, 0, RUNS_KEPT - 1)
                pipeline.expire(keys.RUNS, RUNS_SECONDS)
                pipeline.delete(keys.RUN)
                await pipeline.execute()
