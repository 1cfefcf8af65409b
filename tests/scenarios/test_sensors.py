"""Sensors and clocks: which meter is named, by what, and which is not; and what becomes of what is distrusted."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.core.findings import Bearing, FindingKind
from dcim.core.live import Latest
from dcim.core.points import Loop, Side
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.clocks import Clocks
from dcim.detect.norms import Norms
from dcim.detect.sensors import Sensors
from dcim.detect.thermal import Heat
from dcim.detect.window import doubt
from tests.scenarios.full import DROP_KPA, FLOW_LPM, POWER_KW, Full, learned, look, only, times, told
from tests.scenarios.loop import Loops, at, healthy, now, window

PLANT = Full(racks=6, gpus=1)
LASTS = times(300.0)


@pytest.fixture(scope="module")
def norms() -> Norms:
    return learned(Sensors(), PLANT)


def seen(detector: Sensors, given: dict[tuple[str, str], np.ndarray | float], seed: int = 0):
    return look(detector, PLANT, given, lasts_s=300.0, seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_healthy_meters_are_believed(norms: Norms, seed: int) -> None:
    answer = seen(Sensors(norms), {}, seed)
    assert answer.findings == ()
    assert not answer.between
    assert not answer.distrusted


@pytest.mark.parametrize(
    ("meter", "value"),
    [
        ("RackLiquidFlow", 0.92 * FLOW_LPM),
        ("RackLiquidFlow", 1.09 * FLOW_LPM),
        ("RackLiquidSupplyTemperature", 36.4),
        ("RackLiquidSupplyTemperature", 34.3),
        ("RackLiquidSupplyTemperature", 35.4),
        ("RackLiquidReturnTemperature", 43.9),
        ("RackPower", 0.92 * POWER_KW),
    ],
)
def test_the_meter_that_lies_is_named_by_two_balances(norms: Norms, meter: str, value: float) -> None:
    answer = seen(Sensors(norms), {("r-2", meter): value})
    found = only(answer, FindingKind.SENSOR_BIAS)
    assert (found.subject.asset, found.subject.qualifier) == ("r-2", meter)
    assert answer.distrusted == {PLANT["r-2", meter]}
    assert any(line.bearing is Bearing.RULED_OUT for line in found.evidence)


@pytest.mark.parametrize("meter", ["RackLiquidFlow", "RackLiquidSupplyTemperature"])
def test_the_right_meter_is_named_while_its_window_fills(norms: Norms, meter: str) -> None:
    wrong = {"RackLiquidFlow": 1.1 * FLOW_LPM, "RackLiquidSupplyTemperature": 36.5}[meter]
    healthy_value = PLANT.value("r-2", meter)
    for onset_s in range(20, 300, 20):
        answer = seen(Sensors(norms), {("r-2", meter): np.where(onset_s > LASTS, healthy_value, wrong)})
        assert {finding.subject.qualifier for finding in answer.findings} <= {meter}, onset_s


IDLE: dict[tuple[str, str], np.ndarray | float] = {
    **{(rack, "RackPower"): 20.0 for rack in PLANT.racks},
    **{(rack, "RackLiquidReturnTemperature"): 36.8 for rack in PLANT.racks},
    **{(f"{rack}-tap-{feed}", "power"): 10.0 for rack in PLANT.racks for feed in "AB"},
}
"""So little load that no heat balance can be told."""


@pytest.mark.parametrize("off", [0.92, 1.08])
def test_without_a_heat_balance_a_flow_meter_is_named_by_its_pressure_and_by_the_sum_of_all(
    norms: Norms, off: float
) -> None:
    answer = seen(Sensors(norms), IDLE | {("r-2", "RackLiquidFlow"): off * FLOW_LPM})
    found = only(answer, FindingKind.SENSOR_BIAS)
    assert (found.subject.asset, found.subject.qualifier) == ("r-2", "RackLiquidFlow")
    assert any("All racks" in line.what and line.bearing is Bearing.FOR for line in found.evidence)
    assert answer.distrusted == {PLANT["r-2", "RackLiquidFlow"]}


def test_a_branch_that_takes_less_at_the_same_pressure_names_no_meter(norms: Norms) -> None:
    less = IDLE | {("r-2", "RackLiquidFlow"): 0.9 * FLOW_LPM, ("cdu-0", "flow"): 5.9 * FLOW_LPM}
    less[("cdu-0", "dp")] = DROP_KPA * (5.9 / 6.0) ** 1.85
    assert seen(Sensors(norms), less).findings == ()


@pytest.mark.parametrize("off", [0.93, 1.08])
def test_a_cdu_whose_flow_meter_is_off_is_named_by_its_racks_and_its_pressure(norms: Norms, off: float) -> None:
    answer = seen(Sensors(norms), {("cdu-0", "flow"): off * 6 * FLOW_LPM})
    found = only(answer, FindingKind.SENSOR_BIAS)
    assert found.subject.asset == "cdu-0"
    assert answer.distrusted == {PLANT["cdu-0", "flow"]}
    lost = {("cdu-0", "flow"): 1.08 * 6 * FLOW_LPM, ("cdu-0", "dp"): DROP_KPA * 1.08**1.85}
    assert seen(Sensors(norms), lost).findings == ()  # the pressure agrees with it: something leaves the loop


def test_a_frozen_meter_is_no_evidence_against_another(norms: Norms) -> None:
    frame = told(PLANT, 600.0, {(rack, "RackLiquidFlow"): 1.1 * FLOW_LPM for rack in PLANT.racks})
    point = PLANT["cdu-0", "flow"]
    frozen = frame.with_columns(value=frame["value"].set(frame["point"] == point, 6 * FLOW_LPM))
    detector = Sensors(norms)
    answer = detector.detect(window(frozen, detector, PLANT.plant, 599.0), PLANT.plant, at(599.0))
    assert point in answer.distrusted
    named = {finding.subject.asset for finding in answer.findings if finding.kind is FindingKind.SENSOR_BIAS}
    assert "cdu-0" not in named


def test_a_real_change_of_flow_names_no_meter(norms: Norms) -> None:
    given = {
        ("r-2", "RackLiquidFlow"): 0.9 * FLOW_LPM,
        ("r-2", "RackLiquidDifferentialPressure"): DROP_KPA * 0.9**1.85,
        ("r-2", "RackLiquidReturnTemperature"): 35.0 + 10.0 / 0.9,
    }
    assert seen(Sensors(norms), given).findings == ()


def test_a_distrusted_meter_is_no_evidence_for_others(norms: Norms) -> None:
    given = {("r-2", "RackLiquidFlow"): 0.92 * FLOW_LPM}
    heat_norms = learned(Heat(), PLANT)
    frame = told(PLANT, 600.0, given)
    heat = Heat(heat_norms)
    shown = window(frame, heat, PLANT.plant, 599.0)
    believed = heat.detect(shown, PLANT.plant, at(599.0))
    assert FindingKind.HEAT_UNBALANCED in {finding.kind for finding in believed.findings}
    distrusted = seen(Sensors(norms), given).distrusted
    doubted = heat.detect(doubt(shown, distrusted), PLANT.plant, at(599.0))
    assert doubted.findings == ()
    assert any(u.kind is FindingKind.HEAT_UNBALANCED and u.subject.asset == "r-2" for u in doubted.unknown)
    assert doubt(shown, frozenset()) is shown


def test_a_frozen_sensor_is_told_once_for_its_asset_and_since_when() -> None:
    dice = np.random.default_rng(3)
    exact = PLANT["r-1", "RackLiquidFlow"], PLANT["r-1", "RackLiquidReturnTemperature"]
    frame = told(PLANT, 600.0)
    frozen = frame.with_columns(
        value=frame["value"].set(
            frame["point"].is_in(list(exact)) & (frame["time"] >= at(450.0)), float(dice.uniform(30.0, 40.0))
        )
    )
    detector = Sensors()
    answer = detector.detect(window(frozen, detector, PLANT.plant, 599.0), PLANT.plant, at(599.0))
    found = only(answer, FindingKind.SENSOR_FROZEN)
    assert found.subject.asset == "r-1"
    assert "2 sensors" in found.summary
    assert abs((at(450.0) - found.since).total_seconds()) <= 5.0
    assert answer.distrusted == set(exact)


def test_a_frozen_sensor_stays_found_when_the_window_has_forgotten_that_it_varied(norms: Norms) -> None:
    frame = told(PLANT, 600.0)
    point = PLANT["cdu-0", "level"]
    frozen = frame.with_columns(value=frame["value"].set(frame["point"] == point, 61.3))
    detector = Sensors(norms)
    shown = window(frozen, detector, PLANT.plant, 599.0)
    assert only(detector.detect(shown, PLANT.plant, at(599.0)), FindingKind.SENSOR_FROZEN).subject.asset == "cdu-0"
    unlearned = Sensors()
    assert unlearned.detect(shown, PLANT.plant, at(599.0)).findings == ()


def test_a_branch_that_is_shut_reads_nothing_and_is_not_frozen(norms: Norms) -> None:
    frame = told(PLANT, 600.0)
    shut = frame.with_columns(value=frame["value"].set(frame["point"] == PLANT["r-1", "RackLiquidFlow"], 0.0))
    detector = Sensors(norms)
    answer = detector.detect(window(shut, detector, PLANT.plant, 599.0), PLANT.plant, at(599.0))
    assert FindingKind.SENSOR_FROZEN not in {finding.kind for finding in answer.findings}


def test_many_that_freeze_together_are_one_finding(norms: Norms) -> None:
    frame = told(PLANT, 600.0)
    varying = frame["point"].is_in([p.id for p in PLANT.plant.points.values() if p.asset_kind in {"Rack", "CDU"}])
    held = frame.join(
        frame.group_by("point").first().select("point", first="value"), on="point", how="left", maintain_order="left"
    )["first"]
    frozen = frame.with_columns(value=frame["value"].zip_with(~varying, held))
    detector = Sensors(norms)
    answer = detector.detect(window(frozen, detector, PLANT.plant, 599.0), PLANT.plant, at(599.0))
    found = only(answer, FindingKind.SENSOR_FROZEN)
    assert found.subject == ("s", "s", "many at once")
    assert any(unknown.subject.asset == "r-1" and "many" in unknown.why for unknown in answer.unknown)


def test_what_cannot_be_is_implausible() -> None:
    answer = seen(Sensors(), {("cdu-0", "supply"): 142.0})
    found = only(answer, FindingKind.SENSOR_IMPLAUSIBLE)
    assert found.subject.asset == "cdu-0"
    assert answer.distrusted == {PLANT["cdu-0", "supply"]}
    blip = np.where(LASTS[-1] == LASTS, 142.0, 35.0)
    assert seen(Sensors(), {("cdu-0", "supply"): blip}).findings == ()


def test_twins_that_are_apart_disagree_and_none_is_named() -> None:
    answer = seen(Sensors(), {("cdu-0", "twin 2"): 41.5})
    found = only(answer, FindingKind.SENSORS_DISAGREE)
    assert found.subject.asset == "cdu-0"
    assert not answer.distrusted
    assert seen(Sensors(), {("cdu-0", "twin 2"): 40.6}).findings == ()


def test_of_three_twins_the_odd_one_is_named() -> None:
    plant = Full(racks=1, gpus=1)
    third = plant.add("cdu-0", "twin 3", "CDU", "LiquidTemperature", loop=Loop.SECONDARY, areas=("Tank",), part="3")
    plant.survey()
    answer = look(Sensors(), plant, {("cdu-0", "twin 3"): 42.0}, lasts_s=300.0)
    only(answer, FindingKind.SENSOR_BIAS)
    assert answer.distrusted == {third}


def twinned() -> Full:
    """A CDU with two sensors of its supply, its return and of the air beside it, and racks and air that can tell."""
    plant = Full(racks=4, gpus=1)
    for twin in (1, 2):
        for name, side in (("in", Side.SUPPLY), ("out", Side.RETURN)):
            part = {"areas": ("Second sensor",), "part": str(twin)}
            plant.add("cdu-0", f"{name} {twin}", "CDU", "LiquidTemperature", loop=Loop.SECONDARY, side=side, **part)
        plant.add("env", f"air {twin}", "Sensor", "AirTemperature", areas=("HotAisle",), part=str(twin))
    for other in range(3):
        plant.add(f"env-{other}", "air", "Sensor", "AirTemperature")
    plant.survey()
    return plant


TWINNED = twinned()
PAIRS = {
    **{("cdu-0", f"in {twin}"): 35.2 for twin in (1, 2)},
    **{("cdu-0", f"out {twin}"): 44.9 for twin in (1, 2)},
    **{("env", f"air {twin}"): 31.0 for twin in (1, 2)},
}


@pytest.mark.parametrize(("asset", "name", "off"), [("cdu-0", "in", 1.5), ("cdu-0", "out", -1.4), ("env", "air", 2.6)])
def test_of_two_twins_the_one_is_named_that_left_what_others_measure(asset: str, name: str, off: float) -> None:
    known = learned(Sensors(), TWINNED, given=PAIRS)
    assert look(Sensors(known), TWINNED, PAIRS, lasts_s=300.0).findings == ()
    wrong = PAIRS | {(asset, f"{name} 2"): PAIRS[asset, f"{name} 2"] + off}
    answer = look(Sensors(known), TWINNED, wrong, lasts_s=300.0)
    only(answer, FindingKind.SENSOR_BIAS)
    assert answer.distrusted == {TWINNED[asset, f"{name} 2"]}
    astride = PAIRS | {
        (asset, f"{name} {twin}"): PAIRS[asset, f"{name} {twin}"] + (twin - 1.5) * off for twin in (1, 2)
    }
    only(look(Sensors(known), TWINNED, astride, lasts_s=300.0), FindingKind.SENSORS_DISAGREE)


@pytest.mark.parametrize("share", [0.5, 1.5])
@pytest.mark.parametrize("at_s", [120.0, 280.0])
def test_a_load_step_makes_no_meter_lie(norms: Norms, share: float, at_s: float) -> None:
    after = np.maximum(LASTS - at_s, 0.0)
    later = 1.0 + (share - 1.0) * (1.0 - np.exp(-after / 17.0))
    given: dict[tuple[str, str], np.ndarray | float] = {}
    for rack in PLANT.racks:
        given[rack, "RackPower"] = 70.0 * np.where(at_s > LASTS, 1.0, share)
        given[rack, "RackLiquidReturnTemperature"] = 35.0 + 10.0 * 70.0 / POWER_KW * later
        for feed in "AB":
            given[f"{rack}-tap-{feed}", "power"] = 35.0 * np.where(at_s > LASTS, 1.0, share)
    answer = seen(Sensors(norms), given)
    assert answer.findings == ()


@pytest.mark.parametrize("change_k", [-3.0, 3.0])
def test_a_supply_that_moves_to_another_set_point_makes_no_meter_lie(norms: Norms, change_k: float) -> None:
    # Half the load, so that what the cold plates store weighs twice as much in the rise.
    rise_k = 5.2
    moved = change_k * np.clip((LASTS - 190.0) / 90.0, 0.0, 1.0)
    behind = np.zeros(LASTS.shape)
    for step in range(1, len(LASTS)):
        behind[step] = behind[step - 1] + (0.5 * (moved[step - 1] + moved[step]) - behind[step - 1]) * (
            1.0 - np.exp(-5.0 / 20.0)
        )
    given: dict[tuple[str, str], np.ndarray | float] = {}
    for rack in PLANT.racks:
        given[rack, "RackPower"] = POWER_KW * rise_k / 10.0
        given[rack, "RackLiquidSupplyTemperature"] = 35.0 + moved
        given[rack, "RackLiquidReturnTemperature"] = 35.0 + rise_k + behind
        for feed in "AB":
            given[f"{rack}-tap-{feed}", "power"] = 0.5 * POWER_KW * rise_k / 10.0
    answer = seen(Sensors(norms), given)
    assert answer.findings == ()
    # It is judged all the same, by the minutes before: a return that is off is named.
    given["r-2", "RackLiquidReturnTemperature"] = 35.0 + rise_k + behind + 0.6
    found = only(seen(Sensors(norms), given), FindingKind.SENSOR_BIAS)
    assert (found.subject.asset, found.subject.qualifier) == ("r-2", "RackLiquidReturnTemperature")


# --- clocks ---


class Bus:
    """One sender whose clock is off by so many seconds."""

    def __init__(self) -> None:
        self.loops, self.latest, self.vigil = Loops(racks=2), Latest(), Clocks()

    def at(self, second: float, off_s: float = 0.0, *, stands_at: float | None = None) -> list[str]:
        said = now(healthy(self.loops), second + off_s if stands_at is None else stands_at)
        self.latest.take(said, to_us(at(second)))
        answer = self.vigil.watch(self.latest, self.loops.plant, at(second))
        return [finding.summary for finding in answer.findings]


def test_a_clock_that_is_ahead_or_behind_is_told_once_for_its_sender() -> None:
    bus = Bus()
    assert bus.at(0.0) == []
    assert bus.at(10.0, 1.0) == []
    assert len(bus.at(20.0, 8.0)) == 1
    late = Bus()
    assert late.at(0.0, -10.0) == []
    (told_,) = late.at(100.0, -45.0)
    assert "behind" in told_


def test_a_clock_that_stands_still_is_not_only_behind() -> None:
    bus = Bus()
    for second in range(0, 30, 10):
        assert bus.at(float(second), stands_at=0.0 if second else None) == [], second
    (told_,) = bus.at(45.0, stands_at=0.0)
    assert "stood still" in told_


def test_old_values_that_are_sent_again_beside_fresh_ones_are_no_wrong_clock() -> None:
    loops, latest, vigil = Loops(racks=1), Latest(), Clocks()
    fresh = loops["r-0", "RackPower"]
    values = healthy(loops)
    latest.take(now(values, 0.0), to_us(at(500.0)))
    latest.take(Readings.of([fresh], [to_us(at(499.5))], [100.0], [0]), to_us(at(500.0)))
    assert vigil.watch(latest, loops.plant, at(500.0)).findings == ()


def test_a_sender_that_is_not_heard_is_unknown() -> None:
    loops = Loops(racks=1)
    assert Clocks().watch(Latest(), loops.plant, at(0.0)).unknown
