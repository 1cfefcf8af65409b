"""MQTT 3.1.1 and 5 on the wire: cuts a stream of bytes into packets, PUBLISH straight into `Message`.

Lives here: framing, bounds, PUBLISH. Not here: what the other packets say (packets.py), which of them may come when
(session.py), sockets, time. PUBLISH is cut in one tight loop; nothing else is hot.

What is deliberately not an error: a topic that is no UTF-8, and strings in PUBLISH that nobody here reads. Closing the
connection would cost the neighbours of such a message; the codec refuses it alone, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from collectors.mqtt.fields import (
    FLAGS,
    IN_PUBLISH_OF_CLIENT,
    IN_PUBLISH_OF_SERVER,
    V5,
    V311,
    Fields,
    PacketType,
    Property,
    ProtocolError,
    Reason,
    read_varint,
)
from dcim.core.ledger import Fault
from dcim.core.ports import Message, Oversized

CONTROL_BYTES_MAX: Final = 131_072
"""Anything but PUBLISH is smaller than this, or no packet for us: CONNECT with a will of 64 KiB still fits."""
_GATHER_BYTES: Final = 16_384
"""An unfinished packet larger than this is gathered in place: joining it anew with every read would be quadratic."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is taken at most, in bytes."""

    topic_bytes_max: int = 1_024
    """A PUBLISH with a longer topic is handed over as `Oversized`, its topic cut off here."""
    payload_bytes_max: int = 1_048_576
    """A PUBLISH with a larger payload is skipped as it streams by and handed over as `Oversized`."""
    packet_bytes_max: int = 67_108_864
    """A larger packet closes the connection. What is less than `buffered_bytes_max` counts as that."""

    @property
    def buffered_bytes_max(self) -> int:
        """No more than this of one unfinished packet is ever kept. A PUBLISH that is larger as a whole is skipped."""
        return max(self.payload_bytes_max + 66_560, CONTROL_BYTES_MAX)  # the longest topic, and a KiB of properties

    @property
    def closing_bytes(self) -> int:
        """A packet of more than this closes the connection."""
        return max(self.packet_bytes_max, self.buffered_bytes_max)


@dataclass(slots=True)
class Cut:
    """PUBLISH packets cut from a stream, in order."""

    messages: list[Message] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    """Packet identifiers to acknowledge, as the two bytes that came; those of oversized packets among them."""
    oversized: list[Oversized] = field(default_factory=list)
    again: list[tuple[int, bytes]] = field(default_factory=list)
    """Place in `messages` and packet identifier of those that say that they were sent before."""
    size: int = 0
    """Bytes of the packets that `messages` came in."""

    def __bool__(self) -> bool:
        return bool(self.messages or self.oversized)


class Packet(NamedTuple):
    """Any packet but PUBLISH, framed but not read: its body holds everything after the fixed header."""

    type: PacketType
    body: bytes


# --- cutting ---------------------------------------------------------------------------------------------------------

_HEAD = Struct(">BBBH").unpack_from
_NEW = tuple.__new__  # half the price of Message(...), which goes through a Python function
_RARE_PUBLISHES = frozenset({0x31, 0x33, 0x3A, 0x3B})  # first bytes: retained, or sent again


