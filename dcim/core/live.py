"""Live state: the last value of every point, as columns indexed by the point's number.

Lives here: the columns and how a batch goes into them. Not here: windows over time (dcim.detect), who is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dcim.core.readings import Quality, Readings

NEVER = np.iinfo(np.int64).min
"""Time of a point that was never heard."""
_NEVER, _BAD = int(NEVER), int(Quality.BAD)


class Latest:
    """Columns that grow with the number of points. One thread writes, others read whole columns."""

    def __init__(self) -> None:
        self.time: npt.NDArray[np.int64] = np.full(0, NEVER, np.int64)
        """Microseconds UTC, by the sender's clock; NEVER where nothing came."""
        self.heard: npt.NDArray[np.int64] = np.full(0, NEVER, np.int64)
        """Microseconds UTC, by our clock: when the last reading of the point arrived."""
        self.value: npt.NDArray[np.float64] = np.full(0, np.nan)
        self.quality: npt.NDArray[np.uint8] = np.full(0, Quality.BAD, np.uint8)
        self.distrusted: frozenset[int] = frozenset()
        """Points that a detector found off, frozen or implausible. Their values are as they came."""

    def take(self, arrived: Readings, heard: int | npt.NDArray[np.int64]) -> None:
        """Takes a batch in. A reading older than the one that is there does not replace it.

        heard: microseconds UTC at which it arrived, for the batch or by row.
        """
        if not len(arrived):
            return
        self._grow(int(arrived.point.max()) + 1)
        if (arrived.point[1:] > arrived.point[:-1]).all():  # one reading a point, in their order: nothing to sort
            last = np.arange(len(arrived))
        else:
            order = np.lexsort((np.arange(len(arrived)), arrived.time, arrived.point))
            last = order[np.append(arrived.point[order][1:] != arrived.point[order][:-1], True)]
        newer = last[arrived.time[last] >= self.time[arrived.point[last]]]
        points = arrived.point[newer]
        self.time[points] = arrived.time[newer]
        self.value[points] = arrived.value[newer]
        self.quality[points] = arrived.quality[newer]
        self.heard[arrived.point[last]] = heard if isinstance(heard, int) else heard[last]

    def hear(self, points: npt.NDArray[np.uint32], heard: int) -> None:
        """Takes in that these points are as they were, at `heard` (microseconds UTC), those of them that were heard
        before: their sender tells changes alone, and has told something."""
        points = points[points < len(self.heard)]
        points = points[self.heard[points] != NEVER]
        self.heard[points] = np.maximum(self.heard[points], heard)

    def value_of(self, point: int) -> float | None:
        """The last value that can be trusted at all; None where there is none, it is missing, or it is bad."""
        if point >= len(self.time) or self.quality.item(point) == _BAD:
            return None
        value = self.value.item(point)
        return None if math.isnan(value) else value

    def readings(self, points: Sequence[int] | npt.NDArray[np.intp]) -> Readings:
        """The last readings of those of these points that were ever heard."""
        numbers = np.asarray(points, np.intp)
        numbers = numbers[numbers < len(self.time)]
        numbers = numbers[self.time[numbers] != NEVER]
        return Readings(numbers.astype(np.uint32), self.time[numbers], self.value[numbers], self.quality[numbers])

    def time_of(self, point: int) -> int | None:
        """Microseconds UTC of the last reading by the sender's clock, or None."""
        time = self.time.item(point) if point < len(self.time) else _NEVER
        return None if time == _NEVER else time

    def heard_of(self, point: int) -> int | None:
        """Microseconds UTC at which the last reading arrived, or None."""
        heard = self.heard.item(point) if point < len(self.heard) else _NEVER
        return None if heard == _NEVER else heard

    def _grow(self, size: int) -> None:
        have = len(self.time)
        if size <= have:
            return
        more = max(size, 2 * have, 1024) - have
        self.time = np.append(self.time, np.full(more, NEVER, np.int64))
        self.heard = np.append(self.heard, np.full(more, NEVER, np.int64))
        self.value = np.append(self.value, np.full(more, np.nan))
        self.quality = np.append(self.quality, np.full(more, Quality.BAD, np.uint8))
