"""Silences: a person's wish that alarms which fit some matchers stay on the shelf for a time, also those to come.

What stands when a silence begins is shelved, what begins while it lasts begins on the shelf: followed, on record and
shown, with the silence's author and comment. The rules of shelves hold: a reason, and no longer than the priority of
what could be hidden allows. What a contact leak sensor tells no silence hides, for nobody has looked at what is yet to
come.

Lives here: a silence, its states, what may be silenced for how long, and which of them an alarm meets. Not here: what a
shelf does to an alarm (lifecycle.py), the order of writing (engine.py), the wire format (alertmanager.py)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from alerts.external import SEVERITIES
from alerts.lifecycle import SHELF_MAX, Mistaken, Priority, Shelve
from alerts.matchers import MATCHERS_MAX, BadMatcher, Labels, Matcher, fit_all, matcher
from alerts.rules import ROPES, Rule, Ruleset
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind

SILENCES_MAX = 500
"""Silences that are active or pending; another one is refused."""
OVER_KEPT = 2_000
"""Silences that are over and still listed; the oldest beyond it are on record alone."""
OVER_FOR = timedelta(hours=120)
"""For how long a silence that is over is listed."""
AHEAD_DAYS_MAX = 31
"""How far ahead a silence may begin, days."""


class UnknownSilence(Permanent):
    """There is no such silence."""


class SilencePhase(StrEnum):
    """Where a silence stands."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Silence:
    """A wish to hide what fits all of some matchers, from `starts_at` to before `ends_at`."""

    id: str
    """"" for one that is not made yet."""
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    by: str
    comment: str
    origin: str
    updated_at: datetime
    begun: bool = False
    """Whether what stood at its beginning has been shelved."""
    ended_by: str = ""
    """Who ended it before its time."""
    ended_origin: str = ""

    def phase(self, at: datetime) -> SilencePhase:
        """Whether it is to come, active or over."""
        if at >= self.ends_at:
            return SilencePhase.EXPIRED
        return SilencePhase.PENDING if at < self.starts_at else SilencePhase.ACTIVE

    def shelf(self, priority: Priority, at: datetime) -> Shelve:
        """The shelf on which an alarm of this priority is put now. It never lasts longer than any shelf."""
        return Shelve(self.by, self.comment, min(self.ends_at, at + SHELF_MAX[priority]), self.origin, self.id)


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of a silence, as the journal keeps it."""

    silence: Silence
    """As it is then."""
    change: str
    """"made", "changed", "begun" or "ended"."""
    by: str
    """Who; "" where it was time alone."""
    origin: str
    at: datetime


def ended(silence: Silence, by: str, origin: str, at: datetime) -> Silence:
    """The silence, ended by a person."""
    return replace(
        silence,
        starts_at=min(silence.starts_at, at),
        ends_at=at,
        updated_at=at,
        ended_by=by,
        ended_origin=origin,
    )


def same_silence(before: Silence, wanted: Silence, at: datetime) -> bool:
    """Whether what is wanted is the silence of before with another end, author or comment. Otherwise the one of before
    is ended and a new one takes its place."""
    phase = before.phase(at)
    if phase is SilencePhase.EXPIRED or before.matchers != wanted.matchers:
        return False
    if phase is SilencePhase.ACTIVE:
        return int(wanted.starts_at.timestamp()) == int(before.starts_at.timestamp())
    return wanted.starts_at >= at


def check_silence(wanted: Silence, ruleset: Ruleset, at: datetime) -> None:
    """Raises Mistaken, with the field, for a silence that our rules do not allow."""
    if not wanted.matchers or all(each.fits({}) for each in wanted.matchers):
        raise Mistaken("silence invalid: at least one matcher must not match the empty string", where="matchers")
    if len(wanted.matchers) > MATCHERS_MAX:
        raise Mistaken(f"a silence has {MATCHERS_MAX} matchers at most", where="matchers")
    start = max(wanted.starts_at, at)
    if wanted.starts_at >= wanted.ends_at:
        raise Mistaken("start time must be before end time", where="endsAt")
    if wanted.ends_at <= at:
        raise Mistaken("end time can't be in the past", where="endsAt")
    if start - at > timedelta(days=AHEAD_DAYS_MAX):
        raise Mistaken(f"a silence begins {AHEAD_DAYS_MAX} days ahead at most", where="startsAt")
    reached = _reached(wanted.matchers, ruleset)
    if reached and all(rule.kind in ROPES for rule, _ in reached):
        raise Mistaken(
            "what a contact leak sensor tells is not silenced: nobody has looked at what is yet to come. "
            "Go and look; then shelve or acknowledge that one alarm by its id",
            where="matchers",
        )
    priorities = {priority for rule, several in reached if rule.kind not in ROPES for priority in several}
    worst = min(priorities or _outside(wanted.matchers))
    if wanted.ends_at - start > SHELF_MAX[worst]:
        hours = SHELF_MAX[worst] / timedelta(hours=1)
        narrower = "" if worst is Priority.LOW else ', or narrow it, as in severity="low" or alertname="…"'
        raise Mistaken(
            f"this could hide an alarm of priority {worst.word}, and that is shelved for {hours:g} h at most. "
            f"End it sooner{narrower}",
            where="endsAt",
        )


def _reached(matchers: Sequence[Matcher], ruleset: Ruleset) -> list[tuple[Rule, set[Priority]]]:
    """The rules of ours whose alarms could fit, as far as name, kind and priority tell, and the priorities of those."""
    told = [each for each in matchers if each.name in ("alertname", "kind", "severity")]
    found: list[tuple[Rule, set[Priority]]] = []
    for rule in ruleset.rules:
        if rule.kind is FindingKind.EXTERNAL_ALERT:
            continue
        own = {rule.policy.priority}
        if rule.policy.escalation is not None:
            own.add(rule.policy.escalation.priority)
        labels = {"alertname": rule.name, "kind": rule.kind.value}
        fitting = {priority for priority in own if fit_all(told, labels | {"severity": priority.word})}
        if fitting:
            found.append((rule, fitting))
    return found


def _outside(matchers: Sequence[Matcher]) -> set[Priority]:
    """The priorities of alerts from outside that could fit. A word for a severity that nobody knows is medium."""
    told = [each for each in matchers if each.name == "severity"]
    found = {priority for word, priority in SEVERITIES.items() if fit_all(told, {"severity": word})}
    return found or {Priority.MEDIUM}


# --- Those that are known ---------------------------------------------------------------------------------------------


class Silences:
    """The silences that are active or to come, and the latest of those that are over."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._silences: dict[str, Silence] = {}
        for silence in silences:
            self.put(silence)

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._silences.values())

    def put(self, silence: Silence) -> None:
        """Takes one in, or what has become of it."""
        self._silences[silence.id] = silence

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id."""
        return self._silences.get(silence_id)

    def open(self, at: datetime) -> int:
        """How many are active or to come."""
        return sum(silence.ends_at > at for silence in self._silences.values())

    def forget(self, at: datetime) -> None:
        """Lets go of what has been over for long."""
        over = [silence for silence in self._silences.values() if silence.ends_at <= at]
        kept = heapq.nlargest(OVER_KEPT, over, key=lambda silence: silence.ends_at)
        keep = {silence.id for silence in kept if at - silence.ends_at < OVER_FOR}
        for silence in over:
            if silence.id not in keep:
                del self._silences[silence.id]

    def due(self, at: datetime) -> list[Silence]:
        """Those whose time has come and that have not begun yet."""
        return [each for each in self._silences.values() if not each.begun and each.starts_at <= at < each.ends_at]

    def active(self, at: datetime) -> list[Silence]:
        """Those that hide something now; of several that fit, the first lasts longest."""
        found = [each for each in self._silences.values() if each.phase(at) is SilencePhase.ACTIVE]
        return sorted(found, key=lambda each: each.ends_at, reverse=True)


def over(silences: Iterable[Silence], kind: FindingKind, labels: Labels) -> Silence | None:
    """The first of these silences that hides an alarm of this kind and these labels, or None."""
    if kind in ROPES:
        return None
    return next((silence for silence in silences if fit_all(silence.matchers, labels)), None)


# --- How one is kept --------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct):
    id: str
    matchers: list[tuple[str, str, bool, bool]]
    starts_at: datetime
    ends_at: datetime
    by: str
    comment: str
    origin: str
    updated_at: datetime
    begun: bool
    ended_by: str
    ended_origin: str


_KEPT = msgspec.json.Decoder(_Kept)


def to_json(silence: Silence) -> str:
    """A silence as the journal keeps it."""
    fields: Mapping[str, object] = {name: getattr(silence, name) for name in _Kept.__struct_fields__}
    told = [(each.name, each.value, each.is_regex, each.is_equal) for each in silence.matchers]
    return msgspec.json.encode({**fields, "matchers": told}).decode()


def from_json(text: str) -> Silence:
    """A silence that the journal kept. Raises ValueError where it cannot be read."""
    try:
        kept = _KEPT.decode(text)
        matchers = tuple(
            matcher(name, value, is_regex=is_regex, is_equal=is_equal)
            for name, value, is_regex, is_equal in kept.matchers
        )
    except (msgspec.DecodeError, BadMatcher) as error:
        raise ValueError(str(error)) from error
    fields = {name: getattr(kept, name) for name in _Kept.__struct_fields__}
    return Silence(**{**fields, "matchers": matchers})
