"""Exhaustion: when growth meets capacity, with an interval, and how well the same method would have done before.

The trend is Sen's: the median of the slopes between all pairs of days, which a few odd days do not move. Its interval
is that of Kendall's statistic. Both assume that growth goes on as it did and that days are independent; the backtest
says how far that was so. Lives here: the method. Not here: where the days come from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcim.capacity.network import Floats

DAYS_MIN = 14
"""With fewer days there is no trend to tell."""
HELD_OUT = 0.3
"""Share of the days, the latest, that the backtest has to foretell from the others."""
CONFIDENCE_PCT = 80.0
_Z = 1.2815515655446004
"""Of a two-sided interval of 80 %."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """How the method did on the last days, from the ones before them."""

    days: int
    error: float
    """Mean of the absolute errors, in the unit of the values."""
    bias: float
    """Mean error, foretold − true: above 0 it foretold too much."""
    within_pct: float
    """Share of the days that lay in the interval; about CONFIDENCE_PCT where the assumptions hold."""


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """A trend and where it leads."""

    days: int
    """Days with a value."""
    level: float
    """Of the trend on the last day."""
    per_day: float
    per_day_low: float
    per_day_high: float
    """Bounds of the slope, CONFIDENCE_PCT."""
    spread: float
    """Half the width of the band around the trend that holds CONFIDENCE_PCT of the days."""
    in_days: float | None
    """From the last day until the trend meets the capacity; 0 where it has, None where it does not grow."""
    earliest_days: float | None
    latest_days: float | None
    """Bounds of that; `latest_days` is None where the slope may as well be 0, and so that day may never come."""
    backtest: Backtest


def foretell(day: Floats, value: Floats, capacity: float) -> Exhaustion | str:
    """When values meet the capacity; or, in a sentence, why that cannot be told. day: in days, increasing; value: in
    the capacity's unit, NaN where a day has none.

    Source of the slope and its interval: Sen 1968; Gilbert 1987, section 16.4.
    """
    known = ~np.isnan(value)
    day, value = day[known], value[known]
    if len(day) < DAYS_MIN:
        return f"{len(day)} days have a value; {DAYS_MIN} are the least to tell a trend from"
    slope, low, high, level, spread = _trend(day, value)
    last = level + slope * day[-1]
    room = capacity - last
    cut = len(day) - max(2, round(HELD_OUT * len(day)))
    then, then_low, then_high, base, band = _trend(day[:cut], value[:cut])
    ahead = day[cut:] - day[cut - 1]
    told = base + then * day[cut:]
    at_cut = base + then * day[cut - 1]
    inside = (value[cut:] >= at_cut + then_low * ahead - band) & (value[cut:] <= at_cut + then_high * ahead + band)
    return Exhaustion(
        days=len(day),
        level=float(last),
        per_day=slope,
        per_day_low=low,
        per_day_high=high,
        spread=spread,
        in_days=_until(room, slope),
        earliest_days=_until(max(0.0, room - spread), high),
        latest_days=_until(room + spread, low),
        backtest=Backtest(
            len(ahead),
            float(np.mean(np.abs(told - value[cut:]))),
            float(np.mean(told - value[cut:])),
            100.0 * float(np.mean(inside)),
        ),
    )


def _until(room: float, per_day: float) -> float | None:
    if room <= 0.0:
        return 0.0
    return room / per_day if per_day > 1e-12 else None


def _trend(day: Floats, value: Floats) -> tuple[float, float, float, float, float]:
    """Slope, its bounds, value at day 0, and half the band around it."""
    first, second = np.triu_indices(len(day), k=1)
    slopes = np.sort((value[second] - value[first]) / (day[second] - day[first]))
    size, count = len(day), len(slopes)
    reach = _Z * math.sqrt(size * (size - 1) * (2 * size + 5) / 18.0)
    low = slopes[max(0, math.floor((count - reach) / 2.0))]
    high = slopes[min(count - 1, math.ceil((count + reach) / 2.0))]
    slope = float(np.median(slopes))
    level = float(np.median(value - slope * day))
    spread = float(np.quantile(np.abs(value - level - slope * day), CONFIDENCE_PCT / 100.0))
    return slope, float(low), float(high), level, spread
