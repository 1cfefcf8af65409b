"""What usage is compared with: ratings, contracts, and what may be used so that losing one feed or unit overloads
nothing.

Lives here: these figures for a scope, out of the inventory. Not here: usage (utilization.py), headroom and what binds.
A rating that nobody gave makes no figure: with one of ten racks unrated, the sum of nine is no rating of the ten."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dcim.capacity.meters import Resource
from dcim.capacity.provenance import FigureKind
from dcim.capacity.scopes import Layout, Scope
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling, CoolingUnit, Place
from dcim.core.topology import Medium

AgainstWhat = Literal["rating", "contract", "failover_safe"]
AGAINST: tuple[AgainstWhat, ...] = ("rating", "contract", "failover_safe")


@dataclass(frozen=True, slots=True)
class Capacity:
    """One figure that usage is compared with; the value is None where nobody can tell, and `why` says what it takes."""

    what: AgainstWhat
    value: float | None
    kind: FigureKind
    why: str


def _given(what: AgainstWhat, value: float, why: str) -> Capacity:
    return Capacity(what, value, FigureKind.MEASURED, why)


def _estimated(what: AgainstWhat, value: float, why: str) -> Capacity:
    return Capacity(what, value, FigureKind.ESTIMATED, why)


def _missing(what: AgainstWhat, why: str) -> Capacity:
    return Capacity(what, None, FigureKind.MISSING, why)


def capacities(
    layout: Layout, scope: Scope, resource: Resource, gpu_limit_kw: Callable[[AssetKey], float | None]
) -> list[Capacity]:
    """What the usage of a resource in a scope is compared with. gpu_limit_kw: the power limits of a rack's or host's
    GPUs, as they are enforced now; None where one is not told. Percentages (GPU utilization) have no rating: their full
    scale is one."""
    if resource == "power":
        return _power(layout, scope)
    if resource == "liquid_cooling":
        return _cooling(layout, scope, Cooling.LIQUID)
    if resource == "air_cooling":
        return _cooling(layout, scope, Cooling.AIR)
    if resource == "gpu_power":
        return [_gpu_limit(layout, scope, gpu_limit_kw)]
    if resource == "space":
        return [_positions(layout, scope)]
    return []


def rack_rating_kw(layout: Layout, key: AssetKey) -> float | None:
    """What a rack is rated for, kW: by the inventory, else by where the settings placed it."""
    rack = layout.inventory.racks.get(key)
    if rack is not None and rack.rated_power_kw is not None:
        return rack.rated_power_kw
    asset = layout.plant.assets.get(key)
    return asset.placement.rated_power_kw if asset is not None else None


def _sum(what: AgainstWhat, values: Sequence[float | None], of: str) -> Capacity:
    """The sum, where all are given."""
    given = [value for value in values if value is not None]
    if not values:
        return _missing(what, f"no {of} lies in it")
    if len(given) < len(values):
        return _missing(what, f"{len(values) - len(given)} of {len(values)} {of} have no rating in the inventory")
    return _estimated(what, math.fsum(given), f"sum of the ratings of {len(given)} {of}")


def _power(layout: Layout, scope: Scope) -> list[Capacity]:
    found = []
    site = layout.inventory.sites.get(scope.site)
    racks = layout.racks_in(scope)
    if scope.kind == "asset":
        found.append(_asset_rating(layout, scope.key))
    elif scope.kind == "site" and site is not None and site.installed_it_kw is not None:
        found.append(_given("rating", site.installed_it_kw, "installed IT power of the site"))
    elif (rated := _place_rating_kw(layout, scope)) is not None:
        found.append(_given("rating", rated, f"rating of the {scope.kind}"))
    else:
        found.append(_sum("rating", [rack_rating_kw(layout, key) for key in racks], "racks"))
    if scope.kind == "site":
        contract = site.contract_kw if site is not None else None
        if contract is None:
            found.append(_missing("contract", "the inventory gives no contract_kw for the site"))
        else:
            found.append(_given("contract", contract, "all that the site may draw; the racks are a part of it"))
    if scope.kind != "asset" or layout.kind_of(scope.key) == "Rack":
        found.append(_failover(layout, racks))
    return found


def _place_rating_kw(layout: Layout, scope: Scope) -> float | None:
    row = layout.inventory.rows.get(Place(scope.site, scope.hall, scope.row)) if scope.row else None
    hall = layout.inventory.halls.get(Place(scope.site, scope.hall)) if not scope.row else None
    place = row or hall
    return place.rated_power_kw if place is not None else None


def _asset_rating(layout: Layout, key: AssetKey) -> Capacity:
    feed = layout.inventory.feeds.get(key)
    if feed is not None:
        if feed.rated_kw is not None:
            return _given("rating", feed.rated_kw, "rating of the feed")
        if feed.usable_kva is not None:
            share = f"{feed.continuous_share:.0%} of its breaker"
            return _estimated("rating", feed.usable_kva, f"{share}, phases in balance, power factor 1")
    rated = rack_rating_kw(layout, key)
    if rated is None:
        return _missing("rating", f"the inventory gives no rating of {key.id}")
    return _given("rating", rated, f"rating of {key.id}")


def _failover(layout: Layout, racks: Sequence[AssetKey]) -> Capacity:
    """What racks may draw so that the loss of the strongest feed of any overloads none of its others."""
    what: AgainstWhat = "failover_safe"
    safe: list[float] = []
    for key in racks:
        feeders = layout.plant.topology.feeders(key, Medium.POWER)
        usable = []
        for feeder in feeders:
            feed = layout.inventory.feeds.get(feeder)
            value = None if feed is None else feed.rated_kw if feed.rated_kw is not None else feed.usable_kva
            if value is None:
                return _missing(what, f"the inventory gives no breaker rating and voltage of {feeder.id}")
            usable.append(value)
        if len(usable) < 2:
            return _missing(
                what, f"{key.id} has {len(usable)} known feed{'s' if len(usable) != 1 else ''}; it takes two"
            )
        safe.append(math.fsum(usable) - max(usable))
    if not safe:
        return _missing(what, "no rack lies in it")
    why = "what the feeds of each rack carry for hours with the strongest lost, power factor 1"
    return _estimated(what, math.fsum(safe), why + ("" if len(safe) == 1 else "; what feeds several is not in it"))


def _cooling(layout: Layout, scope: Scope, medium: Cooling) -> list[Capacity]:
    inventory = layout.inventory
    if scope.kind == "asset" and layout.kind_of(scope.key) == "Rack":
        rack, rated = inventory.racks.get(scope.key), rack_rating_kw(layout, scope.key)
        share = rack.liquid_share if rack is not None else None
        if rated is None or share is None:
            return [_missing("rating", f"the inventory gives no rated_power_kw and liquid_share of {scope.asset}")]
        part = share if medium is Cooling.LIQUID else 1.0 - share
        return [_estimated("rating", rated * part, "its rated power times the share of its heat")]
    kinds = frozenset({"CDU"}) if medium is Cooling.LIQUID else frozenset({"CRAH", "CRAC", "AHU"})
    keys = {*layout.assets_in(scope, kinds)}
    keys |= {
        key
        for key, unit in inventory.cooling.items()
        if unit.medium is medium
        and (key == scope.key if scope.kind == "asset" else key.site == scope.site and scope.hall in {"", unit.hall})
    }
    if scope.row:
        return [_missing("rating", "cooling units are rated by hall, not by row")]
    units = [(key, _cooling_kw(layout, key)) for key in sorted(keys)]
    hall = inventory.halls.get(Place(scope.site, scope.hall))
    if medium is Cooling.AIR and not units and hall is not None and hall.air_kw is not None:
        return [_given("rating", hall.air_kw, "what the hall's air takes away with the spare units off")]
    found = [_sum("rating", [rated for _, rated in units], "cooling units")]
    if scope.kind != "asset":
        found.append(_spared([(inventory.cooling.get(key), rated) for key, rated in units]))
    return found


def _cooling_kw(layout: Layout, key: AssetKey) -> float | None:
    unit = layout.inventory.cooling.get(key)
    if unit is not None and unit.rated_kw is not None:
        return unit.rated_kw
    asset = layout.plant.assets.get(key)
    return asset.placement.rated_power_kw if asset is not None else None


def _spared(units: Sequence[tuple[CoolingUnit | None, float | None]]) -> Capacity:
    """What is left with as many of the largest units of each group out as it is built for."""
    what: AgainstWhat = "failover_safe"
    groups: dict[str, list[float]] = {}
    spare: dict[str, int] = {}
    for unit, rated in units:
        if unit is None or rated is None or not unit.group or unit.n_plus is None:
            return _missing(what, "not every cooling unit has a rating, a group and n_plus in the inventory")
        groups.setdefault(unit.group, []).append(rated)
        spare[unit.group] = unit.n_plus
    if not groups:
        return _missing(what, "no cooling unit lies in it")
    left = math.fsum(math.fsum(sorted(rated)[: max(len(rated) - spare[group], 0)]) for group, rated in groups.items())
    return _estimated(what, left, "with as many of the largest units of each group out as n_plus says")


def _gpu_limit(layout: Layout, scope: Scope, limit_kw: Callable[[AssetKey], float | None]) -> Capacity:
    racks = layout.racks_in(scope) if scope.kind != "asset" or layout.kind_of(scope.key) == "Rack" else (scope.key,)
    limits = [limit_kw(key) for key in racks]
    given = [limit for limit in limits if limit is not None]
    if not given or len(given) < len(limits):
        return _missing(
            "rating", f"{len(limits) - len(given)} of {len(limits)} racks do not tell the limits of all GPUs"
        )
    return _given("rating", math.fsum(given), "sum of the GPUs' enforced power limits, as they are now")


def _positions(layout: Layout, scope: Scope) -> Capacity:
    rows = [
        row
        for place, row in layout.inventory.rows.items()
        if place.site == scope.site and scope.hall in {"", place.hall} and scope.row in {"", place.row}
    ]
    if scope.kind == "asset":
        return _missing("rating", "positions are counted in rows, halls and sites")
    return _sum("rating", [None if row.positions is None else float(row.positions) for row in rows], "rows")
