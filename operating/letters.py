"""Dead letters: listing, reading and dropping them. Sending them again is the producer's work (`producer/retry.py`).

All of it is personal data: a letter has the entity, a summary its id and what the mankeli said of it.
"""

import base64
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.client import Client

from operating.queues import ask
from shared import keys
from shared.records import Record

_ERROR_MAX_CHARACTERS = 200


class Letter(Record, kw_only=True):
    """What is known of a dead letter, without the entity."""

    subject: str = ""
    sequence: int = 0
    service: str
    channel: str
    id: str
    reason: str
    failed_at: datetime
    first_failed_at: datetime | None = None
    """None in a letter of an older version."""
    count: int = 1
    """How often the entity failed."""
    entity_bytes: int
    ordinal: int | None = None
    error: str | None = None
    """The beginning of what the mankeli said; the whole letter has all of it. None where none was asked."""


class Letters(Record, kw_only=True):
    """The first dead letters, by subject, and how many there are in all."""

    total: int
    letters: list[Letter]


async def subjects(client: Client, channel: str | None = None) -> list[str]:
    """The subjects of all dead letters, or of one channel's. Raises DependencyLostError, as all here."""
    answer = await ask(
        client, f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", subjects_filter=keys.dead_letter_subjects(channel)
    )
    return sorted((answer["state"].get("subjects") or {}) if answer else ())


async def list_letters(client: Client, channel: str | None = None, limit: int = 100) -> Letters:
    """The first `limit` dead letters."""
    known = await subjects(client, channel)
    found = [await summary(client, subject) for subject in known[:limit]]
    return Letters(total=len(known), letters=[letter for letter in found if letter])


async def summary(client: Client, subject: str) -> Letter | None:
    """What is known of one dead letter; None where there is none. A pattern names none."""
    message = await _message(client, subject)
    if message is None:
        return None
    try:
        letter = msgspec.json.decode(base64.b64decode(message["data"]), type=Letter)
    except (msgspec.DecodeError, UnicodeDecodeError):  # somebody else's message
        return None
    letter.subject, letter.sequence = subject, message["seq"]
    if letter.error and len(letter.error) > _ERROR_MAX_CHARACTERS:
        letter.error = letter.error[:_ERROR_MAX_CHARACTERS] + "…"
    return letter


async def read_letter(client: Client, subject: str) -> bytes | None:
    """The whole letter, as JSON: personal data. None where there is none. A pattern names none."""
    message = await _message(client, subject)
    return base64.b64decode(message["data"]) if message else None


async def drop_letter(client: Client, subject: str) -> bool:
    """Remove a dead letter, for good. Answers whether there was one. A pattern names none."""
    message = await _message(client, subject)
    if message is None:
        return False
    answer = await ask(client, f"STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}", seq=message["seq"], no_erase=False)
    return answer is not None


async def _message(client: Client, subject: str) -> dict[str, Any] | None:
    """The message on the subject of one dead letter; None where there is none, or it is no such subject."""
    if not keys.is_dead_letter_subject(subject):
        return None
    answer = await ask(client, f"STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}", last_by_subj=subject)
    message: dict[str, Any] | None = answer["message"] if answer else None
    return message
