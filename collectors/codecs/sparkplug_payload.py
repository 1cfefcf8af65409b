"""Sparkplug B payloads: the protobuf messages, as far as we read them, and numbers out of their values.

The fields and their numbers are those of the Eclipse Sparkplug specification 3.0. The descriptors are made here, in
code. What we never look into (data sets, templates, files) is declared as bytes, so that it is skipped and not built;
so are texts, which are decoded where they are looked at.

Lives here: the shape of a payload, its datatypes, and the one translation of the protobuf library's errors. Not here:
what a message means in a node's life (sparkplug.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal, Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from collectors.codecs.bounds import Bounds
from collectors.codecs.payload import NUMBER_MAX, Refused, text
from dcim.core.ledger import RejectReason

Value = Literal[
    "int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value", "bytes_value",
    "dataset_value", "template_value", "extension_value",
]  # fmt: skip


class PropertyValue(Protocol):
    """A property of a metric: its unit, its quality."""

    is_null: bool
    int_value: int
    string_value: bytes

    def HasField(self, name: str) -> bool:  # noqa: N802  the library's name
        """Whether an optional field, or one of a choice, is there."""
        ...


class PropertySet(Protocol):
    """Properties by name, as two lists of one length."""

    keys: Sequence[bytes]
    values: Sequence[PropertyValue]


class Metric(Protocol):
    """A metric: its definition in a birth certificate, its value in data."""

    name: bytes
    alias: int
    timestamp: int
    datatype: int
    is_historical: bool
    is_null: bool
    properties: PropertySet
    boolean_value: bool

    def HasField(self, name: str) -> bool:  # noqa: N802
        """Whether an optional field is there."""
        ...

    def WhichOneof(self, name: str) -> Value | None:  # noqa: N802
        """Which of the choice's fields is there."""
        ...


class Payload(Protocol):
    """A message, NDEATH included."""

    timestamp: int
    metrics: Sequence[Metric]
    seq: int

    def HasField(self, name: str) -> bool:  # noqa: N802
        """Whether an optional field is there."""
        ...


class DataType(IntEnum):
    """Datatypes that have a number for a value. Texts, files, tables, templates and arrays have other codes."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    DATE_TIME = 13


CODES = range(1, 35)
"""Datatypes that the specification knows, numeric or not."""
_BITS = {
    DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64,
    DataType.UINT8: 8, DataType.UINT16: 16, DataType.UINT32: 32, DataType.UINT64: 64, DataType.DATE_TIME: 64,
}  # fmt: skip
_SIGNED = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64})
_INTEGERS = {"int_value": 32, "long_value": 64}
"""Field → bits that it holds."""
_REALS = frozenset({"float_value", "double_value"})

_VALUE = (
    ("int_value", 10, "UINT32"), ("long_value", 11, "UINT64"), ("float_value", 12, "FLOAT"),
    ("double_value", 13, "DOUBLE"), ("boolean_value", 14, "BOOL"), ("string_value", 15, "BYTES"),
    ("bytes_value", 16, "BYTES"), ("dataset_value", 17, "BYTES"), ("template_value", 18, "BYTES"),
    ("extension_value", 19, "BYTES"),
)  # fmt: skip
_PROPERTY = (
    ("int_value", 3, "UINT32"), ("long_value", 4, "UINT64"), ("float_value", 5, "FLOAT"),
    ("double_value", 6, "DOUBLE"), ("boolean_value", 7, "BOOL"), ("string_value", 8, "BYTES"),
    ("propertyset_value", 9, "BYTES"), ("propertysets_value", 10, "BYTES"), ("extension_value", 11, "BYTES"),
)  # fmt: skip
_MESSAGES: dict[str, tuple[tuple[tuple[str, int, str], ...], tuple[tuple[str, int, str], ...]]] = {
    "PropertyValue": ((("type", 1, "UINT32"), ("is_null", 2, "BOOL")), _PROPERTY),
    "PropertySet": ((("keys", 1, "BYTES*"), ("values", 2, "PropertyValue*")), ()),
    "Metric": (
        (
            ("name", 1, "BYTES"), ("alias", 2, "UINT64"), ("timestamp", 3, "UINT64"), ("datatype", 4, "UINT32"),
            ("is_historical", 5, "BOOL"), ("is_transient", 6, "BOOL"), ("is_null", 7, "BOOL"),
            ("metadata", 8, "BYTES"), ("properties", 9, "PropertySet"),
        ),
        _VALUE,
    ),
    "Payload": (
        (
            ("timestamp", 1, "UINT64"), ("metrics", 2, "Metric*"), ("seq", 3, "UINT64"),
            ("uuid", 4, "BYTES"), ("body", 5, "BYTES"),
        ),
        (),
    ),
}  # fmt: skip
"""Message → its fields, and those of its choice `value`: (name, number, type); a star stands for any number of them."""
_PACKAGE = "dcim.sparkplug"


def _payload_class() -> Any:
    """The class of payloads, made of the table."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="dcim/sparkplug.proto", package=_PACKAGE, syntax="proto2")
    for message, (plain, choice) in _MESSAGES.items():
        made = file.message_type.add(name=message)
        if choice:
            made.oneof_decl.add(name="value")
        for name, number, kind in (*plain, *choice):
            into = made.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.endswith("*"):
                into.label = kinds.LABEL_REPEATED
            told = kind.rstrip("*")
            if told in _MESSAGES:
                into.type, into.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{told}"
            else:
                into.type = getattr(kinds, f"TYPE_{told}")
            if (name, number, kind) in choice:
                into.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


