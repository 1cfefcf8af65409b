"""How well the alarm system works: figures worked out by hand, ours from the journal, and those of a real log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from alerts import kpis
from alerts.journal import SqlJournal
from alerts.kpis import Event
from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    Clear,
    Elapse,
    Policy,
    Priority,
    Raise,
    Reprioritise,
    Shelve,
    TakeOut,
    Transition,
    Unshelve,
    step,
)
from alerts.lifecycle import Event as Happening
from dcim.app import kpis as reports
from dcim.app.cli import app
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind, Subject
from tests.alarms import T0, at, finding
from tests.contract.inside import Inside, inside
from tests.contract.test_alarm_api import do, iso, wet

DAY = timedelta(days=1)


def log(*rows: tuple[float, str, str], priority: int = 2) -> pl.DataFrame:
    """Rows (second, tag, event)."""
    told = [(at(second), tag, priority, event, None, None, None) for second, tag, event in rows]
    return pl.DataFrame(told, schema=kpis.LOG, orient="row")


def raised(tag: str, seconds: Iterable[float]) -> list[tuple[float, str, str]]:
    return [(second, tag, "raised") for second in seconds]


def seconds(frame: pl.DataFrame, *columns: str) -> list[tuple[float | None, ...]]:
    return [
        tuple(None if value is None else (value - T0).total_seconds() for value in row)
        for row in frame.select(columns).iter_rows()
    ]


def test_load_is_of_one_operator_and_windows_are_the_calendars() -> None:
    rows = log(*raised("a", range(22)), *raised("b", [599, 600, 601, 3600]), (2, "a", "cleared"))
    one = kpis.load(rows, T0, T0 + DAY)
    assert (one.alarms, one.per_day, one.per_hour, one.per_10min) == (26, 26, 26 / 24, 26 / 144)
    assert (one.peak_day, one.peak_hour, one.peak_10min) == (26, 25, 23)
    assert (one.windows, one.windows_over_ten) == (144, 1)
    two = kpis.load(rows, T0, T0 + DAY, operators=2)
    assert (two.alarms, two.per_day, two.peak_10min, two.windows_over_ten) == (26, 13, 11.5, 1)
    assert kpis.load(rows, T0, T0 + DAY, operators=3).windows_over_ten == 0
    assert kpis.load(rows, at(5), at(21)).alarms == 16, "the end is not in the period"
    assert kpis.load(rows, at(5), at(601)).windows == 2
    assert kpis.load(log(), T0, T0 + DAY).peak_day == 0


def test_a_flood_begins_with_more_than_ten_and_ends_with_fewer_than_five() -> None:
    # Eleven in the ten minutes until 500 s; of these the last four are younger than ten minutes after 900 s.
    rows = log(*raised("a", [0, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500]), *raised("b", [5_000]))
    (flood,) = kpis.floods(rows, T0, T0 + DAY).iter_rows(named=True)
    assert (flood["start"], flood["end"]) == (T0, at(900)), "the fifth from the end came at 300 s"
    assert (flood["alarms"], flood["peak"], flood["peak_at"]) == (11, 11, at(500))
    assert len(kpis.floods(rows, T0, T0 + DAY, operators=2)) == 0
    assert len(kpis.floods(rows, at(1), T0 + DAY)) == 0, "ten are not more than ten"
    assert seconds(kpis.floods(rows, T0, at(700)), "start", "end") == [(0, 700)], "it goes on"
    # One that comes as the tenth minute ends keeps it alive; the next begins where this one ended.
    more = log(*raised("a", [0.0] * 11), *raised("b", [600.0] * 11), *raised("c", [600.5] * 11))
    assert seconds(kpis.floods(more, T0, T0 + DAY), "start", "end") == [(0, 1200.5)]
    apart = log(*raised("a", [0.0] * 11), *raised("c", [600.5] * 11))
    assert seconds(kpis.floods(apart, T0, T0 + DAY), "start", "end") == [(0, 600), (600.5, 1200.5)]
    assert kpis.floods(log(), T0, T0 + DAY).is_empty()


def test_spells_join_what_was_raised_again_and_pass_over_what_never_began() -> None:
    rows = log(
        (5, "a", "cleared"), (10, "a", "raised"), (11, "a", "raised"), (12, "a", "acknowledged"), (20, "a", "cleared"),
        (21, "a", "cleared"), (15, "b", "raised"), (30, "a", "raised"), (40, "a", "cleared"), (50, "a", "acknowledged"),
    )  # fmt: skip
    found = kpis.spells(rows.sort("tag"))
    assert found["tag"].to_list() == ["a", "b", "a"]
    assert seconds(found, "start", "cleared", "acknowledged") == [(10, 20, 12), (15, None, None), (30, 40, 50)]


def test_what_stands_at_an_instant_and_for_how_long() -> None:
    rows = log((0, "a", "raised"), (100, "b", "raised"), (200, "b", "cleared"), (90_000, "c", "raised"))
    assert kpis.standing(rows, at(150))["tag"].to_list() == ["a", "b"]
    assert kpis.standing(rows, at(200))["tag"].to_list() == ["a"]
    assert kpis.standing(rows, at(90_000)).select("tag", "age").rows() == [
        ("a", timedelta(seconds=90_000)),
        ("c", timedelta(0)),
    ]
    assert kpis.stale(rows, at(86_400)).is_empty(), "a day is not more than a day"
    assert kpis.stale(rows, at(90_000))["tag"].to_list() == ["a"]


def test_three_within_a_minute_chatter_and_hours_lie_between_bursts() -> None:
    rows = log(
        *raised("quick", [0, 20, 40, 80, 200, 3_600, 3_601, 3_602]),  # 80 s: the third within a minute of 40 s
        *raised("slow", [0, 30, 60, 90]),  # exactly a minute apart is not within it
        *raised("twice", [10, 11]),
    )
    assert kpis.chattering(rows, T0, T0 + DAY).rows() == [("quick", 2, 6, 3)]
    assert kpis.chattering(rows, at(1), at(3_602)).is_empty()


def test_fleeting_is_what_was_cleared_within_a_minute() -> None:
    rows = log(
        (0, "a", "raised"), (60, "a", "cleared"), (100, "a", "raised"), (161, "a", "cleared"), (200, "b", "raised"),
        (201, "b", "cleared"), (300, "c", "raised"),
    )  # fmt: skip
    assert kpis.fleeting(rows, T0, T0 + DAY).rows() == [("a", 1, 2, 0.5), ("b", 1, 1, 1.0)]
    assert kpis.fleeting_share(rows, T0, T0 + DAY) == 2 / 3
    assert kpis.fleeting_share(rows, at(250), T0 + DAY) is None


def test_the_worst_tags_and_the_priorities() -> None:
    rows = pl.concat([
        log(*raised("a", range(6)), *raised("b", range(3))), log(*raised("c", [0]), priority=1),
        log(*raised("d", [0])).with_columns(priority=pl.lit(None, pl.Int8)),
    ])  # fmt: skip
    worst = kpis.bad_actors(rows, T0, T0 + DAY, 3)
    assert worst["tag"].to_list() == ["a", "b", "c"]
    assert worst["running"].to_list() == pytest.approx([6 / 11, 9 / 11, 10 / 11])
    told = kpis.priorities(rows, T0, T0 + DAY)
    assert told.select("priority", "alarms").rows() == [(1, 1), (2, 9), (None, 1)]
    assert told["share"].sum() == pytest.approx(1)


def test_waits_are_those_of_spells_and_end_with_the_period() -> None:
    rows = log(*(
        row for tag, after in (("a", 10), ("b", 20), ("c", 60))
        for row in ((0, tag, "raised"), (float(after), tag, "acknowledged"))
    ), (0, "d", "raised"), (5, "d", "cleared"))  # fmt: skip
    told = kpis.waits(rows, T0, T0 + DAY)
    assert (told.acknowledged, told.median_s, told.p95_s, told.longest_s, told.never) == (3, 20, 56, 60, 1)
    early = kpis.waits(rows, T0, at(15))
    assert (early.acknowledged, early.longest_s, early.never) == (1, 10, 3)
    assert kpis.waits(log(), T0, T0 + DAY).median_s is None


def test_duplicates_are_of_one_instant() -> None:
    rows = log(*raised("a", [0, 0, 1]), (0, "a", "cleared"), (0, "b", "raised"))
    assert kpis.deduplicated(rows).select("tag", "event").rows() == [
        ("a", "raised"), ("a", "raised"), ("a", "cleared"), ("b", "raised"),
    ]  # fmt: skip


def story(*events: tuple[float, Happening], policy: Policy | None = None) -> list[Transition]:
    key = AlarmKey("leak", Subject("oslo", "rack-7", "rope"))
    alarm, made = Alarm(key, FindingKind.LEAK_WET, policy or Policy(Priority.HIGH)), list[Transition]()
    for second, event in events:
        stepped = step(alarm, event, at(second))
        alarm = stepped.alarm
        made += stepped.transitions
    return made


WET = Raise(finding(FindingKind.LEAK_WET, Subject("oslo", "rack-7", "rope")))


def told_of(changes: list[Transition]) -> list[tuple[float, str]]:
    rows = kpis.of_transitions(changes).select("time", "event").rows()
    return [((time - T0).total_seconds(), event) for time, event in rows]


def test_the_journal_tells_what_people_were_shown() -> None:
    shelf = Shelve("ana", "being wiped", at(100))
    assert told_of(story((0, WET), (5, Acknowledge("ana")), (9, Clear()))) == [
        (0, "raised"), (5, "acknowledged"), (9, "cleared"),
    ]  # fmt: skip
    back = story((0, WET), (5, shelf), (200, Elapse()))
    assert told_of(back) == [(0, "raised"), (5, "shelved"), (200, "unshelved"), (200, "raised")]
    (put,) = kpis.shelved(kpis.of_transitions(back), T0, at(150)).rows(named=True)
    assert (put["who"], put["note"], put["until"], put["ended"]) == ("ana", "being wiped", at(100), None)
    gone = story((0, WET), (5, shelf), (20, Clear()), (30, WET), (40, Unshelve("ana")), (50, TakeOut("ana", "torn")))
    assert told_of(gone) == [
        (0, "raised"), (5, "shelved"), (20, "cleared"), (40, "unshelved"), (40, "raised"),
    ]  # fmt: skip
    urgent = story((0, WET), (5, shelf), (9, Reprioritise(Priority.CRITICAL, "it runs")))
    assert told_of(urgent) == [(0, "raised"), (5, "shelved"), (9, "unshelved"), (9, "raised")]
    latched = story((0, WET), (9, Clear()), policy=Policy(Priority.HIGH, latch=True))
    assert told_of(latched) == [(0, "raised"), (9, "cleared")]
    assert kpis.of_transitions([]).schema == kpis.LOG


@pytest.mark.slow
def test_the_service_tells_its_own_figures() -> None:
    async def scenario(hall: Inside) -> None:
        alarms = await wet(hall, "R1", "R2")
        await do(hall, alarms["R1"], "acknowledge")
        await do(hall, alarms["R2"], "shelve", reason="being wiped", for_s=600)
        told = await hall.get("/api/v1/alarms/kpis?operators=2")
        assert (told["load"]["alarms"], told["operators"], told["standing_total"]) == (2, 2, 2)
        assert told["acknowledging"]["acknowledged"] == 1
        assert told["acknowledging"]["never"] == 1
        (shelf,) = told["shelved"]
        assert (shelf["by"], shelf["reason"], shelf["ended"]) == ("ana", "being wiped", None)
        assert shelf["tag"].startswith("rack-leak-wet titan R2")
        before = await hall.get(f"/api/v1/alarms/kpis?start={iso(days=-9)}&end={iso(days=-8)}")
        assert (before["load"]["alarms"], before["standing"]) == (0, [])
        wrong = await hall.get(f"/api/v1/alarms/kpis?start={iso(days=1)}", 422)
        assert wrong["errors"][0]["field"] == "query.start"

    inside(scenario)


CSV = "when,unit,code,what,urgency\n2026-03-01 00:00:00,A,1,on,1\n2026-03-01T01:00:30+01:00,A,1,off,1\n"
OPTIONS = ("--time", "when", "--tag", "unit,code", "--event", "what", "--raised", "on", "--cleared", "off")


def ask(*options: str) -> Any:
    return CliRunner().invoke(app, ["alarms", "kpis", *options])


def test_a_log_of_another_system_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(CSV + "2026-03-01T00:00:31Z,\x1b[31m,2,on,\n")
    answer = ask("--log", str(file), *OPTIONS, "--priority", "urgency", "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.output)
    assert (told["load"]["alarms"], told["fleeting_share"], told["standing_total"]) == (2, 1.0, 1)
    assert [one["priority"] for one in told["priorities"]] == [1, None]
    assert told["bad_actors"][1]["tag"] == "A/1"
    shown = ask("--log", str(file), *OPTIONS, "--delays", "0:60", "--end", "2026-03-02T00:00:00Z").output
    assert "\x1b" not in shown
    assert shown.splitlines()[-2].split()[:7] == ["on", "0", "s,", "off", "60", "s", "2"]


def test_the_command_reads_the_journal(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/alarms.sqlite"
    site = tmp_path / "site.toml"
    site.write_text(f'[alarms]\njournal = "{url}"\n')
    made = story((0, WET), (5, Acknowledge("ana")), (9, Clear()))

    async def write() -> None:
        journal = SqlJournal(url)
        await journal.open()
        await journal.append([replace(one, seq=number) for number, one in enumerate(made, 1)], {})
        await journal.close()

    asyncio.run(write())
    answer = ask("--config", str(site), "--start", T0.isoformat(), "--end", at(60).isoformat(), "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.output)
    assert (told["load"]["alarms"], told["acknowledging"]["median_s"], told["fleeting_share"]) == (1, 5.0, 1.0)
    assert told["bad_actors"][0]["tag"] == "leak oslo rack-7 rope"
    later = ask("--config", str(site), "--start", at(30).isoformat(), "--end", at(60).isoformat(), "--json")
    assert json.loads(later.output)["load"]["alarms"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read as CSV"),
        ("when,unit\n", "has no column code"),
        ("when,unit,code,what,urgency\n", "has no rows"),
        (CSV + "yesterday,A,1,on,1\n", "row 3: when 'yesterday' is no time"),
        (CSV + "2026-03-01,A,1,gone,1\n", "row 3: when '2026-03-01' is no time"),
        (CSV + "2026-03-01T00:00:00Z,A,1,gone,1\n", "row 3: what 'gone' is none of on, off, acknowledged"),
        (CSV + "2026-03-01T00:00:00Z,A,1,on,900\n", "row 3: urgency '900' is no priority"),
        (CSV + "2026-03-01T00:00:00Z,A,1,on,0\n", "row 3: urgency '0' is no priority"),
    ],
)
def test_what_is_wrong_with_a_log_is_said_with_its_row(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(text)
    with pytest.raises(Permanent, match=words):
        reports.read(file, reports.Columns("when", ("unit", "code"), "what", "urgency", "on", "off"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give one of the two"),
        (("--log", "x.csv", "--delays", "60"), "is not ON:OFF"),
        (("--log", "x.csv", "--delays", "nan:1"), "0 to 604800"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: tuple[str, ...], words: str) -> None:
    answer = ask(*options)
    assert answer.exit_code == 2
    assert words in answer.output


def test_the_figures_of_a_real_log(recordings: Path) -> None:
    file = recordings / "alarms" / "alarm_log_2014_2016.csv"
    columns = reports.Columns(
        "SYSTEM_TS", ("FAULT_FAMILY", "FAULT_MEMBER", "FAULT_CODE"), "ACTIVE", "PRIORITY", "Y", "N"
    )
    told = reports.read(file, columns)
    assert len(told.log) == 67_873
    raw = reports.report(told.log, told.start, told.end)
    assert (raw.load.alarms, raw.load.windows_over_ten, raw.floods_total) == (33_941, 486, 216)
    assert raw.bad_actors[-1].running == pytest.approx(0.785, abs=0.0005)
    assert raw.fleeting_share == pytest.approx(0.830, abs=0.0005)
    assert (raw.chattering_total, raw.standing_total) == (56, 8)
    once = kpis.load(kpis.deduplicated(told.log), told.start, told.end)
    assert (once.alarms, once.windows_over_ten) == (21_078, 475)
    calm = kpis.delayed(told.log, timedelta(seconds=10), timedelta(seconds=60), told.end)
    assert kpis.load(calm, told.start, told.end).alarms == 4_943
    assert kpis.chattering(calm, told.start, told.end).is_empty()


def test_events_are_words_of_a_closed_list() -> None:
    assert {event.value for event in Event} == {"raised", "cleared", "acknowledged", "shelved", "unshelved"}
