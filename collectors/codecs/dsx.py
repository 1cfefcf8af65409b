"""The BMS event bus of DSX Exchange: its topics, its values, and how its descriptions come to the index.

Lives here: the way of a message from bytes to a row, a description or a reject. Not here: what a description says
(binding.py), what a payload may be at all (payload.py), what becomes of the rows (dcim.app)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from collectors.codecs.binding import POINT_TYPES, Address, describe
from collectors.codecs.bounds import Bounds
from collectors.codecs.circles import Circles
from collectors.codecs.payload import (
    FOREIGN,
    NUMBER_MAX,
    SHORT,
    Clock,
    Refused,
    decode_topic,
    examine,
    number,
    read,
    whole,
)
from dcim.core.assets import OBJECT_TYPES
from dcim.core.errors import Permanent
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality, Readings

DESCRIPTIONS = "BMS/v1/PUB/Metadata/#"
"""Topic filter of all that describes points. Who reads values, of however few of them, needs all of it."""

ALWAYS_INTEGRATION = frozenset(
    {
        *("RackLeakDetectTray", "RackLiquidIsolationRequest", "RackElectricalIsolationRequest"),
        *("LiquidTemperatureSpRequest", "HeartbeatTimestampIntegration", "HeartbeatEchoIntegration"),
    }
)
"""Point types whose values an integration writes, whether or not the description names it."""

MAY_BE_INTEGRATION = ALWAYS_INTEGRATION | {"Status", "Available", "GenericPoint"}
"""Point types that the contract lets an integration write at all."""


class Value(msgspec.Struct, gc=False):
    """The payload of a value topic; fields that we do not know are left alone."""

    value: Annotated[float, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)] | None
    timestamp: int
    """Milliseconds since 1970 UTC."""
    quality: int
    """1 is good, anything else is not."""


class _Pieces(msgspec.Struct):
    """The same, for a payload that is not quite so: each piece as it stands."""

    value: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    quality: msgspec.Raw = msgspec.Raw()


_VALUE = msgspec.json.Decoder(Value)
_PIECES = msgspec.json.Decoder(_Pieces)


class Topic(NamedTuple):
    """A topic of the bus, taken apart."""

    publisher: str
    kind: Kind
    address: Address

    @property
    def rest(self) -> str:
        """What the topics of one point have in common."""
        return "/".join(self.address)

    def value_topics(self, integration: str) -> list[bytes]:
        """The topics that the point's values may come on."""
        return [f"BMS/v1/{publisher}/Value/{self.rest}".encode() for publisher in ("PUB", integration) if publisher]


@dataclass(slots=True)
class _Batch:
    """A batch on its way: columns that still grow, and what is done. No reading is kept as an object of its own."""

    received: int
    clock: Clock
    points: array[int] = field(default_factory=lambda: array("I"))
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    sound: array[int] = field(default_factory=lambda: array("b"))
    """1 where the sender calls the value good."""
    ready: list[Readings] = field(default_factory=list)
    held: Readings = field(default_factory=Readings.empty)
    done: Decoded = field(default_factory=lambda: Decoded(Readings.empty(), Readings.empty()))

    def add(self, point: int, row: Value) -> None:
        self.points.append(point)
        self.times_ms.append(row.timestamp)
        self.values.append(nan if row.value is None else row.value)
        self.sound.append(row.quality == 1)

    def remark(self, remark: Remark, count: int = 1) -> None:
        if count:
            self.done.remarks[remark] = self.done.remarks.get(remark, 0) + count


