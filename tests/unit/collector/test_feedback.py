"""Parsing feedback: what the contract allows is accepted, and anything else is invalid, with a reason."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ack_collector.feedback import ERROR_TEXT_MAX_BYTES, Feedback, InvalidFeedbackError, parse_feedback, parse_object

CHANNELS = {"ORI_PERSON_CHANNEL", "KORI_MODULE_CHANNEL"}
EXECUTION = "9f" * 12
OK = {"status": "OK", "executionHash": EXECUTION, "chunkId": "3.0", "channel": "ORI_PERSON_CHANNEL", "amount": 50}
FAIL = OK | {"status": "FAIL", "amount": 0, "stack": "unique constraint"}
REASONS = {"not JSON", "not an object", "status", "executionHash", "chunkId", "channel", "amount"}


def invalid_reason(data: bytes) -> str:
    """Return the reason for which this feedback is invalid."""
    with pytest.raises(InvalidFeedbackError) as error:
        parse_feedback(data, CHANNELS)
    return error.value.reason


def error_text(stack: object) -> str:
    """Return the error text that is read from a FAIL with this `stack`."""
    text = parse_feedback(orjson.dumps(FAIL | {"stack": stack}), CHANNELS).error_text
    assert text is not None
    return text


def test_ok_is_parsed() -> None:
    """A report of a stored chunk has its amount and no error text."""
    feedback = parse_feedback(orjson.dumps(OK), CHANNELS)
    assert feedback == Feedback(EXECUTION, "3.0", "ORI_PERSON_CHANNEL", 50, None)


def test_fail_is_parsed() -> None:
    """A report of a failure has the mankeli's error text."""
    feedback = parse_feedback(orjson.dumps(FAIL), CHANNELS)
    assert feedback == Feedback(EXECUTION, "3.0", "ORI_PERSON_CHANNEL", 0, "unique constraint")


def test_further_fields_are_ignored() -> None:
    """Additional fields, such as the entities that older mankelis send, make no difference."""
    extra = {"entities": [{"id": "a"}], "service": None, "stack": "ignored on OK"}
    assert parse_feedback(orjson.dumps(OK | extra), CHANNELS) == parse_feedback(orjson.dumps(OK), CHANNELS)


def test_a_failure_may_have_an_amount() -> None:
    """The amount of a FAIL is not counted, so any whole number is accepted."""
    assert parse_feedback(orjson.dumps(FAIL | {"amount": 7}), CHANNELS).amount == 7


@pytest.mark.parametrize("missing", ["status", "executionHash", "chunkId", "channel", "amount"])
@pytest.mark.parametrize("report", [OK, FAIL], ids=["OK", "FAIL"])
def test_each_field_is_required(report: dict[str, object], missing: str) -> None:
    """A report that is missing a field is invalid, and the reason is that field."""
    assert invalid_reason(orjson.dumps({name: value for name, value in report.items() if name != missing})) == missing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("status", value) for value in ("ok", "", "DONE", None, True, 1, ["OK"], {"OK": 1})),
        *(("executionHash", value) for value in ("", "9F" * 12, "9f" * 11, "9f" * 13, "xy" * 12, None, 7, [EXECUTION])),
        *(("executionHash", value) for value in (f"{EXECUTION}\n", "٣" * 24, f" {EXECUTION}"[:24])),
        *(("chunkId", value) for value in ("", "3.2", "3.", ".3", "-3", "3 ", "3\n", "٣", 3, 3.0, None, ["3"])),
        *(("chunkId", value) for value in ("1" * 10, "3" + ".0" * 41)),
        *(("channel", value) for value in ("", "ORI_PERSON_CHANNEL ", "ori_person_channel", "POST_UPDATE", None, 7)),
        *(("channel", value) for value in (["ORI_PERSON_CHANNEL"], {"ORI_PERSON_CHANNEL": 1})),
        *(("amount", value) for value in (0, -1, -50, 10**9 + 1, 2**63 - 1, 49.5, 50.0, "50", True, None, [50], {})),
    ],
)
def test_an_invalid_field_is_the_reason(field: str, value: object) -> None:
    """A report with a field of another type or out of range is invalid, and the reason is that field."""
    assert invalid_reason(orjson.dumps(OK | {field: value})) == field


@pytest.mark.parametrize("amount", [-1, 10**9 + 1, 0.5, "0", True, None])
def test_the_amount_of_a_failure_is_checked_too(amount: object) -> None:
    """A FAIL with an invalid amount is invalid."""
    assert invalid_reason(orjson.dumps(FAIL | {"amount": amount})) == "amount"


