"""The fields that MQTT packets are made of: types, reason codes, numbers, strings, properties.

Lives here: how a field is read and written, and the one error for bytes that are no MQTT. Not here: streams (wire.py),
the packets (packets.py), which of them may come when (session.py).
Sources: OASIS MQTT 3.1.1 and MQTT 5.0; [MQTT-x.y.z-n] names a statement of theirs."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from dcim.core.errors import Permanent
from dcim.core.ledger import Fault

V311: Final = 4
"""Protocol level of MQTT 3.1.1."""
V5: Final = 5
"""Protocol level of MQTT 5.0."""

PACKET_IDS: Final = 65_535
"""Packet identifiers run from 1 to this, so no more QoS 1 messages than this are ever under way on a connection."""


class PacketType(IntEnum):
    """Packet types: the upper four bits of the first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


FLAGS: Final = dict.fromkeys(PacketType, 0) | dict.fromkeys(
    (PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE), 2
)
"""The lower four bits of the first byte, which all types but PUBLISH have set for good."""


class Reason(IntEnum):
    """Reason codes of MQTT 5 that we send or act on. Others pass through as plain numbers."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC = 0x83
    UNSUPPORTED_VERSION = 0x84
    CLIENT_ID_NOT_VALID = 0x85
    BAD_USER_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    PACKET_ID_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    QOS_NOT_SUPPORTED = 0x9B
    SHARED_NOT_SUPPORTED = 0x9E
    WILDCARD_NOT_SUPPORTED = 0xA2


class Property(IntEnum):
    """Properties of MQTT 5."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_AVAILABLE = 0x28
    SUBSCRIPTION_ID_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


class ProtocolError(Permanent):
    """What came is no MQTT, or more than we take. The connection that it came on cannot go on; others can.

    reason: the code that MQTT 5 has for it. fault: how the ledger counts it.
    """

    def __init__(
        self, what: str, reason: Reason = Reason.MALFORMED_PACKET, fault: Fault = Fault.PROTOCOL_ERROR
    ) -> None:
        super().__init__(what)
        self.reason, self.fault = reason, fault


# --- properties: the form of each, and where it may stand ------------------------------------------------------------

_FLAG, _TWO, _FOUR, _VARINT, _STRING, _BINARY, _PAIR = range(7)
_P = Property
_FORM: dict[int, int] = {
    **dict.fromkeys((_P.PAYLOAD_FORMAT, _P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION), _FLAG),
    **dict.fromkeys((_P.MAXIMUM_QOS, _P.RETAIN_AVAILABLE, _P.WILDCARD_AVAILABLE, _P.SHARED_AVAILABLE), _FLAG),
    **dict.fromkeys((_P.SUBSCRIPTION_ID_AVAILABLE,), _FLAG),
    **dict.fromkeys((_P.SERVER_KEEP_ALIVE, _P.RECEIVE_MAXIMUM, _P.TOPIC_ALIAS_MAXIMUM, _P.TOPIC_ALIAS), _TWO),
    **dict.fromkeys((_P.MESSAGE_EXPIRY, _P.SESSION_EXPIRY, _P.WILL_DELAY, _P.MAXIMUM_PACKET_SIZE), _FOUR),
    **dict.fromkeys((_P.SUBSCRIPTION_ID,), _VARINT),
    **dict.fromkeys((_P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.ASSIGNED_CLIENT_ID, _P.AUTHENTICATION_METHOD), _STRING),
    **dict.fromkeys((_P.RESPONSE_INFORMATION, _P.SERVER_REFERENCE, _P.REASON_STRING), _STRING),
    **dict.fromkeys((_P.CORRELATION_DATA, _P.AUTHENTICATION_DATA), _BINARY),
    **dict.fromkeys((_P.USER_PROPERTY,), _PAIR),
}
_NEVER_ZERO = frozenset({_P.RECEIVE_MAXIMUM, _P.MAXIMUM_PACKET_SIZE, _P.SUBSCRIPTION_ID})

IN_WILL = frozenset(
    {_P.PAYLOAD_FORMAT, _P.MESSAGE_EXPIRY, _P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.CORRELATION_DATA, _P.WILL_DELAY}
) | {_P.USER_PROPERTY}
IN_PUBLISH_OF_CLIENT = IN_WILL - {_P.WILL_DELAY} | {_P.TOPIC_ALIAS}
IN_PUBLISH_OF_SERVER = IN_PUBLISH_OF_CLIENT | {_P.SUBSCRIPTION_ID}
IN_ANSWER = frozenset({_P.REASON_STRING, _P.USER_PROPERTY})
IN_SUBSCRIBE = frozenset({_P.SUBSCRIPTION_ID, _P.USER_PROPERTY})
IN_UNSUBSCRIBE = frozenset({_P.USER_PROPERTY})
IN_DISCONNECT = IN_ANSWER | {_P.SESSION_EXPIRY, _P.SERVER_REFERENCE}
_IN_BOTH = frozenset(
    {_P.SESSION_EXPIRY, _P.AUTHENTICATION_METHOD, _P.AUTHENTICATION_DATA, _P.RECEIVE_MAXIMUM, _P.TOPIC_ALIAS_MAXIMUM}
) | {_P.USER_PROPERTY, _P.MAXIMUM_PACKET_SIZE}
IN_CONNECT = _IN_BOTH | {_P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION}
IN_CONNACK = (
    _IN_BOTH
    | {_P.ASSIGNED_CLIENT_ID, _P.SERVER_KEEP_ALIVE, _P.RESPONSE_INFORMATION, _P.SERVER_REFERENCE, _P.REASON_STRING}
    | {_P.MAXIMUM_QOS, _P.RETAIN_AVAILABLE, _P.WILDCARD_AVAILABLE, _P.SUBSCRIPTION_ID_AVAILABLE, _P.SHARED_AVAILABLE}
)


