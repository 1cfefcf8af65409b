"""The wire: any cut of the stream gives the same packets, arbitrary bytes do no harm, what is written can be read."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.mqtt import packets
from collectors.mqtt.fields import V5, V311, PacketType, ProtocolError, Reason, read_varint, write_varint
from collectors.mqtt.packets import Connack, Connect
from collectors.mqtt.session import Asked, Cut, Event, ListenerSession, Session, SubscriberSession
from collectors.mqtt.wire import CONTROL_BYTES_MAX, Bounds, Cutter, Packet, write_pubacks
from dcim.core.ledger import Fault
from dcim.core.ports import Message, Oversized
from tests.examples import examples
from tests.mqtt_peer import publish

SMALL = Bounds(topic_bytes_max=12, payload_bytes_max=40)
versions = st.sampled_from([V311, V5])
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
topics = st.binary(min_size=1, max_size=20).filter(lambda raw: not set(raw) & set(b"+#\0"))
user_properties = st.lists(st.tuples(texts, texts), max_size=2).map(
    lambda pairs: b"".join(
        b"\x26" + len(a.encode()).to_bytes(2, "big") + a.encode() + len(b.encode()).to_bytes(2, "big") + b.encode()
        for a, b in pairs
    )
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """A version, and well-formed packets in it as a client may send them."""
    version = draw(versions)
    one = st.one_of(
        st.builds(
            lambda topic, payload, qos, packet_id, retain, properties: publish(
                topic, payload, qos, packet_id, version, retain=retain, properties=properties
            ),
            topics,
            st.binary(max_size=300),
            st.sampled_from([0, 1]),
            st.integers(1, 65_535),
            st.booleans(),
            user_properties,
        ),
        st.sampled_from([packets.PINGREQ, packets.PINGRESP, b"\x62\x02\x00\x07", b"\xe0\x00"]),
    )
    return version, draw(st.lists(one, min_size=1, max_size=12))


class Read:
    """Everything that came out of a stream."""

    def __init__(self, version: int, bounds: Bounds, pieces: list[bytes]) -> None:
        self.cut = Cut()
        self.packets: list[Packet] = []
        self.error: ProtocolError | None = None
        self.buffered = 0
        cutter = Cutter(bounds, version)
        cutter.takes_publish = True
        try:
            for piece in pieces:
                cutter.feed(piece)
                while True:
                    before = len(self.cut.messages) + len(self.cut.oversized)
                    packet = cutter.cut(self.cut, limit=len(self.cut.messages) + 3)
                    if packet is not None:
                        self.packets.append(packet)
                    elif len(self.cut.messages) + len(self.cut.oversized) == before:
                        break
                self.buffered = max(self.buffered, cutter.buffered)
        except ProtocolError as error:
            self.error = error

    def told(self) -> object:
        return self.cut, self.packets, self.error and (str(self.error), self.error.reason, self.error.fault)


def cut_up(stream: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(stream) + 1) for place in places})
    return [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True)]


@pytest.mark.slow
@settings(deadline=None)
@given(streams(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_same_messages(stream: tuple[int, list[bytes]], places: list[int]) -> None:
    version, sent = stream
    whole = Read(version, SMALL, [b"".join(sent)])
    assert whole.error is None
    assert Read(version, SMALL, cut_up(b"".join(sent), places)).told() == whole.told()
    assert Read(version, SMALL, [bytes([byte]) for byte in b"".join(sent)]).told() == whole.told()
    publishes = [packet for packet in sent if packet[0] >> 4 == PacketType.PUBLISH]
    assert len(whole.cut.messages) + len(whole.cut.oversized) == len(publishes)
    assert len(whole.cut.ids) == sum(packet[0] >> 1 & 1 for packet in publishes)
    assert len(whole.packets) == len(sent) - len(publishes)


@settings(deadline=None)
@given(versions, topics, st.binary(max_size=40), st.sampled_from([0, 1]), st.integers(1, 65_535), st.booleans())
def test_what_is_published_comes_out(
    version: int, topic: bytes, payload: bytes, qos: int, packet_id: int, retain: bool
) -> None:
    read = Read(version, Bounds(), [publish(topic, payload, qos, packet_id, version, retain=retain)])
    assert read.cut.messages == [Message(topic, payload, qos, retain)]
    assert type(read.cut.messages[0]) is Message
    assert read.cut.ids == ([packet_id.to_bytes(2, "big")] if qos else [])


@settings(max_examples=examples(40), deadline=None)
@given(versions, st.lists(st.integers(0, 200_000), max_size=6), st.integers(0, 1))
def test_a_payload_too_large_is_skipped_and_costs_no_neighbour(version: int, places: list[int], qos: int) -> None:
    bounds = Bounds(payload_bytes_max=100)
    before = publish(b"a", b"1", 1, 1, version)
    large = publish(b"b/large", bytes(150_000), qos, 2, version)
    after = publish(b"c", b"3", 1, 3, version)
    read = Read(version, bounds, cut_up(before + large + after, places))
    assert read.error is None
    assert [message.topic for message in read.cut.messages] == [b"a", b"c"]
    assert read.cut.oversized == [Oversized(b"b/large", 150_000)]
    assert [int.from_bytes(i, "big") for i in read.cut.ids] == ([1, 2, 3] if qos else [1, 3])
    assert read.buffered <= bounds.buffered_bytes_max


def test_a_skipped_payload_is_never_kept() -> None:
    bounds = Bounds(payload_bytes_max=100)
    cutter = Cutter(bounds, V5)
    cutter.takes_publish = True
    large = publish(b"b", bytes(8_000_000), 1, 2)
    cut = Cut()
    for at in range(0, len(large), 50_000):
        assert not cut
        cutter.feed(memoryview(large)[at : at + 50_000])
        cutter.cut(cut)
        assert cutter.buffered == 0
    assert cut.oversized == [Oversized(b"b", 8_000_000)]
    assert cut.ids == [b"\0\2"]


@pytest.mark.parametrize("version", [V311, V5])
def test_a_topic_too_long_is_put_aside_and_costs_no_neighbour(version: int) -> None:
    long = b"t" * 2_000
    sent = publish(b"a", b"1", 0, 1, version) + publish(long, b"xy", 1, 9, version) + publish(b"b", b"", 0, 1, version)
    read = Read(version, Bounds(), [sent])
    assert [message.topic for message in read.cut.messages] == [b"a", b"b"]
    assert read.cut.oversized == [Oversized(long[:1_024], 2)]
    assert read.cut.ids == [b"\0\x09"]


def test_a_topic_that_is_no_utf8_passes() -> None:
    read = Read(V5, Bounds(), [publish(b"\xff\xfe/x", b"1") + publish(b"b", b"2")])
    assert [message.topic for message in read.cut.messages] == [b"\xff\xfe/x", b"b"]


@settings(deadline=None)
@given(versions, st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
@example(V5, b"\x30\xff\xff\xff\xff\x7f", [])
@example(V311, b"\x32\x05\x00\x01a\x00\x00", [])
def test_arbitrary_bytes_raise_nothing_but_the_declared_error(version: int, raw: bytes, places: list[int]) -> None:
    read = Read(version, SMALL, cut_up(raw, places))  # anything else propagates
    assert read.buffered <= SMALL.buffered_bytes_max


HELLO = packets.write_connect(Connect(V5, "c", keep_alive_s=60))


def session_of(role: str) -> Session:
    if role == "listener":
        return ListenerSession(SMALL, 65_535, 0.0)
    return SubscriberSession(Connect(V5, "c"), ["#"], 1, SMALL, 0.0)


@settings(deadline=None)
@given(
    st.sampled_from(["listener", "subscriber"]),
    st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([HELLO, b"\x20\x03\0\0\0", publish(b"a")])), max_size=6),
)
def test_a_session_raises_nothing_whatever_comes(role: str, pieces: list[bytes]) -> None:
    session = session_of(role)
    told: list[Event] = []
    for piece in pieces:
        told += session.receive(piece, 1.0)
        for event in list(told):
            if isinstance(event, Asked) and isinstance(session, ListenerSession):
                told += session.admit(event.connect.client_id or "given", 1.0)
        session.to_send()
        assert session.buffered <= SMALL.buffered_bytes_max + sum(map(len, pieces))


connects = st.builds(
    Connect,
    version=versions,
    client_id=texts,
    clean=st.booleans(),
    keep_alive_s=st.integers(0, 65_535),
    user=texts,
    password=st.none() | st.binary(max_size=20),
    will=st.none()
    | st.builds(
        Message,
        texts.map(str.encode).filter(lambda raw: raw and not set(raw) & set(b"+#")),
        st.binary(max_size=20),
        st.integers(0, 2),
        st.booleans(),
    ),
)


@settings(deadline=None)
@given(connects, st.integers(0, 2**32 - 1), st.integers(1, 65_535), st.none() | st.integers(1, 2**32 - 1))
def test_connect_is_read_as_it_was_written(
    connect: Connect, session_expiry_s: int, receive_max: int, bytes_max: int | None
) -> None:
    if connect.version == V5:
        connect = Connect(
            V5,
            connect.client_id,
            will=connect.will,
            user=connect.user,
            session_expiry_s=session_expiry_s,
            receive_max=receive_max,
            packet_bytes_max=bytes_max,
        )
    body = body_of(packets.write_connect(connect), PacketType.CONNECT)
    assert packets.read_version(body) == connect.version
    assert packets.read_connect(body) == connect


@settings(deadline=None)
@given(
    st.builds(
        Connack,
        code=st.integers(0, 255),
        session_expiry_s=st.none() | st.integers(0, 2**32 - 1),
        server_keep_alive_s=st.none() | st.integers(0, 65_535),
        assigned_client_id=st.none() | texts,
        receive_max=st.none() | st.integers(1, 65_535),
        maximum_qos=st.none() | st.integers(0, 1),
        packet_bytes_max=st.none() | st.integers(1, 2**32 - 1),
        topic_alias_max=st.none() | st.integers(0, 65_535),
        reason_string=st.none() | texts,
    )
)
def test_connack_is_read_as_it_was_written(connack: Connack) -> None:
    body = body_of(packets.write_connack(connack, V5), PacketType.CONNACK)
    assert packets.read_connack(body, V5) == connack


@settings(deadline=None)
@given(versions, st.integers(1, 65_535), st.lists(texts.filter(bool), min_size=1, max_size=4), st.integers(0, 1))
def test_subscriptions_are_read_as_they_were_written(version: int, number: int, filters: list[str], qos: int) -> None:
    packet_id = number.to_bytes(2, "big")
    body = body_of(packets.write_subscribe(number, filters, qos, version), PacketType.SUBSCRIBE)
    assert packets.read_subscribe(body, version) == (packet_id, [(name, qos) for name in filters])
    codes = bytes([qos]) * len(filters)
    body = body_of(packets.write_suback(packet_id, codes, version), PacketType.SUBACK)
    assert packets.read_suback(body, version) == (packet_id, codes)


@settings(deadline=None)
@given(st.lists(st.integers(1, 65_535), max_size=50))
def test_acknowledgements_are_one_piece_in_order(numbers: list[int]) -> None:
    ids = [number.to_bytes(2, "big") for number in numbers]
    read = Read(V5, Bounds(), [write_pubacks(ids)])
    assert [packets.read_answer(packet.body, V5)[0] for packet in read.packets] == ids


@settings(deadline=None)
@given(texts, st.integers(0, 60))
def test_a_reason_string_gives_way_to_the_clients_bound(text: str, bytes_max: int) -> None:
    packet = packets.write_disconnect(V5, Reason.PROTOCOL_ERROR, text, bytes_max)
    assert len(packet) <= max(bytes_max, 3)
    reason, said = packets.read_disconnect(body_of(packet, PacketType.DISCONNECT), V5)
    assert reason == Reason.PROTOCOL_ERROR
    assert said in {text, None}


@settings(deadline=None)
@given(st.integers(0, 268_435_455))
def test_lengths_are_read_as_they_were_written(value: int) -> None:
    written = write_varint(value)
    assert read_varint(written, 0, len(written)) == (value, len(written))
    assert read_varint(written, 0, len(written) - 1) is None


def test_a_long_form_of_a_length_is_for_3_1_1_alone() -> None:
    padded = b"\x30\x85\x80\x80\x00\x00\x01a12"
    assert Read(V311, Bounds(), [padded]).cut.messages == [Message(b"a", b"12")]
    error = Read(V5, Bounds(), [padded]).error
    assert error is not None
    assert error.reason is Reason.MALFORMED_PACKET


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x00\x00", Reason.MALFORMED_PACKET),  # reserved type
        (b"\x30\xff\xff\xff\xff", Reason.MALFORMED_PACKET),  # a length of five bytes
        (b"\x36\x05\x00\x01a\x00\x01", Reason.MALFORMED_PACKET),  # both QoS bits
        (b"\x34\x06\x00\x01a\x00\x01\x00", Reason.QOS_NOT_SUPPORTED),
        (b"\x38\x04\x00\x01a\x00", Reason.MALFORMED_PACKET),  # QoS 0 sent again
        (b"\x32\x06\x00\x01a\x00\x00\x00", Reason.PROTOCOL_ERROR),  # packet identifier 0
        (publish(b""), Reason.PROTOCOL_ERROR),
        (publish(b"a/+/b"), Reason.MALFORMED_PACKET),
        (publish(b"a/#"), Reason.MALFORMED_PACKET),
        (publish(b"a\0b"), Reason.MALFORMED_PACKET),
        (b"\x30\x03\x00\x09a", Reason.MALFORMED_PACKET),  # the topic is longer than the packet
        (b"\x30\x01\x00", Reason.MALFORMED_PACKET),
        (b"\x32\x04\x00\x01a\x00", Reason.MALFORMED_PACKET),  # ends within the packet identifier
        (b"\x30\x03\x00\x01a", Reason.MALFORMED_PACKET),  # MQTT 5 without properties
        (publish(b"a", properties=b"\x01\x02"), Reason.PROTOCOL_ERROR),  # payload format 2
        (publish(b"a", properties=b"\x01\x01\x01\x01"), Reason.PROTOCOL_ERROR),  # twice
        (publish(b"a", properties=b"\x11\0\0\0\0"), Reason.MALFORMED_PACKET),  # belongs into CONNECT
        (publish(b"a", properties=b"\x02\0\0"), Reason.MALFORMED_PACKET),  # ends within
        (publish(b"a", properties=b"\x23\0\1"), Reason.TOPIC_ALIAS_INVALID),
        (b"\x30\x05\x00\x01a\x7f\x01", Reason.MALFORMED_PACKET),  # properties longer than the packet
        (b"\x31\xff\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
        (b"\xc1\x00", Reason.MALFORMED_PACKET),  # PINGREQ with flags
        (b"\x80\x00", Reason.MALFORMED_PACKET),  # SUBSCRIBE without its flags
        (b"\xc0" + write_varint(CONTROL_BYTES_MAX), Reason.PACKET_TOO_LARGE),
    ],
)
def test_what_is_wrong_is_told_by_its_code_and_costs_no_neighbour(raw: bytes, reason: Reason) -> None:
    read = Read(V5, Bounds(), [publish(b"before", b"1", 1, 5) + raw])
    assert read.cut.messages == [Message(b"before", b"1", 1)]
    assert read.error is not None
    assert read.error.reason is reason
    large = reason is Reason.PACKET_TOO_LARGE
    assert read.error.fault is (Fault.PACKET_TOO_LARGE if large else Fault.PROTOCOL_ERROR)
    byte_by_byte = Read(V5, Bounds(), [bytes([byte]) for byte in publish(b"before", b"1", 1, 5) + raw])
    assert byte_by_byte.told() == read.told()


def test_an_unfinished_packet_dripping_in_is_gathered_once() -> None:
    cutter = Cutter(Bounds(), V311)
    cutter.takes_publish = True
    packet = publish(b"a", bytes(900_000), 0, 1, V311)
    cut = Cut()
    for at in range(0, len(packet), 1_000):
        cutter.feed(packet[at : at + 1_000])
        cutter.cut(cut)
        assert cutter.buffered <= Bounds().buffered_bytes_max
    assert cut.messages == [Message(b"a", bytes(900_000))]


def body_of(packet: bytes, kind: PacketType) -> bytes:
    read = Read(V5, Bounds(), [packet])
    assert [one.type for one in read.packets] == [kind]
    return read.packets[0].body
