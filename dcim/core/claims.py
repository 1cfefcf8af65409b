"""Claims: what the settings, NetBox and the bus each say of a figure, and the one inventory that comes of it.

Where two say different things, the first of `Origin` counts and the difference is listed as a conflict: nothing is
settled in silence. What feeds what is added up instead, for a source that does not speak of an edge does not deny it.
Lives here: the claim and the merge. Not here: reading TOML, NetBox or the bus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from dcim.core.assets import AssetKey
from dcim.core.inventory import (
    Conflict,
    CoolingUnit,
    Feed,
    GpuProduct,
    Hall,
    Inventory,
    Named,
    Origin,
    Place,
    Rack,
    Row,
    Site,
    ThingKind,
)

Value: TypeAlias = "str | int | float | datetime | tuple[Any, ...] | None"
"""A figure as its dataclass has it."""

ADDED_UP = frozenset({"serves", "feeds", "cooling"})
"""Figures that are sets: every source adds its own."""
CONFLICTS_MAX = 10_000
"""More are not listed one by one; the last one says how many there are."""
_ORDER = {origin: number for number, origin in enumerate(Origin)}
_CLASSES: dict[ThingKind, Any] = {
    ThingKind.SITE: Site,
    ThingKind.HALL: Hall,
    ThingKind.ROW: Row,
    ThingKind.RACK: Rack,
    ThingKind.FEED: Feed,
    ThingKind.COOLING: CoolingUnit,
    ThingKind.PRODUCT: GpuProduct,
}


class Claim(NamedTuple):
    """Somebody says something. With the field "" it says no more than that the thing is there."""

    what: Named
    value: Value
    origin: Origin


def merge(claims: Iterable[Claim]) -> Inventory:
    """The inventory that these claims make, whatever their order. Halls and rows that racks stand in are listed even
    where nobody describes them, and so are the sites of everything. Raises nothing for any claims whose fields are
    those of their kind."""
    said: dict[tuple[ThingKind, str, str], dict[str, list[Claim]]] = {}
    for claim in sorted(claims, key=_rank):
        said.setdefault(claim.what[:3], {}).setdefault(claim.what.field, []).append(claim)
    things: dict[ThingKind, dict[tuple[str, str], Any]] = {kind: {} for kind in ThingKind}
    origins: dict[Named, Origin] = {}
    conflicts: list[Conflict] = []
    for (kind, site, thing), figures in said.items():
        values: dict[str, Value] = {}
        for name, claimed in figures.items():
            if not name:
                continue
            if name in ADDED_UP:
                values[name] = tuple(sorted({one for claim in claimed for one in _many(claim.value)}))
            else:
                values[name] = claimed[0].value
                if any(not same(claimed[0].value, claim.value) for claim in claimed):
                    told = tuple(dict.fromkeys((claim.origin, _text(claim.value)) for claim in claimed))
                    conflicts.append(Conflict(claimed[0].what, told, _differ(claimed[0].what, claimed[0].origin)))
            origins[claimed[0].what] = claimed[0].origin
        things[kind][site, thing] = _build(kind, site, thing, values)
    return _whole(things, origins, conflicts)


def _rank(claim: Claim) -> tuple[Named, int, float, str]:
    """What counts first: by origin, and of two figures of one origin the smaller one, on the safe side."""
    size = float(claim.value) if isinstance(claim.value, int | float) else math.inf
    return claim.what, _ORDER[claim.origin], size, _text(claim.value)


def same(one: Value, other: Value) -> bool:
    """Whether two say the same: numbers to a millionth, words exactly."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def claims_of(inventory: Inventory) -> Iterator[Claim]:
    """What an inventory says, with the origin of each figure: a merge of these is that inventory, but for conflicts."""
    for kind, mapping in _mappings(inventory).items():
        for thing in mapping.values():
            site, name = _identity(kind, thing)
            known = [
                field
                for field in _CLASSES[kind].__dataclass_fields__
                if Named(kind, site, name, field) in inventory.origins
            ]
            if not known:
                yield Claim(Named(kind, site, name, ""), None, Origin.BUS)
            for field in known:
                what = Named(kind, site, name, field)
                yield Claim(what, getattr(thing, field), inventory.origins[what])


