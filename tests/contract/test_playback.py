"""Playing the past back: the windows of the service, nothing of the future, and alarms by the rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import rules
from dcim.app.laying import Layout, Ticks, Times, behind
from dcim.app.playback import Played, Stretch, even, play, usable
from dcim.app.recorded import plant_of
from dcim.core.findings import Detection, Finding, FindingKind, Subject, Unknown
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.ports import Needs
from dcim.core.readings import Readings
from dcim.core.times import SECOND_US, to_us
from dcim.detect.window import Window
from tests.examples import examples

START = datetime(2026, 3, 1, tzinfo=UTC)
POINTS = [
    Point(0, "s|b|R1/flow", "s", "R1", "Rack", "R1", "RackLiquidFlow", "L/min"),
    Point(1, "s|b|R1/leak", "s", "R1", "Rack", "R1", "RackLeakDetect", "", states=((0, "NoLeak"), (1, "Leak"))),
    Point(2, "s|b|R2/flow", "s", "R2", "Rack", "R2", "RackLiquidFlow", "L/min"),
]
PLANT = plant_of(POINTS, {}, "test")


def readings(rows: list[tuple[int, float, float]]) -> Readings:
    """(point, second, value)."""
    points, seconds, values = zip(*rows, strict=True) if rows else ((), (), ())
    times = [to_us(START) + round(second * SECOND_US) for second in seconds]
    return usable(Readings.of(points, times, values, [0] * len(points)))


class Low:
    """A detector: flow under 50 in the last reading of its window; nothing in it is unknown."""

    name = "low"
    kinds = frozenset({FindingKind.FLOW_LOST})

    def __init__(self, every_s: float = 0.0) -> None:
        self.needs = Needs(frozenset({"RackLiquidFlow"}), timedelta(seconds=20), timedelta(seconds=every_s))
        self.shown: list[tuple[datetime, pl.DataFrame]] = []

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        self.shown.append((at, window))
        last = window.group_by("point", maintain_order=True).last()
        found, unknown = [], []
        for number in (0, 2):
            subject = Subject("s", POINTS[number].asset)
            value = last.filter(pl.col("point") == number)["value"].to_list()
            if not value:
                unknown.append(Unknown(FindingKind.FLOW_LOST, subject, "nothing came"))
            elif value[0] < 50.0:
                found.append(Finding(FindingKind.FLOW_LOST, subject, at, "low", 1.0, 0.5))
        return Detection(tuple(found), tuple(unknown))


class Wet:
    """A sentinel: tells the instants at which it was shown the contact."""

    name = "wet"
    kinds = frozenset({FindingKind.LEAK_WET})
    quantities = frozenset({"RackLeakDetect"})

    def __init__(self) -> None:
        self.looked: list[tuple[float, float]] = []

    def look(self, arrived: Readings, latest: Latest, plant: Plant, at: datetime) -> Detection:
        value = float(arrived.value[-1])
        self.looked.append(((at - START).total_seconds(), value))
        subject = Subject("s", "R1")
        found = (Finding(FindingKind.LEAK_WET, subject, at, "wet", 1.0, 0.5),) if value else ()
        return Detection(found, looked_at=frozenset({(FindingKind.LEAK_WET, subject)}))


def run(rows: Readings, lasts_s: float, tick_s: float = 10.0, cuts_s: tuple[float, ...] = (), **who: object) -> Played:
    def stretches() -> Iterator[Stretch]:
        edges = [to_us(START + timedelta(seconds=second)) for second in (0.0, *cuts_s, lasts_s)]
        for begin, end in itertools.pairwise(edges):
            inside = (rows.time >= begin) & (rows.time < end)
            yield Stretch(rows.take(inside), end)

    ticks = even(START, START + timedelta(seconds=lasts_s), tick_s)
    return play(stretches(), PLANT, rules.default(), start=START, ticks=ticks, **who)  # type: ignore[arg-type]


def seconds(at: datetime | None) -> float | None:
    return None if at is None else (at - START).total_seconds()


def test_an_alarm_comes_and_goes_by_its_rule() -> None:
    flow = [(0, float(second), 20.0 if 100 <= second < 200 else 150.0) for second in range(0, 400, 5)]
    played = run(readings(flow), 400.0, detectors=[Low()])
    (alarm,) = played.alarms
    assert (alarm.rule, alarm.subject.asset) == ("flow-lost", "R1")
    # Seen at the tick of 100 s; gone at that of 200 s, and 10 s later by the rule's off-delay.
    assert (seconds(alarm.began), seconds(alarm.ended)) == (100.0, 210.0)
    assert [(seconds(one.began), seconds(one.ended)) for one in played.findings] == [(100.0, 200.0)]
    assert played.cannot_tell[FindingKind.FLOW_LOST] == pytest.approx(1.0), "nothing ever came of R2"


def test_what_stands_at_the_end_has_no_end_and_what_is_unknown_holds_it() -> None:
    flow = [(0, float(second), 20.0) for second in range(100, 150, 5)]
    played = run(readings(flow), 400.0, detectors=[Low()])
    (alarm,) = played.alarms
    assert (seconds(alarm.began), alarm.ended) == (100.0, None)


def test_a_sentinel_sees_a_contact_when_it_comes_and_everything_on_ticks() -> None:
    leak = [(1, 0.0, 0.0), (1, 13.0, 0.0), (1, 33.0, 1.0), (1, 36.0, 0.0), (1, 47.0, 0.0)]
    wet = Wet()
    played = run(readings(leak), 60.0, sentinels=[wet])
    assert wet.looked == [(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (33.0, 1.0), (36.0, 0.0), (40.0, 0.0), (50.0, 0.0)]
    (alarm,) = played.alarms
    assert seconds(alarm.began) == 33.0


def test_a_detector_is_shown_a_window_at_its_own_pace() -> None:
    low = Low(every_s=30.0)
    run(readings([(0, float(second), 100.0) for second in range(0, 120, 5)]), 120.0, detectors=[low])
    assert [seconds(at) for at, _ in low.shown] == [10.0, 40.0, 70.0, 100.0]
    _, frame = low.shown[1]
    shown = [(at - START).total_seconds() for at in frame["time"]]
    assert shown == [20.0, 25.0, 30.0, 35.0, 40.0]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 300).map(float), st.sampled_from([0.0, 10.0, 100.0])), max_size=60
)


PACES = st.one_of(
    st.sampled_from([5.0, 7.0, 30.0]).map(lambda tick_s: even(START, START + timedelta(seconds=300), tick_s)),
    st.sets(st.integers(1, 300), min_size=1, max_size=9).map(
        lambda at: np.array([to_us(START) + second * SECOND_US for second in sorted(at)], np.int64)
    ),
)
"""Ticks, even ones and others."""


@given(ticks=PACES, second=st.lists(st.integers(-10, 310)))
def test_the_tick_after_a_time_is_what_a_search_finds(ticks: Times, second: list[int]) -> None:
    times = to_us(START) + np.array(second, np.int64) * SECOND_US
    assert Ticks(ticks).after(times).tolist() == np.searchsorted(ticks, times, side="left").tolist()


@pytest.mark.slow
@settings(max_examples=examples(12))
@given(rows=ROWS, ticks=PACES, look_back_s=st.integers(1, 90), done=st.integers(0, 3))
def test_a_layout_shows_what_the_window_would_and_what_is_new(
    rows: list[tuple[int, float, float]], ticks: Times, look_back_s: int, done: int
) -> None:
    told, first = readings(rows), min(done, len(ticks) - 1)
    wanted = (np.array([True, False, True]), np.array([False, True, False]))
    layout = Layout(told, Ticks(ticks), first, len(ticks), wanted, np.array([True, True, False]))
    for tick, at_us in list(enumerate(ticks.tolist()))[first:]:
        for number, points in enumerate(([0, 2], [1])):
            window = Window(timedelta(seconds=look_back_s))
            window.offer(told.take(told.time <= at_us))
            expected = window.frame(points, at_us - look_back_s * SECOND_US, at_us)
            assert layout.window(number, tick, look_back_s * SECOND_US).equals(expected)
        since_us = int(ticks[tick - 1]) if tick else 0
        new = told.take((told.time > since_us) & (told.time <= at_us))
        last = new.to_frame().group_by("point", maintain_order=True).last()
        assert layout.came(tick).to_frame().equals(last.select(new.to_frame().columns))
        arrived = layout.arrivals.rows.take(layout.arrivals.of(tick))
        woken = new.take(new.point < 2)
        assert arrived.to_frame().equals(woken.take(np.lexsort((woken.point, woken.time))).to_frame())


@given(rows=ROWS, cut=st.integers(0, 300))
def test_what_was_kept_stands_before_what_is_fresh(rows: list[tuple[int, float, float]], cut: int) -> None:
    told = readings(rows)
    early = told.time < to_us(START) + cut * SECOND_US
    assert behind(told.take(early), told.take(~early)).to_frame().equals(told.to_frame())


@pytest.mark.slow
@settings(max_examples=examples(12))
@given(rows=ROWS, cuts=st.sets(st.integers(1, 299), max_size=4))
def test_how_readings_are_cut_into_stretches_changes_nothing(
    rows: list[tuple[int, float, float]], cuts: set[int]
) -> None:
    told = readings(rows)
    whole = run(told, 300.0, detectors=[Low()], sentinels=[Wet()])
    cut = run(told, 300.0, cuts_s=tuple(float(one) for one in sorted(cuts)), detectors=[Low()], sentinels=[Wet()])
    assert cut.alarms == whole.alarms
    assert cut.findings == whole.findings


@pytest.mark.slow
@settings(max_examples=examples(12))
@given(rows=ROWS, until=st.integers(1, 29))
def test_what_comes_later_changes_nothing_before(rows: list[tuple[int, float, float]], until: int) -> None:
    told, ends_s = readings(rows), until * 10.0
    whole = run(told, 300.0, detectors=[Low()], sentinels=[Wet()])
    early = run(told.take(told.time <= to_us(START) + round(ends_s * SECOND_US)), ends_s + 0.001,
                detectors=[Low()], sentinels=[Wet()])  # fmt: skip
    at = START + timedelta(seconds=ends_s)
    assert [one.began for one in early.alarms] == [one.began for one in whole.alarms if one.began <= at]
    assert [one.began for one in early.findings] == [one.began for one in whole.findings if one.began <= at]


def test_points_must_be_numbered() -> None:
    with pytest.raises(Exception, match="not in its place"):
        plant_of([POINTS[1]], {}, "test")
