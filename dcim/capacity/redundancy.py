"""Redundancy: whether 2N or N+1 is true right now, rack by rack, from who hangs on whom and what is carried.

Two cords are not 2N when both come from one feed, when one is dead, or when the one that is left would be overloaded.
Lives here: that judgement, and the weakest point of each rack and hall. Not here: loads after a loss (failover.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dcim.capacity.limits import Limit, Limits
from dcim.capacity.loads import Loads
from dcim.capacity.network import Network
from dcim.core.inventory import Cooling


class Holds(StrEnum):
    """Whether redundancy is there now."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Cannot tell, which is not yes."""


@dataclass(frozen=True, slots=True)
class Weakest:
    """The point at which redundancy fails first, or comes nearest to it."""

    at: str
    margin_pct: float | None
    """Of what it may carry for hours, what the worst single loss would leave; below 0 where it would be too much. None
    where the point is a matter of who hangs on whom."""
    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Redundancy of one rack's power, or of one group's cooling."""

    site: str
    id: str
    hall: str
    has: str
    """By who hangs on whom: "2N", "N+1", "N", or "" where nobody says."""
    wanted: str
    """As the inventory says; "" where it does not."""
    holds: Holds
    """Whether what it has stands a single loss right now; "no" for N."""
    weakest: Weakest
    measured_pct: float
    """Share of the loads behind the judgement that meters on the feeds themselves give."""


def power(network: Network, loads: Loads, limits: Limits) -> list[Standing]:
    """Every rack's standing, by site and id."""
    alive = network.alive(loads.dead)
    return [_rack(network, loads, limits, alive, rack) for rack in range(len(network.racks))]


def cooling(network: Network, limits: Limits) -> list[Standing]:
    """Every cooling group's standing: whether the rest is enough without its spare units."""
    found = []
    for number, group in enumerate(network.groups):
        if group.medium is not Cooling.LIQUID:
            continue
        halls_of = [unit.hall for unit in group.units] + [network.racks[rack].hall for rack in group.racks]
        hall = next((one for one in halls_of if one), "")
        limit = limits.limits[limits.group_cooling + number]
        spare = group.n_plus or 0
        if spare >= len(group.units):
            spare = 0
        if not spare:
            why = (
                f"{group.units[0].id} stands alone"
                if len(group.units) == 1
                else "nobody gives an n_plus for its units"
                if group.n_plus is None
                else "it has no spare unit"
            )
            has = "N" if len(group.units) == 1 or group.n_plus == 0 else ""
            holds = Holds.NO if has else Holds.UNKNOWN
            weakest = Weakest(group.id, None, why)
        else:
            has, holds, weakest = f"N+{spare}", *_against(limit, f"without {spare} of its {len(group.units)} units")
        found.append(Standing(group.site, group.id, hall, has, "", holds, weakest, 100.0 if limit.measured else 0.0))
    return found


def halls(standings: Sequence[Standing]) -> list[tuple[tuple[str, str], list[Standing]]]:
    """Standings by site and hall, the weakest of each first: what fails, then what cannot be told, then by margin."""
    by_hall: dict[tuple[str, str], list[Standing]] = {}
    for one in standings:
        by_hall.setdefault((one.site, one.hall), []).append(one)
    return [(key, sorted(found, key=_weakness)) for key, found in sorted(by_hall.items())]


def _weakness(one: Standing) -> tuple[int, float, str]:
    margin = one.weakest.margin_pct
    return [Holds.NO, Holds.UNKNOWN, Holds.YES].index(one.holds), math.inf if margin is None else margin, one.id


def _rack(network: Network, loads: Loads, limits: Limits, alive: np.ndarray, number: int) -> Standing:
    rack = network.racks[number]
    feeds = network.cord_feed[network.cords_of(number)].tolist()
    live = [feed for feed in feeds if alive[feed]]
    ways = [{feed, *network.above[feed]} for feed in live]
    measured = 100.0 * float(np.mean(loads.feed_measured[live])) if live else 0.0

    def standing(has: str, holds: Holds, weakest: Weakest) -> Standing:
        return Standing(rack.site, rack.id, rack.hall, has, rack.redundancy, holds, weakest, measured)

    if not feeds:
        return standing("", Holds.UNKNOWN, Weakest(rack.id, None, "nobody says which feeds it hangs on"))
    if not live:
        return standing("", Holds.NO, Weakest(network.feeds[feeds[0]].id, None, "none of its feeds has power"))
    if len(live) == 1:
        why = (
            "it is its only feed"
            if len(feeds) == 1
            else f"{_dead(network, feeds, live)} has no power, so this one is alone"
        )
        return standing("N", Holds.NO, Weakest(network.feeds[live[0]].id, None, why))
    if not network.tree:
        ways = [{one for one in found if not _spared(network, alive, one)} for found in ways]
    shared = set.intersection(*ways)
    if shared:
        nearest = max(shared, key=lambda one: (int(network.depth[one]), -one))
        why = f"all of its {len(live)} feeds come through it"
        return standing("N", Holds.NO, Weakest(network.feeds[nearest].id, None, why))
    apart = any(not one & other for n, one in enumerate(ways) for other in ways[n + 1 :])
    has = "2N" if len(live) == 2 and apart else "N+1"
    points = [limits.limits[limits.feed_failover + feed] for feed in sorted(set.union(*ways))]
    # What is too much already needs no loss to be too much.
    now = [limits.limits[limits.feed_breaker + feed] for feed in sorted(set.union(*ways))]
    points += [limit for limit in now if limit.spare is not None and limit.spare < 0.0]
    blind = [limit for limit in points if limit.spare is None]
    known = [limit for limit in points if limit.spare is not None]
    tightest = min(known, key=lambda limit: (limit.spare or 0.0) / (limit.capacity or 1.0), default=None)
    if tightest is not None and (tightest.spare or 0.0) < 0.0:
        return standing(has, *_against(tightest, tightest.why))
    if blind:
        return standing(has, Holds.UNKNOWN, Weakest(blind[0].at, None, blind[0].why))
    if tightest is None:
        return standing(has, Holds.UNKNOWN, Weakest(rack.id, None, "nothing on its way has a rating"))
    return standing(has, *_against(tightest, tightest.why))


def _spared(network: Network, alive: np.ndarray, feed: int) -> bool:
    """Whether everything that a feed feeds has another live feeder: its loss darkens nothing."""
    fed = [down for down in network.child[network.parent == feed].tolist() if alive[down]]
    own = bool((network.cord_feed == feed).any())
    return bool(fed) and not own and all(sum(bool(alive[up]) for up in network.feeders[down]) > 1 for down in fed)


def _against(limit: Limit, when: str) -> tuple[Holds, Weakest]:
    if limit.spare is None or not limit.capacity:
        return Holds.UNKNOWN, Weakest(limit.at, None, limit.why)
    margin = 100.0 * limit.spare / limit.capacity
    load = f"{limit.load:.4g} of {limit.capacity:.4g} {limit.unit}"
    return (Holds.YES if limit.spare >= 0.0 else Holds.NO), Weakest(limit.at, margin, f"{load} {when}".strip())


def _dead(network: Network, feeds: Sequence[int], live: Sequence[int]) -> str:
    return ", ".join(network.feeds[feed].id for feed in feeds if feed not in live)
