"""The simulated plant against its design figures, against conservation of mass and energy, and fault by fault."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.errors import Permanent
from dcim.physics.fluids import PG25
from dcim.physics.heat import cold_plate_resistance_k_w
from dcim.physics.hydraulics import gas_cushion_kpa_per_l, heat_carried_kw, pressure_drop_kpa
from dcim.sim.faults import Fault, Filling, FittingLeak, PumpTrip
from dcim.sim.gpus import gpu_fields
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.plant import FILL_OVER_L, steady, step, stored_in_coolant_kj, stored_in_racks_kj, stride
from dcim.sim.state import Effects, Load, State
from dcim.sim.timetable import demo
from dcim.sim.workload import Workload

ALIKE = Hall(HallSettings(spread=0.0, air_share=0.0))
"""The baseline to the letter: no piece differs from its like, and all heat goes into the coolant."""
HALL = Hall()


def load(hall: Hall, used: float, facility_c: float = 27.0) -> Load:
    """Every GPU at this share of its range."""
    gpu = hall.GPU_IDLE_SHARE + (1.0 - hall.GPU_IDLE_SHARE) * used
    other = hall.OTHER_IDLE_SHARE + (1.0 - hall.OTHER_IDLE_SHARE) * used
    racks = len(hall.racks)
    return Load(np.full((racks, hall.gpus_per_rack), gpu), np.full(racks, hall.other_full_kw * other), facility_c, 11.0)


def walk(
    hall: Hall, state: State, work: Load, effects: Effects | Fault | None, seconds: float, dt_s: float = 1.0
) -> Iterator[State]:
    """States after dt_s, 2·dt_s … under a load and effects that hold."""
    if effects is None or not isinstance(effects, Effects):
        effects = effects.act(hall, Effects.none(hall), 0.0) if effects else Effects.none(hall)
    for _ in range(round(seconds / dt_s)):
        state = step(hall, state, work, effects, dt_s)
        yield state


def last(states: Iterator[State]) -> State:
    *_, state = states
    return state


def when(states: Iterator[State], happened: Callable[[State], bool]) -> float:
    """Time of the first state for which it is so."""
    return next(state.time_s for state in states if happened(state))


# The design point.


@pytest.mark.slow
def test_the_baseline_stands_at_35_c_10_k_179_l_min_and_100_kpa() -> None:
    full = load(ALIKE, 1.0)
    for state in (steady(ALIKE, full), last(walk(ALIKE, steady(ALIKE, full), full, None, 600))):
        np.testing.assert_allclose(state.rack_kw, 120.0)
        np.testing.assert_allclose(state.pipe_c[:, :3], 35.0, atol=0.01)
        np.testing.assert_allclose(state.rack_c - state.pipe_c[0, 2], 10.0, atol=0.02)
        np.testing.assert_allclose(state.return_lpm, 179.0, rtol=1e-6)
        np.testing.assert_allclose(state.drop_kpa, 100.0, rtol=1e-6)
        np.testing.assert_allclose(state.speed, [[0.8, 0.0]], atol=1e-6)
        np.testing.assert_allclose(state.valve, 0.6, atol=1e-3)
        np.testing.assert_allclose(state.tank_l, 30.0, atol=0.01)
        inlet = np.full_like(state.die_c, state.pipe_c[0, 2])
        np.testing.assert_allclose(cold_plate_resistance_k_w(state.die_c, inlet, state.gpu_kw), 0.035, rtol=1e-3)
        assert hydraulic_heat(state) == pytest.approx(960.0, rel=2e-3)


def hydraulic_heat(state: State) -> float:
    """What meters at the racks would make of it, with the liquid's properties at its own temperature."""
    racks = len(state.rack_c)
    return float(heat_carried_kw(state.return_lpm, np.full(racks, state.pipe_c[0, 2]), state.rack_c, PG25).sum())


@pytest.mark.slow
@given(used=st.floats(0.05, 1.0), facility_c=st.floats(20.0, 30.0))
@settings(max_examples=15, deadline=None)
def test_steady_is_steady(used: float, facility_c: float) -> None:
    work = load(HALL, used, facility_c)
    start = steady(HALL, work)
    state = last(walk(HALL, start, work, None, 60))
    for name in ("pipe_c", "rack_c", "die_c", "tank_c", "tank_l", "suction_kpa", "return_lpm", "valve"):
        np.testing.assert_allclose(getattr(state, name), getattr(start, name), atol=0.02, err_msg=name)
    assert state.room_c == pytest.approx(start.room_c, abs=0.02)


