"""Both ends of an MQTT connection as a state machine: bytes and time in, events and bytes out. No socket, no clock.

Lives here: which packet may come when, what is answered, when a peer counts as dead. Not here: bytes (wire.py,
packets.py), sockets and retries (link.py, subscriber.py, listener.py), when a batch is durable (delivery.py).

`now` is any clock in seconds that never goes back. After every call: send what `to_send` gives, and close the
connection when `over`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, TypeAlias

from collectors.mqtt import packets
from collectors.mqtt.fields import PACKET_IDS, V5, V311, PacketType, ProtocolError, Reason
from collectors.mqtt.packets import Connack, Connect
from collectors.mqtt.wire import Bounds, Cut, Cutter, write_pubacks
from dcim.core.ledger import Fault
from dcim.core.ports import Message


class State(Enum):
    """Where a connection stands. `NEXT` of each role says which packets may come in which."""

    GREETING = auto()
    """The listener waits for CONNECT, the subscriber for CONNACK."""
    CHECKING = auto()
    """The listener has CONNECT and somebody thinks about it; nothing further is read until then."""
    OPEN = auto()
    OVER = auto()


class Opened(NamedTuple):
    """The broker has taken us."""

    session_present: bool
    """Whether it had kept our session, and with it what came while we were away."""


class Subscribed(NamedTuple):
    """What the broker made of our filters: the granted QoS, or the code of a refusal, which is 0x80 or above."""

    codes: tuple[tuple[str, int], ...]


class Asked(NamedTuple):
    """A client wants in: call `admit`, or `end` with the reason why not."""

    connect: Connect


class SubscribeRefused(NamedTuple):
    """A client wanted messages from us, which is not what we are for. It has been told."""

    filters: tuple[str, ...]


class Ended(NamedTuple):
    """The connection is over. fault: how the ledger counts it; None where all is in order."""

    fault: Fault | None
    what: str
    todo: str = ""


Event: TypeAlias = Cut | Opened | Subscribed | Asked | SubscribeRefused | Ended
_Take: TypeAlias = Callable[[Any, bytes], Sequence[Event]]


class Session(ABC):
    """What both roles share."""

    NEXT: ClassVar[Mapping[tuple[State, PacketType], _Take]] = {}
    """What is done with a packet; one that is not listed may not come. PUBLISH has no line: it comes when OPEN."""

    def __init__(self, cutter: Cutter, window: int, messages_max: int, now: float) -> None:
        self.state = State.GREETING
        self.unacknowledged = 0
        """QoS 1 messages that came and are not acknowledged."""
        self._cutter, self._window, self._messages_max = cutter, window, messages_max
        self._out: list[bytes] = []
        self._now = self._heard = self._said = now

    @property
    def version(self) -> int:
        """Protocol level: 4 is 3.1.1, 5 is 5."""
        return self._cutter.version

    @property
    def over(self) -> bool:
        """Whether the connection is to be closed, once `to_send` is sent."""
        return self.state is State.OVER

    @property
    def buffered(self) -> int:
        """Bytes that came and are not yet cut."""
        return self._cutter.buffered

    def receive(self, data: bytes | bytearray | memoryview, now: float) -> list[Event]:
        """Takes what came; answers what it meant, in order. Raises nothing: what is no MQTT ends the session."""
        self._now = self._heard = now
        if self.over:
            return []
        self._cutter.feed(data)
        return self._read()

    def acknowledge(self, ids: Sequence[bytes], now: float) -> None:
        """Acknowledges messages that came on this connection, in one piece. No-op once it is over."""
        if self.state is State.OPEN:
            self.unacknowledged -= len(ids)
            self._send(write_pubacks(ids), now)

    def to_send(self) -> bytes:
        """What is to be written now, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def end(self, reason: Reason, what: str, fault: Fault | None = None, todo: str = "") -> list[Event]:
        """Ends the connection from our side, with the reason that the other end is told where the version has one."""
        if self.over:
            return []
        self._out.append(self._farewell(reason, what))
        self.state = State.OVER
        return [Ended(fault, what, todo)]

    def _read(self) -> list[Event]:
        events: list[Event] = []
        try:
            while self.state in {State.GREETING, State.OPEN}:
                cut = Cut()
                try:
                    packet = self._cutter.cut(cut, self._messages_max)
                finally:
                    if cut:
                        events.append(cut)
                        self._owe(len(cut.ids))
                if packet is not None:
                    events += self._take(packet.type, packet.body)
                elif not cut:
                    break
        except ProtocolError as error:
            events += self.end(error.reason, error.what, error.fault)
        return events

    def _owe(self, count: int) -> None:
        self.unacknowledged += count
        if self.version == V5 and self.unacknowledged > self._window:
            raise ProtocolError("more unacknowledged messages than were allowed", Reason.RECEIVE_MAXIMUM_EXCEEDED)

    def _take(self, kind: PacketType, body: bytes) -> Sequence[Event]:
        take = self.NEXT.get((self.state, kind))
        if take is None:
            raise ProtocolError(f"{kind.name} where it may not come", Reason.PROTOCOL_ERROR)
        return take(self, body)

    def _send(self, data: bytes, now: float) -> None:
        self._out.append(data)
        self._now = self._said = now

    @abstractmethod
    def _farewell(self, reason: Reason, what: str) -> bytes:
        """The last packet that the other end is sent; empty where the version has none."""

    @abstractmethod
    def tick(self, now: float, *, listening: bool = True) -> list[Event]:
        """Lets time pass. listening: False while nothing is read, for then silence tells nothing."""

    # QoS 2 is never begun here, so whatever a peer remembers of it is from another life: it is let go, by the book.

    def _pubrec(self, body: bytes) -> Sequence[Event]:
        packet_id, _ = packets.read_answer(body, self.version)
        answer = packets.write_answer(PacketType.PUBREL, packet_id, self.version, Reason.PACKET_ID_NOT_FOUND)
        self._send(answer, self._now)
        return ()

    def _pubrel(self, body: bytes) -> Sequence[Event]:
        packet_id, _ = packets.read_answer(body, self.version)
        answer = packets.write_answer(PacketType.PUBCOMP, packet_id, self.version, Reason.PACKET_ID_NOT_FOUND)
        self._send(answer, self._now)
        return ()


