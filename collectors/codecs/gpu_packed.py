"""GPU telemetry in MessagePack, for high rates: any number of instants in a message, columns as bytes.

    topic    dcim/v1/{site}/gpu/{host}/msgpack
    payload  {"time": ms, or "times": bin of int64 ms; "rack": id, "gpus": [{"index": 0, "uuid": "GPU-…"}, …],
              "fields": {155: bin, …}}

A column holds the values of all GPUs at the first instant, in the order of `gpus`, then those at the second, and so on,
little-endian. Its length tells float32 from float64. NaN is a blank, and so are DCGM's own. Counters are float64: in a
float32 of a million joules, up to 64 mJ are lost.

Lives here: that layout; no value becomes a Python object on its way. Not here: whose points they are (gpus.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from collectors.codecs.bounds import Bounds
from collectors.codecs.gpus import Batch, Columns, Gpu, Gpus, Host, blank_from, field_of, unknown_field
from collectors.codecs.payload import FOREIGN, Refused, refusal, text
from dcim.core.ledger import RejectReason
from dcim.core.ports import Message
from dcim.core.quantities import BY_DCGM_FIELD, Nature

_T = TypeVar("_T")

_SIZES: dict[int, np.dtype[np.floating]] = {4: np.dtype("<f4"), 8: np.dtype("<f8")}
"""Bytes a value → what they are."""
_MS = np.dtype("<i8")


class _Report(msgspec.Struct, gc=False):
    """A message as it should be; of the GPUs, the bytes are enough to see that nothing changed."""

    gpus: msgspec.Raw
    fields: dict[int, bytes]
    time: int | None = None
    times: bytes | None = None
    rack: str | None = None


class _Pieces(msgspec.Struct):
    """A message that is not quite so."""

    gpus: list[Gpu] | None = None
    fields: dict[int | str, msgspec.Raw] | None = None
    time: int | None = None
    times: bytes | None = None
    rack: str | None = None


_REPORT = msgspec.msgpack.Decoder(_Report)
_PIECES = msgspec.msgpack.Decoder(_Pieces)
_COLUMN = msgspec.msgpack.Decoder(bytes)


class _Part(NamedTuple):
    """The columns of one size that a layout has."""

    size: int
    """Bytes of a value."""
    names: list[int]
    points: npt.NDArray[np.uint32]
    """Column by column, a number a GPU."""
    blank: npt.NDArray[np.float64]
    """From where on a value is a blank; like points."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a host's message looked like last: the same look means the same points."""

    gpus: bytes
    rack: str | None
    width: int
    """How many GPUs."""
    names: list[int]
    """All columns, in their order."""
    sizes: list[int]
    """Bytes of a value in each of them."""
    unknown: list[int]
    parts: tuple[_Part, ...]
    expected: dict[int, list[int]]
    """By number of instants, the bytes of each column, for the numbers that came last."""

    def lengths(self, instants: int) -> list[int]:
        """The bytes of each column in a message of so many instants."""
        expected = self.expected.get(instants)
        if expected is None:
            if len(self.expected) >= 8:
                self.expected.clear()
            expected = self.expected[instants] = [size * self.width * instants for size in self.sizes]
        return expected


class _Same(NamedTuple):
    """A message of one instant that looks as its host's last one did."""

    message: Message
    layout: _Layout
    time: int
    columns: dict[int, bytes]


