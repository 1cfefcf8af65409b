"""The journal: every transition of every alarm, every maintenance window and every silence, appended and never changed,
and the delays that run.

What stands is the fold of it, so whatever is not here did not happen. Each row carries the hash of the row before it:
`audit` shows a row that was changed, or taken out of the middle. A checkpoint says what stood after one of the rows.

Lives here: the tables, what a row is made of, and the translation of SQLAlchemy's and SQLite's errors. Not here: what
follows from a transition (lifecycle.py), what is in a checkpoint (checkpoint.py), when one is written (engine.py), the
steps of the schema (migrations)."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from alerts.checkpoint import Kept, Part, carry, pack, unpack
from alerts.lifecycle import AlarmKey, Change, Delay, Mask, MaskCause, Priority, State, Transition
from alerts.silences import OVER_KEPT, SILENCES_MAX, Noted, Silence, from_json, to_json
from alerts.suppression import Window
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import Finding, FindingKind, Subject
from dcim.core.times import from_us, to_us

log = structlog.get_logger()

VERSIONS_TABLE = "alarm_journal_version"
"""Where alembic notes how far the schema is. A name of its own, for the database may be shared."""

_WRITES = "dcim_writes"
"""Option of a connection whose transactions are going to write."""

TEXT_MAX, EVIDENCE_MAX, STEPS_MAX = 500, 32, 16
"""What is kept of a finding: characters of each text, lines of evidence, steps to check first."""

GENESIS = b"\x00" * 32
"""What stands for the hash of the row before the first."""

LOG_ROWS_MAX, LOG_PAGE = 500_000, 1_000
"""Rows that `Journal.log` gives at most, and how many it reads at a time: others get their turn in between."""

TAIL_MAX = 50_000
"""Rows after a checkpoint with which a start goes on from it; beyond, all rows of what stands are read."""

metadata = sa.MetaData()
"""The schema as it is after all migrations."""

transitions_table = sa.Table(
    "alarm_transitions",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("occurrence", sa.String(32), nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("qualifier", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("state_before", sa.Text, nullable=False),
    sa.Column("state_after", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("finding", sa.Text, nullable=True),
    sa.Column("origin", sa.Text, nullable=False, server_default=""),
    sa.Column("until_us", sa.BigInteger, nullable=True),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
    sa.Column("mask", sa.Text, nullable=False, server_default=""),
    sa.Column("mask_by", sa.Text, nullable=False, server_default=""),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Index("alarm_transitions_occurrence", "occurrence", "seq"),
    sa.Index("alarm_transitions_asset", "site", "asset", "seq"),
    sa.Index("alarm_transitions_at", "at_us"),
    sa.Index(
        "alarm_transitions_begun",
        "occurrence",
        sqlite_where=sa.text("state_before = 'normal'"),
        postgresql_where=sa.text("state_before = 'normal'"),
    ),
    sa.Index(
        "alarm_transitions_ended",
        "occurrence",
        sqlite_where=sa.text("state_after = 'normal'"),
        postgresql_where=sa.text("state_after = 'normal'"),
    ),
)

delays_table = sa.Table(
    "alarm_delays",
    metadata,
    sa.Column("alarm", sa.LargeBinary(32), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("qualifier", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("present", sa.Boolean, nullable=False),
    sa.Column("turned_us", sa.BigInteger, nullable=False),
    sa.Column("finding", sa.Text, nullable=True),
    sa.Column("mask", sa.Text, nullable=False, server_default=""),
    sa.Column("mask_by", sa.Text, nullable=False, server_default=""),
    sa.Column("mask_why", sa.Text, nullable=False, server_default=""),
)


def _whole_rows(name: str, of: str, id_length: int = 32) -> sa.Table:
    """A table of which every row has one thing whole, as it was then; the last row of a thing counts."""
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column(f"{of}_id", sa.String(id_length), nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("over_us", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Index(f"{name}_{of}", f"{of}_id", "seq"),
        sa.Index(f"{name}_over", "over_us"),
    )


maintenance_table = _whole_rows("alarm_maintenance", "window")
silences_table = _whole_rows("alarm_silences", "silence", 36)

checkpoint_table = sa.Table(
    "alarm_checkpoint",
    metadata,
    sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("parts", sa.SmallInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)
"""The latest checkpoint, in parts; `seq` is the row that it was made after."""

outbox_table = sa.Table(
    "notice_outbox",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(32), nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("thread", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("due_us", sa.BigInteger, nullable=False),
    sa.Column("made_us", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("message", sa.String(32), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("done_us", sa.BigInteger, nullable=True),
    sa.Index("notice_outbox_key", "key", unique=True),
    sa.Index("notice_outbox_waiting", "receiver", "state", "number"),
    sa.Index("notice_outbox_done", "done_us"),
)
"""News for receivers. `state` is "waiting", "sent" or the reason for which it never will be; `message` the key of the
message that it is part of, once there is one; `said` the proof of delivery, or the last error."""

told_table = sa.Table(
    "notice_told",
    metadata,
    sa.Column("alarm", sa.String(32), primary_key=True),
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("thread", sa.Text, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
)
"""Who has been told of which alarm that is not over."""

unanswered_table = sa.Table(
    "notice_unanswered",
    metadata,
    sa.Column("alarm", sa.String(32), primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("first", sa.Text, nullable=False),
    sa.Column("since_us", sa.BigInteger, nullable=False),
    sa.Column("climbed_us", sa.BigInteger, nullable=False),
    sa.Column("item", sa.Text, nullable=False),
)
"""Alarms that nobody has acknowledged, since when, and up to which time the steps of escalation are done."""

mark_table = sa.Table(
    "notice_mark",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
)
"""One row: the transition up to which everybody has been told, or is about to be by the outbox."""

_COLUMNS = [column for column in transitions_table.columns if column.name != "hash"]
_LEAN = [column for column in _COLUMNS if column.name != "finding"]
_READ = [*_LEAN, transitions_table.c.finding]
_WINDOW_COLUMNS = [column for column in maintenance_table.columns if column.name != "hash"]
_SILENCE_COLUMNS = [column for column in silences_table.columns if column.name != "hash"]
_FIRST_COLUMNS = 16
"""Columns that the first schema had. The later ones count in a row's hash where one of them says something: so the
hashes of what was written before they were there still hold."""
_SILENT = ("", None, "", "", "")
"""What the later columns say in a row that was written before they were there."""

_Keys: TypeAlias = dict[tuple[str, str, str, str], AlarmKey]
_FINDING = msgspec.json.Decoder(Finding)
_WINDOW = msgspec.json.Decoder(Window)
_MASKS = {cause.value: cause for cause in MaskCause}
_KINDS = {kind.value: kind for kind in FindingKind}
_CHANGES = {change.value: change for change in Change}
_STATES = {state.value: state for state in State}
_PRIORITIES = {priority.value: priority for priority in Priority}


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a start needs to know."""

    seq: int
    """The last row's number; 0 in an empty journal."""
    transitions: Sequence[Transition]
    """With `kept`, all rows since; without, all of every occurrence that has not ended. In order, and of each
    occurrence the latest finding alone is read."""
    delays: Sequence[Delay]
    kept: Sequence[Kept] = ()
    """What stood at a checkpoint, where there is one that holds."""


