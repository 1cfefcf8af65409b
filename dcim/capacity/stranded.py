"""Stranded power: what is free at the head of the way of power and cannot be used, by what keeps it from being used.

One limit after the other is put in, from the head down, and what each takes away is its share; so the shares add up
to what is stranded. The order is fixed and told, for another order would share out the same sum in another way. Lives
here: that. Not here: the limits (limits.py), what a new rack takes of them (placement.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dcim.capacity.limits import Limit, Limits, Resource
from dcim.capacity.network import Network
from dcim.capacity.placement import RACKS_MAX, RowOffer, Wanted, judge_row, place
from dcim.core.inventory import Inventory, Place


class Cause(StrEnum):
    """Why free power cannot be used, in the order in which it is counted."""

    FEEDS = "feeds"
    """Feeds further down have less left than their heads."""
    COOLING = "cooling"
    """Heat of liquid and air cannot be taken away."""
    FLOW = "flow"
    """There is not enough coolant."""
    SPACE = "space"
    """There are no free positions."""
    SIZE = "size"
    """What is left in each place is less than a whole rack."""
    UNKNOWN = "unknown"
    """In some rows nothing can be placed because something is not known."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """Stranded power of some rows. kW."""

    free_kw: float
    """What contracts, ratings of halls and the heads of the way of power leave, failover included."""
    usable_kw: float
    """Whole racks of the size asked about that fit, times their power."""
    racks: int
    by_cause: dict[Cause, float]
    """Adds up to free − usable."""
    why: tuple[str, ...]
    """Rows that were left out, and why."""


def stranded(
    inventory: Inventory, network: Network, limits: Limits, wanted: Wanted, rows: Iterable[Place]
) -> Stranded | str:
    """Stranded power of these rows, for racks like `wanted` (of which the number does not count); or why it cannot be
    told: nothing at the head is rated, or no row is known well enough."""
    places = list(rows)
    offers = [judge_row(network, limits, wanted, inventory.rows[row]) for row in places]
    told = [one for one in offers if not one.lacks]
    if not told:
        return offers[0].lacks if offers else "there are no rows"
    roots = set(network.roots.nonzero()[0].tolist())

    def head(limit: Limit, number: int) -> bool:
        if limit.resource is Resource.RATING:
            return True
        of_feed = number - (limits.feed_failover if limit.resource is Resource.FAILOVER else limits.feed_breaker)
        return limit.resource in (Resource.BREAKER, Resource.FAILOVER) and of_feed in roots

    stages: list[tuple[Cause | None, Callable[[Limit, int], bool]]] = [
        (None, head),
        (Cause.FEEDS, lambda limit, _: limit.resource in (Resource.RATING, Resource.BREAKER, Resource.FAILOVER)),
        (Cause.COOLING, lambda limit, _: limit.resource is not Resource.FLOW),
        (Cause.FLOW, lambda *_: True),
    ]
    sums: list[float] = []
    by_cause: dict[Cause, float] = {}
    for cause, counts in stages:
        racks = _divisible(told, limits, counts, whole=False)
        sums.append(racks * wanted.power_kw)
        if math.isinf(sums[-1]) and cause is None:
            return "nothing at the head of the way of power is rated, so nobody knows what is free"
        if cause is not None:
            sums[-1] = min(sums[-1], sums[-2])
            by_cause[cause] = sums[-2] - sums[-1]
    within = min(sums[-1], _divisible(told, limits, stages[-1][1], whole=True) * wanted.power_kw)
    by_cause[Cause.SPACE] = sums[-1] - within
    many = Wanted(RACKS_MAX, wanted.power_kw, wanted.cooling, wanted.redundancy, wanted.liquid_share,
                  wanted.flow_lpm_per_kw, wanted.spare_cooling)  # fmt: skip
    fitting = len(place(inventory, network, limits, many, places).chosen)
    usable = min(within, fitting * wanted.power_kw)
    known = [one for one in told if not one.unknown]
    sure = within if len(known) == len(told) else min(
        within, _divisible(known, limits, stages[-1][1], whole=True) * wanted.power_kw
    )  # fmt: skip
    by_cause[Cause.SIZE] = max(0.0, sure - usable)
    by_cause[Cause.UNKNOWN] = within - sure
    silent = [f"row {one.place.id}: {one.lacks or one.unknown[0]}" for one in offers if one.lacks or one.unknown]
    return Stranded(sums[0], usable, fitting, by_cause, tuple(silent))


def _divisible(
    offers: Sequence[RowOffer], limits: Limits, counts: Callable[[Limit, int], bool], *, whole: bool
) -> float:
    """How many racks fit if they could be divided, row by row, over the limits that count and are known. whole: no
    more in a row than it has free positions."""
    left: dict[int, float] = {}
    racks = 0.0
    for one in offers:
        most = float(len(one.free)) if whole else math.inf
        held = [
            (number, takes)
            for number, takes in zip(one.limits.tolist(), one.takes.tolist(), strict=True)
            if takes > 0.0 and limits.limits[number].spare is not None and counts(limits.limits[number], number)
        ]
        for number, takes in held:
            most = min(most, max(0.0, left.setdefault(number, limits.limits[number].spare or 0.0)) / takes)
        if math.isinf(most):
            return math.inf
        for number, takes in held:
            left[number] -= most * takes
        racks += most
    return racks
