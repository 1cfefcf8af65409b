"""The plant: one state of mass, energy and hydraulics behind every signal, and the step that moves it on.

Each CDU drives one loop: pump, exchanger, two lengths of supply pipe, its racks side by side, two lengths of return.
The reservoir hangs on the return, with a closed cushion of gas over it. Flow and pressure settle at once (the pumps'
speed is what takes time); heat moves with the liquid through well-mixed lengths; every GPU is a die on a cold plate.

Lives here: State, Load, Effects, `steady` and `step`, all pure. Not here: what loads the racks (workload.py), what
breaks (faults.py), what sensors make of it (sensors.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcim.physics.fluids import PG25
from dcim.physics.heat import counterflow_effectiveness
from dcim.physics.hydraulics import pump_head_kpa
from dcim.sim.hall import Bools, Floats, Hall

SUBSTEP_S = 0.25
"""Longest stretch that is computed at once: well under the transit of the smallest volume (3 s) and the die (1.3 s)."""

PUMP_START_S = 3.0
"""From the duty pump's failing until the standby gets its start."""
PUMP_RAMP_PER_S = 0.16
"""Speed that a drive puts on in a second, of full speed."""
PUMP_COAST_S = 1.2
"""Time constant of a pump that runs out."""
PUMP_SPEED_MIN = 0.3
DROP_CONTROL_S = 30.0
"""Time constant with which the pump speed corrects the differential pressure."""
VALVE_STROKE_S = 60.0
"""The primary valve's way from shut to open."""
VALVE_GAIN_PER_K = 0.08
VALVE_RESET_S = 40.0
"""Proportional gain and reset time of the controller that holds the supply temperature by the primary valve."""
VALVE_MIN = 0.05
LEVEL_TRIP_PCT = 3.0
"""Below this level the pumps are stopped, so that they do not run dry."""
BYPASS_SHARE = 0.02
"""Of the return, what passes through the reservoir to be rid of its air."""
FILL_C = 22.0
"""Temperature of the make-up liquid."""
ROPE_L = 1.3
"""What must have pooled before the leak rope in a rack is wet, unless a fault says otherwise."""
POOL_L = 2.0
"""What stays in the rack's pan, or as much as reaches the rope; the rest runs to the drain."""
DRYING_LPM = 1.0
"""How fast a pool is mopped up once nothing runs into it."""
OTHER_S = 17.0
"""Time constant of the heat of all that is not a GPU."""
PLATE_EXPONENT = 0.8
"""A cold plate's conductance goes with its flow to this power (turbulent)."""
THROTTLE_PER_K, THROTTLE_LEAST = 0.1, 0.3
"""A hot GPU gives up this share of its power per kelvin, down to the least."""
ROOM_C = 23.0
ROOM_KW_K = 20.0
ROOM_KJ_K = 800.0
"""Air: what the room's coolers hold without load, how hard they pull, and what the air and the walls store."""


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What is asked of the hall at one moment."""

    gpu_kw: Floats
    """By rack and GPU: what each would draw if nothing held it back."""
    other_kw: Floats
    """By rack: everything in it that is not a GPU."""
    facility_c: float
    """Facility water where it enters the CDUs."""
    dew_c: float
    """Dew point of the room's air."""


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What faults and hands do to the plant at one moment. `Effects.none` does nothing."""

    tripped: Bools
    """By CDU and pump: cannot run."""
    leak_lpm: Floats
    """By rack: size of a leak at its supply manifold, told at the pressure of a good day."""
    rope_l: Floats
    """By rack: what must have pooled before the rope is wet; says how near to it the leak drips."""
    isolated: Bools
    """By rack: both valves shut."""
    fill: Bools
    """By CDU: somebody fills the reservoir up."""

    @classmethod
    def none(cls, hall: Hall) -> Effects:
        """Nothing is wrong and nobody is at work."""
        cdus, racks = len(hall.cdus), len(hall.racks)
        return cls(
            tripped=np.zeros((cdus, 2), bool),
            leak_lpm=np.zeros(racks),
            rope_l=np.full(racks, ROPE_L),
            isolated=np.zeros(racks, bool),
            fill=np.zeros(cdus, bool),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Energy and mass that have passed since the state was made, by CDU and its racks; kJ and kg. Energy that moves
    with liquid is counted from 0 °C."""

    drawn_kj: Floats
    to_air_kj: Floats
    to_coolant_kj: Floats
    to_facility_kj: Floats
    leaked_kj: Floats
    filled_kj: Floats
    leaked_kg: Floats
    filled_kg: Floats


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The whole plant at one moment. Arrays by CDU, by rack, or by rack and GPU; nobody writes into them."""

    time_s: float
    # what is stored
    pipe_c: Floats
    """By CDU: exchanger, supply 1, supply 2, return 1, return 2."""
    rack_c: Floats
    die_c: Floats
    plate_c: Floats
    other_heat_kw: Floats
    tank_c: Floats
    coolant_kg: Floats
    """By CDU: all liquid in loop and reservoir."""
    room_c: float
    dew_c: float
    pool_l: Floats
    wet: Bools
    # what is set
    speed: Floats
    """By CDU and pump, 0 to 1."""
    unable: Bools
    """By CDU and pump: tripped, or stopped because the reservoir is empty."""
    command: Floats
    """By CDU: speed that the duty pump is asked for."""
    duty: npt.NDArray[np.intp]
    """By CDU: which pump should run."""
    waiting_s: Floats
    """By CDU: for how long the duty pump has been unable to run."""
    valve: Floats
    """By CDU: primary valve, 0 to 1."""
    valve_reset: Floats
    filling: Bools
    isolated: Bools
    # what follows at once
    return_lpm: Floats
    """By rack: flow that leaves it."""
    leak_lpm: Floats
    drop_kpa: Floats
    """By CDU: between supply and return header, and so over its racks."""
    suction_kpa: Floats
    """By CDU: gauge pressure of the return at the pump."""
    tank_l: Floats
    facility_c: float
    primary_lpm: Floats
    primary_out_c: Floats
    exchanged_kw: Floats
    gpu_kw: Floats
    gpu_capped: Bools
    """By rack and GPU: held at its power limit."""
    other_kw: Floats
    account: Account

    @property
    def supply_lpm(self) -> Floats:
        """By rack: flow that enters it; more than leaves it when it leaks."""
        return self.return_lpm + self.leak_lpm

    @property
    def rack_kw(self) -> Floats:
        """By rack: electrical power."""
        power_kw: Floats = self.gpu_kw.sum(axis=1) + self.other_kw
        return power_kw


def step(hall: Hall, state: State, load: Load, effects: Effects, dt_s: float) -> State:
    """The state dt_s seconds later under a load and effects that hold all that time. Pure; any dt_s above 0 will do."""
    substeps = max(1, math.ceil(dt_s / SUBSTEP_S - 1e-9))
    for _ in range(substeps):
        state = _substep(hall, state, load, effects, dt_s / substeps)
    return state


def steady(hall: Hall, load: Load) -> State:
    """The healthy state that this load leads to and stays in: set-points met, level normal, pump 1 on duty."""
    s = hall.settings
    cdus = len(hall.cdus)
    drop_kpa = np.full(cdus, s.rack_drop_kpa)
    return_lpm = hall.conductance * s.rack_drop_kpa ** (1.0 / hall.EXPONENT)
    loop_lpm = hall.by_cdu(return_lpm)
    head_kpa = drop_kpa + hall.cdu_restriction * loop_lpm**hall.EXPONENT
    command = np.minimum(np.sqrt((head_kpa + hall.pump_slope * loop_lpm**2) / hall.PUMP_SHUTOFF_KPA), 1.0)

    gpu_kw = np.minimum(load.gpu_kw, s.gpu_power_kw)
    heat_kw = gpu_kw.sum(axis=1) + load.other_kw * (1.0 - s.air_share)
    rack_c = s.supply_c + heat_kw / (return_lpm / 60.0 * hall.heat_kj_l_k)
    mixed_c = hall.by_cdu(return_lpm * rack_c) / loop_lpm
    exchanged_kw = hall.by_cdu(heat_kw)
    low, high = np.full(cdus, VALVE_MIN), np.ones(cdus)
    for _ in range(50):
        valve = (low + high) / 2.0
        more = _exchange(hall, valve, loop_lpm, mixed_c, load.facility_c)[0] < exchanged_kw
        low, high = np.where(more, valve, low), np.where(more, high, valve)
    _, primary_lpm, primary_out_c = _exchange(hall, valve, loop_lpm, mixed_c, load.facility_c)

    plate_c = s.supply_c + gpu_kw * 1000.0 / _plate_w_k(hall, return_lpm)
    pipe_c = np.repeat(np.array([[s.supply_c] * 3 + [0.0] * 2]), cdus, axis=0)
    pipe_c[:, 3:] = mixed_c[:, None]
    tank_l = np.full(cdus, s.reservoir_l * s.reservoir_normal_pct / 100.0)
    return State(
        time_s=0.0,
        pipe_c=pipe_c,
        rack_c=rack_c,
        die_c=plate_c + gpu_kw * 1000.0 * hall.die_k_w,
        plate_c=plate_c,
        other_heat_kw=load.other_kw.copy(),
        tank_c=mixed_c,
        coolant_kg=_pipes_kg(hall, pipe_c, rack_c) + tank_l * _density(mixed_c) / 1000.0,
        room_c=ROOM_C + float((load.other_kw * s.air_share).sum()) / ROOM_KW_K,
        dew_c=load.dew_c,
        pool_l=np.zeros(s.racks),
        wet=np.zeros(s.racks, bool),
        speed=np.stack([command, np.zeros(cdus)], axis=1),
        unable=np.zeros((cdus, 2), bool),
        command=command,
        duty=np.zeros(cdus, np.intp),
        waiting_s=np.zeros(cdus),
        valve=valve,
        valve_reset=valve,
        filling=np.zeros(cdus, bool),
        isolated=np.zeros(s.racks, bool),
        return_lpm=return_lpm,
        leak_lpm=np.zeros(s.racks),
        drop_kpa=drop_kpa,
        suction_kpa=_suction_kpa(hall, tank_l),
        tank_l=tank_l,
        facility_c=load.facility_c,
        primary_lpm=primary_lpm,
        primary_out_c=primary_out_c,
        exchanged_kw=exchanged_kw,
        gpu_kw=gpu_kw,
        gpu_capped=load.gpu_kw > s.gpu_power_kw,
        other_kw=load.other_kw,
        account=Account(*(np.zeros(cdus) for _ in range(8))),
    )


def stored_in_coolant_kj(hall: Hall, state: State) -> Floats:
    """Heat in loop and reservoir, by CDU, counted from 0 °C."""
    litre_kelvin = (hall.pipe_l * state.pipe_c).sum(axis=1) + hall.by_cdu(hall.RACK_L * state.rack_c)
    stored_kj: Floats = hall.heat_kj_l_k * (litre_kelvin + state.tank_l * state.tank_c)
    return stored_kj


def stored_in_racks_kj(hall: Hall, state: State) -> Floats:
    """Heat in dies, plates and all other metal, by CDU, counted from 0 °C."""
    gpus_kj = (hall.DIE_J_K * state.die_c + hall.PLATE_J_K * state.plate_c).sum(axis=1) / 1000.0
    return hall.by_cdu(gpus_kj + OTHER_S * state.other_heat_kw)


def _substep(hall: Hall, was: State, load: Load, effects: Effects, h: float) -> State:
    s = hall.settings
    level_pct = 100.0 * was.tank_l / s.reservoir_l
    unable = effects.tripped | (level_pct < LEVEL_TRIP_PCT)[:, None]
    speed, duty, waiting_s = _drive(was, unable, h)
    return_lpm, drop_kpa = _flow(hall, speed.max(axis=1), effects.isolated)
    command = _command(hall, was.command, speed, duty, drop_kpa, h)

    # what leaves and what comes in
    pressed = np.maximum((was.suction_kpa + drop_kpa)[hall.cdu_of_rack], 0.0) / hall.leak_reference_kpa
    can_leak = ~effects.isolated & (was.tank_l > 0.0)[hall.cdu_of_rack]
    leak_lpm = np.where(can_leak, effects.leak_lpm * np.sqrt(pressed), 0.0)
    pool_l = np.clip(
        was.pool_l + np.where(leak_lpm > 0.0, leak_lpm, -DRYING_LPM) * h / 60.0, 0.0, np.maximum(POOL_L, effects.rope_l)
    )
    filling = _filling(hall, was.filling, level_pct, effects.fill)
    fill_lpm = np.where(filling, s.fill_lpm, 0.0)

    # heat from the racks into coolant and air
    gpu_kw = _gpu_kw(hall, was.die_c, load.gpu_kw)
    die_to_plate_kw = (was.die_c - was.plate_c) / hall.die_k_w / 1000.0
    inlet_c = was.pipe_c[:, 2][hall.cdu_of_rack]
    plate_to_liquid_kw = _plate_w_k(hall, return_lpm) * (was.plate_c - inlet_c[:, None]) / 1000.0
    rack_to_liquid_kw = plate_to_liquid_kw.sum(axis=1) + was.other_heat_kw * (1.0 - s.air_share)
    air_kw = was.other_heat_kw * s.air_share

    # heat with the liquid around the loop; flows in L/s
    through = return_lpm / 60.0
    back, lost = hall.by_cdu(through), hall.by_cdu(leak_lpm) / 60.0
    pumped, bypass = back + lost, BYPASS_SHARE * back
    drawn_c = _mix((back - bypass) * was.pipe_c[:, 4] + (bypass + lost) * was.tank_c, pumped, was.pipe_c[:, 4])
    mixed_c = _mix(hall.by_cdu(through * was.rack_c), back, was.pipe_c[:, 3])
    exchanged_kw, primary_lpm, primary_out_c = _exchange(hall, was.valve, 60.0 * pumped, drawn_c, load.facility_c)
    upstream_c = np.column_stack([drawn_c, was.pipe_c[:, 0], was.pipe_c[:, 1], mixed_c, was.pipe_c[:, 3]])
    moving = np.column_stack([pumped, pumped, pumped, back, back])
    pipe_c = was.pipe_c + h * moving * (upstream_c - was.pipe_c) / hall.pipe_l
    pipe_c[:, 0] -= h * exchanged_kw / (hall.heat_kj_l_k * hall.pipe_l[:, 0])
    rack_c = was.rack_c + h / hall.RACK_L * (through * (inlet_c - was.rack_c) + rack_to_liquid_kw / hall.heat_kj_l_k)
    into_tank = bypass * (was.pipe_c[:, 4] - was.tank_c) + fill_lpm / 60.0 * (FILL_C - was.tank_c)
    tank_c = was.tank_c + h * into_tank / np.maximum(was.tank_l, 1.0)  # an empty tank has no temperature of its own

    # mass, and the level and pressure that follow from it
    leaked_kg = hall.by_cdu(leak_lpm * _density(inlet_c)) * h / 60_000.0
    filled_kg = fill_lpm * _density(np.full_like(tank_c, FILL_C)) * h / 60_000.0
    coolant_kg = was.coolant_kg + filled_kg - leaked_kg
    tank_l = np.maximum((coolant_kg - _pipes_kg(hall, pipe_c, rack_c)) / _density(tank_c) * 1000.0, 0.0)

    valve, valve_reset = _steer(hall, was, 60.0 * pumped, h)
    account = was.account
    return State(
        time_s=was.time_s + h,
        pipe_c=pipe_c,
        rack_c=rack_c,
        die_c=was.die_c + h * (gpu_kw - die_to_plate_kw) * 1000.0 / hall.DIE_J_K,
        plate_c=was.plate_c + h * (die_to_plate_kw - plate_to_liquid_kw) * 1000.0 / hall.PLATE_J_K,
        other_heat_kw=was.other_heat_kw + h * (load.other_kw - was.other_heat_kw) / OTHER_S,
        tank_c=tank_c,
        coolant_kg=coolant_kg,
        room_c=was.room_c + h * (float(air_kw.sum()) - ROOM_KW_K * (was.room_c - ROOM_C)) / ROOM_KJ_K,
        dew_c=load.dew_c,
        pool_l=pool_l,
        wet=(pool_l > 0.0) & (was.wet | (pool_l >= effects.rope_l)),
        speed=speed,
        unable=unable,
        command=command,
        duty=duty,
        waiting_s=waiting_s,
        valve=valve,
        valve_reset=valve_reset,
        filling=filling,
        isolated=effects.isolated,
        return_lpm=return_lpm,
        leak_lpm=leak_lpm,
        drop_kpa=drop_kpa,
        suction_kpa=_suction_kpa(hall, tank_l),
        tank_l=tank_l,
        facility_c=load.facility_c,
        primary_lpm=primary_lpm,
        primary_out_c=primary_out_c,
        exchanged_kw=exchanged_kw,
        gpu_kw=gpu_kw,
        gpu_capped=load.gpu_kw > s.gpu_power_kw,
        other_kw=load.other_kw,
        account=Account(
            drawn_kj=account.drawn_kj + h * hall.by_cdu(gpu_kw.sum(axis=1) + load.other_kw),
            to_air_kj=account.to_air_kj + h * hall.by_cdu(air_kw),
            to_coolant_kj=account.to_coolant_kj + h * hall.by_cdu(rack_to_liquid_kw),
            to_facility_kj=account.to_facility_kj + h * exchanged_kw,
            leaked_kj=account.leaked_kj + h * hall.heat_kj_l_k * hall.by_cdu(leak_lpm * inlet_c) / 60.0,
            filled_kj=account.filled_kj + h * hall.heat_kj_l_k * fill_lpm * FILL_C / 60.0,
            leaked_kg=account.leaked_kg + leaked_kg,
            filled_kg=account.filled_kg + filled_kg,
        ),
    )


def _drive(was: State, unable: Bools, h: float) -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    """Speeds, which pump is on duty, and for how long it has been unable to run. The standby takes over for good."""
    cdu = np.arange(len(was.duty))
    waiting_s = np.where(unable[cdu, was.duty], was.waiting_s + h, 0.0)
    takes_over = (waiting_s >= PUMP_START_S) & ~unable[cdu, 1 - was.duty]
    duty = np.where(takes_over, 1 - was.duty, was.duty)
    wanted = np.zeros_like(was.speed)
    wanted[cdu, duty] = was.command
    wanted[unable] = 0.0
    faster = np.minimum(was.speed + PUMP_RAMP_PER_S * h, wanted)
    slower = wanted + (was.speed - wanted) * math.exp(-h / PUMP_COAST_S)
    return np.where(wanted > was.speed, faster, slower), duty, np.where(takes_over, 0.0, waiting_s)


def _flow(hall: Hall, speed: Floats, isolated: Bools) -> tuple[Floats, Floats]:
    """Flow of each rack (L/min) and pressure across all of a CDU's racks (kPa) at a pump speed: where head and losses
    meet. Only the faster pump of a pair counts, for its head holds the other's check valve shut."""
    n = hall.EXPONENT
    conductance = np.where(isolated, 0.0, hall.conductance)
    open_lpm = np.maximum(hall.by_cdu(conductance), 1e-6)
    racks_restriction = open_lpm**-n
    losses = racks_restriction + hall.cdu_restriction
    shutoff_kpa = pump_head_kpa(np.full_like(speed, hall.PUMP_SHUTOFF_KPA), speed)
    # Newton, from the flow that pump or circuit alone would allow, whichever is less: from above, and never far.
    flow_lpm = np.maximum(np.minimum((shutoff_kpa / hall.pump_slope) ** 0.5, (shutoff_kpa / losses) ** (1.0 / n)), 1e-9)
    for _ in range(6):
        loss_kpa = losses * flow_lpm**n
        excess_kpa = hall.pump_slope * flow_lpm**2 + loss_kpa - shutoff_kpa
        flow_lpm = np.maximum(
            flow_lpm - excess_kpa / (2.0 * hall.pump_slope * flow_lpm + n * loss_kpa / flow_lpm), 1e-9
        )
    drop_kpa = racks_restriction * flow_lpm**n
    return conductance * (flow_lpm / open_lpm)[hall.cdu_of_rack], drop_kpa


