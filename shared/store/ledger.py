"""The ledger of a service in Redis: which chunks of the current execution are not yet settled, and what was counted.

This is the barrier between the two processes. The producer begins an execution, reads its progress and moves the
ordinal; the ack_collector settles, splits and fails chunks. Each of these is one Lua script, so it happens entirely or
not at all, and repeating any of them is harmless: `RedisClient.run` repeats a command whose reply was lost, and
JetStream delivers feedback more than once. Three guards do the work:

* the *execution*: a script changes nothing unless the ledger still belongs to that execution, so nothing late or
  foreign counts, and a ledger that Redis restored from the past is recognised;
* the *chunk*: it leaves the ledger in the same step that counts it, so it counts once;
* the *ordinal* that the batch was fetched from: an execution neither begins nor advances once another has advanced.

This module does not decide when to publish, repeat or give up. That is `producer/batch/execution.py`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import orjson

from shared.model import keys
from shared.model.errors import ServiceFailedError
from shared.model.ledger_state import (
    AdvanceReply,
    AnnounceReply,
    BeginReply,
    FailReply,
    Progress,
    SettleReply,
    SplitReply,
)
from shared.store.redis_errors import UnusableKeyError
from shared.store.scripts import Call, Scripts

_ORDINAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_ORDINAL = 2**63 - 1
"""SISU's ordinals are 64-bit integers, and reports of the producer's state cannot hold more."""
_SIZE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class Ledger:
    """The ledger of the service whose ordinal's key is `ordinal_key`.

    Every async method is one round trip to Redis, and blocks and raises as `RedisClient.run`; where a key of the
    service has another type or foreign contents, or is denied, ServiceFailedError names it.
    """

    def __init__(self, scripts: Scripts, ordinal_key: str) -> None:
        self._scripts = scripts
        self._keys = keys.ServiceKeys(ordinal_key)

    # --- the producer's side -----------------------------------------------------------------------------------------

    async def ordinal(self) -> int:
        """Return the service's ordinal, 0 where there is none. Raises ServiceFailedError where it is not a number."""
        key = self._keys.ordinal
        with _failing_service():
            stored = await self._scripts.client.run(f"reading {key}", lambda redis: redis.get(key), key) or "0"
        # The scripts compare ordinals as text, so it has to be written as we would write it.
        if not _ORDINAL.fullmatch(str(stored)) or int(stored) > _MAX_ORDINAL:
            raise ServiceFailedError(f"{key} in Redis is not an ordinal: set it to a whole number")
        return int(stored)

    async def delete_ordinal(self) -> None:
        """Delete the ordinal, so that everything of the service is fetched again."""
        key = self._keys.ordinal
        with _failing_service():
            await self._scripts.client.run(f"deleting {key}", lambda redis: redis.delete(key), key)

    async def begin(self, execution: str, from_ordinal: int, chunks: Mapping[str, int]) -> BeginReply:
        """Give the ledger to `execution`: `chunks` (chunkId → size) are outstanding, all counters are 0.

        Also tells mankelis, through CURRENT_EXECUTION_HASH, to discard every chunk of another execution.
        """
        k = self._keys
        reply = await self._call(
            "begin_execution",
            [k.ordinal, k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors, keys.CURRENT_EXECUTION_HASH],
            [execution, from_ordinal, orjson.dumps(dict(chunks)).decode()],
        )
        return cast("BeginReply", reply)

    async def announce(self, execution: str) -> AnnounceReply:
        """Tell mankelis once more that this is the execution to work on."""
        k = self._keys
        reply = await self._call("announce_execution", [k.execution, keys.CURRENT_EXECUTION_HASH], [execution])
        return cast("AnnounceReply", reply)

    async def progress(self) -> Progress:
        """Return everything about the current execution, as of one moment."""
        k = self._keys
        execution, scheduled, updated, failed, chunks, errors = await self._call(
            "read_progress", [k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors], []
        )
        pairs = orjson.loads(chunks) or []
        if not all(_SIZE.fullmatch(size) for size in pairs[1::2]):
            raise ServiceFailedError(f"{k.chunks} in Redis holds something that the importer did not write: delete it")
        outstanding = {chunk: int(size) for chunk, size in _pairs(pairs).items()}
        return Progress(execution, scheduled, updated, failed, outstanding, _pairs(errors))

    async def advance(self, execution: str, from_ordinal: int, to_ordinal: int) -> AdvanceReply:
        """Move the ordinal to `to_ordinal`, if everything is settled and no other producer has moved it."""
        k = self._keys
        reply = await self._call(
            "advance_ordinal",
            [k.ordinal, k.execution, k.scheduled, k.updated, k.chunks, k.errors],
            [execution, from_ordinal, to_ordinal],
        )
        return cast("AdvanceReply", reply)

    # --- the ack_collector's side ------------------------------------------------------------------------------------

    def settle_call(self, execution: str, chunk_id: str, size: int) -> Call:
        """Return the call that counts a chunk which a mankeli stored, for `settle_all`."""
        k = self._keys
        return Call("settle_chunk", [k.execution, k.chunks, k.updated], [execution, chunk_id, size, k.progress])

    async def split(self, execution: str, chunk_id: str) -> SplitReply:
        """Replace a failed chunk by its two halves."""
        k = self._keys
        reply = await self._call(
            "split_chunk", [k.execution, k.chunks], [execution, chunk_id, *keys.halves(chunk_id), k.progress]
        )
        return cast("SplitReply", reply)

    async def fail(self, execution: str, chunk_id: str, error_text: str) -> FailReply:
        """Settle a chunk of one entity as failed, and keep its error text."""
        k = self._keys
        reply = await self._call(
            "fail_entity",
            [k.execution, k.chunks, k.updated, k.failed, k.errors],
            [execution, chunk_id, error_text, k.progress],
        )
        return cast("FailReply", reply)

    async def _call(self, name: str, script_keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        with _failing_service():
            return await self._scripts.call(name, script_keys, arguments)


async def settle_all(scripts: Scripts, calls: Sequence[Call]) -> list[SettleReply | ServiceFailedError]:
    """Count several chunks, of one service or of many, each by itself, in one round trip; return a reply for each.

    The reply for a service whose keys cannot be used is the ServiceFailedError. `calls` are made by
    `Ledger.settle_call`. Raises DependencyLostError; repeating all of them then is harmless.
    """
    replies = await scripts.call_all(calls)
    return [ServiceFailedError(str(reply)) if isinstance(reply, UnusableKeyError) else reply for reply in replies]


@contextmanager
def _failing_service() -> Iterator[None]:
    """Have a key that cannot be used fail its service, and not the process."""
    try:
        yield
    except UnusableKeyError as error:
        raise ServiceFailedError(str(error)) from error


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    """Turn a hash as Lua returns it, fields and values alternating, into a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