def test_a_hall_as_bought_is_near_its_design_and_no_two_pieces_are_alike() -> None:
    work = load(HALL, 1.0)
    state = steady(HALL, work)
    assert np.all(np.abs(state.return_lpm / 179.0 - 1.0) < 0.03)
    assert np.all(np.abs(state.rack_c - 35.0 - 9.6) < 0.4)  # 4 % of the heat goes to the air
    assert len(np.unique(state.return_lpm)) == len(HALL.racks)
    assert 0.5 < np.std(state.die_c) < 2.0
    np.testing.assert_array_equal(Hall().die_k_w, HALL.die_k_w)
    assert not np.array_equal(Hall(HallSettings(serial=2)).die_k_w, HALL.die_k_w)


# Time constants, measured from step responses.


def test_die_and_plate_follow_power_in_1_to_3_and_about_17_seconds() -> None:
    start = steady(ALIKE, load(ALIKE, 0.4))
    states = list(walk(ALIKE, start, load(ALIKE, 0.8), None, 40, dt_s=0.25))
    plate = [state.plate_c[0, 0] - state.pipe_c[0, 2] for state in states]
    over_plate = [state.die_c[0, 0] - state.plate_c[0, 0] for state in states]
    final = steady(ALIKE, load(ALIKE, 0.8))
    seconds = [state.time_s for state in states]

    def rise_s(trace: list[float], first: float, end: float) -> float:
        return next(at for at, value in zip(seconds, trace, strict=True) if (value - first) / (end - first) >= 0.632)

    assert 14 <= rise_s(plate, start.plate_c[0, 0] - 35.0, final.plate_c[0, 0] - 35.0) <= 20
    assert (
        1 <= rise_s(over_plate, start.die_c[0, 0] - start.plate_c[0, 0], final.die_c[0, 0] - final.plate_c[0, 0]) <= 3
    )


def test_liquid_passes_a_rack_in_3_and_the_loop_in_21_seconds() -> None:
    state = steady(ALIKE, load(ALIKE, 1.0))
    assert 60.0 * ALIKE.RACK_L / state.return_lpm[0] == pytest.approx(3.0, abs=0.01)
    loop_l = ALIKE.pipe_l.sum() + ALIKE.RACK_L * len(ALIKE.racks)
    assert loop_l == pytest.approx(500.0)
    assert 60.0 * loop_l / state.return_lpm.sum() == pytest.approx(21.0, abs=0.1)
    # A warm slug at the racks' inlet shows at their outlets with the transit's time constant.
    warm = state.pipe_c.copy()
    warm[:, :3] += 2.0
    idle = replace(
        state, plate_c=np.full_like(state.plate_c, 37.0), rack_c=np.full_like(state.rack_c, 35.0), pipe_c=warm
    )
    nothing = Load(np.zeros_like(state.gpu_kw), np.zeros_like(state.other_kw), 27.0, 11.0)
    idle = replace(idle, other_heat_kw=np.zeros_like(state.other_kw), die_c=np.full_like(state.die_c, 37.0))
    assert when(
        walk(ALIKE, idle, nothing, None, 10, 0.25), lambda s: s.rack_c[0] > 35.0 + 0.632 * 2.0
    ) == pytest.approx(3.0, abs=0.8)


@pytest.mark.slow
def test_the_controller_takes_a_disturbance_back_within_30_to_120_seconds() -> None:
    start = steady(ALIKE, load(ALIKE, 0.8))
    states = list(walk(ALIKE, start, load(ALIKE, 0.8, facility_c=29.0), None, 600))
    error = np.array([state.pipe_c[0, 0] - 35.0 for state in states])
    peak = int(np.argmax(error))
    assert 0.3 < error[peak] < 2.0
    back = next(at for at in range(peak, len(error)) if error[at] < error[peak] / math.e)
    assert 30 <= back - peak <= 120
    assert abs(error[-1]) < 0.05


# Conservation, over an hour of work with everything that the demo's timetable does to it.


