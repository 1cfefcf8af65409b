"""Still: holds a table's rows against a model of the training rows that stays what it is.

Lives here: smoothing, standardising and the beginning and end of what is found. Not here: the models (models.py), a
scorer that goes along with drift (shift.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from dcim.core.errors import Permanent
from dcim.detect.learned.learning import calibrated, learn
from dcim.detect.learned.models import Model, measure
from dcim.detect.learned.table import choose, matrix
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools

FAST_ROWS = 8.0
"""Time constant of the mean that is judged, in rows."""
FITTED = 2.0 / 3.0
"""The model is fitted to this share of the training rows, the first ones; its limits come from the rest."""
SUSTAINED_ROWS = 3
"""So many rows in a row are unusual where something is found, and usual where it is over."""
HEARD_ROWS = 5
"""For so long a column without a value counts as heard; longer, it counts as usual."""


@dataclass(frozen=True, slots=True)
class _Learned:
    columns: tuple[str, ...]
    centre: Floats
    scale: Floats
    model: Model


@dataclass(slots=True)
class Still:
    """Scorer by one kind of model."""

    name: str
    """Kind of model."""
    seed: int = 0
    omitted: Mapping[str, str] = field(default_factory=dict)
    _learned: _Learned | None = None

    def fit(self, frame: pl.DataFrame, columns: Sequence[str]) -> Self:
        """Scorer.fit."""
        chosen = choose(frame, columns)
        centre, scale = np.nanmean(chosen.values, axis=0), np.nanstd(chosen.values, axis=0)
        smooth, _ = _smooth((chosen.values - centre) / scale)
        fitted = round(FITTED * len(smooth))
        spread = np.maximum(smooth[:fitted].std(axis=0), 1e-3)
        model = learn(self.name, smooth[:fitted] / spread, self.seed)
        self.omitted = chosen.omitted
        self._learned = _Learned(
            chosen.columns, centre, scale * spread, calibrated(model, smooth[fitted:] / spread, _sustained)
        )
        return self

    def score(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Scorer.score. The first rows are smoothed from what is usual."""
        learned = self._learned
        if learned is None:
            raise Permanent("nothing was learned yet", where=f"scorer {self.name}", todo="Call fit first.")
        rows, heard = _smooth((matrix(frame, learned.columns) - learned.centre) / learned.scale)
        known = 2 * heard.sum(axis=1) >= len(learned.columns)
        score = measure(learned.model, np.where(heard, rows, 0.0))
        found = _held(score, known)
        because = [
            learned.columns[int(learned.model.shares(row).argmax())] if so else None
            for row, so in zip(rows, found & known, strict=True)
        ]
        frame = pl.DataFrame({"score": score, "found": found, "because": pl.Series(because, dtype=pl.String)})
        told = pl.Series(known)
        return frame.with_columns(pl.when(told).then(pl.col("score", "found")))


def _smooth(values: Floats) -> tuple[Floats, Bools]:
    """[rows, columns]: an exponential mean of what came, from 0 on, and whether the column is heard."""
    smooth, mean = np.empty_like(values), np.zeros(values.shape[1])
    here = ~np.isnan(values)
    filled = np.where(here, values, 0.0)
    for number, now in enumerate(here):
        mean = np.where(now, mean + (filled[number] - mean) / FAST_ROWS, mean)
        smooth[number] = mean
    row = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(here, row, -HEARD_ROWS - 1), axis=0) if len(values) else row
    return smooth, row - last <= HEARD_ROWS


def _sustained(statistics: Floats) -> Floats:
    """[rows − some]: what the statistic did not fall below for SUSTAINED_ROWS."""
    if len(statistics) < SUSTAINED_ROWS:
        return statistics
    held: Floats = np.lib.stride_tricks.sliding_window_view(statistics, SUSTAINED_ROWS).min(axis=1)
    return held


def _held(score: Floats, known: Bools) -> Bools:
    """[rows]: whether something is found, which begins and ends when SUSTAINED_ROWS rows say so."""
    found = np.zeros(len(score), np.bool_)
    stands, run = False, 0
    for number, above in enumerate((score >= 1.0).tolist()):
        if known[number]:
            run = run + 1 if above != stands else 0
            if run >= SUSTAINED_ROWS:
                stands, run = not stands, 0
        found[number] = stands
    return found
