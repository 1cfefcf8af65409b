"""The packets of MQTT 3.1.1 and 5 beside PUBLISH: what they say, read and written.

Lives here: the layout of each. Not here: its frame in the stream (wire.py), fields and properties (fields.py), when it
may come and what follows (session.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collectors.mqtt.fields import (
    FLAGS,
    IN_ANSWER,
    IN_CONNACK,
    IN_CONNECT,
    IN_DISCONNECT,
    IN_SUBSCRIBE,
    IN_UNSUBSCRIBE,
    IN_WILL,
    PACKET_IDS,
    V5,
    Fields,
    PacketType,
    Property,
    ProtocolError,
    Reason,
    number_in,
    text_in,
    write_binary,
    write_properties,
    write_varint,
)
from collectors.mqtt.wire import check_topic
from dcim.core.ports import Message


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT: how a client introduces itself."""

    version: int
    client_id: str
    clean: bool = False
    keep_alive_s: int = 0
    user: str | None = None
    password: bytes | None = None
    will: Message | None = None
    """Published by the server when the client goes without saying so."""
    session_expiry_s: int = 0
    """MQTT 5: how long the session outlives the connection."""
    receive_max: int = PACKET_IDS
    """MQTT 5: QoS 1 messages that may be under way to the client."""
    packet_bytes_max: int | None = None
    """MQTT 5: the largest packet that the client takes."""
    authentication_method: str | None = None


def read_version(body: bytes) -> int:
    """Protocol level of a CONNECT: 4 is 3.1.1, 5 is 5. Others are answered too, so they are no error here.

    Raises ProtocolError for anything that is no MQTT at all.
    """
    fields = Fields(body)
    name = fields.binary()
    if name not in {b"MQTT", b"MQIsdp"}:
        raise ProtocolError("CONNECT speaks of another protocol than MQTT", Reason.UNSUPPORTED_VERSION)
    level = fields.number(1)
    return level if name == b"MQTT" else 3


def read_connect(body: bytes) -> Connect:
    """Reads a CONNECT of 3.1.1 or 5, which `read_version` tells first. Raises ProtocolError."""
    fields = Fields(body)
    fields.binary()
    version, flags, keep_alive_s = fields.number(1), fields.number(1), fields.number(2)
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 3, bool(flags & 0x20)
    has_user, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if flags & 1 or will_qos == 3 or (not has_will and (will_qos or will_retain)):
        raise ProtocolError(f"CONNECT has impossible flags {flags:#04x}")
    if version != V5 and has_password and not has_user:
        raise ProtocolError("CONNECT has a password without a user")  # [MQTT-3.1.2-22] of 3.1.1
    properties = fields.properties(IN_CONNECT) if version == V5 else {}
    client_id = fields.text()
    will = None
    if has_will:
        if version == V5:
            fields.properties(IN_WILL)
        will_topic, will_payload = fields.text().encode(), fields.binary()
        check_topic(will_topic)
        will = Message(will_topic, will_payload, will_qos, will_retain)
    user = fields.text() if has_user else None
    password = fields.binary() if has_password else None
    fields.finish()
    return Connect(
        version=version,
        client_id=client_id,
        clean=bool(flags & 2),
        keep_alive_s=keep_alive_s,
        user=user,
        password=password,
        will=will,
        session_expiry_s=number_in(properties, Property.SESSION_EXPIRY) or 0,
        receive_max=number_in(properties, Property.RECEIVE_MAXIMUM) or PACKET_IDS,
        packet_bytes_max=number_in(properties, Property.MAXIMUM_PACKET_SIZE),
        authentication_method=text_in(properties, Property.AUTHENTICATION_METHOD),
    )


@dataclass(frozen=True, slots=True)
class Connack:
    """CONNACK: whether the server takes the client, and on which terms; None is what it does not say."""

    code: int
    """0 is yes. Anything else is 3.1.1's code or 5's, whichever was spoken."""
    session_present: bool = False
    session_expiry_s: int | None = None
    server_keep_alive_s: int | None = None
    assigned_client_id: str | None = None
    receive_max: int | None = None
    maximum_qos: int | None = None
    packet_bytes_max: int | None = None
    topic_alias_max: int | None = None
    reason_string: str | None = None


