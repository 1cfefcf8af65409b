"""Growth: what a place used of a resource day by day, and how much of it there is to grow into.

Lives here: which meters tell it, days out of hours, and the ceiling. Not here: the trend of those days (exhaustion.py),
reading them, the limits themselves (limits.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from dcim.capacity.headroom import Unit, headroom
from dcim.capacity.limits import Limit, Limits, liquid_kw
from dcim.capacity.loads import Loads
from dcim.capacity.meters import Meter, coolant_meter, meter
from dcim.capacity.network import Floats, Network
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling
from dcim.core.plant import Plant

HOURS_MIN = 12
"""A day of which fewer hours are known says nothing."""
HOURS: Final = 24


class Growing(StrEnum):
    """What a place may run out of as it grows."""

    POWER = "power"
    """Power of its racks, against all limits together."""
    COOLING = "cooling"
    """Heat into liquid, against what its cooling groups take away without their spare units."""
    FLOW = "flow"
    """Coolant, against what these groups move."""
    SPACE = "space"
    """Positions that racks stand in, against those of its rows."""


UNITS: Final = {Growing.POWER: "kW", Growing.COOLING: "kW", Growing.FLOW: "L/min", Growing.SPACE: "positions"}


@dataclass(frozen=True, slots=True)
class Basis:
    """What tells how much a place used in the past."""

    meters: tuple[Meter, ...]
    lacking: str
    """In a sentence, what is not metered, so that nothing can be told; "" where all is."""
    unmetered: int = 0
    """Of space: racks that nothing is heard of, which are taken to have stood there all the time."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What is used now and what is free, in the resource's unit; None where that is not known."""

    used: float | None
    free: float | None
    coverage_pct: float
    why: str

    @property
    def value(self) -> float | None:
        """The two together: where growth ends."""
        return None if self.used is None or self.free is None else self.used + self.free


def basis(plant: Plant, network: Network, unit: Unit, resource: Growing) -> Basis:
    """The meters that tell what a place uses.

    Power: each rack's, or its taps'. Cooling and flow: each rack's in its liquid; where one of them has none, those of
    the cooling units, if they cool these racks and no others. Space: whatever is metered of each rack.
    """
    if resource is Growing.POWER:
        return _of_racks(plant, network, unit.racks, resource)
    if resource is Growing.SPACE:
        placed = _placed(network, unit)
        found = [_meter(plant, network.racks[rack].key, Growing.POWER) for rack in placed]
        known = tuple(one for one in found if one is not None)
        return Basis(known, "" if known else "no rack in a position is metered", len(found) - len(known))
    cooled = [rack for rack in unit.racks if _groups(network, [rack])]
    if not cooled:
        return Basis((), "nobody says which liquid cools its racks")
    by_racks = _of_racks(plant, network, cooled, resource)
    if not by_racks.lacking:
        return by_racks
    groups = [network.groups[number] for number in _groups(network, cooled)]
    if all(set(group.racks) <= set(cooled) for group in groups):
        keys = [one.key for group in groups for one in group.units]
        found = [_meter(plant, key, resource) for key in keys]
        if all(one is not None for one in found):
            return Basis(tuple(one for one in found if one is not None), "")
    return by_racks


def ceiling(network: Network, loads: Loads, limits: Limits, unit: Unit, resource: Growing) -> Ceiling:
    """What a place uses now, and how much more it may before something stops it, if the others stay as they are."""
    if resource is Growing.POWER:
        found = headroom(unit, limits, loads).headroom
        used = float(np.sum(loads.rack_kw[list(unit.racks)])) if unit.racks else math.nan
        return Ceiling(_known(used), found.value, found.coverage_pct, f"load now + headroom: {found.why}")
    if resource is Growing.SPACE:
        own = [limits.limits[limits.space[place]] for place in unit.places if place in limits.space]
        return _sum(own, "positions of its rows", "it has no rows: a rack has no free positions")
    groups = _groups(network, unit.racks)
    first = limits.group_cooling if resource is Growing.COOLING else limits.group_flow
    told = _sum(
        [limits.limits[first + number] for number in groups],
        "what its cooling groups leave without their spare units",
        "nobody says which liquid cools its racks",
    )
    if all(set(network.groups[number].racks) <= set(unit.racks) for number in groups):
        return told  # all that these groups carry is this place's
    of_racks = liquid_kw(network, loads)[0] if resource is Growing.COOLING else loads.flow_lpm
    cooled = [rack for rack in unit.racks if _groups(network, [rack])]
    return Ceiling(_known(float(np.sum(of_racks[cooled]))), told.free, told.coverage_pct, told.why)


