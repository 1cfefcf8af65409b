"""Heat at racks and GPUs: what is found with which argument, and what must not be. Physics makes the frames."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, FindingKind
from dcim.detect.norms import Norms
from dcim.detect.thermal import Heat
from tests.scenarios.full import DROP_KPA, FLOW_LPM, GPU_K_W, POWER_KW, Full, Given, learned, look, only, times

RACKS = Full(racks=8, nodes=1, gpus=8)
LASTS = times(600.0)


@pytest.fixture(scope="module")
def norms() -> Norms:
    return learned(Heat(), RACKS)


def warmer(names: list[str], share: float) -> Given:
    """GPUs whose resistance is up by a share."""
    return {(name, "GpuTemperature"): 35.0 + GPU_K_W * (1.0 + share) * 900.0 for name in names}


def test_a_gpu_that_ages_is_found_at_ten_and_at_twenty_percent(norms: Norms) -> None:
    high = look(Heat(norms), RACKS, warmer(["r-3-n0-gpu2"], 0.12))
    kinds = {finding.kind for finding in high.findings}
    assert kinds <= {FindingKind.GPU_RESISTANCE_HIGH, FindingKind.GPU_HOT}
    (aged,) = [finding for finding in high.findings if finding.kind is FindingKind.GPU_RESISTANCE_HIGH]
    assert aged.subject.asset == "r-3-n0-gpu2"
    assert any(line.bearing is Bearing.RULED_OUT and "Flow" in line.what for line in aged.evidence)
    very = look(Heat(norms), RACKS, warmer(["r-3-n0-gpu2"], 0.25))
    assert FindingKind.GPU_RESISTANCE_VERY_HIGH in {finding.kind for finding in very.findings}
    assert FindingKind.GPU_RESISTANCE_HIGH not in {finding.kind for finding in very.findings}
    assert (FindingKind.GPU_RESISTANCE_HIGH, aged.subject) in very.between


def test_a_hot_gpu_is_found_among_its_like_without_any_norm() -> None:
    hot = only(look(Heat(), RACKS, warmer(["r-5-n0-gpu1"], 0.2)), FindingKind.GPU_HOT)
    assert hot.subject.asset == "r-5-n0-gpu1"
    assert hot.score > 4.0


def test_too_few_peers_or_too_little_power_cannot_be_told() -> None:
    few = Full(racks=2, gpus=2)
    answer = look(Heat(), few)
    assert {unknown.why for unknown in answer.unknown if unknown.kind is FindingKind.GPU_HOT} == {
        "fewer than 8 like it can be compared"
    }
    idle = look(Heat(), RACKS, {(name, "GpuPower"): 0.2 for name in RACKS.gpus})
    assert all("readings at a steady power" in u.why for u in idle.unknown if u.kind is FindingKind.GPU_HOT)


def test_where_no_gpu_can_be_judged_each_is_told_as_beside_one_that_can(norms: Norms) -> None:
    one, kinds = (
        RACKS.gpus[0],
        {FindingKind.GPU_HOT, FindingKind.GPU_RESISTANCE_HIGH, FindingKind.GPU_RESISTANCE_VERY_HIGH},
    )
    idle = {(name, "GpuPower"): 0.2 for name in RACKS.gpus}
    none = look(Heat(norms), RACKS, idle)
    but_one = look(Heat(norms), RACKS, {place: power for place, power in idle.items() if place[0] != one})
    others = [
        {unknown for unknown in answer.unknown if unknown.kind in kinds and unknown.subject.asset != one}
        for answer in (none, but_one)
    ]
    assert others[0] == others[1] and len(others[0]) == 3 * (len(RACKS.gpus) - 1)
    assert {unknown.kind for unknown in none.unknown if unknown.subject.asset == one} == kinds
    assert not [finding for finding in none.findings if finding.kind in kinds]


def test_a_blocked_branch_is_one_finding_and_not_eight(norms: Norms) -> None:
    node = [name for name in RACKS.gpus if name.startswith("r-2-")]
    given = {**warmer(node, 0.15), ("r-2", "RackLiquidFlow"): 0.95 * FLOW_LPM}
    answer = look(Heat(norms), RACKS, given)
    blocked = only(answer, FindingKind.BRANCH_BLOCKED)
    assert blocked.subject.asset == "r-2"
    assert any("r-2-n0" in line.what for line in blocked.evidence)


def test_less_flow_at_less_pressure_is_no_blocked_branch(norms: Norms) -> None:
    # The pump runs slower: everything is warmer, and the restriction is what it was.
    given: dict[tuple[str, str], float] = dict(warmer(RACKS.gpus, 0.08))
    for rack in RACKS.racks:
        given[rack, "RackLiquidFlow"] = 0.93 * FLOW_LPM
        given[rack, "RackLiquidDifferentialPressure"] = DROP_KPA * 0.93**1.85
        given[rack, "RackLiquidReturnTemperature"] = 35.0 + 10.0 / 0.93
    assert look(Heat(norms), RACKS, given).findings == ()


def test_a_valve_that_was_closed_is_unknown_and_no_blocked_branch(norms: Norms) -> None:
    given = {("r-2", "RackLiquidFlow"): 0.8 * FLOW_LPM, ("r-2", "RackControlValvePosition"): 50.0}
    answer = look(Heat(norms), RACKS, given)
    assert FindingKind.BRANCH_BLOCKED not in {finding.kind for finding in answer.findings}
    why = {unknown.why for unknown in answer.unknown if unknown.subject.asset == "r-2"}
    assert any("valve" in words for words in why)


def test_a_heat_balance_that_is_off_is_found_and_needs_five_kelvin(norms: Norms) -> None:
    off = only(look(Heat(norms), RACKS, {("r-1", "RackLiquidReturnTemperature"): 44.0}), FindingKind.HEAT_UNBALANCED)
    assert off.subject.asset == "r-1"
    assert "less" in off.summary
    small = look(Heat(norms), RACKS, {("r-1", "RackLiquidReturnTemperature"): 38.0})
    assert small.findings == ()
    assert any(u.subject.asset == "r-1" and u.kind is FindingKind.HEAT_UNBALANCED for u in small.unknown)


def step(share: float, *, at_s: float = 300.0) -> Given:
    """A job's step of all racks at once; heat and GPUs follow over 17 s."""
    after = np.maximum(LASTS - at_s, 0.0)
    now = 1.0 + share * (at_s <= LASTS)
    later = 1.0 + share * (1.0 - np.exp(-after / 17.0)) * (at_s <= LASTS)
    given: dict[tuple[str, str], np.ndarray] = {}
    for rack in RACKS.racks:
        given[rack, "RackPower"] = POWER_KW * now
        given[rack, "RackLiquidReturnTemperature"] = 35.0 + 10.0 * later
    for name in RACKS.gpus:
        given[name, "GpuPower"] = 0.6 * now
        given[name, "GpuTemperature"] = 35.0 + GPU_K_W * 600.0 * later
    return given


