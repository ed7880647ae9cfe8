"""What one run has done for one service so far, and how that is told in the end."""

import time
from dataclasses import dataclass, field

from producer.batch import Imported
from shared.records import Result, ServiceOutcome, now
from shared.services import Service


@dataclass
class ServiceTotals:
    """What a run has done for a service so far."""

    ordinal: int | None = None
    """None before it was read."""
    entities: int = 0
    chunks: int = 0
    batches: int = 0
    dead_letters: int = 0
    started_seconds: float = field(default_factory=time.monotonic)

    def add(self, imported: Imported, ordinal: int) -> None:
        """Count one batch whose ordinal has moved on."""
        self.ordinal = ordinal
        self.entities += imported.entities
        self.chunks += imported.chunks
        self.dead_letters += imported.dead_letters
        self.batches += 1

    def outcome(self, service: Service, result: Result, reason: str | None = None) -> ServiceOutcome:
        """How the service fared in the end."""
        return ServiceOutcome(
            service=service.name,
            result=result,
            reason=reason,
            ordinal=self.ordinal,
            entities=self.entities,
            batches=self.batches,
            chunks=self.chunks,
            dead_letters=self.dead_letters,
            seconds=round(time.monotonic() - self.started_seconds, 3),
            ended_at=now(),
        )