def _command(
    hall: Hall, command: Floats, speed: Floats, duty: npt.NDArray[np.intp], drop_kpa: Floats, h: float
) -> Floats:
    """Speed that is asked of the duty pump: corrects the differential pressure, but waits for a starting pump."""
    set_kpa = hall.settings.rack_drop_kpa
    follows = np.take_along_axis(speed, duty[:, None], axis=1)[:, 0] >= command - 0.02
    # ΔP goes with the square of the speed, so a kPa is worth N/(2·ΔP) of speed.
    correction = hall.PUMP_DESIGN_SPEED * (set_kpa - drop_kpa) / (2.0 * set_kpa)
    return np.clip(command + follows * correction * h / DROP_CONTROL_S, PUMP_SPEED_MIN, 1.0)


def _steer(hall: Hall, was: State, loop_lpm: Floats, h: float) -> tuple[Floats, Floats]:
    """Primary valve and its controller's memory. Both hold still while the loop hardly flows: its temperature says
    nothing then."""
    flows = loop_lpm > 0.3 * hall.design_lpm
    too_warm_k = was.pipe_c[:, 0] - hall.settings.supply_c
    reset = np.clip(was.valve_reset + VALVE_GAIN_PER_K * too_warm_k * h / VALVE_RESET_S, VALVE_MIN, 1.0)
    wanted = np.clip(reset + VALVE_GAIN_PER_K * too_warm_k, VALVE_MIN, 1.0)
    moved = was.valve + np.clip(wanted - was.valve, -h / VALVE_STROKE_S, h / VALVE_STROKE_S)
    return np.where(flows, moved, was.valve), np.where(flows, reset, was.valve_reset)


