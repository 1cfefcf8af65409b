"""A load of values as a hall sends them: racks and their meters, 144 bytes of JSON each, made faster than anybody can
take them.

Lives here: the messages, and one connection that publishes them over a plain socket, windowed and paced, and knows when
each was acknowledged. Not here: who is at the other end, and what is expected of it.

A message is known by its number: it is of point `number % points` and its time is `base_ms + number // points`, so
whoever knows the acknowledged numbers knows which readings must be in the store."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from collectors.mqtt.fields import PACKET_IDS, V311
from collectors.mqtt.packets import Connect, write_connect
from tests.mqtt_peer import publish

PAYLOAD_BYTES: Final = 144
CHUNK: Final = 1_000
"""Messages that go into one write."""
PATIENCE_S: Final = 60.0
WINDOW: Final = 40_000
"""Messages under way at once: more than are in a batch, so that nobody waits for the sender."""


class _Kind(NamedTuple):
    """A point that every rack of the load has."""

    object_type: str
    point_type: str
    unit: str
    value: float
    owner: str
    """What it is measured at: "" is the rack itself, else one of its meters."""
    moves: bool = True
    """Whether the decimals of its value change from message to message."""


_RACK = [
    _Kind("Rack", "RackLiquidSupplyTemperature", "degC", 30, ""),
    _Kind("Rack", "RackLiquidReturnTemperature", "degC", 40, ""),
    _Kind("Rack", "RackLiquidFlow", "L/min", 150, ""),
    _Kind("Rack", "RackLiquidDifferentialPressure", "kPa", 80, ""),
    _Kind("Rack", "RackControlValvePosition", "%", 55, ""),
    _Kind("Rack", "RackPower", "kW", 100, ""),
    _Kind("Rack", "RackLeakDetect", "", 0, "", moves=False),
    _Kind("Rack", "RackLeakSensorFault", "", 0, "", moves=False),
]
_METER = [
    ("Voltage", "V", 415), ("Current", "A", 70), ("CurrentLimit", "A", 160),
    ("PowerFactor", "", 0), ("ActivePower", "kW", 50), ("ApparentPower", "kVA", 50),
]  # fmt: skip
KINDS: Final = [*_RACK, *(_Kind("PowerMeter", *of, owner) for owner in ("A", "B") for of in _METER)]
"""The points of one rack: with all of them, twenty. Values at which no alarm stands."""
_STATES = b'"stateText":[{"value":0,"text":"NoLeak"},{"value":1,"text":"Leak"}]'
_STAMP_DIGITS, _DECIMALS = 13, 3


def metadata(points: int) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of the description of each point."""
    for point in range(points):
        kind, rack = KINDS[point % len(KINDS)], point // len(KINDS)
        if kind.owner:
            who = b'"objectId":"meter-%d%s","objectName":"Meter %d%s"' % (
                rack,
                kind.owner.encode(),
                rack,
                kind.owner.encode(),
            )
        else:
            who = b'"rackLocationId":"rack-%d","rackLocationName":"Rack %d"' % (rack, rack)
        what = b'"engUnit":"%s"' % kind.unit.encode() if kind.moves else _STATES
        body = b'{"objectType":"%s","pointType":"%s",%s,%s}' % (
            kind.object_type.encode(), kind.point_type.encode(), who, what,
        )  # fmt: skip
        yield f"BMS/v1/PUB/Metadata/{_rest(point)}", body


def key(point: int, site: str, bus: str = "bms") -> str:
    """The key by which the catalogue knows a point."""
    return f"{site}|{bus}|{_rest(point)}"


def describe(host: str, port: int, points: int, *, retain: bool = False, tls: ssl.SSLContext | None = None) -> None:
    """Publishes the descriptions of all points and waits until they are acknowledged."""
    sock = socket.create_connection((host, port), PATIENCE_S)
    with tls.wrap_socket(sock, server_hostname=host) if tls else sock as connection:
        connection.sendall(write_connect(Connect(V311, "describe", clean=True)))
        left = 4  # CONNACK
        for number, (topic, body) in enumerate(metadata(points)):
            connection.sendall(publish(topic.encode(), body, 1, number % PACKET_IDS + 1, V311, retain=retain))
            left += 4
            if left > 4 * CHUNK:
                left -= len(connection.recv(left))
        while left:
            data = connection.recv(262_144)
            if not data:
                raise ConnectionError("the other end hung up")
            left -= len(data)
        connection.sendall(b"\xe0\0")


