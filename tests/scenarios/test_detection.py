"""Detection as incident reports: what is found, when, with which argument, and what must not be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pytest

from dcim.core.findings import Bearing, Evidence, Finding, FindingKind
from dcim.core.limits import Limit
from dcim.core.live import Latest
from dcim.core.times import to_us
from dcim.detect.contact import Contact
from dcim.detect.flow import Flow
from dcim.detect.leaks import Leaks
from dcim.detect.limits import Limits
from dcim.detect.silence import Silence
from tests.scenarios.loop import START, Loops, Series, at, healthy, history, now, taken, window

LASTS_S = 600.0
TIMES = np.arange(0.0, LASTS_S, 5.0)
LEAK_S = 300.0


def falling(litres_a_minute: float) -> Series:
    """The level of a 50 L reservoir with a leak from LEAK_S on, per cent."""
    return 60.0 - 2.0 * litres_a_minute * np.maximum(TIMES - LEAK_S, 0.0) / 60.0


def first_found(
    given: Mapping[tuple[str, str], Series | float], *, seed: int = 0, until_s: float = LASTS_S
) -> tuple[float, Finding] | None:
    """When the inventory is first thought to fall, in seconds, and the finding."""
    loops, detector = Loops(), Leaks()
    frame = history(loops, LASTS_S, given, seed=seed)
    for second in np.arange(150.0, until_s, 5.0):
        answer = detector.detect(window(frame, detector, loops.plant, second), loops.plant, at(second))
        if answer.findings:
            return float(second), answer.findings[0]
    return None


@pytest.mark.parametrize("seed", range(5))
def test_a_fitting_of_two_litres_a_minute_is_found_within_90_seconds(seed: int) -> None:
    found = first_found({("cdu-0", "level"): falling(2.0)}, seed=seed)
    assert found is not None
    second, finding = found
    assert 0 < second - LEAK_S <= 90
    assert finding.kind is FindingKind.LEAK_SUSPECTED
    assert finding.subject.asset == "cdu-0"
    assert finding.time_to_limit_s is not None
    ruled_out = {line.what for line in finding.evidence if line.bearing is Bearing.RULED_OUT}
    assert any("expansion" in what for what in ruled_out)


@pytest.mark.slow
def test_half_a_litre_a_minute_takes_longer_but_is_found() -> None:
    found = first_found({("cdu-0", "level"): falling(0.5)})
    assert found is not None
    assert 60 < found[0] - LEAK_S <= 240


@pytest.mark.slow
def test_a_second_signal_makes_it_sure() -> None:
    alone = first_found({("cdu-0", "level"): falling(2.0)})
    agreed = first_found({("cdu-0", "level"): falling(2.0), ("r-1", "rope"): (TIMES > LEAK_S + 20).astype(float)})
    assert alone is not None
    assert agreed is not None
    assert alone[1].confidence < 0.9 < agreed[1].confidence


WARMING_K = 10.0 / (1.0 + np.exp(-(TIMES - LEAK_S) / 40.0))
# 500 L of PG25 gain some 0.046 % a kelvin, which a 50 L reservoir shows twice as large in per cent.
COOLING = {
    ("cdu-0", "supply"): 40.0 - WARMING_K,
    ("cdu-0", "return"): 50.0 - WARMING_K,
    ("cdu-0", "level"): 60.0 - 100.0 / 50.0 * 500.0 * 0.00046 * WARMING_K,
}
PUMP_CHANGE = {
    ("cdu-0", "pump 1"): np.where(TIMES < LEAK_S, 60.0, 90.0),
    ("cdu-0", "level"): np.where(TIMES < LEAK_S, 60.0, 58.0),
}
SAMPLE = {("cdu-0", "level"): np.where(TIMES < LEAK_S, 60.0, 56.0)}
FILLING = {
    ("cdu-0", "fill"): ((TIMES > LEAK_S) & (TIMES < LEAK_S + 60)).astype(float),
    ("cdu-0", "level"): 55.0 + np.clip((TIMES - LEAK_S) / 60.0, 0.0, 1.0) * 10.0,
}
LOAD_STEP = {("r-0", "RackPower"): np.where(TIMES < LEAK_S, 50.0, 110.0)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [{}, COOLING, PUMP_CHANGE, SAMPLE, FILLING, LOAD_STEP],
    ids=["healthy", "cooling", "pump change", "two litres drained at once", "filling", "load step"],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_what_only_looks_like_a_leak_is_none(given: Mapping[tuple[str, str], Series], seed: int) -> None:
    assert first_found(given, seed=seed) is None


class Arrivals:
    """A hall whose readings arrive, before one sentinel."""

    def __init__(self, sentinel: Contact | Flow) -> None:
        self.loops, self.latest, self.sentinel = Loops(gpus=2), Latest(), sentinel
        self.values: dict[int, float | None] = dict(healthy(self.loops))
        self.at(0)

    def at(self, second: float, **changes: float | None) -> list[Finding]:
        """Everything is read at a second, with changes: r_1__rope=1 is asset r-1, point "rope"."""
        for name, value in changes.items():
            asset, _, point = name.partition("__")
            self.values[self.loops[asset.replace("_", "-"), point.replace("_", " ")]] = value
        arrived = taken(self.latest, now(self.values, second), second)
        return list(self.sentinel.look(arrived, self.latest, self.loops.plant, at(second)).findings)


def test_a_wet_rope_is_found_at_once_and_a_wet_tray_makes_it_sure() -> None:
    hall = Arrivals(Contact())
    assert hall.at(10) == []
    (wet,) = hall.at(20, r_1__rope=1.0)
    assert (wet.kind, wet.subject.asset) == (FindingKind.LEAK_WET, "r-1")
    assert wet.confidence < 0.9
    assert any(line.bearing is Bearing.AGAINST for line in wet.evidence)
    assert any("live" in step or "power" in step for step in wet.check_first)
    both = hall.at(30, r_1__tray=1.0)
    assert {finding.subject.asset for finding in both} == {"r-1"}
    assert max(finding.confidence for finding in both) > 0.9
    assert hall.at(40, r_1__rope=0.0, r_1__tray=0.0) == []


def test_a_wet_rope_is_sure_where_the_loop_is_known_to_lose_coolant() -> None:
    told: dict[str, tuple[datetime, Evidence]] = {}
    hall = Arrivals(Contact(losing=lambda cdu: told.get(cdu.id)))
    (alone,) = hall.at(20, r_1__rope=1.0)
    assert alone.confidence < 0.9
    told["cdu-0"] = at(25), Evidence("The loop", "Coolant leaves the loop of cdu-0: 0.5 L/min")
    (sure,) = hall.at(30, r_1__rope=1.0)
    assert sure.confidence > 0.9
    assert any("0.5 L/min" in line.shows for line in sure.evidence)
    (later,) = hall.at(200, r_1__rope=1.0)
    assert later.confidence == alone.confidence  # what was said then is old


def test_a_faulty_sensor_is_not_dry_and_its_wet_is_doubted() -> None:
    hall = Arrivals(Contact())
    (fault,) = hall.at(10, r_2__fault=1.0)
    assert (fault.kind, fault.subject.asset) == (FindingKind.LEAK_SENSOR_FAULT, "r-2")
    found = {finding.kind: finding for finding in hall.at(20, r_2__rope=1.0)}
    sure = Arrivals(Contact()).at(10, r_2__rope=1.0)[0]
    assert found[FindingKind.LEAK_WET].confidence < sure.confidence


def test_a_pump_trip_is_one_finding_and_a_shut_branch_is_another() -> None:
    hall = Arrivals(Flow())
    stopped = {f"r_{rack}__RackLiquidFlow": 8.0 for rack in range(4)}
    (lost,) = hall.at(10, cdu_0__flow=32.0, cdu_0__pump_1=0.0, **stopped)
    assert (lost.kind, lost.subject.asset) == (FindingKind.FLOW_LOST, "cdu-0")
    assert lost.time_to_limit_s is not None
    back = {f"r_{rack}__RackLiquidFlow": 179.0 for rack in range(4)}
    assert hall.at(20, cdu_0__flow=716.0, cdu_0__pump_2=80.0, **back) == []
    (branch,) = hall.at(30, r_3__RackLiquidFlow=20.0)
    assert branch.subject.asset == "r-3"


def test_a_meter_that_was_found_off_is_doubted_and_no_evidence_for_its_cdu() -> None:
    hall = Arrivals(Flow())
    (sure,) = hall.at(10, r_3__RackLiquidFlow=20.0)
    hall.latest.distrusted = frozenset({hall.loops["r-3", "RackLiquidFlow"]})
    (doubted,) = hall.at(20)
    assert doubted.confidence < sure.confidence
    assert any("frozen" in line.shows and line.bearing is Bearing.AGAINST for line in doubted.evidence)
    # Its racks' meters speak against a CDU that says "none"; frozen ones say nothing.
    frozen = Arrivals(Flow())
    frozen.latest.distrusted = frozenset(frozen.loops[f"r-{rack}", "RackLiquidFlow"] for rack in range(4))
    (lost,) = frozen.at(10, cdu_0__flow=0.0)
    assert lost.subject.asset == "cdu-0"


def test_an_idle_rack_needs_no_flow_and_a_dead_meter_is_not_believed() -> None:
    hall = Arrivals(Flow())
    assert hall.at(10, r_0__RackPower=2.0, r_0__RackLiquidFlow=0.0) == []
    assert hall.at(20, cdu_0__flow=0.0) == []


def test_limits_hold_between_the_limit_and_the_deadband() -> None:
    loops = Loops()
    detector = Limits([Limit("hot", "RackLiquidSupplyTemperature", above=37.0, deadband=1.0)])

    def look(supply_c: float) -> tuple[int, int]:
        frame = history(loops, 60, {("r-0", "RackLiquidSupplyTemperature"): supply_c})
        answer = detector.detect(window(frame, detector, loops.plant, 59), loops.plant, at(59))
        return len(answer.findings), len(answer.between)

    assert look(35.0) == (0, 0)
    assert look(36.5) == (0, 1)
    assert look(37.5) == (1, 0)


def test_silence_is_counted_by_our_clock_and_told_once_an_asset() -> None:
    loops, latest, vigil = Loops(racks=2), Latest(), Silence(START)
    taken(latest, now(healthy(loops)), 0)
    vigil.watch(latest, loops.plant, at(0))
    only = {number: value for number, value in healthy(loops).items() if number != loops["r-0", "RackPower"]}
    for second in range(100, 700, 100):
        taken(latest, now(only, second), second)
        answer = vigil.watch(latest, loops.plant, at(second))
        stale = [finding for finding in answer.findings if finding.kind is FindingKind.POINT_STALE]
        assert [finding.subject.asset for finding in stale] == (["r-0"] if second > 250 else [])


def test_what_its_sender_says_is_as_it_was_is_not_silent() -> None:
    """A Sparkplug node sends changes alone: a steady value is not sent again, and is known all the same."""
    loops, latest, vigil = Loops(racks=1), Latest(), Silence(START)
    steady, never = loops["r-0", "RackPower"], loops["r-0", "RackLiquidFlow"]
    taken(latest, now({number: value for number, value in healthy(loops).items() if number != never}), 0)
    vigil.watch(latest, loops.plant, at(0))
    for second in (200, 400):
        latest.hear(np.array([steady, never, 10_000], np.uint32), to_us(at(second)))
    assert latest.heard_of(never) is None  # nobody knows a value that has not changed since it never came
    (stale,) = [
        finding
        for finding in vigil.watch(latest, loops.plant, at(500)).findings
        if (finding.kind, finding.subject.asset) == (FindingKind.POINT_STALE, "r-0")
    ]
    shown = {evidence.point for evidence in stale.evidence}
    assert steady not in shown
    assert never in shown


def test_a_heartbeat_that_stops_is_a_silent_source_after_30_seconds() -> None:
    loops, latest, vigil = Loops(racks=1), Latest(), Silence(START)
    beat = loops.add("BMS", "heartbeat", "System", "HeartbeatTimestampBms")
    plant = loops.survey()
    taken(latest, now({beat: float(to_us(START) // 1000)}, 0), 0)

    def silent(second: float) -> list[str]:
        answer = vigil.watch(latest, plant, at(second))
        return [finding.subject.site for finding in answer.findings if finding.kind is FindingKind.SOURCE_SILENT]

    assert silent(25) == []
    assert silent(31) == ["s"]
    taken(latest, now({beat: float(to_us(at(32)) // 1000)}, 32), 32)
    assert silent(33) == []