PAYLOAD = _payload_class()
"""The protobuf class: `PAYLOAD.FromString(bytes)`, `PAYLOAD(seq=1).SerializeToString()`."""


def read(payload: bytes, bounds: Bounds) -> Payload:
    """A payload. Raises Refused."""
    if len(payload) > bounds.payload_bytes_max:
        raise Refused(RejectReason.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes, and {bounds.payload_bytes_max} are taken")
    if not payload:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, "the payload is empty")
    try:
        told = cast("Payload", PAYLOAD.FromString(payload))
    except DecodeError as error:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, "not a Sparkplug B payload in protobuf") from error
    if len(told.metrics) > bounds.metrics_max:
        raise Refused(RejectReason.PAYLOAD_TOO_LARGE, f"{len(told.metrics)} metrics")
    return told


def word(raw: bytes, name: str, bounds: Bounds) -> str:
    """A text out of a payload. Raises Refused where it is no UTF-8, too long, or holds control characters."""
    try:
        decoded = bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, f"{name} is not UTF-8 at byte {error.start}") from error
    return text(decoded, name, bounds)


def datatype_of(code: int) -> DataType:
    """The datatype of a metric. Raises Refused for one without a number for a value, and for none at all."""
    try:
        return DataType(code)
    except ValueError as error:
        if code in CODES:
            raise Refused(RejectReason.NOT_NUMERIC, f"metrics of datatype {code} are no numbers") from error
        raise Refused(RejectReason.WRONG_TYPE, f"there is no datatype {code}") from error


def number_of(metric: Metric, datatype: DataType) -> float:
    """The value of a metric, true and false as 1 and 0; NaN where it is null. Raises Refused."""
    if metric.is_null:
        return math.nan
    choice = metric.WhichOneof("value")
    if choice is None:
        raise Refused(RejectReason.FIELD_MISSING, "there is no value, and it is not null either")
    if choice == "boolean_value" and datatype is DataType.BOOLEAN:
        return float(metric.boolean_value)
    if choice in _REALS and datatype in {DataType.FLOAT, DataType.DOUBLE}:
        value = float(getattr(metric, choice))
        if not abs(value) <= NUMBER_MAX and not math.isnan(value):
            raise Refused(RejectReason.NOT_FINITE, "the value is out of range")
        return value
    if choice in _INTEGERS and datatype in _BITS:
        return float(_integer(getattr(metric, choice), _INTEGERS[choice], datatype))
    raise Refused(RejectReason.WRONG_TYPE, f"{choice} is nothing that a metric of datatype {int(datatype)} has")


def _integer(told: int, held_bits: int, datatype: DataType) -> int:
    """What an unsigned field means. Senders extend a sign over the whole field, or over the datatype's bits alone."""
    bits = _BITS[datatype]
    if datatype in _SIGNED:
        for width in (bits, held_bits):
            if 1 << (width - 1) <= told < 1 << width:
                told -= 1 << width
                break
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    else:
        low, high = 0, (1 << bits) - 1
    if not low <= told <= high:
        raise Refused(RejectReason.WRONG_TYPE, f"{told} is no value of {bits} bits")
    return told


UNIT = "engUnit"
QUALITY = "Quality"
GOOD = 192
"""What a quality says that is good; 0 is bad and 500 is stale, and nothing else is known."""


def properties_of(metric: Metric, bounds: Bounds) -> tuple[str, bool]:
    """Unit ("" where none is told) and whether the value is good, out of a metric's properties. Raises Refused."""
    unit, good = "", True
    if metric.HasField("properties"):
        told = metric.properties
        if len(told.keys) != len(told.values):
            raise Refused(RejectReason.METADATA_CONTRADICTS, "there are not as many properties as there are names")
        for key, value in zip(told.keys, told.values, strict=True):
            if key == UNIT.encode() and value.HasField("string_value"):
                unit = word(value.string_value, UNIT, bounds)
            elif key == QUALITY.encode() and value.HasField("int_value"):
                good = value.int_value == GOOD
    return unit, good
