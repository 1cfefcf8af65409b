"""Alarm states after ISA-18.2: the table of transitions, and `step`, which applies one event at one instant.

Two things are kept apart. The *condition* is what a detector says, passed through on-delay and off-delay; the *state*
is what has become of the alarm, and it moves along NEXT alone. Beneath a state that hides (shelved, suppressed by
design, out of service) the condition goes on being followed, and each of its turns is a transition like any other.

A *mask* is what explains a condition, or makes it of no interest for a time. It withholds the beginning of an alarm and
nothing else: what has begun goes on, and every clear comes through.

Lives here: states, priorities, events, delays, latching, escalation, shelves and masks as they act on one alarm, and
the fold of transitions back into alarms. Not here: which finding belongs to which rule (rules.py), what masks it
(suppression.py), in which order things are written (engine.py), the clock, I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from dcim.core.errors import Permanent
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


SHELF_MAX = MappingProxyType(
    {
        Priority.CRITICAL: timedelta(hours=1),
        Priority.HIGH: timedelta(hours=4),
        Priority.MEDIUM: timedelta(hours=12),
        Priority.LOW: timedelta(hours=72),
    }
)
"""How long an alarm may be shelved at a time: within a shift for what is urgent, over a weekend for what is not."""


class State(StrEnum):
    """What has become of an alarm. The letters are those of the figure of states in ISA-18.2."""

    __hash__ = str.__hash__  # an Enum's own is a call of Python, and every step looks something up by it
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
    SHELVED = "shelved"
    """G: a person has put it aside for a time, with a reason; whatever the condition does."""
    SUPPRESSED = "suppressed"
    """H: the design hides it: something stands that explains it, work goes on there, or the equipment is off."""
    OUT_OF_SERVICE = "out_of_service"
    """I: a person has taken it out, with a reason, until a person brings it back; whatever the condition does."""


HIDDEN = frozenset({State.SHELVED, State.SUPPRESSED, State.OUT_OF_SERVICE})
"""States in which nobody is asked for anything."""


class Change(StrEnum):
    """What can happen to an alarm. A closed list: the columns of NEXT."""

    __hash__ = str.__hash__
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
    REMINDED = "reminded"
    """It was acknowledged, and has stood since for as long as its rule bears: whoever is there is asked again."""
    SUPPRESSED = "suppressed"
    """The condition has stood for its on-delay, but a mask is on it: the alarm begins hidden."""
    SILENCED = "silenced"
    """The condition has stood for its on-delay, but a person's silence waits for it: the alarm begins on the shelf."""
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    """A person ended the shelf, or its time did."""
    TAKEN_OUT = "taken_out"
    """A person took it out of service."""
    BROUGHT_BACK = "brought_back"
    """A person returned it to service."""
    ASSIGNED = "assigned"
    COMMENTED = "commented"
    CLOSED = "closed"
    """The condition is gone, and a person says what it was."""


_B, _C, _D, _E = State.UNACKNOWLEDGED, State.ACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED
_A, _F, _G, _H, _I = (
    State.NORMAL, State.LATCHED_ACKNOWLEDGED, State.SHELVED, State.SUPPRESSED, State.OUT_OF_SERVICE,
)  # fmt: skip


def _staying(change: Change, *states: State) -> dict[tuple[State, Change], tuple[State, ...]]:
    return {(state, change): (state,) for state in states}


def _leading(change: Change, to: State, *states: State) -> dict[tuple[State, Change], tuple[State, ...]]:
    return {(state, change): (to,) for state in states}


