"""Shift: finds that columns have moved away from where they were lately, each in its own measure.

A fast mean of each column is held against a slow one, which follows what drifts and stands still while something is
found. Their difference is measured by its own size in healthy rows; where a column mostly drifts, that size was seen
only a few times over and counts for less. What remains goes into a one-sided CUSUM. Something is over when its measure
is down to a share of what it was: then the slow mean takes the new place, and for a while nothing is judged.

Lives here: that one state and how a row changes it. Not here: which columns (table.py), the other models (still.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from dcim.core.errors import Permanent
from dcim.detect.learned.table import choose, matrix
from dcim.detect.traces import Floats


@dataclass(frozen=True, slots=True)
class ShiftSettings:
    """How it looks. Lengths are in rows. Chosen on recordings that are not reported on: docs/learned.md."""

    fast_rows: float = 6.0
    """Time constant of the fast mean."""
    slow_rows: float = 80.0
    """Time constant of the slow mean."""
    drift: float = 9.0
    """A column that only drifts has its usual size times the root of 1 + drift; one that is only noise, times 1."""
    reference: float = 2.6
    """What the CUSUM takes off at each row, in usual sizes."""
    limit: float = 6.0
    """Where the CUSUM finds something, in usual sizes."""
    unusual: float = 3.0
    """From here on a row is unusual, in usual sizes: score 1. Such rows are not learned from."""
    over: float = 0.25
    """Something is over when its measure is down to this share of the largest that it was …"""
    over_rows: int = 10
    """… for so many rows."""
    settle_rows: int = 80
    """For so long after that nothing is judged, and the slow mean follows quickly."""
    heard_rows: int = 5
    """For so long a column without a value counts as heard."""


@dataclass(frozen=True, slots=True)
class _Learned:
    """What training leaves behind. All arrays: [columns]."""

    columns: tuple[str, ...]
    centre: Floats
    scale: Floats
    fast: Floats
    slow: Floats
    squares: Floats
    """Sum of squared differences between the two means."""
    rows: float
    """Over so many rows."""
    spread: Floats
    """What the mean of those squares is multiplied with, because it was seen too few times."""


@dataclass(slots=True)
class Shift:
    """Scorer of changes against the recent past."""

    settings: ShiftSettings = field(default_factory=ShiftSettings)
    omitted: Mapping[str, str] = field(default_factory=dict)
    name: str = "shift"
    _learned: _Learned | None = None

    def fit(self, frame: pl.DataFrame, columns: Sequence[str]) -> Self:
        """Learns centre, scale and the usual difference of the two means."""
        chosen, settings = choose(frame, columns), self.settings
        centre, scale = np.nanmean(chosen.values, axis=0), np.nanstd(chosen.values, axis=0)
        values = (chosen.values - centre) / scale
        a_fast, a_slow = 1.0 / settings.fast_rows, 1.0 / settings.slow_rows
        head = values[: max(1, round(settings.fast_rows))]
        heard = ~np.isnan(head)
        fast = np.where(heard, head, 0.0).sum(axis=0) / np.maximum(heard.sum(axis=0), 1)
        slow = fast.copy()
        apart = np.empty_like(values)
        for number, value in enumerate(values):
            here = ~np.isnan(value)
            fast[here] += a_fast * (value[here] - fast[here])
            apart[number] = fast - slow
            slow += a_slow * (np.where(here, value, slow) - slow)
        apart = apart[min(round(2 * settings.fast_rows), len(apart) // 4) :]
        steps = np.diff(values, axis=0)
        known = ~np.isnan(steps)
        # Von Neumann's ratio: 1 where one row says nothing of the next, 0 where a column only drifts.
        noise = np.where(known, steps, 0.0) ** 2
        noise_share = np.clip(noise.sum(axis=0) / np.maximum(known.sum(axis=0), 1) / 2.0, 0.0, 1.0)
        self.omitted = chosen.omitted
        self._learned = _Learned(
            columns=chosen.columns,
            centre=centre,
            scale=scale,
            fast=fast,
            slow=slow,
            squares=(apart**2).sum(axis=0),
            rows=float(len(apart)),
            spread=1.0 + settings.drift * (1.0 - noise_share),
        )
        return self

    def score(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Scorer.score. Costs some 30 µs a row, whatever the number of columns."""
        learned = self._learned
        if learned is None:
            raise Permanent("nothing was learned yet", where=f"scorer {self.name}", todo="Call fit first.")
        values = (matrix(frame, learned.columns) - learned.centre) / learned.scale
        walk = _Walk(self.settings, learned)
        shown = [walk.step(value) for value in values]
        return pl.DataFrame(
            {
                "score": pl.Series([score for score, _, _ in shown], dtype=pl.Float64),
                "found": pl.Series([found for _, found, _ in shown], dtype=pl.Boolean),
                "because": pl.Series(
                    [learned.columns[most] if found else None for _, found, most in shown], dtype=pl.String
                ),
            }
        )


