"""The way from the store to a grid: how finely a period is read, out of which tier, and what holds how long.

Lives here: that choice and the reading. Not here: what the grid is for (dcim.capacity), how tiers are kept
(dcim.store)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from dcim.capacity.provenance import Period
from dcim.capacity.spans import HOLD_US, Grid, Lattice, grid, hold, lattice
from dcim.core.errors import Permanent
from dcim.core.live import Latest
from dcim.core.ports import Aggregate, Answer, TelemetryStore, Tiered
from dcim.core.readings import Quality, Readings, Tier
from dcim.core.times import SECOND_US, from_us, to_us

CELLS_MAX: Final = 3_000_000
"""Points × steps of one grid: 72 MB. A question that would take more is read in coarser steps."""
READINGS_MAX: Final = 1_000_000
"""Readings as they came that one question takes, at one a second and point."""
RAW_STEP_S: Final = 10
"""Step of a grid out of readings as they came; a mean within it is weighted by how long each reading held."""
_STEPS_S: Final = (60, 3_600, 86_400)


class Past(NamedTuple):
    """What was read of a period."""

    grid: Grid
    """A row for each point, in the order in which they were asked for."""
    tier: Tier
    """What it was made of."""
    step_s: int
    """Width of its steps. Raw: within them readings are weighted by time; else a step is the mean of its readings."""


def step_s_of(points: int, period: Period) -> int | None:
    """How finely so many points are read over a period: the finest step that CELLS_MAX allows. Readings as they came
    only as far as READINGS_MAX goes. None where even days are too many.

    >>> from datetime import UTC, datetime
    >>> month = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC))
    >>> step_s_of(1, month), step_s_of(1_000, month), step_s_of(90_000, month)
    (60, 3600, 86400)
    """
    seconds, points = (period.end - period.start).total_seconds(), max(points, 1)
    if points * seconds <= READINGS_MAX:
        return RAW_STEP_S
    return next((step for step in _STEPS_S if points * (seconds / step + 2) <= CELLS_MAX), None)


def read(
    store: TelemetryStore, points: Sequence[int], period: Period, *, step_s: int | None = None, peaks: bool = True
) -> Past:
    """The grid of points over a period. step_s: its step, as `step_s_of` answers; chosen here when left out. peaks:
    whether the highest reading of each step is wanted, which costs a second query. Blocking. Raises Permanent where
    there is too much of it, and what the store raises."""
    step_s = step_s or step_s_of(len(points), period)
    if step_s is None:
        raise Permanent(
            f"{len(points)} points over {period.end - period.start} are more than can be read at once",
            todo="Ask for a shorter period, or for fewer racks at a time.",
        )
    bounds = to_us(period.start), to_us(period.end)
    steps = lattice(*bounds, step_s * SECOND_US)
    raw = step_s == RAW_STEP_S
    width = None if raw else timedelta(seconds=step_s)
    # What was read before the period holds into it, where single readings are looked at.
    since = from_us(bounds[0] - HOLD_US) if step_s < 3_600 else period.start
    answer = _answer(store, points, since, period.end, width, "mean")
    lasts_us = 0 if answer.every is None else answer.every // timedelta(microseconds=1)
    held_us = HOLD_US if not lasts_us else max(HOLD_US - lasts_us, 0)
    spans = hold(answer.frame, bounds[1], hold_us=held_us if lasts_us < 3_600 * SECOND_US else 0, lasts_us=lasts_us)
    highest: pl.DataFrame | None = None
    if peaks and lasts_us:
        highest = _answer(store, points, period.start, period.end, width, "max").frame
    elif peaks:
        highest = answer.frame.filter((pl.col("quality") < Quality.BAD) & (pl.col("time") >= period.start))
    return Past(grid(spans, points, steps, bounds, highest), answer.tier, step_s)


def present(latest: Latest, points: Sequence[int], at_us: int) -> Grid:
    """The last values as a grid of one step, which ends now: of points that were heard within HOLD_US."""
    last = latest.readings(np.asarray(points, np.intp))
    heard = np.array([latest.heard_of(int(point)) or 0 for point in last.point], np.int64)
    fresh = (at_us - heard <= HOLD_US) & (last.quality < Quality.BAD) & ~np.isnan(last.value)
    kept = last.take(fresh)
    span = (at_us - SECOND_US, at_us)
    order = np.argsort(kept.point, kind="stable")
    told = Readings(kept.point, np.full(len(kept), span[0]), kept.value, kept.quality).take(order)
    spans = hold(told.to_frame(), at_us)
    return grid(spans, points, Lattice(span[0], SECOND_US, 1), span)


def _answer(
    store: TelemetryStore,
    points: Sequence[int],
    start: datetime,
    end: datetime,
    every: timedelta | None,
    how: Aggregate,
) -> Answer:
    if isinstance(store, Tiered):
        return store.answer(points, start, end, every, how)
    return Answer(store.window(points, start, end, every, how), Tier.RAW, every, None)
