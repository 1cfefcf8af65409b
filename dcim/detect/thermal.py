"""Thermal: heat that is not where it should be, at racks and at GPUs: balances, resistances, throttling.

A GPU's resistance R = (T_gpu − T_in)/P is held against its like at the same place in other nodes, and against its own
norm; where nobody tells T_in, how far its temperature moves with its power stands in for it. What a whole node or a
whole rack shares is not the GPU's: it is taken out first, and looked at for itself.

Lives here: the detector for racks and GPUs. Not here: CDUs (cooling.py), meters that lie (sensors.py), lost flow
(flow.py), limits on temperatures (limits.py)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind
from dcim.core.plant import Plant
from dcim.core.ports import Needs
from dcim.core.times import to_us
from dcim.detect.balance import QUANTITIES, Balance, BalanceSettings, Racks, measure
from dcim.detect.figures import figure, percent
from dcim.detect.gpus import QUANTITIES as GPU_QUANTITIES
from dcim.detect.gpus import Gpus
from dcim.detect.norms import Learned, Norms, where
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.study import Study
from dcim.detect.swings import Swings, SwingSettings
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, Wide, by_group, over, steady, widen

THERMAL_BITS = 0x20 | 0x40
"""Of the clock event reasons: software and hardware thermal slowdown."""
POWER_CAP_BIT = 0x4
NOT_LEARNED = "what is usual here has not been learned yet"
SHOWN = 5
"""GPUs that are named; the rest is a number."""


@dataclass(frozen=True, slots=True)
class HeatSettings:
    """What counts as too much. [E] unless a source is given; a site's data come before it."""

    look_back_s: float = 600.0
    bin_s: float = 10.0
    hold_s: float = 125.0
    every_s: float = 10.0
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    swings: SwingSettings = field(default_factory=SwingSettings)
    share_off: float = 0.05
    """Of the share of its power that a rack's coolant usually carries. Against its own norm the meters' bias cancels;
    what is left of 2.4 % at 10 K is drift."""
    share_back: float = 0.03
    share_ready_s: float = 3_600.0
    tdp_kw: float = 1.0
    """Where a GPU tells no power limit."""
    power_share_min: float = 0.30
    """Of its power limit: below it the rise is too small for whole-degree temperatures."""
    samples_min: float = 40.0
    """Readings of its temperature at a steady power, for a resistance: at a pace of 10 s, 55 are the most that a window
    holds, and the mean of 40 whole degrees is good to 0.1 K of 30."""
    peers_min: int = 8
    peers_z: float = 4.0
    peers_z_back: float = 3.0
    peers_over: float = 0.12
    """And so much over its like: of hundreds of new parts, some stand at z = 4 and 10 % by make."""
    peers_over_back: float = 0.10
    peers_scatter_min: float = 0.02
    """No group of parts is believed to be more alike than this, 1σ."""
    ready_s: float = 86_400.0
    """A norm of resistance, restriction or flow of less than a day is none."""
    drift_high: float = 0.10
    drift_very_high: float = 0.20
    drift_deadband: float = 0.02
    flow_changed: float = 0.10
    """Of the rack's flow at which a resistance was learned: beyond it the two cannot be compared."""
    node_gpus_min: int = 4
    """From so many GPUs on, the median of a node is what they share, and not one of them."""
    node_up: float = 0.03
    device_up: float = 0.01
    """On a blocked branch each device is warmer by this at least, and their median by node_up."""
    restriction_up: float = 0.012
    """Of a rack of eight branches and more, one is little: ten minutes of half a percent of noise leave 0.15 %."""
    restriction_back: float = 0.006
    restriction_alone: float = 0.25
    """Where no GPU tells, so much more restriction is called blocked on its own."""
    valve_moved_pct: float = 3.0
    """A control valve that stands elsewhere than when the restriction was learned explains it."""
    throttle_bins: int = 6
    """A counter that grew within so many bins is growing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """What is looked up of one plant."""

    plant: Plant
    racks: Racks
    gpus: Gpus
    rack: Numbers
    """Row of each GPU's rack, −1 where it is not known."""
    node_rack: Numbers
    gpus_of_rack: Numbers
    """How many GPUs stand in each rack."""
    by_swing: Bools
    """GPUs of whose inlet nobody tells the temperature."""
    unbalanced: Roster
    blocked: Roster
    throttled: Roster
    hot: Roster
    high: Roster
    very_high: Roster

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        racks, gpus = Racks.of(plant), Gpus.of(plant)
        # A rack that only its GPUs speak of has no meters; its throttling is told all the same.
        metered = set(racks.keys)
        racks = racks.along_with(
            sorted({key for key in gpus.homes if key not in metered and key in plant.assets}), plant
        )
        row = {asset.key: number for number, asset in enumerate(racks.assets)}
        rack = np.array([row.get(home, -1) for home in gpus.homes], np.intp)
        subjects = racks.subjects()
        return cls(
            plant,
            racks,
            gpus,
            rack,
            np.array([row.get(home, -1) for home in gpus.node_homes], np.intp),
            np.bincount(rack[rack >= 0], minlength=len(subjects)).astype(np.intp),
            np.append(racks.supply, -1)[rack] < 0,
            Roster(FindingKind.HEAT_UNBALANCED, subjects),
            Roster(FindingKind.BRANCH_BLOCKED, subjects),
            Roster(FindingKind.GPU_THROTTLED, subjects),
            Roster(FindingKind.GPU_HOT, gpus.subjects),
            Roster(FindingKind.GPU_RESISTANCE_HIGH, gpus.subjects),
            Roster(FindingKind.GPU_RESISTANCE_VERY_HIGH, gpus.subjects),
        )