@pytest.mark.parametrize("number", ["1e2", "5e1", "50.0", "1" * 400, "1e400", "-0"])
def test_a_number_that_is_not_written_as_an_integer_is_invalid(number: str) -> None:
    """An amount consists of digits only, without exponent or fraction, and within its range."""
    body = json.dumps(OK).replace("50", number)
    assert invalid_reason(body.encode()) in {"amount", "not JSON"}


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"OK", b"{", b"\xff\xfe{}", b'{"status":"OK",}', b"{} {}", b"NaN", b"{'a':1}", b"[" * 100_000],
)
def test_garbage_is_not_json(data: bytes) -> None:
    """Bytes that are not a JSON text are invalid for that reason."""
    assert invalid_reason(data) == "not JSON"


@pytest.mark.parametrize("data", [b"null", b"7", b'"OK"', b"[]", b"true", b"[{}]"])
def test_json_that_is_not_an_object_is_invalid(data: bytes) -> None:
    """A JSON value of another type is invalid for that reason."""
    assert invalid_reason(data) == "not an object"


def test_deep_nesting_is_invalid() -> None:
    """A field whose nesting would exhaust the parser's stack makes the message invalid JSON."""
    body = orjson.dumps(OK)[:-1] + b',"entities":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert invalid_reason(body) == "not JSON"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
LOOKALIKES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["OK", "FAIL"]) | JSON,
        "executionHash": st.just(EXECUTION) | JSON,
        "chunkId": st.just("3.0") | JSON,
        "channel": st.sampled_from(sorted(CHANNELS)) | JSON,
        "amount": st.integers(0, 100) | JSON,
        "stack": JSON,
    },
)


def reason_or_none(data: bytes) -> str | None:
    """Return the reason if the data is invalid. An error of any other kind fails the test."""
    try:
        feedback = parse_feedback(data, CHANNELS)
    except InvalidFeedbackError as error:
        return error.reason
    assert feedback.channel in CHANNELS
    assert 0 <= feedback.amount <= 10**9
    return None


@given(st.binary())
def test_any_bytes_are_feedback_or_invalid(data: bytes) -> None:
    """Any bytes are parsed as feedback or are invalid for one of the known reasons."""
    assert reason_or_none(data) in {None, *REASONS}


@given(JSON)
def test_any_json_is_feedback_or_invalid(value: object) -> None:
    """Any JSON text is parsed as feedback or is invalid for one of the known reasons."""
    assert reason_or_none(json.dumps(value).encode()) in {None, *REASONS}


@given(LOOKALIKES)
def test_any_object_that_resembles_feedback_is_feedback_or_invalid(value: dict[str, object]) -> None:
    """An object with valid and invalid fields is parsed as feedback or is invalid for one of the known reasons."""
    assert reason_or_none(json.dumps(value).encode()) in {None, *REASONS}


@given(st.integers(0, 10**9))
def test_a_report_is_parsed_as_it_was_sent(amount: int) -> None:
    """Every whole amount of a FAIL is parsed unchanged."""
    assert parse_feedback(orjson.dumps(FAIL | {"amount": amount}), CHANNELS).amount == amount


@pytest.mark.parametrize("stack", [None, "", 7, ["a"], {"a": 1}])
def test_a_failure_without_an_error_text_gets_a_default(stack: object) -> None:
    """The error text of a FAIL without one says that the mankeli gave none."""
    assert error_text(stack) == "the mankeli gave no error text"


@pytest.mark.parametrize("character", ["x", "ä", "€", "🎓"])
@pytest.mark.parametrize("shift", range(4))
def test_an_error_text_is_truncated_between_characters(character: str, shift: int) -> None:
    """An error text of more than 8 KiB is truncated to the whole characters that fit."""
    stack = "a" * shift + character * 10_000
    text = error_text(stack)
    assert stack.startswith(text)
    size = len(character.encode())
    assert ERROR_TEXT_MAX_BYTES - size < len(text.encode()) <= ERROR_TEXT_MAX_BYTES == 8192


def test_an_error_text_at_the_limit_is_not_truncated() -> None:
    """An error text of exactly 8 KiB is kept completely."""
    assert error_text("ä" * 4096) == "ä" * 4096


@given(st.text(min_size=1, max_size=100), st.integers(1, 300))
def test_any_error_text_is_truncated_at_its_end_only(text: str, times: int) -> None:
    """Whatever it consists of, an error text keeps a prefix of itself, within the limit."""
    kept = error_text(text * times)
    assert (text * times).startswith(kept)
    assert len(kept.encode()) <= ERROR_TEXT_MAX_BYTES


def test_an_object_is_parsed() -> None:
    """The reply to POST_UPDATE is parsed by the same rules."""
    assert parse_object(b'{"success":true}') == {"success": True}
    with pytest.raises(InvalidFeedbackError, match="not an object"):
        parse_object(b"true")
