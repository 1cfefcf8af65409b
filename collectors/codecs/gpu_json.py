"""GPU telemetry in JSON: one message a host and second, columns keyed by DCGM field id.

    topic    dcim/v1/{site}/gpu/{host}
    payload  {"time": ms, "rack": id, "gpus": [{"index": 0, "uuid": "GPU-…"}, …], "fields": {"155": [412.1, …], …}}

Lives here: that layout. Not here: whose points the values are (gpus.py), what a payload may be at all (payload.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from collectors.codecs.bounds import Bounds
from collectors.codecs.gpus import Batch, Columns, Gpu, Gpus, Host, blank_from, field_of, unknown_field
from collectors.codecs.payload import FOREIGN, NUMBER_MAX, Refused, examine, number, read, text, whole
from dcim.core.ledger import RejectReason
from dcim.core.ports import Message

_Number = Annotated[float, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]


class _Report(msgspec.Struct, gc=False):
    """A message as it should be; of the GPUs, the bytes are enough to see that nothing changed."""

    time: int
    gpus: msgspec.Raw
    fields: dict[str, list[_Number | None]]
    rack: str | None = None


class _Pieces(msgspec.Struct):
    """A message that is not quite so."""

    time: msgspec.Raw = msgspec.Raw()
    gpus: list[Gpu] | None = None
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
class _Rows:
    """Rows that are not columns yet, of all messages of a batch: one array is made of their values at the end."""

    values: list[float | None] = field(default_factory=list)
    points: list[npt.NDArray[np.uint32]] = field(default_factory=list)
    blank: list[npt.NDArray[np.float64]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


class JsonForm:
    """Reads messages in JSON. Hosts whose message looks as it did before cost a look-up and one decode."""

    def __init__(self, gpus: Gpus, bounds: Bounds) -> None:
        self._gpus, self._bounds = gpus, bounds
        self._layouts: dict[bytes, _Layout] = {}
        self._rows = _Rows()

    def read(self, batch: Batch, message: Message) -> None:
        """Takes one message in; what it gives is in `take` after the last."""
        if not self._quickly(batch, message):
            self._slowly(batch, message)

    def take(self) -> Columns | None:
        """The rows since the last time, None where there are none."""
        rows, self._rows = self._rows, _Rows()
        if not rows.values:
            return None
        widths = [len(points) for points in rows.points]
        return Columns(
            np.concatenate(rows.points),
            np.repeat(np.array(rows.times, np.int64) * 1000, widths),
            np.array(rows.values, np.float64),  # None becomes NaN
            rows.blank,
        )

    def _quickly(self, batch: Batch, message: Message) -> bool:
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
            self._rows.values.extend(columns[name])
        self._rows.points.append(layout.points)
        self._rows.blank.append(layout.blank)
        self._rows.times.append(report.time)
        for name in layout.unknown:
            batch.refuse(message, unknown_field(name), layout.width)
        return True

    def _slowly(self, batch: Batch, message: Message) -> None:
        """Any message, piece by piece."""
        try:
            host = self._gpus.host(message.topic)
            examine(message.payload, self._bounds)
            pieces = read(_PIECES, message.payload)
            if not bytes(pieces.time) or pieces.gpus is None or not pieces.fields:
                raise Refused(RejectReason.FIELD_MISSING, "time, gpus and fields are all needed")
            at = whole(pieces.time, "time")
            batch.clock.check(at)
            rack = text(pieces.rack or "", "rack", self._bounds)
            speaker = Host(host, self._gpus.check(pieces.gpus), rack)
        except Refused as refused:
            batch.refuse(message, refused)
            return
        self._gpus.reseat(host, speaker.gpus)
        clean = True
        known, numbers, blanks = [], [], []
        for name, raw in pieces.fields.items():
            try:
                dcgm_field = field_of(name)
                column = read(_COLUMN, bytes(raw))
                if len(column) != len(speaker.gpus):
                    raise Refused(
                        RejectReason.WRONG_TYPE, f"field {name} has {len(column)} values for {len(speaker.gpus)} GPUs"
                    )
            except Refused as refused:
                clean = clean and refused.reason is RejectReason.POINT_TYPE_UNKNOWN
                batch.refuse(message, refused, _length(raw))
                continue
            known.append(name)
            for gpu, value in zip(speaker.gpus, column, strict=True):
                try:
                    taken = number(value, f"field {name} of GPU {gpu.index}")
                    point = self._gpus.point(batch, speaker, gpu, dcgm_field)
                except Refused as refused:
                    clean = False
                    batch.refuse(message, refused, 1)
                    continue
                numbers.append(point)
                blanks.append(blank_from(dcgm_field))
                self._rows.values.append(taken)
        points, blank = np.array(numbers, np.uint32), np.array(blanks, np.float64)
        self._rows.points.append(points)
        self._rows.blank.append(blank)
        self._rows.times.append(at)
        if clean and known:
            self._remember(message, known, len(speaker.gpus), points, blank)

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


def _length(raw: msgspec.Raw) -> int:
    """How many values a refused column stands for: at least one."""
    try:
        return max(1, len(_COLUMN.decode(raw)))
    except FOREIGN:
        return 1
