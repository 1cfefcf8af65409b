"""The moment: what can be believed of the last values when something is judged on arrival.

Lives here: freshness and trust of single values. Not here: windows (window.py), what is concluded from a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dcim.core.live import Latest
from dcim.core.points import Point
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US, from_us, to_us

STALE_AFTER_S = 250.0
"""Two and a half of the bus's republishes of 100 s: what has not been heard for longer is not known any more."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The last values at one instant."""

    latest: Latest
    at: datetime
    stale_after_s: float = STALE_AFTER_S
    _at_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_at_us", to_us(self.at))

    def value(self, point: Point | None) -> float | None:
        """The last value; None where there is no point, it is missing, bad, stale or in a unit that nobody knows."""
        if point is None or not point.unit_known:
            return None
        age_s = self.age_s(point)
        return None if age_s is None or age_s > self.stale_after_s else self.latest.value_of(point.id)

    def age_s(self, point: Point) -> float | None:
        """Seconds since the point was heard, by our clock, at least 0; None if it never was."""
        heard = self.latest.heard_of(point.id)
        return None if heard is None else max(0.0, (self._at_us - heard) / SECOND_US)

    def doubtful(self, point: Point) -> bool:
        """Whether the last value is kept as uncertain or bad, there is none, or no detector believes the point."""
        return bool(self.doubt(point))

    def doubt(self, point: Point) -> str:
        """Why the last value is doubtful, in words; nothing where it is not."""
        if point.id >= len(self.latest.quality) or self.latest.quality[point.id] != Quality.GOOD:
            return "marked as uncertain"
        return "found off, frozen or implausible of late" if point.id in self.latest.distrusted else ""

    def since(self, point: Point) -> datetime:
        """The time of the last reading by the sender's clock, at the latest now."""
        time = self.latest.time_of(point.id)
        return self.at if time is None else min(self.at, from_us(time))


def combine(confidence: float, factors: list[float]) -> float:
    """A confidence after independent signals have spoken, each by a factor on the odds (Bayes): above 1 for, below 1
    against. Kept within 0.01 and 0.99, for no rule of thumb is surer than that.

    >>> round(combine(0.8, [10.0]), 3), round(combine(0.8, [0.125]), 3)
    (0.976, 0.333)
    """
    odds = confidence / (1.0 - confidence)
    for factor in factors:
        odds *= factor
    return min(0.99, max(0.01, odds / (1.0 + odds)))
