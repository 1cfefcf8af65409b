"""What happens on an ordinary day and looks like a fault: work, load and control. Nothing must cry wolf at it.

Lives here: one class a kind. Not here: what the jobs of the hall do by themselves (workload.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.fault import HOUR_S, Fault, Severity, at, only
from dcim.sim.hall import Hall
from dcim.sim.state import Effects

SWAP_S = 120.0
"""How long it takes to pull a device and to push the new one in."""


@dataclass(frozen=True, slots=True)
class PowerCap(Fault):
    """The power limit of a rack's GPUs is lowered: clocks and heat fall, and the GPUs say why."""

    kind: ClassVar[str] = "power_cap"
    number: ClassVar[int] = 24
    harmful: ClassVar[bool] = False
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("share", 0.15, 0.6, "of the limit")
    lasts_s: ClassVar[tuple[float, float]] = (0.25 * HOUR_S, 6 * HOUR_S)
    rack: str
    share: float
    """By which the limit is lowered."""

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Lowers the limit."""
        capped_kw = hall.settings.gpu_power_kw * (1.0 - self.share)
        here = only(self.rack, hall.racks)
        return replace(
            effects, gpu_limit_kw=np.minimum(effects.gpu_limit_kw, at(here, capped_kw, effects.gpu_limit_kw))
        )

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The limit itself is told at once."""
        return 1.0


