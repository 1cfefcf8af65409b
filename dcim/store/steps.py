"""Steps of a tier that are put together in memory, out of the readings that pass by.

A step is there whole or not at all: of every step from the floor on, each usable reading that was handed on has passed
here. What belongs to an earlier step is late, and its step has to be made from what the server has (rollup.py).

Lives here: sums, extremes and counts of the youngest steps. Not here: where they are written, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.readings import Quality, Readings

AHEAD_US: Final = 3_600_000_000
"""What lies further ahead of our clock is late: no sender's clock may push the floor beyond what is to come."""
FRESH_ROWS_MAX: Final = 500_000
"""So many parts of steps are put together at once."""
LEAVING_ROWS_MAX: Final = 1_000_000
"""So many rows of steps that have left memory wait to be told; what leaves beyond that is forgotten. 37 bytes each."""

_PARTS: Final = {
    "point": pl.UInt32(),
    "sum": pl.Float64(),
    "count": pl.Int64(),
    "min": pl.Float64(),
    "max": pl.Float64(),
    "uncertain": pl.Boolean(),
}


@dataclass(slots=True)
class _Step:
    told: pl.DataFrame
    """What is written, or being written."""
    fresh: list[pl.DataFrame] = field(default_factory=list)
    """What came since."""
    rows: int = 0


class Steps:
    """See the module. Any method may be called from any thread; one thread passes readings, one takes what is due.

    step_us: width. linger_us: a step leaves memory when readings have come that are so much later than its end.
    floor_us: where memory begins, a multiple of the step.
    """

    def __init__(self, step_us: int, linger_us: int, floor_us: int) -> None:
        self._step_us, self._linger_us = step_us, linger_us
        self._floor_us = self._beyond_us = floor_us
        self._lock = Lock()
        self._steps: dict[int, _Step] = {}
        self._leaving: dict[int, pl.DataFrame] = {}
        self._forgotten: list[int] = []
        self._telling: set[int] = set()

    @property
    def beyond_us(self) -> int:
        """The end of the last step that was touched; the floor, where none was."""
        return self._beyond_us

    def add(self, rows: Readings, now_us: int) -> npt.NDArray[np.bool_]:
        """Takes usable readings in. Answers which of them are late."""
        start = rows.time // self._step_us * self._step_us
        late = (start < self._floor_us) | (start > now_us + AHEAD_US)
        if late.all():
            return late
        keep = ~late
        parts = (
            pl.DataFrame(
                {
                    "start": start[keep],
                    "point": rows.point[keep],
                    "value": rows.value[keep],
                    "uncertain": rows.quality[keep] == Quality.UNCERTAIN,
                }
            )
            .group_by("start", "point")
            .agg(
                sum=pl.col("value").sum(),
                count=pl.len().cast(pl.Int64),
                min=pl.col("value").min(),
                max=pl.col("value").max(),
                uncertain=pl.col("uncertain").any(),
            )
        )
        with self._lock:
            for (begin,), part in parts.partition_by("start", as_dict=True, include_key=False).items():
                self._fill(int(begin), part)
            self._leave(int(start[keep].max()))
        return late

    def due(self, settled_us: int) -> list[tuple[int, pl.DataFrame]]:
        """Steps that changed since they were last told, and are over by settled_us, or have left memory: the start, and
        of each point that changed all that is known. They are dirty until `told`."""
        with self._lock:
            due, self._leaving = self._leaving, {}
            for start in sorted(self._steps):
                if start + self._step_us <= settled_us:
                    changed = self._tell(self._steps[start])
                    if changed is not None:
                        due[start] = changed
            self._telling.update(due)
        return list(due.items())

    def told(self, start: int) -> None:
        """What was due of a step is written."""
        with self._lock:
            self._telling.discard(start)

    def dirty(self) -> set[int]:
        """The starts of steps that have something to tell, or have it being told."""
        with self._lock:
            fresh = (start for start, step in self._steps.items() if step.fresh)
            return {*self._leaving, *self._telling, *fresh}

    def forgotten(self) -> list[int]:
        """The starts of steps that were changed and never told, because too many were; each is answered once."""
        with self._lock:
            gone, self._forgotten = self._forgotten, []
        return gone

    def _fill(self, start: int, part: pl.DataFrame) -> None:
        step = self._steps.setdefault(start, _Step(pl.DataFrame(schema=_PARTS)))
        step.fresh.append(part)
        step.rows += part.height
        self._beyond_us = max(self._beyond_us, start + self._step_us)
        if step.rows > FRESH_ROWS_MAX:
            step.fresh = [_together(step.fresh)]
            step.rows = min(step.fresh[0].height, FRESH_ROWS_MAX // 2)

    def _leave(self, newest: int) -> None:
        for start in sorted(self._steps):
            if start + self._step_us + self._linger_us > newest:
                break
            step = self._steps.pop(start)
            self._floor_us = max(self._floor_us, start + self._step_us)
            changed = self._tell(step)
            if changed is None:
                continue
            if sum(frame.height for frame in self._leaving.values()) < LEAVING_ROWS_MAX:
                self._leaving[start] = changed
            else:
                self._forgotten.append(start)

    @staticmethod
    def _tell(step: _Step) -> pl.DataFrame | None:
        """What changed since the last time, as it is now."""
        if not step.fresh:
            return None
        fresh = _together(step.fresh)
        step.told = _together([step.told, fresh])
        step.fresh, step.rows = [], 0
        return step.told.join(fresh.select("point"), on="point", how="semi")


def _together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return (
        pl.concat([part.select(*_PARTS) for part in parts])
        .group_by("point")
        .agg(
            pl.col("sum").sum(),
            pl.col("count").sum(),
            pl.col("min").min(),
            pl.col("max").max(),
            pl.col("uncertain").any(),
        )
    )
