"""What delays would have made of a log is what the life cycle makes of it; floods are those that counting finds."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts import kpis
from alerts.lifecycle import Alarm, AlarmKey, Change, Clear, Elapse, Policy, Priority, Raise, step
from dcim.core.findings import FindingKind, Subject
from tests.alarms import at, finding
from tests.contract.test_kpis import log, raised, seconds
from tests.examples import examples

KEY = AlarmKey("leak", Subject("oslo", "rack-7", "rope"))
WET = Raise(finding(FindingKind.LEAK_WET, KEY.subject))
GAPS = st.lists(st.integers(1, 9), max_size=14)


def lifecycle(times: list[int], on_s: int, off_s: int, end: int) -> list[tuple[float, str]]:
    """What `step` says, second by second, of a condition that turns at these times."""
    policy = Policy(Priority.HIGH, timedelta(seconds=on_s), timedelta(seconds=off_s))
    alarm, told, turns = Alarm(KEY, FindingKind.LEAK_WET, policy), list[tuple[float, str]](), set(times)
    present = False
    for second in range(end + 1):
        if second in turns:
            present = not present
        for event in (WET if present else Clear(), Elapse()):
            stepped = step(alarm, event, at(second))
            alarm = stepped.alarm
            for made in stepped.transitions:
                if made.change in (Change.ACTIVATED, Change.RETURNED):
                    told.append((second, "raised" if made.change is Change.ACTIVATED else "cleared"))
    return told


@example(gaps=[1, 1, 1], on_s=0, off_s=1)  # cleared and raised again at one instant
@given(gaps=GAPS, on_s=st.integers(0, 8), off_s=st.integers(0, 8))
def test_delays_are_those_of_the_life_cycle(gaps: list[int], on_s: int, off_s: int) -> None:
    times = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    end = (times[-1] if times else 0) + 5
    rows = log(*((time, "a", "cleared" if place % 2 else "raised") for place, time in enumerate(times)))
    found = kpis.delayed(rows, timedelta(seconds=on_s), timedelta(seconds=off_s), at(end))
    told = [(second, event) for (second,), event in zip(seconds(found, "time"), found["event"], strict=True)]
    assert told == lifecycle(times, on_s, off_s, end)


@example(gaps=[1, 90, 150, 150], on_s=100, off_s=60)  # the first is never told
@example(gaps=[1, 150, 10, 90, 150], on_s=100, off_s=60)  # the second is joined to what stands
@example(gaps=[1, 90, 10, 150, 150], on_s=100, off_s=60)  # the first is told with the second
@settings(max_examples=examples(40), deadline=None)
@given(
    gaps=st.lists(st.sampled_from([1, 10, 30, 59, 61, 90, 150]), max_size=10),
    on_s=st.sampled_from([0, 10, 60, 100]),
    off_s=st.sampled_from([0, 20, 60, 100]),
)
def test_what_delays_cost_is_what_the_life_cycle_would_have_told_later(gaps: list[int], on_s: int, off_s: int) -> None:
    times = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    end = (times[-1] if times else 0) + 5
    told = lifecycle(times, on_s, off_s, end)
    turns = [*times, end] if len(times) % 2 else times
    spells = [(turns[place], turns[place + 1]) for place in range(0, len(turns), 2)]
    late, lost = [], 0
    for number, (start, gone) in enumerate(spells):
        if gone - start <= 60:
            continue
        before = [(second, event) for second, event in told if second <= start]
        if before and before[-1][1] == "raised":
            continue  # it stood already, or was raised at once
        # What an off-delay joins is one condition: it is told of until it has been gone for so long.
        joined = gone
        for begins, ends in spells[number + 1 :]:
            if begins - joined >= off_s:
                break
            joined = ends
        raised = [second for second, event in told if event == "raised" and start < second <= joined]
        if raised:
            late.append(raised[0] - start)
        else:
            lost += 1
    rows = log(*((time, "a", "cleared" if place % 2 else "raised") for place, time in enumerate(times)))
    found = kpis.lateness(rows, timedelta(seconds=on_s), timedelta(seconds=off_s), at(end))
    assert found.real == sum(gone - start > 60 for start, gone in spells)
    assert (found.late, found.lost) == (len(late), lost)
    assert found.late_longest_s == max(late, default=None)


@given(gaps=st.lists(st.sampled_from([0, 1, 20, 40, 59, 60, 61, 119, 120, 200, 600, 601]), max_size=60))
def test_floods_are_those_that_counting_finds(gaps: list[int]) -> None:
    times = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    end = 100_000

    def within(moment: float) -> int:
        return sum(moment - 600 < time <= moment for time in times)

    expected: list[tuple[float, float]] = []
    began: float | None = None
    moments = sorted({*times, *(time + 600 for time in times)})
    for moment in moments:
        if began is not None and within(moment) < 5:
            expected.append((began, moment))
            began = None
        elif began is None and within(moment) > 10:
            opened = min(time for time in times if time > moment - 600)
            began = max(opened, expected[-1][1]) if expected else opened
    found = kpis.floods(log(*raised("a", times)), at(0), at(end))
    assert seconds(found, "start", "end") == expected
    assert all(former["end"] <= latter["start"] for former, latter in pairwise(found.iter_rows(named=True)))
    for flood in found.iter_rows(named=True):
        assert flood["alarms"] == sum(flood["start"] <= at(time) < flood["end"] for time in times)
