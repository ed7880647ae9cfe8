"""Cutting batches and chunks: nothing lost, nothing too large, nothing empty."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import keys
from shared.model.chunking import Slice, slice_of, split_into_chunks

sizes = st.lists(st.integers(1, 60), max_size=60)
limits = {"entity_bytes": sizes, "max_entities": st.integers(1, 12), "max_bytes": st.integers(1, 80)}


@given(**limits)
def test_every_entity_is_in_one_chunk_or_too_large(entity_bytes: list[int], max_entities: int, max_bytes: int) -> None:
    """In order, none twice, none left out."""
    pieces = split_into_chunks(entity_bytes, max_entities, max_bytes)
    in_chunks = [position for piece in pieces.chunks.values() for position in range(piece.start, piece.stop)]
    assert sorted(in_chunks + pieces.too_large) == list(range(len(entity_bytes)))
    assert in_chunks == sorted(in_chunks)
    assert pieces.too_large == [position for position, size in enumerate(entity_bytes) if size > max_bytes]
    assert list(pieces.chunks) == [str(number) for number in range(len(pieces.chunks))]


@given(**limits)
def test_no_chunk_is_too_large_or_empty(entity_bytes: list[int], max_entities: int, max_bytes: int) -> None:
    """Counted in entities, and in bytes with the commas between them."""
    for piece in split_into_chunks(entity_bytes, max_entities, max_bytes).chunks.values():
        assert 0 < piece.size <= max_entities
        assert sum(entity_bytes[piece.start : piece.stop]) + piece.size - 1 <= max_bytes


@given(**limits)
def test_no_chunk_is_smaller_than_it_need_be(entity_bytes: list[int], max_entities: int, max_bytes: int) -> None:
    """The first entity of the next chunk would not have fitted, unless one that is too large stands between."""
    pieces = list(split_into_chunks(entity_bytes, max_entities, max_bytes).chunks.values())
    for piece, following in pairwise(pieces):
        if piece.stop == following.start:
            joined = sum(entity_bytes[piece.start : following.start + 1]) + piece.size
            assert piece.size == max_entities or joined > max_bytes


def test_a_message_may_be_filled_to_the_last_byte() -> None:
    """Three entities of ten bytes and two commas are 32 bytes."""
    assert [piece.size for piece in split_into_chunks([10, 10, 10], 100, 32).chunks.values()] == [3]
    assert [piece.size for piece in split_into_chunks([10, 10, 10], 100, 31).chunks.values()] == [2, 1]


def test_a_large_entity_ends_the_chunk_before_it() -> None:
    """A chunk is contiguous."""
    pieces = split_into_chunks([1, 1, 99, 1], 100, 50)
    assert (pieces.chunks, pieces.too_large) == ({"0": Slice(0, 2), "1": Slice(3, 4)}, [2])


def test_an_empty_batch_has_no_chunks() -> None:
    """There is nothing to publish."""
    assert split_into_chunks([], 100, 100).chunks == {}


@given(st.integers(2, 1000))
def test_halves_are_the_whole(size: int) -> None:
    """The first is the larger one by at most one entity, as the script split_chunk divides."""
    first, second = Slice(7, 7 + size).halves()
    assert (first.start, first.stop, second.stop) == (7, second.start, 7 + size)
    assert first.size - second.size in (0, 1)


@given(st.integers(1, 1000), st.data())
def test_a_part_is_found_by_its_path(size: int, data: st.DataObject) -> None:
    """Whatever the splits were, the id alone tells the entities."""
    piece, chunk_id = Slice(5, 5 + size), "3"
    while piece.size > 1 and data.draw(st.booleans()):
        half = data.draw(st.integers(0, 1))
        piece, chunk_id = piece.halves()[half], keys.halves(chunk_id)[half]
    assert slice_of(chunk_id, {"3": Slice(5, 5 + size)}) == piece


@pytest.mark.parametrize("chunk_id", ["4", "3.0.0", "3.1.0"])
def test_a_part_that_cannot_be_is_an_error(chunk_id: str) -> None:
    """There is no chunk 4, and an entity has no halves."""
    with pytest.raises(KeyError):
        slice_of(chunk_id, {"3": Slice(0, 2)})
