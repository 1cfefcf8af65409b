"""Provenance: a number of an answer never comes without how it was come by.

Lives here: one figure, and the sum of several. Not here: any figure in particular."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class FigureKind(StrEnum):
    """How a figure was come by."""

    MEASURED = "measured"
    """From meters on the boundary itself."""
    ESTIMATED = "estimated"
    """From its parts, or by a model; `why` says which."""
    MISSING = "missing"
    """Nobody can tell; `why` says what it takes."""


class Period(NamedTuple):
    """[start, end), UTC; the two are one for an instant."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its provenance. Raises ValueError when the value and the kind do not go together, or a value is
    not finite: a number made of nothing is a fault of the program."""

    value: float | None
    unit: str
    kind: FigureKind
    coverage_pct: float
    """How much of what it stands for was measured, of time or of parts, 0 to 100."""
    period: Period
    boundary: str
    """What it covers, and at which meters: "rack r1, at its two tap-offs"."""
    why: str = ""
    """How it was estimated, or why it is missing."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.kind is FigureKind.MISSING):
            raise ValueError(f"{self.boundary}: {self.value} cannot be {self.kind}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.boundary}: {self.value} is no figure")
        if not 0.0 <= self.coverage_pct <= 100.0:
            raise ValueError(f"{self.boundary}: a coverage of {self.coverage_pct} % is none")


def missing(unit: str, period: Period, boundary: str, why: str) -> Figure:
    """A figure that nobody can tell."""
    return Figure(None, unit, FigureKind.MISSING, 0.0, period, boundary, why)


def total(parts: Sequence[Figure], boundary: str) -> Figure:
    """The sum of figures of one unit and one period. With parts missing it is the sum of the others, called estimated,
    with the coverage that is left; missing when all are. Raises ValueError for no parts, or units or periods that
    differ.

    Coverage is the mean of the parts', a missing one counting as 0.
    """
    units, periods = {part.unit for part in parts}, {part.period for part in parts}
    if len(units) != 1 or len(periods) != 1:
        told = f"{len(parts)} figures of {len(units)} units and {len(periods)} periods"
        raise ValueError(f"{boundary}: cannot add up {told}")
    unit, period = units.pop(), periods.pop()
    present = [part for part in parts if part.value is not None]
    absent = len(parts) - len(present)
    if not present:
        return missing(unit, period, boundary, f"none of its {len(parts)} parts can be told: {parts[0].why}")
    value = math.fsum(part.value for part in present if part.value is not None)
    coverage = math.fsum(part.coverage_pct for part in present) / len(parts)
    why = f"sum of {len(present)} of {len(parts)} parts"
    if absent:
        why += f"; {absent} missing, so the true sum is larger wherever they draw anything"
    return Figure(value, unit, FigureKind.ESTIMATED, coverage, period, boundary, why)
