"""Rows: what a codec has made of a batch so far, for codecs whose points are described before their values are taken.

Lives here: rows on their way to columns, what was put aside, and how a description comes to the index. Not here: what
any message says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from collectors.codecs.payload import Refused
from dcim.core.errors import Permanent
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality, Readings


class Rows:
    """One batch. Values are as sent, of points that are described; `decoded` gives them in our units.

    What a row was taken by is the description at that moment: a change of it turns the rows so far into columns first.
    """

    def __init__(self, index: PointIndex, received: int) -> None:
        """received: microseconds UTC."""
        self.received = received
        self._index = index
        self._done = Decoded(Readings.empty(), Readings.empty())
        self._ready: list[Readings] = []
        self._past: list[Readings] = []
        self._points: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []
        self._bad: list[bool] = []
        self._old: list[bool] = []
        self._untimed: dict[int, int] = {}

    def add(self, point: int, time_us: int, value: float, *, bad: bool = False, old: bool = False) -> None:
        """A value as sent, NaN where there is none. bad and old: what the sender says of it; old is historical."""
        self._points.append(point)
        self._times.append(time_us)
        self._values.append(value)
        self._bad.append(bad)
        self._old.append(old)

    def time_of_receipt(self, point: int) -> int:
        """Microseconds UTC for a value that came without a time. Values of one point are told apart in their order by
        a microsecond each, or all of a batch but the first would be repetitions of it."""
        before = self._untimed.get(point, 0)
        self._untimed[point] = before + 1
        return self.received + before

    def refuse(self, message: Message, refused: Refused, kind: Kind = Kind.VALUE, items: int = 1) -> None:
        """Puts so many items of a message aside: one record."""
        reject = refused.reject(message.topic, message.payload, self.received, kind)
        self._done.rejects.extend([reject] * items)

    def remark(self, remark: Remark, count: int = 1) -> None:
        """Counts what is kept with a word."""
        if count:
            self._done.remarks[remark] = self._done.remarks.get(remark, 0) + count

    def describe(self, point: Point) -> int:
        """Sees to it that the index says this of the point's key, and answers the number that the key has then; that
        of `point` does not matter. Raises Refused where there are too many points.

        Stored values of one point have one unit: where that or the quantity changes, the key gets a new number.
        """
        index = self._index
        try:
            known = index.locate(point.key)
            old = index[known]
            point = replace(point, id=known)
            if point == old:
                return known
            if old is not None:
                self._flush()
                self._remark_change(old, point)
                if (old.quantity, old.unit) != (point.quantity, point.unit):
                    point = replace(point, id=index.succeed(point.key))
        except Permanent as full:
            raise Refused(RejectReason.TOO_MANY_POINTS, full.what) from full
        index.describe(point)
        if not point.unit_known:
            self.remark(Remark.UNIT_UNKNOWN)
        return point.id

    def decoded(self) -> Decoded:
        """Everything. Rows of points that another codec over this index has retired meanwhile are its successor's."""
        self._flush()
        self._done.readings = Readings.concat(self._ready)
        self._done.past = Readings.concat(self._past)
        return self._done

    @property
    def done(self) -> Decoded:
        """What has no rows: descriptions, wishes."""
        return self._done

    def _remark_change(self, old: Point, point: Point) -> None:
        stored = (old.quantity, old.unit) != (point.quantity, point.unit)
        if not stored:
            self.remark(Remark.DESCRIPTION_CHANGED)
        if stored or (old.scale, old.offset) != (point.scale, point.offset):
            self.remark(Remark.UNIT_CHANGED)

    def _flush(self) -> None:
        if not self._points:
            return
        value, old = np.array(self._values, np.float64), np.array(self._old, np.bool_)
        bad = np.array(self._bad, np.bool_) | np.isnan(value)
        converted = self._index.scaling.convert(
            Readings(
                self._current(np.array(self._points, np.uint32)),
                np.array(self._times, np.int64),
                value,
                np.where(bad, np.uint8(Quality.BAD), np.uint8(Quality.GOOD)),
            )
        )
        self.remark(Remark.VALUE_IMPLAUSIBLE, converted.implausible)
        self._ready.append(converted.readings.take(~old) if old.any() else converted.readings)
        if old.any():
            self._past.append(converted.readings.take(old))
        for column in (self._points, self._times, self._values, self._bad, self._old):
            column.clear()

    def _current(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        retired = self._index.scaling.retired[points]
        for row in np.flatnonzero(retired).tolist():
            points[row] = self._index.locate(self._index.key(int(points[row])))
        return points
