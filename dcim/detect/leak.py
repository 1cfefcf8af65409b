"""Leak: coolant that leaves a loop though no sensor need be wet, by the balance of its inventory; judged on the tick.

The level of a CDU's reservoir, less what the loop's temperature explains, must not fall. Lives here: the detector and
its argument: what speaks for a leak, what against, what was ruled out. Not here: contact sensors (contact.py), the
statistics of a falling line (slopes.py), leaks behind automatic make-up, and those too slow for minutes to show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import Asset
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.ports import Needs
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.circuits import circuits, fills, secondary_flow, secondary_pumps
from dcim.detect.contact import CONTACTS, SAFETY
from dcim.detect.figures import duration, figure
from dcim.detect.moment import combine
from dcim.detect.slopes import VALUES_MIN, Slope, noise, slope
from dcim.detect.states import RUNNING, WET
from dcim.detect.traces import Floats, Grid, Trace, Traces
from dcim.physics.fluids import PG25, Fluid

PUMPS = frozenset({"PumpSpeed", "PumpSpeedRpm", "PumpSpeedState"})
SHOWN = 6
"""Lines about contact sensors that an argument can bear."""
_STEP_BINS = 3
"""A pump's speed is compared with that of so many bins before: a drive takes some seconds."""
_AS_NUMBER = {True: 1.0, False: 0.0, None: math.nan}
_SUCTION, _BALANCE = "Suction pressure", "Flow of the CDU − sum of its racks"
_SUCTION_KPA_MIN = 0.1
"""No pressure is believed to be better than this, 1σ."""


@dataclass(frozen=True, slots=True)
class LeakSettings:
    """What makes a suspicion. A fleet's false alarms are those of one loop times its loops, so one loop is allotted one
    in ten years.

    With the usual noise (0.5 % of 50 L, a reading every 5 s) a loss of 2 L/min is seen after 40 to 60 s, 1 L/min after
    90, 0.5 after 150 and 0.3 after 220; tests/scenarios/test_leak.py holds it to that.
    """

    reservoir_l: float = 50.0
    """Where the plant does not publish it as a GenericPoint in L with "reservoir" among its areas."""
    loop_l: float = 500.0
    """Where the plant does not publish it likewise, with "loop"."""
    fluid: Fluid = PG25
    windows_s: tuple[float, ...] = (45.0, 60.0, 90.0, 120.0, 180.0, 300.0)
    """Spans over which the fall is measured, the shortest first. For so long a loss must have gone on: a litre that is
    drained for a sample is none."""
    bin_s: float = 5.0
    """Readings are averaged over this: the usual pace of a level sensor, and slower than most sensors' own filters."""
    hold_s: float = 125.0
    """An unchanged value is sent again every 100 s only; for so long, and a little, the last one is taken to hold."""
    z_min: float = 6.0
    """The fall over its standard error, as a normal deviate: 1e-9 a look. A loop has some 1e7 looks a year that differ
    at all: one false alarm in a hundred years of clean noise. The factor of ten is for noise that is not clean."""
    z_back: float = 3.0
    """Below this it is back; between the two, what stands goes on standing."""
    loss_lpm_min: float = 0.2
    """The least loss that is called one here: 0.4 % of the reservoir in a minute, well over a sensor's drift."""
    loss_lpm_back: float = 0.1
    told_lpm: float = 0.5
    """"No leak" means that a loss of this would have shown: the least of fittings that let go (0.5 to 5 L/min). Where
    the level is too noisy or too short for that, it is unknown. Pinholes take hours to show, not these minutes."""
    expansion_error_share: float = 0.3
    """How wrong the compensation may be: of the loop's volume, and for temperature that is measured at two places only.
    That much of what it takes out is not counted as loss. [E]"""
    noise_pct_min: float = 0.05
    """No level is believed to be better than this, 1σ: half a digit of a sensor that shows tenths of a percent."""
    pump_step_pct: float = 5.0
    """A change of pump speed of more than this moves the level by itself: hoses give, gas is pressed."""
    after_pump_s: float = 60.0
    """For so long after it nothing is concluded; the plant's own notes say 60 to 120 s."""
    after_filling_s: float = 60.0
    level_pct_min: float = 10.0
    """Low-level trip: below it the level says nothing more, and the time until it is what is left."""
    level_pct_max: float = 98.0
    """Above it the reservoir is full, and the level says nothing either."""
    alone: float = 0.7
    """Confidence in the inventory alone: one sensor that drifts looks the same."""
    agreeing_factor: float = 6.0
    """On the odds, for each independent signal that agrees: a wet contact, suction pressure, the flow balance. One of
    them leads over 0.9, where the shipped rules call people: two independent signals are a leak."""
    agreeing_z: float = 5.0
    """How sure such a signal must be by itself."""

    @property
    def look_back_s(self) -> float:
        """The longest span, and what may be held at its beginning."""
        return self.windows_s[-1] + self.hold_s