NEXT: MappingProxyType[tuple[State, Change], tuple[State, ...]] = MappingProxyType(
    _leading(Change.ACTIVATED, _B, _A, _D, _E, _F, _H)
    | _staying(Change.ACTIVATED, _G, _I)
    | {
        (_B, Change.RETURNED): (_D,),
        (_C, Change.RETURNED): (_A,),
        (_H, Change.RETURNED): (_A,),
        (_B, Change.LATCHED): (_E,),
        (_C, Change.LATCHED): (_F,),
        (_B, Change.ACKNOWLEDGED): (_C,),
        (_D, Change.ACKNOWLEDGED): (_A,),
        (_E, Change.ACKNOWLEDGED): (_F,),
        (_F, Change.RESET): (_A,),
        (_C, Change.REMINDED): (_B,),
        (_A, Change.SUPPRESSED): (_H,),
    }
    | _staying(Change.RETURNED, _G, _I)
    | _staying(Change.LATCHED, _G, _I)
    | _leading(Change.ESCALATED, _B, _B, _C, _G)
    | _staying(Change.ESCALATED, _H, _I)
    | _staying(Change.EASED, _B, _C, _G, _H, _I)
    | _leading(Change.SILENCED, _G, _A, _H)
    | _leading(Change.SHELVED, _G, _B, _C, _D, _E, _F, _G)
    | _leading(Change.TAKEN_OUT, _I, _B, _C, _D, _E, _F, _G, _H)
    | dict.fromkeys(((_G, Change.UNSHELVED), (_I, Change.BROUGHT_BACK)), (_B, _A, _E))
    | _staying(Change.ASSIGNED, _B, _C, _D, _E, _F, _G, _H, _I)
    | _staying(Change.COMMENTED, _B, _C, _D, _E, _F, _G, _H, _I)
    | _leading(Change.CLOSED, _A, _D, _E, _F, _G, _I)
)
"""(state, change) → state. A pair that is not here does not happen: `step` leaves the alarm as it is. Where there are
several, the condition decides: it stands; it is gone; it is gone and the rule latches."""


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
    remind: timedelta | None = None
    """An acknowledged alarm whose condition still stands after that long is to be acknowledged again."""


class MaskCause(StrEnum):
    """Why an alarm may be hidden by design. A closed list."""

    SITE = "site"
    """An alarm stands at the same site, or about this service, from which it follows."""
    UPSTREAM = "upstream"
    """An alarm stands at what feeds the asset with power or coolant, at what contains it, or at the asset itself."""
    MAINTENANCE = "maintenance"
    """Somebody works there."""
    OFF = "off"
    """The equipment says that it is off."""


class Mask(NamedTuple):
    """What hides an alarm."""

    cause: MaskCause
    by: str
    """Id of the alarm or of the maintenance window; of the asset that is off."""
    why: str
    """In words."""


