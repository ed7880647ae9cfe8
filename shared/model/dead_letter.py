"""Dead letters: entities that were not delivered, each kept with the reason. Pure: made, encoded and decoded here.

A dead letter is personal data: it has the entity, and what the mankeli wrote about it.
"""

import base64
from datetime import datetime
from enum import StrEnum
from typing import Self

import msgspec
import orjson

from shared.model.messages import Entity, entity_id, entity_ordinal
from shared.model.records import Record, now

_SUMMARY_ERROR_MAX_CHARACTERS = 200
_NO_ENTITY = Entity(b"null")
_EMPTY_FIELDS = b',"entity":null,"entityBase64":null'


class DeadLetterReason(StrEnum):
    """Why an entity was not delivered."""

    REJECTED = "rejected"
    TOO_LARGE = "too large"
    UNREADABLE = "unreadable"
    """No strict JSON parser accepts it: a lone surrogate, NaN, invalid UTF-8, absurd nesting."""


class DeadLetter(Record, kw_only=True):
    """A dead letter as the stream keeps it; the message has the fields in this order, in camelCase."""

    service: str
    channel: str
    execution_hash: str = ""
    reason: str
    id: str
    """The entity's id, or its digest where it has none."""
    ordinal: int | None = None
    """Of the entity's last change; None where it does not say."""
    entity_bytes: int
    failed_at: datetime
    first_failed_at: datetime | None = None
    """None in one that an older version wrote."""
    count: int = 1
    """How often the entity failed."""
    error: str | None = None
    """What the mankeli wrote; None where no mankeli was asked."""
    entity: Entity = _NO_ENTITY
    """As SISU wrote it; null where it would not fit into a message, or is unreadable."""
    entity_base64: str | None = None
    """The bytes of an unreadable entity, which JSON cannot hold; None where they would not fit into a message."""

    @classmethod
    def of(
        cls,
        entity: Entity,
        *,
        service: str,
        channel: str,
        execution: str,
        reason: DeadLetterReason,
        error_text: str | None,
        earlier: Self | None,
    ) -> Self:
        """Make the dead letter of an entity that failed now; `earlier` is that of its last failure, if there is one."""
        failed_at = now()
        is_unreadable = reason is DeadLetterReason.UNREADABLE
        first_failed_at = (earlier.first_failed_at or earlier.failed_at) if earlier else failed_at
        return cls(
            service=service,
            channel=channel,
            execution_hash=execution,
            reason=reason,
            id=entity_id(entity),
            ordinal=entity_ordinal(entity),
            entity_bytes=len(entity),
            failed_at=failed_at,
            first_failed_at=first_failed_at,
            count=earlier.count + 1 if earlier else 1,
            error=error_text,
            entity=_NO_ENTITY if is_unreadable else entity,
            entity_base64=base64.b64encode(entity).decode() if is_unreadable else None,
        )

    def encode(self, max_bytes: int) -> bytes:
        """Encode it as a message of at most `max_bytes`.

        The error text is cut, and then the entity left out, where it would not fit.
        """
        head = {
            "service": self.service,
            "channel": self.channel,
            "executionHash": self.execution_hash,
            "reason": self.reason,
            "id": self.id,
            "ordinal": self.ordinal,
            "entityBytes": self.entity_bytes,
            "failedAt": self.failed_at.isoformat(timespec="milliseconds"),
            "firstFailedAt": self.first_failed_at and self.first_failed_at.isoformat(timespec="milliseconds"),
            "count": self.count,
            "error": self.error,
        }
        text, error_text = orjson.dumps(head), self.error
        # Measured, not computed: a control character takes six bytes in JSON.
        while error_text and len(text) + len(_EMPTY_FIELDS) > max_bytes:
            error_text = error_text[: len(error_text) // 2]
            text = orjson.dumps(head | {"error": error_text})
        if self.entity_base64 is not None:
            return text[:-1] + b',"entity":null' + self._base64_field(max_bytes - len(text)) + b"}"
        fits = len(text) + len(b',"entity":') + len(self.entity) <= max_bytes
        return text[:-1] + b',"entity":' + bytes(self.entity if fits else _NO_ENTITY) + b"}"

    def _base64_field(self, max_bytes: int) -> bytes:
        """Return the field after `"entity":null`: the bytes, or null where both would take more than `max_bytes`."""
        field = b',"entityBase64":"%s"' % (self.entity_base64 or "").encode()
        return field if len(b',"entity":null') + len(field) <= max_bytes else b',"entityBase64":null'

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Decode a message; None where it is not a dead letter of this importer."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None


class DeadLetterSummary(Record, kw_only=True):
    """A dead letter without the entity, for lists. Still personal data."""

    subject: str
    sequence: int
    service: str
    channel: str
    id: str
    reason: str
    failed_at: datetime
    first_failed_at: datetime | None
    count: int
    entity_bytes: int
    ordinal: int | None
    error: str | None
    """The beginning of what the mankeli wrote."""

    @classmethod
    def of(cls, dead_letter: DeadLetter, subject: str, sequence: int) -> Self:
        """Summarize a dead letter of the stream."""
        error = dead_letter.error
        if error and len(error) > _SUMMARY_ERROR_MAX_CHARACTERS:
            error = error[:_SUMMARY_ERROR_MAX_CHARACTERS] + "…"
        return cls(
            subject=subject,
            sequence=sequence,
            service=dead_letter.service,
            channel=dead_letter.channel,
            id=dead_letter.id,
            reason=dead_letter.reason,
            failed_at=dead_letter.failed_at,
            first_failed_at=dead_letter.first_failed_at,
            count=dead_letter.count,
            entity_bytes=dead_letter.entity_bytes,
            ordinal=dead_letter.ordinal,
            error=error,
        )


class DeadLetterPage(Record, kw_only=True):
    """The first dead letters, by subject, and how many there are."""

    total: int
    dead_letters: list[DeadLetterSummary]
