"""The embedded store: readings, held values, the catalogue of points and the account of the ledger in one DuckDB file
that one process owns.

How it keeps its promises:
- Durable: DuckDB syncs its log in every commit. A write that failed in any way leaves a doubt whether it was kept; the
  next call settles that against the database before it does anything else.
- Idempotent: without an index, which would cost memory and most of the speed. The newest reading of each point is
  kept in memory: what is newer is new, what is as new is a duplicate, and only what is older is looked up.
- The account is a row that is changed in the same transaction as what it accounts for: 1 to 2 ms, and no second sync.
- Readers have connections of their own and see one consistent state; they do not wait for the writer, nor it for them.

Lives here: transactions, threads, opening and closing. Not here: tables and statements (tables.py), sifting of batches
(sift.py), damaged files (quarantine.py), the words for DuckDB's errors (duckdb_errors.py), ages and tiers of readings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Condition, Lock
from types import TracebackType
from typing import Final, get_args
from uuid import uuid4

import duckdb
import numpy as np
import polars as pl

from dcim.core.errors import Permanent, Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate, Appended, Entry
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.store import tables
from dcim.store.duckdb_errors import translate
from dcim.store.mark import Mark
from dcim.store.newest import Newest
from dcim.store.quarantine import Damage, Survivors, damages_file, open_database
from dcim.store.sift import END_US, numbers_of, sift

MEMORY_MB: Final = 1024
"""What DuckDB may use for its buffers and for queries, MiB; beyond that it spills to disk beside the file."""
NOTE_ROWS: Final = 10_000_000
"""After so many readings the newest of each point are noted in the file, so that opening need not search through more
than these: 0.2 s, however large the file is. It takes a moment itself, so it is not done more often."""
INTERRUPT_S: Final = 0.05
"""Readers under way are interrupted again after this time: a query that was just about to begin does not notice."""


@dataclass(slots=True)
class _Step:
    """One write transaction, and what memory takes over of it once it is committed."""

    con: duckdb.DuckDBPyConnection
    stored: Readings = field(default_factory=Readings.empty)
    grown: int = 0
    """By how many rows readings and held values grow together."""


class EmbeddedStore:
    """TelemetryStore, Catalogue, Holding and Books in one DuckDB file. Any method may be called from any thread.

    path: the file; it and its folder are made when missing. clock: names files that are set aside.
    memory_mb: see MEMORY_MB.
    Raises Permanent when the file cannot be opened: another process has it, it is no database of ours, or newer
    software wrote it. A damaged file is set aside, and `damage` tells; the caller must pass that on to people.
    The numbers of points are small and dense, as PointIndex gives them: memory grows with the greatest, 17 bytes each.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime], memory_mb: int = MEMORY_MB) -> None:
        self.path = path
        self.damage: Damage | None = None
        """What was found damaged at the last opening that found anything."""
        self._clock, self._memory_mb = clock, memory_mb
        self._writing = Lock()
        """Held by the one thread that writes, opens or closes."""
        self._turn = Condition()
        """Guards `_root` and `_cursors`."""
        self._root: duckdb.DuckDBPyConnection | None = None
        self._cursors: set[duckdb.DuckDBPyConnection] = set()
        self._newest = Newest()
        self._rows = 0
        """Rows in readings and held."""
        self._unnoted = 0
        """Readings since the newest of each point were noted."""
        self._doubt = False
        """A call failed: whether memory and database still agree is to be looked at before the next one."""
        self._suspect = False
        """Writing met a damaged block: the file is to be read through at the next opening."""
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._mark = Mark(path)
        except OSError as error:
            raise Permanent(
                f"it cannot be used: {error}", where=str(path), todo="Name another in store.path"
            ) from error
        try:
            self._open(self._mark.read())
        except BaseException:
            self._mark.close()
            raise

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends readers, folds the log into the file and lets go of it. Closing again changes nothing.

        Raises Transient when the log could not be folded in (a full disk): nothing is lost, it is read at the next
        opening. The store is closed all the same.
        """
        with self._writing:
            if self._closed:
                return
            self._closed = True
            root = self._drain()
            try:
                if root is not None and not self._doubt:
                    if self._unnoted:
                        root.begin()
                        tables.note_newest(root, self._newest.readings())
                        root.commit()
                    root.checkpoint()
            except duckdb.Error as error:
                raise translate(error, self.path) from error
            finally:
                if root is not None:
                    root.close()
                self._mark.close()

    # TelemetryStore

    def append(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Stores a batch; see TelemetryStore. Raises Transient when it could not be made durable, Permanent when the
        store is closed."""
        sifted = sift(batch)
        if not len(sifted.rows) and entry is None:
            return sifted.became(0)
        with self._write() as step:
            appended = sifted.became(self._store(step, sifted.rows))
            _book(step, entry, appended)
        return appended

    def latest(self, points: Sequence[int] | None = None) -> pl.DataFrame:
        """The newest reading of each point; see TelemetryStore. Answered from memory."""
        self._refuse_closed()
        return self._newest.readings(None if points is None else numbers_of(points)).to_frame()

    def window(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> pl.DataFrame:
        """Readings with start ≤ time < end; see TelemetryStore. Raises ValueError for every ≤ 0 or an unknown `how`,
        Transient when the store is being closed or opened anew under the query."""
        span = to_us(start), to_us(end)
        every_us = None if every is None else min(every // timedelta(microseconds=1), END_US)
        if every_us is not None and every_us <= 0:
            raise ValueError(f"a bucket must be longer than nothing, not {every}")
        if how not in get_args(Aggregate):
            raise ValueError(f"there is no aggregate {how!r}; there are {', '.join(get_args(Aggregate))}")
        with self._read() as cursor:
            return tables.window(cursor, numbers_of(points), span, every_us, how).to_frame()

    # Catalogue

    def remember(self, records: Sequence[PointRecord]) -> None:
        """Keeps what is known of points; see Catalogue. Of two records with one id the later counts."""
        if records:
            with self._write() as step:
                tables.put_points(step.con, list({record.id: record for record in records}.values()))

    def recall(self) -> list[PointRecord]:
        """Every record, by ascending id."""
        with self._read() as cursor:
            return tables.get_points(cursor)

    # Holding

    def hold(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Keeps values that nothing has described yet; see Holding."""
        sifted = sift(batch)
        if not len(sifted.rows) and entry is None:
            return sifted.became(0)
        with self._write() as step:
            fresh = sifted.rows
            if len(fresh):
                fresh = fresh.take(~tables.seen(step.con, "held", fresh))
                tables.insert(step.con, "held", fresh)
            step.grown = len(fresh)
            appended = sifted.became(len(fresh))
            _book(step, entry, appended)
        return appended

    def release(
        self, points: Sequence[int], convert: Callable[[Readings], Readings], entry: Entry | None = None
    ) -> tuple[Readings, Appended]:
        """Moves held values into the store; see Holding. They come to `convert` sorted by point and time, and only
        when there are any. What `convert` raises ends the release; then everything is held as before."""
        wanted = numbers_of(points)
        with self._write() as step:
            held = tables.held_rows(step.con, wanted)
            if not len(held):
                return held, Appended(0, 0)
            converted = convert(held)
            sifted = sift(converted)
            appended = sifted.became(self._store(step, sifted.rows))
            tables.drop_held(step.con, wanted)
            step.grown -= len(held)
            _book(step, entry, appended)
        return converted, appended

    def held(self) -> dict[int, int]:
        """How many readings are held, by point."""
        with self._read() as cursor:
            return tables.held_counts(cursor)

    # Books

    def book(self, account: bytes) -> None:
        """Keeps the account; see Books."""
        with self._write() as step:
            tables.put_account(step.con, account)

    def booked(self) -> bytes | None:
        """The account that was kept last; see Books."""
        with self._read() as cursor:
            return tables.get_account(cursor)

    # Writing

    @contextlib.contextmanager
    def _write(self) -> Iterator[_Step]:
        """One transaction of the one writer: committed, taken over into memory and marked when the block ends well."""
        with self._writing:
            step = _Step(self._settled())
            try:
                step.con.begin()
                yield step
                step.con.commit()
            except BaseException as error:
                self._doubt = True
                with contextlib.suppress(duckdb.Error):  # a failed commit has ended it, a broken database has none
                    step.con.rollback()
                if damages_file(error):
                    # A window that cannot be read costs that window; a file that cannot be written costs everything.
                    self._suspect = True
                    todo = "At the next try the file is set aside and a new one begun"
                    raise Transient("a part of the file is damaged", where=str(self.path), todo=todo) from error
                if isinstance(error, duckdb.Error):
                    raise translate(error, self.path) from error
                raise
            self._rows += step.grown
            self._unnoted += len(step.stored)
            self._newest.take(step.stored)
            if step.grown:
                self._mark.write(self._rows)

    def _store(self, step: _Step, rows: Readings) -> int:
        """Inserts those sifted rows whose instant is new, and says how many they are."""
        if self._unnoted >= NOTE_ROWS:
            tables.note_newest(step.con, self._newest.readings())
            self._unnoted = 0
        newest = self._newest.times(rows.point)
        new = rows.time > newest
        late = np.flatnonzero(rows.time < newest)
        if len(late):
            new[late] = ~tables.seen(step.con, "readings", rows.take(late))
        step.stored = rows if new.all() else rows.take(new)
        step.grown += len(step.stored)
        tables.insert(step.con, "readings", step.stored)
        return len(step.stored)

    # Opening and closing. The caller holds `_writing`, or is the constructor

    def _settled(self) -> duckdb.DuckDBPyConnection:
        """The writer's connection, once memory and database are known to agree. Opens the database when need be."""
        self._refuse_closed()
        root = self._root
        if root is not None and self._doubt and not self._suspect:
            with contextlib.suppress(duckdb.Error):  # a broken database answers nothing; it is opened anew below
                self._doubt = tables.count(root) != self._rows
        if root is None or self._doubt:
            broken = self._drain()
            if broken is not None:
                broken.close()
            root = self._open(self._rows)
            self._doubt = self._suspect = False
        return root

    def _open(self, acknowledged: int | None) -> duckdb.DuckDBPyConnection:
        try:
            root, damage = open_database(self.path, self._connect, self._load, acknowledged, self._clock())
        except OSError as error:
            todo = "Look at the disk, and at who may write to the folder"
            raise Transient(f"it could not be set aside: {error}", where=str(self.path), todo=todo) from error
        try:
            self._mark.write(self._rows)
        except BaseException:
            root.close()
            raise
        self.damage = damage or self.damage
        with self._turn:
            self._root = root
        return root

    def _connect(self) -> duckdb.DuckDBPyConnection:
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self._memory_mb}MiB",
            "autoinstall_known_extensions": False,  # nothing is ever fetched from a network
            "autoload_known_extensions": False,
            # Never the same twice: DuckDB would hand a second opener in this process the first one's database.
            "custom_user_agent": uuid4().hex,
        }
        return duckdb.connect(self.path, config=options)

    def _load(self, con: duckdb.DuckDBPyConnection) -> Survivors:
        tables.ensure(con, self.path)
        if self._suspect:
            tables.verify(con)
        self._newest, self._unnoted = tables.load_newest(con)
        self._rows = tables.count(con)
        return Survivors(self._rows, self._newest.time())

    def _drain(self) -> duckdb.DuckDBPyConnection | None:
        """Takes the connection away from readers: newcomers find none, those under way are interrupted."""
        with self._turn:
            root, self._root = self._root, None
            while self._cursors:
                for cursor in self._cursors:
                    cursor.interrupt()
                self._turn.wait(INTERRUPT_S)
        return root

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Permanent("the store is closed", where=str(self.path))

    # Reading

    @contextlib.contextmanager
    def _read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one query: it sees what was committed when the query began, and holds up no writer."""
        if self._doubt or self._root is None:
            with self._writing:
                self._settled()
        with self._turn:
            if self._root is None:
                raise Transient("it is being opened anew", where=str(self.path), todo="It can be asked again")
            cursor = self._root.cursor()
            self._cursors.add(cursor)
        try:
            yield cursor
        except duckdb.Error as error:
            self._doubt = self._doubt or isinstance(error, (duckdb.FatalException, duckdb.InternalException))
            raise translate(error, self.path) from error
        finally:
            cursor.close()
            with self._turn:
                self._cursors.discard(cursor)
                self._turn.notify_all()


def _book(step: _Step, entry: Entry | None, appended: Appended) -> None:
    if entry is not None:
        tables.put_account(step.con, entry(appended))
