"""Headroom: how much more the racks of a place may draw, by what stops them, and what stops them first.

Lives here: places, and their headroom over all limits. Not here: the limits (limits.py), new racks (placement.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dcim.capacity.limits import Limit, Limits, Resource
from dcim.capacity.loads import Loads
from dcim.capacity.network import Network
from dcim.capacity.provenance import Figure, FigureKind, Period, missing
from dcim.core.inventory import Inventory, Place


class Level(StrEnum):
    """What headroom is told of."""

    RACK = "rack"
    ROW = "row"
    HALL = "hall"
    SITE = "site"


@dataclass(frozen=True, slots=True)
class Unit:
    """A place, and the racks in it by number."""

    level: Level
    site: str
    id: str
    """Of a rack its id, of a row hall/row, of a hall its name, of a site its id."""
    racks: tuple[int, ...]
    places: tuple[Place, ...] = ()
    """Rows in it: their free positions are its space."""


@dataclass(frozen=True, slots=True)
class Strain:
    """Headroom of a place over one resource."""

    resource: Resource
    headroom: Figure
    """kW, but for space: positions."""
    tightest: Limit | None
    """The limit that leaves least of what it may carry; None where none is known."""
    unknown: tuple[str, ...]
    """What is not known, in sentences: the headroom may be less for it."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """Headroom of one place."""

    unit: Unit
    headroom: Figure
    """kW that its racks may draw more, over all resources but space."""
    binding: Strain | None
    """The resource that stops them first; None where nothing is known."""
    strains: tuple[Strain, ...]


POWER = tuple(resource for resource in Resource if resource is not Resource.SPACE)
UNKNOWN_MAX = 5
"""So many sentences of what is unknown are told of one resource; the last says how many more there are."""


def units(inventory: Inventory, network: Network, level: Level) -> list[Unit]:
    """Every place of a level, by site and id. Racks that stand nowhere belong to their site alone."""
    numbers: dict[Place, list[int]] = {}
    for number, rack in enumerate(network.racks):
        for place in {Place(rack.site, rack.hall, rack.row), Place(rack.site, rack.hall), Place(rack.site, "")}:
            numbers.setdefault(place, []).append(number)
    if level is Level.RACK:
        return [Unit(level, rack.site, rack.id, (number,)) for number, rack in enumerate(network.racks)]
    if level is Level.SITE:
        return [
            Unit(level, site, site, tuple(numbers.get(Place(site, ""), ())), _rows(inventory, Place(site, "")))
            for site in inventory.sites
        ]
    places = inventory.rows if level is Level.ROW else inventory.halls
    return [
        Unit(level, place.site, place.id, tuple(numbers.get(place, ())), _rows(inventory, place)) for place in places
    ]


def headroom(unit: Unit, limits: Limits, loads: Loads) -> Headroom:
    """Headroom of a place now.

    Of several racks it is what they may draw more together, filled up one after the other: see `fill`.
    """
    period, boundary = Period(loads.at, loads.at), _boundary(unit)
    touched = {hold.limit for rack in unit.racks for hold in limits.holds[rack]}
    # A contract or a hall's air alone says nothing of what one rack may draw.
    able = [rack for rack in unit.racks if _own(limits, rack)]
    value = fill(able, limits, POWER)
    strains = [_strain(unit, resource, limits, touched, period, value or 0.0) for resource in POWER]
    strains.append(_space(unit, limits, period))
    unknown = [sentence for strain in strains for sentence in strain.unknown]
    if value is None:
        why = unknown[0] if unknown else "it has no racks"
        return Headroom(unit, missing("kW", period, boundary, why), None, tuple(strains))
    known = [strain for strain in strains if strain.headroom.value is not None and strain.resource in POWER]
    binding = min(known, key=lambda strain: (strain.headroom.value or 0.0, list(Resource).index(strain.resource)))
    measured = [limits.limits[number].measured for number in touched]
    why = f"{binding.resource} of {binding.tightest.at if binding.tightest else unit.id} stops it"
    if len(able) < len(unit.racks):
        why += f"; {len(unit.racks) - len(able)} racks are left out, for nobody knows what they may draw"
    if unknown:
        why += f"; may be less: {unknown[0]}"
        why += f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    coverage = 100.0 * sum(measured) / len(measured)
    figure = Figure(value, "kW", FigureKind.ESTIMATED, coverage, period, boundary, why)
    return Headroom(unit, figure, binding, tuple(strains))


def _own(limits: Limits, rack: int) -> bool:
    """Whether a rack's own rating, or one of its feeds, is a limit that is known."""
    return limits.limits[rack].spare is not None or any(
        limits.limits[number].resource in (Resource.BREAKER, Resource.FAILOVER)
        and limits.limits[number].spare is not None
        for number, _ in limits.holds[rack]
    )


