"""Norms: what is usual of each point, learned over times far longer than a window.

A norm is the mean of a statistic over the time in which it was learned, and then follows slowly: over 90 days a drift
of weeks stays a drift. What is found is not learned. Lives here: the columns, and how they go on; pure. Not here: the
statistics (each detector's), where norms are kept between two runs (dcim.app)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import polars as pl

from dcim.core.assets import AssetKey
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers

FORGET_S = 90 * 86_400.0
"""Time constant with which a norm follows once it has been learned for so long. [E]"""
STEP_S_MAX = 600.0
"""What one look adds to the time learned, at most: after a gap a look is not worth the gap."""
KEPT_S = 1.0
"""Time that a value counts as learned which is kept as it is (`Norms.keep`): it is there or not."""
SCHEMA = {"statistic": pl.String, "point": pl.Int64, "value": pl.Float64, "learned_s": pl.Float64}


@dataclass(frozen=True, slots=True, eq=False)
class _Norm:
    """By point number."""

    value: Floats
    learned_s: Floats


_NOTHING = _Norm(np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What one look measured of one statistic, where it may be learned."""

    statistic: str
    points: Numbers
    values: Floats
    """NaN where there is nothing to learn."""
    assets: Sequence[AssetKey]
    """Where each is: nothing is learned while an alarm stands there."""


@dataclass(frozen=True, slots=True, eq=False)
class Norms:
    """Norms by statistic and point. Never altered; `learn` answers new ones."""

    _by: Mapping[str, _Norm] = field(default_factory=lambda: MappingProxyType({}))
    speed: float = 1.0
    """A second of looking is worth so many of learning: more than one only where a plant is new each time and there is
    no day to wait for."""

    def of(self, statistic: str, points: Numbers, ready_s: float) -> Floats:
        """The norm of each point, in their shape; NaN where it was learned for less than ready_s, and for point −1."""
        norm = self._by.get(statistic, _NOTHING)
        known = (points >= 0) & (points < len(norm.value))
        value = np.full(points.shape, np.nan)
        value[known] = norm.value[points[known]]
        learned_s = np.zeros(points.shape)
        learned_s[known] = norm.learned_s[points[known]]
        value[learned_s < ready_s] = np.nan
        return value

    def points(self, statistic: str) -> int:
        """One more than the greatest point number that this statistic may be known of; 0 where it is known of none."""
        return len(self._by.get(statistic, _NOTHING).value)

    def learn(self, looked: list[Learned], lasted_s: float) -> Norms:
        """These norms after a look that stands for lasted_s seconds. Unusual weight is given to nothing: each norm is
        the mean over all its time, until that is FORGET_S."""
        lasted_s = min(max(lasted_s, 0.0), STEP_S_MAX)
        by = dict(self._by)
        for look in looked:
            good = (look.points >= 0) & np.isfinite(look.values)
            points, values = look.points[good], look.values[good]
            if not len(points) or not lasted_s:
                continue
            old = by.get(look.statistic, _NOTHING)
            more = max(0, int(points.max()) + 1 - len(old.value))
            value, learned_s = np.append(old.value, np.zeros(more)), np.append(old.learned_s, np.zeros(more))
            worth_s = lasted_s * self.speed
            learned_s[points] = np.minimum(learned_s[points] + worth_s, FORGET_S)
            value[points] += (values - value[points]) * np.minimum(worth_s / learned_s[points], 1.0)
            by[look.statistic] = _Norm(value, learned_s)
        return Norms(MappingProxyType(by), self.speed)

    def keep(self, statistic: str, points: Numbers, values: Floats) -> Norms:
        """These norms and, beside them, values of these points as they are, in place of what was kept under that name
        before. So what a detector gathers over days outlives a restart: nothing is averaged, and nothing follows.
        [n] each: points of 0 and more, values that are finite. `of` answers them at KEPT_S."""
        value, learned_s = (np.zeros(int(points.max(initial=-1)) + 1) for _ in range(2))
        value[points], learned_s[points] = values, KEPT_S
        return Norms(MappingProxyType({**self._by, statistic: _Norm(value, learned_s)}), self.speed)

    def at(self, speed: float) -> Norms:
        """These norms, from now on learned at another speed."""
        return Norms(self._by, speed)

    def forget(self, points: Numbers) -> Norms:
        """These norms without those of some points: their part was mended or replaced."""
        by = {}
        for statistic, norm in self._by.items():
            learned_s = norm.learned_s.copy()
            learned_s[points[(points >= 0) & (points < len(learned_s))]] = 0.0
            by[statistic] = _Norm(norm.value, learned_s)
        return Norms(MappingProxyType(by), self.speed)

    def to_frame(self) -> pl.DataFrame:
        """One row for each norm, with the columns of SCHEMA."""
        parts = [pl.DataFrame(schema=SCHEMA)]
        for statistic, norm in self._by.items():
            known = np.flatnonzero(norm.learned_s > 0.0)
            columns = {"point": known, "value": norm.value[known], "learned_s": norm.learned_s[known]}
            parts.append(pl.DataFrame(columns).select(pl.lit(statistic).alias("statistic"), pl.all()).cast(SCHEMA))  # type: ignore[arg-type]  # names to types
        return pl.concat(parts)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Norms:
        """The norms that `to_frame` wrote. Rows with a point below 0, or a value that is not finite, are left out."""
        by: dict[str, _Norm] = {}
        usable = frame.filter((pl.col("point") >= 0) & pl.col("value").is_finite() & (pl.col("learned_s") > 0.0))
        for (statistic,), rows in usable.group_by("statistic"):
            points = rows["point"].to_numpy()
            value, learned_s = np.zeros(int(points.max()) + 1), np.zeros(int(points.max()) + 1)
            value[points], learned_s[points] = rows["value"].to_numpy(), rows["learned_s"].to_numpy()
            by[str(statistic)] = _Norm(value, learned_s)
        return cls(MappingProxyType(by))


def where(values: Floats, usual: Bools) -> Floats:
    """The values that may be learned: NaN elsewhere."""
    learnable: Floats = np.where(usual, values, np.nan)
    return learnable
