"""The bridge: chunks from JetStream to STAN, reports from STAN to feedback, until it is stopped.

It guarantees: a chunk is reported as stored only after workers reported each of its pieces as stored, all of them in
one wave of the chunk's execution; it is acknowledged only after JetStream has confirmed that report. It keeps no state:
after a crash JetStream delivers again what was not acknowledged, and reports on pieces of an earlier process name none
of this one's. It never decides which execution is current: `start_wave` changes the hash only within the current one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex

import structlog
from msgspec import Raw

from shared.broker.chunk_subscription import ACK_WAIT_SECONDS, ChunkSubscription
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import Received
from shared.broker.stan.session import StanDelivery, StanSession
from shared.model import keys
from shared.model.errors import BrokerRejectedError
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop
from shared.runtime.tasks import run_concurrently, wait_for_event
from shared.store.current_execution import CurrentExecution
from stan_bridge.messages import (
    InvalidReportError,
    InvalidReportReason,
    Report,
    attempt_of,
    encode_feedback,
    encode_piece,
    feedback_id,
    max_piece_bytes,
    parse_chunk,
    parse_report,
)
from stan_bridge.report_log import ReportLog
from stan_bridge.waves import Chunk, Piece, Waves, execution_of

log = structlog.get_logger()

_IDLE_SECONDS = 1.0
_KEEP_SECONDS = ACK_WAIT_SECONDS / 3
_PUBLISHES_AT_ONCE = 16
_LAST_REPORTS_SECONDS = 8.0
"""How long a shutdown waits for the reports on what workers have in hand."""
_ANNOUNCEMENT_SECONDS = 0.02
"""Between the start of a wave and its first piece. Workers learn of the wave from Redis and of the piece from STAN, and
one whose event loop was busy meanwhile sees both at once, in any order: it would drop the piece without a report."""
_UNREADABLE = "the chunk cannot be parsed"


@dataclass
class _Held:
    """A chunk that is not acknowledged: its messages (a re-send adds one), and its entities."""

    channel: str
    entities: Sequence[Raw]
    messages: list[Received]
    attempt: int
    sent_at_seconds: float = 0.0
    feedback: bytes | None = None
    """Once it is settled."""


@dataclass
class _Execution:
    """What this process knows of the current execution."""

    waves: Waves
    held: dict[str, _Held] = field(default_factory=dict)
    """chunkId → a chunk that is not acknowledged."""
    settled: dict[str, bytes] = field(default_factory=dict)
    """chunkId → the feedback on it, for a re-send after feedback that the broker lost."""


class Bridge:
    """Bridges one execution at a time, as producers import."""

    def __init__(
        self,
        subscription: ChunkSubscription,
        broker: Broker,
        session: StanSession,
        current: CurrentExecution,
        stop: Stop,
    ) -> None:
        self._subscription = subscription
        self._broker = broker
        self._session = session
        self._current = current
        self._stop = stop
        self._max_piece_bytes = max_piece_bytes(session.max_data_bytes)
        self._arrived: deque[Received] = deque()
        self._changed = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._execution: _Execution | None = None
        self._reports: asyncio.Queue[tuple[_Execution, str]] = asyncio.Queue()
        self._log = ReportLog()
        self._sent_at_seconds: dict[Piece, float] = {}
        self.report_count = 0
        """Reports that named a piece, since the start."""
        self.waiting_since_seconds: float | None = None
        """Since when pieces are out and nothing was reported, by the monotonic clock; None where none is out."""

    @property
    def pieces_out(self) -> int:
        """How many pieces are with STAN or its workers."""
        return self._execution.waves.pieces_out if self._execution else 0

    async def run(self) -> None:
        """Bridge until shutdown, then wait a while for the last reports. Raises ProcessError."""
        work = [self._dispatch_repeatedly(), self._send_feedback_repeatedly(), self._keep_repeatedly()]
        async with self._stop.background(*work):
            while not self._stop.requested:
                self._arrived.extend(await self._subscription.receive(_IDLE_SECONDS))
                if self._arrived:
                    self._changed.set()
                self._log.flush()
            await self._wait_for_last_reports()
        await self._release()

    async def _wait_for_last_reports(self) -> None:
        deadline = time.monotonic() + _LAST_REPORTS_SECONDS
        while self._execution and self._execution.held and time.monotonic() < deadline:
            self._acknowledged.clear()
            await wait_for_event(self._acknowledged, deadline - time.monotonic())

    async def _release(self) -> None:
        """Give every chunk that is not settled to another stan_bridge."""
        self._log.flush(at_once=True)
        held = self._execution.held.values() if self._execution else ()
        for message in [*self._arrived, *(message for each in held for message in each.messages)]:
            await message.nak()

    # --- from JetStream to STAN --------------------------------------------------------------------------------------

    async def _dispatch_repeatedly(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.dispatch()

    async def dispatch(self) -> None:
        """Take what has arrived, start a wave if one is due, and send what finds a place in it."""
        while self._arrived:
            await self._take(self._arrived.popleft())
        execution = self._execution
        if execution is None:
            return
        if execution.waves.needs_wave and not await self._start_wave(execution):
            return
        pieces = execution.waves.place()
        rest = iter(pieces)

        async def send_next() -> None:
            for piece in rest:
                await self._send(execution, piece)

        await run_concurrently(send_next() for _ in range(min(len(pieces), _PUBLISHES_AT_ONCE)))

    async def _take(self, message: Received) -> None:
        """Take a chunk of the current execution; discard any other, as every mankeli does."""
        chunk = parse_chunk(message.data, message.header(keys.EXECUTION_HEADER), message.header(keys.CHUNK_HEADER))
        if self._execution is None or chunk.execution != self._execution.waves.execution:
            if execution_of(await self._current.read()) != chunk.execution:
                log.info(Event.STAN_CHUNKS_DISCARDED, channel=message.subject, execution=chunk.execution, chunks=1)
                await message.acknowledge()
                return
            await self._discard()
            self._execution = _Execution(Waves(chunk.execution, self._max_piece_bytes))
        execution, attempt = self._execution, attempt_of(message.message_id)
        if held := execution.held.get(chunk.chunk_id):
            self._take_again(execution, chunk.chunk_id, held, message, attempt)
        elif feedback := execution.settled.get(chunk.chunk_id):
            execution.held[chunk.chunk_id] = _Held(message.subject, (), [message], attempt, feedback=feedback)
            self._reports.put_nowait((execution, chunk.chunk_id))
        else:
            execution.held[chunk.chunk_id] = _Held(message.subject, chunk.entities, [message], attempt)
            self._add(execution, Chunk(message.subject, chunk.chunk_id, [len(each) for each in chunk.entities]))
        if attempt > execution.waves.attempt:
            # The core sends again what it believes to be lost, and has announced the execution without a wave.
            execution.waves.mark_broken()

    def _take_again(self, execution: _Execution, chunk_id: str, held: _Held, message: Received, attempt: int) -> None:
        """Take another message of a chunk that is here: a re-send of the core, or a redelivery."""
        is_redelivered = attempt <= held.attempt
        held.messages.append(message)
        held.attempt = max(held.attempt, attempt)
        was_kept = time.monotonic() - held.sent_at_seconds < ACK_WAIT_SECONDS
        if is_redelivered and not was_kept and execution.waves.has(chunk_id):
            execution.waves.mark_broken()

    def _add(self, execution: _Execution, chunk: Chunk) -> None:
        if chunk.size and execution.waves.can_fit(chunk):
            execution.waves.add(chunk)
            return
        limit = f"it is larger than the {self._max_piece_bytes} bytes that STAN takes"
        reason = limit if chunk.size else _UNREADABLE
        log.warning(Event.STAN_CHUNK_FAILED, channel=chunk.channel, chunk=chunk.chunk_id, reason=reason)
        self._settle(execution, chunk.chunk_id, reason)

    async def _start_wave(self, execution: _Execution) -> bool:
        """Start a wave; return False where the execution is no longer current, and discard what is left of it."""
        # A process that was paused may have been replaced meanwhile, and must not disturb the wave of its successor.
        await self._session.check()
        attempt = max((held.attempt for held in execution.held.values()), default=1)
        wave = execution.waves.start_wave(token_hex(4), attempt)
        if await self._current.start_wave(execution.waves.execution, wave) == "STALE":
            await self._discard()
            return False
        await asyncio.sleep(_ANNOUNCEMENT_SECONDS)
        metrics.STAN_WAVES.inc()
        log.debug(Event.STAN_WAVE_STARTED, execution=execution.waves.execution, wave=wave)
        return True

    async def _send(self, execution: _Execution, piece: Piece) -> None:
        held = execution.held.get(piece.chunk_id)
        if held is None or held.feedback or self._execution is not execution:
            return  # settled meanwhile, or not current any more
        payload = encode_piece(piece.wave, piece.chunk_id, piece.name, held.entities[piece.start : piece.stop])
        held.sent_at_seconds = self._sent_at_seconds[piece] = time.monotonic()
        if self.waiting_since_seconds is None:
            self.waiting_since_seconds = held.sent_at_seconds
        await self._session.publish(piece.channel, payload)
        metrics.STAN_PIECES.inc()

    async def _discard(self) -> None:
        """Discard all chunks of an execution that is no longer current."""
        execution, self._execution = self._execution, None
        self._sent_at_seconds.clear()
        self.waiting_since_seconds = None
        if execution is None or not execution.held:
            return
        channel = next(iter(execution.held.values())).channel
        log.info(
            Event.STAN_CHUNKS_DISCARDED,
            channel=channel,
            execution=execution.waves.execution,
            chunks=len(execution.held),
        )
        for held in execution.held.values():
            for message in held.messages:
                await message.acknowledge()

    async def _keep_repeatedly(self) -> None:
        """Keep JetStream from redelivering what STAN works on, and drop what is no longer of the current execution."""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            execution = self._execution
            if execution is None or not execution.held:
                continue
            if execution_of(await self._current.read()) != execution.waves.execution:
                if self._execution is execution:
                    await self._discard()
                continue
            for held in list(execution.held.values()):
                for message in held.messages:
                    await message.keep()

    # --- from STAN to JetStream --------------------------------------------------------------------------------------

    async def receive(self, delivery: StanDelivery) -> None:
        """Take a report from STAN. What it says is in memory only, so it is acknowledged at once."""
        await delivery.acknowledge()
        try:
            self.take_report(parse_report(delivery.data))
        except InvalidReportError as error:
            metrics.STAN_REPORTS.labels("unknown").inc()
            self._log.add(error.reason)

    def take_report(self, report: Report) -> None:
        """Note what a worker reports. Raises InvalidReportError where it names no piece of the current execution."""
        execution = self._execution
        if execution is None or execution_of(report.wave) != execution.waves.execution:
            raise InvalidReportError(InvalidReportReason.OTHER_EXECUTION)
        if not report.is_stored and not report.piece_name:
            raise InvalidReportError(InvalidReportReason.UNNAMED_FAILURE)
        waves = execution.waves
        piece = (
            waves.find(report.wave, report.channel, report.amount)
            if report.is_stored
            else waves.find_failed(report.wave, report.channel, report.piece_name)
        )
        if piece is None:
            raise InvalidReportError(InvalidReportReason.UNKNOWN_PIECE)
        effect = waves.store(piece) if report.is_stored else waves.fail(piece)
        self._note_report(effect, piece)
        if effect in ("stored", "failed"):
            error_text = None if report.is_stored else report.stack or "the worker gave no error text"
            self._settle(execution, piece.chunk_id, error_text)
        self._changed.set()

    def _note_report(self, effect: str, piece: Piece) -> None:
        now = time.monotonic()
        metrics.STAN_REPORTS.labels(effect).inc()
        self.report_count += 1
        self.waiting_since_seconds = now if self.pieces_out else None
        if (sent_at_seconds := self._sent_at_seconds.pop(piece, None)) is not None:
            metrics.STAN_WAIT_SECONDS.observe(now - sent_at_seconds)

    def _settle(self, execution: _Execution, chunk_id: str, error_text: str | None) -> None:
        held = execution.held[chunk_id]
        held.feedback = encode_feedback(
            execution.waves.execution, chunk_id, held.channel, len(held.entities), error_text
        )
        execution.settled[chunk_id] = held.feedback
        held.entities = ()
        self._reports.put_nowait((execution, chunk_id))

    async def _send_feedback_repeatedly(self) -> None:
        async def send_next() -> None:
            while True:
                await self._send_feedback(*await self._reports.get())

        await run_concurrently(send_next() for _ in range(_PUBLISHES_AT_ONCE))

    async def _send_feedback(self, execution: _Execution, chunk_id: str) -> None:
        """Report a chunk to the core, confirmed, and only then acknowledge it."""
        held = execution.held.get(chunk_id)
        if held is None or held.feedback is None:
            return
        status = "OK" if held.feedback.startswith(b'{"status":"OK"') else "FAIL"
        message_id = feedback_id(execution.waves.execution, chunk_id, held.attempt, status)
        try:
            await self._broker.publish(keys.FEEDBACK_STREAM, keys.FEEDBACK_SUBJECT, held.feedback, message_id)
        except BrokerRejectedError:  # logged by the broker; JetStream delivers the chunk again
            execution.held.pop(chunk_id, None)
            return
        if execution.held.pop(chunk_id, None):
            for message in held.messages:
                await message.acknowledge()
        self._acknowledged.set()
