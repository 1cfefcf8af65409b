"""Shifts out of an iCalendar (RFC 5545): who is named for an instant.

Taken are VEVENTs that begin and end, once or by a rule (recurrence.py), with EXDATE and RDATE, and single shifts that
were moved or cancelled (RECURRENCE-ID). Times are in UTC, in a zone by its IANA name, in one that the file itself
defines (VTIMEZONE, as Exchange writes it), or floating, which is by the calendar's own clocks. A shift ends by the
clock on the wall as the first one does, also in the night in which clocks change: from 22:00 to 06:00 is what a person
reads, and leaves no hour without anybody.

Events that cannot be understood are left out and said, and the others are taken.

Lives here: that, without I/O and clocks. Not here: where the file comes from (calendars.py), whom a name stands for
(duty.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerts import recurrence
from alerts.recurrence import Rule, Unreadable

BYTES_MAX, LINE_MAX, EVENTS_MAX, DATES_MAX = 2_097_152, 8_192, 2_000, 5_000
"""Of a calendar: bytes, characters of a line once it is unfolded, events, and single dates (EXDATE, RDATE) of one."""
SHIFT_DAYS_MAX = 62
"""A longer event is no shift."""
WORK_MAX = 500_000
"""Periods of rules that count, looked at while a calendar is read."""
PROBLEMS_MAX, NAME_MAX = 20, 200
"""Problems that are said, and characters of a name."""
FIRST, LAST = datetime(1970, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  by any clock on a wall
"""What begins before or after is not taken."""
_DURATION = re.compile(
    r"\+?P(?:(?P<w>\d{1,3})W|(?:(?P<d>\d{1,3})D)?(?:T(?:(?P<h>\d{1,4})H)?(?:(?P<m>\d{1,5})M)?(?:(?P<s>\d{1,6})S)?)?)"
)
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?")


@dataclass(frozen=True, slots=True)
class Observance:
    """A part of the year in a zone that a calendar defines: from some instants on, clocks are so far from UTC."""

    first: datetime
    """When it first began, by the clocks before it."""
    before: timedelta
    after: timedelta
    rule: Rule | None = None
    extra: tuple[datetime, ...] = ()

    def last_begun(self, local: datetime) -> datetime | None:
        """When it last began, up to a time on the wall; None where it had not yet."""
        if local < self.first:
            return None
        begun = [when for when in self.extra if when <= local]
        if self.rule is None:
            return max([self.first, *begun])
        day = local.date()
        near = recurrence.between(self.rule, self.first.date(), day - timedelta(days=1_100), day)
        begun += [when for when in (datetime.combine(each, self.first.time()) for each in near) if when <= local]
        return max([self.first, *begun])


@dataclass(frozen=True, slots=True)
class OwnZone:
    """A zone as a calendar defines it."""

    observances: tuple[Observance, ...]

    def utc(self, local: datetime) -> datetime:
        """The instant of a time on the wall."""
        begun = [(when, each) for each in self.observances if (when := each.last_begun(local)) is not None]
        if begun:
            offset = max(begun, key=lambda pair: pair[0])[1].after
        else:
            offset = min(self.observances, key=lambda each: each.first).before
        return (local - offset).replace(tzinfo=UTC)


Zone: TypeAlias = ZoneInfo | OwnZone


@dataclass(frozen=True, slots=True)
class Event:
    """A shift, or a series of them. Times are those on the wall of its zone."""

    uid: str
    names: tuple[str, ...]
    """Whom it names: its summary, and the mail addresses of those who attend."""
    start: datetime
    length: timedelta
    zone: Zone
    whole_days: bool
    rule: Rule | None = None
    counted: tuple[date, ...] | None = None
    """The days of a rule that counts."""
    extra: tuple[datetime, ...] = ()
    left_out: frozenset[datetime] = frozenset()
    """Beginnings that do not come about: taken out, or told by an event of their own."""
    left_out_days: frozenset[date] = frozenset()

    def stands(self, at: datetime) -> bool:
        """Whether one of its shifts lies over an instant: from its beginning on, before its end."""
        return any(
            instant(start, self.zone) <= at < instant(start + self.length, self.zone) for start in self._near(at)
        )

    def _near(self, at: datetime) -> Iterator[datetime]:
        """The beginnings, on the wall, of shifts that might lie over an instant."""
        day = at.date()  # that of UTC: the wall is less than two days away
        first, last = day - timedelta(days=self.length.days + 3), day + timedelta(days=2)
        if self.rule is None:
            starts = [self.start]
        else:
            found = (
                recurrence.between(self.rule, self.start.date(), first, last)
                if self.counted is None
                else (each for each in self.counted if first <= each <= last)
            )
            until = _until(self.rule, self.zone)
            starts = [datetime.combine(each, self.start.time()) for each in found]
            starts = [start for start in starts if until is None or _not_after(start, self.zone, until)]
        for start in (*starts, *self.extra):
            if first <= start.date() <= last and start not in self.left_out and start.date() not in self.left_out_days:
                yield start


@dataclass(frozen=True, slots=True)
class Calendar:
    """What was understood of a calendar."""

    events: tuple[Event, ...] = ()
    problems: tuple[str, ...] = ()
    """What was not, a line for each event, PROBLEMS_MAX at most."""
    left_out: int = 0
    """Events that were not taken."""

    def named(self, at: datetime) -> list[tuple[str, ...]]:
        """Whom each shift names that lies over an instant."""
        return [event.names for event in self.events if event.stands(at)]


@dataclass(slots=True)
class _Component:
    name: str
    lines: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    within: list[_Component] = field(default_factory=list)

    def one(self, name: str) -> tuple[dict[str, str], str] | None:
        found = [(parameters, value) for each, parameters, value in self.lines if each == name]
        if len(found) > 1:
            raise Unreadable(f"has {name} more than once")
        return found[0] if found else None

    def all(self, name: str) -> list[tuple[dict[str, str], str]]:
        return [(parameters, value) for each, parameters, value in self.lines if each == name]

    def text(self, name: str) -> str:
        found = self.one(name)
        return found[1] if found else ""


def read(data: bytes, floating: ZoneInfo) -> Calendar:
    """The shifts of a calendar. floating: whose clocks a time without a zone is by, unless the calendar says.

    Raises Unreadable where it is no calendar at all, or larger than it may be.
    """
    if len(data) > BYTES_MAX:
        raise Unreadable(f"has more than {BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("is not in UTF-8") from error
    calendar = _components(text)
    own = _zones(calendar)
    floating = _named_zone(calendar.text("X-WR-TIMEZONE")) or floating
    problems: list[str] = []
    left_out, work = 0, WORK_MAX
    masters: dict[str, tuple[int, Event]] = {}
    moved: list[tuple[Event | None, str, datetime, bool]] = []
    found = [component for component in calendar.within if component.name == "VEVENT"]
    if len(found) > EVENTS_MAX:
        raise Unreadable(f"has more than {EVENTS_MAX} events")
    for number, component in enumerate(found):
        summary = ""
        try:
            summary = _unescaped(component.text("SUMMARY"))
            uid = component.text("UID") or f"event {number}"
            replaced = component.one("RECURRENCE-ID")
            if replaced is not None:
                if "RANGE" in replaced[0]:
                    raise Unreadable("moves all that follow it, which is not understood")
                when, whole_day, _ = _when(*replaced, own, floating)
                cancelled = component.text("STATUS").upper() == "CANCELLED"
                event = None if cancelled else _event(component, uid, summary, own, floating)
                moved.append((event, uid, _on_the_wall_in_utc(replaced, when, own, floating), whole_day))
                continue
            if component.text("STATUS").upper() == "CANCELLED":
                continue
            event = _event(component, uid, summary, own, floating)
            if event.rule is not None and event.rule.count is not None:
                days, took = recurrence.counted(event.rule, event.start.date(), LAST.date(), work)
                work -= took
                event = replace(event, counted=tuple(days))
            sequence = component.text("SEQUENCE")
            rank = int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) < 10 else 0
            if uid not in masters or masters[uid][0] <= rank:
                masters[uid] = rank, event
        except Unreadable as error:
            left_out += 1
            if len(problems) < PROBLEMS_MAX:
                problems.append(f"{_shown(summary) or f'event {number + 1}'}: {error}")
    events = {uid: event for uid, (_, event) in masters.items()}
    for _, uid, replaced_at, whole_day in moved:
        master = events.get(uid)
        if master is not None:
            events[uid] = _without(master, replaced_at, whole_day)
    alone = [event for event, *_ in moved if event is not None]
    return Calendar((*events.values(), *alone), tuple(problems), left_out)


def instant(local: datetime, zone: Zone) -> datetime:
    """The instant of a time on the wall. Of the two of an hour that clocks go through twice, the first."""
    if isinstance(zone, OwnZone):
        return zone.utc(local)
    return local.replace(tzinfo=zone).astimezone(UTC)


def _event(component: _Component, uid: str, summary: str, own: dict[str, OwnZone], floating: ZoneInfo) -> Event:
    begins, ends = component.one("DTSTART"), component.one("DTEND")
    if begins is None:
        raise Unreadable("does not begin")
    if component.all("EXRULE"):
        raise Unreadable("has an EXRULE, which is not understood")
    start, whole_days, zone = _when(*begins, own, floating)
    if not FIRST <= start < LAST:
        raise Unreadable("begins before 1970 or after 2099")
    duration = component.text("DURATION")
    if ends is not None:
        end, end_whole, end_zone = _when(*ends, own, floating)
        if end_whole is not whole_days:
            raise Unreadable("begins with a day and ends with a time, or the other way round")
        # In a zone of its own it ends when the instant comes, by the clocks of the beginning.
        length = end - start if end_zone == zone else instant(end, end_zone) - instant(start, zone)
    elif duration:
        length = _length(duration)
    else:
        length = timedelta(days=1) if whole_days else timedelta(0)
    if not timedelta(0) < length <= timedelta(days=SHIFT_DAYS_MAX):
        raise Unreadable(f"lasts for no time, or for more than {SHIFT_DAYS_MAX} days")
    rules = component.all("RRULE")
    if len(rules) > 1:
        raise Unreadable("has more than one RRULE")
    rule = recurrence.read(rules[0][1]) if rules else None
    if rule is not None:
        _until(rule, zone)
    left_out, left_out_days, extra = set[datetime](), set[date](), list[datetime]()
    for name in ("EXDATE", "RDATE"):
        for parameters, values in component.all(name):
            if parameters.get("VALUE", "").upper() == "PERIOD":
                raise Unreadable("has an RDATE of periods, which is not understood")
            for value in values.split(","):
                when, whole_day, of = _when(parameters, value, own, floating)
                local = when if of == zone else _in_zone(instant(when, of), zone)
                if name == "RDATE":
                    extra.append(datetime.combine(when.date(), start.time()) if whole_day else local)
                elif whole_day:
                    left_out_days.add(when.date())
                else:
                    left_out.add(local)
    if len(extra) + len(left_out) + len(left_out_days) > DATES_MAX:
        raise Unreadable(f"has more than {DATES_MAX} single dates")
    attending = [value for _, value in component.all("ATTENDEE")]
    addresses = [value[7:].strip() for value in attending if value[:7].lower() == "mailto:"]
    names = tuple(name[:NAME_MAX] for name in (summary, *addresses) if name)
    return Event(
        uid, names, start, length, zone, whole_days, rule,
        extra=tuple(extra), left_out=frozenset(left_out), left_out_days=frozenset(left_out_days),
    )  # fmt: skip


def _without(master: Event, replaced_at: datetime, whole_day: bool) -> Event:
    """The series without the shift that began at an instant, which an event of its own tells of."""
    if whole_day:
        return replace(master, left_out_days=master.left_out_days | {replaced_at.date()})
    return replace(master, left_out=master.left_out | {_in_zone(replaced_at, master.zone)})


def _on_the_wall_in_utc(
    told: tuple[dict[str, str], str], when: datetime, own: dict[str, OwnZone], floating: ZoneInfo
) -> datetime:
    """The instant of a RECURRENCE-ID; of a day, its midnight as if it were UTC's."""
    _, whole_day, zone = _when(*told, own, floating)
    return when.replace(tzinfo=UTC) if whole_day else instant(when, zone)