class ClosingCause(StrEnum):
    """What an alarm turned out to be. A closed list, for it is counted."""

    FIXED = "fixed"
    """Something was wrong and has been put right."""
    PASSED = "passed"
    """Something was wrong and went away by itself."""
    FALSE = "false"
    """Nothing was wrong: a sensor, a limit or a rule was."""
    WORK = "work"
    """People were working there."""
    DRILL = "drill"
    """It was made on purpose."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who said that they know, when, and what they added."""

    at: datetime
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Aside:
    """Who put it on the shelf or out of service, when, why, and until when."""

    at: datetime
    by: str
    reason: str
    until: datetime | None
    """None: until a person brings it back."""
    silence: str = ""
    """Id of the silence that put it there; "" where a person meant this alarm alone."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The detector cannot tell at present. What stands is held."""

    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Raise:
    """The detector finds it so; `mask` hides it, as long as it has not begun."""

    finding: Finding
    mask: Mask | None = None


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
    """A person says that they know. In all that people do, `by` is who, `comment` what they say to it, and `origin`
    from where they did it."""

    by: str
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """A person lets a latched alarm go."""

    by: str
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A person adds something."""

    by: str
    comment: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Assign:
    """A person says whose it is; "" takes it from whoever had it."""

    by: str
    to: str
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Shelve:
    """A person puts it aside until a time; one that is on the shelf gets another time. The comment is the reason."""

    by: str
    comment: str
    until: datetime
    origin: str = ""
    silence: str = ""
    """Id of the silence that it follows from."""


@dataclass(frozen=True, slots=True)
class Unshelve:
    """A person takes it off the shelf before its time."""

    by: str
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class TakeOut:
    """A person takes it out of service. The comment is the reason."""

    by: str
    comment: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class BringBack:
    """A person returns it to service."""

    by: str
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """A person says what it was, and lets it go. Changes nothing while the condition stands."""

    by: str
    cause: ClosingCause
    comment: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reprioritise:
    """The priority is another from now on. One that was eased is not escalated again in the same occurrence."""

    priority: Priority
    why: str
    by: str = ""
    origin: str = ""


class Mistaken(Permanent):
    """What a person asks for cannot be meant: `where` names what is wrong with it, as in "reason" or "until"."""


Quiet: TypeAlias = Callable[["Alarm", Priority], Shelve | None]
"""What silences say of an alarm that is about to begin with this priority: the shelf on which it begins, or None."""

Act: TypeAlias = Acknowledge | Reset | Comment | Assign | Shelve | Unshelve | TakeOut | BringBack | Close
"""What a person does."""
Event: TypeAlias = Raise | Clear | Hold | Elapse | Reprioritise | Act

CHANGE_OF: MappingProxyType[type[Act], Change] = MappingProxyType(
    {
        Acknowledge: Change.ACKNOWLEDGED,
        Reset: Change.RESET,
        Comment: Change.COMMENTED,
        Assign: Change.ASSIGNED,
        Shelve: Change.SHELVED,
        Unshelve: Change.UNSHELVED,
        TakeOut: Change.TAKEN_OUT,
        BringBack: Change.BROUGHT_BACK,
        Close: Change.CLOSED,
    }
)
"""The change that each act is."""


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
    aside: Aside | None = None
    """On the shelf or out of service, as the state says."""
    assigned: str = ""
    """Whose it is; "" while nobody's."""
    comments: int = 0


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
    mask: Mask | None = None
    """What withholds its beginning. In the suppressed state: what hides it; None there while it waits for the on-delay
    that begins anew when a mask ends."""

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
    """The evidence, on activation, suppression, silencing and escalation."""
    origin: str = ""
    """From where, for what a person did: an address."""
    until: datetime | None = None
    """On shelving, by whatever way: when it ends."""
    detail: str = ""
    """On assignment: to whom. On closing: the cause. On shelving: the id of the silence that it follows from. On
    activation: the id of the alarm that was the first out of its group, where it was another."""
    mask: Mask | None = None
    """On suppression: what hides it."""
    seq: int = 0
    """Its place in the journal, from 1; 0 while it is not written."""

    @property
    def hidden(self) -> bool:
        """Whether it is on record alone: it begins, continues or ends what the design hides, and is no news."""
        return self.after is State.SUPPRESSED or (self.before is State.SUPPRESSED and self.after is State.NORMAL)

    @property
    def comes_out(self) -> bool:
        """Whether this is what a group's first-out is about: an alarm begins for everybody to see."""
        return self.change is Change.ACTIVATED and self.before in (State.NORMAL, State.SUPPRESSED)


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
    mask: Mask | None = None