def read_varint(data: bytes, at: int, end: int, *, minimal: bool = True) -> tuple[int, int] | None:
    """A variable byte integer and where it ends; None when it does not end before `end`.

    minimal: whether the shortest form is a must, as in MQTT 5 alone [MQTT-1.5.5-1]; some 3.1.1 devices always reserve
    four bytes. Raises ProtocolError.
    """
    value = 0
    for place in range(4):
        if at + place >= end:
            return None
        digit = data[at + place]
        value |= (digit & 127) << 7 * place
        if digit < 128:
            if minimal and place and not digit:
                raise ProtocolError("a length that is not in its shortest form")
            return value, at + place + 1
    raise ProtocolError("a length of more than four bytes")


class Fields:
    """Reads the fields of one packet in order, from `at` to `end`. A read beyond the end raises ProtocolError."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """So many bytes."""
        start = self.at
        if size > self.end - start:
            raise ProtocolError("a packet ends within one of its fields")
        self.at = start + size
        return self.data[start : self.at]

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """A variable byte integer."""
        head = read_varint(self.data, self.at, self.end)
        if head is None:
            raise ProtocolError("a packet ends within one of its fields")
        self.at = head[1]
        return head[0]

    def binary(self) -> bytes:
        """Data behind its length in two bytes."""
        return self.take(self.number(2))

    def text(self) -> str:
        """A string behind its length in two bytes: UTF-8 without U+0000, or ProtocolError."""
        return _text(self.binary())

    def packet_id(self) -> bytes:
        """A packet identifier as its two bytes; 0 is none."""
        packet_id = self.take(2)
        if packet_id == b"\0\0":
            raise ProtocolError("packet identifier 0", Reason.PROTOCOL_ERROR)
        return packet_id

    def done(self) -> bool:
        """Whether all is read."""
        return self.at == self.end

    def finish(self) -> None:
        """Raises ProtocolError where anything is left."""
        if self.at != self.end:
            raise ProtocolError(f"a packet has {self.end - self.at} bytes too many")

    def properties(self, allowed: frozenset[Property]) -> dict[Property, int | bytes]:
        """Every property that is there: numbers as they are, strings and data as bytes, user properties not at all.

        allowed: those that may stand in this packet, each once. Raises ProtocolError for any other.
        """
        size = self.varint()
        stop = self.at + size
        if stop > self.end:
            raise ProtocolError("a packet ends within its properties")
        outer, self.end = self.end, stop
        found: dict[Property, int | bytes] = {}
        while self.at < stop:
            code = self.data[self.at]
            self.at += 1
            form = _FORM.get(code)
            if form is None or code not in allowed:
                raise ProtocolError(f"property {code:#04x} does not belong here")
            if form == _PAIR:
                self.binary()
                self.binary()
                continue
            key = Property(code)
            if key in found and key != Property.SUBSCRIPTION_ID:
                raise ProtocolError(f"property {key.name} twice", Reason.PROTOCOL_ERROR)
            value = self._property(form)
            if (form == _FLAG and value not in {0, 1}) or (not value and key in _NEVER_ZERO):
                raise ProtocolError(f"property {key.name} is {value!r}", Reason.PROTOCOL_ERROR)
            found[key] = value
        self.end = outer
        return found

    def _property(self, form: int) -> int | bytes:
        if form == _TWO:
            return self.number(2)
        if form == _FOUR:
            return self.number(4)
        if form == _VARINT:
            return self.varint()
        return self.number(1) if form == _FLAG else self.binary()


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("a string that is no UTF-8") from error
    if "\0" in text:
        raise ProtocolError("U+0000 in a string")  # [MQTT-1.5.4-2]
    return text


def text_in(properties: dict[Property, int | bytes], key: Property) -> str | None:
    """A property that is a string, where it is there. Raises ProtocolError for one that is no UTF-8."""
    value = properties.get(key)
    return _text(value) if isinstance(value, bytes) else None


def number_in(properties: dict[Property, int | bytes], key: Property) -> int | None:
    """A property that is a number, where it is there."""
    value = properties.get(key)
    return value if isinstance(value, int) else None


def write_varint(value: int) -> bytes:
    """A variable byte integer in its shortest form."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def write_binary(data: bytes) -> bytes:
    """Data behind its length in two bytes. Raises ValueError when it does not fit."""
    if len(data) > 65_535:
        raise ValueError(f"{len(data):,} bytes do not fit into a field of MQTT, which holds 65,535")
    return len(data).to_bytes(2, "big") + data


def write_properties(properties: dict[Property, int | str | None]) -> bytes:
    """The properties that are not None, behind their length."""
    body = bytearray()
    for key, value in properties.items():
        if isinstance(value, str):
            body += bytes([key]) + write_binary(value.encode())
        elif value is not None:
            body += bytes([key]) + value.to_bytes({_FLAG: 1, _TWO: 2, _FOUR: 4}[_FORM[key]], "big")
    return write_varint(len(body)) + body
