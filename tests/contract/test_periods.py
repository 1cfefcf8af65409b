"""Periods by the clocks of a site: days of 23 and 25 hours, edges, and which one came before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dcim.capacity.periods import before, period

OSLO, KOLKATA = ZoneInfo("Europe/Oslo"), ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("24h", utc(2026, 11, 22, 12, 34), utc(2026, 11, 23, 12, 34)),
        ("today", utc(2026, 11, 22, 23), utc(2026, 11, 23, 12, 34)),
        ("yesterday", utc(2026, 11, 21, 23), utc(2026, 11, 22, 23)),
        ("this_week", utc(2026, 11, 22, 23), utc(2026, 11, 23, 12, 34)),
        ("last_month", utc(2026, 9, 30, 22), utc(2026, 10, 31, 23)),
        ("2026-03", utc(2026, 2, 28, 23), utc(2026, 3, 31, 22)),
        ("2025", utc(2024, 12, 31, 23), utc(2025, 12, 31, 23)),
    ],
)
def test_periods_of_oslo(text, start, end):
    assert period(text, NOW, OSLO) == (start, end)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_a_day_on_which_the_clocks_change(day, hours):
    start, end = period(day, NOW, OSLO)
    assert end - start == timedelta(hours=hours)


def test_a_zone_that_is_half_an_hour_off():
    assert period("2026-11-22", NOW, KOLKATA).start == utc(2026, 11, 21, 18, 30)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("24h", utc(2026, 11, 21, 12, 34), utc(2026, 11, 22, 12, 34)),
        ("2026-03", utc(2026, 1, 31, 23), utc(2026, 2, 28, 23)),
        ("2025", utc(2023, 12, 31, 23), utc(2024, 12, 31, 23)),
        ("today", utc(2026, 11, 21, 23), utc(2026, 11, 22, 12, 34)),
        ("this_month", utc(2026, 9, 30, 22), utc(2026, 10, 23, 11, 34)),
    ],
)
def test_what_came_before(text, start, end):
    assert before(text, NOW, OSLO) == (start, end)


@pytest.mark.parametrize(
    "text", ["", "0d", "soon", "2026-13", "2026-02-30", "99999d", "2027", "2026-11-24", "1d; drop"]
)
def test_what_is_no_period_is_said_in_words(text):
    with pytest.raises(ValueError, match=r"no period|longer than|not begun|no day"):
        period(text, NOW, OSLO)
