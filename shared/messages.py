"""The messages that the producer sends, as pure functions from values to bytes.

Entities travel byte for byte as SISU wrote them, so a chunk is put together from slices of SISU's own answer and
never from parsed objects. What mankelis send is read in `ack_collector/feedback.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

import msgspec
import orjson

Entity = msgspec.Raw
"""One entity: its JSON text as SISU wrote it, UTF-8. `len` is its size in bytes."""

HEADERS_MAX_BYTES = 4096
"""Left free in a message for headers, which count towards the server's max_payload but not in nats-py's check."""

ENVELOPE_MAX_BYTES = 192
"""More than a chunk has around its entities: names, brackets, the hash and the longest chunkId."""


_ID_MAX_CHARACTERS = 1000


class DeadLetterReason(StrEnum):
    """Why an entity was not delivered."""

    REJECTED = "rejected"
    TOO_LARGE = "too large"


class _Identity(msgspec.Struct):
    id: str | None = None


class _Metadata(msgspec.Struct):
    modificationOrdinal: int | None = None  # noqa: N815 - SISU's name


class _EarlierLetter(msgspec.Struct):
    failedAt: str  # noqa: N815 - as below
    firstFailedAt: str | None = None  # noqa: N815
    count: int = 1


class _Versioned(msgspec.Struct):
    metadata: _Metadata | None = None


def encode_chunk(execution: str, chunk_id: str, entities: Sequence[Entity]) -> bytes:
    """The message of a chunk, which is never empty: ``{"executionHash": …, "chunkId": …, "entities": […]}``."""
    head = f'{{"executionHash":"{execution}","chunkId":"{chunk_id}","entities":['
    pieces: list[bytes | Entity] = list(entities)
    # Joined once: what is around the entities is put to the first and the last of them before.
    pieces[0] = head.encode() + bytes(pieces[0])
    pieces[-1] = bytes(pieces[-1]) + b"]}"
    return b",".join(pieces)


def encode_post_update(run_id: str) -> bytes:
    """The message that tells mankelis that everything of a run is stored."""
    return orjson.dumps({"success": True, "runId": run_id})


def entity_id(entity: Entity) -> str:
    """The `id` of an entity; its digest where it has none that is a text of a sensible length."""
    try:
        identity = msgspec.json.decode(entity, type=_Identity).id
    except (msgspec.DecodeError, RecursionError):
        identity = None
    if identity and len(identity) <= _ID_MAX_CHARACTERS:
        return identity
    return "sha256:" + sha256(entity).hexdigest()


def entity_ordinal(entity: Entity) -> int | None:
    """The ordinal of an entity's last change; None where it does not say."""
    try:
        metadata = msgspec.json.decode(entity, type=_Versioned).metadata
    except (msgspec.DecodeError, RecursionError):
        return None
    return metadata.modificationOrdinal if metadata else None


def encode_dead_letter(
    *,
    service: str,
    channel: str,
    execution: str,
    reason: DeadLetterReason,
    error_text: str | None,
    entity: Entity,
    earlier: bytes | None,
    max_bytes: int,
) -> bytes:
    """The message that keeps an entity which was not delivered, in at most `max_bytes`.

    ``{"service", "channel", "executionHash", "reason", "id", "ordinal", "entityBytes", "failedAt", "firstFailedAt",
    "count", "error", "entity"}``: `ordinal` is that of the entity's last change, or null; `error` is the mankeli's
    text, cut where it would not fit, or null; `entity` is the entity as SISU wrote it, or null where that would not
    fit. `earlier` is the letter of the entity's last failure, if there is one.
    """
    failed_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    first, count = _failures(earlier)
    head = {
        "service": service,
        "channel": channel,
        "executionHash": execution,
        "reason": reason,
        "id": entity_id(entity),
        "ordinal": entity_ordinal(entity),
        "entityBytes": len(entity),
        "failedAt": failed_at,
        "firstFailedAt": first or failed_at,
        "count": count + 1,
        "error": error_text,
    }
    text = orjson.dumps(head)
    while error_text and len(text) + len(b',"entity":null') > max_bytes:  # a control character has six bytes in JSON
        error_text = error_text[: len(error_text) // 2]
        text = orjson.dumps(head | {"error": error_text})
    body = bytes(entity) if len(text) + len(b',"entity":') + len(entity) <= max_bytes else b"null"
    return text[:-1] + b',"entity":' + body + b"}"


def _failures(earlier: bytes | None) -> tuple[str | None, int]:
    """When the entity of an earlier letter first failed, and how often it did."""
    if earlier is None:
        return None, 0
    try:
        letter = msgspec.json.decode(earlier, type=_EarlierLetter)
    except (msgspec.DecodeError, UnicodeDecodeError):  # somebody else's message
        return None, 0
    return letter.firstFailedAt or letter.failedAt, letter.count
