"""Sensors: what is measured where, how well, and what the meters show of a state.

Lives here: the table of gauges, their noise, bias, resolution and drift, and how they fail for a while by themselves.
Not here: the state (plant.py), what faults do to a meter (metering.py), topics, payloads and when a value is sent
(bus.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from dcim.physics.electrical import line_current_a
from dcim.physics.psychrometrics import relative_humidity_pct
from dcim.sim.hall import Floats, Hall
from dcim.sim.state import Distortion, State, stack
from dcim.sim.workload import dice

Shown = npt.NDArray[np.int64]

TEMPERATURE_K = 0.05
FLOW_SHARE = 0.005
PRESSURE_KPA = 0.5
LEVEL_PCT = 0.5
POWER_SHARE = 0.002
FILTER_KPA = 0.1
CONDUCTIVITY_US_CM = 8.0
"""Noise of the meters, 1σ: of the value where the name ends in SHARE."""
BIAS = 0.5
"""A meter's own error, which stays, as a share of its noise (1σ)."""
DRIFT, DRIFT_DAYS = 0.5, (2.0, 9.0)
"""How far it wanders beside that, likewise, and in how many days it is back."""
SLOT_S = 120.0
DROPOUT, REPEAT = 2e-5, 1e-5
"""In each stretch of SLOT_S a meter that measures drops out, or repeats its last value, with these chances: a meter
drops out every ten weeks, and in a hall of eight racks one does every four hours."""
MISSING = np.iinfo(np.int64).min
"""What is shown by a meter that has dropped out."""

PRIMARY_DROP_KPA = 60.0
"""What facility water loses at design flow."""
HOT_AISLE_K_KW = 1.2
"""By how much the air behind the racks is warmer, per kW of heat that a rack gives it."""

INTEGRATION = "RACKMGR"
"""The IT system that sees into the trays and writes what it sees on the bus."""
NO_LEAK = ("NoLeak", "Leak")


@dataclass(frozen=True, slots=True)
class Place:
    """The machine that a gauge sits at, as the bus names it."""

    id: str
    part_of: bool = False
    """The gauge is at a part of the machine `id`, which has no name of its own."""
    serves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """One kind of meter, one at each of its places."""

    object_type: str
    places: tuple[Place, ...]
    point_type: str
    read: Callable[[State], Floats]
    """What is true, by place."""
    unit: str | None = None
    states: tuple[str, ...] = ()
    """Words for 0, 1 …; where there are any there is no unit."""
    decimals: int = 0
    noise: float = 0.0
    noise_share: float = 0.0
    area: tuple[str, ...] = ()
    phase: str = ""
    setpoint: bool = False
    integration: str = ""
    percent: bool = False
    """Shows nothing below 0 and nothing above 100, whatever its noise."""
    slow: bool = False
    """Hardly changes: where readings are kept for months, one a minute will do."""


