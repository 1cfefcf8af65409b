"""The demo's half hour under all that looks at it: each fault is found in its time with its argument, and the training
job that halts is found by nobody.

Norms count after ten minutes, as they do in the demo. Not here: the service around it (tests/browser/test_demo.py)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import polars as pl
import pytest

from dcim.app.demo import LEARNING_SPEED, REMARKS
from dcim.core.findings import Bearing, Detection, Finding, FindingKind
from dcim.core.plant import Plant
from dcim.core.ports import Detector, Learner
from dcim.detect.contact import Contact
from dcim.detect.cooling import Cooling
from dcim.detect.damp import Damp
from dcim.detect.electrical import Electrical
from dcim.detect.flow import Flow
from dcim.detect.leaks import Leaks
from dcim.detect.norms import Norms
from dcim.detect.sensors import Sensors
from dcim.detect.thermal import Heat
from dcim.detect.window import doubt
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.timetable import Event, Timetable, demo
from tests.scenarios.rig import Log, play

HALL = Hall(HallSettings(hosts_per_rack=3))
EVENTS = {event.turns[0].kind: event for event in demo(HALL).events}


class InTurn:
    """A detector that learns after each look, and is shown as bad what the sensors' detector distrusted."""

    def __init__(self, inner: Detector, distrusted: set[int]) -> None:
        self.inner, self.distrusted = inner, distrusted
        self.name, self.kinds, self.needs = inner.name, inner.kinds, inner.needs

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        doubts = isinstance(self.inner, Sensors)
        answer = self.inner.detect(window if doubts else doubt(window, self.distrusted), plant, at)
        if doubts:
            self.distrusted.clear()
            self.distrusted.update(answer.distrusted)
        if isinstance(self.inner, Learner):
            self.inner.learn(frozenset())
        return answer


@pytest.fixture(scope="module")
def half_hour() -> Log:
    norms, distrusted = Norms(speed=LEARNING_SPEED), set[int]()
    learners = (Sensors(norms), Heat(norms), Cooling(norms), Electrical(norms))
    detectors = (learners[0], Leaks(), *learners[1:3], Damp(), learners[3])
    return play(
        1_800.0,
        hall=HALL,
        timetable=demo(HALL),
        gpus=True,
        pace_s=5.0,
        tick_s=10.0,
        sentinels=(Contact(), Flow()),
        detectors=[InTurn(one, distrusted) for one in detectors],
    )


def found(log: Log, since_s: float, until_s: float) -> dict[tuple[FindingKind, str], tuple[float, Finding]]:
    """What was found between two seconds, and when first."""
    first: dict[tuple[FindingKind, str], tuple[float, Finding]] = {}
    for said in log.said:
        if since_s <= said.at_s < until_s:
            for finding in said.detection.findings:
                first.setdefault((finding.kind, finding.subject.asset), (said.at_s, finding))
    return first


def explained(finding: Finding) -> None:
    """A person can follow it: what speaks for it, what else was ruled out, and what to do first."""
    bearings = [line.bearing for line in finding.evidence]
    assert Bearing.FOR in bearings
    assert bearings.count(Bearing.FOR) + bearings.count(Bearing.RULED_OUT) >= 3
    assert finding.check_first


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_fault_of_the_half_hour_is_found_where_it_is_and_nothing_else(half_hour: Log) -> None:
    leak, blocked, biased = (EVENTS[kind] for kind in ("fitting_leak", "branch_blocked", "temperature_bias"))
    seen = found(half_hour, 0.0, 1_800.0)
    expected = {
        (FindingKind.LEAK_WET, leak.turns[0].place): leak,
        (FindingKind.LEAK_SUSPECTED, HALL.cdus[0]): leak,
        (FindingKind.BRANCH_BLOCKED, blocked.turns[0].place): blocked,
        (FindingKind.SENSOR_BIAS, biased.turns[0].place): biased,
    }
    assert set(seen) - {(FindingKind.FLOW_LOST, HALL.cdus[0])} == set(expected)  # a dip that a pace of 5 s may miss
    for place, event in expected.items():
        at_s, finding = seen[place]
        assert event.onset_s < at_s <= event.onset_s + event.lasts_s, place
        if place[0] is not FindingKind.LEAK_WET:  # a contact needs one line, and has it
            explained(finding)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_job_that_halts_is_no_fault_and_the_demo_says_so(half_hour: Log) -> None:
    step = EVENTS["load_step"]
    assert not step.turns[0].harmful
    assert found(half_hour, step.onset_s, step.onset_s + step.lasts_s + 120.0) == {}
    assert "no alarm" in REMARKS["load_step"]


@pytest.mark.slow
def test_the_pump_trip_of_the_demo_is_found_within_three_seconds() -> None:
    event: Event = replace(EVENTS["pump_trip"], onset_s=60.0)
    log = play(120.0, hall=HALL, timetable=Timetable((event,)), sentinels=(Flow(),))
    at_s, finding = log.first(FindingKind.FLOW_LOST)
    assert 60.0 < at_s <= 63.0
    explained(finding)
    assert finding.subject.asset == HALL.cdus[0]
