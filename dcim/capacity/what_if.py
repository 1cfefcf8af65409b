"""What if: something is lost or added, and what then overloads, goes dark, runs hot and has to be shed.

Nothing is switched: this is arithmetic over the loads of one moment. Lives here: the changes and their answer. Not
here: loads and their failover (loads.py, failover.py), thermal relations (dcim.physics.heat)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from dcim.capacity.failover import After, lose
from dcim.capacity.limits import fullest_kw, liquid_kw, usable_kw
from dcim.capacity.loads import Loads, phase_amps, sums
from dcim.capacity.network import Floats, Network
from dcim.capacity.placement import neighbours
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling, Inventory, Place
from dcim.physics.fluids import PG25, Fluid
from dcim.physics.heat import GPU_HEAT_CAPACITY_J_K, time_to_slowdown_s

MEAN_C = 40.0
"""Temperature at which the loop's heat capacity is taken: it moves by 0.1 % over 10 K."""


class At(StrEnum):
    """Which loads are looked at."""

    NOW = "now"
    RATED = "rated"
    """Every rack at its rated power."""


@dataclass(frozen=True, slots=True)
class Added:
    """New racks in a row, all alike."""

    row: Place
    racks: int
    power_kw: float
    liquid_share: float
    """Share of its heat that goes into liquid; 0 for one that is cooled by air."""


@dataclass(frozen=True, slots=True)
class Overload:
    """A feed that carries more than it may for hours."""

    feed: str
    site: str
    load_kw: float
    """As if all its phases were as full as its fullest."""
    usable_kw: float
    before_kw: float | None
    fullest_a: float | None
    usable_a: float | None
    rated_a: float | None
    trips: bool
    """Beyond its full rating: its breaker opens, after seconds to minutes by its curve."""
    measured: bool
    """Whether its load before came from its own meter."""


@dataclass(frozen=True, slots=True)
class Hot:
    """Racks of one cooling group that run hot."""

    group: str
    site: str
    racks: tuple[str, ...]
    lost_kw: float | None
    """Heat that nothing takes away any more; None where nobody knows it."""
    slowdown_s: float | None
    """Until the first GPU slows itself down; None where that cannot be told."""
    first: str
    """Rack of that GPU."""
    why: str
    """By which model, or what is missing for one."""


@dataclass(frozen=True, slots=True)
class Shed:
    """What has to go so that one limit holds again."""

    at: str
    site: str
    excess_kw: float
    racks: tuple[str, ...]
    """The fewest racks whose load is enough, largest first."""
    racks_kw: float
    """What shedding them takes off."""
    cap_pct: float
    """Or: by so much every rack behind it has to be capped, %."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a change."""

    overloads: tuple[Overload, ...]
    """Worst first."""
    dark: tuple[str, ...]
    """Racks without power, as site/id."""
    hot: tuple[Hot, ...]
    """Soonest first."""
    shed: tuple[Shed, ...]
    unknown: tuple[str, ...]
    """What cannot be told, in sentences: the answer may be worse for it."""
    measured_pct: float
    """Share of the racks whose power is measured."""


def at_rating(network: Network, loads: Loads) -> tuple[Loads, list[str]]:
    """Loads as if every rack drew its rated power, with its phases and cords as they are; and the racks that have no
    rating or draw nothing, whose load stays as it is."""
    rated = np.array([math.nan if rack.rated_power_kw is None else rack.rated_power_kw for rack in network.racks])
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = rated / loads.rack_kw
    left = ~(np.isfinite(scale) & (scale > 0.0))
    scale[left] = 1.0
    cords = loads.cord_kva * scale[network.cord_rack][:, None]
    alive = network.alive(loads.dead)
    more = sums(network, cords, alive) - sums(network, loads.cord_kva, alive)
    changed = replace(
        loads,
        cord_kva=cords,
        feed_kva=loads.feed_kva + more,
        rack_kw=loads.rack_kw * scale,
        liquid_kw=loads.liquid_kw * scale,
        group_kw=np.full(len(network.groups), np.nan),
    )
    return changed, [network.racks[number].id for number in np.flatnonzero(left).tolist()]


