"""Placement: where new racks fit, which limit stops each position, and how well the ones that fit fit.

A free position hangs on what the inventory says of its row, or else on what its neighbours hang on. Lives here: free
positions, how much of every limit one more rack takes, the ranking, and a choice for several racks at once. Not here:
the limits (limits.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from dcim.capacity.limits import FLOW_LPM_PER_KW, Hold, Limit, Limits, Resource, on_feeds
from dcim.capacity.network import Floats, Network, Numbers
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling, Inventory, Place, Row

RACKS_MAX = 1_000
"""Racks that one question places at most."""
OWN_LIQUID_SHARE = 0.9
"""Share of a liquid-cooled rack's heat that its liquid takes, where the question does not say. [E]"""


class Redundancy(StrEnum):
    """What a new rack wants of its feeds."""

    NONE = "N"
    SPARE = "N+1"
    DOUBLE = "2N"


@dataclass(frozen=True, slots=True)
class Wanted:
    """New racks, all alike."""

    racks: int
    power_kw: float
    cooling: Cooling = Cooling.LIQUID
    redundancy: Redundancy = Redundancy.DOUBLE
    liquid_share: float | None = None
    """Of a liquid-cooled one; OWN_LIQUID_SHARE where it is None."""
    flow_lpm_per_kw: float = FLOW_LPM_PER_KW
    """Coolant for each kW that goes into liquid."""
    spare_cooling: bool = False
    """Whether a group with a spare unit has to cool it."""

    @property
    def share(self) -> float:
        """Share of its heat that goes into liquid."""
        if self.cooling is Cooling.AIR:
            return 0.0
        return OWN_LIQUID_SHARE if self.liquid_share is None else self.liquid_share


@dataclass(frozen=True, slots=True)
class Seat:
    """A free position, judged for one rack."""

    row: Place
    position: int
    fits: bool
    binding: Resource | None
    """What leaves least, or stops it; None where nothing is known."""
    at: str
    """Where that is."""
    margin_pct: float | None
    """Of what binds, what would be left, in percent of its capacity; below 0 where it does not fit. None where that is
    no number: it lacks a feed, a cooler or a figure."""
    why: str
    unknown: tuple[str, ...]
    """What is not known; it does not fit while anything is."""
    assumed: str
    """What of its feeds and cooling is taken from its neighbours; "" where the inventory says it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An answer: every free position that was asked about, best first, and a choice for all of the racks at once."""

    seats: tuple[Seat, ...]
    chosen: tuple[Seat, ...]
    """As many as fit together, judged in that order; fewer than wanted where no more do."""
    stopped: Seat | None
    """The seat that came nearest when no more fitted; None where all did or there was none."""
    silent: tuple[tuple[Place, str], ...]
    """Rows without a seat, and why: they are full, or nobody says how many positions they have."""


@dataclass(frozen=True, slots=True)
class RowOffer:
    """What a rack anywhere in a row would take, by limit."""

    place: Place
    free: tuple[int, ...]
    limits: Numbers
    takes: Floats
    lacks: str
    """Why no rack can stand here whatever its size; "" where one can."""
    unknown: tuple[str, ...]
    assumed: str


def place(inventory: Inventory, network: Network, limits: Limits, wanted: Wanted, rows: Iterable[Place]) -> Placed:
    """Where racks fit in these rows. Raises ValueError for a count or a power that is none.

    Seats that fit come first, by what would be left of what binds; the rest after them, the least lacking first. A
    position with anything unknown does not fit: cannot tell is not fine.
    """
    if not 1 <= wanted.racks <= RACKS_MAX or not 0.0 < wanted.power_kw < math.inf:
        raise ValueError(f"{wanted.racks} racks of {wanted.power_kw} kW")
    judged = [judge_row(network, limits, wanted, inventory.rows[row]) for row in rows]
    left = np.array([math.nan if limit.spare is None else limit.spare for limit in limits.limits])
    sizes = np.array([limit.capacity or 1.0 for limit in limits.limits])
    seats: list[Seat] = []
    for one in judged:
        seat = _judge(one, limits, left, sizes)
        seats += [_at(seat, position) for position in one.free]
    seats.sort(key=_order)
    chosen, stopped = _choose(judged, limits, left.copy(), sizes, wanted.racks)
    silent = tuple((one.place, one.lacks or f"row {one.place.id} is full") for one in judged if not one.free)
    return Placed(tuple(seats), tuple(chosen), stopped, silent)


