"""What the bus and the placements in the settings say of the inventory.

Lives here: racks, feeds, cooling units and who serves whom, out of a plant. Not here: ratings that no bus carries
(settings), how claims are merged (claims.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dcim.core.assets import ELECTRICAL, Asset, AssetKey, Placement
from dcim.core.claims import Claim, Value
from dcim.core.inventory import Cooling, Named, Origin, ThingKind
from dcim.core.plant import Plant
from dcim.core.topology import Medium

COOLERS = {"CDU": Cooling.LIQUID, "CRAH": Cooling.AIR, "CRAC": Cooling.AIR, "AHU": Cooling.AIR}
"""DSX object types of what takes heat away from racks."""


def kind_of(asset: Asset) -> ThingKind | None:
    """What an asset is in an inventory; None for what no inventory lists."""
    if asset.kind == "Rack":
        return ThingKind.RACK
    if asset.kind in ELECTRICAL:
        return ThingKind.FEED
    return ThingKind.COOLING if asset.kind in COOLERS else None


def said_by_bus(plant: Plant, limits_a: Mapping[AssetKey, float]) -> Iterator[Claim]:
    """Claims of the bus. limits_a: what it gives as the current limit of a meter (DSX CurrentLimit), which is the
    rating of its breaker, A. Feeders that nothing describes are no claim: nobody knows what they are."""
    gpus: dict[AssetKey, int] = {}
    for asset in plant.assets.values():
        if asset.kind == "Gpu" and asset.within:
            rack = AssetKey(asset.site, asset.within)
            gpus[rack] = gpus.get(rack, 0) + 1
    for asset in plant.assets.values():
        kind = kind_of(asset)
        if kind is None:
            continue
        key = asset.key

        def say(field: str, value: Value, kind: ThingKind = kind, key: AssetKey = key) -> Claim:
            return Claim(Named(kind, key.site, key.id, field), value, Origin.BUS)

        yield say("name", asset.name)
        if kind is ThingKind.RACK:
            if key in gpus:
                yield say("gpus", gpus[key])
            continue
        medium = Medium.POWER if kind is ThingKind.FEED else Medium.COOLANT
        served = [fed.id for fed in plant.topology.fed_by(key, medium)]
        served += [edge.fed.id for edge in plant.topology.refused if (edge.feeder, edge.medium) == (key, medium)]
        if served:
            yield say("serves", tuple(sorted(served)))
        if kind is ThingKind.COOLING:
            yield say("medium", COOLERS[asset.kind])
        elif key in limits_a:
            yield say("rated_a", limits_a[key])


def said_by_placements(plant: Plant, placements: Mapping[AssetKey, Placement]) -> Iterator[Claim]:
    """Claims of placements in the settings, for assets whose kind the bus has told by now."""
    for key, place in placements.items():
        asset = plant.assets.get(key)
        kind = kind_of(asset) if asset else None
        if kind is None:
            continue
        figures: dict[str, Value] = {"hall": place.hall or None}
        if kind is ThingKind.RACK:
            figures |= {"row": place.row or None, "position": place.position, "rated_power_kw": place.rated_power_kw}
        elif kind is ThingKind.COOLING:
            figures |= {"rated_kw": place.rated_power_kw}
        for field, value in figures.items():
            if value is not None:
                yield Claim(Named(kind, key.site, key.id, field), value, Origin.TOML)
