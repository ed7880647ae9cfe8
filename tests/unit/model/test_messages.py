"""The messages that the producer sends: the exact bytes of a chunk, and dead letters that always fit."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import keys
from shared.model.dead_letter import DeadLetter, DeadLetterReason
from shared.model.messages import (
    ENVELOPE_MAX_BYTES,
    HEADERS_MAX_BYTES,
    Entity,
    chunk_headers,
    encode_chunk,
    encode_post_update,
    entity_id,
    entity_ordinal,
)

EXECUTION = "9f" * 12
MIN_MAX_BYTES = 28 * 1024
"""The smallest max_payload of a server that is accepted, minus the headers."""


def encode_dead_letter(
    entity: bytes, max_bytes: int = 1_000_000, error_text: str | None = None, earlier: bytes | None = None
) -> bytes:
    """Return the message of a dead letter of this entity; `earlier` is the previous one."""
    return DeadLetter.of(
        Entity(entity),
        service="PERSON",
        channel="ORI_PERSON_CHANNEL",
        execution=EXECUTION,
        reason=DeadLetterReason.REJECTED,
        error_text=error_text,
        earlier=None if earlier is None else DeadLetter.decode(earlier),
    ).encode(max_bytes)


def test_a_chunk_has_exactly_these_bytes() -> None:
    """A chunk is its envelope around the unchanged entities, in their order."""
    entities = [Entity(b'{"id":"a","x":1.0}'), Entity(b'{ "id" : "\\u00e4" }')]
    assert encode_chunk(EXECUTION, "3.0", entities) == (
        b'{"executionHash":"9f9f9f9f9f9f9f9f9f9f9f9f","chunkId":"3.0","entities":'
        b'[{"id":"a","x":1.0},{ "id" : "\\u00e4" }]}'
    )


def test_the_headers_of_a_chunk_are_exactly_these() -> None:
    """The headers repeat the execution and the chunk of the body."""
    assert chunk_headers(EXECUTION, "3.0") == {"Importer-Execution": EXECUTION, "Importer-Chunk": "3.0"}


def test_the_room_for_headers_suffices() -> None:
    """The longest headers of a chunk take a small part of the room that is left for them."""
    longest = "9" * 9 + ".1" * 40
    headers = chunk_headers(EXECUTION, longest) | {"Nats-Msg-Id": keys.message_id(EXECUTION, longest, 999_999)}
    expected = {"Nats-Expected-Stream": keys.CHUNK_STREAM}  # what nats-py adds
    text = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in (headers | expected).items()) + "\r\n"
    assert len(text) < HEADERS_MAX_BYTES // 8


def test_a_chunk_is_the_json_of_the_contract() -> None:
    """The message that a mankeli parses is the object that the contract describes."""
    message = json.loads(encode_chunk(EXECUTION, "0", [Entity(b'{"id":"a"}')]))
    assert message == {"executionHash": EXECUTION, "chunkId": "0", "entities": [{"id": "a"}]}


def test_the_longest_envelope_fits_into_its_allowance() -> None:
    """The longest hash and the longest chunkId fit into the bytes that chunking reserves for the envelope."""
    longest = encode_chunk(EXECUTION, "9" * 9 + ".1" * 40, [Entity(b"1")])
    assert len(longest) - len(b"1") < ENVELOPE_MAX_BYTES


def test_a_post_update_has_the_id_of_its_run() -> None:
    """The message that ends a run contains success and the run's id."""
    assert json.loads(encode_post_update("20240101T000000Z-abc")) == {"success": True, "runId": "20240101T000000Z-abc"}


@pytest.mark.parametrize(
    ("entity", "identity"),
    [(b'{"x":1,"id":"otm-1"}', "otm-1"), (b'{"id":"\\u00e4 \\".*"}', 'ä ".*'), (b'{"id":"a","id":"b"}', "b")],
)
def test_an_entity_is_identified_by_its_id(entity: bytes, identity: str) -> None:
    """The id is read from the entity, with its escapes decoded."""
    assert entity_id(Entity(entity)) == identity


@pytest.mark.parametrize(
    "entity",
    [b'{"x":1}', b'{"id":""}', b'{"id":7}', b'{"id":null}', b"7", b"null", b"[]", b'"id"', b'{"id":"\\ud800"}'],
)
def test_an_entity_without_an_id_is_identified_by_its_digest(entity: bytes) -> None:
    """An entity whose id is missing or not a text gets the same identity each time, made from its bytes."""
    identity = entity_id(Entity(entity))
    assert identity.startswith("sha256:")
    assert identity == entity_id(Entity(entity))
    assert identity != entity_id(Entity(entity + b" "))