class Sensors:
    """All meters of a hall under one seed. Values come as whole numbers of the meters' last digits."""

    def __init__(self, hall: Hall, seed: int) -> None:
        self.gauges = tuple(_gauges(hall))
        self._hall, self._seed = hall, seed

        def spread(of: Callable[[Gauge], float]) -> Floats:
            return np.array([of(gauge) for gauge in self.gauges for _ in gauge.places])

        self.decimals = spread(lambda gauge: gauge.decimals).astype(np.int64)
        self.slow = spread(lambda gauge: gauge.slow).astype(bool)
        self._percent = np.flatnonzero(spread(lambda gauge: gauge.percent))
        self._digits: Floats = np.power(10.0, self.decimals)
        self._noise = spread(lambda gauge: gauge.noise)
        self._noise_share = spread(lambda gauge: gauge.noise_share)
        measures = (self._noise > 0.0) | (self._noise_share > 0.0)
        self._fails = hall.settings.flaws * measures
        # The meters are part of the hall: another seed is another day, not another set of meters.
        own = dice(hall.settings.serial, "bias").standard_normal(len(self._noise))
        own *= hall.settings.spread * BIAS
        self._bias, self._bias_share = own * self._noise, own * self._noise_share
        wander = dice(hall.settings.serial, "drift").random((2, len(self._noise)))
        self._turns_per_s = 1.0 / (86_400.0 * (DRIFT_DAYS[0] + (DRIFT_DAYS[1] - DRIFT_DAYS[0]) * wander[0]))
        self._turn = wander[1]
        self._wander = math.sqrt(2.0) * DRIFT * hall.settings.flaws
        self._columns: dict[tuple[str, str], list[tuple[tuple[str, ...], int]]] = {}
        spots = ((gauge, place) for gauge in self.gauges for place in gauge.places)
        for column, (gauge, place) in enumerate(spots):
            if not gauge.setpoint:
                self._columns.setdefault((gauge.point_type, place.id), []).append((gauge.area, column))

    def true(self, state: State) -> Floats:
        """What is so, by meter: gauges in order, places in order. Of stacked states, by moment and meter."""
        return np.concatenate([gauge.read(state) for gauge in self.gauges], axis=-1)

    def show(self, state: State, before: Shown | None = None) -> Shown:
        """What the meters show, in units of their last digit: value × 10^decimals, or MISSING. before: what they showed
        the last time, which some of them may repeat."""
        shown: Shown = self.show_all([state], before)[0]
        return shown

    def show_all(self, states: Sequence[State], before: Shown | None = None) -> Shown:
        """The same for several states, one after the other: by moment and meter. Noise depends on the time of the first
        one, so that it is what a reading of its own would have for one state."""
        stacked = stack(states) if len(states) > 1 else None
        times_s = np.array([state.time_s for state in states])
        true = self.true(states[0])[None] if stacked is None else self.true(stacked)
        noise = dice(self._seed, "noise", float(times_s[0])).standard_normal(true.shape)
        off = noise
        if self._wander:
            off = noise + self._wander * np.sin(2.0 * np.pi * (np.outer(times_s, self._turns_per_s) + self._turn))
        read = true * (1.0 + self._bias_share + off * self._noise_share) + self._bias + off * self._noise
        read[:, self._percent] = np.clip(read[:, self._percent], 0.0, 100.0)
        frozen = self._distort(states, read)
        shown = np.rint(read * self._digits).astype(np.int64)
        dropped = self._fail(times_s, frozen)
        _repeat(shown, frozen, before)
        for row, columns in dropped:
            shown[row, columns] = MISSING
        return shown

    def _distort(self, states: Sequence[State], read: Floats) -> npt.NDArray[np.bool_]:
        """Applies what faults do to single meters, and says which are to repeat themselves."""
        frozen = np.zeros(read.shape, bool)
        for row, state in enumerate(states):
            for wrong in state.distortions:
                columns = self._find(wrong)
                read[row, columns] += wrong.offset + wrong.share * read[row, columns]
                if wrong.shows is not None:
                    read[row, columns] = wrong.shows
                frozen[row, columns] |= wrong.frozen
        return frozen

    def _fail(
        self, times_s: Floats, frozen: npt.NDArray[np.bool_]
    ) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Meters that fail by themselves, slot by slot: marks those that repeat themselves, and answers (rows, columns)
        of those that have dropped out."""
        dropped = []
        slots = np.floor(times_s / SLOT_S + 1e-9)
        for slot in np.unique(slots).tolist() if self._fails.any() else []:
            luck = dice(self._seed, "flaws", slot).random(len(self._fails))
            out = np.flatnonzero(luck < DROPOUT * self._fails)
            same = np.flatnonzero((luck >= DROPOUT * self._fails) & (luck < (DROPOUT + REPEAT) * self._fails))
            if len(out) or len(same):
                rows = np.flatnonzero(slots == slot)
                frozen[np.ix_(rows, same)] = True
                at = np.ix_(rows, out)
                dropped.append((at[0], at[1]))
        return dropped

    def _find(self, wrong: Distortion) -> list[int]:
        found = self._columns.get((wrong.point_type, wrong.place), ())
        return [column for area, column in found if wrong.area is None or area == wrong.area]


def _repeat(shown: Shown, frozen: npt.NDArray[np.bool_], before: Shown | None) -> None:
    """Puts the last value that was not frozen in the place of those that are; the first one of all stays."""
    for column in np.flatnonzero(frozen.any(axis=0)).tolist():
        rows = np.arange(len(shown))
        source = np.maximum.accumulate(np.where(frozen[:, column], -1, rows))
        first = shown[0, column] if before is None else before[column]
        shown[:, column] = np.where(source >= 0, shown[source, column], first)


def _gauges(hall: Hall) -> Iterable[Gauge]:
    yield from _rack_gauges(hall)
    yield from _cdu_gauges(hall)
    yield from _power_gauges(hall)
    yield from _room_gauges(hall)


def _rack_gauges(hall: Hall) -> Iterable[Gauge]:
    s, of, count = hall.settings, hall.cdu_of_rack, len(hall.racks)
    rack = partial(Gauge, "Rack", tuple(Place(name) for name in hall.racks))
    celsius = partial(rack, unit="C", decimals=2, noise=TEMPERATURE_K)
    kpa = partial(rack, unit="kPa", decimals=1)
    yield celsius("RackLiquidSupplyTemperature", lambda state: state.pipe_c[..., of, 2])
    yield celsius("RackLiquidReturnTemperature", lambda state: state.rack_c)
    # The meter sits in the return, with the control valve: what leaks at the supply manifold does not pass it.
    yield rack("RackLiquidFlow", lambda state: state.return_lpm, unit="LPM", decimals=1, noise_share=FLOW_SHARE)
    yield kpa(
        "RackLiquidDifferentialPressure", lambda state: state.drop_kpa[..., of] * ~state.isolated, noise=PRESSURE_KPA
    )
    yield kpa("RackLiquidDifferentialPressureSp", _always(s.rack_drop_kpa, count), setpoint=True)
    yield rack("RackControlValvePosition", lambda state: hall.rack_valve_pct * ~state.isolated, unit="%", decimals=1)
    yield rack("RackPower", lambda state: state.rack_kw, unit="kW", decimals=2, noise_share=POWER_SHARE)
    yield rack("RackLeakDetect", lambda state: state.wet.astype(float), states=NO_LEAK)
    yield rack("RackLeakSensorFault", _always(0.0, count), states=("NoFault", "Fault"))
    yield rack(
        "RackLeakDetectTray", lambda state: state.tray_wet.astype(float), states=NO_LEAK, integration=INTEGRATION
    )
    isolated = ("NotIsolated", "Isolated")
    yield rack("RackLiquidIsolationStatus", lambda state: state.isolated.astype(float), states=isolated)
    yield rack(
        "RackElectricalIsolationStatus",
        lambda state: (state.power_share.sum(axis=(-3, -1)) <= 0.0).astype(float),
        states=isolated,
    )


def _cdu_gauges(hall: Hall) -> Iterable[Gauge]:
    s, count = hall.settings, len(hall.cdus)
    served = [tuple(hall.racks[rack] for rack in np.flatnonzero(hall.cdu_of_rack == cdu)) for cdu in range(count)]
    cdu = partial(Gauge, "CDU", tuple(Place(name, serves=racks) for name, racks in zip(hall.cdus, served, strict=True)))
    inside = tuple(Place(name, part_of=True) for name in hall.cdus)
    tank, pump = partial(Gauge, "Tank", inside), partial(Gauge, "Pump", inside)
    celsius = partial(cdu, "LiquidTemperature", unit="C", decimals=2)
    kpa = partial(cdu, "LiquidPressure", unit="kPa", decimals=1, noise=PRESSURE_KPA)
    across = partial(cdu, "LiquidDifferentialPressure", unit="kPa", decimals=1)
    lpm = partial(cdu, "LiquidFlow", unit="LPM", decimals=1, noise_share=FLOW_SHARE)
    off_on, available = ("Off", "On"), ("NotAvailable", "Available")

    def pumped_lpm(state: State) -> Floats:
        return hall.by_cdu(state.supply_lpm)

    def primary_out_kpa(state: State) -> Floats:
        return s.facility_kpa - PRIMARY_DROP_KPA * (state.primary_lpm / hall.primary_design_lpm) ** 2

    yield celsius(lambda state: state.facility_c, area=("Primary", "Inlet"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.primary_out_c, area=("Primary", "Outlet"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.pipe_c[..., 0], area=("Secondary", "Supply"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.pipe_c[..., 4], area=("Secondary", "Return"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.setpoint_c, area=("Secondary", "Supply"), setpoint=True)
    yield lpm(lambda state: state.primary_lpm, area=("Primary",))
    yield lpm(pumped_lpm, area=("Secondary",))
    yield kpa(_always(s.facility_kpa, count), area=("Primary", "Inlet"))
    yield kpa(primary_out_kpa, area=("Primary", "Outlet"))
    yield kpa(lambda state: state.suction_kpa + state.drop_kpa, area=("Secondary", "Supply"))
    yield kpa(lambda state: state.suction_kpa, area=("Secondary", "Return"))
    yield across(lambda state: state.drop_kpa, area=("Secondary",), noise=PRESSURE_KPA)
    yield across(_always(s.rack_drop_kpa, count), area=("Secondary",), setpoint=True)
    yield across(lambda state: state.filter_kpa, area=("Secondary", "Filter1"), noise=FILTER_KPA)
    for number in range(2):
        area = ("Secondary", f"Pump{number + 1}")
        yield cdu("PumpSpeed", partial(_pump_pct, pump=number), unit="%", decimals=1, area=area)
        yield pump("Available", partial(_pump_able, pump=number), states=available, area=area)
    yield cdu("PumpSpeed", lambda state: state.filling.astype(float), states=off_on, area=("Fill",))
    yield cdu("ValvePosition", lambda state: 100.0 * state.valve, unit="%", decimals=1, area=("Primary",))
    # The contract's valve positions are feedback only; what the controller asks for is a set-point beside it.
    asked = ("Primary", "ValvePosition")
    yield cdu("GenericPoint", lambda state: 100.0 * state.valve_wanted, unit="%", decimals=1, area=asked, setpoint=True)
    yield cdu("Status", lambda state: (state.speed.max(axis=-1) > 0.05).astype(float), states=off_on)
    yield cdu("Available", lambda state: (~state.unable.all(axis=-1)).astype(float), states=available)
    yield cdu("LeakDetect", _always(0.0, count), states=NO_LEAK)
    # The contract has no type for a level; what turns it into litres stands beside it, so that nobody need be told.
    reservoir = partial(tank, "GenericPoint", decimals=1)
    yield reservoir(
        lambda state: 100.0 * state.tank_l / s.reservoir_l,
        unit="%",
        noise=LEVEL_PCT,
        area=("Secondary", "Reservoir", "Level"),
        percent=True,
    )
    yield reservoir(_always(s.reservoir_l, count), unit="L", area=("Secondary", "Reservoir", "Capacity"))
    loop_l = _always(hall.racks_of_cdu * s.loop_l_per_rack)
    yield cdu("GenericPoint", loop_l, unit="L", decimals=1, area=("Secondary", "Loop", "Capacity"))
    yield cdu(
        "GenericPoint",
        lambda state: state.conductivity_us_cm,
        unit="uS/cm",
        noise=CONDUCTIVITY_US_CM,
        area=("Secondary", "Conductivity"),
        slow=True,
    )


def _power_gauges(hall: Hall) -> Iterable[Gauge]:
    s, racks = hall.settings, range(len(hall.racks))
    buses = tuple(Place(hall.busway(feed), serves=tuple(hall.tap(rack, feed) for rack in racks)) for feed in range(2))
    taps = tuple(Place(hall.tap(rack, feed), serves=(hall.racks[rack],)) for feed in range(2) for rack in racks)
    meter = partial(Gauge, "PowerMeter", buses + taps)
    breakers_a = hall.breakers_a
    breakers_kw = breakers_a * s.voltage_v * math.sqrt(3.0) / 1000.0

    def with_buses(by_tap: Floats) -> Floats:
        """What two feeds carry, by rack and feed: the sums, then feed A's taps, then feed B's."""
        taps_first = np.swapaxes(by_tap, -1, -2)
        return np.concatenate([taps_first.sum(axis=-1), taps_first.reshape(*by_tap.shape[:-2], -1)], axis=-1)

    def phase_kw(state: State, phase: int) -> Floats:
        return with_buses(state.rack_kw[..., None] * state.power_share[..., phase, :, :])

    def kw(state: State) -> Floats:
        return with_buses(state.rack_kw[..., None] * state.power_share.sum(axis=-3))

    def fed(state: State) -> Floats:
        """By meter: 1 where there is voltage, 0 where there is none. A tap's meter sits before its breaker."""
        by_tap = state.live.max(axis=-3)
        taps_first = np.swapaxes(by_tap, -1, -2)
        return np.concatenate(
            [taps_first.max(axis=-1), taps_first.reshape(*by_tap.shape[:-2], -1)], axis=-1, dtype=np.float64
        )

    def volts(state: State) -> Floats:
        return s.voltage_v * (1.0 - 0.01 * kw(state) / breakers_kw) * fed(state)

    def line_a(power_kw: Floats, state: State) -> Floats:
        # What is not fed draws nothing at whatever voltage.
        return line_current_a(power_kw, np.maximum(volts(state), 1.0), factors) * fed(state)

    factors = np.full(len(breakers_a), hall.POWER_FACTOR)
    power = partial(meter, decimals=2, noise_share=POWER_SHARE)
    yield power("ActivePower", kw, unit="kW")
    yield power("ApparentPower", lambda state: kw(state) / hall.POWER_FACTOR, unit="kVA", slow=True)
    yield power("Current", lambda state: line_a(kw(state), state), unit="A")
    for phase, name in enumerate("ABC"):
        read = partial(phase_kw, phase=phase)
        yield power("PhaseCurrent", partial(_phase_a, read, line_a), unit="A", phase=name)
    yield meter("Voltage", volts, unit="V", decimals=1, noise_share=0.0005, slow=True)
    yield meter("PowerFactor", lambda state: factors * fed(state), decimals=3, noise_share=0.001, slow=True)
    yield meter(
        "Frequency", lambda state: s.frequency_hz * fed(state), unit="Hz", decimals=2, noise_share=1e-4, slow=True
    )
    yield meter("CurrentLimit", _always(breakers_a), unit="A")


