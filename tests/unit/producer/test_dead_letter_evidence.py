"""A dead letter is closed as obsolete only on evidence: it may be the only copy."""

from collections.abc import Coroutine, Sequence
from typing import Any, cast

import pytest

from producer.control.dead_letter_retrier import DeadLetterRetrier
from shared.broker.dead_letters import StoredDeadLetter
from shared.model.batch import Batch
from shared.model.dead_letter import DeadLetter, DeadLetterReason
from shared.model.messages import Entity
from shared.model.records import RetryRequest, now
from shared.model.services import Api, Service

PERSON = Service("PERSON", Api.ORI, "ORI_PERSON_CHANNEL", "PERSON", "/x")
SUBJECT = "DEAD_LETTER.ORI_PERSON_CHANNEL.a"
OURS = 50
"""The ordinal in Redis; the dead letter's is 5."""


def entity(name: str, ordinal: int) -> Entity:
    """Return an entity."""
    return Entity(b'{"id":"%s","metadata":{"modificationOrdinal":%d}}' % (name.encode(), ordinal))


def page(greatest: int, *entities: Entity, more: bool = False, behind: int | None = None) -> Batch:
    """Return what SISU responds."""
    return Batch(PERSON, 4, greatest, more, entities, behind=behind)


class Parts:
    """Everything around the retrier: SISU with these pages, one dead letter, and its outcome."""

    def __init__(self, pages: Sequence[Batch]) -> None:
        self.pages = list(pages)
        self.deleted: list[int] = []
        self.retries = {SUBJECT: RetryRequest(by="ada", at=now())}
        self.is_open = True

    async def fetch(self, *_: object, **__: object) -> Batch:
        return self.pages.pop(0)

    async def ordinal(self) -> int:
        return OURS

    async def get(self, subject: str) -> StoredDeadLetter:
        letter = DeadLetter.of(
            entity("a", 5),
            service="PERSON",
            channel="ORI_PERSON_CHANNEL",
            execution="e",
            reason=DeadLetterReason.REJECTED,
            error_text=None,
            earlier=None,
        )
        return StoredDeadLetter(subject, 7, letter.encode(100_000))

    async def delete(self, sequence: int) -> None:
        self.deleted.append(sequence)

    async def run_interruptible(self, work: Coroutine[None, None, Batch]) -> Batch:
        return await work

    async def record_retry_outcome(self, *_: object) -> None:
        """Keep nothing: the request itself is changed."""


@pytest.mark.parametrize(
    ("pages", "outcome"),
    [
        pytest.param([page(4)], "not_retried", id="a lagging replica: nothing after 4"),
        pytest.param([page(4, behind=3)], "not_retried", id="a SISU that was restored"),
        pytest.param([page(9, entity("b", 9))], "not_retried", id="another entity, and then nothing"),
        pytest.param([page(9, entity("a", 9), more=True)], "obsolete", id="a newer version"),
        pytest.param([page(9, entity("b", 9), more=True), page(20, entity("a", 20))], "obsolete", id="one further on"),
        pytest.param([page(OURS, entity("b", OURS))], "not_retried", id="all up to our ordinal, and it is not there"),
        pytest.param([page(9, entity("b", 9), more=True), page(9)], "not_retried", id="an end before our ordinal"),
        pytest.param([page(5, entity("b", 5))], "not_retried", id="another entity at its ordinal"),
    ],
)
async def test_what_counts_as_evidence(pages: list[Batch], outcome: str) -> None:
    """Only a newer version closes the dead letter; otherwise it stays, with an explanation."""
    parts = Parts(pages)
    any_part = cast("Any", parts)
    retrier = DeadLetterRetrier({PERSON: any_part}, any_part, any_part, any_part, any_part, any_part)
    await retrier.process_requests()
    request = parts.retries[SUBJECT]
    assert request.outcome == outcome
    assert request.explanation
    assert parts.deleted == ([7] if outcome == "obsolete" else [])
