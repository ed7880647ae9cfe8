"""Chunks, pieces, reports and feedback as the stan_bridge reads and writes them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from shared.model.messages import encode_chunk
from stan_bridge.messages import (
    STACK_MAX_BYTES,
    InvalidReportError,
    attempt_of,
    encode_feedback,
    encode_piece,
    max_piece_bytes,
    parse_chunk,
    parse_report,
)

EXECUTION = "9f" * 12
WAVE = f"{EXECUTION}:a1b2c3d4"
ENTITIES = [Raw(b'{"id":"a",  "n":1.0}'), Raw(b'{"id":"b"}'), Raw(b'{"id":"c"}')]


def report(**fields: object) -> bytes:
    """Return a report of a worker."""
    ok = {"status": "OK", "executionHash": WAVE, "channel": "C", "amount": 3}
    return json.dumps(ok | fields).encode()


def test_a_piece_has_the_entities_byte_for_byte() -> None:
    """A chunk of the producer becomes a piece without a change of any entity."""
    chunk = parse_chunk(encode_chunk(EXECUTION, "3.0", ENTITIES), "", "")
    assert (chunk.execution, chunk.chunk_id) == (EXECUTION, "3.0")
    piece = encode_piece(WAVE, "3.0", "3.0/0+2", chunk.entities[:2])
    assert b'"entities":[{"id":"a",  "n":1.0},{"id":"b"}]' in piece
    fields = json.loads(piece)
    assert (fields["executionHash"], fields["chunkId"], fields["piece"]) == (WAVE, "3.0", "3.0/0+2")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"executionHash":1}', b"\xff", b"[" * 5000])
def test_a_chunk_that_cannot_be_parsed_is_known_by_its_headers(data: bytes) -> None:
    """Its headers name it, so that the bridge can report it."""
    chunk = parse_chunk(data, EXECUTION, "7")
    assert (chunk.execution, chunk.chunk_id, list(chunk.entities)) == (EXECUTION, "7", [])


@pytest.mark.parametrize(("message_id", "attempt"), [(f"{EXECUTION}:3.0:12", 12), ("", 1), ("x", 1), (":²", 1)])
def test_the_attempt_of_a_chunk(message_id: str, attempt: int) -> None:
    """The attempt is the end of the message id."""
    assert attempt_of(message_id) == attempt


def test_reports() -> None:
    """Success and failure are parsed; the entities that a failure repeats are skipped."""
    stored = parse_report(report())
    assert (stored.wave, stored.channel, stored.is_stored, stored.amount) == (WAVE, "C", True, 3)
    failed = parse_report(report(status="FAIL", amount=0, piece="3/0+3", stack="s", entities=[{"x": 1e300}]))
    assert (failed.is_stored, failed.piece_name, failed.stack) == (False, "3/0+3", "s")
    assert parse_report(report(status="FAIL", amount=0, piece=7, stack=None)).piece_name == ""


@given(
    st.binary() | st.text().map(str.encode) | st.dictionaries(st.text(), st.integers()).map(json.dumps).map(str.encode)
)
def test_any_other_message_is_no_report(data: bytes) -> None:
    """Garbage raises the one error, which quotes nothing."""
    with pytest.raises(InvalidReportError, match=r"^not a report$"):
        parse_report(data)


@pytest.mark.parametrize("fields", [{"amount": "3"}, {"amount": 1.5}, {"status": "ok"}, {"channel": None}])
def test_a_report_with_a_wrong_field(fields: dict[str, object]) -> None:
    """Wrong types and values are no report."""
    with pytest.raises(InvalidReportError):
        parse_report(report(**fields))


def test_feedback() -> None:
    """Feedback is what the worker contract says, with an error text that the collector keeps whole."""
    assert json.loads(encode_feedback(EXECUTION, "3", "C", 5)) == {
        "status": "OK",
        "executionHash": EXECUTION,
        "chunkId": "3",
        "channel": "C",
        "amount": 5,
    }
    failed = json.loads(encode_feedback(EXECUTION, "3", "C", 5, "ä" * STACK_MAX_BYTES))
    assert (failed["status"], failed["amount"]) == ("FAIL", 0)
    assert len(failed["stack"].encode()) <= STACK_MAX_BYTES


def test_a_piece_leaves_room_for_its_echo() -> None:
    """What a worker that fails sends back fits into a message, with a stack."""
    max_payload_bytes = 1024 * 1024
    assert max_piece_bytes(max_payload_bytes) + 16 * 1024 < 0.9 * max_payload_bytes