def _choose(
    judged: Sequence[RowOffer], limits: Limits, left: Floats, sizes: Floats, racks: int
) -> tuple[list[Seat], Seat | None]:
    """Seats for as many as fit, one after the other, each where it leaves most; `left` is used up meanwhile."""
    able = [one for one in judged if one.free and not one.lacks and not one.unknown]
    if not able:
        near = [one for one in judged if one.free]
        return [], _at(_judge(near[0], limits, left, sizes), near[0].free[0]) if near else None
    # Rows × limits, the shorter ones filled up with a limit that never binds.
    widest = max(len(one.limits) for one in able)
    numbers, takes = np.full((len(able), widest), len(left), np.intp), np.zeros((len(able), widest))
    for row, one in enumerate(able):
        numbers[row, : len(one.limits)], takes[row, : len(one.limits)] = one.limits, one.takes
    left, sizes = np.append(left, np.inf), np.append(sizes, 1.0)
    free = [list(one.free) for one in able]
    chosen: list[Seat] = []
    while len(chosen) < racks:
        margins = ((left[numbers] - takes) / sizes[numbers]).min(axis=1)
        margins[[not one for one in free]] = -np.inf
        best = int(margins.argmax())
        if not free[best]:
            return chosen, None
        seat = _at(_judge(able[best], limits, left, sizes), free[best][0])
        if not seat.fits:
            return chosen, seat
        chosen.append(seat)
        free[best].pop(0)
        left[able[best].limits] -= able[best].takes
    return chosen, None


def _judge(row: RowOffer, limits: Limits, left: Floats, sizes: Floats) -> Seat:
    """One rack anywhere in a row."""
    if row.lacks or row.unknown:
        why = row.lacks or f"cannot tell: {row.unknown[0]}"
        return Seat(row.place, 0, fits=False, binding=None, at=row.place.id, margin_pct=None, why=why,
                    unknown=row.unknown, assumed=row.assumed)  # fmt: skip
    after = left[row.limits] - row.takes
    margins = 100.0 * after / sizes[row.limits]
    tightest = int(np.argmin(margins))
    limit: Limit = limits.limits[int(row.limits[tightest])]
    # A billionth of slack: sums of shares do not add up exactly.
    fits = bool((after >= -1e-9 * sizes[row.limits]).all())
    margin = float(margins[tightest])
    spare, takes = float(left[row.limits[tightest]]), float(row.takes[tightest])
    told = f"{limit.resource} of {limit.at}: {takes:.4g} of {spare:.4g} {limit.unit} left"
    why = f"{told}{limit.why and f' ({limit.why})'}"
    return Seat(row.place, 0, fits=fits, binding=limit.resource, at=limit.at, margin_pct=margin, why=why, unknown=(),
                assumed=row.assumed)  # fmt: skip


def judge_row(network: Network, limits: Limits, wanted: Wanted, row: Row) -> RowOffer:
    """What one wanted rack would take, by limit, anywhere in a row."""
    free, lacks = _free(network, row)
    if lacks:
        # Without the count of positions there is no place to name: the row stands for itself.
        return RowOffer(row.place, (), np.zeros(0, np.intp), np.zeros(0), lacks, (), "")
    feeds, cooling, assumed = neighbours(network, row)
    holds, lacks = _power(network, limits, wanted, feeds)
    cooled, lacking = _cooled(network, limits, wanted, row, cooling)
    lacks = lacks or lacking
    if row.rack_power_kw_max is not None and wanted.power_kw > row.rack_power_kw_max:
        lacks = f"a position of row {row.place.id} takes racks of {row.rack_power_kw_max:g} kW at most"
    takes: dict[int, float] = {}
    for number, per_kw in (*limits.of_row.get(row.place, ()), *holds, *cooled):
        takes[number] = takes.get(number, 0.0) + per_kw * wanted.power_kw
    unknown = tuple(dict.fromkeys(limits.limits[number].why for number in takes if limits.limits[number].spare is None))
    return RowOffer(
        row.place, free, np.array(list(takes), np.intp), np.array(list(takes.values())), lacks, unknown, assumed
    )


def _free(network: Network, row: Row) -> tuple[tuple[int, ...], str]:
    if row.positions is None:
        return (), f"nobody gives the number of positions of row {row.place.id}"
    taken = {network.racks[rack].position for rack in network.rows.get(row.place, ())}
    return tuple(position for position in range(1, row.positions + 1) if position not in taken), ""


