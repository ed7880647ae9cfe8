"""Parse feedback: bytes from any sender, turned into a validated value or rejected with a reason.

Pure. A reason is a label of a metric, so it says what is wrong and never what the message contained.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from shared.model import keys
from shared.model.errors import ImporterError

ERROR_TEXT_MAX_BYTES = 8 * 1024
_MAX_AMOUNT = 1_000_000_000


class InvalidFeedbackReason(StrEnum):
    """Why a message is not feedback: what it is not, or which of its fields is missing or wrong."""

    NOT_JSON = "not JSON"
    NOT_AN_OBJECT = "not an object"
    STATUS = "status"
    EXECUTION_HASH = "executionHash"
    CHUNK_ID = "chunkId"
    CHANNEL = "channel"
    AMOUNT = "amount"
    SUCCESS = "success"
    MISMATCH = "amount is not the chunk's size"


class InvalidFeedbackError(ImporterError):
    """The message is not feedback."""

    def __init__(self, reason: InvalidFeedbackReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Feedback:
    """A mankeli's report on one chunk."""

    execution: str
    chunk_id: str
    channel: str
    amount: int
    """Entities stored, as the mankeli reports."""
    error_text: str | None
    """None where the chunk was stored. May quote personal data: it goes into the ledger and nowhere else."""


def parse_feedback(data: bytes, channels: Collection[str]) -> Feedback:
    """Parse a message as feedback. Fields that the contract does not name are ignored.

    Raises InvalidFeedbackError.
    """
    fields = parse_object(data)
    status = fields.get("status")
    if status not in ("OK", "FAIL"):
        raise InvalidFeedbackError(InvalidFeedbackReason.STATUS)
    execution = fields.get("executionHash")
    if not isinstance(execution, str) or not keys.EXECUTION_HASH.fullmatch(execution):
        raise InvalidFeedbackError(InvalidFeedbackReason.EXECUTION_HASH)
    chunk_id = fields.get("chunkId")
    if not isinstance(chunk_id, str) or not keys.CHUNK_ID.fullmatch(chunk_id):
        raise InvalidFeedbackError(InvalidFeedbackReason.CHUNK_ID)
    channel = fields.get("channel")
    if not isinstance(channel, str) or channel not in channels:
        raise InvalidFeedbackError(InvalidFeedbackReason.CHANNEL)
    amount = fields.get("amount")
    # `type`, since isinstance takes True for an int.
    if type(amount) is not int or not 0 <= amount <= _MAX_AMOUNT or (status == "OK" and amount == 0):
        raise InvalidFeedbackError(InvalidFeedbackReason.AMOUNT)
    return Feedback(execution, chunk_id, channel, amount, None if status == "OK" else _error_text(fields.get("stack")))


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidFeedbackError."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidFeedbackError(InvalidFeedbackReason.NOT_JSON) from None
    if not isinstance(fields, dict):
        raise InvalidFeedbackError(InvalidFeedbackReason.NOT_AN_OBJECT)
    return fields


def _error_text(stack: object) -> str:
    if not isinstance(stack, str) or not stack:
        return "the mankeli gave no error text"
    encoded = stack.encode()
    if len(encoded) <= ERROR_TEXT_MAX_BYTES:
        return stack
    return encoded[:ERROR_TEXT_MAX_BYTES].decode(errors="ignore")
