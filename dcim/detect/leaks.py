"""Leaks: coolant that leaves a loop though no sensor need be wet, and facility water that gets in; judged on the tick.

Level, pressure, flow and make-up are each tested by themselves; then all that they say of one loop is heard together,
so that one leak is one finding, however many signals show it. One signal makes a suspicion, two that are independent
make it sure, and several weak ones together make what none makes alone.

Lives here: the detector, and its argument: what speaks for a leak, what against, what was ruled out, where to look.
Not here: the tests (falls.py, seepage.py, gush.py), what a loop holds (loops.py), contact sensors (contact.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.ports import Needs
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.clues import Clue, Signal, Weak
from dcim.detect.contact import SAFETY
from dcim.detect.falls import FallSettings, Look, look, quiet
from dcim.detect.figures import duration, figure
from dcim.detect.gush import Gush, GushSettings, Mismatch, gush, mismatch
from dcim.detect.loops import QUANTITIES, LoopPoints, Loops, Stock, StockSettings, take_stock
from dcim.detect.moment import combine
from dcim.detect.norms import Learned, Norms, where
from dcim.detect.seepage import Ebb, Fills, Record, SeepageSettings, ebb, follows, tide
from dcim.detect.states import WET
from dcim.detect.study import Study
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Wide, median, widen

SHOWN = 6
"""Lines about contact sensors that an argument can bear."""
_FLOW, _CUSHION = "flow mismatch", "cushion"
"""Statistics that are learned."""


@dataclass(frozen=True, slots=True)
class LeakSettings:
    """How several signals are weighed, and the settings of each."""

    stock: StockSettings = field(default_factory=StockSettings)
    fall: FallSettings = field(default_factory=FallSettings)
    seepage: SeepageSettings = field(default_factory=SeepageSettings)
    gush: GushSettings = field(default_factory=GushSettings)
    bin_s: float = 5.0
    """Readings are averaged over this: the usual pace of a level sensor, and slower than most sensors' own filters."""
    hold_s: float = 125.0
    """An unchanged value is sent again every 100 s only; for so long, and a little, the last one is taken to hold."""
    noise_pct_min: float = 0.05
    """No level is believed to be better than this, 1σ: half a digit of a sensor that shows tenths of a percent."""
    noise_kpa_min: float = 0.1
    """No pressure is believed to be better than this, 1σ."""
    level_pct_min: float = 10.0
    """Low-level trip: below it the level says nothing more, and the time until it is what is left."""
    level_pct_max: float = 98.0
    """Above it the reservoir is full, and the level says nothing either."""
    alone: float = 0.7
    """Confidence in one analytic signal: one sensor that drifts looks the same."""
    agreeing_factor: float = 6.0
    """On the odds, for each further signal that is independent of the others. One of them leads over 0.9, where the
    shipped rules call people: two independent signals are a leak."""
    contradicted_factor: float = 0.4
    """On the odds, where a sensor that should show it does not. It stays a suspicion, for that sensor may be dead."""
    agreeing_z: float = 5.0
    """How sure a weak signal must be to count as agreeing with one that is sure."""
    contact_z: float = 4.0
    """What a wet contact is worth beside weak signals."""
    ready_s: float = 3_600.0
    """For so long the flow meters' error must have been learned."""
    cushion_closed: float = 0.5
    """Where the pressure follows the level by this much or more, the loop is closed, and a level that falls without it
    is a sensor's drift; below half of it the loop is open, and its pressure says nothing."""

    @property
    def look_back_s(self) -> float:
        """The longest span of minutes, and what may be held at its beginning."""
        return self.fall.windows_s[-1] + self.hold_s


@dataclass(frozen=True, slots=True)
class _Hours:
    """What the record says of one loop; made anew once a minute."""

    level: Ebb | None = None
    pressure: Ebb | None = None
    rise_level: Ebb | None = None
    rise_pressure: Ebb | None = None
    level_told: bool = True
    pressure_told: bool = True
    """Whether it was read all the while, so that its silence says something."""
    level_limit_l: float = 0.0
    """What a level must lose before it is sure."""
    thinned_us_cm: float = math.nan
    """By how much the conductivity has fallen since the level began to rise."""

    @property
    def losing(self) -> bool:
        return bool(self.level or self.pressure)

    @property
    def gaining(self) -> bool:
        return bool(self.rise_level or self.rise_pressure)


_NO_HOURS = _Hours()


