"""A load of values as a hall sends them: racks and their meters, 144 bytes of JSON each, made faster than anybody can
take them.

Lives here: the messages, and one connection that publishes them over a plain socket, windowed and paced, and knows when
each was acknowledged. Not here: who is at the other end, and what is expected of it.

A message is known by its number: it is of point `number % points` and its time is `base_ms + number // points`, so
whoever knows the acknowledged numbers knows which readings must be in the store."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from collectors.mqtt.fields import PACKET_IDS, V311
from collectors.mqtt.packets import Connect, write_connect
from tests.mqtt_peer import publish

PAYLOAD_BYTES: Final = 144
SITE: Final = "bench"
CHUNK: Final = 1_000
"""Messages that go into one write."""
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


def key(point: int, site: str = SITE, bus: str = "bms") -> str:
    """The key by which the catalogue knows a point."""
    return f"{site}|{bus}|{_rest(point)}"


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
        decimals = numbers * 7919 % 1000
        decimals[self._still[numbers % self.points % len(KINDS)]] = 0
        _write(rows, self._decimals, decimals, _DECIMALS)
        if self.qos:
            ids = numbers % PACKET_IDS + 1
            rows[:, self._id], rows[:, self._id + 1] = ids >> 8, ids & 255
        return rows.tobytes()


def _write(rows: npt.NDArray[np.uint8], at: int, numbers: npt.NDArray[np.int64], digits: int) -> None:
    for place in range(digits):
        rows[:, at + digits - 1 - place] = 48 + numbers // 10**place % 10


class Sender:
    """One connection. Acknowledgements come in the order of the messages, as brokers and our listener send them."""

    def __init__(self, host: str, port: int, values: Values, client_id: str = "load", window: int = WINDOW) -> None:
        self._values, self._window = values, window
        self.sent = self.acknowledged = 0
        """Numbers below these are."""
        self.waits_s: list[tuple[float, int]] = []
        """(from write to acknowledgement, how many messages it holds for)."""
        self._chunks: deque[tuple[int, float]] = deque()
        self._left = b""
        self._socket = socket.create_connection((host, port), 30)
        self._socket.sendall(write_connect(Connect(V311, client_id, clean=True)))
        connack = self._socket.recv(4)
        if connack[:1] != b"\x20" or connack[3]:
            raise ConnectionError(f"not let in: {connack!r}")

    def run(self, count: int, base_ms: int, rate: float | None = None, *, follow_clock: bool = False) -> float:
        """Sends `count` more and waits for their acknowledgements; answers the seconds that took.

        rate: messages a second; None is as many as the window lets through. follow_clock: times are those of sending,
        and base_ms is now. Raises ConnectionError when the other end goes; `acknowledged` then tells how far it was.
        """
        began, last, goal = time.monotonic(), self.sent, self.sent + count
        paced_from = last
        while self.acknowledged < goal if self._values.qos else self.sent < goal:
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
        """Counts what was acknowledged. Waits so long for it; None is for ever, 0 not at all."""
        if not self._values.qos:
            if patience_s:
                time.sleep(patience_s)
            return
        self._socket.settimeout(patience_s if patience_s is None or patience_s else 0.0)
        try:
            data = self._socket.recv(262_144)
        except (TimeoutError, BlockingIOError):
            return
        finally:
            self._socket.settimeout(30)
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
            self.waits_s.append((now - written, CHUNK))

    def close(self) -> None:
        """Says goodbye."""
        self._socket.sendall(b"\xe0\0")
        self._socket.close()
