"""The journal: what every journal promises, and what a database can do to ours."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import alembic.util
import msgspec
import pytest
import sqlalchemy as sa
import sqlalchemy.exc
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from typer.testing import CliRunner

from alerts import journal as journals
from alerts.journal import HistoryQuery, Journal, SqlJournal, TooMany, bounded, translate
from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    Assign,
    BringBack,
    Clear,
    Close,
    ClosingCause,
    Delay,
    Event,
    Mask,
    MaskCause,
    Policy,
    Priority,
    Raise,
    Shelve,
    TakeOut,
    Transition,
    fold,
    step,
)
from alerts.suppression import Window, ended
from dcim.app.cli import app
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.findings import Bearing, Evidence, Finding, FindingKind, Subject
from tests.alarms import T0, MemoryJournal, at, finding

POLICY = Policy(Priority.HIGH)
KIND = FindingKind.LEAK_WET


def key(asset: str) -> AlarmKey:
    return AlarmKey("leak-wet", Subject("oslo", asset, "rope"))


def story(asset: str, *events: tuple[float, Event], first: int = 1) -> list[Transition]:
    """The transitions of one alarm, numbered."""
    alarm, made = Alarm(key(asset), KIND, POLICY), list[Transition]()
    for seconds, event in events:
        stepped = step(alarm, event, at(seconds))
        alarm, made = stepped.alarm, made + list(stepped.transitions)
    return [replace(transition, seq=seq) for seq, transition in enumerate(made, first)]


def told(asset: str) -> Raise:
    return Raise(finding(KIND, key(asset).subject))


OVER = [(0, told("a")), (1, Acknowledge("ana", "on my way")), (2, Clear())]


@asynccontextmanager
async def sql(folder: Path) -> AsyncIterator[SqlJournal]:
    journal = SqlJournal(f"sqlite+aiosqlite:///{folder / 'alarms.sqlite'}")
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def memory(_: Path) -> AsyncIterator[MemoryJournal]:
    yield MemoryJournal()


Check = Callable[[Journal], Awaitable[None]]


async def an_empty_journal_is_empty(journal: Journal) -> None:
    recalled = await journal.recall()
    assert (recalled.seq, list(recalled.transitions), list(recalled.delays)) == (0, [], [])
    assert list(await journal.history(HistoryQuery())) == []
    assert list(await journal.after(0)) == []


async def what_was_written_comes_back_as_it_was(journal: Journal) -> None:
    rows = story("a", *OVER)
    await journal.append(rows, {})
    assert list(await journal.after(0)) == rows
    assert list(await journal.after(2)) == rows[2:]
    assert list(await journal.history(HistoryQuery())) == rows[::-1]


async def only_what_stands_is_recalled(journal: Journal) -> None:
    over = story("a", *OVER)
    stands = story("b", (3, told("b")), (4, Clear()), first=4)
    await journal.append(over, {})
    await journal.append(stands, {})
    recalled = await journal.recall()
    assert recalled.seq == 5
    assert list(recalled.transitions) == stands
    assert set(fold(recalled.transitions, lambda _: POLICY)) == {key("b")}


async def an_occurrence_that_begins_again_in_the_same_microsecond_is_not_lost(journal: Journal) -> None:
    # The id follows from alarm and instant, so both occurrences share it.
    rows = story("a", (0, told("a")), (0, Acknowledge("ana")), (0, Clear()), (0, told("a")))
    assert len({row.occurrence for row in rows}) == 1
    await journal.append(rows, {})
    assert set(fold((await journal.recall()).transitions, lambda _: POLICY)) == {key("a")}


async def delays_are_kept_replaced_and_dropped(journal: Journal) -> None:
    first = Delay(key("a"), KIND, True, at(1), finding(KIND, key("a").subject))
    other = Delay(key("b"), KIND, False, at(2))
    await journal.append([], {key("a"): first, key("b"): other})
    await journal.append([], {key("a"): replace(first, turned_at=at(5)), key("c"): None})
    found = {delay.key: delay for delay in (await journal.recall()).delays}
    assert found == {key("a"): replace(first, turned_at=at(5)), key("b"): other}
    await journal.append([], {key("a"): None, key("b"): None})
    assert list((await journal.recall()).delays) == []


async def a_log_has_what_stood_in_its_time_from_its_beginning(journal: Journal) -> None:
    over = story("a", *OVER)
    stands = story("b", (3, told("b")), (4, Clear()), first=4)
    later = story("c", (20, told("c")), first=6)
    await journal.append([*over, *stands, *later], {})
    assert list(await journal.log(at(10), at(20))) == [replace(row, finding=None) for row in stands]
    assert [row.seq for row in await journal.log(over[-1].at, at(21))] == [1, 2, 3, 4, 5, 6], "it ended then"
    assert [row.seq for row in await journal.log(at(-5), at(3))] == [row.seq for row in over if row.at < at(3)]
    assert len(await journal.log(at(10), at(20), rows_max=2)) == 2
    with pytest.raises(TooMany, match="more than 1 rows"):
        await journal.log(at(10), at(20), rows_max=1)


async def history_narrows_and_pages(journal: Journal) -> None:
    await journal.append([*story("a", *OVER), *story("b", (10, told("b")), first=4)], {})

    async def seqs(query: HistoryQuery) -> list[int]:
        return [row.seq for row in await journal.history(query)]

    assert await seqs(HistoryQuery()) == [4, 3, 2, 1]
    assert await seqs(HistoryQuery(limit=2)) == [4, 3]
    assert await seqs(HistoryQuery(limit=2, before=3)) == [2, 1]
    assert await seqs(HistoryQuery(site="oslo", asset="a")) == [3, 2, 1]
    assert await seqs(HistoryQuery(site="bergen")) == []
    assert await seqs(HistoryQuery(start=at(1), end=at(10))) == [3, 2]
    occurrence = story("b", (10, told("b")))[0].occurrence
    assert await seqs(HistoryQuery(occurrence=occurrence)) == [4]


async def all_that_people_and_the_design_do_comes_back_as_it_was(journal: Journal) -> None:
    mask = Mask(MaskCause.UPSTREAM, "cause", "flow-lost stands at cdu-1")
    hidden = Raise(finding(KIND, key("a").subject), mask)
    rows = story("a", (0, hidden), (1, TakeOut("ana", "torn", "10.0.0.7")), (2, BringBack("ana")))
    rows += story(
        "b", (3, told("b")), (4, Shelve("ben", "known", at(90), "::1")), (5, Assign("ana", "ben")), (6, Clear()),
        (7, Close("ben", ClosingCause.FALSE, "wiped")), first=4,
    )  # fmt: skip
    delay = Delay(key("c"), KIND, True, at(1), None, mask)
    await journal.append(rows, {key("c"): delay})
    assert list(await journal.after(0)) == rows
    recalled = await journal.recall()
    assert [row.seq for row in recalled.transitions] == [1, 2, 3]
    assert list(recalled.delays) == [delay]
    assert [row.seq for row in await journal.history(HistoryQuery(occurrence=rows[0].occurrence, after=1))] == [3, 2]


async def windows_are_kept_as_they_are_now(journal: Journal) -> None:
    first = Window("1", "oslo", ("a", "b"), True, at(0), at(100), "new hoses “x”", "ana", "::1", at(0))
    second = replace(first, id="2", assets=(), start=at(50), end=at(60))
    for window in (first, second):
        await journal.note(window, "ana", "::1", at(0))
    assert list(await journal.windows(at(10))) == [first, second]
    over = ended(first, "ben", "10.0.0.7", at(20))
    await journal.note(over, "ben", "10.0.0.7", at(20))
    assert list(await journal.windows(at(19))) == [over, second]
    assert list(await journal.windows(at(20))) == [second]
    assert list(await journal.windows(at(60))) == []


async def numbers_that_do_not_follow_are_refused_and_nothing_is_written(journal: Journal) -> None:
    rows = story("a", *OVER)
    await journal.append(rows, {})
    for wrong in (rows, story("b", (10, told("b")), first=6)):
        with pytest.raises(Transient):
            await journal.append(wrong, {key("b"): Delay(key("b"), KIND, True, at(1))})
    recalled = await journal.recall()
    assert (recalled.seq, list(recalled.delays)) == (3, [])


CHECKS: list[Check] = [
    an_empty_journal_is_empty,
    what_was_written_comes_back_as_it_was,
    only_what_stands_is_recalled,
    an_occurrence_that_begins_again_in_the_same_microsecond_is_not_lost,
    delays_are_kept_replaced_and_dropped,
    a_log_has_what_stood_in_its_time_from_its_beginning,
    history_narrows_and_pages,
    all_that_people_and_the_design_do_comes_back_as_it_was,
    windows_are_kept_as_they_are_now,
    numbers_that_do_not_follow_are_refused_and_nothing_is_written,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", [sql, memory], ids=["sqlite", "memory"])
def test_every_journal(make: Callable[[Path], object], check: Check, tmp_path: Path) -> None:
    async def run() -> None:
        async with make(tmp_path) as journal:  # type: ignore[attr-defined]  # either of the two above
            await check(journal)

    asyncio.run(run())


# --- What is kept of a finding ----------------------------------------------------------------------------------------


def test_a_finding_comes_back_whole_and_a_huge_one_bounded(tmp_path: Path) -> None:
    subject = key("a").subject
    evidence = (Evidence("level", "−0.9 L/min", Bearing.AGAINST, 7),)
    whole = Finding(KIND, subject, T0, "Leak “à” \x00 \u202e", 1.5, 0.5, evidence, 41.0, ("look",))
    huge = Finding(
        KIND, subject, T0, "x" * 100_000, float("inf"), float("nan"),
        (Evidence("y" * 100_000, "\ud800"),) * 1_000, float("inf"), ("w" * 100_000,) * 1_000,
    )  # fmt: skip

    async def run() -> None:
        async with sql(tmp_path) as journal:
            rows = story("a", (0, Raise(whole)), (1, Clear()), (2, Raise(huge)))
            await journal.append(rows, {})
            first, _, second = await journal.after(0)
            assert first.finding == whole
            assert second.finding == bounded(huge)

    asyncio.run(run())
    kept = bounded(huge)
    assert len(kept.summary) == journals.TEXT_MAX
    assert kept.summary.endswith("…")
    assert (kept.score, kept.confidence, kept.time_to_limit_s) == (0.0, 0.0, None)
    assert (len(kept.evidence), len(kept.check_first)) == (journals.EVIDENCE_MAX, journals.STEPS_MAX)


# --- The file ---------------------------------------------------------------------------------------------------------


def test_the_migrations_lead_to_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path / "new" / "folder"):
            pass
        async with sql(tmp_path / "new" / "folder"):  # a second start finds nothing to do
            pass

    asyncio.run(run())
    engine = create_engine(f"sqlite:///{tmp_path / 'new' / 'folder' / 'alarms.sqlite'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": journals.VERSIONS_TABLE})
        assert compare_metadata(context, journals.metadata) == []
    engine.dispose()


def test_a_migration_that_dies_halfway_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alerts.migrations.versions import r0001_journal

    class Killed(BaseException):
        """As good as a kill."""

    async def run() -> None:
        real = journals.command.upgrade

        def dies(*given: object) -> None:
            real(*given)  # type: ignore[arg-type]  # handed through
            raise Killed

        monkeypatch.setattr(journals.command, "upgrade", dies)
        with pytest.raises(Killed):
            async with sql(tmp_path):
                pass
        monkeypatch.undo()
        with sqlite3.connect(tmp_path / "alarms.sqlite") as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        connection.close()
        async with sql(tmp_path) as journal:
            assert (await journal.recall()).seq == 0

    asyncio.run(run())
    assert r0001_journal.down_revision is None


def test_rows_of_the_first_schema_follow_from_one_another_after_a_migration_and_a_value_put_into_one_shows(
    tmp_path: Path,
) -> None:
    """What each column was when they were written went into their hashes; the later columns did not exist."""
    url = f"sqlite:///{tmp_path / 'alarms.sqlite'}"
    first = [column.name for column in journals._COLUMNS[: journals._FIRST_COLUMNS]]
    rows, last = [], journals.GENESIS
    for row in journals._chained(story("a", *OVER), journals.GENESIS):
        values = tuple(row[name] for name in first)
        last = hashlib.sha256(last + msgspec.json.encode(values)).digest()
        rows.append((*values, last))
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "alerts:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        marks = ", ".join("?" * (len(first) + 1))
        names = ", ".join([*first, "hash"])
        connection.exec_driver_sql(f"INSERT INTO alarm_transitions ({names}) VALUES ({marks})", rows)  # noqa: S608
    engine.dispose()

    async def run() -> None:
        async with sql(tmp_path) as journal:
            assert list(await journal.after(0)) == story("a", *OVER)
            assert (await journal.audit()).broken == ""
            await journal.append(story("b", (9, told("b")), first=4), {})
            assert (await journal.audit()).rows == 4
            with sqlite3.connect(tmp_path / "alarms.sqlite") as connection:
                connection.execute("UPDATE alarm_transitions SET origin = '10.0.0.7' WHERE seq = 2")
            connection.close()
            assert (await journal.audit()).broken == "row 2 of alarm_transitions"

    asyncio.run(run())


def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path):
            pass
        with sqlite3.connect(tmp_path / "alarms.sqlite") as connection:
            connection.execute(f"UPDATE {journals.VERSIONS_TABLE} SET version_num = '9999'")  # noqa: S608  our own name
        connection.close()
        with pytest.raises(Permanent, match="a newer version wrote it"):
            async with sql(tmp_path):
                pass

    asyncio.run(run())


@pytest.mark.parametrize(
    "content", [b"this is a letter, not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_journal_is_left_alone_and_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "alarms.sqlite").write_bytes(content)

    async def run() -> None:
        with pytest.raises(Permanent) as caught:
            async with sql(tmp_path):
                pass
        assert caught.value.todo
        assert "alarms.sqlite" in caught.value.where

    asyncio.run(run())
    assert (tmp_path / "alarms.sqlite").read_bytes() == content


@pytest.mark.slow
def test_a_damaged_page_is_permanent_and_says_what_to_do(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            many = (row for number in range(500) for row in story(f"rack-{number}", *OVER))
            await journal.append([replace(row, seq=seq) for seq, row in enumerate(many, 1)], {})
        file = tmp_path / "alarms.sqlite"
        content = bytearray(file.read_bytes())
        content[8_192:] = b"\x5a" * (len(content) - 8_192)
        file.write_bytes(content)
        with pytest.raises(Permanent, match=r"damaged.*Move the file aside"):
            async with sql(tmp_path) as journal:
                await journal.after(0)

    asyncio.run(run())


def test_a_folder_that_cannot_be_is_a_mistake_of_the_set_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        with pytest.raises(Permanent, match=r"cannot be opened"):
            async with sql(tmp_path / "file"):
                pass
        for url in ("nonsense", "mysql+nothing://u:secret@h/d"):
            with pytest.raises(Permanent) as caught:
                await SqlJournal(url).open()
            assert "secret" not in str(caught.value)

    asyncio.run(run())


@pytest.mark.slow
def test_a_row_that_nobody_understands_is_permanent_and_named(tmp_path: Path) -> None:
    async def run() -> None:
        for column, value in (("kind", "ghost"), ("change", "vanished"), ("finding", "{"), ("priority", 9)):
            folder = tmp_path / column
            async with sql(folder) as journal:
                await journal.append(story("a", (0, told("a"))), {})
                with sqlite3.connect(folder / "alarms.sqlite") as connection:
                    connection.execute(f"UPDATE alarm_transitions SET {column} = ?", (value,))  # noqa: S608
                connection.close()
                with pytest.raises(Permanent, match="row 1 cannot be understood"):
                    await journal.recall()

    asyncio.run(run())


# --- Trouble while it runs --------------------------------------------------------------------------------------------


def test_a_locked_database_is_transient_and_nothing_is_written(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            sa_engine = journal._engine
            assert sa_engine is not None
            async with sa_engine.connect() as connection:  # the pool hands this very connection out again
                await connection.exec_driver_sql("PRAGMA busy_timeout = 10")
            other = sqlite3.connect(tmp_path / "alarms.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Transient, match="another process holds it"):
                await journal.append(story("a", *OVER), {})
            other.execute("ROLLBACK")
            other.close()
            await journal.append(story("a", *OVER), {})
            assert (await journal.recall()).seq == 3

    asyncio.run(run())


@pytest.mark.slow
def test_a_full_disk_is_transient_and_nothing_is_written(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            sa_engine = journal._engine
            assert sa_engine is not None
            async with sa_engine.connect() as connection:
                pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
                await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            many = [
                replace(row, seq=seq)
                for seq, row in enumerate((row for n in range(500) for row in story(f"rack-{n}", *OVER)), 1)
            ]
            with pytest.raises(Transient, match="the disk is full"):
                await journal.append(many, {})
            assert (await journal.recall()).seq == 0
            async with sa_engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
            await journal.append(many, {})
            assert (await journal.recall()).seq == 1_500

    asyncio.run(run())


def test_a_cancelled_write_leaves_a_journal_that_can_be_asked(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            rows = story("a", *OVER)
            for turns in range(6):
                task = asyncio.ensure_future(journal.append(rows, {}))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                seq = (await journal.recall()).seq
                assert seq in (0, 3)
                if seq == 3:
                    return
            await journal.append(rows, {})

    asyncio.run(run())


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            pass
        await journal.close()
        with pytest.raises(Permanent, match="it is not open"):
            await journal.recall()

    asyncio.run(run())


# --- The chain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE alarm_transitions SET comment = 'nothing to do with me' WHERE seq = 2", 2),
        ("UPDATE alarm_transitions SET at_us = at_us + 1 WHERE seq = 1", 1),
        ("UPDATE alarm_transitions SET hash = zeroblob(32) WHERE seq = 3", 3),
        ("DELETE FROM alarm_transitions WHERE seq = 2", 3),
        ("DELETE FROM alarm_transitions WHERE seq = 1", 2),
        ("SELECT 1", None),
    ],
)
def test_a_row_that_was_changed_or_removed_shows(change: str, broken: int | None, tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            await journal.append(story("a", *OVER)[:1], {})
            await journal.append(story("a", *OVER)[1:], {})
            assert not (await journal.audit()).broken
            with sqlite3.connect(tmp_path / "alarms.sqlite") as connection:
                connection.execute(change)
            connection.close()
            told = (await journal.audit()).broken
            assert told == (f"row {broken} of alarm_transitions" if broken else "")

    asyncio.run(run())


@pytest.mark.slow
def test_a_window_that_was_changed_shows_and_the_command_says_so(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[alarms]\njournal = "sqlite+aiosqlite:///{tmp_path}/alarms.sqlite"\n')

    def verify() -> str:
        return CliRunner().invoke(app, ["alarms", "verify", "--config", str(site)], catch_exceptions=False).output

    with pytest.raises(Permanent, match="cannot be opened"):
        verify()
    assert not (tmp_path / "alarms.sqlite").exists()

    async def write() -> None:
        async with sql(tmp_path) as journal:
            await journal.append(story("a", *OVER), {})
            window = Window("1", "oslo", (), False, at(0), at(100), "new hoses", "ana", "", at(0))
            await journal.note(window, "ana", "", at(0))
            await journal.note(ended(window, "ben", "", at(20)), "ben", "", at(20))

    asyncio.run(write())
    assert re.fullmatch(r"5 rows follow from one another\nlast 3:[0-9a-f]{64}\n", verify())
    with sqlite3.connect(tmp_path / "alarms.sqlite") as connection:
        connection.execute("UPDATE alarm_maintenance SET who = 'ana' WHERE seq = 2")
    connection.close()
    with pytest.raises(Permanent, match="row 2 of alarm_maintenance does not follow"):
        verify()


# --- The translation --------------------------------------------------------------------------------------------------


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code  # type: ignore[misc]  # set by SQLite alone
    return error


PRIMARY = {name: getattr(sqlite3, name) for name in dir(sqlite3) if name.startswith("SQLITE_") and name.count("_") == 1}
CODES = {name: code for name, code in PRIMARY.items() if isinstance(code, int) and name in {
    "SQLITE_ABORT", "SQLITE_AUTH", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CONSTRAINT", "SQLITE_CORRUPT",
    "SQLITE_EMPTY", "SQLITE_ERROR", "SQLITE_FORMAT", "SQLITE_FULL", "SQLITE_INTERNAL", "SQLITE_INTERRUPT",
    "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_MISMATCH", "SQLITE_MISUSE", "SQLITE_NOLFS", "SQLITE_NOMEM",
    "SQLITE_NOTADB", "SQLITE_NOTFOUND", "SQLITE_PERM", "SQLITE_PROTOCOL", "SQLITE_RANGE", "SQLITE_READONLY",
    "SQLITE_SCHEMA", "SQLITE_TOOBIG",
}}  # fmt: skip
PASSES = {
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_IOERR", "SQLITE_FULL",
    "SQLITE_PROTOCOL", "SQLITE_SCHEMA", "SQLITE_CONSTRAINT", "SQLITE_CANTOPEN",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_code_of_sqlite_has_its_family(name: str) -> None:
    raw = sqlite_error(CODES[name])
    wrapped = sqlalchemy.exc.OperationalError("INSERT", {}, raw)
    for error in (raw, wrapped):
        ours = translate(error, "was not written", "alarms.sqlite")
        assert isinstance(ours, Transient if name in PASSES else Permanent)
        assert str(ours).startswith("alarms.sqlite: was not written: ")
        assert "INSERT" not in str(ours)  # what was to be written may hold what people wrote
    starting = translate(raw, "cannot be opened", "alarms.sqlite", starting=True)
    assert isinstance(starting, Transient if name in PASSES - {"SQLITE_CANTOPEN"} else Permanent)


def every_error(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(one for child in base.__subclasses__() for one in every_error(child))]


@pytest.mark.parametrize("family", every_error(sqlalchemy.exc.SQLAlchemyError), ids=lambda family: family.__name__)
def test_every_error_of_sqlalchemy_becomes_one_of_ours(family: type[Exception]) -> None:
    if issubclass(family, sqlalchemy.exc.DBAPIError):
        error: Exception = family("INSERT", {}, Exception("as the driver says it"))  # type: ignore[arg-type, call-arg]
    elif issubclass(family, sqlalchemy.exc.StatementError):
        error = family("as SQLAlchemy says it", "INSERT", {}, None)
    else:
        error = family.__new__(family)
        error.args = ("as SQLAlchemy says it",)
    ours = translate(error, "cannot be read", "db")
    assert isinstance(ours, DcimError)


@pytest.mark.parametrize(
    ("state", "ours"),
    [("08006", Transient), ("40001", Transient), ("53100", Transient), ("57P01", Transient), ("23505", Transient),
     ("42P01", Permanent), ("28P01", Permanent), ("23502", Permanent)],
)  # fmt: skip
def test_the_states_of_other_databases(state: str, ours: type[DcimError]) -> None:
    class DriverError(Exception):
        sqlstate = state

    assert type(translate(sqlalchemy.exc.DBAPIError("SELECT", {}, DriverError("no")), "x", "db")) is ours


def test_what_passes_by_itself_and_what_does_not() -> None:
    lost = sqlalchemy.exc.DBAPIError("SELECT", {}, Exception("gone"), connection_invalidated=True)
    assert isinstance(translate(lost, "x", "db"), Transient)
    assert isinstance(translate(sqlalchemy.exc.TimeoutError(), "x", "db"), Transient)
    assert isinstance(translate(ConnectionRefusedError(), "x", "db"), Transient)
    assert isinstance(translate(ConnectionRefusedError(), "x", "db", starting=True), Permanent)
    missing = translate(ModuleNotFoundError("no", name="asyncpg"), "x", "db", starting=True)
    assert isinstance(missing, Permanent)
    assert "dcim[postgres]" in str(missing)
    assert isinstance(translate(alembic.util.CommandError("x"), "x", "db"), Permanent)


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_recalled_and_verified(tmp_path: Path) -> None:
    async def run() -> None:
        async with sql(tmp_path) as journal:
            seq = 0
            for batch in range(100):
                rows: list[Transition] = []
                for number in range(250):
                    asset = f"rack-{batch}-{number}"
                    rows += story(asset, (0, told(asset)), (1, Clear()), (2, told(asset)), (3, Clear()), first=seq + 1)
                    seq += 4
                await journal.append(rows, {})
            recalled = await journal.recall()
            assert len(recalled.transitions) == 100_000
            assert len(fold(recalled.transitions, lambda _: POLICY)) == 25_000
            assert not (await journal.audit()).broken

    asyncio.run(run())


def test_times_are_kept_to_the_microsecond(tmp_path: Path) -> None:
    instant = datetime.fromisoformat("2026-03-29T02:30:00.123457+02:00")

    async def run() -> None:
        async with sql(tmp_path) as journal:
            rows = [replace(row, at=instant) for row in story("a", (0, told("a")))]
            await journal.append(rows, {})
            (back,) = await journal.after(0)
            assert back.at == instant
            assert back.at.utcoffset() == T0.utcoffset()

    asyncio.run(run())


def test_two_that_write_take_turns(tmp_path: Path) -> None:
    async def whole() -> None:
        async with sql(tmp_path) as journal:
            async with journal.transaction("x", writes=True) as connection:
                assert (await connection.execute(sa.select(journals.mark_table))).all() == []
                other = asyncio.create_task(journal.append(story("a", *OVER), {}))
                await asyncio.wait({other}, timeout=0.1)  # a chance to write between reading and writing here
                await connection.execute(sa.insert(journals.mark_table), [{"seq": 1}])
            await other
            assert len(await journal.after(0)) == 3

    asyncio.run(whole())
