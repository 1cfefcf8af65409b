"""Leaks: coolant that gets out, or water that gets in. Sizes are told at the pressures of a good day.

Lives here: one class a kind. Not here: pools, ropes and levels, which follow from them (plant.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dcim.core.errors import Permanent
from dcim.physics.hydraulics import gas_cushion_kpa_per_l
from dcim.sim.fault import DAY_S, HOUR_S, Fault, Severity, at, grown, only
from dcim.sim.hall import Hall
from dcim.sim.plant import TRAY_WET_L
from dcim.sim.sensors import LEVEL_PCT, PRESSURE_KPA
from dcim.sim.state import Effects

NOWHERE_L = 1e9
"""Before a rope is wet that the leak does not drip near."""


def level_visible_l(hall: Hall) -> float:
    """Litres that move the level by three standard deviations of its sensor."""
    return 3.0 * LEVEL_PCT / 100.0 * hall.settings.reservoir_l


def pressure_visible_l(hall: Hall) -> float:
    """Litres that move the suction pressure likewise; there the loop's warmth moves it more, so it counts for what is
    slow only."""
    gas_l = hall.settings.reservoir_l * (1.0 - hall.settings.reservoir_normal_pct / 100.0)
    return 3.0 * PRESSURE_KPA / gas_cushion_kpa_per_l(gas_l, hall.GAS_ABS_KPA)


@dataclass(frozen=True, slots=True)
class PinholeLeak(Fault):
    """A pinhole in a rack: the inventory falls in a ramp, and in a closed loop the pressure with it; the rope is wet
    after 5 to 60 minutes."""

    kind: ClassVar[str] = "pinhole_leak"
    number: ClassVar[int] = 1
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 0.01, 0.1, "L/min")
    lasts_s: ClassVar[tuple[float, float]] = (1.5 * HOUR_S, 5 * HOUR_S)
    rack: str
    flow_lpm: float
    rope_s: float = 1_200.0
    """How long what leaks takes to pool and reach the rope."""

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  it does not grow
        """Lets coolant out at the rack."""
        return _let_out(hall, effects, self.rack, self.flow_lpm, self.flow_lpm * self.rope_s / 60.0)

    def detectable_after_s(self, hall: Hall) -> float:
        """Rope, level or pressure, whichever is first."""
        visible_l = min(level_visible_l(hall), pressure_visible_l(hall))
        return min(self.rope_s, visible_l / self.flow_lpm * 60.0)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """The rope, somewhere in its range."""
        return {"rope_s": float(math.exp(dice.uniform(math.log(300.0), math.log(3_600.0))))}


@dataclass(frozen=True, slots=True)
class FittingLeak(Fault):
    """A fitting at a rack's supply manifold lets go. Level and suction fall, less comes back from the rack than goes to
    it, and the rope beneath gets wet after 10 to 120 s; the trays stay dry."""

    kind: ClassVar[str] = "fitting_leak"
    number: ClassVar[int] = 2
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 0.5, 5.0, "L/min")
    lasts_s: ClassVar[tuple[float, float]] = (240.0, 900.0)
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

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  it does not grow
        """Lets coolant out at the rack, near enough to its rope."""
        return _let_out(hall, effects, self.rack, self.flow_lpm, self.flow_lpm * self.rope_s / 60.0)

    def detectable_after_s(self, hall: Hall) -> float:
        """Rope or level, whichever is first."""
        return min(self.rope_s, level_visible_l(hall) / self.flow_lpm * 60.0)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """The rope, somewhere in its range."""
        return {"rope_s": float(math.exp(dice.uniform(math.log(10.0), math.log(120.0))))}


@dataclass(frozen=True, slots=True)
class Burst(Fault):
    """A hose comes off. Pressure collapses, more goes out than comes back, rope and floor are wet within seconds, the
    pumps stop at the low level, and the GPUs run away."""

    kind: ClassVar[str] = "burst"
    number: ClassVar[int] = 3
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 20.0, 120.0, "L/min")
    lasts_s: ClassVar[tuple[float, float]] = (300.0, 900.0)
    rack: str
    flow_lpm: float
    rope_s: float = 4.0

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  it does not grow
        """Pours coolant out at the rack."""
        return _let_out(hall, effects, self.rack, self.flow_lpm, self.flow_lpm * self.rope_s / 60.0)

    def detectable_after_s(self, hall: Hall) -> float:
        """The pressure says it within a second or two."""
        return max(1.0, pressure_visible_l(hall) / self.flow_lpm * 60.0)


@dataclass(frozen=True, slots=True)
class TrayDrip(Fault):
    """A cold plate's fitting drips inside a tray: its sensor gets wet, and nothing else says anything."""

    kind: ClassVar[str] = "tray_drip"
    number: ClassVar[int] = 4
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 0.0005, 0.005, "L/min")
    lasts_s: ClassVar[tuple[float, float]] = (1 * HOUR_S, 4 * HOUR_S)
    rack: str
    flow_lpm: float

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  it does not grow
        """Lets drops out in a tray."""
        return replace(effects, drip_lpm=effects.drip_lpm + self.flow_lpm * only(self.rack, hall.racks))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """When the tray's sensor is wet."""
        return TRAY_WET_L / self.flow_lpm * 60.0


