"""Enough: racks and circuits whose coolant is plainly enough for the heat that they make now, told for all of them at
once.

Hundreds of racks are looked at each time that their meters speak, and nearly always there is nothing to say of them.
What is plain here needs no closer look; of the rest nothing is claimed. Lives here: the columns and that test. Not
here: what is lost, unknown or in between (flow.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcim.core.live import Latest
from dcim.core.points import Point
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers

_PLAIN = 1.0 + 1e-9
"""By so much sums must be beyond a bound: they are added up in another order than where they are looked at closely."""


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """Meters of racks and of the CDUs that feed them, as columns; −1 where there is no such meter, or its unit is not
    known."""

    flow: Numbers
    """[racks]."""
    power: Numbers
    idle_kw: Floats
    circuit: Numbers
    """[racks]: row of the circuit of each; −1 where it has none."""
    sent: Numbers
    """[CDUs]: the flow of each that tells anything."""
    of_cdu: Numbers
    """[CDUs]: row of its circuit."""
    pumps: Numbers
    """Speeds of pumps; states have words, and are looked at closely."""
    of_pump: Numbers
    whole: Bools
    """[circuits]: False where one of its racks has no meter at all."""

    def racks_have(self, latest: Latest, at_us: int, stale_after_s: float, back_lpm_per_kw: float) -> Bools:
        """[racks]: those that are idle, or have back_lpm_per_kw and more of coolant by usable readings."""
        power_kw, flow_lpm = (_usable(latest, points, at_us, stale_after_s) for points in (self.power, self.flow))
        have: Bools = (power_kw < self.idle_kw) | (flow_lpm >= back_lpm_per_kw * power_kw)
        return have

    def circuits_have(self, latest: Latest, at_us: int, stale_after_s: float, back_lpm_per_kw: float) -> Bools:
        """[circuits]: those whose racks all tell their power, and are idle together, or are sent as much by CDUs that
        all tell their flow and have a pump that turns."""
        count = len(self.whole)
        member = self.circuit >= 0
        row = self.circuit[member]
        power_kw = _usable(latest, self.power[member], at_us, stale_after_s)
        heat_kw = np.bincount(row, power_kw, minlength=count)  # NaN where one is not told
        idle_kw = np.bincount(row, self.idle_kw[member], minlength=count)
        sent_lpm = np.bincount(self.of_cdu, _usable(latest, self.sent, at_us, stale_after_s), minlength=count)
        turns = np.zeros(count, np.bool_)
        turns[self.of_pump[_usable(latest, self.pumps, at_us, stale_after_s) >= 1.0]] = True
        fed = turns & (sent_lpm >= _PLAIN * back_lpm_per_kw * heat_kw)
        have: Bools = self.whole & ((_PLAIN * heat_kw < idle_kw) | fed)
        return have


def number(point: Point | None) -> int:
    """A meter as these columns name it."""
    return point.id if point is not None and point.unit_known else -1


def numbers(points: Iterable[Point | None]) -> Numbers:
    """Meters as these columns name them."""
    return np.array([number(point) for point in points], np.intp)


def _usable(latest: Latest, points: Numbers, at_us: int, stale_after_s: float) -> Floats:
    """The last values; NaN where one is missing, bad or stale, was never heard, or has no meter."""
    known = (points >= 0) & (points < len(latest.value))
    at = np.where(known, points, 0)
    if not len(latest.value):
        return np.full(points.shape, np.nan)
    known &= latest.quality[at] != Quality.BAD
    known &= latest.heard[at] >= at_us - int(stale_after_s * SECOND_US)
    usable: npt.NDArray[np.float64] = np.where(known, latest.value[at], np.nan)
    return usable