def what_if(
    inventory: Inventory,
    network: Network,
    loads: Loads,
    lost: Iterable[AssetKey],
    added: Sequence[Added],
    fluid: Fluid = PG25,
) -> Outcome:
    """What becomes of losing these feeds and cooling units at once and adding these racks. Raises KeyError for what is
    neither, or a row that is none; ValueError for racks that are none."""
    gone = set(lost)
    for key in gone:
        if key not in network.feed_of and key not in inventory.cooling:
            raise KeyError(key)
    if any(one.racks < 1 or not 0.0 < one.power_kw < math.inf for one in added):
        raise ValueError("racks to add have a number and a power above 0")
    feeds = [network.feed_of[key] for key in gone if key in network.feed_of]
    after = lose(network, loads, feeds)
    unknown: list[str] = []
    extra = _added_kva(inventory, network, loads, after, added, unknown)
    feed_kva = after.feed_kva + extra
    overloads = _overloads(network, loads, after, feed_kva, unknown)
    stopped = {key for key in gone if key in inventory.cooling}
    for key, ups in network.feeds_of_unit.items():
        if not after.alive[list(ups)].any():
            stopped.add(key)
    # What goes dark makes no heat; nor does what is shed for its power.
    dark, gone_racks = after.dark, set[int]()
    shed = _shed_power(network, loads, after, overloads, gone_racks)
    hot, heat = _hot(inventory, network, loads, stopped, dark, added, fluid, unknown, gone_racks)
    adrift = float(np.sum(after.adrift_kva))
    if adrift > 0.0:
        unknown.append(
            f"{adrift:.4g} kVA hung on what is lost through feeds that nobody describes; where it goes is not known"
        )
    measured = float(loads.rack_measured.mean()) * 100.0 if len(network.racks) else 0.0
    return Outcome(
        tuple(sorted(overloads, key=lambda one: (-one.load_kw / one.usable_kw, one.site, one.feed))),
        tuple(f"{network.racks[one].site}/{network.racks[one].id}" for one in np.flatnonzero(dark).tolist()),
        tuple(
            sorted(hot, key=lambda one: (math.inf if one.slowdown_s is None else one.slowdown_s, one.site, one.group))
        ),
        (*shed, *heat),
        tuple(dict.fromkeys(unknown)),
        measured,
    )


def _added_kva(
    inventory: Inventory, network: Network, loads: Loads, after: After, added: Sequence[Added], unknown: list[str]
) -> Floats:
    """What added racks draw of each feed, by phase: in equal parts of those of their row's feeds that still live."""
    extra = np.zeros((len(network.feeds), 3))
    for one in added:
        ups, _, _ = neighbours(network, inventory.rows[one.row])
        live = [feed for feed in ups if after.alive[feed]]
        if not live:
            told = "none of its feeds lives any more" if ups else "nobody says what a rack there would hang on"
            unknown.append(f"racks added in row {one.row.id} have no power: {told}")
            continue
        for feed in live:
            _climb(network, after, feed, one.racks * one.power_kw / len(live) / float(loads.factor[feed]) / 3.0, extra)
    return extra


def _climb(network: Network, after: After, feed: int, kva: float, extra: Floats) -> None:
    extra[feed] += kva
    ups = [up for up in network.feeders[feed] if after.alive[up]]
    for up in ups:
        _climb(network, after, up, kva / len(ups), extra)


def _overloads(network: Network, loads: Loads, after: After, feed_kva: Floats, unknown: list[str]) -> list[Overload]:
    usable = usable_kw(network, loads)
    before = fullest_kw(network, loads, loads.feed_kva)
    then = fullest_kw(network, loads, feed_kva)
    # Only what carries more than before can have become too much; what was too much already is told too.
    touched = after.alive & ~(np.abs(then - before) <= 1e-9 * np.maximum(before, 1.0))
    for number in np.flatnonzero(touched & (np.isnan(usable) | np.isnan(then))).tolist():
        feed = network.feeds[number]
        lacks = "has no rating" if math.isnan(usable[number]) else "carries what nobody knows"
        unknown.append(f"{feed.id} {lacks}")
    found = []
    for number in np.flatnonzero(after.alive & (then > usable * (1.0 + 1e-9))).tolist():
        feed = network.feeds[number]
        amps = max(phase_amps(network, loads, number, feed_kva[number]))
        found.append(
            Overload(
                feed.id,
                feed.site,
                float(then[number]),
                float(usable[number]),
                None if math.isnan(before[number]) else float(before[number]),
                None if math.isnan(amps) else amps,
                feed.usable_a,
                feed.rated_a,
                feed.rated_a is not None and amps > feed.rated_a,
                bool(loads.feed_measured[number]),
            )
        )
    return found