class Cutter:
    """Cuts one connection's stream. Feed what came, then cut until nothing comes out.

    Keeps at most `bounds.buffered_bytes_max` of an unfinished packet beside what was fed last.
    """

    def __init__(self, bounds: Bounds, version: int = V311, *, from_client: bool = False) -> None:
        self.version = version
        """3.1.1 or 5; the session sets it as soon as CONNECT has told."""
        self.takes_publish = False
        """While False, PUBLISH comes out as a packet like any other, and is bounded like one."""
        self._bounds = bounds
        self._properties = IN_PUBLISH_OF_CLIENT if from_client else IN_PUBLISH_OF_SERVER
        self._data = b""
        self._at = 0
        self._gathered = bytearray()
        self._gather_until = 0
        self._skip = 0
        self._skipped: tuple[Oversized, bytes] | None = None

    @property
    def buffered(self) -> int:
        """Bytes that are kept and not yet cut."""
        return len(self._data) - self._at + len(self._gathered)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes what came. It is copied once; the caller may reuse its buffer."""
        if self._skip:
            view = memoryview(data)
            passed = min(self._skip, len(view))
            self._skip -= passed
            data = view[passed:]
        if self._gather_until:
            self._gathered += data
            if len(self._gathered) >= self._gather_until:
                self._data, self._at = bytes(self._gathered), 0
                self._gathered, self._gather_until = bytearray(), 0
        elif self._at == len(self._data):
            self._data, self._at = bytes(data), 0
        else:
            self._data, self._at = b"".join((memoryview(self._data)[self._at :], data)), 0

    def cut(self, into: Cut, limit: int = 10_000) -> Packet | None:
        """Cuts PUBLISH packets into `into` until it holds `limit` messages, up to the next packet of another type:
        that one is the answer. None when the bytes are used up or the limit is reached.

        Raises ProtocolError; what came before it is in `into`, and the stream is of no further use.
        """
        while self._skipped is None or self._end_skip(into):
            if self.takes_publish:
                self._cut_publishes(into, limit)
                if len(into.messages) >= limit:
                    return None
            at = self._at
            packet = self._cut_one(into)
            if packet is not None or self._at == at:
                return packet
        return None

    def _cut_publishes(self, into: Cut, limit: int) -> None:
        """The hot loop: plain PUBLISH packets that are wholly there. Stops before the first that is anything else."""
        # One unpack reads first byte, remaining length and topic length, for the length takes one byte or two in all
        # but large packets. All names are local.
        data, at, last = self._data, self._at, len(self._data) - 5
        start, end = at, len(self._data)
        topic_max, payload_max, is_v5 = self._bounds.topic_bytes_max, self._bounds.payload_bytes_max, self.version == V5
        put, owe, room = into.messages.append, into.ids.append, limit - len(into.messages)
        head, new, message = _HEAD, _NEW, Message
        try:
            while at <= last and room > 0:
                first, length, second, topic_length = head(data, at)
                if length < 128:
                    stop = at + 2 + length
                    topic_at = at + 4
                    topic_length = second << 8 | topic_length >> 8
                elif 0 < second < 128:
                    stop = at - 125 + length + (second << 7)
                    topic_at = at + 5
                else:
                    return
                payload_at = topic_at + topic_length
                if stop > end:
                    return
                if first == 0x32:
                    qos, retain, again = 1, False, 0
                elif first == 0x30:
                    qos, retain, again = 0, False, 0
                elif first in _RARE_PUBLISHES:
                    qos, retain, again = first >> 1 & 1, first & 1 == 1, first & 8
                else:
                    return
                topic = data[topic_at:payload_at]
                if 35 in topic or 43 in topic or 0 in topic or not 0 < topic_length <= topic_max:
                    return
                if qos:
                    packet_id = data[payload_at : payload_at + 2]
                    payload_at += 2
                    if packet_id == b"\0\0":
                        return
                if is_v5:
                    if payload_at >= stop:
                        return
                    payload_at = payload_at + 1 if not data[payload_at] else self._end_of_properties(payload_at, stop)
                if not 0 <= stop - payload_at <= payload_max:
                    return
                put(new(message, (topic, data[payload_at:stop], qos, retain)))
                if qos:
                    owe(packet_id)
                    if again:
                        into.again.append((len(into.messages) - 1, packet_id))
                room -= 1
                at = stop
        finally:
            self._at = at
            into.size += at - start

    def _cut_one(self, into: Cut) -> Packet | None:
        """The next packet, of any type, with every check. A PUBLISH goes into `into`. None when it is not all there."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        first = data[at]
        publish = first >> 4 == PacketType.PUBLISH and self.takes_publish
        if publish:
            _check_publish_flags(first)
        elif first >> 4 not in FLAGS or (first >> 4 == PacketType.AUTH and self.version != V5):
            raise ProtocolError(f"packet type {first >> 4} is reserved")
        elif first & 15 != FLAGS[PacketType(first >> 4)] and first >> 4 != PacketType.PUBLISH:
            raise ProtocolError(f"{PacketType(first >> 4).name} has the reserved flags {first & 15:#x}")
        head = read_varint(data, at + 1, len(data), minimal=self.version == V5)
        if head is None:
            return None
        length, body = head
        size, stop = body - at + length, body + length
        if size > (self._bounds.closing_bytes if publish else CONTROL_BYTES_MAX):
            raise ProtocolError(
                f"a packet of {size:,} bytes is larger than is taken", Reason.PACKET_TOO_LARGE, Fault.PACKET_TOO_LARGE
            )
        if publish and size > self._bounds.buffered_bytes_max:
            self._begin_skip(first, body, stop)
        elif stop > len(data):
            if size > _GATHER_BYTES:
                self._gathered, self._gather_until = bytearray(memoryview(data)[at:]), size
                self._data, self._at = b"", 0
        elif publish:
            self._cut_publish(into, first, body, stop)
            self._at = stop
        else:
            self._at = stop
            return Packet(PacketType(first >> 4), data[body:stop])
        return None

    def _cut_publish(self, into: Cut, first: int, body: int, stop: int) -> None:
        """One whole PUBLISH that the hot loop left: rare, too large, or wrong."""
        data, start = self._data, body
        topic, packet_id, at = _publish_head(data, first, body, stop)
        if self.version == V5:
            at = self._end_of_properties(at, stop)
        check_topic(topic)
        if len(topic) > self._bounds.topic_bytes_max or stop - at > self._bounds.payload_bytes_max:
            into.oversized.append(Oversized(topic[: self._bounds.topic_bytes_max], stop - at))
        else:
            into.messages.append(Message(topic, data[at:stop], first >> 1 & 1, first & 1 == 1))
            into.size += stop - start
            if first & 8:
                into.again.append((len(into.messages) - 1, packet_id))
        if packet_id:
            into.ids.append(packet_id)

    def _begin_skip(self, first: int, body: int, stop: int) -> None:
        """Lets a PUBLISH that is too large pass by, once its head is there. Its properties go unread."""
        data = self._data
        topic_length = int.from_bytes(data[body : body + 2], "big")
        if len(data) < body + 2 or len(data) < min(stop, body + topic_length + 8):  # 2 + 2 + 4: the other fields
            return
        topic, packet_id, at = _publish_head(data, first, body, stop)
        check_topic(topic)
        if self.version == V5:
            head = read_varint(data, at, len(data))
            if head is None or sum(head) > stop:
                raise ProtocolError("PUBLISH ends within its properties")
            at = sum(head)
        self._skipped = Oversized(topic[: self._bounds.topic_bytes_max], stop - at), packet_id
        self._skip = max(0, stop - len(data))
        self._at = min(stop, len(data))

    def _end_skip(self, into: Cut) -> bool:
        """Whether what is skipped has passed by wholly; then it goes into `into`."""
        if self._skip or self._skipped is None:
            return False
        oversized, packet_id = self._skipped
        self._skipped = None
        into.oversized.append(oversized)
        if packet_id:
            into.ids.append(packet_id)
        return True

    def _end_of_properties(self, at: int, stop: int) -> int:
        """Where the properties of a PUBLISH end. They are checked; nobody here reads them."""
        body = Fields(self._data, at, stop)
        if Property.TOPIC_ALIAS in body.properties(self._properties):
            raise ProtocolError("a topic alias, where none was allowed", Reason.TOPIC_ALIAS_INVALID)
        return body.at


