"""Loops: the points that tell of each CDU's secondary coolant, and what the loop holds by them, as columns.

Lives here: which points they are, litres by level and by pressure, what temperature explains, when something moves the
level by itself. Not here: what is concluded (falls.py for minutes, seepage.py for hours)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dcim.core.assets import Asset
from dcim.core.findings import Subject
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.detect.circuits import circuits, fills, secondary_flow, secondary_pumps
from dcim.detect.contact import CONTACTS
from dcim.detect.states import RUNNING
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, Wide, any_of, median
from dcim.physics.fluids import PG25, Fluid

PUMPS = frozenset({"PumpSpeed", "PumpSpeedRpm", "PumpSpeedState"})
QUANTITIES = (
    CONTACTS
    | PUMPS
    | {"LiquidLevel", "LiquidTemperature", "LiquidPressure", "LiquidFlow", "LiquidConductivity"}
    | {"RackLiquidFlow", "GenericPoint"}
)
ATMOSPHERE_KPA = 101.3
_STEP_BINS = 3
"""A pump's speed is compared with that of so many bins before: a drive takes some seconds."""
_REFERENCE_C = 40.0
"""Volumes are told as they would be at this temperature."""


@dataclass(frozen=True, slots=True)
class StockSettings:
    """How large a loop is, and what moves its level by itself."""

    reservoir_l: float = 50.0
    """Where the plant does not publish it as a GenericPoint in L with "reservoir" among its areas."""
    loop_l: float = 500.0
    """Where the plant does not publish it likewise, with "loop"."""
    fluid: Fluid = PG25
    gas_l: float = 20.0
    gas_abs_kpa: float = 250.0
    """Of the gas cushion of a closed loop without a level sensor: 12.5 kPa for each litre lost. With one, the sensor
    says how large the cushion is."""
    closed_kpa: float = 80.0
    """Gauge pressure at the pumps' suction from which on a loop is taken to be closed under a gas cushion: eight metres
    of water stand over few pumps, and the stop for low return pressure of one CDU maker is 50 kPa. [E]"""
    pump_step_pct: float = 5.0
    """A change of pump speed of more than this moves the level by itself: hoses give, gas is pressed."""
    after_pump_s: float = 60.0
    """For so long after it nothing is concluded; the plant's own notes say 60 to 120 s."""
    after_filling_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LoopPoints:
    """The points that tell of one CDU's secondary coolant."""

    cdu: Asset
    levels: tuple[Point, ...]
    supply: Point | None
    back: Point | None
    suction: Point | None
    facility: Point | None
    """Pressure of the facility water where it enters."""
    conductivity: Point | None
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
        """What a finding about this loop is about: its CDU."""
        return Subject(self.cdu.site, self.cdu.id)


class Loops:
    """All loops of a plant, by row."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.loops = tuple(_loops(plant))
        self.levels = _columns([loop.levels for loop in self.loops])
        """[loops, sensors]."""
        self.supply = _column(loop.supply for loop in self.loops)
        self.back = _column(loop.back for loop in self.loops)
        self.suction = _column(loop.suction for loop in self.loops)
        self.facility = _column(loop.facility for loop in self.loops)
        self.conductivity = _column(loop.conductivity for loop in self.loops)
        self.flow = _column(loop.flow for loop in self.loops)
        metered = [loop.rack_flows if loop.alone and None not in loop.rack_flows else () for loop in self.loops]
        self.racks = _columns([[point for point in points if point] for points in metered])
        """[loops, racks]; none where the sum of the racks' meters is not the loop's flow."""
        self.reservoir = _column(loop.reservoir for loop in self.loops)
        self.volume = _column(loop.volume for loop in self.loops)
        self.pumps = _columns([loop.pumps for loop in self.loops])
        self.pump_scale = _scales([loop.pumps for loop in self.loops])
        self.fill = _columns([loop.fill for loop in self.loops])
        self.fill_off, self.fill_least = _fills([loop.fill for loop in self.loops])

    def __len__(self) -> int:
        return len(self.loops)


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """What each loop holds, by loop and bin; NaN where it cannot be told."""

    grid: Grid
    level_pct: Floats
    """[loops, sensors, bins]."""
    reservoir_l: Floats
    """[loops]."""
    by_level_l: Floats
    """[loops, sensors, bins]: litres in the reservoir, by each level sensor."""
    by_pressure_l: Floats
    """[loops, bins]: the same by Boyle's law of the gas over it; NaN for a loop that is not closed."""
    per_kpa_l: Floats
    """[loops]: litres for each kPa of suction pressure, as it is now."""
    suction_kpa: Floats
    expansion_l: Floats
    """[loops, bins]: by how much the loop is larger than at 40 °C."""
    conductivity_us_cm: Floats
    """[loops, bins]."""
    filling: Bools
    """[loops, bins]: a fill pump runs."""
    changing: Bools
    """[loops, bins]: a pump changes its speed."""
    mismatch_lpm: Floats
    """[loops, bins]: flow of the CDU less that of its racks; the meters' bias is in it."""
    flow_lpm: Floats

    def calm_from(self, settings: StockSettings) -> tuple[Numbers, Bools]:
        """[loops]: the first bin after whatever moves the level by itself, and whether that was the filling."""
        after = []
        for moved, settle_s in ((self.filling, settings.after_filling_s), (self.changing, settings.after_pump_s)):
            bins = moved.shape[1]
            last = np.where(moved.any(axis=1), bins - np.argmax(moved[:, ::-1], axis=1), 0)
            after.append(np.where(last > 0, last + math.ceil(settle_s / self.grid.bin_s), 0))
        return np.maximum(after[0], after[1]), after[0] >= after[1]