def _shed_power(
    network: Network, loads: Loads, after: After, overloads: Sequence[Overload], gone: set[int]
) -> list[Shed]:
    """Racks to shed, feed by feed, the worst first; what is shed for one (`gone` grows) counts for the next."""
    found = []
    behind: dict[int, dict[int, float]] = {}
    numbers = {network.feed_of[AssetKey(one.site, one.feed)]: one for one in overloads}
    for cord, (rack, feed) in enumerate(zip(network.cord_rack.tolist(), network.cord_feed.tolist(), strict=True)):
        for up in numbers.keys() & {feed, *network.above[feed]}:
            drawn = float(after.cord_kva[cord].sum() * loads.factor[feed])
            behind.setdefault(up, {})[rack] = behind.setdefault(up, {}).get(rack, 0.0) + drawn
    for number, one in sorted(numbers.items(), key=lambda item: item[1].usable_kw - item[1].load_kw):
        racks = {rack: kw for rack, kw in behind.get(number, {}).items() if not math.isnan(kw)}
        excess = one.load_kw - one.usable_kw - sum(kw for rack, kw in racks.items() if rack in gone)
        if excess > 1e-9 * one.usable_kw:
            found.append(_fewest(network, one.feed, one.site, excess, racks, gone))
    return found


def _fewest(network: Network, at: str, site: str, excess: float, racks: Mapping[int, float], gone: set[int]) -> Shed:
    taken, sum_kw = [], 0.0
    for rack, kw in sorted(racks.items(), key=lambda item: (-item[1], item[0])):
        if sum_kw >= excess:
            break
        if rack not in gone and kw > 0.0:
            taken.append(rack)
            sum_kw += kw
    gone.update(taken)
    whole = sum(racks.values())
    cap = min(100.0, 100.0 * excess / whole) if whole > 0.0 else 100.0
    return Shed(at, site, excess, tuple(network.racks[rack].id for rack in taken), sum_kw, cap)


def _hot(
    inventory: Inventory,
    network: Network,
    loads: Loads,
    stopped: set[AssetKey],
    dark: np.ndarray,
    added: Sequence[Added],
    fluid: Fluid,
    unknown: list[str],
    gone: set[int],
) -> tuple[list[Hot], list[Shed]]:
    """Groups that cannot take their heat away, and what has to be shed for it beyond the racks in `gone`."""
    liquid, _ = liquid_kw(network, loads)
    liquid = np.where(dark, 0.0, liquid)
    more: dict[int, float] = {}
    for one in added:
        _, groups, _ = neighbours(network, inventory.rows[one.row])
        own = [number for number in groups if network.groups[number].medium is Cooling.LIQUID]
        if not own and one.liquid_share > 0.0:
            unknown.append(f"nobody says what would cool racks added in row {one.row.id}")
        for number in own:
            more[number] = more.get(number, 0.0) + one.racks * one.power_kw * one.liquid_share / len(own)
    running = [bool(group.units) and any(unit.key not in stopped for unit in group.units) for group in network.groups]
    hot, shed, told = [], [], set[int]()
    for number, group in enumerate(network.groups):
        hit = any(unit.key in stopped for unit in group.units)
        if group.medium is not Cooling.LIQUID or not (hit or number in more):
            continue
        racks = [rack for rack in group.racks if not dark[rack]]
        if not running[number]:
            # Racks that another group still cools lean on that one.
            bare = [
                rack for rack in racks if not any(running[one] for one in network.groups_of[rack]) and rack not in told
            ]
            told.update(bare)
            if bare:
                hot.append(_without_flow(inventory, network, loads, number, bare, liquid))
            continue
        left = group.left([unit.rated_kw for unit in group.units if unit.key not in stopped], lost=0)
        load = loads.group_kw[number]
        if dark[list(group.racks)].any() or math.isnan(load):
            load = sum(liquid[rack] / max(1, len(network.groups_of[rack])) for rack in group.racks)
        load = float(load) + more.get(number, 0.0)
        if left is None or math.isnan(load):
            lacks = "has units without a rating" if left is None else "carries heat that nobody knows"
            unknown.append(f"{group.id} {lacks}")
            continue
        if load > left * (1.0 + 1e-9):
            hot.append(_too_much(inventory, network, loads, number, racks, load - left, fluid))
            shares = {rack: float(liquid[rack]) / max(1, len(network.groups_of[rack])) for rack in racks}
            still = load - left - math.fsum(kw for rack, kw in shares.items() if rack in gone)
            if still > 1e-9 * left:
                shed.append(_fewest(network, group.id, group.site, still, shares, gone))
    return hot, shed


