"""Readings over time as what they mean: a value holds until the next one, and no longer than it can be trusted.

Two shapes. `Spans`: [start, end) with a value, one row each, sorted, never overlapping within a point. `Grid`: by point
and step of equal length, the time-weighted mean of a step and the share of it that readings cover. Everything that is
asked of a period (mean, percentiles, peak, energy) is asked of the grid, each cell weighted by what it covers. A gap
stays a gap: it lowers the coverage and moves no figure towards 0; readings that repeat what is known change nothing.

Lives here: that mathematics, pure, over frames and arrays; times are microseconds UTC. Not here: which points belong
to a question (utilization.py), where readings come from, calendars (periods.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality

Floats = npt.NDArray[np.float64]

HOLD_US: Final = 250_000_000
"""So long a reading stands for what came after it: two and a half republishes of the bus, which tells changes alone and
repeats itself every 100 s. After that, nobody knows."""
HOUR_US: Final = 3_600_000_000
TABLE_MAX: Final = 4_000_000
"""Numbers of points below this are looked up in a table, 8 bytes each."""
_NOTHING: Final = 1e-12
"""A smaller share of a step is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Columns of equal length: [start, end) in microseconds UTC, and the value that held, of each point in turn."""

    point: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    value: Floats

    def __len__(self) -> int:
        return len(self.point)


def hold(readings: pl.DataFrame, end_us: int, *, hold_us: int = HOLD_US, lasts_us: int = 0) -> Spans:
    """What readings say of the time after them: each holds until the next of its point, `hold_us` at most after the end
    of what it was read over, and never beyond `end_us`.

    readings: columns point, time (Datetime us UTC), value (null: missing) and quality, sorted by point and time. What
    is missing or bad ends what held before it and holds nothing itself. lasts_us: over how long each was read, 0 for an
    instant, a minute for means of minutes.
    """
    frame = readings.select(
        pl.col("point").cast(pl.Int64),
        pl.col("time").cast(pl.Int64),
        pl.when(pl.col("quality") < Quality.BAD).then(pl.col("value")).fill_null(float("nan")).alias("value"),
    )
    point, start, value = frame["point"].to_numpy(), frame["time"].to_numpy(), frame["value"].to_numpy()
    end = np.minimum(start + lasts_us + hold_us, end_us)
    follows = point[1:] == point[:-1]
    end[:-1] = np.where(follows, np.minimum(end[:-1], start[1:]), end[:-1])
    kept = ~np.isnan(value) & (end > start)
    if kept.all():  # as of means of steps: what is copied for nothing costs as much as the rest
        return Spans(point, start, end, value)
    return Spans(point[kept], start[kept], end[kept], value[kept])


class Lattice(NamedTuple):
    """Steps of equal length: the first may begin before the period, and the last may go beyond its end."""

    start_us: int
    step_us: int
    number: int

    @property
    def edges(self) -> npt.NDArray[np.int64]:
        """Where steps begin, and where the last ends: one more than steps."""
        return self.start_us + self.step_us * np.arange(self.number + 1, dtype=np.int64)


def lattice(start_us: int, end_us: int, step_us: int) -> Lattice:
    """The steps that [start_us, end_us) lies in, at least one. Steps count from 1970, as buckets of the store do.

    >>> lattice(70, 150, 60)
    Lattice(start_us=60, step_us=60, number=2)
    """
    first = start_us // step_us * step_us
    return Lattice(first, step_us, max(1, -(-(end_us - first) // step_us)))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """By row and step: `mean`, NaN where nothing covers the step, and `cover`, the time that is covered, as a share of
    a step of full length. `peak`: the highest reading of the step where that is known, else the mean. `within`: of each
    step, the share that lies in the period: 1 but for the first and last."""

    steps: Lattice
    within: Floats
    mean: Floats
    cover: Floats
    peak: Floats

    @property
    def hours(self) -> Floats:
        """What is covered of each cell, in hours."""
        covered: Floats = self.cover * (self.steps.step_us / HOUR_US)
        return covered

    def rows(self, which: Sequence[int] | npt.NDArray[np.intp]) -> Grid:
        """Some of the rows, in this order."""
        return replace(self, mean=self.mean[which], cover=self.cover[which], peak=self.peak[which])

    def times(self, factor: float) -> Grid:
        """All values times a positive factor."""
        return replace(self, mean=self.mean * factor, peak=self.peak * factor)


def grid(
    spans: Spans,
    points: Sequence[int],
    steps: Lattice,
    period_us: tuple[int, int],
    peaks: pl.DataFrame | None = None,
) -> Grid:
    """Spans on a lattice: of each point (a row, in this order; none without spans is left out) and step, the
    time-weighted mean. period_us: spans count from the first until the second. peaks: the highest readings, columns
    point, time and value, by buckets that lie within steps."""
    rows, count, step = len(points), steps.number, steps.step_us
    start_us, end_us = max(period_us[0], steps.start_us), min(period_us[1], steps.start_us + step * count)
    number_of = _Rows(points)
    row = number_of.of(spans.point)
    start = np.maximum(spans.start, start_us)
    end = np.minimum(spans.end, end_us)
    used, value = (row >= 0) & (end > start), spans.value
    if not used.all():
        row, start, end, value = row[used], start[used], end[used], value[used]
    first, last = (start - steps.start_us) // step, (end - 1 - steps.start_us) // step
    integral, covered = np.zeros((rows, count)), np.zeros((rows, count))
    _spread(integral, covered, steps, row, first, last, start, end, value)
    share = covered / step
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(share > _NOTHING, integral / covered, np.nan)
    peak = mean.copy()
    if peaks is not None and peaks.height:
        at = (peaks["time"].cast(pl.Int64).to_numpy() - steps.start_us) // step
        of = number_of.of(peaks["point"].cast(pl.Int64).to_numpy())
        high = peaks["value"].fill_null(float("nan")).to_numpy()
        inside = (at >= 0) & (at < count) & (of >= 0) & ~np.isnan(high)
        inside[inside] &= ~np.isnan(mean[of[inside], at[inside]])
        np.maximum.at(peak.reshape(-1), of[inside] * count + at[inside], high[inside])  # flat: a tenth of the time
    return Grid(steps, _within(steps, start_us, end_us), mean, share, peak)


class _Rows:
    """Which row a point has."""

    def __init__(self, points: Sequence[int]) -> None:
        listed = np.asarray(points, np.int64)
        self._order = np.argsort(listed, kind="stable")
        self._sorted = listed[self._order]
        self._table: npt.NDArray[np.int64] | None = None
        """By number, where that is no larger than numbers of points are: looking there costs a tenth of searching."""
        if len(listed) and self._sorted[0] >= 0 and self._sorted[-1] < TABLE_MAX:
            self._table = np.full(int(self._sorted[-1]) + 2, -1, np.int64)
            self._table[self._sorted[::-1]] = self._order[::-1]  # of a point that is listed twice, its first row

    def of(self, points: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of points; −1 for one that has none."""
        if not len(self._sorted):
            return np.full(len(points), -1, np.int64)
        if self._table is not None:
            return self._table[np.minimum(points, len(self._table) - 1)]
        at = np.minimum(np.searchsorted(self._sorted, points), len(self._sorted) - 1)
        found: npt.NDArray[np.int64] = np.where(self._sorted[at] == points, self._order[at], -1)
        return found


