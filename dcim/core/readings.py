"""Readings: values of points at instants, as columns. The hot data of the whole product.

Lives here: the columns, their quality, and how they are cut and joined. Not here: what a point is (points.py), where
readings are kept (dcim.store)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl


class Quality(IntEnum):
    """How far a reading can be trusted. The order is the order of trust: the worst of several is their maximum."""

    GOOD = 0
    UNCERTAIN = 1
    """Kept and shown as doubtful: outside the plausible range, in an unknown unit, or made by a doubtful sensor."""
    BAD = 2
    """The source says so itself, or there is no value at all."""


class Tier(StrEnum):
    """How finely readings are kept, from the finest to the coarsest."""

    RAW = "raw"
    """As they came."""
    MINUTE = "minute"
    """Mean, least, greatest and number of each minute."""
    HOUR = "hour"
    """The same of each hour."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Columns of equal length, one row a reading, in the order of arrival.

    point: u32 id out of the PointIndex. time: int64 microseconds UTC. value: float64 in the point's unit; NaN means
    missing, which is not zero. quality: u8, a `Quality`. Nobody writes into the columns of a Readings they were given.
    """

    point: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if not len(self.point) == len(self.time) == len(self.value) == len(self.quality):
            raise ValueError("the columns of Readings differ in length")

    def __len__(self) -> int:
        return len(self.point)

    @classmethod
    def of(cls, point: Sequence[int], time: Sequence[int], value: Sequence[float], quality: Sequence[int]) -> Readings:
        """Columns from Python lists; the shape of the arguments is that of the fields."""
        return cls(
            np.asarray(point, np.uint32),
            np.asarray(time, np.int64),
            np.asarray(value, np.float64),
            np.asarray(quality, np.uint8),
        )

    @classmethod
    def empty(cls) -> Readings:
        """No rows."""
        return cls.of([], [], [], [])

    @classmethod
    def concat(cls, parts: Iterable[Readings]) -> Readings:
        """All rows of all parts, in order. No parts give no rows."""
        kept = [part for part in parts if len(part)]
        if len(kept) == 1:
            return kept[0]
        if not kept:
            return cls.empty()
        return cls(
            np.concatenate([part.point for part in kept]),
            np.concatenate([part.time for part in kept]),
            np.concatenate([part.value for part in kept]),
            np.concatenate([part.quality for part in kept]),
        )

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Readings:
        """The rows that a mask or an array of row numbers picks, in its order."""
        return Readings(self.point[rows], self.time[rows], self.value[rows], self.quality[rows])

    def to_frame(self) -> pl.DataFrame:
        """A frame: point u32, time Datetime(us, UTC), value f64 with null where missing, quality u8."""
        value = pl.Series("value", self.value)
        return pl.DataFrame(
            [
                pl.Series("point", self.point),
                pl.Series("time", self.time).cast(pl.Datetime("us", "UTC")),
                value.fill_nan(None) if np.isnan(self.value).any() else value,
                pl.Series("quality", self.quality),
            ]
        )
