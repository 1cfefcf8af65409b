"""Swings: a GPU's thermal resistance from how far its temperature moves when its power does.

Where nobody tells what its coolant or air has at the inlet, R = (T − T_in)/P cannot be formed. From one hour to the
next the inlet moves little and the load much, so R = ΔT/ΔP over such steps: the least-squares line through the origin.
What the room does from season to season drops out; how fans follow the load does not, but is the same from week to
week.

Lives here: the sums by GPU, the line with its error, and how the sums are kept beside the norms, so that a restart
does not begin ten days anew. Not here: what is usual (norms.py), what is found (thermal.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dcim.core.times import SECOND_US, to_us
from dcim.detect.norms import KEPT_S, Norms
from dcim.detect.traces import Floats
from dcim.detect.wide import Numbers

_NEVER = np.iinfo(np.int64).min
_SUMS = ("power", "temperature", "power squared", "power by temperature", "temperature squared", "steps")
_KEPT = tuple(f"gpu swing, {name}" for name in (*_SUMS, "sampled", "told"))
"""Names under which the state of a GPU is kept. The instant is in µs: a float holds those to the year 2255."""


@dataclass(frozen=True, slots=True)
class SwingSettings:
    """Chosen on hourly logs of four air-cooled servers, years of each, less the last 120 days: of 20 % more resistance
    grown over 60 days, 25 of 35 were found, at 0.25 false ones per GPU and month. The rest stood idle at the end."""

    pair_s: float = 3_600.0
    """From sample to sample: a cold plate and its air have settled, the room has not moved far."""
    early_s: float = 60.0
    """A sample may be taken so much early."""
    gap_s_max: float = 11_000.0
    """Samples farther apart are no step: the room had time."""
    forget_s: float = 864_000.0
    """Ten days: time constant of the sums."""
    error_max: float = 0.03
    """Of the resistance, 1σ: beyond it is not told."""
    steps_min: float = 20.0
    told_min: int = 144
    """Hours in which it was told until what was learned of it is a norm: six days of work."""


class Swings:
    """The sums, by number of the temperature's point."""

    def __init__(self, settings: SwingSettings | None = None) -> None:
        self.settings = settings or SwingSettings()
        self._at_us: int | None = None
        self._last_us = np.zeros(0, np.int64)
        self._told = np.zeros(0, np.int64)
        self._sums = np.zeros((6, 0))  # last power, last temperature, Σ ΔP², Σ ΔPΔT, Σ ΔT², steps

    @classmethod
    def of(cls, norms: Norms, settings: SwingSettings | None = None) -> Swings:
        """The swings that `kept_in` put beside these norms; empty ones where it did not."""
        swings = cls(settings)
        swings._grow(norms.points(_KEPT[0]))
        points = np.arange(len(swings._told), dtype=np.intp)
        state = np.stack([norms.of(name, points, KEPT_S) for name in _KEPT])
        known = ~np.isnan(state).any(axis=0)
        points, state = points[known], state[:, known]
        swings._sums[:, points] = state[: len(_SUMS)]
        swings._last_us[points], swings._told[points] = state[-2:].astype(np.int64)
        swings._at_us = int(swings._last_us[points].max()) if len(points) else None
        return swings

    def kept_in(self, norms: Norms) -> Norms:
        """These norms with the state of every GPU beside them; the same norms where none has been sampled."""
        points = np.flatnonzero(self._last_us != _NEVER)
        if not len(points):
            return norms
        state = (
            *self._sums[:, points],
            self._last_us[points].astype(np.float64),
            self._told[points].astype(np.float64),
        )
        for name, values in zip(_KEPT, state, strict=True):
            norms = norms.keep(name, points, values)
        return norms

    def take(self, at: datetime, points: Numbers, power_kw: Floats, temperature_c: Floats) -> None:
        """Takes a sample of each of these GPUs, where both are known and an hour has passed since the last. Where the
        clock has gone back since, it takes one at once: that is no step, and nothing fades.
        [n] each: points, the numbers of their temperatures; the means over the last minutes, NaN where not told."""
        settings, at_us = self.settings, to_us(at)
        if self._at_us is not None and 0 <= at_us - self._at_us < (settings.pair_s - settings.early_s) * SECOND_US:
            return
        self._at_us = at_us
        known = ~np.isnan(power_kw) & ~np.isnan(temperature_c) & (points >= 0)
        points, power_w, temperature_c = points[known], power_kw[known] * 1_000.0, temperature_c[known]
        if not len(points):
            return
        self._grow(int(points.max()) + 1)
        passed_s = np.where(self._last_us[points] == _NEVER, np.inf, (at_us - self._last_us[points]) / SECOND_US)
        sums = self._sums[:, points]
        sums[2:] *= np.exp(-np.maximum(passed_s, 0.0) / settings.forget_s)
        step = (passed_s > 0.0) & (passed_s <= settings.gap_s_max)
        up_w, up_k = np.where(step, power_w - sums[0], 0.0), np.where(step, temperature_c - sums[1], 0.0)
        sums[2:] += np.stack([up_w * up_w, up_w * up_k, up_k * up_k, step.astype(np.float64)])
        sums[0], sums[1] = power_w, temperature_c
        self._sums[:, points], self._last_us[points] = sums, at_us
        self._told[points] += ~np.isnan(self._line(sums))

    def resistance(self, points: Numbers) -> tuple[Floats, Floats]:
        """[n] each: K/W, NaN where the power has moved too little of late; and for how many hours it was told."""
        resistance, told = np.full(len(points), np.nan), np.zeros(len(points))
        known = (points >= 0) & (points < len(self._told))
        resistance[known] = self._line(self._sums[:, points[known]])
        told[known] = self._told[points[known]]
        return resistance, told

    def _line(self, sums: Floats) -> Floats:
        """K/W of these sums. Its error is that of the line: √((Σ ΔT² − R Σ ΔPΔT)/(n − 1)/Σ ΔP²)."""
        _, _, squares, products, rest, steps = sums
        moved = squares > 0.0
        line = products / np.where(moved, squares, np.nan)
        variance = np.maximum(rest - line * products, 0.0) / np.maximum(steps - 1.0, 1.0)
        error = np.sqrt(variance / np.where(moved, squares, np.nan))
        told = (line > 0.0) & (error < self.settings.error_max * line) & (steps > self.settings.steps_min)
        return np.where(told, line, np.nan)

    def _grow(self, size: int) -> None:
        more = max(0, size - len(self._told))
        self._last_us = np.append(self._last_us, np.full(more, _NEVER))
        self._told = np.append(self._told, np.zeros(more, np.int64))
        self._sums = np.append(self._sums, np.zeros((6, more)), axis=1)
