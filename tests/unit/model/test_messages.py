"""The messages that the producer sends: the bytes of a chunk, and dead letters that always fit."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.dead_letter import DeadLetter, DeadLetterReason
from shared.model.messages import ENVELOPE_MAX_BYTES, Entity, encode_chunk, encode_post_update, entity_id

EXECUTION = "9f" * 12
LEAST_MAX_BYTES = 28 * 1024
"""A server's smallest max_payload that is accepted, less the headers."""


def dead_letter(
    entity: bytes, max_bytes: int = 1_000_000, error_text: str | None = None, earlier: bytes | None = None
) -> bytes:
    return DeadLetter.of(
        Entity(entity),
        service="PERSON",
        channel="ORI_PERSON_CHANNEL",
        execution=EXECUTION,
        reason=DeadLetterReason.REJECTED,
        error_text=error_text,
        earlier=None if earlier is None else DeadLetter.decode(earlier),
    ).encode(max_bytes)


def test_a_chunk_is_exactly_this() -> None:
    """A chunk is its envelope around the entities as they were, in their order."""
    entities = [Entity(b'{"id":"a","x":1.0}'), Entity(b'{ "id" : "\\u00e4" }')]
    assert encode_chunk(EXECUTION, "3.0", entities) == (
        b'{"executionHash":"9f9f9f9f9f9f9f9f9f9f9f9f","chunkId":"3.0","entities":'
        b'[{"id":"a","x":1.0},{ "id" : "\\u00e4" }]}'
    )


def test_a_chunk_is_json() -> None:
    """What a mankeli parses is the object of the contract."""
    message = json.loads(encode_chunk(EXECUTION, "0", [Entity(b'{"id":"a"}')]))
    assert message == {"executionHash": EXECUTION, "chunkId": "0", "entities": [{"id": "a"}]}


def test_no_envelope_is_larger_than_what_is_left_for_it() -> None:
    """The longest hash and the longest chunkId fit into the room that cutting leaves for the envelope."""
    longest = encode_chunk(EXECUTION, "9" * 9 + ".1" * 40, [Entity(b"1")])
    assert len(longest) - len(b"1") < ENVELOPE_MAX_BYTES


def test_a_post_update_is_exactly_this() -> None:
    """The message that ends a run has the run's id."""
    assert json.loads(encode_post_update("20240101T000000Z-abc")) == {"success": True, "runId": "20240101T000000Z-abc"}


@pytest.mark.parametrize(
    ("entity", "identity"),
    [(b'{"x":1,"id":"otm-1"}', "otm-1"), (b'{"id":"\\u00e4 \\".*"}', 'ä ".*'), (b'{"id":"a","id":"b"}', "b")],
)
def test_an_entity_is_known_by_its_id(entity: bytes, identity: str) -> None:
    """The id is read from the entity, with escapes undone."""
    assert entity_id(Entity(entity)) == identity


@pytest.mark.parametrize(
    "entity",
    [b'{"x":1}', b'{"id":""}', b'{"id":7}', b'{"id":null}', b"7", b"null", b"[]", b'"id"', b'{"id":"\\ud800"}'],
)
def test_an_entity_without_an_id_is_known_by_its_digest(entity: bytes) -> None:
    """What has no text for an id still has an identity, the same one each time."""
    identity = entity_id(Entity(entity))
    assert identity.startswith("sha256:")
    assert identity == entity_id(Entity(entity))
    assert identity != entity_id(Entity(entity + b" "))


def test_a_dead_letter_says_what_happened_to_which_entity() -> None:
    """All that is known stands in the dead letter, the entity as SISU wrote it."""
    entity = b'{"id":"otm-1","credits":5.0}'
    letter = dead_letter(entity, error_text="unique constraint")
    fields = json.loads(letter)
    assert letter.endswith(b',"entity":' + entity + b"}")
    assert {name: value for name, value in fields.items() if "ailedAt" not in name} == {
        "service": "PERSON",
        "channel": "ORI_PERSON_CHANNEL",
        "executionHash": EXECUTION,
        "reason": "rejected",
        "id": "otm-1",
        "ordinal": None,
        "entityBytes": len(entity),
        "count": 1,
        "error": "unique constraint",
        "entity": {"id": "otm-1", "credits": 5.0},
    }
    assert fields["failedAt"].endswith("+00:00")
    assert fields["firstFailedAt"] == fields["failedAt"]


def test_a_dead_letter_says_how_often_its_entity_failed_and_since_when() -> None:
    """A later letter keeps the time of the first one, and counts on; what is no letter is ignored."""
    entity = b'{"id":"otm-1","metadata":{"modificationOrdinal":12}}'
    first = json.loads(dead_letter(entity))
    third = json.loads(dead_letter(entity, earlier=dead_letter(entity, earlier=json.dumps(first).encode())))
    assert (third["count"], third["firstFailedAt"], third["ordinal"]) == (3, first["failedAt"], 12)
    assert json.loads(dead_letter(entity, earlier=b"no letter"))["count"] == 1
    assert json.loads(dead_letter(entity, earlier=b'{"failedAt": 1}'))["count"] == 1


def test_a_dead_letter_has_its_entity_as_long_as_it_fits() -> None:
    """At the limit the entity is there, a byte above it is null, and what it was is still told."""
    entity = b'{"id":"otm-1"}'
    whole = dead_letter(entity)
    assert dead_letter(entity, len(whole)).endswith(entity + b"}")
    shortened = dead_letter(entity, len(whole) - 1)
    assert len(shortened) < len(whole)
    fields = json.loads(shortened)
    assert (fields["entity"], fields["id"], fields["entityBytes"]) == (None, "otm-1", len(entity))


@pytest.mark.parametrize(
    ("entity", "error_text"),
    [
        pytest.param(b'{"id":"a","x":"' + b"x" * 2_000_000 + b'"}', None, id="large entity"),
        pytest.param(b'{"id":"' + b"x" * 2_000_000 + b'"}', None, id="large id"),
        pytest.param(b'{"id":"' + b"\\u0001" * 20_000 + b'"}', "\x01" * 8192, id="escapes"),
        pytest.param(b'{"id":"a"}', "\x01" * 8192, id="error text that escaping makes six times as long"),
        pytest.param(b'{"id":"a"}', "é" * 4096, id="error text of two bytes a character"),
        pytest.param(b'{"id":"a"}', '"' * 8192, id="error text of quotes"),
    ],
)
def test_a_dead_letter_always_fits(entity: bytes, error_text: str | None) -> None:
    """Whatever an entity and an error text hold, the dead letter is JSON that the smallest server takes."""
    letter = dead_letter(entity, LEAST_MAX_BYTES, error_text)
    assert len(letter) <= LEAST_MAX_BYTES
    fields = json.loads(letter)
    assert fields["entityBytes"] == len(entity)
    assert error_text is None or fields["error"]


@given(
    identity=st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    filling=st.integers(0, 60_000),
    error_text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300).map(lambda text: text * 20),
)
def test_any_dead_letter_fits(identity: str, filling: int, error_text: str | None) -> None:
    """For any id, size and error text the limit is kept, and the entity is whole or null."""
    entity = json.dumps({"id": identity, "x": "x" * filling}).encode()
    letter = dead_letter(entity, LEAST_MAX_BYTES, error_text)
    assert len(letter) <= LEAST_MAX_BYTES
    assert json.loads(letter)["entity"] in (None, json.loads(entity))
