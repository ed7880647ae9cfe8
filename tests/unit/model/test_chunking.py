"""Splitting batches and chunks: nothing is lost, nothing is too large, nothing is empty."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import keys
from shared.model.chunking import Slice, slice_of, split_into_chunks

sizes = st.lists(st.integers(1, 60), max_size=60)
limits = {"entity_bytes": sizes, "max_entities": st.integers(1, 12), "max_bytes": st.integers(1, 80)}


@given(**limits)
def test_every_entity_is_in_exactly_one_chunk_or_too_large(
    entity_bytes: list[int], max_entities: int, max_bytes: int
) -> None:
    """The chunks contain the entities in order, none twice, and none is missing but those that are too large."""
    batch = split_into_chunks(entity_bytes, max_entities, max_bytes)
    in_chunks = [position for chunk in batch.chunks.values() for position in range(chunk.start, chunk.stop)]
    assert sorted(in_chunks + batch.too_large) == list(range(len(entity_bytes)))
    assert in_chunks == sorted(in_chunks)
    assert batch.too_large == [position for position, size in enumerate(entity_bytes) if size > max_bytes]
    assert list(batch.chunks) == [str(number) for number in range(len(batch.chunks))]


@given(**limits)
def test_no_chunk_is_too_large_or_empty(entity_bytes: list[int], max_entities: int, max_bytes: int) -> None:
    """Both limits hold for every chunk: entities, and bytes including the commas between the entities."""
    for chunk in split_into_chunks(entity_bytes, max_entities, max_bytes).chunks.values():
        assert 0 < chunk.size <= max_entities
        assert sum(entity_bytes[chunk.start : chunk.stop]) + chunk.size - 1 <= max_bytes


@given(**limits)
def test_no_chunk_is_smaller_than_necessary(entity_bytes: list[int], max_entities: int, max_bytes: int) -> None:
    """The first entity of the next chunk would not have fitted, unless an entity that is too large is in between."""
    chunks = list(split_into_chunks(entity_bytes, max_entities, max_bytes).chunks.values())
    for chunk, following in pairwise(chunks):
        if chunk.stop == following.start:
            joined = sum(entity_bytes[chunk.start : following.start + 1]) + chunk.size
            assert chunk.size == max_entities or joined > max_bytes


def test_a_message_can_be_filled_to_the_last_byte() -> None:
    """Three entities of ten bytes and two commas are 32 bytes."""
    assert [chunk.size for chunk in split_into_chunks([10, 10, 10], 100, 32).chunks.values()] == [3]
    assert [chunk.size for chunk in split_into_chunks([10, 10, 10], 100, 31).chunks.values()] == [2, 1]


def test_an_entity_that_is_too_large_ends_the_chunk_before_it() -> None:
    """A chunk is a contiguous slice of the batch."""
    batch = split_into_chunks([1, 1, 99, 1], 100, 50)
    assert (batch.chunks, batch.too_large) == ({"0": Slice(0, 2), "1": Slice(3, 4)}, [2])


def test_an_empty_batch_has_no_chunks() -> None:
    """A batch without entities is split into no chunks, so nothing is published."""
    assert split_into_chunks([], 100, 100).chunks == {}


@given(st.integers(2, 1000))
def test_two_halves_make_up_the_whole(size: int) -> None:
    """The first half is larger by at most one entity, as in the script split_chunk."""
    first, second = Slice(7, 7 + size).halves()
    assert (first.start, first.stop, second.stop) == (7, second.start, 7 + size)
    assert first.size - second.size in (0, 1)


@given(st.integers(1, 1000), st.data())
def test_the_slice_of_a_half_follows_from_its_chunk_id(size: int, data: st.DataObject) -> None:
    """After any sequence of splits, the chunk id alone identifies the entities."""
    expected, chunk_id = Slice(5, 5 + size), "3"
    while expected.size > 1 and data.draw(st.booleans()):
        half = data.draw(st.integers(0, 1))
        expected, chunk_id = expected.halves()[half], keys.halves(chunk_id)[half]
    assert slice_of(chunk_id, {"3": Slice(5, 5 + size)}) == expected


@pytest.mark.parametrize("chunk_id", ["4", "3.0.0", "3.1.0"])
def test_the_slice_of_an_impossible_chunk_id_is_an_error(chunk_id: str) -> None:
    """An unknown chunk, and a half of a single entity, raise KeyError."""
    with pytest.raises(KeyError):
        slice_of(chunk_id, {"3": Slice(0, 2)})