def take_stock(loops: Loops, wide: Wide, settings: StockSettings) -> Stock:
    """What each loop holds over a window."""

    def capacity(points: Numbers, otherwise: float) -> Floats:
        told = wide.lasts(points)
        return np.where(told > 0.0, told, otherwise)

    level_pct = wide.means(loops.levels)
    reservoir_l, volume_l = capacity(loops.reservoir, settings.reservoir_l), capacity(loops.volume, settings.loop_l)
    by_level_l = level_pct / 100.0 * reservoir_l[:, None, None]
    suction_kpa = wide.means(loops.suction)
    by_pressure_l, per_kpa_l = _by_pressure(by_level_l, suction_kpa, reservoir_l, settings)
    mean_c = (wide.means(loops.supply) + wide.means(loops.back)) / 2.0
    expansion_l = settings.fluid.expansion_l(
        np.broadcast_to(volume_l[:, None], mean_c.shape), np.full(mean_c.shape, _REFERENCE_C), mean_c
    )
    speed = wide.means(loops.pumps)
    rpm = np.isnan(loops.pump_scale)
    scale = np.where(rpm, 100.0 / np.maximum(_greatest(speed, 1.0), 1.0), loops.pump_scale)
    speed = speed * scale[..., None]
    changing = np.zeros(suction_kpa.shape, np.bool_)
    step = np.abs(speed[..., _STEP_BINS:] - speed[..., :-_STEP_BINS]) > settings.pump_step_pct
    changing[:, _STEP_BINS:] = any_of(np.swapaxes(step, 1, 2))
    runs = np.abs(wide.means(loops.fill) - loops.fill_off[..., None]) > loops.fill_least[..., None]
    flow_lpm, racks = wide.means(loops.flow), wide.means(loops.racks)
    racks[loops.racks < 0] = 0.0
    sum_lpm = racks.sum(axis=1) if racks.shape[1] else np.full(flow_lpm.shape, np.nan)
    sum_lpm[(loops.racks < 0).all(axis=1)] = np.nan
    return Stock(
        grid=wide.grid,
        level_pct=level_pct,
        reservoir_l=reservoir_l,
        by_level_l=by_level_l,
        by_pressure_l=by_pressure_l,
        per_kpa_l=per_kpa_l,
        suction_kpa=suction_kpa,
        expansion_l=expansion_l,
        conductivity_us_cm=wide.means(loops.conductivity),
        filling=any_of(np.swapaxes(runs, 1, 2)),
        changing=changing,
        mismatch_lpm=flow_lpm - sum_lpm,
        flow_lpm=flow_lpm,
    )


