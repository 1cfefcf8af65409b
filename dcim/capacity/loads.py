"""Loads: what the meters of a network say at one moment, as columns; and what follows where there is no meter.

Phases are kept apart, in kVA at the feed's own voltage, so that what moves from one feed to another keeps its phase.
Lives here: where the points are, their values at a moment, and the sums along the network. Not here: what a loss does
to them (failover.py), ratings (network.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dcim.capacity.network import Bools, Floats, Network, Numbers
from dcim.core.assets import AssetKey
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.readings import Quality
from dcim.core.times import to_us
from dcim.physics.fluids import PG25, Fluid
from dcim.physics.hydraulics import heat_carried_kw

STALE_AFTER_S = 250.0
"""Two and a half republishes of the bus: older than this, a value says nothing of now."""
POWER_FACTOR = 0.95
"""Of a load whose power factor nobody measures. [E] Below what servers' supplies have, so that it never flatters."""
DEAD_SHARE = 0.1
"""A feed whose voltage is below this share of its own is dead."""
DEAD_V, DEAD_A = 1.0, 0.5
BELIEVED_SHARE = 0.5
"""Of what its racks say flows through them, the least that a group's own flow meters have to say to be believed."""
DELTA_K_MIN = 1.0
"""Below this difference between return and supply, heat is too uncertain to tell anything from."""
_PHASES = ("A", "B", "C")


@dataclass(frozen=True, slots=True, eq=False)
class Gauges:
    """Numbers of the points that a network's loads come from, −1 where there is none. Made anew with the plant."""

    phase: Numbers
    """By feed and phase: PhaseCurrent."""
    current: Numbers
    """By feed: Current, the mean of its phases."""
    volts: Numbers
    power_factor: Numbers
    active: Numbers
    """By feed: ActivePower; with `apparent`, ApparentPower."""
    apparent: Numbers
    rack: Numbers
    """By rack: RackPower."""
    flow: Numbers
    """By rack, as `supply` and `back`: flow and temperatures of its liquid."""
    supply: Numbers
    back: Numbers
    unit_flow: tuple[Numbers, ...]
    """By cooling group: flow of each unit's secondary circuit, as `unit_supply` and `unit_back` its temperatures."""
    unit_supply: tuple[Numbers, ...]
    unit_back: tuple[Numbers, ...]
    gpu: tuple[Numbers, ...]
    """By rack: temperature, power and slowdown temperature of each of its GPUs, 3 × GPUs."""


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """What is drawn at one moment. NaN where nobody can tell."""

    at: datetime
    volts: Floats
    """By feed: rated voltage, else as measured, else its neighbour's."""
    rated_volts: Bools
    """By feed: whether that is its rating."""
    factor: Floats
    """By feed: power factor, as measured, or active by apparent power, or POWER_FACTOR."""
    factor_measured: Bools
    feed_kva: Floats
    """By feed and phase."""
    feed_measured: Bools
    """By feed: whether its own meter says so; else it is the sum of what hangs on it."""
    dead: Bools
    """By feed: its meter says that it has no voltage."""
    cord_kva: Floats
    """By cord and phase."""
    cord_measured: Bools
    rack_kw: Floats
    rack_measured: Bools
    """By rack: whether its own meter says so; else it is the sum of its taps."""
    liquid_kw: Floats
    """By rack: heat that its liquid carries."""
    flow_lpm: Floats
    group_kw: Floats
    """By cooling group: heat that its units carry, by their own meters; NaN where one of them has none."""
    group_lpm: Floats
    gpu_c: tuple[Floats, ...]
    """By rack and GPU; with `gpu_kw` and `slowdown_c`."""
    gpu_kw: tuple[Floats, ...]
    slowdown_c: tuple[Floats, ...]


def phase_amps(network: Network, loads: Loads, feed: int, kva: Floats) -> list[float]:
    """Currents of a feed that carries this by phase, A at its own voltage: of phases A, B and C, or the one of a feed
    that has a single phase, whichever it hangs on. NaN where not known."""
    if network.feeds[feed].phases == 1:
        return [float(kva.sum()) * 1000.0 / float(loads.volts[feed])]
    amps: list[float] = (kva * 1000.0 * np.sqrt(3.0) / loads.volts[feed]).tolist()
    return amps


