"""Limits: everything that can stop one more kilowatt, in one list, with what is carried now and what it may carry.

A limit holds what is added to a rack by a coefficient: a tap carries half of it, and all of it once the other feed is
lost; a CDU its share of heat; the hall's air the rest. Lives here: the list, and which limits hold a rack. Not here:
what is made of them (headroom.py, placement.py, stranded.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from dcim.capacity.failover import Worst
from dcim.capacity.loads import Loads
from dcim.capacity.network import Floats, Network
from dcim.core.inventory import Cooling, Inventory, Place, Rack

FLOW_LPM_PER_KW = 1.493
"""Coolant for a kW at a rise of 10 K, PG25 at 40 °C (dcim.physics.hydraulics.flow_for_heat_lpm)."""


class Resource(StrEnum):
    """What runs out."""

    RATING = "rating"
    """Power that a rack, a row or a hall is built for, or that a site has a contract for."""
    BREAKER = "breaker"
    """The fullest phase of a feed as it is now, against what its breaker may carry for hours."""
    FAILOVER = "failover"
    """The same after the worst loss of any one feed."""
    FLOW = "flow"
    """Coolant of a group of cooling units, without its spare ones."""
    COOLING = "cooling"
    """Heat into the liquid of such a group."""
    AIR = "air"
    """Heat into a hall's air."""
    SPACE = "space"
    """Positions of a row."""


class Hold(NamedTuple):
    """One limit holds a rack: `per_kw` of the limit's unit for each kW that is added to the rack."""

    limit: int
    per_kw: float


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    resource: Resource
    site: str
    at: str
    """What it is at: id of a rack, feed or cooling unit, hall or hall/row, or site."""
    unit: str
    capacity: float | None
    load: float | None
    measured: bool
    """Whether the load comes from meters on it; else it is put together or worked out."""
    why: str = ""
    """How the load was come by, or what is missing."""

    @property
    def spare(self) -> float | None:
        """Capacity − load, below 0 where it is overloaded; None where either is missing."""
        return None if self.capacity is None or self.load is None else self.capacity - self.load


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """All limits of a network at one moment."""

    limits: tuple[Limit, ...]
    holds: tuple[tuple[Hold, ...], ...]
    """By rack."""
    of_row: dict[Place, tuple[Hold, ...]]
    """What holds any rack in a row, hall and site whatever it hangs on: ratings, of 1 per kW."""
    space: dict[Place, int]
    """By row: the number of its limit of space."""
    feed_breaker: int
    """Number of the limit of feed 0 as it is now; those of the other feeds follow."""
    feed_failover: int
    group_flow: int
    """Number of the flow limit of cooling group 0; those of the others follow."""
    group_cooling: int
    air: dict[Place, int]
    """By hall."""


Way = dict[int, tuple[float, float]]
"""Feed → what it carries of a rack's load: as it is now, and after the worst single loss."""


def way(network: Network, feeds: Sequence[int]) -> Way:
    """What each feed would carry of a load that hangs on these, in equal parts, and after the worst loss of one feed:
    the others then take it. A feed with several feeders divides its load over them equally; when one is lost, over the
    rest. What comes over a single phase fills that phase alone of those above: three times as much of their fullest."""
    found: Way = {}
    behind: dict[int, set[int]] = {}
    for cord, feed in enumerate(feeds):
        narrow = network.feeds[feed].phases == 1
        for here, normal in _up(network, feed).items():
            if narrow and network.feeds[here].phases != 1:
                normal = (3.0 * normal[0], 3.0 * normal[1])  # noqa: PLW2901  as its fullest phase has it
            had = found.get(here, (0.0, 0.0))
            found[here] = (had[0] + normal[0] / len(feeds), max(had[1], normal[1]))
            behind.setdefault(here, set()).add(cord)
    for here, (now, alone) in found.items():
        outside = len(feeds) - len(behind[here])
        lost = max(
            (len(cords - behind[here]) for up, cords in behind.items() if up not in network.above[here]), default=0
        )
        after = len(behind[here]) / (len(feeds) - lost) if outside else 1.0
        found[here] = (now, max(now, alone * after))
    return found


def _up(network: Network, feed: int) -> dict[int, tuple[float, float]]:
    """A feed and all that feed it: the share of its load that each carries, now and after the loss of a sibling."""
    shares = {feed: (1.0, 1.0)}
    frontier = [feed]
    while frontier:
        here = frontier.pop()
        ups = network.feeders[here]
        for up in ups:
            now, after = shares[here]
            had = shares.get(up, (0.0, 0.0))
            worst = 1.0 if len(ups) == 1 else 1.0 / (len(ups) - 1)
            shares[up] = (had[0] + now / len(ups), min(1.0, had[1] + after * worst))
            frontier.append(up)
    return shares