class Leaks:
    """Detector: coolant that leaves a loop, by everything that tells of it."""

    name = "leaks"
    kinds = frozenset({FindingKind.LEAK_SUSPECTED, FindingKind.EXCHANGER_LEAK})

    def __init__(self, norms: Norms | None = None, settings: LeakSettings | None = None) -> None:
        """norms: what earlier looks have learned of the flow meters and the gas cushions."""
        self.settings = settings or LeakSettings()
        self.needs = Needs(QUANTITIES, timedelta(seconds=self.settings.look_back_s))
        self.study = Study(norms or Norms())
        self._bins = math.ceil(self.settings.look_back_s / self.settings.bin_s)
        self._loops = Loops(Plant())
        self._record = Record(self.settings.seepage, self.settings.stock)
        self._hours: tuple[_Hours, ...] = ()
        self._losing: Mapping[AssetKey, tuple[datetime, Evidence]] = MappingProxyType({})

    @property
    def norms(self) -> Norms:
        """What has been learned by now."""
        return self.study.norms

    def losing(self, cdu: AssetKey) -> tuple[datetime, Evidence] | None:
        """What the last look said of a loop's loss, and when, for whoever has a wet contact there; None where it found
        none. Any thread may ask."""
        return self._losing.get(cdu)

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """Learns the flow meters' error and the gas cushions, as every Learner."""
        self.study.learn(exempt)

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every CDU's loop. Unknown is one without a level or a pressure that tells, one whose signals cannot be
        judged now, and one that has not been read for long enough to show told_lpm: only then "none found" means
        "none". What is slower than that needs its hours (seepage.py), and so does a leak of the exchanger."""
        settings = self.settings
        anew = self._loops.plant is not plant
        if anew:
            self._loops = Loops(plant)
        if not len(self._loops):
            return Detection()
        wide = widen(window, Grid(to_us(at), settings.bin_s, self._bins, settings.hold_s))
        stock = take_stock(self._loops, wide, settings.stock)
        fresh = self._record.take(self._loops, stock)
        cushion = self.norms.of(_CUSHION, self._loops.suction, settings.ready_s)
        followed = np.full(len(self._loops), np.nan)
        if fresh or anew:
            by_pressure_l, per_kpa_l = self._record.by_pressure_l()
            followed = follows(self._record, by_pressure_l, settings.seepage)
            self._hours = tuple(self._look_at_hours(by_pressure_l, per_kpa_l))
        usual_share = self.norms.of(_FLOW, self._loops.flow, settings.ready_s)
        flow = mismatch(stock, usual_share, settings.gush)
        pour = gush(stock, settings.gush)
        calm, by_filling = stock.calm_from(settings.stock)
        silent = self._silent(stock, calm) & ~(pour.by_level | pour.by_pressure)
        silent &= ~(flow.z >= settings.gush.flow_z)
        findings: list[Finding] = []
        unknown: list[Unknown] = []
        between: set[tuple[FindingKind, Subject]] = set()
        usual = np.zeros(len(self._loops), np.bool_)
        for row, loop in enumerate(self._loops.loops):
            hours = self._hours[row]
            fills = self._record.fills(loop.cdu.key)
            verdict: Finding | str | bool = False
            if not silent[row] or hours.losing or fills:
                case = _Case(self, loop, row, wide, stock, pour, flow, hours, fills, float(cushion[row]), at)
                verdict = case.judge(int(calm[row]), bool(by_filling[row]))
            water = self._water(loop, hours, float(cushion[row]))
            usual[row] = verdict is False and not hours.losing and not hours.gaining
            for kind, answer in ((FindingKind.LEAK_SUSPECTED, verdict), (FindingKind.EXCHANGER_LEAK, water)):
                if isinstance(answer, Finding):
                    findings.append(answer)
                elif isinstance(answer, str):
                    unknown.append(Unknown(kind, loop.subject, answer))
                elif answer:
                    between.add((kind, loop.subject))
        self._losing = MappingProxyType(
            {
                AssetKey(finding.subject.site, finding.subject.asset): (at, Evidence("The loop", finding.summary))
                for finding in findings
                if finding.kind is FindingKind.LEAK_SUSPECTED
            }
        )
        keys = [loop.cdu.key for loop in self._loops.loops]
        self.study.looked(
            at,
            (
                Learned(_FLOW, self._loops.flow, where(flow.share, usual), keys),
                Learned(_CUSHION, self._loops.suction, where(followed, usual), keys),
            ),
        )
        return Detection(tuple(findings), tuple(unknown), frozenset(between))

    def _silent(self, stock: Stock, calm: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Bools:
        """Loops of which a quick look says that nothing falls; those without a level are looked at closer."""
        settings = self.settings
        sensors = stock.by_level_l.shape[1]
        there = self._loops.levels >= 0
        told = there.any(axis=1)
        floor_l = settings.noise_pct_min / 100.0 * stock.reservoir_l
        for sensor in range(sensors):
            inventory = stock.by_level_l[:, sensor] - stock.expansion_l
            still = quiet(inventory, stock.expansion_l, calm, floor_l, settings.bin_s, settings.fall)
            now_pct = median(stock.level_pct[:, sensor, -3:])
            still &= (now_pct > settings.level_pct_min) & (now_pct < settings.level_pct_max)
            told &= still | ~there[:, sensor]
        inventory = stock.by_pressure_l - stock.expansion_l
        floor_l = np.nan_to_num(settings.noise_kpa_min * stock.per_kpa_l, nan=1.0)
        still = quiet(inventory, stock.expansion_l, calm, floor_l, settings.bin_s, settings.fall)
        closed = ~np.isnan(stock.by_pressure_l).all(axis=1)
        silent: Bools = told & (still | ~closed)
        return silent

    def _look_at_hours(self, by_pressure_l: Floats, per_kpa_l: Floats) -> Iterator[_Hours]:
        record, settings = self._record, self.settings.seepage
        until_us = record.until_us or 0
        level_l = record["level_l"]
        expansion_l, moved = record["expansion_l"], record["moved"] > 0.0
        sensors = (
            (level_l, settings.level_pct / 100.0 * record.reservoir_l),
            (by_pressure_l, np.nan_to_num(settings.pressure_kpa * per_kpa_l, nan=math.inf)),
        )
        tides = [
            (tide(litres, expansion_l, moved, record.reservoir_l, settings, sign), limit)
            for sign in (1.0, -1.0)
            for litres, limit in sensors
        ]
        lost = np.array([(one.fall_l >= 0.5 * limit).any(axis=0) for one, limit in tides])
        conductivity = record["conductivity_us_cm"]
        for row in range(len(self._loops)):
            if not lost[:, row].any():
                yield _NO_HOURS
                continue
            ebbs = [
                ebb(one, row, float(limit[row]), until_us, settings) if some else None
                for (one, limit), some in zip(tides, lost[:, row], strict=True)
            ]
            rising = ebbs[2] or ebbs[3]
            thinned = _fallen(conductivity[row], rising.minutes) if rising else math.nan
            since = max(one.minutes for one in ebbs if one) if any(ebbs) else 1
            level_told, pressure_told = (
                bool(np.isnan(each[row, -since:]).mean() < 0.3) for each in (level_l, by_pressure_l)
            )
            limit_l = float(sensors[0][1][row])
            yield _Hours(ebbs[0], ebbs[1], ebbs[2], ebbs[3], level_told, pressure_told, limit_l, thinned)

    # --- water that comes in ---

    def _water(self, loop: LoopPoints, hours: _Hours, cushion: float) -> Finding | str | bool:
        """Facility water in the loop: a finding, why nobody can tell, or whether it is in between."""
        settings, record = self.settings, self._record
        if not loop.levels and loop.suction is None:
            return "no level and no pressure of its loop is published"
        if record.minutes < settings.seepage.slow_min:
            return f"it takes hours to show, and the record is {record.minutes} minutes long"
        level, pressure = hours.rise_level, hours.rise_pressure
        found = [one for one in (level, pressure) if one and one.found]
        if not found:
            return any(one.sure >= 1.0 and one.goes_on for one in (level, pressure) if one)
        sign = _opposed(hours, level, pressure, cushion, settings)
        if sign:
            return sign
        best = max(found, key=lambda one: one.sure)
        lines = [
            Evidence(what, f"{figure(-one.rate_lpm, 'L/min')} over {duration(60 * one.minutes)}".replace("−", "+"),
                     point=point.id if point else None)
            for what, one, point in (
                ("Inventory rises, temperature taken out", level, loop.levels[0] if loop.levels else None),
                ("Pressure of the closed loop rises, as litres", pressure, loop.suction),
            )
            if one and one.found
        ]  # fmt: skip
        factors = [settings.agreeing_factor] * (len(found) - 1)
        point = loop.conductivity.id if loop.conductivity else None
        if hours.thinned_us_cm >= 2.0:
            shows = f"−{figure(hours.thinned_us_cm, 'µS/cm')} since then"
            lines.append(Evidence("Conductivity falls: thin water comes in", shows, point=point))
            factors.append(settings.agreeing_factor)
        elif math.isnan(hours.thinned_us_cm):
            lines.append(Evidence("Conductivity", "no usable reading", Bearing.UNKNOWN, point))
        else:
            lines.append(Evidence("Conductivity", "has not moved yet by more than its noise", Bearing.UNKNOWN, point))
        lines += _fill_lines(loop, "did not run meanwhile")
        return Finding(
            FindingKind.EXCHANGER_LEAK,
            loop.subject,
            since=from_us(best.since_us),
            summary=f"Water comes into the loop of {loop.cdu.name}: {figure(best.rate_lpm, 'L/min')}",
            score=best.sure,
            confidence=round(combine(settings.alone, factors), 3),
            evidence=tuple(lines),
            check_first=(
                f"Look whether the make-up valve of {loop.cdu.name} is shut, and whether somebody fills by hand.",
                "Take a sample of the coolant: glycol and inhibitor below what was filled in mean facility water.",
                "If so, have the racks taken over by another CDU and its exchanger shut off on the facility's side.",
                "Watch the level: when the reservoir is full the relief valve opens.",
            ),
        )


class _Case:
    """One loop at one instant: its signals, and what follows from them together."""

    def __init__(
        self,
        leaks: Leaks,
        loop: LoopPoints,
        row: int,
        wide: Wide,
        stock: Stock,
        pour: Gush,
        flow: Mismatch,
        hours: _Hours,
        fills: Fills | None,
        cushion: float,
        at: datetime,
    ) -> None:
        self.settings, self.loop, self.row, self.wide, self.stock = leaks.settings, loop, row, wide, stock
        self.pour, self.flow, self.hours, self.fills, self.cushion, self.at = pour, flow, hours, fills, cushion, at
        self.expansion = stock.expansion_l[row]
        self.grid = stock.grid
        self.per_min = 60.0 / leaks.settings.bin_s
        self.clues: list[Clue] = []
        self.weak: list[Weak] = []
        self.against: list[Evidence] = []
        self.doubts: list[str] = []
        """Why a signal that falls is not believed."""

    def judge(self, calm: int, by_filling: bool) -> Finding | str | bool:
        """A finding, what keeps one from telling, or neither: then whether it is in between."""
        word = "the fill pump ran" if by_filling else "a pump changed its speed"
        levels, pressure, why = self._looks(calm, f"too little has been read since {word}" if calm else "")
        self._hear_minutes(levels, pressure)
        self._hear_gush()
        self._hear_hours()
        self._hear_flow()
        self._hear_make_up()
        contacts, places = self._contact_lines() if self.clues or self.weak else ([], [])
        best = self._best()
        together = self._together(best, places)
        if best or together:
            return self._finding(best, together, contacts, places)
        if self.doubts:
            return self.doubts[0]
        near = any(one.goes_on and not one.stopped for one in (self.hours.level, self.hours.pressure) if one)
        if self.weak or near or (self.fills and self.fills.starts == self.settings.seepage.starts_min - 1):
            return True
        told = [one for one in (*levels, *([pressure] if pressure else [])) if not one.why]
        if not told:
            return why
        if any(one.between for one in told):
            return True
        if min(one.finest_lpm() for one in told) > self.settings.fall.told_lpm:
            least = figure(self.settings.fall.told_lpm, "L/min")
            return f"its level has not been steady for long enough to show a loss of {least}"
        return False

    # --- what each signal says ---

    def _looks(self, calm: int, moved: str) -> tuple[list[Look], Look | None, str]:
        """Each level sensor's answer, the pressure's where the loop is closed, and why the first of them says none."""
        settings, row = self.settings, self.row
        if not self.loop.levels and np.isnan(self.stock.by_pressure_l[row]).all():
            return [], None, "neither a reservoir level nor the pressure of a closed loop is published for it"
        if calm < self.grid.bins and np.isnan(self.expansion[-1]):
            return [], None, "its supply and return temperatures are missing, so expansion cannot be taken out"
        looks: list[Look] = []
        whys: list[str] = []
        for sensor, _ in enumerate(self.loop.levels):
            now_pct = _last(self.stock.level_pct[row, sensor])
            if now_pct is None:
                looks.append(Look(why="there is no usable reading of its reservoir level"))
            elif not settings.level_pct_min < now_pct < settings.level_pct_max:
                looks.append(Look(why=f"its reservoir is at {figure(now_pct, '%')}, where the level says no more"))
            else:
                floor_l = settings.noise_pct_min / 100.0 * float(self.stock.reservoir_l[row])
                looks.append(self._look(self.stock.by_level_l[row, sensor], calm, floor_l))
            whys.append(moved if looks[-1].why.startswith("has") and moved else f"{looks[-1].why}")
        pressure = None
        if not np.isnan(self.stock.by_pressure_l[row, -1]) and not self.cushion < 0.5 * settings.cushion_closed:
            floor_l = settings.noise_kpa_min * float(self.stock.per_kpa_l[row])
            pressure = self._look(self.stock.by_pressure_l[row], calm, floor_l)
            if pressure.why:
                whys.append(moved or f"its pressure {pressure.why}")
        why = next((words for words in whys if words), "")
        return looks, pressure, f"its level {why}" if why.startswith("has") else why

    def _look(self, litres: Floats, calm: int, floor_l: float) -> Look:
        settings = self.settings
        return look(litres - self.expansion, self.expansion, calm, floor_l, settings.bin_s, settings.fall)

    def _hear_minutes(self, levels: Sequence[Look], pressure: Look | None) -> None:
        told = [(point, one) for point, one in zip(self.loop.levels, levels, strict=False) if not one.why]
        falling = [(point, one) for point, one in told if one.leak]
        pressed = pressure is not None and pressure.leak
        if falling and len(falling) < len(told) and not pressed:
            self.doubts.append(f"its level sensors disagree: {falling[0][0].name} falls, another does not")
            falling = []
        if falling:
            point, one = min(falling, key=lambda each: each[1].z)
            self._add(Signal.LEVEL, one, "Inventory falls, temperature taken out", point)
            if pressure and self._denies(pressure, one):
                shows = f"a loss of {figure(pressure.finest_lpm(), 'L/min')} would have shown"
                self.against.append(
                    Evidence("Pressure of the loop does not fall", shows, Bearing.AGAINST, _number(self.loop.suction))
                )
        elif near := [(point, one) for point, one in told if one.rate and one.z > 0.0]:
            self._add(Signal.LEVEL, near[0][1], "Inventory falls a little", near[0][0])
        if pressure is None or pressure.rate is None:
            return
        if any(self._denies(one, pressure) for _, one in told):
            self.doubts.append("the pressure of its loop falls, its level does not: gas is lost, or the sensor drifts")
        elif pressure.leak or pressure.z > 0.0:
            self._add(Signal.PRESSURE, pressure, "Pressure of the closed loop falls, as litres", self.loop.suction)

    def _denies(self, one: Look, other: Look) -> bool:
        """Whether one sensor would have shown what another shows, and does not."""
        loss_lpm = other.rate.sure_loss * self.per_min if other.rate else 0.0
        bins = other.rate.bins if other.rate else 0
        return not one.why and not one.leak and not one.between and one.finest_lpm(bins) < 0.5 * loss_lpm

    def _add(self, signal: Signal, one: Look, what: str, point: Point | None) -> None:
        rate = one.rate
        assert rate is not None  # noqa: S101  whoever calls has looked
        loss_lpm, error_lpm = -rate.slope.per_bin * self.per_min, rate.slope.error * self.per_min
        span = duration(rate.bins * self.settings.bin_s)
        shows = f"−{figure(loss_lpm)} ± {figure(error_lpm, 'L/min')} over {span}, {one.z:.0f} σ"
        line = Evidence(what, shows, point=_number(point))
        since_us = self.grid.until_us + int(self.grid.seconds[min(one.onset, self.grid.bins - 1)] * SECOND_US)
        if one.leak:
            self.clues.append(Clue(signal, one.z, line, since_us, loss_lpm))
        else:
            self.weak.append(Weak(signal, one.z, line, since_us, loss_lpm))

    def _hear_gush(self) -> None:
        row, pour = self.row, self.pour
        if not (pour.by_level[row] or pour.by_pressure[row]):
            return
        rate_lpm, lost_l = float(pour.rate_lpm[row]), float(pour.lost_l[row])
        since_us = self.grid.until_us - int(min(60.0, 60.0 * lost_l / max(rate_lpm, 1.0)) * SECOND_US)
        shows = f"−{figure(lost_l, 'L')} within seconds, {figure(rate_lpm, 'L/min')} now"
        for signal, says, what, point in (
            (
                Signal.LEVEL,
                pour.by_level[row],
                "Level falls at once",
                self.loop.levels[0] if self.loop.levels else None,
            ),
            (Signal.PRESSURE, pour.by_pressure[row], "Pressure of the closed loop falls at once", self.loop.suction),
        ):
            if says:
                z = 10.0 * lost_l / self.settings.gush.litres_min
                line = Evidence(what, shows, point=_number(point))
                self.clues.append(Clue(signal, z, line, since_us, rate_lpm, gush=True))

    def _hear_hours(self) -> None:
        level, pressure = self.hours.level, self.hours.pressure
        found = [one for one in (level, pressure) if one and one.found]
        # Whether it goes on is told by the finer of the two, where that shows it at all; the other has to wait for it.
        closed = not self.cushion < 0.5 * self.settings.cushion_closed
        finer = pressure if pressure and pressure.sure >= 1.0 and closed else level
        if finer and finer.slows:
            self.doubts.append(
                "its inventory falls slower and slower: so does air that finds its way out after service"
            )
        if not found or finer is None or not finer.found:
            return
        sign = _opposed(self.hours, level, pressure, self.cushion, self.settings)
        if sign:
            self.doubts.append(sign)
            return
        for signal, one, what, point in (
            (Signal.LEVEL, level, "Inventory falls for long, temperature and fillings taken out",
             self.loop.levels[0] if self.loop.levels else None),
            (Signal.PRESSURE, pressure, "Pressure falls for long, as litres, temperature and fillings taken out",
             self.loop.suction),
        ):  # fmt: skip
            if one and (one.found or (one.sure >= 1.0 and one.goes_on)):
                shows = (
                    f"−{figure(one.litres, 'L')} over {duration(60 * one.minutes)}, {figure(one.rate_lpm, 'L/min')}: "
                    f"{figure(one.sure)} times what healthy loops show"
                )
                line = Evidence(what, shows, point=_number(point))
                self.clues.append(Clue(signal, 6.0 * one.sure, line, one.since_us, one.rate_lpm))

    def _hear_flow(self) -> None:
        """What goes out and does not come back; believed where the inventory agrees, or where nothing tells of it."""
        settings, row = self.settings.gush, self.row
        z, lost_lpm = float(self.flow.z[row]), float(self.flow.lost_lpm[row])
        if not z >= settings.flow_z:
            return
        bins = round(settings.flow_s / self.settings.bin_s)
        known = []
        for litres in (*self.stock.by_level_l[row], self.stock.by_pressure_l[row]):
            inventory = litres - self.expansion
            drop_l = float(np.mean(inventory[-bins - 3 : -bins]) - np.mean(inventory[-3:]))
            if not math.isnan(drop_l):
                known.append(drop_l)
        point = _number(self.loop.flow)
        shows = f"{figure(lost_lpm, 'L/min')} more goes out than comes back, {z:.0f} σ, the meters' error taken off"
        # Over the minute of the meters the loss may just have begun: half of it is a fair mean.
        if known and not any(drop_l >= settings.flow_agrees * 0.5 * lost_lpm for drop_l in known):
            self.against.append(Evidence("Flow of the CDU − sum of its racks", shows, Bearing.UNKNOWN, point))
            return
        since_us = self.grid.until_us - int(settings.flow_s * SECOND_US)
        line = Evidence("Flow of the CDU − sum of its racks", shows, point=point)
        self.clues.append(Clue(Signal.FLOW, z, line, since_us, lost_lpm))

    def _hear_make_up(self) -> None:
        fills, least = self.fills, self.settings.seepage.starts_min
        if fills is None or fills.starts < least or fills.last_us < self.grid.until_us - 12 * 3_600 * SECOND_US:
            return
        litres = "" if math.isnan(fills.litres) else f", {figure(fills.litres, 'L')} in all"
        before = "" if math.isnan(fills.earlier_per_day) else f"; before, {figure(fills.earlier_per_day)} a day"
        closer = ", closer and closer" if fills.closer else ""
        shows = f"{fills.starts} starts in a day{closer}{litres}{before}"
        point = _number(self.loop.fill[0] if self.loop.fill else None)
        span_min = max(1.0, (fills.last_us - fills.first_us) / SECOND_US / 60.0)
        loss_lpm = fills.litres * (1.0 - 1.0 / fills.starts) / span_min
        line = Evidence("Make-up", shows, point=point)
        loss = None if math.isnan(loss_lpm) else loss_lpm
        self.clues.append(Clue(Signal.MAKE_UP, 6.0 * fills.starts / least, line, fills.first_us, loss))

    # --- what follows ---

    def _best(self) -> list[Clue]:
        """The strongest clue of each signal, the strongest of all first."""
        best: dict[Signal, Clue] = {}
        for clue in self.clues:
            known = best.get(clue.signal)
            if known is None or (clue.gush, clue.z) > (known.gush, known.z):
                best[clue.signal] = clue
        return sorted(best.values(), key=lambda clue: (clue.gush, clue.z), reverse=True)

    def _together(self, best: Sequence[Clue], places: Sequence[str]) -> list[Weak]:
        """Weak signs that make a suspicion together, by Stouffer's sum, where none is sure; or []."""
        if best:
            return []
        by_signal = {one.signal: one for one in sorted(self.weak, key=lambda one: one.z)}
        zs = [one.z for one in by_signal.values()] + [self.settings.contact_z] * bool(places)
        if not by_signal or len(zs) < 2 or sum(zs) / math.sqrt(len(zs)) < self.settings.fall.z_min:
            return []
        return sorted(by_signal.values(), key=lambda one: one.z, reverse=True)

    def _finding(
        self, best: Sequence[Clue], together: Sequence[Weak], contacts: Sequence[Evidence], places: Sequence[str]
    ) -> Finding:
        settings, name = self.settings, self.loop.cdu.name
        signals = {clue.signal for clue in best}
        beside = [one for one in self.weak if one.signal not in signals] if best else list(together)
        agree = {one.signal for one in beside if one.z >= settings.agreeing_z} if best else set()
        factors = [settings.agreeing_factor] * (max(0, len(signals) - 1) + len(agree) + bool(places))
        opposed = [line for line in self.against if line.bearing is Bearing.AGAINST]
        factors += [settings.contradicted_factor] * len(opposed)
        told: tuple[Clue | Weak, ...] = (*best, *together)
        first = told[0]
        loss_lpm = next((one.loss_lpm for one in told if one.loss_lpm), None)
        pours = isinstance(first, Clue) and first.gush
        since_us = min(one.since_us for one in told)
        return Finding(
            FindingKind.LEAK_SUSPECTED,
            self.loop.subject,
            since=min(self.at, from_us(since_us)),
            summary=self._summary(best, loss_lpm, places, pours=pours),
            score=first.z,
            confidence=round(combine(settings.alone, factors), 3),
            evidence=(
                *(clue.evidence for clue in best),
                *(one.evidence for one in beside),
                *self.against,
                *contacts,
                *self._ruled_out(since_us, signals | agree),
            ),
            time_to_limit_s=self._left_s(loss_lpm),
            check_first=(
                *(
                    (f"It pours: shut {name}'s racks off now, the wet one first, and have their load stopped.",)
                    if pours
                    else ("Ask whether somebody fills, drains or swaps a quick-connect on this loop now.",)
                ),
                f"Go to {places[0]} first, where a contact is wet."
                if places
                else f"Walk the loop from {name} to its racks: drip pans, joints, hoses, the relief valve.",
                *(("The racks' ropes are dry: look where none is, at the fill line and under the floor.",)
                  if Signal.MAKE_UP in signals and not places else ()),
                "Close the branch that leaks; the level must be flat within two minutes.",
                SAFETY,
            ),
        )  # fmt: skip

    def _summary(self, best: Sequence[Clue], loss_lpm: float | None, places: Sequence[str], *, pours: bool) -> str:
        name, wet = self.loop.cdu.name, f", wet at {' and '.join(places[:3])}" if places else ""
        if {clue.signal for clue in best} == {Signal.MAKE_UP} and self.fills:
            return f"The loop of {name} is filled up again and again: {self.fills.starts} times in a day{wet}"
        much = f": {figure(loss_lpm, 'L/min')}" if loss_lpm else ""
        return f"Coolant {'pours out of' if pours else 'leaves'} the loop of {name}{much}{wet}"

    def _left_s(self, loss_lpm: float | None) -> float | None:
        """Until the low-level trip, at this loss; None where no level tells."""
        row = self.row
        now_l = [last for litres in self.stock.by_level_l[row] if (last := _last(litres)) is not None]
        if not now_l or not loss_lpm or loss_lpm <= 0.0:
            return None
        spare_l = min(now_l) - self.settings.level_pct_min / 100.0 * float(self.stock.reservoir_l[row])
        return max(0.0, spare_l / loss_lpm * 60.0)

    def _contact_lines(self) -> tuple[list[Evidence], list[str]]:
        """What the loop's contact sensors say, and the names of the assets where one is wet."""
        lines: list[Evidence] = []
        places: dict[str, None] = {}
        dry = mute = 0
        for sensor in self.loop.contacts:
            value = float(self.wide.lasts(np.array([sensor.id]))[0])
            wet = None if math.isnan(value) else WET.ask(sensor, value)
            if wet:
                lines.append(Evidence(f"{sensor.asset_name}: {sensor.name}", sensor.word(value), point=sensor.id))
                places[sensor.asset_name] = None
            elif wet is None:
                mute += 1
            else:
                dry += 1
        if dry and not places:
            lines.append(Evidence("Contact sensors", f"{dry} dry; coolant needs time to reach one", Bearing.AGAINST))
        if mute or not self.loop.contacts:
            shows = f"{mute} without a usable reading" if mute else "none on this loop"
            lines.append(Evidence("Contact sensors", shows, Bearing.UNKNOWN))
        return lines[:SHOWN], list(places)

    def _ruled_out(self, since_us: int, signals: AbstractSet[Signal]) -> Iterator[Evidence]:
        onset = int(np.clip((since_us - self.grid.until_us) // SECOND_US / self.settings.bin_s + self.grid.bins, 0,
                            self.grid.bins - 1))  # fmt: skip
        known = self.expansion[onset:][~np.isnan(self.expansion[onset:])]
        change_l = float(known[-1] - known[0]) if len(known) else 0.0
        yield Evidence("Thermal expansion", f"explains {figure(change_l, 'L')} of it", Bearing.RULED_OUT)
        yield from _fill_lines(self.loop, "what it brought is taken out")
        pumps = self.loop.pumps
        if pumps:
            yield Evidence("Pump change", "none meanwhile that would explain it", Bearing.RULED_OUT, pumps[0].id)
        else:
            yield Evidence("Pump change", "no signal tells", Bearing.UNKNOWN)
        if {Signal.LEVEL, Signal.PRESSURE} <= signals:
            yield Evidence("A sensor that drifts", "level and pressure tell the same", Bearing.RULED_OUT)
        inside, outside = self.loop.suction, self.loop.facility
        if inside and outside:
            pressures = self.wide.lasts(np.array([inside.id, outside.id]))
            over_kpa = float(pressures[1] - pressures[0])
            if over_kpa > 10.0:
                shows = f"facility water stands {figure(over_kpa, 'kPa')} higher: it would come in"
                yield Evidence("The exchanger leaks", shows, Bearing.RULED_OUT, outside.id)
            elif not math.isnan(over_kpa):
                shows = "the loop's pressure is the higher one: coolant may go out through it"
                yield Evidence("The exchanger leaks", shows, Bearing.UNKNOWN, outside.id)


