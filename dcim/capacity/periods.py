"""Periods of time as people name them: the last 30 days, yesterday, a month, a year, by the clocks of a site.

Lives here: from words to [start, end), and which period came before. Not here: the clock, which is given, and steps
within a period (spans.py)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from dcim.capacity.provenance import Period

WORDS: Final = ("today", "yesterday", "this_week", "last_week", "this_month", "last_month", "this_year", "last_year")
"""Names of periods. Weeks begin on Monday."""
DAYS_MAX: Final = 1_100
"""Nobody asks for longer: three years."""
HOW_TO: Final = f"Write 90m, 24h or 30d, a day, month or year (2026-11-23, 2026-11, 2026), or {', '.join(WORDS)}."

_LENGTH = re.compile(r"([1-9]\d{0,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def is_length(text: str) -> bool:
    """Whether `text` names a length up to now, and not a period of the calendar."""
    return _LENGTH.fullmatch(text) is not None


def length(text: str) -> timedelta:
    """The length that "90m", "24h" or "30d" names; raises ValueError, in words, for anything else.

    >>> length("90m")
    datetime.timedelta(seconds=5400)
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no length of time. Write 90s, 15m, 24h, 30d or 4w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def period(text: str, now: datetime, zone: ZoneInfo) -> Period:
    """The period that `text` names, UTC. What goes on still ends now. A length ends at the last full minute, so that
    who asks twice in a minute asks the same. Raises ValueError, in words, for what names none, is longer than
    DAYS_MAX days, or has not begun.

    Days begin at midnight by the site's clocks: one has 23 or 25 hours where those change.
    """
    if is_length(text):
        end = now.astimezone(UTC).replace(second=0, microsecond=0)
        long = length(text)
        if long > timedelta(days=DAYS_MAX):
            raise ValueError(f"is longer than {DAYS_MAX} days")
        return Period(end - long, end)
    first, beyond = _calendar(text, now.astimezone(zone).date())
    start, end = _midnight(first, zone), _midnight(beyond, zone)
    if start >= now:
        raise ValueError(f"{text} has not begun yet")
    return Period(start, min(end, now.astimezone(UTC).replace(second=0, microsecond=0) if end > now else end))


def before(text: str, now: datetime, zone: ZoneInfo) -> Period:
    """The period before that which `text` names: of a calendar's, the one before it, as far in as this one is now; of a
    length, as long a one. Raises ValueError as `period` does."""
    this = period(text, now, zone)
    if is_length(text):
        return earlier(this)
    first, beyond = _calendar(text, now.astimezone(zone).date())
    start, whole = _midnight(_one_before(text, first), zone), _midnight(first, zone)
    over = _midnight(beyond, zone) <= this.end
    return Period(start, whole if over else min(start + (this.end - this.start), whole))


def earlier(this: Period) -> Period:
    """The period of the same length that ends where this one begins."""
    return Period(this.start - (this.end - this.start), this.start)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _calendar(text: str, today: date) -> tuple[date, date]:
    """First day, and the day after the last."""
    month = today.replace(day=1)
    monday = today - timedelta(days=today.weekday())
    named = {
        "today": (today, today + timedelta(days=1)),
        "yesterday": (today - timedelta(days=1), today),
        "this_week": (monday, monday + timedelta(days=7)),
        "last_week": (monday - timedelta(days=7), monday),
        "this_month": (month, _next_month(month)),
        "last_month": (_last_month(month), month),
        "this_year": (date(today.year, 1, 1), date(today.year + 1, 1, 1)),
        "last_year": (date(today.year - 1, 1, 1), date(today.year, 1, 1)),
    }
    if text in named:
        return named[text]
    match = re.fullmatch(r"(19[7-9]\d|20\d\d|21\d\d)(?:-(\d\d)(?:-(\d\d))?)?", text)
    try:
        if match and match[3]:
            day = date(int(match[1]), int(match[2]), int(match[3]))
            return day, day + timedelta(days=1)
        if match and match[2]:
            first = date(int(match[1]), int(match[2]), 1)
            return first, _next_month(first)
        if match:
            return date(int(match[1]), 1, 1), date(int(match[1]) + 1, 1, 1)
    except ValueError as error:
        raise ValueError(f"{text!r} is no day of the calendar. {HOW_TO}") from error
    raise ValueError(f"{text!r} is no period. {HOW_TO}")


def _one_before(text: str, first: date) -> date:
    """The first day of the period before the one that `text` names, which begins at `first`."""
    if text in {"this_week", "last_week"}:
        return first - timedelta(days=7)
    if text in {"this_month", "last_month"} or re.fullmatch(r"\d{4}-\d\d", text):
        return _last_month(first)
    if text in {"this_year", "last_year"} or re.fullmatch(r"\d{4}", text):
        return date(first.year - 1, 1, 1)
    return first - timedelta(days=1)


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _last_month(first: date) -> date:
    return (first - timedelta(days=1)).replace(day=1)
