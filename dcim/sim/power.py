"""Faults of the power feeds. Every supply in a rack hangs on both feeds, so what one loses the other one carries.

Lives here: one class a kind. Not here: who carries what, and breakers (plant.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.fault import HOUR_S, Fault, Severity, only
from dcim.sim.hall import Bools, Hall
from dcim.sim.state import Effects

PHASES = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class PhaseLost(Fault):
    """A tap loses a phase, or carries too much on one: the currents of its phases part."""

    kind: ClassVar[str] = "phase_lost"
    number: ClassVar[int] = 22
    place_field: ClassVar[str] = "tap"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.2, 1.0, "of the phase")
    lasts_s: ClassVar[tuple[float, float]] = (0.5 * HOUR_S, 6 * HOUR_S)
    tap: str
    share: float
    """1: the phase is gone, and the other feed has its load. Less: it carries so much more than its share."""
    phase: str = "A"

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.phase not in PHASES:
            raise Permanent(f"there is no phase {self.phase}", where=self.tap, todo="Choose A, B or C.")

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Cuts the phase, or loads it."""
        here = np.multiply.outer(np.array(PHASES) == self.phase, _taps(self.tap, hall))
        if self.share >= 1.0:
            return replace(effects, live=effects.live & ~here)
        return replace(effects, tilt=effects.tilt + self.share * here)

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the next reading."""
        return 1.0

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> PhaseLost:  # noqa: ARG003
        """A phase that is gone as often as one that carries too much."""
        heavy = Severity("share", 0.2, 0.6, "").draw(dice)
        return cls(place, 1.0 if dice.random() < 0.5 else heavy, PHASES[int(dice.integers(3))])


@dataclass(frozen=True, slots=True)
class FeedLost(Fault):
    """A feed of the hall is gone: nothing on it, and twice as much on the other within a second."""

    kind: ClassVar[str] = "feed_lost"
    number: ClassVar[int] = 23
    place_field: ClassVar[str] = "busway"
    lasts_s: ClassVar[tuple[float, float]] = (300.0, 2 * HOUR_S)
    busway: str

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Cuts the feed, at every rack."""
        gone = only(self.busway, self.places(hall))
        return replace(effects, live=effects.live & ~gone)

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the next reading."""
        return 1.0

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """There is no more to say."""
        return {}


def _taps(tap: str, hall: Hall) -> Bools:
    """By rack and feed: the one tap of this name."""
    return only(tap, PhaseLost.places(hall)).reshape(-1, 2)
