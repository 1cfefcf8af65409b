"""The short way through a plant in which nothing is wet gives the answer of the long one."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dcim.core.live import Latest
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect import contact
from dcim.detect.contact import CONTACTS, FAULT_BITS, Contact
from tests.scenarios.loop import Loops, at

LOOPS = Loops(racks=2, cdus=2)
LOOPS.add("odd", "rope", "Sensor", "LeakDetect", states=((0, "Leak"), (1, "NoLeak")))
LOOPS.add("bare", "rope", "Sensor", "LeakDetect")
LOOPS.add("strange", "rope", "Sensor", "LeakDetect", unit="furlong", unit_known=False)
LOOPS.survey()
SENSORS = sorted(point.id for point in LOOPS.plant.of(*CONTACTS, *FAULT_BITS))
ODD = LOOPS["odd", "rope"]


def readings(draw: st.DrawFn, points: list[int], second: float) -> Readings:
    """Mostly what is dry, sound and good."""
    usual = {point: 1.0 if point == ODD else 0.0 for point in points}
    rare = draw(st.dictionaries(st.sampled_from(points), st.sampled_from([0.0, 1.0, 2.0, math.nan]), max_size=2))
    doubt = draw(st.dictionaries(st.sampled_from(points), st.sampled_from(list(Quality)), max_size=2))
    values = usual | rare
    quality = [Quality.BAD if math.isnan(values[point]) else doubt.get(point, Quality.GOOD) for point in points]
    return Readings.of(points, [to_us(at(second))] * len(points), [values[point] for point in points], quality)


@given(st.data())
def test_quiet_is_what_a_close_look_says(data: st.DataObject) -> None:
    latest, second = Latest(), 0.0
    for pause_s in data.draw(st.lists(st.sampled_from([1.0, 249.0, 250.0, 251.0]), min_size=1, max_size=3)):
        second += pause_s
        some = data.draw(st.lists(st.sampled_from(SENSORS), min_size=1, unique=True))
        arrived = readings(data.draw, some, second)
        latest.take(arrived, to_us(at(second)))
    late = data.draw(st.sampled_from([0.0, 250.0, 251.0]))
    short = Contact().look(arrived, latest, LOOPS.plant, at(second + late))
    with patch.object(contact._Quiet, "judged", lambda *_: None):
        close = Contact().look(arrived, latest, LOOPS.plant, at(second + late))
    assert short == close


def test_a_dry_hall_takes_the_short_way_and_a_wet_sensor_does_not() -> None:
    usual = [sensor for sensor in SENSORS if sensor != LOOPS["strange", "rope"]]
    values = [1.0 if sensor == ODD else 0.0 for sensor in usual]
    arrived = Readings.of(usual, [to_us(at(1))] * len(usual), values, [0] * len(usual))
    latest = Latest()
    latest.take(arrived, to_us(at(1)))
    with patch.object(Contact, "_affected", side_effect=AssertionError("the long way")):
        detection = Contact().look(arrived, latest, LOOPS.plant, at(1))
    assert not detection.findings and not detection.unknown
    assert detection.looked_at is not None and len(detection.looked_at) == len(usual)

    wet = Readings.of([usual[0]], [to_us(at(2))], [1.0], [0])
    latest.take(wet, to_us(at(2)))
    detection = Contact().look(replace(wet), latest, LOOPS.plant, at(2))
    assert [finding.subject.asset for finding in detection.findings] == [LOOPS.plant.points[usual[0]].asset]
