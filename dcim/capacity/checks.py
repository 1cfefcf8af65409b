"""Cross-checks: what goes in against what comes out, wherever both are metered.

What feeds and what is fed fall into groups that share nothing: two tap-offs and their rack, a busway and its taps, a
CDU and its racks, two CDUs that cool the same racks. In each, all that the upper side gives goes to the lower side, so
two sums of meters measure one thing. Lives here: the groups, and how far they are apart. Not here: which of the two is
right (a person), an alarm of it (dcim.detect), reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dcim.capacity.meters import How, Meter, coolant_meter, meter, read
from dcim.capacity.provenance import Figure, FigureKind, Period, missing
from dcim.capacity.scopes import Layout, Scope
from dcim.capacity.spans import Floats, Grid
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling
from dcim.core.plant import Plant

NAMED_MAX = 20
"""So many things without a meter are named of one check; the rest are counted."""


class Checked(StrEnum):
    """What is held against what."""

    POWER = "power"
    """Power of feeds against that of what hangs on them, kW."""
    HEAT = "heat"
    """Heat that cooling units carry against that of their racks' liquid, kW."""
    FLOW = "flow"
    """Coolant of cooling units against that of their racks, L/min."""


UNITS = {Checked.POWER: "kW", Checked.HEAT: "kW", Checked.FLOW: "L/min"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One group: what feeds, what is fed, and the meters of both."""

    checked: Checked
    upper: tuple[AssetKey, ...]
    lower: tuple[AssetKey, ...]
    upper_meters: tuple[Meter, ...]
    lower_meters: tuple[Meter, ...]
    unmetered: tuple[str, ...]
    """Ids of either side that have no meter of their own: then nothing can be told."""

    @property
    def points(self) -> tuple[int, ...]:
        """Points that the comparison takes; none where it cannot be made."""
        return () if self.unmetered else tuple(point for one in self._meters for point in one.points)

    @property
    def _meters(self) -> tuple[Meter, ...]:
        return (*self.upper_meters, *self.lower_meters)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the two sides of a group are apart over a period."""

    pair: Pair
    upper: Figure
    """Mean over the time in which all meters are known, as `lower`."""
    lower: Figure
    difference_pct: Figure
    """100 × (lower − upper) ÷ upper."""


def pairs(layout: Layout, scope: Scope) -> list[Pair]:
    """The groups in which somebody of a scope is fed, or the asset that is asked for feeds or is fed. Groups without
    any meter on one of their sides are left out: nobody would expect an answer of them."""
    plant, inventory = layout.plant, layout.inventory
    feeds = {key: _served(key, feed.serves) for key, feed in inventory.feeds.items() if feed.serves}
    liquid = {
        key: _served(key, unit.serves)
        for key, unit in inventory.cooling.items()
        if unit.serves and unit.medium is Cooling.LIQUID
    }
    wanted = _wanted(layout, scope, (feeds, liquid))
    found = list(_pairs(plant, feeds, wanted, Checked.POWER, _own_power))
    found += _pairs(plant, liquid, wanted, Checked.HEAT, lambda plant, key: meter(plant, key, "liquid_cooling"))
    found += _pairs(plant, liquid, wanted, Checked.FLOW, coolant_meter)
    return found


def compare(found: Sequence[Pair], points: Sequence[int], grid: Grid, period: Period) -> list[Agreement]:
    """How far each group is apart, the farthest first, then what cannot be told. points: of the grid's rows, in order,
    with all that the groups take."""
    row_of = {point: row for row, point in enumerate(points)}
    told = [_compare(pair, grid, row_of, period) for pair in found]
    return sorted(told, key=_rank)


def _rank(one: Agreement) -> tuple[bool, float, str, tuple[AssetKey, ...]]:
    value = one.difference_pct.value
    return value is None, -abs(value or 0.0), one.pair.checked, one.pair.upper


def _compare(pair: Pair, grid: Grid, row_of: Mapping[int, int], period: Period) -> Agreement:
    unit, names = UNITS[pair.checked], [_names(pair.upper), _names(pair.lower)]
    boundary = f"{names[1]} against {names[0]}"

    def nothing(why: str) -> Agreement:
        upper, lower = (missing(unit, period, name, why) for name in names)
        return Agreement(pair, upper, lower, missing("%", period, boundary, why))

    if pair.unmetered:
        more = f" and {len(pair.unmetered) - 1} more" if len(pair.unmetered) > 1 else ""
        return nothing(f"nothing measures {pair.unmetered[0]}{more}")
    upper, upper_cover = _sum(pair.upper_meters, grid, row_of)
    lower, lower_cover = _sum(pair.lower_meters, grid, row_of)
    known = ~(np.isnan(upper) | np.isnan(lower))
    weight = np.where(known, grid.within, 0.0)
    if not weight.sum() > 0.0:
        return nothing("there is no step in which all of its meters are known")
    means = [float((np.where(known, side, 0.0) * weight).sum() / weight.sum()) for side in (upper, lower)]
    cover = np.minimum(np.minimum(upper_cover, lower_cover), grid.within)
    share = float(np.where(known, cover, 0.0).sum() / grid.within.sum())
    pct = min(max(100.0 * share, 0.0), 100.0)
    told = [Figure(mean, unit, FigureKind.MEASURED, pct, period, name) for mean, name in zip(means, names, strict=True)]
    if means[0] <= 0.0:
        why = f"{names[0]} says {means[0]:g} {unit}: nothing can be divided by it"
        return Agreement(pair, told[0], told[1], missing("%", period, boundary, why))
    apart = 100.0 * (means[1] - means[0]) / means[0]
    return Agreement(pair, told[0], told[1], Figure(apart, "%", FigureKind.MEASURED, pct, period, boundary))


def _sum(meters: Sequence[Meter], grid: Grid, row_of: Mapping[int, int]) -> tuple[Floats, Floats]:
    """Meters together, NaN where one is not known, and how much of each step the least read of them covers."""
    rows, _ = read(meters, grid, row_of)
    return rows.mean.sum(axis=0), rows.cover.min(axis=0)


def _pairs(
    plant: Plant,
    serves: Mapping[AssetKey, Sequence[AssetKey]],
    wanted: Callable[[AssetKey], bool],
    checked: Checked,
    find: Callable[[Plant, AssetKey], Meter | None],
) -> Iterator[Pair]:
    for upper, lower in _groups(serves):
        if not any(wanted(key) for key in (*upper, *lower)):
            continue
        above = {key: find(plant, key) for key in upper}
        below = {key: find(plant, key) for key in lower}
        if not any(above.values()) or not any(below.values()):
            continue
        yield Pair(
            checked,
            upper,
            lower,
            tuple(one for one in above.values() if one is not None),
            tuple(one for one in below.values() if one is not None),
            tuple(key.id for key, one in (above | below).items() if one is None),
        )


def _groups(
    serves: Mapping[AssetKey, Sequence[AssetKey]],
) -> Iterator[tuple[tuple[AssetKey, ...], tuple[AssetKey, ...]]]:
    """The feeders, and what they feed, in groups that share nothing, by the first feeder."""
    feeders: dict[AssetKey, list[AssetKey]] = {}
    for feeder, fed in serves.items():
        for one in fed:
            feeders.setdefault(one, []).append(feeder)
    seen: set[AssetKey] = set()
    for start in sorted(serves):
        if start in seen:
            continue
        upper, lower, frontier = {start}, set[AssetKey](), [start]
        while frontier:
            for one in serves[frontier.pop()]:
                if one not in lower:
                    lower.add(one)
                    new = [feeder for feeder in feeders[one] if feeder not in upper]
                    upper.update(new)
                    frontier += new
        seen |= upper
        yield tuple(sorted(upper)), tuple(sorted(lower))


def _wanted(
    layout: Layout, scope: Scope, serves: Iterable[Mapping[AssetKey, Sequence[AssetKey]]]
) -> Callable[[AssetKey], bool]:
    """Whether a thing belongs to a scope: its racks, all that feeds or cools them, and the asset itself."""
    if scope.kind == "site":
        return lambda key: key.site == scope.site
    if scope.kind == "asset":
        return {scope.key}.__contains__
    inside: set[AssetKey] = set(layout.racks_in(scope))
    for each in serves:
        feeders: dict[AssetKey, list[AssetKey]] = {}
        for feeder, fed in each.items():
            for one in fed:
                feeders.setdefault(one, []).append(feeder)
        frontier = list(inside)
        while frontier:
            new = [feeder for feeder in feeders.get(frontier.pop(), ()) if feeder not in inside]
            inside.update(new)
            frontier += new
    return inside.__contains__


def _own_power(plant: Plant, key: AssetKey) -> Meter | None:
    """Its own meter: a sum of those that feed it would be held against itself."""
    found = meter(plant, key, "power")
    return found if found is not None and found.how is How.ONE else None


def _served(key: AssetKey, ids: Iterable[str]) -> tuple[AssetKey, ...]:
    return tuple(AssetKey(key.site, one) for one in ids)


def _names(keys: Sequence[AssetKey]) -> str:
    told = ", ".join(key.id for key in keys[:4])
    return told if len(keys) <= 4 else f"{told} and {len(keys) - 4} more"