def _by_pressure(
    by_level_l: Floats, suction_kpa: Floats, reservoir_l: Floats, settings: StockSettings
) -> tuple[Floats, Floats]:
    """Litres by bin out of the pressure of the gas, and litres for each kPa. How much gas there is, the level says."""
    absolute = suction_kpa + ATMOSPHERE_KPA
    absolute = np.where(absolute > 1.0, absolute, np.nan)
    loops, _, bins = by_level_l.shape
    gas_l = reservoir_l[:, None] - median(np.swapaxes(by_level_l, 1, 2))
    charge = median(absolute * np.where(gas_l > 0.0, gas_l, np.nan), max(1, bins // 10))
    charge = np.where(np.isnan(charge), settings.gas_l * settings.gas_abs_kpa, charge)
    closed = median(suction_kpa) >= settings.closed_kpa
    charge = np.where(closed, charge, np.nan)
    last_kpa = median(absolute[:, -3:]) if bins else np.full(loops, np.nan)
    return reservoir_l[:, None] - charge[:, None] / absolute, charge / last_kpa**2


def _greatest(values: Floats, least: float) -> Floats:
    known = np.where(np.isnan(values), least, values)
    greatest: Floats = known.max(axis=-1, initial=least)
    return greatest


def _scales(pumps: Sequence[Sequence[Point]]) -> Floats:
    """What makes a per cent out of a pump's reading; NaN for revolutions, which have no full speed that is told."""
    scale = {"PumpSpeed": 1.0, "PumpSpeedState": 100.0, "PumpSpeedRpm": math.nan}
    return _table([[scale[point.quantity] for point in points] for points in pumps], 1.0)


def _fills(fill: Sequence[Sequence[Point]]) -> tuple[Floats, Floats]:
    """The reading of a fill pump that rests, and by how much one that runs differs from it. A state rests at 0, unless
    its words say that 0 runs; NaN where neither 0 nor 1 rests."""

    def off(point: Point) -> float:
        if point.quantity != "PumpSpeedState":
            return 0.0
        return next((value for value in (0.0, 1.0) if RUNNING.ask(point, value) is False), math.nan)

    least = [[0.0 if point.quantity == "PumpSpeedState" else 1.0 for point in points] for points in fill]
    return _table([[off(point) for point in points] for points in fill], 0.0), _table(least, 1.0)


def _table(rows: Sequence[Sequence[float]], filler: float) -> Floats:
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[filler] * (width - len(row))] for row in rows], np.float64).reshape(len(rows), width)


def _columns(points: Sequence[Sequence[Point]]) -> Numbers:
    width = max(map(len, points), default=0)
    rows = [[_id(point) for point in row] + [-1] * (width - len(row)) for row in points]
    return np.array(rows, np.intp).reshape(len(points), width)


def _column(points: Iterable[Point | None]) -> Numbers:
    return np.array([_id(point) for point in points], np.intp)


def _id(point: Point | None) -> int:
    return -1 if point is None or not point.unit_known else point.id


def _loops(plant: Plant) -> Iterable[LoopPoints]:
    """Every CDU with the points that tell of its secondary coolant."""
    of_asset = circuits(plant)
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
        yield LoopPoints(
            cdu=asset,
            levels=tuple(point for point in find("LiquidLevel") if point.unit_known),
            supply=_first(find("LiquidTemperature", Loop.SECONDARY, Side.SUPPLY)),
            back=_first(find("LiquidTemperature", Loop.SECONDARY, Side.RETURN)),
            suction=_first(find("LiquidPressure", Loop.SECONDARY, Side.RETURN)),
            facility=_first(find("LiquidPressure", Loop.PRIMARY, Side.SUPPLY)),
            conductivity=_first(find("LiquidConductivity")),
            pumps=tuple(secondary_pumps(plant, asset.key)),
            fill=tuple(point for point in pumps if fills(point)),
            flow=secondary_flow(plant, asset.key),
            rack_flows=tuple(_first(plant.at(rack, "RackLiquidFlow")) for rack in circuit.racks),
            contacts=tuple(p for member in members for q in sorted(CONTACTS) for p in plant.at(member, q)),
            reservoir=_first(find("GenericPoint", area="reservoir")),
            volume=_first(find("GenericPoint", area="loop")),
            alone=len(circuit.cdus) == 1,
        )


def _first(points: Sequence[Point]) -> Point | None:
    return points[0] if points else None
