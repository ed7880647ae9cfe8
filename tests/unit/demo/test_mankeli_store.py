"""The store of the demo's mankelis, and its comparison with the content of SISU."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from demo.mankeli.comparison import codebook_digest, compare
from demo.mankeli.store import MankeliStore
from shared.model.services import load_services

PERSON = load_services()[0]
STUDY_LEVEL = next(service for service in load_services() if service.name == "STUDY_LEVEL")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MankeliStore]:
    """Yield an empty store."""
    store = MankeliStore(tmp_path / "store.sqlite")
    yield store
    store.close()


def entity(entity_id: str, ordinal: int = 1, state: str = "ACTIVE") -> bytes:
    """Return an entity whose text depends on its ordinal."""
    return b'{"id": "%s", "documentState":"%s","metadata":{"modificationOrdinal":%d}}' % (
        entity_id.encode(),
        state.encode(),
        ordinal,
    )


def put(store: MankeliStore, *entities: bytes, chunk: str = "0", service: str = "PERSON") -> None:
    """Store a chunk."""
    store.apply(execution="e", chunk=chunk, service=service, entities=[msgspec.Raw(text) for text in entities])


def digest(text: bytes) -> str:
    """Return the digest that the comparison expects for an entity's text."""
    return sha256(text).hexdigest()


def test_entities_are_kept_byte_for_byte(store: MankeliStore) -> None:
    """The store returns the text that was put into it."""
    put(store, entity("a"), entity("b", state="DRAFT"))
    assert list(store.stored("PERSON")) == [
        ("a", "ACTIVE", entity("a")),
        ("b", "DRAFT", entity("b", state="DRAFT")),
    ]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_newer_version_is_kept_in_any_order(store: MankeliStore, order: tuple[int, int]) -> None:
    """An older version that arrives late changes nothing."""
    for ordinal in order:
        put(store, entity("a", ordinal))
    assert list(store.stored("PERSON")) == [("a", "ACTIVE", entity("a", 2))]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_deletion_is_kept_in_any_order(store: MankeliStore, order: tuple[int, int]) -> None:
    """A version from before a deletion does not restore the entity."""
    versions = {1: entity("a", 1), 2: entity("a", 2, "DELETED")}
    for ordinal in order:
        put(store, versions[ordinal])
    assert list(store.stored("PERSON")) == []


def test_a_chunk_is_stored_completely_or_not_at_all(store: MankeliStore) -> None:
    """One invalid entity leaves nothing of its chunk in the store."""
    with pytest.raises(msgspec.DecodeError):
        put(store, entity("a"), b'{"documentState": "ACTIVE"}')
    assert list(store.stored("PERSON")) == []
    assert store.delivered() == {}


def test_the_history_counts_repetitions(store: MankeliStore) -> None:
    """A chunk that is processed twice is counted twice in the history."""
    put(store, entity("a"), entity("b"))
    put(store, entity("a"), entity("b"))
    assert store.delivered() == {"PERSON": (4, 2)}


def test_a_matching_store_has_no_difference(store: MankeliStore) -> None:
    """A deleted entity that is not in the store is no difference."""
    put(store, entity("a"))
    expected = {"a": ("ACTIVE", digest(entity("a"))), "b": ("DELETED", digest(b"not_found"))}
    assert compare(store, PERSON, expected) is None


def test_every_kind_of_difference_is_reported(store: MankeliStore) -> None:
    """Missing, unexpected and different entities are reported separately."""
    put(store, entity("different"), entity("unexpected"), entity("deleted"))
    expected = {
        "different": ("ACTIVE", digest(b"{}")),
        "missing": ("DRAFT", digest(b"{}")),
        "deleted": ("DELETED", digest(b"{}")),
    }
    difference = compare(store, PERSON, expected)
    assert difference
    assert difference.missing == ["missing"]
    assert difference.unexpected == ["deleted", "unexpected"]
    assert difference.different == ["different"]
    assert str(difference) == "PERSON: 1 missing, 2 that should not be there, 1 with other bytes"


def test_codebooks_are_compared_without_what_the_producer_adds(store: MankeliStore) -> None:
    """The item of SISU matches the entity made of it, and another item does not."""
    put(store, b'{"urn":"u","name":{"fi":"x"},"id":"u","documentState":"ACTIVE"}', service="STUDY_LEVEL")
    assert compare(store, STUDY_LEVEL, {"u": ("ACTIVE", codebook_digest(b'{"name": {"fi":"x"}, "urn":"u"}'))}) is None
    assert compare(store, STUDY_LEVEL, {"u": ("ACTIVE", codebook_digest(b'{"name": {"fi":"y"}, "urn":"u"}'))})
