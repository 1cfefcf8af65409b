"""The plant: one state of mass, energy and hydraulics behind every signal, and the steps that move it on.

Each CDU drives one loop: pump, exchanger, two lengths of supply pipe, its racks side by side, two lengths of return.
The reservoir hangs on the return, with a closed cushion of gas over it. Flow and pressure settle at once (the pumps'
speed is what takes time); heat moves with the liquid through well-mixed lengths; every GPU is a die on a cold plate,
and they follow their power exactly, for as long as it holds.

`step` looks twice a second. `stride` takes ten seconds at once where nothing is quicker than that, and steps
where something is: that is what months are made of. Both go through the same laws.

Lives here: `steady`, `step` and `stride`, all pure. Not here: the shapes (state.py), what loads the racks
(workload.py), what breaks (faults.py), what sensors make of it (sensors.py)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dcim.physics.fluids import PG25
from dcim.physics.hydraulics import pump_head_kpa
from dcim.sim.hall import Bools, Floats, Hall
from dcim.sim.state import Account, Effects, Load, State

SUBSTEP_S = 0.5
"""Longest stretch that `step` computes at once: well under the transit of the smallest volume (3 s) and the die
(1.3 s)."""
STRIDE_S = 10.0
"""Longest stretch that `stride` does."""
LOOP_S = 3.4
"""Longest stretch of it for the liquid and the controller of its temperature."""

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
LEVEL_TRIP_PCT, LEVEL_RESTART_PCT = 3.0, 10.0
"""Below the first level the pumps are stopped, so that they do not run dry; above the second they may run again."""
BYPASS_SHARE = 0.02
"""Of the return, what passes through the reservoir to be rid of its air."""
FILL_C = 22.0
"""Temperature of the make-up liquid."""
FILL_US_CM = 4250.0
"""Its conductivity: mixed on site, a little thinner than what the loop was commissioned with."""
WATER_US_CM = 600.0
"""That of facility water."""
FILL_OVER_L = 0.2
"""The fill pump stops this much over the normal level."""
POOL_L, PAN_DRAIN_LPM = 2.0, 6.0
"""What stays in a rack's pan, or as much as reaches the rope, and what its drain takes; the rest runs to the floor."""
TRAY_WET_L = 0.02
"""What wets the sensor in a tray."""
FLOOR_WET_L, FLOOR_L = 1.0, 20.0
"""What wets the rope on the floor under a CDU's racks, and what stays there; the rest runs to the drain."""
CONDENSE_LPM_K = 0.01
"""Condensate on a CDU's facility pipes, per kelvin by which they are colder than the dew point."""
DRYING_LPM = 1.0
"""How fast a pool is mopped up once nothing runs into it."""
OTHER_S = 17.0
"""Time constant of the heat of all that is not a GPU."""
OTHER_FLOW_SHARE = 0.8
"""Of a rack's flow, what it needs at least to give that heat away as fast."""
OTHER_TOO_HOT = (1.8, 2.3)
"""What is stored in it, against full power at full flow: where it begins to hold back, and where it has stopped."""
PLATE_EXPONENT = 0.8
"""A cold plate's conductance goes with its flow to this power (turbulent)."""
THROTTLE_PER_K, THROTTLE_LEAST = 0.1, 0.3
"""A hot GPU gives up this share of its power per kelvin, down to the least."""
RESTART_C = 50.0
"""A GPU that has switched itself off starts again below this."""
BREAKER_S = 120.0
"""Time constant of a breaker's bimetal."""
BREAKER_TRIP = 1.1
"""It opens for good where the current's root mean square over that time is above this share of its rating."""
ROOM_C = 23.0
ROOM_KW_K = 2.5
ROOM_KJ_K = 100.0
"""Air: what the room's coolers hold without load; for each rack, how hard they pull, and what air and walls store."""


def step(hall: Hall, state: State, load: Load, effects: Effects, dt_s: float) -> State:
    """The state dt_s seconds later under a load and effects that hold all that time. Pure; any dt_s above 0 will do."""
    substeps = max(1, math.ceil(dt_s / SUBSTEP_S - 1e-9))
    for _ in range(substeps):
        state = _advance(hall, state, load, effects, dt_s / substeps)
    return state


def stride(hall: Hall, state: State, load: Load, effects: Effects, dt_s: float) -> State:
    """As `step`, some twenty times as fast, for months at paces of seconds to minutes.

    Where nothing is quick, the pumps' speed, flows and GPUs are computed every STRIDE_S, the liquid every LOOP_S; while
    pumps start or stop, flow is lost, GPUs are about to slow down or a fitting pours out, it steps. How far it
    is from `step` is measured in tests/properties/test_stride.py: mostly hundredths of a kelvin."""
    strides = max(1, math.ceil(dt_s / STRIDE_S - 1e-9))
    for _ in range(strides):
        if _is_calm(hall, state, effects):
            state = _advance(hall, state, load, effects, dt_s / strides, calm=True)
        else:
            state = step(hall, state, load, effects, dt_s / strides)
    return state


def _is_calm(hall: Hall, state: State, effects: Effects) -> bool:
    """Whether nothing happens that is over within seconds."""
    none, at = Effects.none(hall), (hall.every_cdu, state.duty)
    if effects.leak_lpm is not none.leak_lpm and effects.leak_lpm.max() >= 1.0:
        return False
    if effects.tripped is not none.tripped and effects.tripped[at].any():
        return False
    if effects.hand_over is not none.hand_over and ((effects.hand_over >= 0) & (effects.hand_over != state.duty)).any():
        return False
    if effects.isolated is not state.isolated and not np.array_equal(effects.isolated, state.isolated):
        return False
    running = np.zeros_like(state.speed)
    running[at] = state.command
    return bool(
        state.die_c.max() < hall.SLOWDOWN_C - 3.0
        and np.abs(state.speed - running).max() < 0.02
        and (hall.by_cdu(state.return_lpm) > 0.5 * hall.design_lpm).all()
        and not state.unable[at].any()
        and not state.gpu_off.any()
    )


