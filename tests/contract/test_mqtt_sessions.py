"""Both ends of a connection without a socket: what may come when, what is answered, and when a peer counts as dead."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from collectors.mqtt import packets
from collectors.mqtt.fields import V5, V311, PacketType, Reason, write_binary
from collectors.mqtt.packets import Connack, Connect
from collectors.mqtt.session import (
    Asked,
    Ended,
    Event,
    ListenerSession,
    Opened,
    Session,
    State,
    Subscribed,
    SubscribeRefused,
    SubscriberSession,
)
from collectors.mqtt.wire import Bounds, Cut, Cutter, Packet
from dcim.core.ledger import Fault
from dcim.core.ports import Message, Oversized
from tests.mqtt_peer import publish

VERSIONS = pytest.mark.parametrize("version", [V311, V5])


def sent(session: Session) -> list[Packet]:
    """What the session wants to be sent, packet by packet."""
    cutter = Cutter(Bounds(), session.version)
    cutter.feed(session.to_send())
    found = []
    while (packet := cutter.cut(Cut())) is not None:
        found.append(packet)
    assert cutter.buffered == 0
    return found


def ending(events: Sequence[Event]) -> Ended:
    (ended,) = [event for event in events if isinstance(event, Ended)]
    return ended


# --- the listener's end ----------------------------------------------------------------------------------------------


def listening(version: int = V5, window: int = 65_535, **connect: object) -> ListenerSession:
    """A session whose client is let in."""
    session = ListenerSession(Bounds(), window, 0.0)
    hello = Connect(version, "device", **connect)
    (asked,) = session.receive(packets.write_connect(hello), 0.0)
    assert asked == Asked(hello)
    assert session.state is State.CHECKING
    assert session.admit("device", 0.0) == []
    assert [packet.type for packet in sent(session)] == [PacketType.CONNACK]
    return session


@VERSIONS
def test_connack_tells_a_client_the_terms(version: int) -> None:
    session = ListenerSession(Bounds(), 500, 0.0)
    session.receive(packets.write_connect(Connect(version, "", clean=True, session_expiry_s=60)), 0.0)
    session.admit("given", 0.0)
    (packet,) = sent(session)
    connack = packets.read_connack(packet.body, version)
    if version == V311:
        assert packet.body == b"\0\0"
    else:
        assert connack == Connack(
            0,
            session_expiry_s=0,
            assigned_client_id="given",
            receive_max=500,
            maximum_qos=1,
            packet_bytes_max=67_108_864,
            topic_alias_max=0,
        )


@VERSIONS
def test_what_came_with_connect_is_read_once_the_client_is_let_in(version: int) -> None:
    session = ListenerSession(Bounds(), 65_535, 0.0)
    hello = packets.write_connect(Connect(version, "c"))
    events = session.receive(hello + publish(b"t", b"1", 1, 7, version) + packets.PINGREQ, 0.0)
    assert [type(event) for event in events] == [Asked]
    (cut,) = session.admit("c", 0.0)
    assert isinstance(cut, Cut)
    assert cut.messages == [Message(b"t", b"1", 1)]
    assert [packet.type for packet in sent(session)] == [PacketType.CONNACK, PacketType.PINGRESP]


@VERSIONS
def test_messages_are_acknowledged_in_one_piece_when_told_so_and_not_before(version: int) -> None:
    session = listening(version)
    (cut,) = session.receive(publish(b"t", b"1", 1, 7, version) + publish(b"t", b"2", 1, 9, version), 1.0)
    assert isinstance(cut, Cut)
    assert session.unacknowledged == 2
    assert session.to_send() == b""
    session.acknowledge(cut.ids, 2.0)
    assert session.to_send() == b"\x40\x02\x00\x07\x40\x02\x00\x09"
    assert session.unacknowledged == 0


@VERSIONS
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.BAD_USER_OR_PASSWORD, 4),
        (Reason.NOT_AUTHORIZED, 5),
        (Reason.QUOTA_EXCEEDED, 3),
    ],
)
def test_a_client_that_is_turned_away_is_told_why(version: int, reason: Reason, code: int) -> None:
    session = ListenerSession(Bounds(), 65_535, 0.0)
    session.receive(packets.write_connect(Connect(version, "c")), 0.0)
    events = session.end(reason, "no", Fault.CREDENTIALS_REFUSED, "ask")
    assert events == [Ended(Fault.CREDENTIALS_REFUSED, "no", "ask")]
    (packet,) = sent(session)
    assert packet.type is PacketType.CONNACK
    assert packet.body[1] == (reason if version == V5 else code)
    assert session.over


@VERSIONS
def test_subscribe_is_refused_and_the_connection_goes_on(version: int) -> None:
    session = listening(version)
    events = session.receive(packets.write_subscribe(3, ["a/#", "b"], 1, version), 1.0)
    assert events == [SubscribeRefused(("a/#", "b"))]
    (packet,) = sent(session)
    assert packet.type is PacketType.SUBACK
    refusal = Reason.IMPLEMENTATION_SPECIFIC if version == V5 else 0x80
    assert packets.read_suback(packet.body, version) == (b"\0\3", bytes([refusal, refusal]))
    assert session.state is State.OPEN


def test_unsubscribe_is_answered() -> None:
    session = listening(V5)
    session.receive(b"\xa2\x08\x00\x04\x00" + write_binary(b"a/b"), 1.0)
    assert session.to_send() == b"\xb0\x04\x00\x04\x00\x11"
    session = listening(V311)
    session.receive(b"\xa2\x07\x00\x04" + write_binary(b"a/b"), 1.0)
    assert session.to_send() == b"\xb0\x02\x00\x04"


def test_leftovers_of_qos_2_are_let_go_by_the_book() -> None:
    session = listening(V5)
    session.receive(b"\x62\x02\x00\x05" + b"\x50\x02\x00\x06", 1.0)
    assert session.to_send() == b"\x70\x03\x00\x05\x92" + b"\x62\x03\x00\x06\x92"
    session = listening(V311)
    session.receive(b"\x62\x02\x00\x05", 1.0)
    assert session.to_send() == b"\x70\x02\x00\x05"


HELLO5 = packets.write_connect(Connect(V5, "c"))
NOT_MQTT = b"\x10\x0e\x00\x04HTTP\x05\x00\x00\x00\x00\x00\x01c"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (HELLO5, Reason.PROTOCOL_ERROR),  # a second CONNECT
        (publish(b"t", b"", 2, 1), Reason.QOS_NOT_SUPPORTED),
        (publish(b"t", properties=b"\x0b\x01"), Reason.MALFORMED_PACKET),  # a subscription identifier from a client
        (publish(b"t", properties=b"\x23\x00\x01"), Reason.TOPIC_ALIAS_INVALID),
        (b"\x40\x02\x00\x01", Reason.PROTOCOL_ERROR),  # PUBACK for what was never sent
        (b"\x20\x03\x00\x00\x00", Reason.PROTOCOL_ERROR),  # CONNACK from a client
        (b"\xf0\x00", Reason.PROTOCOL_ERROR),  # AUTH
        (b"\xc0\x01\x00", Reason.MALFORMED_PACKET),  # PINGREQ with a body
        (b"\x82\x06\x00\x00\x00\x00\x01a", Reason.PROTOCOL_ERROR),  # SUBSCRIBE with packet identifier 0
        (b"\x82\x03\x00\x01\x00", Reason.MALFORMED_PACKET),  # SUBSCRIBE to nothing
        (b"\x82\x07\x00\x01\x00\x00\x01a\x03", Reason.MALFORMED_PACKET),  # SUBSCRIBE with QoS 3
        (b"\x30\xff\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
    ],
)
def test_a_client_that_breaks_the_rules_is_told_which(raw: bytes, reason: Reason) -> None:
    session = listening(V5)
    events = session.receive(publish(b"before", b"1") + raw + publish(b"after"), 1.0)
    assert isinstance(events[0], Cut)
    assert [message.topic for message in events[0].messages] == [b"before"]
    too_large = reason is Reason.PACKET_TOO_LARGE
    assert ending(events).fault is (Fault.PACKET_TOO_LARGE if too_large else Fault.PROTOCOL_ERROR)
    (packet,) = sent(session)
    assert packet.type is PacketType.DISCONNECT
    assert packets.read_disconnect(packet.body, V5)[0] == reason
    assert session.over
    assert session.receive(publish(b"more"), 2.0) == []
    old = listening(V311)
    old.receive(HELLO5, 1.0)
    assert old.over
    assert old.to_send() == b""  # 3.1.1 has no way to say why


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (publish(b"t"), b""),
        (packets.PINGREQ, b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (NOT_MQTT, b""),
        (b"\x10\x0c\x00\x04MQTT\x03\x00\x00\x00\x00\x00", b"\x20\x02\x00\x01"),  # MQTT 3.1 under the new name
        (b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", b"\x20\x02\x00\x01"),
        (b"\x10\x0d\x00\x04MQTT\x06\x00\x00\x00\x00\x00\x00", b"\x20\x03\x00\x84"),
        (b"\x10\x0d\x00\x04MQTT\x05\x01\x00\x00\x00\x00\x00", b"\x20\x03\x00\x81"),  # the reserved flag
        (b"\x10\x0d\x00\x04MQTT\x05\x18\x00\x00\x00\x00\x00", b"\x20\x03\x00\x81"),  # will QoS without a will
        (b"\x10\x0e\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x01\xff", b"\x20\x03\x00\x81"),  # a client id that is no UTF-8
        (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", b"\x20\x02\x00\x02"),  # a session without an id
        (packets.write_connect(Connect(V5, "c", authentication_method="SCRAM")), b"\x20\x03\x00\x8c"),
        (packets.write_connect(Connect(V5, "c", will=Message(b"w", b"", 2))), b"\x20\x03\x00\x9b"),
    ],
)
def test_whoever_does_not_introduce_itself_is_not_let_in(raw: bytes, answer: bytes) -> None:
    session = ListenerSession(Bounds(), 65_535, 0.0)
    events = session.receive(raw, 0.0)
    assert ending(events).fault in {Fault.PROTOCOL_ERROR, Fault.CREDENTIALS_REFUSED}
    said = session.to_send()
    assert said[:1] == answer[:1]
    assert said[2:4] == answer[2:4]
    assert session.over


def test_more_than_the_receive_maximum_is_an_error_of_mqtt_5() -> None:
    session = listening(V5, window=2)
    session.receive(publish(b"t", b"", 1, 1) + publish(b"t", b"", 1, 2), 1.0)
    assert session.state is State.OPEN
    session.receive(publish(b"t", b"", 1, 3), 1.0)
    (packet,) = sent(session)
    assert packets.read_disconnect(packet.body, V5)[0] == Reason.RECEIVE_MAXIMUM_EXCEEDED
    old = listening(V311, window=2)
    for number in (1, 2, 3):
        old.receive(publish(b"t", b"", 1, number, V311), 1.0)
    assert old.state is State.OPEN  # 3.1.1 knows no such bound: the intake holds it back


def test_a_silent_client_is_let_go_after_one_and_a_half_keep_alives() -> None:
    session = listening(V5, keep_alive_s=10)
    session.receive(packets.PINGREQ, 20.0)
    session.to_send()
    assert session.tick(35.0) == []
    (ended,) = session.tick(35.1)
    assert isinstance(ended, Ended)
    assert ended.fault is Fault.KEEP_ALIVE_TIMEOUT
    (packet,) = sent(session)
    assert packets.read_disconnect(packet.body, V5)[0] == Reason.KEEP_ALIVE_TIMEOUT


def test_a_client_that_is_not_listened_to_is_not_called_silent() -> None:
    session = listening(V5, keep_alive_s=10)
    assert session.tick(1_000.0, listening=False) == []
    assert session.tick(1_014.0) == []
    assert session.tick(1_016.0) != []


def test_connect_must_come_in_time() -> None:
    session = ListenerSession(Bounds(), 65_535, 0.0, connect_s=5.0)
    assert session.tick(4.9) == []
    assert ending(session.tick(5.0)).fault is Fault.PROTOCOL_ERROR


WILL = Message(b"dead", b"x", 1, True)


@pytest.mark.parametrize(
    ("version", "goodbye", "left"),
    [
        (V311, b"\xe0\x00", None),
        (V5, b"\xe0\x00", None),
        (V5, b"\xe0\x01\x04", WILL),  # disconnect with will
        (V5, b"\xe0\x02\x00\x00", None),
        (V5, b"", WILL),  # no goodbye at all
        (V5, b"\x00\x00", WILL),
    ],
)
def test_a_will_is_for_those_who_do_not_say_goodbye(version: int, goodbye: bytes, left: Message | None) -> None:
    session = listening(version, will=WILL)
    session.receive(goodbye, 1.0)
    assert session.take_will() == left
    assert session.take_will() is None


def test_a_will_of_somebody_who_was_never_let_in_is_nobodys() -> None:
    session = ListenerSession(Bounds(), 65_535, 0.0)
    session.receive(packets.write_connect(Connect(V5, "c", will=WILL)), 0.0)
    session.end(Reason.NOT_AUTHORIZED, "no", Fault.CREDENTIALS_REFUSED)
    assert session.take_will() is None


def test_a_farewell_fits_what_the_client_takes() -> None:
    session = listening(V5, packet_bytes_max=20)
    session.receive(HELLO5, 1.0)
    assert session.to_send() == b"\xe0\x01\x82"


# --- the subscriber's end --------------------------------------------------------------------------------------------


def subscribing(version: int = V5, **options: object) -> SubscriberSession:
    """A session that the broker has taken, with its SUBSCRIBE under way."""
    hello = Connect(version, "dcim", keep_alive_s=30)
    session = SubscriberSession(hello, ["a/#", "b"], 1, Bounds(), 0.0, **options)
    assert [packet.type for packet in sent(session)] == [PacketType.CONNECT]
    assert session.receive(packets.write_connack(Connack(0), version), 1.0) == [Opened(session_present=False)]
    return session


@VERSIONS
def test_a_subscriber_introduces_itself_and_subscribes(version: int) -> None:
    session = subscribing(version)
    (packet,) = sent(session)
    assert packets.read_subscribe(packet.body, version) == (b"\0\1", [("a/#", 1), ("b", 1)])
    events = session.receive(packets.write_suback(b"\0\1", b"\1\0", version), 2.0)
    assert events == [Subscribed((("a/#", 1), ("b", 0)))]


def test_retained_messages_are_not_asked_for_twice() -> None:
    session = subscribing(V5, retained=False)
    (packet,) = sent(session)
    assert packets.read_subscribe(packet.body, V5)[1] == [("a/#", 0x11), ("b", 0x11)]


@VERSIONS
def test_messages_may_come_before_suback(version: int) -> None:
    session = subscribing(version)
    (cut,) = session.receive(publish(b"a/1", b"x", 1, 3, version), 1.0)
    assert isinstance(cut, Cut)
    assert cut.messages == [Message(b"a/1", b"x", 1)]


@pytest.mark.parametrize(
    ("version", "code", "fault"),
    [
        (V311, 1, Fault.CONNECTION_REFUSED),
        (V311, 2, Fault.CONNECTION_REFUSED),
        (V311, 3, Fault.CONNECTION_REFUSED),
        (V311, 4, Fault.CREDENTIALS_REFUSED),
        (V311, 5, Fault.CREDENTIALS_REFUSED),
        (V5, 0x84, Fault.CONNECTION_REFUSED),
        (V5, 0x85, Fault.CONNECTION_REFUSED),
        (V5, 0x86, Fault.CREDENTIALS_REFUSED),
        (V5, 0x87, Fault.CREDENTIALS_REFUSED),
        (V5, 0x8A, Fault.CREDENTIALS_REFUSED),
        (V5, 0x97, Fault.CONNECTION_REFUSED),
        (V5, 0xF0, Fault.CONNECTION_REFUSED),  # a code that nobody has heard of
    ],
)
def test_a_refusal_says_what_to_do(version: int, code: int, fault: Fault) -> None:
    session = SubscriberSession(Connect(version, "dcim"), ["a"], 1, Bounds(), 0.0)
    session.to_send()
    ended = ending(session.receive(packets.write_connack(Connack(code), version), 1.0))
    assert ended.fault is fault
    assert ended.todo
    assert session.over


@pytest.mark.parametrize(
    ("version", "raw"),
    [
        (V5, packets.write_suback(b"\0\2", b"\0\0", V5)),  # nobody asked under that number
        (V5, packets.write_suback(b"\0\1", b"\0", V5)),  # one code for two filters
        (V5, packets.write_suback(b"\0\1", b"\2\0", V5)),  # more than was asked for
        (V5, b"\x40\x02\x00\x01"),
        (V5, packets.PINGREQ),
        (V5, HELLO5),
        (V311, b"\xe0\x00"),  # 3.1.1 has no DISCONNECT from a broker
        (V5, publish(b"a", b"", 2, 1)),
    ],
)
def test_a_broker_that_breaks_the_rules_is_left(version: int, raw: bytes) -> None:
    session = subscribing(version)
    assert ending(session.receive(raw, 1.0)).fault is Fault.PROTOCOL_ERROR
    assert session.over


def test_publish_before_connack_is_against_the_rules() -> None:
    session = SubscriberSession(Connect(V5, "dcim"), ["a"], 1, Bounds(), 0.0)
    assert ending(session.receive(publish(b"a"), 1.0)).fault is Fault.PROTOCOL_ERROR


def test_a_brokers_goodbye_says_why() -> None:
    ended = ending(subscribing().receive(packets.write_disconnect(V5, Reason.SESSION_TAKEN_OVER), 1.0))
    assert ended.fault is Fault.CONNECTION_LOST
    assert "client_id" in ended.todo


def test_keep_alive_asks_before_it_gives_up() -> None:
    session = subscribing(answer_s=10.0)
    session.receive(packets.write_suback(b"\0\1", b"\1\1", V5), 1.0)
    session.to_send()
    assert session.tick(30.9) == []
    assert session.to_send() == b""
    assert session.tick(31.0) == []
    assert session.to_send() == packets.PINGREQ
    session.receive(packets.PINGRESP, 32.0)
    assert session.tick(61.0) == []
    assert session.to_send() == packets.PINGREQ  # nothing was said since 31
    assert session.tick(70.9) == []
    assert ending(session.tick(71.0)).fault is Fault.KEEP_ALIVE_TIMEOUT


def test_what_only_receives_still_pings_for_the_brokers_sake() -> None:
    session = subscribing()
    session.receive(packets.write_suback(b"\0\1", b"\1\1", V5), 1.0)
    session.to_send()
    for second in range(2, 60):
        session.receive(publish(b"a/1", b"x"), float(second))
        assert session.tick(float(second)) == []
    assert session.to_send() == packets.PINGREQ


def test_the_brokers_keep_alive_goes_before_ours() -> None:
    session = SubscriberSession(Connect(V5, "dcim", keep_alive_s=30), ["a"], 1, Bounds(), 0.0)
    session.receive(packets.write_connack(Connack(0, server_keep_alive_s=5), V5), 0.0)
    session.receive(packets.write_suback(b"\0\1", b"\1", V5), 0.0)
    session.to_send()
    session.tick(5.0)
    assert session.to_send() == packets.PINGREQ


@pytest.mark.parametrize("opened", [False, True])
def test_an_answer_that_does_not_come_ends_it(opened: bool) -> None:
    session = subscribing(answer_s=10.0) if opened else SubscriberSession(Connect(V5, "d"), ["a"], 1, Bounds(), 1.0)
    assert session.tick(10.9) == []
    assert session.tick(500.0, listening=False) == []  # nobody listened
    assert session.tick(509.9) == []
    ended = ending(session.tick(510.0))
    assert ended.fault is Fault.CONNECTION_LOST
    assert ("SUBACK" if opened else "CONNACK") in ended.what


def test_a_broker_that_sends_its_queue_before_suback_is_waited_for() -> None:
    session = subscribing(answer_s=10.0)
    for second in range(2, 60, 4):
        session.receive(publish(b"a/1", b"x"), float(second))
        assert session.tick(second + 3.9) == []
    assert session.tick(67.9) == []
    assert "SUBACK" in ending(session.tick(68.0)).what


def test_oversized_is_acknowledged_with_its_neighbours() -> None:
    session = SubscriberSession(Connect(V5, "d"), ["a"], 1, Bounds(payload_bytes_max=10), 0.0)
    session.receive(packets.write_connack(Connack(0), V5), 0.0)
    (cut,) = session.receive(publish(b"a", b"1", 1, 1) + publish(b"b", bytes(11), 1, 2) + publish(b"c", b"", 1, 3), 1.0)
    assert isinstance(cut, Cut)
    assert cut.oversized == [Oversized(b"b", 11)]
    assert cut.ids == [b"\0\1", b"\0\2", b"\0\3"]
    assert session.unacknowledged == 3


def test_what_is_over_says_no_more() -> None:
    session = subscribing()
    session.to_send()
    session.leave(2.0)
    assert session.to_send() == b"\xe0\x00"
    session.leave(3.0)
    session.acknowledge([b"\0\1"], 3.0)
    assert session.tick(1_000.0) == []
    assert session.to_send() == b""
