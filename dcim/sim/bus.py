"""The hall on the bus: topics and payloads of the DSX BMS event bus and of the GPU telemetry, and when each is sent.

Metadata is sent at the start and every 100 s, retained; a value when it changes and again 100 s after it was last sent;
a heartbeat every 10 s; a host's GPUs every time. Lives here: that form. Not here: what is measured (sensors.py), the
way to a broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from dcim.sim.gpus import gpu_fields
from dcim.sim.hall import Floats, Hall
from dcim.sim.sensors import INTEGRATION, MISSING, Gauge, Place, Sensors
from dcim.sim.state import State

XID = 230
"""The one field of a GPU that has fallen off its bus that is still told."""
REPUBLISH_S = 100.0
HEARTBEAT_S = 10.0
_MOMENT_S = 1e-6
"""Times are sums of paces; this much less than due is due."""


class Outgoing(NamedTuple):
    """One message to publish."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What has been sent so far, as far as it matters for what is to be sent next. Times in seconds since the start."""

    shown: npt.NDArray[np.int64]
    """By meter: what was last sent."""
    at_s: Floats
    """By meter: when."""
    metadata_s: float
    heartbeat_s: float


class Bus:
    """The topics and descriptions of a hall; knows nothing of time."""

    def __init__(self, hall: Hall, sensors: Sensors) -> None:
        self._hall = hall
        site = hall.settings.site
        spots = [(gauge, place) for gauge in sensors.gauges for place in gauge.places]
        heartbeats = [
            ("HeartbeatTimestampBms", {"objectName": "BMS", "objectId": "BMS", "scope": "BMS/v1/PUB/#"}, "PUB"),
            (
                "HeartbeatTimestampIntegration",
                {"objectName": INTEGRATION, "objectId": INTEGRATION, "integration": INTEGRATION},
                INTEGRATION,
            ),
        ]
        self._topics = [
            f"BMS/v1/{gauge.integration or 'PUB'}/Value/{_tail(site, gauge, place)}" for gauge, place in spots
        ]
        self._digits = (10.0**sensors.decimals).tolist()
        self._whole = (sensors.decimals == 0).tolist()
        self._metadata = [
            Outgoing(f"BMS/v1/PUB/Metadata/{_tail(site, gauge, place)}", _json(_describe(gauge, place)), retain=True)
            for gauge, place in spots
        ] + [
            Outgoing(
                f"BMS/v1/PUB/Metadata/System/{kind}/{site}/{owner['objectId']}",
                _json({"objectType": "System", "pointType": kind, **owner}),
                retain=True,
            )
            for kind, owner, _ in heartbeats
        ]
        self._heartbeats = [
            f"BMS/v1/{by}/Value/System/{kind}/{site}/{owner['objectId']}" for kind, owner, by in heartbeats
        ]
        self._by_bms = np.array([not gauge.integration for gauge, _ in spots])
        self._hosts = [
            (f"dcim/v1/{site}/gpu/{host}", _gpus(hall, rack, host))
            for rack, hosts in enumerate(hall.hosts)
            for host in hosts
        ]
        self.never = Sent(
            np.zeros(len(spots), np.int64), np.full(len(spots), -np.inf), metadata_s=-np.inf, heartbeat_s=-np.inf
        )
        """Before the first message."""

    def messages(
        self, sent: Sent, shown: npt.NDArray[np.int64], state: State, time_ms: int
    ) -> tuple[Sent, list[Outgoing]]:
        """What is to be sent at an instant, and what has been sent after it. Pure. Metadata comes first, then
        heartbeats, values, GPUs. time_ms: the instant in milliseconds UTC, as the payloads say it."""
        time_s = float(state.time_s)
        now_s = time_s + _MOMENT_S
        outgoing: list[Outgoing] = []
        metadata_s, heartbeat_s = sent.metadata_s, sent.heartbeat_s
        if now_s - metadata_s >= REPUBLISH_S and not state.offline:
            metadata_s = time_s
            outgoing += self._metadata
        if now_s - heartbeat_s >= HEARTBEAT_S:
            heartbeat_s = time_s
            payload = _value(time_ms, time_ms)
            alive = self._heartbeats[1:] if state.offline else self._heartbeats  # the first one is the BMS's
            outgoing += [Outgoing(topic, payload) for topic in alive]
        due = (shown != sent.shown) | (now_s - sent.at_s >= REPUBLISH_S)
        if state.offline:
            due &= ~self._by_bms
        for meter in np.flatnonzero(due).tolist():
            value = int(shown[meter])
            if value == MISSING:
                payload = _missing(time_ms)
            else:
                payload = _value(value if self._whole[meter] else value / self._digits[meter], time_ms)
            outgoing.append(Outgoing(self._topics[meter], payload))
        outgoing += self._gpu_messages(state, time_ms)
        now_sent = Sent(np.where(due, shown, sent.shown), np.where(due, time_s, sent.at_s), metadata_s, heartbeat_s)
        return now_sent, outgoing

    def describe(self) -> list[Outgoing]:
        """All metadata, as it is published."""
        return list(self._metadata)

    @property
    def value_topics(self) -> list[str]:
        """By meter: where its values go."""
        return list(self._topics)

    def _gpu_messages(self, state: State, time_ms: int) -> Iterator[Outgoing]:
        by_host = {
            field: column.reshape(len(self._hosts), -1).tolist()
            for field, column in gpu_fields(self._hall, state).items()
        }
        for host, gpu in np.argwhere(state.gpu_off.reshape(len(self._hosts), -1)).tolist():
            for field, columns in by_host.items():
                if field != XID:
                    columns[host][gpu] = None
        for number, (topic, head) in enumerate(self._hosts):
            told = _ENCODER.encode({str(field): columns[number] for field, columns in by_host.items()})
            yield Outgoing(topic, b'{"time":%d,%b,"fields":%b}' % (time_ms, head, told))


