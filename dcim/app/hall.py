"""The hall as the console's map shows it: racks and CDUs in their places, a handful of values each.

Lives here: which points make up a rack's or a CDU's values, and the values at one moment. Not here: HTTP, colours,
limits. Pure: a plant and the latest values in, plain data out; missing is None, never 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dcim.app import exchanger
from dcim.core.assets import Asset, AssetKey
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US
from dcim.core.topology import Medium

STALE_AFTER_S = 250.0
"""Two and a half republishes of the bus: older than this, a value is not to be trusted."""

SCALES: tuple[dict[str, object], ...] = (
    {"key": "power_kw", "name": "Power", "unit": "kW", "low": 0, "high": 140},
    {"key": "power_pct", "name": "Power, % of rating", "unit": "%", "low": 20, "high": 100},
    {"key": "supply_c", "name": "Supply temperature", "unit": "°C", "low": 20, "high": 50},
    {"key": "return_c", "name": "Return temperature", "unit": "°C", "low": 30, "high": 60},
    {"key": "flow_lpm", "name": "Flow", "unit": "L/min", "low": 0, "high": 250},
    {"key": "flow_lpm_per_kw", "name": "Flow per kW", "unit": "L/min", "low": 1, "high": 2},
    {"key": "dp_kpa", "name": "Differential pressure", "unit": "kPa", "low": 0, "high": 200},
    {"key": "gpu_c", "name": "Hottest GPU", "unit": "°C", "low": 40, "high": 90},
)
"""What racks can be coloured by: from `low` (lightest) to `high` (darkest) of five steps. Spans of a lightness scale,
not limits: nothing alarms by them."""

_RACK = {
    "power_kw": "RackPower",
    "supply_c": "RackLiquidSupplyTemperature",
    "return_c": "RackLiquidReturnTemperature",
    "flow_lpm": "RackLiquidFlow",
    "dp_kpa": "RackLiquidDifferentialPressure",
    "valve_pct": "RackControlValvePosition",
}
_WET = frozenset({"RackLeakDetect", "RackLeakDetectTray"})
_CDU: dict[str, tuple[str, Loop | None, Side | None]] = {
    "supply_c": ("LiquidTemperature", Loop.SECONDARY, Side.SUPPLY),
    "return_c": ("LiquidTemperature", Loop.SECONDARY, Side.RETURN),
    "flow_lpm": ("LiquidFlow", Loop.SECONDARY, None),
    "supply_kpa": ("LiquidPressure", Loop.SECONDARY, Side.SUPPLY),
    "return_kpa": ("LiquidPressure", Loop.SECONDARY, Side.RETURN),
    "dp_kpa": ("LiquidDifferentialPressure", Loop.SECONDARY, None),
    "primary_supply_c": ("LiquidTemperature", Loop.PRIMARY, Side.SUPPLY),
    "primary_return_c": ("LiquidTemperature", Loop.PRIMARY, Side.RETURN),
    "primary_flow_lpm": ("LiquidFlow", Loop.PRIMARY, None),
    "level_pct": ("LiquidLevel", None, None),
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One rack or CDU: which points its values come from."""

    asset: Asset
    points: dict[str, int]
    """Value's key → point."""
    hottest: npt.NDArray[np.intp]
    """GPU temperature points whose maximum is shown."""
    wet: tuple[int, ...]
    pumps: tuple[int, ...]
    heard: npt.NDArray[np.intp]
    """Points whose newest arrival tells how fresh the tile is."""
    cdus: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Hall:
    """Every tile of every hall, at one version of the plant."""

    version: int
    racks: dict[str, Tile] = field(default_factory=dict)
    """By "site/id"."""
    cdus: dict[str, Tile] = field(default_factory=dict)
    sensed: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Points that ought to speak: everything but set points and what integrations write."""


def lay_out(plant: Plant) -> Hall:
    """The tiles of a plant; done again when the plant's version changes."""
    gpus: dict[AssetKey, list[Point]] = {}
    for point in plant.of("GpuTemperature"):
        gpus.setdefault(AssetKey(point.site, point.within), []).append(point)
    racks, cdus = {}, {}
    for asset in plant.assets.values():
        if asset.kind == "Rack":
            racks[f"{asset.site}/{asset.id}"] = _rack(plant, asset, gpus.get(asset.key, []))
        elif asset.kind == "CDU":
            cdus[f"{asset.site}/{asset.id}"] = _cdu(plant, asset)
    sensed = [
        point.id
        for point in plant.points.values()
        if not (point.setpoint or point.measures.setpoint or point.integration)
    ]
    return Hall(plant.version, racks, cdus, np.array(sensed, np.intp))


def _rack(plant: Plant, asset: Asset, gpus: list[Point]) -> Tile:
    own = [plant.points[number] for number in asset.points]
    points: dict[str, int] = {}
    for key, quantity in _RACK.items():
        found = [point.id for point in own if point.quantity == quantity and not point.setpoint]
        if found:
            points[key] = found[0]
    return Tile(
        asset=asset,
        points=points,
        hottest=np.array([point.id for point in gpus], np.intp),
        wet=tuple(point.id for point in own if point.quantity in _WET),
        pumps=(),
        heard=np.array([point.id for point in own if not point.integration], np.intp),
        cdus=tuple(key.id for key in plant.topology.feeders(asset.key, Medium.COOLANT)),
        feeds=tuple(key.id for key in plant.topology.feeders(asset.key, Medium.POWER)),
        gpus=len(gpus),
    )


