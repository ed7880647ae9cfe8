"""Reading feedback: what the contract allows is accepted, and nothing else gets further than a reason."""

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


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidFeedbackError) as refused:
        parse_feedback(data, CHANNELS)
    return refused.value.reason


def error_text(stack: object) -> str:
    text = parse_feedback(orjson.dumps(FAIL | {"stack": stack}), CHANNELS).error_text
    assert text is not None
    return text


def test_ok_is_read() -> None:
    """A report of a stored chunk has its amount and no error text."""
    feedback = parse_feedback(orjson.dumps(OK), CHANNELS)
    assert feedback == Feedback(EXECUTION, "3.0", "ORI_PERSON_CHANNEL", 50, None)


def test_fail_is_read() -> None:
    """A report of a failure has the mankeli's error text."""
    feedback = parse_feedback(orjson.dumps(FAIL), CHANNELS)
    assert feedback == Feedback(EXECUTION, "3.0", "ORI_PERSON_CHANNEL", 0, "unique constraint")


def test_further_fields_are_ignored() -> None:
    """Older mankelis send the entities back; that and anything else makes no difference."""
    extra = {"entities": [{"id": "a"}], "service": None, "stack": "ignored on OK"}
    assert parse_feedback(orjson.dumps(OK | extra), CHANNELS) == parse_feedback(orjson.dumps(OK), CHANNELS)


def test_a_failure_may_claim_that_some_were_stored() -> None:
    """The amount of a FAIL is not counted, so that any whole number will do."""
    assert parse_feedback(orjson.dumps(FAIL | {"amount": 7}), CHANNELS).amount == 7


@pytest.mark.parametrize("missing", ["status", "executionHash", "chunkId", "channel", "amount"])
@pytest.mark.parametrize("report", [OK, FAIL], ids=["OK", "FAIL"])
def test_each_field_is_needed(report: dict[str, object], missing: str) -> None:
    """Without one of its fields a report is refused, and the reason is that field."""
    assert refusal(orjson.dumps({name: value for name, value in report.items() if name != missing})) == missing


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
def test_a_wrong_field_is_the_reason(field: str, value: object) -> None:
    """A field of another type or out of range is refused by its name."""
    assert refusal(orjson.dumps(OK | {field: value})) == field


@pytest.mark.parametrize("amount", [-1, 10**9 + 1, 0.5, "0", True, None])
def test_the_amount_of_a_failure_is_checked_too(amount: object) -> None:
    """A FAIL with an amount that is none is refused."""
    assert refusal(orjson.dumps(FAIL | {"amount": amount})) == "amount"


@pytest.mark.parametrize("number", ["1e2", "5e1", "50.0", "1" * 400, "1e400", "-0"])
def test_a_number_that_is_not_whole_in_its_writing_is_refused(number: str) -> None:
    """An amount is digits: no exponent, no fraction, no number beyond all measure."""
    body = json.dumps(OK).replace("50", number)
    assert refusal(body.encode()) in {"amount", "not JSON"}


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"OK", b"{", b"\xff\xfe{}", b'{"status":"OK",}', b"{} {}", b"NaN", b"{'a':1}", b"[" * 100_000],
)
def test_garbage_is_not_json(data: bytes) -> None:
    """Bytes that are no JSON text are refused as that."""
    assert refusal(data) == "not JSON"


@pytest.mark.parametrize("data", [b"null", b"7", b'"OK"', b"[]", b"true", b"[{}]"])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    """Anything but an object is refused as that."""
    assert refusal(data) == "not an object"


def test_deep_nesting_is_refused() -> None:
    """A field that would exhaust the parser's stack makes the message garbage."""
    body = orjson.dumps(OK)[:-1] + b',"entities":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refusal(body) == "not JSON"


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
    """Return the reason where the data is refused. An error of any other kind fails the test."""
    try:
        feedback = parse_feedback(data, CHANNELS)
    except InvalidFeedbackError as refused:
        return refused.reason
    assert feedback.channel in CHANNELS
    assert 0 <= feedback.amount <= 10**9
    return None


@given(st.binary())
def test_any_bytes_are_feedback_or_refused(data: bytes) -> None:
    """No bytes lead to anything but feedback or one of the few reasons."""
    assert reason_or_none(data) in {None, *REASONS}


@given(JSON)
def test_any_json_is_feedback_or_refused(value: object) -> None:
    """No JSON text leads to anything but feedback or one of the few reasons."""
    assert reason_or_none(json.dumps(value).encode()) in {None, *REASONS}


@given(LOOKALIKES)
def test_any_lookalike_is_feedback_or_refused(value: dict[str, object]) -> None:
    """An object with some fields right and others wrong is feedback only if all are right."""
    assert reason_or_none(json.dumps(value).encode()) in {None, *REASONS}


@given(st.integers(0, 10**9))
def test_a_report_is_read_as_it_was_sent(amount: int) -> None:
    """Every whole amount of a FAIL arrives unchanged."""
    assert parse_feedback(orjson.dumps(FAIL | {"amount": amount}), CHANNELS).amount == amount


@pytest.mark.parametrize("stack", [None, "", 7, ["a"], {"a": 1}])
def test_a_failure_without_an_error_text_gets_one(stack: object) -> None:
    """A dead letter always says something about its error."""
    assert error_text(stack) == "the mankeli gave no error text"


@pytest.mark.parametrize("character", ["x", "ä", "€", "🎓"])
@pytest.mark.parametrize("shift", range(4))
def test_an_error_text_is_cut_between_characters(character: str, shift: int) -> None:
    """What is longer than 8 KiB is cut to as many whole characters as fit."""
    stack = "a" * shift + character * 10_000
    text = error_text(stack)
    assert stack.startswith(text)
    size = len(character.encode())
    assert ERROR_TEXT_MAX_BYTES - size < len(text.encode()) <= ERROR_TEXT_MAX_BYTES == 8192


def test_an_error_text_of_just_the_limit_is_whole() -> None:
    """8 KiB fit, and nothing is cut from them."""
    assert error_text("ä" * 4096) == "ä" * 4096


@given(st.text(min_size=1, max_size=100), st.integers(1, 300))
def test_any_error_text_is_a_beginning_of_itself(text: str, times: int) -> None:
    """Whatever it consists of, an error text loses nothing but its end."""
    kept = error_text(text * times)
    assert (text * times).startswith(kept)
    assert len(kept.encode()) <= ERROR_TEXT_MAX_BYTES


def test_an_object_is_parsed() -> None:
    """The answer to POST_UPDATE is read by the same rules."""
    assert parse_object(b'{"success":true}') == {"success": True}
    with pytest.raises(InvalidFeedbackError, match="not an object"):
        parse_object(b"true")