@pytest.fixture(scope="module")
def hour() -> tuple[State, State]:
    workload, timetable = Workload(HALL, seed=5), demo(HALL)
    state = start = steady(HALL, workload.at(0.0))
    for second in range(0, 3600, 5):
        effects = timetable.effects(HALL, float(second))
        state = stride(HALL, state, workload.at(float(second)), effects, 5.0)
    return start, state


@pytest.mark.slow
def test_energy_is_conserved_over_an_hour(hour: tuple[State, State]) -> None:
    start, end = hour
    passed = end.account
    in_racks = stored_in_racks_kj(HALL, end) - stored_in_racks_kj(HALL, start)
    np.testing.assert_allclose(passed["drawn_kj"], passed["to_air_kj"] + passed["to_coolant_kj"] + in_racks, rtol=1e-9)
    in_loop = stored_in_coolant_kj(HALL, end) - stored_in_coolant_kj(HALL, start)
    out = passed["to_facility_kj"] + passed["leaked_kj"] - passed["filled_kj"] + in_loop
    # What the reservoir takes up and gives back as the loop breathes is not followed degree by degree: 1e-4 of it all.
    np.testing.assert_allclose(passed["to_coolant_kj"], out, rtol=2e-4)
    assert 2.0e6 < passed["drawn_kj"][0] < 3.4e6


def test_energy_is_conserved_while_a_loop_warms_up_and_its_pump_trips() -> None:
    start = steady(HALL, load(HALL, 0.1))
    for end in walk(HALL, start, load(HALL, 1.0), PumpTrip("H1-CDU-1", 1), 40):
        in_loop = stored_in_coolant_kj(HALL, end) - stored_in_coolant_kj(HALL, start)
        passed = end.account["to_coolant_kj"] - end.account["to_facility_kj"]
    assert in_loop[0] > 5_000, "most of it is stored"
    # Pipes keep their volume and their heat per litre, so the litre that they breathe out is counted in both places.
    breathed = HALL.heat_kj_l_k * (end.tank_l - start.tank_l) * end.tank_c
    np.testing.assert_allclose(passed, in_loop - breathed, rtol=1e-3)


@pytest.mark.slow
def test_mass_is_conserved_over_an_hour(hour: tuple[State, State]) -> None:
    start, end = hour
    passed = end.account
    np.testing.assert_allclose(end.coolant_kg, start.coolant_kg + passed["filled_kg"] - passed["leaked_kg"], rtol=1e-12)
    assert passed["leaked_kg"][0] > 15.0  # two leaks of some 9 L
    assert passed["filled_kg"][0] == pytest.approx(passed["leaked_kg"][0], rel=0.1)
    assert end.tank_l[0] == pytest.approx(30.0, abs=1.5)


@pytest.mark.slow
def test_a_healthy_quarter_of_an_hour_gives_no_cause_for_alarm() -> None:
    workload = Workload(HALL, seed=3)
    state = steady(HALL, workload.at(0.0))
    none = Effects.none(HALL)
    for second in range(0, 900, 5):
        state = stride(HALL, state, workload.at(float(second)), none, 5.0)
        assert abs(state.pipe_c[0, 0] - 35.0) < 2.0
        assert state.die_c.max() < HALL.SLOWDOWN_C - 10
        assert np.all(state.return_lpm > 0.9 * 179.0)
        share = state.rack_kw / 120.0
        assert share.min() > 0.25 and share.max() < 1.0
        assert not state.wet.any() and not state.filling.any()


# The step itself.


def test_a_step_leaves_its_arguments_alone() -> None:
    work, effects = load(HALL, 0.7), FittingLeak("H1-A02", 3.0, 20.0).act(HALL, Effects.none(HALL), 0.0)
    state = steady(HALL, work)

    def frozen(thing: object) -> dict[str, object]:
        return {
            field.name: value.copy() if isinstance(value := getattr(thing, field.name), np.ndarray) else value
            for field in dataclasses.fields(thing)  # type: ignore[arg-type]  # all of them are dataclasses
        }

    before = [frozen(thing) for thing in (state, work, effects, state.account)]
    step(HALL, state, work, effects, 1.0)
    for was, thing in zip(before, (state, work, effects, state.account), strict=True):
        for name, value in was.items():
            np.testing.assert_equal(getattr(thing, name), value, err_msg=name)


