"""Sensors: what is measured where, how well, and what the meters show of a state.

Lives here: the table of gauges, their noise, bias and resolution. Not here: the state (plant.py), topics, payloads and
when a value is sent (bus.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from dcim.physics.electrical import CONTINUOUS_SHARE, apparent_power_kva, line_current_a
from dcim.physics.hydraulics import pressure_drop_kpa
from dcim.physics.psychrometrics import relative_humidity_pct
from dcim.sim.hall import Floats, Hall
from dcim.sim.plant import State
from dcim.sim.workload import dice

TEMPERATURE_K = 0.05
FLOW_SHARE = 0.005
PRESSURE_KPA = 0.5
LEVEL_PCT = 0.5
POWER_SHARE = 0.002
"""Noise of the meters, 1σ: of the value where the name ends in SHARE."""
BIAS = 0.5
"""A meter's own error, which stays, as a share of its noise (1σ)."""

PRIMARY_KPA, PRIMARY_DROP_KPA = 290.0, 60.0
"""Facility water: pressure where it comes in, and what it loses at design flow."""
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


class Sensors:
    """All meters of a hall under one seed. Values come as whole numbers of the meters' last digits."""

    def __init__(self, hall: Hall, seed: int) -> None:
        self.gauges = tuple(_gauges(hall))
        self._seed = seed

        def spread(of: Callable[[Gauge], float]) -> Floats:
            return np.array([of(gauge) for gauge in self.gauges for _ in gauge.places])

        self.decimals = spread(lambda gauge: gauge.decimals).astype(np.int64)
        self._digits: Floats = np.power(10.0, self.decimals)
        self._noise = spread(lambda gauge: gauge.noise)
        self._noise_share = spread(lambda gauge: gauge.noise_share)
        # The meters are part of the hall: another seed is another day, not another set of meters.
        own = hall.settings.spread * BIAS * dice(hall.settings.serial, "bias").standard_normal(len(self._noise))
        self._bias, self._bias_share = own * self._noise, own * self._noise_share

    def true(self, state: State) -> Floats:
        """What is so, by meter: gauges in order, places in order."""
        return np.concatenate([gauge.read(state) for gauge in self.gauges])

    def show(self, state: State) -> npt.NDArray[np.int64]:
        """What the meters show, in units of their last digit: value × 10^decimals."""
        noise = dice(self._seed, "noise", state.time_s).standard_normal(len(self._noise))
        shown = self.true(state)
        shown = shown * (1.0 + self._bias_share + noise * self._noise_share) + self._bias + noise * self._noise
        return np.rint(shown * self._digits).astype(np.int64)


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
    yield celsius("RackLiquidSupplyTemperature", lambda state: state.pipe_c[of, 2])
    yield celsius("RackLiquidReturnTemperature", lambda state: state.rack_c)
    # The meter sits in the return, with the control valve: what leaks at the supply manifold does not pass it.
    yield rack("RackLiquidFlow", lambda state: state.return_lpm, unit="LPM", decimals=1, noise_share=FLOW_SHARE)
    yield kpa("RackLiquidDifferentialPressure", lambda state: state.drop_kpa[of] * ~state.isolated, noise=PRESSURE_KPA)
    yield kpa("RackLiquidDifferentialPressureSp", _always(s.rack_drop_kpa, count), setpoint=True)
    yield rack("RackControlValvePosition", lambda state: hall.rack_valve_pct * ~state.isolated, unit="%", decimals=1)
    yield rack("RackPower", lambda state: state.rack_kw, unit="kW", decimals=2, noise_share=POWER_SHARE)
    yield rack("RackLeakDetect", lambda state: state.wet.astype(float), states=NO_LEAK)
    yield rack("RackLeakSensorFault", _always(0.0, count), states=("NoFault", "Fault"))
    yield rack("RackLeakDetectTray", _always(0.0, count), states=NO_LEAK, integration=INTEGRATION)
    isolated = ("NotIsolated", "Isolated")
    yield rack("RackLiquidIsolationStatus", lambda state: state.isolated.astype(float), states=isolated)
    yield rack("RackElectricalIsolationStatus", _always(0.0, count), states=isolated)


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

    def filter_kpa(state: State) -> Floats:
        return hall.FILTER_SHARE * pressure_drop_kpa(hall.cdu_restriction, pumped_lpm(state), hall.EXPONENT)

    def primary_out_kpa(state: State) -> Floats:
        return PRIMARY_KPA - PRIMARY_DROP_KPA * (state.primary_lpm / hall.primary_design_lpm) ** 2

    yield celsius(lambda state: np.full(count, state.facility_c), area=("Primary", "Inlet"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.primary_out_c, area=("Primary", "Outlet"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.pipe_c[:, 0], area=("Secondary", "Supply"), noise=TEMPERATURE_K)
    yield celsius(lambda state: state.pipe_c[:, 4], area=("Secondary", "Return"), noise=TEMPERATURE_K)
    yield celsius(_always(s.supply_c, count), area=("Secondary", "Supply"), setpoint=True)
    yield lpm(lambda state: state.primary_lpm, area=("Primary",))
    yield lpm(pumped_lpm, area=("Secondary",))
    yield kpa(_always(PRIMARY_KPA, count), area=("Primary", "Inlet"))
    yield kpa(primary_out_kpa, area=("Primary", "Outlet"))
    yield kpa(lambda state: state.suction_kpa + state.drop_kpa, area=("Secondary", "Supply"))
    yield kpa(lambda state: state.suction_kpa, area=("Secondary", "Return"))
    yield across(lambda state: state.drop_kpa, area=("Secondary",), noise=PRESSURE_KPA)
    yield across(_always(s.rack_drop_kpa, count), area=("Secondary",), setpoint=True)
    yield across(filter_kpa, area=("Secondary", "Filter1"), noise=0.1)
    for number in range(2):
        area = ("Secondary", f"Pump{number + 1}")
        yield cdu("PumpSpeed", partial(_pump_pct, pump=number), unit="%", decimals=1, area=area)
        yield pump("Available", partial(_pump_able, pump=number), states=available, area=area)
    yield cdu("PumpSpeed", lambda state: state.filling.astype(float), states=off_on, area=("Fill",))
    yield cdu("ValvePosition", lambda state: 100.0 * state.valve, unit="%", decimals=1, area=("Primary",))
    yield cdu("Status", lambda state: (state.speed.max(axis=1) > 0.05).astype(float), states=off_on)
    yield cdu("Available", lambda state: (~state.unable.all(axis=1)).astype(float), states=available)
    yield cdu("LeakDetect", _always(0.0, count), states=NO_LEAK)
    # The contract has no type for a level; what turns it into litres stands beside it, so that nobody need be told.
    reservoir = partial(tank, "GenericPoint", decimals=1)
    yield reservoir(
        lambda state: 100.0 * state.tank_l / s.reservoir_l,
        unit="%",
        noise=LEVEL_PCT,
        area=("Secondary", "Reservoir", "Level"),
    )
    yield reservoir(_always(s.reservoir_l, count), unit="L", area=("Secondary", "Reservoir", "Capacity"))
    loop_l = hall.racks_of_cdu * s.loop_l_per_rack
    yield cdu("GenericPoint", lambda _: loop_l, unit="L", decimals=1, area=("Secondary", "Loop", "Capacity"))


def _power_gauges(hall: Hall) -> Iterable[Gauge]:
    s, racks = hall.settings, range(len(hall.racks))
    buses = tuple(Place(hall.busway(feed), serves=tuple(hall.tap(rack, feed) for rack in racks)) for feed in range(2))
    taps = tuple(Place(hall.tap(rack, feed), serves=(hall.racks[rack],)) for feed in range(2) for rack in racks)
    meter = partial(Gauge, "PowerMeter", buses + taps)
    shares = np.stack([hall.feed_share, 1.0 - hall.feed_share])
    breakers_a = _breakers_a(hall)

    def kw(state: State) -> Floats:
        by_tap = shares * state.rack_kw
        return np.concatenate([by_tap.sum(axis=1), by_tap.ravel()])

    def volts(state: State) -> Floats:
        return s.voltage_v * (1.0 - 0.01 * kw(state) / breakers_kw)

    def amps(state: State) -> Floats:
        return line_current_a(kw(state), volts(state), factors)

    def phase_amps(state: State, phase: int) -> Floats:
        by_tap = amps(state)[2:].reshape(2, -1) * hall.phase_share[phase].T
        return np.concatenate([by_tap.sum(axis=1), by_tap.ravel()])

    factors = np.full(len(breakers_a), hall.POWER_FACTOR)
    breakers_kw = breakers_a * s.voltage_v * math.sqrt(3.0) / 1000.0
    yield meter("ActivePower", kw, unit="kW", decimals=2, noise_share=POWER_SHARE)
    yield meter(
        "ApparentPower",
        lambda state: apparent_power_kva(kw(state), factors),
        unit="kVA",
        decimals=2,
        noise_share=POWER_SHARE,
    )
    yield meter("Current", amps, unit="A", decimals=2, noise_share=POWER_SHARE)
    for phase, name in enumerate("ABC"):
        read = partial(phase_amps, phase=phase)
        yield meter("PhaseCurrent", read, unit="A", decimals=2, noise_share=POWER_SHARE, phase=name)
    yield meter("Voltage", volts, unit="V", decimals=1, noise_share=0.0005)
    yield meter("PowerFactor", lambda _: factors, decimals=3, noise=0.001)
    yield meter("Frequency", _always(s.frequency_hz, len(factors)), unit="Hz", decimals=2, noise=0.005)
    yield meter("CurrentLimit", lambda _: breakers_a, unit="A")


def _room_gauges(hall: Hall) -> Iterable[Gauge]:
    s = hall.settings
    room = partial(Gauge, "Sensor", (Place(f"{s.prefix}-ENV"),))
    cold, hot = (s.name, "ColdAisle"), (s.name, "HotAisle")

    def hot_c(state: State) -> Floats:
        return np.array([state.room_c + HOT_AISLE_K_KW * float((state.other_heat_kw * s.air_share).mean())])

    def humidity(of_air: Callable[[State], Floats]) -> Callable[[State], Floats]:
        return lambda state: relative_humidity_pct(of_air(state), np.array([state.dew_c]))

    def cold_c(state: State) -> Floats:
        return np.array([state.room_c])

    for air, area in ((cold_c, cold), (hot_c, hot)):
        yield room("AirTemperature", air, unit="C", decimals=2, noise=TEMPERATURE_K, area=area)
        yield room("AirRelativeHumidity", humidity(air), unit="%RH", decimals=1, noise=0.2, area=area)
    ropes = tuple(Place(f"{s.prefix}-ROPE-{number + 1}") for number in range(len(hall.cdus)))
    yield Gauge("Sensor", ropes, "LeakDetect", _always(0.0, len(ropes)), states=NO_LEAK, area=(s.name, "Floor"))


def _always(value: float, count: int) -> Callable[[State], Floats]:
    values = np.full(count, value)
    return lambda _: values


def _pump_pct(state: State, pump: int) -> Floats:
    return 100.0 * state.speed[:, pump]


def _pump_able(state: State, pump: int) -> Floats:
    return (~state.unable[:, pump]).astype(float)


def _breakers_a(hall: Hall) -> Floats:
    """Ratings of busways, then taps: the next size in steps of 50 A at which either feed carries all at 80 %."""
    s = hall.settings
    rack_a = line_current_a(s.rack_power_kw, s.voltage_v, hall.POWER_FACTOR)
    full_a = np.array([len(hall.racks) * rack_a] * 2 + [rack_a] * 2 * len(hall.racks))
    return np.ceil(full_a / CONTINUOUS_SHARE / 50.0) * 50.0
