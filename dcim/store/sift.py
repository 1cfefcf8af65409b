"""What any store does with a batch before it looks at what it holds already: refuse rows, and find repeated instants.

Lives here: pure functions of columns. Not here: what is a duplicate of an earlier batch; only the store knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from dcim.core.ledger import RejectReason
from dcim.core.ports import Appended
from dcim.core.readings import Readings
from dcim.core.times import to_us

FIRST_US = 0
"""The earliest time that a store takes, microseconds UTC: 1970."""
END_US = to_us(datetime(2201, 1, 1, tzinfo=UTC))
"""The end of the last year that a store takes, itself not taken."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch, sifted: its rows = len(rows) + duplicate + len(refused)."""

    rows: Readings
    """Sorted by point and time, each (point, time) once. Sorted, they compress to three quarters of their size."""
    duplicate: int
    """Rows whose instant the batch held before them."""
    refused: tuple[tuple[int, RejectReason], ...]
    """(row in the batch, why), by row."""

    def became(self, kept: int) -> Appended:
        """What became of the batch, when so many of the rows were new."""
        return Appended(kept, self.duplicate + len(self.rows) - kept, self.refused)


def sift(batch: Readings, floor_us: int = FIRST_US) -> Sifted:
    """Refuses infinite values, times outside 1970 to 2200, and times before `floor_us`, of which readings have been
    dropped; of rows of one instant the first that is sound stays.

    >>> sifted = sift(Readings.of([7, 7, 7], [5, 5, 4], [float("inf"), 1.0, 2.0], [0, 0, 0]))
    >>> sifted.rows.time.tolist(), sifted.duplicate, [row for row, _ in sifted.refused]
    ([4, 5], 0, [0])
    """
    unsound = np.isinf(batch.value) | (batch.time < FIRST_US) | (batch.time >= END_US)
    late = ~unsound & (batch.time < floor_us)
    refused = tuple(
        (row, RejectReason.PAST_RETENTION if late[row] else RejectReason.STORE_REFUSED)
        for row in np.flatnonzero(unsound | late).tolist()
    )
    sound = batch.take(~(unsound | late)) if refused else batch
    rows = sound.take(np.lexsort((sound.time, sound.point)))  # stable: what came first stays first
    first = np.ones(len(rows), np.bool_)
    first[1:] = (rows.point[1:] != rows.point[:-1]) | (rows.time[1:] != rows.time[:-1])
    unique = rows if first.all() else rows.take(first)
    return Sifted(unique, len(rows) - len(unique), refused)


def numbers_of(points: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Numbers of points as a column, each once, ascending; what can be no point's number is left out."""
    numbers = np.unique(np.asarray(points, np.int64))
    return numbers[(numbers >= 0) & (numbers < 2**32)].astype(np.uint32)