@dataclass(frozen=True, slots=True)
class _Loop:
    """The points that tell of one CDU's secondary coolant."""

    cdu: Asset
    levels: tuple[Point, ...]
    supply: Point | None
    back: Point | None
    suction: Point | None
    pumps: tuple[Point, ...]
    fill: tuple[Point, ...]
    flow: Point | None
    rack_flows: tuple[Point | None, ...]
    """One for each rack; None for a rack without a meter."""
    contacts: tuple[Point, ...]
    reservoir: Point | None
    volume: Point | None
    alone: bool
    """Whether it is the only CDU of its circuit: else the racks' flows are not its alone."""

    @property
    def subject(self) -> Subject:
        return Subject(self.cdu.site, self.cdu.id)


class Inventory:
    """Detector: coolant that leaves a loop, by the level of its reservoir."""

    name = "inventory"
    kinds = frozenset({FindingKind.LEAK_SUSPECTED})

    def __init__(self, settings: LeakSettings | None = None) -> None:
        self.settings = settings or LeakSettings()
        self.needs = Needs(
            CONTACTS
            | PUMPS
            | {"LiquidLevel", "LiquidTemperature", "LiquidPressure", "LiquidFlow", "RackLiquidFlow", "GenericPoint"},
            timedelta(seconds=self.settings.look_back_s),
        )
        self._bins = math.ceil(self.settings.look_back_s / self.settings.bin_s)
        self._plant = Plant()
        self._loops: tuple[_Loop, ...] = ()

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every CDU's loop. Unknown is one without a level, one whose level cannot be judged now, and one whose
        level has not yet been read for long enough to show told_lpm: only then "none found" means "none"."""
        if self._plant is not plant:
            self._plant, self._loops = plant, _loops(plant)
        traces = Traces(window)
        grid = Grid(to_us(at), self.settings.bin_s, self._bins, self.settings.hold_s)
        findings: list[Finding] = []
        unknown: list[Unknown] = []
        between: set[tuple[FindingKind, Subject]] = set()
        for loop in self._loops:
            verdict = _Case(self.settings, loop, traces, grid, at).judge()
            if isinstance(verdict, Finding):
                findings.append(verdict)
            elif isinstance(verdict, Unknown):
                unknown.append(verdict)
            elif verdict:
                between.add((FindingKind.LEAK_SUSPECTED, loop.subject))
        return Detection(tuple(findings), tuple(unknown), frozenset(between))


@dataclass(frozen=True, slots=True)
class _Fall:
    """What one level sensor says of its loop over one span."""

    slope: Slope
    bins: int
    doubt: float
    """Litres a bin that the compensation may be wrong by."""

    @property
    def z(self) -> float:
        return self.slope.z(self.doubt)

    @property
    def sure_loss(self) -> float:
        return -self.slope.per_bin - self.doubt


@dataclass(frozen=True, slots=True)
class _Leak:
    """What a level sensor says where it speaks of a leak."""

    z: float
    rate: _Fall
    """Over a span since the onset."""
    onset: int
    """Bin in which the fall began, as far as the calm stretch shows."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One level sensor's answer."""

    point: Point
    litres: Floats
    leak: _Leak | None = None
    between: bool = False
    finest_lpm: float = math.inf
    """The least loss that would have shown."""
    why: str = ""
    """What keeps it from being judged."""