def _in_zone(at: datetime, zone: Zone) -> datetime:
    """What clocks on the wall of a zone show at an instant."""
    if isinstance(zone, ZoneInfo):
        return at.astimezone(zone).replace(tzinfo=None)
    offsets = {each.after for each in zone.observances} | {each.before for each in zone.observances}
    for offset in sorted(offsets):
        local = (at + offset).replace(tzinfo=None)
        if zone.utc(local) == at:
            return local
    return at.replace(tzinfo=None)


def _until(rule: Rule, zone: Zone) -> datetime | date | None:
    """The last instant of a rule, or its last day. Raises Unreadable."""
    if not rule.until:
        return None
    when, whole_day, of = _when({}, rule.until, {}, ZoneInfo("UTC"))
    if whole_day:
        return when.date()
    return instant(when, of if rule.until.endswith("Z") else zone)


def _not_after(start: datetime, zone: Zone, until: datetime | date) -> bool:
    return instant(start, zone) <= until if isinstance(until, datetime) else start.date() <= until


def _when(
    parameters: dict[str, str], value: str, own: dict[str, OwnZone], floating: ZoneInfo
) -> tuple[datetime, bool, Zone]:
    """A time on the wall, whether it is a whole day, and whose wall. Raises Unreadable."""
    value = value.strip().upper()
    zone: Zone = floating
    if value.endswith("Z"):
        zone, value = ZoneInfo("UTC"), value[:-1]
    elif "TZID" in parameters:
        tzid = parameters["TZID"]
        named = _named_zone(tzid) or own.get(tzid)
        if named is None:
            raise Unreadable(f"is in the zone {_shown(tzid)}, which is not known")
        zone = named
    digits = value.replace("T", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        raise Unreadable("has a time that is none")
    try:
        if len(value) == 8:
            day = date(int(value[:4]), int(value[4:6]), int(value[6:]))
            return datetime.combine(day, time(0)), True, floating
        if len(value) == 15 and value[8] == "T":
            day = date(int(value[:4]), int(value[4:6]), int(value[6:8]))
            second = min(59, int(value[13:]))  # a leap second
            return datetime.combine(day, time(int(value[9:11]), int(value[11:13]), second)), False, zone
    except ValueError as error:
        raise Unreadable("has a time that there is not") from error
    raise Unreadable("has a time that is none")


def _length(text: str) -> timedelta:
    found = _DURATION.fullmatch(text.strip().upper())
    if found is None or not any(found.groups()):
        raise Unreadable("has a DURATION that is none")
    w, d, h, m, s = (int(found[name] or 0) for name in "wdhms")
    return timedelta(weeks=w, days=d, hours=h, minutes=m, seconds=s)


def _named_zone(name: str) -> ZoneInfo | None:
    """The zone of an IANA name, also where a producer has put a path before it: "/example.org/Europe/Oslo"."""
    if not name or len(name) > 200:
        return None
    parts = name.strip('"').strip("/").split("/")
    for length in (3, 2, 1):
        candidate = "/".join(parts[-length:])
        if len(parts) >= length and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+\-/]*", candidate):
            try:
                return ZoneInfo(candidate)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return None