def _check_publish_flags(first: int) -> None:
    qos = first >> 1 & 3
    if qos == 3:
        raise ProtocolError("PUBLISH with both QoS bits set")
    if qos == 2:
        raise ProtocolError("PUBLISH with QoS 2, where at most 1 is taken", Reason.QOS_NOT_SUPPORTED)
    if qos == 0 and first & 8:
        raise ProtocolError("PUBLISH with QoS 0 is marked as sent again")


def check_topic(topic: bytes) -> None:
    """Raises ProtocolError for a name that nobody may publish to. One that is no UTF-8 passes: see above."""
    if not topic:
        raise ProtocolError("PUBLISH without a topic", Reason.PROTOCOL_ERROR)
    if b"#" in topic or b"+" in topic:
        raise ProtocolError("PUBLISH to a topic with wildcards")  # [MQTT-3.3.2-2]
    if b"\0" in topic:
        raise ProtocolError("U+0000 in a topic")  # [MQTT-1.5.4-2]


def _publish_head(data: bytes, first: int, body: int, stop: int) -> tuple[bytes, bytes, int]:
    """Topic, packet identifier (empty at QoS 0), and where the rest begins."""
    topic_end = body + 2 + int.from_bytes(data[body : body + 2], "big")
    at = topic_end + 2 if first & 6 else topic_end
    if stop - body < 2 or at > stop:
        raise ProtocolError("PUBLISH ends within its topic or packet identifier")
    packet_id = data[topic_end:at]
    if packet_id == b"\0\0":
        raise ProtocolError("packet identifier 0", Reason.PROTOCOL_ERROR)
    return data[body + 2 : topic_end], packet_id, at


_PUBACK = bytes([PacketType.PUBACK << 4, 2])


def write_pubacks(ids: Sequence[bytes]) -> bytes:
    """One PUBACK for each packet identifier, in their order, as one piece. The short form is success in 3.1.1 and 5.

    >>> write_pubacks([bytes([0, 1]), bytes([0, 2])]).hex(" ")
    '40 02 00 01 40 02 00 02'
    """
    return _PUBACK + _PUBACK.join(ids) if ids else b""