def _cdu(plant: Plant, asset: Asset) -> Tile:
    own = [plant.points[number] for number in asset.points]
    points: dict[str, int] = {}
    for key, (quantity, loop, side) in _CDU.items():
        for point in own:
            if (point.quantity, point.setpoint) != (quantity, False) or key in points:
                continue
            if (loop is None or point.loop == loop) and (side is None or point.side == side):
                # A filter's own differential pressure is not the loop's: the loop's names no more than the loop.
                if quantity == "LiquidDifferentialPressure" and len(point.areas) > 1:
                    continue
                points[key] = point.id
    valves = [point.id for point in own if point.quantity == "ValvePosition"]
    if valves:
        points["valve_pct"] = valves[0]
    return Tile(
        asset=asset,
        points=points,
        hottest=np.zeros(0, np.intp),
        wet=tuple(point.id for point in own if point.quantity == "LeakDetect"),
        pumps=tuple(point.id for point in own if point.quantity == "PumpSpeed"),
        heard=np.array([point.id for point in own if not point.integration], np.intp),
        serves=tuple(key.id for key in plant.topology.fed_by(asset.key, Medium.COOLANT)),
    )


def show(tile: Tile, latest: Latest, at_us: int) -> dict[str, Any]:
    """A tile's values at one moment: {"values": …, "age_s": …, "stale": …}."""
    values: dict[str, Any] = {key: _rounded(latest.value_of(point)) for key, point in tile.points.items()}
    power, flow = values.get("power_kw"), values.get("flow_lpm")
    if tile.asset.kind == "Rack":
        rated = tile.asset.placement.rated_power_kw
        values["power_pct"] = round(100 * power / rated, 1) if power is not None and rated else None
        values["flow_lpm_per_kw"] = round(flow / power, 2) if flow is not None and power else None
        values["gpu_c"] = _maximum(tile.hottest, latest)
        values["leak"] = _any(tile.wet, latest)
    else:
        values |= _exchanger({key: latest.value_of(point) for key, point in tile.points.items()})
        values["pump_pct"] = [_rounded(latest.value_of(point)) for point in tile.pumps]
    age_s = _age_s(tile.heard, latest, at_us)
    return {"values": values, "age_s": age_s, "stale": age_s is None or age_s > STALE_AFTER_S}


def coverage(hall: Hall, latest: Latest, at_us: int) -> dict[str, Any]:
    """How many of the points that ought to speak did so within the stale limit, and the oldest of those."""
    known = hall.sensed[hall.sensed < len(latest.heard)]
    heard = latest.heard[known]
    fresh = heard[heard > at_us - int(STALE_AFTER_S * SECOND_US)]
    oldest = round(max(0, at_us - int(fresh.min())) / SECOND_US, 1) if len(fresh) else None
    return {"expected": len(hall.sensed), "fresh": len(fresh), "oldest_s": oldest}


def placed_rows(hall: Hall) -> list[dict[str, Any]]:
    """Halls with their rows, each with its CDUs and its racks in order of position; "" where nobody placed them.

    A CDU stands above the first row that it serves, unless it has a row of its own.
    """
    rows: dict[tuple[str, str, str], list[Tile]] = {}
    for tile in hall.racks.values():
        place = tile.asset.placement
        row = place.row or (tile.cdus[0] if tile.cdus and not place.hall else "")
        rows.setdefault((tile.asset.site, place.hall, row), []).append(tile)
    above: dict[tuple[str, str, str], list[str]] = {}
    for cdu in hall.cdus.values():
        place = cdu.asset.placement
        own = (cdu.asset.site, place.hall, place.row)
        served = sorted(key for key, tiles in rows.items() if any(cdu.asset.id in tile.cdus for tile in tiles))
        above.setdefault(own if own in rows and place.row else (served[0] if served else own), []).append(cdu.asset.id)
    halls: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key in sorted({*rows, *above}):
        site, name, row = key
        ordered = sorted(rows.get(key, ()), key=lambda tile: (tile.asset.placement.position or 10**9, tile.asset.id))
        halls.setdefault((site, name), []).append(
            {"row": row, "cdus": sorted(above.get(key, ())), "racks": [tile.asset.id for tile in ordered]}
        )
    return [{"site": site, "hall": name, "rows": found} for (site, name), found in halls.items()]


def sum_or_none(values: Iterable[float | None]) -> float | None:
    """The sum of what is there; None when nothing is, for a sum of nothing is not 0 kW."""
    present = [value for value in values if value is not None]
    return round(sum(present), 1) if present else None


def _exchanger(values: dict[str, float | None]) -> dict[str, float | None]:
    """Approach and conductance, where the CDU measures what they take; None where a part is missing now."""
    told: dict[str, float | None] = {}
    known = {name: math.nan if value is None else value for name, value in values.items()}
    if "supply_c" in known and "primary_supply_c" in known:
        approach = exchanger.approach_k(known["supply_c"], known["primary_supply_c"])
        told["approach_k"] = _rounded(approach) if math.isfinite(approach) else None
    if known.keys() >= set(exchanger.NEEDS):
        ua = exchanger.conductance(**{name: known[name] for name in exchanger.NEEDS})
        told["ua_kw_per_k"] = _rounded(ua) if math.isfinite(ua) else None
    return told


def _maximum(points: npt.NDArray[np.intp], latest: Latest) -> float | None:
    known = points[points < len(latest.value)]
    good = latest.value[known][latest.quality[known] != Quality.BAD]
    good = good[~np.isnan(good)]
    return float(good.max()) if len(good) else None


def _any(points: tuple[int, ...], latest: Latest) -> int | None:
    values = [value for point in points if (value := latest.value_of(point)) is not None]
    return int(any(values)) if values else None


def _age_s(points: npt.NDArray[np.intp], latest: Latest, at_us: int) -> float | None:
    known = points[points < len(latest.heard)]
    newest = int(latest.heard[known].max()) if len(known) else NEVER
    return None if newest == NEVER else round(max(0, at_us - newest) / SECOND_US, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
