"""Alarm states after ISA-18.2: the table of transitions, and `step`, which applies one event at one instant.

Two things are kept apart. The *condition* is what a detector says, passed through on-delay and off-delay; the *state*
is what has become of the alarm, and it moves along NEXT alone. A state that hides (shelved, suppressed by design, out
of service) therefore needs rows in NEXT and no new logic: the condition goes on being followed beneath it.

Lives here: states, priorities, events, delays, latching, escalation, and the fold of transitions back into alarms. Not
here: which finding belongs to which rule (rules.py), what is masked and in which order things are written (engine.py),
the clock, I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from dcim.core.findings import Finding, FindingKind, Subject
from dcim.core.times import to_us


class Priority(IntEnum):
    """How urgent, as the console marks it: 1 is the most urgent."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4

    @property
    def word(self) -> str:
        """The name as rule files, the API and people write it: "critical"."""
        return self.name.lower()


class State(StrEnum):
    """What has become of an alarm. The letters are those of the figure of states in ISA-18.2."""

    NORMAL = "normal"
    """A: nothing to see."""
    UNACKNOWLEDGED = "unacknowledged"
    """B: the condition stands and nobody has said that they know."""
    ACKNOWLEDGED = "acknowledged"
    """C: the condition stands and somebody knows."""
    RETURNED = "returned"
    """D: the condition is gone, and nobody had acknowledged it. It stays in the list until somebody does."""
    LATCHED_UNACKNOWLEDGED = "latched_unacknowledged"
    """E: the condition is gone, but the rule latches: to be acknowledged, then reset."""
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"
    """F: the condition is gone and somebody knows, but the rule latches: to be reset by a person."""


class Change(StrEnum):
    """What can happen to an alarm. A closed list: the columns of NEXT."""

    ACTIVATED = "activated"
    """The condition has stood for its on-delay. From a state other than normal it is a re-alarm."""
    RETURNED = "returned"
    """The condition has been gone for its off-delay."""
    LATCHED = "latched"
    """The same, under a rule that latches."""
    ACKNOWLEDGED = "acknowledged"
    RESET = "reset"
    ESCALATED = "escalated"
    """The priority became more urgent while the condition stood. Whoever acknowledged the lesser one is asked again."""
    EASED = "eased"
    """The priority became less urgent."""


NEXT = MappingProxyType(
    {
        (State.NORMAL, Change.ACTIVATED): State.UNACKNOWLEDGED,
        (State.UNACKNOWLEDGED, Change.RETURNED): State.RETURNED,
        (State.UNACKNOWLEDGED, Change.LATCHED): State.LATCHED_UNACKNOWLEDGED,
        (State.UNACKNOWLEDGED, Change.ACKNOWLEDGED): State.ACKNOWLEDGED,
        (State.UNACKNOWLEDGED, Change.ESCALATED): State.UNACKNOWLEDGED,
        (State.UNACKNOWLEDGED, Change.EASED): State.UNACKNOWLEDGED,
        (State.ACKNOWLEDGED, Change.RETURNED): State.NORMAL,
        (State.ACKNOWLEDGED, Change.LATCHED): State.LATCHED_ACKNOWLEDGED,
        (State.ACKNOWLEDGED, Change.ESCALATED): State.UNACKNOWLEDGED,
        (State.ACKNOWLEDGED, Change.EASED): State.ACKNOWLEDGED,
        (State.RETURNED, Change.ACTIVATED): State.UNACKNOWLEDGED,
        (State.RETURNED, Change.ACKNOWLEDGED): State.NORMAL,
        (State.LATCHED_UNACKNOWLEDGED, Change.ACTIVATED): State.UNACKNOWLEDGED,
        (State.LATCHED_UNACKNOWLEDGED, Change.ACKNOWLEDGED): State.LATCHED_ACKNOWLEDGED,
        (State.LATCHED_ACKNOWLEDGED, Change.ACTIVATED): State.UNACKNOWLEDGED,
        (State.LATCHED_ACKNOWLEDGED, Change.RESET): State.NORMAL,
    }
)
"""(state, change) → state. A pair that is not here does not happen: `step` leaves the alarm as it is."""


class AlarmKey(NamedTuple):
    """What identifies an alarm: the rule and what it is about. Never a value, never a priority."""

    rule: str
    subject: Subject


