"""Who is told: routes, quiet hours, escalation, and which news belong into one message.

`Book` is the state: who has been told of which alarm, and which nobody has acknowledged. It moves by `take`, which is
given a transition and an instant, and by `climb`, which is given an instant; both ask nobody: the same book,
transitions and instants give the same entries.

Lives here: that. Not here: the words (notices.py), how entries are kept and sent (outbox.py), the settings' format
(dcim.app.settings)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from alerts.lifecycle import Priority, State, Transition
from alerts.notices import Item, News, dedup_key, news_of
from dcim.core.assets import AssetKey
from dcim.core.findings import FindingKind

EVERY_DAY = frozenset(range(7))
FLOOD_THREADS, FLOOD_SPAN = 6, timedelta(minutes=1)
"""So many threads may begin in such a time for one receiver. What more comes is a flood: one thread for each priority,
until no more has come for as long. With the four of them, ten messages tell of any number of alarms."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day, [start, end) by the clocks of a place, on some days. With end < start it goes on past
    midnight; `days` (0 is Monday) are those on which it begins. start and end are not the same."""

    start: time
    end: time
    zone: ZoneInfo
    days: frozenset[int] = EVERY_DAY

    def hold(self, at: datetime) -> bool:
        """Whether `at` lies within."""
        local = at.astimezone(self.zone)
        now, day = local.time(), local.weekday()
        if self.start < self.end:
            return self.start <= now < self.end and day in self.days
        return (now >= self.start and day in self.days) or (now < self.end and (day - 1) % 7 in self.days)

    def end_after(self, at: datetime) -> datetime:
        """The next instant at which it ends, UTC; later than `at`, on whatever day."""
        day = at.astimezone(self.zone).date()
        while (end := self._end_on(day)) <= at:
            day += timedelta(days=1)
        return end

    def _end_on(self, day: date) -> datetime:
        return datetime.combine(day, self.end, tzinfo=self.zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whoever can be told."""

    name: str
    quiet: Hours | None = None
    """What is not critical waits for the end of these hours."""
    zone: str = "UTC"
    """IANA name of the zone in which it is told of times."""
    items_max: int = 1_000
    """Pieces of news in one message to it."""
    hears_acknowledged: bool = False
    """Is told too that somebody knows, so that it can stop calling."""


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who is to be told by a calendar."""

    receivers: tuple[str, ...]
    remark: str = ""
    """What they should know about that: "nobody is on call"."""


Duty: TypeAlias = Callable[[str, datetime], OnCall]
"""Who is on call, by the calendar's name, at an instant."""


def nobody(calendar: str, at: datetime) -> OnCall:  # noqa: ARG001  the shape is Duty's
    """A `Duty` without calendars."""
    return OnCall(())


@dataclass(frozen=True, slots=True)
class Route:
    """Which alarms go to whom. What is left empty does not narrow."""

    receivers: tuple[str, ...] = ()
    on_call: tuple[str, ...] = ()
    """Calendars: whoever is on call by them is told too."""
    sites: frozenset[str] = frozenset()
    kinds: frozenset[FindingKind] = frozenset()
    priority: Priority = Priority.LOW
    """This urgent, or more."""
    hours: Hours | None = None

    def takes(self, transition: Transition, at: datetime) -> bool:
        """Whether it is for this alarm at this time."""
        return self.takes_one(transition.key.subject.site, transition.kind, transition.priority, at)

    def takes_one(self, site: str, kind: FindingKind | None, priority: Priority, at: datetime) -> bool:
        """The same, of an alarm of this site, kind and priority."""
        return (
            priority <= self.priority
            and (not self.sites or site in self.sites)
            and (not self.kinds or kind in self.kinds)
            and (self.hours is None or self.hours.hold(at))
        )


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is done about alarms that nobody acknowledges."""

    steps: tuple[tuple[timedelta, Route], ...]
    """After how long, and who is then told, if the route takes the alarm at that time."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An alarm that stands, and that nobody has acknowledged."""

    alarm: str
    place: AssetKey
    first: str
    """The alarm that was the first out of its group; "" where it was itself, or has no group."""
    since: datetime
    """When somebody was last asked: at its beginning, when it came back, or became more urgent."""
    item: Item
    """How it was told then."""
    climbed: timedelta = timedelta(0)
    """Steps up to here are done."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one receiver has been told of one alarm that is not over, or is about to be."""

    receiver: str
    alarm: str
    place: AssetKey
    """The asset that it is about."""
    thread: str
    item: Item
    """The last of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of news for one receiver."""

    receiver: str
    thread: str
    item: Item
    due: datetime
    """Not before."""

    @property
    def key(self) -> str:
        """The same whenever it is worked out."""
        return dedup_key(self.receiver, self.item.alarm, self.item.step, self.item.unanswered_min)


Describe: TypeAlias = Callable[[Transition, News, Item | None], Item]
"""Words the news, given what was told of the alarm last."""


