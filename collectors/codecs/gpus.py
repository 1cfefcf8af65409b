"""GPUs of one site: what both forms of our GPU message share.

Lives here: topics, the list of GPUs, a value's point, DCGM's blanks and the units in which DCGM gives its fields. Not
here: how values are laid out in a message (gpu.py: JSON, gpu_packed.py: MessagePack)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from collectors.codecs.bounds import Bounds
from collectors.codecs.payload import Clock, Refused, decode_topic, text
from dcim.core.errors import Permanent
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.quantities import BY_DCGM_FIELD, Nature
from dcim.core.readings import Readings

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

PACKED = b"/msgpack"
"""How the topic of the MessagePack form ends."""


class Gpu(msgspec.Struct):
    """One GPU as a message names it."""

    index: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    uuid: str = ""


class Host(NamedTuple):
    """Who speaks: the host, its GPUs, and the rack that it says it is in."""

    name: str
    gpus: Sequence[Gpu]
    rack: str


class Columns(NamedTuple):
    """Rows of one message or several, not yet converted."""

    point: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]
    """Microseconds UTC."""
    value: npt.NDArray[np.float64]
    """As sent; nothing infinite."""
    blank: Sequence[npt.NDArray[np.float64]]
    """From where on a value is a blank; the parts of a column, which are joined only where a value is that large."""


@dataclass(slots=True)
class Batch:
    """A batch on its way."""

    received: int
    clock: Clock
    rows: list[Columns] = field(default_factory=list)
    done: Decoded = field(default_factory=lambda: Decoded(Readings.empty(), Readings.empty()))

    def remark(self, remark: Remark, count: int = 1) -> None:
        """Counts what is kept with a word."""
        if count:
            self.done.remarks[remark] = self.done.remarks.get(remark, 0) + count

    def refuse(self, message: Message, refused: Refused, values: int | None = None) -> None:
        """Puts aside a message as a whole (None), or so many values of it: one record, counted once a value."""
        kind = Kind.UNREADABLE if values is None else Kind.VALUE
        reject = refused.reject(message.topic, message.payload, self.received, kind)
        self.done.rejects.extend([reject] * (1 if values is None else values))


class Gpus:
    """The points of a site's GPUs, and who sits where."""

    def __init__(self, index: PointIndex, site: str, bus: str, bounds: Bounds) -> None:
        """bus: the middle of the points' keys."""
        self._index, self._site, self._bus, self._bounds = index, site, bus, bounds
        self._seats: dict[tuple[str, int], str] | None = None

    def host(self, topic: bytes) -> str:
        """The host that a topic of either form names. Raises Refused."""
        segments = decode_topic(topic, self._bounds).split("/")
        if len(segments) == 6 and segments[5] == "msgpack":
            segments.pop()
        if len(segments) != 5 or segments[:2] != ["dcim", "v1"] or segments[3] != "gpu" or not segments[4]:
            raise Refused(RejectReason.TOPIC_UNKNOWN, "not a topic of GPU telemetry")
        if segments[2] != self._site:
            raise Refused(
                RejectReason.TOPIC_UNKNOWN, f"the site is {segments[2][:64]}, and this source stands at {self._site}"
            )
        return segments[4]

    def check(self, gpus: Sequence[Gpu]) -> list[Gpu]:
        """The same, with an index for a uuid where there is none. Raises Refused."""
        if not gpus:
            raise Refused(RejectReason.FIELD_MISSING, "gpus names no GPU")
        if len(gpus) > self._bounds.gpus_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"{len(gpus)} GPUs")
        checked = [Gpu(gpu.index, text(gpu.uuid, "uuid", self._bounds) or str(gpu.index)) for gpu in gpus]
        if len({gpu.index for gpu in checked}) < len(gpus) or len({gpu.uuid for gpu in checked}) < len(gpus):
            raise Refused(RejectReason.METADATA_CONTRADICTS, "two GPUs share an index or a uuid")
        return checked

    def point(self, batch: Batch, host: Host, gpu: Gpu, dcgm_field: int) -> int:
        """The number of the point, described as this message says. Raises Refused where there are too many."""
        index, quantity = self._index, BY_DCGM_FIELD[dcgm_field]
        path = f"{host.name}/{gpu.uuid}/{dcgm_field}"
        key = self._key(path)
        try:
            known = index.locate(key)
        except Permanent as full:
            raise Refused(RejectReason.TOO_MANY_POINTS, full.what) from full
        old, asset = index[known], f"{host.name}-gpu{gpu.index}"
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
            within=host.rack,
        )
        if point != old:
            index.describe(point)
            if self._seats is not None:
                self._seats[host.name, gpu.index] = (
                    gpu.uuid
                )  # only of a GPU that has a point: as many as there are points
            if old is not None:
                batch.remark(Remark.DESCRIPTION_CHANGED)
        return known

    def reseat(self, host: str, gpus: Sequence[Gpu]) -> None:
        """Retires the points of a GPU whose seat another one has taken, or they would be missed for ever."""
        if self._seats is None:
            self._seats = {
                (host_of, int(point.part)): uuid
                for point in self._index
                if point.site == self._site and point.asset_kind == "Gpu" and point.key == self._key(point.path)
                for host_of, uuid, _ in [point.path.rsplit("/", 2)]
            }
        present = {gpu.uuid for gpu in gpus}
        for gpu in gpus:
            before = self._seats.get((host, gpu.index), gpu.uuid)
            if before not in present:
                for dcgm_field in BY_DCGM_FIELD:
                    number = self._index.find(self._key(f"{host}/{before}/{dcgm_field}"))
                    point = None if number is None else self._index[number]
                    if point is not None and not point.retired:
                        self._index.describe(replace(point, retired=True))

    def _key(self, path: str) -> str:
        return f"{self._site}|{self._bus}|{path}"


def field_of(name: str) -> int:
    """The id of a field that we know. Raises Refused."""
    dcgm_field = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
    if dcgm_field not in BY_DCGM_FIELD or name != str(dcgm_field):
        raise unknown_field(name)
    return dcgm_field


def unknown_field(name: str) -> Refused:
    """What is said of a field that is not in our table."""
    return Refused(RejectReason.POINT_TYPE_UNKNOWN, f"there is no DCGM field {name[:64]} in our table")


def blank_from(dcgm_field: int) -> float:
    """The smallest value of a field that is a blank."""
    return BLANK_FROM if BY_DCGM_FIELD[dcgm_field].nature is Nature.MEASURE else COUNT_BLANK_FROM