CHECKPOINT = "the checkpoint"
"""What an audit says of one that is not what its rows come to."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What became of the chain."""

    rows: int
    """Rows that follow from one another, of all tables."""
    last: str
    """Number and hash of the last transition, to be kept elsewhere: rows taken off the end show by it alone."""
    broken: str
    """The first row that does not follow from the one before it: "row 7 of alarm_transitions"; or CHECKPOINT. "" where
    all do."""


class TooMany(Permanent):
    """More rows than may be read at once."""

    def __init__(self, rows_max: int) -> None:
        super().__init__(f"the journal has more than {rows_max} rows of it", todo="Ask for a shorter period.")


class Journal(Protocol):
    """What the engine asks of a journal. Every method raises Transient or Permanent, and nothing else."""

    async def append(
        self,
        transitions: Sequence[Transition],
        delays: Mapping[AlarmKey, Delay | None],
        silences: Sequence[Noted] = (),
    ) -> None:
        """Writes all of it, durable on return, or nothing.

        transitions: numbered on from the last row. delays: those that changed; None for one that runs no longer.
        silences: what became of them. Raises Transient when nothing can be said of whether it was written: ask `after`.
        """
        ...

    async def recall(self) -> Recalled:
        """What stands."""
        ...

    async def after(self, seq: int) -> Sequence[Transition]:
        """The rows after this one, in order."""
        ...

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:
        """Rows, newest first."""
        ...

    async def log(self, start: datetime, end: datetime, rows_max: int = LOG_ROWS_MAX) -> Sequence[Transition]:
        """Every row of what had not ended by `start`, up to `end` (before it), oldest first, without findings: all
        that tells how alarms stood in `[start, end)`. Raises TooMany where there are more than rows_max."""
        ...

    async def note(self, window: Window, by: str, origin: str, at: datetime) -> None:
        """Writes what became of a maintenance window, durable on return. Writing the same again does no harm."""
        ...

    async def windows(self, since: datetime) -> Sequence[Window]:
        """The windows that were not over at that time, as they are now, by their beginning."""
        ...

    async def silences(self, since: datetime) -> Sequence[Silence]:
        """The silences that were not over at that time, as they are now, the one that ends first first; of too many,
        those that end last."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which rows of the journal; what is left out does not narrow."""

    occurrence: str | None = None
    site: str | None = None
    asset: str | None = None
    start: datetime | None = None
    """start ≤ at."""
    end: datetime | None = None
    """at < end."""
    before: int | None = None
    """seq < before: the cursor of the next page is the last row's seq."""
    after: int | None = None
    """seq > after."""
    limit: int = 200


