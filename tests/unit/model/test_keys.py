"""The names of keys, subjects and messages: the names that others rely on, all of them valid for the servers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import keys
from shared.model.services import load_services

NASTY_IDS = [
    "",
    " ",
    ".",
    "..",
    "a.b",
    "*",
    ">",
    "a.>",
    "hy-hlo-1",
    "otm:123",
    "otm-4ea8-~_",
    "line\r\nbreak",
    "tab\tnull\0",
    "Äiti ja 学生 🎓",
    "%2E",
    "$SYS",
    "x" * 10_000,
    "." * 10_000,
    "é" * 10_000,
]


def test_the_keys_of_a_service_keep_their_names() -> None:
    """Scripts that read Redis find every key of a service under the name that it always had."""
    names = keys.ServiceKeys("LATEST_PERSON_ORDINAL")
    assert [
        names.ordinal,
        names.scheduled,
        names.updated,
        names.failed,
        names.execution,
        names.chunks,
        names.errors,
        names.progress,
    ] == [
        "LATEST_PERSON_ORDINAL",
        "LATEST_PERSON_ORDINAL_SCHEDULED",
        "LATEST_PERSON_ORDINAL_UPDATED",
        "LATEST_PERSON_ORDINAL_FAILED",
        "LATEST_PERSON_ORDINAL_EXECUTION",
        "LATEST_PERSON_ORDINAL_CHUNKS",
        "LATEST_PERSON_ORDINAL_ERRORS",
        "LATEST_PERSON_ORDINAL_PROGRESS",
    ]


def test_shared_names_are_those_of_the_contract() -> None:
    """The subjects, the streams and the shared keys have the names that mankelis and scripts use."""
    assert keys.CURRENT_EXECUTION_HASH == "CURRENT_EXECUTION_HASH"
    assert keys.POST_UPDATE_RUNNING == "POST_UPDATE_RUNNING"
    assert (keys.CHUNK_STREAM, keys.FEEDBACK_STREAM) == ("IMPORTER", "IMPORTER_FEEDBACK")
    assert keys.DEAD_LETTER_STREAM == "IMPORTER_DEAD_LETTERS"
    assert keys.FEEDBACK_SUBJECT == "SCHEDULER_STATUS_CHANNEL"
    assert (keys.POST_UPDATE_SUBJECT, keys.POST_UPDATE_FINISH_SUBJECT) == ("POST_UPDATE", "POST_UPDATE_FINISH")
    assert keys.COLLECTOR_CONSUMER == "ack-collector"


def test_all_keys_in_redis_differ() -> None:
    """The keys of all 26 services, the shared keys and the key of a cached codebook are all different."""
    names = [
        keys.CURRENT_EXECUTION_HASH,
        keys.POST_UPDATE_RUNNING,
        keys.PRODUCER_LOCK,
        keys.codebook_cache("https://x"),
    ]
    for service in load_services():
        names += [service.key, *keys.ServiceKeys(service.key).companion_keys]
    assert len(set(names)) == len(names) == 26 * 7 + 4


@pytest.mark.parametrize("entity_id", NASTY_IDS, ids=range(len(NASTY_IDS)))
def test_the_subject_of_a_dead_letter_is_valid_for_any_id(entity_id: str) -> None:
    """Whatever the id contains, the subject has three tokens of plain characters and fits into a control line."""
    subject = keys.dead_letter_subject("ORI_PERSON_CHANNEL", entity_id)
    assert re.fullmatch(r"DEAD_LETTER\.ORI_PERSON_CHANNEL\.[A-Za-z0-9_:%-]+", subject)
    assert len(subject) < 512


@given(st.text(max_size=150), st.text(max_size=150))
def test_dead_letters_of_different_entities_have_different_subjects(one: str, other: str) -> None:
    """No two ids share a subject, since one entity's dead letter would then replace the other's."""
    subjects = {keys.dead_letter_subject("C", entity_id) for entity_id in (one, other)}
    assert len(subjects) == len({one, other})


@pytest.mark.parametrize("entity_id", ["hy-hlo-1", "otm:123", "urn:code:country:246", "A_1-b"])
def test_a_usual_id_stays_readable(entity_id: str) -> None:
    """An id of the form that SISU uses is part of the subject unchanged."""
    assert keys.dead_letter_subject("C", entity_id) == f"DEAD_LETTER.C.{entity_id}"


def test_a_message_id_differs_between_attempts() -> None:
    """The same chunk sent again in the next attempt is a new message for the broker."""
    assert keys.message_id("9f" * 12, "3.0", 1) == f"{'9f' * 12}:3.0:1"
    assert keys.message_id("9f" * 12, "3.0", 1) != keys.message_id("9f" * 12, "3.0", 2)


def test_halves_are_named_after_their_chunk() -> None:
    """The larger half gets the suffix .0 and the other half .1, at any depth."""
    assert keys.halves("3") == ("3.0", "3.1")
    assert keys.halves("3.0.1") == ("3.0.1.0", "3.0.1.1")


@pytest.mark.parametrize("chunk_id", ["0", "12", "3.0", "3.0.1.1", "999999999" + ".1" * 40])
def test_a_chunk_id_is_a_path(chunk_id: str) -> None:
    """A chunk id is the number of a chunk, followed by 0 or 1 for each split."""
    assert keys.CHUNK_ID.fullmatch(chunk_id)


@pytest.mark.parametrize(
    "text", ["", ".", "3.", ".0", "3.2", "3.00", "-1", "1e3", "٣", "3 ", "3\n", "0.1" * 99, "3..0"]
)
def test_anything_else_is_not_a_chunk_id(text: str) -> None:
    """A text that is not a path of halves, or is deeper than any split can go, does not match."""
    assert not keys.CHUNK_ID.fullmatch(text)


@pytest.mark.parametrize("text", ["", "9f" * 11, "9f" * 13, "9F" * 12, "xy" * 12, "9f" * 12 + "\n", "٣" * 24])
def test_an_execution_hash_has_24_hex_digits(text: str) -> None:
    """A text of another length, case or alphabet does not match."""
    assert keys.EXECUTION_HASH.fullmatch("9f" * 12)
    assert not keys.EXECUTION_HASH.fullmatch(text)


def test_the_subject_of_a_dead_letter_is_redacted_for_the_log() -> None:
    """The channel stays, for operators; the id is removed, wherever in a text the subject occurs."""
    subject = keys.dead_letter_subject("ORI_PERSON_CHANNEL", "hy-hlo-123")
    assert keys.redact_entity_ids(subject) == "DEAD_LETTER.ORI_PERSON_CHANNEL.…"
    redacted = keys.redact_entity_ids(f'nats: permissions violation for publish to "{subject}"')
    assert (redacted.endswith('CHANNEL.…"'), "123" in redacted) == (True, False)
    assert keys.redact_entity_ids("ORI_PERSON_CHANNEL") == "ORI_PERSON_CHANNEL"


@pytest.mark.parametrize(
    "other", ["", "DEAD_LETTER.>", "DEAD_LETTER.X.>", "DEAD_LETTER.X.*", "ORI_PERSON_CHANNEL", "DEAD_LETTER.X.a b"]
)
def test_a_pattern_is_not_the_subject_of_a_dead_letter(other: str) -> None:
    """The subject that an operator names is one dead letter's, never a pattern that matches several."""
    assert keys.is_dead_letter_subject(keys.dead_letter_subject("X", "an id, with.dots*"))
    assert not keys.is_dead_letter_subject(other)
