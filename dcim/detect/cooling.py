"""Cooling: CDUs that no longer do what they did: filters, pumps, valves, exchangers, air, facility water.

Every CDU is a row; what is slow is held against its own norm. Flow explains most changes of pressure, load those of
temperature: they are taken out first. Lives here: the detector for CDUs. Not here: lost flow (flow.py), leaks
(leaks.py), racks and GPUs (thermal.py), condensation (damp.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import Asset, AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.ports import Needs
from dcim.core.times import to_us
from dcim.detect.circuits import circuits, fills, secondary_flow
from dcim.detect.figures import duration, figure, percent
from dcim.detect.norms import Learned, Norms, where
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.study import Study
from dcim.detect.thermal import NOT_LEARNED
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, Wide, all_of, median, over, recent, steady, widen
from dcim.physics.fluids import PG25, WATER, Fluid
from dcim.physics.heat import conductance_kw_k
from dcim.physics.hydraulics import heat_carried_kw, restriction

QUANTITIES = frozenset(
    {
        *("LiquidTemperature", "LiquidFlow", "LiquidPressure", "LiquidDifferentialPressure", "PumpSpeed"),
        *("ValvePosition", "GenericPoint", "RackPower"),
    }
)


@dataclass(frozen=True, slots=True)
class CoolingSettings:
    """What counts as worn, stuck or fouled. [E] unless marked [S], read in a source."""

    look_back_s: float = 600.0
    bin_s: float = 5.0
    hold_s: float = 125.0
    every_s: float = 10.0
    fluid: Fluid = PG25
    loop_l: float = 500.0
    """Where the plant does not publish it."""
    ready_s: float = 86_400.0
    bins_min: int = 24
    """A statistic over less than two minutes is none."""
    clogged: float = 1.6
    blocked: float = 3.0
    """A filter's restriction over its norm. Service is due at twice, and what is told is planned for the days before
    that; ten minutes of half a kPa of noise are a few percent."""
    filter_deadband: float = 0.15
    filter_kpa_min: float = 0.5
    worn: float = 0.08
    worn_back: float = 0.06
    circuit_changed: float = 0.05
    """A circuit whose own restriction has changed by more explains less flow for a speed."""
    abreast_pct: float = 3.0
    """Pumps of a CDU whose speeds are no further apart run together; at unlike speeds one of them may carry nothing."""
    running_pct: float = 30.0
    resting_pct: float = 1.0
    stuck_pct: float = 10.0
    """Feedback against command, for stuck_s: twice the stroke of a usual valve."""
    stuck_s: float = 120.0
    still_pct: float = 0.3
    asked_pct: float = 2.0
    """A valve that stays where it is for still_s, while its command moves by so much in the same time but for its last
    minute, a usual valve's stroke: ten times what it may move by itself."""
    still_s: float = 600.0
    error_k: float = 2.0
    """Supply against its set-point [S]; a valve that does not move meanwhile, and could, is stuck."""
    end_pct: float = 5.0
    """So near to an end a valve has no way left."""
    swing_k: float = 0.5
    swings_min: int = 6
    """Half swings of more than that in the window: three periods of up to 180 s."""
    load_swing: float = 0.05
    """Of the racks' power: where it swings as often by more, the supply follows it, and nobody hunts."""
    fouled: float = 0.08
    fouled_back: float = 0.06
    """Of the conductance: means of ten minutes of clean exchangers stay within 2.5 % of their norms while loads,
    set-points and pumps change."""
    film_exponent: float = 0.7
    """Of a plate exchanger's films over flow; its two sides are taken to be alike."""
    flows_like: float = 0.4
    """Beyond this change of the primary flow a conductance cannot be compared with its norm."""
    end_k_min: float = 1.0
    """Below this an end of the exchanger is within its thermometers' errors."""
    flutter: float = 3.0
    flutter_back: float = 2.0
    """Variance from reading to reading, over its norm."""
    suction_low_kpa: float = 10.0
    """Below its norm."""
    warm_k: float = 5.0
    """Facility water over its norm; or nearer than near_k to what is to be cooled to, whatever its norm is."""
    warm_back_k: float = 3.5
    near_k: float = 2.0
    lost_share: float = 0.10
    """Of the loop's flow: facility water under this is lost where the valve is open."""
    lost_back: float = 0.15
    open_pct: float = 20.0
    warms_share: float = 0.10
    """Of a loop's heat: so much must be left in it before it is said to warm, for both its sides are measured to a few
    percent."""
    supply_hot_c: float = 60.0
    """Where CDU manuals begin to warn [S]: the harm that the time to limit counts to."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cdus:
    """The CDUs of a plant, as columns; −1 where there is no such point."""

    assets: tuple[Asset, ...]
    flow: Numbers
    supply: Numbers
    back: Numbers
    setpoint: Numbers
    primary_in: Numbers
    primary_out: Numbers
    primary_flow: Numbers
    drop: Numbers
    suction: Numbers
    valve: Numbers
    command: Numbers
    volume: Numbers
    filters: Numbers
    filter_cdu: Numbers
    pumps: Numbers
    pump_cdu: Numbers
    powers: Numbers
    """Power of every rack of every CDU that is alone on its circuit."""
    power_cdu: Numbers
    untold: Numbers
    """By CDU, racks without a power meter; a CDU that shares its racks has one at least."""

    @classmethod
    def of(cls, plant: Plant) -> _Cdus:
        assets = tuple(asset for asset in plant.assets.values() if asset.kind == "CDU")
        of_asset = circuits(plant)

        def column(pick: Callable[[Point], bool], *quantities: str) -> Numbers:
            found = []
            for asset in assets:
                points = (point for quantity in quantities for point in plant.at(asset.key, quantity))
                found.append(next((point.id for point in points if point.unit_known and pick(point)), -1))
            return np.array(found, np.intp)

        def side(loop: Loop, which: Side) -> Callable[[Point], bool]:
            return lambda point: point.loop is loop and point.side is which and not point.setpoint

        def plain(point: Point) -> bool:
            return point.loop is not Loop.PRIMARY and not point.setpoint and not _filters(point)

        def asked_of_valve(point: Point) -> bool:
            """The contract has valve positions as feedback only: many publish the command as a set-point beside it."""
            told = point.quantity == "ValvePosition" or (
                point.unit == "%" and any("valve" in area.casefold() for area in point.areas)
            )
            return told and point.setpoint and point.loop is not Loop.SECONDARY

        filters: list[tuple[int, int]] = []
        pumps, powers = list(filters), list(filters)
        untold = np.zeros(len(assets), np.intp)
        for row, asset in enumerate(assets):
            own = [
                point
                for quantity in ("LiquidDifferentialPressure", "PumpSpeed")
                for point in plant.at(asset.key, quantity)
                if point.loop is not Loop.PRIMARY and not point.setpoint and point.unit_known
            ]
            filters += [(point.id, row) for point in own if point.quantity != "PumpSpeed" and _filters(point)]
            pumps += [(point.id, row) for point in own if point.quantity == "PumpSpeed" and not fills(point)]
            circuit = of_asset[asset.key]
            if len(circuit.cdus) > 1:
                untold[row] += 1
                continue
            for rack in circuit.racks:
                meters = [point for point in plant.at(rack, "RackPower") if not point.setpoint and point.unit_known]
                powers += [(point.id, row) for point in meters[:1]]
                untold[row] += not meters
        flows = [secondary_flow(plant, asset.key) for asset in assets]
        return cls(
            assets=assets,
            flow=np.array([point.id if point and point.unit_known else -1 for point in flows], np.intp),
            supply=column(side(Loop.SECONDARY, Side.SUPPLY), "LiquidTemperature"),
            back=column(side(Loop.SECONDARY, Side.RETURN), "LiquidTemperature"),
            setpoint=column(
                lambda point: (
                    point.loop is not Loop.PRIMARY
                    and point.side is not Side.RETURN
                    and (point.setpoint or point.measures.setpoint)
                ),
                "LiquidTemperature",
                "LiquidTemperatureSpRequest",
            ),
            primary_in=column(side(Loop.PRIMARY, Side.SUPPLY), "LiquidTemperature"),
            primary_out=column(side(Loop.PRIMARY, Side.RETURN), "LiquidTemperature"),
            primary_flow=column(lambda point: point.loop is Loop.PRIMARY and not point.setpoint, "LiquidFlow"),
            drop=column(plain, "LiquidDifferentialPressure"),
            suction=column(side(Loop.SECONDARY, Side.RETURN), "LiquidPressure"),
            valve=column(lambda point: not point.setpoint and point.loop is not Loop.SECONDARY, "ValvePosition"),
            command=column(asked_of_valve, "ValvePosition", "GenericPoint"),
            volume=column(
                lambda point: point.unit == "L" and any("loop" in area.casefold() for area in point.areas),
                "GenericPoint",
            ),
            filters=_column(filters, 0),
            filter_cdu=_column(filters, 1),
            pumps=_column(pumps, 0),
            pump_cdu=_column(pumps, 1),
            powers=_column(powers, 0),
            power_cdu=_column(powers, 1),
            untold=untold,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """What is looked up of one plant."""

    plant: Plant
    cdus: _Cdus
    keys: tuple[AssetKey, ...]
    clogged: Roster
    blocked: Roster
    worn: Roster
    worn_together: Roster
    """By CDU: its pumps, where they run together."""
    stuck: Roster
    hunting: Roster
    fouled: Roster
    air: Roster
    facility: Roster

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        cdus = _Cdus.of(plant)
        own = [Subject(asset.site, asset.id) for asset in cdus.assets]

        def at_points(points: Numbers, row: Numbers) -> list[Subject]:
            return [
                own[cdu]._replace(qualifier=plant.points[point].name)
                for point, cdu in zip(points.tolist(), row.tolist(), strict=True)
            ]

        filters = at_points(cdus.filters, cdus.filter_cdu)
        return cls(
            plant,
            cdus,
            tuple(asset.key for asset in cdus.assets),
            Roster(FindingKind.FILTER_CLOGGED, filters),
            Roster(FindingKind.FILTER_BLOCKED, filters),
            Roster(FindingKind.PUMP_WORN, at_points(cdus.pumps, cdus.pump_cdu)),
            Roster(FindingKind.PUMP_WORN, [subject._replace(qualifier="pumps together") for subject in own]),
            Roster(FindingKind.VALVE_STUCK, own),
            Roster(FindingKind.VALVE_HUNTING, own),
            Roster(FindingKind.EXCHANGER_FOULED, own),
            Roster(FindingKind.AIR_IN_LOOP, own),
            Roster(FindingKind.FACILITY_WATER, own),
        )


class Cooling:
    """Detector: filters, pumps, valves, exchangers, air and facility water of every CDU. A Learner as well."""

    name = "cooling"
    kinds = frozenset(
        {
            FindingKind.FILTER_CLOGGED,
            FindingKind.FILTER_BLOCKED,
            FindingKind.PUMP_WORN,
            FindingKind.VALVE_STUCK,
            FindingKind.VALVE_HUNTING,
            FindingKind.EXCHANGER_FOULED,
            FindingKind.AIR_IN_LOOP,
            FindingKind.FACILITY_WATER,
        }
    )

    def __init__(self, norms: Norms | None = None, settings: CoolingSettings | None = None) -> None:
        """norms: what is usual of each CDU, learned before."""
        self.settings = settings or CoolingSettings()
        self.study = Study(norms or Norms())
        self.needs = Needs(
            QUANTITIES,
            timedelta(seconds=self.settings.look_back_s),
            timedelta(seconds=self.settings.every_s),
        )
        self._map = _Map.of(Plant())

    @property
    def norms(self) -> Norms:
        """What is usual, as learned by now."""
        return self.study.norms

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """As Learner says."""
        self.study.learn(exempt)

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every CDU, its filters and its pumps. A CDU without the points that a verdict needs is unknown for
        that verdict alone."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings = self.settings
        grid = Grid(to_us(at), settings.bin_s, round(settings.look_back_s / settings.bin_s), settings.hold_s)
        look = _Look(settings, self._map, widen(window, grid), self.norms, at)
        water = look.facility_water()
        learned = [water, *look.filters(), *look.pumps(), *look.exchangers(), *look.air()]
        look.valves()
        look.hunting()
        self.study.looked(at, learned)
        return look.answer.detection()


class _Look:
    """One look at all CDUs."""

    def __init__(self, settings: CoolingSettings, plan: _Map, wide: Wide, norms: Norms, at: datetime) -> None:
        self.settings, self.map, self.wide, self.norms, self.at = settings, plan, wide, norms, at
        self.since = at - timedelta(seconds=settings.look_back_s)
        self.answer = Answer()
        cdus = plan.cdus
        flow = wide.means(cdus.flow)
        self.flow = np.where(flow > 0.0, flow, np.nan)
        self.supply, self.back = wide.means(cdus.supply), wide.means(cdus.back)
        self.primary_in, self.primary_flow = wide.means(cdus.primary_in), wide.means(cdus.primary_flow)
        self.valve, self.command = wide.means(cdus.valve), wide.means(cdus.command)
        self.heat_kw = heat_carried_kw(self.flow, self.supply, self.back, settings.fluid)
        self.error_k = self.supply - wide.means(cdus.setpoint)
        self.primary_out = wide.means(cdus.primary_out)
        self.taken_kw = heat_carried_kw(self.primary_flow, self.primary_in, self.primary_out, WATER)
        volume_l = wide.lasts(cdus.volume)
        self.volume_l = np.where(volume_l > 0.0, volume_l, settings.loop_l)
        self.none = np.zeros(len(cdus.assets), np.bool_)

    def _name(self, row: int) -> str:
        return self.map.cdus.assets[row].name

    def _tail(self, values: Floats, seconds: float) -> Floats:
        tail: Floats = values[:, -round(seconds / self.settings.bin_s) :]
        return tail

    def _until_hot(self, row: int, *, cut_off: bool = False) -> tuple[float | None, list[Evidence]]:
        """Seconds until the supply is where manuals begin to warn, and the line that says so. The loop warms as one
        body by what is left of its heat; None where that is not measured, or within the meters' errors. cut_off: no
        heat leaves it."""
        settings, cdus = self.settings, self.map.cdus
        supply_c, heat_kw = float(self.supply[row, -1]), float(recent(self.heat_kw[row], 6))
        taken_kw = 0.0 if cut_off else float(recent(self.taken_kw[row], 6))
        left_kw = heat_kw - taken_kw
        if not (np.isfinite(supply_c) and heat_kw > 0.0 and left_kw >= settings.warms_share * heat_kw):
            return None, []
        at_c = min(max(supply_c, settings.fluid.range_c[0]), settings.fluid.range_c[1])
        kj_k = settings.fluid.density_kg_m3(at_c) * settings.fluid.heat_capacity_j_kg_k(at_c) / 1e6
        left_s = max(0.0, (settings.supply_hot_c - supply_c) * kj_k * float(self.volume_l[row]) / left_kw)
        what = "With nothing to cool it" if cut_off else f"{figure(left_kw, 'kW')} more go in than are taken out"
        shows = f"the loop reaches {figure(settings.supply_hot_c, '°C')} in {duration(left_s)}"
        return left_s, [Evidence(what, shows, point=int(cdus.supply[row]))]

    # --- facility water ---

    def facility_water(self) -> Learned:
        """Warm or lost facility water, by its own meters."""
        settings, cdus, wide = self.settings, self.map.cdus, self.wide
        inlet = recent(self.primary_in, 6)
        norm = self.norms.of("facility water", cdus.primary_in, settings.ready_s)
        setpoint = wide.means(cdus.setpoint)[:, -1]
        goal = np.where(np.isnan(setpoint), median(self.supply, settings.bins_min), setpoint)
        too_near = inlet >= goal - settings.near_k
        warm, warmish = beyond(inlet - norm, settings.warm_k, settings.warm_back_k)
        warmish |= inlet >= goal - settings.near_k - 1.0
        share = recent(self.primary_flow, 3) / recent(self.flow, 3)
        open_ = ~(recent(self.valve, 3) < settings.open_pct)
        loaded = recent(self.heat_kw, 6) > 0.0
        lost = (share < settings.lost_share) & open_ & loaded
        lostish = (share < settings.lost_back) & open_ & loaded
        found = warm | too_near | lost

        def make(row: int) -> Finding:
            name = self._name(row)
            lines: list[Evidence] = []
            position, flow = float(self.valve[row, -1]), float(self.primary_flow[row, -1])
            usual = f"; usual is {figure(norm[row], '°C')}" if np.isfinite(norm[row]) else ""
            for what, value, unit, more, against, point in (
                ("Facility water comes at", inlet[row], "°C", usual, warm[row] or too_near[row], cdus.primary_in[row]),
                ("Flow of the facility water", flow, "L/min", "", lost[row], cdus.primary_flow[row]),
                ("Its valve", position, "%", " open", False, cdus.valve[row]),
            ):
                if np.isfinite(value):
                    bearing = Bearing.FOR if against else Bearing.RULED_OUT
                    lines.append(Evidence(what, f"{figure(value, unit)}{more}", bearing, int(point)))
                else:
                    lines.append(Evidence(what, "not heard", Bearing.UNKNOWN))
            left_s, line = self._until_hot(row, cut_off=bool(lost[row]))
            lines += line
            what = "does not come" if lost[row] else f"comes at {figure(inlet[row], '°C')}"
            return Finding(
                FindingKind.FACILITY_WATER,
                self.map.facility.subjects[row],
                since=self.at - timedelta(seconds=30),
                summary=f"{name}: facility water {what}",
                score=max(float(np.nan_to_num(inlet[row] - norm[row])) / settings.warm_k, 2.0 * bool(lost[row])),
                confidence=0.9,
                evidence=tuple(lines),
                time_to_limit_s=left_s,
                check_first=(
                    "Ask whoever runs the chillers and cooling towers: temperature, pumps, alarms.",
                    f"Look at the isolating valves and the strainer of the facility water at {name}.",
                    "Get ready to move load: the racks follow within one to five minutes.",
                ),
            )

        heard = ~np.isnan(inlet) | ~np.isnan(share)
        usual = self.answer.judge(
            self.map.facility,
            found,
            warmish | lostish,
            [
                ((cdus.primary_in < 0) & (cdus.primary_flow < 0), "nothing measures its facility water"),
                (~heard, "its facility water's meters are not heard"),
                (np.isnan(inlet) & ~found, "the temperature of its facility water is not heard"),
            ],
            make,
        )
        return Learned("facility water", cdus.primary_in, where(inlet, usual), self.map.keys)

    # --- filters and pumps ---

    def filters(self) -> list[Learned]:
        """Each filter's restriction against its norm."""
        settings, plan, cdus = self.settings, self.map, self.map.cdus
        drop = self.wide.means(cdus.filters)
        k = restriction(np.where(drop >= settings.filter_kpa_min, drop, np.nan), self.flow[cdus.filter_cdu])
        k = median(k, settings.bins_min)
        # Where that is known, both are: their last bins alone may hold nothing.
        drop_kpa, flow_lpm = median(drop, settings.bins_min), median(self.flow, settings.bins_min)
        norm = self.norms.of("filter restriction", cdus.filters, settings.ready_s)
        times = k / norm
        self.filter_times = np.full(len(cdus.assets), np.nan)
        np.fmax.at(self.filter_times, cdus.filter_cdu, times)
        self.filters_told = ~np.isnan(self.filter_times)
        far, nearly_far = beyond(times, settings.blocked, settings.blocked - settings.filter_deadband)
        up, nearly = beyond(times, settings.clogged, settings.clogged - settings.filter_deadband)

        def make(roster: Roster, row: int) -> Finding:
            cdu = int(cdus.filter_cdu[row])
            name, point = self._name(cdu), plan.plant.points[int(cdus.filters[row])]
            return Finding(
                roster.kind,
                roster.subjects[row],
                since=self.since,
                summary=f"{name}: the filter's restriction is {times[row]:.1f} times what it was",
                score=float(times[row]),
                confidence=0.85,
                evidence=(
                    Evidence(point.name, figure(float(drop_kpa[row]), "kPa"), point=point.id),
                    Evidence("Restriction, ΔP/V̇ⁿ", f"{times[row]:.2f} times its norm"),
                    Evidence(
                        "More flow",
                        f"{figure(float(flow_lpm[cdu]), 'L/min')}, taken out",
                        Bearing.RULED_OUT,
                        int(cdus.flow[cdu]),
                    ),
                ),
                check_first=(
                    "Look at the pump's speed: how much is left until it cannot hold the flow?",
                    f"Change or back-flush the filter of {name}; switch to the second one where there is one.",
                    "Note what is in it: fibres, slime and copper have different causes.",
                ),
            )

        cannot = [
            (np.isnan(k), "its pressure difference or the flow is not heard, or too small to tell"),
            (np.isnan(norm), NOT_LEARNED),
        ]
        usual = self.answer.judge(plan.blocked, far, nearly_far, cannot, lambda row: make(plan.blocked, row))
        usual &= self.answer.judge(plan.clogged, up & ~far, nearly | far, cannot, lambda row: make(plan.clogged, row))
        usual |= np.isnan(norm)
        keys = [plan.keys[cdu] for cdu in cdus.filter_cdu.tolist()]
        return [Learned("filter restriction", cdus.filters, where(k, usual), keys)]

    def pumps(self) -> list[Learned]:
        """Flow for speed of each pump that runs alone, and of the pumps of a CDU that run together. In a circuit that
        has not changed less flow is wear; in one that has, it is where the head for the speed has fallen as well, for
        a narrower circuit raises that."""
        settings, plan, cdus, wide = self.settings, self.map, self.map.cdus, self.wide
        count = len(cdus.assets)
        speed = wide.means(cdus.pumps)
        running = speed >= settings.running_pct
        at_work, fastest, slowest = (np.zeros((count, wide.grid.bins)) for _ in range(3))
        np.add.at(at_work, cdus.pump_cdu, ~(speed < settings.resting_pct))
        np.maximum.at(fastest, cdus.pump_cdu, np.where(running, speed, 0.0))
        slowest += np.inf
        np.minimum.at(slowest, cdus.pump_cdu, np.where(speed < settings.resting_pct, np.inf, speed))
        alone = running & (at_work[cdus.pump_cdu] == 1)
        drop = wide.means(cdus.drop)
        across = np.where(drop > 0.0, drop, np.nan)
        circuit = median(restriction(across, self.flow), settings.bins_min)
        # The pump's own head: what the racks and, where it is measured, the filter take of it.
        filters_kpa = np.zeros((count, wide.grid.bins))
        np.add.at(filters_kpa, cdus.filter_cdu, wide.means(cdus.filters))
        head = across + np.where(np.isnan(filters_kpa), 0.0, filters_kpa)
        turns = np.where(running, speed, np.nan)
        per_speed = over(self.flow[cdus.pump_cdu] / turns, alone, settings.bins_min)
        head_share = over(head[cdus.pump_cdu] / turns**2, alone, settings.bins_min)
        together = (at_work >= 2) & (slowest >= settings.running_pct) & (fastest - slowest <= settings.abreast_pct)
        both = np.where(together, fastest, np.nan)
        per_both = over(self.flow / both, together, settings.bins_min)
        head_both = over(head / both**2, together, settings.bins_min)
        circuit_norm = self.norms.of("circuit restriction", cdus.flow, settings.ready_s)
        changed = np.abs(circuit / circuit_norm - 1.0)
        keys = [plan.keys[cdu] for cdu in cdus.pump_cdu.tolist()]
        learned, found, between = self._wear(
            plan.worn,
            cdus.pumps,
            cdus.pump_cdu,
            (per_speed, head_share, changed[cdus.pump_cdu]),
            ("pump flow", "pump head"),
            [
                (
                    (speed[:, -1] < settings.running_pct) & (fastest[cdus.pump_cdu, -1] >= settings.running_pct),
                    "it does not run",
                ),
                (together[cdus.pump_cdu, -1], "it runs together with another, and is judged with it"),
            ],
            keys,
        )
        of_both, found_both, between_both = self._wear(
            plan.worn_together,
            cdus.flow,
            np.arange(count),
            (per_both, head_both, changed),
            ("pumps flow", "pumps head"),
            [(~together[:, -1], "its pumps do not run together")],
            list(plan.keys),
        )
        busy = np.bincount(cdus.pump_cdu[found | between], minlength=count) > 0
        quiet = ~busy & ~found_both & ~between_both
        return [
            *learned,
            *of_both,
            Learned("circuit restriction", cdus.flow, where(circuit, quiet), plan.keys),
        ]

    def _wear(
        self,
        roster: Roster,
        points: Numbers,
        cdu_of: Numbers,
        measured: tuple[Floats, Floats, Floats],
        statistics: tuple[str, str],
        cannot: Sequence[tuple[Bools, str]],
        keys: Sequence[AssetKey],
    ) -> tuple[list[Learned], Bools, Bools]:
        """Judges pumps, or all pumps of a CDU, by flow for speed, head for speed squared, and by how much their circuit
        has changed. points: what their norms go by. Answers what to learn, and where wear is found or in between."""
        settings, plan, cdus = self.settings, self.map, self.map.cdus
        per_speed, head_share, changed = measured
        norm = self.norms.of(statistics[0], points, settings.ready_s)
        head_norm = self.norms.of(statistics[1], points, settings.ready_s)
        under = 1.0 - per_speed / norm
        # Head goes with the square: its root is what flow for speed would have lost in the same circuit.
        under_head = 1.0 - np.sqrt(head_share / head_norm)
        same = changed <= settings.circuit_changed
        clogged = self.filter_times[cdu_of] >= settings.clogged - settings.filter_deadband

        def beside(share: float) -> Bools:
            """Flow has fallen by a share, and head by nearly as much: so it does in no other circuit."""
            fallen: Bools = (under >= share) & (under_head >= 0.75 * share)
            return fallen

        by_circuit = same & ~clogged
        found = np.where(
            by_circuit, under >= settings.worn, beside(settings.worn) & (self.filters_told[cdu_of] | ~clogged)
        )
        between = np.where(by_circuit, under >= settings.worn_back, beside(settings.worn_back)) & ~found

        def make(row: int) -> Finding:
            cdu = int(cdu_of[row])
            name, times = self._name(cdu), float(self.filter_times[cdu])
            alone = roster is plan.worn
            what = plan.plant.points[int(points[row])].name if alone else "its pumps together"
            lines = [
                Evidence(
                    "Flow for each percent of speed",
                    f"{figure(float(per_speed[row]), 'L/min')}; it was {figure(float(norm[row]), 'L/min')}",
                    point=int(points[row]),
                )
            ]
            if np.isfinite(under_head[row]):
                fallen = bool(under_head[row] >= 0.75 * settings.worn_back)
                lines.append(
                    Evidence(
                        "Head for its speed",
                        f"{percent(float(1.0 - head_share[row] / head_norm[row]))} under its norm",
                        Bearing.FOR if fallen else Bearing.AGAINST,
                        int(cdus.drop[cdu]),
                    )
                )
            else:
                lines.append(Evidence("Head for its speed", "cannot be compared", Bearing.UNKNOWN))
            shows = f"{percent(float(changed[row]))} from its norm"
            if same[row]:
                lines.append(Evidence("Restriction of the racks", shows, Bearing.RULED_OUT, int(cdus.drop[cdu])))
            else:
                shows += ": that alone would raise the head"
                lines.append(Evidence("Restriction of the racks", shows, Bearing.RULED_OUT, int(cdus.drop[cdu])))
            if np.isfinite(times):
                lines.append(Evidence("A clogged filter", f"{times:.2f} times its norm", Bearing.RULED_OUT))
            else:
                lines.append(Evidence("A clogged filter", "nothing measures it", Bearing.UNKNOWN))
            if not alone:
                lines.append(Evidence("Which of the pumps", "only a run of each alone tells", Bearing.UNKNOWN))
            return Finding(
                FindingKind.PUMP_WORN,
                roster.subjects[row],
                since=self.since,
                summary=f"{name}: {what} give{'s' if alone else ''} {percent(float(under[row]))} less flow for "
                f"{'its' if alone else 'their'} speed",
                score=float(under[row]),
                confidence=0.8 if np.isfinite(times) else 0.6,
                evidence=tuple(lines),
                check_first=(
                    f"Let the other pump of {name} take over, and compare flow for speed."
                    if alone
                    else f"Let each pump of {name} run alone for some minutes, and compare flow for speed.",
                    "Listen for cavitation; look at the suction pressure and the strainer before the pump.",
                    "Plan its overhaul: the wheel or its ring is worn.",
                ),
            )

        usual = self.answer.judge(
            roster,
            found,
            between,
            [
                *cannot,
                (np.isnan(per_speed), "it has not run so for long enough, or its speed or the flow is not heard"),
                (np.isnan(norm) | np.isnan(changed), NOT_LEARNED),
                (~found & ~same & (under >= settings.worn_back), "the circuit has changed"),
                (~found & clogged, "the filter is clogged, which looks the same"),
            ],
            make,
        )
        usual |= np.isnan(norm) & ~np.isnan(per_speed)
        return (
            [
                Learned(statistics[0], points, where(per_speed, usual), keys),
                Learned(statistics[1], points, where(head_share, usual), keys),
            ],
            found,
            between,
        )

    # --- exchanger ---

    def exchangers(self) -> list[Learned]:
        """The conductance of each exchanger, its films' part taken out, against its norm."""
        settings, plan, cdus = self.settings, self.map, self.map.cdus
        warm_end, cold_end = self.back - self.primary_out, self.supply - self.primary_in
        fit = steady(self.heat_kw, 12, 0.10) & (warm_end >= settings.end_k_min) & (cold_end >= settings.end_k_min)
        primary = np.where(self.primary_flow > 0.0, self.primary_flow, np.nan)
        ua = conductance_kw_k(
            over(self.heat_kw, fit, settings.bins_min),
            over(warm_end, fit, settings.bins_min),
            over(cold_end, fit, settings.bins_min),
        )
        primary_lpm, loop_lpm = over(primary, fit, settings.bins_min), over(self.flow, fit, settings.bins_min)
        films = primary_lpm**-settings.film_exponent + loop_lpm**-settings.film_exponent
        clean = ua * films
        approach, opening = over(cold_end, fit, settings.bins_min), over(self.valve, fit, settings.bins_min)
        norm = self.norms.of("exchanger", cdus.flow, settings.ready_s)
        flow_norm = self.norms.of("exchanger flow", cdus.primary_flow, settings.ready_s)
        approach_norm = self.norms.of("approach", cdus.primary_in, settings.ready_s)
        opening_norm = self.norms.of("valve", cdus.valve, settings.ready_s)
        lost = 1.0 - clean / norm
        found, between = beyond(lost, settings.fouled, settings.fouled_back)
        unlike = np.abs(primary_lpm / flow_norm - 1.0) > settings.flows_like

        def make(row: int) -> Finding:
            name = self._name(row)
            lines = [
                Evidence(
                    "Conductance UA, flows taken out",
                    f"{figure(float(ua[row]), 'kW/K')}, {percent(float(lost[row]))} under its norm",
                    point=int(cdus.supply[row]),
                )
            ]
            for what, value, usual_value, unit, point in (
                ("Approach", approach[row], approach_norm[row], "K", cdus.primary_in[row]),
                ("Valve", opening[row], opening_norm[row], "%", cdus.valve[row]),
            ):
                if np.isfinite(value) and np.isfinite(usual_value):
                    bearing = Bearing.FOR if value > usual_value else Bearing.AGAINST
                    shows = f"{figure(float(value), unit)}; it was {figure(float(usual_value), unit)}"
                    lines.append(Evidence(what, shows, bearing, int(point)))
                else:
                    lines.append(Evidence(what, "cannot be compared", Bearing.UNKNOWN))
            agreeing = sum(line.bearing is Bearing.FOR for line in lines) - 1
            return Finding(
                FindingKind.EXCHANGER_FOULED,
                plan.fouled.subjects[row],
                since=self.since,
                summary=f"{name}: its exchanger passes {percent(float(lost[row]))} less heat per kelvin",
                score=float(lost[row]),
                confidence=(0.6, 0.75, 0.9)[agreeing],
                evidence=tuple(lines),
                check_first=(
                    "Look at the facility side's strainer and water treatment: that side fouls first.",
                    f"Compare the pressure drop over the primary side of {name} with its papers.",
                    "Plan the cleaning of the exchanger before the valve is fully open.",
                ),
            )

        usual = self.answer.judge(
            plan.fouled,
            found,
            between,
            [
                (
                    (cdus.primary_out < 0) | (cdus.primary_in < 0) | (cdus.primary_flow < 0) | (cdus.flow < 0),
                    "not all temperatures and flows of the exchanger are measured",
                ),
                (np.isnan(clean), "no steady load for long enough, or one of the exchanger's meters is not heard"),
                (np.isnan(norm), NOT_LEARNED),
                (unlike, "the facility water's flow is too far from that at which the norm was learned"),
            ],
            make,
        )
        usual |= ~np.isnan(clean) & np.isnan(norm)
        return [
            Learned("exchanger", cdus.flow, where(clean, usual), plan.keys),
            Learned("exchanger flow", cdus.primary_flow, where(primary_lpm, usual), plan.keys),
            Learned("approach", cdus.primary_in, where(approach, usual), plan.keys),
            Learned("valve", cdus.valve, where(opening, usual), plan.keys),
        ]

    # --- air ---

    def air(self) -> list[Learned]:
        """How much flow and pressure flutter from reading to reading, against their norms."""
        settings, plan, cdus, wide = self.settings, self.map, self.map.cdus, self.wide
        flow = _flutter(self.flow, wide.counts(cdus.flow)) / median(self.flow, settings.bins_min)
        drop = _flutter(wide.means(cdus.drop), wide.counts(cdus.drop))
        suction = median(wide.means(cdus.suction), settings.bins_min)
        flow_times = (flow / self.norms.of("flow flutter", cdus.flow, settings.ready_s)) ** 2
        drop_times = (drop / self.norms.of("pressure flutter", cdus.drop, settings.ready_s)) ** 2
        below_kpa = self.norms.of("suction", cdus.suction, settings.ready_s) - suction
        low = below_kpa >= settings.suction_low_kpa
        both = np.fmin(flow_times, drop_times)
        found = ((flow_times >= settings.flutter) & (drop_times >= settings.flutter)) | (
            (np.fmax(flow_times, drop_times) >= settings.flutter) & low
        )
        between = (both >= settings.flutter_back) | ((np.fmax(flow_times, drop_times) >= settings.flutter_back) & low)

        def make(row: int) -> Finding:
            name = self._name(row)
            lines = []
            for what, times, point in (
                ("Flow flutters", flow_times[row], cdus.flow[row]),
                ("Pressure difference flutters", drop_times[row], cdus.drop[row]),
            ):
                if np.isfinite(times):
                    bearing = Bearing.FOR if times >= settings.flutter else Bearing.AGAINST
                    lines.append(Evidence(what, f"{times:.1f} times its usual variance", bearing, int(point)))
                else:
                    lines.append(Evidence(what, "cannot be told", Bearing.UNKNOWN))
            if np.isfinite(below_kpa[row]):
                bearing = Bearing.FOR if low[row] else Bearing.AGAINST
                shows = f"{figure(float(suction[row]), 'kPa')}, {figure(float(below_kpa[row]), 'kPa')} below its norm"
                lines.append(Evidence("Suction pressure", shows, bearing, int(cdus.suction[row])))
            else:
                lines.append(Evidence("Suction pressure", "cannot be told", Bearing.UNKNOWN))
            return Finding(
                FindingKind.AIR_IN_LOOP,
                plan.air.subjects[row],
                since=self.since,
                summary=f"{name}: flow and pressure flutter, as with air in the loop",
                score=float(np.nanmax([flow_times[row], drop_times[row]])),
                confidence=0.85 if low[row] else 0.7,
                evidence=tuple(lines),
                check_first=(
                    f"Listen at the pump of {name}: gravel means cavitation.",
                    "Look at the reservoir level and the gas charge of the expansion vessel.",
                    "Bleed the high points; after service, air goes out by itself within hours.",
                ),
            )

        fluttering = np.isnan(flow_times) & np.isnan(drop_times)
        unheard = np.isnan(flow) & np.isnan(drop)
        usual = self.answer.judge(
            plan.air,
            found,
            between,
            [
                (unheard, "flow and pressure difference are not heard often enough"),
                (fluttering, NOT_LEARNED),
            ],
            make,
        )
        usual |= fluttering & ~unheard
        return [
            Learned("flow flutter", cdus.flow, where(flow, usual & (flow > 0.0)), plan.keys),
            Learned("pressure flutter", cdus.drop, where(drop, usual & (drop > 0.0)), plan.keys),
            Learned("suction", cdus.suction, where(suction, usual), plan.keys),
        ]

    # --- valves ---

    def valves(self) -> None:
        """Valves that do not go where they are told, or do not move though the supply is off."""
        settings, plan, cdus = self.settings, self.map, self.map.cdus
        gap = self._tail(self.valve - self.command, settings.stuck_s)
        apart = all_of(np.abs(gap) > settings.stuck_pct)
        apart_ish = all_of(np.abs(gap) > 0.5 * settings.stuck_pct)
        still = np.ptp(self._tail(self.valve, 300.0), axis=1) <= settings.still_pct
        error = self._tail(self.error_k, settings.stuck_s)
        hot, cold = all_of(error > settings.error_k), all_of(error < -settings.error_k)
        now = self.valve[:, -1]
        held = np.ptp(self._tail(self.valve, settings.still_s), axis=1) <= settings.still_pct
        asked = self._tail(self.command, settings.still_s)[:, : -round(60.0 / settings.bin_s)]
        deaf = held & (np.ptp(asked, axis=1) >= settings.asked_pct)
        could = (hot & (now < 100.0 - settings.end_pct)) | (cold & (now > settings.end_pct))
        idle = still & could
        found = apart | idle | deaf

        def make(row: int) -> Finding:
            name, position = self._name(row), float(now[row])
            lines = [Evidence("Valve", f"{figure(position, '%')} open", point=int(cdus.valve[row]))]
            command = float(self.command[row, -1])
            if np.isfinite(command):
                shows = figure(command, "%")
                if deaf[row]:
                    shows += f", moved by {figure(float(np.ptp(asked[row])), '%')}"
                bearing = Bearing.FOR if apart[row] or deaf[row] else Bearing.AGAINST
                lines.append(Evidence("Its command", shows, bearing, int(cdus.command[row])))
            else:
                lines.append(Evidence("Its command", "not published", Bearing.UNKNOWN))
            off = float(self.error_k[row, -1])
            if np.isfinite(off):
                bearing = Bearing.FOR if hot[row] or cold[row] else Bearing.AGAINST
                lines.append(Evidence("Supply against its set-point", figure(off, "K"), bearing, int(cdus.supply[row])))
            if still[row] or deaf[row]:
                lasts = duration(settings.still_s if deaf[row] else 300.0)
                lines.append(Evidence("It has not moved", f"for {lasts}", point=int(cdus.valve[row])))
            left_s, line = self._until_hot(row)
            lines += line
            return Finding(
                FindingKind.VALVE_STUCK,
                plan.stuck.subjects[row],
                since=self.at - timedelta(seconds=settings.stuck_s),
                summary=f"{name}: its control valve stays at {figure(position, '%')}",
                score=max(
                    float(np.nan_to_num(np.abs(gap[row]).min())) / settings.stuck_pct, 1.0 * bool(idle[row] | deaf[row])
                ),
                confidence=0.9 if apart[row] and (idle[row] or deaf[row]) else 0.8,
                evidence=tuple(lines),
                time_to_limit_s=left_s,
                check_first=(
                    f"Look at the valve of {name}: does it move when its command is changed by hand?",
                    "Check the drive's supply and its coupling to the stem.",
                    "Set it by hand to where the supply is right, and stay near while the load changes.",
                ),
            )

        tells = ~np.isnan(gap[:, -1]) if gap.shape[1] else self.none
        self.answer.judge(
            plan.stuck,
            found,
            apart_ish,
            [
                (cdus.valve < 0, "it publishes no valve position"),
                (np.isnan(now), "its valve position is not heard"),
                (~tells & np.isnan(self.error_k[:, -1]), "neither its command nor its set-point is known"),
            ],
            make,
        )

    def hunting(self) -> None:
        """Supplies that swing together with their valves while the load stands."""
        settings, plan, cdus, wide = self.settings, self.map, self.map.cdus, self.wide
        half = settings.swing_k / 2.0
        supply_swings, supply_k = _swings(self.supply, 0.6 * half)
        valve_swings, valve_pct = _swings(self.valve, 1.0)
        power = np.zeros((len(cdus.assets), wide.grid.bins))
        np.add.at(power, cdus.power_cdu, wide.means(cdus.powers))
        power[(cdus.untold > 0) | (np.bincount(cdus.power_cdu, minlength=len(cdus.assets)) == 0)] = np.nan
        mean_kw = median(power, settings.bins_min)
        load_swings, load_kw = _swings(power, 0.5 * settings.load_swing * np.nan_to_num(mean_kw)[:, None] + 1e-9)
        load_moves = (load_swings >= settings.swings_min // 2) & (load_kw > settings.load_swing * mean_kw)
        swinging = (supply_swings >= settings.swings_min) & (supply_k >= settings.swing_k)
        valve_too = (valve_swings >= settings.swings_min) | (cdus.valve < 0)
        found = swinging & valve_too & ~load_moves
        between = (supply_swings >= settings.swings_min // 2) & (supply_k >= 0.7 * settings.swing_k) & ~load_moves

        def make(row: int) -> Finding:
            name = self._name(row)
            period_s = 2.0 * settings.look_back_s / max(float(supply_swings[row]), 1.0)
            lines = [
                Evidence(
                    "Supply temperature swings",
                    f"by {figure(float(supply_k[row]), 'K')} about every {duration(period_s)}",
                    point=int(cdus.supply[row]),
                )
            ]
            if cdus.valve[row] >= 0:
                lines.append(
                    Evidence("Its valve swings", f"by {figure(float(valve_pct[row]), '%')}", point=int(cdus.valve[row]))
                )
            if np.isfinite(mean_kw[row]):
                shows = f"{figure(float(mean_kw[row]), 'kW')}, within {figure(float(load_kw[row]), 'kW')}"
                lines.append(Evidence("Load of its racks", shows, Bearing.RULED_OUT))
            else:
                lines.append(Evidence("Load of its racks", "cannot be told: it may be what swings", Bearing.UNKNOWN))
            return Finding(
                FindingKind.VALVE_HUNTING,
                plan.hunting.subjects[row],
                since=self.since,
                summary=f"{name}: valve and supply swing against each other, {figure(float(supply_k[row]), 'K')}",
                score=float(supply_k[row]),
                confidence=0.85 if np.isfinite(mean_kw[row]) else 0.6,
                evidence=tuple(lines),
                check_first=(
                    f"Look at the controller of {name}: its gain, or its set-point, was changed of late?",
                    "Look for play between the valve's drive and its stem.",
                    "Halve the gain; the swings must die out within ten minutes.",
                ),
            )

        long_enough = (~np.isnan(self.supply)).sum(axis=1) >= 0.7 * wide.grid.bins
        self.answer.judge(
            plan.hunting,
            found,
            between & ~found,
            [
                (cdus.supply < 0, "its supply temperature is not measured"),
                (~long_enough, f"its supply temperature has not been heard for {duration(settings.look_back_s)}"),
            ],
            make,
        )


def _flutter(values: Floats, counts: Floats) -> Floats:
    """1σ from reading to reading, of what is read and not held, whatever its pace: half a load step and any drift are
    not in it, for it is told by the median of second differences. NaN for fewer than 24."""
    read = counts > 0.0
    # Those that are read, side by side: where the bins are finer than the pace, every second one is empty.
    order = np.argsort(~read, axis=1, kind="stable")
    side_by_side = np.take_along_axis(np.where(read, values, np.nan), order, axis=1)
    second = np.abs(side_by_side[:, 2:] - 2.0 * side_by_side[:, 1:-1] + side_by_side[:, :-2])
    sigma: Floats = 1.4826 * median(second, 24) / np.sqrt(6.0)
    return sigma


def _swings(values: Floats, half: float | Floats) -> tuple[Floats, Floats]:
    """How often each row goes from more than `half` above its drifting middle to as much below, or back; and how far
    apart its upper and lower tenths are."""
    bins = values.shape[1]
    if bins < 3 or not len(values):
        return np.zeros(len(values)), np.full(len(values), np.nan)
    # A straight line through the thirds takes a drift out, and leaves swings of a third of the window or less.
    third = bins // 3
    time = np.arange(bins) - (bins - 1) / 2.0
    slope = (median(values[:, -third:]) - median(values[:, :third])) / (bins - third)
    rest = values - slope[:, None] * time
    rest = rest - median(rest)[:, None]
    with np.errstate(invalid="ignore"):
        side = np.where(rest > half, 1, np.where(rest < -half, -1, 0))
    last = np.maximum.accumulate(np.where(side != 0, np.arange(bins), 0), axis=1)
    held = np.take_along_axis(side, last, axis=1)
    turns = np.count_nonzero((held[:, 1:] != held[:, :-1]) & (held[:, :-1] != 0), axis=1).astype(np.float64)
    ranked = np.sort(rest, axis=1)
    known = bins - np.isnan(rest).sum(axis=1)
    high = np.take_along_axis(ranked, np.maximum((0.9 * (known - 1)).astype(np.intp), 0)[:, None], axis=1)[:, 0]
    low = np.take_along_axis(ranked, np.maximum((0.1 * (known - 1)).astype(np.intp), 0)[:, None], axis=1)[:, 0]
    return turns, high - low


def _filters(point: Point) -> bool:
    return any("filter" in area.casefold() or "strainer" in area.casefold() for area in (*point.areas, point.part))


def _column(rows: Sequence[tuple[int, int]], place: int) -> Numbers:
    return np.array([row[place] for row in rows], np.intp)
