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

from collections.abc import Mapping, Sequence
from typing import cast

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
from shared.store.scripts import Call, Scripts


class Ledger:
    """The ledger of the service whose ordinal's key is `ordinal_key`.

    Every async method is one round trip to Redis, and blocks and raises as `RedisClient.run`.
    """

    def __init__(self, scripts: Scripts, ordinal_key: str) -> None:
        self._scripts = scripts
        self._keys = keys.ServiceKeys(ordinal_key)

    # --- the producer's side -----------------------------------------------------------------------------------------

    async def ordinal(self) -> int:
        """Return the service's ordinal, 0 where there is none. Raises ServiceFailedError where it is not a number."""
        operation = f"reading {self._keys.ordinal}"
        stored = str(await self._scripts.client.run(operation, lambda redis: redis.get(self._keys.ordinal)) or "0")
        # The scripts compare ordinals as text, so it has to be written as we would write it.
        if not stored.isascii() or not stored.isdigit() or str(int(stored)) != stored:
            raise ServiceFailedError(f"{self._keys.ordinal} in Redis is not an ordinal: set it to a whole number")
        return int(stored)

    async def delete_ordinal(self) -> None:
        """Delete the ordinal, so that everything of the service is fetched again."""
        operation = f"deleting {self._keys.ordinal}"
        await self._scripts.client.run(operation, lambda redis: redis.delete(self._keys.ordinal))

    async def begin(self, execution: str, from_ordinal: int, chunks: Mapping[str, int]) -> BeginReply:
        """Give the ledger to `execution`: `chunks` (chunkId → size) are outstanding, all counters are 0.

        Also tells mankelis, through CURRENT_EXECUTION_HASH, to discard every chunk of another execution.
        """
        k = self._keys
        ledger = [field for chunk in chunks.items() for field in chunk]
        reply = await self._scripts.call(
            "begin_execution",
            [k.ordinal, k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors, keys.CURRENT_EXECUTION_HASH],
            [execution, from_ordinal, *ledger],
        )
        return cast("BeginReply", reply)

    async def announce(self, execution: str) -> AnnounceReply:
        """Tell mankelis once more that this is the execution to work on."""
        k = self._keys
        reply = await self._scripts.call("announce_execution", [k.execution, keys.CURRENT_EXECUTION_HASH], [execution])
        return cast("AnnounceReply", reply)

    async def progress(self) -> Progress:
        """Return everything about the current execution, as of one moment."""
        k = self._keys
        execution, scheduled, updated, failed, chunks, errors = await self._scripts.call(
            "read_progress", [k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors], []
        )
        outstanding = {chunk: int(size) for chunk, size in _pairs(chunks).items()}
        return Progress(execution, scheduled, updated, failed, outstanding, _pairs(errors))

    async def advance(self, execution: str, from_ordinal: int, to_ordinal: int) -> AdvanceReply:
        """Move the ordinal to `to_ordinal`, if everything is settled and no other producer has moved it."""
        k = self._keys
        reply = await self._scripts.call(
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
        reply = await self._scripts.call(
            "split_chunk", [k.execution, k.chunks], [execution, chunk_id, *keys.halves(chunk_id), k.progress]
        )
        return cast("SplitReply", reply)

    async def fail(self, execution: str, chunk_id: str, error_text: str) -> FailReply:
        """Settle a chunk of one entity as failed, and keep its error text."""
        k = self._keys
        reply = await self._scripts.call(
            "fail_entity",
            [k.execution, k.chunks, k.updated, k.failed, k.errors],
            [execution, chunk_id, error_text, k.progress],
        )
        return cast("FailReply", reply)


async def settle_all(scripts: Scripts, calls: Sequence[Call]) -> list[SettleReply]:
    """Count several chunks, of one service or of many, each by itself, in one round trip; return a reply for each.

    `calls` are made by `Ledger.settle_call`. Raises DependencyLostError; repeating all of them then is harmless.
    """
    return cast("list[SettleReply]", await scripts.call_all(calls))


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    """Turn a hash as Lua returns it, fields and values alternating, into a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