def find_gauges(plant: Plant, network: Network) -> Gauges:
    """Where the points of a network are."""
    feeds = [_first(plant, feed.key) for feed in network.feeds]
    racks = [_first(plant, rack.key) for rack in network.racks]
    units = [[_secondary(plant, unit.key) for unit in group.units] for group in network.groups]
    gpus: dict[AssetKey, dict[str, list[int]]] = {}
    for column, quantity in enumerate(("GpuTemperature", "GpuPower", "GpuSlowdownTemperature")):
        for point in plant.by_quantity.get(quantity, ()):
            found = gpus.setdefault(AssetKey(point.site, point.within), {})
            found.setdefault(f"{point.asset}|{point.part}", [-1, -1, -1])[column] = point.id

    def of(found: list[dict[str, int]], name: str) -> Numbers:
        return np.array([one.get(name, -1) for one in found], np.intp)

    return Gauges(
        phase=np.array([[one.get(f"PhaseCurrent {p}", -1) for p in _PHASES] for one in feeds], np.intp).reshape(-1, 3),
        current=of(feeds, "Current"),
        volts=of(feeds, "Voltage"),
        power_factor=of(feeds, "PowerFactor"),
        active=of(feeds, "ActivePower"),
        apparent=of(feeds, "ApparentPower"),
        rack=of(racks, "RackPower"),
        flow=of(racks, "RackLiquidFlow"),
        supply=of(racks, "RackLiquidSupplyTemperature"),
        back=of(racks, "RackLiquidReturnTemperature"),
        unit_flow=tuple(of(group, "flow") for group in units),
        unit_supply=tuple(of(group, "supply") for group in units),
        unit_back=tuple(of(group, "return") for group in units),
        gpu=tuple(np.array(list(gpus.get(rack.key, {}).values()), np.intp).reshape(-1, 3).T for rack in network.racks),
    )


