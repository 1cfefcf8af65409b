"""The alarm engine: takes what detectors think and what people do, steps the alarms, and writes before it tells.

The order is fixed: work out the transitions, append them to the journal, only then take the new state and answer. When
the journal fails nothing has changed, and the same detection applied again gives the same answer.

Every alarm has a version: the number of its last transition. Whoever says on which version an act is based is refused
when it is another by now, and learns what has changed.

Lives here: which alarm a finding moves, the order of things, who may do what when, first-out groups, views. Not here:
how one alarm moves (lifecycle.py), what hides one (suppression.py), the rules (rules.py), how rows are kept
(journal.py), who is told."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from alerts import external
from alerts.journal import HistoryQuery, Journal
from alerts.labels import labels_of
from alerts.lifecycle import (
    CHANGE_OF,
    HIDDEN,
    SHELF_MAX,
    Acknowledge,
    Act,
    Alarm,
    AlarmKey,
    Aside,
    Assign,
    Change,
    Clear,
    Close,
    Comment,
    Delay,
    Doubt,
    Elapse,
    Event,
    Hold,
    Mask,
    MaskCause,
    Mistaken,
    Occurrence,
    Policy,
    Priority,
    Quiet,
    Raise,
    Reset,
    Shelve,
    State,
    TakeOut,
    Transition,
    Unshelve,
    advance,
    due,
    fold,
    resume,
    running,
    step,
)
from alerts.matchers import Matcher
from alerts.rules import Rationale, Rule, Ruleset
from alerts.silences import (
    OVER_FOR,
    SILENCES_MAX,
    Noted,
    Silence,
    SilencePhase,
    Silences,
    UnknownSilence,
    check_silence,
    over,
    same_silence,
)
from alerts.silences import ended as ended_silence
from alerts.suppression import WINDOWS_MAX, OffOf, Standing, Suppression, Window, check_window, ended
from dcim.core.assets import Asset, AssetKey
from dcim.core.errors import DcimError, Permanent
from dcim.core.findings import Detection, Finding, FindingKind, Subject
from dcim.core.times import to_us
from dcim.core.topology import Topology

ALARMS_MAX = 100_000
"""Alarms that may stand or be about to; a newcomer beyond is refused and counted, what stands goes on standing."""
HIDDEN_MAX = 20_000
"""Alarms that are hidden by design, or about to be, with an entry of their own; beyond, findings are hidden without
one, and counted. So what is hidden takes no room from what stands."""
BY_MAX, COMMENT_MAX = 200, 2_000
"""Characters of a person's name and comment."""
Where: TypeAlias = tuple[FindingKind, Subject]
AssetOf: TypeAlias = Callable[[AssetKey], Asset | None]

_NO_RULE = Policy(Priority.LOW)
"""For alarms whose rule is no longer there: they are not raised again, and return as soon as they are looked at."""


class UnknownAlarm(Permanent):
    """There never was an alarm with this id."""


class NotNow(Permanent):
    """The alarm is in a state in which this cannot be done."""


class AlreadyAcknowledged(NotNow):
    """Somebody has acknowledged it before."""


class NotLatched(NotNow):
    """It is not waiting for a reset."""


class Changed(Permanent):
    """It has changed since the version on which the act was based. `version`: that version."""

    def __init__(self, what: str, version: int) -> None:
        super().__init__(what, todo="Look at it again, then decide.")
        self.version = version


class UnknownWindow(Permanent):
    """There is no such maintenance window, or it is over."""


@dataclass(frozen=True, slots=True)
class AlarmView:
    """One alarm as a person or a program is shown it."""

    id: str
    """The occurrence: from the first activation until normal."""
    rule: str
    title: str
    summary: str
    """The finding's own line."""
    kind: FindingKind
    site: str
    asset: str
    qualifier: str
    priority: Priority
    state: State
    since: datetime
    """The latest activation; later than opened_at after a re-alarm. UTC, as all times here."""
    opened_at: datetime
    activations: int
    """How often the condition has come in this occurrence."""
    returned_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    acknowledged_comment: str
    finding: Finding | None
    """The latest: evidence, confidence, score, time to limit, what to check first."""
    rationale: Rationale | None
    """None where the rule is no longer in the rules."""
    cannot_tell: str
    """Why the detector cannot tell whether it still stands; "" where it can."""
    cannot_tell_since: datetime | None
    masks: int
    """Findings that this alarm hides at present."""
    version: int
    """Number of its last transition."""
    active: bool
    """Whether the condition stands, after its delays; whatever the state."""
    aside: Aside | None
    """Who shelved it or took it out of service."""
    assigned: str
    comments: int
    mask: Mask | None
    """What hides it, in the suppressed state."""
    first_out: str
    """Where its rule is of a group: id of the alarm of that group that was the first out; its own, where it was."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How the engine stands."""

    standing: int
    """Not normal, and not hidden by design."""
    unacknowledged: int
    pending: int
    """Conditions whose on-delay runs."""
    masked: int
    """Findings whose alarm is hidden by design, or would be."""
    refused: int
    """Findings turned away since the start because there were too many alarms, counted at every look."""
    unmatched: int
    """Findings since the start that no rule wanted, counted at every look."""
    unlisted: int
    """Findings since the start that were hidden without an entry of their own because there were too many, counted at
    every look."""


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of a wish to do something to several alarms: each id is in one of the two."""

    transitions: tuple[Transition, ...]
    refused: tuple[tuple[str, DcimError], ...]


@dataclass(frozen=True, slots=True)
class Silenced:
    """What became of a silence, and of alarms with it."""

    silence: Silence
    transitions: tuple[Transition, ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A view and what it was made of."""

    alarm: Alarm
    asset: Asset | None
    view: AlarmView


