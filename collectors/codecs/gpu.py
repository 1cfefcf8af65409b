"""GPU telemetry of our own agents: one JSON message a host and second, columns keyed by DCGM field id.

    topic    dcim/v1/{site}/gpu/{host}
    payload  {"time": ms, "rack": id, "gpus": [{"index": 0, "uuid": "GPU-…"}, …], "fields": {"155": [412.1, …], …}}

Lives here: that message, DCGM's blanks, and the units in which DCGM gives its fields. Not here: the MessagePack form,
the agents that send it, what a payload may be at all (payload.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from collectors.codecs.bounds import Bounds
from collectors.codecs.payload import (
    FOREIGN,
    NUMBER_MAX,
    Clock,
    Refused,
    decode_topic,
    examine,
    number,
    read,
    text,
    whole,
)
from dcim.core.errors import Permanent
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.quantities import BY_DCGM_FIELD, Nature
from dcim.core.readings import Quality, Readings

SENT = {
    **dict.fromkeys((155, 157, 164), 1e-3),  # W
    156: 1 / 3.6e9,  # mJ
    **dict.fromkeys((240, 241, 1420, 1421, 1422, 1423, 1424), 1e-9),  # ns
}
"""kept = sent × factor, by field id, where DCGM's unit is not ours. Our table; nobody's help text is asked."""

BLANK_FROM = 0x7FFF_FFF0
"""The smallest of DCGM's blanks: that of 32-bit integers. Doubles begin at 2^47, 64-bit integers at 0x7ffffffffffffff0,
and each family counts upwards: not found, not supported, not permitted. No measure in our table reaches any of them."""
COUNT_BLANK_FROM = float(0x7FFF_FFFF_FFFF_FFF0)
"""Counters and bit masks do reach the others; DCGM gives them as 64-bit integers."""

_Number = Annotated[float, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]


class _Gpu(msgspec.Struct):
    index: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    uuid: str = ""


class _Report(msgspec.Struct, gc=False):
    """A message as it should be; of the GPUs, the bytes are enough to see that nothing changed."""

    time: int
    gpus: msgspec.Raw
    fields: dict[str, list[_Number | None]]
    rack: str | None = None


class _Pieces(msgspec.Struct):
    """A message that is not quite so."""

    time: msgspec.Raw = msgspec.Raw()
    gpus: list[_Gpu] | None = None
    fields: dict[str, msgspec.Raw] | None = None
    rack: str | None = None


_REPORT = msgspec.json.Decoder(_Report)
_PIECES = msgspec.json.Decoder(_Pieces)
_COLUMN = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a host's message looked like last: the same look means the same points."""

    gpus: bytes
    rack: str | None
    names: list[str]
    """All columns, in their order."""
    known: list[str]
    """Those of fields that we know."""
    unknown: list[str]
    width: int
    """How many GPUs."""
    points: npt.NDArray[np.uint32]
    """Known columns one after the other, a number a GPU."""
    blank: npt.NDArray[np.float64]
    """From where on a value is a blank; like points."""


