"""Recurrence rules of RFC 5545 (3.3.10), as far as shifts need them: days on which something begins.

Taken are FREQ of DAILY, WEEKLY, MONTHLY and YEARLY with INTERVAL, COUNT, UNTIL, BYDAY, BYMONTHDAY, BYMONTH, BYSETPOS
and WKST. Whatever else there is would name hours, seconds, days of the year or weeks: a rule with it is refused, and
not half understood. The time of the day is that of the first beginning.

Work is bounded whatever a rule says: it is looked at period by period, and no further than was asked for.

Lives here: that, without I/O and clocks. Not here: the calendar that the rules stand in (icalendar.py)."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias, cast

Frequency: TypeAlias = Literal["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
INTERVAL_MAX, COUNT_MAX, VALUES_MAX = 1_000, 5_000, 400
"""Of a rule: periods that it may skip, times that it may count, and values of one of its lists."""
_LISTS = {"BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS"}
_KNOWN = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", *_LISTS}
_DAY = timedelta(days=1)


class Unreadable(ValueError):  # noqa: N818  what stands there, not what went wrong
    """What stands there cannot be understood, or is more than we take; why, in words."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. Empty tuples do not narrow."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: str = ""
    """As it stands there: what it means depends on the zone of what begins."""
    days: tuple[tuple[int, int], ...] = ()
    """Weekdays (0 is Monday), each with which one of the month or year it is; 0 for every one, -1 for the last."""
    month_days: tuple[int, ...] = ()
    """-1 is the last day of a month."""
    months: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    """Which of the days of one period; -1 is the last."""
    week_start: int = 0


def read(text: str) -> Rule:
    """The rule of an RRULE's value. Raises Unreadable.

    >>> read("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR").days
    ((0, 0), (0, 4))
    """
    parts: dict[str, str] = {}
    for part in text.strip().split(";"):
        name, equals, value = part.partition("=")
        name = name.strip().upper()
        if not equals or name in parts:
            raise Unreadable("has a rule with a part that is none, or that is there twice")
        if name not in _KNOWN:
            raise Unreadable(f"recurs by {name[:20]}, which is not understood")
        parts[name] = value.strip().upper()
    if parts.get("FREQ") not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise Unreadable(f"recurs {parts.get('FREQ', 'at no pace')[:20]}, which is not understood")
    if "COUNT" in parts and "UNTIL" in parts:
        raise Unreadable("says both COUNT and UNTIL")
    if parts.get("WKST", "MO") not in WEEKDAYS:
        raise Unreadable("has a week that begins on no day")
    rule = Rule(
        frequency=cast("Frequency", parts["FREQ"]),
        interval=_number(parts.get("INTERVAL", "1"), 1, INTERVAL_MAX, "INTERVAL"),
        count=_number(parts["COUNT"], 1, COUNT_MAX, "COUNT") if "COUNT" in parts else None,
        until=parts.get("UNTIL", ""),
        days=tuple(_weekday(each) for each in _list(parts, "BYDAY")),
        month_days=tuple(_signed(each, 31, "BYMONTHDAY") for each in _list(parts, "BYMONTHDAY")),
        months=tuple(_number(each, 1, 12, "BYMONTH") for each in _list(parts, "BYMONTH")),
        positions=tuple(_signed(each, 366, "BYSETPOS") for each in _list(parts, "BYSETPOS")),
        week_start=WEEKDAYS.index(parts.get("WKST", "MO")),
    )
    if any(ordinal for ordinal, _ in rule.days) and rule.frequency in ("DAILY", "WEEKLY"):
        raise Unreadable("names the first or last weekday of a day or week")
    if rule.month_days and rule.frequency == "WEEKLY":
        raise Unreadable("names days of a month in a week")
    return rule


def between(rule: Rule, first: date, start: date, end: date) -> Iterator[date]:
    """The days on which it begins, from `start` to `end`, both included, in order. first: its first beginning, 1970 or
    later. COUNT is not looked at: see `counted`."""
    for number in range(max(0, _periods(rule, first, start) - 1), _periods(rule, first, end) + 1):
        yield from (day for day in _days(rule, first, number) if first <= day and start <= day <= end)


def counted(rule: Rule, first: date, end: date, work_max: int) -> tuple[list[date], int]:
    """The days of a rule that counts, up to `end`, included, and how many periods that took to look at. Raises
    Unreadable where those are more than work_max."""
    found: list[date] = []
    for number in range(_periods(rule, first, end) + 1):
        if number >= work_max:
            raise Unreadable("counts for longer than is looked at")
        found += [day for day in _days(rule, first, number) if first <= day <= end]
        if rule.count is not None and len(found) >= rule.count:
            return found[: rule.count], number + 1
    return found, _periods(rule, first, end) + 1


