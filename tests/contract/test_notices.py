"""From a transition to whoever is told: words, routes, quiet hours, an outbox that loses and repeats nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import sqlalchemy as sa

from alerts import notices, outbox, rules
from alerts.journal import SqlJournal, mark_table, outbox_table, told_table
from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    Change,
    Clear,
    Close,
    ClosingCause,
    Elapse,
    Escalation,
    Event,
    Mask,
    MaskCause,
    Policy,
    Priority,
    Raise,
    Shelve,
    State,
    Transition,
    step,
)
from alerts.notices import Item, News, Notice, subject_of, text_of
from alerts.outbox import DeadNotice, Outbox, retry_s
from alerts.routing import Book, Entry, Hours, Ladder, Receiver, Route
from dcim.core.assets import Asset, Placement
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import FindingKind, Subject
from tests.alarms import at, finding

KIND = FindingKind.LEAK_WET
RULES = rules.default()
OSLO = ZoneInfo("Europe/Oslo")
NIGHT = Hours(time(22), time(6), OSLO)
DESK, PHONE = Receiver("desk"), Receiver("phone", NIGHT)


def story(
    asset: str, *events: tuple[float, Event], first: int = 1, priority: Priority = Priority.HIGH, site: str = "oslo"
) -> list[Transition]:
    """The transitions of one alarm, numbered."""
    key = AlarmKey("leak-wet", Subject(site, asset, "rope"))
    alarm, made = Alarm(key, KIND, Policy(priority)), list[Transition]()
    for seconds, event in events:
        stepped = step(alarm, event, at(seconds))
        alarm, made = stepped.alarm, made + list(stepped.transitions)
    return [replace(transition, seq=seq) for seq, transition in enumerate(made, first)]


def wet(asset: str, site: str = "oslo") -> Raise:
    return Raise(finding(KIND, Subject(site, asset, "rope"), confidence=0.75))


def describe(transition: Transition, news: News, before: Item | None) -> Item:
    subject = transition.key.subject
    asset = Asset(subject.site, subject.asset, f"Rack {subject.asset}", "Rack", True, Placement("Hall 1", "C", 7), ())
    return notices.item(transition, news, RULES[transition.key.rule], asset, before, "https://dcim.example/")


def take(
    book: Book,
    rows: Sequence[Transition],
    receivers: Sequence[Receiver] = (DESK,),
    routes: Sequence[Route] = (Route(("desk", "phone")),),
    when: datetime | None = None,
) -> list[Entry]:
    return [one for row in rows for one in book.take(row, when or row.at, receivers, routes, describe)]


def told(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(entry.receiver, entry.item.news.value) for entry in entries]


class TestWords:
    def test_a_clear_has_what_the_beginning_said(self) -> None:
        rows = story("7", (0, wet("7")), (30, Clear()))
        _, cleared = take(Book(), rows)
        assert (cleared.item.news, cleared.item.since, cleared.item.confidence) == (News.CLEARED, at(0), 0.75)
        text = text_of(Notice("k", "desk", "t", (cleared.item,)))
        assert text.startswith("CLEARED, was high: ")
        assert "Cleared: 2026-03-01 00:00:30 UTC" in text and "Check first" not in text

    def test_what_nobody_knows_any_more_is_still_told(self) -> None:
        (row,) = story("7", (0, wet("7")))
        bare = notices.item(replace(row, finding=None), News.BEGAN, None, None, None, "")
        assert (bare.title, bare.name, bare.since, bare.link) == ("leak-wet", "7", at(0), "")
        assert "Where: site oslo, 7" in text_of(Notice("k", "desk", "t", (bare,)))

    def test_what_stands_in_a_rack_is_told_with_its_place_and_unit(self) -> None:
        (row,) = story("gpu", (0, wet("gpu")))
        rack = Asset("oslo", "r", "C07", "Rack", True, Placement("Hall 2", "C", 7), ())
        tray = Asset("oslo", "gpu", "tray 3", "Gpu", True, Placement(rack_unit=21), (), within="r")
        told = notices.item(row, News.BEGAN, None, tray, None, "", rack)
        where = "Where: site oslo, hall Hall 2, row C, position 7, rack C07, unit 21, tray 3"
        assert where in text_of(Notice("k", "desk", "t", (told,))).splitlines()
        later = notices.item(row, News.CLEARED, None, None, told, "")
        assert where in text_of(Notice("k", "desk", "t", (later,))).splitlines()

    @pytest.mark.parametrize(
        ("zone", "wanted"),
        [("UTC", "2026-03-01 00:00:00 UTC"), ("Europe/Oslo", "2026-03-01 01:00:00 UTC+01:00"),
         ("Asia/Kolkata", "2026-03-01 05:30:00 UTC+05:30"), ("America/St_Johns", "2026-02-28 20:30:00 UTC-03:30")],
    )  # fmt: skip
    def test_times_are_by_the_clocks_of_whoever_is_told(self, zone: str, wanted: str) -> None:
        (entry,) = take(Book(), story("7", (0, wet("7"))))
        assert f"Since: {wanted}" in text_of(Notice("k", "desk", "t", (entry.item,), zone=zone)).splitlines()

    def test_what_an_earlier_version_kept_is_understood(self) -> None:
        (entry,) = take(Book(), story("7", (0, wet("7"))))
        kept = msgspec.json.decode(msgspec.json.encode(entry.item))
        later = {"rack_unit", "by", "unanswered_min", "remark", "thread", "thread_standing", "thread_unacknowledged"}
        old = msgspec.json.encode({name: told for name, told in kept.items() if name not in later})
        read = msgspec.json.decode(old, type=Item)
        assert (read.alarm, read.title, read.thread_standing) == (entry.item.alarm, entry.item.title, 1)

    def test_many_are_counted_and_the_most_urgent_come_first(self) -> None:
        entries = take(Book(), [row for n in range(30) for row in story(str(n), (n, wet(str(n))), first=n + 1)])
        worst = replace(entries[20].item, priority=Priority.CRITICAL)
        over = replace(entries[3].item, news=News.CLEARED)
        notice = Notice("k", "desk", "", (*(entry.item for entry in entries), worst, over), "https://dcim.example/")
        lines = text_of(notice).splitlines()
        assert lines[0] == "30 alarms: 1 critical, 28 high, 1 cleared"
        assert lines[2].startswith("CRITICAL: ") and "Rack 20" in lines[2]
        assert "And 20 more." in lines and lines[-1] == "All of them: https://dcim.example/#/alarms"
        assert subject_of(notice).startswith("CRITICAL: ") and subject_of(notice).endswith(", and 29 more")

    @pytest.mark.parametrize("wild", ["a\r\nBcc: b", "a\x1b[31mb", "a\u202eb", "a\u2028b", "a\ud800b", "a\x00\x9bb"])
    def test_texts_are_one_line_that_commands_nothing(self, wild: str) -> None:
        assert notices.clean(wild).isprintable()
        assert notices.clean(wild).startswith("a ") and notices.clean(wild).endswith("b")

    def test_texts_are_bounded(self) -> None:
        assert len(notices.clean("x" * 10_000)) == notices.WORDS_MAX


class TestRouting:
    def test_only_whoever_was_told_hears_that_it_cleared(self) -> None:
        rows = story("7", (0, wet("7")), (30, Clear()))
        book = Book()
        assert told(take(book, rows[:1], (DESK, PHONE), [Route(("desk",))])) == [("desk", "began")]
        # By now the routes say another thing.
        assert told(take(book, rows[1:], (DESK, PHONE), [Route(("phone",))])) == [("desk", "cleared")]

    def test_what_people_do_is_no_news_and_an_end_is_told_once(self) -> None:
        rows = story("7", (0, wet("7")), (5, Clear()), (9, Acknowledge("ana")))
        book = Book()
        assert told(take(book, rows)) == [("desk", "began"), ("desk", "cleared")]
        assert book == Book()
        rows = story("7", (0, wet("7")), (5, Acknowledge("ana")), (9, Clear()))
        assert told(take(Book(), rows)) == [("desk", "began"), ("desk", "cleared")]

    def test_a_clear_beneath_a_shelf_comes_through(self) -> None:
        rows = story("7", (0, wet("7")), (5, Shelve("ana", "work", at(900))), (9, Clear()), (901, Elapse()))
        assert told(take(Book(), rows)) == [("desk", "began"), ("desk", "cleared")]

    def test_what_comes_back_is_told_again_and_what_a_person_closes_is_over(self) -> None:
        rows = story(
            "7", (0, wet("7")), (5, Clear()), (8, wet("7")), (9, Clear()), (10, Close("ana", ClosingCause.FIXED))
        )
        assert told(take(Book(), rows)) == [("desk", word) for word in ("began", "cleared", "again", "cleared")]

    def test_what_the_design_hides_tells_nobody(self) -> None:
        hidden = Raise(wet("7").finding, Mask(MaskCause.MAINTENANCE, "w1", "work"))
        rows = story("7", (0, hidden), (9, Clear()))
        assert [row.change for row in rows] == [Change.SUPPRESSED, Change.RETURNED]
        assert take(Book(), rows) == []
        rows = story("7", (0, hidden), (5, wet("7")), (9, Clear()))
        assert told(take(Book(), rows)) == [("desk", "began"), ("desk", "cleared")]

    def test_what_becomes_more_urgent_reaches_those_for_whom_it_was_not_urgent_enough(self) -> None:
        key = AlarmKey("leak-wet", Subject("oslo", "7", "rope"))
        rising = Policy(Priority.LOW, escalation=Escalation(Priority.CRITICAL, after=timedelta(seconds=60)))
        first = step(Alarm(key, KIND, rising), wet("7"), at(0))
        second = step(first.alarm, Elapse(), at(60))
        rows = [*first.transitions, *second.transitions]
        routes = [Route(("desk",)), Route(("phone",), priority=Priority.CRITICAL)]
        assert told(take(Book(), rows, (DESK, PHONE), routes)) == [
            ("desk", "began"), ("desk", "worse"), ("phone", "worse"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("route", "goes"),
        [
            (Route(("desk",), sites=frozenset({"oslo"})), True),
            (Route(("desk",), sites=frozenset({"bergen"})), False),
            (Route(("desk",), kinds=frozenset({KIND})), True),
            (Route(("desk",), kinds=frozenset({FindingKind.GPU_HOT})), False),
            (Route(("desk",), priority=Priority.HIGH), True),
            (Route(("desk",), priority=Priority.CRITICAL), False),
            (Route(("desk",), hours=Hours(time(0), time(12), OSLO)), True),
            (Route(("desk",), hours=Hours(time(0), time(1), OSLO)), False),  # it is 01:00 in Oslo
            (Route(("desk",), hours=Hours(time(0), time(12), OSLO, frozenset({0}))), False),  # a Sunday
        ],
    )
    def test_a_route_takes_what_it_says(self, route: Route, goes: bool) -> None:
        assert bool(take(Book(), story("7", (0, wet("7"))), routes=[route])) is goes

    def test_one_asset_is_one_thread_and_so_is_what_a_first_out_brings_along(self) -> None:
        one = story("7", (0, wet("7")))[0]
        same = replace(one, occurrence="o2", key=AlarmKey("leak-wet", Subject("oslo", "7", "tray")))
        follows = replace(one, occurrence="o3", key=AlarmKey("leak-wet", Subject("oslo", "8", "")), detail="o2")
        other = replace(one, occurrence="o4", key=AlarmKey("leak-wet", Subject("bergen", "7", "rope")))
        book = Book()
        threads = [entry.thread for entry in take(book, [one, same, follows, other])]
        assert threads == [one.occurrence] * 3 + ["o4"]
        for gone in (one.occurrence, "o2", "o3", "o4"):
            book.forget(gone)
        assert book == Book()


class TestQuietHours:
    def test_they_hold_back_all_but_what_is_critical(self) -> None:
        midnight = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # 00:30 in Oslo
        high = take(Book(), story("7", (0, wet("7"))), (PHONE,), when=midnight)
        assert [entry.due for entry in high] == [datetime(2026, 3, 2, 5, tzinfo=UTC)]
        critical = take(Book(), story("7", (0, wet("7")), priority=Priority.CRITICAL), (PHONE,), when=midnight)
        assert [entry.due for entry in critical] == [midnight]

    def test_an_evening_belongs_to_the_day_on_which_it_begins(self) -> None:
        friday = replace(NIGHT, days=frozenset({4}))
        assert friday.hold(datetime(2026, 3, 6, 21, tzinfo=UTC))
        assert friday.hold(datetime(2026, 3, 7, 4, 59, tzinfo=UTC))
        assert not friday.hold(datetime(2026, 3, 7, 5, tzinfo=UTC))
        assert not friday.hold(datetime(2026, 3, 7, 21, tzinfo=UTC))
        assert not friday.hold(datetime(2026, 3, 6, 4, tzinfo=UTC))

    def test_the_end_is_by_the_clocks_of_the_place_when_they_change(self) -> None:
        # On 29 March 2026 clocks in Oslo go from 02:00 to 03:00.
        assert NIGHT.end_after(datetime(2026, 3, 28, 23, tzinfo=UTC)) == datetime(2026, 3, 29, 4, tzinfo=UTC)
        skipped = Hours(time(22), time(2, 30), OSLO)
        end = skipped.end_after(datetime(2026, 3, 29, 0, 59, tzinfo=UTC))
        assert end == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        assert skipped.end_after(end) > end


class Ear:
    """A notifier that keeps what it took. `fails`: what the next sendings do first."""

    def __init__(self) -> None:
        self.taken: list[Notice] = []
        self.fails: list[Exception] = []
        self.down = False
        self.heard_something = asyncio.Event()

    async def send(self, notice: Notice) -> str:
        if self.fails:
            raise self.fails.pop(0)
        if self.down:
            raise Transient("nobody there")
        self.taken.append(notice)
        self.heard_something.set()
        return "200 thanks"

    async def close(self) -> None:
        pass

    @property
    def heard(self) -> list[tuple[str, str]]:
        return [(item.asset, item.news.value) for notice in self.taken for item in notice.items]


class Desk:
    """An outbox over a real journal, and what it needs; time stands where the test puts it."""

    def __init__(self, place: Path | str) -> None:
        """place: a folder for SQLite, or the URL of another database."""
        self.url = place if isinstance(place, str) else f"sqlite+aiosqlite:///{place / 'alarms.sqlite'}"
        self.now, self.seq, self.ear = at(0), 0, Ear()
        self.receivers: tuple[tuple[Receiver, notices.Notifier], ...] = ((DESK, self.ear),)
        self.ladders: tuple[Ladder, ...] = ()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[SqlJournal, Outbox]]:
        journal = SqlJournal(self.url)
        await journal.open()
        routes = [Route(("desk",))]
        box = Outbox(
            journal,
            self.receivers,
            routes,
            describe,
            lambda: self.now,
            head=lambda: self.seq,
            draw=lambda: 1.0,
            ladders=self.ladders,
        )
        try:
            await box.open()
            yield journal, box
        finally:
            await box.close()
            await journal.close()

    async def write(self, journal: SqlJournal, rows: Sequence[Transition]) -> None:
        await journal.append([replace(row, seq=self.seq + n) for n, row in enumerate(rows, 1)], {})
        self.seq += len(rows)

    async def drain(self, box: Outbox) -> list[bool]:
        """Follows and sends until nothing is due, or something is to be tried again."""
        while await box.follow():
            pass
        done = list[bool]()
        while (parcel := await box.compose("desk")) is not None:
            done.append(await box.deliver(parcel))
            if not done[-1]:
                break
        return done


async def rows_of(journal: SqlJournal, *columns: str) -> list[tuple[object, ...]]:
    async with journal.transaction("x") as connection:
        picked = [outbox_table.c[name] for name in columns]
        return [
            tuple(row) for row in (await connection.execute(sa.select(*picked).order_by(outbox_table.c.number))).all()
        ]


class TestOutbox:
    def test_news_is_sent_once_with_proof(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                await desk.write(journal, story("7", (0, wet("7"))))
                assert await desk.drain(box) == [True]
                assert await desk.drain(box) == []
                await desk.write(journal, story("7", (0, wet("7")), (9, Clear()))[1:])
                await desk.drain(box)
                assert desk.ear.heard == [("7", "began"), ("7", "cleared")]
                assert len({notice.thread for notice in desk.ear.taken}) == 1
                assert await rows_of(journal, "state", "said", "tries") == [("sent", "200 thanks", 1)] * 2
                assert box.sending.sent == {"desk": 2} and box.sending.waiting == {"desk": 0}

        asyncio.run(whole())

    @pytest.mark.parametrize("dies", ["after the journal", "after the outbox", "after composing", "after sending"])
    def test_a_process_that_dies_anywhere_sends_after_its_restart_with_the_same_key(
        self, tmp_path: Path, dies: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def whole() -> None:
            desk, first, wanted = Desk(tmp_path), list[Notice](), story("7", (0, wet("7")))
            async with desk.running() as (journal, box):
                await desk.write(journal, wanted)
                if dies != "after the journal":
                    await box.follow()
                if dies in ("after composing", "after sending"):
                    parcel = await box.compose("desk")
                    assert parcel is not None
                    first.append(parcel.notice)
                if dies == "after sending":
                    await desk.ear.send(first[0])
                # More happens before it is up again: it must not find its way into what may have been sent.
                await desk.write(journal, story("7", (0, wet("7")), (9, Clear()))[1:])
            async with desk.running() as (_, box):
                desk.ear.taken.clear()
                await desk.drain(box)
                assert desk.ear.heard == [("7", "began"), ("7", "cleared")]
                assert desk.ear.taken[0].key == notices.dedup_key("desk", wanted[0].occurrence, 1)
                if first:
                    assert desk.ear.taken[0] == first[0]

        asyncio.run(whole())

    @pytest.mark.slow
    def test_a_receiver_that_is_down_for_an_hour_gets_everything_later_once_and_in_order(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                desk.ear.down = True
                for minute in range(60):
                    desk.now = at(60 * minute)
                    name = str(minute % 10)
                    await desk.write(
                        journal,
                        story(
                            name,
                            (60 * minute, wet(name)),
                            (60 * minute + 9, Clear()),
                            (60 * minute + 10, Acknowledge("ana")),
                        ),
                    )
                    assert await desk.drain(box) == [False]
                desk.ear.down = False
                await desk.drain(box)
                heard = [item for notice in desk.ear.taken for item in notice.items]
                assert len(heard) == len({(item.alarm, item.step) for item in heard}) == 120
                for name in map(str, range(10)):
                    assert [item.step for item in heard if item.asset == name] == sorted(
                        item.step for item in heard if item.asset == name
                    )
                assert len(desk.ear.taken) <= 3
                assert box.sending.retried == {"desk": 60}

        asyncio.run(whole())

    def test_a_refusal_is_dead_with_its_words_and_the_next_goes_on(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                desk.ear.fails = [Permanent("answered 410")]
                await desk.write(journal, story("7", (0, wet("7"))))
                await desk.write(journal, story("8", (1, wet("8"))))
                assert await desk.drain(box) == [True, True]
                assert desk.ear.heard == [("8", "began")]
                assert await rows_of(journal, "state", "said") == [("refused", "answered 410"), ("sent", "200 thanks")]
                assert box.sending.dead == {("desk", DeadNotice.REFUSED): 1}

        asyncio.run(whole())

    def test_what_cannot_be_sent_for_three_days_is_given_up(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                desk.ear.down = True
                await desk.write(journal, story("7", (0, wet("7"))))
                desk.now = at(1)
                assert await desk.drain(box) == [False]
                desk.now = at(1) + outbox.GIVE_UP
                assert await desk.drain(box) == [True]
                assert box.sending.dead == {("desk", DeadNotice.GIVEN_UP): 1}
                assert await desk.drain(box) == []

        asyncio.run(whole())

    @pytest.mark.slow
    def test_a_flood_becomes_a_few_messages_and_loses_nothing(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                await desk.write(journal, [row for n in range(5_000) for row in story(str(n), (0, wet(str(n))))])
                await desk.drain(box)
                assert len(desk.ear.taken) <= 10
                assert [item.asset for notice in desk.ear.taken for item in notice.items] == list(
                    map(str, range(5_000))
                )

        asyncio.run(whole())

    def test_what_waits_is_bounded_and_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox, "WAITING_MAX", 3)
        monkeypatch.setattr(outbox, "DONE_MAX", 2)

        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                await desk.write(journal, [row for n in range(5) for row in story(str(n), (0, wet(str(n))))])
                await box.follow()
                assert box.sending.dead == {("desk", DeadNotice.TOO_MANY): 2}
                assert box.sending.waiting == {"desk": 3}
                await desk.drain(box)
                assert [asset for asset, _ in desk.ear.heard] == ["0", "1", "2"]
                await box.sweep()
                assert await rows_of(journal, "number") == [(4,), (5,)]

        asyncio.run(whole())

    def test_at_night_a_blip_waits_for_the_morning_and_does_not_vanish(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)  # it is one at night in Oslo
            desk.receivers = ((Receiver("desk", NIGHT), desk.ear),)
            async with desk.running() as (journal, box):
                await desk.write(journal, story("7", (0, wet("7")), (20, Clear())))
                desk.now = at(20)
                assert await desk.drain(box) == []
                desk.now = at(5 * 3600)
                await desk.drain(box)
                assert [len(notice.items) for notice in desk.ear.taken] == [2]

        asyncio.run(whole())

    def test_what_becomes_critical_at_night_takes_along_what_was_held_back(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            desk.receivers = ((Receiver("desk", NIGHT), desk.ear),)
            began = story("7", (0, wet("7")))[0]
            worse = replace(
                began, at=at(60), change=Change.ESCALATED, before=State.UNACKNOWLEDGED, priority=Priority.CRITICAL
            )
            async with desk.running() as (journal, box):
                await desk.write(journal, [began])
                await desk.write(journal, story("8", (0, wet("8"))))
                assert await desk.drain(box) == []
                await desk.write(journal, [worse])
                await desk.drain(box)
                assert desk.ear.heard == [("7", "began"), ("7", "worse")]

        asyncio.run(whole())

    def test_who_is_no_longer_there_is_told_nothing_and_a_first_receiver_hears_no_old_stories(
        self, tmp_path: Path
    ) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                await desk.write(journal, story("7", (0, wet("7"))))
                await box.follow()
            desk.receivers = ()
            async with desk.running() as (journal, box):
                assert box.sending.dead == {("desk", DeadNotice.NO_RECEIVER): 1}
                await desk.write(journal, story("8", (1, wet("8"))))
                async with journal.transaction("x") as connection:
                    for table in (mark_table, told_table):
                        assert (await connection.execute(sa.select(table))).all() == []
            desk.receivers = ((DESK, desk.ear),)
            async with desk.running() as (_, box):
                assert await desk.drain(box) == []

        asyncio.run(whole())

    def test_a_write_that_fails_or_seems_to_is_done_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                transaction = journal.transaction
                fails: list[str] = []

                @contextlib.asynccontextmanager
                async def shaky(what: str, *, writes: bool = False) -> AsyncIterator[object]:
                    how = fails.pop(0) if fails and writes else ""
                    if how == "before":
                        raise Transient("the disk is full")
                    async with transaction(what, writes=writes) as connection:
                        yield connection
                    if how == "after":
                        raise Transient("the connection was lost")

                monkeypatch.setattr(journal, "transaction", shaky)
                await desk.write(journal, story("7", (0, wet("7"))))
                for how in ("before", "after"):
                    fails.append(how)
                    with contextlib.suppress(Transient):
                        await box.follow()
                await desk.drain(box)
                assert desk.ear.heard == [("7", "began")]
                # It was sent, and nobody wrote that down: the same message again.
                await desk.write(journal, story("8", (1, wet("8"))))
                await box.follow()
                parcel = await box.compose("desk")
                assert parcel is not None
                fails.append("before")
                with pytest.raises(Transient):
                    await box.deliver(parcel)
                await desk.drain(box)
                assert [notice.key for notice in desk.ear.taken[1:]] == [parcel.notice.key] * 2
                assert box.sending.waiting == {"desk": 0}

        asyncio.run(whole())

    def test_where_much_was_sent_only_what_is_critical_goes_at_once(self, tmp_path: Path) -> None:
        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                await desk.write(journal, story("7", (0, wet("7"))))
                await box.follow()
                assert await box.compose("desk", urgent=True) is None
                await desk.write(journal, story("8", (1, wet("8")), priority=Priority.CRITICAL))
                await box.follow()
                parcel = await box.compose("desk", urgent=True)
                assert parcel is not None
                assert [item.asset for item in parcel.notice.items] == ["8"]

        asyncio.run(whole())

    def test_the_loop_sends_by_itself_and_tries_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox, "RETRY_FIRST_S", 0.01)
        monkeypatch.setattr(outbox, "PACE_S", 0.01)

        async def whole() -> None:
            desk = Desk(tmp_path)
            async with desk.running() as (journal, box):
                desk.ear.fails = [Transient("busy"), Transient("busy")]
                running = asyncio.create_task(box.run())
                await desk.write(journal, story("7", (0, wet("7"))))
                async with asyncio.timeout(30):
                    await desk.ear.heard_something.wait()
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
                assert desk.ear.heard == [("7", "began")]
                assert box.sending.retried == {"desk": 2}

        asyncio.run(whole())

    def test_pauses_grow_to_a_minute(self) -> None:
        assert [retry_s(failures, 0.0) for failures in range(7)] == [1, 2, 4, 8, 16, 30, 30]