@dataclass(frozen=True, slots=True)
class ExchangerLeak(Fault):
    """A plate of the exchanger is holed: water comes in, or coolant goes out, by which side has the higher pressure.
    Level and pressure drift, and where water comes in the conductivity falls."""

    kind: ClassVar[str] = "exchanger_leak"
    number: ClassVar[int] = 5
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 0.002, 0.05, "L/min at 100 kPa")
    lasts_s: ClassVar[tuple[float, float]] = (8 * HOUR_S, 2 * DAY_S)
    cdu: str
    flow_lpm: float
    """At 100 kPa between the two sides; it goes with the root of what is between them."""

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  it does not grow
        """Joins the two circuits."""
        return replace(effects, seep_lpm=effects.seep_lpm + self.flow_lpm * only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:
        """Level or pressure, whichever is first."""
        over_kpa = abs(hall.settings.facility_kpa - (hall.GAS_ABS_KPA - hall.ATMOSPHERE_KPA))
        flow_lpm = self.flow_lpm * math.sqrt(over_kpa / 100.0)
        if flow_lpm <= 0.0:
            return math.inf
        return min(level_visible_l(hall), pressure_visible_l(hall)) / flow_lpm * 60.0


@dataclass(frozen=True, slots=True)
class MakeUpLeak(Fault):
    """A leak that grows where no rope is, behind automatic make-up: the level is a saw-tooth, and fills come closer and
    closer."""

    kind: ClassVar[str] = "make_up_leak"
    number: ClassVar[int] = 6
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("flow_lpm", 0.05, 0.3, "L/min")
    lasts_s: ClassVar[tuple[float, float]] = (1 * DAY_S, 3 * DAY_S)
    rack: str
    flow_lpm: float
    """At first."""
    grows: float = 3.0
    """So many times as large in the end."""
    over_s: float = 2 * DAY_S

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if not 1.0 <= self.grows <= 10.0:
            raise Permanent(f"grows = {self.grows:g}", where=self.rack, todo="Choose 1 to 10.")

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Lets coolant out, away from any rope. Raises Permanent in a hall that does not make up by itself."""
        if hall.settings.fill_below_pct is None:
            raise Permanent(
                "the hall has no automatic make-up", where=self.rack, todo="Set fill_below_pct, or choose pinhole_leak."
            )
        flow_lpm = self.flow_lpm * (1.0 + (self.grows - 1.0) * grown(elapsed_s, self.over_s))
        return _let_out(hall, effects, self.rack, flow_lpm, NOWHERE_L)

    def detectable_after_s(self, hall: Hall) -> float:
        """By the first slope of the level, before the first fill."""
        return min(level_visible_l(hall), pressure_visible_l(hall)) / self.flow_lpm * 60.0

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """It grows until its end."""
        return {"over_s": lasts_s}


def _let_out(hall: Hall, effects: Effects, rack: str, flow_lpm: float, rope_l: float) -> Effects:
    here = only(rack, hall.racks)
    return replace(effects, leak_lpm=effects.leak_lpm + flow_lpm * here, rope_l=at(here, rope_l, effects.rope_l))
