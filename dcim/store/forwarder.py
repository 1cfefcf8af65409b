"""The forwarder: the way from the spool to the server, in order, until it has each reading or will never take it.

    spool → parcels → chunks of 5,000 lines → write, again and again until it is answered for
                                             400: halves, down to the line that cannot be read   → dead letter
                                             422: halves, down to the lines that were dropped     → dead letter
                                             413: halves, down to the line that is too large      → dead letter
                                             anything else: the same again, after a while, without end

Nothing counts as handed on before the server has said so or the dead letter is on disk. A crash repeats what was sent
since the last bookmark, which writes the same values over themselves.

Lives here: the order, patience, and what is put aside. Not here: HTTP (influx_client.py), the bookmark (influx.py)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import structlog

from dcim.core.errors import Permanent, Transient
from dcim.core.ledger import DeadLetter
from dcim.core.ports import DeadReading
from dcim.core.readings import Readings
from dcim.store.dead_letters import DeadLetters, Letter
from dcim.store.influx_client import Dropped, Malformed, TooLarge, Unavailable
from dcim.store.parcel import Parcel, unpack
from dcim.store.spool import Spool

log = structlog.get_logger()
_T = TypeVar("_T")
_CHANCE = random.SystemRandom()

LINES: Final = 5_000
"""Readings in one request."""
READ_BYTES: Final = 2**20
"""What is read of the spool at once: some 150,000 readings."""
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 30.0
"""The wait after a failure doubles from the first to the longest; each time it is a random part of that."""


class Writer(Protocol):
    """What the forwarder needs of a server."""

    async def write(self, bucket: str, lines_gz: bytes) -> None:
        """See InfluxServer.write."""
        ...


@dataclass(slots=True)
class Chunk:
    """Readings that are sent together."""

    rows: Readings
    number: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    """Where each stood: number of its record, row in it."""
    place: npt.NDArray[np.intp]
    """Row in the run that it was cut from."""
    after: int
    """The number up to which everything is handed on once these are."""
    doubtful: bool = False

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Chunk:
        """The rows that a mask or an array of row numbers picks."""
        return Chunk(
            self.rows.take(rows), self.number[rows], self.row[rows], self.place[rows], self.after, self.doubtful
        )

    def cut(self, size: int) -> list[Chunk]:
        """Chunks of so many rows, one after the other."""
        pieces = []
        for start in range(0, len(self.rows), size):
            piece = self.take(np.arange(start, min(start + size, len(self.rows))))
            # What comes before the record of the row that follows is handed on then.
            piece.after = int(self.number[start + size]) if start + size < len(self.rows) else self.after
            pieces.append(piece)
        return pieces

    def halves(self) -> tuple[Chunk, Chunk]:
        """Two chunks, one after the other."""
        middle = len(self.rows) // 2
        every = np.arange(len(self.rows))
        return self.take(every[:middle]), self.take(every[middle:])


class Mark(NamedTuple):
    """A place in the spool."""

    position: int
    """Every record before this number is handed on."""
    readings: int
    """How many readings were in those, since the start."""


@dataclass(slots=True)
class Progress:
    """How far the forwarder is. One thread writes."""

    mark: Mark
    forwarded: int = 0
    """Readings that the server took, since the start."""
    overtaken: int = 0
    """Doubtful readings that it had already."""
    unreadable: int = 0
    """Records that hold no readings."""
    trouble: str = ""
    """Why it does not go on just now."""


class Forwarder:
    """See the module. Made anywhere; `run` in one event loop.

    block: readings as lines; called in threads. there: which of some readings have their instant on the server already;
    raises as a query does. passed: is told of readings that the server has, once each, before they count as handed on;
    called in threads. sleep: waits for so many seconds.
    """

    def __init__(
        self,
        spool: Spool,
        letters: DeadLetters,
        bucket: str,
        *,
        position: int,
        block: Callable[[Readings], bytes],
        there: Callable[[Readings], Awaitable[npt.NDArray[np.bool_]]],
        passed: Callable[[Readings], None],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lines: int = LINES,
    ) -> None:
        self.progress = Progress(Mark(position, 0))
        self._spool, self._letters, self._bucket = spool, letters, bucket
        self._block, self._there, self._passed = block, there, passed
        self._clock, self._sleep, self._lines = clock, sleep, lines
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._idle = threading.Event()
        self._written = np.zeros(0, np.bool_)
        """Which rows of the run under way the server has."""

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything that the spool has now is handed on; whether it is, in the end. From any thread."""
        end, deadline = self._spool.end, time.monotonic() + timeout_s
        while self.progress.mark.position < end:
            self._idle.clear()
            if self.progress.mark.position < end and not self._idle.wait(max(0, deadline - time.monotonic())):
                return False
        return True

    def wake(self) -> None:
        """Tells that something was appended to the spool. From any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended in this moment: nobody is left to wake
                loop.call_soon_threadsafe(self._arrived.set)

    async def run(self, server: Writer) -> None:
        """Hands on until cancelled."""
        self._arrived, self._loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            while True:
                self._arrived.clear()
                end = self._spool.end
                records = await self._patiently(self._read)
                if records:
                    await self._hand_on(server, records)
                elif self.progress.mark.position < end:
                    self._mark(end)  # what lay there is gone; the spool has told
                else:
                    self._idle.set()
                    await self._arrived.wait()
        finally:
            self._loop = None

    async def _read(self) -> list[tuple[int, bytes]]:
        return await asyncio.to_thread(self._spool.read, self.progress.mark.position, READ_BYTES)

    async def _hand_on(self, server: Writer, records: list[tuple[int, bytes]]) -> None:
        for run in await asyncio.to_thread(lambda: list(self._runs(records))):
            before, done = self.progress.mark.readings, 0
            self._written = np.zeros(len(run.rows), np.bool_)
            chunks = run.cut(self._lines)
            following = self._prepare(chunks[0])
            try:
                for chunk, after in zip(chunks, [*chunks[1:], None], strict=True):
                    ready, body = await following
                    if after is not None:
                        following = self._prepare(after)
                    if ready.doubtful:
                        await self._settle(server, ready)
                    elif len(ready.rows):
                        await self._send(server, ready, body)
                    # Whole records alone: what is sent again after a crash must not have passed already.
                    start, done = done, int(np.searchsorted(run.number, chunk.after))
                    if done > start:
                        rows = start + np.flatnonzero(self._written[start:done])
                        await asyncio.to_thread(self._passed, run.rows.take(rows))
                    self._mark(chunk.after, before + done)
            finally:
                following.cancel()
        self._mark(records[-1][0] + 1)

    def _mark(self, position: int, readings: int | None = None) -> None:
        self.progress.mark = Mark(position, self.progress.mark.readings if readings is None else readings)

    def _runs(self, records: list[tuple[int, bytes]]) -> Iterator[Chunk]:
        """The rows of records, those together that are treated alike."""
        parcels = []
        for number, record in records:
            try:
                parcel = unpack(record)
            except Permanent as error:
                self.progress.unreadable += 1
                log.error("a record of the spool cannot be read", number=number, told=str(error))
                continue
            if isinstance(parcel, Parcel):
                parcels.append((number, parcel))
        for doubtful, group in groupby(parcels, lambda parcel: parcel[1].doubtful):
            run = list(group)
            sizes = [len(parcel.rows) for _, parcel in run]
            yield Chunk(
                rows=Readings.concat(parcel.rows for _, parcel in run),
                number=np.repeat(np.array([number for number, _ in run], np.int64), sizes),
                row=np.concatenate([np.arange(size, dtype=np.int64) for size in sizes]),
                place=np.arange(sum(sizes), dtype=np.intp),
                after=run[-1][0] + 1,
                doubtful=doubtful,
            )

    def _prepare(self, chunk: Chunk) -> asyncio.Task[tuple[Chunk, bytes]]:
        """Writes the lines of a chunk while the one before it is on its way."""
        return asyncio.create_task(
            asyncio.to_thread(lambda: (chunk, b"" if chunk.doubtful else self._body(chunk.rows)))
        )

    def _body(self, rows: Readings) -> bytes:
        return packed(self._block(rows))

    async def _settle(self, server: Writer, chunk: Chunk) -> None:
        """Sends those of doubtful readings that the server has not: everything that was taken before them is there by
        now, so its answer is final."""
        try:
            there = await self._patiently(lambda: self._there(chunk.rows))
        except Permanent as error:  # the answer is too long
            if len(chunk.rows) == 1:
                log.warning("whether a late reading is there already cannot be told; it is written", told=str(error))
                there = np.zeros(1, np.bool_)
            else:
                for half in chunk.halves():
                    await self._settle(server, half)
                return
        new = ~there & first_of_instant(chunk.rows)
        self.progress.overtaken += int(np.count_nonzero(~new))
        if new.any():
            fresh = chunk.take(new)
            await self._send(server, fresh, await asyncio.to_thread(self._body, fresh.rows))

    async def _send(self, server: Writer, chunk: Chunk, body: bytes) -> None:
        """Returns when the server has every reading of the chunk, or has refused it for good."""
        try:
            await self._patiently(lambda: server.write(self._bucket, body))
        except (Malformed, Dropped, TooLarge) as refusal:
            if len(chunk.rows) == 1 or (isinstance(refusal, Dropped) and refusal.dropped >= len(chunk.rows)):
                await self._put_aside(chunk, refusal)
                return
            for half in chunk.halves():
                await self._send(server, half, await asyncio.to_thread(self._body, half.rows))
        else:
            self.progress.forwarded += len(chunk.rows)
            self._written[chunk.place] = True

    async def _put_aside(self, chunk: Chunk, refusal: Malformed | Dropped | TooLarge) -> None:
        reason, at_us = reason_of(refusal), self._clock()

        async def put() -> list[Letter]:
            return await asyncio.to_thread(lambda: self._letters.put(self._bury(chunk, reason, refusal.what, at_us)))

        new = await self._patiently(put)
        if new:
            log.error(
                "readings were put aside",
                reason=str(reason),
                count=len(new),
                message=refusal.what,
                line=new[0].reading.line,
            )

    def _bury(self, chunk: Chunk, reason: DeadLetter, message: str, at_us: int) -> Iterator[Letter]:
        lines = self._block(chunk.rows).decode().split("\n")[:-1]  # names may hold what else counts as a line's end
        places = zip(chunk.number.tolist(), chunk.row.tolist(), lines, strict=True)
        return (Letter(number, row, DeadReading(reason, line, message, at_us)) for number, row, line in places)

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What the call answers, tried again without end while it raises Transient."""
        longest_s = FIRST_WAIT_S
        while True:
            try:
                answer = await call()
            except Transient as error:
                self._struggle(error)
                wait_s = longest_s * _CHANCE.uniform(0.5, 1)  # so that many collectors do not come at once
                await self._sleep(max(wait_s, error.after_s or 0 if isinstance(error, Unavailable) else 0))
                longest_s = min(2 * longest_s, LONGEST_WAIT_S)
            else:
                if self.progress.trouble:
                    log.info("readings are handed on again", bucket=self._bucket)
                    self.progress.trouble = ""
                return answer

    def _struggle(self, error: Transient) -> None:
        told = str(error)
        if told != self.progress.trouble:
            tell = log.error if isinstance(error, Unavailable) and error.standing else log.warning
            tell("readings wait in the spool", told=told)
        self.progress.trouble = told


def packed(lines: bytes) -> bytes:
    """Gzip, at the level that costs least: a third of a second for a million lines, to a quarter of their size."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(lines) + packer.flush()


def first_of_instant(rows: Readings) -> npt.NDArray[np.bool_]:
    """Which rows are the first of their (point, time)."""
    order = np.lexsort((rows.time, rows.point))
    point, time = rows.point[order], rows.time[order]
    again = np.zeros(len(rows), np.bool_)
    again[order[1:]] = (point[1:] == point[:-1]) & (time[1:] == time[:-1])
    return ~again


def reason_of(refusal: Malformed | Dropped | TooLarge) -> DeadLetter:
    """The reason as we count it; of what InfluxDB drops, it tells only in words why."""
    if isinstance(refusal, Malformed):
        return DeadLetter.MALFORMED
    if isinstance(refusal, TooLarge):
        return DeadLetter.TOO_LARGE
    if "retention" in refusal.what:
        return DeadLetter.BEYOND_RETENTION
    return DeadLetter.TYPE_CONFLICT if "type" in refusal.what else DeadLetter.NOT_TAKEN
