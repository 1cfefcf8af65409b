"""Three sigma: what a plain threshold would have said of a recording, which needs no detector: any value of an asset
three standard deviations off its mean of the first day.

Lives here: the columns by point, and a reader that takes readings in beside whoever plays them back, so that they are
read once. Not here: how often that is right (dcim.detect.scoring)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np

from dcim.app.laying import Times
from dcim.app.playback import Stretch
from dcim.app.recorded import Recording
from dcim.core.quantities import Nature
from dcim.core.readings import Readings
from dcim.core.times import from_us, to_us

TRAIN_SHARE = 0.25
"""Of the span of a recording, at most a day: what it learns from."""
_CHUNK_ROWS = 200_000
"""Rows that are judged at once: what lies between stays in the cache."""


class ThreeSigma:
    """Racks and CDUs whose values are out, by tick."""

    def __init__(self, recording: Recording, ticks: Times, since: datetime) -> None:
        """since: nothing is out before; it is learned all the same."""
        plant, size = recording.plant, max(recording.plant.points, default=-1) + 1
        self._measures = np.zeros(size, np.bool_)
        self._of_asset = np.full(size, -1)
        self.names: list[str] = []
        """Of the assets that are looked at."""
        for asset in plant.assets.values():
            if asset.kind not in {"Rack", "CDU"}:
                continue
            self.names.append(asset.id)
            for number in asset.points:
                point = plant.points[number]
                self._measures[number] = point.measures.nature is Nature.MEASURE and not point.setpoint
                self._of_asset[number] = len(self.names) - 1
        span = recording.end - recording.start
        self._learned_us = to_us(recording.start + min(TRAIN_SHARE * span, timedelta(days=1)))
        self._judged_us = max(self._learned_us, to_us(since))
        self._ticks = ticks
        self._count, self._total, self._square = np.zeros(size), np.zeros(size), np.zeros(size)
        self._out = np.zeros((len(self.names), len(ticks) + 1), np.bool_)

    def beside(self, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
        """The stretches as they are, each taken in on its way."""
        for stretch in stretches:
            self._take(stretch.readings)
            yield stretch

    def spans(self) -> Iterator[tuple[str, datetime, datetime | None]]:
        """Asset, first tick at which it was out, and first at which it was not any more; None: it was to the end."""
        for row, name in enumerate(self.names):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], self._out[row, :-1], [False]]).astype(np.int8)))
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                ended = from_us(int(self._ticks[end])) if end < len(self._ticks) else None
                yield name, from_us(int(self._ticks[begin])), ended

    def _take(self, rows: Readings) -> None:
        size = len(self._measures)
        if not len(rows) or not size:
            return
        if int(rows.point.max()) >= size:
            rows = rows.take(rows.point < size)
        if int(rows.time.min(initial=self._judged_us)) < self._judged_us:
            self._learn(rows.take(rows.time < self._learned_us))
            rows = rows.take(rows.time >= self._judged_us)
        mean = self._total / np.maximum(self._count, 1)
        sigma = np.sqrt(np.maximum(self._square / np.maximum(self._count, 1) - mean**2, 0.0))
        bound = np.where(self._measures & (self._count > 1), 3.0 * sigma, np.inf)
        for begin in range(0, len(rows), _CHUNK_ROWS):
            own = slice(begin, begin + _CHUNK_ROWS)
            point, value = rows.point[own], rows.value[own]
            out = np.flatnonzero(np.abs(value - mean.take(point)) > bound.take(point))
            out = out[np.isfinite(value[out])]
            tick = np.searchsorted(self._ticks, rows.time[own][out], side="left")
            self._out[self._of_asset[point[out]], tick] = True

    def _learn(self, rows: Readings) -> None:
        rows = rows.take(self._measures[rows.point] & np.isfinite(rows.value))
        size = len(self._measures)
        self._count += np.bincount(rows.point, minlength=size)
        self._total += np.bincount(rows.point, weights=rows.value, minlength=size)
        self._square += np.bincount(rows.point, weights=rows.value**2, minlength=size)