class _Case:
    """One loop at one instant: its readings, and what follows from them."""

    def __init__(self, settings: LeakSettings, loop: _Loop, traces: Traces, grid: Grid, at: datetime) -> None:
        self.settings, self.loop, self.traces, self.grid, self.at = settings, loop, traces, grid, at
        self.per_min = 60.0 / settings.bin_s

    def judge(self) -> Finding | Unknown | bool:
        """A finding, what keeps one from telling, or neither: then whether it is in between."""
        if not self.loop.levels:
            return self._unknown("no reservoir level is published, so its inventory cannot be told")
        calm, why = self._calm()
        expansion = self._expansion_l(calm)
        if expansion is None:
            return self._unknown("its supply and return temperatures are missing, so expansion cannot be taken out")
        levels = [self._level(point, expansion, calm, why) for point in self.loop.levels]
        told = [level for level in levels if not level.why]
        leaks = [(level, level.leak) for level in told if level.leak]
        if not told:
            return self._unknown(levels[0].why)
        if leaks and len(leaks) < len(told):
            return self._unknown(f"its level sensors disagree: {leaks[0][0].point.name} falls, another does not")
        if leaks:
            return self._finding(*min(leaks, key=lambda told: told[1].z), expansion, calm)
        if any(level.between for level in told):
            return True
        if min(level.finest_lpm for level in told) > self.settings.told_lpm:
            least = figure(self.settings.told_lpm, "L/min")
            return self._unknown(f"its level has not been steady for long enough to show a loss of {least}")
        return False

    def _unknown(self, why: str) -> Unknown:
        return Unknown(FindingKind.LEAK_SUSPECTED, self.loop.subject, why)

    # --- readings ---

    def _bins(self, point: Point | None) -> Floats:
        if point is None or not point.unit_known:
            return np.full(self.grid.bins, np.nan)
        return self.grid.mean(self.traces.of(point.id))

    def _calm(self) -> tuple[int, str]:
        """The first bin after whatever moves the level by itself, and what that was."""
        settings, bins = self.settings, self.grid.bins
        calm, why = 0, ""
        filling = np.zeros(bins, np.bool_)
        for point in self.loop.fill:
            filling |= self._running(point) > 0.0
        changing = np.zeros(bins, np.bool_)
        for point in self.loop.pumps:
            speed = 100.0 * self._running(point) if point.quantity == "PumpSpeedState" else self._bins(point)
            if point.quantity == "PumpSpeedRpm":
                speed = 100.0 * speed / max(1.0, float(np.nanmax(speed, initial=1.0)))
            changing[_STEP_BINS:] |= np.abs(speed[_STEP_BINS:] - speed[:-_STEP_BINS]) > settings.pump_step_pct
        for moved, settle_s, word in (
            (filling, settings.after_filling_s, "the fill pump ran"),
            (changing, settings.after_pump_s, "a pump changed its speed"),
        ):
            if moved.any():
                last = int(np.flatnonzero(moved)[-1])
                after = last + 1 + math.ceil(settle_s / settings.bin_s)
                if after > calm:
                    calm, why = after, f"too little has been read since {word}"
        return calm, why

    def _running(self, point: Point) -> Floats:
        """By bin, the share of readings that say that a pump runs; NaN where there is none."""
        trace = self.traces.of(point.id)
        if point.quantity == "PumpSpeedState":
            runs = {
                value: RUNNING.ask(point, value) for value in np.unique(trace.value[~np.isnan(trace.value)]).tolist()
            }
            value = np.array([_AS_NUMBER[runs.get(value)] for value in trace.value.tolist()], np.float64)
        else:
            value = np.where(np.isnan(trace.value), np.nan, trace.value >= 1.0)
        return self.grid.mean(Trace(trace.time, value, trace.quality))

    def _expansion_l(self, calm: int) -> Floats | None:
        """By bin, the litres by which the loop is larger than at the first temperature of the calm stretch; None where
        the last temperature is missing."""
        mean_c = (self._bins(self.loop.supply) + self._bins(self.loop.back)) / 2.0
        known = np.flatnonzero(~np.isnan(mean_c[calm:]))
        if len(known) == 0 or np.isnan(mean_c[-1]):
            # Without a calm stretch there is nothing to take it out of.
            return np.zeros(self.grid.bins) if calm >= self.grid.bins else None
        volume = self._litres(self.loop.volume, self.settings.loop_l)
        from_c = np.full(self.grid.bins, mean_c[calm + known[0]])
        return self.settings.fluid.expansion_l(np.full(self.grid.bins, volume), from_c, mean_c)

    def _litres(self, capacity: Point | None, otherwise: float) -> float:
        """A capacity as the plant publishes it, or else as the settings have it."""
        told = None if capacity is None else self.traces.of(capacity.id).last
        return told if told is not None and told > 0.0 else otherwise

    # --- levels ---

    def _level(self, point: Point, expansion: Floats, calm: int, why: str) -> _Level:
        settings = self.settings
        level_pct = self._bins(point)
        reservoir_l = self._litres(self.loop.reservoir, settings.reservoir_l)
        litres = level_pct / 100.0 * reservoir_l
        now_pct = _last(level_pct)
        if now_pct is None:
            return _Level(point, litres, why="there is no usable reading of its reservoir level")
        if not settings.level_pct_min < now_pct < settings.level_pct_max:
            return _Level(
                point, litres, why=f"its reservoir is at {figure(now_pct, '%')}, where the level says no more"
            )
        inventory = litres - expansion
        spans = [round(span_s / settings.bin_s) for span_s in settings.windows_s]
        stretch = inventory[min(calm, self.grid.bins) :]
        scatter = noise(stretch, settings.noise_pct_min / 100.0 * reservoir_l, inventory)
        falls = [
            _Fall(line, bins, self._doubt(expansion[-bins:]))
            for bins in spans
            if bins <= len(stretch) and scatter and (line := slope(stretch[-bins:], scatter))
        ]
        if scatter is None or not falls:
            return _Level(
                point, litres, why=why or f"its level has not been read for {settings.windows_s[0]:.0f} s yet"
            )
        leaks, between, finest_lpm = [], False, math.inf
        began = self.grid.bins - len(stretch) + scatter.bend
        lasts = self.grid.bins - began >= spans[0]
        for fall in falls:
            loss_lpm = fall.sure_loss * self.per_min
            if fall.z < settings.z_back or loss_lpm < settings.loss_lpm_back:
                finest_lpm = min(finest_lpm, (settings.z_min * fall.slope.error + fall.doubt) * self.per_min)
            elif fall.slope.stepped or self._stopped(fall, falls):
                continue  # it has fallen, but does not fall: neither a leak nor proof of none
            elif fall.z < settings.z_min or loss_lpm < settings.loss_lpm_min or not lasts:
                between = True
            else:
                leaks.append(fall)
        if not leaks:
            return _Level(point, litres, None, between, finest_lpm)
        # The surest span may reach back to before the onset; how fast it falls is told by one that does not.
        surest = max(leaks, key=lambda fall: fall.z)
        since = [fall for fall in falls if fall.bins <= self.grid.bins - began and fall.z >= settings.z_back]
        return _Level(point, litres, _Leak(surest.z, since[-1] if since else surest, began))

    def _doubt(self, expansion: Floats) -> float:
        known = expansion[~np.isnan(expansion)]
        swing_l = float(np.ptp(known)) if len(known) else 0.0
        return self.settings.expansion_error_share * swing_l / len(expansion)

    def _stopped(self, fall: _Fall, falls: Sequence[_Fall]) -> bool:
        """Whether a shorter span that ends now falls clearly less than half as fast: a leak goes on."""
        return any(
            -recent.slope.per_bin + 2.0 * recent.slope.error < -0.5 * fall.slope.per_bin
            for recent in falls
            if recent.bins < fall.bins
        )

    # --- the argument ---

    def _finding(self, level: _Level, leak: _Leak, expansion: Floats, calm: int) -> Finding:
        settings, cdu, fall = self.settings, self.loop.cdu, leak.rate
        loss_lpm, error_lpm = -fall.slope.per_bin * self.per_min, fall.slope.error * self.per_min
        span_s = fall.bins * settings.bin_s
        shows = f"−{figure(loss_lpm)} ± {figure(error_lpm, 'L/min')} over {duration(span_s)}, {leak.z:.0f} σ"
        contacts, places = self._contact_lines()
        supporting = [self._suction_line(fall, expansion, calm), self._flow_line(leak.onset), *contacts]
        kinds = {line.what.split(":")[0] for line in supporting if line.bearing is Bearing.FOR}
        factors = [settings.agreeing_factor] * (len(kinds & {_SUCTION, _BALANCE}) + bool(places))
        now_l = _last(level.litres) or 0.0
        spare_l = now_l - settings.level_pct_min / 100.0 * self._litres(self.loop.reservoir, settings.reservoir_l)
        where = f", wet at {' and '.join(places[:3])}" if places else ""
        return Finding(
            FindingKind.LEAK_SUSPECTED,
            self.loop.subject,
            since=min(self.at, from_us(self.grid.until_us + int(self.grid.seconds[leak.onset] * SECOND_US))),
            summary=f"Coolant leaves the loop of {cdu.name}: {figure(loss_lpm, 'L/min')}{where}",
            score=leak.z,
            confidence=round(combine(settings.alone, factors), 3),
            evidence=(
                Evidence("Inventory falls, temperature taken out", shows, point=level.point.id),
                *supporting,
                *self._ruled_out(expansion[-fall.bins :]),
            ),
            time_to_limit_s=max(0.0, spare_l / loss_lpm * 60.0),
            check_first=(
                "Ask whether somebody fills, drains or swaps a quick-connect on this loop now.",
                f"Go to {places[0]} first, where a contact is wet."
                if places
                else f"Walk the loop from {cdu.name} to its racks: drip pans, joints, hoses, the relief valve.",
                "Close the branch that leaks; the level must be flat within two minutes.",
                SAFETY,
            ),
        )

    def _suction_line(self, fall: _Fall, expansion: Floats, calm: int) -> Evidence:
        point = self.loop.suction
        pressure_kpa = self._bins(point)
        stretch = pressure_kpa[calm:]
        scatter = noise(stretch, _SUCTION_KPA_MIN, pressure_kpa)
        line = slope(stretch[-fall.bins :], scatter) if scatter else None
        if point is None or line is None:
            return Evidence(_SUCTION, "no usable reading", Bearing.UNKNOWN, point.id if point else None)
        shows = f"{figure(line.per_bin * self.per_min, 'kPa/min')} ± {figure(line.error * self.per_min)}"
        # What makes the liquid shrink lowers this pressure as well.
        by_heat = float(np.ptp(expansion[-fall.bins :])) > 0.5 * fall.sure_loss * fall.bins
        if line.z() >= self.settings.agreeing_z and not line.stepped and not by_heat:
            return Evidence(_SUCTION, shows, Bearing.FOR, point.id)
        return Evidence(_SUCTION, f"{shows}: says nothing of an open reservoir", Bearing.UNKNOWN, point.id)

    def _flow_line(self, onset: int) -> Evidence:
        """The CDU's flow less its racks', since the onset against before: what is constant is the meters' bias."""
        if not self.loop.alone or None in self.loop.rack_flows or not self.loop.rack_flows:
            return Evidence(_BALANCE, "not every branch has a flow meter", Bearing.UNKNOWN)
        lost = self._bins(self.loop.flow) - np.sum([self._bins(point) for point in self.loop.rack_flows], axis=0)
        before, after = lost[:onset], lost[onset:]
        before, after = before[~np.isnan(before)], after[~np.isnan(after)]
        point = self.loop.flow.id if self.loop.flow else None
        if len(before) < VALUES_MIN or len(after) < VALUES_MIN:
            return Evidence(_BALANCE, "too few readings to take the meters' bias out", Bearing.UNKNOWN, point)
        gained = float(after.mean() - before.mean())
        error = math.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
        shows = f"{figure(gained, 'L/min')} ± {figure(error)} more than before"
        if gained > self.settings.agreeing_z * max(error, 1e-9):
            return Evidence(_BALANCE, shows, Bearing.FOR, point)
        return Evidence(_BALANCE, f"{shows}: within the meters' noise", Bearing.UNKNOWN, point)

    def _contact_lines(self) -> tuple[list[Evidence], list[str]]:
        """What the loop's contact sensors say, and the names of the assets where one is wet."""
        lines: list[Evidence] = []
        places: dict[str, None] = {}
        dry = mute = 0
        for sensor in self.loop.contacts:
            value = self.traces.of(sensor.id).last
            wet = None if value is None else WET.ask(sensor, value)
            if value is not None and wet:
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

    def _ruled_out(self, expansion: Floats) -> Iterator[Evidence]:
        known = expansion[~np.isnan(expansion)]
        change_l = float(known[-1] - known[0]) if len(known) else 0.0
        yield Evidence("Thermal expansion", f"explains {figure(change_l, 'L')} of it", Bearing.RULED_OUT)
        for what, points in (
            ("Filling or draining by the fill pump", self.loop.fill),
            ("Pump change", self.loop.pumps),
        ):
            if points:
                yield Evidence(what, "steady all that time", Bearing.RULED_OUT, points[0].id)
            else:
                yield Evidence(what, "no signal tells", Bearing.UNKNOWN)


