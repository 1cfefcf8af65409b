"""The window: the recent readings of all points that a detector may ask for, ready to be cut into frames.

Taking a batch in costs an append. The work of sorting is done when a frame is asked for, and only over what came since
the last time: what was sorted stays sorted. Bounded in time and in rows; what gives way for want of room is counted.

Lives here: keeping, trimming and cutting. Not here: last values (dcim.core.live), what is found."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality, Readings

Points: TypeAlias = Sequence[int] | npt.NDArray[np.intp]
_N = TypeVar("_N", bound=np.generic)
_MICROSECOND = timedelta(microseconds=1)
_TRIM_BELOW = 0.9
"""Old rows are taken out when they are a tenth of all: each time costs a copy of the rest. Frames never show them."""

ROWS_MAX = 5_000_000
"""Rows that are kept: 105 MB of columns. 2,000 racks of 20 points at 5 s fill half of it in five minutes."""


class Window:
    """Readings of the last `look_back`, sorted by point, time and arrival.

    One thread offers. `snapshot` gives another thread a window of its own: the two share columns that nobody writes
    into, so neither waits for the other.
    """

    def __init__(self, look_back: timedelta, rows_max: int = ROWS_MAX) -> None:
        if look_back <= timedelta(0) or rows_max < 1:
            raise ValueError("a window needs a look-back and a number of rows above 0")
        self.look_back, self.rows_max = look_back, rows_max
        self.dropped = 0
        """Rows that gave way because there were too many, not because they were old."""
        self._sorted = Readings.empty()
        self._fresh: list[Readings] = []
        self._fresh_rows = 0
        self._lent: tuple[Window, int] | None = None  # and how many of our fresh batches it was given
        self._wanted: npt.NDArray[np.bool_] | None = None

    def only(self, points: Points | None) -> None:
        """From now on keeps readings of these points alone; of all when None. What is there stays until it is old."""
        self._wanted = None if points is None else _mask(points)

    def offer(self, readings: Readings) -> None:
        """Takes a batch in, in any order. Its columns are kept, not copied."""
        if self._wanted is not None:
            readings = readings.take(_among(readings.point, self._wanted))
        if not len(readings):
            return
        self._fresh.append(readings)
        self._fresh_rows += len(readings)
        if self._fresh_rows > self.rows_max:
            self._adopt()
            self._settle(None)

    def snapshot(self) -> Window:
        """A window with what is here now, for one reader. Cheap: the reader does the sorting, and its work comes back
        when the next snapshot is taken."""
        self._adopt()
        lent = Window(self.look_back, self.rows_max)
        lent._sorted, lent._fresh, lent._fresh_rows = self._sorted, list(self._fresh), self._fresh_rows
        self._lent = lent, len(self._fresh)
        return lent

    def frame(self, points: Points | None, since_us: int, until_us: int) -> pl.DataFrame:
        """Readings with since ≤ time ≤ until of these points (of all when None), sorted by point and time; readings of
        one point and instant stand in the order in which they came. Columns: point u32, time Datetime(us, UTC), value
        f64 or null, quality u8.

        Readings more than a look-back older than `until` are forgotten. Those that are ahead of it are kept for later.
        """
        horizon_us = until_us - self.look_back // _MICROSECOND
        self._settle(horizon_us)
        rows = self._sorted
        chosen = (rows.time >= max(since_us, horizon_us)) & (rows.time <= until_us)
        if points is not None:
            chosen &= _among(rows.point, _mask(points))
        return rows.take(np.flatnonzero(chosen)).to_frame()

    def __len__(self) -> int:
        return len(self._sorted) + self._fresh_rows

    def _adopt(self) -> None:
        """Takes over what the reader of the last snapshot has sorted by now. One that was never read has nothing."""
        if self._lent is None:
            return
        lent, given = self._lent
        self._lent = None
        if not lent._fresh:
            self._sorted = lent._sorted
            self.dropped += lent.dropped
            del self._fresh[:given]
            self._fresh_rows = sum(map(len, self._fresh))

    def _settle(self, horizon_us: int | None) -> None:
        """Sorts what is fresh into the rest, forgets what is older than the horizon, keeps to the number of rows."""
        rows = self._sorted
        if self._fresh:
            fresh = Readings.concat(self._fresh)
            rows = _merge(rows, fresh.take(np.lexsort((fresh.time, fresh.point))))
        if horizon_us is not None:
            recent = rows.time >= horizon_us
            if np.count_nonzero(recent) <= _TRIM_BELOW * len(rows):
                rows = rows.take(recent)
        excess = len(rows) - self.rows_max
        if excess > 0:
            kept = np.ones(len(rows), np.bool_)
            kept[np.argsort(rows.time, kind="stable")[:excess]] = False
            rows = rows.take(kept)
            self.dropped += excess
        self._sorted = rows
        self._fresh, self._fresh_rows = [], 0  # last: whoever finds nothing fresh finds all of it sorted


def doubt(frame: pl.DataFrame, distrusted: AbstractSet[int]) -> pl.DataFrame:
    """The frame with the readings of distrusted points marked as bad; the frame itself where there are none."""
    if not distrusted:
        return frame
    doubted = pl.col("point").is_in(pl.Series(sorted(distrusted), dtype=pl.UInt32).implode())
    bad = pl.lit(int(Quality.BAD), pl.UInt8)
    return frame.with_columns(quality=pl.when(doubted).then(bad).otherwise(pl.col("quality")))


def _merge(rows: Readings, more: Readings) -> Readings:
    """Both, sorted by point and time, when each is; of one point and instant, what is in `rows` comes first."""
    if not len(rows):
        return more
    # Where each new row goes: the run of its point first, then halving that run until one place is left.
    low = np.searchsorted(rows.point, more.point, side="left")
    high = np.searchsorted(rows.point, more.point, side="right")
    while True:
        open_ = low < high
        if not open_.any():
            break
        middle = (low + high) // 2
        later = open_ & (rows.time[np.minimum(middle, len(rows) - 1)] > more.time)
        high = np.where(later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    places = low + np.arange(len(more))
    old = np.ones(len(rows) + len(more), np.bool_)
    old[places] = False
    return Readings(
        _interleave(rows.point, more.point, old),
        _interleave(rows.time, more.time, old),
        _interleave(rows.value, more.value, old),
        _interleave(rows.quality, more.quality, old),
    )


def _interleave(rows: npt.NDArray[_N], more: npt.NDArray[_N], old: npt.NDArray[np.bool_]) -> npt.NDArray[_N]:
    merged = np.empty(len(old), rows.dtype)
    merged[old] = rows
    merged[~old] = more
    return merged


def _mask(points: Points) -> npt.NDArray[np.bool_]:
    numbers = np.asarray(points, np.intp)
    mask = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
    mask[numbers] = True
    return mask


def _among(point: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows are of a point that the mask names; points beyond its end are not."""
    return np.append(mask, False)[np.minimum(point, len(mask))]
