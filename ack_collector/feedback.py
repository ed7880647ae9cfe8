"""Reading feedback: bytes from anybody, turned into a checked value or refused with a reason.

Pure. A reason is a label of a metric, so it says what is wrong and never what the message contained.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from shared import keys

ERROR_TEXT_MAX_BYTES = 8 * 1024
_MAX_AMOUNT = 1_000_000_000


class Refusal(StrEnum):
    """Why a message is no feedback: what it is not, or which of its fields is missing or wrong."""

    NOT_JSON = "not JSON"
    NOT_AN_OBJECT = "not an object"
    STATUS = "status"
    EXECUTION_HASH = "executionHash"
    CHUNK_ID = "chunkId"
    CHANNEL = "channel"
    AMOUNT = "amount"
    SUCCESS = "success"
    MISMATCH = "amount is not the chunk's size"


class FeedbackRefusedError(ValueError):
    """The message is not feedback."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Feedback:
    """A mankeli's report on one chunk."""

    execution: str
    chunk_id: str
    channel: str
    amount: int
    """Entities stored, as the mankeli says."""
    error_text: str | None
    """None where the chunk was stored. May quote personal data: it goes into the ledger and nowhere else."""


def parse_feedback(data: bytes, channels: Collection[str]) -> Feedback:
    """The feedback in `data`. Fields that the contract does not name are ignored.

    Raises FeedbackRefusedError.
    """
    fields = parse_object(data)
    status = fields.get("status")
    if status not in ("OK", "FAIL"):
        raise FeedbackRefusedError(Refusal.STATUS)
    execution = fields.get("executionHash")
    if not isinstance(execution, str) or not keys.EXECUTION_HASH.fullmatch(execution):
        raise FeedbackRefusedError(Refusal.EXECUTION_HASH)
    chunk_id = fields.get("chunkId")
    if not isinstance(chunk_id, str) or not keys.CHUNK_ID.fullmatch(chunk_id):
        raise FeedbackRefusedError(Refusal.CHUNK_ID)
    channel = fields.get("channel")
    if not isinstance(channel, str) or channel not in channels:
        raise FeedbackRefusedError(Refusal.CHANNEL)
    amount = fields.get("amount")
    # `type`, for True is an int to isinstance.
    if type(amount) is not int or not 0 <= amount <= _MAX_AMOUNT or (status == "OK" and amount == 0):
        raise FeedbackRefusedError(Refusal.AMOUNT)
    return Feedback(execution, chunk_id, channel, amount, None if status == "OK" else _error_text(fields.get("stack")))


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises FeedbackRefusedError."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise FeedbackRefusedError(Refusal.NOT_JSON) from None
    if not isinstance(fields, dict):
        raise FeedbackRefusedError(Refusal.NOT_AN_OBJECT)
    return fields


def _error_text(stack: object) -> str:
    if not isinstance(stack, str) or not stack:
        return "the mankeli gave no error text"
    encoded = stack.encode()
    if len(encoded) <= ERROR_TEXT_MAX_BYTES:
        return stack
    return encoded[:ERROR_TEXT_MAX_BYTES].decode(errors="ignore")
