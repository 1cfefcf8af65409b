"""Scopes: what a question is about. A site, a hall, a row, or one asset, by a name that stands in addresses.

`site/titan`, `hall/titan/Hall 1`, `row/titan/Hall 1/A`, `asset/titan/Pod1C-E04`. Lives here: which scopes there are,
which racks and assets lie in one, how one falls into groups, and whether two would count the same thing twice. Not
here: what is measured in them (meters.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dcim.core.assets import Asset, AssetKey
from dcim.core.inventory import Inventory
from dcim.core.plant import Plant
from dcim.core.topology import Medium

ScopeKind = Literal["site", "hall", "row", "asset"]
Grouping = Literal["none", "site", "hall", "row", "rack", "cdu"]


class Scope(NamedTuple):
    """One thing that can be asked about."""

    kind: ScopeKind
    site: str
    hall: str = ""
    row: str = ""
    asset: str = ""

    @property
    def name(self) -> str:
        """As it stands in addresses."""
        return "/".join(part for part in (self.kind, self.site, self.hall, self.row, self.asset) if part)

    @property
    def key(self) -> AssetKey:
        """Site and id of the asset; of no use for other kinds."""
        return AssetKey(self.site, self.asset)


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands where: the plant's assets in the places that the inventory, or else the settings, give them."""

    plant: Plant
    inventory: Inventory
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    """By name."""
    racks: Mapping[Scope, tuple[AssetKey, ...]] = field(default_factory=dict)
    """Of sites, halls and rows; a rack that the bus never spoke of is among them where the inventory has it."""
    place: Mapping[AssetKey, tuple[str, str]] = field(default_factory=dict)
    """Hall and row of an asset; "" where nobody said."""
    number: int = 0
    """Another one for each layout of a service."""

    def racks_in(self, scope: Scope) -> tuple[AssetKey, ...]:
        """The racks of a scope: itself where it is one, those that a CDU or a meter feeds where it is one of these."""
        if scope.kind != "asset":
            return self.racks.get(scope, ())
        if self.kind_of(scope.key) == "Rack":
            return (scope.key,)
        medium = Medium.COOLANT if self.kind_of(scope.key) == "CDU" else Medium.POWER
        return tuple(key for key in self.plant.topology.downstream(scope.key, medium) if self.kind_of(key) == "Rack")

    def assets_in(self, scope: Scope, kinds: frozenset[str]) -> tuple[AssetKey, ...]:
        """Assets of some kinds in a scope."""
        if scope.kind == "asset":
            return (scope.key,) if self.kind_of(scope.key) in kinds else ()
        found = []
        for key, asset in self.plant.assets.items():
            hall, row = self.place.get(key, ("", ""))
            within = key.site == scope.site and scope.hall in {"", hall} and scope.row in {"", row}
            if asset.kind in kinds and within:
                found.append(key)
        return tuple(found)

    def kind_of(self, key: AssetKey) -> str:
        """DSX object type; "Rack" for a rack that only the inventory knows; "" where nobody said."""
        asset = self.plant.assets.get(key)
        if asset is not None and asset.kind:
            return asset.kind
        return "Rack" if key in self.inventory.racks else ""


def lay_out(plant: Plant, inventory: Inventory) -> Layout:
    """The layout of a plant; made anew when plant or inventory change."""
    place: dict[AssetKey, tuple[str, str]] = {}
    scopes: dict[str, Scope] = {}
    racks: dict[Scope, list[AssetKey]] = {}

    def list_scope(scope: Scope) -> Scope:
        return scopes.setdefault(scope.name, scope)

    for site in inventory.sites:
        list_scope(Scope("site", site))
    for hall in inventory.halls.values():
        list_scope(Scope("hall", hall.site, hall.id))
    for row in inventory.rows.values():
        list_scope(Scope("row", row.site, row.hall, row.id))
    for key in sorted({*plant.assets, *inventory.racks}):
        asset = plant.assets.get(key)
        place[key] = hall_name, row_name = _place(key, asset, inventory)
        list_scope(Scope("asset", key.site, asset=key.id))
        around = [Scope("site", key.site)]
        if hall_name:
            around.append(Scope("hall", key.site, hall_name))
        if hall_name and row_name:
            around.append(Scope("row", key.site, hall_name, row_name))
        for scope in around:
            list_scope(scope)
            if key in inventory.racks or (asset is not None and asset.kind == "Rack"):
                racks.setdefault(scope, []).append(key)
    return Layout(plant, inventory, scopes, {scope: tuple(keys) for scope, keys in racks.items()}, place)


def _place(key: AssetKey, asset: Asset | None, inventory: Inventory) -> tuple[str, str]:
    rack = inventory.racks.get(key)
    if rack is not None and (rack.hall or rack.row):
        return rack.hall, rack.row
    other = inventory.cooling.get(key) or inventory.feeds.get(key)
    placed = (asset.placement.hall, asset.placement.row) if asset is not None else ("", "")
    return (other.hall, "") if other is not None and other.hall and not placed[0] else placed


def groups(layout: Layout, scope: Scope, by: Grouping) -> list[Scope]:
    """The parts that a scope falls into, by name; the scope itself for "none". Racks without the place that is asked
    for are in no part."""
    if by == "none":
        return [scope]
    racks = layout.racks_in(scope)
    found: dict[Scope, None] = {}
    for key in racks:
        hall, row = layout.place.get(key, ("", ""))
        if by == "rack":
            found[Scope("asset", key.site, asset=key.id)] = None
        elif by == "cdu":
            for feeder in layout.plant.topology.feeders(key, Medium.COOLANT):
                if layout.kind_of(feeder) == "CDU":
                    found[Scope("asset", feeder.site, asset=feeder.id)] = None
        elif by == "site":
            found[Scope("site", key.site)] = None
        elif hall and by == "hall":
            found[Scope("hall", key.site, hall)] = None
        elif hall and row and by == "row":
            found[Scope("row", key.site, hall, row)] = None
    return sorted(found)


class Twice(NamedTuple):
    """Two scopes that share something: their sum would count it twice."""

    one: Scope
    other: Scope
    why: str


def counted_twice(layout: Layout, scopes: Sequence[Scope], medium: Medium) -> Twice | None:
    """The first two scopes whose sum would count something twice; None where all can be added up. A meter and what it
    feeds are one and the same power; two feeds of one rack are not."""
    members = [frozenset(_members(layout, scope)) for scope in scopes]
    below = [_below(layout, of, medium) for of in members]
    for first, one in enumerate(scopes):
        for second in range(first + 1, len(scopes)):
            other = scopes[second]
            if shared := members[first] & members[second]:
                return Twice(one, other, f"{min(shared).id} lies in both")
            for upper, lower, high, low in ((first, second, one, other), (second, first, other, one)):
                if fed := below[upper] & members[lower]:
                    what = "power" if medium is Medium.POWER else "coolant"
                    return Twice(high, low, f"{min(fed).id} gets its {what} through {high.name}")
    return None


def _members(layout: Layout, scope: Scope) -> Iterable[AssetKey]:
    return (scope.key,) if scope.kind == "asset" else layout.racks_in(scope)


def _below(layout: Layout, members: Iterable[AssetKey], medium: Medium) -> frozenset[AssetKey]:
    reached: set[AssetKey] = set()
    for key in members:
        reached.update(layout.plant.topology.downstream(key, medium))
    return frozenset(reached)