class _Walk:
    """The state, row by row."""

    def __init__(self, settings: ShiftSettings, learned: _Learned) -> None:
        self._settings = settings
        self._fast, self._slow = learned.fast.copy(), learned.slow.copy()
        self._squares, self._rows = learned.squares.copy(), learned.rows
        self._spread = learned.spread
        self._silent = np.zeros(len(self._fast), np.int64)
        self._sum = 0.0
        self._found = False
        self._largest = 0.0
        self._low = 0
        self._settling = 0

    def step(self, value: Floats) -> tuple[float | None, bool | None, int]:
        """Takes a row in: its score, whether something is found, and which column speaks most for it."""
        settings = self._settings
        here = ~np.isnan(value)
        value = np.where(here, value, self._fast)
        if not here.all() or self._silent.any():
            back = here & (self._silent > settings.fast_rows)
            self._fast[back] = value[back]
            self._silent = np.where(here, 0, self._silent + 1)
        self._fast += (value - self._fast) / settings.fast_rows
        apart = self._fast - self._slow
        square = apart * apart
        size = np.where(self._silent <= settings.heard_rows, square / self._usual(), 0.0)
        heard = int((self._silent <= settings.heard_rows).sum())
        if 2 * heard < len(size):
            return None, (True if self._found else None), int(size.argmax())
        # The largest column, or all together as far as they exceed their number.
        most = int(size.argmax())
        measure = float(np.sqrt(max(size[most], size.sum() * settings.unusual**2 / _limit(heard, settings.unusual))))
        judged = self._go_on(measure, value, square)
        return (measure / settings.unusual, self._found, most) if judged else (None, None, most)

    def _usual(self) -> Floats:
        usual: Floats = np.maximum(self._squares / self._rows * self._spread, 1e-12)
        return usual

    def _go_on(self, measure: float, value: Floats, square: Floats) -> bool:
        """What follows for the state; whether this row was judged."""
        settings = self._settings
        if self._found:
            self._largest = max(self._largest, measure)
            over = measure < max(settings.over * self._largest, 0.9 * settings.unusual)
            self._low = self._low + 1 if over else 0
            if self._low >= settings.over_rows:
                self._found, self._settling, self._sum = False, settings.settle_rows, 0.0
            return True
        if self._settling:
            self._settling -= 1
            self._slow += 2.0 / settings.fast_rows * (self._fast - self._slow)
            return False
        self._slow += (value - self._slow) / settings.slow_rows
        if measure < settings.unusual:
            self._squares += square
            self._rows += 1.0
        self._sum = max(0.0, self._sum + measure - settings.reference)
        if self._sum > settings.limit:
            self._found, self._largest, self._low = True, measure, 0
        return True


def _limit(columns: int, unusual: float) -> float:
    """What the sum of squares of so many independent columns exceeds as rarely as one of them exceeds `unusual` either
    way: the quantile of chi² by Wilson and Hilferty, good to 1 % from two columns on."""
    third = 2.0 / (9.0 * columns)
    return columns * float(1.0 - third + unusual * np.sqrt(third)) ** 3