@dataclass(slots=True)
class _Draft:
    """What one call would change. Nothing of it counts before the journal has it."""

    at: datetime
    standing: Standing
    quiet: Quiet | None = None
    trying: tuple[Matcher, ...] = ()
    """Of the silences that are active, the matchers that are costly to try on one value at a time."""
    silences: list[Noted] = field(default_factory=list)
    alarms: dict[AlarmKey, Alarm] = field(default_factory=dict)
    made: list[Transition] = field(default_factory=list)
    refused: int = 0
    unmatched: int = 0
    unlisted: int = 0
    born: int = 0
    hidden: int = 0


@dataclass(slots=True)
class _Group:
    """Alarms of one group at one place, while any of them is not normal."""

    first: str
    ids: set[str] = field(default_factory=set)


class Engine:
    """Alarms of all sites. One event loop; calls wait for each other, so a person and a detector never cross."""

    def __init__(
        self,
        ruleset: Ruleset,
        journal: Journal,
        *,
        asset_of: AssetOf = lambda _: None,
        off_of: OffOf = lambda _: "",
        alarms_max: int = ALARMS_MAX,
        hidden_max: int = HIDDEN_MAX,
    ) -> None:
        """asset_of: the asset of this key as it is known now; its kind chooses a rule, its name goes into the title.
        off_of: why it counts as switched off, or ""."""
        self._ruleset, self._journal, self._asset_of = ruleset, journal, asset_of
        self._alarms_max, self._hidden_max = alarms_max, hidden_max
        self._suppression, self._standing = Suppression(ruleset, off_of), Standing(ruleset)
        self._alarms: dict[AlarmKey, Alarm] = {}
        self._keys: dict[FindingKind, dict[Subject, tuple[AlarmKey, ...]]] = {kind: {} for kind in FindingKind}
        self._ids: dict[str, AlarmKey] = {}
        self._due: dict[AlarmKey, datetime] = {}
        self._silences = Silences()
        self._masks: Counter[str] = Counter()  # by what hides: alarms that it hides now
        self._hid: dict[str, set[AlarmKey]] = {}  # by the alarm that hides: all that it has hidden
        self._versions: dict[str, int] = {}  # by occurrence
        self._groups: dict[tuple[str, AssetKey], _Group] = {}
        self._first_out: dict[str, tuple[str, AlarmKey]] = {}  # by occurrence
        self._shown: dict[AlarmKey, _Shown] = {}
        self._ranked: list[AlarmKey] | None = None  # in the order of `standing`, until it changes
        self._refused = self._unmatched = self._unlisted = 0
        self._seq = 0
        self._unsure = False  # a write failed in a way that leaves open whether the rows are there
        self._owed: list[Transition] = []  # written, but not yet told to anybody
        self._lock = asyncio.Lock()

    async def open(self, at: datetime) -> None:
        """Takes up what stood when the journal was last written. Until a detector has looked again, each alarm says
        that nobody can tell. Raises Transient or Permanent as the journal does."""
        async with self._lock:
            recalled = await self._journal.recall()
            try:
                stood = (kept.alarm(self._policy_of(kept.key)) for kept in recalled.kept)
                alarms = fold(recalled.transitions, self._policy_of, stood)
            except ValueError as error:
                raise Permanent(
                    f"the journal contradicts itself: {error}",
                    where="alarms.journal",
                    todo="Move the file aside and start again: what still stands is raised anew",
                ) from error
            for delay in recalled.delays:
                alarm = alarms.get(delay.key) or Alarm(delay.key, delay.kind, self._policy_of(delay.key))
                alarms[delay.key] = resume(alarm, delay)
            doubt = Doubt(at, "not looked at since the start")
            for alarm in alarms.values():
                self._take(replace(alarm, doubt=doubt))
            for kept in sorted(recalled.kept, key=lambda kept: kept.out):
                self._versions[kept.occurrence.id] = kept.version
                if kept.out:
                    self._come_out(kept.key, kept.occurrence.id, kept.first)
            for transition in recalled.transitions:
                self._note(transition)
            self._seq = recalled.seq
            for window in await self._journal.windows(at):
                self._suppression.windows.put(window)
            for silence in await self._journal.silences(at - OVER_FOR):
                self._silences.put(silence)

    def follow(self, topology: Topology, assets: Mapping[AssetKey, Asset]) -> None:
        """What feeds what has changed. Takes time in proportion to the plant: call it when that changes."""
        self._suppression.follow(topology, assets)
        self._groups = {}
        for occurrence, (first, key) in self._first_out.items():
            rule = self._ruleset.get(key.rule)
            if rule is not None:
                self._groups.setdefault(self._group_of(rule, key), _Group(first)).ids.add(occurrence)

    async def adopt(self, ruleset: Ruleset, at: datetime) -> None:
        """Other rules are in force from now on, as if the service had been started anew with them, but nothing that
        was seen is forgotten. What stands goes on standing under its rule's new delays, latch and escalation, with the
        priority that it has; of a rule that is gone, until its condition is looked at again. What is about to begin
        waits for the next look, which knows what hides it now. Raises as `apply` does."""
        async with self._lock:
            await self._catch_up(at)
            before, self._ruleset = self._ruleset, ruleset
            self._suppression.adopt(ruleset)
            self._standing = Standing(ruleset)
            for key, alarm in self._alarms.items():
                begins = alarm.present and alarm.turned_at is not None
                doubt = alarm.doubt or (Doubt(at, "the rules have changed") if begins else None)
                known = self._alarms[key] = replace(alarm, policy=self._policy_of(key), doubt=doubt)
                when = due(known)
                if when is None:
                    self._due.pop(key, None)
                else:
                    self._due[key] = when
                if self._standing.masks(known.kind, key.rule):
                    self._standing.take(known)
            self._regroup(before)
            self._shown.clear()
            self._ranked = None

    def _regroup(self, before: Ruleset) -> None:
        """Groups by the rules of now. Who was first out of a group stays it; of a group that is new, the one that began
        first."""
        firsts, self._first_out, self._groups = self._first_out, {}, {}
        out = [
            (alarm.occurrence.opened_at, alarm.occurrence.id, key)
            for key, alarm in self._alarms.items()
            if alarm.occurrence is not None and alarm.state is not State.SUPPRESSED
        ]
        for _, occurrence, key in sorted(out):
            rule, former = self._ruleset.get(key.rule), before.get(key.rule)
            if rule is None or not rule.group:
                continue
            stays = former is not None and former.group == rule.group and occurrence in firsts
            first = firsts[occurrence][0] if stays else occurrence
            group = self._groups.setdefault(self._group_of(rule, key), _Group(first))
            group.ids.add(occurrence)
            self._first_out[occurrence] = first if stays else group.first, key

    async def apply(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> list[Transition]:
        """Takes a detector's answer in and returns what changed, already written, in order.

        kinds: those that the detector answers for. A finding raises; unknown and between hold; what the detector looked
        at and did not name is clear (everything of its kinds, where `looked_at` is None). Applying the same again
        changes nothing. Raises Transient when the journal did not take it: nothing has changed, so apply it again.
        Raises Permanent as the journal does, and ValueError for a finding of another kind.
        """
        async with self._lock:
            await self._catch_up(at)
            draft = self._draft(at)
            self._judge(detection, kinds, draft)
            await self._commit(draft)
            return self._tell(draft.made)

    async def elapse(self, at: datetime) -> list[Transition]:
        """Lets time take effect: delays that ran out, escalations. Returns and raises as `apply` does."""
        async with self._lock:
            await self._catch_up(at)
            draft = self._draft(at)
            for _, key in sorted((when, key) for key, when in self._due.items() if when <= at):
                self._step(key, Elapse(), draft)
            for silence in self._silences.due(at):
                self._begin(silence, draft)
            await self._commit(draft)
            self._suppression.windows.forget(at)
            self._silences.forget(at)
            return self._tell(draft.made)

    async def act(self, wishes: Iterable[tuple[str, int | None]], act: Act, at: datetime) -> Acted:
        """A person does the same to several alarms, in one write; one that refuses does not hold up the others.

        wishes: id of an alarm, and its version as the person saw it; None where the state alone decides. Refused with
        UnknownAlarm, Changed, NotNow (AlreadyAcknowledged, NotLatched), or Mistaken for a shelf that is too long.
        Raises Mistaken for a name, comment or reason that is missing or too long; Transient when the journal did not
        take it.
        """
        _check_act(act, at)
        async with self._lock:
            await self._catch_up(at)
            draft = self._draft(at)
            own: list[int] = []
            refused: list[tuple[str, DcimError]] = []
            for alarm_id, version in wishes:
                wrong = self._why_not_now(alarm_id, version, act, at)
                key = self._ids.get(alarm_id)
                if wrong is None and key is not None:
                    place = self._act(key, act, CHANGE_OF[type(act)], draft)
                    if place is not None:
                        own.append(place)
                        continue
                refused.append((alarm_id, wrong or await self._why_not(alarm_id, act, draft)))
            await self._commit(draft)
            return Acted(tuple(self._answer(draft, own)), tuple(refused))

    async def open_window(self, window: Window, at: datetime) -> Window:
        """A person says that work goes on somewhere: what begins there meanwhile is hidden. It gets its id here.

        Raises Mistaken, with the field, for one that cannot be meant; Transient when the journal did not take it.
        """
        _check_person(window.by, window.reason)
        if not window.reason.strip():
            raise Mistaken("a reason is wanted", where="reason")
        check_window(window, at)
        async with self._lock:
            windows = self._suppression.windows
            windows.forget(at)
            if len(windows) >= WINDOWS_MAX:
                raise Mistaken(f"there are {WINDOWS_MAX} windows already", where="end", todo="End one of them.")
            window = replace(window, id=secrets.token_hex(8), made_at=at)
            await self._journal.note(window, window.by, window.origin, at)
            windows.put(window)
            return window

    async def end_window(self, window_id: str, by: str, origin: str, at: datetime) -> Window:
        """A person ends one before its time. Raises UnknownWindow, and otherwise as `open_window` does."""
        _check_person(by, "")
        async with self._lock:
            window = self._suppression.windows.get(window_id)
            if window is None or window.until <= at:
                raise UnknownWindow(f"there is no maintenance window {window_id} that is open or to come")
            window = ended(window, by, origin, at)
            await self._journal.note(window, by, origin, at)
            self._suppression.windows.put(window)
            return window

    async def silence(self, wanted: Silence, at: datetime) -> Silenced:
        """A person wishes alarms not to be shown for a time: one without an id is made, one with an id is changed or,
        where it cannot be (`same_silence`), ended in favour of a new one. What stands and fits is shelved in the same
        write; what the one of before had shelved and no longer fits comes back.

        Raises Mistaken, with the field, for one that our rules do not allow; UnknownSilence for an id that is none's;
        Transient when the journal did not take it.
        """
        _check_person(wanted.by, wanted.comment)
        if not wanted.comment.strip():
            raise Mistaken("a comment is wanted: it is the reason for which alarms are shelved", where="comment")
        check_silence(wanted, self._ruleset, at)
        async with self._lock:
            await self._catch_up(at)
            before = self._silences.get(wanted.id) if wanted.id else None
            if wanted.id and before is None:
                raise UnknownSilence(f"there is no silence {wanted.id}")
            draft = self._draft(at)
            if before is not None and same_silence(before, wanted, at):
                made = replace(wanted, starts_at=before.starts_at, updated_at=at, begun=before.begun)
                if not before.begun:
                    made = replace(made, starts_at=wanted.starts_at)
                change = "changed"
            else:
                if self._silences.open(at) >= SILENCES_MAX:
                    raise Mistaken(f"there are {SILENCES_MAX} silences already: expire one of them", where="matchers")
                if before is not None and before.phase(at) is not SilencePhase.EXPIRED:
                    gone = ended_silence(before, wanted.by, wanted.origin, at)
                    draft.silences.append(Noted(gone, "ended", wanted.by, wanted.origin, at))
                start = max(wanted.starts_at, at)
                made = replace(wanted, id=str(uuid.uuid4()), starts_at=start, updated_at=at, begun=False)
                change = "made"
            if made.phase(at) is SilencePhase.ACTIVE:
                made = replace(made, begun=True)
                self._shelve(made, before.id if before is not None else "", draft)
            draft.silences.append(Noted(made, change, made.by, made.origin, at))
            await self._commit(draft)
            return Silenced(made, tuple(self._tell(draft.made)))

    async def expire(self, silence_id: str, by: str, origin: str, at: datetime) -> Silenced:
        """A person ends a silence before its time: what it shelved comes back. One that is over stays as it is. Raises
        UnknownSilence, and Transient when the journal did not take it."""
        _check_person(by, "")
        async with self._lock:
            await self._catch_up(at)
            silence = self._silences.get(silence_id)
            if silence is None:
                raise UnknownSilence(f"there is no silence {silence_id}")
            if silence.phase(at) is SilencePhase.EXPIRED:
                return Silenced(silence, ())
            draft, silence = self._draft(at), ended_silence(silence, by, origin, at)
            for key in self._shelved_by(silence_id):
                self._step(key, Unshelve(by, "the silence was ended", origin), draft)
            draft.silences.append(Noted(silence, "ended", by, origin, at))
            await self._commit(draft)
            return Silenced(silence, tuple(self._tell(draft.made)))

    def silences(self) -> list[Silence]:
        """The silences that are active or to come, and those that were over lately."""
        return list(self._silences)

    async def windows(self, since: datetime) -> Sequence[Window]:
        """Maintenance windows that were not over at that time, by their beginning. Raises as the journal does."""
        return await self._journal.windows(since)

    def hides(self, by: str) -> int:
        """How many alarms an alarm, a maintenance window or switched-off equipment hides at present."""
        return self._masks[by]

    @property
    def ruleset(self) -> Ruleset:
        """The rules that are in force."""
        return self._ruleset

    def standing(self) -> list[AlarmView]:
        """All alarms that are not normal and not hidden by design: those that ask for somebody before those that were
        put aside, then the most urgent first, among equals the newest first."""
        shown: dict[AlarmKey, _Shown] = {}
        for alarm in self.alarms():
            if alarm.occurrence is not None:
                shown[alarm.key] = self._show(alarm, alarm.occurrence)
        self._shown = shown
        return [one.view for one in shown.values()]

    def alarms(self, *, suppressed: bool = False) -> list[Alarm]:
        """The alarms of `standing`, in its order, without what a person wants to know of them: cheap, however many.
        suppressed: and those that are hidden by design."""
        if suppressed:
            ranked = sorted(
                (_rank(alarm, alarm.occurrence), key)
                for key, alarm in self._alarms.items()
                if alarm.occurrence is not None
            )
            return [self._alarms[key] for _, key in ranked]
        if self._ranked is None:
            ranked = sorted(
                (_rank(alarm, alarm.occurrence), key)
                for key, alarm in self._alarms.items()
                if alarm.occurrence is not None and alarm.state is not State.SUPPRESSED
            )
            self._ranked = [key for _, key in ranked]
        return [self._alarms[key] for key in self._ranked]

    def troubled(self) -> set[AssetKey]:
        """Where an alarm is not normal, hidden or not."""
        return {AssetKey(*alarm.key.subject[:2]) for alarm in self._alarms.values() if alarm.occurrence is not None}

    def view(self, alarm: Alarm) -> AlarmView | None:
        """An alarm of `alarms` as it is shown; None where it is normal."""
        if alarm.occurrence is None:
            return None
        self._shown[alarm.key] = shown = self._show(alarm, alarm.occurrence)
        return shown.view

    def suppressed(self) -> list[AlarmView]:
        """All alarms that are hidden by design, in the order of `standing`."""
        found = (
            (_rank(alarm, alarm.occurrence), self._show(alarm, alarm.occurrence).view)
            for alarm in self._alarms.values()
            if alarm.occurrence is not None and alarm.state is State.SUPPRESSED
        )
        return [view for _, view in sorted(found, key=lambda one: one[0])]

    def find(self, alarm_id: str) -> AlarmView | None:
        """The alarm with this id, or None where it is over or never was: `history` tells which."""
        key = self._ids.get(alarm_id)
        alarm = None if key is None else self._alarms[key]
        if alarm is None or alarm.occurrence is None:
            return None
        return self._show(alarm, alarm.occurrence).view

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:
        """What happened, newest first. Raises as the journal does."""
        return await self._journal.history(query)

    async def log(self, start: datetime, end: datetime) -> Sequence[Transition]:
        """All that tells how alarms stood in `[start, end)`, oldest first. Raises as the journal does."""
        return await self._journal.log(start, end)

    @property
    def seq(self) -> int:
        """Number of the last transition that is known to be written."""
        return self._seq

    @property
    def counts(self) -> Counts:
        """How many of what."""
        states = [alarm.state for alarm in self._alarms.values()]
        pending, suppressed = states.count(State.NORMAL), states.count(State.SUPPRESSED)
        waiting = (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED)
        return Counts(
            standing=len(states) - pending - suppressed,
            unacknowledged=sum(states.count(state) for state in waiting),
            pending=pending,
            masked=self._masks.total(),
            refused=self._refused,
            unmatched=self._unmatched,
            unlisted=self._unlisted,
        )

    def _draft(self, at: datetime) -> _Draft:
        """A new draft. Silences are asked only where there are any, and only of what begins."""
        active = self._silences.active(at)

        def quiet(alarm: Alarm, priority: Priority) -> Shelve | None:
            silence = over(active, alarm.kind, self._labels(alarm, priority))
            return None if silence is None else silence.shelf(priority, at)

        trying = tuple(each for silence in active for each in silence.matchers if each.is_regex)
        return _Draft(at, Standing(self._ruleset, self._standing), quiet if active else None, trying)

    def _labels(self, alarm: Alarm, priority: Priority) -> dict[str, str]:
        asset = self._asset_of(AssetKey(*alarm.key.subject[:2]))
        return labels_of(alarm.key, alarm.kind, priority, asset)

    def _begin(self, silence: Silence, draft: _Draft) -> None:
        """A silence whose time has come."""
        silence = replace(silence, begun=True)
        self._shelve(silence, "", draft)
        draft.silences.append(Noted(silence, "begun", "", "", draft.at))

    def _shelve(self, silence: Silence, instead_of: str, draft: _Draft) -> None:
        """Puts on the shelf what stands and fits, and takes off it what another silence had put there and this one
        does not fit."""
        held = {*self._shelved_by(silence.id), *self._shelved_by(instead_of)} if instead_of else set[AlarmKey]()
        for each in silence.matchers:
            each.learn(self._label_values(each.name))
        for key, alarm in list(self._alarms.items()):
            occurrence = alarm.occurrence
            if occurrence is None or (alarm.state is State.SHELVED and key not in held):
                continue
            fits = over((silence,), alarm.kind, self._labels(alarm, occurrence.priority)) is not None
            if fits:
                self._step(key, silence.shelf(occurrence.priority, draft.at), draft)
            elif key in held:
                self._step(key, Unshelve(silence.by, "the silence was changed", silence.origin), draft)

    def _learn(self, findings: Iterable[Finding], draft: _Draft) -> None:
        """Tries regular expressions on all at once that may be about to begin."""
        found = (self._rule_for(finding) for finding in findings)
        new = [
            Alarm(key, rule.kind, rule.policy)
            for rule, key in (one for one in found if one is not None)
            if key not in self._alarms or not self._alarms[key].active
        ]
        labels = [self._labels(alarm, alarm.policy.priority) for alarm in new]
        for each in draft.trying:
            each.learn(told.get(each.name, "") for told in labels)

    def _label_values(self, name: str) -> set[str]:
        """What a label says of the alarms that stand."""
        return {
            self._labels(alarm, alarm.occurrence.priority).get(name, "")
            for alarm in self._alarms.values()
            if alarm.occurrence is not None
        }

    def _shelved_by(self, silence_id: str) -> list[AlarmKey]:
        return [
            key
            for key, alarm in self._alarms.items()
            if alarm.state is State.SHELVED
            and alarm.occurrence is not None
            and alarm.occurrence.aside is not None
            and silence_id
            and alarm.occurrence.aside.silence == silence_id
        ]

    def _judge(self, detection: Detection, kinds: frozenset[FindingKind], draft: _Draft) -> None:
        """Clears come before what may be hidden, so that it is told as soon as what hid it is gone; and causes before
        what follows from them, for a finding that hides others may itself be hidden."""
        spoken: set[AlarmKey] = set()  # alarms that the detection says something of: the rest may be clear
        maskable: list[tuple[Rule, AlarmKey, Finding]] = []
        if draft.trying:
            self._learn(detection.findings, draft)
        for finding in detection.findings:
            if finding.kind not in kinds:
                raise ValueError(f"a finding of {finding.kind} from a detector of {', '.join(sorted(kinds))}")
            found = self._rule_for(finding)
            if found is None:
                draft.unmatched += 1
                continue
            rule, key = found
            spoken.add(key)
            alarm = self._alarms.get(key)
            begun = alarm is not None and alarm.active and alarm.state is not State.SUPPRESSED
            if begun or not self._suppression.may_hide(rule):
                self._raise(rule, key, finding, None, draft)
            else:
                maskable.append((rule, key, finding))
        standing = {kind for kind in kinds if self._keys[kind]}  # a large plant tells of tens of thousands of unknowns
        for unknown in detection.unknown if standing else ():
            self._hold((unknown.kind, unknown.subject), Hold(unknown.why), spoken, draft)
        for where in detection.between:
            self._hold(where, Hold(), spoken, draft)
        for where in self._looked_at(detection, kinds):
            for key in self._at(where):
                if key not in spoken:
                    self._step(key, Clear(), draft)
        if len(maskable) > 1:
            maskable.sort(key=self._turn)
        for rule, key, finding in maskable:
            self._raise_or_hide(rule, key, finding, draft)

    def _looked_at(self, detection: Detection, kinds: frozenset[FindingKind]) -> Iterator[Where]:
        """Where something stands or is about to, and the detector claims to have looked."""
        if detection.looked_at is not None:
            yield from detection.looked_at
            return
        for kind in kinds:
            for subject in self._keys[kind]:
                yield kind, subject

    def _turn(self, one: tuple[Rule, AlarmKey, Finding]) -> tuple[int, int, bool, Subject]:
        """Rules that explain others come first, and of one rule what is further up."""
        rule, (_, subject), _ = one
        return self._ruleset.depth[rule.name], *self._suppression.reach.level_of(AssetKey(*subject[:2])), subject

    def _raise_or_hide(self, rule: Rule, key: AlarmKey, finding: Finding, draft: _Draft) -> None:
        alarm, mask = self._now(key, draft), None
        if alarm is None or not alarm.active or alarm.state is State.SUPPRESSED:
            mask = self._suppression.mask(rule, finding.subject, draft.standing, draft.at)
        if mask is not None and alarm is None:
            if self._masks.total() + draft.hidden >= self._hidden_max:
                draft.unlisted += 1
                return
            draft.hidden += 1
        self._raise(rule, key, finding, mask, draft)

    def _rule_for(self, finding: Finding) -> tuple[Rule, AlarmKey] | None:
        """An alarm that exists keeps its rule while there is that rule, whatever is learned of its asset meanwhile."""
        for key in self._keys[finding.kind].get(finding.subject, ()):
            rule = self._ruleset.get(key.rule)
            if rule is not None:
                return rule, key
        site, asset, _ = finding.subject
        rule = self._ruleset.match(finding.kind, finding.subject, self._asset_of(AssetKey(site, asset)))
        return None if rule is None else (rule, AlarmKey(rule.name, finding.subject))

    def _raise(self, rule: Rule, key: AlarmKey, finding: Finding, mask: Mask | None, draft: _Draft) -> None:
        if self._now(key, draft) is None:
            if len(self._alarms) + draft.born >= self._alarms_max:
                draft.refused += 1
                return
            draft.born += 1
            draft.alarms[key] = Alarm(key, rule.kind, rule.policy)
        self._step(key, Raise(finding, mask), draft)

    def _hold(self, where: Where, event: Hold, spoken: set[AlarmKey], draft: _Draft) -> None:
        for key in self._at(where):
            if key not in spoken:
                spoken.add(key)
                self._step(key, event, draft)

    def _act(self, key: AlarmKey, event: Act, change: Change, draft: _Draft) -> int | None:
        """What a person does. The place of its transition in the draft, or None where it changes nothing."""
        before = len(draft.made)
        self._step(key, event, draft)
        own = [place for place, made in enumerate(draft.made[before:], before) if made.change is change]
        return own[0] if own else None

    def _step(self, key: AlarmKey, event: Event, draft: _Draft) -> None:
        before = self._now(key, draft)
        if before is None:
            return
        stepped = step(before, event, draft.at, draft.quiet)
        if stepped.alarm is not before:
            draft.alarms[key] = stepped.alarm
            if not _evidence_alone(before, stepped.alarm) and draft.standing.masks(before.kind, key.rule):
                draft.standing.take(stepped.alarm)
        if stepped.transitions:
            draft.made.extend(stepped.transitions)

    def _now(self, key: AlarmKey, draft: _Draft) -> Alarm | None:
        return draft.alarms.get(key) or self._alarms.get(key)

    def _at(self, where: Where) -> tuple[AlarmKey, ...]:
        """The alarms of one finding: one, or two for as long as the rules have changed and the old one stands."""
        return self._keys[where[0]].get(where[1], ())

    async def _commit(self, draft: _Draft) -> None:
        """Writes the draft, then takes it. When writing fails nothing has been taken."""
        delays: dict[AlarmKey, Delay | None] = {}
        for key, alarm in draft.alarms.items():
            before = self._alarms.get(key)
            if alarm.turned_at is None and (before is None or before.turned_at is None):
                continue
            if _delay_mark(alarm) != _delay_mark(before):
                delays[key] = running(alarm)
        firsts = self._firsts(draft.made)
        draft.made = [
            replace(
                transition,
                seq=seq,
                why=transition.why or self._hidden_by(transition),
                detail=firsts.get(seq - self._seq, transition.detail),
            )
            for seq, transition in enumerate(draft.made, self._seq + 1)
        ]
        if draft.made or delays or draft.silences:
            try:
                await self._journal.append(draft.made, delays, draft.silences)
            except BaseException:
                self._unsure = True
                raise
        self._seq += len(draft.made)
        for noted in draft.silences:
            self._silences.put(noted.silence)
        for alarm in draft.alarms.values():
            self._take(alarm)
        for transition in draft.made:
            self._note(transition)
            if transition.change in _ENDS:
                self._hid.pop(transition.occurrence, None)
        self._refused += draft.refused
        self._unmatched += draft.unmatched
        self._unlisted += draft.unlisted

    async def _catch_up(self, at: datetime) -> None:
        """After a write that failed: if its rows are there after all, they count, and are told with the next answer."""
        if not self._unsure:
            return
        for row in await self._journal.after(self._seq):
            alarm = self._alarms.get(row.key) or Alarm(row.key, row.kind, self._policy_of(row.key))
            try:
                self._take(advance(alarm, row))
            except ValueError as error:
                raise Permanent(
                    f"row {row.seq} is not ours: {error}",
                    where="alarms.journal",
                    todo="Make sure that one process alone writes to this journal, then start again.",
                ) from error
            self._note(row)
            self._seq = row.seq
            self._owed.append(row)
        for silence in await self._journal.silences(at - OVER_FOR):
            self._silences.put(silence)
        self._unsure = False

    def _take(self, alarm: Alarm) -> None:
        """Puts an alarm in the place of what was there, in all the ways that it can be found."""
        key, before = alarm.key, self._alarms.get(alarm.key)
        if before is not None and _evidence_alone(before, alarm):
            self._alarms[key] = alarm
            return
        self._ranked = None
        if before is not None and before.occurrence is not None:
            self._ids.pop(before.occurrence.id, None)
        if self._standing.masks(alarm.kind, key.rule):
            self._standing.take(alarm)
        self._count_mask(key, before.mask if before is not None else None, None if alarm.idle else alarm.mask)
        keys = self._keys[alarm.kind]
        if alarm.idle:
            self._due.pop(key, None)
            if before is not None:
                del self._alarms[key]
                left = tuple(other for other in keys[key.subject] if other != key)
                if left:
                    keys[key.subject] = left
                else:
                    del keys[key.subject]
            return
        if before is None:
            keys[key.subject] = (*keys.get(key.subject, ()), key)
        self._alarms[key] = alarm
        if alarm.occurrence is not None:
            self._ids[alarm.occurrence.id] = key
        when = due(alarm)
        if when is None:
            self._due.pop(key, None)
        else:
            self._due[key] = when

    def _count_mask(self, key: AlarmKey, before: Mask | None, now: Mask | None) -> None:
        if before is now:
            return
        if before is not None:
            self._masks[before.by] -= 1
            if not self._masks[before.by]:
                del self._masks[before.by]
        if now is not None:
            self._masks[now.by] += 1
            if now.cause in (MaskCause.SITE, MaskCause.UPSTREAM):
                self._hid.setdefault(now.by, set()).add(key)

    def _note(self, transition: Transition) -> None:
        """Keeps the books that no single alarm keeps: its version, and which of a group was first."""
        occurrence = transition.occurrence
        if transition.after is State.NORMAL:
            self._versions.pop(occurrence, None)
        else:
            self._versions[occurrence] = transition.seq
        rule = self._ruleset.get(transition.key.rule)
        if rule is None or not rule.group:
            return
        if transition.after is State.NORMAL:
            place = self._group_of(rule, transition.key)
            self._first_out.pop(occurrence, None)
            group = self._groups.get(place)
            if group is not None:
                group.ids.discard(occurrence)
                if not group.ids:
                    del self._groups[place]
        elif transition.comes_out:
            self._come_out(transition.key, occurrence, transition.detail)

    def _come_out(self, key: AlarmKey, occurrence: str, first: str) -> None:
        """Takes down who was first out of the group that an alarm's rule is of. first: "" where it was this one."""
        rule = self._ruleset.get(key.rule)
        if rule is None or not rule.group:
            return
        group = self._groups.setdefault(self._group_of(rule, key), _Group(first or occurrence))
        group.ids.add(occurrence)
        self._first_out[occurrence] = first or occurrence, key

    def _group_of(self, rule: Rule, key: AlarmKey) -> tuple[str, AssetKey]:
        place = AssetKey(key.subject.site, key.subject.asset)
        return rule.group, self._suppression.reach.place(place)

    def _firsts(self, made: list[Transition]) -> dict[int, str]:
        """For what comes out of a group that is out already: by its place, from 1, the id of the first. Of several that
        come out in the same look, the first is the one that began first as its detector has it, then by id."""
        coming: dict[tuple[str, AssetKey], list[tuple[datetime, str, int]]] = {}
        for place, transition in enumerate(made, 1):
            rule = self._ruleset.get(transition.key.rule)
            if rule is not None and rule.group and transition.comes_out:
                began = transition.finding.since if transition.finding is not None else transition.at
                told = began, transition.occurrence, place
                coming.setdefault(self._group_of(rule, transition.key), []).append(told)
        firsts: dict[int, str] = {}
        for group, several in coming.items():
            several.sort()
            known = self._groups.get(group)
            first = known.first if known is not None else several[0][1]
            firsts |= {place: first for _, occurrence, place in several if occurrence != first}
        return firsts

    def _tell(self, made: list[Transition]) -> list[Transition]:
        """What is to be told now: what is owed from before, then this."""
        owed, self._owed = self._owed, []
        return [*owed, *made]

    def _answer(self, draft: _Draft, own: list[int]) -> list[Transition]:
        """A person is answered with what that person did; what time did in the same call is owed to the next look."""
        mine = set(own)
        self._owed.extend(transition for place, transition in enumerate(draft.made) if place not in mine)
        return [draft.made[place] for place in own]

    def _why_not_now(self, alarm_id: str, version: int | None, act: Act, at: datetime) -> DcimError | None:
        """What is wrong with an act before anything is tried."""
        key = self._ids.get(alarm_id)
        alarm = None if key is None else self._alarms[key]
        if alarm is None or alarm.occurrence is None:
            return None
        if version is not None and version != self._versions.get(alarm_id):
            return Changed(f"alarm {alarm_id} has changed since version {version}", version)
        if isinstance(act, Shelve) and act.until - at > SHELF_MAX[alarm.occurrence.priority]:
            priority = alarm.occurrence.priority
            hours = SHELF_MAX[priority] / timedelta(hours=1)
            return Mistaken(f"an alarm of priority {priority.word} is shelved for {hours:g} h at most", where="until")
        return None

    async def _why_not(self, alarm_id: str, act: Act, draft: _Draft) -> DcimError:
        """Why an act had no effect."""
        key = self._ids.get(alarm_id)
        alarm = None if key is None else self._now(key, draft)
        stands = alarm is not None and alarm.occurrence is not None and alarm.occurrence.id == alarm_id
        if isinstance(act, Acknowledge):
            given = alarm.occurrence.acknowledged if alarm is not None and stands and alarm.occurrence else None
            if given is not None:
                return _acknowledged_before(alarm_id, given.by, given.at)
            if not stands:
                for row in await self._journal.history(HistoryQuery(occurrence=alarm_id)):
                    if row.change is Change.ACKNOWLEDGED:
                        return _acknowledged_before(alarm_id, row.by, row.at)
        if alarm is None or not stands:
            return UnknownAlarm(f"there is no alarm {alarm_id}")
        state = alarm.state.replace("_", " ")
        if isinstance(act, Reset):
            return NotLatched(
                f"alarm {alarm_id} is {alarm.state}", todo="Only one that is latched_acknowledged is reset."
            )
        if isinstance(act, Close) and alarm.active:
            return NotNow(f"alarm {alarm_id} still stands", todo="Shelve it or take it out of service.")
        return NotNow(f"alarm {alarm_id} is {state}, and cannot be {CHANGE_OF[type(act)].replace('_', ' ')}")

    def _hidden_by(self, transition: Transition) -> str:
        """What the journal says of what hid others when it ends."""
        hidden = self._hid.get(transition.occurrence)
        return f"it masked {len(hidden)} findings while it stood" if hidden and transition.change in _ENDS else ""

    def _policy_of(self, key: AlarmKey) -> Policy:
        rule = self._ruleset.get(key.rule)
        return _NO_RULE if rule is None else rule.policy

    def _show(self, alarm: Alarm, occurrence: Occurrence) -> _Shown:
        """The view of an alarm, made anew only when something that it shows has changed."""
        site, asset, _ = alarm.key.subject
        known, masks = self._asset_of(AssetKey(site, asset)), self._masks.get(occurrence.id, 0)
        version = self._versions.get(occurrence.id, 0)
        last = self._shown.get(alarm.key)
        if last is not None and last.asset is known:
            view = last.view
            if last.alarm is alarm and view.masks == masks and view.version == version:
                return last
        view = self._view(alarm, occurrence, known, masks, version)
        return _Shown(alarm, known, view)

    def _view(self, alarm: Alarm, occurrence: Occurrence, known: Asset | None, masks: int, version: int) -> AlarmView:
        site, asset, qualifier = alarm.key.subject
        finding, given, doubt = alarm.finding, occurrence.acknowledged, alarm.doubt
        summary = finding.summary if finding is not None else ""
        rule = self._ruleset.get(alarm.key.rule)
        return AlarmView(
            id=occurrence.id,
            rule=alarm.key.rule,
            title=rule.headline(alarm.key.subject, known.name if known is not None else asset) if rule else summary,
            summary=summary,
            kind=alarm.kind,
            site=site,
            asset=asset,
            qualifier=qualifier,
            priority=occurrence.priority,
            state=alarm.state,
            since=occurrence.since,
            opened_at=occurrence.opened_at,
            activations=occurrence.activations,
            returned_at=occurrence.returned_at,
            acknowledged_at=given.at if given else None,
            acknowledged_by=given.by if given else "",
            acknowledged_comment=given.comment if given else "",
            finding=finding,
            rationale=external.rationale(rule, finding) if rule else None,
            cannot_tell=doubt.why if doubt else "",
            cannot_tell_since=doubt.since if doubt else None,
            masks=masks,
            version=version,
            active=alarm.active,
            aside=occurrence.aside,
            assigned=occurrence.assigned,
            comments=occurrence.comments,
            mask=alarm.mask if alarm.state is State.SUPPRESSED else None,
            first_out=self._first_out.get(occurrence.id, ("",))[0],
        )


def _rank(alarm: Alarm, occurrence: Occurrence) -> tuple[bool, int, int, str]:
    """Its place among others: what was put aside comes last, the most urgent first, then the newest."""
    return alarm.state in HIDDEN, occurrence.priority, -to_us(occurrence.since), occurrence.id


def _acknowledged_before(alarm_id: str, by: str, at: datetime) -> AlreadyAcknowledged:
    return AlreadyAcknowledged(f"alarm {alarm_id} was acknowledged by {by} at {at:%Y-%m-%d %H:%M:%S} UTC")


_ENDS = (Change.RETURNED, Change.LATCHED)


def _evidence_alone(before: Alarm, alarm: Alarm) -> bool:
    """Whether nothing but the finding is another: all ways to the alarm, and what time does to it, are as before."""
    return (
        alarm.occurrence is before.occurrence
        and alarm.turned_at is before.turned_at
        and alarm.doubt is before.doubt
        and alarm.mask is before.mask
        and alarm.present is before.present
        and alarm.active is before.active
        and alarm.state is before.state
    )


def _delay_mark(alarm: Alarm | None) -> tuple[bool, datetime, Mask | None] | None:
    """What must be written of a delay again when it changes; its finding changes with every look and need not be."""
    if alarm is None or alarm.turned_at is None:
        return None
    return alarm.present, alarm.turned_at, alarm.mask if alarm.present else None


def _check_act(act: Act, at: datetime) -> None:
    """Raises Mistaken, with the field, for an act that could not be done to any alarm."""
    _check_person(act.by, act.comment)
    if isinstance(act, Shelve | TakeOut) and not act.comment.strip():
        raise Mistaken("a reason is wanted", where="reason")
    if isinstance(act, Comment) and not act.comment.strip():
        raise Mistaken("a comment is wanted", where="comment")
    if isinstance(act, Shelve) and act.until <= at:
        raise Mistaken("the shelf would be over already", where="until")
    if isinstance(act, Assign) and act.to:
        _check_person(act.to, "")


def _check_person(by: str, comment: str) -> None:
    if not by.strip() or len(by) > BY_MAX:
        raise Mistaken(f"a name of 1 to {BY_MAX} characters is wanted", where="by")
    if len(comment) > COMMENT_MAX:
        raise Mistaken(f"the comment is longer than {COMMENT_MAX} characters", where="comment")
    for where, text in (("by", by), ("comment", comment)):
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise Mistaken("it holds a character that cannot be kept", where=where)
