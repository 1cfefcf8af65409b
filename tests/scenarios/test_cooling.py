"""CDUs and damp air: what is found with which argument, and what must not be."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.core.findings import Bearing, FindingKind
from dcim.core.limits import Limit
from dcim.detect.cooling import Cooling
from dcim.detect.damp import Damp
from dcim.detect.limits import Limits
from dcim.detect.norms import Norms
from dcim.physics.fluids import WATER
from dcim.physics.heat import lmtd_k
from dcim.physics.hydraulics import heat_carried_kw
from tests.scenarios.full import DROP_KPA, FLOW_LPM, HEAT_KW, POWER_KW, Full, learned, look, only, times

PLANT = Full(racks=4, gpus=1)
LASTS = times(600.0)
FLOW = 4 * FLOW_LPM
Values = dict[tuple[str, str], "np.ndarray | float"]


@pytest.fixture(scope="module")
def norms() -> Norms:
    return learned(Cooling(), PLANT)


def cdu(**values: np.ndarray | float) -> Values:
    return {("cdu-0", name.replace("_", " ")): value for name, value in values.items()}


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_plant_is_quiet(norms: Norms, seed: int) -> None:
    answer = look(Cooling(norms), PLANT, seed=seed)
    assert answer.findings == ()
    assert not answer.between
    assert {unknown.subject.qualifier for unknown in answer.unknown} == {"Secondary Pump2 PumpSpeed", "pumps together"}


def test_a_filter_is_told_before_twice_and_blocked_at_three_times_its_norm(norms: Norms) -> None:
    assert look(Cooling(norms), PLANT, cdu(filter=8.0 * 1.4)).findings == ()
    only(look(Cooling(norms), PLANT, cdu(filter=8.0 * 1.8)), FindingKind.FILTER_CLOGGED)
    only(look(Cooling(norms), PLANT, cdu(filter=8.0 * 3.3)), FindingKind.FILTER_BLOCKED)


def test_more_flow_is_no_clogged_filter(norms: Norms) -> None:
    more = cdu(
        flow=1.5 * FLOW, filter=8.0 * 1.5**1.85, dp=DROP_KPA * 1.5**1.85, pump_1=100.0, supply=36.7, **{"return": 43.3}
    )
    kinds = {finding.kind for finding in look(Cooling(norms), PLANT, more).findings}
    assert not kinds & {FindingKind.FILTER_CLOGGED, FindingKind.FILTER_BLOCKED}


def test_a_worn_pump_gives_less_for_its_speed_in_the_same_circuit(norms: Norms) -> None:
    worn = look(Cooling(norms), PLANT, cdu(pump_1=80.0 / 0.88))
    found = only(worn, FindingKind.PUMP_WORN)
    assert "Pump1" in found.subject.qualifier
    ruled_out = {line.what for line in found.evidence if line.bearing is Bearing.RULED_OUT}
    assert {"Restriction of the racks", "A clogged filter"} <= ruled_out


def test_a_narrower_circuit_and_a_second_pump_are_no_worn_pump(norms: Norms) -> None:
    narrower = cdu(flow=0.88 * FLOW, dp=DROP_KPA)
    assert FindingKind.PUMP_WORN not in {f.kind for f in look(Cooling(norms), PLANT, narrower).findings}
    both = look(Cooling(norms), PLANT, cdu(pump_1=70.0, pump_2=70.0))
    assert FindingKind.PUMP_WORN not in {f.kind for f in both.findings}
    change = cdu(pump_1=80.0 * (LASTS < 300.0), pump_2=80.0 * (LASTS >= 300.0))
    assert look(Cooling(norms), PLANT, change).findings == ()


def test_in_a_narrower_circuit_a_worn_pump_is_told_by_its_head(norms: Norms) -> None:
    # The circuit takes 20 % more: a sound pump would give less flow and more head for its speed.
    worn = cdu(flow=0.80 * FLOW, dp=DROP_KPA * 1.2 * 0.80**1.85, filter=8.0 * 0.80**1.85)
    # Less heat at the same temperatures is not what a loop with less flow does: its exchanger is told as well.
    found = next(one for one in look(Cooling(norms), PLANT, worn).findings if one.kind is FindingKind.PUMP_WORN)
    assert any(line.what == "Head for its speed" and line.bearing is Bearing.FOR for line in found.evidence)
    sound = cdu(flow=0.90 * FLOW, dp=DROP_KPA * 1.25 * 0.90**1.85, filter=8.0 * 0.90**1.85)
    answer = look(Cooling(norms), PLANT, sound)
    assert FindingKind.PUMP_WORN not in {finding.kind for finding in answer.findings}
    assert any(u.kind is FindingKind.PUMP_WORN and u.why == "the circuit has changed" for u in answer.unknown)


def test_pumps_that_run_together_are_judged_together() -> None:
    both = cdu(pump_1=60.0, pump_2=60.5)
    known = learned(Cooling(), PLANT, given=both)
    assert look(Cooling(known), PLANT, both).findings == ()
    found = only(look(Cooling(known), PLANT, cdu(pump_1=68.0, pump_2=68.4)), FindingKind.PUMP_WORN)
    assert found.subject == ("s", "cdu-0", "pumps together")
    assert any(line.bearing is Bearing.UNKNOWN and "Which" in line.what for line in found.evidence)
    assert look(Cooling(known), PLANT, cdu(pump_1=85.0, pump_2=60.0)).findings == ()
    assert look(Cooling(known), PLANT, cdu(pump_1=2.0, pump_2=2.0)).findings == ()  # both run out


def test_a_valve_off_its_command_is_stuck_and_one_under_way_is_not(norms: Norms) -> None:
    stuck = look(Cooling(norms), PLANT, cdu(valve_command=85.0 - 25.0 * (LASTS < 300.0)))
    assert only(stuck, FindingKind.VALVE_STUCK).subject.asset == "cdu-0"
    travels = 60.0 + 30.0 * np.clip((LASTS - 540.0) / 60.0, 0.0, 1.0)
    under_way = cdu(valve_command=60.0 + 30.0 * (LASTS >= 540.0), valve=travels)
    assert look(Cooling(norms), PLANT, under_way).findings == ()


def test_a_bound_moves_with_the_set_point_and_gives_the_loop_time_to_follow() -> None:
    limits = Limits([Limit("warm", "RackLiquidSupplyTemperature", above=37.0, deadband=1.0, over_setpoint=2.0)])
    rack = ("r-0", "RackLiquidSupplyTemperature")

    def warm(supply_c: float, setpoint_c: np.ndarray | float) -> bool:
        return bool(look(limits, PLANT, {rack: supply_c, **cdu(setpoint=setpoint_c)}).findings)

    assert warm(38.0, 35.0) and not warm(38.0, 38.0) and warm(40.5, 38.0)
    assert warm(37.5, 20.0) and not warm(36.0, 20.0)  # never below what the rule says
    assert not warm(38.0, 38.0 - 3.0 * (LASTS > 500.0))  # asked to be cooler a minute ago


def test_a_valve_that_stays_while_its_command_moves_is_stuck(norms: Norms) -> None:
    asked = 60.0 + 2.0 * np.sin(2.0 * np.pi * LASTS / 300.0)
    deaf = only(look(Cooling(norms), PLANT, cdu(valve_command=asked)), FindingKind.VALVE_STUCK)
    assert any("moved by 4" in line.shows for line in deaf.evidence)
    follows = cdu(valve_command=asked, valve=60.0 + 2.0 * np.sin(2.0 * np.pi * (LASTS - 20.0) / 300.0))
    assert look(Cooling(norms), PLANT, follows).findings == ()
    late = cdu(valve_command=60.0 + 4.0 * (LASTS > 560.0))  # it has had no time to go there
    assert look(Cooling(norms), PLANT, late).findings == ()


def test_a_valve_that_rests_while_the_supply_is_off_is_stuck_unless_it_is_at_its_end(norms: Norms) -> None:
    resting = cdu(supply=38.0, valve_command=62.0, **{"return": 48.0})
    assert FindingKind.VALVE_STUCK in {finding.kind for finding in look(Cooling(norms), PLANT, resting).findings}
    at_end = cdu(supply=38.0, valve=100.0, valve_command=100.0, **{"return": 48.0})
    assert FindingKind.VALVE_STUCK not in {finding.kind for finding in look(Cooling(norms), PLANT, at_end).findings}


def swing(period_s: float) -> np.ndarray:
    return np.sin(2.0 * np.pi * LASTS / period_s)


@pytest.mark.parametrize("period_s", [40.0, 90.0, 170.0])
def test_a_hunting_valve_swings_while_the_load_stands(norms: Norms, period_s: float) -> None:
    given = cdu(supply=35.0 + 0.5 * swing(period_s), valve=60.0 + 8.0 * swing(period_s), valve_command=60.0)
    found = only(look(Cooling(norms), PLANT, given), FindingKind.VALVE_HUNTING)
    assert any(line.what == "Load of its racks" and line.bearing is Bearing.RULED_OUT for line in found.evidence)


def test_a_valve_that_follows_a_swinging_load_does_not_hunt(norms: Norms) -> None:
    given = cdu(supply=35.0 + 0.5 * swing(90.0), valve=60.0 + 8.0 * swing(90.0), valve_command=60.0 + 8.0 * swing(90.0))
    given |= {(rack, "RackPower"): POWER_KW * (1.0 + 0.2 * swing(90.0)) for rack in PLANT.racks}
    assert FindingKind.VALVE_HUNTING not in {f.kind for f in look(Cooling(norms), PLANT, given).findings}


def fouled(share: float) -> Values:
    """What an exchanger with less conductance shows: the valve opens, the primary flow grows, the supply is held."""
    heat_kw, flow_lpm = 4.0 * HEAT_KW, 640.0
    films = 640.0**-0.7 + FLOW**-0.7
    out_c = 27.0 + heat_kw / heat_carried_kw(640.0, 31.5, 32.5, WATER)
    clean = heat_kw / lmtd_k(45.0 - out_c, 8.0) * films
    for _ in range(200):
        out_c = 27.0 + heat_kw / heat_carried_kw(flow_lpm, 31.5, 32.5, WATER)
        ua = (1.0 - share) * clean / (flow_lpm**-0.7 + FLOW**-0.7)
        flow_lpm *= (heat_kw / ua / lmtd_k(45.0 - out_c, 8.0)) ** 0.5
    return cdu(
        primary_flow=flow_lpm, primary_out=out_c, valve=60.0 * flow_lpm / 640.0, valve_command=60.0 * flow_lpm / 640.0
    )


def test_a_fouled_exchanger_is_found_at_ten_percent_though_the_supply_is_held(norms: Norms) -> None:
    assert look(Cooling(norms), PLANT, fouled(0.05)).findings == ()
    found = only(look(Cooling(norms), PLANT, fouled(0.10)), FindingKind.EXCHANGER_FOULED)
    assert any(line.what == "Valve" and line.bearing is Bearing.FOR for line in found.evidence)


def test_air_flutters_in_flow_and_pressure_and_a_pump_change_does_not(norms: Norms) -> None:
    dice = np.random.default_rng(7)
    stir = 0.015 * dice.standard_normal(len(LASTS))
    given = cdu(flow=FLOW * (1.0 + stir), dp=DROP_KPA * (1.0 + 2.0 * stir), suction=130.0)
    found = only(look(Cooling(norms), PLANT, given), FindingKind.AIR_IN_LOOP)
    assert any(line.what == "Suction pressure" and line.bearing is Bearing.FOR for line in found.evidence)
    dip = np.where((LASTS > 300.0) & (LASTS < 315.0), 0.3, 1.0)
    change = cdu(
        flow=FLOW * dip, dp=DROP_KPA * dip**1.85, pump_1=80.0 * (LASTS < 310.0), pump_2=80.0 * (LASTS >= 310.0)
    )
    assert look(Cooling(norms), PLANT, change).findings == ()


def test_facility_water_that_is_warm_or_lost_is_found_with_the_time_that_is_left(norms: Norms) -> None:
    warm = only(look(Cooling(norms), PLANT, cdu(primary_in=32.4, primary_out=43.2)), FindingKind.FACILITY_WATER)
    assert warm.time_to_limit_s is None
    lost = look(Cooling(norms), PLANT, cdu(primary_flow=5.0, valve=100.0, valve_command=100.0))
    (finding,) = [finding for finding in lost.findings if finding.kind is FindingKind.FACILITY_WATER]
    # 500 L of PG25 take 480 kW: 4.2 s a kelvin, and 25 K are left.
    assert finding.time_to_limit_s == pytest.approx(105.0, rel=0.1)
    # Half of the water: half of the heat stays in the loop.
    stuck = cdu(primary_flow=320.0, valve=30.0, valve_command=60.0)
    found = {finding.kind: finding for finding in look(Cooling(norms), PLANT, stuck).findings}[FindingKind.VALVE_STUCK]
    assert found.time_to_limit_s == pytest.approx(210.0, rel=0.1)


def test_without_a_norm_only_water_that_cannot_cool_is_found() -> None:
    assert look(Cooling(), PLANT, cdu(primary_in=32.4)).findings == ()
    only(look(Cooling(), PLANT, cdu(primary_in=34.0)), FindingKind.FACILITY_WATER)


@pytest.mark.parametrize("share", [0.5, 1.4])
@pytest.mark.parametrize("at_s", [300.0, 560.0])
def test_a_load_step_is_no_fault_of_the_cooling(norms: Norms, share: float, at_s: float) -> None:
    after = np.maximum(LASTS - at_s, 0.0)
    later = 1.0 + (share - 1.0) * (1.0 - np.exp(-after / 20.0))
    # The supply dips or rises for some minutes until the valve has followed.
    error_k = 1.5 * np.sign(share - 1.0) * (after / 40.0) * np.exp(1.0 - after / 40.0)
    opening = 60.0 * (1.0 + 0.6 * (share - 1.0) * (1.0 - np.exp(-after / 60.0)))
    given = cdu(
        supply=35.0 + error_k, valve=opening, valve_command=opening, **{"return": 35.0 + error_k + 10.0 * later}
    )
    given |= {(rack, "RackPower"): POWER_KW * np.where(at_s > LASTS, 1.0, share) for rack in PLANT.racks}
    assert look(Cooling(norms), PLANT, given).findings == ()


def test_a_cdu_without_the_meters_is_unknown_for_what_needs_them() -> None:
    from tests.scenarios.loop import Loops, at, history, window

    loops, detector = Loops(), Cooling()
    frame = history(loops, 600, {})
    answer = detector.detect(window(frame, detector, loops.plant, 599), loops.plant, at(599))
    assert answer.findings == ()
    unknown = {entry.kind for entry in answer.unknown}
    assert {FindingKind.EXCHANGER_FOULED, FindingKind.FACILITY_WATER, FindingKind.VALVE_STUCK} <= unknown


# --- damp ---


def humid(margin_k: float) -> float:
    """Humidity of air of 30 °C whose dew point is so far under facility water of 27 °C."""
    from dcim.physics.psychrometrics import relative_humidity_pct

    return relative_humidity_pct(30.0, 27.0 - margin_k)


@pytest.mark.parametrize(
    ("margin_k", "kind"),
    [
        (7.0, None),
        (4.0, FindingKind.CONDENSATION_NEAR),
        (1.5, FindingKind.CONDENSATION),
        (-1.0, FindingKind.CONDENSATION),
    ],
)
def test_condensation_goes_by_the_coldest_pipe_and_the_dampest_air(margin_k: float, kind: FindingKind | None) -> None:
    given: Values = {("env", "air"): 30.0, ("env", "humidity"): humid(margin_k)}
    answer = look(Damp(), PLANT, given)
    if kind is None:
        assert answer.findings == ()
        return
    found = only(answer, kind)
    assert "Primary" in found.evidence[0].what
    assert found.time_to_limit_s == (0.0 if margin_k < 0.0 else None)


def test_a_falling_margin_tells_when_it_is_gone() -> None:
    given: Values = {("env", "air"): 30.0, ("env", "humidity"): np.array([humid(8.0 - 4.0 * t / 600.0) for t in LASTS])}
    found = only(look(Damp(), PLANT, given), FindingKind.CONDENSATION_NEAR)
    assert found.time_to_limit_s == pytest.approx(600.0, rel=0.25)