def read_connack(body: bytes, version: int) -> Connack:
    """Reads a CONNACK. Raises ProtocolError."""
    fields = Fields(body)
    flags, code = fields.number(1), fields.number(1)
    if flags & ~1 or (flags and code):
        raise ProtocolError("CONNACK has impossible flags")
    properties = fields.properties(IN_CONNACK) if version == V5 else {}
    fields.finish()
    return Connack(
        code=code,
        session_present=bool(flags),
        session_expiry_s=number_in(properties, Property.SESSION_EXPIRY),
        server_keep_alive_s=number_in(properties, Property.SERVER_KEEP_ALIVE),
        assigned_client_id=text_in(properties, Property.ASSIGNED_CLIENT_ID),
        receive_max=number_in(properties, Property.RECEIVE_MAXIMUM),
        maximum_qos=number_in(properties, Property.MAXIMUM_QOS),
        packet_bytes_max=number_in(properties, Property.MAXIMUM_PACKET_SIZE),
        topic_alias_max=number_in(properties, Property.TOPIC_ALIAS_MAXIMUM),
        reason_string=text_in(properties, Property.REASON_STRING),
    )


def read_subscribe(body: bytes, version: int) -> tuple[bytes, list[tuple[str, int]]]:
    """Packet identifier, and each filter with its options byte. Raises ProtocolError."""
    fields = Fields(body)
    packet_id = fields.packet_id()
    if version == V5:
        fields.properties(IN_SUBSCRIBE)
    filters: list[tuple[str, int]] = []
    while not fields.done() or not filters:
        topic_filter, options = fields.text(), fields.number(1)
        if options & 3 == 3 or options & (0xC0 if version == V5 else 0xFC) or options >> 4 & 3 == 3:
            raise ProtocolError(f"SUBSCRIBE has impossible options {options:#04x}")
        filters.append((topic_filter, options))
    return packet_id, filters


def read_suback(body: bytes, version: int) -> tuple[bytes, bytes]:
    """Packet identifier, and for each filter the QoS that is granted, or 0x80 and above. Raises ProtocolError."""
    fields = Fields(body)
    packet_id = fields.packet_id()
    if version == V5:
        fields.properties(IN_ANSWER)
    codes = fields.take(fields.end - fields.at)
    if any(2 < code < 0x80 for code in codes):
        raise ProtocolError("SUBACK has an impossible code")
    return packet_id, codes


def read_unsubscribe(body: bytes, version: int) -> tuple[bytes, list[str]]:
    """Packet identifier and filters. Raises ProtocolError."""
    fields = Fields(body)
    packet_id = fields.packet_id()
    if version == V5:
        fields.properties(IN_UNSUBSCRIBE)
    filters: list[str] = []
    while not fields.done() or not filters:
        filters.append(fields.text())
    return packet_id, filters


def read_answer(body: bytes, version: int) -> tuple[bytes, int]:
    """Packet identifier and reason of PUBACK, PUBREC, PUBREL or PUBCOMP. Raises ProtocolError."""
    fields = Fields(body)
    packet_id = fields.packet_id()
    reason = 0
    if version == V5 and not fields.done():
        reason = fields.number(1)
        if not fields.done():
            fields.properties(IN_ANSWER)
    fields.finish()
    return packet_id, reason


def read_disconnect(body: bytes, version: int) -> tuple[int, str | None]:
    """Reason and reason string. Raises ProtocolError."""
    fields = Fields(body)
    reason, properties = 0, dict[Property, int | bytes]()
    if version == V5 and not fields.done():
        reason = fields.number(1)
        if not fields.done():
            properties = fields.properties(IN_DISCONNECT)
    fields.finish()
    return reason, text_in(properties, Property.REASON_STRING)


def read_empty(body: bytes) -> None:
    """PINGREQ and PINGRESP hold nothing. Raises ProtocolError where they do."""
    Fields(body).finish()


# --- writing ---------------------------------------------------------------------------------------------------------

PINGREQ: Final = bytes([PacketType.PINGREQ << 4, 0])
PINGRESP: Final = bytes([PacketType.PINGRESP << 4, 0])


def write_answer(kind: PacketType, packet_id: bytes, version: int, reason: Reason = Reason.SUCCESS) -> bytes:
    """PUBREL or PUBCOMP; 3.1.1 has no reasons."""
    flags = FLAGS[kind]
    body = packet_id + bytes([reason]) if version == V5 and reason else packet_id
    return bytes([kind << 4 | flags, len(body)]) + body


def write_connect(connect: Connect) -> bytes:
    """CONNECT. Raises ValueError for a string or a will of more than 65 535 bytes."""
    will = connect.will
    flags = (
        (0x02 if connect.clean else 0)
        | (0x04 | will.qos << 3 | (0x20 if will.retain else 0) if will else 0)
        | (0x80 if connect.user is not None else 0)
        | (0x40 if connect.password is not None else 0)
    )
    body = [write_binary(b"MQTT"), bytes([connect.version, flags]), connect.keep_alive_s.to_bytes(2, "big")]
    if connect.version == V5:
        properties: dict[Property, int | str | None] = {
            Property.SESSION_EXPIRY: connect.session_expiry_s,
            # Always said, though the default is the same: a broker may hold a client that is silent on it to fewer.
            Property.RECEIVE_MAXIMUM: connect.receive_max,
            Property.MAXIMUM_PACKET_SIZE: connect.packet_bytes_max,
            Property.AUTHENTICATION_METHOD: connect.authentication_method,
        }
        body.append(write_properties(properties))
    body.append(write_binary(connect.client_id.encode()))
    if will:
        body += [b"\0"] if connect.version == V5 else []
        body += [write_binary(will.topic), write_binary(will.payload)]
    if connect.user is not None:
        body.append(write_binary(connect.user.encode()))
    if connect.password is not None:
        body.append(write_binary(connect.password))
    return _packet(PacketType.CONNECT, b"".join(body))