def step(alarm: Alarm, event: Event, at: datetime, quiet: Quiet | None = None) -> Step:
    """Applies one event at one instant. quiet: asked when the alarm begins for everybody to see, and then alone.

    Delays that have run out by `at` take effect before the event does, whatever the event, so a tick that comes late
    changes when something is said but not whether. While the detector cannot tell, no delay runs out; escalation by
    time goes on, for a wet sensor that falls silent was wet when last seen. A clock that steps back starts a running
    delay anew, and ends the time after which a priority rises. An event that the state has no row for changes nothing.
    When a mask ends and the condition still stands, its on-delay begins anew: what explained it is given time to take
    its consequences along. Raises nothing.
    """
    if isinstance(event, Raise) and event.mask == alarm.mask and _only_evidence(alarm, at):
        return Step(alarm if alarm.doubt is None and alarm.finding == event.finding else _renew(alarm, event.finding))
    made: list[Transition] = []
    now = _settle(alarm, at, made, quiet)
    if isinstance(event, Raise):
        if not now.present:
            now = _turn(now, True, at)
        if now.mask is not event.mask and now.mask != event.mask:
            now = _cover(now, event.mask, at)
        if now.finding != event.finding or now.doubt is not None:
            now = _renew(now, event.finding)
    elif isinstance(event, Clear):
        if now.present:
            now = replace(_turn(now, False, at), doubt=None)
        elif now.doubt is not None:
            now = replace(now, doubt=None)
    elif isinstance(event, Hold):
        now = _hold(now, event.why, at)
    elif isinstance(event, Reprioritise):
        if now.occurrence is not None and event.priority != now.occurrence.priority:
            change = Change.ESCALATED if event.priority < now.occurrence.priority else Change.EASED
            now = _change(
                now, change, at, made, priority=event.priority, by=event.by, why=event.why, origin=event.origin
            )
    elif not isinstance(event, Elapse):
        now = _act(now, event, at, made)
    if not isinstance(event, Elapse):
        now = _settle(now, at, made, quiet)
    return Step(now, tuple(made))


def advance(alarm: Alarm, transition: Transition) -> Alarm:
    """The alarm after a transition, be it decided just now or read from the journal.

    Raises ValueError when the transition does not follow: it begins in another state than the alarm is in, or NEXT does
    not lead where it says.
    """
    change, at = transition.change, transition.at
    if transition.before is not alarm.state or transition.after not in NEXT.get((alarm.state, change), ()):
        raise ValueError(
            f"{transition.before} → {change} → {transition.after} does not follow for an alarm that is {alarm.state}"
        )
    was = alarm.occurrence
    if was is None:
        if change is Change.SUPPRESSED:
            occurrence = Occurrence(transition.occurrence, at, at, 0, transition.priority)
        elif change is Change.SILENCED:
            occurrence = Occurrence(transition.occurrence, at, at, 1, transition.priority, aside=_aside(transition))
        else:
            occurrence = Occurrence(transition.occurrence, at, at, 1, transition.priority)
        return _begun(alarm, transition, occurrence)
    if was.id != transition.occurrence:
        raise ValueError(f"{change} belongs to occurrence {transition.occurrence}, not to {was.id}")
    if transition.after is State.NORMAL:
        # An on-delay may run already for the next occurrence; an off-delay ends with this one.
        present = alarm.present and change is not Change.RETURNED
        turned_at, mask = (alarm.turned_at, alarm.mask) if present else (None, None)
        return Alarm(alarm.key, alarm.kind, alarm.policy, present, turned_at, alarm.finding, alarm.doubt, mask=mask)
    if change in (Change.ACTIVATED, Change.SILENCED):
        return _begun(
            alarm,
            transition,
            Occurrence(
                was.id,
                was.opened_at,
                at,
                was.activations + 1,
                transition.priority,
                was.eased,
                aside=_aside(transition) if change is Change.SILENCED else was.aside,
                assigned=was.assigned,
                comments=was.comments,
            ),
        )
    if change in (Change.RETURNED, Change.LATCHED):
        # These two are most of a journal, and a start reads it; `replace` takes ten times as long.
        occurrence = Occurrence(
            was.id, was.opened_at, was.since, was.activations, was.priority, was.eased, at,
            was.acknowledged, was.aside, was.assigned, was.comments,
        )  # fmt: skip
        return Alarm(
            alarm.key, alarm.kind, alarm.policy, False, None, alarm.finding, alarm.doubt, transition.after, False,
            occurrence, alarm.mask,
        )  # fmt: skip
    if change is Change.ACKNOWLEDGED:
        given = Acknowledgement(at, transition.by, transition.comment)
        occurrence = Occurrence(
            was.id, was.opened_at, was.since, was.activations, was.priority, was.eased, was.returned_at,
            given, was.aside, was.assigned, was.comments,
        )  # fmt: skip
        return Alarm(
            alarm.key, alarm.kind, alarm.policy, alarm.present, alarm.turned_at, alarm.finding, alarm.doubt,
            transition.after, alarm.active, occurrence, alarm.mask,
        )  # fmt: skip
    if change in (Change.SHELVED, Change.TAKEN_OUT):
        occurrence = replace(was, aside=_aside(transition))
        mask, turned_at = alarm.mask, alarm.turned_at
        if alarm.state is State.SUPPRESSED:  # it has begun: a mask, or the delay after one, is of no more use
            mask, turned_at = None, None if alarm.present else turned_at
        return replace(alarm, state=transition.after, occurrence=occurrence, mask=mask, turned_at=turned_at)
    if change is Change.ASSIGNED:
        return replace(alarm, occurrence=replace(was, assigned=transition.detail))
    if change is Change.COMMENTED:
        return replace(alarm, occurrence=replace(was, comments=was.comments + 1))
    if change in (Change.UNSHELVED, Change.BROUGHT_BACK, Change.REMINDED):
        return replace(alarm, state=transition.after, occurrence=replace(was, aside=None, acknowledged=None))
    # escalated or eased: whoever acknowledged or put aside the lesser is asked again
    told = transition.after is State.UNACKNOWLEDGED and change is Change.ESCALATED
    occurrence = replace(
        was,
        priority=transition.priority,
        eased=was.eased or change is Change.EASED,
        acknowledged=None if told else was.acknowledged,
        aside=None if told else was.aside,
    )
    return replace(alarm, state=transition.after, finding=transition.finding or alarm.finding, occurrence=occurrence)


