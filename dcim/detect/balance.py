"""Balance: what the meters of each rack say of one another, over a window: heat against power, pressure against flow.

Lives here: the racks as columns, and what is measured of them. Not here: what is usual (norms.py), what follows
(thermal.py for the plant, sensors.py for the meters)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dcim.core.assets import Asset, AssetKey
from dcim.core.findings import Subject
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.topology import Medium
from dcim.detect.circuits import circuits
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers, Wide, by_group, median, over, steady
from dcim.physics.fluids import PG25, Fluid
from dcim.physics.hydraulics import heat_carried_kw, restriction

QUANTITIES = frozenset(
    {
        "RackPower",
        "RackLiquidFlow",
        "RackLiquidSupplyTemperature",
        "RackLiquidReturnTemperature",
        "RackLiquidDifferentialPressure",
        "RackControlValvePosition",
    }
)
FEEDS = frozenset({"ActivePower"})
"""What tells a rack's power a second time."""


@dataclass(frozen=True, slots=True)
class BalanceSettings:
    """When a rack's meters can be held against one another."""

    fluid: Fluid = PG25
    rise_k_min: float = 5.0
    """Below this the heat residual is worse than 6 %, by the error of two thermometers."""
    steady_bins: int = 6
    """For so long before a bin its load must have been steady: the coolant and the cold plates follow within a
    minute."""
    steady_share: float = 0.10
    lag_s: float = 20.0
    """By which a rack's return is behind its supply: 3 s on the way through it, 17 s of its cold plates. While the
    supply moves they take up heat, or give it off: of the rise, lag_s times the supply's pace."""
    stored_share: float = 0.01
    """Of the rise: so much of it may be such heat, well under the 2.4 % that the balance is good to. Five minutes in
    which a set-point moved the supply by 3 K were off by 4 % at a rise of 5 K."""
    bins_min: int = 12
    """A balance over fewer bins is not one."""
    idle_kw: float = 5.0
    drop_kpa_min: float = 5.0
    """Below this a pressure difference of 0.5 kPa noise says nothing of the restriction."""


