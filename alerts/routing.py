"""Who is told: routes, quiet hours, and which news belong into one message.

`Book` is the state: who has been told of which alarm. It moves by `take` alone, which is given a transition and an
instant, and asks nobody: the same book, transitions and instants give the same entries.

Lives here: that. Not here: the words (notices.py), how entries are kept and sent (outbox.py), the settings' format
(dcim.app.settings)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from alerts.lifecycle import Priority, State, Transition
from alerts.notices import Item, News, dedup_key, news_of
from dcim.core.assets import AssetKey
from dcim.core.findings import FindingKind

EVERY_DAY = frozenset(range(7))


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


@dataclass(frozen=True, slots=True)
class Route:
    """Which alarms go to whom. What is left empty does not narrow."""

    receivers: tuple[str, ...]
    sites: frozenset[str] = frozenset()
    kinds: frozenset[FindingKind] = frozenset()
    priority: Priority = Priority.LOW
    """This urgent, or more."""
    hours: Hours | None = None

    def takes(self, transition: Transition, at: datetime) -> bool:
        """Whether it is for this alarm at this time."""
        return (
            transition.priority <= self.priority
            and (not self.sites or transition.key.subject.site in self.sites)
            and (not self.kinds or transition.kind in self.kinds)
            and (self.hours is None or self.hours.hold(at))
        )


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
        return dedup_key(self.receiver, self.item.alarm, self.item.step)


Describe: TypeAlias = Callable[[Transition, News, Item | None], Item]
"""Words the news, given what was told of the alarm last."""


@dataclass(slots=True)
class Book:
    """Who has been told of what: by alarm, then by receiver."""

    told: dict[str, dict[str, Told]] = field(default_factory=dict)
    _threads: dict[tuple[str, AssetKey], dict[str, str]] = field(default_factory=dict)
    """By receiver and asset: the thread of each alarm there that somebody was told of."""

    def copy(self) -> Book:
        """Another one that says the same; what becomes of it does not touch this one."""
        return Book(
            {alarm: dict(told) for alarm, told in self.told.items()},
            {place: dict(threads) for place, threads in self._threads.items()},
        )

    def put(self, told: Told) -> None:
        """Takes in that somebody was told."""
        self.told.setdefault(told.alarm, {})[told.receiver] = told
        self._threads.setdefault((told.receiver, told.place), {})[told.alarm] = told.thread

    def forget(self, alarm: str) -> None:
        """The alarm is over."""
        for told in self.told.pop(alarm, {}).values():
            threads = self._threads[told.receiver, told.place]
            del threads[alarm]
            if not threads:
                del self._threads[told.receiver, told.place]

    def take(
        self,
        transition: Transition,
        at: datetime,
        receivers: Sequence[Receiver],
        routes: Sequence[Route],
        describe: Describe,
    ) -> list[Entry]:
        """What is to be told of a transition, in the order of the receivers; the book then knows it as told.

        An alarm that asks for somebody goes to everybody whose route takes it at `at`, and to whoever was told of it
        before. That it has cleared goes to whoever was told of it, whatever the routes say by now, and to nobody else.
        """
        news, alarm = news_of(transition), transition.occurrence
        before = self.told.get(alarm, {})
        place = AssetKey(transition.key.subject.site, transition.key.subject.asset)
        if news is News.CLEARED:
            wanted = {name for name, told in before.items() if told.item.news is not News.CLEARED}
        elif news is not None:
            wanted = {name for route in routes if route.takes(transition, at) for name in route.receivers} | set(before)
        else:
            wanted = set()
        entries: list[Entry] = []
        for receiver in receivers:
            if news is None or receiver.name not in wanted:
                continue
            last = before.get(receiver.name)
            told = describe(transition, news, last.item if last is not None else None)
            thread = last.thread if last is not None else self._thread(receiver.name, place, transition)
            self.put(Told(receiver.name, alarm, place, thread, told))
            entries.append(Entry(receiver.name, thread, told, _due(receiver, transition.priority, at)))
        if transition.after is State.NORMAL:
            self.forget(alarm)
        return entries

    def _thread(self, receiver: str, place: AssetKey, transition: Transition) -> str:
        """The thread of the group's first out, if the receiver was told of it; else of what stands at the same asset;
        else a new one."""
        first = self.told.get(transition.detail, {}).get(receiver)
        if first is not None:
            return first.thread
        there = self._threads.get((receiver, place), {})
        return next(iter(there.values()), transition.occurrence)


def _due(receiver: Receiver, priority: Priority, at: datetime) -> datetime:
    quiet = receiver.quiet
    if quiet is None or priority is Priority.CRITICAL or not quiet.hold(at):
        return at
    return quiet.end_after(at)
