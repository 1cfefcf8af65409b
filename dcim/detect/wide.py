"""Wide: a window's frame as one matrix, points by even bins of time, made in one pass over all rows.

For detectors that look at thousands of points at once. Lives here: binning, holding on, picking rows, and the few
statistics over bins that several of them share. Not here: single traces (traces.py), what is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality
from dcim.core.times import SECOND_US
from dcim.detect.traces import Floats, Grid, in_order, values_of

Numbers = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
_CHUNK_ROWS = 200_000
"""Rows that are binned at once: their columns stay in the cache."""

_LARGEST = 1e15
"""What is larger was not measured; arithmetic with it would overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """Readings by point and bin. The last row of each matrix stands for a point that there is not: nothing was read."""

    grid: Grid
    points: npt.NDArray[np.int64]
    """Points that have readings, ascending."""
    mean: Floats
    """[points + 1, bins]: mean of what is neither missing nor bad; held over empty bins for grid.hold_s, else NaN."""
    count: Floats
    """[points + 1, bins]: how many readings that were; 0 where a value is only held."""
    last: Floats
    """[points + 1]: the last reading, NaN where it is missing or bad. States are read from here: they have no mean."""
    number: Floats
    """[points + 1]: the sum of its counts. Of most GPUs so little is read that nothing more need be asked."""

    def at(self, points: Numbers) -> Numbers:
        """Row of each of these points, in their shape; −1 is no point."""
        if not len(self.points):
            return np.full(points.shape, -1, np.intp)
        row = np.minimum(np.searchsorted(self.points, points), len(self.points) - 1)
        found: Numbers = np.where((points >= 0) & (self.points[row] == points), row, -1)
        return found

    def means(self, points: Numbers) -> Floats:
        """[*points.shape, bins]."""
        means: Floats = self.mean[self.at(points)]
        return means

    def counts(self, points: Numbers) -> Floats:
        """[*points.shape, bins]."""
        counts: Floats = self.count[self.at(points)]
        return counts

    def told(self, points: Numbers) -> Floats:
        """[*points.shape]: how many readings went into all its means."""
        told: Floats = self.number[self.at(points)]
        return told

    def mean_at(self, points: Numbers, bins: int) -> Floats:
        """[*points.shape]: the mean of one bin; −1 is the last, as everywhere."""
        mean: Floats = self.mean[self.at(points), bins]
        return mean

    def lasts(self, points: Numbers) -> Floats:
        """[*points.shape]."""
        lasts: Floats = self.last[self.at(points)]
        return lasts

    def forget(self, points: Numbers) -> None:
        """As if these points had said nothing. In place: a matrix belongs to one look."""
        rows = self.at(points)
        rows = rows[rows >= 0]
        self.mean[rows], self.count[rows], self.last[rows], self.number[rows] = np.nan, 0.0, np.nan, 0.0