def _opposed(hours: _Hours, level: Ebb | None, pressure: Ebb | None, cushion: float, settings: LeakSettings) -> str:
    """Why a change that one of the two shows is not believed, where the other would show it, and does not."""
    level_l = level.litres if level else 0.0
    pressure_l = pressure.litres if pressure else 0.0
    share = settings.seepage.agree_share
    known = hours.pressure_told and cushion >= settings.cushion_closed
    if known and level and level.found and pressure_l < share * level_l:
        return "its level changes, the pressure of its closed loop does not: the level sensor drifts"
    # A level that has not come to half of its threshold may yet follow; until then the pressure is believed.
    if hours.level_told and pressure and pressure.found and level_l < share * pressure_l > 0.5 * hours.level_limit_l:
        return "the pressure of its loop changes, its level does not: gas is lost or charged, or the sensor drifts"
    return ""


def _fill_lines(loop: LoopPoints, words: str) -> Iterator[Evidence]:
    what = "Filling or draining by the fill pump"
    if loop.fill:
        yield Evidence(what, words, Bearing.RULED_OUT, loop.fill[0].id)
    else:
        yield Evidence(what, "no signal tells", Bearing.UNKNOWN)


def _fallen(values: Floats, minutes: int) -> float:
    """By how much a noisy signal has fallen in so many minutes: the last half hour against that before; NaN where it is
    not known."""
    after, before = values[-30:], values[max(0, len(values) - minutes - 30) : max(0, len(values) - minutes)]
    after, before = after[~np.isnan(after)], before[~np.isnan(before)]
    if len(after) < 10 or len(before) < 10:
        return math.nan
    fallen = float(before.mean() - after.mean())
    spread = math.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
    return fallen if fallen >= 4.0 * spread else 0.0


def _number(point: Point | None) -> int | None:
    return None if point is None else point.id


def _last(values: Floats) -> float | None:
    """The median of the last three bins that hold a value; None where the last one holds none."""
    return None if np.isnan(values[-1]) else float(np.nanmedian(values[-3:]))