def _zones(calendar: _Component) -> dict[str, OwnZone]:
    """The zones that a calendar defines. One that cannot be understood is as if it were not there."""
    zones: dict[str, OwnZone] = {}
    for component in calendar.within:
        if component.name != "VTIMEZONE" or len(zones) >= 50:
            continue
        try:
            parts = [part for part in component.within if part.name in ("STANDARD", "DAYLIGHT")][:100]
            observances = tuple(_observance(part) for part in parts)
        except Unreadable:
            continue
        if observances:
            zones[component.text("TZID")] = OwnZone(observances)
    return zones


def _observance(component: _Component) -> Observance:
    utc = ZoneInfo("UTC")
    begins = component.one("DTSTART")
    if begins is None:
        raise Unreadable("does not begin")
    first, _, _ = _when({}, begins[1], {}, utc)
    if first < FIRST:  # Exchange begins in 1601
        first = first.replace(year=1970, day=min(first.day, 28))
    rules = component.all("RRULE")
    rule = recurrence.read(rules[0][1]) if len(rules) == 1 else None
    extra = [_when({}, value, {}, utc)[0] for _, values in component.all("RDATE") for value in values.split(",")]
    before, after = (_offset(component.text(name)) for name in ("TZOFFSETFROM", "TZOFFSETTO"))
    return Observance(first, before, after, rule, tuple(extra[:DATES_MAX]))


