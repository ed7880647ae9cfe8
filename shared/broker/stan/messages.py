"""The messages of the STAN protocol, by their field numbers, and their encoding: proto3 of texts, bytes and varints.

Own code rather than `protobuf`: thirteen flat messages need no schema compiler at build time and no further dependency
at run time. The tests compare its bytes with those of `protobuf`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Self

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
_UINT64 = 2**64
_INT64 = 2**63
_MAX_FIELD_NUMBER = 2**29 - 1


class MalformedMessageError(ValueError):
    """The bytes are not a message of this kind."""


class StartPosition(IntEnum):
    """Where a new subscription starts. A durable one that exists continues where it was."""

    NEW_ONLY = 0
    LAST_RECEIVED = 1
    TIME_DELTA = 2
    SEQUENCE = 3
    FIRST = 4


def _field(number: int, default: object = "", *, signed: bool = False) -> Any:
    return field(default=default, metadata={"number": number, "signed": signed})


class StanMessage:
    """A message whose dataclass fields have their field numbers, in ascending order."""

    def encode(self) -> bytes:
        """Encode it; as in proto3, a field with its default value takes no bytes."""
        parts = bytearray()
        for number, name, kind, _ in _layout(type(self)):
            value = getattr(self, name)
            if not value:
                continue
            if kind in (str, bytes):
                data = value.encode() if kind is str else value
                parts += _varint(number << 3 | _BYTES) + _varint(len(data)) + data
            else:
                parts += _varint(number << 3 | _VARINT) + _varint(int(value) % _UINT64)
        return bytes(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode it; unknown fields are ignored. Raises MalformedMessageError."""
        layout = {number: (name, kind, signed) for number, name, kind, signed in _layout(cls)}
        values: dict[str, Any] = {}
        for number, raw in _read_fields(data):
            name, kind, signed = layout.get(number, ("", int, False))
            if not name:
                continue
            if isinstance(raw, bytes) is not (kind in (str, bytes)):
                raise MalformedMessageError(f"field {number} has the wrong type")
            values[name] = _convert(raw, kind, signed=signed)
        return cls(**values)


_Layout = tuple[tuple[int, str, type, bool], ...]
_layouts: dict[type, _Layout] = {}


def _layout(kind: type[StanMessage]) -> _Layout:
    """Return the number, name, type and signedness of each field."""
    if kind not in _layouts:
        _layouts[kind] = tuple(
            (each.metadata["number"], each.name, type(each.default), each.metadata["signed"])
            for each in fields(kind)  # type: ignore[arg-type]
        )
    return _layouts[kind]


def _convert(raw: bytes | int, kind: type, *, signed: bool) -> object:
    if isinstance(raw, bytes):
        try:
            return raw.decode() if kind is str else raw
        except UnicodeDecodeError:
            raise MalformedMessageError("a text is not UTF-8") from None
    if signed and raw >= _INT64:
        return raw - _UINT64
    return bool(raw) if kind is bool else raw


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            return value % _UINT64, position
    raise MalformedMessageError("a number has no end")


def _read_fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the number and the value of each field whose type the protocol uses; others are skipped."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise MalformedMessageError("a field number is out of range")
        if kind == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _read_varint(data, position)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise MalformedMessageError("a field has a type that proto3 does not have")
        if position + length > len(data):
            raise MalformedMessageError("a field has no end")
        if kind == _BYTES:
            yield number, data[position : position + length]
        position += length


# --- The session -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConnectRequest(StanMessage):
    """Ask for a session. The heartbeat inbox is where the server asks whether the client is alive."""

    client_id: str = _field(1)
    heartbeat_inbox: str = _field(2)
    protocol: int = _field(3, 0, signed=True)
    connection_id: bytes = _field(4, b"")
    ping_interval_seconds: int = _field(5, 0, signed=True)
    ping_max_out: int = _field(6, 0, signed=True)


@dataclass(frozen=True)
class ConnectResponse(StanMessage):
    """The subjects of a session, or an error."""

    publish_prefix: str = _field(1)
    subscribe_subject: str = _field(2)
    unsubscribe_subject: str = _field(3)
    close_subject: str = _field(4)
    error: str = _field(5)
    close_subscription_subject: str = _field(6)
    ping_subject: str = _field(7)
    ping_interval_seconds: int = _field(8, 0, signed=True)
    ping_max_out: int = _field(9, 0, signed=True)
    protocol: int = _field(10, 0, signed=True)
    public_key: str = _field(100)


@dataclass(frozen=True)
class Ping(StanMessage):
    """Ask whether the server still has the session."""

    connection_id: bytes = _field(1, b"")


@dataclass(frozen=True)
class PingResponse(StanMessage):
    """An empty response means that it has."""

    error: str = _field(1)


@dataclass(frozen=True)
class CloseRequest(StanMessage):
    """End a session."""

    client_id: str = _field(1)


@dataclass(frozen=True)
class CloseResponse(StanMessage):
    """The session has ended, or an error."""

    error: str = _field(1)


# --- Messages on channels --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublishRequest(StanMessage):
    """Publish on a channel. The `guid` identifies the confirmation, and deduplicates nothing."""

    client_id: str = _field(1)
    guid: str = _field(2)
    channel: str = _field(3)
    reply: str = _field(4)
    data: bytes = _field(5, b"")
    connection_id: bytes = _field(6, b"")
    sha256: bytes = _field(10, b"")


@dataclass(frozen=True)
class PublishResponse(StanMessage):
    """The message is stored, or an error."""

    guid: str = _field(1)
    error: str = _field(2)


@dataclass(frozen=True)
class Delivery(StanMessage):
    """A message of a channel, delivered to a subscription."""

    sequence: int = _field(1, 0)
    channel: str = _field(2)
    reply: str = _field(3)
    data: bytes = _field(4, b"")
    timestamp_ns: int = _field(5, 0, signed=True)
    redelivered: bool = _field(6, default=False)
    redelivery_count: int = _field(7, 0)
    crc32: int = _field(10, 0)


@dataclass(frozen=True)
class Acknowledgement(StanMessage):
    """A subscription has processed a message."""

    channel: str = _field(1)
    sequence: int = _field(2, 0)


# --- Subscriptions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubscribeRequest(StanMessage):
    """Subscribe to a channel."""

    client_id: str = _field(1)
    channel: str = _field(2)
    queue_group: str = _field(3)
    inbox: str = _field(4)
    max_in_flight: int = _field(5, 0, signed=True)
    ack_wait_seconds: int = _field(6, 0, signed=True)
    durable_name: str = _field(7)
    start_position: int = _field(10, 0, signed=True)
    start_sequence: int = _field(11, 0)
    start_time_delta_ns: int = _field(12, 0, signed=True)


@dataclass(frozen=True)
class SubscribeResponse(StanMessage):
    """Where acknowledgements go, or an error."""

    ack_inbox: str = _field(2)
    error: str = _field(3)


@dataclass(frozen=True)
class UnsubscribeRequest(StanMessage):
    """End a subscription: with its place (unsubscribe), or keeping the place of a durable one (close)."""

    client_id: str = _field(1)
    channel: str = _field(2)
    inbox: str = _field(3)
    durable_name: str = _field(4)
