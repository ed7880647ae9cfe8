"""Dead letters: listing, reading and dropping them. Sending them again is the producer's work (`producer/retry.py`).

A whole letter has personal data; a summary has the entity's id, which is one too where entities are students.
"""

import base64
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.client import Client

from operating.queues import ask
from shared import keys
from shared.records import Record


class Letter(Record, kw_only=True):
    """What is known of a dead letter, without the entity and without the error text."""

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


async def subjects(client: Client, channel: str | None = None) -> list[str]:
    """The subjects of all dead letters, or of one channel's. Raises DependencyLostError, as all here."""
    answer = await ask(
        client, f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", subjects_filter=keys.dead_letter_subjects(channel)
    )
    return sorted((answer["state"].get("subjects") or {}) if answer else ())


async def list_letters(client: Client, channel: str | None = None, limit: int = 100) -> list[Letter]:
    """The first `limit` dead letters, by subject."""
    found = []
    for subject in (await subjects(client, channel))[:limit]:
        letter = await summary(client, subject)
        if letter:
            found.append(letter)
    return found


async def summary(client: Client, subject: str) -> Letter | None:
    """What is known of one dead letter; None where there is none."""
    message = await _message(client, subject)
    if message is None:
        return None
    try:
        letter = msgspec.json.decode(base64.b64decode(message["data"]), type=Letter)
    except msgspec.DecodeError:  # somebody else's message
        return None
    letter.subject, letter.sequence = subject, message["seq"]
    return letter


async def read_letter(client: Client, subject: str) -> bytes | None:
    """The whole letter, as JSON: personal data. None where there is none."""
    message = await _message(client, subject)
    return base64.b64decode(message["data"]) if message else None


async def drop_letter(client: Client, subject: str) -> bool:
    """Remove a dead letter, for good. Answers whether there was one. A pattern names none."""
    if not keys.is_dead_letter_subject(subject):
        return False
    message = await _message(client, subject)
    if message is None:
        return False
    answer = await ask(client, f"STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}", seq=message["seq"], no_erase=False)
    return answer is not None


async def _message(client: Client, subject: str) -> dict[str, Any] | None:
    answer = await ask(client, f"STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}", last_by_subj=subject)
    message: dict[str, Any] | None = answer["message"] if answer else None
    return message