def usable_kw(network: Network, loads: Loads) -> Floats:
    """What each feed may carry for hours with its phases in balance, kW; NaN where a rating is missing."""
    kw = np.full(len(network.feeds), np.nan)
    for number, feed in enumerate(network.feeds):
        factor = float(loads.factor[number])
        bounds = []
        if feed.rated_a is not None and not math.isnan(loads.volts[number]):
            root = 1.0 if feed.phases == 1 else math.sqrt(3.0)
            bounds.append(root * loads.volts[number] * feed.rated_a * feed.continuous_share * factor / 1000.0)
        if feed.rated_kw is not None:
            bounds.append(feed.rated_kw)
        if bounds:
            kw[number] = min(bounds)
    return kw


def fullest_kw(network: Network, loads: Loads, kva: Floats) -> Floats:
    """What each feed would carry if all its phases were as full as its fullest, kW: what its rating has to bear; of a
    feed with a single phase, what it carries. kva: by feed and phase."""
    if not network.feeds:
        return np.zeros(0)
    single = np.array([feed.phases == 1 for feed in network.feeds], np.bool_)
    kw: Floats = np.where(single, kva.sum(axis=1), 3.0 * np.max(kva, axis=1)) * loads.factor
    return kw


def liquid_kw(network: Network, loads: Loads) -> tuple[Floats, list[str]]:
    """Heat of each rack that goes into liquid, kW, and how that is known; "" where it is measured. Of a rack that is
    cooled by liquid and says no more than its power, all of it counts: on the safe side for the loop."""
    kw, how = loads.liquid_kw.copy(), []
    for number, rack in enumerate(network.racks):
        if not math.isnan(kw[number]):
            how.append("")
        elif not any(network.groups[group].medium is Cooling.LIQUID for group in network.groups_of[number]):
            kw[number] = 0.0
            how.append("no liquid")
        elif rack.liquid_share is not None:
            kw[number] = loads.rack_kw[number] * rack.liquid_share
            how.append("its power times its liquid_share")
        else:
            kw[number] = loads.rack_kw[number]
            how.append("all of its power, for nobody says its liquid_share")
    return kw, how


def share_of_liquid(rack: Rack, liquid: float, power: float) -> float:
    """Share of what is added to a rack that goes into liquid: as in the inventory, else as it is now, else all."""
    if rack.liquid_share is not None:
        return rack.liquid_share
    return min(1.0, max(0.0, liquid / power)) if power > 0.0 and not math.isnan(liquid) else 1.0


def find_limits(inventory: Inventory, network: Network, loads: Loads, worst: Worst) -> Limits:
    """All limits at the moment of these loads."""
    return _Finding(inventory, network, loads, worst).find()


