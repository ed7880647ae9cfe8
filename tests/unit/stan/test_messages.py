"""The encoding of the STAN messages: the bytes are those of protobuf."""

import dataclasses
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.stan import messages
from shared.broker.stan.messages import Delivery, MalformedMessageError, PublishRequest, StanMessage

KINDS = sorted(
    (kind for kind in vars(messages).values() if dataclasses.is_dataclass(kind)), key=lambda kind: kind.__name__
)
FIELD = descriptor_pb2.FieldDescriptorProto
INT32 = {"protocol", "ping_interval_seconds", "ping_max_out", "max_in_flight", "ack_wait_seconds", "start_position"}
UINT32 = {"redelivery_count", "crc32"}

PUBLISH_REQUEST = (
    "0a0c696d706f727465722d617069"  # 1: importer-api
    "120467756964"  # 2: guid
    "1a124f52495f504552534f4e5f4348414e4e454c"  # 3: ORI_PERSON_CHANNEL
    "2204696e2e78"  # 4: in.x
    "2a027b7d"  # 5: {}
    "320463696431"  # 6: cid1
)


def field_type(field: "dataclasses.Field[Any]") -> int:
    """Return the protobuf type of a field, as the table of the protocol has it."""
    if field.name in INT32:
        return int(FIELD.TYPE_INT32)
    if field.name in UINT32:
        return int(FIELD.TYPE_UINT32)
    if isinstance(field.default, bool):
        return int(FIELD.TYPE_BOOL)
    if isinstance(field.default, int):
        return int(FIELD.TYPE_INT64 if field.metadata["signed"] else FIELD.TYPE_UINT64)
    return int(FIELD.TYPE_STRING if isinstance(field.default, str) else FIELD.TYPE_BYTES)


def protobuf_classes() -> dict[str, Any]:
    """Return a class of protobuf for each message."""
    file = descriptor_pb2.FileDescriptorProto(name="stan.proto", package="stan", syntax="proto3")
    for kind in KINDS:
        message = file.message_type.add(name=kind.__name__)
        for field in dataclasses.fields(kind):
            message.field.add(
                name=field.name,
                number=field.metadata["number"],
                type=field_type(field),  # type: ignore[arg-type]
                label=FIELD.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        kind.__name__: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stan.{kind.__name__}"))
        for kind in KINDS
    }


PROTOBUF = protobuf_classes()


def values_of(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return random values for all fields of a message."""
    by_type = {
        FIELD.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FIELD.TYPE_UINT32: st.integers(0, 2**32 - 1),
        FIELD.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        FIELD.TYPE_UINT64: st.integers(0, 2**64 - 1),
        FIELD.TYPE_BOOL: st.booleans(),
        FIELD.TYPE_STRING: st.text(max_size=300),
        FIELD.TYPE_BYTES: st.binary(max_size=300),
    }
    return st.fixed_dictionaries({field.name: by_type[field_type(field)] for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_the_bytes_are_those_of_protobuf(kind: type[StanMessage], data: st.DataObject) -> None:
    """Every message encodes to protobuf's bytes, and decodes from them to what it was."""
    values = data.draw(values_of(kind))
    message = kind(**values)
    encoded = PROTOBUF[kind.__name__](**values).SerializeToString()
    assert message.encode() == encoded
    assert kind.decode(encoded) == message


def test_golden_bytes() -> None:
    """The bytes of a publish request, written down, do not change unnoticed."""
    request = PublishRequest("importer-api", "guid", "ORI_PERSON_CHANNEL", "in.x", b"{}", b"cid1")
    assert request.encode().hex() == PUBLISH_REQUEST


def test_unknown_fields_are_ignored() -> None:
    """A newer server may send more fields, of every type that proto3 has."""
    unknown = bytes.fromhex("f80107" + "f90101020304" + "05060708" + "fa010178" + "fd0101020304")
    assert Delivery.decode(unknown + Delivery(7, "C").encode()) == Delivery(7, "C")


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    """Bytes from the network raise nothing else."""
    for kind in KINDS:
        try:
            kind.decode(data)
        except MalformedMessageError:
            continue


@pytest.mark.parametrize(
    "data",
    ["08", "0a05", "0a0161ff", "0b", "08ffffffffffffffffffff01", "00", "1001", "0a01ff"],
)
def test_malformed_bytes(data: str) -> None:
    """What is cut off, has a wrong type or is no UTF-8 is malformed."""
    kind = messages.PublishResponse
    with pytest.raises(MalformedMessageError):
        kind.decode(bytes.fromhex(data))