def test_a_dead_letter_describes_the_failure_and_its_entity() -> None:
    """A dead letter contains everything that is known of the failure, and the entity as SISU wrote it."""
    entity = b'{"id":"otm-1","credits":5.0}'
    dead_letter = encode_dead_letter(entity, error_text="unique constraint")
    fields = json.loads(dead_letter)
    assert dead_letter.endswith(b',"entity":' + entity + b"}")
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


def test_a_dead_letter_counts_the_failures_of_its_entity_since_the_first() -> None:
    """A later dead letter keeps the time of the first one and increments the count; an invalid one is ignored."""
    entity = b'{"id":"otm-1","metadata":{"modificationOrdinal":12}}'
    first = json.loads(encode_dead_letter(entity))
    second = encode_dead_letter(entity, earlier=json.dumps(first).encode())
    third = json.loads(encode_dead_letter(entity, earlier=second))
    assert (third["count"], third["firstFailedAt"], third["ordinal"]) == (3, first["failedAt"], 12)
    assert json.loads(encode_dead_letter(entity, earlier=b"not a dead letter"))["count"] == 1
    assert json.loads(encode_dead_letter(entity, earlier=b'{"failedAt": 1}'))["count"] == 1


def test_a_dead_letter_contains_its_entity_if_it_fits() -> None:
    """At the limit the entity is included; one byte above it is null, and its id and size are still given."""
    entity = b'{"id":"otm-1"}'
    whole = encode_dead_letter(entity)
    assert encode_dead_letter(entity, len(whole)).endswith(entity + b"}")
    shortened = encode_dead_letter(entity, len(whole) - 1)
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
def test_a_dead_letter_of_an_extreme_entity_fits(entity: bytes, error_text: str | None) -> None:
    """Whatever an entity and an error text contain, the dead letter is JSON that fits the smallest server."""
    dead_letter = encode_dead_letter(entity, MIN_MAX_BYTES, error_text)
    assert len(dead_letter) <= MIN_MAX_BYTES
    fields = json.loads(dead_letter)
    assert fields["entityBytes"] == len(entity)
    assert error_text is None or fields["error"]


@given(
    identity=st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    filling=st.integers(0, 60_000),
    error_text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300).map(lambda text: text * 20),
)
def test_any_dead_letter_fits(identity: str, filling: int, error_text: str | None) -> None:
    """For any id, size and error text the limit holds, and the entity is complete or null."""
    entity = json.dumps({"id": identity, "x": "x" * filling}).encode()
    dead_letter = encode_dead_letter(entity, MIN_MAX_BYTES, error_text)
    assert len(dead_letter) <= MIN_MAX_BYTES
    assert json.loads(dead_letter)["entity"] in (None, json.loads(entity))


@pytest.mark.parametrize(
    "entity",
    [
        b'{"id":7,"x":' + b"[" * 985 + b"]" * 985 + b"}",
        b"[" * 100_000,
        b'{"metadata":{"modificationOrdinal":%d}}' % 2**64,
        b'{"metadata":{"modificationOrdinal":%d}}' % -(10**30),
        b'{"metadata":{"modificationOrdinal":1%s}}' % (b"0" * 5000),
        b'{"id":"\xff","metadata":{"modificationOrdinal":"\xff"}}',
        b"",
    ],
    ids=["985 levels", "100,000 levels", "2^64", "very negative", "5,001 digits", "not UTF-8", "nothing"],
)
def test_a_malformed_entity_becomes_a_dead_letter(entity: bytes) -> None:
    """It is identified by its hash, has no ordinal, and can fail a second time."""
    assert entity_ordinal(Entity(entity)) is None
    assert entity_id(Entity(entity)).startswith("sha256:")
    assert encode_dead_letter(entity, earlier=encode_dead_letter(entity))


@pytest.mark.parametrize("missing_bytes", [0, 1])
def test_an_unreadable_entity_is_kept_as_base64(missing_bytes: int) -> None:
    """The dead letter has the unchanged bytes if they fit, and decodes to the same dead letter."""
    entity = b'{"id":"a","x":"\xff\\ud83d"}'
    dead_letter = DeadLetter.of(
        Entity(entity),
        service="PERSON",
        channel="C",
        execution=EXECUTION,
        reason=DeadLetterReason.UNREADABLE,
        error_text=None,
        earlier=None,
    )
    whole = dead_letter.encode(10_000)
    fields = json.loads(dead_letter.encode(len(whole) - missing_bytes))
    kept = fields["entityBase64"] and base64.b64decode(fields["entityBase64"])
    assert (fields["entity"], fields["reason"], fields["entityBytes"]) == (None, "unreadable", len(entity))
    assert kept == (None if missing_bytes else entity)
    decoded = DeadLetter.decode(whole)
    assert decoded
    assert decoded.encode(10_000) == whole