def test_one_long_step_is_many_short_ones() -> None:
    work, effects = load(HALL, 0.7), PumpTrip("H1-CDU-1", 1).act(HALL, Effects.none(HALL), 0.0)
    state = steady(HALL, work)
    long = step(HALL, state, work, effects, 3.0)
    short = last(walk(HALL, state, work, effects, 3.0, dt_s=0.5))
    assert long.time_s == short.time_s == 3.0
    np.testing.assert_array_equal(long.die_c, short.die_c)
    np.testing.assert_array_equal(long.coolant_kg, short.coolant_kg)


def test_head_and_losses_balance_at_every_speed() -> None:
    work = load(HALL, 0.8)
    for state in walk(HALL, steady(HALL, work), work, PumpTrip("H1-CDU-1", 1), 12, dt_s=0.25):
        speed, flow = state.speed.max(axis=1), state.return_lpm.sum()
        head = HALL.PUMP_SHUTOFF_KPA * speed**2 - HALL.pump_slope * flow**2
        lost = state.drop_kpa + pressure_drop_kpa(HALL.cdu_restriction, np.array([flow]))
        np.testing.assert_allclose(head, lost, rtol=1e-6, atol=1e-6)
        drop = np.full(len(HALL.racks), state.drop_kpa[0])
        np.testing.assert_allclose(state.return_lpm, HALL.conductance * drop ** (1 / HALL.EXPONENT), rtol=1e-9)


def test_loops_do_not_know_each_other() -> None:
    hall = Hall(HallSettings(racks=16, rows=2, cdus=2))
    work = load(hall, 0.8)
    start = steady(hall, work)
    state = last(walk(hall, start, work, PumpTrip("H1-CDU-2", 1), 4))
    np.testing.assert_allclose(state.return_lpm[:8], start.return_lpm[:8])
    assert np.all(state.return_lpm[8:] < 0.5 * start.return_lpm[8:])
    np.testing.assert_allclose(state.die_c[:8], start.die_c[:8], atol=0.01)


# Faults.


@pytest.mark.slow
@pytest.mark.parametrize("used", [0.4, 1.0])
def test_pump_trip(used: float) -> None:
    work = load(HALL, used)
    start = steady(HALL, work)
    states = list(walk(HALL, start, work, PumpTrip("H1-CDU-1", 1), 180))
    share = np.array([state.return_lpm.sum() for state in states]) / start.return_lpm.sum()
    low = np.flatnonzero(share < 0.7) + 1
    assert share.min() < 0.7, "at least 30 % of the flow is lost"
    assert low[0] <= 2 and 3 <= len(low) <= 15, "for 3 to 15 s"
    assert np.all(share[8:] > 0.95), "the standby has taken over"
    assert states[-1].duty.tolist() == [1] and states[-1].unable.tolist() == [[True, False]]
    assert states[-1].speed[0, 0] < 0.01 and states[-1].speed[0, 1] == pytest.approx(start.speed[0, 0], abs=0.01)
    warmer_k = max(float((state.die_c - start.die_c).max()) for state in states)
    assert (2 if used == 1.0 else 1) <= warmer_k <= 15
    assert states[-1].die_c.max() == pytest.approx(start.die_c.max(), abs=1.0)


@pytest.mark.slow
def test_after_a_trip_the_next_one_finds_the_first_pump_again() -> None:
    work = load(HALL, 0.8)
    state = last(walk(HALL, steady(HALL, work), work, PumpTrip("H1-CDU-1", 1), 60))
    state = last(walk(HALL, state, work, None, 60))
    assert state.duty.tolist() == [1], "once reset, the tripped pump stands by"
    state = last(walk(HALL, state, work, PumpTrip("H1-CDU-1", 2), 60))
    assert state.duty.tolist() == [0]
    assert state.return_lpm.sum() > 0.98 * 8 * 179


def test_without_any_pump_gpus_run_away_and_slow_down() -> None:
    work = load(HALL, 0.9)
    none = Effects.none(HALL)
    both = replace(none, tripped=np.ones_like(none.tripped))
    start = steady(HALL, work)
    states = list(walk(HALL, start, work, both, 60))
    assert states[4].return_lpm.sum() < 0.02 * start.return_lpm.sum()
    rate_k_s = (states[14].die_c - states[9].die_c) / 5
    assert np.all(rate_k_s > 0.8) and np.all(rate_k_s < 4)
    bits = gpu_fields(HALL, states[-1])[112]
    assert np.all(bits & 0x20) and np.any(bits & 0x40)
    assert states[-1].gpu_kw.sum() < 0.9 * start.gpu_kw.sum(), "power falls"
    assert np.isfinite(states[-1].rack_c).all()


