"""What one run has done for one service so far, and its outcome in the end."""

import time
from dataclasses import dataclass, field

from producer.batch.importer import BatchResult
from shared.model.records import Result, ServiceOutcome, now
from shared.model.services import Service


@dataclass
class ServiceTotals:
    """What a run has done for a service so far."""

    ordinal: int | None = None
    """None before it was read."""
    entities: int = 0
    chunks: int = 0
    batches: int = 0
    dead_letters: int = 0
    sisu_behind_at: int | None = None
    """SISU's greatest ordinal, if it is before ours."""
    started_seconds: float = field(default_factory=time.monotonic)

    def add(self, result: BatchResult, ordinal: int) -> None:
        """Add one batch whose ordinal has moved."""
        self.ordinal = ordinal
        self.entities += result.entities
        self.chunks += result.chunks
        self.dead_letters += result.dead_letters
        self.batches += 1

    def outcome(self, service: Service, result: Result, reason: str | None = None) -> ServiceOutcome:
        """Return the outcome of the service, as of now."""
        return ServiceOutcome(
            service=service.name,
            result=result,
            reason=reason,
            ordinal=self.ordinal,
            sisu_behind_at=self.sisu_behind_at,
            entities=self.entities,
            batches=self.batches,
            chunks=self.chunks,
            dead_letters=self.dead_letters,
            seconds=round(time.monotonic() - self.started_seconds, 3),
            ended_at=now(),
        )