class SqlJournal:
    """The journal in a database: SQLite by default, PostgreSQL by its URL. One process writes."""

    def __init__(self, url: str) -> None:
        """url: of SQLAlchemy, with an asyncio driver: sqlite+aiosqlite:///data/alarms.sqlite."""
        self._url = url
        self._engine: AsyncEngine | None = None

    async def open(self, *, existing: bool = False) -> None:
        """Connects, makes the file where there is none, and brings the schema up to date.

        existing: nothing is made and nothing is brought up to date. Raises Permanent: the URL is wrong, the file is
        damaged or no journal, a newer version wrote it; with `existing` also where there is none.
        """
        try:
            with self._translated("cannot be opened", starting=True):
                url = make_url(self._url)
                if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
                    _prepare(Path(str(url.database)), existing)
                self._engine = create_async_engine(url, hide_parameters=True)
                if url.get_backend_name() == "sqlite":
                    sa.event.listen(self._engine.sync_engine, "connect", _set_up_sqlite)
                    sa.event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
                if not existing:
                    async with self._engine.begin() as connection:
                        await connection.run_sync(_migrate)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Lets all connections go. Closing twice is no mistake."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def append(
        self,
        transitions: Sequence[Transition],
        delays: Mapping[AlarmKey, Delay | None],
        silences: Sequence[Noted] = (),
    ) -> None:
        """As `Journal.append`. Raises Transient also when the numbers do not follow: somebody else wrote."""
        async with self.transaction("was not written", writes=True) as connection:
            if transitions:
                seq, last = await _head(connection)
                if transitions[0].seq != seq + 1:
                    raise Transient(
                        f"row {transitions[0].seq} was to be written, but row {seq} is the last",
                        where=self._where,
                        todo="Make sure that one process alone writes to this journal.",
                    )
                await connection.execute(sa.insert(transitions_table), _chained(transitions, last))
            if delays:
                gone = [{"key": _digest(key)} for key in delays]
                running = [_delay_row(delay) for delay in delays.values() if delay is not None]
                await connection.execute(
                    sa.delete(delays_table).where(delays_table.c.alarm == sa.bindparam("key")), gone
                )
                if running:
                    await connection.execute(sa.insert(delays_table), running)
            if silences:
                await _append_whole(connection, silences_table, [_silence_row(noted) for noted in silences])

    async def recall(self) -> Recalled:
        """As `Journal.recall`. Raises Permanent, with the row, when what is there cannot be read."""
        async with self.transaction("cannot be read") as connection:
            head, _ = await _head(connection)
            found = await self._checkpoint(connection)
            kept: Sequence[Kept] = ()
            if found is not None and head - found[0] <= TAIL_MAX:
                seq, kept = found
                transitions = await self._rows(connection, transitions_table.c.seq > seq)
            else:
                transitions = await self._rows(connection, transitions_table.c.seq <= head, _standing(head))
            delays = [self._delay(tuple(row)) for row in (await connection.execute(sa.select(delays_table))).all()]
        return Recalled(head, transitions, delays, kept)

    async def checkpoint(self) -> int:
        """Writes down what stands after the last row, in place of the checkpoint before, and answers that row's number.
        It takes as long as a start does. Raises Transient and Permanent; the checkpoint before then holds."""
        recalled = await self.recall()
        async with self.transaction("cannot be read") as connection:
            head = await self._hash_of(connection, recalled.seq)
        try:
            parts = pack(carry(recalled.kept, recalled.transitions), head)
        except ValueError as error:
            raise self._unreadable("what stands", error) from error
        rows = [
            {"part": part.number, "parts": part.of, "seq": recalled.seq, "content": part.content, "hash": part.hash}
            for part in parts
        ]
        async with self.transaction("the checkpoint was not written", writes=True) as connection:
            await connection.execute(sa.delete(checkpoint_table))
            await connection.execute(sa.insert(checkpoint_table), rows)
        return recalled.seq

    async def checkpointed(self) -> int:
        """The row of the latest checkpoint, whether it holds or not; 0 where there is none. Raises as `recall` does."""
        async with self.transaction("cannot be read") as connection:
            row = (await connection.execute(sa.select(checkpoint_table.c.seq).limit(1))).first()
            return 0 if row is None else int(row.seq)

    async def _checkpoint(self, connection: AsyncConnection) -> tuple[int, list[Kept]] | None:
        """The checkpoint, with its row; None where there is none that holds, which is told."""
        rows = (await connection.execute(sa.select(checkpoint_table).order_by(checkpoint_table.c.part))).all()
        if not rows:
            return None
        try:
            head = await self._hash_of(connection, rows[0].seq)
            return rows[0].seq, unpack([Part(row.part, row.parts, row.content, row.hash) for row in rows], head)
        except ValueError as error:
            log.error(
                "the journal's checkpoint is passed over, and all rows are read", row=rows[0].seq, error=str(error)
            )
            return None

    async def _hash_of(self, connection: AsyncConnection, seq: int) -> bytes:
        """The hash of a row. Raises ValueError where there is no such row."""
        if seq == 0:
            return GENESIS
        row = await connection.execute(sa.select(transitions_table.c.hash).where(transitions_table.c.seq == seq))
        found: bytes | None = row.scalar()
        if found is None:
            raise ValueError(f"there is no row {seq}")
        return found

    async def _rows(
        self, connection: AsyncConnection, wanted: sa.ColumnElement[bool], standing: sa.Subquery | None = None
    ) -> list[Transition]:
        """Rows in order, each occurrence with its latest finding alone; of the occurrences in `standing`, where that is
        said."""
        table = transitions_table.c
        source: sa.FromClause = transitions_table
        if standing is not None:
            source = transitions_table.join(standing, table.occurrence == standing.c.occurrence)
        told = (
            sa.select(sa.func.max(table.seq))
            .select_from(source)
            .where(wanted, table.finding.is_not(None))
            .group_by(table.occurrence)
        )
        latest = sa.select(table.seq, table.finding).where(table.seq.in_(told))
        rows = sa.select(*_LEAN, sa.null()).select_from(source).where(wanted).order_by(table.seq)
        findings = {row.seq: row.finding for row in (await connection.execute(latest)).all()}
        keys: _Keys = {}
        return [self._transition(row, keys, findings) for row in (await connection.execute(rows)).all()]

    async def after(self, seq: int, limit: int | None = None) -> Sequence[Transition]:
        """As `Journal.after`; the first `limit` of them, where that is said."""
        rows = sa.select(*_READ).where(transitions_table.c.seq > seq).order_by(transitions_table.c.seq).limit(limit)
        async with self.transaction("cannot be read") as connection:
            keys: _Keys = {}
            return [self._transition(row, keys, {}) for row in (await connection.execute(rows)).all()]

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:
        """As `Journal.history`."""
        table = transitions_table.c
        wanted: list[sa.ColumnElement[bool]] = []
        if query.occurrence is not None:
            wanted.append(table.occurrence == query.occurrence)
        if query.site is not None:
            wanted.append(table.site == query.site)
        if query.asset is not None:
            wanted.append(table.asset == query.asset)
        if query.start is not None:
            wanted.append(table.at_us >= to_us(query.start))
        if query.end is not None:
            wanted.append(table.at_us < to_us(query.end))
        if query.before is not None:
            wanted.append(table.seq < query.before)
        if query.after is not None:
            wanted.append(table.seq > query.after)
        rows = sa.select(*_READ).where(*wanted).order_by(table.seq.desc()).limit(query.limit)
        async with self.transaction("cannot be read") as connection:
            keys: _Keys = {}
            return [self._transition(row, keys, {}) for row in (await connection.execute(rows)).all()]

    async def log(self, start: datetime, end: datetime, rows_max: int = LOG_ROWS_MAX) -> Sequence[Transition]:
        """As `Journal.log`."""
        table, over = transitions_table, transitions_table.alias()
        ended = sa.exists().where(
            over.c.occurrence == table.c.occurrence, over.c.state_after == "normal", over.c.at_us < to_us(start)
        )
        wanted = sa.or_(table.c.at_us >= to_us(start), ~ended)
        rows = sa.select(*_LEAN, sa.null()).where(table.c.at_us < to_us(end), wanted).order_by(table.c.seq)
        found: list[Transition] = []
        keys: _Keys = {}
        last = 0
        while True:
            async with self.transaction("cannot be read") as connection:
                page = (await connection.execute(rows.where(table.c.seq > last).limit(LOG_PAGE))).all()
            found += [self._transition(row, keys, {}) for row in page]
            if len(found) > rows_max:
                raise TooMany(rows_max)
            if len(page) < LOG_PAGE:
                return found
            last = found[-1].seq

    async def note(self, window: Window, by: str, origin: str, at: datetime) -> None:
        """As `Journal.note`."""
        row = {
            "at_us": to_us(at),
            "window_id": window.id,
            "change": "opened" if window.ended_at is None else "ended",
            "who": by,
            "origin": origin,
            "told": msgspec.json.encode(window).decode(),
            "over_us": to_us(window.until),
        }
        async with self.transaction("was not written", writes=True) as connection:
            await _append_whole(connection, maintenance_table, [row])

    async def windows(self, since: datetime) -> Sequence[Window]:
        """As `Journal.windows`. Raises Permanent, with the row, when what is there cannot be read."""
        table = maintenance_table.c
        latest = sa.select(sa.func.max(table.seq)).group_by(table.window_id)
        rows = sa.select(table.seq, table.told).where(table.seq.in_(latest), table.over_us > to_us(since))
        found: list[Window] = []
        async with self.transaction("cannot be read") as connection:
            for row in (await connection.execute(rows)).all():
                try:
                    found.append(_WINDOW.decode(row.told))
                except (msgspec.DecodeError, msgspec.ValidationError) as error:
                    raise self._unreadable(f"row {row.seq} of alarm_maintenance", error) from error
        return sorted(found, key=lambda window: (window.start, window.id))

    async def silences(self, since: datetime) -> Sequence[Silence]:
        """As `Journal.silences`. Raises Permanent, with the row, when what is there cannot be read."""
        table = silences_table.c
        latest = sa.select(sa.func.max(table.seq)).group_by(table.silence_id)
        rows = (
            sa.select(table.seq, table.told)
            .where(table.seq.in_(latest), table.over_us > to_us(since))
            .order_by(table.over_us.desc())
            .limit(SILENCES_MAX + OVER_KEPT)
        )
        found: list[Silence] = []
        async with self.transaction("cannot be read") as connection:
            for row in (await connection.execute(rows)).all():
                try:
                    found.append(from_json(row.told))
                except ValueError as error:
                    raise self._unreadable(f"row {row.seq} of alarm_silences", error) from error
        return found[::-1]

    async def audit(self) -> Audit:
        """Goes through all rows, and says which is the first that does not follow from the one before it; then makes
        the checkpoint anew, and says whether it is another.

        A changed row shows, and so do one that was taken out and one that was put in. Rows taken off the end do not:
        compare `last` with a copy that is kept elsewhere.
        """
        rows, seq, last = 0, 0, GENESIS
        async with self.transaction("cannot be read") as connection:
            for table, columns in (
                (maintenance_table, _WINDOW_COLUMNS),
                (silences_table, _SILENCE_COLUMNS),
                (transitions_table, _COLUMNS),
            ):
                seq, last = 0, GENESIS
                found = await connection.stream(sa.select(*columns, table.c.hash).order_by(table.c.seq))
                async for row in found:
                    seq, told = seq + 1, tuple(row)
                    last = _link(last, told[:-1])
                    if row.seq != seq or row.hash != last:
                        return Audit(rows, "", f"row {row.seq} of {table.name}")
                    rows += 1
            if not await self._follows(connection):
                return Audit(rows, "", CHECKPOINT)
        return Audit(rows, f"{seq}:{last.hex()}", "")

    async def _follows(self, connection: AsyncConnection) -> bool:
        """Whether the checkpoint is what its rows come to. A journal that was not brought up to date has none."""
        there = await connection.run_sync(lambda sync: sa.inspect(sync).has_table(checkpoint_table.name))
        if not there:
            return True
        if (await connection.execute(sa.select(checkpoint_table.c.part).limit(1))).first() is None:
            return True
        found = await self._checkpoint(connection)
        if found is None:
            return False
        seq, kept = found
        try:
            return carry((), await self._rows(connection, transitions_table.c.seq <= seq, _standing(seq))) == kept
        except ValueError:  # rows that contradict each other: no checkpoint follows from them
            return False

    @contextlib.asynccontextmanager
    async def transaction(self, what: str, *, writes: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction, also for what else is kept in this database; `what` says, in an error, what did not come
        about. writes: it takes its turn among those that write before it reads anything, so that none of them finds
        that what it read is out of date. Raises Transient and Permanent, whatever the database raises."""
        with self._translated(what):
            if self._engine is None:
                raise Permanent(f"{what}: it is not open", where=self._where)
            engine = self._engine.execution_options(**{_WRITES: True}) if writes else self._engine
            async with engine.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def _translated(self, what: str, *, starting: bool = False) -> Iterator[None]:
        """The one place where foreign errors become ours."""
        try:
            yield
        except (SQLAlchemyError, CommandError, sqlite3.Error, OSError, ValueError, ImportError) as error:
            raise translate(error, what, self._where, starting=starting) from error

    @property
    def _where(self) -> str:
        """The journal's address without its password."""
        try:
            return make_url(self._url).render_as_string(hide_password=True)
        except SQLAlchemyError:
            return "alarms.journal"

    def _transition(self, row: Sequence[Any], keys: _Keys, findings: Mapping[int, str]) -> Transition:
        """row: the columns of _READ. keys: of rows read before, for an alarm's is made once. findings: by number, where
        the row has none."""
        (seq, at_us, occurrence, rule, site, asset, qualifier, kind, change, before, after, priority, who, comment, why,
         origin, until_us, detail, mask, mask_by, finding) = row  # fmt: skip
        told = rule, site, asset, qualifier
        key = keys.get(told)
        if key is None:
            key = keys[told] = AlarmKey(rule, Subject(site, asset, qualifier))
        try:
            return Transition(
                from_us(at_us),
                key,
                _KINDS[kind],
                occurrence,
                _CHANGES[change],
                _STATES[before],
                _STATES[after],
                _PRIORITIES[priority],
                who,
                comment,
                why,
                _from_json(finding or findings.get(seq)),
                origin,
                None if until_us is None else from_us(until_us),
                detail,
                Mask(_MASKS[mask], mask_by, why) if mask else None,
                seq,
            )
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise self._unreadable(f"row {seq}", error) from error

    def _delay(self, row: tuple[Any, ...]) -> Delay:
        _, rule, site, asset, qualifier, kind, present, turned_us, finding, mask, mask_by, mask_why = row
        try:
            key = AlarmKey(rule, Subject(site, asset, qualifier))
            hidden = Mask(_MASKS[mask], mask_by, mask_why) if mask else None
            return Delay(key, _KINDS[kind], present, from_us(turned_us), _from_json(finding), hidden)
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise self._unreadable(f"the delay of {rule} at {asset}", error) from error

    def _unreadable(self, what: str, error: Exception) -> Permanent:
        return Permanent(f"{what} cannot be understood: {error}", where=self._where, todo=ASIDE)


ASIDE = "Move the file aside and start again: what still stands is raised anew. Keep the old one, it holds the history"
"""What to do with a journal that is beyond repair."""

# SQLite's primary result codes: https://www.sqlite.org/rescode.html
_BUSY, _LOCKED, _READONLY, _CORRUPT, _CANTOPEN, _NOTADB = 5, 6, 8, 11, 14, 26
_LATER = {
    _BUSY: "another process holds it",
    _LOCKED: "another process holds it",
    7: "there is no memory",
    9: "it was interrupted",
    10: "the disk failed",
    13: "the disk is full",
    15: "another process holds it",
    17: "its schema changed just now",
    19: "another process wrote the same row",
}
_NEVER = {
    _READONLY: ("it may not be written", "Let the service write the file and its folder."),
    _CORRUPT: ("the file is damaged", ASIDE + "."),
    _NOTADB: ("this is not an alarm journal", "Check alarms.journal."),
    _CANTOPEN: ("the file cannot be opened", "Check the path in alarms.journal and the rights of its folder."),
}
_LATER_STATES = ("08", "23505", "40", "53", "55", "57", "58")
"""SQLSTATE of what passes by itself: connection, a row that is there already, rollback, resources, lock, operator,
system."""


def translate(error: Exception, what: str, where: str, *, starting: bool = False) -> Transient | Permanent:
    """Our error for one of SQLAlchemy, its drivers or alembic. `starting`: nothing has worked with this set-up yet, so
    what might pass by itself later, like a missing folder, is told as a mistake of the set-up now."""
    # What SQLAlchemy wraps says what is wrong; the wrapping adds the statement, with what people wrote in it.
    original = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        primary = code & 0xFF
        if primary in _LATER:
            return Transient(f"{what}: {_LATER[primary]} ({original})", where=where)
        if primary == _CANTOPEN and not starting:
            return Transient(f"{what}: {_NEVER[primary][0]} ({original})", where=where)
        reason, todo = _NEVER.get(primary, ("the database refuses", ""))
        return Permanent(f"{what}: {reason} ({original})", where=where, todo=todo)
    state = getattr(original, "sqlstate", None)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Transient(f"{what}: the connection was lost ({original})", where=where)
    if isinstance(error, PoolTimeoutError) or (state is not None and str(state).startswith(_LATER_STATES)):
        return Transient(f"{what}: {original}", where=where)
    if isinstance(error, CommandError):
        todo = "Start the version that wrote it, or a newer one."
        return Permanent(f"{what}: a newer version wrote it ({error})", where=where, todo=todo)
    if isinstance(error, ImportError):
        todo = "Install it: pip install 'dcim[postgres]' brings the one of PostgreSQL."
        return Permanent(f"{what}: the driver {error.name} is not installed", where=where, todo=todo)
    if isinstance(error, OSError) and not starting:
        return Transient(f"{what}: {error}", where=where)
    return Permanent(f"{what}: {original}", where=where, todo="Check alarms.journal.")


def bounded(finding: Finding) -> Finding:
    """The finding as it is kept: long texts end in "…", long lists are cut, and no figure is infinite or NaN."""
    return replace(
        finding,
        summary=_cut(finding.summary),
        score=finding.score if math.isfinite(finding.score) else 0.0,
        confidence=finding.confidence if math.isfinite(finding.confidence) else 0.0,
        evidence=tuple(
            replace(line, what=_cut(line.what), shows=_cut(line.shows)) for line in finding.evidence[:EVIDENCE_MAX]
        ),
        time_to_limit_s=finding.time_to_limit_s
        if finding.time_to_limit_s is not None and math.isfinite(finding.time_to_limit_s)
        else None,
        check_first=tuple(_cut(line) for line in finding.check_first[:STEPS_MAX]),
    )


def _cut(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be kept anywhere
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _to_json(finding: Finding | None) -> str | None:
    return None if finding is None else msgspec.json.encode(bounded(finding)).decode()


def _from_json(text: str | None) -> Finding | None:
    return None if text is None else _FINDING.decode(text)


def _chained(transitions: Sequence[Transition], last: bytes) -> list[dict[str, Any]]:
    """The rows, each with its hash."""
    rows: list[dict[str, Any]] = []
    for made in transitions:
        site, asset, qualifier = made.key.subject
        row: dict[str, Any] = {
            "seq": made.seq,
            "at_us": to_us(made.at),
            "occurrence": made.occurrence,
            "rule": made.key.rule,
            "site": site,
            "asset": asset,
            "qualifier": qualifier,
            "kind": made.kind.value,
            "change": made.change.value,
            "state_before": made.before.value,
            "state_after": made.after.value,
            "priority": int(made.priority),
            "who": made.by,
            "comment": made.comment,
            "why": made.why,
            "finding": _to_json(made.finding),
            "origin": made.origin,
            "until_us": None if made.until is None else to_us(made.until),
            "detail": made.detail,
            "mask": made.mask.cause.value if made.mask else "",
            "mask_by": made.mask.by if made.mask else "",
        }
        last = _link(last, tuple(row.values()))
        row["hash"] = last
        rows.append(row)
    return rows


def _link(last: bytes, row: tuple[Any, ...]) -> bytes:
    """SHA-256 of the hash before and the row as a JSON list, in the order of the columns; of a transition, the later
    columns only where they say something."""
    if row[_FIRST_COLUMNS:] == _SILENT:
        row = row[:_FIRST_COLUMNS]
    return hashlib.sha256(last + msgspec.json.encode(row)).digest()


def _digest(key: AlarmKey) -> bytes:
    return hashlib.sha256(msgspec.json.encode(key)).digest()


def _delay_row(delay: Delay) -> dict[str, Any]:
    site, asset, qualifier = delay.key.subject
    return {
        "alarm": _digest(delay.key),
        "rule": delay.key.rule,
        "site": site,
        "asset": asset,
        "qualifier": qualifier,
        "kind": delay.kind.value,
        "present": delay.present,
        "turned_us": to_us(delay.turned_at),
        "finding": _to_json(delay.finding),
        "mask": delay.mask.cause.value if delay.mask else "",
        "mask_by": delay.mask.by if delay.mask else "",
        "mask_why": delay.mask.why if delay.mask else "",
    }


def _silence_row(noted: Noted) -> dict[str, Any]:
    return {
        "at_us": to_us(noted.at),
        "silence_id": noted.silence.id,
        "change": noted.change,
        "who": noted.by,
        "origin": noted.origin,
        "told": to_json(noted.silence),
        "over_us": to_us(noted.silence.ends_at),
    }


async def _append_whole(connection: AsyncConnection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Adds rows, numbered on from the last and each with its hash."""
    newest = sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)
    last = (await connection.execute(newest)).first()
    before, link = (0, GENESIS) if last is None else (last.seq, last.hash)
    linked: list[dict[str, Any]] = []
    for seq, told in enumerate(rows, before + 1):
        row = {"seq": seq, **told}
        link = _link(link, tuple(row.values()))
        linked.append(row | {"hash": link})
    await connection.execute(sa.insert(table), linked)


def _standing(until: int) -> sa.Subquery:
    """The occurrences that had not ended by this row."""
    begun, ended = transitions_table.alias(), transitions_table.alias()
    turns = sa.union_all(
        sa.select(begun.c.occurrence, sa.literal(1).label("turn")).where(
            begun.c.state_before == "normal", begun.c.seq <= until
        ),
        sa.select(ended.c.occurrence, sa.literal(-1).label("turn")).where(
            ended.c.state_after == "normal", ended.c.seq <= until
        ),
    ).subquery()
    having = sa.func.sum(turns.c.turn) > 0
    return sa.select(turns.c.occurrence).group_by(turns.c.occurrence).having(having).subquery()


async def _head(connection: AsyncConnection) -> tuple[int, bytes]:
    """Number and hash of the last row."""
    newest = sa.select(transitions_table.c.seq, transitions_table.c.hash).order_by(transitions_table.c.seq.desc())
    row = (await connection.execute(newest.limit(1))).first()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def _prepare(file: Path, existing: bool) -> None:
    if existing and not file.exists():
        raise FileNotFoundError(f"there is no {file}")
    file.parent.mkdir(parents=True, exist_ok=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver's own begin leaves DDL outside of transactions; with it off, a migration that dies is rolled back.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # NORMAL would lose the last commits with the power
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "alerts:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
