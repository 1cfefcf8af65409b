"""What boards are told of who feeds whom: a query cannot walk the topology, so what lies at its two ends is put into
one row once a minute.

Lives here: rows of meters with the rack that they feed, of racks with what is left when a feed is lost, of racks with
the CDU that serves them. Not here: other facts (facts.py), the walks (dcim.core.topology). Pure, and bounded by the
plant; a value that is missing, or stale, is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dcim.app.facts import place
from dcim.app.hall import STALE_AFTER_S, Hall, Tile
from dcim.core.assets import Asset, AssetKey
from dcim.core.facts import Fact, Value
from dcim.core.inventory import CONTINUOUS_SHARE
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.times import SECOND_US
from dcim.core.topology import Medium
from dcim.physics.fluids import PG25
from dcim.physics.hydraulics import heat_carried_kw

BUSY_SHARE = 0.3
"""Below this share of its power limit, a GPU's thermal resistance says more about rounding than about cooling."""


def feeds(plant: Plant, latest: Latest, at_us: int) -> Iterator[Fact]:
    """`feed`: each power meter, with `level` (1 where it feeds a rack directly, 2 above that …), `incoming` "yes" where
    nothing that is known feeds it, and the rack, where it feeds just one.

    load_pct: the fullest phase, or the current, against the limit that the meter tells of.
    """
    levels = _levels(plant)
    for asset in plant.assets.values():
        if asset.kind != "PowerMeter":
            continue
        fed = [key for key in plant.topology.fed_by(asset.key, Medium.POWER) if _is_rack(plant, key)]
        where = place(plant.assets[fed[0]]) if len(fed) == 1 else place(asset)
        tags = where | {
            "asset": asset.id,
            "level": str(levels.get(asset.key, "")),
            "incoming": "no" if plant.topology.feeders(asset.key, Medium.POWER) else "yes",
        }
        current_a, limit_a = _meter(plant, latest, asset, at_us)
        fields: dict[str, Value | None] = {
            "power_kw": _value(plant, latest, asset.key, "ActivePower", at_us),
            "current_a": current_a,
            "limit_a": limit_a,
            "load_pct": 100.0 * current_a / limit_a if current_a is not None and limit_a else None,
        }
        yield Fact("feed", tags, fields, at_us)


def failover(plant: Plant, latest: Latest, at_us: int) -> Iterator[Fact]:
    """`failover`: of racks with two feeds or more, what the others would carry if one were lost, against what they may
    carry for long (80 % of their limits), for the worst of the feeds. More than 100 %: the loss would trip others."""
    for asset in plant.assets.values():
        if asset.kind != "Rack":
            continue
        meters = [
            _meter(plant, latest, meter, at_us)
            for key in plant.topology.feeders(asset.key, Medium.POWER)
            if (meter := plant.assets.get(key)) is not None and meter.kind == "PowerMeter"
        ]
        known = [(current_a, limit_a) for current_a, limit_a in meters if current_a is not None and limit_a]
        if len(meters) < 2 or len(known) < len(meters):
            continue
        total_a = sum(current_a for current_a, _ in known)
        may_a = CONTINUOUS_SHARE * (sum(limit_a for _, limit_a in known) - max(limit_a for _, limit_a in known))
        fields: dict[str, Value | None] = {"load_pct": 100.0 * total_a / may_a, "feeds": len(known)}
        yield Fact("failover", place(asset), fields, at_us)


def totals(plant: Plant, latest: Latest, at_us: int) -> Iterator[Fact]:
    """`totals`: by site and hall, what racks, their GPUs and the meters that nothing feeds measure together, and what
    racks and CDUs are rated for. A sum of which something is missing is left out: it would be less than the truth."""
    sums: dict[tuple[str, str], dict[str, float | None]] = {}

    def add(where: Asset, name: str, value: float | None) -> None:
        of = sums.setdefault((where.site, where.placement.hall), {})
        before = of.get(name, 0.0)
        of[name] = None if before is None or value is None else before + value

    for asset in plant.assets.values():
        if asset.kind == "Rack":
            add(asset, "racks_kw", _value(plant, latest, asset.key, "RackPower", at_us))
            add(asset, "heat_kw", _heat(plant, latest, asset.key, at_us))
            add(asset, "racks_rated_kw", asset.placement.rated_power_kw)
        elif asset.kind == "CDU":
            add(asset, "cdus_rated_kw", asset.placement.rated_power_kw)
        elif asset.kind == "PowerMeter" and not plant.topology.feeders(asset.key, Medium.POWER):
            add(asset, "incoming_kw", _value(plant, latest, asset.key, "ActivePower", at_us))
        elif asset.kind == "Gpu":
            container = plant.assets.get(AssetKey(asset.site, asset.within))
            power_kw = _value(plant, latest, asset.key, "GpuPower", at_us)
            add(container or asset, "gpus_kw", power_kw)
            add(container or asset, "gpus", 1.0)
            add(container or asset, "gpus_reporting", float(power_kw is not None))
    for (site, hall), told in sums.items():
        yield Fact("totals", {"site": site, "hall": hall}, told, at_us)