@pytest.mark.slow
@pytest.mark.parametrize(("flow_lpm", "rope_s"), [(0.5, 120.0), (2.0, 40.0), (4.0, 60.0), (5.0, 10.0)])
def test_fitting_leak(flow_lpm: float, rope_s: float) -> None:
    work = load(HALL, 0.8)
    start = steady(HALL, work)
    fault = FittingLeak("H1-B03", flow_lpm, rope_s)
    here = HALL.racks.index("H1-B03")
    states = list(walk(HALL, start, work, fault, 180))
    minute = states[59]
    level_per_min = 100.0 * (minute.tank_l[0] - start.tank_l[0]) / 50.0
    assert -10.5 <= level_per_min <= -0.8
    assert minute.tank_l[0] == pytest.approx(30.0 - flow_lpm, rel=0.1)
    assert minute.suction_kpa[0] < start.suction_kpa[0] - 5.0 * flow_lpm
    assert minute.supply_lpm[here] - minute.return_lpm[here] == pytest.approx(minute.leak_lpm[here])
    assert minute.leak_lpm[here] == pytest.approx(flow_lpm, rel=0.15)
    assert np.count_nonzero(minute.leak_lpm) == 1
    wet_s = next(state.time_s for state in states if state.wet[here])
    assert rope_s <= wet_s <= 1.2 * rope_s + 1 and wet_s <= 150
    assert not np.delete(states[-1].wet, here).any()
    assert states[-1].leak_lpm[here] < states[0].leak_lpm[here], "less comes out as the pressure falls"

    repaired = list(walk(HALL, states[-1], work, None, 180))
    assert not repaired[0].leak_lpm.any()
    assert repaired[-1].coolant_kg == pytest.approx(repaired[0].coolant_kg)
    assert repaired[0].wet[here] and not repaired[-1].wet[here], "what has run out is mopped up"
    assert all(state.wet[here] == (state.pool_l[here] > 0) for state in repaired), "and the rope is wet until then"


def test_isolating_the_rack_ends_its_leak_and_its_flow() -> None:
    work = load(HALL, 0.3)
    leak = FittingLeak("H1-A01", 2.0, 40.0).act(HALL, Effects.none(HALL), 0.0)
    state = last(walk(HALL, steady(HALL, work), work, leak, 30))
    shut = replace(leak, isolated=np.array([name == "H1-A01" for name in HALL.racks]))
    state = last(walk(HALL, state, work, shut, 60))
    assert state.leak_lpm[0] == 0.0 and state.return_lpm[0] == 0.0
    np.testing.assert_allclose(state.drop_kpa, 100.0, atol=2.0)  # the others keep theirs


def test_with_every_rack_isolated_the_pump_presses_against_shut_valves() -> None:
    work, none = load(HALL, 0.0), Effects.none(HALL)
    state = last(walk(HALL, steady(HALL, work), work, replace(none, isolated=np.ones(8, bool)), 2))
    assert not state.return_lpm.any()
    np.testing.assert_allclose(state.drop_kpa, HALL.PUMP_SHUTOFF_KPA * state.speed.max() ** 2, rtol=1e-3)
    assert np.isfinite(state.rack_c).all()


@pytest.mark.slow
def test_filling_brings_the_level_back_and_ends_by_itself() -> None:
    work = load(HALL, 0.8)
    state = last(walk(HALL, steady(HALL, work), work, FittingLeak("H1-A01", 4.0, 40.0), 120))
    filled = list(walk(HALL, state, work, Filling("H1-CDU-1"), 180))
    assert filled[0].filling.all() and not filled[-1].filling.any()
    assert filled[-1].tank_l[0] == pytest.approx(30.0, abs=0.5)
    assert filled[-1].suction_kpa[0] == pytest.approx(148.7, abs=5.0)
    cooler = filled + list(walk(HALL, filled[-1], load(HALL, 0.75), Filling("H1-CDU-1"), 60))
    starts = sum(bool(b.filling[0]) and not a.filling[0] for a, b in itertools.pairwise(cooler))
    assert starts == 0, "it does not start again at every ripple"
    assert cooler[-1].tank_l[0] < 30.0 + FILL_OVER_L