class PackedForm:
    """Reads messages in MessagePack. Hosts whose message looks as it did before cost a look-up and one decode."""

    def __init__(self, gpus: Gpus, bounds: Bounds) -> None:
        self._gpus, self._bounds = gpus, bounds
        self._layouts: dict[bytes, _Layout] = {}
        self._same: list[_Same] = []
        self._taken: list[Columns] = []

    def read(self, batch: Batch, message: Message) -> None:
        """Takes one message in; what it gives is in `take` after the last."""
        if not self._quickly(batch, message):
            self._slowly(batch, message)

    def take(self, batch: Batch) -> list[Columns]:
        """The rows since the last time, as columns. Infinite values are put aside, each with its message."""
        taken, self._taken = self._taken, []
        same, self._same = self._same, []
        for size, kind in _SIZES.items():
            parts = [(told, part) for told in same for part in told.layout.parts if part.size == size]
            if parts:
                messages = [told.message for told, _ in parts]
                values = b"".join([told.columns[name] for told, part in parts for name in part.names])
                times = np.array([told.time for told, _ in parts], np.int64) * 1000
                spans = [len(part.points) for _, part in parts]
                columns = Columns(
                    np.concatenate([part.points for _, part in parts]),
                    np.repeat(times, spans),
                    np.frombuffer(values, kind).astype(np.float64),
                    [part.blank for _, part in parts],
                )
                taken.append(_finite(batch, columns, messages, spans))
        return taken

    def _quickly(self, batch: Batch, message: Message) -> bool:
        """A message that looks as its host's last one did. False: nothing was done with it."""
        layout = self._layouts.get(message.topic)
        if layout is None or len(message.payload) > self._bounds.payload_bytes_max:
            return False
        try:
            report = _REPORT.decode(message.payload)
        except FOREIGN:
            return False
        columns, count, clock = report.fields, 1, batch.clock
        if report.rack != layout.rack or bytes(report.gpus) != layout.gpus or list(columns) != layout.names:
            return False
        if report.times is None:
            if report.time is None or not clock.oldest <= report.time <= clock.newest:
                return False
        else:
            count = len(report.times) // _MS.itemsize
        if list(map(len, columns.values())) != layout.lengths(count):
            return False
        if report.times is None:
            self._same.append(_Same(message, layout, report.time or 0, columns))
        else:
            try:
                times = self._times(report.time, report.times)
            except Refused:
                return False
            if not (clock.oldest <= times.min() and times.max() <= clock.newest):
                return False
            for part in layout.parts:
                self._add_many(batch, message, part, times, [columns[name] for name in part.names])
        for name in layout.unknown:
            batch.refuse(message, unknown_field(str(name)), layout.width * count)
        return True

    def _add_many(
        self, batch: Batch, message: Message, part: _Part, times: npt.NDArray[np.int64], values: list[bytes]
    ) -> None:
        """Columns of several instants: all instants of a column, then those of the next one."""
        width = len(part.points) // len(part.names)
        shape = len(part.names), len(times), width
        value = np.frombuffer(b"".join(values), _SIZES[part.size]).astype(np.float64)
        columns = Columns(
            np.broadcast_to(part.points.reshape(-1, 1, width), shape).reshape(value.size),
            np.broadcast_to((times * 1000).reshape(1, -1, 1), shape).reshape(value.size),
            value,
            [np.broadcast_to(part.blank.reshape(-1, 1, width), shape).reshape(value.size)],
        )
        self._taken.append(_finite(batch, columns, [message], [value.size]))

    def _slowly(self, batch: Batch, message: Message) -> None:
        """Any message, column by column."""
        try:
            name = self._gpus.host(message.topic)
            pieces = self._pieces(message.payload)
            if pieces.gpus is None or not pieces.fields:
                raise Refused(RejectReason.FIELD_MISSING, "time or times, gpus and fields are all needed")
            times = self._times(pieces.time, pieces.times)
            host = Host(name, self._gpus.check(pieces.gpus), text(pieces.rack or "", "rack", self._bounds))
            late = _untimely(batch, times)
            if len(late) == len(times):
                raise late[0]
        except Refused as refused:
            batch.refuse(message, refused)
            return
        self._gpus.reseat(host.name, host.gpus)
        clean, cells = not late, len(host.gpus) * len(times)
        sizes: dict[int, int] = {}
        unknown: list[int] = []
        found: dict[int, list[tuple[int, bytes, list[int]]]] = {size: [] for size in _SIZES}
        for told, raw in pieces.fields.items():
            try:
                dcgm_field = _known(told)
                column, size = _column(dcgm_field, raw, cells)
                points = [self._gpus.point(batch, host, gpu, dcgm_field) for gpu in host.gpus]
            except Refused as refused:
                carried, size = _carried(raw, cells)
                batch.refuse(message, refused, carried)
                if refused.reason is RejectReason.POINT_TYPE_UNKNOWN and isinstance(told, int) and size:
                    unknown.append(told)
                    sizes[told] = size
                else:
                    clean = False
                continue
            sizes[dcgm_field] = size
            if late:
                column = _without(column, late, len(host.gpus), size)
                for untimely in late.values():
                    batch.refuse(message, untimely, len(host.gpus))
            found[size].append((dcgm_field, column, points))
        parts = tuple(_part(size, columns) for size, columns in found.items() if columns)
        for part in parts:
            values = [column for _, column, _ in found[part.size]]
            self._add_many(batch, message, part, np.delete(times, list(late)), values)
        if clean and parts:
            report = _REPORT.decode(message.payload)
            self._layouts[message.topic] = _Layout(
                bytes(report.gpus), report.rack, len(host.gpus), list(sizes), list(sizes.values()), unknown, parts, {}
            )

    def _pieces(self, payload: bytes) -> _Pieces:
        if len(payload) > self._bounds.payload_bytes_max:
            raise Refused(
                RejectReason.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes, and {self._bounds.payload_bytes_max} are taken"
            )
        return _read(_PIECES, payload)

    def _times(self, time: int | None, times: bytes | None) -> npt.NDArray[np.int64]:
        """The instants, in milliseconds since 1970 UTC, at least one. Raises Refused."""
        if time is not None and times is not None:
            raise Refused(RejectReason.METADATA_CONTRADICTS, "it has both time and times")
        if times is None:
            if time is None:
                raise Refused(RejectReason.FIELD_MISSING, "it has neither time nor times")
            if not -(2**63) <= time < 2**63:
                raise Refused(RejectReason.TIME_AHEAD, f"the time is {time} ms")
            return np.array([time], np.int64)
        if not times:
            raise Refused(RejectReason.FIELD_MISSING, "times holds no instant")
        if len(times) % _MS.itemsize:
            raise Refused(RejectReason.WRONG_TYPE, f"times has {len(times)} bytes, which are no whole instants")
        if len(times) > self._bounds.instants_max * _MS.itemsize:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"{len(times) // _MS.itemsize} instants")
        return np.frombuffer(times, _MS).astype(np.int64)


