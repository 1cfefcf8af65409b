"""The plant as it is known at one moment: points, assets and topology in one immutable snapshot.

Detectors, the alarm engine and the API are all handed the same one. Lives here: the snapshot and the look-ups that
several of them share. Not here: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dcim.core.assets import Asset, AssetKey, Placement, assemble
from dcim.core.labels import tell_apart
from dcim.core.points import Point, PointIndex
from dcim.core.topology import Topology, connect


@dataclass(frozen=True, slots=True)
class Plant:
    """Made anew when a description changes (`version`), never altered."""

    version: int = 0
    points: Mapping[int, Point] = field(default_factory=dict)
    """Described points that are not retired, by id; those named alike at one asset have a label as their part."""
    assets: Mapping[AssetKey, Asset] = field(default_factory=dict)
    topology: Topology = field(default_factory=Topology)
    by_quantity: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)

    def of(self, *quantities: str) -> list[Point]:
        """The points of these quantities, by quantity, then by id."""
        return [point for quantity in quantities for point in self.by_quantity.get(quantity, ())]

    def at(self, asset: AssetKey, quantity: str) -> list[Point]:
        """The points of one quantity at one asset, by id."""
        found = self.assets.get(asset)
        if found is None:
            return []
        return [point for number in found.points if (point := self.points[number]).quantity == quantity]


def survey(index: PointIndex, placements: Mapping[AssetKey, Placement]) -> Plant:
    """The snapshot of an index at its present version."""
    version = index.version
    points = {point.id: point for point in index}
    points |= {number: replace(points[number], part=label) for number, label in tell_apart(points.values()).items()}
    by_quantity: dict[str, list[Point]] = {}
    for point in points.values():
        by_quantity.setdefault(point.quantity, []).append(point)
    return Plant(
        version=version,
        points=points,
        assets=assemble(points.values(), placements),
        topology=connect(points.values()),
        by_quantity={quantity: tuple(found) for quantity, found in by_quantity.items()},
    )
