"""The alarm engine: takes what detectors think and what people do, steps the alarms, and writes before it tells.

The order is fixed: work out the transitions, append them to the journal, only then take the new state and answer. When
the journal fails nothing has changed, and the same detection applied again gives the same answer.

Lives here: which alarm a finding moves, masking, the order of things, views. Not here: how one alarm moves
(lifecycle.py), the rules (rules.py), how rows are kept (journal.py), who is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from alerts.journal import HistoryQuery, Journal
from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    Change,
    Clear,
    Doubt,
    Elapse,
    Event,
    Hold,
    Occurrence,
    Policy,
    Priority,
    Raise,
    Reset,
    State,
    Transition,
    advance,
    due,
    fold,
    resume,
    running,
    step,
)
from alerts.rules import Rationale, Rule, Ruleset
from dcim.core.assets import Asset, AssetKey
from dcim.core.errors import DcimError, Permanent
from dcim.core.findings import Detection, Finding, FindingKind, Subject

ALARMS_MAX = 100_000
"""Alarms that may stand or be about to; a newcomer beyond is refused and counted, what stands goes on standing."""
BY_MAX, COMMENT_MAX = 200, 2_000
"""Characters of a person's name and comment."""

Where: TypeAlias = tuple[FindingKind, Subject]
AssetOf: TypeAlias = Callable[[AssetKey], Asset | None]

_NO_RULE = Policy(Priority.LOW)
"""For alarms whose rule is no longer there: they are not raised again, and return as soon as they are looked at."""


class UnknownAlarm(Permanent):
    """There never was an alarm with this id."""


class AlreadyAcknowledged(Permanent):
    """Somebody has acknowledged it before."""


class NotLatched(Permanent):
    """It is not waiting for a reset."""


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


@dataclass(frozen=True, slots=True)
class Masked:
    """A finding that makes no alarm at present, because one that explains it stands."""

    rule: str
    kind: FindingKind
    subject: Subject
    since: datetime
    by: str
    """Id of the alarm that hides it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How the engine stands."""

    standing: int
    unacknowledged: int
    pending: int
    """Conditions whose on-delay runs."""
    masked: int
    refused: int
    """Findings turned away since the start because there were too many alarms, counted at every look."""
    unmatched: int
    """Findings since the start that no rule wanted, counted at every look."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What became of a wish to acknowledge several alarms: each id is in one of the two."""

    transitions: tuple[Transition, ...]
    refused: tuple[tuple[str, DcimError], ...]


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
    alarms: dict[AlarmKey, Alarm] = field(default_factory=dict)
    made: list[Transition] = field(default_factory=list)
    masked: dict[Where, Masked] = field(default_factory=dict)
    unmasked: list[Where] = field(default_factory=list)
    refused: int = 0
    unmatched: int = 0
    born: int = 0