def _spread(
    integral: Floats,
    covered: Floats,
    steps: Lattice,
    row: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    value: Floats,
) -> None:
    """Adds spans to the cells that they lie in: by value × time, and by time. A span that crosses borders of steps is
    cut at each; those are few and short, for a reading does not hold long."""
    if (first == last).all():
        time = (end - start).astype(np.float64)
        flat = row * steps.number + first
        covered += np.bincount(flat, time, covered.size).reshape(covered.shape)
        integral += np.bincount(flat, time * value, covered.size).reshape(covered.shape)
        return
    width = last - first + 1
    repeated = np.repeat(np.arange(len(row)), width)
    offset = np.arange(len(repeated)) - np.repeat(np.cumsum(width) - width, width)
    cell = first[repeated] + offset
    low = np.maximum(start[repeated], steps.start_us + cell * steps.step_us)
    high = np.minimum(end[repeated], steps.start_us + (cell + 1) * steps.step_us)
    time = (high - low).astype(np.float64)
    flat = row[repeated] * steps.number + cell
    covered += np.bincount(flat, time, covered.size).reshape(covered.shape)
    integral += np.bincount(flat, time * value[repeated], covered.size).reshape(covered.shape)


def _within(steps: Lattice, start_us: int, end_us: int) -> Floats:
    edges = np.clip(steps.edges, start_us, end_us).astype(np.float64)
    share: Floats = np.diff(edges) / steps.step_us
    return share


