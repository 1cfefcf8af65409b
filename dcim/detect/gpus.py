"""GPUs as columns: their points, the rack and the node that each stands in, and its place there.

Lives here: the columns. Not here: what is found at GPUs (thermal.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcim.core.assets import AssetKey
from dcim.core.findings import Subject
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.detect.wide import Numbers

QUANTITIES = frozenset(
    {
        "GpuTemperature",
        "GpuPower",
        "GpuPowerLimit",
        "GpuSlowdownTemperature",
        "GpuClockEventReasons",
        "GpuSoftwareThermalSlowdownTime",
        "GpuHardwareThermalSlowdownTime",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Gpus:
    """The GPUs of a plant; −1 where one has no such point."""

    temperature: Numbers
    power: Numbers
    limit: Numbers
    slowdown: Numbers
    bits: Numbers
    software_s: Numbers
    hardware_s: Numbers
    node: Numbers
    place: Numbers
    """GPUs of a site with the same number have the same place in their nodes."""
    names: tuple[str, ...]
    assets: tuple[AssetKey, ...]
    subjects: tuple[Subject, ...]
    homes: tuple[AssetKey, ...]
    """The rack that each stands in, or else the asset whose points it has."""
    nodes: tuple[str, ...]
    node_homes: tuple[AssetKey, ...]

    @classmethod
    def of(cls, plant: Plant) -> Gpus:
        """Every GPU that tells its temperature or why its clock is held back."""
        found: dict[tuple[str, str, str], dict[str, Point]] = {}
        for point in plant.of(*sorted(QUANTITIES)):
            if point.unit_known:
                found.setdefault((point.site, point.asset, point.part), {})[point.quantity] = point
        gpus = [points for points in found.values() if "GpuTemperature" in points or "GpuClockEventReasons" in points]
        first = [next(iter(points.values())) for points in gpus]
        homes = [AssetKey(point.site, point.within or point.asset) for point in first]
        nodes: dict[tuple[str, str], int] = {}
        places: dict[tuple[str, str], int] = {}
        node, place = np.zeros(len(gpus), np.intp), np.zeros(len(gpus), np.intp)
        node_homes: list[AssetKey] = []
        for number, (point, home) in enumerate(zip(first, homes, strict=True)):
            host = point.asset.removesuffix(f"-gpu{point.part}")
            node[number] = nodes.setdefault((point.site, host), len(nodes))
            place[number] = places.setdefault((point.site, point.part), len(places))
            if len(node_homes) < len(nodes):
                node_homes.append(home)

        def column(quantity: str) -> Numbers:
            return np.array([points[quantity].id if quantity in points else -1 for points in gpus], np.intp)

        return cls(
            temperature=column("GpuTemperature"),
            power=column("GpuPower"),
            limit=column("GpuPowerLimit"),
            slowdown=column("GpuSlowdownTemperature"),
            bits=column("GpuClockEventReasons"),
            software_s=column("GpuSoftwareThermalSlowdownTime"),
            hardware_s=column("GpuHardwareThermalSlowdownTime"),
            node=node,
            place=place,
            names=tuple(_name(point) for point in first),
            assets=tuple(AssetKey(point.site, point.asset) for point in first),
            subjects=tuple(Subject(point.site, point.asset, _qualifier(point)) for point in first),
            homes=tuple(homes),
            nodes=tuple(host for _, host in nodes),
            node_homes=tuple(node_homes),
        )


def _qualifier(point: Point) -> str:
    """Nothing where the asset is the GPU itself; its part where several stand in one asset."""
    return "" if not point.part or point.asset.endswith(f"-gpu{point.part}") else point.part


def _name(point: Point) -> str:
    return " ".join(filter(None, (point.asset_name, _qualifier(point))))
