"""Runs: readings sorted by point, time and arrival, that are joined and cut without being sorted again.

Lives here: one sorted run, and a block of two: a long one, and a short one of what came since, so that what arrives is
not merged into everything each time. Not here: which readings are kept, and for how long (window.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dcim.core.readings import Readings

Indices = npt.NDArray[np.intp]
_N = TypeVar("_N", bound=np.generic)
_LONG = 8
"""A short run is joined to the long one when it is an eighth of it: each reading is then copied some eight times."""
_SHORT_MIN = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Sorted readings, and where each point's begin."""

    rows: Readings
    points: npt.NDArray[np.uint32]
    """Those that have readings, ascending."""
    starts: Indices
    """[points + 1]."""
    oldest_us: int
    newest_us: int
    """Of no readings: such that nothing lies between."""
    good: bool
    """All of them: then nobody has to copy what they say of their quality."""

    @classmethod
    def of(cls, rows: Readings) -> Run:
        """rows: sorted by point and time."""
        if not len(rows):
            return cls(rows, rows.point, np.zeros(1, np.intp), 2**62, -(2**62), True)
        starts = np.flatnonzero(np.append(True, rows.point[1:] != rows.point[:-1]))
        oldest_us, newest_us = int(rows.time.min()), int(rows.time.max())
        good = not rows.quality.any()
        return cls(rows, rows.point[starts], np.append(starts, len(rows)), oldest_us, newest_us, good)

    def __len__(self) -> int:
        return len(self.rows)

    def spans(self, points: npt.NDArray[np.uint32], since_us: int, until_us: int) -> tuple[Indices, Indices]:
        """[points]: where the readings of each point with since ≤ time ≤ until begin and end; without any, nothing lies
        between."""
        if not len(self.rows):
            return np.zeros(len(points), np.intp), np.zeros(len(points), np.intp)
        row = np.minimum(np.searchsorted(self.points, points), len(self.points) - 1)
        low = self.starts[row]
        high = np.where(self.points[row] == points, self.starts[row + 1], low)
        if self.newest_us > until_us:
            high = _first(self.rows.time, low, high, until_us + 1)
        if self.oldest_us < since_us:
            low = _first(self.rows.time, low, high, since_us)
        return low, high

    def since(self, horizon_us: int) -> Run:
        """Without what is older; the run itself where nothing is."""
        return self if self.oldest_us >= horizon_us else Run.of(self.rows.take(self.rows.time >= horizon_us))

    def with_(self, later: Run) -> Run:
        """Both as one. Of one point and instant, what is in `later` comes last."""
        if not len(self) or not len(later):
            return later if not len(self) else self
        return Run.of(_merge(self.rows, later.rows))


