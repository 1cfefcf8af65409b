"""The newest reading of each point, in memory: what tells a new reading from one that may be there already.

Lives here: the columns, safe between the thread that writes and those that read. Not here: how they come from disk
(tables.py), which reading is a duplicate (sift.py)."""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt

from dcim.core.live import NEVER, Latest
from dcim.core.readings import Readings


class Newest:
    """Columns that grow with the greatest number of a point. Any method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest = Latest()

    def take(self, readings: Readings) -> None:
        """Takes stored readings in; of one point the newest stays."""
        with self._lock:
            self._latest.take(readings, heard=NEVER)

    def times(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """By row, the time of the newest reading of that row's point, microseconds UTC; NEVER where there is none."""
        with self._lock:
            times = np.full(len(points), NEVER, np.int64)
            known = points < len(self._latest.time)
            times[known] = self._latest.time[points[known]]
            return times

    def readings(self, points: npt.NDArray[np.uint32] | None = None) -> Readings:
        """The newest readings of these points, in their order, or of all that have one, by number."""
        with self._lock:
            latest = self._latest
            if points is None:
                points = np.arange(len(latest.time), dtype=np.uint32)
            points = points[points < len(latest.time)]
            points = points[latest.time[points] != NEVER]
            return Readings(points, latest.time[points], latest.value[points], latest.quality[points])

    def time(self) -> int | None:
        """The time of the newest reading of all, microseconds UTC; None where there is none."""
        with self._lock:
            newest = int(self._latest.time.max(initial=NEVER))
        return None if newest == NEVER else newest