class Heat:
    """Detector: heat at racks and GPUs. A Learner as well."""

    name = "heat"
    kinds = frozenset(
        {
            FindingKind.HEAT_UNBALANCED,
            FindingKind.GPU_HOT,
            FindingKind.GPU_RESISTANCE_HIGH,
            FindingKind.GPU_RESISTANCE_VERY_HIGH,
            FindingKind.BRANCH_BLOCKED,
            FindingKind.GPU_THROTTLED,
        }
    )

    def __init__(self, norms: Norms | None = None, settings: HeatSettings | None = None) -> None:
        """norms: what is usual, learned before. Without them what needs one is unknown until it is learned."""
        self.settings = settings or HeatSettings()
        self.study = Study(norms or Norms())
        self.needs = Needs(
            QUANTITIES | GPU_QUANTITIES,
            timedelta(seconds=self.settings.look_back_s),
            timedelta(seconds=self.settings.every_s),
        )
        self._map = _Map.of(Plant())
        self._swings = Swings.of(self.study.norms, self.settings.swings)

    @property
    def norms(self) -> Norms:
        """What is usual, as learned by now, and beside it what the swings of GPUs have gathered."""
        return self._swings.kept_in(self.study.norms)

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """As Learner says."""
        self.study.learn(exempt)

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every rack and GPU. What has no norm yet is unknown, and so is what was not steady for long enough."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings = self.settings
        grid = Grid(to_us(at), settings.bin_s, round(settings.look_back_s / settings.bin_s), settings.hold_s)
        wide = widen(window, grid)
        look = _Look(settings, self._map, wide, self.study.norms, at, self._swings)
        learned = [look.heat(), *look.resistances(), *look.branches()]
        look.throttling()
        self.study.looked(at, learned)
        return look.answer.detection()