class Engine:
    """Alarms of all sites. One event loop; calls wait for each other, so a person and a detector never cross."""

    def __init__(
        self,
        ruleset: Ruleset,
        journal: Journal,
        *,
        asset_of: AssetOf = lambda _: None,
        alarms_max: int = ALARMS_MAX,
    ) -> None:
        """asset_of: the asset of this key as it is known now; its kind chooses a rule, its name goes into the title."""
        self._ruleset, self._journal, self._asset_of, self._alarms_max = ruleset, journal, asset_of, alarms_max
        self._alarms: dict[AlarmKey, Alarm] = {}
        self._keys: dict[FindingKind, dict[Subject, tuple[AlarmKey, ...]]] = {kind: {} for kind in FindingKind}
        self._ids: dict[str, AlarmKey] = {}
        self._due: dict[AlarmKey, datetime] = {}
        self._masked: dict[Where, Masked] = {}
        self._hidden: dict[str, set[Where]] = {}
        self._shown: dict[AlarmKey, _Shown] = {}
        self._refused = self._unmatched = 0
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
                alarms = fold(recalled.transitions, self._policy_of)
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
            self._seq = recalled.seq

    async def apply(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> list[Transition]:
        """Takes a detector's answer in and returns what changed, already written, in order.

        kinds: those that the detector answers for. A finding raises; unknown and between hold; what the detector looked
        at and did not name is clear (everything of its kinds, where `looked_at` is None). Applying the same again
        changes nothing. Raises Transient when the journal did not take it: nothing has changed, so apply it again.
        Raises Permanent as the journal does, and ValueError for a finding of another kind.
        """
        async with self._lock:
            await self._catch_up()
            draft = _Draft(at)
            self._judge(detection, kinds, draft)
            await self._commit(draft)
            return self._tell(draft.made)

    async def elapse(self, at: datetime) -> list[Transition]:
        """Lets time take effect: delays that ran out, escalations. Returns and raises as `apply` does."""
        async with self._lock:
            await self._catch_up()
            draft = _Draft(at)
            for _, key in sorted((when, key) for key, when in self._due.items() if when <= at):
                self._step(key, Elapse(), draft)
            await self._commit(draft)
            return self._tell(draft.made)

    async def acknowledge(self, alarm_id: str, by: str, comment: str, at: datetime) -> Transition:
        """A person knows. Returns the transition, written.

        Raises UnknownAlarm; AlreadyAcknowledged, saying who and when; Permanent for a name or comment that is too long
        or no name; Transient when the journal did not take it.
        """
        done = await self.acknowledge_many([alarm_id], by, comment, at)
        if done.refused:
            raise done.refused[0][1]
        return done.transitions[0]

    async def acknowledge_many(self, alarm_ids: Iterable[str], by: str, comment: str, at: datetime) -> Acknowledged:
        """As `acknowledge`, for several in one write; one that cannot be acknowledged does not hold up the others."""
        _check_person(by, comment)
        async with self._lock:
            await self._catch_up()
            draft = _Draft(at)
            own: list[int] = []
            refused: list[tuple[str, DcimError]] = []
            for alarm_id in alarm_ids:
                key = self._ids.get(alarm_id)
                place = None if key is None else self._act(key, Acknowledge(by, comment), Change.ACKNOWLEDGED, draft)
                if place is None:
                    refused.append((alarm_id, await self._why_not(alarm_id, draft)))
                else:
                    own.append(place)
            await self._commit(draft)
            return Acknowledged(tuple(self._answer(draft, own)), tuple(refused))

    async def reset(self, alarm_id: str, by: str, comment: str, at: datetime) -> Transition:
        """A person lets a latched alarm go. Raises UnknownAlarm, NotLatched, and otherwise as `acknowledge` does."""
        _check_person(by, comment)
        async with self._lock:
            await self._catch_up()
            key = self._ids.get(alarm_id)
            if key is None:
                raise UnknownAlarm(f"there is no alarm {alarm_id}")
            draft = _Draft(at)
            place = self._act(key, Reset(by, comment), Change.RESET, draft)
            if place is None:
                state = self._alarms[key].state
                raise NotLatched(f"alarm {alarm_id} is {state}", todo="Only one that is latched_acknowledged is reset.")
            await self._commit(draft)
            return self._answer(draft, [place])[0]

    def standing(self) -> list[AlarmView]:
        """All alarms that are not normal: the most urgent first, among equals the newest first."""
        masks = Counter(masked.by for masked in self._masked.values())
        shown: dict[AlarmKey, _Shown] = {}
        for key, alarm in self._alarms.items():
            if alarm.occurrence is not None:
                shown[key] = self._show(alarm, alarm.occurrence, masks[alarm.occurrence.id])
        self._shown = shown
        return [one.view for one in sorted(shown.values(), key=_order)]

    def find(self, alarm_id: str) -> AlarmView | None:
        """The alarm with this id, or None where it is over or never was: `history` tells which."""
        key = self._ids.get(alarm_id)
        alarm = None if key is None else self._alarms[key]
        if alarm is None or alarm.occurrence is None:
            return None
        return self._show(alarm, alarm.occurrence, sum(masked.by == alarm_id for masked in self._masked.values())).view

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:
        """What happened, newest first. Raises as the journal does."""
        return await self._journal.history(query)

    def masked(self) -> list[Masked]:
        """What makes no alarm at present because something that explains it stands, oldest first."""
        return sorted(self._masked.values(), key=lambda masked: (masked.since, masked.subject))

    @property
    def counts(self) -> Counts:
        """How many of what."""
        states = [alarm.state for alarm in self._alarms.values()]
        pending = states.count(State.NORMAL)
        waiting = (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED)
        return Counts(
            standing=len(states) - pending,
            unacknowledged=sum(states.count(state) for state in waiting),
            pending=pending,
            masked=len(self._masked),
            refused=self._refused,
            unmatched=self._unmatched,
        )

    def _judge(self, detection: Detection, kinds: frozenset[FindingKind], draft: _Draft) -> None:
        """Clears come before what may be masked, so that what a mask hid is told as soon as the mask ends."""
        named: set[Where] = set()
        spoken: set[AlarmKey] = set()  # alarms that the detection says something of: the rest may be clear
        maskable: list[tuple[Rule, Finding]] = []
        for finding in detection.findings:
            if finding.kind not in kinds:
                raise ValueError(f"a finding of {finding.kind} from a detector of {', '.join(sorted(kinds))}")
            named.add((finding.kind, finding.subject))
            rule = self._rule_for(finding)
            if rule is None:
                draft.unmatched += 1
                continue
            spoken.add(AlarmKey(rule.name, finding.subject))
            if rule.masked_by:
                maskable.append((rule, finding))
            else:
                self._raise(rule, finding, draft)
        standing = {kind for kind in kinds if self._keys[kind]}  # a large plant tells of tens of thousands of unknowns
        for unknown in detection.unknown if standing else ():
            self._hold((unknown.kind, unknown.subject), Hold(unknown.why), spoken, draft)
        for where in detection.between:
            self._hold(where, Hold(), spoken, draft)
        for where in self._looked_at(detection, kinds):
            for key in self._at(where):
                if key not in spoken:
                    self._step(key, Clear(), draft)
            if where in self._masked and where not in named:
                draft.unmasked.append(where)
        if maskable:
            self._raise_or_mask(maskable, draft)

    def _looked_at(self, detection: Detection, kinds: frozenset[FindingKind]) -> Iterator[Where]:
        """Where something stands, is about to or is masked, and the detector claims to have looked."""
        if detection.looked_at is not None:
            yield from detection.looked_at
            return
        for kind in kinds:
            for subject in self._keys[kind]:
                yield kind, subject
        for kind, subject in self._masked:
            if kind in kinds and subject not in self._keys[kind]:
                yield kind, subject

    def _raise_or_mask(self, maskable: list[tuple[Rule, Finding]], draft: _Draft) -> None:
        """What may be masked, causes first: a finding that hides others may itself be hidden."""
        while maskable:
            kinds = {finding.kind for _, finding in maskable}
            causes: list[tuple[Rule, Finding]] = []
            rest: list[tuple[Rule, Finding]] = []
            for rule, finding in maskable:
                (rest if rule.masked_by & (kinds - {finding.kind}) else causes).append((rule, finding))
            if not causes:  # rules that mask each other go as they come
                causes, rest = rest, []
            self._raise_or_mask_now(causes, draft)
            maskable = rest

    def _raise_or_mask_now(self, maskable: list[tuple[Rule, Finding]], draft: _Draft) -> None:
        masks = self._masks(frozenset[FindingKind]().union(*(rule.masked_by for rule, _ in maskable)), draft)
        for rule, finding in maskable:
            site, where, key = (
                finding.subject.site,
                (finding.kind, finding.subject),
                AlarmKey(rule.name, finding.subject),
            )
            alarm = self._now(key, draft)
            places = ((place, kind) for kind in sorted(rule.masked_by) for place in dict.fromkeys((site, "")))
            by = next((masks[place] for place in places if place in masks), None)
            if by is None or (alarm is not None and alarm.active):
                if where in self._masked:
                    draft.unmasked.append(where)
                self._raise(rule, finding, draft)
                continue
            known = self._masked.get(where)
            since = known.since if known is not None else draft.at
            draft.masked[where] = Masked(rule.name, finding.kind, finding.subject, since, by)
            if alarm is not None:
                self._step(key, Clear(), draft)

    def _masks(self, kinds: frozenset[FindingKind], draft: _Draft) -> dict[tuple[str, FindingKind], str]:
        """(site, kind) → the alarm of that kind that stands there; of several, the one with the smallest id."""
        found: dict[tuple[str, FindingKind], str] = {}
        standing = (key for kind in kinds for keys in self._keys[kind].values() for key in keys)
        for key in dict.fromkeys([*standing, *draft.alarms]):
            alarm = self._now(key, draft)
            if alarm is not None and alarm.active and alarm.occurrence is not None and alarm.kind in kinds:
                place = (key.subject.site, alarm.kind)
                found[place] = min(found.get(place, alarm.occurrence.id), alarm.occurrence.id)
        return found

    def _rule_for(self, finding: Finding) -> Rule | None:
        """An alarm that exists keeps its rule while there is that rule, whatever is learned of its asset meanwhile."""
        for key in self._at((finding.kind, finding.subject)):
            rule = self._ruleset.get(key.rule)
            if rule is not None:
                return rule
        site, asset, _ = finding.subject
        return self._ruleset.match(finding.kind, finding.subject, self._asset_of(AssetKey(site, asset)))

    def _raise(self, rule: Rule, finding: Finding, draft: _Draft) -> None:
        key = AlarmKey(rule.name, finding.subject)
        if self._now(key, draft) is None:
            if len(self._alarms) + draft.born >= self._alarms_max:
                draft.refused += 1
                return
            draft.born += 1
            draft.alarms[key] = Alarm(key, rule.kind, rule.policy)
        self._step(key, Raise(finding), draft)

    def _hold(self, where: Where, event: Hold, spoken: set[AlarmKey], draft: _Draft) -> None:
        for key in self._at(where):
            if key not in spoken:
                spoken.add(key)
                self._step(key, event, draft)

    def _act(self, key: AlarmKey, event: Event, change: Change, draft: _Draft) -> int | None:
        """What a person does. The place of its transition in the draft, or None where it changes nothing."""
        before = len(draft.made)
        self._step(key, event, draft)
        own = [place for place, made in enumerate(draft.made[before:], before) if made.change is change]
        return own[0] if own else None

    def _step(self, key: AlarmKey, event: Event, draft: _Draft) -> None:
        before = self._now(key, draft)
        if before is None:
            return
        stepped = step(before, event, draft.at)
        if stepped.alarm is not before:
            draft.alarms[key] = stepped.alarm
        draft.made.extend(stepped.transitions)

    def _now(self, key: AlarmKey, draft: _Draft) -> Alarm | None:
        return draft.alarms.get(key) or self._alarms.get(key)

    def _at(self, where: Where) -> tuple[AlarmKey, ...]:
        """The alarms of one finding: one, or two for as long as the rules have changed and the old one stands."""
        return self._keys[where[0]].get(where[1], ())

    async def _commit(self, draft: _Draft) -> None:
        """Writes the draft, then takes it. When writing fails nothing has been taken."""
        delays = {
            key: running(alarm)
            for key, alarm in draft.alarms.items()
            if _delay_mark(alarm) != _delay_mark(self._alarms.get(key))
        }
        draft.made = [
            replace(transition, seq=seq, why=transition.why or self._hid(transition))
            for seq, transition in enumerate(draft.made, self._seq + 1)
        ]
        if draft.made or delays:
            try:
                await self._journal.append(draft.made, delays)
            except BaseException:
                self._unsure = True
                raise
        self._seq += len(draft.made)
        for alarm in draft.alarms.values():
            self._take(alarm)
        for where in draft.unmasked:
            self._masked.pop(where, None)
        for where, masked in draft.masked.items():
            self._masked[where] = masked
            self._hidden.setdefault(masked.by, set()).add(where)
        for transition in draft.made:
            if transition.change in _ENDS:
                self._hidden.pop(transition.occurrence, None)
        self._refused += draft.refused
        self._unmatched += draft.unmatched

    async def _catch_up(self) -> None:
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
            self._seq = row.seq
            self._owed.append(row)
        self._unsure = False

    def _take(self, alarm: Alarm) -> None:
        """Puts an alarm in the place of what was there, in all the ways that it can be found."""
        key, before = alarm.key, self._alarms.get(alarm.key)
        if before is not None and before.occurrence is not None:
            self._ids.pop(before.occurrence.id, None)
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

    def _tell(self, made: list[Transition]) -> list[Transition]:
        """What is to be told now: what is owed from before, then this."""
        owed, self._owed = self._owed, []
        return [*owed, *made]

    def _answer(self, draft: _Draft, own: list[int]) -> list[Transition]:
        """A person is answered with what that person did; what time did in the same call is owed to the next look."""
        mine = set(own)
        self._owed.extend(transition for place, transition in enumerate(draft.made) if place not in mine)
        return [draft.made[place] for place in own]

    async def _why_not(self, alarm_id: str, draft: _Draft) -> DcimError:
        """Why there is nothing to acknowledge."""
        key = self._ids.get(alarm_id)
        alarm = None if key is None else self._now(key, draft)
        given = alarm.occurrence.acknowledged if alarm is not None and alarm.occurrence is not None else None
        if given is not None:
            return _acknowledged_before(alarm_id, given.by, given.at)
        for row in await self._journal.history(HistoryQuery(occurrence=alarm_id)):
            if row.change is Change.ACKNOWLEDGED:
                return _acknowledged_before(alarm_id, row.by, row.at)
        return UnknownAlarm(f"there is no alarm {alarm_id}")

    def _hid(self, transition: Transition) -> str:
        """What the journal says of a mask when it ends."""
        hidden = self._hidden.get(transition.occurrence)
        return f"it masked {len(hidden)} findings while it stood" if hidden and transition.change in _ENDS else ""

    def _policy_of(self, key: AlarmKey) -> Policy:
        rule = self._ruleset.get(key.rule)
        return _NO_RULE if rule is None else rule.policy

    def _show(self, alarm: Alarm, occurrence: Occurrence, masks: int) -> _Shown:
        """The view of an alarm, made anew only when something that it shows has changed."""
        site, asset, _ = alarm.key.subject
        known = self._asset_of(AssetKey(site, asset))
        last = self._shown.get(alarm.key)
        if last is not None and last.alarm is alarm and last.asset is known and last.view.masks == masks:
            return last
        return _Shown(alarm, known, self._view(alarm, occurrence, known, masks))

    def _view(self, alarm: Alarm, occurrence: Occurrence, known: Asset | None, masks: int) -> AlarmView:
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
            rationale=rule.rationale if rule else None,
            cannot_tell=doubt.why if doubt else "",
            cannot_tell_since=doubt.since if doubt else None,
            masks=masks,
        )


def _order(shown: _Shown) -> tuple[int, float, str]:
    view = shown.view
    return view.priority, -view.since.timestamp(), view.id


def _acknowledged_before(alarm_id: str, by: str, at: datetime) -> AlreadyAcknowledged:
    return AlreadyAcknowledged(f"alarm {alarm_id} was acknowledged by {by} at {at:%Y-%m-%d %H:%M:%S} UTC")


_ENDS = (Change.RETURNED, Change.LATCHED)


def _delay_mark(alarm: Alarm | None) -> tuple[bool, datetime] | None:
    """What must be written of a delay again when it changes; its finding changes with every look and need not be."""
    return None if alarm is None or alarm.turned_at is None else (alarm.present, alarm.turned_at)


def _check_person(by: str, comment: str) -> None:
    if not by.strip() or len(by) > BY_MAX:
        raise Permanent(f"a name of 1 to {BY_MAX} characters is wanted", where="by")
    if len(comment) > COMMENT_MAX:
        raise Permanent(f"the comment is longer than {COMMENT_MAX} characters", where="comment")
    for where, text in (("by", by), ("comment", comment)):
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise Permanent("it holds a character that cannot be kept", where=where)