@pytest.mark.slow
def test_make_up_hides_a_leak_in_a_saw_tooth_where_it_is_on() -> None:
    hall = Hall(HallSettings(fill_below_pct=50.0))
    work = load(hall, 0.8)
    states = list(walk(hall, steady(hall, work), work, FittingLeak("H1-A01", 4.0, 40.0), 600))
    starts = sum(bool(b.filling[0]) and not a.filling[0] for a, b in itertools.pairwise(states))
    assert starts >= 2
    assert min(state.tank_l[0] for state in states) > 24.0


@pytest.mark.slow
def test_an_empty_reservoir_stops_the_pumps_and_nothing_goes_below_zero() -> None:
    hall = Hall(HallSettings(fill_below_pct=None))
    work = load(hall, 0.3)
    none = Effects.none(hall)
    burst = replace(none, leak_lpm=np.where(np.arange(8) == 2, 60.0, 0.0))
    states = list(walk(hall, steady(hall, work), work, burst, 180))
    assert states[-1].unable.all() and states[-1].return_lpm.sum() < 1.0
    assert all(state.tank_l[0] >= 0.0 for state in states)
    assert not states[-1].leak_lpm.any()


@pytest.mark.slow
def test_warmth_and_not_loss_moves_the_level_of_a_tight_loop() -> None:
    start = steady(ALIKE, load(ALIKE, 0.9))
    cool = last(walk(ALIKE, start, load(ALIKE, 0.4), None, 450))
    back = last(walk(ALIKE, cool, load(ALIKE, 0.9), None, 450))
    assert cool.tank_l[0] < start.tank_l[0] - 0.3
    assert back.tank_l[0] == pytest.approx(start.tank_l[0], abs=0.05)
    assert back.coolant_kg == pytest.approx(start.coolant_kg, rel=1e-12)
    # what the volume-weighted temperature says it must be
    litres = np.concatenate([ALIKE.pipe_l[0], np.full(8, ALIKE.RACK_L)])
    before = np.concatenate([start.pipe_c[0], start.rack_c])
    after = np.concatenate([cool.pipe_c[0], cool.rack_c])
    shrunk_l = -float(PG25.expansion_l(litres, before, after).sum())
    assert start.tank_l[0] - cool.tank_l[0] == pytest.approx(shrunk_l, abs=0.15)  # the reservoir cools a little too


def test_a_litre_lost_costs_12_5_kpa_at_first() -> None:
    work = load(ALIKE, 0.8)
    start = steady(ALIKE, work)
    assert gas_cushion_kpa_per_l(20.0, 250.0) == 12.5
    state = last(walk(ALIKE, start, work, FittingLeak("H1-A01", 2.0, 40.0), 3))
    lost_l = start.tank_l[0] - state.tank_l[0]
    assert (start.suction_kpa[0] - state.suction_kpa[0]) / lost_l == pytest.approx(12.5, rel=0.02)


# What cannot be built or done is refused, with words.


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"racks": 1}, "1 racks do not make 2 rows"),
        ({"cdus": 9}, "9 CDUs for 8 racks"),
        ({"gpus_per_host": 0}, "without GPUs"),
        ({"branches_per_rack": 0}, "0 branches"),
        ({"breaker_share": 0.0}, "below 0"),
        ({"gpu_power_kw": 2.0}, "more than the rack may"),
    ],
)
def test_a_hall_that_cannot_be_built_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        HallSettings(**wrong)  # type: ignore[arg-type]  # names and values come from the table above


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FittingLeak("H1-A01", 20.0, 40.0), "no fitting's"),
        (lambda: FittingLeak("H1-A01", 2.0, 5.0), "no fitting's"),
        (lambda: PumpTrip("H1-CDU-1", 3), "no pump 3"),
        (
            lambda: FittingLeak("H1-Z01", 2.0, 40.0).act(HALL, Effects.none(HALL), 0.0),
            "H1-Z01: the hall has no such place",
        ),
        (lambda: Filling("H1-CDU-2").act(HALL, Effects.none(HALL), 0.0), "H1-CDU-2: the hall has no such place"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        make()
