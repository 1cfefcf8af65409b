"""The window: the recent readings of all points that a detector may ask for, ready to be cut into frames.

Taking a batch in costs an append. The work of sorting is done when a frame is asked for, and only over what came since
the last time: what was sorted stays sorted. Bounded in time and in bytes; what gives way for want of room is counted.

Lives here: keeping, trimming and cutting. Not here: sorted runs (runs.py), last values (dcim.core.live), what is
found."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from threading import Lock
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality, Readings
from dcim.detect.runs import Block, Piece, Run, gather

Points: TypeAlias = Sequence[int] | npt.NDArray[np.intp]
_MICROSECOND = timedelta(microseconds=1)
_BLOCK_POINTS = 4_096
"""Points of a block. Blocks are joined one after the other, so that only one of them is in memory twice."""
_SPARE = 8
"""Of the look-back, an eighth may be kept longer: each time that it is taken out costs a copy of the rest. Frames never
show it. Where nobody looks, as large a part of the bytes may wait to be sorted."""
_TURNS = 8
"""So many looks may pass until all blocks that are in need of it were joined."""
_ROOM = 0.95
"""Filled to this share after something had to give way, so that it has not to give way again at once."""

ROW_BYTES = 21
"""Of a reading: point, time, value, quality."""
BYTES_MAX = 1_073_741_824
"""Of all columns: 51 million readings. 2,000 racks of 20 points at 1 Hz, and their CDUs, take 0.7 GB in ten minutes."""


class Window:
    """Readings of the last `look_back`, sorted by point, time and arrival.

    One thread offers. `snapshot` gives another thread a window of its own: the two share columns that nobody writes
    into, so neither waits for the other.
    """

    def __init__(self, look_back: timedelta, bytes_max: int = BYTES_MAX) -> None:
        """bytes_max: of the readings that are kept. Cutting a frame takes as much again as the frame is large."""
        if look_back <= timedelta(0) or bytes_max < ROW_BYTES:
            raise ValueError("a window needs a look-back above 0, and room for one reading")
        self.look_back, self.bytes_max = look_back, bytes_max
        self.dropped = 0
        """Readings that gave way because there were too many, not because they were old."""
        self._blocks: dict[int, Block] = {}
        self._fresh: list[Readings] = []
        self._fresh_rows = 0
        self._lent: tuple[Window, int] | None = None  # and how many of our fresh batches it was given
        self._wanted: npt.NDArray[np.bool_] | None = None
        self._settling = Lock()

    @property
    def rows_max(self) -> int:
        """How many readings that is."""
        return self.bytes_max // ROW_BYTES

    def only(self, points: Points | None) -> None:
        """From now on keeps readings of these points alone; of all when None. What is there stays until it is old."""
        self._wanted = None if points is None else _mask(points)

    def offer(self, readings: Readings) -> None:
        """Takes a batch in, in any order. Its columns are kept, not copied."""
        if self._wanted is not None:
            readings = readings.take(_among(readings.point, self._wanted))
        if not len(readings):
            return
        self._fresh.append(readings)
        self._fresh_rows += len(readings)
        if self._fresh_rows > self.rows_max // _SPARE:
            self._adopt()
            self._settle(None)

    def snapshot(self) -> Window:
        """A window with what is here now, for one reader. Cheap: the reader does the sorting, and its work comes back
        when the next snapshot is taken."""
        self._adopt()
        lent = Window(self.look_back, self.bytes_max)
        lent._blocks, lent._fresh, lent._fresh_rows = dict(self._blocks), list(self._fresh), self._fresh_rows
        self._lent = lent, len(self._fresh)
        return lent

    def frame(self, points: Points | None, since_us: int, until_us: int) -> pl.DataFrame:
        """Readings with since ≤ time ≤ until of these points (of all when None), sorted by point and time; readings of
        one point and instant stand in the order in which they came. Columns: point u32, time Datetime(us, UTC), value
        f64 or null, quality u8.

        Readings more than a look-back older than `until` are forgotten. Those that are ahead of it are kept for later.
        Several threads may ask at once.
        """
        horizon_us = until_us - self.look_back // _MICROSECOND
        with self._settling:
            self._adopt()
            self._settle(horizon_us)
            blocks = sorted(self._blocks.items())
        since_us = max(since_us, horizon_us)
        wanted = None if points is None else np.unique(np.asarray(points, np.intp)).astype(np.uint32)
        pieces = []
        for number, block in blocks:
            if wanted is None:
                own = np.union1d(block.long.points, block.short.points)
            else:
                first, beyond = np.searchsorted(wanted, (number * _BLOCK_POINTS, (number + 1) * _BLOCK_POINTS))
                own = wanted[first:beyond]
            pieces.append(Piece.cut(block, own, since_us, until_us))
        return gather(pieces).to_frame()

    def __len__(self) -> int:
        return self._rows() + self._fresh_rows

    def _rows(self) -> int:
        return sum(map(len, self._blocks.values()))

    def _adopt(self) -> None:
        """Takes over what the reader of the last snapshot has sorted by now. One that was never read has nothing."""
        if self._lent is None:
            return
        lent, given = self._lent
        self._lent = None
        if not lent._fresh:
            self._blocks = lent._blocks
            self.dropped += lent.dropped
            del self._fresh[:given]
            self._fresh_rows = sum(map(len, self._fresh))

    def _settle(self, horizon_us: int | None) -> None:
        """Sorts what is fresh into its blocks, forgets what is older than the horizon, keeps to the number of rows."""
        blocks = self._blocks
        if self._fresh:
            fresh = Readings.concat(self._fresh)
            fresh = fresh.take(np.lexsort((fresh.time, fresh.point)))
            numbers = fresh.point // _BLOCK_POINTS
            starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])) if len(numbers) else numbers
            for number, start, end in zip(
                numbers[starts].tolist(), starts.tolist(), [*starts[1:].tolist(), len(fresh)], strict=True
            ):
                own = slice(start, end)
                rows = Readings(fresh.point[own], fresh.time[own], fresh.value[own], fresh.quality[own])
                blocks[number] = blocks.get(number, Block()).with_(rows)
        if horizon_us is not None:
            spare_us = self.look_back // _MICROSECOND // _SPARE
            needs = {number: block.need(horizon_us, spare_us) for number, block in blocks.items()}
            due = sorted((number for number, need in needs.items() if need >= 1.0), key=lambda number: -needs[number])
            for turn, number in enumerate(due):
                if turn <= len(blocks) // _TURNS or needs[number] == np.inf:
                    blocks[number] = blocks[number].joined(horizon_us)
                    if not len(blocks[number]):
                        del blocks[number]
        if self._rows() > self.rows_max and horizon_us is not None:
            blocks.update({number: block.joined(horizon_us) for number, block in blocks.items()})
        if (number_of := self._rows()) > self.rows_max:
            self._give_way(number_of - int(_ROOM * self.rows_max))
        self._fresh, self._fresh_rows = [], 0  # last: whoever finds nothing fresh finds all of it sorted

    def _give_way(self, excess: int) -> None:
        """Drops the oldest so many readings."""
        times = [run.rows.time for block in self._blocks.values() for run in (block.long, block.short)]
        youngest_us = int(np.partition(np.concatenate(times), excess - 1)[excess - 1])
        left = excess
        for number, block in self._blocks.items():
            kept = block.joined(youngest_us)
            left -= len(block) - len(kept)
            self._blocks[number] = kept
        for number, block in self._blocks.items():  # and of the last instant, as many as it takes
            rows = block.long.rows
            gone = np.flatnonzero(rows.time == youngest_us)[: max(left, 0)]
            if len(gone):
                kept_rows = np.ones(len(rows), np.bool_)
                kept_rows[gone] = False
                self._blocks[number] = Block(Run.of(rows.take(kept_rows)))
                left -= len(gone)
        self.dropped += excess


def doubt(frame: pl.DataFrame, distrusted: AbstractSet[int]) -> pl.DataFrame:
    """The frame with the readings of distrusted points marked as bad; the frame itself where there are none."""
    if not distrusted:
        return frame
    doubted = pl.col("point").is_in(pl.Series(sorted(distrusted), dtype=pl.UInt32).implode())
    bad = pl.lit(int(Quality.BAD), pl.UInt8)
    return frame.with_columns(quality=pl.when(doubted).then(bad).otherwise(pl.col("quality")))


def _mask(points: Points) -> npt.NDArray[np.bool_]:
    numbers = np.asarray(points, np.intp)
    mask = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
    mask[numbers] = True
    return mask


def _among(point: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows are of a point that the mask names; points beyond its end are not."""
    return np.append(mask, False)[np.minimum(point, len(mask))]
