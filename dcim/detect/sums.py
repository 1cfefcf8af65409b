"""Sums: what the racks of a circuit say together, and what their CDU says of the same coolant.

Lives here: circuits that one CDU feeds, as columns, and what is measured of them; what the sensors of one thing can be
held against. Not here: racks for themselves (balance.py), who is believed (sensors.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcim.core.assets import Asset, AssetKey
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.detect.balance import Racks
from dcim.detect.circuits import circuits, secondary_flow
from dcim.detect.traces import Floats
from dcim.detect.wide import Numbers, Wide, by_group, over, recent
from dcim.physics.hydraulics import restriction


@dataclass(frozen=True, slots=True, eq=False)
class Circuits:
    """CDUs that feed racks alone, as columns; −1 where there is no such meter."""

    assets: tuple[Asset, ...]
    flow: Numbers
    """Of the secondary side; −1 too where not every rack has a flow meter: then nothing adds up to it."""
    drop: Numbers
    of_rack: Numbers
    """[racks]: row of the CDU that feeds each, −1 where there is none, or several."""

    @classmethod
    def of(cls, plant: Plant, racks: Racks) -> Circuits:
        """racks: the rows that `of_rack` and the sums go by."""
        row = {asset.key: number for number, asset in enumerate(racks.assets)}
        of_rack = np.full(len(racks.assets), -1, np.intp)
        assets: list[Asset] = []
        flows: list[int] = []
        drops: list[int] = []
        of_asset = circuits(plant)
        for asset in plant.assets.values():
            circuit = of_asset.get(asset.key) if asset.kind == "CDU" else None
            if circuit is None or len(circuit.cdus) > 1:
                continue
            members = [row.get(key, -1) for key in circuit.racks]
            flow = secondary_flow(plant, asset.key)
            adds_up = bool(members) and all(member >= 0 and racks.flow[member] >= 0 for member in members)
            flows.append(flow.id if flow is not None and flow.unit_known and adds_up else -1)
            drops.append(next((point.id for point in plant.at(asset.key, _DROP) if _across(point)), -1))
            of_rack[[member for member in members if member >= 0]] = len(assets)
            assets.append(asset)
        return cls(tuple(assets), np.array(flows, np.intp), np.array(drops, np.intp), of_rack)

    @property
    def keys(self) -> tuple[AssetKey, ...]:
        """Their assets."""
        return tuple(asset.key for asset in self.assets)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What was measured of each circuit; NaN where it cannot be told. Means over the window."""

    racks_lpm: Floats
    """The flow of all its racks."""
    ratio: Floats
    """The same over the CDU's own flow."""
    restriction: Floats
    """k of the CDU's ΔP = k·V̇ⁿ."""


def add_up(them: Circuits, racks: Racks, wide: Wide, bins_min: int) -> Sums:
    """Over the bins in which everything was told."""
    own = wide.means(them.flow)
    total = np.zeros(own.shape)
    fed = them.of_rack >= 0
    np.add.at(total, them.of_rack[fed], wide.means(racks.flow[fed]))
    both = (own > 0.0) & (total > 0.0)
    racks_lpm = over(total, both, bins_min)
    drop = wide.means(them.drop)
    k = restriction(np.where(drop > 0.0, drop, np.nan), np.where(own > 0.0, own, np.nan))
    return Sums(racks_lpm, racks_lpm / over(own, both, bins_min), over(k, both, bins_min))


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """For groups of sensors of the same thing, other sensors that what they measure can be told by."""

    points: Numbers
    weights: Numbers
    """Flow that each is weighted by; −1 where the median of all counts."""
    group: Numbers
    words: tuple[str, ...]
    """By group, what its references are; "" where it has none."""

    @classmethod
    def of(cls, plant: Plant, racks: Racks, them: Circuits, twins: Sequence[Sequence[Point]]) -> References:
        """A CDU's supply is what its racks' supplies are, its return the mix of their returns, and the air of a hall is
        not far from what the other sensors there say."""
        row = {asset.key: number for number, asset in enumerate(them.assets)}
        hall_of = {key: (key.site, asset.placement.hall) for key, asset in plant.assets.items()}
        air: dict[tuple[str, str], list[int]] = {}
        for point in plant.of("AirTemperature"):
            if not point.setpoint and point.unit_known:
                air.setdefault(hall_of[AssetKey(point.site, point.asset)], []).append(point.id)
        rows: list[tuple[int, int, int]] = []
        words = []
        for number, group in enumerate(twins):
            first = group[0]
            key = AssetKey(first.site, first.asset)
            fed = np.flatnonzero(them.of_rack == row[key]) if key in row else np.zeros(0, np.intp)
            found: list[tuple[int, int]] = []
            word = ""
            if first.quantity == "LiquidTemperature" and first.loop is not Loop.PRIMARY and first.side is Side.SUPPLY:
                found, word = [(int(racks.supply[rack]), -1) for rack in fed], "Supplies of its racks"
            elif first.quantity == "LiquidTemperature" and first.loop is not Loop.PRIMARY and first.side is Side.RETURN:
                found, word = [(int(racks.back[rack]), int(racks.flow[rack])) for rack in fed], "Returns of its racks"
                if any(-1 in pair for pair in found):
                    found = []
            elif first.quantity == "AirTemperature":
                own = {point.id for point in group}
                found, word = [(point, -1) for point in air.get(hall_of[key], []) if point not in own], "Air around it"
            found = [pair for pair in found if pair[0] >= 0]
            enough = len(found) >= _REFERENCES_MIN
            rows += [(point, weight, number) for point, weight in found] if enough else []
            words.append(word if enough else "")
        table = np.array(rows, np.intp).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1], table[:, 2], tuple(words))

    def values(self, wide: Wide, bins: int) -> Floats:
        """[groups]: what they say over the last so many bins."""
        value = recent(wide.means(self.points), bins)
        groups = len(self.words)
        middle = by_group(value, self.group, groups, least=_REFERENCES_MIN)
        mixed = self.weights >= 0
        flow = recent(wide.means(self.weights), bins)
        weight = np.bincount(self.group[mixed], flow[mixed], minlength=groups)
        total = np.bincount(self.group[mixed], (flow * value)[mixed], minlength=groups)
        mix: Floats = np.divide(total, weight, out=np.full(groups, np.nan), where=weight > 0.0)
        by_mix = np.bincount(self.group[mixed], minlength=groups) > 0
        return np.where(by_mix, mix, middle)


_DROP = "LiquidDifferentialPressure"
_REFERENCES_MIN = 3


def _across(point: Point) -> bool:
    """Whether a pressure difference is that of the loop, and not of a filter in it."""
    words = (*point.areas, point.part)
    filters = any("filter" in word.casefold() or "strainer" in word.casefold() for word in words)
    return point.loop is not Loop.PRIMARY and not point.setpoint and point.unit_known and not filters
