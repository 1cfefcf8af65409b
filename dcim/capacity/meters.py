"""Meters: which points say how much of a resource an asset uses, and how their readings become one row.

Lives here: the choice of points, with the boundary that it stands for, and the arithmetic over a grid. Not here: sums
over groups and statistics (utilization.py), what things are rated for (ratings.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import numpy as np

from dcim.capacity.provenance import FigureKind
from dcim.capacity.spans import Floats, Grid, add_up, average
from dcim.core.assets import AssetKey
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.topology import Medium
from dcim.physics.fluids import PG25, WATER, Fluid
from dcim.physics.hydraulics import heat_carried_kw

Resource = Literal["power", "liquid_cooling", "air_cooling", "gpu", "gpu_sm", "gpu_memory", "gpu_power", "space"]

UNITS: Final[Mapping[Resource, str]] = {
    "power": "kW",
    "liquid_cooling": "kW",
    "air_cooling": "kW",
    "gpu": "%",
    "gpu_sm": "%",
    "gpu_memory": "%",
    "gpu_power": "kW",
    "space": "positions",
}
_GPU: Final[Mapping[Resource, tuple[str, float]]] = {
    "gpu": ("GpuUtilization", 1.0),
    "gpu_sm": ("GpuSmActive", 100.0),
    "gpu_memory": ("GpuDramActive", 100.0),
    "gpu_power": ("GpuPower", 1.0),
}
"""Quantity and factor to the resource's unit."""
ADDS_UP: Final = frozenset({"power", "liquid_cooling", "air_cooling", "gpu_power"})
"""Resources of which a group has the sum of its parts; of the others it has their mean."""


class How(StrEnum):
    """How a meter's points become one row."""

    ONE = "one"
    """As it is."""
    SUM = "sum"
    """All of them together, where all were read."""
    PARTS = "parts"
    """All of them together; gaps of one are bridged."""
    MEAN = "mean"
    """The mean of those that were read."""
    HEAT = "heat"
    """Flow, supply and return temperature: the heat that the stream takes up."""
    REST = "rest"
    """Power, flow, supply and return: what of the power the liquid did not take."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What says how much an asset uses."""

    asset: AssetKey
    how: How
    points: tuple[int, ...]
    kind: FigureKind
    boundary: str
    why: str = ""
    factor: float = 1.0
    fluid: Fluid = PG25


def meter(plant: Plant, key: AssetKey, resource: Resource) -> Meter | None:
    """What says how much of a resource an asset uses; None where nothing does."""
    if resource == "power":
        return _power(plant, key)
    if resource == "liquid_cooling":
        return _liquid(plant, key)
    if resource == "air_cooling":
        return _air(plant, key)
    return meters(plant, (key,), resource).get(key) if resource in _GPU else None


def gpus_by_rack(plant: Plant, quantity: str) -> dict[AssetKey, list[int]]:
    """Points of a quantity of GPUs, by the rack that they are in."""
    found: dict[AssetKey, list[int]] = {}
    for point in plant.of(quantity):
        found.setdefault(AssetKey(point.site, point.within or point.asset), []).append(point.id)
    return found


def _first(plant: Plant, key: AssetKey, quantity: str) -> int | None:
    """The point of a quantity that is measured, not asked for, and not of one phase alone."""
    own = [point for point in plant.at(key, quantity) if not (point.setpoint or point.integration or point.phase)]
    return own[0].id if own else None


def flow_meter(plant: Plant, key: AssetKey) -> Meter | None:
    """The water or coolant that passes an asset, L/min; None where nothing meters it."""
    for quantity in ("LiquidFlow", "RackLiquidFlow"):
        own = _first(plant, key, quantity)
        if own is not None:
            return Meter(key, How.ONE, (own,), FigureKind.MEASURED, f"{key.id}, its {quantity}")
    return None


def coolant_meter(plant: Plant, key: AssetKey) -> Meter | None:
    """The coolant that passes a rack, or the circuit that a CDU keeps cool, L/min; None where nothing meters it."""
    own = _first(plant, key, "RackLiquidFlow")
    if own is None:
        own = _of(plant.at(key, "LiquidFlow"), Loop.SECONDARY, None)
    return None if own is None else Meter(key, How.ONE, (own,), FigureKind.MEASURED, f"{key.id}, its coolant")


def _power(plant: Plant, key: AssetKey) -> Meter | None:
    for quantity in ("RackPower", "ActivePower"):
        own = _first(plant, key, quantity)
        if own is not None:
            return Meter(key, How.ONE, (own,), FigureKind.MEASURED, f"{key.id}, its own {quantity}")
    feeding = feeding_meters(plant, key)
    if feeding:
        names = " and ".join(feeder.id for feeder, _ in feeding[:4]) + (" …" if len(feeding) > 4 else "")
        points = tuple(point for _, point in feeding)
        return Meter(
            key, How.SUM, points, FigureKind.ESTIMATED, f"{key.id}, at {names}",
            "it has no meter of its own: the sum of those that feed it and nothing else",
        )  # fmt: skip
    gpu = plant.at(key, "GpuPower")
    if gpu:
        return Meter(key, How.ONE, (gpu[0].id,), FigureKind.MEASURED, f"{key.id}, the GPU's board alone")
    return None


def feeding_meters(plant: Plant, key: AssetKey) -> list[tuple[AssetKey, int]]:
    """What feeds an asset directly and nothing else, with the point of its power; [] unless all of it has a meter."""
    feeders = plant.topology.feeders(key, Medium.POWER)
    found = []
    for feeder in feeders:
        point = _first(plant, feeder, "ActivePower")
        if point is None or plant.topology.fed_by(feeder, Medium.POWER) != (key,):
            return []
        found.append((feeder, point))
    return found


