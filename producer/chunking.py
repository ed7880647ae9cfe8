"""Cutting a batch into chunks, and chunks into halves. Pure: only counts and sizes, no entities and no network."""

from collections.abc import Sequence
from dataclasses import dataclass


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
    slices: list[Slice] = []
    too_large: list[int] = []
    start = filled = 0
    for position, size in enumerate(entity_bytes):
        fits = filled + size + 1 <= max_bytes and position - start < max_entities
        if position > start and (not fits or size > max_bytes):
            slices.append(Slice(start, position))
            start, filled = position, 0
        if size > max_bytes:
            too_large.append(position)
            start, filled = position + 1, 0
        else:
            filled += size + (position > start)
    if start < len(entity_bytes):
        slices.append(Slice(start, len(entity_bytes)))
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
