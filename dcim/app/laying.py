"""Laying out: the readings of a stretch of the past, put so that each tick finds what it asks for without searching:
a window for each detector, the last value of each point, and what arrived in between.

All of it depends on readings and ticks alone, and on nothing that was found in them; it is done for a stretch ahead of
the walk, in another thread. Lives here: that order. Not here: the walk (playback.py), where readings come from
(recorded.py, tables.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Readings

Times = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]
_N = TypeVar("_N", bound=np.generic)
_SMALL = 1 << 16
"""Numbers below it are put in order by their digits, which takes a fifth of the time."""


class Ticks:
    """The instants at which everything is looked at."""

    def __init__(self, times: Times) -> None:
        """times: microseconds UTC, ascending."""
        self.times = times
        steps = np.diff(times)
        self._stride_us = int(steps[0]) if len(steps) and (steps == steps[0]).all() else 0

    def __len__(self) -> int:
        return len(self.times)

    def after(self, time: Times) -> Numbers:
        """[n]: number of the first tick at or after each time; that of no tick behind the last.

        >>> Ticks(np.array([10, 20, 30])).after(np.array([1, 10, 11, 30, 31])).tolist()
        [0, 0, 1, 2, 3]
        """
        if not self._stride_us:
            return np.searchsorted(self.times, time, side="left")
        number = time - (int(self.times[0]) - self._stride_us + 1)
        number //= self._stride_us  # a search costs many times as much
        return np.clip(number, 0, len(self.times), out=number)


class Layout:
    """The ticks from `first` to `beyond`, with all that will be asked for at each."""

    def __init__(
        self, rows: Readings, ticks: Ticks, first: int, beyond: int, needed: Sequence[Marks], wakes: Marks
    ) -> None:
        """rows: sorted by point, then time, with those of before that a window may still reach, and those that no tick
        has shown yet. By point number, needed: for each detector, what it wants to be shown; wakes: whose arrival is
        looked at."""
        self.first, self.beyond, self._ticks, self._rows = first, beyond, ticks.times, rows
        tick = ticks.after(rows.time)
        np.minimum(tick, beyond, out=tick)
        self._from = min(int(tick.min(initial=first)), first)
        columns = beyond - self._from + 1
        starts = np.flatnonzero(np.append(True, rows.point[1:] != rows.point[:-1])) if len(rows) else _NONE
        points = rows.point[starts]
        # A cell is a point and a tick. Rows of one cell stand together, for a point's rows ascend in time.
        cell = tick + np.repeat(np.arange(len(starts)) * columns - self._from, np.diff(np.append(starts, len(rows))))
        last = np.flatnonzero(np.append(cell[1:] != cell[:-1], True)) if len(rows) else _NONE
        rank, column = np.divmod(cell[last], columns)
        del cell

        marks = np.logical_or.reduce([*needed, np.zeros(len(wakes), np.bool_)])[points]
        place = np.cumsum(marks) - 1
        self._starts = starts[marks]
        self._ends = np.zeros((columns, len(self._starts)), np.int32)
        """[ticks, points]: where the rows up to each tick end."""
        kept = marks[rank]
        self._ends[column[kept], place[rank[kept]]] = last[kept] + 1
        self._ends[:1] = np.maximum(self._ends[:1], self._starts)
        np.maximum.accumulate(self._ends, axis=0, out=self._ends)
        self._shown = [np.flatnonzero(own[points[marks]]) for own in needed]

        new = (column >= first - self._from) & (column < beyond - self._from)
        last, column = last[new], column[new] - (first - self._from)
        order = np.argsort(column.astype(np.uint16) if columns < _SMALL else column, kind="stable")
        self._last = rows.take(last[order])
        self._bounds = np.searchsorted(column[order], np.arange(beyond - first + 1), side="left")

        arrived = np.flatnonzero(wakes[rows.point] & (tick >= first) & (tick < beyond))
        self.arrivals = Arrivals(rows.take(arrived), tick[arrived], first, beyond)

    def window(self, detector: int, tick: int, look_back_us: int) -> pl.DataFrame:
        """What the watch's window would show to one of the detectors: at − look_back ≤ time ≤ at, sorted by point and
        time."""
        until_us = int(self._ticks[tick])
        since_us = until_us - look_back_us
        shown = self._shown[detector]
        ends = self._ends[tick - self._from][shown]
        behind = int(np.searchsorted(self._ticks[self._from : tick], since_us, side="left")) - 1
        begins = self._ends[behind][shown] if behind >= 0 else self._starts[shown]
        lengths = ends - begins
        at = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
        at += np.arange(len(at))
        late = self._rows.time[at] >= since_us
        return self._rows.take(at if late.all() else at[late]).to_frame()

    def came(self, tick: int) -> Readings:
        """What a tick finds new: the last reading of each point since the tick before, by point."""
        own = slice(int(self._bounds[tick - self.first]), int(self._bounds[tick - self.first + 1]))
        rows = self._last
        return Readings(rows.point[own], rows.time[own], rows.value[own], rows.quality[own])


class Arrivals:
    """All readings of some points that are new to a stretch's ticks, as they came."""

    def __init__(self, rows: Readings, tick: Numbers, first: int, beyond: int) -> None:
        """rows: sorted by point, then time. tick: of each row, the first tick at or after it."""
        self.rows, self._tick, self._first = rows, tick, first
        self._order = np.argsort(rows.time, kind="stable")
        self._bounds = np.searchsorted(tick[self._order], np.arange(first, beyond + 1), side="left")

    def of(self, tick: int) -> Numbers:
        """Numbers of the rows that came after the tick before and up to this one, by time, then by point."""
        order: Numbers = self._order[self._bounds[tick - self._first] : self._bounds[tick - self._first + 1]]
        return order

    def before(self) -> Numbers:
        """For each row, the last row of its point at the tick before; −1 where there is none in this stretch."""
        rows, tick = self.rows, self._tick
        if not len(rows):
            return _NONE
        run = np.append(True, (rows.point[1:] != rows.point[:-1]) | (tick[1:] != tick[:-1]))
        starts = np.flatnonzero(run)
        own = np.cumsum(run) - 1
        same = np.append(False, rows.point[starts[1:]] == rows.point[starts[1:] - 1])
        earlier: Numbers = np.where(same, starts - 1, -1)[own]
        return earlier


def behind(kept: Readings, fresh: Readings) -> Readings:
    """Both, sorted by point and time, when each is, and `kept` is of an earlier time."""
    if not len(kept) or not len(fresh):
        return fresh if not len(kept) else kept
    place = np.searchsorted(fresh.point, kept.point, side="left") + np.arange(len(kept))
    old = np.zeros(len(kept) + len(fresh), np.bool_)
    old[place] = True

    def both(earlier: npt.NDArray[_N], later: npt.NDArray[_N]) -> npt.NDArray[_N]:
        column: npt.NDArray[_N] = np.empty(len(old), earlier.dtype)
        column[place], column[~old] = earlier, later
        return column

    return Readings(
        both(kept.point, fresh.point),
        both(kept.time, fresh.time),
        both(kept.value, fresh.value),
        both(kept.quality, fresh.quality),
    )


_NONE = np.zeros(0, np.intp)
