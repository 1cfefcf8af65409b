"""Alarms that nobody acknowledges: who is told next, once, restarts or not; and floods, told in a few threads."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from alerts.journal import unanswered_table
from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    Change,
    Clear,
    Elapse,
    Escalation,
    Event,
    Policy,
    Priority,
    Shelve,
    State,
    TakeOut,
    Transition,
    step,
)
from alerts.notices import Notice, text_of
from alerts.notify.pagerduty import PagerDuty
from alerts.outbox import DeadNotice, Outbox
from alerts.routing import (
    FLOOD_SPAN,
    FLOOD_THREADS,
    Book,
    Entry,
    Hours,
    Ladder,
    OnCall,
    Receiver,
    Route,
)
from dcim.core.findings import Subject
from tests.alarms import at
from tests.contract.test_notices import DESK, KIND, NIGHT, OSLO, Desk, Ear, describe, story, wet

LEAD, BOSS = Receiver("lead"), Receiver("boss")
HIGH = Ladder(
    (
        (timedelta(minutes=10), Route(("lead",), priority=Priority.HIGH)),
        (timedelta(minutes=30), Route(("boss", "lead"), priority=Priority.HIGH)),
    )
)
FAST = Ladder(((timedelta(minutes=2), Route(("boss",), priority=Priority.CRITICAL)),))


class Timeline:
    """A book, alarms, and what was told when, in minutes."""

    def __init__(
        self,
        *ladders: Ladder,
        receivers: Sequence[Receiver] = (DESK, LEAD, BOSS),
        duty: dict[str, OnCall] | None = None,
    ) -> None:
        self.book, self.ladders, self.receivers = Book(), ladders, receivers
        self.duty = duty or {}
        self.told: list[tuple[float, str, str, str]] = []
        self.entries: list[Entry] = []

    def on_call(self, calendar: str, when: datetime) -> OnCall:
        return self.duty[calendar]

    def take(self, row: Transition) -> list[Entry]:
        routes = [Route(("desk",))]
        return self.book.take(row, row.at, self.receivers, routes, describe, self.ladders, self.on_call)

    def play(self, rows: Sequence[Transition], until_min: float) -> Timeline:
        """Takes transitions at their times, and looks once a minute."""
        waiting = sorted(rows, key=lambda row: (row.at, row.seq))
        minute = 0.0
        while minute <= until_min:
            now = at(60 * minute)
            while waiting and waiting[0].at <= now:
                row = waiting.pop(0)
                self.note((row.at - at(0)).total_seconds() / 60, self.take(row))
            self.note(minute, self.book.climb(now, self.receivers, self.ladders, self.on_call))
            minute += 1
        return self

    def note(self, minute: float, entries: Sequence[Entry]) -> None:
        self.entries += entries
        self.told += [(minute, one.receiver, one.item.asset, one.item.news.value) for one in entries]

    @property
    def unanswered(self) -> list[tuple[float, str]]:
        return [(minute, receiver) for minute, receiver, _, news in self.told if news == "unanswered"]


def minutes(asset: str, *events: tuple[float, Event], priority: Priority = Priority.HIGH) -> list[Transition]:
    return story(asset, *((60 * minute, event) for minute, event in events), priority=priority)


class TestTimelines:
    def test_each_step_is_told_once_until_somebody_knows(self) -> None:
        line = Timeline(HIGH).play(minutes("7", (0, wet("7")), (45, Acknowledge("ana"))), 120)
        assert line.told == [
            (0, "desk", "7", "began"), (10, "lead", "7", "unanswered"),
            (30, "lead", "7", "unanswered"), (30, "boss", "7", "unanswered"),
        ]  # fmt: skip
        assert line.book.unanswered == {}

    @pytest.mark.parametrize(
        "end", [Acknowledge("ana"), Clear(), Shelve("ana", "work", at(9_000)), TakeOut("ana", "torn")]
    )
    def test_it_ends_with_whatever_asks_nobody_any_more(self, end: Event) -> None:
        assert Timeline(HIGH).play(minutes("7", (0, wet("7")), (9, end)), 60).unanswered == []

    def test_whoever_was_told_by_a_step_hears_how_it_ends(self) -> None:
        line = Timeline(HIGH).play(minutes("7", (0, wet("7")), (15, Clear())), 60)
        assert line.told[1:] == [
            (10, "lead", "7", "unanswered"), (15, "desk", "7", "cleared"), (15, "lead", "7", "cleared"),
        ]  # fmt: skip

    def test_what_comes_back_is_asked_anew(self) -> None:
        rows = minutes("7", (0, wet("7")), (5, Clear()), (20, wet("7")))
        assert Timeline(HIGH).play(rows, 35).unanswered == [(30, "lead")]

    def test_it_depends_on_how_urgent_it_is(self) -> None:
        for priority, wanted in (
            (Priority.CRITICAL, [(2, "boss"), (10, "lead"), (30, "lead"), (30, "boss")]),
            (Priority.HIGH, [(10, "lead"), (30, "lead"), (30, "boss")]),
            (Priority.LOW, []),
        ):
            rows = minutes("7", (0, wet("7")), priority=priority)
            assert Timeline(HIGH, FAST).play(rows, 60).unanswered == wanted

    def test_what_becomes_more_urgent_is_asked_anew_by_its_new_priority(self) -> None:
        key = AlarmKey("leak-wet", Subject("oslo", "7", "rope"))
        rising = Policy(Priority.HIGH, escalation=Escalation(Priority.CRITICAL, after=timedelta(minutes=12)))
        first = step(Alarm(key, KIND, rising), wet("7"), at(0))
        second = step(first.alarm, Elapse(), at(12 * 60))
        rows = [replace(row, seq=seq) for seq, row in enumerate([*first.transitions, *second.transitions], 1)]
        line = Timeline(HIGH, FAST).play(rows, 23)
        assert line.unanswered == [(10, "lead"), (14, "boss"), (22, "lead")]
        keys = [entry.key for entry in line.entries]
        assert len(set(keys)) == len(keys)

    def test_hours_of_a_step_are_those_at_its_time(self) -> None:
        # It is 01:00 in Oslo; the office opens at 01:30.
        office = Route(
            ("lead",), hours=Hours(at(1800).astimezone(OSLO).time(), at(36_000).astimezone(OSLO).time(), OSLO)
        )
        ladder = Ladder(((timedelta(minutes=10), office),))
        assert Timeline(ladder).play(minutes("7", (0, wet("7"))), 60).unanswered == [(30, "lead")]

    def test_quiet_hours_of_whoever_is_told_hold_back_all_but_what_is_critical(self) -> None:
        lead = Receiver("lead", NIGHT)
        for priority, held in ((Priority.HIGH, True), (Priority.CRITICAL, False)):
            line = Timeline(HIGH, receivers=(lead,)).play(minutes("7", (0, wet("7")), priority=priority), 12)
            (entry,) = line.entries
            assert (entry.due > at(3 * 3600)) is held

    def test_whoever_is_on_call_is_told_with_a_word_where_one_is_needed(self) -> None:
        ladder = Ladder(((timedelta(minutes=10), Route((), ("second",))),))
        duty = {"second": OnCall(("boss",), "Nobody is on call by the calendar second.")}
        line = Timeline(ladder, duty=duty).play(minutes("7", (0, wet("7"))), 12)
        assert line.unanswered == [(10, "boss")]
        text = text_of(Notice("k", "boss", "t", (line.entries[-1].item,)))
        assert "\nNobody is on call by the calendar second.\n" in text
        assert "\nNobody has acknowledged it within 10 min.\n" in text
        assert text.startswith("HIGH, unanswered: ")

    def test_the_time_to_a_limit_is_what_is_left_of_it(self) -> None:
        row = minutes("7", (0, wet("7")))[0]
        assert row.finding is not None
        row = replace(row, finding=replace(row.finding, time_to_limit_s=900.0))
        assert [entry.item.time_to_limit_s for entry in Timeline(HIGH).play([row], 31).entries] == [900, 300, 0, 0]

    def test_a_step_joins_the_thread_of_what_stands_there(self) -> None:
        rows = minutes("7", (0, wet("7")))
        other = [
            replace(row, occurrence="o2", key=AlarmKey("leak-wet", Subject("oslo", "7", "tray")), seq=2) for row in rows
        ]
        line = Timeline(HIGH).play([*rows, *other], 11)
        threads = {entry.item.thread for entry in line.entries}
        assert threads == {rows[0].occurrence}
        assert [entry.item.thread_standing for entry in line.entries if entry.receiver == "lead"] == [1, 2]


def test_a_clear_goes_to_whoever_was_on_call_when_it_began() -> None:
    def duty(calendar: str, when: datetime) -> OnCall:
        return OnCall(("lead",) if when < at(600) else ("boss",))

    book, told = Book(), list[tuple[str, str]]()
    key = AlarmKey("leak-wet", Subject("oslo", "7", "rope"))
    rising = Policy(Priority.HIGH, escalation=Escalation(Priority.CRITICAL, after=timedelta(seconds=700)))
    alarm, rows = Alarm(key, KIND, rising), list[Transition]()
    for second, event in ((0, wet("7")), (700, Elapse()), (900, Acknowledge("ana")), (1_000, Clear())):
        stepped = step(alarm, event, at(second))
        alarm, rows = stepped.alarm, [*rows, *stepped.transitions]
    for seq, row in enumerate(rows, 1):
        entries = book.take(
            replace(row, seq=seq), row.at, (LEAD, BOSS, DESK), [Route((), ("first",))], describe, (), duty
        )
        told += [(entry.receiver, entry.item.news.value) for entry in entries]
    assert told == [
        ("lead", "began"), ("lead", "worse"), ("boss", "worse"), ("lead", "cleared"), ("boss", "cleared"),
    ]  # fmt: skip
    assert book == Book()


class TestWhoKnows:
    def test_only_those_who_want_to_hear_it_are_told_that_somebody_knows(self) -> None:
        pager = Receiver("desk", hears_acknowledged=True)
        for receiver, wanted in ((pager, ["began", "acknowledged", "cleared"]), (DESK, ["began", "cleared"])):
            line = Timeline(receivers=(receiver,)).play(
                minutes(
                    "7", (0, wet("7")), (2, Acknowledge("ana")), (3, Shelve("ana", "work", at(9_000))), (5, Clear())
                ),
                6,
            )
            assert [news for *_, news in line.told] == wanted

    def test_what_stands_and_waits_in_a_thread_is_counted(self) -> None:
        pager = Receiver("desk", hears_acknowledged=True)
        one = minutes("7", (0, wet("7")), (2, Acknowledge("ana")), (6, Clear()))
        two = [
            replace(row, occurrence="o2", key=AlarmKey("leak-wet", Subject("oslo", "7", "tray")), seq=row.seq + 10)
            for row in minutes("7", (1, wet("7")), (3, Acknowledge("ana")), (5, Clear()))
        ]
        line = Timeline(receivers=(pager,)).play([*one, *two], 7)
        counts = [(entry.item.thread_standing, entry.item.thread_unacknowledged) for entry in line.entries]
        assert counts == [(1, 1), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0)]
        assert line.book == Book()
        assert [entry.item.by for entry in line.entries] == ["", "", "ana", "ana", "", ""]


class TestFloods:
    def flood(self, count: int, first: int = 0, second: float = 0) -> list[Transition]:
        names = [str(number) for number in range(first, first + count)]
        return [
            row
            for number, name in enumerate(names)
            for row in story(name, (second, wet(name)), priority=Priority(1 + number % 4), first=number + 1)
        ]

    @pytest.mark.slow
    def test_any_number_of_alarms_is_ten_threads_and_every_clear_finds_its_own(self) -> None:
        book = Book()
        rows = self.flood(5_000)
        entries = [one for row in rows for one in book.take(row, at(0), (DESK,), [Route(("desk",))], describe)]
        threads = Counter(entry.thread for entry in entries)
        assert len(entries) == 5_000 and len(threads) == FLOOD_THREADS + 4 == 10
        for thread, count in threads.items():
            of = [entry.item.priority for entry in entries if entry.thread == thread]
            assert len(set(of)) == 1 and count == len(of)
        cleared: list[Entry] = []
        for row in rows:
            gone = replace(
                row, change=Change.RETURNED, before=State.ACKNOWLEDGED, after=State.NORMAL, seq=row.seq + 9_000
            )
            cleared += book.take(gone, at(1), (DESK,), [], describe)
        assert [(one.item.alarm, one.thread) for one in cleared] == [(one.item.alarm, one.thread) for one in entries]
        last = {one.thread: one.item.thread_standing for one in cleared}
        assert set(last.values()) == {0}
        assert book == Book()

    def test_a_flood_ends_when_nothing_more_comes(self) -> None:
        book, ends = Book(), FLOOD_SPAN.total_seconds()

        def threads(rows: Sequence[Transition]) -> list[str]:
            return [one.thread for row in rows for one in book.take(row, row.at, (DESK,), [Route(("desk",))], describe)]

        first = threads(self.flood(20))
        calm = threads(self.flood(1, first=100, second=ends))
        second = threads(self.flood(20, first=200, second=ends + 1))
        assert len(set(first)) == FLOOD_THREADS + 4
        assert len(set(second)) == FLOOD_THREADS - 1 + 4  # the calm one has begun within the same minute
        assert calm[0] not in first
        assert set(first).isdisjoint(second)


class Office(Desk):
    """A desk with a lead and a boss, and ladders."""

    def __init__(self, place: Path | str) -> None:
        super().__init__(place)
        self.ears = {name: Ear() for name in ("desk", "lead", "boss")}
        self.ear = self.ears["desk"]
        self.receivers = tuple((Receiver(name), ear) for name, ear in self.ears.items())
        self.ladders = (HIGH,)

    async def deliver(self, box: Outbox) -> None:
        """Follows, climbs and sends everything that is due."""
        while await box.follow() or await box.climb():
            pass
        for name in self.ears:
            while (parcel := await box.compose(name)) is not None:
                assert await box.deliver(parcel)

    def heard(self) -> list[tuple[str, str]]:
        return [(name, item.news.value) for name, ear in self.ears.items() for n in ear.taken for item in n.items]


class TestRestarts:
    @pytest.mark.slow
    @pytest.mark.parametrize("restart", [False, True])
    def test_a_step_is_told_once_whatever_dies(self, tmp_path: Path, restart: bool) -> None:
        async def whole() -> None:
            office = Office(tmp_path)
            rows = story("7", (0, wet("7")), (3_600, Acknowledge("ana")))
            async with office.running() as (journal, box):
                await office.write(journal, rows[:1])
                await office.deliver(box)
            for minute in (9, 10, 11, 29, 31, 40):
                office.now = at(60 * minute)
                async with office.running() as (_, box):
                    if restart:  # it dies after the step is written, and before anything is sent
                        while await box.follow() or await box.climb():
                            pass
                    else:
                        await office.deliver(box)
            async with office.running() as (journal, box):
                await office.deliver(box)
                assert office.heard() == [
                    ("desk", "began"), ("lead", "unanswered"), ("lead", "unanswered"), ("boss", "unanswered"),
                ]  # fmt: skip
                office.now = at(3_600)
                await office.write(journal, rows[1:])
                await office.deliver(box)
                async with journal.transaction("x") as connection:
                    assert (await connection.execute(sa.select(unanswered_table))).all() == []

        asyncio.run(whole())

    @pytest.mark.slow
    def test_what_came_due_while_it_was_down_is_told_once_by_its_last_step(self, tmp_path: Path) -> None:
        async def whole() -> None:
            office = Office(tmp_path)
            async with office.running() as (journal, box):
                await office.write(journal, story("7", (0, wet("7"))))
                await office.deliver(box)
            office.now = at(7_200)
            async with office.running() as (_, box):
                await office.deliver(box)
                assert office.heard()[1:] == [("lead", "unanswered"), ("boss", "unanswered")]

        asyncio.run(whole())

    @pytest.mark.slow
    def test_without_ladders_nothing_is_kept(self, tmp_path: Path) -> None:
        async def whole() -> None:
            office = Office(tmp_path)
            async with office.running() as (journal, box):
                await office.write(journal, story("7", (0, wet("7"))))
                await office.deliver(box)
            office.ladders = ()
            office.now = at(7_200)
            async with office.running() as (journal, box):
                await office.deliver(box)
                assert office.heard() == [("desk", "began")]
                async with journal.transaction("x") as connection:
                    assert (await connection.execute(sa.select(unanswered_table))).all() == []

        asyncio.run(whole())

    @pytest.mark.slow
    def test_a_flood_that_nobody_acknowledges_is_a_few_messages_too(self, tmp_path: Path) -> None:
        async def whole() -> None:
            office = Office(tmp_path)
            async with office.running() as (journal, box):
                await office.write(journal, [row for n in range(3_000) for row in story(str(n), (0, wet(str(n))))])
                await office.deliver(box)
                office.now = at(1_800)
                await office.deliver(box)
                for ear in office.ears.values():
                    assert len(ear.taken) <= 10
                    assert sum(len(notice.items) for notice in ear.taken) == 3_000
                assert box.sending.dead == Counter[tuple[str, DeadNotice]]()

        asyncio.run(whole())


class TestFloodAtPagerDuty:
    @pytest.mark.slow
    def test_it_is_ten_events_and_each_incident_is_resolved(self, tmp_path: Path) -> None:
        taken: list[tuple[str, str]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            event = json.loads(request.content)
            taken.append((event["event_action"], event["dedup_key"]))
            return httpx.Response(202, stream=httpx.ByteStream(b"ok"))

        async def whole() -> None:
            desk = Desk(tmp_path)
            pager = PagerDuty(lambda: "0" * 32, lambda: desk.now, transport=httpx.MockTransport(answer))
            desk.receivers = ((Receiver("desk", hears_acknowledged=True, items_max=10_000), pager),)
            rows = [
                row
                for number in range(5_000)
                for row in story(
                    str(number), (0, wet(str(number))), (100, Acknowledge("ana")), (200, Clear()),
                    priority=Priority(1 + number % 4),
                )
            ]  # fmt: skip
            async with desk.running() as (journal, box):
                for second, change in ((0, Change.ACTIVATED), (100, Change.ACKNOWLEDGED), (200, Change.RETURNED)):
                    desk.now = at(second)
                    await desk.write(journal, [row for row in rows if row.change is change])
                    # Half of it has come when the first message goes out.
                    for _ in range(5):
                        await box.follow()
                    await desk.drain(box)
                    actions = Counter(action for action, _ in taken)
                    incidents = {dedup for _, dedup in taken}
                    wanted = {0: "trigger", 100: "acknowledge", 200: "resolve"}[second]
                    assert len(incidents) == FLOOD_THREADS + 4
                    assert actions[wanted] == len(incidents), (second, actions)
                    taken.clear()

        asyncio.run(whole())