_CREDENTIALS = (
    Fault.CREDENTIALS_REFUSED,
    "Check user, password and client certificate against what the broker knows.",
)
_CLIENT_ID = Fault.CONNECTION_REFUSED, "Choose another client_id."
_LATER = Fault.CONNECTION_REFUSED, "It is tried again; look at the broker's own log if it stays."
_REFUSALS: Mapping[tuple[int, int], tuple[str, Fault, str]] = {
    (V311, 1): ("it does not speak MQTT 3.1.1", Fault.CONNECTION_REFUSED, 'Set version = "5".'),
    (V311, 2): ("it does not like our client id", *_CLIENT_ID),
    (V311, 3): ("it is not available", *_LATER),
    (V311, 4): ("user or password is wrong", *_CREDENTIALS),
    (V311, 5): ("we are not authorized", *_CREDENTIALS),
    (V5, Reason.UNSUPPORTED_VERSION): ("it does not speak MQTT 5", Fault.CONNECTION_REFUSED, 'Set version = "3.1.1".'),
    (V5, Reason.CLIENT_ID_NOT_VALID): ("it does not like our client id", *_CLIENT_ID),
    (V5, Reason.BAD_USER_OR_PASSWORD): ("user or password is wrong", *_CREDENTIALS),
    (V5, Reason.NOT_AUTHORIZED): ("we are not authorized", *_CREDENTIALS),
    (V5, Reason.BANNED): ("it has banned us", *_CREDENTIALS),
    (V5, Reason.BAD_AUTHENTICATION_METHOD): ("it wants another way of signing in", *_CREDENTIALS),
    (V5, Reason.SERVER_UNAVAILABLE): ("it is not available", *_LATER),
    (V5, Reason.SERVER_BUSY): ("it is busy", *_LATER),
    (V5, Reason.QUOTA_EXCEEDED): ("it has too many clients", *_LATER),
}
"""(version, code of CONNACK) → what it says, how it counts, what to do."""
_GOODBYES: Mapping[int, tuple[str, Fault, str]] = {
    Reason.NOT_AUTHORIZED: ("we are no longer authorized", *_CREDENTIALS),
    Reason.SERVER_BUSY: ("it is busy", Fault.CONNECTION_LOST, ""),
    Reason.SERVER_SHUTTING_DOWN: ("it is shutting down", Fault.CONNECTION_LOST, ""),
    Reason.KEEP_ALIVE_TIMEOUT: ("it had not heard of us in time", Fault.KEEP_ALIVE_TIMEOUT, ""),
    Reason.SESSION_TAKEN_OVER: (
        "another client came with our client id",
        Fault.CONNECTION_LOST,
        "Give every collector a client_id of its own.",
    ),
}
"""Reason of a broker's DISCONNECT → what it says, how it counts, what to do."""