@dataclass(frozen=True, slots=True)
class Escalation:
    """When the priority rises while the condition stands: on the first of the two that comes true."""

    priority: Priority
    after: timedelta | None = None
    """It has stood that long since its activation; gaps shorter than the off-delay do not interrupt."""
    confidence: float | None = None
    """The finding is at least that sure, 0 to 1: a second sensor or another signal agrees."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a rule's alarms behave."""

    priority: Priority
    on_delay: timedelta = timedelta(0)
    """The condition must stand that long before it becomes an alarm."""
    off_delay: timedelta = timedelta(0)
    """The condition must be gone that long before the alarm returns."""
    latch: bool = False
    """The alarm does not leave by itself: a person resets it after the condition is gone."""
    escalation: Escalation | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who said that they know, when, and what they added."""

    at: datetime
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """The detector cannot tell at present. What stands is held."""

    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Raise:
    """The detector finds it so."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Clear:
    """The detector looked, and it is not so."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The detector says neither: the value is inside the deadband, or it cannot tell, and `why` says why."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Elapse:
    """Time has passed; delays may have run out."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A person says that they know."""

    by: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """A person lets a latched alarm go."""

    by: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Reprioritise:
    """The priority is another from now on. One that was eased is not escalated again in the same occurrence."""

    priority: Priority
    why: str
    by: str = ""