def _periods(rule: Rule, first: date, day: date) -> int:
    """The number of the period in which a day lies, or of one just before it; 0 for that of the first beginning."""
    match rule.frequency:
        case "DAILY":
            passed = (day - first).days
        case "WEEKLY":
            passed = (day - _week(first, rule.week_start)).days // 7
        case "MONTHLY":
            passed = 12 * (day.year - first.year) + day.month - first.month
        case "YEARLY":
            passed = day.year - first.year
    return max(0, passed // rule.interval)


def _days(rule: Rule, first: date, number: int) -> list[date]:
    """The days of one period, in order, those before the first beginning among them."""
    step = number * rule.interval
    match rule.frequency:
        case "DAILY":
            days = _fitting(rule, [first + step * _DAY])
        case "WEEKLY":
            monday = _week(first, rule.week_start) + 7 * step * _DAY
            wanted = {weekday for _, weekday in rule.days} or {first.weekday()}
            week = [monday + offset * _DAY for offset in range(7)]
            days = [day for day in week if day.weekday() in wanted and (not rule.months or day.month in rule.months)]
        case "MONTHLY":
            year, month = divmod(12 * first.year + first.month - 1 + step, 12)
            days = [] if year > 9_000 else _of_month(rule, first, year, month + 1)
        case "YEARLY":
            days = [] if first.year + step > 9_000 else _of_year(rule, first, first.year + step)
    if not rule.positions:
        return days
    picked = {position - 1 if position > 0 else len(days) + position for position in rule.positions}
    return [day for place, day in enumerate(days) if place in picked]


def _fitting(rule: Rule, days: list[date]) -> list[date]:
    """Those that the lists of months, days of the month and weekdays let through."""
    weekdays = {weekday for _, weekday in rule.days}
    return [
        day
        for day in days
        if (not rule.months or day.month in rule.months)
        and (not weekdays or day.weekday() in weekdays)
        and (
            not rule.month_days or not {day.day, day.day - _length(day.year, day.month) - 1}.isdisjoint(rule.month_days)
        )
    ]


def _of_month(rule: Rule, first: date, year: int, month: int) -> list[date]:
    if rule.months and month not in rule.months:
        return []
    every = [date(year, month, day) for day in range(1, _length(year, month) + 1)]
    if rule.days:
        return _fitting(rule, _ordinal(rule, every))
    if rule.month_days:
        return _fitting(rule, every)
    return [day for day in every if day.day == first.day]


def _of_year(rule: Rule, first: date, year: int) -> list[date]:
    if rule.days and not rule.months:
        every = [date(year, 1, 1) + offset * _DAY for offset in range(366 if calendar.isleap(year) else 365)]
        return _fitting(rule, _ordinal(rule, every))
    months = rule.months or (range(1, 13) if rule.month_days else (first.month,))
    return [day for month in sorted(set(months)) for day in _of_month(rule, first, year, month)]


def _ordinal(rule: Rule, every: list[date]) -> list[date]:
    """Those of a month's or year's days that the weekdays name: all of one, or the nth of it."""
    picked: set[date] = set()
    for ordinal, weekday in rule.days:
        of = [day for day in every if day.weekday() == weekday]
        place = ordinal - 1 if ordinal > 0 else len(of) + ordinal
        if ordinal == 0:
            picked.update(of)
        elif 0 <= place < len(of):
            picked.add(of[place])
    return sorted(picked)


def _week(day: date, week_start: int) -> date:
    return day - ((day.weekday() - week_start) % 7) * _DAY


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _list(parts: dict[str, str], name: str) -> list[str]:
    values = parts[name].split(",") if name in parts else []
    if len(values) > VALUES_MAX:
        raise Unreadable(f"has more than {VALUES_MAX} values of {name}")
    return values


def _weekday(text: str) -> tuple[int, int]:
    ordinal, weekday = text[:-2], text[-2:]
    if weekday not in WEEKDAYS:
        raise Unreadable("names a day of the week that there is not")
    return _signed(ordinal, 53, "BYDAY") if ordinal else 0, WEEKDAYS.index(weekday)


def _signed(text: str, most: int, name: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * _number(text[text[:1] in ("+", "-") :], 1, most, name)


def _number(text: str, least: int, most: int, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and least <= int(text) <= most):
        raise Unreadable(f"has a {name} that is no number from {least} to {most}")
    return int(text)