def read(network: Network, gauges: Gauges, latest: Latest, at: datetime, fluid: Fluid = PG25) -> Loads:
    """The loads at a moment. latest: its columns may grow meanwhile. fluid: in the racks' loops. A value that is stale,
    bad or distrusted is missing, and what stands under it is estimated from its parts, or missing too."""
    take = _Reader(latest, to_us(at))
    feeds = network.feeds
    measured_v = take(gauges.volts)
    volts, rated = _volts(network, measured_v)
    active_kw, apparent_kva = take(gauges.active), take(gauges.apparent)
    factor = take(gauges.power_factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(np.isnan(factor), active_kw / apparent_kva, factor)
    factor[~((factor > 0.0) & (factor <= 1.0))] = np.nan
    amps = take(gauges.phase)
    mean_a = take(gauges.current)
    single = np.array([feed.phases == 1 for feed in feeds], np.bool_)
    # One phase is one of three, and nobody may say which: then a third of it counts on each, so that sums are right.
    one = single & ~np.isnan(amps).all(axis=1)
    amps[one] = np.nan_to_num(amps[one])
    mean_a = np.where(single, mean_a / 3.0, mean_a)
    amps = np.where(np.isnan(amps).any(axis=1, keepdims=True), mean_a[:, None], amps)
    # What has next to no volts is dead whatever it should have; but what carries a current is not, whatever its voltage
    # meter says.
    carries = (np.fmax.reduce(np.column_stack([amps, mean_a]), axis=1) > DEAD_A) | (active_kw > 0.0)
    dead = ((measured_v < DEAD_SHARE * volts) | (measured_v < DEAD_V)) & ~carries
    # kVA of one phase: of three, line to line over √3; of one, line to neutral.
    per_amp = volts / np.where(single, 1.0, np.sqrt(3.0)) / 1000.0
    metered = amps * per_amp[:, None]
    metered[dead] = 0.0

    rack_kw = take(gauges.rack)
    rack_measured = ~np.isnan(rack_kw)
    factor_measured = ~np.isnan(factor)
    factor = np.where(factor_measured, factor, POWER_FACTOR)
    cord_kva, cord_measured = _cords(network, metered, rack_kw, factor, dead)
    from_taps = np.bincount(
        network.cord_rack, (cord_kva.sum(axis=1) * factor[network.cord_feed]), minlength=len(network.racks)
    )
    whole = network.cords > 0
    rack_kw = np.where(rack_measured | ~whole, rack_kw, from_taps)

    feed_measured: Bools = np.logical_and.reduce(~np.isnan(metered), axis=1)
    unknown = np.array([bool(one) for one in network.strangers], np.bool_)
    feed_kva = sums(network, cord_kva, ~dead, np.where(unknown[:, None] & ~feed_measured[:, None], np.inf, metered))
    feed_kva[np.isinf(feed_kva)] = np.nan

    flow, supply, back = take(gauges.flow), take(gauges.supply), take(gauges.back)
    group_kw, group_lpm = _groups(gauges, take, fluid)
    # A meter that stands still while the racks behind it have flow tells nothing.
    of_racks = np.array([np.nansum(flow[list(group.racks)]) if group.racks else 0.0 for group in network.groups])
    stands = group_lpm < BELIEVED_SHARE * of_racks
    group_kw[stands] = group_lpm[stands] = np.nan
    gpus = [take(one) for one in gauges.gpu]
    return Loads(
        at=at,
        volts=volts,
        rated_volts=rated,
        factor=factor,
        factor_measured=factor_measured,
        feed_kva=feed_kva,
        feed_measured=feed_measured,
        dead=dead,
        cord_kva=cord_kva,
        cord_measured=cord_measured,
        rack_kw=rack_kw,
        rack_measured=rack_measured,
        liquid_kw=_heat(flow, supply, back, fluid),
        flow_lpm=flow,
        group_kw=group_kw,
        group_lpm=group_lpm,
        gpu_c=tuple(one[0] for one in gpus),
        gpu_kw=tuple(one[1] for one in gpus),
        slowdown_c=tuple(one[2] for one in gpus),
    )


def sums(network: Network, cord_kva: Floats, alive: Bools, known: Floats | None = None) -> Floats:
    """Loads of feeds as the sums of what hangs on them: by feed and whatever follows the cords' axis. alive: by feed,
    and the middle axes of cord_kva where it has any; a load divides equally over the live feeders of a feed. known: by
    feed and phase, what counts instead of a sum where it is not NaN. NaN where a part is NaN."""
    load = np.zeros((len(network.feeds), *cord_kva.shape[1:]))
    np.add.at(load, network.cord_feed, cord_kva)
    feeders = np.zeros(alive.shape)
    np.add.at(feeders, network.child, alive[network.parent].astype(np.float64))
    for down, up in reversed(list(network.steps())):
        if known is not None:
            load[down] = np.where(np.isnan(known[down]), load[down], known[down])
        share = alive[up] / np.maximum(feeders[down], 1.0)
        part = load[down] * share.reshape(share.shape + (1,) * (load.ndim - share.ndim))
        np.add.at(load, up, np.where(share.reshape(share.shape + (1,) * (load.ndim - share.ndim)) > 0.0, part, 0.0))
    return load if known is None else np.where(np.isnan(known), load, known)


def _cords(network: Network, metered: Floats, rack_kw: Floats, factor: Floats, dead: Bools) -> tuple[Floats, Bools]:
    """Load of each cord by phase: its tap's meter, else an equal part of what the rack's meter says beyond its metered
    cords, in balance."""
    rack, feed = network.cord_rack, network.cord_feed
    loads = np.where(network.tap[feed][:, None], metered[feed], np.nan)
    measured: Bools = np.logical_and.reduce(~np.isnan(loads), axis=1)
    loads[~measured & dead[feed]] = 0.0
    open_ = ~measured & ~dead[feed]
    size = len(network.racks)
    known_kw = np.bincount(rack, np.where(open_, 0.0, np.nan_to_num(loads).sum(axis=1) * factor[feed]), minlength=size)
    unknown = np.bincount(rack, open_, minlength=size)
    rest_kw = np.maximum(rack_kw - known_kw, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        each_kva = rest_kw[rack] / unknown[rack] / factor[feed] / 3.0
    loads[open_] = each_kva[open_][:, None]
    return loads, measured


def _volts(network: Network, measured: Floats) -> tuple[Floats, Bools]:
    """Rated volts, else what is measured (where that is more than nothing), else those of a neighbour."""
    rated = np.array([np.nan if feed.volts is None else feed.volts for feed in network.feeds])
    said = ~np.isnan(rated)
    volts = np.where(said, rated, np.where(measured >= DEAD_V, measured, np.nan))
    for _ in range(int(network.depth.max(initial=0)) + 1):
        if not np.isnan(volts).any():
            break
        for here, there in ((network.child, network.parent), (network.parent, network.child)):
            lacking = np.isnan(volts[here]) & ~np.isnan(volts[there])
            volts[here[lacking]] = volts[there[lacking]]
    if np.isnan(volts).any() and not np.isnan(volts).all():
        # A whole side without voltage: that of the rest of its site.
        sites = np.array([feed.site for feed in network.feeds])
        for site in set(sites[np.isnan(volts)].tolist()):
            here = sites == site
            if not np.isnan(volts[here]).all():
                volts[here & np.isnan(volts)] = np.nanmedian(volts[here])
    return volts, said


def _heat(flow: Floats, supply: Floats, back: Floats, fluid: Fluid) -> Floats:
    """Heat of a liquid stream, kW; NaN where the difference is too small to tell it from."""
    return heat_carried_kw(np.where(back - supply >= DELTA_K_MIN, flow, np.nan), supply, back, fluid)


def _groups(gauges: Gauges, take: _Reader, fluid: Fluid) -> tuple[Floats, Floats]:
    heats, flows = [], []
    for flow, supply, back in zip(gauges.unit_flow, gauges.unit_supply, gauges.unit_back, strict=True):
        lpm = take(flow)
        kw = _heat(lpm, take(supply), take(back), fluid)
        kw[lpm == 0.0] = 0.0  # what does not flow carries nothing
        heats.append(kw.sum() if len(kw) else np.nan)
        flows.append(lpm.sum() if len(lpm) else np.nan)
    return np.array(heats, np.float64), np.array(flows, np.float64)


class _Reader:
    """Values of points at a moment, NaN where they say nothing of it."""

    def __init__(self, latest: Latest, at_us: int) -> None:
        heard = latest.heard
        size = min(len(heard), len(latest.value), len(latest.quality))
        fresh = heard[:size] >= at_us - int(STALE_AFTER_S * 1_000_000)
        good = fresh & (latest.quality[:size] != Quality.BAD)
        self._values = np.append(np.where(good, latest.value[:size], np.nan), np.nan)
        for point in latest.distrusted:
            if point < size:
                self._values[point] = np.nan

    def __call__(self, points: Numbers) -> Floats:
        inside = (points >= 0) & (points < len(self._values) - 1)
        taken: Floats = self._values[np.where(inside, points, len(self._values) - 1)]
        return taken.copy()


def _first(plant: Plant, key: AssetKey) -> dict[str, int]:
    """The first point of each quantity of an asset, phases apart."""
    found: dict[str, int] = {}
    for point in _own(plant, key):
        name = f"{point.quantity} {point.phase}" if point.quantity == "PhaseCurrent" else point.quantity
        found.setdefault(name, point.id)
    return found


def _secondary(plant: Plant, key: AssetKey) -> dict[str, int]:
    """Flow and temperatures of a cooling unit's own circuit: the secondary one, of a CDU."""
    found: dict[str, int] = {}
    for point in _own(plant, key):
        if point.loop is Loop.PRIMARY:
            continue
        if point.quantity == "LiquidFlow":
            found.setdefault("flow", point.id)
        elif point.quantity == "LiquidTemperature" and point.side is not None:
            found.setdefault("supply" if point.side is Side.SUPPLY else "return", point.id)
    return found


def _own(plant: Plant, key: AssetKey) -> Iterable[Point]:
    asset = plant.assets.get(key)
    points = [plant.points[number] for number in asset.points] if asset else []
    return [point for point in points if not point.setpoint and point.object_type in ("", asset.kind)]  # type: ignore[union-attr]