class SubscriberSession(Session):
    """Our end at a broker: introduces itself, subscribes, receives, acknowledges."""

    def __init__(
        self,
        hello: Connect,
        filters: Sequence[str],
        qos: int,
        bounds: Bounds,
        now: float,
        *,
        messages_max: int = 10_000,
        answer_s: float = 10.0,
        retained: bool = True,
    ) -> None:
        """Begins with CONNECT in `to_send`.

        messages_max: of one `Cut`. answer_s: how long the broker may be silent while it owes us an answer.
        retained: whether retained messages are wanted for subscriptions that the broker has already.
        """
        super().__init__(Cutter(bounds, hello.version), hello.receive_max, messages_max, now)
        self._filters, self._qos, self._retained = tuple(filters), qos, retained
        self._keep_alive_s = float(hello.keep_alive_s)
        self._answer_s = answer_s
        self._answer_by: float | None = now + answer_s
        self._pinged: float | None = None
        self._packet_id = 0
        self._asked_for: dict[bytes, tuple[str, ...]] = {}
        self._send(packets.write_connect(hello), now)

    def subscribe(self, filters: Sequence[str], now: float) -> None:
        """Asks for these filters (again). Only when OPEN; the answer comes as `Subscribed`."""
        self._packet_id = self._packet_id % PACKET_IDS + 1
        self._asked_for[self._packet_id.to_bytes(2, "big")] = tuple(filters)
        self._answer_by = now + self._answer_s
        packet = packets.write_subscribe(self._packet_id, filters, self._qos, self.version, retained=self._retained)
        self._send(packet, now)

    def leave(self, now: float) -> None:
        """Says goodbye; the broker keeps our session."""
        if not self.over:
            self._send(packets.write_disconnect(self.version), now)
            self.state = State.OVER

    def tick(self, now: float, *, listening: bool = True) -> list[Event]:
        """Lets time pass: sends PINGREQ when due, ends the session when the broker does not answer.

        listening: False while nothing is read, for then silence tells nothing.
        """
        self._now = now
        if self.over:
            return []
        if not listening:
            self._heard = now
            self._answer_by = now + self._answer_s if self._answer_by is not None else None
        # A broker with a long queue for us sends of it first: it is alive, and to hang up would have it begin anew.
        if self._answer_by is not None and now >= max(self._answer_by, self._heard + self._answer_s):
            missing = "CONNACK" if self.state is State.GREETING else "SUBACK"
            what = f"no {missing} within {self._answer_s:g} s"
            return self.end(Reason.UNSPECIFIED, what, Fault.CONNECTION_LOST, "Is this an MQTT broker?")
        if self.state is not State.OPEN or not self._keep_alive_s:
            return []
        if self._pinged is not None and self._heard > self._pinged:
            self._pinged = None
        if self._pinged is not None:
            if now - self._pinged >= self._answer_s:
                what = f"the broker was silent for {now - self._heard:.0f} s"
                return self.end(Reason.KEEP_ALIVE_TIMEOUT, what, Fault.KEEP_ALIVE_TIMEOUT)
        elif now - min(self._heard, self._said) >= self._keep_alive_s:
            self._pinged = now
            self._send(packets.PINGREQ, now)
        return []

    def _connack(self, body: bytes) -> Sequence[Event]:
        connack = packets.read_connack(body, self.version)
        if connack.code:
            what, fault, todo = _REFUSALS.get((self.version, connack.code), (f"reason {connack.code:#04x}", *_LATER))
            said = f" ({connack.reason_string[:200]!r})" if connack.reason_string else ""
            self.state = State.OVER
            return (Ended(fault, f"the broker refused us: {what}{said}", todo),)
        if connack.server_keep_alive_s is not None:
            self._keep_alive_s = float(connack.server_keep_alive_s)
        self.state = State.OPEN
        self._answer_by = None
        self._cutter.takes_publish = True
        self.subscribe(self._filters, self._now)
        return (Opened(connack.session_present),)

    def _suback(self, body: bytes) -> Sequence[Event]:
        packet_id, codes = packets.read_suback(body, self.version)
        filters = self._asked_for.pop(packet_id, None)
        if filters is None or len(codes) != len(filters) or any(self._qos < code < 0x80 for code in codes):
            raise ProtocolError("SUBACK answers what was not asked", Reason.PROTOCOL_ERROR)
        if not self._asked_for:
            self._answer_by = None
        return (Subscribed(tuple(zip(filters, codes, strict=True))),)

    def _pingresp(self, body: bytes) -> Sequence[Event]:
        packets.read_empty(body)
        return ()

    def _disconnect(self, body: bytes) -> Sequence[Event]:
        if self.version != V5:
            raise ProtocolError("DISCONNECT from a broker, which 3.1.1 does not have", Reason.PROTOCOL_ERROR)
        reason, reason_string = packets.read_disconnect(body, self.version)
        what, fault, todo = _GOODBYES.get(reason, (f"reason {reason:#04x}", Fault.CONNECTION_LOST, ""))
        said = f" ({reason_string[:200]!r})" if reason_string else ""
        self.state = State.OVER
        return (Ended(fault, f"the broker disconnected us: {what}{said}", todo),)

    def _farewell(self, reason: Reason, what: str) -> bytes:
        return packets.write_disconnect(self.version, reason, what) if self.version == V5 else b""

    NEXT: ClassVar[Mapping[tuple[State, PacketType], _Take]] = {
        (State.GREETING, PacketType.CONNACK): _connack,
        (State.OPEN, PacketType.SUBACK): _suback,
        (State.OPEN, PacketType.PINGRESP): _pingresp,
        (State.OPEN, PacketType.PUBREC): Session._pubrec,
        (State.OPEN, PacketType.PUBREL): Session._pubrel,
        (State.OPEN, PacketType.DISCONNECT): _disconnect,
    }


