"""Sending dead letters again, when an operator asks for it: never an old version after a newer one.

SISU is asked whether the entity still is as the letter has it. Only then it is sent, as a batch of one through the
ledger like any other; the ordinal stays where it is. Else its newer version comes, or came, by itself: the letter is
obsolete, and closed.
"""

from collections.abc import Mapping

import msgspec
import structlog

from producer.answers import Batch
from producer.batch import BatchImporter
from producer.control import Control
from producer.sisu import SisuClient
from shared import keys
from shared.broker import Broker
from shared.errors import ServiceFailedError, SupersededError
from shared.events import Event
from shared.ledger import Ledger
from shared.messages import entity_id, entity_ordinal
from shared.records import RetryOutcome
from shared.services import Service
from shared.stop import Stop

log = structlog.get_logger()

_Answer = tuple[RetryOutcome, str | None]
"""What came of a request, and why."""


class _Letter(msgspec.Struct):
    id: str
    service: str
    ordinal: int | None = None


class DeadLetterRetrier:
    """Works off the requests that `control` has."""

    def __init__(
        self,
        ledgers: Mapping[Service, Ledger],
        sisu: SisuClient,
        importer: BatchImporter,
        broker: Broker,
        control: Control,
        stop: Stop,
    ) -> None:
        self._ledgers = {service.name: (service, ledger) for service, ledger in ledgers.items()}
        self._sisu = sisu
        self._importer = importer
        self._broker = broker
        self._control = control
        self._stop = stop

    async def work_off(self) -> None:
        """Deal with the requests, one after another, until asked to stop or paused: the rest stays for later.

        Raises Stopped and ProcessError.
        """
        for subject, note in list(self._control.retries.items()):
            if self._stop.requested or self._control.pause:
                return
            outcome: RetryOutcome = "undecided"
            try:
                outcome, explanation = await self._retry(subject)
            except SupersededError:
                continue  # stays, for the producer that is the active one now
            except ServiceFailedError as error:
                explanation = str(error)
            log.info(Event.DEAD_LETTER_RETRIED, outcome=outcome, reason=explanation)
            note.outcome, note.explanation = outcome, explanation
            await self._control.answer_retry(subject, note)

    async def _retry(self, subject: str) -> _Answer:
        if not keys.is_dead_letter_subject(subject):
            return "undecided", "this is not the subject of a dead letter"
        stored = await self._broker.dead_letter(subject)
        if stored is None:
            return "gone", "there is no such dead letter any more"
        try:
            letter = msgspec.json.decode(stored.data, type=_Letter)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "undecided", "it is not a dead letter of this importer"
        service, ledger = self._ledgers.get(letter.service, (None, None))
        if service is None or ledger is None:
            return "undecided", f"{letter.service} is not among the services of this producer"
        if not service.api.is_export or letter.ordinal is None:
            return "undecided", f"it has no ordinal to ask SISU for: `importer rewind {service.name}` imports all anew"
        with structlog.contextvars.bound_contextvars(service=service.name):
            outcome, explanation = await self._send(service, ledger, letter.id, letter.ordinal)
        if outcome in ("stored", "obsolete"):
            await self._broker.close_dead_letter(stored.sequence)
        return outcome, explanation

    async def _send(self, service: Service, ledger: Ledger, letter_id: str, ordinal: int) -> _Answer:
        """Import the entity once more, if SISU still has it at this ordinal."""
        page = await self._stop.interrupt(self._sisu.fetch(service, ordinal - 1, limit=1))
        newest = page.entities[:1]
        if not newest or entity_ordinal(newest[0]) != ordinal:
            return "obsolete", "the entity has changed since; its newest version is imported like any change"
        if entity_id(newest[0]) != letter_id:
            return "undecided", "SISU has another entity at the same ordinal: this one may not be its newest version"
        stays = await ledger.ordinal()
        batch = Batch(service, stays, stays, has_more=False, entities=newest)
        imported = await self._importer.import_batch(batch, ledger)
        return ("rejected", "it was rejected again") if imported.dead_letters else ("stored", None)
