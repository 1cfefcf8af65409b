"""Rows that were taken lately, in memory: what tells whether a late row is there already, and what reading adds to the
answer of a server that does not have them yet.

For each point it knows a floor: every row of the point that is later than the floor, and that was ever taken, is here.
Rows leave in the order in which they came, and the floor of their points rises; so an absent row above the floor is new
for certain, whatever lies on any server.

Lives here: the rows, their bound, look-ups. Not here: asking a server (influx.py), the newest rows (newest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.live import NEVER
from dcim.core.readings import Readings

ROWS_MAX: Final = 4_000_000
"""Rows that are kept, 21 bytes each: at 100,000 a second the last 40 seconds."""
PIECES_MAX: Final = 256
"""More pieces than this are joined: looking through many small ones takes longer than through one large."""


@dataclass(frozen=True, slots=True)
class _Piece:
    first: int
    """Number of the first record of the spool that is in it."""
    after: int
    """Number after the last one."""
    rows: Readings
    start_us: int
    end_us: int
    """Least and greatest time of its rows."""


class Recent:
    """See the module. Any method may be called from any thread; one thread adds.

    rows_max: see ROWS_MAX.
    """

    def __init__(self, floors: Readings, first: int, rows_max: int = ROWS_MAX) -> None:
        """floors: by point, the time up to which there may be rows that are not here. first: the number of the first
        record that will be added."""
        self._rows_max = rows_max
        self._lock = Lock()
        self._floor = np.full(0, NEVER, np.int64)
        self._pieces: list[_Piece] = []
        self._count = 0
        self._first = first
        self._raise(floors)

    @property
    def first(self) -> int:
        """Every record of the spool from this number on is here whole."""
        return self._first

    def add(self, first: int, after: int, rows: Readings) -> None:
        """Takes in the rows of the records from number `first` up to `after`, itself excluded. They are not copied."""
        if not len(rows):
            return
        with self._lock:
            self._pieces.append(_Piece(first, after, rows, int(rows.time.min()), int(rows.time.max())))
            self._count += len(rows)
            while self._count > self._rows_max:
                self._let_go()
            if len(self._pieces) > PIECES_MAX:
                self._pieces = list(_joined(self._pieces, self._rows_max // (PIECES_MAX // 4)))

    def raise_floors(self, floors: Readings) -> None:
        """By point, a time up to which there may be rows that are not here, as has turned out."""
        with self._lock:
            self._raise(floors)

    def holds(self, rows: Readings) -> npt.NDArray[np.bool_]:
        """Which rows have their (point, time) here."""
        found = np.zeros(len(rows), np.bool_)
        if not len(rows):
            return found
        start_us, end_us = int(rows.time.min()), int(rows.time.max())
        held = self._between(start_us, end_us + 1)
        if len(held):
            wanted = pl.DataFrame(
                {"row": np.arange(len(rows), dtype=np.uint32), "point": rows.point, "time": rows.time}
            )
            there = pl.DataFrame({"point": held.point, "time": held.time})
            found[wanted.join(there, on=["point", "time"], how="semi")["row"].to_numpy()] = True
        return found

    def floor(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """By row, the floor of that row's point, microseconds UTC; NEVER where everything of it is here."""
        with self._lock:
            floors = np.full(len(points), NEVER, np.int64)
            known = points < len(self._floor)
            floors[known] = self._floor[points[known]]
            return floors

    def since(self, position: int, points: npt.NDArray[np.uint32], start_us: int, end_us: int) -> Readings | None:
        """Rows of these points (ascending) with start_us ≤ time < end_us in records from number `position` on, in order
        of arrival; some of earlier records may be among them. None where such a record is here no longer."""
        with self._lock:
            if position < self._first:
                return None
            pieces = [piece for piece in self._pieces if piece.after > position]
        return _select(pieces, points, start_us, end_us)

    def _between(self, start_us: int, end_us: int) -> Readings:
        with self._lock:
            pieces = list(self._pieces)
        return _select(pieces, None, start_us, end_us)

    def _let_go(self) -> None:
        gone = self._pieces.pop(0)
        self._count -= len(gone.rows)
        self._first = gone.after
        self._raise(gone.rows)

    def _raise(self, rows: Readings) -> None:
        if not len(rows):
            return
        size = int(rows.point.max()) + 1
        if size > len(self._floor):
            grown = np.full(max(size, 2 * len(self._floor)), NEVER, np.int64)
            grown[: len(self._floor)] = self._floor
            self._floor = grown
        np.maximum.at(self._floor, rows.point, rows.time)


def _joined(pieces: list[_Piece], rows_max: int) -> Iterator[_Piece]:
    """Neighbours joined as long as they have no more rows together than so many: any two that are left have."""
    run = pieces[:1]
    for piece in pieces[1:]:
        if sum(len(part.rows) for part in run) + len(piece.rows) > rows_max:
            yield _join(run)
            run = []
        run.append(piece)
    yield _join(run)


def _join(run: list[_Piece]) -> _Piece:
    rows = Readings.concat(piece.rows for piece in run)
    start_us, end_us = min(piece.start_us for piece in run), max(piece.end_us for piece in run)
    return _Piece(run[0].first, run[-1].after, rows, start_us, end_us)


def _select(pieces: list[_Piece], points: npt.NDArray[np.uint32] | None, start_us: int, end_us: int) -> Readings:
    found = []
    for piece in pieces:
        if piece.start_us < end_us and piece.end_us >= start_us:
            rows = piece.rows
            mask = (rows.time >= start_us) & (rows.time < end_us)
            if points is not None:
                mask &= np.isin(rows.point, points)
            found.append(rows if mask.all() else rows.take(mask))
    return Readings.concat(found)