@dataclass(frozen=True, slots=True)
class LoadStep(Fault):
    """A training job on all racks of a CDU halts or starts, all at once: power steps within a second, temperatures
    follow within a minute, and the compensated inventory is flat."""

    kind: ClassVar[str] = "load_step"
    number: ClassVar[int] = 25
    harmful: ClassVar[bool] = False
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("change", 0.2, 0.8, "of the GPUs' power")
    lasts_s: ClassVar[tuple[float, float]] = (120.0, 4 * HOUR_S)
    cdu: str
    change: float
    """Of the GPUs' power, up or down. Upwards no further than their limit."""

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Steps the work."""
        here = only(self.cdu, hall.cdus)[hall.cdu_of_rack]
        return replace(effects, work_share=effects.work_share * np.where(here, 1.0 + self.change, 1.0))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """With the next reading."""
        return 1.0

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> LoadStep:  # noqa: ARG003
        """Down two times in three: most racks are busy."""
        change = Severity("change", 0.2, 0.8, "").draw(dice)
        return cls(place, -change if dice.random() < 2 / 3 else change)


@dataclass(frozen=True, slots=True)
class Filling(Fault):
    """Somebody fills a reservoir up to its normal level: a rise by hand after service, told by the fill pump."""

    kind: ClassVar[str] = "filling"
    number: ClassVar[int] = 27
    harmful: ClassVar[bool] = False
    maintenance: ClassVar[bool] = True
    place_field: ClassVar[str] = "cdu"
    lasts_s: ClassVar[tuple[float, float]] = (300.0, 900.0)
    cdu: str

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Starts the fill pump; it ends by itself at the normal level."""
        return replace(effects, fill=effects.fill | only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The fill pump says so at once."""
        return 0.0


@dataclass(frozen=True, slots=True)
class QuickConnectSwap(Fault):
    """Somebody swaps a device at its quick-connects: the old one goes away full, the new one comes dry, and its air
    finds its way to the reservoir over an hour or so: the level falls, slower and slower, and stays."""

    kind: ClassVar[str] = "quick_connect_swap"
    number: ClassVar[int] = 27
    harmful: ClassVar[bool] = False
    maintenance: ClassVar[bool] = True
    place_field: ClassVar[str] = "rack"
    severity_of: ClassVar[Severity | None] = Severity("device_l", 0.2, 2.0, "L")
    lasts_s: ClassVar[tuple[float, float]] = (4 * HOUR_S, 8 * HOUR_S)
    rack: str
    device_l: float
    """What the device holds."""
    purge_s: float = 2_400.0
    """Time constant with which the air finds its way."""

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:
        """Takes the device's liquid away, and brings air, which goes. Once it is over, all air is thought to have
        gone: let it last."""
        here = np.arange(len(hall.cdus)) == hall.cdu_of_rack[int(np.flatnonzero(only(self.rack, hall.racks))[0])]
        pulling = elapsed_s < SWAP_S
        out_l = self.device_l * min(elapsed_s / SWAP_S, 1.0)
        trapped_l = out_l * math.exp(-max(elapsed_s - SWAP_S, 0.0) / self.purge_s)
        return replace(
            effects,
            drain_lpm=effects.drain_lpm + pulling * self.device_l / SWAP_S * 60.0 * here,
            trapped_l=effects.trapped_l + trapped_l * here,
        )

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """Air that has gone when it is over."""
        return {"purge_s": min(2_400.0, lasts_s / 6.0)}

    def detectable_after_s(self, hall: Hall) -> float:
        """When the level has moved by three standard deviations, which a small device never does."""
        visible = 0.015 * hall.settings.reservoir_l / self.device_l
        return SWAP_S - self.purge_s * math.log(1.0 - visible) if visible < 1.0 else math.inf


@dataclass(frozen=True, slots=True)
class PumpChangeover(Fault):
    """The standby takes over from the pump on duty, as it does every few weeks: both run for some seconds, the flow
    stays."""

    kind: ClassVar[str] = "pump_changeover"
    number: ClassVar[int] = 0
    harmful: ClassVar[bool] = False
    place_field: ClassVar[str] = "cdu"
    lasts_s: ClassVar[tuple[float, float]] = (60.0, 300.0)
    cdu: str
    to_pump: int
    """1 or 2; nothing happens where it is on duty already."""

    def __post_init__(self) -> None:
        if self.to_pump not in (1, 2):
            raise Permanent(f"there is no pump {self.to_pump}", where=self.cdu, todo="Choose 1 or 2.")

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Asks for the other pump."""
        return replace(effects, hand_over=np.where(only(self.cdu, hall.cdus), self.to_pump - 1, effects.hand_over))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The pumps' speeds say so at once."""
        return 1.0

    @classmethod
    def details(cls, hall: Hall, dice: np.random.Generator, lasts_s: float) -> dict[str, Any]:  # noqa: ARG003
        """Either pump: of the two, nobody knows which is on duty by then."""
        return {"to_pump": int(dice.integers(1, 3))}


@dataclass(frozen=True, slots=True)
class SetpointChange(Fault):
    """Somebody asks for another supply temperature: the loop follows within minutes, and warms and cools the level with
    it."""

    kind: ClassVar[str] = "setpoint_change"
    number: ClassVar[int] = 0
    harmful: ClassVar[bool] = False
    place_field: ClassVar[str] = "cdu"
    severity_of: ClassVar[Severity | None] = Severity("change_k", 0.5, 3.0, "K")
    lasts_s: ClassVar[tuple[float, float]] = (1 * HOUR_S, 12 * HOUR_S)
    cdu: str
    change_k: float

    def act(self, hall: Hall, effects: Effects, elapsed_s: float) -> Effects:  # noqa: ARG002  at once
        """Moves the set-point."""
        return replace(effects, setpoint_k=effects.setpoint_k + self.change_k * only(self.cdu, hall.cdus))

    def detectable_after_s(self, hall: Hall) -> float:  # noqa: ARG002  the same in every hall
        """The set-point is told at once."""
        return 1.0

    @classmethod
    def draw(cls, hall: Hall, dice: np.random.Generator, place: str, lasts_s: float) -> SetpointChange:  # noqa: ARG003
        """Up or down."""
        change_k = Severity("change_k", 0.5, 3.0, "K").draw(dice)
        return cls(place, change_k * (1.0 if dice.random() < 0.5 else -1.0))