def _without_flow(
    inventory: Inventory, network: Network, loads: Loads, number: int, racks: Sequence[int], liquid: Floats
) -> Hot:
    """No unit of a group runs: GPUs warm up by themselves."""
    group = network.groups[number]
    soonest, first, default = math.inf, "", False
    for rack in racks:
        product = inventory.products.get(network.racks[rack].gpu_product)
        capacity = product.heat_capacity_j_k if product else None
        slowdown = loads.slowdown_c[rack]
        if product and product.slowdown_c is not None:
            slowdown = np.where(np.isnan(slowdown), product.slowdown_c, slowdown)
        times = time_to_slowdown_s(loads.gpu_c[rack], loads.gpu_kw[rack], slowdown, capacity or GPU_HEAT_CAPACITY_J_K)
        times = times[~np.isnan(times)]
        if len(times) and float(times.min()) < soonest:
            soonest, first, default = float(times.min()), network.racks[rack].id, capacity is None
    names = tuple(network.racks[rack].id for rack in racks)
    heat = float(np.sum(liquid[list(racks)]))
    lost = None if math.isnan(heat) else heat
    if math.isinf(soonest):
        why = "no flow; how soon cannot be told without GPU temperature, power and slowdown temperature of its racks"
        return Hot(group.id, group.site, names, lost, None, "", why)
    usual = f", {GPU_HEAT_CAPACITY_J_K:g} J/K for want of the product's own" if default else ""
    return Hot(group.id, group.site, names, lost, soonest, first, f"no flow; GPUs warm up adiabatically{usual}")


def _too_much(
    inventory: Inventory, network: Network, loads: Loads, number: int, racks: Sequence[int], excess: float, fluid: Fluid
) -> Hot:
    """A group still flows, but takes less heat than comes: its loop warms up, and GPUs with it."""
    group = network.groups[number]
    names = tuple(network.racks[rack].id for rack in racks)
    margin, first = math.inf, ""
    for rack in racks:
        product = inventory.products.get(network.racks[rack].gpu_product)
        slowdown = loads.slowdown_c[rack]
        if product and product.slowdown_c is not None:
            slowdown = np.where(np.isnan(slowdown), product.slowdown_c, slowdown)
        left = slowdown - loads.gpu_c[rack]
        left = left[~np.isnan(left)]
        if len(left) and float(left.min()) < margin:
            margin, first = float(left.min()), network.racks[rack].id
    litres = [unit.loop_l for unit in group.units]
    known = [one for one in litres if one is not None]
    if math.isinf(margin) or len(known) < len(litres):
        lacks = "the loop's litres" if len(known) < len(litres) else "GPU temperatures and slowdown temperatures"
        return Hot(
            group.id,
            group.site,
            names,
            excess,
            None,
            "",
            f"too little cooling; how soon cannot be told without {lacks}",
        )
    per_k = math.fsum(known) * fluid.density_kg_m3(MEAN_C) * fluid.heat_capacity_j_kg_k(MEAN_C) / 1e6
    seconds = max(0.0, margin) * per_k / excess
    why = f"too little cooling; {math.fsum(known):g} L of loop warm up at {60.0 * excess / per_k:.3g} K/min"
    return Hot(group.id, group.site, names, excess, seconds, first, why)
