"""Every fault against the signature that the domain notes give it, and what it must leave alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from dcim.core.errors import Permanent
from dcim.physics.psychrometrics import dew_margin_k, relative_humidity_pct
from dcim.sim.faults import (
    KINDS,
    AirInLoop,
    BmsOffline,
    BranchBlocked,
    Burst,
    Condensation,
    ExchangerFouling,
    ExchangerLeak,
    FacilityWater,
    Fault,
    FeedLost,
    FilterClogging,
    FlowLost,
    FlowMeter,
    InterfaceAgeing,
    LoadStep,
    MakeUpLeak,
    PhaseLost,
    PinholeLeak,
    PowerCap,
    PumpChangeover,
    PumpWear,
    QuickConnectSwap,
    RopeFault,
    SetpointChange,
    TemperatureBias,
    TrayDrip,
    ValveHunting,
    ValveStuck,
)
from dcim.sim.gpus import gpu_fields
from dcim.sim.hall import Floats, Hall, HallSettings
from dcim.sim.plant import steady, step, stored_in_coolant_kj, stored_in_racks_kj, stride
from dcim.sim.sensors import Sensors
from dcim.sim.state import Effects, Load, State

HALL = Hall(HallSettings(flaws=0.0))
CDU, RACK = "H1-CDU-1", "H1-A03"
HERE = HALL.racks.index(RACK)
ENDLESS_S = 1e9
"""An elapsed time by which everything that grows is full-grown."""


def load(hall: Hall, used: float, facility_c: float = 27.0) -> Load:
    """Every GPU at this share of its range."""
    gpu = hall.GPU_IDLE_SHARE + (1.0 - hall.GPU_IDLE_SHARE) * used
    other = hall.OTHER_IDLE_SHARE + (1.0 - hall.OTHER_IDLE_SHARE) * used
    racks = len(hall.racks)
    return Load(np.full((racks, hall.gpus_per_rack), gpu), np.full(racks, hall.other_full_kw * other), facility_c, 11.0)


def play(
    fault: Fault | None,
    lasts_s: float,
    *,
    hall: Hall = HALL,
    used: float = 0.8,
    dt_s: float = 10.0,
    since_s: float = 0.0,
    start: State | None = None,
    by: Callable[[Hall, State, Load, Effects, float], State] = stride,
    work: Callable[[float], Load] | None = None,
) -> list[State]:
    """The healthy state, then those every dt_s, while a fault acts that has gone on for since_s already."""
    held = load(hall, used)
    states = [start or steady(hall, work(0.0) if work else held)]
    none = Effects.none(hall)
    for number in range(round(lasts_s / dt_s)):
        effects = fault.act(hall, none, since_s + number * dt_s) if fault else none
        states.append(by(hall, states[-1], work(number * dt_s) if work else held, effects, dt_s))
    return states


def settled(fault: Fault | None, *, minutes: float = 20.0, used: float = 0.8, hall: Hall = HALL) -> State:
    """What a full-grown fault leads to."""
    return play(fault, 60.0 * minutes, hall=hall, used=used, since_s=ENDLESS_S)[-1]


@pytest.fixture(scope="module")
def well() -> State:
    return settled(None, minutes=2)


def level_pct(state: State) -> float:
    return float(100.0 * state.tank_l[0] / HALL.settings.reservoir_l)


def resistance_k_w(state: State) -> Floats:
    kelvin: Floats = (state.die_c - state.pipe_c[0, 2]) / (1000.0 * state.gpu_kw)
    return kelvin


def unchanged(state: State, other: State, *names: str, rtol: float = 2e-3) -> None:
    for name in names:
        np.testing.assert_allclose(getattr(state, name), getattr(other, name), rtol=rtol, atol=1e-9, err_msg=name)


# 1 to 6: leaks.


@pytest.mark.slow
@pytest.mark.parametrize(("flow_lpm", "rope_s"), [(0.01, 3600.0), (0.1, 300.0)])
def test_1_a_pinhole_is_a_ramp_and_wets_the_rope_after_minutes(flow_lpm: float, rope_s: float) -> None:
    states = play(PinholeLeak(RACK, flow_lpm, rope_s), 1.1 * rope_s)
    minutes = states[-1].time_s / 60.0
    lost_l = states[0].tank_l[0] - states[-1].tank_l[0]
    assert lost_l == pytest.approx(flow_lpm * minutes, rel=0.05)
    assert 0.1 <= (states[0].suction_kpa[0] - states[-1].suction_kpa[0]) / minutes <= 1.3
    wet_s = next(state.time_s for state in states if state.wet[HERE])
    assert wet_s >= 300 and rope_s <= wet_s <= 1.05 * rope_s + 10
    assert states[-1].wet.sum() == 1 and not states[-1].tray_wet.any() and not states[-1].floor_wet.any()


@pytest.mark.slow
@pytest.mark.parametrize("flow_lpm", [20.0, 120.0])
def test_3_a_burst_empties_the_loop_and_the_gpus_run_away(flow_lpm: float) -> None:
    states = play(Burst(RACK, flow_lpm), 300.0, by=step, dt_s=1.0, used=0.9)
    supply_kpa = np.array([state.suction_kpa[0] + state.drop_kpa[0] for state in states])
    trip_s = next(state.time_s for state in states if state.unable.all())
    # With 30 L in the reservoir the pressure is gone at the pace of what is lost: in seconds for a hose, in a minute
    # for the least that is called a burst.
    fallen_s = next(at for at, kpa in enumerate(supply_kpa) if kpa < 0.7 * supply_kpa[0])
    assert fallen_s <= {20.0: 40.0, 120.0: 7.0}[flow_lpm]
    assert fallen_s < trip_s <= 180.0
    pouring = states[3]
    assert pouring.supply_lpm.sum() - pouring.return_lpm.sum() > 0.8 * flow_lpm
    assert states[10].wet[HERE]
    assert any(state.floor_wet.any() for state in states), "more than the pan holds"
    assert any(state.return_lpm.sum() < 1.0 for state in states)
    assert any((gpu_fields(HALL, state)[112] & 0x60).any() for state in states[::5])
    empty = min(states, key=level_pct)
    assert 0.0 <= meters(HALL, empty)["GenericPoint", CDU, "Secondary Reservoir Level"] < 3.0
    assert gpu_fields(HALL, states[-1])[1422].max() > 0
    assert min(state.rack_kw.sum() for state in states) < 0.9 * states[0].rack_kw.sum()


@pytest.mark.slow
def test_4_a_drip_wets_the_tray_and_nothing_else_shows() -> None:
    states = play(TrayDrip(RACK, 0.002), 1800.0)
    assert next(state.time_s for state in states if state.tray_wet[HERE]) == pytest.approx(600.0, abs=70)
    assert states[-1].tray_wet.sum() == 1 and not states[-1].wet.any()
    assert abs(level_pct(states[-1]) - level_pct(states[0])) < 0.5, "under the noise of its sensor"
    unchanged(states[-1], states[0], "return_lpm", "drop_kpa")


@pytest.mark.slow
def test_5_a_leaking_exchanger_lets_water_in_or_coolant_out_by_the_pressures() -> None:
    into = play(ExchangerLeak(CDU, 0.05), 3_600.0)[-1]
    assert level_pct(into) > 63.0 and into.suction_kpa[0] > 165.0
    assert into.conductivity_us_cm[0] < 4400.0 - 15.0
    assert into.account["seeped_kg"][0] > 1.5
    weak = Hall(HallSettings(facility_kpa=30.0))
    out = play(ExchangerLeak(CDU, 0.05), 3_600.0, hall=weak)[-1]
    assert level_pct(out) < 57.0 and out.suction_kpa[0] < 140.0
    assert out.conductivity_us_cm[0] == pytest.approx(4400.0)
    assert out.account["seeped_kg"][0] < -1.5
    for state in (into, out):
        assert not (state.wet.any() or state.tray_wet.any() or state.floor_wet.any()), "no rope is near"
    state, wide = steady(HALL, load(HALL, 0.5)), replace(Effects.none(HALL), seep_lpm=np.array([2.0]))
    for _ in range(120):
        state = stride(HALL, state, load(HALL, 0.5), wide, 10.0)
    assert state.suction_kpa[0] == pytest.approx(HALL.settings.facility_kpa, abs=3.0), "until the pressures are even"


@pytest.mark.slow
def test_6_make_up_hides_a_leak_in_a_saw_tooth_whose_teeth_come_closer() -> None:
    tight = Hall(HallSettings(fill_below_pct=55.0))
    states = play(MakeUpLeak(RACK, 0.1, over_s=10_800.0), 10_800.0, hall=tight)
    starts = [a.time_s for a, b in itertools.pairwise(states) if b.filling[0] and not a.filling[0]]
    gaps = np.diff(starts)
    assert len(gaps) >= 8
    assert np.all(np.diff(gaps) < 0), "ever closer"
    assert gaps[-1] < 0.6 * gaps[0]
    levels = [level_pct(state) for state in states]
    assert min(levels) > 54.0 and max(levels) == pytest.approx(60.0, abs=1.0)
    assert not states[-1].wet.any()
    assert states[-1].conductivity_us_cm[0] < 4395.0, "what is filled in is not what was lost"


# 7 to 12: pumps, filter, branches.


def test_7_a_clogging_filter_takes_speed_to_hold_the_flow(well: State) -> None:
    state = settled(FilterClogging(CDU, 3.0))
    assert state.filter_kpa[0] == pytest.approx(3.0 * well.filter_kpa[0], rel=0.01)
    assert state.speed[0, 0] > well.speed[0, 0] + 0.01
    unchanged(state, well, "return_lpm", "drop_kpa", "suction_kpa")
    half = FilterClogging(CDU, 3.0, over_s=100.0).act(HALL, Effects.none(HALL), 50.0)
    assert half.filter_factor[0] == pytest.approx(2.0)


@pytest.mark.slow
def test_9_without_flow_gpus_warm_up_by_kelvins_a_second_slow_down_and_switch_themselves_off() -> None:
    states = play(FlowLost(CDU), 240.0, by=step, dt_s=1.0, used=0.9)
    share = np.array([state.return_lpm.sum() for state in states]) / states[0].return_lpm.sum()
    assert share[2] < 0.25 and share[4] < 0.06
    rate_k_s = (states[12].die_c - states[8].die_c) / 4.0
    assert np.all((rate_k_s > 1.0) & (rate_k_s < 4.0))
    slow = next(at for at, state in enumerate(states) if (gpu_fields(HALL, state)[112] & 0x20).any())
    assert 5 <= slow <= 40
    assert any((gpu_fields(HALL, state)[112] & 0x40).any() for state in states)
    assert states[slow + 15].rack_kw.sum() < 0.8 * states[0].rack_kw.sum()
    off = gpu_fields(HALL, states[-1])
    assert states[-1].gpu_off.any() and (off[230] == 79).any()
    assert states[-1].die_c.max() < 110.0
    assert max(state.rack_c.max() for state in states) < 70.0, "what is not a GPU stops before its coolant boils"
    back = play(None, 300.0, by=step, dt_s=1.0, used=0.9, start=states[-1])[-1]
    assert not back.gpu_off.any() and back.return_lpm.sum() > 0.98 * states[0].return_lpm.sum()
    assert np.all(gpu_fields(HALL, back)[1422] >= off[1422]), "counters do not fall"


@pytest.mark.slow
def test_10_a_worn_pump_runs_faster_for_its_flow(well: State) -> None:
    state = settled(PumpWear(CDU, 0.15), used=0.8)
    per_speed = (state.return_lpm.sum() / state.speed[0, 0]) / (well.return_lpm.sum() / well.speed[0, 0])
    assert 0.8 <= per_speed <= 0.9
    unchanged(state, well, "return_lpm", "drop_kpa")
    other = settled(PumpWear(CDU, 0.15, pump=2))
    np.testing.assert_allclose(other.speed, well.speed, atol=1e-4)


@pytest.mark.slow
def test_11_air_makes_flow_flutter_and_clings_to_the_plates(well: State) -> None:
    states = play(AirInLoop(CDU, 6.0, film=0.2), 1200.0, dt_s=5.0)[40:]
    flow = np.array([state.return_lpm.sum() for state in states])
    rough = np.std(np.diff(flow)) / np.sqrt(2.0) / flow.mean()
    variance = 1.0 + (rough / 0.005) ** 2
    assert 3.0 <= variance <= 10.0
    drop = np.array([state.drop_kpa[0] for state in states])
    assert 1.0 + (np.std(np.diff(drop)) / np.sqrt(2.0) / 0.5) ** 2 > 3.0
    assert np.mean([state.suction_kpa[0] for state in states]) < well.suction_kpa[0] - 20.0
    more = np.array([(resistance_k_w(state) / resistance_k_w(well)).mean() for state in states])
    assert more.max() > 1.08 and np.percentile(more, 10) < 1.03, "on and off"
    assert abs(states[-1].tank_l[0] - well.tank_l[0]) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("more", [0.3, 2.0])
def test_12_a_blocked_branch_warms_its_gpus_and_takes_flow_from_the_rack(well: State, more: float) -> None:
    state = settled(BranchBlocked(RACK, more, branch=2))
    flow = state.return_lpm / well.return_lpm
    assert 0.85 <= flow[HERE] <= 0.98
    np.testing.assert_allclose(np.delete(flow, HERE), 1.0, atol=0.002)
    assert state.drop_kpa[0] == pytest.approx(100.0, abs=0.1)
    warmer = resistance_k_w(state)[HERE] / resistance_k_w(well)[HERE]
    behind = HALL.branch_of_gpu == 1
    assert warmer[behind].min() > 1.02 and warmer[~behind].max() < 1.01
    np.testing.assert_allclose(np.delete(resistance_k_w(state) / resistance_k_w(well), HERE, axis=0), 1.0, atol=0.005)


# 13 to 18: heat.


def test_13_one_gpu_with_an_aged_interface_is_warmer_than_its_peers(well: State) -> None:
    state = settled(InterfaceAgeing(RACK, 0.3, gpu=11))
    more = resistance_k_w(state) / resistance_k_w(well)
    assert 1.1 <= more[HERE, 10] <= 1.4
    more[HERE, 10] = 1.0
    np.testing.assert_allclose(more, 1.0, atol=0.002)
    unchanged(state, well, "return_lpm", "rack_c", rtol=2e-3)


@pytest.mark.slow
def test_14_with_a_stuck_valve_the_supply_follows_the_load(well: State) -> None:
    stuck = play(ValveStuck(CDU), 1800.0, used=0.2, start=well)[-1]
    free = play(None, 1800.0, used=0.2, start=well)[-1]
    assert stuck.valve[0] == well.valve[0]
    assert 3.0 <= 35.0 - stuck.pipe_c[0, 0] <= 10.0
    assert abs(free.pipe_c[0, 0] - 35.0) < 0.3
    assert abs(stuck.valve_wanted[0] - stuck.valve[0]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("swing_k", "period_s"), [(0.5, 40.0), (1.0, 60.0), (3.0, 150.0)])
def test_15_a_hunting_valve_swings_the_supply(swing_k: float, period_s: float) -> None:
    states = play(ValveHunting(CDU, swing_k, period_s), 900.0, dt_s=4.0, used=0.9)[75:]
    supply = np.array([state.pipe_c[0, 0] for state in states])
    assert 0.35 * swing_k <= np.ptp(supply) <= 1.6 * swing_k
    rises = np.flatnonzero((supply[:-1] < supply.mean()) & (supply[1:] >= supply.mean())) * 4.0
    assert np.median(np.diff(rises)) == pytest.approx(period_s, rel=0.15)
    assert np.std([state.return_lpm.sum() for state in states]) < 1.0


@pytest.mark.slow
def test_16_a_fouled_exchanger_opens_the_valve_and_in_the_end_the_supply_rises(well: State) -> None:
    half, full = settled(ExchangerFouling(CDU, 0.15)), settled(ExchangerFouling(CDU, 0.3))
    assert well.valve[0] + 0.02 < half.valve[0] < full.valve[0]
    assert conductance_kw_k(half) / conductance_kw_k(well) == pytest.approx(0.85, abs=0.05)
    hot = play(ExchangerFouling(CDU, 0.3), 1800.0, used=1.0, since_s=ENDLESS_S)
    assert hot[-1].valve[0] > 0.85
    lost = play(ExchangerFouling(CDU, 0.3), 1800.0, since_s=ENDLESS_S, work=lambda _: load(HALL, 1.0, 29.5))[-1]
    assert lost.valve[0] > 0.99
    assert 1.0 <= lost.pipe_c[0, 0] - 35.0 <= 4.0


def conductance_kw_k(state: State) -> float:
    """UA at the films of the moment, from the exchanger's four temperatures."""
    warm, cold = state.pipe_c[0, 4] - state.primary_out_c[0], state.pipe_c[0, 0] - state.facility_c[0]
    lmtd = (warm - cold) / np.log(warm / cold) if abs(warm - cold) > 1e-3 else warm
    films = 1.0 + (state.primary_lpm[0] / HALL.primary_design_lpm[0]) ** -0.7
    return float(state.exchanged_kw[0] / lmtd * films / 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_17_with_hot_facility_water_the_supply_follows_within_minutes(lost: bool) -> None:
    states = play(FacilityWater(CDU, 10.0, lost=lost), 600.0, used=0.9)
    primary = np.array([state.facility_c[0] for state in states])
    assert primary[-1] - primary[0] == pytest.approx(10.0)
    supply = np.array([state.pipe_c[0, 0] for state in states])
    follows_s = 10.0 * np.argmax(supply > 37.0)
    assert (30 if lost else 60) <= follows_s <= 300
    assert (states[-1].primary_lpm[0] < 1.0) == lost
    np.testing.assert_allclose(states[-1].return_lpm, states[0].return_lpm, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("higher_k", "wet"), [(14.5, False), (19.0, True)])
def test_18_damp_air_takes_the_margin_and_wets_the_floor_while_no_loop_loses_anything(
    higher_k: float, wet: bool
) -> None:
    states = play(Condensation("H1-ENV", higher_k), 1.5 * 3600.0)
    end = states[-1]
    humidity = float(relative_humidity_pct(np.array([end.room_c]), np.array([end.dew_c]))[0])
    assert 60.0 < humidity < 100.0
    assert float(dew_margin_k(end.facility_c[0], float(end.room_c), humidity)) < 2.0
    assert end.floor_wet.all() == wet
    assert not end.wet.any() and not end.tray_wet.any()
    assert end.coolant_kg[0] == states[0].coolant_kg[0]
    assert end.tank_l[0] == pytest.approx(states[0].tank_l[0], abs=0.05)


# 19 to 21, 26: what measures and tells. The plant is what it was.


def meters(hall: Hall, state: State) -> dict[tuple[str, str, str], float]:
    """What is shown of a state, by point type, place, and areas with phase."""
    sensors = Sensors(hall, seed=1)
    shown = sensors.show(state) / 10.0**sensors.decimals
    spots = [
        (gauge.point_type, place.id, " ".join(filter(None, [*gauge.area, gauge.phase, "setpoint" * gauge.setpoint])))
        for gauge in sensors.gauges
        for place in gauge.places
    ]
    return dict(zip(spots, shown.tolist(), strict=True))


def differences(fault: Fault, lasts_s: float = 10.0) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Meters that show something else with the fault than without it, after a while, with the same noise."""
    sick, sound = (meters(HALL, play(which, lasts_s)[-1]) for which in (fault, None))
    return {spot: (sound[spot], value) for spot, value in sick.items() if value != sound[spot]}


@pytest.mark.parametrize("bias_k", [0.3, -2.0])
@pytest.mark.parametrize("side", ["supply", "return"])
def test_19_a_biased_sensor_of_a_rack_is_seen_by_the_heat_balance_alone(bias_k: float, side: str) -> None:
    found = differences(TemperatureBias(RACK, bias_k, side))
    ((spot, (sound, sick)),) = found.items()
    assert spot == (f"RackLiquid{side.capitalize()}Temperature", RACK, "")
    assert sick - sound == pytest.approx(bias_k, abs=0.011)


def test_19_a_controller_believes_its_sensor(well: State) -> None:
    state = settled(TemperatureBias(CDU, 1.5, "supply"))
    assert state.pipe_c[0, 0] == pytest.approx(33.5, abs=0.1)
    shown = meters(HALL, state)
    assert shown["LiquidTemperature", CDU, "Secondary Supply"] == pytest.approx(35.0, abs=0.3)
    assert shown["RackLiquidSupplyTemperature", RACK, ""] == pytest.approx(33.5, abs=0.3)
    returned = differences(TemperatureBias(CDU, 1.5, "return"))
    assert set(returned) == {("LiquidTemperature", CDU, "Secondary Return")}


@pytest.mark.parametrize(
    ("place", "spot"), [(RACK, ("RackLiquidFlow", RACK, "")), (CDU, ("LiquidFlow", CDU, "Secondary"))]
)
def test_20_a_biased_flow_meter_shows_too_much_or_too_little(place: str, spot: tuple[str, str, str]) -> None:
    ((found, (sound, sick)),) = differences(FlowMeter(place, -0.1)).items()
    assert found == spot
    assert sick == pytest.approx(0.9 * sound, abs=0.11)


def test_20_a_frozen_flow_meter_shows_its_last_value_for_ever() -> None:
    sensors = Sensors(HALL, seed=1)
    states = play(FlowMeter(RACK, 0.05, frozen=True), 100.0)
    shown, trace = None, []
    for state in states:
        shown = sensors.show(state, shown)
        trace.append(shown)
    column = next(c for a, c in sensors._columns["RackLiquidFlow", RACK])
    assert len({row[column] for row in trace}) == 1
    assert len({row[column + 1] for row in trace}) > 5
    at_once = sensors.show_all(states)
    assert len(set(at_once[:, column])) == 1
    later = sensors.show_all(states[5:], before=at_once[4])
    assert set(later[:, column]) == {at_once[4, column]}, "also over the border of two lots"


@pytest.mark.slow
def test_21_a_dirty_rope_says_wet_now_and_then_and_a_cut_one_says_that_it_is_cut() -> None:
    states = play(RopeFault(RACK), 900.0)
    shown = [meters(HALL, state) for state in states]
    wet = [row["RackLeakDetect", RACK, ""] for row in shown]
    assert 3 <= sum(b > a for a, b in itertools.pairwise(wet)) <= 6, "on and off"
    assert not any(row["RackLeakSensorFault", RACK, ""] for row in shown)
    assert not states[-1].wet.any()
    unchanged(states[-1], states[0], "tank_l", "suction_kpa")
    cut = differences(RopeFault(RACK, cut=True))
    assert cut == {("RackLeakSensorFault", RACK, ""): (0.0, 1.0)}
    leaking = replace(RopeFault(RACK, cut=True).act(HALL, Effects.none(HALL), 0.0))
    assert {wrong.point_type: wrong.shows for wrong in leaking.distortions}["RackLeakDetect"] == 0.0, "blind to a leak"


def test_26_nothing_but_silence_changes_when_the_bms_is_offline() -> None:
    assert differences(BmsOffline()) == {}
    assert play(BmsOffline(), 10.0)[-1].offline


# 22 and 23: power.


def test_22_a_lost_phase_is_carried_by_the_other_feed() -> None:
    found = differences(PhaseLost("H1-A03-TAP-A", 1.0, "B"))
    assert found["PhaseCurrent", "H1-A03-TAP-A", "B"][1] == 0.0
    sound, sick = found["PhaseCurrent", "H1-A03-TAP-B", "B"]
    assert sick == pytest.approx(2.0 * sound, rel=0.1)
    for feed in "AB":
        sound, sick = found.get(("PhaseCurrent", f"H1-A03-TAP-{feed}", "C"), (1.0, 1.0))
        assert sick == pytest.approx(sound, rel=0.01), "the other phases are what they were"
    assert {place for _, place, _ in found} == {"H1-BUS-A", "H1-BUS-B", "H1-A03-TAP-A", "H1-A03-TAP-B"}


def test_22_a_phase_that_carries_too_much_is_out_of_balance() -> None:
    state = play(PhaseLost("H1-A03-TAP-A", 0.2, "C"), 10.0)[-1]
    shown = meters(HALL, state)
    amps = np.array([shown["PhaseCurrent", "H1-A03-TAP-A", phase] for phase in "ABC"])
    assert 0.1 < np.abs(amps - amps.mean()).max() / amps.mean() < 0.25
    assert state.power_share.sum() == pytest.approx(8.0)


def test_23_without_feed_a_feed_b_carries_all_within_a_second() -> None:
    states = play(FeedLost("H1-BUS-A"), 5.0, by=step, dt_s=1.0)
    states += play(FeedLost("H1-BUS-A"), 300.0, start=states[-1])
    before, after = meters(HALL, states[0]), meters(HALL, states[1])
    for place in ("H1-BUS-A", *(f"{rack}-TAP-A" for rack in HALL.racks)):
        assert [after[what, place, ""] for what in ("Current", "ActivePower", "Voltage")] == [0, 0, 0]
    for place in ("H1-BUS-B", *(f"{rack}-TAP-B" for rack in HALL.racks)):
        assert after["Current", place, ""] == pytest.approx(2.0 * before["Current", place, ""], rel=0.12)
    assert not states[-1].breaker_open.any(), "that is what they are rated for"
    np.testing.assert_allclose(states[-1].rack_kw, states[0].rack_kw)


def test_23_breakers_that_are_too_small_open_and_the_racks_are_dark() -> None:
    hall = Hall(HallSettings(breaker_share=0.6))
    states = play(FeedLost("H1-BUS-A"), 900.0, hall=hall, used=1.0)
    open_s = next(state.time_s for state in states if state.breaker_open.any())
    assert open_s > 30, "they take their time"
    dark = states[-1]
    assert dark.breaker_open[:, 1].all()
    assert dark.rack_kw.max() == 0.0
    assert meters(hall, dark)["RackElectricalIsolationStatus", RACK, ""] == 1.0
    assert dark.die_c.max() < 45.0


# 24, 25, 27, and what is not in the catalogue: no faults.


def test_24_a_power_cap_takes_clocks_and_heat_and_says_so(well: State) -> None:
    state = settled(PowerCap(RACK, 0.4), minutes=5)
    fields = gpu_fields(HALL, state)
    assert np.all(fields[112][HERE] == 0x4)
    assert not np.delete(fields[112], HERE, axis=0).any()
    assert fields[155][HERE].max() == pytest.approx(600.0)
    assert fields[164][HERE, 0] == 600.0
    assert fields[1420][HERE].min() > 200e9 and fields[1422].max() == 0
    assert np.all(gpu_fields(HALL, well)[100][HERE] != fields[100][HERE])
    assert state.rack_c[HERE] < well.rack_c[HERE] - 1.0
    assert not PowerCap.harmful


@pytest.mark.slow
def test_25_a_load_step_is_there_at_once_and_its_warmth_within_a_minute() -> None:
    states = play(LoadStep(CDU, -0.5), 300.0, by=step, dt_s=1.0, used=0.9)
    power = np.array([state.gpu_kw.sum() for state in states])
    assert power[1] == pytest.approx(0.5 * power[0], rel=0.01)
    die = np.array([state.die_c.mean() for state in states])
    half_way = next(at for at, c in enumerate(die) if c < die[0] - 0.632 * (die[0] - die[60]))
    assert 5 <= half_way <= 25
    assert states[-1].coolant_kg[0] == states[0].coolant_kg[0]
    assert states[-1].tank_l[0] < states[0].tank_l[0], "it shrinks, and that is all"
    assert np.ptp([state.return_lpm.sum() for state in states]) < 1.0
    up = play(LoadStep(CDU, 0.5), 60.0, by=step, dt_s=1.0, used=0.9)
    assert up[-1].gpu_kw.max() == 1.0, "no further than the limit"
    assert up[-1].rack_kw.max() <= HALL.settings.rack_power_kw, "nor any rack beyond what it is made for"


@pytest.mark.slow
def test_27_a_swapped_device_takes_its_litres_slower_and_slower() -> None:
    states = play(QuickConnectSwap(RACK, 1.0, purge_s=600.0), 3600.0)
    levels = np.array([level_pct(state) for state in states])
    first, second, third = (levels[0] - levels[90], levels[90] - levels[180], levels[180] - levels[270])
    assert first > 2.0 * second > 4.0 * third > 0.0
    assert levels[0] - levels[-1] == pytest.approx(2.0, abs=0.1)
    assert np.diff(levels).max() < 0.2, "never up"
    assert states[-1].account["leaked_kg"][0] == pytest.approx(1.0, rel=0.03)
    assert not states[-1].wet.any()
    assert QuickConnectSwap.maintenance and not QuickConnectSwap.harmful


@pytest.mark.slow
def test_a_changeover_swaps_the_pumps_and_leaves_the_flow_alone() -> None:
    states = play(PumpChangeover(CDU, 2), 60.0, by=step, dt_s=1.0)
    assert states[-1].duty.tolist() == [1]
    flow = np.array([state.return_lpm.sum() for state in states])
    assert np.ptp(flow) < 0.02 * flow[0]
    assert states[-1].speed[0, 0] < 0.01 and states[-1].speed[0, 1] > 0.7
    assert not states[-1].unable.any()
    again = play(PumpChangeover(CDU, 2), 10.0, by=step, dt_s=1.0, start=states[-1])[-1]
    assert again.duty.tolist() == [1], "it is there already"


@pytest.mark.slow
def test_a_changed_setpoint_is_told_and_followed() -> None:
    state = settled(SetpointChange(CDU, -2.0))
    assert state.pipe_c[0, 0] == pytest.approx(33.0, abs=0.1)
    assert meters(HALL, state)["LiquidTemperature", CDU, "Secondary Supply setpoint"] == 33.0


# All of them.


def one_of_each(hall: Hall) -> Iterator[Fault]:
    for kind in KINDS.values():
        dice = np.random.default_rng([3, kind.number])
        yield kind.draw(hall, dice, kind.places(hall)[0], 3600.0)


def test_the_catalogue_is_whole() -> None:
    assert {kind.number for kind in KINDS.values()} == set(range(28)), "27 of the domain notes, and 0 for others"
    assert [kind.kind for kind in KINDS.values() if not kind.harmful] == [
        *("power_cap", "load_step", "filling", "quick_connect_swap", "pump_changeover", "setpoint_change")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_energy_and_mass_are_conserved_under_every_fault(kind: str) -> None:
    fault = next(one for one in one_of_each(HALL) if one.kind == kind)
    start, *_, end = play(fault, 600.0, since_s=1800.0, used=0.6, dt_s=10.0)
    passed = end.account
    in_racks = stored_in_racks_kj(HALL, end) - stored_in_racks_kj(HALL, start)
    given = passed["to_air_kj"] + passed["to_coolant_kj"] + in_racks
    np.testing.assert_allclose(passed["drawn_kj"], given, rtol=1e-9)
    in_loop = stored_in_coolant_kj(HALL, end) - stored_in_coolant_kj(HALL, start)
    out = passed["to_facility_kj"] + passed["leaked_kj"] - passed["filled_kj"] - passed["seeped_kj"] + in_loop
    # What pipes breathe out into the reservoir is counted in both places, and air in them as if it were liquid.
    breathed_l = end.tank_l - start.tank_l - (end.coolant_kg - start.coolant_kg) / 1.0145
    # A reservoir that runs empty mixes what is left in a moment, and that counts too.
    rtol = 4e-3 if kind == "burst" else 1e-3
    np.testing.assert_allclose(passed["to_coolant_kj"], out - HALL.heat_kj_l_k * breathed_l * end.tank_c, rtol=rtol)
    kept = passed["filled_kg"] + passed["seeped_kg"] - passed["leaked_kg"]
    np.testing.assert_allclose(end.coolant_kg - start.coolant_kg, kept, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_within_its_bounds_and_what_is_not_is_refused(kind: str) -> None:
    fault_type = KINDS[kind]
    dice = np.random.default_rng(5)
    places = fault_type.places(HALL)
    drawn = [fault_type.draw(HALL, dice, places[int(dice.integers(len(places)))], 7200.0) for _ in range(50)]
    none = Effects.none(HALL)
    for fault in drawn:
        assert fault.place in places
        assert fault.detectable_after_s(HALL) >= 0.0
        if isinstance(fault, MakeUpLeak):
            continue
        fault.act(HALL, none, 0.0)
    of = fault_type.severity_of
    if of is not None:
        severities = np.array([fault.severity for fault in drawn], float)
        assert of.low <= severities.min() and severities.max() <= max(of.high, 1.0)
        with pytest.raises(Permanent):
            replace(drawn[0], **{of.field: 1e6})  # type: ignore[arg-type]  # a field by name


def test_severities_are_log_uniform() -> None:
    dice = np.random.default_rng(1)
    drawn = np.log([PinholeLeak.draw(HALL, dice, RACK, 1.0).flow_lpm for _ in range(2000)])
    assert np.mean(drawn) == pytest.approx(np.log(np.sqrt(0.01 * 0.1)), abs=0.03)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BranchBlocked(RACK, 1.0, branch=4).act(HALL, Effects.none(HALL), 0.0), "no branch 4"),
        (lambda: InterfaceAgeing(RACK, 0.2, gpu=73).act(HALL, Effects.none(HALL), 0.0), "no GPU 73"),
        (lambda: ValveHunting(CDU, 3.0, 40.0), "cannot swing by 3 K every 40 s"),
        (lambda: TemperatureBias(RACK, 1.0, "left"), "no side left"),
        (lambda: TemperatureBias("H1-BUS-A", 1.0).act(HALL, Effects.none(HALL), 0.0), "no such place"),
        (lambda: PhaseLost("H1-A03-TAP-A", 1.0, "D"), "no phase D"),
        (lambda: PumpWear(CDU, 0.15, pump=3), "no pump 3"),
        (lambda: PumpChangeover(CDU, 0), "no pump 0"),
        (
            lambda: MakeUpLeak(RACK, 0.1).act(
                Hall(HallSettings(fill_below_pct=None)), Effects.none(Hall(HallSettings(fill_below_pct=None))), 0.0
            ),
            "no automatic make-up",
        ),
        (lambda: PinholeLeak(RACK, 0.5), "flow_lpm = 0.5 is no pinhole_leak's. Choose 0.01 to 0.1 L/min"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        make()
