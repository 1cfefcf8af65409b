"""Who is on call: the receivers that a calendar's names stand for, and what is done where it names nobody.

Lives here: that, as it follows from what was last read of the calendar. Not here: how a calendar is understood
(icalendar.py) and fetched (calendars.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.icalendar import Calendar
from alerts.notices import clean
from alerts.routing import OnCall


@dataclass(frozen=True, slots=True)
class Rota:
    """A calendar, and whom its names stand for."""

    name: str
    people: Mapping[str, str]
    """Receivers, by a mail address that attends, or by words in a shift's summary; capitals do not matter."""
    fallback: tuple[str, ...]
    """Receivers that are told where nobody is on call."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a calendar."""

    calendar: Calendar | None = None
    """As it was last read; None where it never was."""
    read_at: datetime | None = None
    """When it was last fetched, or, for a copy of an earlier run, when that was written."""
    failing: str = ""
    """Why it could not be read at the last try; "" where it could."""


def on_call(rota: Rota, known: Known, at: datetime) -> OnCall:
    """Who is told at an instant. Never nobody: without a shift, or without anybody that its names stand for, it is the
    fallback, and that is said; so is it where a copy is used because the calendar cannot be read."""
    if known.calendar is None:
        return OnCall(rota.fallback, f"The calendar {rota.name} could not be read; who is on call is not known.")
    shifts = known.calendar.named(at)
    stale = ""
    if known.failing and known.read_at is not None:
        stale = f"The calendar {rota.name} could not be read since {known.read_at:%Y-%m-%d %H:%M} UTC; a copy is used."
    found = dict.fromkeys(receiver for names in shifts for receiver in _receivers(rota, names))
    if found:
        return OnCall(tuple(found), stale)
    if shifts:
        told = clean(", ".join(names[0] for names in shifts if names))[:80]
        why = f"The calendar {rota.name} has {told or 'a shift without a name'} on call, for whom there is no receiver."
    else:
        why = f"Nobody is on call by the calendar {rota.name}."
    return OnCall(rota.fallback, f"{why} {stale}".strip())


def _receivers(rota: Rota, names: Sequence[str]) -> list[str]:
    """The receivers that a shift's names stand for, in the order of the rota."""
    told = [name.casefold() for name in names]
    return [receiver for words, receiver in rota.people.items() if any(_in(words.casefold(), name) for name in told)]


def _in(words: str, name: str) -> bool:
    """Whether the words stand in a name as they are, and not as a part of other words."""
    return words == name or re.search(rf"(?<!\w){re.escape(words)}(?!\w)", name) is not None