def differences(before: Inventory, after: Inventory) -> list[str]:
    """What changed from one inventory to another, in lines, sorted: things that came and went, figures that differ."""
    old, new = _flat(before), _flat(after)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        kind, site, thing = key
        name = f"{kind} {thing}" if kind in (ThingKind.SITE, ThingKind.PRODUCT) else f"{kind} {site}/{thing}"
        if key not in old:
            lines.append(f"+ {name}")
        elif key not in new:
            lines.append(f"- {name}")
        else:
            lines += [
                f"~ {name}: {field} {_text(old[key].get(field))} → {_text(new[key].get(field))}"
                for field in sorted(old[key].keys() | new[key].keys())
                if not same(old[key].get(field), new[key].get(field))
            ]
    return lines


def _flat(inventory: Inventory) -> dict[tuple[ThingKind, str, str], dict[str, Value]]:
    flat: dict[tuple[ThingKind, str, str], dict[str, Value]] = {}
    for claim in claims_of(inventory):
        figures = flat.setdefault(claim.what[:3], {})
        if claim.what.field:
            figures[claim.what.field] = claim.value
    return flat


def _build(kind: ThingKind, site: str, thing: str, values: dict[str, Value]) -> Any:
    if kind in (ThingKind.SITE, ThingKind.PRODUCT):
        return _CLASSES[kind](id=thing, **values)
    if kind is ThingKind.ROW:
        hall, _, row = thing.partition("/")
        return _CLASSES[kind](**{"site": site, "hall": hall, "id": row} | values)
    return _CLASSES[kind](site=site, id=thing, **values)


def _whole(
    things: Mapping[ThingKind, dict[tuple[str, str], Any]], origins: dict[Named, Origin], conflicts: list[Conflict]
) -> Inventory:
    racks: dict[AssetKey, Rack] = {rack.key: rack for rack in things[ThingKind.RACK].values()}
    feeds: dict[AssetKey, Feed] = {feed.key: feed for feed in things[ThingKind.FEED].values()}
    cooling: dict[AssetKey, CoolingUnit] = {unit.key: unit for unit in things[ThingKind.COOLING].values()}
    rows: dict[Place, Row] = {row.place: row for row in things[ThingKind.ROW].values()}
    halls: dict[Place, Hall] = {hall.place: hall for hall in things[ThingKind.HALL].values()}
    sites: dict[str, Site] = {site.id: site for site in things[ThingKind.SITE].values()}
    for rack in racks.values():
        if rack.hall and rack.row:
            rows.setdefault(rack.place, Row(rack.site, rack.hall, rack.row))
    placed: list[Any] = [*racks.values(), *feeds.values(), *cooling.values()]
    for place in [*rows, *(Place(one.site, one.hall) for one in placed)]:
        if place.hall:
            halls.setdefault(Place(place.site, place.hall), Hall(place.site, place.hall))
    for key in (*racks, *feeds, *cooling, *halls):
        sites.setdefault(key[0], Site(key[0]))
    conflicts += _kinds_twice(racks, feeds, cooling)
    conflicts += _places_twice(racks, rows, origins)
    conflicts += _groups_apart(cooling, origins)
    feeds, circles = _without_circles(feeds)
    conflicts += circles
    if len(conflicts) > CONFLICTS_MAX:
        more = len(conflicts) - CONFLICTS_MAX
        conflicts = conflicts[:CONFLICTS_MAX]
        conflicts.append(Conflict(Named(ThingKind.SITE, "", "", ""), (), f"{more} more conflicts are not listed"))
    return Inventory(
        dict(sorted(sites.items())),
        dict(sorted(halls.items())),
        dict(sorted(rows.items())),
        dict(sorted(racks.items())),
        dict(sorted(feeds.items())),
        dict(sorted(cooling.items())),
        {product.id: product for product in things[ThingKind.PRODUCT].values()},
        origins,
        tuple(conflicts),
    )


def _kinds_twice(*mappings: Mapping[AssetKey, Any]) -> Iterator[Conflict]:
    kinds = (ThingKind.RACK, ThingKind.FEED, ThingKind.COOLING)
    seen: dict[AssetKey, ThingKind] = {}
    for kind, mapping in zip(kinds, mappings, strict=True):
        for key in mapping:
            if key in seen:
                yield Conflict(
                    Named(kind, key.site, key.id, ""), (), f"{key.id} is listed as a {seen[key]} and as a {kind}"
                )
            seen.setdefault(key, kind)