def _stream(plant: Plant, key: AssetKey) -> tuple[tuple[int, int, int], str, Fluid] | None:
    """Flow, supply and return temperature of what cools an asset, with words for the boundary."""
    rack = tuple(
        _first(plant, key, quantity)
        for quantity in ("RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLiquidReturnTemperature")
    )
    if all(point is not None for point in rack):
        return tuple(point for point in rack if point is not None), "its manifold", PG25  # type: ignore[return-value]
    for loop, fluid in ((Loop.SECONDARY, PG25), (Loop.PRIMARY, WATER)):
        flow = _of(plant.at(key, "LiquidFlow"), loop, None)
        supply = _of(plant.at(key, "LiquidTemperature"), loop, Side.SUPPLY)
        warm = _of(plant.at(key, "LiquidTemperature"), loop, Side.RETURN)
        if flow is not None and supply is not None and warm is not None:
            return (flow, supply, warm), f"its {loop.value} side", fluid
    return None


def _of(points: Sequence[Point], loop: Loop, side: Side | None) -> int | None:
    for point in points:
        if point.loop is loop and (side is None or point.side is side) and not point.setpoint and not point.integration:
            return point.id
    return None


def _liquid(plant: Plant, key: AssetKey) -> Meter | None:
    stream = _stream(plant, key)
    if stream is None:
        return None
    points, where, fluid = stream
    return Meter(
        key, How.HEAT, points, FigureKind.MEASURED, f"{key.id}, {where}, {fluid.name}", fluid=fluid
    )  # fmt: skip


def _air(plant: Plant, key: AssetKey) -> Meter | None:
    stream, power = _stream(plant, key), _first(plant, key, "RackPower")
    if stream is None or power is None:
        return None
    return Meter(
        key, How.REST, (power, *stream[0]), FigureKind.ESTIMATED, f"{key.id}, its power less the heat in its liquid",
        "nothing measures the air: the error is that of both meters", fluid=stream[2],
    )  # fmt: skip


def _gpu_meter(key: AssetKey, resource: Resource, points: Sequence[int], factor: float) -> Meter:
    how = How.PARTS if resource == "gpu_power" else How.MEAN
    if len(points) == 1:
        how = How.ONE
    return Meter(key, how, tuple(points), FigureKind.MEASURED, f"{key.id}, {len(points)} GPUs", factor=factor)


def meters(plant: Plant, keys: Sequence[AssetKey], resource: Resource) -> dict[AssetKey, Meter]:
    """`meter` for many assets at once; those that nothing measures are left out."""
    if resource in _GPU:
        quantity, factor = _GPU[resource]
        by_rack = gpus_by_rack(plant, quantity)
        found = {}
        for key in keys:
            inside = [point.id for point in plant.at(key, quantity)] or by_rack.get(key, [])
            if inside:
                found[key] = _gpu_meter(key, resource, inside, factor)
        return found
    return {key: one for key in keys if (one := meter(plant, key, resource)) is not None}


def read(meters: Sequence[Meter], of: Grid, row_of: Mapping[int, int]) -> tuple[Grid, Floats]:
    """One row for each meter, and the share of the time of its points that readings cover, 0 to 1. of: the points'
    grid; row_of: point → row in it."""
    mean = np.full((len(meters), of.steps.number), np.nan)
    cover, peak = np.zeros_like(mean), np.full_like(mean, np.nan)
    measured = np.zeros(len(meters))
    single = [number for number, one in enumerate(meters) if one.how is How.ONE]
    if single:
        rows = np.array([row_of[meters[number].points[0]] for number in single])
        factors = np.array([meters[number].factor for number in single])[:, None]
        mean[single], cover[single], peak[single] = of.mean[rows] * factors, of.cover[rows], of.peak[rows] * factors
    for number, one in enumerate(meters):
        if one.how is not How.ONE:
            part = _row(one, of.rows([row_of[point] for point in one.points]))
            mean[number], cover[number], peak[number] = part.mean[0], part.cover[0], part.peak[0]
    whole = of.within.sum()
    for number, one in enumerate(meters):
        if one.how in {How.PARTS, How.MEAN}:
            rows = np.array([row_of[point] for point in one.points])
            measured[number] = min(float(of.cover[rows].sum() / (whole * len(rows))), 1.0)
        else:
            measured[number] = min(float(cover[number].sum() / whole), 1.0)
    return Grid(of.steps, of.within, mean, cover, peak), measured


def _row(one: Meter, of: Grid) -> Grid:
    if one.how is How.PARTS:
        return add_up(of).grid.times(one.factor)
    if one.how is How.MEAN:
        return average(of).grid.times(one.factor)
    # What is made of several points is known while all of them are.
    cover = of.cover.min(axis=0)[None]
    if one.how is How.SUM:
        value = of.mean.sum(axis=0)
    elif one.how is How.HEAT:
        value = _heat(of.mean, one.fluid)
    else:
        value = of.mean[0] - _heat(of.mean[1:], one.fluid)
    cover = np.where(np.isnan(value), 0.0, cover)
    values = np.where(cover > 0, value, np.nan)
    return Grid(of.steps, of.within, values, cover, values)


def _heat(flow_supply_return: Floats, fluid: Fluid) -> Floats:
    flow, supply, warm = flow_supply_return
    heat: Floats = heat_carried_kw(flow, supply, warm, fluid)
    return heat