@dataclass(frozen=True, slots=True, eq=False)
class Racks:
    """The racks of a plant with a meter of power or coolant, as columns; −1 where there is no such meter."""

    assets: tuple[Asset, ...]
    power: Numbers
    flow: Numbers
    supply: Numbers
    back: Numbers
    drop: Numbers
    valve: Numbers
    circuit: Numbers
    """Racks with the same number share their coolant; −1 where no CDU is known."""
    taps: Numbers
    """[racks, feeds]: active power of the meters that feed it."""
    keys: tuple[AssetKey, ...] = field(init=False)
    """Their assets."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(asset.key for asset in self.assets))

    @classmethod
    def of(cls, plant: Plant) -> Racks:
        """Everything that publishes one of QUANTITIES."""
        assets = [
            plant.assets[key]
            for key in sorted({AssetKey(point.site, point.asset) for point in plant.of(*sorted(QUANTITIES))})
        ]
        of_asset = circuits(plant)
        circuit_number: dict[int, int] = {}
        for circuit in of_asset.values():
            circuit_number.setdefault(id(circuit), len(circuit_number))
        feeds = [[_id(plant, feeder, "ActivePower") for feeder in _feeders(plant, asset)] for asset in assets]
        width = max(map(len, feeds), default=0)

        def column(quantity: str) -> Numbers:
            return np.array([_id(plant, asset.key, quantity) for asset in assets], np.intp)

        return cls(
            tuple(assets),
            column("RackPower"),
            column("RackLiquidFlow"),
            column("RackLiquidSupplyTemperature"),
            column("RackLiquidReturnTemperature"),
            column("RackLiquidDifferentialPressure"),
            column("RackControlValvePosition"),
            np.array(
                [circuit_number[id(found)] if (found := of_asset.get(asset.key)) else -1 for asset in assets], np.intp
            ),
            np.array([row + [-1] * (width - len(row)) for row in feeds], np.intp).reshape(len(assets), width),
        )

    def along_with(self, others: Sequence[AssetKey], plant: Plant) -> Racks:
        """These racks, and after them others that have no meters of their own."""
        none = np.full(len(others), -1, np.intp)
        return Racks(
            (*self.assets, *(plant.assets[key] for key in others)),
            power=np.append(self.power, none),
            flow=np.append(self.flow, none),
            supply=np.append(self.supply, none),
            back=np.append(self.back, none),
            drop=np.append(self.drop, none),
            valve=np.append(self.valve, none),
            circuit=np.append(self.circuit, none),
            taps=np.append(self.taps, np.full((len(others), self.taps.shape[1]), -1, np.intp), axis=0),
        )

    def subjects(self) -> list[Subject]:
        """One for each rack."""
        return [Subject(asset.site, asset.id) for asset in self.assets]


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """What was measured of each rack; NaN where it cannot be told. Each is a mean over the window but for the valve."""

    power_kw: Floats
    heat_kw: Floats
    share: Floats
    """Of the power, what the coolant carries away, by the rack's own meters; at a steady load, a steady supply and a
    rise of at least rise_k_min."""
    rise_k: Floats
    flow_lpm: Floats
    restriction: Floats
    """k of ΔP = k·V̇ⁿ."""
    valve_pct: Floats
    supply_apart_k: Floats
    """Its supply less the median of the supplies of its circuit; NaN for fewer than four."""
    feeds_share: Floats
    """Its power over the sum of what feeds it; NaN unless all of it is told."""
    supply_c: Floats
    """[racks, bins]."""


def measure(racks: Racks, wide: Wide, settings: BalanceSettings) -> Balance:
    """The balances of all racks over the window."""
    power, flow = wide.means(racks.power), wide.means(racks.flow)
    supply, back, drop = wide.means(racks.supply), wide.means(racks.back), wide.means(racks.drop)
    calm = steady(power, settings.steady_bins, settings.steady_share)
    flowing = np.where(flow > 0.0, flow, np.nan)
    rise = back - supply
    heat = heat_carried_kw(flowing, supply, back, settings.fluid)
    fit = calm & (power >= settings.idle_kw) & (rise >= settings.rise_k_min) & ~np.isnan(heat)
    fit &= ~_stores(supply, rise, wide.grid.bin_s, settings)
    power_kw, heat_kw = over(power, fit, settings.bins_min), over(heat, fit, settings.bins_min)
    k = restriction(np.where(drop >= settings.drop_kpa_min, drop, np.nan), flowing)
    # Means throughout: what begins within the window then shows in all of them alike, and no witness lags another.
    every = np.ones(supply.shape, np.bool_)
    supply_c = over(supply, every, settings.bins_min)
    groups = int(racks.circuit.max(initial=-1)) + 1
    middle = np.append(by_group(supply_c, racks.circuit, groups, least=4), np.nan)
    fed = np.where(racks.taps[:, :, None] < 0, 0.0, wide.means(racks.taps)).sum(axis=1)
    fed[(racks.taps < 0).all(axis=1)] = np.nan
    both = calm & (power >= settings.idle_kw) & (fed >= settings.idle_kw)
    return Balance(
        power_kw=power_kw,
        heat_kw=heat_kw,
        share=heat_kw / power_kw,
        rise_k=over(rise, fit, settings.bins_min),
        flow_lpm=over(flowing, every, settings.bins_min),
        restriction=over(k, every, settings.bins_min),
        valve_pct=median(wide.means(racks.valve), 1),
        supply_apart_k=supply_c - middle[racks.circuit],
        feeds_share=over(power, both, settings.bins_min) / over(fed, both, settings.bins_min),
        supply_c=supply,
    )


def _stores(supply: Floats, rise: Floats, bin_s: float, settings: BalanceSettings) -> Bools:
    """[racks, bins]: where the supply has moved so fast of late that what the racks store shows in their rise."""
    stores = np.zeros(supply.shape, np.bool_)
    span = settings.steady_bins
    pace_k_s = np.abs(supply[:, span:] - supply[:, :-span]) / (span * bin_s)
    stores[:, span:] = settings.lag_s * pace_k_s > settings.stored_share * rise[:, span:]
    return stores


def _feeders(plant: Plant, asset: Asset) -> Iterable[AssetKey]:
    return plant.topology.feeders(asset.key, Medium.POWER)


def _id(plant: Plant, asset: AssetKey, quantity: str) -> int:
    found = one(plant.at(asset, quantity))
    return -1 if found is None else found.id


def one(points: Iterable[Point]) -> Point | None:
    """The first point that measures: no set-point, and in a unit that is known."""
    return next((point for point in points if not point.setpoint and point.unit_known), None)