_CODES_311: Mapping[Reason, int] = {
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.CLIENT_ID_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.BAD_USER_OR_PASSWORD: 4,
    Reason.BAD_AUTHENTICATION_METHOD: 5,
    Reason.NOT_AUTHORIZED: 5,
}
"""What CONNACK of 3.1.1 can say; for any other reason it just closes."""


class ListenerSession(Session):
    """Our end towards a device that connects to us: lets it in, takes what it publishes, acknowledges."""

    def __init__(
        self, bounds: Bounds, window: int, now: float, *, messages_max: int = 10_000, connect_s: float = 5.0
    ) -> None:
        """window: unacknowledged messages that a client of MQTT 5 is held to. messages_max: of one `Cut`.
        connect_s: within which CONNECT must come."""
        super().__init__(Cutter(bounds, from_client=True), window, messages_max, now)
        self._bounds, self._connect_s, self._connect_by = bounds, connect_s, now + connect_s
        self._keep_alive_s = 0
        self._will: Message | None = None
        self._connect: Connect | None = None
        self.client_id = ""
        """Empty until it is let in; then its own id, or the one that it was given."""

    def admit(self, client_id: str, now: float) -> list[Event]:
        """Lets in the client that asked, under its own id or the one that it is given here; goes on reading."""
        connect = self._connect
        if self.state is not State.CHECKING or connect is None:
            return []
        self.state, self.client_id = State.OPEN, client_id
        self._heard, self._keep_alive_s, self._will = now, connect.keep_alive_s, connect.will
        self._cutter.takes_publish = True
        connack = Connack(
            code=0,
            session_expiry_s=0 if connect.session_expiry_s else None,
            receive_max=self._window if self._window < PACKET_IDS else None,
            maximum_qos=1,
            packet_bytes_max=self._bounds.closing_bytes,
            assigned_client_id=client_id if client_id != connect.client_id else None,
            topic_alias_max=0,
        )
        self._send(packets.write_connack(connack, self.version, connect.packet_bytes_max), now)
        return self._read()

    def take_will(self) -> Message | None:
        """The will of a client that went without saying so; once, then None."""
        will, self._will = self._will, None
        return will

    def tick(self, now: float, *, listening: bool = True) -> list[Event]:
        """Lets time pass: ends the session of a client that does not introduce itself, or has gone silent."""
        self._now = now
        if not listening:
            self._heard = now
        if self.state is State.GREETING and now >= self._connect_by:
            what = f"no CONNECT within {self._connect_s:g} s"
            return self.end(Reason.PROTOCOL_ERROR, what, Fault.PROTOCOL_ERROR)
        if self.state is State.OPEN and self._keep_alive_s and now - self._heard > 1.5 * self._keep_alive_s:
            what = f"silent for {now - self._heard:.0f} s, with a keep-alive of {self._keep_alive_s} s"
            return self.end(Reason.KEEP_ALIVE_TIMEOUT, what, Fault.KEEP_ALIVE_TIMEOUT)
        return []

    def _asks(self, body: bytes) -> Sequence[Event]:
        version = packets.read_version(body)
        if version not in {V311, V5}:
            what = f"a client speaks MQTT level {version}; 4 (3.1.1) and 5 are taken"
            self._cutter.version = V5 if version > V5 else V311
            self.state = State.CHECKING
            return self.end(Reason.UNSUPPORTED_VERSION, what, Fault.PROTOCOL_ERROR)
        self._cutter.version = version
        self.state = State.CHECKING  # from here on the client can be told why
        connect = packets.read_connect(body)
        self._connect = connect
        if connect.authentication_method is not None:
            what = f"a client wants to sign in by {connect.authentication_method[:64]!r}, which is not offered"
            return self.end(Reason.BAD_AUTHENTICATION_METHOD, what, Fault.CREDENTIALS_REFUSED)
        if connect.will is not None and connect.will.qos == 2 and version == V5:
            return self.end(Reason.QOS_NOT_SUPPORTED, "a client has a will of QoS 2", Fault.PROTOCOL_ERROR)
        if not connect.client_id and not connect.clean and version == V311:  # [MQTT-3.1.3-8]
            return self.end(Reason.CLIENT_ID_NOT_VALID, "a client wants a session without an id", Fault.PROTOCOL_ERROR)
        return (Asked(connect),)

    def _subscribe(self, body: bytes) -> Sequence[Event]:
        # 0x83: "the SUBSCRIBE is valid but the Server does not accept it". Not authorized (0x87) would send people
        # looking for a password, and the codes about wildcards and sharing would have them try another filter.
        packet_id, filters = packets.read_subscribe(body, self.version)
        refusal = Reason.IMPLEMENTATION_SPECIFIC if self.version == V5 else Reason.UNSPECIFIED
        self._send(packets.write_suback(packet_id, bytes([refusal]) * len(filters), self.version), self._now)
        return (SubscribeRefused(tuple(topic_filter for topic_filter, _ in filters)),)

    def _unsubscribe(self, body: bytes) -> Sequence[Event]:
        packet_id, filters = packets.read_unsubscribe(body, self.version)
        codes = bytes([Reason.NO_SUBSCRIPTION_EXISTED]) * len(filters)
        self._send(packets.write_unsuback(packet_id, codes, self.version), self._now)
        return ()

    def _pingreq(self, body: bytes) -> Sequence[Event]:
        packets.read_empty(body)
        self._send(packets.PINGRESP, self._now)
        return ()

    def _disconnect(self, body: bytes) -> Sequence[Event]:
        reason, _ = packets.read_disconnect(body, self.version)
        if reason == Reason.SUCCESS:
            self._will = None
        self.state = State.OVER
        return (Ended(None, "the client said goodbye"),)

    def _farewell(self, reason: Reason, what: str) -> bytes:
        if self.state is State.OPEN and self.version == V5:
            return packets.write_disconnect(V5, reason, what, self._packet_bytes_max)
        if self.state is State.CHECKING and self.version == V5:
            return packets.write_connack(Connack(reason, reason_string=what), V5, self._packet_bytes_max)
        if self.state is State.CHECKING and reason in _CODES_311:
            return packets.write_connack(Connack(_CODES_311[reason]), V311)
        return b""

    @property
    def _packet_bytes_max(self) -> int | None:
        return self._connect.packet_bytes_max if self._connect else None

    NEXT: ClassVar[Mapping[tuple[State, PacketType], _Take]] = {
        (State.GREETING, PacketType.CONNECT): _asks,
        (State.OPEN, PacketType.SUBSCRIBE): _subscribe,
        (State.OPEN, PacketType.UNSUBSCRIBE): _unsubscribe,
        (State.OPEN, PacketType.PUBREC): Session._pubrec,
        (State.OPEN, PacketType.PUBREL): Session._pubrel,
        (State.OPEN, PacketType.PINGREQ): _pingreq,
        (State.OPEN, PacketType.DISCONNECT): _disconnect,
    }