def _exchange(
    hall: Hall, valve: Floats, loop_lpm: Floats, loop_in_c: Floats, facility_c: float
) -> tuple[Floats, Floats, Floats]:
    """Heat that the exchanger passes on (kW), primary flow (L/min) and primary outlet (°C), by CDU."""
    primary_lpm = hall.primary_design_lpm * valve / hall.VALVE_DESIGN
    loop_kw_k = np.maximum(loop_lpm, 1e-6) / 60.0 * hall.heat_kj_l_k
    primary_kw_k = primary_lpm / 60.0 * hall.facility_kj_l_k
    # Both films resist alike at the design point, and each goes with its flow to the power of 0.7.
    films = (np.maximum(loop_lpm, 1e-6) / hall.design_lpm) ** -0.7 + (primary_lpm / hall.primary_design_lpm) ** -0.7
    small_kw_k, large_kw_k = np.minimum(loop_kw_k, primary_kw_k), np.maximum(loop_kw_k, primary_kw_k)
    share = counterflow_effectiveness(2.0 * hall.exchanger_kw_k / films / small_kw_k, small_kw_k / large_kw_k)
    exchanged_kw = share * small_kw_k * (loop_in_c - facility_c)
    return exchanged_kw, primary_lpm, facility_c + exchanged_kw / primary_kw_k


