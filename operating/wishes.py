"""What an operator can have done: pause, resume, a run now, an ordinal set back, dead letters sent again or dropped.

Everything is a key in Redis that the producer reads (`producer/control.py`), so it holds across restarts of either
side, and whoever may write to Redis may do it. The command line and the page both come through here.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from redis.asyncio import Redis

from producer.control import read_rewinds
from shared import keys
from shared.errors import ImporterError
from shared.heartbeat import read_beats
from shared.ledger import Ledger
from shared.records import Note, RetryNote, Rewind, decode, encode, now
from shared.redis_client import Scripts, redis_errors
from shared.services import Service

_REWINDS_KEPT = 1000


class RefusedError(ImporterError):
    """The wish cannot be granted as it is; the message says why, and what would help."""


async def pause(redis: Redis, by: str, why: str = "") -> None:
    """Nothing is begun after the batch in flight, until `resume`. Raises DependencyLostError, as all here."""
    with redis_errors("the pause"):
        await redis.set(keys.PAUSED, encode(Note(by=by, at=now(), why=why)))


async def resume(redis: Redis) -> bool:
    """Let the import go on. Answers whether it was paused."""
    with redis_errors("the end of the pause"):
        return bool(await redis.delete(keys.PAUSED))


async def request_run(redis: Redis, services: Sequence[Service], by: str) -> None:
    """Have a run of these services, or of all, begin now, or after the one that goes on."""
    note = encode(Note(by=by, at=now()))
    names = [service.name for service in services] or ["*"]
    with redis_errors("the request for a run"):
        await redis.hset(keys.RUN_REQUESTS, mapping=dict.fromkeys(names, note))


async def rewind(
    scripts: Scripts, service: Service, to_ordinal: int, *, by: str, why: str, undoes: datetime | None = None
) -> Rewind:
    """Set a service's ordinal back: what was changed after it is imported once more. Keeps who, when, why.

    Raises RefusedError where that would skip something, and where the ordinal moves at this moment.
    """
    if to_ordinal < 0:
        raise RefusedError(f"{to_ordinal} is no ordinal: they begin at 0")
    ordinal = await Ledger(scripts, service.key).ordinal()
    if to_ordinal > ordinal and undoes is None:
        raise RefusedError(
            f"the ordinal of {service.name} is {ordinal}: moving it on to {to_ordinal} would skip changes"
        )
    if to_ordinal == ordinal:
        raise RefusedError(f"the ordinal of {service.name} is {ordinal} already")
    done = Rewind(
        by=by, at=now(), why=why, service=service.name, from_ordinal=ordinal, to_ordinal=to_ordinal, undoes=undoes
    )
    answer = await scripts.call(
        "rewind_ordinal",
        [keys.ServiceKeys(service.key).ordinal, keys.REWINDS],
        [ordinal, to_ordinal, encode(done), _REWINDS_KEPT],
    )
    if answer == "MOVED" and not await _was_done(scripts.redis, done):
        raise RefusedError(f"the ordinal of {service.name} has just moved on from {ordinal}: look at it, and try again")
    return done


async def is_in_flight(redis: Redis, service: Service) -> bool:
    """Whether a producer says that it settles a batch of the service.

    To refuse a rewind then is a courtesy: an execution that began before it cannot advance any more, and nothing is
    skipped.
    """
    states = [beat.producer for beat in await read_beats(redis)]
    return any(state and state.batch and state.batch.service == service.name for state in states)


def refused_in_flight(service: Service) -> RefusedError:
    """What to raise where it is."""
    return RefusedError(
        f"a batch of {service.name} is in flight: try again when it is through (`importer rewind --wait` does), "
        "or pause first"
    )


async def undo_rewind(scripts: Scripts, services: Sequence[Service], *, by: str) -> Rewind:
    """Take the last rewind back that was not taken back yet.

    Nothing is skipped by that: all up to the old ordinal had been settled before. Raises RefusedError where there is
    none, or the import has passed the old ordinal meanwhile.
    """
    done = await read_rewinds(scripts.redis)
    undone = {rewind.undoes for rewind in done}
    last = next((rewind for rewind in done if rewind.undoes is None and rewind.at not in undone), None)
    if last is None:
        raise RefusedError("there is no rewind to take back")
    service = next((service for service in services if service.name == last.service), None)
    if service is None:
        raise RefusedError(f"the last rewind was of {last.service}, which is not in the table of services any more")
    ordinal = await Ledger(scripts, service.key).ordinal()
    if ordinal >= last.from_ordinal:
        raise RefusedError(
            f"{last.service} is at {ordinal} again, and was at {last.from_ordinal} before: all is imported anew already"
        )
    return await rewind(scripts, service, last.from_ordinal, by=by, why="taken back", undoes=last.at)


async def request_retries(redis: Redis, subjects: Iterable[str], by: str) -> None:
    """Have dead letters sent again by the producer, between two runs. RefusedError where a subject is none of one."""
    subjects = list(subjects)
    if not subjects or not all(map(keys.is_dead_letter_subject, subjects)):
        raise RefusedError("name dead letters by their subjects, as `importer dead-letters list` shows them")
    note = encode(RetryNote(by=by, at=now()))
    with redis_errors("the request to send dead letters again"):
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(keys.RETRY_REQUESTS, mapping=dict.fromkeys(subjects, note))
            pipeline.persist(keys.RETRY_REQUESTS)  # what is wished waits as long as it must
            await pipeline.execute()


async def retry_notes(redis: Redis) -> dict[str, RetryNote]:
    """Subject → what was asked for and, if it is dealt with, what came of it. Kept for a day."""
    with redis_errors("the requests to send dead letters again"):
        kept = await redis.hgetall(keys.RETRY_REQUESTS)
    return {str(subject): note for subject, text in kept.items() if (note := decode(RetryNote, text))}


async def _was_done(redis: Redis, wanted: Rewind) -> bool:
    """Whether a rewind was done whose reply was lost: then the script, repeated, answers MOVED."""
    newest = await read_rewinds(redis)
    return bool(newest) and newest[0] == wanted
