"""The embedded store: readings, held values, the catalogue of points and the account of the ledger in one DuckDB file
that one process owns.

How it keeps its promises:
- Durable: DuckDB syncs its log in every commit. A write that failed in any way leaves a doubt whether it was kept; the
  next call settles that against the database before it does anything else.
- Idempotent: without an index, which would cost memory and most of the speed. The newest reading of each point is
  kept in memory: what is newer is new, what is as new is a duplicate, and only what is older is looked up.
- The account is a row that is changed in the same transaction as what it accounts for: 1 to 2 ms, and no second sync.
- Readers have connections of their own and see one consistent state; they do not wait for the writer, nor it for them.
- Tiers: a stretch of time is rolled up beside the writer, from one consistent state; what is stored of that stretch
  meanwhile is added when the result is written. What comes later still adds to its steps in its own transaction. So at
  every commit the steps before `Progress.rolled` hold each reading once, and a crash leaves nothing to be mended.

Lives here: transactions, threads, opening and closing, the pieces of upkeep. Not here: tables and statements
(tables.py, tiers.py), which tier answers (retention.py), sifting of batches (sift.py), damaged files (quarantine.py),
the words for DuckDB's errors (duckdb_errors.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Condition, Lock
from types import TracebackType
from typing import Final, NamedTuple
from uuid import uuid4

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.errors import Permanent, Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate, Answer, Appended, Entry, Maintained
from dcim.core.readings import Readings, Tier
from dcim.core.times import from_us, to_us
from dcim.store import tables, tiers
from dcim.store.duckdb_errors import translate
from dcim.store.mark import Mark
from dcim.store.newest import Newest
from dcim.store.quarantine import Damage, Survivors, damages_file, open_database
from dcim.store.retention import FOR_EVER, STEP_US, Retention, advance, bucket_us, parts, pick
from dcim.store.sift import END_US, numbers_of, sift
from dcim.store.tables import Counts, Progress
from dcim.store.tiers import Sums

MEMORY_MB: Final = 1024
"""What DuckDB may use for its buffers and for queries, MiB; beyond that it spills to disk beside the file."""
NOTE_ROWS: Final = 10_000_000
"""After so many readings the newest of each point are noted in the file, so that opening need not search through more
than these: 0.2 s, however large the file is. It takes a moment itself, so it is not done more often."""
INTERRUPT_S: Final = 0.05
"""Readers under way are interrupted again after this time: a query that was just about to begin does not notice."""
HOUR_US: Final = STEP_US[Tier.HOUR]
GRACE_US: Final = 120_000_000
"""A minute is rolled up so long after its end: what comes later than that costs a row more."""
ROLL_STEPS: Final = 20_000
"""Rows that are written in one piece of rolling up, about, unless a single step of time has more points. As many rows
as a batch of readings, so that a writer waits as long for it as for another batch."""
DROP_ROWS: Final = 100_000
"""Rows that are deleted in one piece, about."""
GATHER_ROWS: Final = 50_000
"""When so many rows were added late to an hour of a tier, they are gathered: one for each point and step."""
SCATTERED_MAX: Final = 100_000
"""Hours for which that is counted."""
WIDTH_MAX: Final = 10_000
"""Steps of time that one piece spans at most: where there is next to nothing in a week, it grows no further."""


@dataclass(slots=True)
class _Step:
    """One write transaction, and what memory takes over of it once it is committed."""

    con: duckdb.DuckDBPyConnection
    progress: Progress
    """As it will be."""
    stored: Readings = field(default_factory=Readings.empty)
    dropped: int = 0
    """By how many readings the retention makes them fewer."""
    held: int = 0
    """By how many the held values grow."""
    scattered: list[tuple[Tier, npt.NDArray[np.int64]]] = field(default_factory=list)
    """Hours of the rows that were added late to a tier."""
    noted: bool = False
    """Whether the newest of each point were noted, without those that are stored here."""


@dataclass(slots=True)
class _Stretch:
    """Steps that are made, or made anew, beside the writer: of points `first` to `last`, in [start_us, end_us)."""

    start_us: int
    end_us: int
    first: int = 0
    last: int = 2**32 - 1
    overtaken: list[Readings] = field(default_factory=list)
    """What was stored of them since."""

    def overtake(self, stored: Readings) -> None:
        within = (stored.time >= self.start_us) & (stored.time < self.end_us)
        within &= (stored.point >= self.first) & (stored.point <= self.last)
        if within.any():
            self.overtaken.append(stored.take(within))

    def late(self, tier: Tier, end_us: int) -> Sums:
        """What overtook it, before `end_us`."""
        late = Readings.concat(self.overtaken)
        return Sums.of(late.take(late.time < end_us), tier)


class _Heap(NamedTuple):
    """Rows of a tier that are to be gathered, in the hour that begins at `hour_us`: of points `first` to `last`."""

    tier: Tier
    hour_us: int
    first: int
    last: int
    rows: int


class EmbeddedStore:
    """TelemetryStore, Tiered, Upkept, Catalogue, Holding and Books in one DuckDB file. Any method may be called from
    any thread.

    path: the file; it and its folder are made when missing. clock: names files that are set aside.
    retention: how long each tier is kept, once `maintain` is called. memory_mb: see MEMORY_MB.
    Raises Permanent when the file cannot be opened: another process has it, it is no database of ours, or newer
    software wrote it. A damaged file is set aside, and `damage` tells; the caller must pass that on to people.
    The numbers of points are small and dense, as PointIndex gives them: memory grows with the greatest, 17 bytes each.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], datetime],
        retention: Retention = FOR_EVER,
        memory_mb: int = MEMORY_MB,
    ) -> None:
        self.path, self._retention = path, retention
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
        self._counts: Counts
        self._progress: Progress
        """Both as the file has them, unless there is a doubt."""
        self._stretch: _Stretch | None = None
        """What is being rolled up or gathered just now."""
        self._keeping = Lock()
        """Held by the one thread that does upkeep. It is taken before `_writing`, never while that is held."""
        self._widths = {Tier.MINUTE: 1, Tier.HOUR: 1}
        """Steps of time that are rolled up in one piece."""
        self._scattered: dict[tuple[Tier, int], int] = {}
        """Rows that were added late, by tier and hour. Forgotten at the end: then they lie there until they are old."""
        self._heaps: list[_Heap] = []
        self._swept: dict[Tier, int] = {}
        """The time up to which a tier's rows are deleted. Absent where that is to be looked for."""
        self._drop_widths = dict.fromkeys(Tier, 1)
        """Minutes of which rows are deleted in one piece."""
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
                    newest = self._newest.time()
                    if self._unnoted and newest is not None:
                        root.begin()
                        tables.note_newest(root, self._newest.readings())
                        noted = min(newest + 1, to_us(self._clock()))
                        tables.put_progress(root, replace(self._progress, noted=noted))
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
        floor = self._progress.raw_floor
        sifted = sift(batch, floor)
        if not len(sifted.rows) and entry is None:
            return sifted.became(0)
        with self._write() as step:
            if step.progress.raw_floor != floor:
                sifted = sift(batch, step.progress.raw_floor)
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
        return self.answer(points, start, end, every, how).frame

    # Tiered and Upkept

    def answer(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> Answer:
        """`window`, with what it was answered from; see Tiered."""
        start_us, end_us = to_us(start), to_us(end)
        every_us = bucket_us(every, how)
        wanted = numbers_of(points)
        with self._read() as cursor:
            cursor.begin()  # the progress and the rows are to be of one state
            progress = tables.get_progress(cursor)
            tier, width_us = pick(start_us, end_us, every_us, how, progress.floors)
            floor = progress.floors[tier]
            if tier is Tier.RAW or width_us is None:
                rows = tables.window(cursor, wanted, (max(start_us, floor), end_us), width_us, how)
            else:
                # Readings as they came, where they are gone, are means of steps.
                stretch = parts(tier, start_us, end_us, progress.rolled, progress.floors)
                rows = tiers.window(cursor, wanted, stretch, width_us, "mean" if every is None else how)
        width = every if width_us is None or width_us == every_us else timedelta(microseconds=width_us)
        return Answer(rows.to_frame(), tier, width, from_us(floor) if floor else None)

    def maintain(self, at: datetime) -> Maintained:
        """Does a piece of what is due at `at`; see Upkept. A second caller waits for the first.

        Raises Transient when it did not come to an end, Permanent when the store is closed, or when a damaged part of
        the file is in the way: ingest goes on, and so does what can be read."""
        with self._keeping:
            self._refuse_closed()
            newest = self._newest.time()
            if newest is None:
                return Maintained()
            at_us = min(to_us(at), newest)
            due = {Tier.MINUTE: _down(at_us - GRACE_US, Tier.MINUTE)}
            rolled = {Tier.MINUTE: self._roll_up(Tier.MINUTE, due[Tier.MINUTE])}
            due[Tier.HOUR] = _down(self._progress.minute_rolled, Tier.HOUR)
            rolled[Tier.HOUR] = self._roll_up(Tier.HOUR, due[Tier.HOUR])
            self._raise_floors(from_us(at_us))
            dropped = {tier: self._drop(tier) for tier in Tier}
            self._gather()
            progress = self._progress
            behind_us = max(0, due[Tier.MINUTE] - progress.minute_rolled)
            dropping = any(self._swept.get(tier) != progress.floors[tier] for tier in Tier)
            rolling = behind_us > 0 or progress.hour_rolled < due[Tier.HOUR]
            gathering = bool(self._heaps) or max(self._scattered.values(), default=0) >= GATHER_ROWS
            more = rolling or dropping or gathering
            return Maintained(rolled, dropped, timedelta(microseconds=behind_us), more)

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
            step.held = len(fresh)
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
            sifted = sift(converted, step.progress.raw_floor)
            appended = sifted.became(self._store(step, sifted.rows))
            tables.drop_held(step.con, wanted)
            step.held = -len(held)
            step.progress = replace(step.progress, gone=step.progress.gone + len(held) - appended.stored)
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
    def _write(self, upkeep: bool = False) -> Iterator[_Step]:
        """One transaction of the one writer: committed, taken over into memory and marked when the block ends well.
        upkeep: nobody loses anything when it fails."""
        with self._writing:
            con = self._settled()
            step = _Step(con, self._progress)
            try:
                con.begin()
                yield step
                if step.progress != self._progress:
                    tables.put_progress(con, step.progress)
                con.commit()
            except BaseException as error:
                self._doubt = True
                with contextlib.suppress(duckdb.Error):  # a failed commit has ended it, a broken database has none
                    con.rollback()
                if damages_file(error) and not upkeep:
                    # A window that cannot be read costs that window; a file that cannot be written costs everything.
                    self._suspect = True
                    todo = "At the next try the file is set aside and a new one begun"
                    raise Transient("a part of the file is damaged", where=str(self.path), todo=todo) from error
                if isinstance(error, duckdb.Error):
                    raise translate(error, self.path) from error
                raise
            before = self._counts.ever(self._progress)
            readings, held = self._counts
            self._counts = Counts(readings + len(step.stored) - step.dropped, held + step.held)
            self._progress = step.progress
            self._unnoted = len(step.stored) + (0 if step.noted else self._unnoted)
            self._newest.take(step.stored)
            if self._stretch is not None and len(step.stored):
                self._stretch.overtake(step.stored)
            for tier, hours in step.scattered:
                self._note_scattered(tier, hours)
            if self._counts.ever(self._progress) > before:
                self._mark.write(self._counts.ever(self._progress))

    def _store(self, step: _Step, rows: Readings) -> int:
        """Inserts those sifted rows whose instant is new, and says how many they are."""
        if self._unnoted >= NOTE_ROWS and len(rows):
            self._note(step, int(np.median(rows.time)))
        newest = self._newest.times(rows.point)
        new = rows.time > newest
        late = np.flatnonzero(rows.time < newest)
        if len(late):
            new[late] = ~tables.seen(step.con, "readings", rows.take(late))
        step.stored = rows if new.all() else rows.take(new)
        tables.insert(step.con, "readings", step.stored)
        self._store_late(step, newest[new])
        return len(step.stored)

    def _store_late(self, step: _Step, newest: npt.NDArray[np.int64]) -> None:
        """Adds what is stored of times that are done with already to what was made of them. newest: by row of what is
        stored, the time of its point's newest reading before."""
        rows, progress = step.stored, step.progress
        earliest = int(rows.time.min(initial=END_US))
        for tier, rolled in progress.rolled.items():
            if earliest < rolled:
                steps = Sums.of(rows.take(rows.time < rolled), tier)
                tiers.add(step.con, tier, steps)
                step.scattered.append((tier, steps.time // HOUR_US * HOUR_US))
        if earliest < progress.noted:
            ahead = rows.take((rows.time > newest) & (rows.time < progress.noted))
            _, last = np.unique(ahead.point[::-1], return_index=True)
            tables.add_newest(step.con, ahead.take(len(ahead) - 1 - last))

    def _note(self, step: _Step, noted_us: int) -> None:
        """Notes the newest of each point; readings of later times than `noted_us` are searched at the next opening."""
        tables.note_newest(step.con, self._newest.readings())
        step.progress, step.noted = replace(step.progress, noted=noted_us), True

    # Upkeep, a piece at a time. The caller holds `_keeping`

    def _roll_up(self, tier: Tier, due_us: int) -> int:
        """Rolls up some steps of a tier, up to `due_us` at most, and says how many rows they were."""
        if self._progress.rolled[tier] >= due_us:
            return 0
        with self._beside(lambda: _Stretch(self._progress.rolled[tier], due_us)) as (stretch, cursor):
            start = stretch.start_us
            end = min(due_us, start + self._widths[tier] * STEP_US[tier])
            steps = tiers.roll(cursor, tier, start, end)
            if not len(steps):
                following = tiers.source_time(cursor, tier, end)
                end = due_us if following is None else min(due_us, _down(following, tier))
        with self._write(upkeep=True) as step:
            if self._stretch is not stretch:
                return 0  # the file was opened anew: begin again
            self._stretch = None
            tiers.add(step.con, tier, steps)
            tiers.add(step.con, tier, stretch.late(tier, end))
            step.progress = replace(step.progress, **{f"{tier}_rolled": end})
        self._widths[tier] = _paced(self._widths[tier], len(steps), ROLL_STEPS)
        return len(steps)

    def _gather(self) -> None:
        """Makes one row of several that were added late to the same steps, for some points of some hour."""
        if not self._heaps:
            self._heap_up()
        if not self._heaps:
            return
        tier, hour, first, last, rows = self._heaps.pop()

        def stretch_of_it() -> _Stretch:
            return _Stretch(hour, min(hour + HOUR_US, self._progress.rolled[tier]), first, last)

        with self._beside(stretch_of_it) as (stretch, cursor):
            steps = tiers.gather(cursor, tier, stretch.start_us, stretch.end_us, first, last)
        if 2 * len(steps) > rows:
            self._stretch = None
            return  # most of them are the only ones of their step: nothing is won
        with self._write(upkeep=True) as step:
            if self._stretch is not stretch:
                return
            self._stretch = None
            tiers.remove(step.con, tier, stretch.start_us, stretch.end_us, first, last)
            tiers.add(step.con, tier, steps)
            tiers.add(step.con, tier, stretch.late(tier, stretch.end_us))

    def _heap_up(self) -> None:
        """Looks at the hour that most was added to late, if that is much."""
        (tier, hour), rows = max(self._scattered.items(), key=lambda item: item[1], default=((Tier.RAW, 0), 0))
        if rows < GATHER_ROWS:
            return
        with self._read() as cursor:
            point, count = tiers.census(cursor, tier, hour, hour + HOUR_US)
        del self._scattered[tier, hour]
        heap = np.cumsum(count) // DROP_ROWS
        cuts = np.flatnonzero(np.diff(heap, prepend=-1, append=heap[-1:] + 1))
        self._heaps = [
            _Heap(tier, hour, int(point[a]), int(point[b - 1]), int(count[a:b].sum()))
            for a, b in pairwise(cuts.tolist())
        ]

    def _note_scattered(self, tier: Tier, hours: npt.NDArray[np.int64]) -> None:
        for hour, rows in zip(*(column.tolist() for column in np.unique(hours, return_counts=True)), strict=True):
            if len(self._scattered) < SCATTERED_MAX or (tier, hour) in self._scattered:
                self._scattered[tier, hour] = self._scattered.get((tier, hour), 0) + rows

    @contextlib.contextmanager
    def _beside(self, stretch_of: Callable[[], _Stretch]) -> Iterator[tuple[_Stretch, duckdb.DuckDBPyConnection]]:
        """A stretch, and a connection that sees one state. What is stored of the stretch after that state overtakes it,
        until a write takes it over."""
        with contextlib.ExitStack() as reading:
            with self._writing:  # so that whatever is committed is either seen, or overtakes
                self._settled()
                stretch = self._stretch = stretch_of()
                cursor = reading.enter_context(self._cursor())
                cursor.begin()
                tables.get_progress(cursor)
            try:
                yield stretch, cursor
            except BaseException:
                self._stretch = None
                raise

    def _raise_floors(self, at: datetime) -> None:
        """Lets go of what is too old: from now on no answer holds it."""
        if advance(self._retention, at, self._progress.rolled, self._progress.floors) == self._progress.floors:
            return
        with self._write(upkeep=True) as step:
            floors = advance(self._retention, at, step.progress.rolled, step.progress.floors)
            step.progress = replace(step.progress, **{f"{tier}_floor": floor for tier, floor in floors.items()})
            if step.progress.raw_floor > step.progress.noted:
                self._note(step, to_us(at))

    def _drop(self, tier: Tier) -> int:
        """Deletes some of the rows before a tier's floor, the oldest first, and says how many they were."""
        floor, swept = self._progress.floors[tier], self._swept.get(tier)
        if swept is None:
            with self._read() as cursor:
                swept = tiers.oldest_time(cursor, tier, floor)
            swept = floor if swept is None else swept
        dropped = 0
        if swept < floor:
            width = self._drop_widths[tier]
            with self._write(upkeep=True) as step:
                swept = min(floor, swept + width * STEP_US[Tier.MINUTE])
                dropped = tiers.drop(step.con, tier, swept)
                if tier is Tier.RAW:
                    step.dropped = dropped
                    step.progress = replace(step.progress, gone=step.progress.gone + dropped)
            self._drop_widths[tier] = _paced(width, dropped, DROP_ROWS)
        if dropped or swept == floor:
            self._swept[tier] = swept
        else:
            self._swept.pop(tier, None)  # a gap: how long it is shows the next look
        return dropped

    # Opening and closing. The caller holds `_writing`, or is the constructor

    def _settled(self) -> duckdb.DuckDBPyConnection:
        """The writer's connection, once memory and database are known to agree. Opens the database when need be."""
        self._refuse_closed()
        root = self._root
        if root is not None and self._doubt and not self._suspect:
            with contextlib.suppress(duckdb.Error):  # a broken database answers nothing; it is opened anew below
                self._doubt = tables.count(root) != self._counts or tables.get_progress(root) != self._progress
        if root is None or self._doubt:
            broken = self._drain()
            if broken is not None:
                broken.close()
            root = self._open(self._counts.ever(self._progress))
            self._doubt = self._suspect = False
        return root

    def _open(self, acknowledged: int | None) -> duckdb.DuckDBPyConnection:
        try:
            root, damage = open_database(self.path, self._connect, self._load, acknowledged, self._clock())
        except OSError as error:
            todo = "Look at the disk, and at who may write to the folder"
            raise Transient(f"it could not be set aside: {error}", where=str(self.path), todo=todo) from error
        try:
            self._mark.write(self._counts.ever(self._progress))
        except BaseException:
            root.close()
            raise
        self.damage = damage or self.damage
        self._stretch = None
        self._swept.clear()
        self._scattered.clear()
        self._heaps.clear()
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
        self._counts, self._progress = tables.count(con), tables.get_progress(con)
        return Survivors(self._counts.ever(self._progress), self._newest.time())

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
        with self._cursor() as cursor:
            yield cursor

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
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


def _down(us: int, tier: Tier) -> int:
    """The start of the step that a time lies in; 0 before 1970."""
    return max(0, us // STEP_US[tier] * STEP_US[tier])


def _paced(width: int, rows: int, wanted: int) -> int:
    """How wide the next piece is to be when one of `width` had so many rows."""
    return max(1, min(2 * width, width * wanted // max(1, rows), WIDTH_MAX))