def _aside(transition: Transition) -> Aside:
    silence = transition.detail if transition.change in (Change.SHELVED, Change.SILENCED) else ""
    return Aside(transition.at, transition.by, transition.comment, transition.until, silence)


def _begun(alarm: Alarm, transition: Transition, occurrence: Occurrence) -> Alarm:
    """The alarm whose condition has just come to stand after its delay."""
    finding = transition.finding or alarm.finding
    return Alarm(
        alarm.key, alarm.kind, alarm.policy, True, None, finding, alarm.doubt, transition.after, True, occurrence,
        transition.mask,
    )  # fmt: skip


def fold(
    transitions: Iterable[Transition], policy_of: Callable[[AlarmKey], Policy], stood: Iterable[Alarm] = ()
) -> dict[AlarmKey, Alarm]:
    """The alarms that these transitions leave standing, of those that stood before. They begin with an activation, or
    at any point at which all earlier alarms were normal or are in `stood`. Raises ValueError, naming the row, when one
    does not follow from those before it."""
    alarms = {alarm.key: alarm for alarm in stood}
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
    mask = alarm.mask if alarm.present else None
    return Delay(alarm.key, alarm.kind, alarm.present, alarm.turned_at, finding, mask)


def resume(alarm: Alarm, delay: Delay) -> Alarm:
    """The alarm with its delay running again, as it did before a restart. A delay that no longer fits is left out."""
    if delay.present == alarm.active and not (delay.present and alarm.state is State.SUPPRESSED):
        return alarm
    finding = delay.finding or alarm.finding
    mask = delay.mask if delay.present else alarm.mask
    return replace(alarm, present=delay.present, turned_at=delay.turned_at, finding=finding, mask=mask)