def _rest(point: int) -> str:
    """What the topics of a point end in; all of one length, for the paths make up for the names of the types."""
    kind, rack = KINDS[point % len(KINDS)], point // len(KINDS)
    types = f"{kind.object_type}/{kind.point_type}"
    return f"{types}/Hall1/{'Row'.ljust(38 - len(types), 'w')}{rack % 40:02}/R{rack:06}{kind.owner:_<1}/present"


class Values:
    """The messages, as PUBLISH of MQTT 3.1.1."""

    def __init__(self, points: int, qos: int) -> None:
        """What changes in a message has a known place, so one array is patched again and again."""
        self.points, self.qos = points, qos
        packets = []
        for point in range(points):
            kind = KINDS[point % len(KINDS)]
            payload = b'{"value":%7.3f,"timestamp":%013d,"quality":1,"note":"' % (kind.value, 0)
            payload = payload.ljust(PAYLOAD_BYTES - 2, b"x") + b'"}'
            packets.append(publish(f"BMS/v1/PUB/Value/{_rest(point)}".encode(), payload, qos, 1, V311))
        self.size = len(packets[0])
        self._ring = np.frombuffer(b"".join(packets), np.uint8).reshape(points, self.size).copy()
        at = self.size - PAYLOAD_BYTES
        self._id = at - 2
        self._decimals = at + payload.index(b",") - _DECIMALS
        self._stamp = at + payload.index(b'p":') + 3
        self._still = np.array([not kind.moves for kind in KINDS])

    def packets(self, first: int, count: int, base_ms: int) -> bytes:
        """Messages number `first` … `first + count − 1`."""
        numbers = np.arange(first, first + count)
        rows = self._ring[numbers % self.points]
        _write(rows, self._stamp, base_ms + numbers // self.points, _STAMP_DIGITS)
        _write(rows, self._decimals, self._thousandths(numbers), _DECIMALS)
        if self.qos:
            ids = numbers % PACKET_IDS + 1
            rows[:, self._id], rows[:, self._id + 1] = ids >> 8, ids & 255
        return rows.tobytes()

    def values(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The values that these messages carry."""
        whole = np.array([kind.value for kind in KINDS])[numbers % self.points % len(KINDS)]
        return whole + self._thousandths(numbers) / 1000

    def _thousandths(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(self._still[numbers % self.points % len(KINDS)], 0, numbers * 7919 % 1000)


def _write(rows: npt.NDArray[np.uint8], at: int, numbers: npt.NDArray[np.int64], digits: int) -> None:
    for place in range(digits):
        rows[:, at + digits - 1 - place] = 48 + numbers // 10**place % 10


class Sender:
    """One connection. Acknowledgements come in the order of the messages, as brokers and our listener send them."""

    def __init__(
        self,
        host: str,
        port: int,
        values: Values,
        *,
        client_id: str = "load",
        window: int = WINDOW,
        first: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """first: the number to begin with. Raises OSError when it cannot connect, ConnectionError when not let in."""
        self._values, self._window = values, window
        self.sent = self.acknowledged = first
        """Numbers below these are."""
        self.waits_s: list[float] = []
        """From the write of a chunk to the acknowledgement of its last message."""
        self._chunks: deque[tuple[int, float]] = deque()
        self._left = b""
        self._socket = socket.create_connection((host, port), PATIENCE_S)
        try:
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._socket.sendall(write_connect(Connect(V311, client_id, clean=True)))
            connack = self._socket.recv(4)
            if len(connack) < 4 or connack[0] != 0x20 or connack[3]:
                raise ConnectionError(f"not let in: {connack!r}")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye where all went well; closes the socket."""
        with self._socket:
            if error is None:
                self._socket.sendall(b"\xe0\0")

    def run(
        self,
        count: int,
        base_ms: int,
        rate: float | None = None,
        *,
        follow_clock: bool = False,
        stop: threading.Event | None = None,
    ) -> float:
        """Sends `count` more, or what was sent when `stop` is set, and waits for the acknowledgements; answers the
        seconds that took.

        rate: messages a second; None is as many as the window lets through. follow_clock: times are those of sending,
        and base_ms is now. Raises OSError when the other end goes; `acknowledged` then tells how far it was.
        """
        began, paced_from, goal = time.monotonic(), self.sent, self.sent + count
        while (self.acknowledged if self._values.qos else self.sent) < goal:
            if stop is not None and stop.is_set():
                goal = self.sent
            room = goal - self.sent
            if self._values.qos:
                room = min(room, self._window - (self.sent - self.acknowledged))
            now = time.monotonic()
            if rate is not None:
                room = min(room, int((now - began) * rate) - (self.sent - paced_from))
            if room >= min(CHUNK, goal - self.sent) > 0:
                room = min(room, CHUNK)
                at_ms = base_ms + int((now - began) * 1000) if follow_clock else base_ms
                self._socket.sendall(self._values.packets(self.sent, room, at_ms))
                self.sent += room
                self._chunks.append((self.sent, time.monotonic()))
                self._receive(0.0)
            else:
                self._receive(0.002 if rate is not None else None)
        return time.monotonic() - began

    def _receive(self, patience_s: float | None) -> None:
        """Counts what was acknowledged. Waits so long for it; 0 is not at all, None as long as there is patience."""
        if not self._values.qos:
            if patience_s:
                time.sleep(patience_s)
            return
        self._socket.settimeout(PATIENCE_S if patience_s is None else patience_s)
        try:
            data = self._socket.recv(262_144)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            if patience_s is None:
                raise
            return
        finally:
            self._socket.settimeout(PATIENCE_S)
        if not data:
            raise ConnectionError("the other end hung up")
        data = self._left + data
        whole = len(data) // 4
        self._left = data[whole * 4 :]
        pubacks = np.frombuffer(data[: whole * 4], np.uint8).reshape(-1, 4)
        ids = pubacks[:, 2].astype(np.int64) << 8 | pubacks[:, 3]
        expected = np.arange(self.acknowledged, self.acknowledged + whole) % PACKET_IDS + 1
        if (pubacks[:, 0] != 0x40).any() or (ids != expected).any():
            raise ConnectionError("something else than the next acknowledgements came")
        self.acknowledged += whole
        now = time.monotonic()
        while self._chunks and self._chunks[0][0] <= self.acknowledged:
            _, written = self._chunks.popleft()
            self.waits_s.append(now - written)


class Load(threading.Thread):
    """Publishes on and on at a rate, until told to stop; connects again when the other end goes, and sends again what
    was not acknowledged, as devices do."""

    def __init__(self, host: str, port: int, points: int, rate: float, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(daemon=True)
        self._where, self._values, self._rate, self._tls = (host, port), Values(points, 1), rate, tls
        self.base_ms = int(time.time() * 1000) - 60_000
        self.connections = 0
        self._done = 0
        self._sender: Sender | None = None
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    @property
    def acknowledged(self) -> int:
        """Messages with numbers below this are acknowledged."""
        sender = self._sender
        return self._done if sender is None else sender.acknowledged

    def run(self) -> None:
        """The thread's work."""
        try:
            while not self._stopping.is_set():
                self._attempt()
        except BaseException as error:  # noqa: BLE001  `finish` raises it where somebody looks
            self._failure = error

    def _attempt(self) -> None:
        """One connection, from beginning to end."""
        try:
            with Sender(*self._where, self._values, first=self._done, tls=self._tls) as self._sender:
                self.connections += 1
                self._sender.run(1 << 40, self.base_ms, self._rate, stop=self._stopping)
        except OSError:
            self._stopping.wait(0.05)
        finally:
            self._done, self._sender = self.acknowledged, None

    def finish(self) -> int:
        """Stops it, lets it wait for its last acknowledgements, and answers how many it has got."""
        self._stopping.set()
        self.join(2 * PATIENCE_S)
        if self._failure is not None or self.is_alive():
            raise AssertionError("the load does not come to its end") from self._failure
        return self.acknowledged

    def expected(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Point of the load, time in microseconds and value of each message that was acknowledged."""
        numbers = np.arange(self.acknowledged)
        points = numbers % self._values.points
        return points, (self.base_ms + numbers // self._values.points) * 1000, self._values.values(numbers)