class Days:
    """Adds meters up hour by hour, and tells of each day. A meter counts from its first hour on: before, what it stands
    for was not there; after, an hour in which it is silent is not known."""

    def __init__(self, days: int) -> None:
        self._sum = np.zeros(days * HOURS)
        self._known = np.ones(days * HOURS, np.bool_)
        self._first = np.full(days * HOURS, 0, np.int64)
        """How many meters were heard for the first time in each hour."""
        self.silent = 0
        """How many meters were never heard."""

    def add(self, hours: Floats) -> None:
        """Takes in some more meters. hours: by meter and hour, NaN where it is not known."""
        heard = ~np.isnan(hours)
        ever = heard.any(axis=1)
        self.silent += int((~ever).sum())
        first = heard[ever].argmax(axis=1)
        before = np.arange(hours.shape[1]) < first[:, None]
        self._known &= (heard[ever] | before).all(axis=0)
        self._sum += np.nan_to_num(hours[ever]).sum(axis=0)
        np.add.at(self._first, first, 1)

    def highest(self) -> Floats:
        """The highest known hour of each day; NaN where fewer than HOURS_MIN are known, before the first meter was
        heard, and everywhere where one never was."""
        if self.silent:
            return np.full(len(self._sum) // HOURS, np.nan)
        known = (self._known & (np.cumsum(self._first) > 0)).reshape(-1, HOURS)
        highest = np.where(known, self._sum.reshape(-1, HOURS), -math.inf).max(axis=1, initial=-math.inf)
        told: Floats = np.where(known.sum(axis=1) >= HOURS_MIN, highest, np.nan)
        return told

    def standing(self, more: int = 0) -> Floats:
        """How many meters had been heard by the end of each day, and `more`; NaN before the first was."""
        counted = np.cumsum(self._first).reshape(-1, HOURS)[:, -1]
        told: Floats = np.where(counted > 0, counted + float(more), np.nan)
        return told


def _of_racks(plant: Plant, network: Network, racks: Sequence[int], resource: Growing) -> Basis:
    found = {network.racks[rack].id: _meter(plant, network.racks[rack].key, resource) for rack in racks}
    silent = [name for name, one in found.items() if one is None]
    what = {Growing.POWER: "the power", Growing.COOLING: "the heat in the liquid", Growing.FLOW: "the coolant"}
    more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    lacking = (
        f"nothing measures {what[resource]} of {silent[0]}{more}" if silent else "" if found else "it has no racks"
    )
    return Basis(tuple(one for one in found.values() if one is not None), lacking)


def _meter(plant: Plant, key: AssetKey, resource: Growing) -> Meter | None:
    if resource is Growing.FLOW:
        return coolant_meter(plant, key)
    return meter(plant, key, "liquid_cooling" if resource is Growing.COOLING else "power")


def _groups(network: Network, racks: Sequence[int]) -> list[int]:
    """Numbers of the liquid cooling groups of racks."""
    found = {number for rack in racks for number in network.groups_of[rack]}
    return sorted(number for number in found if network.groups[number].medium is Cooling.LIQUID)


def _placed(network: Network, unit: Unit) -> list[int]:
    return [rack for rack in unit.racks if network.racks[rack].row and network.racks[rack].position is not None]


def _sum(limits: Sequence[Limit], what: str, none: str) -> Ceiling:
    """Together what limits carry and leave; one that is overloaded leaves nothing. Not known where one is not."""
    lacking = [limit.why for limit in limits if limit.spare is None]
    if not limits or lacking:
        loads = [limit.load for limit in limits]
        used = None if None in loads or not loads else math.fsum(load for load in loads if load is not None)
        return Ceiling(used, None, 0.0, lacking[0] if lacking else none)
    used = math.fsum(limit.load or 0.0 for limit in limits)
    free = math.fsum(max(0.0, limit.spare or 0.0) for limit in limits)
    coverage = 100.0 * sum(limit.measured for limit in limits) / len(limits)
    return Ceiling(used, free, coverage, f"{what}: {', '.join(limit.at for limit in limits[:5])}")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