def means(grid: Grid) -> Floats:
    """Time-weighted mean of each row over what is covered; NaN where nothing is."""
    weight = grid.cover.sum(axis=1)
    total = np.where(grid.cover > 0, grid.mean * grid.cover, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(weight > _NOTHING, total / weight, np.nan)
    return mean


def coverage(grid: Grid) -> Floats:
    """Of each row, the share of the period that readings cover, 0 to 1."""
    share: Floats = np.minimum(grid.cover.sum(axis=1) / grid.within.sum(), 1.0)
    return share


def integral_h(grid: Grid) -> Floats:
    """Value × hours of each row over what is covered: kWh of kW. What is not covered adds nothing, and is not known."""
    total: Floats = np.where(grid.cover > 0, grid.mean * grid.hours, 0.0).sum(axis=1)
    return total


def quantiles(grid: Grid, *shares: float) -> list[Floats]:
    """By share: the value below which each row was for this share of the covered time, 0 < share < 1: the least step's
    mean that no less than `share` of the time is at or below. NaN where nothing is covered."""
    order = np.argsort(grid.mean, axis=1)  # NaN goes last, and covers nothing
    value = np.take_along_axis(grid.mean, order, axis=1)
    weight = np.cumsum(np.take_along_axis(np.where(np.isnan(grid.mean), 0.0, grid.cover), order, axis=1), axis=1)
    total = weight[:, -1]
    found = []
    for share in shares:
        at = (weight < (share * total * (1.0 - 1e-12))[:, None]).sum(axis=1)
        picked = value[np.arange(len(value)), np.minimum(at, value.shape[1] - 1)]
        found.append(np.where(total > _NOTHING, picked, np.nan))
    return found


def peaks(grid: Grid) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The highest of each row, and when the first step that holds it begins (microseconds UTC; -1 where nothing is)."""
    filled = np.where(np.isnan(grid.peak), -np.inf, grid.peak)
    at = filled.argmax(axis=1)
    high = filled[np.arange(len(filled)), at]
    nothing = np.isneginf(high)
    when = np.where(nothing, -1, grid.steps.start_us + at * grid.steps.step_us)
    return np.where(nothing, np.nan, high), when


def coarser(grid: Grid, every: int) -> Grid:
    """The same in steps that are `every` times as long: each the time-weighted mean of those in it. Raises ValueError
    for an `every` below 1."""
    if every < 1:
        raise ValueError(f"a step cannot be {every} steps long")
    count = -(-grid.steps.number // every)
    spare = count * every - grid.steps.number

    def folded(cells: Floats, fill: float) -> Floats:
        padded = np.pad(cells, ((0, 0), (0, spare)), constant_values=fill)
        return padded.reshape(len(cells), count, every)

    cover = folded(grid.cover, 0.0)
    mean = folded(grid.mean, np.nan)
    weight = cover.sum(axis=2)
    total = np.where(cover > 0, mean * cover, 0.0).sum(axis=2)
    peak = np.where(np.isnan(folded(grid.peak, np.nan)), -np.inf, folded(grid.peak, np.nan)).max(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        fresh = np.where(weight > _NOTHING, total / weight, np.nan)
    within = folded(grid.within[None], 0.0)[0].sum(axis=1) / every
    return Grid(
        Lattice(grid.steps.start_us, grid.steps.step_us * every, count),
        within,
        fresh,
        weight / every,
        np.where(np.isneginf(peak), np.nan, peak),
    )


class Joined(NamedTuple):
    """Rows that were put together."""

    grid: Grid
    """Of one row."""
    measured: float
    """The share of its parts' time that readings cover, 0 to 1."""
    silent: tuple[int, ...]
    """Rows without any reading."""


KNOWN_MIN: Final = 0.5
"""Where less than this share of a sum was read at a time, what the sum was then is not known."""


def add_up(grid: Grid) -> Joined:
    """The sum of all rows, step by step. A part with a gap stands in it at its own mean of the period, so that a
    missing part does not look like a fall; `measured` tells how much was read. A step in which less than KNOWN_MIN of
    the sum (by the parts' means) was read is a gap of the sum. A part that never spoke is not in the sum."""
    mean = means(grid)
    silent = np.isnan(mean)
    speaking = grid.rows(np.flatnonzero(~silent))
    measured = float(coverage(grid).mean()) if len(mean) else 0.0
    if not len(speaking.mean):
        none = np.full((1, grid.steps.number), np.nan)
        empty = Grid(grid.steps, grid.within, none, np.zeros_like(none), none)
        return Joined(empty, 0.0, tuple(np.flatnonzero(silent).tolist()))
    typical = mean[~silent]
    share = np.clip(speaking.cover / np.maximum(grid.within, _NOTHING), 0.0, 1.0)
    read = np.where(share > 0, speaking.mean * share, 0.0)
    total = (read + typical[:, None] * (1.0 - share)).sum(axis=0)
    weights = np.abs(typical) / np.abs(typical).sum() if np.abs(typical).sum() > 0 else np.full(len(typical), 1.0)
    weights = weights / weights.sum()
    known = (share * weights[:, None]).sum(axis=0)
    kept = known >= KNOWN_MIN
    values = np.where(kept, total, np.nan)[None]
    cover = np.where(kept, grid.within, 0.0)[None]
    return Joined(
        Grid(grid.steps, grid.within, values, cover, values), measured, tuple(np.flatnonzero(silent).tolist())
    )


def average(grid: Grid) -> Joined:
    """The mean over rows, step by step, of those that were read then, each weighted by its coverage: for shares and
    percentages, which cannot be added up."""
    cover = np.where(np.isnan(grid.mean), 0.0, grid.cover)
    weight = cover.sum(axis=0)
    total = np.where(cover > 0, grid.mean * cover, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(weight > _NOTHING, total / weight, np.nan)[None]
    covered = cover.max(axis=0, initial=0.0)[None]
    measured = float(coverage(grid).mean()) if len(grid.mean) else 0.0
    silent = np.flatnonzero(cover.sum(axis=1) <= _NOTHING)
    return Joined(Grid(grid.steps, grid.within, values, covered, values), measured, tuple(silent.tolist()))


def growth(readings: pl.DataFrame) -> pl.DataFrame:
    """By how much counters grew: columns point, time (of the later reading) and value, one row for each two readings
    that follow each other. A counter that fell began again at 0 in between, so its growth is what it stands at: at
    least that much. What is missing or bad is passed over.

    readings: as for `hold`.
    """
    usable = readings.filter(pl.col("value").is_not_null() & (pl.col("quality") < Quality.BAD))
    before = pl.col("value").shift(1).over("point")
    grown = pl.when(pl.col("value") >= before).then(pl.col("value") - before).otherwise(pl.col("value"))
    return (
        usable.select("point", "time", grown.alias("value"), before.alias("before"))
        .filter(pl.col("before").is_not_null())
        .drop("before")
    )
