"""The journal in a real PostgreSQL: what every journal promises, the chain, and what happens when the server goes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from alerts import journal as journals
from alerts import rules
from alerts.engine import Engine
from alerts.journal import SqlJournal
from alerts.lifecycle import Acknowledge, Change, Clear
from alerts.outbox import Outcome
from alerts.suppression import Window
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import Detection, FindingKind, Subject
from tests.alarms import at, finding
from tests.contract.test_escalation import Office
from tests.contract.test_journal import CHECKS, OVER, Check, story, told
from tests.contract.test_notices import Desk, rows_of
from tests.postgres import Postgres

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
KINDS = frozenset({FindingKind.LEAK_WET})


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


async def empty(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        await connection.execute(sa.text("CREATE SCHEMA public"))
    await engine.dispose()


@asynccontextmanager
async def fresh(server: Postgres) -> AsyncIterator[SqlJournal]:
    await empty(server.url)
    journal = SqlJournal(server.url)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_journal(server: Postgres, check: Check) -> None:
    async def run() -> None:
        async with fresh(server) as journal:
            await check(journal)

    asyncio.run(run())


def test_the_migrations_lead_to_the_schema_that_the_code_uses(server: Postgres) -> None:
    async def run() -> None:
        async with fresh(server):
            pass
        again = SqlJournal(server.url)  # a second start finds nothing to do
        await again.open()
        await again.close()
        engine = create_async_engine(server.url)

        def compare(connection: sa.Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"version_table": journals.VERSIONS_TABLE})
            return list(compare_metadata(context, journals.metadata))

        async with engine.connect() as connection:
            assert await connection.run_sync(compare) == []
        await engine.dispose()

    asyncio.run(run())


def test_a_row_that_was_changed_or_removed_shows(server: Postgres) -> None:
    async def run() -> None:
        for change, broken in (
            ("UPDATE alarm_transitions SET comment = 'nothing to do with me' WHERE seq = 2", "2 of alarm_transitions"),
            ("UPDATE alarm_transitions SET detail = 'x' WHERE seq = 1", "1 of alarm_transitions"),
            ("DELETE FROM alarm_transitions WHERE seq = 2", "3 of alarm_transitions"),
            ("UPDATE alarm_maintenance SET told = replace(told, 'hoses', 'pipes')", "1 of alarm_maintenance"),
        ):
            async with fresh(server) as journal:
                await journal.append(story("a", *OVER), {})
                window = Window("1", "oslo", (), False, at(0), at(100), "new hoses", "ana", "", at(0))
                await journal.note(window, "ana", "", at(0))
                audit = await journal.audit()
                assert (audit.rows, audit.broken) == (4, "")
                engine = create_async_engine(server.url)
                async with engine.begin() as connection:
                    await connection.execute(sa.text(change))
                await engine.dispose()
                assert (await journal.audit()).broken == f"row {broken}"

    asyncio.run(run())


def test_a_server_that_goes_costs_nothing_but_time_and_a_restart_brings_all_back(server: Postgres) -> None:
    async def run() -> None:
        async with fresh(server) as journal:
            engine = Engine(rules.default(), journal)
            await engine.open(at(0))
            wet = Detection(tuple(finding(FindingKind.LEAK_WET, Subject("oslo", asset)) for asset in "ab"))
            await engine.apply(Detection(wet.findings[:1]), KINDS, at(0))
            server.stop("immediate")
            with pytest.raises(Transient):
                await engine.apply(wet, KINDS, at(1))
            with pytest.raises(Transient):
                await engine.act([(engine.standing()[0].id, None)], Acknowledge("ana"), at(1))
            server.start()
            assert await journal.checkpoint() == 1
            made = await engine.apply(wet, KINDS, at(2))
            assert [(row.key.subject.asset, row.change) for row in made] == [("b", Change.ACTIVATED)]
            await engine.act([(view.id, None) for view in engine.standing()], Acknowledge("ana"), at(3))
            recalled = await journal.recall()
            assert (len(recalled.kept), [row.seq for row in recalled.transitions]) == (1, [2, 3, 4])
            again = Engine(rules.default(), journal)
            await again.open(at(4))
            states = {view.id: (view.state, view.version) for view in engine.standing()}
            assert {view.id: (view.state, view.version) for view in again.standing()} == states
            audit = await journal.audit()
            assert (audit.rows, audit.broken) == (4, "")
            assert await journal.checkpoint() == 4
            last = await journal.recall()
            assert (len(last.kept), list(last.transitions)) == (2, [])
            assert (await journal.audit()).broken == ""

    asyncio.run(run())


def test_two_writers_do_not_mix(server: Postgres) -> None:
    async def run() -> None:
        async with fresh(server) as journal:
            other = SqlJournal(server.url)
            await other.open()
            results = await asyncio.gather(
                journal.append(story("a", (0, told("a"))), {}),
                other.append(story("b", (0, told("b"))), {}),
                return_exceptions=True,
            )
            await other.close()
            refused = [result for result in results if result is not None]
            assert [type(result) for result in refused] == [Transient]
            assert (await journal.audit()).rows == 1

    asyncio.run(run())


def test_what_is_wrong_with_the_address_is_said_without_its_password(server: Postgres) -> None:
    async def run() -> None:
        folder = server.url.partition("host=")[2]
        for url in (
            f"postgresql+asyncpg://dcim:secret@/nowhere?host={folder}",
            f"postgresql+asyncpg://nobody:secret@/postgres?host={folder}",
            "postgresql+asyncpg://dcim:secret@127.0.0.1:1/postgres",
        ):
            with pytest.raises(Permanent, match="cannot be opened") as caught:
                await SqlJournal(url).open()
            assert "secret" not in str(caught.value)

    asyncio.run(run())


def test_the_outbox_goes_on_after_a_restart_here_too(server: Postgres) -> None:
    async def whole() -> None:
        await empty(server.url)
        desk = Desk(server.url)
        async with desk.running() as (journal, box):
            desk.ear.down = True
            await desk.write(journal, story("a", (0, told("a")), (5, Clear())))
            assert await desk.drain(box) == [False]
        desk.ear.down = False
        async with desk.running() as (journal, box):
            await desk.drain(box)
            await box.sweep()
            assert desk.ear.heard == [("a", "began"), ("a", "cleared")]
            assert await rows_of(journal, "state", "tries") == [("sent", 2)] * 2

    asyncio.run(whole())


def test_an_escalation_and_what_is_sent_after_all_work_here_too(server: Postgres) -> None:
    async def whole() -> None:
        await empty(server.url)
        office = Office(server.url)
        async with office.running() as (journal, box):
            await office.write(journal, story("a", (0, told("a"))))
            office.ears["desk"].fails = [Permanent("answered 410")]
            await office.deliver(box)
        for minute in (10, 20, 30):
            office.now = at(60 * minute)
            async with office.running() as (_, box):
                await office.deliver(box)
        async with office.running() as (_, box):
            (dead,) = await box.letters(outcome=Outcome.DEAD)
            assert await box.retry([dead.number, 99]) == [dead.number]
            await office.deliver(box)
            assert sorted(office.heard()) == [
                ("boss", "unanswered"), ("desk", "began"), ("lead", "unanswered"), ("lead", "unanswered"),
            ]  # fmt: skip

    asyncio.run(whole())
