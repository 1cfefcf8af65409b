"""Faults of the cooling: pumps, filter, branches, cold plates, valve, exchanger, facility water, air.

Lives here: one class a kind. Not here: leaks (leaks.py), meters (metering.py), what follows (plant.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.fault import DAY_S, HOUR_S, Fault, Severity, at, grown, only, when_grown_s
from dcim.sim.hall import Hall
from dcim.sim.plant import CONDENSE_LPM_K, FLOOR_WET_L, VALVE_STROKE_S
from dcim.sim.sensors import FILTER_KPA, FLOW_SHARE, TEMPERATURE_K
from dcim.sim.state import Effects
from dcim.sim.workload import dice as chance

SUPPLY_K_PER_OPENING = 5.5
"""By how much the supply is colder for the primary valve's way from shut to open, at full load: to size a swing."""
_VISIBLE_K = 3.0 * TEMPERATURE_K


@dataclass(frozen=True, slots=True)
class FilterClogging(Fault):
    """The secondary filter clogs evenly: its restriction grows, and the pump runs faster to hold the pressure."""

    kind: ClassVar[str] = "filter_clogging"
    number: ClassVar[int] = 7
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("factor", 1.5, 4.0, "× clean")
    lasts_s: ClassVar[tuple[float, float]] = (2 * DAY_S, 6 * DAY_S)
    cdu: str
    factor: float
    """Restriction in the end, against that of a clean one."""
    over_s: float = 4 * DAY_S

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Narrows the filter."""
        factor = 1.0 + (self.factor - 1.0) * grown(elapsed_s, self.over_s)
        return replace(effects, filter_factor=effects.filter_factor * np.where(only(self.cdu, hall.cdus), factor, 1.0))

    def detectable_after_s(self, hall: Hall) -> float:
        """By the pressure across the filter."""
        clean_kpa = hall.FILTER_SHARE * hall.CDU_DROP_KPA
        return when_grown_s(3.0 * FILTER_KPA, clean_kpa * (self.factor - 1.0), self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """It grows until its end."""
        return {"over_s": lasts_s}


@dataclass(frozen=True, slots=True)
class PumpTrip(Fault):
    """A pump of a CDU trips. If it was on duty, flow is gone within seconds and back when the standby has run up, some
    8 s later; it stays the standby's duty. Until the end the pump is not available."""

    kind: ClassVar[str] = "pump_trip"
    number: ClassVar[int] = 8
    place_field: ClassVar[str] = "cdu"
    lasts_s: ClassVar[tuple[float, float]] = (300.0, 2 * HOUR_S)
    cdu: str
    pump: int
    """1 or 2."""

    def __post_init__(self) -> None:
        _check_pump(self.pump, self.cdu)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Keeps the pump from running."""
        pumps = np.arange(1, 3) == self.pump
        return replace(effects, tripped=effects.tripped | np.outer(only(self.cdu, hall.cdus), pumps))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """Half the flow is gone within a second."""
        return 1.0

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """Either pump: of the two, nobody knows which is on duty by then."""
        return {"pump": int(dice.integers(1, 3))}


@dataclass(frozen=True, slots=True)
class FlowLost(Fault):
    """Both pumps of a CDU are without power. Flow is gone in a second or two; GPUs warm up by a kelvin and more a
    second, slow down, and in the end switch themselves off."""

    kind: ClassVar[str] = "flow_lost"
    number: ClassVar[int] = 9
    place_field: ClassVar[str] = "cdu"
    lasts_s: ClassVar[tuple[float, float]] = (60.0, 600.0)
    cdu: str

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Keeps both pumps from running."""
        return replace(effects, tripped=effects.tripped | only(self.cdu, hall.cdus)[:, None])

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """Half the flow is gone within a second."""
        return 1.0