class _Look:
    """One look: what is measured, and what follows."""

    def __init__(
        self, settings: HeatSettings, plan: _Map, wide: Wide, norms: Norms, at: datetime, swings: Swings
    ) -> None:
        self.settings, self.map, self.wide, self.norms, self.at = settings, plan, wide, norms, at
        self.since = at - timedelta(seconds=settings.look_back_s)
        self.answer = Answer()
        self.balance: Balance = measure(plan.racks, wide, settings.balance)
        self.resistance, self.power_kw = self._resistance()
        self.norm = norms.of("gpu resistance", plan.gpus.temperature, settings.ready_s)
        self.swing = self._swing(swings)
        self.drift = self.resistance / self.norm - 1.0

    # --- racks ---

    def heat(self) -> Learned:
        """The share of its power that each rack's coolant carries, against its norm."""
        settings, racks, balance = self.settings, self.map.racks, self.balance
        norm = self.norms.of("heat share", racks.power, settings.share_ready_s)
        off = balance.share / norm - 1.0
        found, between = beyond(np.abs(off), settings.share_off, settings.share_back)
        measured = ~np.isnan(balance.share)

        def make(row: int) -> Finding:
            lost_kw = float(norm[row] * balance.power_kw[row] - balance.heat_kw[row])
            word = "less" if lost_kw > 0.0 else "more"
            name = racks.assets[row].name
            heat, power = figure(balance.heat_kw[row], "kW"), figure(balance.power_kw[row], "kW")
            return Finding(
                FindingKind.HEAT_UNBALANCED,
                self.map.unbalanced.subjects[row],
                since=self.since,
                summary=f"Rack {name}: its coolant takes {figure(abs(lost_kw), 'kW')} {word} than its power says",
                score=abs(float(off[row])),
                confidence=0.6,
                evidence=(
                    Evidence("Heat in the coolant", heat, point=_known(racks.back[row])),
                    Evidence("Power of the rack", power, point=_known(racks.power[row])),
                    Evidence(
                        "Share that goes to the coolant",
                        f"{percent(float(balance.share[row]))}; usual is {percent(float(norm[row]))}",
                    ),
                    Evidence(
                        "Rise over the rack",
                        f"{figure(float(balance.rise_k[row]), 'K')}, enough to tell",
                        Bearing.RULED_OUT,
                        _known(racks.back[row]),
                    ),
                    Evidence("One of its meters is off", "the balances do not name one", Bearing.UNKNOWN),
                ),
                check_first=(
                    f"Compare {name}'s return temperature and flow with a hand-held meter, or with a like rack.",
                    "Feel for a bypass that stands open, or a cold plate whose hoses are both cold.",
                    "Ask whether nodes were added, taken out or moved to air cooling: then the norm has changed.",
                ),
            )

        usual = self.answer.judge(
            self.map.unbalanced,
            found,
            between,
            [
                (
                    _without(racks.power, racks.flow, racks.supply, racks.back),
                    "power, flow, supply or return has no meter",
                ),
                (
                    ~measured,
                    f"no steady load with a rise of {settings.balance.rise_k_min:g} K, or a meter is not heard",
                ),
                (np.isnan(norm), NOT_LEARNED),
            ],
            make,
        )
        usual |= measured & np.isnan(norm)
        return Learned("heat share", racks.power, where(balance.share, usual), racks.keys)

    def branches(self) -> list[Learned]:
        """Restriction and nodes of each rack, against their norms."""
        settings, plan, racks, balance = self.settings, self.map, self.map.racks, self.balance
        gpus = plan.gpus
        norm = self.norms.of("rack restriction", racks.flow, settings.ready_s)
        valve_norm = self.norms.of("rack valve", racks.valve, settings.ready_s)
        up = balance.restriction / norm - 1.0
        moved = (racks.valve >= 0) & ~(np.abs(balance.valve_pct - valve_norm) <= settings.valve_moved_pct)
        middle = by_group(self.drift, plan.gpus.node, len(gpus.nodes), least=2)
        least = _least(self.drift, plan.gpus.node, len(gpus.nodes))
        warm = (middle >= settings.node_up) & (least >= settings.device_up)
        count = len(racks.assets)
        warm_nodes = np.bincount(plan.node_rack[warm & (plan.node_rack >= 0)], minlength=count)
        told = np.bincount(plan.node_rack[~np.isnan(middle) & (plan.node_rack >= 0)], minlength=count)
        with_gpus = told > 0
        found = np.where(
            with_gpus, (warm_nodes > 0) & (up >= settings.restriction_up), up >= settings.restriction_alone
        )
        between = (warm_nodes > 0) & (up >= settings.restriction_back)
        between |= ~with_gpus & (up >= 0.5 * settings.restriction_alone)

        def make(row: int) -> Finding:
            asset = racks.assets[row]
            rows = np.flatnonzero(warm & (plan.node_rack == row))
            rows = rows[np.argsort(-middle[rows])]
            flow, where_to = figure(balance.flow_lpm[row], "L/min"), gpus.nodes[rows[0]] if len(rows) else asset.name
            evidence = [
                Evidence(
                    "Restriction of the rack, ΔP/V̇ⁿ",
                    f"{percent(float(up[row]))} over its norm",
                    point=_known(racks.drop[row]),
                ),
                Evidence("Flow through the rack", flow, point=_known(racks.flow[row])),
            ]
            evidence += [
                Evidence(
                    f"All GPUs of {gpus.nodes[node]}",
                    f"{percent(float(middle[node]))} more resistance than usual",
                )
                for node in rows[:SHOWN].tolist()
            ]
            if len(rows) > SHOWN:
                evidence.append(Evidence("More nodes like these", str(len(rows) - SHOWN)))
            if not len(rows):
                evidence.append(Evidence("Temperatures of its devices", "not told, or without a norm", Bearing.UNKNOWN))
            if racks.valve[row] >= 0:
                shows = f"{figure(float(balance.valve_pct[row]), '%')}, where it was"
                evidence.append(Evidence("Control valve", shows, Bearing.RULED_OUT, int(racks.valve[row])))
            else:
                evidence.append(Evidence("A valve that was closed a little", "no signal tells", Bearing.UNKNOWN))
            return Finding(
                FindingKind.BRANCH_BLOCKED,
                plan.blocked.subjects[row],
                since=self.since,
                summary=f"Rack {asset.name}: a branch is blocked"
                + (f", {len(rows)} nodes are warmer" if len(rows) else ""),
                score=float(up[row]),
                confidence=0.85 if len(rows) else 0.6,
                evidence=tuple(evidence),
                check_first=(
                    f"Look at the hoses and quick-connects of {where_to}: kinked, or not fully home?",
                    "Look at the branch's strainer and at what is in it: fibres, slime or copper.",
                    "If the nodes get warmer, have their load moved before the branch is opened.",
                ),
            )

        usual = self.answer.judge(
            plan.blocked,
            found,
            between,
            [
                (_without(racks.flow, racks.drop), "it does not publish flow and pressure difference"),
                (np.isnan(balance.restriction), "its flow or pressure difference is not heard, or too small to tell"),
                (np.isnan(norm), NOT_LEARNED),
                (moved, "its control valve is not where it was when the restriction was learned"),
            ],
            make,
        )
        usual |= np.isnan(norm)
        usual &= ~((racks.valve >= 0) & ~np.isnan(valve_norm) & moved)
        return [
            Learned("rack restriction", racks.flow, where(balance.restriction, usual), racks.keys),
            Learned("rack valve", racks.valve, where(balance.valve_pct, usual), racks.keys),
            Learned("rack flow", racks.flow, where(balance.flow_lpm, usual), racks.keys),
        ]

    # --- GPUs ---

    def _resistance(self) -> tuple[Floats, Floats]:
        """R of each GPU in K/W and its mean power in kW over the steady part of the window; NaN without enough."""
        settings, gpus, wide = self.settings, self.map.gpus, self.wide
        resistance, power_kw = np.full(len(gpus.temperature), np.nan), np.full(len(gpus.temperature), np.nan)
        told = np.flatnonzero(wide.told(gpus.temperature) >= settings.samples_min)  # nothing can come of the others
        if not len(told):
            return resistance, power_kw
        limit_kw = wide.lasts(gpus.limit[told])
        limit_kw = np.where(limit_kw > 0.0, limit_kw, settings.tdp_kw)
        power, temperature = wide.means(gpus.power[told]), wide.means(gpus.temperature[told])
        inlet = np.append(self.balance.supply_c, np.full((1, wide.grid.bins), np.nan), axis=0)[self.map.rack[told]]
        fit = steady(power, settings.balance.steady_bins, settings.balance.steady_share)
        fit &= (power > settings.power_share_min * limit_kw[:, None]) & ~np.isnan(temperature - inlet)
        samples = np.where(fit, wide.counts(gpus.temperature[told]), 0.0).sum(axis=1)
        rise = np.where(fit, temperature - inlet, 0.0).sum(axis=1)
        total = np.where(fit, power, 0.0).sum(axis=1)
        enough = (samples >= settings.samples_min) & (rise > 0.0)
        resistance[told] = np.where(enough, rise / np.maximum(total, 1e-9) / 1000.0, np.nan)
        power_kw[told] = np.where(enough, total / np.maximum(fit.sum(axis=1), 1), np.nan)
        return resistance, power_kw

    def _swing(self, swings: Swings) -> Floats:
        """R in K/W of each GPU of which no inlet is told, from how its temperature moves with its power; NaN of the
        others. It stands in for their resistance against their own norm, not among their like: fans differ."""
        plan, wide, rows = self.map, self.wide, np.flatnonzero(self.map.by_swing)
        swing = np.full(len(plan.by_swing), np.nan)
        if not len(rows):
            return swing
        points = plan.gpus.temperature[rows]
        power, temperature = wide.means(plan.gpus.power[rows]), wide.means(points)
        both = ~np.isnan(power) & ~np.isnan(temperature) & (wide.counts(points).sum(axis=1) > 0.0)[:, None]
        power_kw = over(power, both, 1)
        swings.take(self.at, points, power_kw, over(temperature, both, 1))
        swing[rows], told = swings.resistance(points)
        norm = self.norms.of("gpu swing", points, self.settings.ready_s)
        self.norm[rows] = np.where(told >= self.settings.swings.told_min, norm, np.nan)
        self.resistance[rows], self.power_kw[rows] = swing[rows], power_kw
        return swing

    def _apart(self, values: Floats) -> Floats:
        """Each value over what its node shares; over what its rack does where the node has too few."""
        plan, least = self.map, self.settings.node_gpus_min
        gpus = plan.gpus
        node = by_group(values, gpus.node, len(gpus.nodes), least)[gpus.node] if len(values) else values
        rack = np.append(by_group(values, plan.rack, len(plan.racks.assets), least), np.nan)[plan.rack]
        shared = np.where(np.isnan(node), rack, node)
        apart: Floats = values / np.where(np.isnan(shared), 1.0, shared)
        return apart

    def resistances(self) -> list[Learned]:
        """Each GPU among its peers, and against its own norm."""
        settings, plan, gpus, wide = self.settings, self.map, self.map.gpus, self.wide
        least, share = f"{settings.samples_min:.0f}", percent(settings.power_share_min)
        why_none = f"fewer than {least} readings at a steady power over {share} of its limit"
        none, by_swing = np.isnan(self.resistance), plan.by_swing
        uncooled = (by_swing, "what it is cooled with is not told, nor how warm")
        untold = [
            (none & by_swing, "no inlet temperature is told, and its power has moved too little of late"),
            (none, why_none),
        ]
        if none.all():  # GPUs that are read seldom: there is nothing to compare, and nothing to learn
            nothing = np.zeros(len(none), np.bool_)
            self.answer.judge(plan.hot, nothing, nothing, [uncooled, (none, why_none)], _nothing)
            for roster in (plan.very_high, plan.high):
                self.answer.judge(roster, nothing, nothing, untold, _nothing)
            return []
        # Peers: the same place in the node, the same product as far as its limits tell.
        product = np.nan_to_num(np.round(wide.lasts(gpus.limit) * 20.0) * 1_000.0 + wide.lasts(gpus.slowdown), nan=-1.0)
        _, like = np.unique(product, return_inverse=True)
        like = like.reshape(-1).astype(np.intp)
        _, group = np.unique(gpus.place * (int(like.max(initial=0)) + 1) + like, return_inverse=True)
        group = group.reshape(-1).astype(np.intp)
        groups = int(group.max(initial=-1)) + 1
        apart = self._apart(np.where(by_swing, np.nan, self.resistance))
        middle = by_group(apart, group, groups, settings.peers_min)[group] if groups else apart
        # How unlike such parts are is told by all of the product: the few at one place may be alike by chance.
        rest = apart / middle - 1.0
        spread = by_group(np.abs(rest), like, int(like.max(initial=-1)) + 1, settings.peers_min)
        z = rest / np.maximum(1.4826 * (spread[like] if len(like) else rest), settings.peers_scatter_min)
        found = (z >= settings.peers_z) & (rest >= settings.peers_over)
        between = (z >= settings.peers_z_back) & (rest >= settings.peers_over_back)
        peers = np.bincount(group[~none], minlength=groups)[group] if groups else np.zeros(0)

        def hot(row: int) -> Finding:
            over = f"{percent(apart[row] / middle[row] - 1.0)} over {int(peers[row])} like it"
            shows = f"{figure(self.resistance[row], 'K/W')}, {over}, z = {z[row]:.1f}"
            evidence = (
                Evidence("Thermal resistance", shows, point=int(gpus.temperature[row])),
                Evidence("What its node and rack share", "taken out", Bearing.RULED_OUT),
            )
            summary = f"GPU {gpus.names[row]} is hotter than its like"
            return self._gpu_finding(plan.hot, row, summary, float(z[row]), 0.75, evidence)

        few = [
            uncooled,
            (none, why_none),
            (np.isnan(z), f"fewer than {settings.peers_min} like it can be compared"),
        ]
        self.answer.judge(plan.hot, found, between, few, hot)

        norm = self.norm
        flow_norm = np.append(self.norms.of("rack flow", plan.racks.flow, settings.ready_s), np.nan)[plan.rack]
        flow = np.append(self.balance.flow_lpm, np.nan)[plan.rack]
        changed = np.abs(flow / flow_norm - 1.0) > settings.flow_changed
        own = self._apart(1.0 + self.drift) - 1.0
        far, nearly_far = beyond(own, settings.drift_very_high, settings.drift_very_high - settings.drift_deadband)
        up, nearly = beyond(own, settings.drift_high, settings.drift_high - settings.drift_deadband)

        def aged(roster: Roster, row: int) -> Finding:
            more = f"{percent(own[row])} more, what its node shares taken out"
            shows = f"{figure(self.resistance[row], 'K/W')}; it was {figure(norm[row], 'K/W')}: {more}"
            what = "Temperature that follows its power" if by_swing[row] else "Thermal resistance"
            kept = bool(flow_norm[row] > 0.0 and flow[row] > 0.0)
            unchanged = f"{figure(flow[row], 'L/min')}, as when it was learned" if kept else "not told"
            evidence = (
                Evidence(f"{what} against its own norm", shows, point=int(gpus.temperature[row])),
                Evidence("Flow through the rack", unchanged, Bearing.RULED_OUT if kept else Bearing.UNKNOWN),
            )
            summary = f"GPU {gpus.names[row]}: thermal resistance up {percent(own[row])}"
            return self._gpu_finding(roster, row, summary, float(own[row]), 0.8, evidence)

        cannot = [
            *untold,
            (np.isnan(norm), NOT_LEARNED),
            (changed, "the rack's flow is not what it was when the resistance was learned"),
        ]
        usual = self.answer.judge(plan.very_high, far, nearly_far, cannot, lambda row: aged(plan.very_high, row))
        usual &= self.answer.judge(plan.high, up & ~far, nearly | far, cannot, lambda row: aged(plan.high, row))
        # What a whole branch has in common is not usual either. Swings scatter as much: theirs would only sink.
        usual &= ~(self.drift > settings.node_up) | by_swing
        usual |= ~none & np.isnan(norm)
        return [
            Learned("gpu resistance", gpus.temperature, where(self.resistance, usual & ~by_swing), gpus.assets),
            Learned("gpu swing", gpus.temperature, where(self.swing, usual), gpus.assets),
        ]

    def _gpu_finding(
        self, roster: Roster, row: int, summary: str, score: float, confidence: float, evidence: Sequence[Evidence]
    ) -> Finding:
        gpus, name = self.map.gpus, self.map.gpus.names[row]
        limit_kw, slowdown_c = float(self.wide.lasts(gpus.limit)[row]), float(self.wide.lasts(gpus.slowdown)[row])
        rack = int(self.map.rack[row])
        supply = float(self.balance.supply_c[rack, -1]) if rack >= 0 else np.nan
        at_limit_c = supply + self.resistance[row] * limit_kw * 1000.0
        margin = Evidence(
            "Margin at its power limit", "power limit, slowdown temperature or supply is not told", Bearing.UNKNOWN
        )
        if np.isfinite(at_limit_c - slowdown_c):
            shows = (
                f"{figure(at_limit_c, '°C')} at {figure(limit_kw, 'kW')}; it slows down at {figure(slowdown_c, '°C')}"
            )
            bearing = Bearing.FOR if at_limit_c >= slowdown_c - 5.0 else Bearing.AGAINST
            margin = Evidence("Temperature at its power limit", shows, bearing, int(gpus.temperature[row]))
        steady_at = Evidence(
            "Mean power of that time", figure(float(self.power_kw[row]), "kW"), point=_known(gpus.power[row])
        )
        return Finding(
            roster.kind,
            roster.subjects[row],
            since=self.since,
            summary=summary,
            score=score,
            confidence=confidence,
            evidence=(*evidence, steady_at, margin),
            check_first=(
                f"Look whether {name} alone is warm: if its neighbours are too, it is the coolant, not the part.",
                "Check that its cold plate is screwed down evenly and its hoses are home.",
                "Plan a new thermal interface for the next service of the node; let the norm be learned anew after it.",
            ),
        )

    def throttling(self) -> None:
        """Racks whose GPUs hold themselves back because of heat."""
        settings, plan, gpus, wide = self.settings, self.map, self.map.gpus, self.wide
        bits = wide.lasts(gpus.bits)
        fresh = ~np.isnan(wide.mean_at(gpus.bits, -1)) & ~np.isnan(bits) & (bits >= 0.0) & (bits < 2**53)
        word = np.where(fresh, bits, 0.0).astype(np.int64)
        by_bit, capped = (word & THERMAL_BITS) != 0, (word & POWER_CAP_BIT) != 0
        grew = np.zeros(len(bits), np.bool_)
        counted = np.zeros(len(bits), np.bool_)
        for counter in (gpus.software_s, gpus.hardware_s):
            before = -min(settings.throttle_bins + 1, wide.grid.bins)
            rise = wide.mean_at(counter, -1) - wide.mean_at(counter, before)
            grew |= rise > 0.0
            counted |= ~np.isnan(rise)
        throttled, told = by_bit | grew, fresh | counted
        count = len(plan.racks.assets)
        at_home = plan.rack >= 0
        number = np.bincount(plan.rack[throttled & at_home], minlength=count)
        told_of = np.bincount(plan.rack[told & at_home], minlength=count)

        def make(row: int) -> Finding:
            rows = np.flatnonzero(throttled & (plan.rack == row))
            temperature = wide.lasts(gpus.temperature)[rows]
            rows, temperature = rows[np.argsort(-np.nan_to_num(temperature))], np.sort(np.nan_to_num(temperature))[::-1]
            name = plan.racks.assets[row].name
            evidence = [
                Evidence(
                    gpus.names[gpu],
                    f"{_reason(int(word[gpu]), grew=bool(grew[gpu]))}, {figure(float(celsius), '°C')}",
                    point=_known(gpus.temperature[gpu]),
                )
                for gpu, celsius in zip(rows[:SHOWN].tolist(), temperature[:SHOWN], strict=True)
            ]
            if len(rows) > SHOWN:
                evidence.append(Evidence("More GPUs like these", str(len(rows) - SHOWN)))
            also = int(np.count_nonzero(capped & (plan.rack == row)))
            shows = f"bit 0x4 at {also} GPUs: asked for by the power limit, no fault" if also else "bit 0x4 is not set"
            evidence.append(Evidence("A power cap", shows, Bearing.RULED_OUT))
            return Finding(
                FindingKind.GPU_THROTTLED,
                plan.throttled.subjects[row],
                since=self.at,
                summary=f"Rack {name}: {len(rows)} of {int(plan.gpus_of_rack[row])} GPUs slow down for heat",
                score=len(rows) / max(1, int(plan.gpus_of_rack[row])),
                confidence=0.95 if by_bit[rows].any() else 0.85,
                evidence=tuple(evidence),
                check_first=(
                    f"Look at the flow and supply temperature of {name}, and whether its CDU has an alarm.",
                    "All GPUs warm means coolant; one node means its branch; one GPU means its cold plate.",
                    "Have load moved off the rack if they are not cooler within five minutes.",
                ),
            )

        whole = number * 1.0
        missing = told_of < plan.gpus_of_rack
        self.answer.judge(
            plan.throttled,
            whole >= 1.0,
            np.zeros(count, np.bool_),
            [
                (plan.gpus_of_rack == 0, "no GPU of it is known"),
                (missing & (number == 0), "not every GPU tells its clock events or throttle times"),
            ],
            make,
        )


def _nothing(row: int) -> Finding:
    raise AssertionError(f"row {row} was not found to be anything")


def _reason(word: int, *, grew: bool) -> str:
    reasons = [
        text
        for bit, text in ((0x40, "hardware slowdown (0x40)"), (0x20, "software slowdown (0x20)"))
        if word & bit
    ]  # fmt: skip
    return " and ".join(reasons) or ("its throttle time grows" if grew else "")


def _least(values: Floats, group: Numbers, groups: int) -> Floats:
    """[groups]: the least of each group's known values; infinite where there is none."""
    least = np.full(groups, np.inf)
    known = ~np.isnan(values)
    np.minimum.at(least, group[known], values[known])
    return least


def _without(*columns: Numbers) -> Bools:
    """Where one of these meters is not there."""
    missing: Bools = np.any(np.stack(columns) < 0, axis=0)
    return missing


def _known(point: np.intp) -> int | None:
    return int(point) if point >= 0 else None