def neighbours(network: Network, row: Row) -> tuple[list[int], list[int], str]:
    """Feeds and cooling groups of a free position, as the row says or its neighbours have it."""
    here = network.rows.get(row.place, ())
    assumed = []
    if row.feeds:
        feeds = [number for one in row.feeds if (number := network.feed_of.get(AssetKey(row.site, one))) is not None]
    else:
        feeds = sorted(
            {
                up
                for rack in here
                for cord in network.cord_feed[network.cords_of(rack)].tolist()
                for up in (network.feeders[cord] if network.tap[cord] else (cord,))
            }
        )
        assumed += ["feeds"] if feeds else []
    if row.cooling:
        named = set(row.cooling)
        groups = [
            number
            for number, group in enumerate(network.groups)
            if group.site == row.site and any(unit.id in named for unit in group.units)
        ]
    else:
        groups = sorted({group for rack in here for group in network.groups_of[rack]})
        assumed += ["cooling"] if groups else []
    return feeds, groups, f"{' and '.join(assumed)} as its neighbours have them" if assumed else ""


def _power(network: Network, limits: Limits, wanted: Wanted, feeds: list[int]) -> tuple[list[Hold], str]:
    """What holds the power of a new rack, and why it cannot have the redundancy that it wants."""
    if not feeds:
        return [], "nobody says which feeds a rack here would hang on; give the row's feeds"

    def slack(feed: int) -> float:
        # Who hangs on one feed stands in the way of whoever counts on it, so failover counts for it too.
        spares = (limits.limits[first + feed].spare for first in (limits.feed_breaker, limits.feed_failover))
        return min(-math.inf if spare is None else spare for spare in spares)

    if wanted.redundancy is Redundancy.NONE:
        best = max(feeds, key=lambda feed: (slack(feed), -feed))
        return on_feeds(network, [best], limits.feed_breaker, limits.feed_failover), ""
    if len(feeds) == 1:
        return [], f"{network.feeds[feeds[0]].id} is the only feed here, so nothing is {wanted.redundancy}"
    ways = {feed: {feed, *network.above[feed]} for feed in feeds}
    if wanted.redundancy is Redundancy.SPARE:
        shared = set.intersection(*ways.values())
        if not shared:
            return on_feeds(network, feeds, limits.feed_breaker, limits.feed_failover), ""
    else:
        pairs = [pair for pair in combinations(feeds, 2) if not ways[pair[0]] & ways[pair[1]]]
        if pairs:
            pair = max(pairs, key=lambda pair: (min(map(slack, pair)), -pair[0], -pair[1]))
            return on_feeds(network, pair, limits.feed_breaker, limits.feed_failover), ""
        shared = ways[feeds[0]] & ways[feeds[1]]
    names = ", ".join(sorted(network.feeds[one].id for one in shared))
    return [], f"its ways all come through {names}, so nothing here is {wanted.redundancy}"


def _cooled(network: Network, limits: Limits, wanted: Wanted, row: Row, groups: list[int]) -> tuple[list[Hold], str]:
    """What holds the heat of a new rack, and why it cannot be cooled here."""
    liquid = [number for number in groups if network.groups[number].medium is Cooling.LIQUID]
    share, holds = wanted.share, []
    if share > 0.0:
        if not liquid:
            return [], f"no liquid cooling is known in row {row.place.id}; give the row's cooling"
        spare = [number for number in liquid if (network.groups[number].n_plus or 0) > 0]
        if wanted.spare_cooling and not spare:
            return [], f"no group with a spare unit cools row {row.place.id}"
        liquid = spare if wanted.spare_cooling else liquid
        holds += [Hold(limits.group_cooling + number, share / len(liquid)) for number in liquid]
        holds += [Hold(limits.group_flow + number, share * wanted.flow_lpm_per_kw / len(liquid)) for number in liquid]
    if share < 1.0:
        air = limits.air.get(Place(row.site, row.hall))
        if air is None:
            return [], f"row {row.place.id} stands in no hall that is known"
        holds.append(Hold(air, 1.0 - share))
    return holds, ""


def _at(seat: Seat, position: int) -> Seat:
    return Seat(seat.row, position, seat.fits, seat.binding, seat.at, seat.margin_pct, seat.why, seat.unknown,
                seat.assumed)  # fmt: skip


def _order(seat: Seat) -> tuple[bool, float, Place, int]:
    return (not seat.fits, -(seat.margin_pct if seat.margin_pct is not None else -math.inf), seat.row, seat.position)