@dataclass(frozen=True, slots=True)
class PumpWear(Fault):
    """A pump's wheel wears: it has to run faster for the same flow."""

    kind: ClassVar[str] = "pump_wear"
    number: ClassVar[int] = 10
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.1, 0.2, "of flow per speed")
    lasts_s: ClassVar[tuple[float, float]] = (2 * DAY_S, 6 * DAY_S)
    cdu: str
    share: float
    """Of its flow at a speed, what is lost in the end."""
    over_s: float = 4 * DAY_S
    pump: int | None = None
    """1 or 2; both where it is left out, so that the one on duty is worn whichever it is."""

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.pump is not None:
            _check_pump(self.pump, self.cdu)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Takes head from the pump."""
        pumps = np.isin([1, 2], [1, 2] if self.pump is None else [self.pump])
        worn = np.outer(only(self.cdu, hall.cdus), pumps) * self.share * grown(elapsed_s, self.over_s)
        return replace(effects, pump_wear=np.maximum(effects.pump_wear, worn))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """By flow over speed."""
        return when_grown_s(3.0 * FLOW_SHARE, self.share, self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """It grows until its end."""
        return {"over_s": lasts_s}


@dataclass(frozen=True, slots=True)
class AirInLoop(Fault):
    """The gas cushion has lost of its charge, the suction is low, and the pump draws air: flow and pressure difference
    flutter, and on and off gas clings to the cold plates."""

    kind: ClassVar[str] = "air_in_loop"
    number: ClassVar[int] = 11
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("variance", 3.0, 10.0, "× usual")
    lasts_s: ClassVar[tuple[float, float]] = (1 * HOUR_S, 8 * HOUR_S)
    cdu: str
    variance: float
    """Of the flow as its meter shows it, against the usual."""
    film: float = 0.15
    """By how much the cold plates' resistance rises while gas clings to them."""
    gas_lost: float = 0.15
    """Of the cushion's charge."""

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if not 0.0 <= self.film <= 0.5 or not 0.0 <= self.gas_lost <= 0.3:
            raise Permanent(
                f"film = {self.film:g} and gas_lost = {self.gas_lost:g} are too much",
                where=self.cdu,
                todo="Choose film from 0 to 0.5, and gas_lost from 0 to 0.3.",
            )

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Stirs the head, thins the cushion, and clings for minutes."""
        here = only(self.cdu, hall.cdus)
        dice = chance(hall.settings.serial, f"air {self.cdu}", elapsed_s)
        # Flow goes with about half of what the head does: losses go with its square, and the pump's own slope helps.
        stir = 2.0 * FLOW_SHARE * math.sqrt(self.variance - 1.0) * float(np.clip(dice.standard_normal(), -3.0, 3.0))
        clings = chance(hall.settings.serial, f"film {self.cdu}", elapsed_s // 90.0).random() < 0.5
        return replace(
            effects,
            stir=effects.stir + stir * here,
            gas_share=at(here, 1.0 - self.gas_lost, effects.gas_share),
            film_share=at(here, 1.0 / (1.0 + self.film * clings), effects.film_share),
        )

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The suction pressure falls at once."""
        return 1.0

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """Gas that clings somewhere in its range."""
        return {"film": float(dice.uniform(0.05, 0.3))}


