"""What operators request of the producer, through Redis: pause, a run now, dead letters sent again. Both sides of it.

The command line and the dashboard write requests with the functions; the producer reads them with `OperatorRequests`,
every second beside its work, so no batch waits for it. Each request is a key or field that stays until the
producer has taken it up, so a crash loses none, a restart of either side changes nothing, and requesting twice is
requesting once. Rewinds need no producer: see `rewinds.py`.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared.model import keys
from shared.model.errors import RequestConflictError
from shared.model.records import AuditNote, RetryRequest, decode_all, decode_pause, encode, now
from shared.model.services import Service
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient

log = structlog.get_logger()

ALL = frozenset({"*"})
"""All services, as the names of a run."""
_POLL_SECONDS = 1.0
_OUTCOME_TTL_SECONDS = 24 * 60 * 60

# --- the operators' side: every function raises DependencyLostError --------------------------------------------------


async def pause(client: RedisClient, by: str, reason: str = "") -> None:
    """Have the producer start nothing after the current batch, until `resume`."""
    note = encode(AuditNote(by=by, at=now(), reason=reason))
    await client.run("pausing the import", lambda redis: redis.set(keys.PAUSED, note))


async def resume(client: RedisClient) -> bool:
    """End the pause. Return whether the import was paused."""
    return bool(await client.run("resuming the import", lambda redis: redis.delete(keys.PAUSED)))


async def request_run(client: RedisClient, services: Sequence[Service], by: str) -> None:
    """Request a run of these services, or of all where none is named: now, or right after the current run."""
    note = encode(AuditNote(by=by, at=now()))
    mapping: Mapping[Any, str] = dict.fromkeys([service.name for service in services] or ALL, note)
    key = keys.RUN_REQUESTS
    await client.run("requesting a run", lambda redis: redis.hset(key, mapping=mapping), key)


async def request_retries(client: RedisClient, subjects: Iterable[str], by: str) -> None:
    """Request that the producer send dead letters again, between two runs.

    Raises RequestConflictError where one of `subjects` is not the subject of a dead letter.
    """
    subjects = list(subjects)
    if not subjects or not all(map(keys.is_dead_letter_subject, subjects)):
        raise RequestConflictError("name dead letters by their subjects, as `importer dead-letters list` shows them")
    mapping: Mapping[Any, str] = dict.fromkeys(subjects, encode(RetryRequest(by=by, at=now())))

    async def write(redis: Redis) -> None:
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(keys.RETRY_REQUESTS, mapping=mapping)
            pipeline.persist(keys.RETRY_REQUESTS)  # an open request does not expire
            await pipeline.execute()

    await client.run("requesting retries", write, keys.RETRY_REQUESTS)


async def read_retry_requests(client: RedisClient) -> dict[str, RetryRequest]:
    """Return the requests for retries by subject, with their outcome once processed. They are kept for a day."""
    stored = await client.run_ignoring(
        "reading retry requests", lambda redis: redis.hgetall(keys.RETRY_REQUESTS), keys.RETRY_REQUESTS
    )
    return decode_all(RetryRequest, stored)


def _is_text(field: str) -> bool:
    """Return whether a field was UTF-8: any other one is not ours, and could never be removed by its name."""
    return "\ufffd" not in field


# --- the producer's side ---------------------------------------------------------------------------------------------


class OperatorRequests:
    """What is requested at present. `poll` keeps it up to date."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self.pause: AuditNote | None = None
        """Who paused the import, when and why; None while it is not paused."""
        self.requested_services: frozenset[str] = frozenset()
        """Names of the services that a run is requested for; `*` for all."""
        self.retries: dict[str, RetryRequest] = {}
        """Open requests for retries, by the dead letter's subject."""

    async def poll(self) -> None:
        """Refresh every second until cancelled. Raises DependencyLostError once Redis is unavailable."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Read what is requested now. Raises DependencyLostError."""

        def queue(pipeline: Pipeline) -> None:
            pipeline.get(keys.PAUSED)
            pipeline.hkeys(keys.RUN_REQUESTS)
            pipeline.hgetall(keys.RETRY_REQUESTS)

        used = [keys.PAUSED, keys.RUN_REQUESTS, keys.RETRY_REQUESTS]
        paused, services, retries = await self._client.run_pipeline_ignoring("reading operator requests", queue, used)
        self.pause = decode_pause(paused)
        metrics.PAUSED.set(self.pause is not None)
        self.requested_services = frozenset(filter(_is_text, services or []))
        requests = decode_all(RetryRequest, retries).items()
        self.retries = {name: request for name, request in requests if not request.outcome and _is_text(name)}

    @property
    def has_pending(self) -> bool:
        """Whether a run or a retry is requested, and the import is not paused."""
        return bool(self.requested_services or self.retries) and not self.pause

    async def wait_until_resumed(self, stop: Stop) -> None:
        """Return at once unless paused; else when the pause ends, or on shutdown."""
        if not self.pause or stop.requested:
            return
        log.warning(Event.PAUSED, by=self.pause.by, reason=self.pause.reason)
        while self.pause and not stop.requested:
            await stop.wait(_POLL_SECONDS)
        if not self.pause:
            log.info(Event.RESUMED)

    async def take_run_request(self) -> frozenset[str]:
        """Return the services that a run is requested for, and remove the request. Raises DependencyLostError.

        What is requested after this call is served by another run. Nothing is lost when the process dies now, since
        every start begins with a run.
        """
        requested = self.requested_services
        if requested:
            log.info(Event.RUN_REQUESTED, services=sorted(requested))
            await self._client.run_ignoring(
                "taking a run request", lambda redis: redis.hdel(keys.RUN_REQUESTS, *requested), keys.RUN_REQUESTS
            )
            self.requested_services = frozenset()
        return ALL if requested & ALL else requested

    async def record_retry_outcome(self, subject: str, request: RetryRequest) -> None:
        """Keep the outcome of a retry, for a day. Raises DependencyLostError."""

        async def write(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hset(keys.RETRY_REQUESTS, subject, encode(request))
                pipeline.expire(keys.RETRY_REQUESTS, _OUTCOME_TTL_SECONDS)
                pipeline.hgetall(keys.RETRY_REQUESTS)
                *_, stored = await pipeline.execute()
            if any(not each.outcome for each in decode_all(RetryRequest, stored).values()):
                await redis.persist(keys.RETRY_REQUESTS)  # an open request does not expire

        await self._client.run_ignoring("keeping the outcome of a retry", write, keys.RETRY_REQUESTS)
        self.retries.pop(subject, None)
