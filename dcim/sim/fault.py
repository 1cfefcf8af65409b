"""Faults, and other things that happen to a plant: what they have in common.

Lives here: the base class, the range of a severity, places. Not here: any kind of fault (leaks.py, cooling.py,
power.py, metering.py, routine.py; faults.py has the list), when one happens (timetable.py), what follows (plant.py)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.hall import Bools, Floats, Hall
from dcim.sim.state import Effects

DAY_S = 86_400.0
HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad a fault may be: which of its fields says so, between which bounds, both included. Where the field may be
    negative, its magnitude counts."""

    field: str
    low: float
    high: float
    unit: str

    def draw(self, dice: np.random.Generator) -> float:
        """One of them, log-uniform."""
        return float(math.exp(dice.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True, slots=True)
class Fault(ABC):
    """Something that acts on the plant, or on a meter, while it lasts.

    A kind has a class of its own; its fields are what is to be said of one that happens. Raises Permanent when made
    with a severity that no fault of its kind has.
    """

    kind: ClassVar[str]
    number: ClassVar[int]
    """In the catalogue of the domain notes; 0 for what is not in it."""
    harmful: ClassVar[bool] = True
    """False for what looks like a fault and is none; nothing must cry wolf at it."""
    maintenance: ClassVar[bool] = False
    """Whether somebody is at work there, and a work order says so."""
    place_field: ClassVar[str]
    """Name of the field that says where: rack, cdu, tap, busway, place."""
    severity_of: ClassVar[Severity | None] = None
    """None: it is there or it is not."""
    lasts_s: ClassVar[tuple[float, float]]
    """For how long it usually goes on."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name.endswith("_s") and not 0.0 < getattr(self, field.name) < math.inf:
                raise Permanent(
                    f"{field.name} = {getattr(self, field.name)!r} is no time that passes",
                    where=self.place,
                    todo="Choose more than 0.",
                )
        of = self.severity_of
        if of is None:
            return
        severity = self.severity
        if severity is None or not of.low * (1 - 1e-9) <= severity <= of.high * (1 + 1e-9):
            raise Permanent(
                f"{of.field} = {getattr(self, of.field)!r} is no {self.kind}'s",
                where=self.place,
                todo=f"Choose {of.low:g} to {of.high:g} {of.unit}".rstrip() + ".",
            )

    @property
    def place(self) -> str:
        """Id of the asset that it happens at."""
        return str(getattr(self, self.place_field))

    @property
    def severity(self) -> float | None:
        """In the unit of `severity_of`, above 0; None where there is no more and no less."""
        return None if self.severity_of is None else abs(getattr(self, self.severity_of.field))

    @abstractmethod
    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """What is in force elapsed_s seconds after the onset, with this added to it. Pure. Raises Permanent when the
        hall has no such place."""

    @abstractmethod
    def detectable_after_s(self, hall: Hall) -> float:
        """Seconds from onset until a perfect watcher could know: the first of its signals has moved by three standard
        deviations of its sensor, or a contact has closed. Reckoned, not measured; inf where that needs another event
        (a stuck valve shows when the load moves)."""

    @classmethod
    def places(cls, hall: Hall) -> Sequence[str]:
        """Where in this hall it may happen."""
        return {
            "rack": hall.racks,
            "cdu": hall.cdus,
            "tap": tuple(hall.tap(rack, feed) for rack in range(len(hall.racks)) for feed in range(2)),
            "busway": tuple(hall.busway(feed) for feed in range(2)),
        }[cls.place_field]

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> Self:
        """One of its kind at a place, as bad as chance will have it; what grows is full-grown when lasts_s are over."""
        told: dict[str, Any] = {cls.place_field: place}
        if cls.severity_of is not None:
            told[cls.severity_of.field] = cls.severity_of.draw(dice)
        return cls(**told | cls.details(hall, dice, lasts_s))

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """What else is to be chosen for `draw`, by field."""
        return {}


def only(name: str, names: Sequence[str]) -> Bools:
    """A mask of the one place of this name. Raises Permanent where there is none."""
    if name not in names:
        raise Permanent("the hall has no such place", where=name, todo=f"Choose one of {names[0]} … {names[-1]}.")
    return np.array([other == name for other in names])


def grown(elapsed_s: float, over_s: float) -> float:
    """How far something is that grows evenly for over_s seconds and then stays, 0 to 1."""
    return min(elapsed_s / over_s, 1.0) if over_s > 0 else 1.0


def when_grown_s(visible: float, full: float, over_s: float) -> float:
    """Seconds until something that grows evenly to `full` is as large as `visible`; inf where it never is."""
    return over_s * visible / full if full > visible else math.inf


def at(mask: Bools, value: float | Floats, otherwise: Floats) -> Floats:
    """A copy of `otherwise` with `value` where the mask is."""
    return np.where(mask, value, otherwise)