def widen(frame: pl.DataFrame, grid: Grid) -> Wide:
    """The matrix of a frame. One that is not sorted by point and time is sorted first."""
    cuts = Cuts.of(frame)
    points, bins = len(cuts.points), grid.bins
    mean = np.full((points + 1, bins), np.nan)
    count = np.zeros((points + 1, bins))
    last = np.full(points + 1, np.nan)
    number = np.zeros(points + 1)
    if points:
        end = cuts.ends - 1
        last[:-1] = np.where(cuts.quality[end] < Quality.BAD, cuts.value[end], np.nan)
    bin_us = int(grid.bin_s * SECOND_US)
    for first, beyond in cuts.chunks():
        rows = slice(int(cuts.starts[first]), int(cuts.ends[beyond - 1]))
        lengths = cuts.ends[first:beyond] - cuts.starts[first:beyond]
        value, quality = cuts.value[rows], cuts.quality[rows]
        key = grid.until_us - cuts.time[rows]
        key //= bin_us
        within = bool(key.min() >= 0 and key.max() < bins)
        np.subtract(np.repeat(np.arange(1, beyond - first + 1) * bins - 1, lengths), key, out=key)
        size = (beyond - first) * bins
        heard = None
        if not (within and quality.max() < Quality.BAD and not np.isnan(value.min())):
            place = key - np.repeat(np.arange(beyond - first) * bins, lengths)
            inside = (place >= 0) & (place < bins)
            good = inside & (quality < Quality.BAD) & ~np.isnan(value)
            heard = _there(key[inside], size)
            key, value = key[good], value[good]
        run, counted, total = _binned(key, value, size)
        means = total / counted
        means[np.abs(means) > _LARGEST] = np.nan
        count[first:beyond].reshape(-1)[run] = counted
        number[first:beyond] = np.bincount(run // bins, weights=counted, minlength=beyond - first)
        mean[first:beyond].reshape(-1)[run] = means
        _hold(mean[first:beyond].reshape(-1), run if heard is None else heard, bins, int(grid.hold_s / grid.bin_s))
    return Wide(grid, cuts.points, mean, count, last, number)


def _binned(key: npt.NDArray[np.int64], value: Floats, size: int) -> tuple[Numbers, npt.NDArray[np.int_], Floats]:
    """The keys that there are, ascending, how many values each has, and their sums. Of keys that ascend, as those of a
    sorted frame do, each has one run: adding up runs takes half the time of counting keys."""
    if not len(key):
        return np.zeros(0, np.intp), np.zeros(0, np.int_), np.zeros(0)
    starts = np.append(0, np.flatnonzero(key[1:] != key[:-1]) + 1)
    run = key[starts]
    if (run[1:] < run[:-1]).any():
        counted = np.bincount(key, minlength=size)
        run = np.flatnonzero(counted)
        return run, counted[run], np.bincount(key, weights=value, minlength=size).astype(np.float64)[run]
    with np.errstate(over="ignore", invalid="ignore"):
        return run.astype(np.intp), np.diff(starts, append=len(key)), np.add.reduceat(value, starts)


def _there(key: npt.NDArray[np.int64], size: int) -> Numbers:
    """The keys that there are, ascending. There are many more places than keys, where most points say little."""
    run = key[np.append(key[1:] != key[:-1], True)] if len(key) else key
    if (run[1:] < run[:-1]).any():
        return np.flatnonzero(np.bincount(key, minlength=size))
    return run.astype(np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """The columns of a frame, and where each point begins and ends in them."""

    points: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    value: Floats
    """NaN where missing; bad ones are as they came."""
    quality: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Cuts:
        """Columns are shared with the frame where they can be, and never written into."""
        frame = in_order(frame)
        point = frame["point"].to_numpy()
        starts = np.flatnonzero(np.append(True, point[1:] != point[:-1])) if len(point) else np.zeros(0, np.int64)
        return cls(
            point[starts].astype(np.int64),
            starts,
            np.append(starts[1:], len(point)) if len(starts) else starts,
            frame["time"].to_physical().to_numpy(),
            values_of(frame),
            frame["quality"].to_numpy(),
        )

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Runs of points [first, beyond) that have about _CHUNK_ROWS rows together."""
        first = 0
        while first < len(self.points):
            beyond = int(np.searchsorted(self.ends, self.starts[first] + _CHUNK_ROWS, side="right"))
            beyond = max(beyond, first + 1)
            yield first, beyond
            first = beyond


def _hold(mean: Floats, heard: Numbers, bins: int, hold_bins: int) -> None:
    """Fills empty bins from the one before, in place; one in which only bad readings came ends the holding. mean: bins
    of each point after those of the one before. heard: places in it at which something came, ascending."""
    if not len(heard):
        return
    row_ends = (heard // bins + 1) * bins
    ends = np.minimum(np.append(heard[1:], mean.size), np.minimum(row_ends, heard + hold_bins + 1))
    lengths = ends - heard - 1
    if not lengths.any():
        return
    before = np.cumsum(lengths) - lengths
    held = np.repeat(heard + 1 - before, lengths) + np.arange(int(lengths.sum()))
    mean[held] = np.repeat(mean[heard], lengths)


def steady(values: Floats, span: int, share: float) -> Bools:
    """[…, bins]: whether the values of a bin and of the span − 1 before it lie within `share` of their largest
    magnitude. False where one of them is missing, and in the first bins, which have too few before them."""
    calm = np.zeros(values.shape, np.bool_)
    if values.shape[-1] >= span:
        runs = values.shape[-1] - span + 1
        high, low = values[..., :runs].copy(), values[..., :runs].copy()
        for behind in range(1, span):  # whole columns at a time: a reduction over spans so short is all overhead
            np.maximum(high, values[..., behind : behind + runs], out=high)
            np.minimum(low, values[..., behind : behind + runs], out=low)
        calm[..., span - 1 :] = high - low <= share * np.maximum(np.abs(high), np.abs(low))
    return calm


def over(values: Floats, where: Bools, least: int) -> Floats:
    """[…]: mean over the bins that `where` picks and that hold a value; NaN where those are fewer than `least`."""
    used = where & ~np.isnan(values)
    number = used.sum(axis=-1)
    total = np.where(used, values, 0.0).sum(axis=-1)
    mean: Floats = np.where(number >= max(least, 1), total / np.maximum(number, 1), np.nan)
    return mean


def any_of(mask: Bools) -> Bools:
    """[…]: whether the mask is set anywhere along its last axis."""
    found: Bools = np.any(mask, axis=-1)
    return found


def all_of(mask: Bools) -> Bools:
    """[…]: whether the mask is set everywhere along its last axis."""
    found: Bools = np.all(mask, axis=-1)
    return found


def recent(values: Floats, bins: int) -> Floats:
    """[…]: mean of the last so many bins; NaN where the last one is missing."""
    tail = values[..., -bins:]
    mean = over(tail, np.ones(tail.shape, np.bool_), 1)
    mean[np.isnan(values[..., -1])] = np.nan
    return mean


def median(values: Floats, least: int = 1) -> Floats:
    """[…]: median along the last axis of what is not NaN; NaN where that is fewer than `least`."""
    known = values.shape[-1] - np.isnan(values).sum(axis=-1)
    ranked = np.sort(values, axis=-1)  # NaN goes to the end
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    first = np.arange(known.size).reshape(known.shape) * values.shape[-1]
    low = ranked.reshape(-1)[first + np.maximum((known - 1) // 2, 0)]
    high = ranked.reshape(-1)[first + np.minimum(known // 2, values.shape[-1] - 1)]
    middle: Floats = np.where(known >= max(least, 1), (low + high) / 2.0, np.nan)
    return middle


def by_group(values: Floats, group: Numbers, groups: int, least: int = 1) -> Floats:
    """[groups]: median of the values of each group; group −1 is none. NaN where fewer than `least` are known."""
    known = np.flatnonzero((group >= 0) & ~np.isnan(values))
    order = known[np.lexsort((values[known], group[known]))]
    number = np.bincount(group[order], minlength=groups)
    start = np.cumsum(number) - number
    ranked = np.append(values[order], np.nan)
    beyond = len(order)
    low = np.where(number > 0, start + (number - 1) // 2, beyond)
    high = np.where(number > 0, start + number // 2, beyond)
    middle: Floats = np.where(number >= max(least, 1), (ranked[low] + ranked[high]) / 2.0, np.nan)
    return middle
