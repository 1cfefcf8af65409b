"""Leaks, and what only looks like one, in the simulated hall: eight loops at once, each with something of its own.

Lives here: physics that nobody wrote down for the detector. Not here: single signals (test_leaks.py), the figures of
the evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dcim.core.findings import FindingKind
from dcim.detect.leaks import Leaks
from dcim.sim.faults import (
    Burst,
    Condensation,
    Fault,
    Filling,
    FittingLeak,
    FlowMeter,
    LoadStep,
    PinholeLeak,
    PowerCap,
    PumpChangeover,
    PumpTrip,
    QuickConnectSwap,
    SetpointChange,
    TemperatureBias,
)
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.timetable import Event, Timetable
from tests.scenarios.rig import play

LOOPS, RACKS = 8, 2
SETTINGS = HallSettings(
    racks=LOOPS * RACKS,
    cdus=LOOPS,
    hosts_per_rack=1,
    gpus_per_host=2,
    gpu_power_kw=36.0,
    reservoir_l=12.5,  # as much for a rack as in the baseline
    fill_lpm=1.5,
    serial=3,
)
ONSET_S = 600.0


def found(faults: Mapping[int, Fault], lasts_s: float) -> dict[str, tuple[float, FindingKind, str]]:
    """By CDU, the first finding: seconds after the onset, kind, summary. Each fault is in the loop of its number."""
    hall = Hall(SETTINGS)
    events = tuple(Event(ONSET_S, lasts_s - ONSET_S, (fault,)) for fault in faults.values())
    log = play(lasts_s, timetable=Timetable(events), hall=hall, seed=11, pace_s=10.0, tick_s=20.0, detectors=[Leaks()])
    answers: dict[str, tuple[float, FindingKind, str]] = {}
    for said in log.said:
        for one in said.detection.findings:
            answers.setdefault(one.subject.asset, (said.at_s - ONSET_S, one.kind, one.summary))
    return answers


def rack(loop: int) -> str:
    return Hall(SETTINGS).racks[loop * RACKS]


def cdu(loop: int) -> str:
    return Hall(SETTINGS).cdus[loop]


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute and a half of processor time
def test_leaks_of_every_size_are_found_and_nothing_is_said_of_the_loops_beside_them() -> None:
    leaks: dict[int, Fault] = {
        0: Burst(rack(0), 40.0),
        1: FittingLeak(rack(1), 4.0, 120.0),
        2: FittingLeak(rack(2), 0.6, 120.0),
        3: PinholeLeak(rack(3), 0.1, 3_600.0),
    }
    answers = found(leaks, 2_400.0)
    assert set(answers) == {cdu(loop) for loop in leaks}
    assert {kind for _, kind, _ in answers.values()} == {FindingKind.LEAK_SUSPECTED}
    for loop, most_s in enumerate((40.0, 60.0, 90.0, 1_800.0)):
        assert 0.0 < answers[cdu(loop)][0] <= most_s, answers[cdu(loop)]


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute and a half of processor time
def test_what_only_looks_like_a_leak_is_none() -> None:
    confounders: dict[int, Fault] = {
        0: LoadStep(cdu(0), -0.8),
        1: LoadStep(cdu(1), 0.6),
        2: SetpointChange(cdu(2), -3.0),
        3: PumpChangeover(cdu(3), 2),
        4: PumpTrip(cdu(4), 1),
        5: QuickConnectSwap(rack(5), 0.5),
        6: FlowMeter(cdu(6), 0.08),
        7: TemperatureBias(cdu(7), 2.0, "return"),
    }
    assert found(confounders, 7_200.0) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute and a half of processor time
def test_more_of_what_only_looks_like_a_leak_is_none() -> None:
    confounders: dict[int, Fault] = {
        0: PowerCap(rack(0), 0.6),
        1: Filling(cdu(1)),
        2: QuickConnectSwap(rack(2), 0.3),
        3: SetpointChange(cdu(3), 3.0),
        4: FlowMeter(rack(4), -0.1),
        5: Condensation("H1-ENV", 18.0),
        6: TemperatureBias(cdu(6), -2.0, "supply"),
    }
    assert found(confounders, 5_400.0) == {}
