"""Many assets that fall silent at once are one silence; some that do not, are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from alerts import rules
from dcim.app.playback import Played, Stretch, even, play, usable
from dcim.app.recorded import plant_of
from dcim.core.findings import FindingKind
from dcim.core.points import Point
from dcim.core.readings import Readings
from dcim.core.times import SECOND_US, to_us
from dcim.detect.silence import Silence

START = datetime(2026, 3, 1, tzinfo=UTC)


def house(gone: int, stay: int, over_s: float = 60.0, back: int = 0) -> Played:
    """Assets that speak every minute for an hour; `gone` of them stop at ten minutes, within over_s, and the first
    `back` of these speak again from half an hour on."""
    count = gone + stay
    points = [
        Point(number, f"lab|b|N{number}/t", "lab", f"N{number}", "GenericObject", f"N{number}", "AirTemperature", "°C")
        for number in range(count)
    ]
    rows = []
    for number in range(count):
        stops_s = 600.0 + over_s * number / max(gone, 1) if number < gone else 3_600.0
        times = np.arange(number % 60, 3_600.0, 60.0)
        kept = (times < stops_s) | ((number < back) & (times >= 1_800.0))
        rows += [(number, to_us(START) + int(second * SECOND_US), 20.0) for second in times[kept]]
    numbers, stamps, values = zip(*rows, strict=True)
    readings = usable(Readings.of(numbers, stamps, values, [0] * len(rows)))
    end = START + timedelta(hours=1)
    return play(
        [Stretch(readings, to_us(end))],
        plant_of(points, {}, "test"),
        rules.default(),
        vigils=[Silence(START)],
        start=START,
        ticks=even(START, end, 30.0),
    )


@pytest.mark.slow
def test_many_that_fall_silent_together_are_one_alarm() -> None:
    played = house(gone=40, stay=2)
    (alarm,) = played.alarms
    assert (alarm.kind, alarm.subject.site, alarm.ended) == (FindingKind.SOURCE_SILENT, "lab", None)
    assert alarm.summary.endswith("of 42 assets of lab fell silent within 60 s") or "assets of lab" in alarm.summary
    # Stale 250 s after they were heard last; half of them are by then, a tick and a little later.
    assert timedelta(seconds=600 + 190) < alarm.began - START < timedelta(seconds=660 + 250 + 60)


@pytest.mark.parametrize(
    ("gone", "stay", "over_s"),
    [
        (8, 0, 60.0),  # too few to say that it is no chance
        (12, 30, 60.0),  # most go on
        (20, 0, 2_400.0),  # one after the other
    ],
)
def test_few_or_one_by_one_are_told_one_by_one(gone: int, stay: int, over_s: float) -> None:
    played = house(gone, stay, over_s)
    assert {alarm.kind for alarm in played.alarms} == {FindingKind.POINT_STALE}
    assert len({alarm.subject.asset for alarm in played.alarms}) >= min(gone, 8)


def test_when_most_are_back_the_rest_is_told_one_by_one() -> None:
    played = house(gone=40, stay=2, back=36)
    (together,) = [alarm for alarm in played.alarms if alarm.kind is FindingKind.SOURCE_SILENT]
    assert together.ended is not None and together.ended - START > timedelta(minutes=30)
    stale = {alarm.subject.asset for alarm in played.alarms if alarm.kind is FindingKind.POINT_STALE}
    assert stale == {f"N{number}" for number in range(36, 40)}
