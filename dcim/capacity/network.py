"""The ways of power and coolant as columns: which feed and which cooling unit stand behind which rack.

Lives here: the graph of an inventory, in an order in which sums run from racks to roots, and which racks go dark when
something is lost. Not here: loads (loads.py), what a loss does to the rest (failover.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling, CoolingUnit, Feed, Inventory, Place, Rack

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CoolingGroup:
    """Units that stand in for one another; one unit that stands alone is a group of its own."""

    site: str
    id: str
    medium: Cooling
    units: tuple[CoolingUnit, ...]
    racks: tuple[int, ...]
    """Numbers of the racks that it cools."""

    @property
    def n_plus(self) -> int | None:
        """How many units may fail; None where nobody says."""
        said = [unit.n_plus for unit in self.units if unit.n_plus is not None]
        return min(said) if said else None

    def left(self, ratings: Sequence[float | None], lost: int | None = None) -> float | None:
        """Of a rating of each unit, what is left without the `lost` largest; `n_plus` of them where that is None. None
        where a unit's rating is missing: what nobody gives cannot be added up."""
        present = sorted(rating for rating in ratings if rating is not None)
        if len(present) < len(ratings):
            return None
        gone = (self.n_plus or 0) if lost is None else lost
        return math.fsum(present[: max(0, len(present) - gone)])


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Feeds, racks and who hangs on whom. Numbers of feeds run from the roots down: a feeder comes before what it
    feeds. Never altered."""

    feeds: tuple[Feed, ...]
    racks: tuple[Rack, ...]
    feed_of: dict[AssetKey, int]
    rack_of: dict[AssetKey, int]
    parent: Numbers
    """With `child`: one entry for each feed that feeds a feed, both as numbers."""
    child: Numbers
    cord_rack: Numbers
    """With `cord_feed`: one entry for each feed that feeds a rack. Sorted by rack."""
    cord_feed: Numbers
    depth: Numbers
    """By feed: the longest way from a root."""
    strangers: tuple[tuple[str, ...], ...]
    """By feed: ids that it serves and that nobody describes; what cools draws little, and is none of them."""
    groups: tuple[CoolingGroup, ...]
    groups_of: tuple[tuple[int, ...], ...]
    """By rack: numbers of the groups that cool it."""
    feeds_of_unit: dict[AssetKey, tuple[int, ...]]
    """Feeds of the cooling units of which somebody says what they hang on."""
    rows: dict[Place, tuple[int, ...]]
    """Racks by row."""
    cords: Numbers
    """By rack: how many feeds it hangs on."""
    tap: Bools
    """By feed: whether it feeds one rack and nothing else."""
    blind: Bools
    """By feed: whether it or anything behind it serves strangers, of whose other feeds nobody knows."""
    tree: bool
    """Whether no feed has more than one feeder."""
    feeders: tuple[tuple[int, ...], ...]
    """By feed: what feeds it directly."""
    above: tuple[frozenset[int], ...]
    """By feed: everything that feeds it, directly or not."""

    @property
    def roots(self) -> Bools:
        """By feed: whether nothing known feeds it."""
        roots = np.ones(len(self.feeds), np.bool_)
        roots[self.child] = False
        return roots

    def alive(self, lost: Bools) -> Bools:
        """By feed: whether power still comes to it when these are lost. lost: by feed, or feeds × losses. Of several
        feeders one is enough."""
        alive = ~lost
        for down, up in self.steps():
            if self.tree:
                alive[down] &= alive[up]
                continue
            fed = np.zeros_like(alive)
            np.logical_or.at(fed, down, alive[up])
            alive[down] &= fed[down]
        return alive

    def cords_of(self, rack: int) -> slice:
        """Which cords are a rack's."""
        return slice(*np.searchsorted(self.cord_rack, [rack, rack + 1]).tolist())

    def steps(self) -> Iterable[tuple[Numbers, Numbers]]:
        """(children, parents) by depth of the child, from the roots down."""
        depths = self.depth[self.child]
        for depth in np.unique(depths):
            at = np.flatnonzero(depths == depth)
            yield self.child[at], self.parent[at]