def _read(decoder: msgspec.msgpack.Decoder[_T], payload: bytes | msgspec.Raw) -> _T:
    try:
        return decoder.decode(payload)
    except FOREIGN as error:
        raise refusal(error) from error


def _known(told: int | str) -> int:
    if isinstance(told, str):
        raise Refused(RejectReason.POINT_TYPE_UNKNOWN, "the id of a field is a number here, no text")
    return field_of(str(told))


def _column(dcgm_field: int, raw: msgspec.Raw, cells: int) -> tuple[bytes, int]:
    """A column and the size of its values. Raises Refused."""
    column = _read(_COLUMN, raw)
    size = next((size for size in _SIZES if len(column) == size * cells), 0)
    if not size:
        raise Refused(RejectReason.WRONG_TYPE, f"field {dcgm_field} has {len(column)} bytes for {cells} values")
    if size == 4 and BY_DCGM_FIELD[dcgm_field].nature is Nature.COUNTER:
        raise Refused(RejectReason.WRONG_TYPE, f"field {dcgm_field} is a counter and needs 8 bytes a value")
    return column, size


def _carried(raw: msgspec.Raw, cells: int) -> tuple[int, int]:
    """How many values a refused column stands for, at least one, and of which size; 0 where its length fits neither."""
    try:
        length = len(_COLUMN.decode(raw))
    except FOREIGN:
        return 1, 0
    size = next((size for size in _SIZES if length == size * cells), 0)
    return (cells, size) if size else (max(1, length // 4), 0)


def _part(size: int, found: list[tuple[int, bytes, list[int]]]) -> _Part:
    points = np.array([points for _, _, points in found], np.uint32)
    blank = np.repeat([blank_from(dcgm_field) for dcgm_field, _, _ in found], points.shape[1]).astype(np.float64)
    return _Part(size, [name for name, _, _ in found], points.ravel(), blank)


def _untimely(batch: Batch, times: npt.NDArray[np.int64]) -> dict[int, Refused]:
    """Which instants cannot be taken, and why."""
    late = {}
    for at in np.flatnonzero((times < batch.clock.oldest) | (times > batch.clock.newest)).tolist():
        try:
            batch.clock.check(int(times[at]))
        except Refused as refused:
            late[at] = refused
    return late


def _without(column: bytes, late: dict[int, Refused], width: int, size: int) -> bytes:
    """A column without those instants."""
    return np.delete(np.frombuffer(column, _SIZES[size]).reshape(-1, width), list(late), axis=0).tobytes()


def _finite(batch: Batch, columns: Columns, messages: list[Message], spans: list[int]) -> Columns:
    """The same without infinite values. spans: how many rows each message has."""
    infinite = np.isinf(columns.value)
    if not infinite.any():
        return columns
    ends = np.cumsum(spans)
    which, counts = np.unique(np.searchsorted(ends, np.flatnonzero(infinite), side="right"), return_counts=True)
    for at, count in zip(which.tolist(), counts.tolist(), strict=True):
        batch.refuse(messages[at], Refused(RejectReason.NOT_FINITE, "a value is infinite"), count)
    point, time, value, blank = columns
    return Columns(point[~infinite], time[~infinite], value[~infinite], [np.concatenate(blank)[~infinite]])
