"""The state of an installation at one moment: what `importer status`, the dashboard and its API show.

Read from Redis (ledgers, heartbeats, history) and JetStream (consumers, dead letters), again for each snapshot. A part
that is unreachable is named, and leaves the rest valid. No personal data, no error texts of mankelis, no secrets.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from admin.status.queues import Queues, read_queues
from shared.broker.jetstream_api import JetStreamApi
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.model.records import AuditNote, ProcessRecord, ProducerState, Record, RunRecord, ServiceHistory, now
from shared.model.services import Service
from shared.store.import_state import ImportState, read_import_state
from shared.store.redis_client import RedisClient

VERSION = 1
"""The version of a snapshot's shape. Fields may be added under the same version; removing or changing one raises it."""

_REDIS_SECONDS = 5.0
_RUNS = 20


class ServiceStatus(Record, kw_only=True):
    """One service. Counts are of entities."""

    name: str
    channel: str
    one_time: bool
    ordinal: int | None
    """None where it was never imported."""
    scheduled: int
    updated: int
    failed: int
    """These three are of its latest execution."""
    outstanding_chunks: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str | None
    dead_letters: int | None = None
    """None where NATS is unreachable."""
    recent_entities: list[int] = msgspec.field(default_factory=list)
    """In the last runs that included it, oldest first."""
    entities_per_second: float | None = None
    """In the current run, else in the last run that imported any; None where unknown."""


class Throughput(Record, kw_only=True):
    """The throughput of the current run."""

    entities: int
    """Settled in this run so far."""
    entities_per_second: float | None
    """Over the current service; None where it is too early to tell."""
    batch_ends_at: datetime | None
    """An estimate for the current batch. SISU does not report the remaining amount, so nothing else is estimated."""


class Diagnosis(Record, kw_only=True):
    """What the import is doing, or why it is not progressing."""

    code: str
    """One of a few fixed words: see `diagnosis.py`."""
    healthy: bool
    """Whether no action is needed."""
    message: str
    hint: str = ""
    """What to do."""


class Snapshot(Record, kw_only=True):
    """An installation at one moment."""

    version: int = VERSION
    at: datetime
    instance: str = ""
    """The name of the installation (INSTANCE); empty where it has none."""
    redis_error: str | None = None
    nats_error: str | None = None
    producers: list[ProcessRecord] = msgspec.field(default_factory=list)
    collectors: list[ProcessRecord] = msgspec.field(default_factory=list)
    stan_bridges: list[ProcessRecord] = msgspec.field(default_factory=list)
    lock_held: bool = False
    paused: AuditNote | None = None
    throughput: Throughput | None = None
    services: list[ServiceStatus] = msgspec.field(default_factory=list)
    runs: list[RunRecord] = msgspec.field(default_factory=list)
    """Ended runs, newest first."""
    queues: Queues | None = None
    diagnosis: Diagnosis | None = None
    timezone: str | None = None
    """The time zone of the times in the diagnosis, in which times should be shown: a name like Europe/Helsinki."""

    @property
    def active(self) -> ProducerState | None:
        """What the active producer does; None where there is none."""
        states = [process.producer for process in self.producers if process.producer]
        return next((state for state in states if state.phase != "standing_by"), None)

    def service(self, name: str | None) -> ServiceStatus | None:
        """Return the service of this name."""
        return next((service for service in self.services if service.name == name), None)


async def take_snapshot(
    redis: RedisClient, nats: JetStreamApi | None, services: Sequence[Service], instance: str = ""
) -> Snapshot:
    """Read everything, within some ten seconds. Raises nothing for what is unreachable: the snapshot says so."""
    snapshot = Snapshot(at=now(), instance=instance)
    try:
        async with asyncio.timeout(_REDIS_SECONDS):
            _add_import_state(snapshot, await read_import_state(redis, services), services)
    except TimeoutError:
        snapshot.redis_error = f"Redis did not reply within {_REDIS_SECONDS:g} s"
    except (DependencyLostError, ConfigurationError) as error:
        snapshot.redis_error = str(error)
    if nats is None:
        snapshot.nats_error = "NATS cannot be reached"
        return snapshot
    try:
        snapshot.queues = await read_queues(nats)
    except DependencyLostError as error:
        snapshot.nats_error = str(error)
    else:
        for service in snapshot.services:
            service.dead_letters = snapshot.queues.dead_letters.get(service.channel, 0)
    return snapshot


def _add_import_state(snapshot: Snapshot, state: ImportState, services: Sequence[Service]) -> None:
    processes = sorted(state.processes, key=lambda process: process.started_at)
    snapshot.producers = [process for process in processes if process.kind == "producer"]
    snapshot.collectors = [process for process in processes if process.kind == "ack_collector"]
    snapshot.stan_bridges = [process for process in processes if process.kind == "stan_bridge"]
    snapshot.lock_held = state.is_locked
    snapshot.paused = state.paused
    snapshot.runs = list(state.runs[:_RUNS])
    current = [snapshot.active.run] if snapshot.active and snapshot.active.run else []
    for service in services:
        status = _service_status(service, state)
        status.entities_per_second = _last_rate([*current, *state.runs], service.name)
        snapshot.services.append(status)
    snapshot.throughput = _throughput(snapshot)


def _service_status(service: Service, state: ImportState) -> ServiceStatus:
    ledger = state.ledgers[service.name]
    history = state.histories.get(service.name, ServiceHistory())
    return ServiceStatus(
        name=service.name,
        channel=service.channel,
        one_time=service.one_time,
        ordinal=ledger.ordinal,
        scheduled=ledger.scheduled or 0,
        updated=ledger.updated or 0,
        failed=ledger.failed or 0,
        outstanding_chunks=ledger.outstanding_chunks,
        last_success_at=history.last_success_at,
        last_failure_at=history.last_failure_at,
        last_failure=history.last_failure,
        recent_entities=[_entities(run, service.name) for run in reversed(state.runs)],
    )


def _entities(run: RunRecord, service: str) -> int:
    return sum(outcome.entities for outcome in run.outcomes if outcome.service == service)


def _last_rate(runs: Sequence[RunRecord], service: str) -> float | None:
    """Return the entities per second in the newest of these runs that imported any of the service."""
    outcomes = (outcome for run in runs for outcome in run.outcomes if outcome.service == service)
    last = next((outcome for outcome in outcomes if outcome.entities and outcome.seconds), None)
    return round(last.entities / last.seconds, 1) if last else None


def _throughput(snapshot: Snapshot) -> Throughput | None:
    state = snapshot.active
    if state is None or state.run is None:
        return None
    current = snapshot.service(state.service)
    in_batch = current.updated if current and state.batch else 0
    in_service = state.service_entities + in_batch
    seconds = (snapshot.at - state.service_since).total_seconds() if state.service_since else 0.0
    rate = in_service / seconds if in_service and seconds >= 1 else None
    ends_at = None
    if state.batch and current and rate and current.scheduled > current.updated:
        remaining = current.scheduled - current.updated
        ends_at = snapshot.at + timedelta(seconds=remaining / rate)
    if current and rate:
        current.entities_per_second = round(rate, 1)
    entities = sum(outcome.entities for outcome in state.run.outcomes) + in_service
    return Throughput(entities=entities, entities_per_second=rate and round(rate, 1), batch_ends_at=ends_at)


def to_json(snapshot: Snapshot) -> bytes:
    """Encode the snapshot as `/api/status` and `importer status --json` return it."""
    return msgspec.json.encode(snapshot)