def connect(inventory: Inventory) -> Network:
    """The network of an inventory; its feeds have no circles, for `merge` cuts them."""
    order, depth_of = _from_the_roots(inventory)
    feeds = tuple(inventory.feeds[key] for key in order)
    racks = tuple(inventory.racks.values())
    feed_of = {key: number for number, key in enumerate(order)}
    rack_of = {rack.key: number for number, rack in enumerate(racks)}
    between: list[tuple[int, int]] = []
    cords: list[tuple[int, int]] = []
    strangers = []
    for number, feed in enumerate(feeds):
        unlisted = []
        for served in feed.serves:
            key = AssetKey(feed.site, served)
            if key in rack_of:
                cords.append((rack_of[key], number))
            elif key in feed_of:
                between.append((number, feed_of[key]))
            elif key not in inventory.cooling:
                unlisted.append(served)
        strangers.append(tuple(unlisted))
    cords.sort()
    parent, child = np.array(between, np.intp).reshape(-1, 2).T
    cord_rack, cord_feed = np.array(cords, np.intp).reshape(-1, 2).T
    powered = {AssetKey(feed.site, served) for feed in feeds for served in feed.serves} & inventory.cooling.keys()
    groups = _grouped(inventory, rack_of)
    groups_of: list[list[int]] = [[] for _ in racks]
    for number, group in enumerate(groups):
        for rack in group.racks:
            groups_of[rack].append(number)
    feeders: list[list[int]] = [[] for _ in feeds]
    for up, down in between:
        feeders[down].append(up)
    above = _above(feeders)
    blind = np.zeros(len(feeds), np.bool_)
    for number, unknown in enumerate(strangers):
        if unknown:
            blind[[number, *above[number]]] = True
    loads = np.bincount(cord_feed, minlength=len(feeds))
    others = np.bincount(parent, minlength=len(feeds)) + np.array([len(one) for one in strangers], np.intp)
    return Network(
        feeds=feeds,
        racks=racks,
        feed_of=feed_of,
        rack_of=rack_of,
        parent=parent,
        child=child,
        cord_rack=cord_rack,
        cord_feed=cord_feed,
        depth=np.array([depth_of[key] for key in order], np.intp),
        strangers=tuple(strangers),
        groups=groups,
        groups_of=tuple(tuple(one) for one in groups_of),
        feeds_of_unit={
            key: tuple(number for number, feed in enumerate(feeds) if feed.site == key.site and key.id in feed.serves)
            for key in inventory.cooling
            if key in powered
        },
        rows=_by_row(racks),
        cords=np.bincount(cord_rack, minlength=len(racks)),
        tap=(loads == 1) & (others == 0),
        blind=blind,
        tree=all(len(ups) < 2 for ups in feeders),
        feeders=tuple(tuple(ups) for ups in feeders),
        above=above,
    )


def _by_row(racks: Sequence[Rack]) -> dict[Place, tuple[int, ...]]:
    rows: dict[Place, list[int]] = {}
    for number, rack in enumerate(racks):
        rows.setdefault(rack.place, []).append(number)
    return {place: tuple(numbers) for place, numbers in rows.items()}


def _above(feeders: Sequence[Sequence[int]]) -> tuple[frozenset[int], ...]:
    above: list[frozenset[int]] = []
    for ups in feeders:  # from the roots down, so that those above are done
        above.append(frozenset(ups).union(*(above[up] for up in ups)))
    return tuple(above)


def _from_the_roots(inventory: Inventory) -> tuple[list[AssetKey], dict[AssetKey, int]]:
    """Feeds in an order in which feeders come first, and their depths."""
    feeds = inventory.feeds
    waits = dict.fromkeys(feeds, 0)
    for feed in feeds.values():
        for served in feed.serves:
            key = AssetKey(feed.site, served)
            if key in waits:
                waits[key] += 1
    depth = {key: 0 for key, count in waits.items() if not count}
    order = list(depth)
    for key in order:  # grows while it is walked
        for served in feeds[key].serves:
            fed = AssetKey(key.site, served)
            if fed in waits:
                waits[fed] -= 1
                depth[fed] = max(depth.get(fed, 0), depth[key] + 1)
                if not waits[fed]:
                    order.append(fed)
    if len(order) < len(feeds):
        raise ValueError(f"{len(feeds) - len(order)} feeds stand in a circle")
    return order, depth


def _grouped(inventory: Inventory, rack_of: dict[AssetKey, int]) -> tuple[CoolingGroup, ...]:
    units: dict[tuple[str, str, Cooling, bool], list[CoolingUnit]] = {}
    for unit in inventory.cooling.values():
        units.setdefault((unit.site, unit.group or unit.id, unit.medium, bool(unit.group)), []).append(unit)
    return tuple(
        CoolingGroup(
            site,
            name,
            medium,
            tuple(members),
            tuple(
                sorted(
                    {n for unit in members for one in unit.serves if (n := rack_of.get(AssetKey(site, one), -1)) >= 0}
                )
            ),
        )
        for (site, name, medium, _), members in sorted(units.items())
    )