def due(alarm: Alarm) -> datetime | None:
    """When time alone would next change this alarm; None when it never would, as things stand."""
    occurrence, policy = alarm.occurrence, alarm.policy
    if alarm.turned_at is None and occurrence is not None and policy.escalation is None and policy.remind is None:
        return occurrence.aside.until if occurrence.aside is not None else None  # most, and most often
    times: list[datetime] = []
    if alarm.turned_at is not None and alarm.doubt is None and not _withheld(alarm):
        times.append(alarm.turned_at + (policy.on_delay if alarm.present else policy.off_delay))
    if occurrence is not None and occurrence.aside is not None and occurrence.aside.until is not None:
        times.append(occurrence.aside.until)
    rising = _rising(alarm)
    if rising is not None and policy.escalation is not None and policy.escalation.after is not None:
        times.append(rising.since + policy.escalation.after)
    reminding = _reminding(alarm)
    if reminding is not None and policy.remind is not None:
        times.append(reminding.at + policy.remind)
    return min(times, default=None)


def occurrence_of(key: AlarmKey, at: datetime) -> str:
    """The id of the occurrence that begins with an activation at this instant: 16 hex digits, the same for ever."""
    site, asset, qualifier = key.subject
    told = "\x1f".join((key.rule, site, asset, qualifier, str(to_us(at))))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _turn(alarm: Alarm, present: bool, at: datetime) -> Alarm:
    """The detector says something else than before. A delay starts; one that ran the other way is forgotten."""
    unmasked = present and alarm.state is State.SUPPRESSED and alarm.mask is None
    mask = alarm.mask if present or alarm.state is State.SUPPRESSED else None
    return replace(alarm, present=present, turned_at=at if present != alarm.active or unmasked else None, mask=mask)


def _cover(alarm: Alarm, mask: Mask | None, at: datetime) -> Alarm:
    """Another mask, or none. A mask is of no use to what has begun, unless it began hidden."""
    if alarm.active and alarm.state is not State.SUPPRESSED:
        return alarm if alarm.mask is None else replace(alarm, mask=None)
    turned_at = alarm.turned_at
    if mask is None:
        turned_at = at
    elif alarm.state is State.SUPPRESSED:
        turned_at = None
    return replace(alarm, mask=mask, turned_at=turned_at)


def _withheld(alarm: Alarm) -> bool:
    """Whether its delay may run out without anything to come of it: a re-alarm that a mask is on."""
    return alarm.present and alarm.mask is not None and alarm.state is not State.NORMAL


def _only_evidence(alarm: Alarm, at: datetime) -> bool:
    """Whether a finding can bring nothing but evidence: it is there already, and nothing comes of time just now. Most
    alarms, at most looks."""
    if not alarm.present:
        return False
    policy, occurrence, turned_at = alarm.policy, alarm.occurrence, alarm.turned_at
    if occurrence is None:
        return turned_at is not None and alarm.doubt is None and turned_at <= at < turned_at + policy.on_delay
    return turned_at is None and policy.escalation is None and policy.remind is None and occurrence.aside is None


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
        alarm.mask,
    )


def _hold(alarm: Alarm, why: str, at: datetime) -> Alarm:
    doubt = alarm.doubt
    if not why:
        return alarm if doubt is None else replace(alarm, doubt=None)
    if doubt is not None and doubt.why == why:
        return alarm
    return replace(alarm, doubt=Doubt(doubt.since if doubt else at, why))