@pytest.mark.parametrize("at_s", [300.0, 500.0, 580.0])
@pytest.mark.parametrize("share", [0.5, -0.4])
def test_a_load_step_is_no_anomaly(norms: Norms, share: float, at_s: float) -> None:
    answer = look(Heat(norms), RACKS, step(share, at_s=at_s))
    assert answer.findings == ()
    assert not answer.between


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_plant_is_quiet(norms: Norms, seed: int) -> None:
    answer = look(Heat(norms), RACKS, seed=seed)
    assert answer.findings == ()
    assert not answer.unknown


@pytest.mark.parametrize(
    ("what", "series"),
    [
        ("GpuClockEventReasons", 0x40 * (LASTS > 550.0)),
        ("GpuClockEventReasons", (0x20 | 0x4) * (LASTS > 550.0)),
        ("GpuSoftwareThermalSlowdownTime", 12.0 + np.maximum(LASTS - 560.0, 0.0)),
    ],
    ids=["hardware bit", "software bit beside a cap", "counter"],
)
def test_throttling_is_told_once_for_a_rack(what: str, series: np.ndarray) -> None:
    given = {(name, what): series.astype(float) for name in RACKS.gpus if name.startswith("r-6-")}
    found = only(look(Heat(), RACKS, given), FindingKind.GPU_THROTTLED)
    assert found.subject.asset == "r-6"
    assert "8 of 8" in found.summary


def test_a_power_cap_is_no_throttling() -> None:
    given: dict[tuple[str, str], float] = {(name, "GpuClockEventReasons"): 4.0 for name in RACKS.gpus}
    given |= {(name, "GpuPower"): 0.6 for name in RACKS.gpus}
    given |= {(name, "GpuTemperature"): 35.0 + GPU_K_W * 600.0 for name in RACKS.gpus}
    assert look(Heat(), RACKS, given).findings == ()


def test_norms_are_learned_by_looks_and_not_where_an_alarm_stands() -> None:
    detector = Heat()
    assert all("learned" in u.why for u in look(detector, RACKS).unknown if u.kind is FindingKind.GPU_RESISTANCE_HIGH)
    detector.learn(frozenset())
    look(detector, RACKS, lasts_s=900.0)
    detector.learn({AssetKey("s", "r-0-n0-gpu0")})
    told = set(detector.norms.to_frame().filter(statistic="gpu resistance")["point"].to_list())
    assert RACKS["r-0-n0-gpu1", "GpuTemperature"] in told
    assert RACKS["r-0-n0-gpu0", "GpuTemperature"] not in told


def test_what_is_found_is_not_learned(norms: Norms) -> None:
    detector = Heat(norms)
    point = np.array([RACKS["r-3-n0-gpu2", "GpuTemperature"]])
    before = norms.of("gpu resistance", point, 0.0)
    for lasts_s in (600.0, 1_200.0, 1_800.0):
        look(detector, RACKS, warmer(["r-3-n0-gpu2"], 0.3), lasts_s=lasts_s)
        detector.learn(frozenset())
    assert detector.norms.of("gpu resistance", point, 0.0) == before