class _Told:
    """Which bytes described each point last, as a hash: every description comes again every 100 s, and reading it anew
    costs eight times as much. Eight bytes a point. The process keys the hash: nobody outside can aim at a collision."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def get(self, number: int) -> int | None:
        """The hash, or None where nothing was told to this codec."""
        return (self._hashes[number] or None) if number < len(self._hashes) else None

    def set(self, number: int, payload: int) -> None:
        """Remembers a hash. One in 2^64 is 0, and is read anew each time."""
        missing = number + 1 - len(self._hashes)
        if missing > 0:
            self._hashes.frombytes(bytes(8 * max(missing, 1024)))
        self._hashes[number] = payload


class DsxCodec:
    """Decodes one bus of one site. Every message is one item.

    A value whose topic is known costs one look-up and one decode; everything else (a new topic, a description, whatever
    is wrong) takes the slow way. The look-up table holds at most two topics a point. Codecs may share an index, and
    several sources one bus: what one of them learns, the others know.
    """

    name = "dsx"

    def __init__(self, index: PointIndex, *, site: str, bus: str, bounds: Bounds | None = None) -> None:
        self._index, self._site, self._bus = index, site, bus
        self._bounds = bounds or Bounds()
        self._numbers: dict[bytes, int] = {}
        self._told = _Told()
        self._circles: Circles | None = None

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing.

        Values of one batch are converted by the description that was known when they came; those that came before their
        point's first description are converted by that one.
        """
        batch = _Batch(received, Clock(received, self._bounds))
        number_of, read_value, missing = self._numbers.get, _VALUE.decode, nan
        add_point, add_time = batch.points.append, batch.times_ms.append
        add_value, add_sound = batch.values.append, batch.sound.append
        oldest, newest = batch.clock.oldest, batch.clock.newest
        for message in messages:
            topic, payload, _, _ = message
            point = number_of(topic)
            if point is not None and len(payload) <= SHORT and payload.isascii():
                try:
                    row = read_value(payload)
                except FOREIGN:
                    self._slowly(batch, message)
                    continue
                time_ms = row.timestamp
                if oldest <= time_ms <= newest:  # as `_Batch.add`, without the call
                    value = row.value
                    add_point(point)
                    add_time(time_ms)
                    add_value(missing if value is None else value)
                    add_sound(row.quality == 1)
                    continue
            self._slowly(batch, message)
        self._to_columns(batch)
        batch.done.readings = Readings.concat(batch.ready)
        batch.done.held = batch.held
        return batch.done

    def _slowly(self, batch: _Batch, message: Message) -> None:
        """Any message, with every question asked."""
        kind = Kind.UNREADABLE
        try:
            topic = parse(message.topic, self._bounds)
            kind = topic.kind
            _check_types(topic.address)
            if kind is Kind.METADATA:
                self._describe(batch, topic, message.payload)
            else:
                self._value(batch, topic, message)
        except Refused as refused:
            batch.done.rejects.append(refused.reject(message.topic, message.payload, batch.received, kind))

    def _value(self, batch: _Batch, topic: Topic, message: Message) -> None:
        examine(message.payload, self._bounds)
        row = _read_pieces(message.payload)
        batch.clock.check(row.timestamp)
        key = self._key(topic)
        known = self._index.find(key)
        point = None if known is None else self._index[known]
        _check_writer(topic, point)
        located = self._locate(key) if known is None else known
        if topic.publisher == "PUB" or (point is not None and point.integration == topic.publisher):
            self._numbers[message.topic] = located
        batch.add(located, row)

    def _describe(self, batch: _Batch, topic: Topic, payload: bytes) -> None:
        done, index = batch.done, self._index
        if not payload:  # a retained description was deleted; what it said of the past stays true
            done.repeated += 1
            return
        key = self._key(topic)
        known = index.find(key)
        if known is not None and self._told.get(known) == hash(payload):
            done.repeated += 1
            return
        examine(payload, self._bounds)
        if len(payload) > self._bounds.metadata_bytes_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"{len(payload)} bytes of metadata")
        point = describe(payload, topic.address, site=self._site, key=key, bounds=self._bounds)
        if self._circles is None:
            self._circles = Circles(self._site, index)
        known = self._locate(key)
        old = index[known]
        point = replace(point, id=known)
        if point == old:
            self._told.set(known, hash(payload))
            done.repeated += 1
            return
        if old is not None:
            self._to_columns(batch)  # what came so far is what the old description says
            for told in topic.value_topics(old.integration):
                self._numbers.pop(told, None)
            point = self._change(batch, old, point)
        else:
            done.bound.append(known)
        index.describe(point)
        self._told.set(point.id, hash(payload))
        done.described += 1
        if not point.unit_known:
            batch.remark(Remark.UNIT_UNKNOWN)
        if self._circles.closed_by(old, point):
            batch.remark(Remark.SERVES_CYCLE)

    def _change(self, batch: _Batch, old: Point, point: Point) -> Point:
        """A description that differs from what was known. Stored values of one point have one unit: where that or the
        quantity changes, the key goes on under a new number."""
        if (old.quantity, old.unit) != (point.quantity, point.unit):
            try:
                point = replace(point, id=self._index.succeed(point.key))
            except Permanent as full:
                raise _too_many(full) from full
            batch.remark(Remark.UNIT_CHANGED)
            return point
        batch.remark(Remark.DESCRIPTION_CHANGED)
        if (old.scale, old.offset) != (point.scale, point.offset):
            batch.remark(Remark.UNIT_CHANGED)
        return point

    def _to_columns(self, batch: _Batch) -> None:
        """Turns the rows so far into columns, by what is known of their points now; what nobody knows waits on."""
        sent = Readings.concat([batch.held, self._take_rows(batch)])
        described = self._index.scaling.described[sent.point]
        batch.held = sent.take(~described)
        converted = self._index.scaling.convert(sent.take(described))
        batch.ready.append(converted.readings)
        batch.remark(Remark.VALUE_IMPLAUSIBLE, converted.implausible)

    def _take_rows(self, batch: _Batch) -> Readings:
        """The rows since the last time, as sent."""
        if not batch.points:
            return Readings.empty()
        value = np.array(batch.values, np.float64)
        good = np.array(batch.sound, np.bool_) & ~np.isnan(value)
        sent = Readings(
            self._current(np.array(batch.points, np.uint32)),
            np.array(batch.times_ms, np.int64) * 1000,
            value,
            np.where(good, Quality.GOOD, Quality.BAD).astype(np.uint8),
        )
        for column in (batch.points, batch.times_ms, batch.values, batch.sound):
            del column[:]  # emptied, not replaced: `decode` holds on to them
        return sent

    def _current(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """The same, with the successors of points that another codec over this index has retired meanwhile."""
        retired = self._index.scaling.retired[points]
        if retired.any():
            self._numbers.clear()
            for row in np.flatnonzero(retired).tolist():
                points[row] = self._index.locate(self._index.key(int(points[row])))
        return points

    def _key(self, topic: Topic) -> str:
        return f"{self._site}|{self._bus}|{topic.rest}"

    def _locate(self, key: str) -> int:
        try:
            return self._index.locate(key)
        except Permanent as full:
            raise _too_many(full) from full


def parse(topic: bytes, bounds: Bounds) -> Topic:
    """Takes a topic apart. Raises Refused where it is none of the bus's."""
    segments = decode_topic(topic, bounds).split("/", 6)
    if len(segments) == 7 and segments[:2] == ["BMS", "v1"]:
        _, _, publisher, what, object_type, point_type, path = segments
        if all((publisher, object_type, point_type, path)):
            if what == "Value":
                return Topic(publisher, Kind.VALUE, Address(object_type, point_type, path))
            if what == "Metadata" and publisher == "PUB":
                return Topic(publisher, Kind.METADATA, Address(object_type, point_type, path))
    raise Refused(RejectReason.TOPIC_UNKNOWN, "not a value or metadata topic of the BMS event bus")


def _check_types(address: Address) -> None:
    if address.object_type not in OBJECT_TYPES:
        raise Refused(RejectReason.OBJECT_TYPE_UNKNOWN, f"there is no object type {address.object_type[:64]}")
    if address.point_type not in POINT_TYPES:
        raise Refused(RejectReason.POINT_TYPE_UNKNOWN, f"there is no point type {address.point_type[:64]}")


def _check_writer(topic: Topic, point: Point | None) -> None:
    """Whether this publisher may write this point. The BMS may write any; an integration may write what the contract
    leaves to integrations, and of that nothing that is described as another's."""
    if topic.publisher == "PUB":
        return
    point_type = topic.address.point_type
    if point_type not in MAY_BE_INTEGRATION:
        raise Refused(RejectReason.TOPIC_UNKNOWN, f"{point_type} is not for integrations to write")
    if point is None or point.integration == topic.publisher:
        return
    if point.integration or point_type not in ALWAYS_INTEGRATION:
        writer = point.integration or "the BMS"
        raise Refused(RejectReason.METADATA_CONTRADICTS, f"the description says that {writer[:64]} writes it")


def _read_pieces(payload: bytes) -> Value:
    """A value, read piece by piece, so that the reason tells what is wrong with it. Raises Refused."""
    pieces = read(_PIECES, payload)
    for name in ("value", "timestamp", "quality"):
        if not bytes(getattr(pieces, name)):
            raise Refused(RejectReason.FIELD_MISSING, f"{name} is missing")
    value = number(pieces.value, "value")
    return Value(
        None if value is None else float(value), whole(pieces.timestamp, "timestamp"), whole(pieces.quality, "quality")
    )


def _too_many(full: Permanent) -> Refused:
    return Refused(RejectReason.TOO_MANY_POINTS, full.what)
