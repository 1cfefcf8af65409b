"""Assets: the things that are watched, as the bus describes them and the settings place them.

Lives here: an asset, and how a set of points and placements becomes assets. Not here: who feeds whom (topology.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dcim.core.points import Point

ELECTRICAL = frozenset({"PowerMeter", "UPS", "ATS", "BESS", "Generator", "Shunt", "Breaker"})
"""DSX object types whose servesId carries power; that of every other type carries coolant."""

OBJECT_TYPES = ELECTRICAL | {
    "Rack",
    "CDU",
    "CoolingTower",
    "HX",
    "CRAH",
    "CRAC",
    "AHU",
    "Chiller",
    "Tank",
    "Valve",
    "Pump",
    "Fan",
    "Damper",
    "Sensor",
    "System",
    "GenericObject",
}
"""All object types of the DSX BMS event bus 1.0."""


class AssetKey(NamedTuple):
    """What identifies an asset: ids are unique within a site only."""

    site: str
    id: str


@dataclass(frozen=True, slots=True)
class Placement:
    """What the bus does not say of an asset: where it stands and what it is rated for. From the settings."""

    hall: str = ""
    row: str = ""
    position: int | None = None
    """Place in its row, counted from 1."""
    rated_power_kw: float | None = None
    rack_unit: int | None = None
    """Lowest unit of its rack that it takes up, counted from 1 at the bottom."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One thing that is watched."""

    site: str
    id: str
    name: str
    kind: str
    """DSX object type, "Gpu", or "" where it is only spoken of by others (`described` is then false)."""
    described: bool
    """False where no metadata of its own has come: it stands in somebody's servesId and nowhere else."""
    placement: Placement
    points: tuple[int, ...]
    within: str = ""
    """Id of the asset that contains it, "" where nobody says: a GPU's rack."""

    @property
    def key(self) -> AssetKey:
        """Site and id."""
        return AssetKey(self.site, self.id)


def assemble(points: Iterable[Point], placements: Mapping[AssetKey, Placement]) -> dict[AssetKey, Asset]:
    """The assets that these points belong to or speak of, by key, sorted by site and id.

    The first described kind, name and container win; a placement without any point or mention makes no asset.
    """
    numbers: dict[AssetKey, list[int]] = {}
    described: dict[AssetKey, tuple[str, str]] = {}
    within: dict[AssetKey, str] = {}
    for point in points:
        key = AssetKey(point.site, point.asset)
        numbers.setdefault(key, []).append(point.id)
        if point.asset_kind:
            described.setdefault(key, (point.asset_kind, point.asset_name))
        if point.within:
            within.setdefault(key, point.within)
        for spoken_of in (*point.serves, *([point.within] if point.within else ())):
            numbers.setdefault(AssetKey(point.site, spoken_of), [])
    return {
        key: Asset(
            site=key.site,
            id=key.id,
            name=described.get(key, ("", key.id))[1] or key.id,
            kind=described.get(key, ("", ""))[0],
            described=key in described,
            placement=placements.get(key, Placement()),
            points=tuple(numbers[key]),
            within=within.get(key, ""),
        )
        for key in sorted(numbers)
    }