def _settle(alarm: Alarm, at: datetime, made: list[Transition], quiet: Quiet | None) -> Alarm:
    """Lets take effect what is due: the end of a delay, of a shelf, an escalation, a reminder; in this order."""
    policy, turned_at = alarm.policy, alarm.turned_at
    if turned_at is not None:
        if at < turned_at:
            alarm = replace(alarm, turned_at=at)
        elif (
            alarm.doubt is None
            and not _withheld(alarm)
            and at - turned_at >= (policy.on_delay if alarm.present else policy.off_delay)
        ):
            alarm = _activate(alarm, at, made, quiet) if alarm.present else _return(alarm, at, made)
    occurrence = alarm.occurrence
    if occurrence is None:
        return alarm
    aside = occurrence.aside
    if aside is not None and aside.until is not None and at >= aside.until:
        alarm = _change(alarm, Change.UNSHELVED, at, made, why="its time on the shelf is over")
    rising = _rising(alarm)
    if rising is not None and policy.escalation is not None:
        why = _reason(alarm, rising, policy.escalation, at)
        if why:
            alarm = _change(alarm, Change.ESCALATED, at, made, priority=policy.escalation.priority, why=why)
    reminding = _reminding(alarm)
    if reminding is not None and policy.remind is not None and at - reminding.at >= policy.remind:
        why = f"it still stands {policy.remind.total_seconds():g} s after it was acknowledged"
        alarm = _change(alarm, Change.REMINDED, at, made, why=why)
    return alarm


def _act(alarm: Alarm, act: Act, at: datetime, made: list[Transition]) -> Alarm:
    """What a person does, where the state has a row for it."""
    until, detail = None, ""
    if isinstance(act, Shelve):
        until, detail = act.until, act.silence
        if until <= at:
            return alarm
    elif isinstance(act, Assign):
        detail = act.to
    elif isinstance(act, Close):
        detail = act.cause.value
        if alarm.active:
            return alarm
    return _change(
        alarm, CHANGE_OF[type(act)], at, made,
        by=act.by, comment=act.comment, origin=act.origin, until=until, detail=detail,
    )  # fmt: skip


def _activate(alarm: Alarm, at: datetime, made: list[Transition], quiet: Quiet | None) -> Alarm:
    priority, escalation, why = alarm.policy.priority, alarm.policy.escalation, ""
    if escalation is not None and alarm.finding is not None and _sure(alarm.finding, escalation):
        priority, why = escalation.priority, _sureness(alarm.finding)
    before = alarm.occurrence
    if before is not None:
        priority = before.priority if before.eased else min(priority, before.priority)
    if alarm.mask is not None:
        return _change(alarm, Change.SUPPRESSED, at, made, priority=priority, why=alarm.mask.why, mask=alarm.mask)
    comes_out = (alarm.state, Change.SILENCED) in NEXT
    shelf = quiet(alarm, priority) if quiet is not None and comes_out else None
    if shelf is not None and shelf.until > at:
        return _change(
            alarm, Change.SILENCED, at, made, priority=priority, why=why,
            by=shelf.by, comment=shelf.comment, origin=shelf.origin, until=shelf.until, detail=shelf.silence,
        )  # fmt: skip
    return _change(alarm, Change.ACTIVATED, at, made, priority=priority, why=why)


def _return(alarm: Alarm, at: datetime, made: list[Transition]) -> Alarm:
    latch = alarm.policy.latch and alarm.state is not State.SUPPRESSED  # nobody has to look at what nobody saw
    return _change(alarm, Change.LATCHED if latch else Change.RETURNED, at, made)


def _reminding(alarm: Alarm) -> Acknowledgement | None:
    """The acknowledgement of which somebody could still be reminded."""
    if alarm.policy.remind is None or alarm.state is not State.ACKNOWLEDGED or not alarm.present:
        return None
    return alarm.occurrence.acknowledged if alarm.occurrence is not None else None


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
    origin: str = "",
    until: datetime | None = None,
    detail: str = "",
    mask: Mask | None = None,
) -> Alarm:
    ways = NEXT.get((alarm.state, change))
    if ways is None:
        return alarm
    after = ways[0] if len(ways) == 1 or alarm.active else ways[2 if alarm.policy.latch else 1]
    if priority is None:
        priority = alarm.occurrence.priority if alarm.occurrence else alarm.policy.priority
    told = change in (Change.ACTIVATED, Change.SUPPRESSED, Change.SILENCED, Change.ESCALATED)
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
        origin=origin,
        until=until,
        detail=detail,
        mask=mask,
    )
    made.append(transition)
    return advance(alarm, transition)
