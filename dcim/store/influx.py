"""The store in front of an InfluxDB 2 server: a reading is kept once our own spool has it, and handed on from there.

How it keeps its promises:
- Durable: `append` returns when the spool has synced the batch. How long the server may be away, its size decides.
- Idempotent, and the first value stays: what is newer than the newest reading of its point is new without asking, what
  is as new is a duplicate. A late row is looked up among the rows taken lately, then on the server. Where neither can
  tell (the server is away, and the row is older than what memory holds) it is kept as doubtful and counted as stored;
  when its turn comes, the server is asked, and has all that was taken before it: what is there already is not written
  again, and counted as `overtaken`. Ingest never waits for the server.
- `latest` is answered from memory, which a bookmark and the spool fill at opening, whatever the server does.
- `window` brings together what the server has and what is still in the spool. Without the server it raises Transient.

Points, and values that wait for their description, stay in a small embedded store beside the spool. The account of the
ledger goes with what it tells of: into the spool with readings, into that store with held values.

    FOLDER/local.duckdb   points and held values
    FOLDER/spool/         readings that the server does not have yet
    FOLDER/bookmark       the newest reading of each point
    FOLDER/dead_letters.jsonl

Lives here: the three ports over these parts, their threads, opening and closing. Not here: handing on (forwarder.py),
windows (influx_reads.py), HTTP (influx_client.py), the coarser tiers (rollup.py), buckets (influx_buckets.py)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count as counter
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate, Answer, Appended, Backlog, DeadReading, Entry
from dcim.core.readings import Readings, Tier
from dcim.core.times import from_us, to_us
from dcim.store import bookmark, flux
from dcim.store.bookmark import Bookmark
from dcim.store.dead_letters import DeadLetters
from dcim.store.embedded import EmbeddedStore
from dcim.store.flux import Span
from dcim.store.forwarder import Forwarder, packed
from dcim.store.influx_buckets import names
from dcim.store.influx_client import InfluxServer
from dcim.store.influx_reads import Reads, readings_of, steps_of
from dcim.store.line_protocol import Lines, Series
from dcim.store.newest import Newest
from dcim.store.parcel import Account, pack, pack_account, unpack
from dcim.store.ranges import ranges
from dcim.store.recent import ROWS_MAX, Recent
from dcim.store.retention import STEP_US, Retention, bucket_us, pick
from dcim.store.rollup import HOUR_US, PACES, Pace, RollUp, Work
from dcim.store.sift import END_US, numbers_of, sift
from dcim.store.spool import Spool

log = structlog.get_logger()
_T = TypeVar("_T")

LOCAL_MB: Final = 256
"""What DuckDB may use for points and held values, MiB."""
REPLAY_BYTES_MAX: Final = 256 * 2**20
"""At opening, so much of what waits in the spool is read back into memory; of more, only what the bookmark lacks."""
SCAN_BYTES_MAX: Final = 512 * 2**20
"""A window that would have to read through more of the spool than this cannot be answered until that is handed on."""
QUERY_S: Final = 60.0
WINDOW_S: Final = 120.0
"""One window may be many questions."""
STEP_LINES: Final = 2_000
"""Steps in one request: their lines are longer than those of readings."""
ASK_S: Final = 3.0
"""So long at most a batch waits for the server to say which of its late rows it has."""
ASK_AGAIN_US: Final = 10_000_000
"""After it did not, late rows are taken as doubtful for so long."""
RESTART_S: Final = 10.0
QUESTIONS: Final = 4
"""Questions at a time."""
BOOKMARK_S: Final = 5.0
BOOKMARK_POINTS_S: Final = 20_000
"""A bookmark is written every five seconds, and every second more for so many points, if anything changed."""
FULL: Final = (0.5, 0.8, 0.95)
"""How full the spool is each time that it is told in the log."""
LOST_US: Final = 48 * HOUR_US
"""Without a bookmark, so much of the past is rolled up again."""


_NO_ACCOUNT: Final = Account(0, b"")


class SeriesSource(Protocol):
    """Which series points are written to. Called from one thread at a time."""

    def series(self, points: Sequence[int]) -> Mapping[int, Series]:
        """The series of those of these points that are described."""
        ...

    def changed(self) -> Iterable[int]:
        """Points whose series may be another since the last call."""
        ...


class Undescribed:
    """Of a store that is told nothing of its points: each has a series by its number."""

    def series(self, points: Sequence[int]) -> Mapping[int, Series]:  # noqa: ARG002  nothing is known of any
        """None."""
        return {}

    def changed(self) -> Iterable[int]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where on which server. token: reads it; see InfluxServer."""

    url: str
    org: str
    bucket: str
    token: Callable[[], str]
    ca_file: Path | None = None