def _phase_a(read: Callable[[State], Floats], line_a: Callable[[Floats, State], Floats], state: State) -> Floats:
    """Current of a phase: that of three like it."""
    return line_a(3.0 * read(state), state)


def _room_gauges(hall: Hall) -> Iterable[Gauge]:
    s = hall.settings
    room = partial(Gauge, "Sensor", (Place(f"{s.prefix}-ENV"),), slow=True)
    cold, hot = (s.name, "ColdAisle"), (s.name, "HotAisle")

    def hot_c(state: State) -> Floats:
        warmer_k = HOT_AISLE_K_KW * s.air_share * state.other_heat_kw.mean(axis=-1)
        return np.asarray(state.room_c + warmer_k)[..., None]

    def humidity(of_air: Callable[[State], Floats]) -> Callable[[State], Floats]:
        # Air that is colder than its dew point is a mist.
        return lambda state: np.minimum(relative_humidity_pct(of_air(state), np.asarray(state.dew_c)[..., None]), 100.0)

    def cold_c(state: State) -> Floats:
        return np.asarray(state.room_c)[..., None]

    for air, area in ((cold_c, cold), (hot_c, hot)):
        yield room("AirTemperature", air, unit="C", decimals=2, noise=TEMPERATURE_K, area=area)
        yield room("AirRelativeHumidity", humidity(air), unit="%RH", decimals=1, noise=0.2, area=area, percent=True)
    ropes = tuple(Place(f"{s.prefix}-ROPE-{number + 1}") for number in range(len(hall.cdus)))
    floor = partial(Gauge, "Sensor", ropes, "LeakDetect", states=NO_LEAK, area=(s.name, "Floor"))
    yield floor(lambda state: state.floor_wet.astype(float))


def _always(value: float | Floats, count: int = 1) -> Callable[[State], Floats]:
    """The same at every moment."""
    values = np.full(count, value) if isinstance(value, float) else value
    return lambda state: np.broadcast_to(values, (*np.shape(state.time_s), len(values)))


def _pump_pct(state: State, pump: int) -> Floats:
    return 100.0 * state.speed[..., pump]


def _pump_able(state: State, pump: int) -> Floats:
    return (~state.unable[..., pump]).astype(float)
