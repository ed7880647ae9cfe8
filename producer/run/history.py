"""The producer's state for its heartbeat, and the history of its runs, kept small in Redis. Decides nothing."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from shared.model.records import (
    BatchState,
    Phase,
    ProducerState,
    RunRecord,
    ServiceOutcome,
    SisuBackoff,
    Trigger,
    now,
)
from shared.model.services import Service
from shared.runtime import metrics
from shared.store.run_history import RunHistoryStore


class RunHistory:
    """The history of one producer. Async methods raise DependencyLostError."""

    def __init__(
        self,
        store: RunHistoryStore,
        batch_in_flight: Callable[[], BatchState | None],
        sisu_backoff: Callable[[], SisuBackoff | None],
        panic_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._batch_in_flight = batch_in_flight
        self._sisu_backoff = sisu_backoff
        self._state = ProducerState(panic_timeout_seconds=panic_timeout_seconds)
        self._phase: Phase = self._state.phase
        self._imported: set[str] = set()
        """The services of which everything was settled at least once."""
        self.changed = asyncio.Event()
        """Set when the producer enters another phase."""

    def state(self) -> ProducerState:
        """Return what the producer is doing now."""
        state = self._state
        state.batch = self._batch_in_flight()
        if self._phase == "fetching":
            state.phase = "settling" if state.batch else "fetching"
        state.sisu_backoff = self._sisu_backoff()
        return state

    def enter_phase(self, phase: Phase, next_run_at: datetime | None = None) -> None:
        """Note that the producer enters another phase."""
        self._phase = self._state.phase = phase
        self._state.next_run_at = next_run_at
        self.changed.set()

    async def restore_metrics(self, services: Sequence[Service]) -> None:
        """Restore which services succeeded before this process, and the metrics of it."""
        histories = await self._store.service_histories()
        for service in services:
            history = histories.get(service.name)
            if history and history.last_success_at:
                self._imported.add(service.name)
                metrics.LAST_SUCCESS.labels(service.name).set(history.last_success_at.timestamp())

    def was_imported(self, service: Service) -> bool:
        """Return whether everything of the service was settled before, by this process or an earlier one."""
        return service.name in self._imported

    async def run_started(self, run_id: str, trigger: Trigger, services: Sequence[Service]) -> None:
        """Note that a run starts. One that a dead producer left unfinished is kept as it was."""
        self._state.run = RunRecord(run_id=run_id, trigger=trigger, services=len(services), started_at=now())
        if unfinished := await self._store.unfinished_run():
            await self._store.append(unfinished)
        await self._store.save(self._state.run)

    def service_started(self, service: Service, number: int) -> None:
        """Note that a service of the run starts; `number` counts from 1."""
        state = self._state
        state.service, state.service_number = service.name, number
        state.service_since, state.service_entities = now(), 0
        self.enter_phase("fetching")

    def batch_settled(self, entities: int) -> None:
        """Note that this many more entities of the service are settled."""
        self._state.service_entities += entities

    async def service_ended(self, outcome: ServiceOutcome) -> None:
        """Note the outcome of a service of the run."""
        if outcome.result == "settled":
            self._imported.add(outcome.service)
        state = self._state
        state.service = state.service_number = state.service_since = None
        if state.run:
            state.run.outcomes.append(outcome)
        await self._store.save(state.run, outcome)

    async def run_ended(self, *, complete: bool) -> None:
        """Note that the run has ended."""
        run, self._state.run = self._state.run, None
        if run:
            run.ended_at, run.complete = now(), complete
            await self._store.append(run)
