"""Stillness: for how long each point has said the same, and how often it changes, in one pass over a frame's rows.

Lives here: that measure. Not here: whether it is a fault to be still (sensors.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality
from dcim.core.times import SECOND_US
from dcim.detect.traces import Floats
from dcim.detect.wide import Cuts, Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Stillness:
    """By row of a frame's points, ascending."""

    points: npt.NDArray[np.int64]
    value: Floats
    """The last reading; NaN where it is missing or bad."""
    heard_s: Floats
    """Seconds since it was made."""
    still_s: Floats
    """Seconds since the value last changed; where it never did, since the first reading."""
    said: Floats
    """How many readings have said so."""
    changes: Floats
    """How many changes there were before that."""
    interval_s: Floats
    """Mean time between those; NaN for fewer than two."""

    def at(self, points: Numbers) -> Numbers:
        """Row of each point; −1 where it has no readings."""
        if not len(self.points):
            return np.full(points.shape, -1, np.intp)
        row = np.minimum(np.searchsorted(self.points, points), len(self.points) - 1)
        found: Numbers = np.where((points >= 0) & (self.points[row] == points), row, -1)
        return found


def stillness(frame: pl.DataFrame, until_us: int) -> Stillness:
    """The measure at an instant. A reading that is missing or bad is a change: whoever says so is not frozen."""
    cuts = Cuts.of(frame)
    count = len(cuts.points)
    last_change = np.zeros(count, np.int64)
    changes = np.zeros(count)
    for first, beyond in cuts.chunks():
        rows = slice(int(cuts.starts[first]), int(cuts.ends[beyond - 1]))
        starts = cuts.starts[first:beyond] - rows.start
        value = cuts.value[rows]
        changed = np.empty(len(value), np.bool_)
        np.not_equal(value[1:], value[:-1], out=changed[1:])  # NaN is unlike everything, itself included
        bad = cuts.quality[rows] >= Quality.BAD
        if bad.any():
            changed |= bad
        changed[starts] = False
        places = np.flatnonzero(changed)
        counted = np.searchsorted(places, np.append(starts, len(value)))
        changes[first:beyond] = np.diff(counted)
        # The last change of a point is the one before the next point's first; where there is none, its first reading.
        before = np.append(-1, places)[counted[1:]]
        last_change[first:beyond] = np.maximum(before, starts) + rows.start
    end, start = cuts.ends - 1, cuts.starts
    span_s = (cuts.time[last_change] - cuts.time[start]) / SECOND_US
    return Stillness(
        points=cuts.points,
        value=np.where(cuts.quality[end] < Quality.BAD, cuts.value[end], np.nan),
        heard_s=(until_us - cuts.time[end]) / SECOND_US,
        still_s=(until_us - cuts.time[last_change]) / SECOND_US,
        said=(cuts.ends - last_change).astype(np.float64),
        changes=changes,
        interval_s=np.where(changes >= 2, span_s / np.maximum(changes, 1.0), np.nan),
    )