NONE = Run.of(Readings.empty())


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The readings of a range of points. Never altered: who holds one may read it from another thread."""

    long: Run = NONE
    short: Run = NONE
    """What came after everything in `long` had come; its times may be older all the same."""

    def __len__(self) -> int:
        return len(self.long) + len(self.short)

    def with_(self, rows: Readings) -> Block:
        """With more readings, sorted by point and time."""
        more = Run.of(rows)
        return Block(self.long, self.short.with_(more)) if len(self.long) else Block(more)

    def need(self, horizon_us: int, spare_us: int) -> float:
        """How much the block is in need of `joined`: below 1 not yet, and at infinity it cannot wait.

        horizon_us: what is older may be forgotten; it may take up spare_us more, so that not each look has to copy.
        """
        if not len(self):
            return 0.0
        if len(self.short) > len(self.long):
            return np.inf
        old_us = horizon_us - min(self.long.oldest_us, self.short.oldest_us)
        return max(_LONG * len(self.short) / (len(self.long) + _LONG * _SHORT_MIN), old_us / max(spare_us, 1))

    def joined(self, horizon_us: int) -> Block:
        """As one run, without what is older than the horizon."""
        return Block(self.long.since(horizon_us).with_(self.short.since(horizon_us)))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Readings of some points out of one block, as slices of its two runs: long, short, long, short …"""

    block: Block
    points: npt.NDArray[np.uint32]
    spans: npt.NDArray[np.intp]
    """[points, 4]: begin and end in the long run, and in the short one."""

    @classmethod
    def cut(cls, block: Block, points: npt.NDArray[np.uint32], since_us: int, until_us: int) -> Piece:
        """points: ascending."""
        spans = (*block.long.spans(points, since_us, until_us), *block.short.spans(points, since_us, until_us))
        return cls(block, points, np.stack(spans, axis=1))

    @property
    def lengths(self) -> Indices:
        """[points]: how many readings each has."""
        lengths: Indices = self.spans[:, 1] - self.spans[:, 0] + self.spans[:, 3] - self.spans[:, 2]
        return lengths

    def slices(self, column: str) -> list[npt.NDArray[Any]]:
        """Of one of the columns of Readings. What lies side by side is one slice."""
        long, short = getattr(self.block.long.rows, column), getattr(self.block.short.rows, column)
        if (self.spans[:, 3] > self.spans[:, 2]).any():
            spans = self.spans.tolist()
            return [part for begin, end, first, last in spans for part in (long[begin:end], short[first:last])]
        some = self.spans[self.spans[:, 1] > self.spans[:, 0]]
        apart = np.flatnonzero(some[1:, 0] != some[:-1, 1])
        begins, ends = some[np.append(0, apart + 1), 0], some[np.append(apart, len(some) - 1), 1]
        return [long[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]

    def late(self) -> Indices:
        """Places in `points` whose short readings do not all come after their long ones."""
        begin, end, first, last = self.spans.T
        both = np.flatnonzero((end > begin) & (last > first))
        before = self.block.long.rows.time[end[both] - 1] > self.block.short.rows.time[first[both]]
        late: Indices = both[before]
        return late


def gather(pieces: list[Piece]) -> Readings:
    """The readings of pieces whose points ascend, sorted by point, time and arrival. Columns may be shared with the
    blocks: nobody writes into them."""
    pieces = [piece for piece in pieces if piece.lengths.any()]
    if not pieces:
        return Readings.empty()
    lengths = np.concatenate([piece.lengths for piece in pieces])
    good = all(piece.block.long.good and piece.block.short.good for piece in pieces)
    time: npt.NDArray[np.int64] = _joined(pieces, "time")
    value: npt.NDArray[np.float64] = _joined(pieces, "value")
    quality: npt.NDArray[np.uint8] = np.zeros(len(time), np.uint8) if good else _joined(pieces, "quality")
    ends = np.cumsum(lengths)
    before = 0
    for piece in pieces:
        late = piece.late() + before
        before += len(piece.points)
        for begin, end in zip((ends[late] - lengths[late]).tolist(), ends[late].tolist(), strict=True):
            # Both runs are there, so the columns are copies of ours.
            order = begin + np.argsort(time[begin:end], kind="stable")
            for column in (time, value, quality):
                column[begin:end] = column[order]
    return Readings(np.repeat(np.concatenate([piece.points for piece in pieces]), lengths), time, value, quality)


def _joined(pieces: list[Piece], column: str) -> npt.NDArray[Any]:
    parts = [part for piece in pieces for part in piece.slices(column)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _first(time: npt.NDArray[np.int64], low: Indices, high: Indices, at_us: int) -> Indices:
    """[points]: in each stretch from low to high, the first place whose time is at_us or later; high where none is."""
    low, high = low.copy(), high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (time[np.minimum(middle, len(time) - 1)] < at_us)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


def _merge(rows: Readings, more: Readings) -> Readings:
    """Both, sorted by point and time, when each is; of one point and instant, what is in `rows` comes first."""
    place = np.searchsorted(rows.point, more.point, side="right")
    # Nearly all that is new is newer than all that its point has. The rest looks for its place.
    last = np.maximum(place - 1, 0)
    late = np.flatnonzero((rows.point[last] == more.point) & (rows.time[last] > more.time))
    low, high = np.searchsorted(rows.point, more.point[late], side="left"), place[late]
    while (open_ := low < high).any():
        middle = (low + high) // 2
        later = open_ & (rows.time[np.minimum(middle, len(rows) - 1)] > more.time[late])
        high = np.where(later, middle, high)
        low = np.where(open_ & ~later, middle + 1, low)
    place[late] = low
    place += np.arange(len(more))
    old = np.ones(len(rows) + len(more), np.bool_)
    old[place] = False
    return Readings(
        _interleave(rows.point, more.point, old),
        _interleave(rows.time, more.time, old),
        _interleave(rows.value, more.value, old),
        _interleave(rows.quality, more.quality, old),
    )


def _interleave(rows: npt.NDArray[_N], more: npt.NDArray[_N], old: npt.NDArray[np.bool_]) -> npt.NDArray[_N]:
    merged = np.empty(len(old), rows.dtype)
    merged[old] = rows
    merged[~old] = more
    return merged