Event: TypeAlias = Raise | Clear | Hold | Elapse | Acknowledge | Reset | Reprioritise


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time that an alarm was an alarm: from the first activation until it is normal again. All of it follows from
    the transitions."""

    id: str
    opened_at: datetime
    """The first activation."""
    since: datetime
    """The latest activation: later than opened_at after a re-alarm."""
    activations: int
    priority: Priority
    """It never falls by itself before the occurrence is over."""
    eased: bool = False
    """Somebody set it lower: it does not rise again by itself."""
    returned_at: datetime | None = None
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it stands: what it is, what the detector says, and what became of it."""

    key: AlarmKey
    kind: FindingKind
    policy: Policy
    present: bool = False
    """What the detector said last, before any delay."""
    turned_at: datetime | None = None
    """When it began to say so, while a delay runs; None otherwise."""
    finding: Finding | None = None
    """The latest one, also while it is gone."""
    doubt: Doubt | None = None
    state: State = State.NORMAL
    active: bool = False
    """The condition after its delays."""
    occurrence: Occurrence | None = None
    """None in the normal state, and in no other."""

    @property
    def idle(self) -> bool:
        """Nothing stands and nothing is about to: it need not be kept."""
        return self.occurrence is None and not self.present


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one alarm. The journal is made of these, and alarms are made of the journal."""

    at: datetime
    """When it was decided, UTC."""
    key: AlarmKey
    kind: FindingKind
    occurrence: str
    """Id of the occurrence that it begins, continues or ends."""
    change: Change
    before: State
    after: State
    priority: Priority
    """After the change."""
    by: str = ""
    """Who, for what a person did; "" for what the product did."""
    comment: str = ""
    why: str = ""
    """What made the product do it, where the change itself does not say: "it has stood for 30 s"."""
    finding: Finding | None = None
    """The evidence, on activation and escalation."""
    seq: int = 0
    """Its place in the journal, from 1; 0 while it is not written."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one event made of an alarm: the alarm as it is now, and none, one or two transitions, in order."""

    alarm: Alarm
    transitions: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay that is running: what no transition tells of an alarm, kept so that a restart does not lose it."""

    key: AlarmKey
    kind: FindingKind
    present: bool
    """True: an on-delay, the condition stands. False: an off-delay, it is gone."""
    turned_at: datetime
    finding: Finding | None = None


def step(alarm: Alarm, event: Event, at: datetime) -> Step:
    """Applies one event at one instant.

    Delays that have run out by `at` take effect before the event does, whatever the event, so a tick that comes late
    changes when something is said but not whether. While the detector cannot tell, no delay runs out; escalation by
    time goes on, for a wet sensor that falls silent was wet when last seen. A clock that steps back starts a running
    delay anew, and ends the time after which a priority rises. An event that the state has no row for changes nothing.
    Raises nothing.
    """
    made: list[Transition] = []
    now = _settle(alarm, at, made)
    if isinstance(event, Raise):
        if not now.present:
            now = _turn(now, True, at)
        if now.finding != event.finding or now.doubt is not None:
            now = _renew(now, event.finding)
    elif isinstance(event, Clear):
        if now.present:
            now = replace(_turn(now, False, at), doubt=None)
        elif now.doubt is not None:
            now = replace(now, doubt=None)
    elif isinstance(event, Hold):
        now = _hold(now, event.why, at)
    elif isinstance(event, Acknowledge):
        now = _change(now, Change.ACKNOWLEDGED, at, made, by=event.by, comment=event.comment)
    elif isinstance(event, Reset):
        now = _change(now, Change.RESET, at, made, by=event.by, comment=event.comment)
    elif isinstance(event, Reprioritise) and now.occurrence is not None and event.priority != now.occurrence.priority:
        change = Change.ESCALATED if event.priority < now.occurrence.priority else Change.EASED
        now = _change(now, change, at, made, priority=event.priority, by=event.by, why=event.why)
    if not isinstance(event, Elapse):
        now = _settle(now, at, made)
    return Step(now, tuple(made))


def advance(alarm: Alarm, transition: Transition) -> Alarm:
    """The alarm after a transition, be it decided just now or read from the journal.

    Raises ValueError when the transition does not follow: it begins in another state than the alarm is in, or NEXT does
    not lead where it says.
    """
    change, at = transition.change, transition.at
    if transition.before is not alarm.state or NEXT.get((alarm.state, change)) is not transition.after:
        raise ValueError(
            f"{transition.before} → {change} → {transition.after} does not follow for an alarm that is {alarm.state}"
        )
    if transition.after is State.NORMAL:
        # An on-delay may run already for the next occurrence; an off-delay ends with this one.
        present = alarm.present and change is not Change.RETURNED
        turned_at = alarm.turned_at if present else None
        return Alarm(alarm.key, alarm.kind, alarm.policy, present, turned_at, alarm.finding, alarm.doubt)
    was = alarm.occurrence
    if change is Change.ACTIVATED:
        occurrence = Occurrence(
            id=transition.occurrence,
            opened_at=at if was is None else was.opened_at,
            since=at,
            activations=1 if was is None else was.activations + 1,
            priority=transition.priority,
            eased=was is not None and was.eased,
        )
        finding = transition.finding or alarm.finding
        return Alarm(
            alarm.key, alarm.kind, alarm.policy, True, None, finding, alarm.doubt, transition.after, True, occurrence
        )
    if was is None or was.id != transition.occurrence:
        raise ValueError(f"{change} belongs to occurrence {transition.occurrence}, not to {was.id if was else 'none'}")
    if change in (Change.RETURNED, Change.LATCHED):
        occurrence = replace(was, returned_at=at)
        return replace(
            alarm, state=transition.after, present=False, turned_at=None, active=False, occurrence=occurrence
        )
    if change is Change.ACKNOWLEDGED:
        occurrence = replace(was, acknowledged=Acknowledgement(at, transition.by, transition.comment))
        return replace(alarm, state=transition.after, occurrence=occurrence)
    occurrence = replace(
        was,
        priority=transition.priority,
        eased=was.eased or change is Change.EASED,
        acknowledged=None if transition.after is State.UNACKNOWLEDGED else was.acknowledged,
    )
    return replace(alarm, state=transition.after, finding=transition.finding or alarm.finding, occurrence=occurrence)


def fold(transitions: Iterable[Transition], policy_of: Callable[[AlarmKey], Policy]) -> dict[AlarmKey, Alarm]:
    """The alarms that these transitions leave standing. They begin with an activation, or at any point at which all
    earlier alarms were normal. Raises ValueError, naming the row, when one does not follow from those before it."""
    alarms: dict[AlarmKey, Alarm] = {}
    for transition in transitions:
        key = transition.key
        alarm = alarms.get(key) or Alarm(key, transition.kind, policy_of(key))
        try:
            alarm = advance(alarm, transition)
        except ValueError as error:
            raise ValueError(f"row {transition.seq}: {error}") from error
        if alarm.state is State.NORMAL:
            alarms.pop(key, None)
        else:
            alarms[key] = alarm
    return alarms


def running(alarm: Alarm) -> Delay | None:
    """The delay that runs for this alarm, or None."""
    if alarm.turned_at is None:
        return None
    finding = alarm.finding if alarm.present else None
    return Delay(alarm.key, alarm.kind, alarm.present, alarm.turned_at, finding)


def resume(alarm: Alarm, delay: Delay) -> Alarm:
    """The alarm with its delay running again, as it did before a restart. A delay that no longer fits is left out."""
    if delay.present == alarm.active:
        return alarm
    finding = delay.finding or alarm.finding
    return replace(alarm, present=delay.present, turned_at=delay.turned_at, finding=finding)


def due(alarm: Alarm) -> datetime | None:
    """When time alone would next change this alarm; None when it never would, as things stand."""
    policy, escalation = alarm.policy, alarm.policy.escalation
    if alarm.turned_at is not None:
        if alarm.doubt is not None:
            return None
        return alarm.turned_at + (policy.on_delay if alarm.present else policy.off_delay)
    rising = _rising(alarm)
    if rising is None or escalation is None or escalation.after is None:
        return None
    return rising.since + escalation.after


def occurrence_of(key: AlarmKey, at: datetime) -> str:
    """The id of the occurrence that begins with an activation at this instant: 16 hex digits, the same for ever."""
    site, asset, qualifier = key.subject
    told = "\x1f".join((key.rule, site, asset, qualifier, str(to_us(at))))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _turn(alarm: Alarm, present: bool, at: datetime) -> Alarm:
    """The detector says something else than before. A delay starts; one that ran the other way is forgotten."""
    return replace(alarm, present=present, turned_at=None if present == alarm.active else at)


def _renew(alarm: Alarm, finding: Finding) -> Alarm:
    """New evidence, and with it no doubt. Spelled out, because each look does it to each alarm that stands, and
    `replace` takes three times as long."""
    return Alarm(
        alarm.key,
        alarm.kind,
        alarm.policy,
        alarm.present,
        alarm.turned_at,
        finding,
        None,
        alarm.state,
        alarm.active,
        alarm.occurrence,
    )


def _hold(alarm: Alarm, why: str, at: datetime) -> Alarm:
    doubt = alarm.doubt
    if not why:
        return alarm if doubt is None else replace(alarm, doubt=None)
    if doubt is not None and doubt.why == why:
        return alarm
    return replace(alarm, doubt=Doubt(doubt.since if doubt else at, why))


def _settle(alarm: Alarm, at: datetime, made: list[Transition]) -> Alarm:
    """Lets take effect what is due: the end of a delay, then an escalation."""
    policy, turned_at = alarm.policy, alarm.turned_at
    if turned_at is not None:
        if at < turned_at:
            alarm = replace(alarm, turned_at=at)
        elif alarm.doubt is None and at - turned_at >= (policy.on_delay if alarm.present else policy.off_delay):
            alarm = _activate(alarm, at, made) if alarm.present else _return(alarm, at, made)
    rising = _rising(alarm)
    if rising is not None and policy.escalation is not None:
        why = _reason(alarm, rising, policy.escalation, at)
        if why:
            alarm = _change(alarm, Change.ESCALATED, at, made, priority=policy.escalation.priority, why=why)
    return alarm


def _activate(alarm: Alarm, at: datetime, made: list[Transition]) -> Alarm:
    priority, escalation, why = alarm.policy.priority, alarm.policy.escalation, ""
    if escalation is not None and alarm.finding is not None and _sure(alarm.finding, escalation):
        priority, why = escalation.priority, _sureness(alarm.finding)
    before = alarm.occurrence
    if before is not None:
        priority = before.priority if before.eased else min(priority, before.priority)
    return _change(alarm, Change.ACTIVATED, at, made, priority=priority, why=why)


def _return(alarm: Alarm, at: datetime, made: list[Transition]) -> Alarm:
    return _change(alarm, Change.LATCHED if alarm.policy.latch else Change.RETURNED, at, made)


def _rising(alarm: Alarm) -> Occurrence | None:
    """The occurrence, where its priority could still rise by itself."""
    occurrence, escalation = alarm.occurrence, alarm.policy.escalation
    if escalation is None or occurrence is None or not (alarm.active and alarm.present) or occurrence.eased:
        return None
    return occurrence if occurrence.priority > escalation.priority else None


def _reason(alarm: Alarm, rising: Occurrence, escalation: Escalation, at: datetime) -> str:
    """Why the priority rises now, or ""."""
    if alarm.finding is not None and _sure(alarm.finding, escalation):
        return _sureness(alarm.finding)
    if escalation.after is None:
        return ""
    if at < rising.since:  # the machine's clock was set back while we were not there; rather too early than too late
        return "how long it has stood cannot be told: it began ahead of our clock"
    return f"it has stood for {escalation.after.total_seconds():g} s" if at - rising.since >= escalation.after else ""


def _sure(finding: Finding, escalation: Escalation) -> bool:
    return escalation.confidence is not None and finding.confidence >= escalation.confidence


def _sureness(finding: Finding) -> str:
    return f"the confidence is {finding.confidence:.2g}"


def _change(
    alarm: Alarm,
    change: Change,
    at: datetime,
    made: list[Transition],
    *,
    priority: Priority | None = None,
    by: str = "",
    comment: str = "",
    why: str = "",
) -> Alarm:
    after = NEXT.get((alarm.state, change))
    if after is None:
        return alarm
    if priority is None:
        priority = alarm.occurrence.priority if alarm.occurrence else alarm.policy.priority
    told = change in (Change.ACTIVATED, Change.ESCALATED)
    transition = Transition(
        at=at,
        key=alarm.key,
        kind=alarm.kind,
        occurrence=alarm.occurrence.id if alarm.occurrence else occurrence_of(alarm.key, at),
        change=change,
        before=alarm.state,
        after=after,
        priority=priority,
        by=by,
        comment=comment,
        why=why,
        finding=alarm.finding if told else None,
    )
    made.append(transition)
    return advance(alarm, transition)
