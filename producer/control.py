"""What operators ask of the producer, through Redis: to pause, to make a run now, to send dead letters again.

Read every second beside the work, so a batch costs nothing for it. Each wish is a field or key that stays until it is
taken up, so a crash loses none, and asking twice is asking once. `operating/wishes.py` is the other side.
"""

import asyncio
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from shared import keys, metrics
from shared.events import Event
from shared.records import Note, RetryNote, Rewind, decode, encode
from shared.redis_client import redis_errors
from shared.services import Service
from shared.stop import Stop

log = structlog.get_logger()

ALL = frozenset({"*"})
"""All services, as the names of a run."""
_LOOK_SECONDS = 1.0
_RETRY_OUTCOME_SECONDS = 24 * 60 * 60
_UNKNOWN = Note(by="unknown", at=datetime.fromtimestamp(0, UTC))


class Control:
    """What is wished at present. `listen` keeps it up to date."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.pause: Note | None = None
        """Who paused the import; None while it may go on."""
        self.run_of: frozenset[str] = frozenset()
        """Names of the services that a run is wished of; `*` for all."""
        self.retries: dict[str, RetryNote] = {}
        """Subjects of dead letters that are to be sent again."""

    async def listen(self) -> None:
        """Look every second until cancelled. Raises DependencyLostError once Redis is lost."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """See what is wished now. Raises DependencyLostError."""
        with redis_errors("what operators wish"):
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(keys.PAUSED)
                pipeline.hkeys(keys.RUN_REQUESTS)
                pipeline.hgetall(keys.RETRY_REQUESTS)
                paused, run_of, retries = await pipeline.execute()
        # A pause whose note cannot be read, for somebody set it by hand, is a pause all the same.
        self.pause = None if paused is None else decode(Note, paused) or _UNKNOWN
        metrics.PAUSED.set(self.pause is not None)
        self.run_of = frozenset(run_of)
        notes = {subject: decode(RetryNote, text) for subject, text in retries.items()}
        self.retries = {subject: note for subject, note in notes.items() if note and not note.outcome}

    @property
    def wishes(self) -> bool:
        """Whether somebody wishes for something to be done now."""
        return bool(self.run_of or self.retries) and not self.pause

    async def wait_until_resumed(self, stop: Stop) -> None:
        """Return at once unless paused; else when nobody wants that any more, or when asked to stop."""
        if not self.pause or stop.requested:
            return
        log.warning(Event.PAUSED, by=self.pause.by, reason=self.pause.why)
        while self.pause and not stop.requested:
            await stop.wait(_LOOK_SECONDS)
        log.info(Event.RESUMED)

    async def take_run(self) -> frozenset[str]:
        """The services that a run is wished of, from now on regarded as served. Raises DependencyLostError.

        What is wished after this call is served by another run; that nothing is lost when the process dies now is due
        to the run that every start begins with.
        """
        wished = self.run_of
        if wished:
            log.info(Event.RUN_REQUESTED, services=sorted(wished))
            with redis_errors("a request for a run"):
                await self._redis.hdel(keys.RUN_REQUESTS, *wished)
            self.run_of = frozenset()
        return ALL if wished & ALL else wished

    async def rewound(self, service: Service, ordinal: int, since: datetime) -> Rewind | None:
        """The last rewind of a service, if it led to this ordinal after `since`. Raises DependencyLostError."""
        done = await read_rewinds(self._redis)
        last = next((rewind for rewind in done if rewind.service == service.name), None)
        return last if last and last.to_ordinal == ordinal and last.at > since else None

    async def answer_retry(self, subject: str, note: RetryNote) -> None:
        """Say what came of a dead letter that was to be sent again. Raises DependencyLostError."""
        with redis_errors("a request to send a dead letter again"):
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.hset(keys.RETRY_REQUESTS, subject, encode(note))
                pipeline.expire(keys.RETRY_REQUESTS, _RETRY_OUTCOME_SECONDS)
                pipeline.hgetall(keys.RETRY_REQUESTS)
                *_, kept = await pipeline.execute()
            notes = [decode(RetryNote, text) for text in kept.values()]
            if any(each and not each.outcome for each in notes):
                await self._redis.persist(keys.RETRY_REQUESTS)  # what is still wished waits as long as it must
        self.retries.pop(subject, None)


async def read_rewinds(redis: Redis) -> list[Rewind]:
    """The ordinals that were set back, newest first. Raises DependencyLostError."""
    with redis_errors("the rewinds"):
        return [done for text in await redis.lrange(keys.REWINDS, 0, -1) if (done := decode(Rewind, text))]