def fill(racks: Iterable[int], limits: Limits, resources: Sequence[Resource]) -> float | None:
    """What racks may draw more together, kW, over the limits of these resources that are known; overloaded ones leave
    0. Racks that none of them holds are left out; None where that is all of them.

    Those that take least of a limit for a kW come first. It is never more than is possible; it is all of it where one
    limit binds, or where limits contain one another."""

    def dearest(rack: int) -> tuple[float, int]:
        taken = (hold.per_kw for hold in limits.holds[rack] if limits.limits[hold.limit].resource in resources)
        return max(taken, default=0.0), rack

    left: dict[int, float] = {}
    sum_kw, held = 0.0, False
    for rack in sorted(racks, key=dearest):
        most = math.inf
        holds = [hold for hold in limits.holds[rack] if limits.limits[hold.limit].resource in resources]
        for number, per_kw in holds:
            if number not in left:
                spare = limits.limits[number].spare
                left[number] = math.inf if spare is None else spare
            if per_kw > 0.0:
                most = min(most, max(0.0, left[number]) / per_kw)
        if math.isinf(most):
            continue
        held = True
        for number, per_kw in holds:
            left[number] -= most * per_kw
        sum_kw += most
    return sum_kw if held else None


def _of_feed(limits: Limits, number: int) -> bool:
    """Whether a limit is that of a feed."""
    return limits.limits[number].resource is Resource.FAILOVER


def _strain(
    unit: Unit, resource: Resource, limits: Limits, touched: Iterable[int], period: Period, together: float
) -> Strain:
    """together: headroom over all resources, which one alone can but exceed."""
    own = sorted(number for number in touched if limits.limits[number].resource is resource)
    unknown = _told([limit.why for number in own if (limit := limits.limits[number]).spare is None])
    known = [limit for number in own if (limit := limits.limits[number]).spare is not None]
    boundary = f"{resource} of {_boundary(unit)}"
    if resource is Resource.FAILOVER:
        bare = [rack for rack in unit.racks if not any(_of_feed(limits, number) for number, _ in limits.holds[rack])]
        if bare:
            told = [f"nobody says which feeds {len(bare)} of its racks hang on"] if len(unit.racks) > 1 else []
            unknown = (*(told or ["nobody says which feeds it hangs on"]), *unknown)
    value = fill(unit.racks, limits, (resource,))
    if value is None:
        why = unknown[0] if unknown else ("it has no racks" if not unit.racks else f"no {resource} limit holds it")
        return Strain(resource, missing("kW", period, boundary, why), _tightest(known), unknown)
    measured = sum(limit.measured for limit in known)
    kind = FigureKind.MEASURED if measured == len(own) else FigureKind.ESTIMATED
    value = max(value, together)
    tightest = _tightest(known)
    why = f"{tightest.at} is the fullest{tightest.why and f': {tightest.why}'}" if tightest else ""
    return Strain(
        resource, Figure(value, "kW", kind, 100.0 * measured / len(own), period, boundary, why), tightest, unknown
    )


def _space(unit: Unit, limits: Limits, period: Period) -> Strain:
    boundary = f"space of {_boundary(unit)}"
    own = [limits.limits[limits.space[place]] for place in unit.places if place in limits.space]
    known = [limit for limit in own if limit.spare is not None]
    unknown = _told([limit.why for limit in own if limit.spare is None])
    if not known:
        why = (
            unknown[0] if unknown else "a rack has no free positions" if unit.level is Level.RACK else "it has no rows"
        )
        return Strain(Resource.SPACE, missing("positions", period, boundary, why), None, unknown)
    free = math.fsum(max(0.0, limit.spare or 0.0) for limit in known)
    kind = FigureKind.MEASURED if len(known) == len(own) else FigureKind.ESTIMATED
    figure = Figure(free, "positions", kind, 100.0 * len(known) / len(own), period, boundary, "by the inventory")
    return Strain(Resource.SPACE, figure, _tightest(known), unknown)


def _tightest(known: Sequence[Limit]) -> Limit | None:
    """The limit that leaves the least of what it may carry."""
    return min(known, key=lambda limit: ((limit.spare or 0.0) / (limit.capacity or 1.0), limit.at), default=None)


def _told(sentences: list[str]) -> tuple[str, ...]:
    told = list(dict.fromkeys(sentences))
    more = len(told) - UNKNOWN_MAX
    return tuple(told) if more <= 0 else (*told[:UNKNOWN_MAX], f"{more} more of the kind")


def _boundary(unit: Unit) -> str:
    racks = f", {len(unit.racks)} racks" if unit.level is not Level.RACK else ""
    return f"{unit.level} {unit.site}/{unit.id}{racks}" if unit.level is not Level.SITE else f"site {unit.id}{racks}"


def _rows(inventory: Inventory, place: Place) -> tuple[Place, ...]:
    return tuple(
        row
        for row in inventory.rows
        if row.site == place.site and place.hall in ("", row.hall) and place.row in ("", row.row)
    )


def by_id(found: Iterable[Unit]) -> Mapping[tuple[str, str], Unit]:
    """Units by site and id."""
    return {(unit.site, unit.id): unit for unit in found}