class InfluxStore:
    """TelemetryStore, Tiered, Catalogue, Holding and Forwarding; see the module. Any method may be called from any
    thread.

    folder: made when missing; one process has it. bytes_max: of the spool. clock: the wall clock. series: is told what
    is known of points before anything is handed on, and answers what tells where they are written to.
    Raises Permanent when the folder cannot be used, and never for want of a server.
    """

    def __init__(
        self,
        place: Place,
        folder: Path,
        bytes_max: int,
        clock: Callable[[], datetime],
        *,
        series: Callable[[Sequence[PointRecord]], SeriesSource] = lambda _: Undescribed(),
        retention: Retention | None = None,
        paces: Mapping[Tier, Pace] = PACES,
        recent_rows: int = ROWS_MAX,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.path = folder
        self._place, self._clock, self._retention = place, clock, retention or Retention()
        self._buckets = names(place.bucket)
        self._writing = Lock()
        """Held by the one thread that appends, or notes what was appended."""
        self._noting = Lock()
        """Held while the bookmark is written; taken after _writing."""
        self._noted_end = self._points = 0
        self._taken = 0
        """Readings in the spool, since the start; what an earlier run left is in it."""
        self._account = _NO_ACCOUNT
        """The last that is in the spool, or was."""
        self._times: deque[tuple[int, int]] = deque()
        """(number after a batch, when it came), a second apart."""
        self._ask_again_us = 0
        self._told_full = 0
        self._defect = ""
        self._closed = False
        with contextlib.ExitStack() as closing:
            self._local = closing.enter_context(EmbeddedStore(folder / "local.duckdb", clock, memory_mb=LOCAL_MB))
            self._spool = closing.enter_context(Spool(folder / "spool", bytes_max))
            self._letters = DeadLetters(folder)
            self._lines = _Lines(series(self._local.recall()))
            self._newest = Newest()
            self._complete, self._told = True, list[str]()
            """Whether the newest reading of every point is known; damage, in words."""
            self._recent, noted = self._resume(recent_rows)
            self._rollup = RollUp(
                self._write_steps,
                self._remake,
                lambda: self._floors()[Tier.RAW],
                self._now,
                paces,
                noted.stale,
                noted.beyond,
            )
            self._forwarder = Forwarder(
                self._spool,
                self._letters,
                place.bucket,
                position=noted.position,
                block=self._lines.block,
                there=self._there,
                passed=self._rollup.passed,
                clock=self._now,
                sleep=sleep,
            )
            self._reads = Reads(self._buckets, self._ask, self._lines.tags, self._waiting_rows, self._rollup.rolled)
            self._host = _Host(self._main)
            closing.callback(self._host.close)
            self._host.start()
            self._note()
            self._closing = closing.pop_all()

    def __enter__(self) -> InfluxStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops handing on, notes how far it came, and lets go of the folder. What waits goes on at the next opening.
        Closing again changes nothing. Raises Transient when the disk fails; nothing is lost, and it is closed."""
        if self._closed:
            return
        self._closed = True
        with self._closing:
            self._host.close()
            self._note()

    @property
    def damage(self) -> str | None:
        """What was found damaged, in words for people; None while all is well."""
        told = [*([str(self._local.damage)] if self._local.damage else []), *self._told]
        if self._spool.damage:
            records = self._spool.damaged_records
            told.append(f"the spool is damaged, {records} records of readings are gone: {self._spool.damage[0]}")
        return "; ".join(told) or None

    # TelemetryStore

    def append(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Keeps a batch; see TelemetryStore. Refuses what is older than the server keeps. Raises Transient when the
        spool is full or the disk fails, Permanent when the store is closed."""
        sifted = sift(batch, self._floors()[Tier.RAW])
        with self._writing:
            self._refuse_closed()
            new, doubtful = self._judge(sifted.rows)
            settled, unsettled = sifted.rows.take(new), sifted.rows.take(doubtful)
            stored = len(settled) + len(unsettled)
            appended = sifted.became(stored)
            records = [*pack(settled), *pack(unsettled, doubtful=True)]
            account = self._account
            if entry is not None:
                account = self._next_account(entry(appended))
                records.append(pack_account(account))
            if records:
                first, at_us = self._spool.end, self._now()
                after = self._spool_append(records, at_us)
                kept = settled if not len(unsettled) else Readings.concat([settled, unsettled])
                self._recent.add(first, after, kept)
                self._newest.take(kept)
                self._taken += stored
                self._account = account
                if not self._times or at_us - self._times[-1][1] >= 1_000_000:
                    self._remember_time(after, at_us)
        if records:
            self._forwarder.wake()
            self._tell_full()
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
        Transient when the server cannot be asked, Permanent when the answer would be too long."""
        return self.answer(points, start, end, every, how).frame

    def answer(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> Answer:
        """`window`, with what it was answered from; see Tiered."""
        span = max(0, to_us(start)), min(to_us(end), END_US)
        every_us = bucket_us(every, how)
        self._refuse_closed()
        floors = self._floors()
        tier, width_us = pick(*span, every_us, how, floors)
        # Readings as they came, where they are gone, are means of steps.
        asked: Aggregate = "mean" if every is None else how
        frame = self._reads.window(numbers_of(points), span, every_us, asked, floors)
        width = every if width_us is None or width_us == every_us else timedelta(microseconds=width_us)
        return Answer(frame, tier, width, from_us(floors[tier]) if floors[tier] else None)

    # Catalogue and Holding

    def remember(self, records: Sequence[PointRecord]) -> None:
        """Keeps what is known of points; see Catalogue."""
        self._local.remember(records)

    def recall(self) -> list[PointRecord]:
        """Every record, by ascending id."""
        return self._local.recall()

    def hold(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Keeps values that nothing has described yet; see Holding."""
        return self._local.hold(batch, entry and (lambda held: self._next_account(entry(held)).pack()))

    def release(
        self, points: Sequence[int], convert: Callable[[Readings], Readings], entry: Entry | None = None
    ) -> tuple[Readings, Appended]:
        """Moves held values into the store; see Holding. They are appended first and let go of then: a crash in between
        leaves them held and stored, and the next release finds each to be a duplicate."""
        converted, appended = Readings.empty(), Appended(0, 0)

        def move(held: Readings) -> Readings:
            nonlocal converted, appended
            converted = convert(held)
            appended = self.append(converted)
            return Readings.empty()

        self._local.release(points, move, entry and (lambda _: self._next_account(entry(appended)).pack()))
        return converted, appended

    def held(self) -> dict[int, int]:
        """How many readings are held, by point."""
        return self._local.held()

    # Books. The account lies in the spool, with the batch that it tells of, or in the local store, with what is held

    def book(self, account: bytes) -> None:
        """Keeps the account; see Books."""
        self._local.book(self._next_account(account).pack())

    def booked(self) -> bytes | None:
        """The account that was kept last; see Books."""
        kept = self._local.booked()
        there, here = Account.unpack(kept) if kept else _NO_ACCOUNT, self._account
        last = there if there.serial > here.serial else here
        return last.body if last.serial else None

    def _next_account(self, body: bytes) -> Account:
        """An account that is newer than any. What a failed write has used up of numbers is left out."""
        return Account(next(self._serials), body)

    # Forwarding

    def backlog(self) -> Backlog:
        """Where it stands; see Forwarding."""
        progress = self._forwarder.progress
        position, done = progress.mark
        waiting = max(0, self._taken - done) if position < self._spool.end else 0
        return Backlog(
            waiting=waiting,
            bytes=self._spool.bytes_held if waiting else 0,
            bytes_max=self._spool.bytes_max,
            oldest_us=self._oldest(position) if waiting else None,
            forwarded=progress.forwarded,
            overtaken=progress.overtaken,
            dead_lettered=self._letters.counts(),
            damaged=self._spool.damaged_records + progress.unreadable,
            trouble=self._defect or progress.trouble or self._rollup.trouble,
        )

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything that was appended before is handed on; whether it is, in the end."""
        return self._forwarder.drain(timeout_s)

    def dead_readings(self) -> list[DeadReading]:
        """The dead letters that are still kept, oldest first."""
        return self._letters.kept()

    # Appending; the caller holds _writing

    def _spool_append(self, records: list[bytes], at_us: int) -> int:
        try:
            return self._spool.append(records, at_us)
        except Transient:
            if self._forwarder.progress.mark.position <= self._spool.position:
                raise
            self._keep(self._moment())  # there is room that was not given back yet
            return self._spool.append(records, at_us)

    def _judge(self, rows: Readings) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which of some sifted rows are new, and of which nobody can tell now. The others are duplicates."""
        newest = self._newest.times(rows.point)
        new, doubtful = rows.time > newest, np.zeros(len(rows), np.bool_)
        late = np.flatnonzero(rows.time < newest)
        late = late[~self._recent.holds(rows.take(late))]
        above = rows.time[late] > self._recent.floor(rows.point[late])
        new[late[above]] = True
        below = late[~above]
        if len(below):
            there = self._there_now(rows.take(below))
            if there is None:
                doubtful[below] = True
            else:
                new[below] = ~there
        if not self._complete:
            return np.zeros(len(rows), np.bool_), new | doubtful
        return new, doubtful

    def _there_now(self, rows: Readings) -> npt.NDArray[np.bool_] | None:
        """Which rows the server has, if it says so at once and has all that memory does not hold any more."""
        progress = self._forwarder.progress
        unsure = not self._complete or progress.trouble or self._now() < self._ask_again_us
        if unsure or self._recent.first > progress.mark.position:
            return None
        try:
            return self._host.call(self._there(rows), ASK_S)
        except DcimError as error:
            self._ask_again_us = self._now() + ASK_AGAIN_US
            log.warning("late readings are taken as doubtful", told=str(error))
            return None

    def _remember_time(self, after: int, at_us: int) -> None:
        position = self._forwarder.progress.mark.position
        while self._times and self._times[0][0] <= position:
            self._times.popleft()
        if len(self._times) >= 20_000:
            self._times = deque(list(self._times)[::2])
        self._times.append((after, at_us))

    def _oldest(self, position: int) -> int | None:
        known = next((at_us for after, at_us in list(self._times) if after > position), None)
        first = self._times[0] if self._times else None
        if known is None or first is None or first[0] > position:
            # What waits was taken before the first batch that is noted.
            return self._spool.oldest_us if known is None else min(known, self._spool.oldest_us or known)
        return known

    def _tell_full(self) -> None:
        share = self._spool.bytes_held / self._spool.bytes_max
        level = sum(share >= bound for bound in FULL)
        if level > self._told_full:
            log.warning(
                "the spool fills", full=f"{share:.0%}", waiting=self.backlog().waiting,
                todo="See what keeps the server from taking readings; when it is full, sources have to wait",
            )  # fmt: skip
        self._told_full = level

    # Opening

    def _resume(self, recent_rows: int) -> tuple[Recent, Bookmark]:
        """Memory as it was: out of the bookmark, and of what the spool has since. Answers the rows that were taken
        lately, and the bookmark as it holds now."""
        noted, stale = bookmark.load(self.path / "bookmark"), dict[str, dict[int, int]]()
        if noted is None:
            if self._spool.end:
                self._complete = False
                self._told.append(
                    "the bookmark cannot be read: until the server has told the newest readings, duplicates are "
                    "counted as stored, and the latest values may be older ones"
                )
                last = self._now() // HOUR_US
                hours = dict.fromkeys(range(last - LOST_US // HOUR_US, last + 1), 2**60 - 1)
                stale = {Tier.MINUTE.value: hours, Tier.HOUR.value: hours}
            noted = Bookmark(self._spool.position, self._spool.position, 0, Readings.empty(), stale=stale)
        elif noted.end > self._spool.end:
            self._told.append(f"the spool is not the one that was left: the {noted.waiting} readings in it are gone")
            noted = replace(noted, position=self._spool.position, end=self._spool.end, waiting=0)
        self._newest.take(noted.newest)
        position = max(noted.position, self._spool.position)
        first = position if self._spool.bytes_held <= REPLAY_BYTES_MAX else max(position, noted.end)
        recent = Recent(noted.newest, min(first, self._spool.end), recent_rows)
        self._taken = noted.waiting
        self._account = Account.unpack(noted.account) if noted.account else _NO_ACCOUNT
        at = first
        while records := self._spool.read(at, 2**20):
            for number, record in records:
                with contextlib.suppress(Permanent):  # the forwarder tells of it
                    parcel = unpack(record)
                    if isinstance(parcel, Account):
                        self._account = max(self._account, parcel)
                        continue
                    recent.add(number, number + 1, parcel.rows)
                    if number >= noted.end:
                        self._newest.take(parcel.rows)
                        self._taken += len(parcel.rows)
            at = records[-1][0] + 1
        kept = self._local.booked()
        self._serials = counter(max(self._account.serial, Account.unpack(kept).serial if kept else 0) + 1)
        return recent, replace(noted, position=position)

    def _note(self) -> None:
        """Writes the bookmark of this moment, and gives room back in the spool."""
        with self._writing:
            moment = self._moment()
        self._keep(moment)

    def _moment(self) -> Bookmark:
        """The bookmark of this moment. The caller holds _writing: memory and the end of the spool agree."""
        position, done = self._forwarder.progress.mark
        stale, beyond, newest = self._rollup.dump(), self._rollup.beyond(), self._newest.readings()
        account = self._account.pack() if self._account.serial else b""
        return Bookmark(position, self._spool.end, max(0, self._taken - done), newest, account, stale, beyond)

    def _keep(self, moment: Bookmark) -> None:
        with self._noting:
            if self._complete and moment.end >= self._noted_end:
                bookmark.save(self.path / "bookmark", moment)
                self._noted_end, self._points = moment.end, len(moment.newest)
                self._spool.advance(moment.position)

    # What runs in the loop's thread

    async def _main(self, ready: Callable[[], None]) -> None:
        place = self._place
        self._server = InfluxServer(place.url, place.org, place.token, place.ca_file)
        self._asking = asyncio.Semaphore(QUESTIONS)
        try:
            ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._without_end(lambda: self._forwarder.run(self._server)))
                tasks.create_task(self._without_end(self._rollup.run))
                tasks.create_task(self._without_end(self._keep_bookmark))
                if not self._complete:
                    tasks.create_task(self._without_end(self._find_newest))
        finally:
            await self._server.close()

    async def _without_end(self, run: Callable[[], Awaitable[None]]) -> None:
        """Starts a part anew when a defect of ours has ended it."""
        while True:
            try:
                await run()
                return
            except Exception as error:  # whatever it is, handing on must not end with it
                log.exception("a part of the store failed; it is started anew")
                self._defect = f"a defect, see the log: {type(error).__name__}: {error}"
                await asyncio.sleep(RESTART_S)

    async def _keep_bookmark(self) -> None:
        noted, due = (-1, -1), 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            position, end = self._forwarder.progress.mark.position, self._spool.end
            tight = self._spool.bytes_held > self._spool.bytes_max / 2 and position > self._spool.position
            if (position, end) == noted or (loop.time() < due and not tight):
                continue
            try:
                await asyncio.to_thread(self._note)
            except Transient as error:
                log.warning("the bookmark is not written", told=str(error))
                continue
            noted = position, end
            due = loop.time() + BOOKMARK_S + self._points / BOOKMARK_POINTS_S

    async def _find_newest(self) -> None:
        """After the bookmark was lost: the newest reading of each point, from the server."""
        while not self._complete:
            try:
                answer = flux.answered(await self._server.query(flux.newest(self._buckets[Tier.RAW]), QUERY_S))
            except DcimError as error:
                log.warning("the newest readings cannot be looked up", told=str(error))
                await asyncio.sleep(RESTART_S)
                continue
            numbers = np.array([record.id for record in await asyncio.to_thread(self._local.recall)], np.uint32)
            numbers = np.union1d(numbers, self._newest.readings().point)
            tags = await asyncio.to_thread(self._lines.tags, numbers)
            names = pl.DataFrame({"point": tags, "number": numbers}, schema={"point": pl.String, "number": pl.UInt32})
            found = readings_of(answer).join(names, on="point", how="inner")
            rows = Readings(
                found["number"].to_numpy(),
                found["time"].dt.epoch("us").to_numpy(),
                found["value"].fill_null(float("nan")).to_numpy(),
                found["quality"].to_numpy(),
            )
            with self._writing:
                self._newest.take(rows)
                self._recent.raise_floors(self._newest.readings())
                self._complete = True

    async def _write_steps(self, tier: Tier, steps: pl.DataFrame) -> None:
        for part in steps.iter_slices(STEP_LINES):
            lines = await asyncio.to_thread(self._lines.steps, part)
            await self._server.write(self._buckets[tier], packed(lines))

    async def _remake(self, work: Work) -> None:
        """Makes steps anew of what the server has."""
        points = self._newest.readings().point if work.points is None else work.points
        for start in range(0, len(points), flux.POINTS_MAX):
            some = points[start : start + flux.POINTS_MAX]
            numbers = pl.DataFrame({"point": await asyncio.to_thread(self._lines.tags, some), "number": some})
            named = numbers["point"].to_list()
            question = flux.whole_steps(self._buckets[Tier.RAW], named, work.span, STEP_US[work.tier])
            await self._write_steps(
                work.tier, steps_of(flux.answered(await self._query(question), flux.STEPS), numbers)
            )

    async def _there(self, rows: Readings) -> npt.NDArray[np.bool_]:
        """Which rows have their (point, time) on the server."""
        tags = np.array(await asyncio.to_thread(self._lines.tags, rows.point), object)
        order = np.argsort(rows.time, kind="stable")
        found = np.zeros(len(rows), np.bool_)
        for part in ranges(rows.time[order]):
            index = order[part]
            span = int(rows.time[index[0]]), int(rows.time[index[-1]]) + 1
            named = sorted(set(tags[index].tolist()))
            question = flux.presence(self._buckets[Tier.RAW], named if len(named) <= flux.POINTS_MAX else None, span)
            answer = flux.answered(await self._query(question))
            wanted = pl.DataFrame({"row": index, "point": tags[index].tolist(), "time": rows.time[index]}).with_columns(
                pl.col("time").cast(pl.Datetime("us", "UTC"))
            )
            found[wanted.join(answer, on=["point", "time"], how="semi")["row"].to_numpy()] = True
        return found

    async def _query(self, question: str) -> bytes:
        async with self._asking:
            return await self._server.query(question, QUERY_S)

    # Reading

    def _ask(self, questions: Sequence[str]) -> list[bytes]:
        async def ask() -> list[bytes]:
            return await asyncio.gather(*(self._query(question) for question in questions))

        return self._host.call(ask(), WINDOW_S)

    def _waiting_rows(self, points: npt.NDArray[np.uint32], span: Span) -> Readings:
        """Readings of points in a span that the server may not have yet."""
        position = self._forwarder.progress.mark.position
        rows = self._recent.since(position, points, *span)
        return self._scan(position, points, span) if rows is None else rows

    def _scan(self, position: int, points: npt.NDArray[np.uint32], span: Span) -> Readings:
        """The same out of the spool itself: more waits there than memory holds."""
        found, read = [], 0
        while records := self._spool.read(position, 2**20):
            read += sum(len(record) for _, record in records)
            if read > SCAN_BYTES_MAX:
                todo = "It can be asked again when they are"
                raise Transient(
                    "too many readings wait to be handed on to the server", where=self._place.url, todo=todo
                )
            for _, record in records:
                with contextlib.suppress(Permanent):  # the forwarder tells of it
                    parcel = unpack(record)
                    if isinstance(parcel, Account):
                        continue
                    rows = parcel.rows
                    mask = (rows.time >= span[0]) & (rows.time < span[1]) & np.isin(rows.point, points)
                    found.append(rows.take(mask))
            position = records[-1][0] + 1
        return Readings.concat(found)

    def _floors(self) -> Mapping[Tier, int]:
        return self._retention.floors(self._clock())

    def _now(self) -> int:
        return to_us(self._clock())

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Permanent("the store is closed", where=str(self.path))


class _Lines:
    """Lines and tags of points whose series come from elsewhere. From any thread."""

    def __init__(self, source: SeriesSource) -> None:
        self._source, self._lines, self._lock = source, Lines(), Lock()
        self._known = np.zeros(0, np.bool_)
        """By point: its series is learnt."""

    def block(self, rows: Readings) -> bytes:
        """See Lines.block."""
        with self._lock:
            self._learn(np.unique(rows.point))
            return self._lines.block(rows)

    def steps(self, frame: pl.DataFrame) -> bytes:
        """See Lines.steps."""
        with self._lock:
            self._learn(frame["point"].unique().to_numpy())
            return self._lines.steps(frame)

    def tags(self, points: npt.NDArray[np.uint32]) -> list[str]:
        """By row, what the point is found by."""
        with self._lock:
            distinct, row = np.unique(points, return_inverse=True)
            self._learn(distinct)
            tags = [self._lines.series(number).point for number in distinct.tolist()]
            return [tags[number] for number in row.tolist()]

    def _learn(self, points: npt.NDArray[np.uint32]) -> None:
        stale = [number for number in self._source.changed() if number < len(self._known) and self._known[number]]
        inside = points[points < len(self._known)]
        fresh = [*inside[~self._known[inside]].tolist(), *points[points >= len(self._known)].tolist()]
        found = self._source.series([*stale, *fresh]) if stale or fresh else {}
        for number, series in found.items():
            self._lines.learn(number, series)
            if number >= len(self._known):
                self._known = np.append(self._known, np.zeros(max(number + 1, 1024), np.bool_))
            self._known[number] = True


class _Host:
    """A thread with an event loop, for the parts that wait."""

    def __init__(self, main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        """main: runs in the loop, and says when it is ready."""
        self._main = main
        self._ready = Event()
        self._failed: BaseException | None = None
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._calls: set[Future[Any]] = set()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="influx", daemon=True)

    def start(self) -> None:
        """Returns when `main` is ready; raises what it raises before that."""
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def call(self, work: Coroutine[Any, Any, _T], timeout_s: float | None) -> _T:
        """What the work answers or raises. Raises Transient when it takes too long, or when all is being closed."""
        with self._lock:
            if self._loop is None:
                work.close()
                raise Transient("the store is being closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._calls.add(future)
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            future.cancel()
            raise Transient(f"the server does not answer within {timeout_s} s") from error
        except CancelledError as error:
            raise Transient("the store is being closed") from error
        finally:
            with self._lock:
                self._calls.discard(future)

    def close(self) -> None:
        """Cancels `main` and everything that was called, and waits until it has ended. Again, it changes nothing."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None and self._task is not None:
                loop.call_soon_threadsafe(self._task.cancel)
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    async def _run(self) -> None:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            await self._main(self._ready.set)
        except asyncio.CancelledError:
            pass  # this is how `close` ends it
        except BaseException as error:
            self._failed = error
            if self._ready.is_set():  # before that, `start` raises it
                log.exception("the store hands on no more")
        finally:
            with self._lock:
                self._loop = None
            self._ready.set()
