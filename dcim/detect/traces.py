"""Traces: a window's frame taken apart by point, as arrays, and put onto an even grid of time.

Lives here: cutting, averaging into bins, holding on to the last value. Not here: what is looked for in a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality
from dcim.core.times import SECOND_US

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trace:
    """The readings of one point, by time."""

    time: npt.NDArray[np.int64]
    """Microseconds UTC."""
    value: Floats
    """NaN where missing or bad."""
    quality: npt.NDArray[np.uint8]

    @property
    def last(self) -> float | None:
        """The last reading; None where there is none or it is missing or bad: no older one is taken in its place."""
        return None if not len(self.value) or np.isnan(self.value[-1]) else float(self.value[-1])


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame sorted by point and time, readings of one point and instant as they stand; the frame itself where it
    is so already, as it should be."""
    point, time = frame["point"].to_numpy(), frame["time"].to_physical().to_numpy()
    starts = np.flatnonzero(point[1:] != point[:-1])
    fell = time[1:] < time[:-1]
    ascends = (point[starts + 1] > point[starts]).all()
    if ascends and np.count_nonzero(fell) == np.count_nonzero(fell[starts]):
        return frame
    return frame.sort("point", "time", maintain_order=True)


def values_of(frame: pl.DataFrame) -> Floats:
    """The frame's values, NaN where missing. Shared with the frame where they can be: nobody writes into them."""
    value = frame["value"]
    value = value if value.dtype == pl.Float64 else value.cast(pl.Float64)
    values: Floats = (value.fill_null(np.nan) if value.null_count() else value).to_numpy()
    return values


class Traces:
    """A frame as detectors are given it, point by point. One that is not sorted by point and time is sorted first."""

    def __init__(self, frame: pl.DataFrame) -> None:
        frame = in_order(frame)
        self.point = frame["point"].to_numpy()
        self.time = frame["time"].to_physical().to_numpy()
        self.quality = frame["quality"].to_numpy()
        self.value = np.where(self.quality < Quality.BAD, values_of(frame), np.nan)
        self.starts = np.flatnonzero(np.append(True, self.point[1:] != self.point[:-1])) if len(self.point) else _NONE
        self.points = self.point[self.starts]
        """The points that have readings, ascending."""
        self.ends = np.append(self.starts[1:], len(self.point)) if len(self.starts) else _NONE

    def of(self, point: int) -> Trace:
        """The readings of one point; none where it has none."""
        at = int(np.searchsorted(self.points, np.uint32(point)))  # of their type, or all would be converted
        if at == len(self.points) or self.points[at] != point:
            rows = slice(0, 0)
        else:
            rows = slice(int(self.starts[at]), int(self.ends[at]))
        return Trace(self.time[rows], self.value[rows], self.quality[rows])


@dataclass(frozen=True, slots=True)
class Grid:
    """Even bins that end at `until_us`; the last one holds it."""

    until_us: int
    bin_s: float
    bins: int
    hold_s: float
    """For so long a value stands for the bins that have none: the bus sends what is unchanged every 100 s only."""

    @property
    def seconds(self) -> Floats:
        """Middle of each bin, in seconds before `until_us`; negative, ascending."""
        return (np.arange(self.bins, dtype=np.float64) - self.bins + 0.5) * self.bin_s

    def mean(self, trace: Trace) -> Floats:
        """Mean by bin of what is neither missing nor bad. A bin without a reading has the last one before it, for as
        long as hold_s; NaN beyond that, and where the last one was missing or bad."""
        behind = (self.until_us - trace.time) // int(self.bin_s * SECOND_US)
        inside = (behind >= 0) & (behind < self.bins)
        bins, value = self.bins - 1 - behind[inside], trace.value[inside]
        good = ~np.isnan(value)
        count = np.bincount(bins[good], minlength=self.bins)
        total = np.bincount(bins[good], weights=value[good], minlength=self.bins)
        mean: Floats = np.full(self.bins, np.nan, np.float64)
        mean[count > 0] = total[count > 0] / count[count > 0]
        # The last reading of each bin is what holds, not its mean.
        source = np.full(self.bins, -1)
        source[bins] = np.arange(len(bins))
        source = np.maximum.accumulate(source)
        empty = np.bincount(bins, minlength=self.bins) == 0
        held = np.flatnonzero(empty & (source >= 0))
        held = held[(held - bins[source[held]]) * self.bin_s <= self.hold_s]
        mean[held] = value[source[held]]
        return mean


_NONE = np.zeros(0, np.intp)