class _Finding:
    def __init__(self, inventory: Inventory, network: Network, loads: Loads, worst: Worst) -> None:
        self.inventory, self.network, self.loads, self.worst = inventory, network, loads, worst
        self.limits: list[Limit] = []
        self.liquid, self.how = liquid_kw(network, loads)
        self.air = np.maximum(0.0, loads.rack_kw - self.liquid)  # NaN stays NaN
        self.of_place: dict[Place, list[int]] = {}
        for number, rack in enumerate(network.racks):
            for place in {Place(rack.site, rack.hall, rack.row), Place(rack.site, rack.hall), Place(rack.site, "")}:
                self.of_place.setdefault(place, []).append(number)

    def find(self) -> Limits:
        network, loads = self.network, self.loads
        for number, rack in enumerate(network.racks):
            load, why = self._rack(number)
            self._add(
                Resource.RATING, rack.site, rack.id, "kW", rack.rated_power_kw, load, loads.rack_measured[number], why
            )
        breaker, failover = self._feeds()
        flow, cooling = self._groups()
        air = {place: self._air(place) for place in self.inventory.halls}
        of_row = self._ratings()
        space = {place: self._space(place) for place in self.inventory.rows}
        holds = []
        for number, rack in enumerate(network.racks):
            holds.append(
                (
                    Hold(number, 1.0),
                    *self._cords(number, breaker, failover),
                    *self._cooling(number, flow, cooling, air.get(Place(rack.site, rack.hall))),
                    *of_row.get(
                        rack.place, of_row.get(Place(rack.site, rack.hall), of_row.get(Place(rack.site, ""), ()))
                    ),
                )
            )
        return Limits(tuple(self.limits), tuple(holds), of_row, space, breaker, failover, flow, cooling, air)

    def _add(
        self,
        resource: Resource,
        site: str,
        at: str,
        unit: str,
        capacity: float | None,
        load: float | None,
        measured: bool,
        why: str = "",
    ) -> int:
        capacity = None if capacity is None or math.isnan(capacity) else float(capacity)
        load = None if load is None or math.isnan(load) else float(load)
        if capacity is None:
            why = f"nobody gives the {_RATINGS[resource]} of {at}"
        elif load is None:
            why = f"nobody knows what {at} carries{why and f': {why}'}"
        self.limits.append(Limit(resource, site, at, unit, capacity, load, bool(measured) and load is not None, why))
        return len(self.limits) - 1

    def _rack(self, number: int) -> tuple[float, str]:
        load = float(self.loads.rack_kw[number])
        if math.isnan(load):
            return load, f"no meter tells what {self.network.racks[number].id} draws"
        return load, "" if self.loads.rack_measured[number] else "sum of its taps"

    def _feeds(self) -> tuple[int, int]:
        network, loads, worst = self.network, self.loads, self.worst
        usable = usable_kw(network, loads)
        first = len(self.limits)
        now = fullest_kw(network, loads, loads.feed_kva)
        for number, feed in enumerate(network.feeds):
            measured = bool(loads.feed_measured[number])
            why = "" if measured else "sum of what hangs on it"
            if math.isnan(now[number]):
                strangers = network.strangers[number]
                why = f"it feeds {strangers[0]}, of which nothing is known" if strangers else ""
            self._add(Resource.BREAKER, feed.site, feed.id, "kW", usable[number], now[number], measured, why)
        second = len(self.limits)
        after = fullest_kw(network, loads, worst.kva)
        for number, feed in enumerate(network.feeds):
            load = float(after[number])
            by = int(worst.by[number])
            why = f"worst when {network.feeds[by].id} is lost" if by >= 0 else "no single loss makes it worse"
            if worst.unsure[number]:
                lacks = "some of its racks are not described" if network.blind[number] else "somebody's load is missing"
                load, why = math.nan, f"what else {feed.id} would have to take is not known: {lacks}"
            self._add(Resource.FAILOVER, feed.site, feed.id, "kW", usable[number], load, False, why)
        return first, second

    def _groups(self) -> tuple[int, int]:
        network, loads = self.network, self.loads
        first = len(self.limits)
        for number, group in enumerate(network.groups):
            capacity = group.left([unit.flow_lpm_max for unit in group.units])
            if group.medium is Cooling.AIR:
                capacity = None
            load = float(loads.group_lpm[number])
            why = self._spare(number)
            measured = not math.isnan(load)
            if not measured:
                load = float(sum(loads.flow_lpm[rack] / len(network.groups_of[rack]) for rack in group.racks))
                why = f"sum of its racks' flows{why and f'; {why}'}"
            self._add(Resource.FLOW, group.site, group.id, "L/min", capacity, load, measured, why)
        second = len(self.limits)
        for number, group in enumerate(network.groups):
            capacity = group.left([unit.rated_kw for unit in group.units])
            load, measured = float(loads.group_kw[number]), True
            why = self._spare(number)
            strangers = [one for unit in group.units for one in unit.serves if (unit.site, one) not in network.rack_of]
            if math.isnan(load):
                measured = False
                if strangers:
                    why = f"it cools {strangers[0]}, of which nothing is known"
                else:
                    load = float(sum(self._heat(rack, group.medium) for rack in group.racks))
                    why = f"sum of its racks' heat{why and f'; {why}'}"
            self._add(Resource.COOLING, group.site, group.id, "kW", capacity, load, measured, why)
        return first, second

    def _spare(self, number: int) -> str:
        group = self.network.groups[number]
        if group.n_plus:
            return f"without its {group.n_plus} largest of {len(group.units)} units"
        return "" if len(group.units) == 1 or group.n_plus == 0 else "nobody gives its n_plus, so no unit is spare"

    def _heat(self, rack: int, medium: Cooling) -> float:
        """Heat of a rack that goes to each of its groups of one medium."""
        same = [one for one in self.network.groups_of[rack] if self.network.groups[one].medium is medium]
        whole = (
            self.liquid[rack] if medium is Cooling.LIQUID else max(0.0, self.loads.rack_kw[rack] - self.liquid[rack])
        )
        return float(whole) / len(same)

    def _air(self, place: Place) -> int:
        hall = self.inventory.halls[place]
        here = (place.site, place.hall)
        coolers = (group for group in self.network.groups if group.medium is Cooling.AIR)
        groups = [group for group in coolers if any((unit.site, unit.hall) == here for unit in group.units)]
        capacity = hall.air_kw
        if capacity is None and groups:
            parts = [group.left([unit.rated_kw for unit in group.units]) for group in groups]
            capacity = None if None in parts else math.fsum(part for part in parts if part is not None)
        racks = self.of_place.get(place, [])
        load = math.fsum(float(self.air[rack]) for rack in racks)
        return self._add(
            Resource.AIR, place.site, place.id, "kW", capacity, load, False, "what its racks do not give to liquid"
        )

    def _ratings(self) -> dict[Place, tuple[Hold, ...]]:
        found: dict[Place, tuple[Hold, ...]] = {}
        sites: dict[str, Hold] = {}
        for site in self.inventory.sites.values():
            load, why = self._contract(site.id)
            sites[site.id] = Hold(
                self._add(Resource.RATING, site.id, site.id, "kW", site.contract_kw, load, False, why), 1.0
            )
            found[Place(site.id, "")] = (sites[site.id],)
        # Nobody has to rate a hall or a row as such: one that is not rated is no limit of its own.
        for place, hall in self.inventory.halls.items():
            found[place] = (*self._rated(place, hall.rated_power_kw), sites[place.site])
        for place, row in self.inventory.rows.items():
            found[place] = (*self._rated(place, row.rated_power_kw), *found[Place(place.site, place.hall)])
        return found

    def _rated(self, place: Place, kw: float | None) -> tuple[Hold, ...]:
        if kw is None:
            return ()
        return (
            Hold(
                self._add(
                    Resource.RATING, place.site, place.id, "kW", kw, self._power(place), False, "sum of its racks"
                ),
                1.0,
            ),
        )

    def _contract(self, site: str) -> tuple[float, str]:
        network, loads = self.network, self.loads
        roots = [number for number in np.flatnonzero(network.roots).tolist() if network.feeds[number].site == site]
        if roots:
            load = math.fsum(float(loads.feed_kva[number].sum() * loads.factor[number]) for number in roots)
            if not math.isnan(load):
                return load, f"sum of {len(roots)} feeds that nothing known feeds"
        return self._power(Place(site, "")), "sum of its racks; what is not IT comes on top"

    def _power(self, place: Place) -> float:
        return math.fsum(float(self.loads.rack_kw[rack]) for rack in self.of_place.get(place, []))

    def _space(self, place: Place) -> int:
        row = self.inventory.rows[place]
        taken = {self.network.racks[rack].position for rack in self.of_place.get(place, [])} - {None}
        return self._add(Resource.SPACE, place.site, place.id, "positions", row.positions, float(len(taken)), True)

    def _cords(self, rack: int, breaker: int, failover: int) -> list[Hold]:
        feeds = self.network.cord_feed[self.network.cords_of(rack)].tolist()
        return on_feeds(self.network, feeds, breaker, failover) if feeds else []

    def _cooling(self, rack: int, flow: int, cooling: int, air: int | None) -> list[Hold]:
        thing = self.network.racks[rack]
        liquid = [one for one in self.network.groups_of[rack] if self.network.groups[one].medium is Cooling.LIQUID]
        power = float(self.loads.rack_kw[rack])
        share = share_of_liquid(thing, float(self.liquid[rack]), power) if liquid else 0.0
        lpm = float(self.loads.flow_lpm[rack])
        per_kw = lpm / power if power > 0.0 and lpm > 0.0 else FLOW_LPM_PER_KW * share
        holds = [Hold(flow + one, per_kw / len(liquid)) for one in liquid]
        holds += [Hold(cooling + one, share / len(liquid)) for one in liquid]
        if liquid and thing.flow_lpm_max is not None:
            branch = self._add(Resource.FLOW, thing.site, thing.id, "L/min", thing.flow_lpm_max, lpm, True)
            holds.append(Hold(branch, per_kw))
        if air is not None and share < 1.0:
            holds.append(Hold(air, 1.0 - share))
        return holds


_RATINGS = {
    Resource.RATING: "rated power or contract",
    Resource.BREAKER: "rating (amperes and volts, or kW)",
    Resource.FAILOVER: "rating (amperes and volts, or kW)",
    Resource.FLOW: "greatest flow of each unit",
    Resource.COOLING: "rated kW of each unit",
    Resource.AIR: "cooling by air",
    Resource.SPACE: "number of positions",
}


def on_feeds(network: Network, feeds: Sequence[int], breaker: int, failover: int) -> list[Hold]:
    """What holds a rack that hangs on these feeds. breaker, failover: as in `Limits`."""
    carried = way(network, feeds)
    holds = [Hold(breaker + feed, now) for feed, (now, _) in carried.items()]
    return holds + [Hold(failover + feed, after) for feed, (_, after) in carried.items()]