def circuits(plant: Plant, hall: Hall, latest: Latest, at_us: int) -> Iterator[Fact]:
    """`circuit`: each rack with the CDU that serves it (several: a row for each), its liquid side, and the thermal
    resistance of its GPUs: (GPU − supply) / power in K/W, mean and greatest, of those that work hard enough."""
    for tile in hall.racks.values():
        key = tile.asset.key
        own = {name: _fresh(latest, number, at_us) for name, number in tile.points.items()}
        mean, most = _resistance(plant, latest, tile, own.get("supply_c"), at_us)
        gpus_kw = _gpus(plant, latest, tile, at_us)
        supply_c, return_c = own.get("supply_c"), own.get("return_c")
        fields: dict[str, Value | None] = {
            "power_kw": own.get("power_kw"),
            "flow_lpm": own.get("flow_lpm"),
            "supply_c": supply_c,
            "return_c": return_c,
            "rise_k": return_c - supply_c if supply_c is not None and return_c is not None else None,
            "differential_pressure_kpa": own.get("dp_kpa"),
            "valve_pct": own.get("valve_pct"),
            "gpus_kw": gpus_kw,
            "resistance_mean_k_w": mean,
            "resistance_max_k_w": most,
        }
        for cdu in plant.topology.feeders(key, Medium.COOLANT) or (AssetKey(key.site, ""),):
            yield Fact("circuit", place(tile.asset) | {"cdu": cdu.id}, fields, at_us)


def _heat(plant: Plant, latest: Latest, key: AssetKey, at_us: int) -> float | None:
    """What a rack's coolant carries away, taken as 25 % propylene glycol. Also below a rise of 5 K, where it is good
    for no balance: the error of a sum is that of its large parts."""
    flow_lpm = _value(plant, latest, key, "RackLiquidFlow", at_us)
    supply_c = _value(plant, latest, key, "RackLiquidSupplyTemperature", at_us)
    return_c = _value(plant, latest, key, "RackLiquidReturnTemperature", at_us)
    if flow_lpm is None or supply_c is None or return_c is None:
        return None
    heat_kw = float(heat_carried_kw(flow_lpm, supply_c, return_c, PG25))
    return heat_kw if math.isfinite(heat_kw) else None


def _levels(plant: Plant) -> dict[AssetKey, int]:
    """How many steps above a rack each meter is, at the least."""
    levels: dict[AssetKey, int] = {}
    for asset in plant.assets.values():
        if asset.kind != "Rack":
            continue
        level, here = 1, set(plant.topology.feeders(asset.key, Medium.POWER))
        while here:
            above: set[AssetKey] = set()
            for key in here:
                if levels.get(key, level + 1) > level:
                    levels[key] = level
                    above.update(plant.topology.feeders(key, Medium.POWER))
            level, here = level + 1, above
    return levels


def _is_rack(plant: Plant, key: AssetKey) -> bool:
    asset = plant.assets.get(key)
    return asset is not None and asset.kind == "Rack"


def _meter(plant: Plant, latest: Latest, asset: Asset, at_us: int) -> tuple[float | None, float | None]:
    """The current of the fullest phase, or the one that is told for all, and the limit; A."""
    phases = [
        value
        for point in plant.at(asset.key, "PhaseCurrent")
        if not point.setpoint and (value := _fresh(latest, point.id, at_us)) is not None
    ]
    current_a = max(phases) if phases else _value(plant, latest, asset.key, "Current", at_us)
    return current_a, _value(plant, latest, asset.key, "CurrentLimit", at_us)


def _resistance(
    plant: Plant, latest: Latest, tile: Tile, supply_c: float | None, at_us: int
) -> tuple[float | None, float | None]:
    if supply_c is None:
        return None, None
    found = []
    for number in tile.hottest.tolist():
        point = plant.points.get(number)
        gpu_c = _fresh(latest, number, at_us)
        if point is None or gpu_c is None:
            continue
        key = AssetKey(point.site, point.asset)
        power_kw = _value(plant, latest, key, "GpuPower", at_us)
        limit_kw = _value(plant, latest, key, "GpuPowerLimit", at_us)
        if power_kw and limit_kw and power_kw >= BUSY_SHARE * limit_kw:
            found.append((gpu_c - supply_c) / (1000.0 * power_kw))
    return (sum(found) / len(found), max(found)) if found else (None, None)


def _gpus(plant: Plant, latest: Latest, tile: Tile, at_us: int) -> float | None:
    """What a rack's GPUs draw together; None where that of one is not known."""
    total_kw = 0.0
    for number in tile.hottest.tolist():
        point = plant.points.get(number)
        if point is None:
            return None
        power_kw = _value(plant, latest, AssetKey(point.site, point.asset), "GpuPower", at_us)
        if power_kw is None:
            return None
        total_kw += power_kw
    return total_kw if tile.gpus else None


def _value(plant: Plant, latest: Latest, key: AssetKey, quantity: str, at_us: int) -> float | None:
    """Of the first such point that is no set point."""
    points: list[Point] = [point for point in plant.at(key, quantity) if not point.setpoint]
    return _fresh(latest, points[0].id, at_us) if points else None


def _fresh(latest: Latest, number: int, at_us: int) -> float | None:
    heard_us = latest.heard_of(number)
    if heard_us is None or at_us - heard_us > STALE_AFTER_S * SECOND_US:
        return None
    return latest.value_of(number)
