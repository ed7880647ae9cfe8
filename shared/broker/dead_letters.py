"""The stream of dead letters: read, list and delete. One message per subject, the newest failure of each entity.

The producer publishes them with `Broker.publish`, confirmed like a chunk. All of it is personal data.
"""

import base64
from dataclasses import dataclass
from typing import Any

from shared.broker.jetstream_api import JetStreamApi
from shared.model import keys
from shared.model.dead_letter import DeadLetter, DeadLetterPage, DeadLetterSummary


@dataclass(frozen=True)
class StoredDeadLetter:
    """A message of the stream."""

    subject: str
    sequence: int
    data: bytes
    """As JSON, with the entity."""

    def decode(self) -> DeadLetter | None:
        """Decode it; None where it is not a dead letter of this importer."""
        return DeadLetter.decode(self.data)


class DeadLetterStore:
    """The dead letters on one connection. All methods raise DependencyLostError; none accepts a wildcard."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api

    async def get(self, subject: str) -> StoredDeadLetter | None:
        """Return the dead letter on `subject`; None where there is none."""
        if not keys.is_dead_letter_subject(subject):
            return None
        reply = await self._api.request(f"STREAM.MSG.GET.{keys.DEAD_LETTER_STREAM}", last_by_subj=subject)
        if reply is None:
            return None
        message: dict[str, Any] = reply["message"]
        return StoredDeadLetter(subject, message["seq"], base64.b64decode(message.get("data") or ""))

    async def delete(self, sequence: int) -> bool:
        """Delete a dead letter for good, unless a newer failure has replaced it. Return whether it was there."""
        reply = await self._api.request(f"STREAM.MSG.DELETE.{keys.DEAD_LETTER_STREAM}", seq=sequence, no_erase=False)
        return reply is not None

    async def delete_subject(self, subject: str) -> bool:
        """Delete the dead letter on `subject` for good. Return whether there was one."""
        stored = await self.get(subject)
        return stored is not None and await self.delete(stored.sequence)

    async def subjects(self, channel: str | None = None) -> list[str]:
        """Return the subjects of all dead letters, or of one channel's, sorted."""
        reply = await self._api.request(
            f"STREAM.INFO.{keys.DEAD_LETTER_STREAM}", subjects_filter=keys.dead_letter_subjects(channel)
        )
        return sorted((reply["state"].get("subjects") or {}) if reply else ())

    async def page(self, channel: str | None = None, limit: int = 100) -> DeadLetterPage:
        """Return the first `limit` dead letters, without their entities."""
        subjects = await self.subjects(channel)
        summaries = [await self.get_summary(subject) for subject in subjects[:limit]]
        return DeadLetterPage(total=len(subjects), dead_letters=[summary for summary in summaries if summary])

    async def get_summary(self, subject: str) -> DeadLetterSummary | None:
        """Return one dead letter without its entity; None where there is none."""
        stored = await self.get(subject)
        dead_letter = stored.decode() if stored else None
        return DeadLetterSummary.of(dead_letter, subject, stored.sequence) if stored and dead_letter else None