@dataclass(frozen=True, slots=True)
class BranchBlocked(Fault):
    """One of a rack's branches silts up: its GPUs are warmer and the rack has less flow at the same pressure."""

    kind: ClassVar[str] = "branch_blocked"
    number: ClassVar[int] = 12
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("more", 0.3, 2.0, "of a clean branch's restriction")
    lasts_s: ClassVar[tuple[float, float]] = (8 * HOUR_S, 2 * DAY_S)
    rack: str
    more: float
    """Restriction that is added in the end, against that of a clean branch."""
    branch: int = 1
    """From 1."""
    over_s: float = 1 * DAY_S

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Narrows the branch. Raises Permanent where the rack has no such branch."""
        if not 1 <= self.branch <= hall.branches:
            raise Permanent(
                f"there is no branch {self.branch}",
                where=self.rack,
                todo=f"Choose 1 to {hall.branches}.",
            )
        here = np.outer(only(self.rack, hall.racks), np.arange(1, hall.branches + 1) == self.branch)
        factor = 1.0 + self.more * grown(elapsed_s, self.over_s)
        return replace(effects, branch_factor=effects.branch_factor * np.where(here, factor, 1.0))

    def detectable_after_s(self, hall: Hall) -> float:
        """By the rack's flow."""
        lost = hall.BRANCH_SHARE / hall.branches / hall.EXPONENT  # share of flow per share of more
        return when_grown_s(3.0 * FLOW_SHARE, lost * self.more / (1.0 + 0.5 * self.more), self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:
        """Any branch; it grows for two thirds of the time and then stays."""
        return {"branch": int(dice.integers(1, hall.branches + 1)), "over_s": 0.67 * lasts_s}


@dataclass(frozen=True, slots=True)
class InterfaceAgeing(Fault):
    """The thermal interface under one GPU ages: it is warmer than its peers at the same power and flow."""

    kind: ClassVar[str] = "interface_ageing"
    number: ClassVar[int] = 13
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.1, 0.4, "of the GPU's resistance")
    lasts_s: ClassVar[tuple[float, float]] = (3 * DAY_S, 10 * DAY_S)
    rack: str
    share: float
    """Of its resistance to the coolant, what is added in the end."""
    gpu: int = 1
    """Which of the rack's, from 1: host by host, index by index."""
    over_s: float = 7 * DAY_S

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Puts a resistance between die and plate. Raises Permanent where the rack has no such GPU."""
        if not 1 <= self.gpu <= hall.gpus_per_rack:
            raise Permanent(f"there is no GPU {self.gpu}", where=self.rack, todo=f"Choose 1 to {hall.gpus_per_rack}.")
        here = np.outer(only(self.rack, hall.racks), np.arange(1, hall.gpus_per_rack + 1) == self.gpu)
        added_k_w = self.share * (hall.DIE_K_W + hall.PLATE_K_W) * grown(elapsed_s, self.over_s)
        return replace(effects, interface_k_w=effects.interface_k_w + added_k_w * here)

    def detectable_after_s(self, hall: Hall) -> float:
        """By the mean of an hour of whole degrees at half power."""
        full_k = self.share * (hall.DIE_K_W + hall.PLATE_K_W) * 500.0 * hall.settings.gpu_power_kw
        return when_grown_s(0.5, full_k, self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:
        """Any GPU; it grows until its end."""
        return {"gpu": int(dice.integers(1, hall.gpus_per_rack + 1)), "over_s": lasts_s}


@dataclass(frozen=True, slots=True)
class ValveStuck(Fault):
    """The primary valve stays where it is: the supply follows load and facility water, and what the controller asks for
    and what the valve does part company."""

    kind: ClassVar[str] = "valve_stuck"
    number: ClassVar[int] = 14
    place_field: ClassVar[str] = "cdu"
    lasts_s: ClassVar[tuple[float, float]] = (2 * HOUR_S, 1 * DAY_S)
    cdu: str

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Holds the valve."""
        return replace(effects, valve_stuck=effects.valve_stuck | only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """When the load moves next: not before a training job's next checkpoint, ten minutes as a rule."""
        return 600.0


@dataclass(frozen=True, slots=True)
class ValveHunting(Fault):
    """The primary valve's positioner hunts: the supply swings with it."""

    kind: ClassVar[str] = "valve_hunting"
    number: ClassVar[int] = 15
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("swing_k", 0.5, 3.0, "K")
    lasts_s: ClassVar[tuple[float, float]] = (0.5 * HOUR_S, 6 * HOUR_S)
    cdu: str
    swing_k: float
    """Of the supply temperature at full load, from its lowest to its highest, about."""
    period_s: float = 120.0

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        least_s = self._least_s(self.swing_k)
        if not least_s <= self.period_s <= 180.0:
            raise Permanent(
                f"the valve cannot swing by {self.swing_k:g} K every {self.period_s:g} s",
                where=self.cdu,
                todo=f"Choose a period of {math.ceil(least_s)} to 180 s.",
            )

    @staticmethod
    def _least_s(swing_k: float) -> float:
        """The valve has its stroke: a wider swing takes longer."""
        return max(30.0, math.pi * swing_k / SUPPLY_K_PER_OPENING * VALVE_STROKE_S)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Swings the valve about where its controller wants it."""
        swing = 0.5 * self.swing_k / SUPPLY_K_PER_OPENING * math.sin(2.0 * math.pi * elapsed_s / self.period_s)
        return replace(effects, valve_swing=effects.valve_swing + swing * only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the first half of a swing."""
        return 0.5 * self.period_s

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> ValveHunting:  # noqa: ARG003
        """A swing, and a period that it can keep."""
        swing_k = Severity("swing_k", 0.5, 3.0, "K").draw(dice)
        return cls(place, swing_k, float(dice.uniform(cls._least_s(swing_k), 180.0)))


@dataclass(frozen=True, slots=True)
class ExchangerFouling(Fault):
    """The exchanger's plates foul: its conductance falls, the valve creeps open, the approach rises."""

    kind: ClassVar[str] = "exchanger_fouling"
    number: ClassVar[int] = 16
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.05, 0.3, "of UA")
    lasts_s: ClassVar[tuple[float, float]] = (4 * DAY_S, 12 * DAY_S)
    cdu: str
    share: float
    """Of its conductance, what is lost in the end."""
    over_s: float = 10 * DAY_S

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Takes conductance from the exchanger."""
        lost = self.share * grown(elapsed_s, self.over_s)
        return replace(effects, fouled_share=np.maximum(effects.fouled_share, lost * only(self.cdu, hall.cdus)))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """By UA from four temperatures and a flow, some 4 % of it."""
        return when_grown_s(0.04, self.share, self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """It grows until its end."""
        return {"over_s": lasts_s}


@dataclass(frozen=True, slots=True)
class FacilityWater(Fault):
    """A CDU's facility water comes too warm, or does not come at all: the supply follows within minutes."""

    kind: ClassVar[str] = "facility_water"
    number: ClassVar[int] = 17
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("warmer_k", 5.0, 15.0, "K")
    lasts_s: ClassVar[tuple[float, float]] = (0.25 * HOUR_S, 2 * HOUR_S)
    cdu: str
    warmer_k: float
    lost: bool = False
    """Whether it stops coming too."""
    over_s: float = 120.0

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Warms the water, and stops it."""
        here, far = only(self.cdu, hall.cdus), grown(elapsed_s, self.over_s)
        return replace(
            effects,
            facility_warmer_k=effects.facility_warmer_k + self.warmer_k * far * here,
            facility_share=at(here & self.lost, 1.0 - far, effects.facility_share),
        )

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """By its own temperature."""
        return when_grown_s(_VISIBLE_K, self.warmer_k, self.over_s)

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """One in four does not come at all."""
        return {"lost": bool(dice.random() < 0.25)}


@dataclass(frozen=True, slots=True)
class Condensation(Fault):
    """Warm and damp air comes in: the margin between the coldest pipes and the dew point goes, and where it is below
    nothing, water runs off the facility pipes and wets the ropes on the floor; no loop loses anything."""

    kind: ClassVar[str] = "condensation"
    number: ClassVar[int] = 18
    place_field: ClassVar[str] = "room"
    severity_of: ClassVar[Severity | None] = Severity("higher_k", 14.0, 20.0, "K")
    lasts_s: ClassVar[tuple[float, float]] = (1.5 * HOUR_S, 6 * HOUR_S)
    room: str
    higher_k: float
    """Rise of the dew point; 16 K bring it to the facility water."""
    over_s: float = 1_800.0

    @classmethod
    def places(cls, hall: Hall) -> Sequence[str]:
        """The room, by its sensors."""
        return (f"{hall.settings.prefix}-ENV",)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Lets it in. What is damp is warm: air holds no more than it can."""
        only(self.place, self.places(hall))
        higher_k = self.higher_k * grown(elapsed_s, self.over_s)
        return replace(
            effects,
            dew_higher_k=effects.dew_higher_k + higher_k,
            room_warmer_k=effects.room_warmer_k + 0.5 * higher_k,
        )

    def detectable_after_s(self, hall: Hall) -> float:
        """When the margin is below 2 K, or the floor is wet where that is sooner."""
        margin_k = hall.settings.facility_c - 11.0
        thin_s = when_grown_s(margin_k - 2.0, self.higher_k, self.over_s)
        wet_s = self.over_s + FLOOR_WET_L / (CONDENSE_LPM_K * max(self.higher_k - margin_k, 1e-3)) * 60.0
        return min(thin_s, wet_s)


def _check_pump(pump: int, cdu: str) -> None:
    if pump not in (1, 2):
        raise Permanent(f"there is no pump {pump}", where=cdu, todo="Choose 1 or 2.")
