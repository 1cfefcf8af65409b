"""Recurrence rules give the days that dateutil gives, which is what most calendars in Python stand on."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import recurrence
from alerts.recurrence import WEEKDAYS
from tests.examples import examples

FIRST = st.dates(date(1999, 12, 1), date(2030, 3, 1))
NUMBERS = st.lists(st.integers(1, 28) | st.sampled_from([29, 30, 31, -1, -2, -31]), min_size=1, max_size=3)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Any rule that we take, of those in which dateutil follows RFC 5545."""
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 5))}"]
    # Every Monday and the first Tuesday together are none at all to dateutil: those have a case by hand below.
    counted = frequency in ("MONTHLY", "YEARLY") and draw(st.booleans())
    day = st.builds(str.__add__, st.sampled_from(["1", "2", "-1", "5"] if counted else [""]), st.sampled_from(WEEKDAYS))
    if draw(st.booleans()):
        parts.append("BYDAY=" + ",".join(draw(st.lists(day, min_size=1, max_size=3, unique=True))))
    if frequency != "WEEKLY" and draw(st.booleans()):
        parts.append("BYMONTHDAY=" + ",".join(map(str, draw(NUMBERS))))
    if draw(st.booleans()):
        parts.append("BYMONTH=" + ",".join(map(str, draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))))
    if draw(st.booleans()):
        parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    # dateutil counts the positions of a first week from the day on which the rule begins.
    if frequency in ("MONTHLY", "YEARLY") and len(parts) > 2 and draw(st.booleans()):
        parts.append("BYSETPOS=" + ",".join(map(str, draw(st.sampled_from([[1], [-1], [1, 3], [2, -1]])))))
    return ";".join(parts)


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(rules(), FIRST, st.integers(0, 900), st.integers(0, 400), st.none() | st.integers(1, 30))
def test_the_days_are_those_of_dateutil(text: str, first: date, after: int, span: int, count: int | None) -> None:
    start, end = first + timedelta(days=after), first + timedelta(days=after + span)
    # What never comes is looked for by dateutil up to the year 9999: it stops at the end, and the count is ours.
    told = rrulestr(text, dtstart=datetime.combine(first, time(8))).replace(until=datetime.combine(end, time(23)))
    wanted = [when.date() for when in islice(told, count) if when.date() >= start]
    rule = recurrence.read(text if count is None else f"{text};COUNT={count}")
    if count is None:
        assert list(recurrence.between(rule, first, start, end)) == wanted
    else:
        found, _ = recurrence.counted(rule, first, end, 10_000)
        assert [day for day in found if day >= start] == wanted


def test_every_monday_and_the_first_tuesday_are_both_taken() -> None:
    rule = recurrence.read("FREQ=MONTHLY;BYDAY=MO,1TU")
    told = recurrence.between(rule, date(2000, 1, 1), date(2000, 1, 1), date(2000, 1, 31))
    assert list(told) == [date(2000, 1, day) for day in (3, 4, 10, 17, 24, 31)]


@given(st.text(max_size=60) | st.text("FREQ=DAILYBYMONTHDAY;,=-0123456789UNTILCOUNT", max_size=60))
def test_nonsense_is_refused_in_words_or_read(text: str) -> None:
    try:
        rule = recurrence.read(text)
    except recurrence.Unreadable:
        return
    assert rule.interval >= 1
    assert len(list(recurrence.between(rule, date(2026, 1, 1), date(2026, 1, 1), date(2027, 1, 1)))) <= 366
