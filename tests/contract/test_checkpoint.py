"""Checkpoints in a database: a start goes on from one, one that does not hold is passed over and told, and the journal
says of one that was changed that it was."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from alerts import checkpoint, journal, rules
from alerts.checkpoint import carry, pack, unpack
from alerts.engine import Engine
from alerts.journal import CHECKPOINT, GENESIS, SqlJournal
from alerts.lifecycle import Acknowledge, Clear, Transition
from dcim.app import build
from dcim.app.checkpoints import Checkpoints
from dcim.app.cli import app
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import Detection, FindingKind, Subject
from tests.alarms import at, finding
from tests.contract.inside import LEAK_WORDS, Inside, inside, rack_metadata, rack_value
from tests.contract.test_journal import OVER, story, told

KINDS = frozenset({FindingKind.LEAK_WET})
A = story("a", (0, told("a")))
REST = [*story("a", (0, told("a")), (5, Acknowledge("ana")))[1:], *story("b", (9, told("b")), first=3)]
"""One that stands, then what happens to it and another one."""


def file(folder: Path) -> Path:
    return folder / "alarms.sqlite"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqlJournal]:
    one = SqlJournal(f"sqlite+aiosqlite:///{file(folder)}")
    await one.open()
    try:
        yield one
    finally:
        await one.close()


def change(folder: Path, statement: str, *values: object) -> None:
    """Somebody at the file."""
    with sqlite3.connect(file(folder)) as connection:
        connection.execute(statement, values)
    connection.close()


def test_a_start_reads_what_came_since_and_no_more(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            await one.append(A, {})
            assert await one.checkpointed() == 0
            assert await one.checkpoint() == 1
            assert await one.checkpointed() == 1
            await one.append(REST, {})
            recalled = await one.recall()
            assert (recalled.seq, list(recalled.transitions)) == (3, REST)
            assert list(recalled.kept) == carry((), A)
            assert await one.checkpoint() == 3
            recalled = await one.recall()
            assert (recalled.seq, list(recalled.transitions)) == (3, [])
            assert list(recalled.kept) == carry((), [*A, *REST])
            assert (await one.audit()).broken == ""

    asyncio.run(run())


def test_what_is_over_is_in_no_checkpoint_and_one_of_nothing_holds(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            assert await one.checkpoint() == 0
            assert (await one.recall()).kept == []
            await one.append(story("a", *OVER), {})
            assert await one.checkpoint() == 3
            recalled = await one.recall()
            assert (recalled.seq, recalled.kept, list(recalled.transitions)) == (3, [], [])
            assert (await one.audit()).broken == ""

    asyncio.run(run())


def test_it_comes_in_parts_that_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PART", 2)
    rows = [row for n in range(5) for row in story(str(n), (n, told(str(n))), first=n + 1)]
    kept = carry((), rows)
    parts = pack(kept, GENESIS)
    assert [(part.number, part.of) for part in parts] == [(0, 3), (1, 3), (2, 3)]
    assert unpack(parts, GENESIS) == kept
    other = pack(kept[:4], GENESIS)
    for wrong in (parts[:2], parts[1:], [parts[1], parts[0], parts[2]], [], [*other, parts[2]], [parts[0], *parts[:2]]):
        with pytest.raises(ValueError, match="part"):
            unpack(wrong, GENESIS)
    with pytest.raises(ValueError, match="of another row"):
        unpack(parts, b"\x01" * 32)


def test_a_part_that_would_grow_huge_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = pack(carry((), A), GENESIS)
    monkeypatch.setattr(checkpoint, "PART_BYTES_MAX", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        unpack(parts, GENESIS)


HARM: dict[str, Callable[[Path], None]] = {
    "a byte of it": lambda folder: change(folder, "UPDATE alarm_checkpoint SET content = zeroblob(9)"),
    "its row": lambda folder: change(folder, "UPDATE alarm_checkpoint SET seq = 2"),
    "beyond the end": lambda folder: change(folder, "UPDATE alarm_checkpoint SET seq = 9"),
    "its number of parts": lambda folder: change(folder, "UPDATE alarm_checkpoint SET parts = 2"),
    "the row's hash": lambda folder: change(
        folder, "UPDATE alarm_transitions SET hash = ? WHERE seq = 1", b"\x07" * 32
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_one_that_does_not_hold_is_told_and_passed_over(harm: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            await one.append(A, {})
            await one.checkpoint()
            await one.append(REST, {})
            HARM[harm](tmp_path)
            with capture_logs() as said:
                recalled = await one.recall()
            assert (list(recalled.transitions), list(recalled.kept)) == ([*A, *REST], [])
            assert [one["event"] for one in said] == ["the journal's checkpoint is passed over, and all rows are read"]
            assert (await one.audit()).broken != ""

    asyncio.run(run())


@pytest.mark.slow
def test_one_that_tells_something_else_than_its_rows_shows(tmp_path: Path) -> None:
    """Whoever can write the file can also write the hashes; the rows still say what they say."""

    async def run() -> None:
        async with opened(tmp_path) as one:
            await one.append([*A, *REST], {})
            await one.checkpoint()
            (head,) = sqlite3.connect(file(tmp_path)).execute("SELECT hash FROM alarm_transitions WHERE seq = 3")
            (part,) = pack(carry((), [*A, *REST])[:1], head[0])
            change(tmp_path, "UPDATE alarm_checkpoint SET content = ?, hash = ?", part.content, part.hash)
            assert len((await one.recall()).kept) == 1
            assert (await one.audit()).broken == CHECKPOINT

    asyncio.run(run())
    site = tmp_path / "site.toml"
    site.write_text(f'[alarms]\njournal = "sqlite+aiosqlite:///{file(tmp_path)}"\n')
    with pytest.raises(Permanent, match="the checkpoint is not what they come to"):
        CliRunner().invoke(app, ["alarms", "verify", "--config", str(site)], catch_exceptions=False)
    change(tmp_path, "DELETE FROM alarm_checkpoint")
    assert "3 rows follow" in CliRunner().invoke(app, ["alarms", "verify", "--config", str(site)]).output
    change(tmp_path, "DROP TABLE alarm_checkpoint")  # as before the service has brought it up to date
    assert "3 rows follow" in CliRunner().invoke(app, ["alarms", "verify", "--config", str(site)]).output


def test_beyond_so_many_rows_all_of_what_stands_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            await one.append(A, {})
            await one.checkpoint()
            await one.append(REST, {})
            monkeypatch.setattr(journal, "TAIL_MAX", 1)
            recalled = await one.recall()
            assert (list(recalled.transitions), list(recalled.kept)) == ([*A, *REST], [])

    asyncio.run(run())


def test_rows_that_contradict_each_other_make_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            await one.append(A, {})
            change(tmp_path, "UPDATE alarm_transitions SET state_after = 'acknowledged'")
            with pytest.raises(Permanent, match="does not follow"):
                await one.checkpoint()
            assert await one.checkpointed() == 0

    asyncio.run(run())


def test_the_engine_goes_on_from_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            engine = Engine(rules.default(), one)
            await engine.open(at(0))
            wet = [finding(FindingKind.LEAK_WET, Subject("oslo", asset)) for asset in "abc"]
            await engine.apply(Detection(tuple(wet)), KINDS, at(0))
            await one.checkpoint()
            views = engine.standing()
            await engine.act([(views[0].id, views[0].version)], Acknowledge("ana"), at(1))
            again = Engine(rules.default(), one)
            await again.open(at(2))
            states = [(view.id, view.state, view.version, view.acknowledged_by) for view in engine.standing()]
            assert [(view.id, view.state, view.version, view.acknowledged_by) for view in again.standing()] == states
            # Versions of before and after the checkpoint are those that a person saw.
            done = await again.act([(view.id, view.version) for view in views[1:]], Acknowledge("ben"), at(3))
            assert len(done.transitions) == 2 and not done.refused

    asyncio.run(run())


def rows_of(count: int) -> list[Transition]:
    return [
        row for n in range(count) for row in story(f"r{n}", (n, told(f"r{n}")), (n + 0.5, Clear()), first=2 * n + 1)
    ]


def test_one_is_made_whenever_enough_was_written(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            head = 0
            made = Checkpoints(f"sqlite+aiosqlite:///{file(tmp_path)}", lambda: head, rows=10)
            rows = rows_of(10)
            assert not await made.look()
            await one.append(rows[:9], {})
            head = 9
            assert not await made.look()
            await one.append(rows[9:12], {})
            head = 12
            assert await made.look()
            assert (made.last, await one.checkpointed()) == (12, 12)
            assert not await made.look()
            await one.append(rows[12:], {})
            head = 20
            # Another run knows of the one that there is.
            later = Checkpoints(f"sqlite+aiosqlite:///{file(tmp_path)}", lambda: head, rows=9)
            assert not await later.look()
            assert later.last == 12

    asyncio.run(run())


def test_alarms_do_not_wait_for_one_and_one_that_is_not_made_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(tmp_path) as one:
            rows = rows_of(10)
            await one.append(rows[:10], {})
            made = Checkpoints(f"sqlite+aiosqlite:///{file(tmp_path)}", lambda: 10, rows=5)
            begun, go = threading.Event(), threading.Event()
            real = journal.carry

            def slow(*given: object) -> object:
                begun.set()
                assert go.wait(60)
                return real(*given)  # type: ignore[arg-type]  # handed through

            monkeypatch.setattr(journal, "carry", slow)
            look = asyncio.create_task(made.look())
            assert await asyncio.to_thread(begun.wait, 60)
            await one.append(rows[10:], {})  # what would hang here is held up by the checkpoint
            go.set()
            assert await look
            recalled = await one.recall()
            assert [row.seq for row in recalled.transitions] == list(range(11, 21))
            assert (await one.audit()).broken == ""

            def fails(*_: object) -> object:
                raise Transient("the disk is full")

            monkeypatch.setattr(journal, "carry", fails)
            again = Checkpoints(f"sqlite+aiosqlite:///{file(tmp_path)}", lambda: 20, rows=5)
            with pytest.raises(Transient):
                await again.look()
            assert await one.checkpointed() == 10, "the one before holds"
            monkeypatch.setattr(journal, "carry", real)
            assert await again.look()

    asyncio.run(run())


@pytest.mark.slow
def test_the_service_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "Checkpoints", partial(Checkpoints, rows=1, pace_s=0.05))

    async def scenario(hall: Inside) -> None:
        async with opened(tmp_path) as one:

            async def made() -> bool:
                return await one.checkpointed() == 1

            await hall.send(rack_metadata("RackLeakDetect", stateText=LEAK_WORDS), rack_value("RackLeakDetect", 1))
            await hall.until(made)
            (kept,) = (await one.recall()).kept
            assert (kept.key.subject.asset, kept.version) == ("R1", 1)

    inside(scenario, journal=f"sqlite+aiosqlite:///{file(tmp_path)}")