def _places_twice(
    racks: Mapping[AssetKey, Rack], rows: Mapping[Place, Row], origins: Mapping[Named, Origin]
) -> Iterator[Conflict]:
    taken: dict[tuple[Place, int], Rack] = {}
    for rack in racks.values():
        if rack.position is None or not rack.row:
            continue
        what = Named(ThingKind.RACK, rack.site, rack.id, "position")
        said = ((origins.get(what, Origin.TOML), str(rack.position)),)
        where = f"position {rack.position} of row {rack.place.id}"
        other = taken.setdefault((rack.place, rack.position), rack)
        if other is not rack:
            yield Conflict(what, said, f"{other.id} and {rack.id} both stand at {where}")
        positions = rows[rack.place].positions if rack.place in rows else None
        if positions is not None and rack.position > positions:
            yield Conflict(what, said, f"{rack.id} stands at {where}, which has {positions}")


def _groups_apart(cooling: Mapping[AssetKey, CoolingUnit], origins: Mapping[Named, Origin]) -> Iterator[Conflict]:
    first: dict[tuple[str, str], CoolingUnit] = {}
    for unit in cooling.values():
        if not unit.group:
            continue
        other = first.setdefault((unit.site, unit.group), unit)
        if other.n_plus != unit.n_plus:
            what = Named(ThingKind.COOLING, unit.site, unit.id, "n_plus")
            said = ((origins.get(what, Origin.TOML), str(unit.n_plus)),)
            yield Conflict(what, said, f"{other.id} and {unit.id} of group {unit.group} have different n_plus")


def _without_circles(feeds: Mapping[AssetKey, Feed]) -> tuple[dict[AssetKey, Feed], list[Conflict]]:
    """Feeds without the edges that close a circle: nothing feeds itself. One walk in depth, by id; a circle loses the
    edge that comes back to where the walk came from."""
    found: list[Conflict] = []
    dropped: dict[AssetKey, set[str]] = {}
    done: set[AssetKey] = set()
    for start in sorted(feeds):
        if start in done:
            continue
        way: dict[AssetKey, Iterator[str]] = {start: iter(feeds[start].serves)}
        while way:
            here = next(reversed(way))
            served = next(way[here], None)
            if served is None:
                done.add(here)
                way.pop(here)
                continue
            key = AssetKey(here.site, served)
            if key in way:
                dropped.setdefault(here, set()).add(served)
                what = Named(ThingKind.FEED, here.site, here.id, "serves")
                why = f"{here.id} feeds {served}, which feeds {here.id}: a circle. The edge from {here.id} is left out"
                found.append(Conflict(what, (), why))
            elif key in feeds and key not in done:
                way[key] = iter(feeds[key].serves)
    kept = {
        key: replace(feed, serves=tuple(one for one in feed.serves if one not in dropped[key]))
        if key in dropped
        else feed
        for key, feed in feeds.items()
    }
    return kept, found


def _mappings(inventory: Inventory) -> dict[ThingKind, Mapping[Any, Any]]:
    return {
        ThingKind.SITE: inventory.sites,
        ThingKind.HALL: inventory.halls,
        ThingKind.ROW: inventory.rows,
        ThingKind.RACK: inventory.racks,
        ThingKind.FEED: inventory.feeds,
        ThingKind.COOLING: inventory.cooling,
        ThingKind.PRODUCT: inventory.products,
    }


def _identity(kind: ThingKind, thing: Any) -> tuple[str, str]:
    """Site and id of a thing, as claims name it."""
    if kind is ThingKind.SITE:
        return thing.id, thing.id
    if kind is ThingKind.PRODUCT:
        return "", thing.id
    return thing.site, thing.place.id if kind is ThingKind.ROW else thing.id


def _differ(what: Named, counts: Origin) -> str:
    figure = f"{what.field.replace('_', ' ')} of {what.kind} {what.id}"
    return f"they differ on {figure}; what {counts} says counts until it is put right"


def _many(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _text(value: Value) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(_text(part) for part in value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return str(value)
