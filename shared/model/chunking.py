"""Split a batch into chunks, and chunks into halves. Pure: only counts and sizes, no entities and no network."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Slice:
    """The entities of a batch from position `start` up to, but excluding, `stop`. Never empty."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of entities."""
        return self.stop - self.start

    def halves(self) -> "tuple[Slice, Slice]":
        """Return the two halves, the larger one first, as the script `split_chunk` divides the size."""
        middle = self.start + (self.size + 1) // 2
        return Slice(self.start, middle), Slice(middle, self.stop)


@dataclass(frozen=True)
class ChunkedBatch:
    """A batch split into chunks: each entity is in exactly one chunk or is too large for any message."""

    chunks: dict[str, Slice]
    """chunkId → its entities, in order."""
    too_large: list[int]
    """Positions in the batch."""


def split_into_chunks(entity_bytes: Sequence[int], max_entities: int, max_bytes: int) -> ChunkedBatch:
    """Split a batch, whose entities have these sizes in bytes, into chunks.

    A chunk has at most `max_entities` entities, and with a comma between any two of them at most `max_bytes`. An entity
    that alone exceeds that is too large; the chunk before it ends there, since a chunk is contiguous.
    """
    # The bytes of the first n entities, with a comma after each: a chunk's size is a difference of two of these.
    offsets = [0, *accumulate(size + 1 for size in entity_bytes)]
    too_large = [position for position, size in enumerate(entity_bytes) if size > max_bytes]
    slices: list[Slice] = []
    start = 0
    for end in (*too_large, len(entity_bytes)):
        while start < end:
            fitting = bisect_right(offsets, offsets[start] + max_bytes + 1, lo=start + 1, hi=end + 1) - 1
            slices.append(Slice(start, min(fitting, start + max_entities)))
            start = slices[-1].stop
        start = end + 1
    return ChunkedBatch({str(number): part for number, part in enumerate(slices)}, too_large)


def slice_of(chunk_id: str, chunks: dict[str, Slice]) -> Slice:
    """Return the entities of a chunk, or of a part that splits made of it: `3.0.1` is half 1 of half 0 of chunk 3.

    Raises KeyError where there is no such chunk.
    """
    number, *path = chunk_id.split(".")
    part = chunks[number]
    for half in path:
        if part.size == 1:
            raise KeyError(chunk_id)
        part = part.halves()[int(half)]
    return part