@dataclass(frozen=True, slots=True)
class _Count:
    """Of one thread of one receiver."""

    alarms: int = 0
    standing: int = 0
    unacknowledged: int = 0

    def plus(self, item: Item, sign: int) -> _Count:
        stands = item.news is not News.CLEARED
        asks = stands and item.news is not News.ACKNOWLEDGED
        return _Count(self.alarms + sign, self.standing + sign * stands, self.unacknowledged + sign * asks)


@dataclass(slots=True)
class Book:
    """Who has been told of what: by alarm, then by receiver."""

    told: dict[str, dict[str, Told]] = field(default_factory=dict)
    unanswered: dict[str, Unanswered] = field(default_factory=dict)
    """By alarm. Kept where there are ladders."""
    _threads: dict[tuple[str, AssetKey], dict[str, str]] = field(default_factory=dict)
    """By receiver and asset: the thread of each alarm there that somebody was told of."""
    _counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    """By receiver and thread."""
    _begun: dict[str, tuple[datetime, ...]] = field(default_factory=dict, compare=False)
    """By receiver: when its last threads began. Forgotten by a restart, after which a few more may begin."""
    _floods: dict[tuple[str, Priority], tuple[str, datetime]] = field(default_factory=dict, compare=False)
    """By receiver and priority: the thread of its last flood, and when something was last added to it."""

    def copy(self) -> Book:
        """Another one that says the same; what becomes of it does not touch this one."""
        return Book(
            {alarm: dict(told) for alarm, told in self.told.items()},
            dict(self.unanswered),
            {place: dict(threads) for place, threads in self._threads.items()},
            dict(self._counts),
            dict(self._begun),
            dict(self._floods),
        )

    def put(self, told: Told) -> None:
        """Takes in that somebody was told."""
        of_alarm = self.told.setdefault(told.alarm, {})
        if (before := of_alarm.get(told.receiver)) is not None:
            self._count(before, -1)
        of_alarm[told.receiver] = told
        self._threads.setdefault((told.receiver, told.place), {})[told.alarm] = told.thread
        self._count(told, 1)

    def forget(self, alarm: str) -> None:
        """The alarm is over."""
        for told in self.told.pop(alarm, {}).values():
            threads = self._threads[told.receiver, told.place]
            del threads[alarm]
            if not threads:
                del self._threads[told.receiver, told.place]
            self._count(told, -1)
        self.unanswered.pop(alarm, None)

    def take(
        self,
        transition: Transition,
        at: datetime,
        receivers: Sequence[Receiver],
        routes: Sequence[Route],
        describe: Describe,
        ladders: Sequence[Ladder] = (),
        duty: Duty = nobody,
    ) -> list[Entry]:
        """What is to be told of a transition, in the order of the receivers; the book then knows it as told.

        An alarm that asks for somebody goes to everybody whose route takes it at `at`, and to whoever was told of it
        before. That it has cleared goes to whoever was told of it, whatever the routes say by now, and to nobody else;
        that somebody knows, to those of them who want to hear it.
        """
        news, alarm = news_of(transition), transition.occurrence
        before = self.told.get(alarm, {})
        place = AssetKey(transition.key.subject.site, transition.key.subject.asset)
        remarks: dict[str, str] = {}
        if news in (News.CLEARED, News.ACKNOWLEDGED):
            over = {News.CLEARED, news}
            remarks = {name: "" for name, told in before.items() if told.item.news not in over}
        elif news is not None:
            remarks = _named([route for route in routes if route.takes(transition, at)], at, duty)
            remarks = dict.fromkeys(before, "") | remarks
        entries: list[Entry] = []
        for receiver in receivers:
            if news is None or receiver.name not in remarks:
                continue
            if news is News.ACKNOWLEDGED and not receiver.hears_acknowledged:
                continue
            last = before.get(receiver.name)
            told = replace(
                describe(transition, news, last.item if last is not None else None), remark=remarks[receiver.name]
            )
            thread = last.thread if last is not None else None
            thread = thread or self._thread(receiver.name, place, alarm, transition.detail, transition.priority, at)
            entries.append(self._tell(receiver, place, thread, told, at))
        if ladders:
            self._ask(transition, news, place, describe)
        if transition.after is State.NORMAL:
            self.forget(alarm)
        return entries

    def climb(
        self, at: datetime, receivers: Sequence[Receiver], ladders: Sequence[Ladder], duty: Duty = nobody
    ) -> list[Entry]:
        """What is to be told by `at` of alarms that nobody acknowledges; the book then knows those steps as done. Of
        several steps that are due for one receiver, the last is told."""
        entries: list[Entry] = []
        for one in list(self.unanswered.values()):
            stood = at - one.since
            item = one.item
            due = sorted(
                (
                    (after, route)
                    for ladder in ladders
                    for after, route in ladder.steps
                    if one.climbed < after <= stood and route.takes_one(item.site, item.kind, item.priority, at)
                ),
                key=lambda step: step[0],
            )
            if not due:
                continue
            self.unanswered[one.alarm] = replace(one, climbed=due[-1][0])
            steps: dict[str, tuple[timedelta, str]] = {}
            for after, route in due:
                steps |= {name: (after, remark) for name, remark in _named([route], at, duty).items()}
            for receiver in receivers:
                if receiver.name not in steps:
                    continue
                after, remark = steps[receiver.name]
                told = replace(
                    item,
                    news=News.UNANSWERED,
                    at=at,
                    unanswered_min=after.total_seconds() / 60,
                    time_to_limit_s=_left(item.time_to_limit_s, at - item.at),
                    remark=remark,
                )
                last = self.told.get(one.alarm, {}).get(receiver.name)
                thread = last.thread if last is not None else None
                thread = thread or self._thread(receiver.name, one.place, one.alarm, one.first, item.priority, at)
                entries.append(self._tell(receiver, one.place, thread, told, at))
        return entries

    def next_step(self, ladders: Sequence[Ladder]) -> datetime | None:
        """When the next step may be due; None where none is. What narrows a step is not looked at."""
        afters = sorted({after for ladder in ladders for after, _ in ladder.steps})
        steps = (
            one.since + next(after for after in afters if after > one.climbed)
            for one in self.unanswered.values()
            if afters and one.climbed < afters[-1]
        )
        return min(steps, default=None)

    def _tell(self, receiver: Receiver, place: AssetKey, thread: str, told: Item, at: datetime) -> Entry:
        self.put(Told(receiver.name, told.alarm, place, thread, told))
        count = self._counts[receiver.name, thread]
        told = replace(told, thread=thread, thread_standing=count.standing, thread_unacknowledged=count.unacknowledged)
        return Entry(receiver.name, thread, told, _due(receiver, told.priority, at))

    def _ask(self, transition: Transition, news: News | None, place: AssetKey, describe: Describe) -> None:
        """Keeps whether somebody is asked."""
        alarm = transition.occurrence
        if transition.after is not State.UNACKNOWLEDGED or transition.hidden:
            self.unanswered.pop(alarm, None)
            return
        asked = self.unanswered.get(alarm)
        if asked is None or news in _ASKING:
            item = describe(transition, news or News.BEGAN, asked.item if asked is not None else None)
            first = asked.first if asked is not None else transition.detail
            self.unanswered[alarm] = Unanswered(alarm, place, first, transition.at, item)
        elif asked.item.priority is not transition.priority:
            self.unanswered[alarm] = replace(asked, item=replace(asked.item, priority=transition.priority))

    def _count(self, told: Told, sign: int) -> None:
        key = told.receiver, told.thread
        count = self._counts.get(key, _Count()).plus(told.item, sign)
        if count.alarms:
            self._counts[key] = count
        else:
            del self._counts[key]

    def _thread(self, receiver: str, place: AssetKey, alarm: str, first: str, priority: Priority, at: datetime) -> str:
        """The thread of the group's first out, if the receiver was told of it; else of what stands at the same asset;
        else a new one, or that of a flood."""
        told = self.told.get(first, {}).get(receiver)
        if told is not None:
            return told.thread
        there = self._threads.get((receiver, place), {})
        return next(iter(there.values()), "") or self._new_thread(receiver, alarm, priority, at)

    def _new_thread(self, receiver: str, alarm: str, priority: Priority, at: datetime) -> str:
        begun = tuple(when for when in self._begun.get(receiver, ()) if at - when < FLOOD_SPAN)
        if len(begun) < FLOOD_THREADS:
            self._begun[receiver] = (*begun, at)
            return alarm
        thread, last = self._floods.get((receiver, priority), ("", at))
        if not thread or at - last >= FLOOD_SPAN:
            thread = alarm
        self._floods[receiver, priority] = thread, at
        return thread


_ASKING = frozenset({News.BEGAN, News.AGAIN, News.WORSE, News.STILL})


def _named(routes: Collection[Route], at: datetime, duty: Duty) -> dict[str, str]:
    """Whom these routes name at an instant, each with a remark or ""."""
    remarks = {name: "" for route in routes for name in route.receivers}
    for calendar in dict.fromkeys(name for route in routes for name in route.on_call):
        on_call = duty(calendar, at)
        for name in on_call.receivers:
            remarks[name] = remarks.get(name) or on_call.remark
    return remarks


def _left(limit_s: float | None, passed: timedelta) -> float | None:
    """What is left of a time to a limit."""
    return None if limit_s is None else max(0.0, limit_s - passed.total_seconds())


def _due(receiver: Receiver, priority: Priority, at: datetime) -> datetime:
    quiet = receiver.quiet
    if quiet is None or priority is Priority.CRITICAL or not quiet.hold(at):
        return at
    return quiet.end_after(at)
