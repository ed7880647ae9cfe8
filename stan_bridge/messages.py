"""The messages on both sides, as pure functions: chunks of JetStream, pieces and reports of STAN, feedback.

Entities travel byte for byte, here as everywhere. Nothing of an entity, nor of an error text, is in an error here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import orjson

from shared.model import keys
from shared.model.errors import ImporterError

STACK_MAX_BYTES = 8 * 1024
"""The collector keeps no more of an error text."""

PIECE_SHARE = 0.9
"""Of the largest message of STAN that a piece may take: a worker that fails on it returns all of it, with a stack."""
STACK_ROOM_BYTES = 16 * 1024
_ENVELOPE_BYTES = 256


class InvalidReportReason(StrEnum):
    """Why a message from STAN is not a report on a piece of ours."""

    NOT_A_REPORT = "not a report"
    OTHER_EXECUTION = "another execution"
    UNKNOWN_PIECE = "no such piece"
    UNNAMED_FAILURE = "a failure that does not name its piece"


class InvalidReportError(ImporterError):
    """The message is not a report on a piece of ours."""

    def __init__(self, reason: InvalidReportReason) -> None:
        super().__init__(reason)
        self.reason = reason


class UnreadableChunkError(ImporterError):
    """The chunk cannot be parsed; `execution` and `chunk_id` are those of its headers."""


@dataclass(frozen=True)
class ReceivedChunk:
    """A chunk from JetStream."""

    execution: str
    chunk_id: str
    entities: Sequence[msgspec.Raw]
    """Empty where the body cannot be parsed."""


@dataclass(frozen=True)
class Report:
    """A worker's report."""

    wave: str
    channel: str
    is_stored: bool
    amount: int
    piece_name: str
    """Of a failure; empty where it names none."""
    stack: str


class _Chunk(msgspec.Struct):
    executionHash: str  # noqa: N815 - the contract's names
    chunkId: str  # noqa: N815
    entities: list[msgspec.Raw]


class _Report(msgspec.Struct):
    status: str
    executionHash: str  # noqa: N815
    channel: str
    amount: int
    piece: object = ""
    stack: object = ""


def parse_chunk(data: bytes, execution_header: str, chunk_header: str) -> ReceivedChunk:
    """Parse a chunk; of one that cannot be parsed, or is empty, return what its headers say."""
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return ReceivedChunk(execution_header, chunk_header, ())
    return ReceivedChunk(chunk.executionHash, chunk.chunkId, chunk.entities)


def attempt_of(message_id: str) -> int:
    """Return the attempt that a chunk's Nats-Msg-Id names; 1 where it names none."""
    attempt = message_id.rpartition(":")[2]
    return int(attempt) if attempt.isascii() and attempt.isdigit() else 1


def max_piece_bytes(max_data_bytes: int) -> int:
    """Return how many bytes of entities a piece may have, given the largest message of STAN."""
    return int(PIECE_SHARE * max_data_bytes) - STACK_ROOM_BYTES - _ENVELOPE_BYTES


def encode_piece(wave: str, chunk_id: str, name: str, entities: Sequence[msgspec.Raw]) -> bytes:
    """Encode a piece: a chunk as workers on STAN know it, whose hash is the wave; they ignore the other fields."""
    head = f'{{"executionHash":"{wave}","chunkId":"{chunk_id}","piece":"{name}","entities":['
    return head.encode() + b",".join(bytes(entity) for entity in entities) + b"]}"


def parse_report(data: bytes) -> Report:
    """Parse a report; the entities that a failure repeats are skipped. Raises InvalidReportError."""
    try:
        report = msgspec.json.decode(data, type=_Report)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        raise InvalidReportError(InvalidReportReason.NOT_A_REPORT) from None
    if report.status not in ("OK", "FAIL"):
        raise InvalidReportError(InvalidReportReason.NOT_A_REPORT)
    return Report(
        report.executionHash,
        report.channel,
        report.status == "OK",
        report.amount,
        report.piece if isinstance(report.piece, str) else "",
        report.stack if isinstance(report.stack, str) else "",
    )


def encode_feedback(execution: str, chunk_id: str, channel: str, amount: int, error_text: str | None = None) -> bytes:
    """Encode the feedback on a chunk: stored, or failed with an error text."""
    feedback: dict[str, object] = {
        "status": "OK" if error_text is None else "FAIL",
        "executionHash": execution,
        "chunkId": chunk_id,
        "channel": channel,
        "amount": amount if error_text is None else 0,
    }
    if error_text is not None:
        feedback["stack"] = error_text.encode(errors="replace")[:STACK_MAX_BYTES].decode(errors="ignore")
    return orjson.dumps(feedback)


def feedback_id(execution: str, chunk_id: str, attempt: int, status: str) -> str:
    """Return the Nats-Msg-Id of feedback: the broker drops a repetition, but not the report on another attempt."""
    return f"stan:{keys.message_id(execution, chunk_id, attempt)}:{status}"
