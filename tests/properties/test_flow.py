"""The short way past racks and circuits that plainly have enough gives the answer of the long one."""

from __future__ import annotations

import math
from datetime import datetime
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.core.live import Latest
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect.flow import Flow
from dcim.detect.wide import Bools
from tests.scenarios.loop import Loops, at, healthy, now, taken

LOOPS = Loops(racks=3, cdus=3)
LOOPS.add("r-0", "second power", "Rack", "RackPower", unit="furlong", unit_known=False)
LOOPS.add("cdu-1", "state 1", "CDU", "PumpSpeedState", states=((0, "Off"), (1, "On")))
LOOPS.add("alone", "RackLiquidFlow", "Rack", "RackLiquidFlow")
LOOPS.add("alone", "RackPower", "Rack", "RackPower")
LOOPS.add("deaf", "RackPower", "Rack", "RackPower")
LOOPS.add("strange", "RackLiquidFlow", "Rack", "RackLiquidFlow", unit="furlong", unit_known=False)
LOOPS.add("strange", "RackPower", "Rack", "RackPower")
LOOPS.add("mute", "rope", "Rack", "RackLeakDetect")
LOOPS.add("cdu-2", "supply 2", "CDU", "LiquidTemperature", serves=("mute",))
LOOPS.survey()
USUAL = healthy(LOOPS, racks=3)
POINTS = sorted(point.id for point in LOOPS.plant.of(*Flow.quantities))
# About the bounds of a rack of 100 kW: 62.5 L/min are lost, 75 are back; of three racks, three times as much.
VALUES = st.sampled_from([0.0, 1.0, 4.0, 62.0, 62.5, 74.0, 75.0, 100.0, 187.5, 225.0, 300.0, -50.0, math.nan, math.inf])


class Closely(Flow):
    """Looks at each of them."""

    def _enough(self, latest: Latest, at: datetime) -> tuple[Bools, Bools]:
        racks, circuits = super()._enough(latest, at)
        return np.zeros_like(racks), np.zeros_like(circuits)


@pytest.mark.slow
@given(st.data())
def test_enough_is_what_a_close_look_says(data: st.DataObject) -> None:
    latest, second = Latest(), 0.0
    arrived = Readings.empty()
    for pause_s in data.draw(st.lists(st.sampled_from([1.0, 249.0, 250.0, 251.0]), min_size=1, max_size=3)):
        second += pause_s
        some = sorted(data.draw(st.sets(st.sampled_from(POINTS), min_size=1)))
        odd = data.draw(st.dictionaries(st.sampled_from(POINTS), VALUES, max_size=5))
        doubt = data.draw(st.dictionaries(st.sampled_from(POINTS), st.sampled_from(list(Quality)), max_size=2))
        values = [odd.get(point, USUAL[point]) for point in some]
        quality = [doubt.get(point, Quality.GOOD) for point in some]
        arrived = Readings.of(some, [to_us(at(second))] * len(some), values, quality)
        taken(latest, arrived, second)
    latest.distrusted = frozenset(data.draw(st.sets(st.sampled_from(POINTS), max_size=2)))
    late = at(second + data.draw(st.sampled_from([0.0, 250.0, 251.0])))
    assert Flow().look(arrived, latest, LOOPS.plant, late) == Closely().look(arrived, latest, LOOPS.plant, late)


def test_a_hall_that_has_enough_takes_the_short_way_and_a_rack_that_has_not_does_not() -> None:
    hall = Loops(racks=4, cdus=2)
    latest = Latest()
    arrived = taken(latest, now(healthy(hall)), 0.0)
    with (
        patch.object(Flow, "_judge_rack", side_effect=AssertionError("the long way")),
        patch.object(Flow, "_judge_circuit", side_effect=AssertionError("the long way")),
    ):
        detection = Flow().look(arrived, latest, hall.plant, at(0))
    assert not detection.findings and not detection.unknown and not detection.between
    assert detection.looked_at is not None and len(detection.looked_at) == 10

    low = taken(latest, now({hall["r-5", "RackLiquidFlow"]: 20.0}, 1.0), 1.0)
    (finding,) = Flow().look(low, latest, hall.plant, at(1)).findings
    assert finding.subject.asset == "r-5"
