"""The ledger of a service in Redis: which chunks of the current execution are not yet settled, and what was counted.

This is the barrier between the two processes. The producer begins an execution, reads its progress and moves the
ordinal on; the ack_collector settles, splits and fails chunks. Each of these is one Lua script, so it happens wholly
or not at all, and repeating any of them is harmless: redis-py repeats a command whose reply was lost, and JetStream
delivers feedback more than once. Three guards do the work:

* the *execution*: a script changes nothing unless the ledger is still that execution's, so nothing late or foreign
  counts, and a ledger that Redis brought back from the past is recognised;
* the *chunk*: it leaves the ledger in the same step that counts it, so it counts once;
* the *ordinal* that the batch was fetched from: an execution neither begins nor advances once another has advanced.

What this module does not do: decide when to publish, repeat or give up. That is `producer/execution.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared import keys
from shared.errors import ServiceFailedError
from shared.redis_client import Call, Scripts, redis_errors


class Verdict(StrEnum):
    """What a script found and did. Which script answers which is written at the method that calls it."""

    BEGUN = "BEGUN"
    ANNOUNCED = "ANNOUNCED"
    SETTLED = "SETTLED"
    SPLIT = "SPLIT"
    FAILED = "FAILED"
    ADVANCED = "ADVANCED"

    DUPLICATE = "DUPLICATE"
    """The chunk is not in the ledger: settled or split before, or never there. Nothing changed."""
    STALE = "STALE"
    """The ledger is another execution's. Nothing changed."""
    MISMATCH = "MISMATCH"
    """The feedback does not fit the chunk's size. Nothing changed."""
    SINGLE = "SINGLE"
    """The chunk is one entity and cannot be split. Nothing changed."""
    ALREADY = "ALREADY"
    """The ordinal had been moved to that place before. Nothing changed."""
    FENCED = "FENCED"
    """The caller's batch is not the one that may begin or advance. Nothing changed."""


@dataclass(frozen=True)
class Progress:
    """The ledger and the counters of one service at one moment. All counts are of entities."""

    execution: str
    scheduled: int
    updated: int
    failed: int
    outstanding: Mapping[str, int]
    """chunkId → size."""
    errors: Mapping[str, str]
    """chunkId → error text. Filled only when nothing is outstanding."""


class Ledger:
    """The ledger of the service whose ordinal's key is `ordinal_key`.

    Every method is one round trip to Redis, waits as long as the client's own time-outs and retries, and raises
    DependencyLostError when Redis cannot be reached or refuses.
    """

    def __init__(self, scripts: Scripts, ordinal_key: str) -> None:
        self._scripts = scripts
        self._keys = keys.ServiceKeys(ordinal_key)

    # --- the producer's side -----------------------------------------------------------------------------------------

    async def ordinal(self) -> int:
        """The service's ordinal; 0 where there is none. Raises ServiceFailedError where it is not a number."""
        with redis_errors(f"reading {self._keys.ordinal}"):
            stored = str(await self._scripts.redis.get(self._keys.ordinal) or "0")
        # Compared as text in the scripts, so it has to be written as we would write it.
        if not stored.isascii() or not stored.isdigit() or str(int(stored)) != stored:
            raise ServiceFailedError(f"{self._keys.ordinal} in Redis is not an ordinal: set it to a whole number")
        return int(stored)

    async def forget_ordinal(self) -> None:
        """Have everything of the service fetched anew."""
        with redis_errors(f"deleting {self._keys.ordinal}"):
            await self._scripts.redis.delete(self._keys.ordinal)

    async def begin(self, execution: str, from_ordinal: int, chunks: Mapping[str, int]) -> Verdict:
        """Make the ledger `execution`'s: `chunks` (chunkId → size) outstanding, all counters at 0. BEGUN or FENCED.

        Also tells mankelis, by CURRENT_EXECUTION_HASH, to discard whatever is not of this execution.
        """
        k = self._keys
        ledger = [field for chunk in chunks.items() for field in chunk]
        answer = await self._scripts.call(
            "begin_execution",
            [k.ordinal, k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors, keys.CURRENT_EXECUTION_HASH],
            [execution, from_ordinal, *ledger],
        )
        return Verdict(answer)

    async def announce(self, execution: str) -> Verdict:
        """Tell mankelis once more that this is the execution to work on. ANNOUNCED or STALE."""
        k = self._keys
        answer = await self._scripts.call("announce_execution", [k.execution, keys.CURRENT_EXECUTION_HASH], [execution])
        return Verdict(answer)

    async def progress(self) -> Progress:
        """Everything about the current execution, as of one moment."""
        k = self._keys
        execution, scheduled, updated, failed, chunks, errors = await self._scripts.call(
            "read_progress", [k.execution, k.scheduled, k.updated, k.failed, k.chunks, k.errors], []
        )
        outstanding = {chunk: int(size) for chunk, size in _pairs(chunks).items()}
        return Progress(execution, scheduled, updated, failed, outstanding, _pairs(errors))

    async def advance(self, execution: str, from_ordinal: int, to_ordinal: int) -> Verdict:
        """Move the ordinal on, if all is settled and nobody else moved it. ADVANCED, ALREADY or FENCED."""
        k = self._keys
        answer = await self._scripts.call(
            "advance_ordinal",
            [k.ordinal, k.execution, k.scheduled, k.updated, k.chunks, k.errors],
            [execution, from_ordinal, to_ordinal],
        )
        return Verdict(answer)

    # --- the ack_collector's side ------------------------------------------------------------------------------------

    async def settle(self, execution: str, chunk_id: str, size: int) -> Verdict:
        """Count a chunk that a mankeli stored. SETTLED, DUPLICATE, STALE or MISMATCH."""
        [verdict] = await settle_all(self._scripts, [self.settling(execution, chunk_id, size)])
        return verdict

    def settling(self, execution: str, chunk_id: str, size: int) -> Call:
        """What `settle` calls, for `settle_all`."""
        k = self._keys
        return Call("settle_chunk", [k.execution, k.chunks, k.updated], [execution, chunk_id, size, k.progress])

    async def split(self, execution: str, chunk_id: str) -> Verdict:
        """Put the halves of a failed chunk in its place. SPLIT, SINGLE, DUPLICATE or STALE."""
        k = self._keys
        answer = await self._scripts.call(
            "split_chunk", [k.execution, k.chunks], [execution, chunk_id, *keys.halves(chunk_id), k.progress]
        )
        return Verdict(answer)

    async def fail(self, execution: str, chunk_id: str, error_text: str) -> Verdict:
        """Settle a chunk of one entity as failed, and keep its error text. FAILED, DUPLICATE, STALE or MISMATCH."""
        k = self._keys
        answer = await self._scripts.call(
            "fail_entity",
            [k.execution, k.chunks, k.updated, k.failed, k.errors],
            [execution, chunk_id, error_text, k.progress],
        )
        return Verdict(answer)


async def settle_all(scripts: Scripts, settlings: Sequence[Call]) -> list[Verdict]:
    """Count several chunks, of one service or of many, each by itself, in one round trip. See `Ledger.settle`."""
    return [Verdict(answer) for answer in await scripts.call_all(settlings)]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash as Lua returns it, field after value, as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
