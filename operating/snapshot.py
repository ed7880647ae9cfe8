"""Everything that can be known of an installation at one moment: what `importer status`, the page and the API show.

Gathered from Redis (ledgers, heartbeats, journal) and JetStream (consumers, dead letters), anew for each look. A part
that cannot be reached is named, and leaves the rest standing. No personal data, no error texts of mankelis, no secrets.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec
from nats.aio.client import Client
from redis.asyncio import Redis

from operating.queues import Queues, read_queues
from shared import keys
from shared.errors import ConfigurationError, DependencyLostError
from shared.heartbeat import read_beats
from shared.records import Beat, Note, ProducerState, Record, RunRecord, ServiceHistory, decode, now
from shared.redis_client import redis_errors
from shared.services import Service

VERSION = 1
"""Of the shape of a snapshot. Fields may be added under the same version; one that goes or changes makes a new one."""

_REDIS_SECONDS = 5.0
_RUNS = 20


class ServiceStatus(Record, kw_only=True):
    """One service. Counts are of entities."""

    name: str
    channel: str
    one_time: bool
    ordinal: int | None
    """None where it never was imported."""
    scheduled: int
    updated: int
    failed: int
    """These three are of its latest execution."""
    outstanding_chunks: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str | None
    dead_letters: int | None = None
    """None where NATS cannot be asked."""
    recent_entities: list[int] = msgspec.field(default_factory=list)
    """In the last runs that went through it, oldest first."""
    entities_per_second: float | None = None
    """In the run in progress, else in the last run that brought any; None where that is not known."""


class Pace(Record, kw_only=True):
    """How quickly the run in progress goes."""

    entities: int
    """Settled in this run so far."""
    entities_per_second: float | None
    """Over the present service; None where it is too early to tell."""
    batch_ends_at: datetime | None
    """An estimate for the batch in flight; SISU does not say how much comes after it, so nothing else is estimated."""


class Verdict(Record, kw_only=True):
    """Why it is as it is, in a sentence."""

    code: str
    """One of a few fixed words: see `operating/why.py`."""
    well: bool
    """Whether nobody need do anything."""
    sentence: str
    advice: str = ""


class Snapshot(Record, kw_only=True):
    """An installation at one moment."""

    version: int = VERSION
    at: datetime
    redis_error: str | None = None
    nats_error: str | None = None
    producers: list[Beat] = msgspec.field(default_factory=list)
    collectors: list[Beat] = msgspec.field(default_factory=list)
    lock_held: bool = False
    paused: Note | None = None
    pace: Pace | None = None
    services: list[ServiceStatus] = msgspec.field(default_factory=list)
    runs: list[RunRecord] = msgspec.field(default_factory=list)
    """Those that ended, newest first."""
    queues: Queues | None = None
    verdict: Verdict | None = None
    timezone: str | None = None
    """What the verdict's times are told in, and times should be shown in: a name like Europe/Helsinki."""

    @property
    def active(self) -> ProducerState | None:
        """What the active producer does; None where there is none."""
        states = [beat.producer for beat in self.producers if beat.producer]
        return next((state for state in states if state.phase != "standing_by"), None)

    def service(self, name: str | None) -> ServiceStatus | None:
        """The service of this name."""
        return next((service for service in self.services if service.name == name), None)


async def take_snapshot(redis: Redis, nats: Client | None, services: Sequence[Service]) -> Snapshot:
    """Look at everything, within some ten seconds. Raises nothing for what cannot be reached: the snapshot says so."""
    snapshot = Snapshot(at=now())
    try:
        async with asyncio.timeout(_REDIS_SECONDS):
            await _read_redis(redis, services, snapshot)
    except TimeoutError:
        snapshot.redis_error = f"Redis did not answer within {_REDIS_SECONDS:g} s"
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


async def _read_redis(redis: Redis, services: Sequence[Service], snapshot: Snapshot) -> None:
    beats = await read_beats(redis)
    snapshot.producers = sorted((b for b in beats if b.kind == "producer"), key=lambda beat: beat.started_at)
    snapshot.collectors = sorted((b for b in beats if b.kind == "ack_collector"), key=lambda beat: beat.started_at)
    with redis_errors("the state of the import"):
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(keys.PRODUCER_LOCK)
            pipeline.get(keys.PAUSED)
            pipeline.lrange(keys.RUNS, 0, -1)
            pipeline.hgetall(keys.SERVICES)
            for service in services:
                key = keys.ServiceKeys(service.key)
                pipeline.mget(key.ordinal, key.scheduled, key.updated, key.failed)
                pipeline.hlen(key.chunks)
            locked, paused, runs, histories, *ledgers = await pipeline.execute()
    snapshot.lock_held = bool(locked)
    snapshot.paused = None if paused is None else decode(Note, paused) or Note(by="unknown", at=snapshot.at)
    ended = list({run.run_id: run for text in runs if (run := decode(RunRecord, text))}.values())
    snapshot.runs = ended[:_RUNS]
    running = [snapshot.active.run] if snapshot.active and snapshot.active.run else []
    for number, service in enumerate(services):
        counters, outstanding = ledgers[2 * number], ledgers[2 * number + 1]
        history = decode(ServiceHistory, histories.get(service.name)) or ServiceHistory()
        status = _service(service, counters, outstanding, history, ended)
        status.entities_per_second = _last_rate([*running, *ended], service.name)
        snapshot.services.append(status)
    snapshot.pace = _pace(snapshot)


def _service(
    service: Service,
    counters: Sequence[str | None],
    outstanding: int,
    history: ServiceHistory,
    runs: Sequence[RunRecord],
) -> ServiceStatus:
    ordinal, *counts = (int(text) if text and text.isdecimal() else None for text in counters)
    scheduled, updated, failed = (count or 0 for count in counts)
    recent = [_entities(run, service.name) for run in reversed(runs)]
    return ServiceStatus(
        name=service.name,
        channel=service.channel,
        one_time=service.one_time,
        ordinal=ordinal,
        scheduled=scheduled,
        updated=updated,
        failed=failed,
        outstanding_chunks=outstanding,
        last_success_at=history.last_success_at,
        last_failure_at=history.last_failure_at,
        last_failure=history.last_failure,
        recent_entities=recent,
    )


def _entities(run: RunRecord, service: str) -> int:
    return sum(outcome.entities for outcome in run.outcomes if outcome.service == service)


def _last_rate(runs: Sequence[RunRecord], service: str) -> float | None:
    """Entities a second in the newest of these runs that brought any of the service."""
    outcomes = (outcome for run in runs for outcome in run.outcomes if outcome.service == service)
    last = next((outcome for outcome in outcomes if outcome.entities and outcome.seconds), None)
    return round(last.entities / last.seconds, 1) if last else None


def _pace(snapshot: Snapshot) -> Pace | None:
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
        left = current.scheduled - current.updated
        ends_at = datetime.fromtimestamp(snapshot.at.timestamp() + left / rate, snapshot.at.tzinfo)
    if current and rate:
        current.entities_per_second = round(rate, 1)
    entities = sum(outcome.entities for outcome in state.run.outcomes) + in_service
    return Pace(entities=entities, entities_per_second=rate and round(rate, 1), batch_ends_at=ends_at)


def to_json(snapshot: Snapshot) -> bytes:
    """The snapshot as `/api/status` and `importer status --json` give it."""
    return msgspec.json.encode(snapshot)
