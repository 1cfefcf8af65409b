"""Ways of power: each feed with what it carries, phase by phase, now and after the worst single loss.

Lives here: those figures, feed by feed, and which racks lie behind a feed. Not here: loads (loads.py), what a loss does
(failover.py), whether a rack's redundancy holds (redundancy.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcim.capacity.failover import NOTHING, Worst
from dcim.capacity.limits import fullest_kw, usable_kw
from dcim.capacity.loads import Loads, phase_amps
from dcim.capacity.network import Floats, Network
from dcim.core.inventory import Feed
from dcim.physics.electrical import phase_imbalance


@dataclass(frozen=True, slots=True)
class Way:
    """One feed at one moment. None where nobody can tell."""

    feed: Feed
    number: int
    level: int
    """Steps below a root: 0 for what nothing known feeds."""
    fed_by: tuple[str, ...]
    racks: int
    """Behind it, directly or not."""
    power_kw: float | None
    """Active, all phases together."""
    now_a: tuple[float | None, ...]
    """Phases A, B, C; the one of a feed with a single phase."""
    after_a: tuple[float | None, ...]
    """The same after the worst loss of any one feed."""
    load_pct: float | None
    """Its fullest phase, of what that may carry for hours."""
    after_pct: float | None
    worst_if: str
    """The feed whose loss is worst for it; "" where none makes it worse."""
    imbalance_pct: float | None
    """Largest distance of a phase from their mean, of the mean; None below a tenth of the rating, and of one phase."""
    measured: bool
    """By its own meter; else it is the sum of what hangs on it."""
    dead: bool
    """Its meter says that it has no voltage."""
    why: str
    """What is not known of it, in a sentence; "" where nothing is lacking."""


def ways(network: Network, loads: Loads, after: Worst, feeds: Sequence[int]) -> list[Way]:
    """These feeds, by number, in their order."""
    usable = usable_kw(network, loads)
    now, then = fullest_kw(network, loads, loads.feed_kva), fullest_kw(network, loads, after.kva)
    behind = racks_behind(network)
    return [_way(network, loads, after, feed, usable, now, then, len(behind[feed])) for feed in feeds]


def racks_behind(network: Network) -> list[set[int]]:
    """By feed: the racks behind it, directly or not."""
    behind: list[set[int]] = [set() for _ in network.feeds]
    for rack, feed in zip(network.cord_rack.tolist(), network.cord_feed.tolist(), strict=True):
        for each in (feed, *network.above[feed]):
            behind[each].add(rack)
    return behind


def _way(
    network: Network, loads: Loads, after: Worst, number: int, usable: Floats, now: Floats, then: Floats, racks: int
) -> Way:
    feed = network.feeds[number]
    worst_kva = np.full(3, np.nan) if after.unsure[number] else after.kva[number]
    amps, later = (
        tuple(_known(one) for one in phase_amps(network, loads, number, kva))
        for kva in (loads.feed_kva[number], worst_kva)
    )
    imbalance = None
    if feed.rated_a is not None and len(amps) == 3 and None not in amps:
        a, b, c = (one or 0.0 for one in amps)
        imbalance = _known(100.0 * phase_imbalance(a, b, c, feed.rated_a))
    by = int(after.by[number])
    return Way(
        feed=feed,
        number=number,
        level=int(network.depth[number]),
        fed_by=tuple(network.feeds[up].id for up in network.feeders[number]),
        racks=racks,
        power_kw=_known(float(loads.feed_kva[number].sum() * loads.factor[number])),
        now_a=amps,
        after_a=later,
        load_pct=_known(100.0 * float(now[number] / usable[number])),
        after_pct=None if after.unsure[number] else _known(100.0 * float(then[number] / usable[number])),
        worst_if=network.feeds[by].id if by != NOTHING else "",
        imbalance_pct=imbalance,
        measured=bool(loads.feed_measured[number]),
        dead=bool(loads.dead[number]),
        why=_lacks(network, loads, after, number, float(usable[number])),
    )


def _lacks(network: Network, loads: Loads, after: Worst, number: int, usable: float) -> str:
    lacks = []
    if math.isnan(usable):
        lacks.append("nobody gives its rating")
    if np.isnan(loads.feed_kva[number]).any():
        lacks.append("what it carries is not known")
    if strangers := network.strangers[number]:
        lacks.append(f"it serves {', '.join(strangers[:3])}, which nobody describes")
    elif after.unsure[number] and not np.isnan(loads.feed_kva[number]).any():
        lacks.append("what a loss would add to it is not known")
    return "; ".join(lacks)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
