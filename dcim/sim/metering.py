"""Faults of what measures and tells: the plant is well, and what is shown of it is not.

Lives here: one class a kind. Not here: what sensors do by themselves, day by day (sensors.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.fault import DAY_S, HOUR_S, Fault, Severity, only
from dcim.sim.hall import Hall
from dcim.sim.state import Distortion, Effects
from dcim.sim.workload import dice as chance

SIDES = ("supply", "return")
ROPE_BLIP_S, ROPE_EVERY_S = 20.0, 150.0
"""A dirty rope says wet for so long, once in such a time, somewhere in it."""


@dataclass(frozen=True, slots=True)
class TemperatureBias(Fault):
    """A temperature sensor of a rack's or a CDU's coolant is off. A CDU's supply sensor is what its controller goes by,
    so there the supply is what is off, and the sensor shows the set-point."""

    kind: ClassVar[str] = "temperature_bias"
    number: ClassVar[int] = 19
    place_field: ClassVar[str] = "asset"
    severity_of: ClassVar[Severity | None] = Severity("bias_k", 0.3, 2.0, "K")
    lasts_s: ClassVar[tuple[float, float]] = (2 * HOUR_S, 1 * DAY_S)
    asset: str
    """A rack or a CDU."""
    bias_k: float
    side: str = "return"

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.side not in SIDES:
            raise Permanent(f"there is no side {self.side}", where=self.place, todo="Choose supply or return.")

    @classmethod
    def places(cls, hall: Hall) -> Sequence[str]:
        """Racks and CDUs."""
        return (*hall.racks, *hall.cdus)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Shifts what the sensor shows, to us and to the controller."""
        only(self.place, self.places(hall))
        side = self.side.capitalize()
        if self.place in hall.racks:
            wrong = Distortion(f"RackLiquid{side}Temperature", self.place, offset=self.bias_k)
            return replace(effects, distortions=(*effects.distortions, wrong))
        wrong = Distortion("LiquidTemperature", self.place, ("Secondary", side), offset=self.bias_k)
        here = only(self.place, hall.cdus) & (self.side == "supply")
        return replace(
            effects,
            distortions=(*effects.distortions, wrong),
            supply_bias_k=effects.supply_bias_k + self.bias_k * here,
        )

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the next reading: 0.3 K are six standard deviations, to somebody who knows what it should be."""
        return 1.0

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> TemperatureBias:  # noqa: ARG003
        """Up or down, either side."""
        bias_k = Severity("bias_k", 0.3, 2.0, "K").draw(dice)
        return cls(place, bias_k * (1.0 if dice.random() < 0.5 else -1.0), SIDES[int(dice.integers(2))])


@dataclass(frozen=True, slots=True)
class FlowMeter(Fault):
    """A flow meter of a rack, or of a CDU's secondary side, reads too much, too little, or the same for ever."""

    kind: ClassVar[str] = "flow_meter"
    number: ClassVar[int] = 20
    place_field: ClassVar[str] = "asset"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.02, 0.1, "of the flow")
    lasts_s: ClassVar[tuple[float, float]] = (2 * HOUR_S, 1 * DAY_S)
    asset: str
    """A rack or a CDU."""
    share: float
    frozen: bool = False
    """Whether it shows its last value instead."""

    @classmethod
    def places(cls, hall: Hall) -> Sequence[str]:
        """Racks and CDUs."""
        return (*hall.racks, *hall.cdus)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Falsifies the meter."""
        only(self.place, self.places(hall))
        point_type, area = ("RackLiquidFlow", None) if self.place in hall.racks else ("LiquidFlow", ("Secondary",))
        share = 0.0 if self.frozen else self.share
        wrong = Distortion(point_type, self.place, area, share=share, frozen=self.frozen)
        return replace(effects, distortions=(*effects.distortions, wrong))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the next reading; a frozen one when three have been the same."""
        return 3.0 if self.frozen else 1.0

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> FlowMeter:  # noqa: ARG003
        """Up, down, or one in three frozen."""
        share = Severity("share", 0.02, 0.1, "").draw(dice)
        return cls(place, share * (1.0 if dice.random() < 0.5 else -1.0), frozen=bool(dice.random() < 1 / 3))


@dataclass(frozen=True, slots=True)
class RopeFault(Fault):
    """A rack's leak rope is dirty and says wet for seconds now and then, or it is cut and says so. No loop loses
    anything."""

    kind: ClassVar[str] = "rope_fault"
    number: ClassVar[int] = 21
    place_field: ClassVar[str] = "rack"
    lasts_s: ClassVar[tuple[float, float]] = (1 * HOUR_S, 8 * HOUR_S)
    rack: str
    cut: bool = False

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Falsifies the contact."""
        only(self.rack, hall.racks)
        if self.cut:
            wrong: tuple[Distortion, ...] = (
                Distortion("RackLeakSensorFault", self.rack, shows=1.0),
                Distortion("RackLeakDetect", self.rack, shows=0.0),
            )
        else:
            number, into_s = divmod(elapsed_s, ROPE_EVERY_S)
            dice = chance(hall.settings.serial, f"rope {self.rack}", number)
            begins_s = dice.uniform(0.0, ROPE_EVERY_S - ROPE_BLIP_S)
            wet = begins_s <= into_s < begins_s + ROPE_BLIP_S
            wrong = (Distortion("RackLeakDetect", self.rack, shows=1.0),) if wet else ()
        return replace(effects, distortions=(*effects.distortions, *wrong))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """A cut one at once, a dirty one with its first blip."""
        return 1.0 if self.cut else ROPE_EVERY_S

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """Dirty as often as cut."""
        return {"cut": bool(dice.random() < 0.5)}


@dataclass(frozen=True, slots=True)
class BmsOffline(Fault):
    """The building management system says nothing: no values, no heartbeat. Racks' managers and GPUs go on."""

    kind: ClassVar[str] = "bms_offline"
    number: ClassVar[int] = 26
    place_field: ClassVar[str] = "system"
    lasts_s: ClassVar[tuple[float, float]] = (120.0, 1 * HOUR_S)
    system: str = "BMS"

    @classmethod
    def places(cls, hall: Hall) -> Sequence[str]:  # noqa: ARG003  the same in every hall
        """There is one."""
        return ("BMS",)

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Silences the bus."""
        only(self.place, self.places(hall))
        return replace(effects, offline=True)

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """When the third heartbeat has not come."""
        return 30.0