def _gpu_kw(hall: Hall, die_c: Floats, wanted_kw: Floats) -> Floats:
    """What the GPUs draw: no more than their limit, and less where they are too hot."""
    too_hot_k = die_c - (hall.SLOWDOWN_C - 2.0)
    return np.minimum(wanted_kw, hall.settings.gpu_power_kw) * np.clip(
        1.0 - THROTTLE_PER_K * too_hot_k, THROTTLE_LEAST, 1.0
    )


def _plate_w_k(hall: Hall, return_lpm: Floats) -> Floats:
    """Conductance from each cold plate to the coolant's inlet temperature, W/K, at the racks' flows; never more than
    the liquid can carry away."""
    share = return_lpm / hall.settings.rack_flow_lpm
    carried_w_k = 0.95 * return_lpm / 60.0 * hall.heat_kj_l_k * 1000.0 / hall.gpus_per_rack
    return np.minimum(hall.plate_w_k * (share**PLATE_EXPONENT)[:, None], carried_w_k[:, None])


def _filling(hall: Hall, was: Bools, level_pct: Floats, by_hand: Bools) -> Bools:
    """Whether the fill pump runs: from a low level, or a hand, until the level is normal."""
    s = hall.settings
    begins = by_hand & (level_pct < s.reservoir_normal_pct - 1.0)
    if s.fill_below_pct is not None:
        begins |= level_pct < s.fill_below_pct
    return (was | begins) & (level_pct < s.reservoir_normal_pct)