def write_connack(connack: Connack, version: int, bytes_max: int | None = None) -> bytes:
    """CONNACK. The reason string is left out where the packet would be larger than `bytes_max`, the client's bound."""
    body = bytes([connack.session_present, connack.code])
    if version != V5:
        return _packet(PacketType.CONNACK, body)
    properties: dict[Property, int | str | None] = {
        Property.SESSION_EXPIRY: connack.session_expiry_s,
        Property.RECEIVE_MAXIMUM: connack.receive_max,
        Property.MAXIMUM_QOS: connack.maximum_qos,
        Property.MAXIMUM_PACKET_SIZE: connack.packet_bytes_max,
        Property.ASSIGNED_CLIENT_ID: connack.assigned_client_id,
        Property.TOPIC_ALIAS_MAXIMUM: connack.topic_alias_max,
        Property.SERVER_KEEP_ALIVE: connack.server_keep_alive_s,
    }
    reason_string: dict[Property, int | str | None] = {Property.REASON_STRING: connack.reason_string}
    packet = _packet(PacketType.CONNACK, body + write_properties(properties | reason_string))
    if bytes_max is not None and len(packet) > bytes_max:
        return _packet(PacketType.CONNACK, body + write_properties(properties))
    return packet


def write_subscribe(packet_id: int, filters: Sequence[str], qos: int, version: int, *, retained: bool = True) -> bytes:
    """SUBSCRIBE to all filters at one QoS.

    retained: False asks a broker of MQTT 5 for retained messages only where the subscription is new to it.
    """
    options = qos | (0 if retained or version != V5 else 0x10)
    body = [packet_id.to_bytes(2, "big"), b"\0" if version == V5 else b""]
    for topic_filter in filters:
        body += [write_binary(topic_filter.encode()), bytes([options])]
    return _packet(PacketType.SUBSCRIBE, b"".join(body))


def write_suback(packet_id: bytes, codes: bytes, version: int) -> bytes:
    """SUBACK, one code for each filter."""
    return _packet(PacketType.SUBACK, packet_id + (b"\0" if version == V5 else b"") + codes)


def write_unsuback(packet_id: bytes, codes: bytes, version: int) -> bytes:
    """UNSUBACK; 3.1.1 has no codes in it."""
    return _packet(PacketType.UNSUBACK, packet_id + b"\0" + codes if version == V5 else packet_id)


def write_disconnect(
    version: int, reason: Reason = Reason.SUCCESS, reason_string: str | None = None, bytes_max: int | None = None
) -> bytes:
    """DISCONNECT; 3.1.1 says nothing but goodbye. The reason string is left out beyond `bytes_max`."""
    if version != V5 or (reason == Reason.SUCCESS and reason_string is None):
        return _packet(PacketType.DISCONNECT, b"")
    plain = _packet(PacketType.DISCONNECT, bytes([reason]))
    if reason_string is None:
        return plain
    packet = _packet(PacketType.DISCONNECT, bytes([reason]) + write_properties({Property.REASON_STRING: reason_string}))
    return plain if bytes_max is not None and len(packet) > bytes_max else packet


def _packet(kind: PacketType, body: bytes) -> bytes:
    return bytes([kind << 4 | FLAGS[kind]]) + write_varint(len(body)) + body


def filter_is_valid(topic_filter: str) -> bool:
    """Whether a broker can take it: wildcards stand alone in a level, # comes last, a shared one names its group.

    >>> [filter_is_valid(f) for f in ("a/+/#", "$share/g/a", "a#", "$share//a", "")]
    [True, True, False, False, False]
    """
    if topic_filter.startswith("$share/"):
        _, _, rest = topic_filter.partition("/")
        group, _, topic_filter = rest.partition("/")
        if not group or "+" in group or "#" in group:
            return False
    levels = topic_filter.split("/")
    return (
        0 < len(topic_filter.encode()) <= 65_535
        and "\0" not in topic_filter
        and all(level == "+" or "+" not in level for level in levels)
        and all("#" not in level for level in levels[:-1])
        and ("#" not in levels[-1] or levels[-1] == "#")
    )
