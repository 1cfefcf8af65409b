"""Clues: what one signal says of one loop's losing coolant, before all of them are heard together (leaks.py).

Lives here: the shape of a clue. Not here: where it comes from (falls.py, seepage.py, gush.py), what follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dcim.core.findings import Evidence


class Signal(StrEnum):
    """Kinds of sensors that a loss shows in. Clues of unlike signals are independent: no one sensor makes both."""

    LEVEL = "level"
    PRESSURE = "pressure"
    FLOW = "flow"
    MAKE_UP = "make-up"


@dataclass(frozen=True, slots=True)
class Clue:
    """A sign that a loop loses coolant, sure by itself."""

    signal: Signal
    z: float
    """How sure, as a normal deviate or as a multiple of what makes it sure."""
    evidence: Evidence
    since_us: int
    """Onset as far as this signal shows, microseconds UTC."""
    loss_lpm: float | None = None
    gush: bool = False
    """It pours out: seconds count."""


@dataclass(frozen=True, slots=True)
class Weak:
    """A sign that is not sure by itself, but counts beside others."""

    signal: Signal
    z: float
    evidence: Evidence
    since_us: int
    loss_lpm: float
