"""Send dead letters again, when an operator requests it: never an old version after a newer one.

It is fetched from SISU first, and sent only if it has not changed since the dead letter, as a batch of one through the
ledger like any other; the ordinal stays where it is. Otherwise its newer version is, or was, imported like any change:
the dead letter is obsolete, and deleted. That takes evidence, since it may be the only copy: SISU has to show the newer
version. A replica that lags behind shows none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from producer.batch.importer import BatchImporter
from producer.control.checkpoint import Checkpoint
from shared.broker.dead_letters import DeadLetterStore
from shared.model import keys
from shared.model.batch import Batch
from shared.model.errors import ServiceFailedError, SupersededError
from shared.model.messages import Entity, entity_id, entity_ordinal
from shared.model.records import RetryOutcome
from shared.model.services import Service
from shared.runtime.events import Event
from shared.sisu.client import SisuClient
from shared.store.ledger import Ledger
from shared.store.operator_requests import OperatorRequests

log = structlog.get_logger()


_MAX_PAGES = 100
"""In which a newer version is searched for, of FETCH_AMOUNT entities each."""

_OBSOLETE = "the entity has changed since; its newest version is imported like any change"
_NO_EVIDENCE = (
    "SISU shows neither this version nor a newer one: its response may come from a replica that lags behind, or SISU "
    "was restored from a backup. Retry it later"
)


@dataclass(frozen=True)
class RetryResult:
    """The outcome of one request, and the explanation for operators."""

    outcome: RetryOutcome
    explanation: str | None = None


@dataclass(frozen=True)
class _DeadLetterRef:
    id: str
    ordinal: int


class DeadLetterRetrier:
    """Processes the requests for retries."""

    def __init__(
        self,
        ledgers: Mapping[Service, Ledger],
        sisu: SisuClient,
        batch_importer: BatchImporter,
        dead_letters: DeadLetterStore,
        requests: OperatorRequests,
        checkpoint: Checkpoint,
    ) -> None:
        self._ledgers = {service.name: (service, ledger) for service, ledger in ledgers.items()}
        self._sisu = sisu
        self._batch_importer = batch_importer
        self._dead_letters = dead_letters
        self._requests = requests
        self._checkpoint = checkpoint

    async def process_requests(self) -> None:
        """Process the requests, one after another, until shutdown or a pause: the rest stays for later.

        Raises ShutdownRequested and ProcessError.
        """
        for subject, request in list(self._requests.retries.items()):
            if not self._checkpoint.is_open:
                return
            try:
                result = await self._retry(subject)
            except SupersededError:
                continue  # the request stays, for the producer that is the active one now
            except ServiceFailedError as error:
                result = RetryResult("not_retried", str(error))
            log.info(Event.DEAD_LETTER_RETRIED, outcome=result.outcome, reason=result.explanation)
            request.outcome, request.explanation = result.outcome, result.explanation
            await self._requests.record_retry_outcome(subject, request)

    async def _retry(self, subject: str) -> RetryResult:
        if not keys.is_dead_letter_subject(subject):
            return RetryResult("not_retried", "this is not the subject of a dead letter")
        stored = await self._dead_letters.get(subject)
        if stored is None:
            return RetryResult("not_found", "there is no such dead letter any more")
        dead_letter = stored.decode()
        if dead_letter is None:
            return RetryResult("not_retried", "it is not a dead letter of this importer")
        service, ledger = self._ledgers.get(dead_letter.service, (None, None))
        if service is None or ledger is None:
            return RetryResult("not_retried", f"{dead_letter.service} is not among the services of this producer")
        if not service.api.is_export or dead_letter.ordinal is None:
            return RetryResult(
                "not_retried", f"it has no ordinal to fetch from: `importer rewind {service.name}` imports everything"
            )
        reference = _DeadLetterRef(dead_letter.id, dead_letter.ordinal)
        with structlog.contextvars.bound_contextvars(service=service.name):
            result = await self._send(service, ledger, reference)
        if result.outcome in ("stored", "obsolete"):
            await self._dead_letters.delete(stored.sequence)
        return result

    async def _send(self, service: Service, ledger: Ledger, reference: _DeadLetterRef) -> RetryResult:
        """Import the entity again, if SISU still has it at this ordinal."""
        page = await self._checkpoint.run_interruptible(self._sisu.fetch(service, reference.ordinal - 1, limit=1))
        newest = page.entities[:1]
        if not newest or entity_ordinal(newest[0]) != reference.ordinal:
            return await self._search_newer(service, reference, page)
        if entity_id(newest[0]) != reference.id:
            return RetryResult(
                "not_retried", "SISU has another entity at the same ordinal: this one may not be its newest version"
            )
        ordinal = await ledger.ordinal()
        batch = Batch(service, ordinal, ordinal, has_more=False, entities=newest)
        result = await self._batch_importer.import_batch(batch, ledger)
        return RetryResult("rejected", "it was rejected again") if result.dead_letters else RetryResult("stored")

    async def _search_newer(self, service: Service, reference: _DeadLetterRef, page: Batch) -> RetryResult:
        """Return whether SISU shows that the entity has changed; `page` is what it has from this version on."""
        for _ in range(_MAX_PAGES):
            if any(_is_newer(entity, reference) for entity in page.entities):
                return RetryResult("obsolete", _OBSOLETE)
            if not page.has_more:
                break
            page = await self._checkpoint.run_interruptible(self._sisu.fetch(service, page.greatest_ordinal))
        return RetryResult("not_retried", _NO_EVIDENCE)


def _is_newer(entity: Entity, reference: _DeadLetterRef) -> bool:
    return entity_id(entity) == reference.id and (entity_ordinal(entity) or 0) > reference.ordinal