@dataclass(slots=True)
class _Batch:
    received: int
    clock: Clock
    values: list[float | None] = field(default_factory=list)
    points: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    blank: list[npt.NDArray[np.float64]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    done: Decoded = field(default_factory=lambda: Decoded(Readings.empty(), Readings.empty()))

    def remark(self, remark: Remark, count: int = 1) -> None:
        if count:
            self.done.remarks[remark] = self.done.remarks.get(remark, 0) + count


class GpuCodec:
    """Decodes the GPUs of one site. An item is one value of one field of one GPU; a message that is put aside as a
    whole (for its time, its list of GPUs, its JSON) is one.

    A message is its own description, so nothing waits for metadata. Hosts whose message looks as it did before cost a
    look-up and one decode; the rest is done in columns, all messages of a batch together.
    """

    name = "gpu"

    def __init__(self, index: PointIndex, *, site: str, bus: str = "gpu", bounds: Bounds | None = None) -> None:
        """bus: the middle of the points' keys."""
        self._index, self._site, self._bus = index, site, bus
        self._bounds = bounds or Bounds()
        self._layouts: dict[bytes, _Layout] = {}
        self._seats: dict[tuple[str, int], str] | None = None

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing."""
        batch = _Batch(received, Clock(received, self._bounds))
        for message in messages:
            if not self._quickly(batch, message):
                self._slowly(batch, message)
        self._to_columns(batch)
        return batch.done

    def _quickly(self, batch: _Batch, message: Message) -> bool:
        """A message that looks as its host's last one did. False: nothing was done with it."""
        layout = self._layouts.get(message.topic)
        if layout is None or len(message.payload) > self._bounds.payload_bytes_max:
            return False
        try:
            report = _REPORT.decode(message.payload)
        except FOREIGN:
            return False
        columns = report.fields
        if (
            report.rack != layout.rack
            or bytes(report.gpus) != layout.gpus
            or list(columns) != layout.names
            or not batch.clock.oldest <= report.time <= batch.clock.newest
            or any(len(column) != layout.width for column in columns.values())
        ):
            return False
        for name in layout.known:
            batch.values.extend(columns[name])
        batch.points.append(layout.points)
        batch.blank.append(layout.blank)
        batch.times.append(report.time)
        for name in layout.unknown:
            _refuse_values(batch, message, _unknown_field(name), layout.width)
        return True

    def _slowly(self, batch: _Batch, message: Message) -> None:
        """Any message, piece by piece."""
        try:
            host = self._host(message.topic)
            examine(message.payload, self._bounds)
            pieces = read(_PIECES, message.payload)
            if not bytes(pieces.time) or pieces.gpus is None or not pieces.fields:
                raise Refused(RejectReason.FIELD_MISSING, "time, gpus and fields are all needed")
            at = whole(pieces.time, "time")
            batch.clock.check(at)
            rack = text(pieces.rack or "", "rack", self._bounds)
            gpus = self._check_gpus(pieces.gpus)
        except Refused as refused:
            batch.done.rejects.append(refused.reject(message.topic, message.payload, batch.received, Kind.UNREADABLE))
            return
        self._reseat(host, gpus)
        clean = True
        known, numbers, blanks = [], [], []
        for name, raw in pieces.fields.items():
            try:
                dcgm_field = _field(name)
                column = read(_COLUMN, bytes(raw))
                if len(column) != len(gpus):
                    raise Refused(
                        RejectReason.WRONG_TYPE, f"field {name} has {len(column)} values for {len(gpus)} GPUs"
                    )
            except Refused as refused:
                clean = clean and refused.reason is RejectReason.POINT_TYPE_UNKNOWN
                _refuse_values(batch, message, refused, _length(raw))
                continue
            known.append(name)
            for gpu, value in zip(gpus, column, strict=True):
                try:
                    taken = number(value, f"field {name} of GPU {gpu.index}")
                    point = self._point(batch, host, gpu, dcgm_field, rack)
                except Refused as refused:
                    clean = False
                    _refuse_values(batch, message, refused, 1)
                    continue
                numbers.append(point)
                blanks.append(_blank_from(dcgm_field))
                batch.values.append(taken)
        points, blank = np.array(numbers, np.uint32), np.array(blanks, np.float64)
        batch.points.append(points)
        batch.blank.append(blank)
        batch.times.append(at)
        if clean and known:
            self._remember(message, known, len(gpus), points, blank)

    def _remember(
        self,
        message: Message,
        known: list[str],
        width: int,
        points: npt.NDArray[np.uint32],
        blank: npt.NDArray[np.float64],
    ) -> None:
        """Keeps the look of a message of which nothing but unknown fields was refused: one a host that has points."""
        try:
            report = _REPORT.decode(message.payload)
        except FOREIGN:  # readable piece by piece alone, as a time of 1.7e12 is
            return
        names = list(report.fields)
        unknown = [name for name in names if name not in known]
        self._layouts[message.topic] = _Layout(
            bytes(report.gpus), report.rack, names, known, unknown, width, points, blank
        )

    def _host(self, topic: bytes) -> str:
        segments = decode_topic(topic, self._bounds).split("/")
        if len(segments) != 5 or segments[:2] != ["dcim", "v1"] or segments[3] != "gpu" or not segments[4]:
            raise Refused(RejectReason.TOPIC_UNKNOWN, "not a topic of GPU telemetry in JSON")
        if segments[2] != self._site:
            raise Refused(
                RejectReason.TOPIC_UNKNOWN, f"the site is {segments[2][:64]}, and this source stands at {self._site}"
            )
        return segments[4]

    def _check_gpus(self, gpus: list[_Gpu]) -> list[_Gpu]:
        if not gpus:
            raise Refused(RejectReason.FIELD_MISSING, "gpus names no GPU")
        if len(gpus) > self._bounds.gpus_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"{len(gpus)} GPUs")
        checked = [_Gpu(gpu.index, text(gpu.uuid, "uuid", self._bounds) or str(gpu.index)) for gpu in gpus]
        if len({gpu.index for gpu in checked}) < len(gpus) or len({gpu.uuid for gpu in checked}) < len(gpus):
            raise Refused(RejectReason.METADATA_CONTRADICTS, "two GPUs share an index or a uuid")
        return checked

    def _point(self, batch: _Batch, host: str, gpu: _Gpu, dcgm_field: int, rack: str) -> int:
        """The number of the point, described as this message says."""
        index, quantity = self._index, BY_DCGM_FIELD[dcgm_field]
        path = f"{host}/{gpu.uuid}/{dcgm_field}"
        key = self._key(path)
        try:
            known = index.locate(key)
        except Permanent as full:
            raise Refused(RejectReason.TOO_MANY_POINTS, full.what) from full
        old, asset = index[known], f"{host}-gpu{gpu.index}"
        point = Point(
            id=known,
            key=key,
            site=self._site,
            asset=asset,
            asset_kind="Gpu",
            asset_name=asset,
            quantity=quantity.name,
            unit=quantity.unit,
            scale=SENT.get(dcgm_field, 1.0),
            object_type="Gpu",
            point_type=str(dcgm_field),
            path=path,
            part=str(gpu.index),
            within=rack,
        )
        if point != old:
            index.describe(point)
            if old is not None:
                batch.remark(Remark.DESCRIPTION_CHANGED)
        return known

    def _reseat(self, host: str, gpus: list[_Gpu]) -> None:
        """Retires the points of a GPU whose seat another one has taken, or they would be missed for ever."""
        if self._seats is None:
            self._seats = {
                (host_of, int(point.part)): uuid
                for point in self._index
                if point.site == self._site and point.asset_kind == "Gpu"
                for host_of, uuid, _ in [point.path.rsplit("/", 2)]
            }
        present = {gpu.uuid for gpu in gpus}
        for gpu in gpus:
            before = self._seats.get((host, gpu.index), gpu.uuid)
            self._seats[host, gpu.index] = gpu.uuid
            if before not in present:
                for dcgm_field in BY_DCGM_FIELD:
                    number_ = self._index.find(self._key(f"{host}/{before}/{dcgm_field}"))
                    point = None if number_ is None else self._index[number_]
                    if point is not None and not point.retired:
                        self._index.describe(replace(point, retired=True))

    def _to_columns(self, batch: _Batch) -> None:
        if not batch.values:
            return
        value = np.array(batch.values, np.float64)  # None becomes NaN
        if (value >= BLANK_FROM).any():
            value[value >= np.concatenate(batch.blank)] = np.nan
        widths = [len(points) for points in batch.points]
        converted = self._index.scaling.convert(
            Readings(
                np.concatenate(batch.points),
                np.repeat(np.array(batch.times, np.int64) * 1000, widths),
                value,
                np.where(np.isnan(value), Quality.BAD, Quality.GOOD).astype(np.uint8),
            )
        )
        batch.done.readings = converted.readings
        batch.remark(Remark.VALUE_IMPLAUSIBLE, converted.implausible)

    def _key(self, path: str) -> str:
        return f"{self._site}|{self._bus}|{path}"


def _field(name: str) -> int:
    """The id of a field that we know."""
    dcgm_field = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
    if dcgm_field not in BY_DCGM_FIELD or name != str(dcgm_field):
        raise _unknown_field(name)
    return dcgm_field


def _unknown_field(name: str) -> Refused:
    return Refused(RejectReason.POINT_TYPE_UNKNOWN, f"there is no DCGM field {name[:64]} in our table")


def _refuse_values(batch: _Batch, message: Message, refused: Refused, values: int) -> None:
    """One record, counted once a value."""
    reject = refused.reject(message.topic, message.payload, batch.received, Kind.VALUE)
    batch.done.rejects.extend([reject] * values)


def _length(raw: msgspec.Raw) -> int:
    """How many values a refused column stands for: at least one."""
    try:
        return max(1, len(_COLUMN.decode(raw)))
    except FOREIGN:
        return 1


def _blank_from(dcgm_field: int) -> float:
    return BLANK_FROM if BY_DCGM_FIELD[dcgm_field].nature is Nature.MEASURE else COUNT_BLANK_FROM
