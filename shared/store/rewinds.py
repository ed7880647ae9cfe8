"""Rewinds: an operator moves a service's ordinal back, so that what changed after it is imported again.

Safe at any time: an execution that began from the old ordinal is fenced by `advance_ordinal`.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.model import keys
from shared.model.errors import RequestConflictError
from shared.model.records import Rewind, decode, encode, now
from shared.model.services import Service, find_service
from shared.store.heartbeat import read_processes
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.scripts import Scripts

_REWINDS_KEPT = 1000


async def read_rewinds(client: RedisClient) -> list[Rewind]:
    """Return the rewinds, newest first. Raises DependencyLostError."""
    stored = await client.run_ignoring(
        "reading the rewinds", lambda redis: redis.lrange(keys.REWINDS, 0, -1), keys.REWINDS
    )
    return [rewind for text in stored or [] if (rewind := decode(Rewind, text))]


async def rewind_to(client: RedisClient, service: Service, ordinal: int, since: datetime) -> Rewind | None:
    """Return the service's last rewind, if it led to this ordinal after `since`. Raises DependencyLostError."""
    rewinds = await read_rewinds(client)
    last = next((rewind for rewind in rewinds if rewind.service == service.name), None)
    return last if last and last.to_ordinal == ordinal and last.at > since else None


async def rewind(
    scripts: Scripts,
    service: Service,
    to_ordinal: int,
    *,
    by: str,
    reason: str,
    undoes_rewind_at: datetime | None = None,
) -> Rewind:
    """Move a service's ordinal back, and record who did it, when and why.

    Raises RequestConflictError where that would skip changes, or where the ordinal moves at this moment, and
    DependencyLostError.
    """
    if to_ordinal < 0:
        raise RequestConflictError(f"{to_ordinal} is not an ordinal: they begin at 0")
    ordinal = await Ledger(scripts, service.key).ordinal()
    if to_ordinal > ordinal and undoes_rewind_at is None:
        raise RequestConflictError(
            f"the ordinal of {service.name} is {ordinal}: moving it forward to {to_ordinal} would skip changes"
        )
    if to_ordinal == ordinal:
        raise RequestConflictError(f"the ordinal of {service.name} is {ordinal} already")
    made = Rewind(
        by=by,
        at=now(),
        reason=reason,
        service=service.name,
        from_ordinal=ordinal,
        to_ordinal=to_ordinal,
        undoes_rewind_at=undoes_rewind_at,
    )
    reply = await scripts.call(
        "rewind_ordinal",
        [keys.ServiceKeys(service.key).ordinal, keys.REWINDS],
        [ordinal, to_ordinal, encode(made), _REWINDS_KEPT],
    )
    if reply == "MOVED" and not await _was_made(scripts.client, made):
        raise RequestConflictError(f"the ordinal of {service.name} has just moved on from {ordinal}: try again")
    return made


async def undo_rewind(scripts: Scripts, services: Sequence[Service], *, by: str) -> Rewind:
    """Undo the last rewind that was not undone yet.

    That skips nothing: everything up to the old ordinal had been settled before. Raises RequestConflictError where
    there is none, or where the import has passed the old ordinal meanwhile, and DependencyLostError.
    """
    rewinds = await read_rewinds(scripts.client)
    undone = {each.undoes_rewind_at for each in rewinds}
    last = next((each for each in rewinds if each.undoes_rewind_at is None and each.at not in undone), None)
    if last is None:
        raise RequestConflictError("No rewind to undo.")
    service = find_service(services, last.service)
    if service is None:
        raise RequestConflictError(f"the last rewind was of {last.service}, which is no longer in the services table")
    ordinal = await Ledger(scripts, service.key).ordinal()
    if ordinal >= last.from_ordinal:
        raise RequestConflictError(
            f"{last.service} is at {ordinal} again, and was at {last.from_ordinal} before: nothing is left to undo"
        )
    return await rewind(scripts, service, last.from_ordinal, by=by, reason="undone", undoes_rewind_at=last.at)


async def is_in_flight(client: RedisClient, service: Service) -> bool:
    """Return whether a producer reports a batch of the service in flight. Raises DependencyLostError.

    Callers reject a rewind then only to spare the batch: an execution that began before a rewind cannot advance, so
    nothing would be skipped.
    """
    states = [process.producer for process in await read_processes(client)]
    return any(state and state.batch and state.batch.service == service.name for state in states)


def batch_in_flight_error(service: Service) -> RequestConflictError:
    """Return the error to raise where a rewind finds a batch of the service in flight."""
    return RequestConflictError(
        f"a batch of {service.name} is in flight: try again when it is settled (`importer rewind --wait` does), "
        "or pause first"
    )


async def _was_made(client: RedisClient, wanted: Rewind) -> bool:
    """Return whether this rewind was made and its reply lost: the repeated script then returns MOVED."""
    rewinds = await read_rewinds(client)
    return bool(rewinds) and rewinds[0] == wanted