def _offset(text: str) -> timedelta:
    found = _OFFSET.fullmatch(text.strip())
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise Unreadable("has an offset that is none")
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]), seconds=int(found[4] or 0))
    return -offset if found[1] == "-" else offset


def _components(text: str) -> _Component:
    """The VCALENDAR, with what stands in it. Raises Unreadable."""
    root = _Component("")
    open_ones = [root]
    for line in _unfolded(text):
        name, parameters, value = _line(line)
        if name == "BEGIN":
            if len(open_ones) > 4:
                raise Unreadable("is nested deeper than calendars are")
            begun = _Component(value.strip().upper())
            open_ones[-1].within.append(begun)
            open_ones.append(begun)
        elif name == "END":
            if len(open_ones) == 1 or open_ones[-1].name != value.strip().upper():
                raise Unreadable("ends something that has not begun")
            open_ones.pop()
        elif len(open_ones) > 1:
            open_ones[-1].lines.append((name, parameters, value))
    if len(open_ones) > 1:
        raise Unreadable("is cut off")
    found = [each for each in root.within if each.name == "VCALENDAR"]
    if len(found) != 1:
        raise Unreadable("is no calendar, or several")
    return found[0]


def _unfolded(text: str) -> Iterator[str]:
    """The lines, those that were folded put together again. Raises Unreadable for one that is too long."""
    whole = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t"):
            whole += line[1:]
        else:
            if whole:
                yield whole
            whole = line
        if len(whole) > LINE_MAX and not whole.upper().startswith(("DESCRIPTION", "X-", "ATTACH")):
            raise Unreadable(f"has a line of more than {LINE_MAX} characters")
        whole = whole[: LINE_MAX + 1]
    if whole:
        yield whole


def _line(line: str) -> tuple[str, dict[str, str], str]:
    """Name, parameters and value of a line."""
    head, value = _split(line)
    name, *parameters = _pieces(head, ";")
    told: dict[str, str] = {}
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        told[key.upper()] = text.strip('"')
    return name.strip().upper(), told, value


def _split(line: str) -> tuple[str, str]:
    """Before and after the colon that no quotes protect."""
    quoted = False
    for place, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif sign == ":" and not quoted:
            return line[:place], line[place + 1 :]
    return line, ""


def _pieces(text: str, at: str) -> Sequence[str]:
    """The pieces between separators that no quotes protect."""
    pieces, quoted = [""], False
    for sign in text:
        if sign == '"':
            quoted = not quoted
        if sign == at and not quoted:
            pieces.append("")
        else:
            pieces[-1] += sign
    return pieces


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\;,nN])", lambda found: " " if found[1] in "nN" else found[1], text).strip()[:NAME_MAX]


def _shown(text: str) -> str:
    """What a stranger wrote, short and on one line."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:60]).strip()