_ENCODER = msgspec.json.Encoder()


def _json(content: object) -> bytes:
    return _ENCODER.encode(content)


def _value(value: float, time_ms: int) -> bytes:
    return b'{"value":%b,"timestamp":%d,"quality":1}' % (repr(value).encode(), time_ms)


def _missing(time_ms: int) -> bytes:
    return b'{"value":null,"timestamp":%d,"quality":0}' % time_ms


def _tail(site: str, gauge: Gauge, place: Place) -> str:
    words = [site, place.id, *gauge.area, gauge.phase, "setpoint" if gauge.setpoint else ""]
    path = "/".join(word.replace(" ", "") for word in words if word)
    return f"{gauge.object_type}/{gauge.point_type}/{path}"


def _describe(gauge: Gauge, place: Place) -> dict[str, object]:
    """Metadata of one meter, as the contract wants it."""
    described: dict[str, object] = {"objectType": gauge.object_type, "pointType": gauge.point_type}
    if gauge.states:
        described["stateText"] = [{"value": value, "text": text} for value, text in enumerate(gauge.states)]
    elif gauge.unit:
        described["engUnit"] = gauge.unit
    if gauge.object_type == "Rack":
        described |= {"rackLocationName": place.id, "rackLocationId": place.id}
    elif place.part_of:
        described["associateId"] = place.id
    else:
        described |= {"objectName": place.id, "objectId": place.id}
        if place.serves:
            described["servesId"] = place.serves
    optional = {
        "processArea": gauge.area,
        "phase": gauge.phase,
        "isSetpoint": gauge.setpoint,
        "integration": gauge.integration,
    }
    return described | {key: value for key, value in optional.items() if value}


def _gpus(hall: Hall, rack: int, host: str) -> bytes:
    """The part of a host's message that never changes: its rack and its GPUs."""
    gpus = [
        {"index": index, "uuid": f"GPU-{uuid.uuid5(uuid.NAMESPACE_URL, f'dcim:{hall.settings.site}/{host}/{index}')}"}
        for index in range(hall.settings.gpus_per_host)
    ]
    return b'"rack":%b,"gpus":%b' % (_json(hall.racks[rack]), _json(gpus))