def _loops(plant: Plant) -> tuple[_Loop, ...]:
    """Every CDU with the points that tell of its secondary coolant."""
    of_asset = circuits(plant)
    loops = []
    for asset in plant.assets.values():
        if asset.kind != "CDU":
            continue
        circuit = of_asset[asset.key]
        own = [plant.points[number] for number in asset.points if not plant.points[number].setpoint]

        def find(
            quantity: str, loop: Loop | None = None, side: Side | None = None, area: str = "", own: list[Point] = own
        ) -> tuple[Point, ...]:
            return tuple(
                point
                for point in own
                if point.quantity == quantity
                and (point.loop is loop if loop else point.loop is not Loop.PRIMARY)
                and (side is None or point.side is side)
                and (not area or (point.unit == "L" and any(area in word.casefold() for word in point.areas)))
            )

        pumps = [point for quantity in sorted(PUMPS) for point in plant.at(asset.key, quantity)]
        members = [asset.key] if len(circuit.cdus) > 1 else sorted(circuit.members)
        loops.append(
            _Loop(
                cdu=asset,
                levels=tuple(point for point in find("LiquidLevel") if point.unit_known),
                supply=_first(find("LiquidTemperature", Loop.SECONDARY, Side.SUPPLY)),
                back=_first(find("LiquidTemperature", Loop.SECONDARY, Side.RETURN)),
                suction=_first(find("LiquidPressure", Loop.SECONDARY, Side.RETURN)),
                pumps=tuple(secondary_pumps(plant, asset.key)),
                fill=tuple(point for point in pumps if fills(point)),
                flow=secondary_flow(plant, asset.key),
                rack_flows=tuple(_first(plant.at(rack, "RackLiquidFlow")) for rack in circuit.racks),
                contacts=tuple(p for member in members for q in sorted(CONTACTS) for p in plant.at(member, q)),
                reservoir=_first(find("GenericPoint", area="reservoir")),
                volume=_first(find("GenericPoint", area="loop")),
                alone=len(circuit.cdus) == 1,
            )
        )
    return tuple(loops)


def _first(points: Sequence[Point]) -> Point | None:
    return points[0] if points else None


def _last(values: Floats) -> float | None:
    """The median of the last three bins that hold a value; None where the last one holds none."""
    return None if np.isnan(values[-1]) else float(np.nanmedian(values[-3:]))