def _suction_kpa(hall: Hall, tank_l: Floats) -> Floats:
    """Gauge pressure at the pump's suction: that of the gas over the reservoir, which obeys Boyle."""
    s = hall.settings
    normal_gas_l = s.reservoir_l * (1.0 - s.reservoir_normal_pct / 100.0)
    return hall.GAS_ABS_KPA * normal_gas_l / np.maximum(s.reservoir_l - tank_l, 1.0) - hall.ATMOSPHERE_KPA


def _pipes_kg(hall: Hall, pipe_c: Floats, rack_c: Floats) -> Floats:
    """What the full pipes and racks hold, by CDU."""
    pipes_g: Floats = (hall.pipe_l * _density(pipe_c)).sum(axis=1)
    return (pipes_g + hall.by_cdu(hall.RACK_L * _density(rack_c))) / 1000.0


def _density(at_c: Floats) -> Floats:
    """kg/m³; beyond the range of the fit, as at its end."""
    return PG25.density_kg_m3(np.clip(at_c, *PG25.range_c))


def _mix(heat: Floats, flow: Floats, otherwise_c: Floats) -> Floats:
    """Temperature of streams that meet; what was there where nothing flows."""
    return np.where(flow > 1e-6, heat / np.maximum(flow, 1e-6), otherwise_c)