def steady(hall: Hall, load: Load) -> State:
    """The healthy state that this load leads to and stays in: set-points met, level normal, pump 1 on duty."""
    s = hall.settings
    none = Effects.none(hall)
    drop_kpa = np.full(s.cdus, s.rack_drop_kpa)
    return_lpm = hall.conductance * s.rack_drop_kpa ** (1.0 / hall.EXPONENT)
    loop_lpm = hall.by_cdu(return_lpm)
    head_kpa = drop_kpa + hall.cdu_restriction * loop_lpm**hall.EXPONENT
    command = np.minimum(np.sqrt((head_kpa + hall.pump_slope * loop_lpm**2) / hall.PUMP_SHUTOFF_KPA), 1.0)

    gpu_kw = np.minimum(load.gpu_kw, s.gpu_power_kw)
    heat_kw = gpu_kw.sum(axis=1) + load.other_kw * (1.0 - s.air_share)
    rack_c = s.supply_c + heat_kw / (return_lpm / 60.0 * hall.heat_kj_l_k)
    mixed_c = hall.by_cdu(return_lpm * rack_c) / loop_lpm
    exchanged_kw = hall.by_cdu(heat_kw)
    facility_c = np.full(s.cdus, load.facility_c)
    low, high = np.full(s.cdus, VALVE_MIN), np.ones(s.cdus)
    exchange = _exchanger(hall, none, loop_lpm, facility_c)
    for _ in range(50):
        valve = (low + high) / 2.0
        more = exchange(valve, mixed_c)[0] < exchanged_kw
        low, high = np.where(more, valve, low), np.where(more, high, valve)
    _, primary_lpm, primary_out_c = exchange(valve, mixed_c)

    plate_c = s.supply_c + gpu_kw * 1000.0 / _plate_w_k(hall, none, return_lpm)
    pipe_c = np.repeat(np.array([[s.supply_c] * 3 + [0.0] * 2]), s.cdus, axis=0)
    pipe_c[:, 3:] = mixed_c[:, None]
    tank_l = np.full(s.cdus, s.reservoir_l * s.reservoir_normal_pct / 100.0)
    never = np.zeros_like(gpu_kw)
    return State(
        time_s=0.0,
        pipe_c=pipe_c,
        rack_c=rack_c,
        die_c=plate_c + gpu_kw * 1000.0 * hall.die_k_w,
        plate_c=plate_c,
        other_heat_kw=load.other_kw.copy(),
        tank_c=mixed_c,
        coolant_kg=_liquid_kg(hall, pipe_c, rack_c) + tank_l * _density(mixed_c) / 1000.0,
        conductivity_us_cm=np.full(s.cdus, s.conductivity_us_cm),
        room_c=ROOM_C + float((load.other_kw * s.air_share).mean()) / ROOM_KW_K,
        dew_c=load.dew_c,
        **_dry(hall),
        soft_s=never,
        hard_s=never,
        capped_s=never,
        breaker_warmth=np.zeros((s.racks, 2)),
        speed=np.stack([command, np.zeros(s.cdus)], axis=1),
        unable=np.zeros((s.cdus, 2), bool),
        command=command,
        duty=np.zeros(s.cdus, np.intp),
        waiting_s=np.zeros(s.cdus),
        valve=valve,
        valve_wanted=valve,
        valve_reset=valve,
        setpoint_c=np.full(s.cdus, s.supply_c),
        filling=np.zeros(s.cdus, bool),
        isolated=none.isolated,
        breaker_open=np.zeros((s.racks, 2), bool),
        gpu_off=never > 0,
        gpu_limit_kw=none.gpu_limit_kw,
        return_lpm=return_lpm,
        leak_lpm=none.leak_lpm,
        drop_kpa=drop_kpa,
        filter_kpa=hall.FILTER_SHARE * (head_kpa - drop_kpa),
        suction_kpa=_suction_kpa(hall, none, tank_l),
        tank_l=tank_l,
        facility_c=facility_c,
        primary_lpm=primary_lpm,
        primary_out_c=primary_out_c,
        exchanged_kw=exchanged_kw,
        gpu_kw=gpu_kw,
        gpu_capped=load.gpu_kw > s.gpu_power_kw,
        other_kw=load.other_kw,
        rack_kw=gpu_kw.sum(axis=1) + load.other_kw,
        power_share=hall.power_share,
        live=none.live,
        account=Account.of(s.cdus),
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


def _advance(hall: Hall, was: State, load: Load, effects: Effects, h: float, *, calm: bool = False) -> State:
    """The state h seconds later, all at once but for liquid and valves. calm: what `_is_calm` said, and then some of
    it need not be reckoned."""
    s = hall.settings
    level_pct = 100.0 * was.tank_l / s.reservoir_l
    dry = (level_pct < LEVEL_TRIP_PCT) | (was.unable.all(axis=1) & (level_pct < LEVEL_RESTART_PCT))
    unable = effects.tripped | dry[:, None]
    if calm:
        speed, duty, waiting_s = np.zeros_like(was.speed), was.duty, was.waiting_s
        speed[hall.every_cdu, duty] = was.command
    else:
        speed, duty, waiting_s = _drive(was, unable, effects.hand_over, h)
    flow = _flow(hall, effects, speed, was)
    follows = calm or speed[hall.every_cdu, duty] >= was.command - 0.02
    command = _command(hall, was.command, follows, flow.drop_kpa, h)
    facility_c = load.facility_c + effects.facility_warmer_k

    # what leaves and what comes in
    leak = _leak(hall, was, effects, flow.drop_kpa)
    filling = _filling(hall, was.filling, level_pct, effects.fill)
    normal_l = s.reservoir_l * s.reservoir_normal_pct / 100.0
    room_lpm = np.maximum(normal_l + FILL_OVER_L - was.tank_l, 0.0) * 60.0 / h
    fill_lpm = np.where(filling, np.minimum(s.fill_lpm, room_lpm), 0.0)
    seep_lpm = _seep_lpm(hall, effects, was)

    # electricity, and heat from the racks into coolant and air
    power_share, breaker_open = _feed(hall, was, effects)
    supplied = None if power_share is hall.power_share else np.minimum(power_share.sum(axis=(0, 2)), 1.0)
    gpus = _power(hall, was, load, effects, supplied, h, calm=calm)
    other = _other(hall, was, load, effects, supplied, flow.return_lpm, h)
    rack_kw = gpus.kw.sum(axis=1) + other.kw
    die_c, plate_c, gpu_heat_kw = _warm_up(hall, effects, was, gpus.kw, flow.return_lpm, h)
    rack_heat_kw = gpu_heat_kw + other.to_liquid_kw

    # heat with the liquid around the loop
    liquid = _carry(hall, effects, was, flow.return_lpm, leak.lpm, fill_lpm, seep_lpm, rack_heat_kw, facility_c, h)

    # mass, and the level and pressure that follow from it
    lost_lpm = hall.by_cdu(leak.lpm) + effects.drain_lpm
    leaked_kg = lost_lpm * _density(was.pipe_c[:, 2]) * h / 60_000.0
    filled_kg = fill_lpm * _FILL_KG_L * h / 60.0
    seeped_kg = seep_lpm * h / 60.0  # a litre of water, or what coolant a litre is there: taken as a kilogram
    coolant_kg = was.coolant_kg + filled_kg + seeped_kg - leaked_kg
    in_tank_kg = coolant_kg - _liquid_kg(hall, liquid.pipe_c, liquid.rack_c)
    tank_l = np.maximum(in_tank_kg / _density(liquid.tank_c) * 1000.0 + effects.trapped_l, 0.0)
    fresh = fill_lpm * (FILL_US_CM - was.conductivity_us_cm)
    fresh += np.maximum(seep_lpm, 0.0) * (WATER_US_CM - was.conductivity_us_cm)

    pools = _gather(hall, was, effects, leak, facility_c, h)
    room_c = ROOM_C + effects.room_warmer_k + float(other.to_air_kw.mean()) / ROOM_KW_K
    return State(
        time_s=was.time_s + h,
        pipe_c=liquid.pipe_c,
        rack_c=liquid.rack_c,
        die_c=die_c,
        plate_c=plate_c,
        other_heat_kw=other.heat_kw,
        tank_c=liquid.tank_c,
        coolant_kg=coolant_kg,
        conductivity_us_cm=was.conductivity_us_cm + fresh * h / 60.0 / (coolant_kg * _L_KG),
        room_c=room_c + (was.room_c - room_c) * math.exp(-h * ROOM_KW_K / ROOM_KJ_K),
        dew_c=load.dew_c + effects.dew_higher_k,
        **pools,
        soft_s=gpus.soft_s,
        hard_s=gpus.hard_s,
        capped_s=gpus.capped_s,
        breaker_warmth=_breaker_warmth(hall, was.breaker_warmth, rack_kw, power_share, h),
        speed=speed,
        unable=unable,
        command=command,
        duty=duty,
        waiting_s=waiting_s,
        valve=liquid.valve,
        valve_wanted=liquid.valve_wanted,
        valve_reset=liquid.valve_reset,
        setpoint_c=s.supply_c + effects.setpoint_k,
        filling=filling,
        isolated=effects.isolated,
        breaker_open=breaker_open,
        gpu_off=gpus.off,
        gpu_limit_kw=gpus.limit_kw,
        return_lpm=flow.return_lpm,
        leak_lpm=leak.lpm,
        drop_kpa=flow.drop_kpa,
        filter_kpa=flow.filter_kpa,
        suction_kpa=_suction_kpa(hall, effects, tank_l),
        tank_l=tank_l,
        facility_c=facility_c,
        primary_lpm=liquid.primary_lpm,
        primary_out_c=liquid.primary_out_c,
        exchanged_kw=liquid.exchanged_kw,
        gpu_kw=gpus.kw,
        gpu_capped=gpus.capped,
        other_kw=other.kw,
        rack_kw=rack_kw,
        power_share=power_share,
        live=effects.live,
        account=was.account.plus(
            drawn_kj=h * hall.by_cdu(rack_kw),
            to_air_kj=h * hall.by_cdu(other.to_air_kw),
            to_coolant_kj=h * hall.by_cdu(rack_heat_kw),
            to_facility_kj=h * liquid.exchanged_kw,
            leaked_kj=liquid.leaked_kj,
            filled_kj=h * hall.heat_kj_l_k * fill_lpm * FILL_C / 60.0,
            seeped_kj=liquid.seeped_kj,
            leaked_kg=leaked_kg,
            filled_kg=filled_kg,
            seeped_kg=seeped_kg,
        ),
        distortions=effects.distortions,
        offline=effects.offline,
    )


# Hydraulics.


class _Flow(NamedTuple):
    return_lpm: Floats
    """By rack."""
    drop_kpa: Floats
    """By CDU, over its racks."""
    filter_kpa: Floats


def _drive(
    was: State, unable: Bools, hand_over: npt.NDArray[np.intp], h: float
) -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    """Speeds, which pump is on duty, and for how long it has been unable to run. The standby takes over for good."""
    cdu = np.arange(len(was.duty))
    waiting_s = np.where(unable[cdu, was.duty], was.waiting_s + h, 0.0)
    takes_over = (waiting_s >= PUMP_START_S) & ~unable[cdu, 1 - was.duty]
    # A pump that is relieved runs on until the other one has caught up with it.
    relieved = (hand_over == 1 - was.duty) & ~unable[cdu, 1 - was.duty]
    caught_up = relieved & (was.speed[cdu, 1 - was.duty] >= was.command - 0.005)
    duty = np.where(takes_over | caught_up, 1 - was.duty, was.duty)
    wanted = np.zeros_like(was.speed)
    wanted[cdu, duty] = was.command
    wanted[cdu, 1 - duty] = np.where(relieved & ~caught_up, was.command, 0.0)
    wanted[unable] = 0.0
    faster = np.minimum(was.speed + PUMP_RAMP_PER_S * h, wanted)
    slower = wanted + (was.speed - wanted) * math.exp(-h / PUMP_COAST_S)
    return np.where(wanted > was.speed, faster, slower), duty, np.where(takes_over, 0.0, waiting_s)


def _flow(hall: Hall, effects: Effects, speed: Floats, was: State) -> _Flow:
    """Flow of each rack (L/min) and pressure across all of a CDU's racks (kPa) at the pumps' speeds: where head and
    losses meet. Only the faster pump of a pair counts, for its head holds the other's check valve shut."""
    pulling = (speed * (1.0 - effects.pump_wear)).max(axis=1)
    shutoff_kpa = pump_head_kpa(np.full_like(pulling, hall.PUMP_SHUTOFF_KPA), pulling) * (1.0 + effects.stir)
    conductance = hall.conductance
    if effects.branch_factor is not Effects.none(hall).branch_factor:
        conductance = conductance * _open_share(hall, _branches(hall, effects))
    if effects.isolated.any():
        conductance = np.where(effects.isolated, 0.0, conductance)
    lost_lpm = hall.by_cdu(was.leak_lpm)  # a leak takes its flow through the pump, and none through the racks
    return _balance(hall, *(part.tobytes() for part in (shutoff_kpa, conductance, effects.filter_factor, lost_lpm)))


@lru_cache(maxsize=16)
def _balance(hall: Hall, shutoff: bytes, conductances: bytes, filters: bytes, lost: bytes) -> _Flow:
    """Where head and losses meet, for arrays as bytes: mostly they are what they were, and then so is the answer."""
    shutoff_kpa, conductance = np.frombuffer(shutoff), np.frombuffer(conductances)
    n, lost_lpm = hall.EXPONENT, np.frombuffer(lost)
    open_lpm = np.maximum(hall.by_cdu(conductance), 1e-6)
    racks_restriction = open_lpm**-n
    filter_restriction = hall.FILTER_SHARE * hall.cdu_restriction * np.frombuffer(filters)
    cdu_restriction = (1.0 - hall.FILTER_SHARE) * hall.cdu_restriction + filter_restriction
    losses = racks_restriction + cdu_restriction
    # Newton, from the flow that pump or circuit alone would allow, whichever is less: from above, and never far.
    flow_lpm = np.maximum(np.minimum((shutoff_kpa / hall.pump_slope) ** 0.5, (shutoff_kpa / losses) ** (1.0 / n)), 1e-9)
    for _ in range(12):
        pumped_lpm = flow_lpm + lost_lpm
        racks_kpa, cdu_kpa = racks_restriction * flow_lpm**n, cdu_restriction * pumped_lpm**n
        excess_kpa = hall.pump_slope * pumped_lpm**2 + racks_kpa + cdu_kpa - shutoff_kpa
        slope = 2.0 * hall.pump_slope * pumped_lpm + n * (racks_kpa / flow_lpm + cdu_kpa / pumped_lpm)
        change_lpm = np.maximum(flow_lpm - excess_kpa / slope, 1e-9) - flow_lpm
        flow_lpm = flow_lpm + change_lpm
        if (np.abs(change_lpm) <= 1e-10 * flow_lpm).all():
            break
    drop_kpa = racks_restriction * flow_lpm**n
    filter_kpa = filter_restriction * (flow_lpm + lost_lpm) ** n
    return _Flow(conductance * (flow_lpm / open_lpm)[hall.cdu_of_rack], drop_kpa, filter_kpa)


def _branches(hall: Hall, effects: Effects) -> Floats:
    """Conductance of each branch against that of a clean one, by rack and branch."""
    shares: Floats = effects.branch_factor ** (-1.0 / hall.EXPONENT)
    return shares


def _open_share(hall: Hall, branches: Floats) -> Floats:
    """Conductance of each rack against that of a clean one: its branches stand side by side behind its valve."""
    n = hall.EXPONENT
    restriction = 1.0 - hall.BRANCH_SHARE + hall.BRANCH_SHARE * branches.mean(axis=1) ** -n
    shares: Floats = restriction ** (-1.0 / n)
    return shares


def _command(hall: Hall, command: Floats, follows: Bools | bool, drop_kpa: Floats, h: float) -> Floats:
    """Speed that is asked of the duty pump: corrects the differential pressure, but waits for a pump that does not
    follow, for it is starting."""
    set_kpa = hall.settings.rack_drop_kpa
    # ΔP goes with the square of the speed, so a kPa is worth N/(2·ΔP) of speed.
    correction = hall.PUMP_DESIGN_SPEED * (set_kpa - drop_kpa) / (2.0 * set_kpa)
    wanted = command + follows * correction * -math.expm1(-h / DROP_CONTROL_S)
    # A drive has its digits too; here there are enough that nobody sees them, and so few that it comes to rest.
    digits: Floats = np.rint(1e8 * np.minimum(np.maximum(wanted, PUMP_SPEED_MIN), 1.0)) / 1e8
    return digits


def _filling(hall: Hall, was: Bools, level_pct: Floats, by_hand: Bools) -> Bools:
    """Whether the fill pump runs: from a low level, or a hand, until the level is normal."""
    s = hall.settings
    begins = by_hand & (level_pct < s.reservoir_normal_pct - 1.0)
    if s.fill_below_pct is not None:
        begins |= level_pct < s.fill_below_pct
    return (was | begins) & (level_pct < s.reservoir_normal_pct)


def _seep_lpm(hall: Hall, effects: Effects, was: State) -> Floats:
    """What comes in through a leaking exchanger, or goes out where the loop's pressure is the higher one."""
    if not effects.seep_lpm.any():
        return effects.seep_lpm
    over_kpa = hall.settings.facility_kpa - was.suction_kpa
    can = (over_kpa > 0.0) | (was.tank_l > 0.0)
    return np.where(can, effects.seep_lpm * np.sign(over_kpa) * np.sqrt(np.abs(over_kpa) / 100.0), 0.0)


def _suction_kpa(hall: Hall, effects: Effects, tank_l: Floats) -> Floats:
    """Gauge pressure at the pump's suction: that of the gas over the reservoir, which obeys Boyle."""
    s = hall.settings
    charge = effects.gas_share * hall.GAS_ABS_KPA * s.reservoir_l * (1.0 - s.reservoir_normal_pct / 100.0)
    return charge / np.maximum(s.reservoir_l - tank_l, 1.0) - hall.ATMOSPHERE_KPA


class _Leak(NamedTuple):
    """What gets out at the racks, by rack."""

    lpm: Floats
    into_pan_lpm: Floats
    into_tray_lpm: Floats


def _leak(hall: Hall, was: State, effects: Effects, drop_kpa: Floats) -> _Leak:
    none = Effects.none(hall)
    if effects.leak_lpm is none.leak_lpm and effects.drip_lpm is none.drip_lpm:
        return _Leak(none.leak_lpm, none.leak_lpm, none.leak_lpm)
    over_kpa = np.maximum((was.suction_kpa + drop_kpa)[hall.cdu_of_rack], 0.0)
    can = ~effects.isolated & (was.tank_l > 0.0)[hall.cdu_of_rack]
    pressed = can * np.sqrt(over_kpa / hall.leak_reference_kpa)
    into_pan_lpm, into_tray_lpm = effects.leak_lpm * pressed, effects.drip_lpm * pressed
    return _Leak(into_pan_lpm + into_tray_lpm, into_pan_lpm, into_tray_lpm)


def _gather(hall: Hall, was: State, effects: Effects, leak: _Leak, facility_c: Floats, h: float) -> dict[str, Any]:
    """What is wet, by the fields of a State: in the racks' pans, in their trays, on the floor."""
    dry = _dry(hall)
    condenses = was.dew_c > hall.settings.facility_c - 5.0  # a first look, which costs nothing
    leaks = leak.lpm is not Effects.none(hall).leak_lpm
    if not (leaks or condenses) and was.pool_l is dry["pool_l"]:
        return dry
    condensed_lpm = CONDENSE_LPM_K * np.maximum(was.dew_c - facility_c, 0.0)
    pan_l = np.maximum(POOL_L, effects.rope_l)
    pool_l = _pool(was.pool_l, leak.into_pan_lpm, np.inf, h)
    over_lpm = hall.by_cdu(np.maximum((pool_l - pan_l) * 60.0 / h - PAN_DRAIN_LPM, 0.0))
    pool_l = np.minimum(pool_l, pan_l)
    tray_l = _pool(was.tray_l, leak.into_tray_lpm, POOL_L, h)
    floor_l = _pool(was.floor_l, over_lpm + condensed_lpm, FLOOR_L, h)
    if not (leaks or condensed_lpm.any() or pool_l.any() or tray_l.any() or floor_l.any()):
        return dry
    return {
        "pool_l": pool_l,
        "wet": (pool_l > 0.0) & (was.wet | (pool_l >= effects.rope_l)),
        "tray_l": tray_l,
        "tray_wet": (tray_l > 0.0) & (was.tray_wet | (tray_l >= TRAY_WET_L)),
        "floor_l": floor_l,
        "floor_wet": (floor_l > 0.0) & (was.floor_wet | (floor_l >= FLOOR_WET_L)),
    }


@lru_cache(maxsize=8)
def _dry(hall: Hall) -> dict[str, Any]:
    """Nothing is wet, by the fields of a State; the same arrays each time."""
    racks, cdus = np.zeros(len(hall.racks)), np.zeros(len(hall.cdus))
    return {
        "pool_l": racks,
        "wet": racks > 0,
        "tray_l": racks,
        "tray_wet": racks > 0,
        "floor_l": cdus,
        "floor_wet": cdus > 0,
    }


def _pool(was_l: Floats, into_lpm: Floats, most_l: float, h: float) -> Floats:
    """What stands somewhere: it gathers, and is mopped up once nothing more comes."""
    pool_l: Floats = np.clip(was_l + np.where(into_lpm > 0.0, into_lpm, -DRYING_LPM) * h / 60.0, 0.0, most_l)
    return pool_l


# Electricity.


class _Gpus(NamedTuple):
    """What the GPUs draw, and what holds them back."""

    kw: Floats
    limit_kw: Floats
    """By rack."""
    capped: Bools
    off: Bools
    soft_s: Floats
    hard_s: Floats
    capped_s: Floats


def _feed(hall: Hall, was: State, effects: Effects) -> tuple[Floats, Bools]:
    """Of each rack's power, what each phase of each feed carries, and which breakers are open. Where a phase of a feed
    is gone the other feed's takes over, for every supply in a rack hangs on both; what both have lost is dark."""
    breaker_open = was.breaker_open
    if was.breaker_warmth.max() > BREAKER_TRIP**2:
        breaker_open = breaker_open | (was.breaker_warmth > BREAKER_TRIP**2)
    quiet = effects.live is Effects.none(hall).live and effects.tilt is Effects.none(hall).tilt
    if quiet and not breaker_open.any():
        return hall.power_share, breaker_open
    carried = hall.power_share * (effects.live & ~breaker_open)
    wanted, there = hall.power_share.sum(axis=2), carried.sum(axis=2)
    share = carried * (wanted / np.where(there > 0.0, there, np.inf))[:, :, None]
    tilted = share * (1.0 + effects.tilt)
    tilted_sum = tilted.sum(axis=(0, 2))
    kept = share.sum(axis=(0, 2)) / np.where(tilted_sum > 0.0, tilted_sum, 1.0)
    return tilted * kept[:, None], breaker_open


def _breaker_warmth(hall: Hall, was: Floats, rack_kw: Floats, power_share: Floats, h: float) -> Floats:
    """By rack and feed: follows the square of the current in its fullest phase."""
    fullest = hall.fullest_per_kw
    if power_share is not hall.power_share:
        fullest = fullest * power_share.max(axis=0) / hall.power_share.max(axis=0)
    full = (rack_kw[:, None] * fullest) ** 2
    warmth: Floats = full + (was - full) * math.exp(-h / BREAKER_S)
    return warmth


def _power(
    hall: Hall, was: State, load: Load, effects: Effects, supplied: Floats | None, h: float, *, calm: bool
) -> _Gpus:
    """What the GPUs draw: no more than their limit, less where they are too hot, nothing where they have switched
    themselves off or are dark."""
    none = Effects.none(hall)
    work_kw = load.gpu_kw if effects.work_share is none.work_share else load.gpu_kw * effects.work_share[:, None]
    limit_kw = np.minimum(effects.gpu_limit_kw, hall.settings.gpu_power_kw)
    capped = work_kw > limit_kw[:, None]
    kw = np.minimum(work_kw, limit_kw[:, None])
    off, soft_s, hard_s, capped_s = was.gpu_off, was.soft_s, was.hard_s, was.capped_s
    if capped.any():
        capped_s = capped_s + h * capped
    if not calm and (was.die_c.max() > hall.SLOWDOWN_C - 2.0 or off.any()):
        too_hot_k = was.die_c - (hall.SLOWDOWN_C - 2.0)
        kw = kw * np.clip(1.0 - THROTTLE_PER_K * too_hot_k, THROTTLE_LEAST, 1.0)
        off = (was.die_c >= hall.SHUTDOWN_C) | (off & (was.die_c > RESTART_C))
        kw = np.where(off, 0.0, kw)
        soft_s, hard_s = soft_s + h * (too_hot_k > 0.0), hard_s + h * (too_hot_k > 2.0)
    if supplied is not None:
        kw = kw * supplied[:, None]
    return _Gpus(kw, limit_kw, capped, off, soft_s, hard_s, capped_s)


class _Other(NamedTuple):
    """Everything in the racks that is not a GPU, by rack."""

    kw: Floats
    heat_kw: Floats
    """What it gives away at full flow: what is stored in it, over OTHER_S."""
    to_air_kw: Floats
    to_liquid_kw: Floats


def _other(
    hall: Hall, was: State, load: Load, effects: Effects, supplied: Floats | None, return_lpm: Floats, h: float
) -> _Other:
    """CPUs, switches and losses: they follow their power, and without coolant keep their heat until they stop."""
    s = hall.settings
    kw = load.other_kw if supplied is None else load.other_kw * supplied
    if effects.work_share is not Effects.none(hall).work_share:
        # What is not a GPU follows half as far, and like them no further than its full power.
        kw = np.minimum(kw * (0.5 + 0.5 * effects.work_share), hall.other_full_kw)
    share = return_lpm / s.rack_flow_lpm
    wet: Floats | float = 1.0 - s.air_share
    if share.min() < OTHER_FLOW_SHARE:
        wet = wet * np.minimum(share / OTHER_FLOW_SHARE, 1.0) ** PLATE_EXPONENT
        begins, ends = OTHER_TOO_HOT
        kw = kw * np.clip((ends - was.other_heat_kw / max(hall.other_full_kw, 1e-9)) / (ends - begins), 0.0, 1.0)
    gives = np.maximum(s.air_share + wet, 1e-6)  # of what it gives at full flow
    ends_kw = kw / gives
    heat_kw = ends_kw + np.exp(-h * gives / OTHER_S) * (was.other_heat_kw - ends_kw)
    given_kw = kw - OTHER_S * (heat_kw - was.other_heat_kw) / h
    to_air_kw = given_kw * (s.air_share / gives)
    return _Other(kw, heat_kw, to_air_kw, given_kw - to_air_kw)


# Heat.


def _plate_w_k(hall: Hall, effects: Effects, return_lpm: Floats) -> Floats:
    """Conductance from each cold plate to the coolant's inlet temperature, W/K, at the racks' flows; never more than
    the liquid can carry away, and always a little, so that what it leads to is far, and finite."""
    # To a millionth: what hardly moves comes to rest, and need not be reckoned again.
    share = np.round(return_lpm / hall.settings.rack_flow_lpm, 6)[:, None]
    if effects.branch_factor is not Effects.none(hall).branch_factor:
        branches = _branches(hall, effects)
        share = (share * branches / branches.mean(axis=1, keepdims=True))[:, hall.branch_of_gpu]
    plate_w_k: Floats = hall.plate_w_k * (share**PLATE_EXPONENT * effects.film_share[hall.cdu_of_rack, None])
    if share.min() < 0.01:
        carried = 0.95 * hall.settings.rack_flow_lpm / 60.0 * hall.heat_kj_l_k * 1000.0 / hall.gpus_per_rack
        plate_w_k = np.maximum(np.minimum(plate_w_k, carried * share), 1e-3)
    return plate_w_k


class _Response(NamedTuple):
    """How dies and plates follow, by rack and GPU: matrix [[die_die, die_plate], [plate_die, plate_plate]] for the
    distance from where they end, and how far that is for each watt."""

    die_die: Floats
    die_plate: Floats
    plate_die: Floats
    plate_plate: Floats
    die_end_k_w: Floats
    plate_end_k_w: Floats


@lru_cache(maxsize=4)
def _response(hall: Hall, plates: bytes, interfaces: bytes, h: float) -> _Response:
    """x′ = A·x + b leads to x∞ + exp(A·h)·(x − x∞), and for a matrix of two by two the exponential is
    exp(−m·h)·[cosh(q·h) + sinh(q·h)/q·(A + m)] with m = −tr(A)/2 and q = √(m² − det A). Arrays as bytes: mostly they
    are what they were, and then so is the answer."""
    plate_w_k = np.frombuffer(plates).reshape(hall.plate_w_k.shape)
    die_k_w = hall.die_k_w + np.frombuffer(interfaces).reshape(hall.die_k_w.shape) if interfaces else hall.die_k_w
    to_plate = 1.0 / (hall.DIE_J_K * die_k_w)
    to_die = to_plate * (hall.DIE_J_K / hall.PLATE_J_K)
    to_liquid = plate_w_k / hall.PLATE_J_K
    m = 0.5 * (to_plate + to_die + to_liquid)
    q = np.sqrt(m * m - to_plate * to_liquid)
    slow, fast = np.exp((q - m) * h), np.exp(-(q + m) * h)
    cosh, sinh = 0.5 * (slow + fast), 0.5 * (slow - fast) / q
    across = (m - to_plate) * sinh
    plate_end_k_w = 1.0 / plate_w_k
    return _Response(
        cosh + across, to_plate * sinh, to_die * sinh, cosh - across, plate_end_k_w + die_k_w, plate_end_k_w
    )


def _warm_up(
    hall: Hall, effects: Effects, was: State, gpu_kw: Floats, return_lpm: Floats, h: float
) -> tuple[Floats, Floats, Floats]:
    """Dies and plates after h seconds at this power, solved exactly, and the mean heat that they gave to the liquid, in
    kW by rack."""
    interface_k_w = effects.interface_k_w
    interfaces = b"" if interface_k_w is Effects.none(hall).interface_k_w else interface_k_w.tobytes()
    follow = _response(hall, _plate_w_k(hall, effects, return_lpm).tobytes(), interfaces, h)
    inlet_c = was.pipe_c[:, 2][hall.cdu_of_rack][:, None]
    gpu_w = 1000.0 * gpu_kw
    die_end_c, plate_end_c = inlet_c + gpu_w * follow.die_end_k_w, inlet_c + gpu_w * follow.plate_end_k_w
    die_k, plate_k = was.die_c - die_end_c, was.plate_c - plate_end_c
    die_c = die_end_c + follow.die_die * die_k + follow.die_plate * plate_k
    plate_c = plate_end_c + follow.plate_die * die_k + follow.plate_plate * plate_k
    stored_kj = (hall.DIE_J_K * (die_c - was.die_c) + hall.PLATE_J_K * (plate_c - was.plate_c)).sum(axis=1) / 1000.0
    return die_c, plate_c, gpu_kw.sum(axis=1) - stored_kj / h


class _Liquid(NamedTuple):
    pipe_c: Floats
    rack_c: Floats
    tank_c: Floats
    valve: Floats
    valve_wanted: Floats
    valve_reset: Floats
    primary_lpm: Floats
    primary_out_c: Floats
    exchanged_kw: Floats
    """Mean over the time."""
    leaked_kj: Floats
    """Sum over the time, as is the next."""
    seeped_kj: Floats


def _carry(
    hall: Hall,
    effects: Effects,
    was: State,
    return_lpm: Floats,
    leak_lpm: Floats,
    fill_lpm: Floats,
    seep_lpm: Floats,
    rack_heat_kw: Floats,
    facility_c: Floats,
    h: float,
) -> _Liquid:
    """Heat on its way with the liquid, from length to length, for h seconds of these flows; the primary valve moves
    meanwhile. In K·L/s, what leaves a length is what came in less what it kept: nothing is lost between two of them."""
    heat = hall.heat_kj_l_k
    through = return_lpm / 60.0  # flows in L/s from here on
    back = hall.by_cdu(through)
    lost, drained = hall.by_cdu(leak_lpm) / 60.0, effects.drain_lpm / 60.0
    pumped, bypass = np.maximum(back + lost, 1e-9), BYPASS_SHARE * back
    flows = float(back.min()) > 1e-6
    fill, seep_in, seep_out = fill_lpm / 60.0, np.maximum(seep_lpm, 0.0) / 60.0, np.maximum(-seep_lpm, 0.0) / 60.0
    substeps = math.ceil(h / min(LOOP_S, 0.9 * float((hall.pipe_l[:, 0] / pumped).min())) - 1e-9)
    dt = h / substeps
    # A length is well mixed: it follows what flows in with the time constant volume/flow.
    volume = hall.pipe_l.T
    taken_1, taken_2, taken_3, taken_4 = _taken(np.array([pumped, pumped, back, back]), volume[1:], dt)
    kept_0, kept_1, kept_2, kept_3, kept_4 = volume / dt
    taken_rack = _taken(through, hall.RACK_L, dt)
    taken_tank = _taken(bypass + fill + seep_in, np.maximum(was.tank_l, 1.0), dt)  # an empty one has no temperature
    out, supply_1, supply_2, return_1, return_2 = was.pipe_c.T
    rack_c, tank_c, valve, wanted, reset = was.rack_c, was.tank_c, was.valve, was.valve_wanted, was.valve_reset
    exchanged_kw, inlets_c, tanks_c = 0.0 * out, 0.0 * out, 0.0 * out
    steers: Bools | None = 60.0 * pumped > 0.3 * hall.design_lpm
    if steers is not None and steers.all() and effects.valve_stuck is Effects.none(hall).valve_stuck:
        steers = None
    exchange = _exchanger(hall, effects, 60.0 * pumped, facility_c)
    for _ in range(substeps):
        # Around the loop from the exchanger's outlet, which is taken as it stands.
        flux = pumped * out
        change = taken_1 * (flux - pumped * supply_1)
        flux, supply_1 = flux - kept_1 * change, supply_1 + change
        change = taken_2 * (flux - pumped * supply_2)
        flux, supply_2 = flux - kept_2 * change, supply_2 + change
        inlet_c = flux / pumped
        flux_rack = through * inlet_c[hall.cdu_of_rack] + rack_heat_kw / heat
        change_rack = taken_rack * (flux_rack - through * rack_c)
        flux_rack, rack_c = flux_rack - hall.RACK_L / dt * change_rack, rack_c + change_rack
        flux = hall.by_cdu(flux_rack)
        change = taken_3 * (flux - back * return_1)
        flux, return_1 = flux - kept_3 * change, return_1 + change
        change = taken_4 * (flux - back * return_2)
        flux, return_2 = flux - kept_4 * change, return_2 + change
        back_c = flux / back if flows else np.where(back > 1e-6, flux / np.maximum(back, 1e-6), return_2)
        drawn_c = ((back - bypass) * back_c + (bypass + lost) * tank_c) / pumped
        passed_kw, primary_lpm, primary_out_c = exchange(valve, drawn_c)
        valve, wanted, reset = _steer(hall, effects, valve, wanted, reset, out, steers, dt)
        into_tank = bypass * (back_c - tank_c) + fill * (FILL_C - tank_c) + seep_in * (facility_c - tank_c)
        tank_c = tank_c + taken_tank * into_tank
        out = out + (pumped * (drawn_c - out) - passed_kw / heat) / kept_0
        exchanged_kw, inlets_c, tanks_c = exchanged_kw + passed_kw, inlets_c + inlet_c, tanks_c + tank_c
    return _Liquid(
        np.stack([out, supply_1, supply_2, return_1, return_2], axis=1),
        *(rack_c, tank_c, valve, wanted, reset, primary_lpm, primary_out_c, exchanged_kw / substeps),
        leaked_kj=dt * heat * (lost * inlets_c + drained * tanks_c),
        seeped_kj=dt * heat * (substeps * seep_in * facility_c - seep_out * tanks_c),
    )


def _taken(flow: Floats, volume: Floats | float, dt: float) -> Floats:
    """Kelvin that a well-mixed length warms up by in dt seconds, for each K·L/s by which what flows in differs."""
    turns = np.maximum(flow * dt / volume, 1e-9)
    return -np.expm1(-turns) / turns * dt / volume


def _steer(
    hall: Hall,
    effects: Effects,
    valve: Floats,
    wanted: Floats,
    reset: Floats,
    supply_c: Floats,
    steers: Bools | None,
    dt: float,
) -> tuple[Floats, Floats, Floats]:
    """Primary valve, what is asked of it, and its controller's memory. All hold still while the loop hardly flows
    (`steers` is false; None where all do and no valve is stuck): its temperature says nothing then."""
    too_warm_k = supply_c + effects.supply_bias_k - (hall.settings.supply_c + effects.setpoint_k)
    pull = VALVE_GAIN_PER_K * too_warm_k
    new_reset = np.minimum(np.maximum(reset + pull * (dt / VALVE_RESET_S), VALVE_MIN), 1.0)
    new_wanted = np.minimum(np.maximum(new_reset + pull, VALVE_MIN), 1.0)
    stroke = dt / VALVE_STROKE_S
    way = np.minimum(np.maximum(new_wanted + effects.valve_swing, VALVE_MIN), 1.0) - valve
    new_valve = valve + np.minimum(np.maximum(way, -stroke), stroke)
    if steers is None:
        return new_valve, new_wanted, new_reset
    moves = steers & ~effects.valve_stuck
    return np.where(moves, new_valve, valve), np.where(steers, new_wanted, wanted), np.where(steers, new_reset, reset)


def _exchanger(
    hall: Hall, effects: Effects, loop_lpm: Floats, facility_c: Floats
) -> Callable[[Floats, Floats], tuple[Floats, Floats, Floats]]:
    """The exchanger at a flow of the loop: a function of valve and loop inlet (°C) that answers the heat that it passes
    on (kW), primary flow (L/min) and primary outlet (°C), by CDU."""
    loop = np.maximum(loop_lpm, 1e-6)
    loop_kw_k = loop / 60.0 * hall.heat_kj_l_k
    # Both films resist alike at the design point, and each goes with its flow to the power of 0.7.
    loop_film = (loop / hall.design_lpm) ** -0.7
    clean_kw_k = 2.0 * hall.exchanger_kw_k * (1.0 - effects.fouled_share)
    primary_full_lpm = hall.primary_design_lpm * effects.facility_share / hall.VALVE_DESIGN

    def exchange(valve: Floats, loop_in_c: Floats) -> tuple[Floats, Floats, Floats]:
        primary_lpm = np.maximum(primary_full_lpm * valve, 1e-6)
        primary_kw_k = primary_lpm * (hall.facility_kj_l_k / 60.0)
        conductance_kw_k = clean_kw_k / (loop_film + (primary_lpm / hall.primary_design_lpm) ** -0.7)
        small_kw_k = np.minimum(loop_kw_k, primary_kw_k)
        balance = small_kw_k / np.maximum(loop_kw_k, primary_kw_k)
        # dcim.physics.heat.counterflow_effectiveness, a millionth away from equal capacities, where it has a gap.
        balance = np.minimum(balance, 1.0 - 1e-6)
        decay = np.exp(-conductance_kw_k / small_kw_k * (1.0 - balance))
        exchanged_kw = (1.0 - decay) / (1.0 - balance * decay) * small_kw_k * (loop_in_c - facility_c)
        return exchanged_kw, primary_lpm, facility_c + exchanged_kw / primary_kw_k

    return exchange


# Mass.


def _liquid_kg(hall: Hall, pipe_c: Floats, rack_c: Floats) -> Floats:
    """What the full pipes and racks hold, by CDU."""
    pipes_g: Floats = (hall.pipe_l * _density(pipe_c)).sum(axis=1)
    return (pipes_g + hall.by_cdu(hall.RACK_L * _density(rack_c))) / 1000.0


def _density(at_c: Floats) -> Floats:
    """kg/m³; beyond the range of the fit, as at its end."""
    least, most = PG25.range_c
    constant, linear, square = PG25.density_fit
    kept = np.minimum(np.maximum(at_c, least), most)
    density: Floats = constant + kept * (linear + kept * square)
    return density


_FILL_KG_L = float(_density(np.array(FILL_C))) / 1000.0
_L_KG = 1000.0 / float(_density(np.array(40.0)))
"""Litres of coolant in a kilogram, near enough to tell how far it is thinned."""
