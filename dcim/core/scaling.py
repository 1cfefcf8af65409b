"""Scaling: how a value as it was sent becomes a value as it is kept, for every point at once.

Lives here: the factors as columns by point number, and the arithmetic. Not here: where the factors come from (units.py,
quantities.py) and what a point is (points.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dcim.core.readings import Quality, Readings

_AS_SENT = (1.0, 0.0, -np.inf, np.inf)
_BLOCK = 16_384
"""Rows that are converted at once: what lies between the columns stays in the cache."""


class Scale(NamedTuple):
    """One point's row: kept = sent × factor + offset; outside low … high, both included, a value is implausible.

    floor: the best quality that a reading of this point can have.
    """

    factor: float
    offset: float
    low: float
    high: float
    floor: Quality = Quality.GOOD


class Converted(NamedTuple):
    """Readings in the units that are kept, and how many were made uncertain because they are implausible."""

    readings: Readings
    implausible: int


class Scaling:
    """Columns that grow with the number of points. One thread writes and converts."""

    def __init__(self) -> None:
        self.described: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        """By number: whether anything has described the point. Longer than there are points."""
        self.retired: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        """By number: whether the point's key belongs to a successor."""
        self._rows: npt.NDArray[np.float64] = np.zeros((0, 4))
        self._floor: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    def reserve(self, points: int) -> None:
        """Makes room for points 0 … points − 1; new ones are taken as sent until they are described."""
        have = len(self.described)
        if points <= have:
            return
        more = max(points, 2 * have, 1024) - have
        self.described = np.append(self.described, np.zeros(more, np.bool_))
        self.retired = np.append(self.retired, np.zeros(more, np.bool_))
        self._rows = np.append(self._rows, np.tile(_AS_SENT, (more, 1)), axis=0)
        self._floor = np.append(self._floor, np.zeros(more, np.uint8))

    def set(self, number: int, scale: Scale, *, retired: bool) -> None:
        """Says how values of a described point are converted from now on."""
        self.reserve(number + 1)
        self._rows[number] = scale[:4]
        self._floor[number] = scale.floor
        self.described[number] = True
        self.retired[number] = retired

    def convert(self, sent: Readings) -> Converted:
        """Values as sent, in the units and with the quality that are kept. Missing stays missing, bad stays bad, and
        a point that nothing has described is left as it was sent. Raises IndexError for a number never reserved."""
        size = len(sent)
        value, quality, implausible = np.empty(size), np.empty(size, np.uint8), 0
        for start in range(0, size, _BLOCK):
            part = slice(start, start + _BLOCK)
            point, bad = sent.point[part], sent.quality[part]
            # take: the same as rows[point], at a seventh of the cost
            rows = self._rows.take(point, axis=0)
            kept = np.multiply(sent.value[part], rows[:, 0], out=value[part])
            kept += rows[:, 1]
            outside = kept < rows[:, 2]
            outside |= kept > rows[:, 3]
            outside &= bad != Quality.BAD
            trust = np.maximum(bad, self._floor.take(point), out=quality[part])
            found = int(np.count_nonzero(outside))
            if found:
                trust[outside] = np.maximum(trust[outside], Quality.UNCERTAIN)
                implausible += found
        return Converted(Readings(sent.point, sent.time, value, quality), implausible)
