"""Cutting a batch into chunks, and chunks into halves. Pure: only counts and sizes, no entities and no network."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Slice:
    """Entities `start` up to, but without, `stop` of a batch. Never empty."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many entities."""
        return self.stop - self.start

    def halves(self) -> "tuple[Slice, Slice]":
        """The two halves, the larger one first, as the script `split_chunk` divides the size."""
        middle = self.start + (self.size + 1) // 2
        return Slice(self.start, middle), Slice(middle, self.stop)


@dataclass(frozen=True)
class Cut:
    """A batch cut up: each entity is in exactly one chunk or is too large to travel at all."""

    chunks: dict[str, Slice]
    """chunkId → its entities, in order."""
    too_large: list[int]
    """Positions in the batch."""


def cut(entity_bytes: Sequence[int], max_entities: int, max_bytes: int) -> Cut:
    """Cut a batch, whose entities have these sizes, into chunks.

    A chunk has at most `max_entities` entities, and with a comma between any two of them at most `max_bytes`. An
    entity that alone has more is too large; the chunk before it ends there, for a chunk is contiguous.
    """
    # What the first entities have together, with a comma after each: a chunk is a difference of two of these.
    filled = [0, *accumulate(size + 1 for size in entity_bytes)]
    too_large = [position for position, size in enumerate(entity_bytes) if size > max_bytes]
    slices: list[Slice] = []
    start = 0
    for end in (*too_large, len(entity_bytes)):
        while start < end:
            fitting = bisect_right(filled, filled[start] + max_bytes + 1, lo=start + 1, hi=end + 1) - 1
            slices.append(Slice(start, min(fitting, start + max_entities)))
            start = slices[-1].stop
        start = end + 1
    return Cut({str(number): piece for number, piece in enumerate(slices)}, too_large)


def slice_of(chunk_id: str, chunks: dict[str, Slice]) -> Slice:
    """The entities of a chunk or of any part that splits made of it: `3.0.1` is half 1 of half 0 of chunk 3.

    Raises KeyError where there is no such chunk.
    """
    number, *path = chunk_id.split(".")
    piece = chunks[number]
    for half in path:
        if piece.size == 1:
            raise KeyError(chunk_id)
        piece = piece.halves()[int(half)]
    return piece
