"""Faults, and other things that people do to a plant: each acts on its state, never on what a sensor shows.

Lives here: the kinds, how bad each may be, and what it does to the plant while it lasts. Not here: when it happens
(timetable.py), what follows from it (plant.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.hall import Hall
from dcim.sim.plant import Effects
from dcim.sim.sensors import LEVEL_PCT


class Fault(Protocol):
    """Something that acts on the plant while it lasts."""

    kind: ClassVar[str]
    harmful: ClassVar[bool]
    """False for what looks like a fault and is none; nothing must cry wolf at it."""

    @property
    def place(self) -> str:
        """Id of the asset that it happens at."""
        ...

    def act(self, hall: Hall, effects: Effects) -> Effects:
        """What is in force, with this added to it. Raises Permanent when the hall has no such place."""
        ...

    def detectable_after_s(self, hall: Hall) -> float:
        """Seconds from onset until a perfect watcher could know: the first of its signals has moved by three standard
        deviations of its sensor, or a contact has closed."""
        ...


@dataclass(frozen=True, slots=True)
class FittingLeak:
    """A fitting at a rack's supply manifold lets go: 0.5 to 5 L/min. Level and suction fall, less comes back from the
    rack than goes to it, and the rope beneath gets wet after 10 to 120 s; the trays stay dry."""

    kind: ClassVar[str] = "fitting_leak"
    harmful: ClassVar[bool] = True
    rack: str
    flow_lpm: float
    """At the pressure of a good day; it gives less as the pressure falls."""
    rope_s: float
    """How long what leaks takes to pool and reach the rope, at that flow."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.flow_lpm <= 5.0 or not 10.0 <= self.rope_s <= 120.0:
            raise Permanent(
                f"a leak of {self.flow_lpm:g} L/min that wets the rope after {self.rope_s:g} s is no fitting's",
                where=self.rack,
                todo="Choose 0.5 to 5 L/min and 10 to 120 s.",
            )

    @property
    def place(self) -> str:
        """The rack."""
        return self.rack

    def act(self, hall: Hall, effects: Effects) -> Effects:
        """Lets coolant out at the rack, near enough to its rope."""
        here = _only(self.rack, hall.racks)
        return replace(
            effects,
            leak_lpm=effects.leak_lpm + self.flow_lpm * here,
            rope_l=np.where(here, self.flow_lpm * self.rope_s / 60.0, effects.rope_l),
        )

    def detectable_after_s(self, hall: Hall) -> float:
        """Rope or level, whichever is first."""
        visible_l = 3.0 * LEVEL_PCT / 100.0 * hall.settings.reservoir_l
        return min(self.rope_s, visible_l / self.flow_lpm * 60.0)


@dataclass(frozen=True, slots=True)
class PumpTrip:
    """A pump of a CDU trips. If it was on duty, flow is gone within seconds and back when the standby has run up, some
    8 s later; it stays the standby's duty. Until the end the pump is not available."""

    kind: ClassVar[str] = "pump_trip"
    harmful: ClassVar[bool] = True
    cdu: str
    pump: int
    """1 or 2."""

    def __post_init__(self) -> None:
        if self.pump not in (1, 2):
            raise Permanent(f"there is no pump {self.pump}", where=self.cdu, todo="Choose 1 or 2.")

    @property
    def place(self) -> str:
        """The CDU."""
        return self.cdu

    def act(self, hall: Hall, effects: Effects) -> Effects:
        """Keeps the pump from running."""
        pumps = np.arange(1, 3) == self.pump
        return replace(effects, tripped=effects.tripped | np.outer(_only(self.cdu, hall.cdus), pumps))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """Half the flow is gone within a second."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Filling:
    """Somebody fills a reservoir up to its normal level. No fault: a rise by hand after service, told by the pump."""

    kind: ClassVar[str] = "filling"
    harmful: ClassVar[bool] = False
    cdu: str

    @property
    def place(self) -> str:
        """The CDU."""
        return self.cdu

    def act(self, hall: Hall, effects: Effects) -> Effects:
        """Starts the fill pump; it ends by itself at the normal level."""
        return replace(effects, fill=effects.fill | _only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The fill pump says so at once."""
        return 0.0


def _only(name: str, names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A mask of the one place of this name."""
    if name not in names:
        raise Permanent("the hall has no such place", where=name, todo=f"Choose one of {names[0]} … {names[-1]}.")
    return np.array([other == name for other in names])
