"""The messages that the producer sends, as pure functions from values to bytes; dead letters are in `dead_letter.py`.

Entities travel byte for byte as SISU wrote them, so a chunk is put together from slices of SISU's own response and
never from parsed objects. What mankelis send is parsed in `ack_collector/feedback.py`.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import orjson

from shared.model import keys

Entity = msgspec.Raw
"""One entity: its JSON text as SISU wrote it, UTF-8. `len` is its size in bytes."""

HEADERS_MAX_BYTES = 4096
"""Left free in a message for headers, which count towards the server's max_payload but not in nats-py's check."""

ENVELOPE_MAX_BYTES = 192
"""More than a chunk has around its entities: names, brackets, the hash and the longest chunkId."""

_ID_MAX_CHARACTERS = 1000

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What parsing a hostile entity can raise: it is JSON of a sort, but may be nested deeply or have invalid UTF-8."""


_MIN_ORDINAL, _MAX_ORDINAL = -(2**63), 2**63 - 1
"""What every reader of a dead letter can parse."""


class _Identity(msgspec.Struct):
    id: str | None = None


class _Metadata(msgspec.Struct):
    modificationOrdinal: int | None = None  # noqa: N815 - SISU's name


class _Versioned(msgspec.Struct):
    metadata: _Metadata | None = None


def encode_chunk(execution: str, chunk_id: str, entities: Sequence[Entity]) -> bytes:
    """Encode a chunk, which is never empty: ``{"executionHash": …, "chunkId": …, "entities": […]}``."""
    head = f'{{"executionHash":"{execution}","chunkId":"{chunk_id}","entities":['
    parts: list[bytes | Entity] = list(entities)
    # Joined once: what surrounds the entities is added to the first and the last of them before.
    parts[0] = head.encode() + bytes(parts[0])
    parts[-1] = bytes(parts[-1]) + b"]}"
    return b",".join(parts)


def chunk_headers(execution: str, chunk_id: str) -> dict[str, str]:
    """Return the headers by which a mankeli reports a chunk whose body it cannot parse, such as one with ``1e400``."""
    return {keys.EXECUTION_HEADER: execution, keys.CHUNK_HEADER: chunk_id}


def encode_post_update(run_id: str) -> bytes:
    """Encode the message that tells mankelis that a run is complete."""
    return orjson.dumps({"success": True, "runId": run_id})


def entity_id(entity: Entity) -> str:
    """Return the `id` of an entity; its digest where it has none that is a text of a sensible length."""
    try:
        identity = msgspec.json.decode(entity, type=_Identity).id
    except _UNREADABLE:
        identity = None
    if identity and len(identity) <= _ID_MAX_CHARACTERS:
        return identity
    return "sha256:" + sha256(entity).hexdigest()


def entity_ordinal(entity: Entity) -> int | None:
    """Return the ordinal of an entity's last change; None where it does not say, or where no 64 bits hold it."""
    try:
        metadata = msgspec.json.decode(entity, type=_Versioned).metadata
    except _UNREADABLE:
        return None
    ordinal = metadata.modificationOrdinal if metadata else None
    return ordinal if ordinal is not None and _MIN_ORDINAL <= ordinal <= _MAX_ORDINAL else None
