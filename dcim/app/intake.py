"""The way in: one batch from a source to durable and counted. The order is all here, top to bottom, in `_keep`.

What is written and what is booked of it go to disk together: the account is a part of the write. So the account says
the same as the store wherever the process is killed, and a batch that is delivered again is a duplicate.

Lives here: the order, the retry of a half-kept batch, the account in the ledger, and values that wait for their
metadata. Not here: how messages are read (codecs), how they are kept (stores), who watches (watch.py)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count as counter

import numpy as np
import numpy.typing as npt
import structlog

from dcim.core import account
from dcim.core.errors import Transient
from dcim.core.ledger import Kind, Ledger, Posting, Reject, RejectReason
from dcim.core.pace import Pace
from dcim.core.points import PointIndex
from dcim.core.ports import (
    Appended,
    Batch,
    Books,
    Catalogue,
    Decoded,
    Entry,
    Holding,
    Router,
    TelemetryStore,
    Trouble,
    Wish,
)
from dcim.core.readings import Readings
from dcim.core.times import from_us

log = structlog.get_logger()

HELD_MAX = 5_000_000
"""Readings that may wait for their metadata, all points together; more are refused and counted."""

Offer = Callable[[Readings, int], None]
"""Takes readings and the time of their arrival (microseconds UTC), and does not wait."""

Hear = Callable[[npt.NDArray[np.uint32], int], None]
"""Takes points that are as they were, and the time at which that was heard (microseconds UTC), and does not wait."""

Ask = Callable[[str, Sequence[Wish]], None]
"""Takes what codecs would have sent to the other end of a source, and does not wait."""

Owner = tuple[str, str]
"""Source and codec."""


@dataclass(slots=True)
class _Attempt:
    """A batch on its way, with what has been done of it: a retry goes on where the failure was."""

    batch: Batch
    parts: Sequence[Decoded]
    """At least one; the last of them is booked together with what belongs to the batch as a whole."""
    kept: int = 0
    """Parts that are appended and booked."""
    held: bool = False
    """The next part's held values are kept and booked already."""


class Intake:
    """Makes batches durable, one after the other, in a thread of its own."""

    def __init__(
        self,
        *,
        routers: Mapping[str, Router],
        index: PointIndex,
        store: TelemetryStore,
        catalogue: Catalogue,
        holding: Holding,
        books: Books,
        ledger: Ledger,
        pace: Pace,
        convert: Callable[[Readings], Readings],
        offer: Offer,
        clock: Callable[[], int],
        hear: Hear = lambda _points, _at: None,
        ask: Ask = lambda _source, _wishes: None,
        held_max: int = HELD_MAX,
    ) -> None:
        """routers: by source name. convert: held readings, as sent, to the units of points described since.
        books: where the account lies that the store keeps with its writes. clock: microseconds UTC."""
        self.trouble: Trouble | None = None
        """What is wrong since the last batch that could not be made durable; None while all is well."""
        self._routers, self._index, self._ledger, self._pace = routers, index, ledger, pace
        self._store, self._catalogue, self._holding, self._books = store, catalogue, holding, books
        self._convert, self._offer, self._hear, self._ask, self._clock = convert, offer, hear, ask, clock
        self._attempts: dict[str, _Attempt] = {}
        self._waiting: dict[int, dict[Owner, int]] = {}  # point → owner → readings held for it
        self._held_max = held_max
        self._releasable: set[int] = set()
        self._released: list[Readings] = []  # not offered yet
        self._serial = counter(1)
        self._doubt: tuple[bytes, Callable[[], None]] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="intake")

    def resume(self, owner: Callable[[str], Owner | None]) -> None:
        """Takes over what an earlier run left waiting. owner: whose a point is, by its key, as far as that can be told.

        What waits is in the account already, as so many values of each source and codec; which points those are is
        worked out here. What is in no account, for that was damaged, is carried into it."""
        budget, held = self._ledger.pending(), self._holding.held()
        owners = {point: owner(self._index.key(point)) for point in sorted(held)}

        def allot(point: int, whose: Owner) -> None:
            share = min(held[point], budget.get(whose, 0))
            if share:
                budget[whose] -= share
                held[point] -= share
                self._own(point, whose, share)

        for point, whose in owners.items():
            if whose is not None:
                allot(point, whose)
        for point, whose in owners.items():
            for anybody in budget:
                allot(point, anybody)
            if held[point] and whose is not None:
                self._ledger.carry(*whose, held[point])
                self._own(point, whose, held[point])
            self._waiting.setdefault(point, {})
            if self._index[point] is not None:
                self._releasable.add(point)
        # Where the account is not kept in the store's own transaction: it was released, and then we were killed.
        gone = [Posting(*whose, stored={Kind.VALUE: count}) for whose, count in budget.items() if count]
        self._ledger.post(gone)

    async def deliver(self, batch: Batch) -> None:
        """A source's `Deliver`: returns when the batch is durable and counted, raises Transient when it is not."""
        try:
            readings, parts = await asyncio.get_running_loop().run_in_executor(self._worker, self._keep, batch)
        except Transient as error:
            since = self.trouble.since if self.trouble else from_us(self._clock())
            self.trouble = Trouble(since, str(error))
            raise
        self.trouble = None
        self._offer(readings, batch.received)
        for part in parts:
            if len(part.alive):
                self._hear(part.alive, batch.received)
            if part.wishes:
                self._ask(batch.source, part.wishes)

    def close(self) -> None:
        """Waits for the batch under way, writes the account and ends the thread."""
        try:
            self._worker.submit(self._close_books).result()
        finally:
            self._worker.shutdown(wait=True)

    def _close_books(self) -> None:
        """What was counted since the last batch, faults of connections, is booked with nothing to go with it."""
        try:
            self._resolve()
            self._books.book(self._account(()))
        except Transient as error:
            log.error("the account could not be written; faults since the last batch are not in it", error=str(error))

    def _keep(self, batch: Batch) -> tuple[Readings, Sequence[Decoded]]:
        """What is to be watched of a batch that is durable and booked, and what its codecs said beside."""
        self._resolve()
        attempt = self._attempt(batch)
        self._remember()
        while attempt.kept < len(attempt.parts):
            if not attempt.held:
                self._hold(attempt)
            self._append(attempt)
        self._release([point for part in attempt.parts for point in part.bound])
        self._attempts.pop(batch.source, None)
        released, self._released = self._released, []
        self._time(attempt)
        return Readings.concat([*(part.readings for part in attempt.parts), *released]), attempt.parts

    def _attempt(self, batch: Batch) -> _Attempt:
        """The batch decoded, once: a source tries the same batch again until it is kept."""
        attempt = self._attempts.get(batch.source)
        if attempt is None or attempt.batch is not batch:
            parts = self._routers[batch.source].route(batch.messages, batch.received)
            attempt = _Attempt(batch, parts or [Decoded(Readings.empty(), Readings.empty())])
            self._attempts[batch.source] = attempt
        return attempt

    def _remember(self) -> None:
        records = self._index.changed()
        if records:
            self._catalogue.remember(records)
            self._index.kept(records)

    # Writing and booking. Each step writes, then books in memory what the write has put into the account on disk

    def _hold(self, attempt: _Attempt) -> None:
        """Keeps the values of the next part that nothing has described yet."""
        batch, part = attempt.batch, attempt.parts[attempt.kept]
        if not len(part.held):
            attempt.held = True
            return
        room = max(0, self._held_max - sum(sum(owners.values()) for owners in self._waiting.values()))
        rows = part.held.take(np.arange(len(part.held)) < room)

        def postings(held: Appended) -> list[Posting]:
            return [
                Posting(
                    batch.source,
                    part.codec,
                    received={Kind.VALUE: len(part.held)},
                    duplicate={Kind.VALUE: held.duplicate},
                    refused={**_reasons(held), RejectReason.TOO_MANY_HELD: len(part.held) - len(rows)},
                    at=from_us(batch.received),
                )
            ]

        def done(held: Appended) -> None:
            attempt.held = True
            if held.stored:
                self._wait((batch.source, part.codec), rows, held)

        self._write(lambda entry: self._holding.hold(rows, entry), postings, done)

    def _append(self, attempt: _Attempt) -> None:
        """Stores the values of the next part, and books all of it that was not held."""
        batch, part = attempt.batch, attempt.parts[attempt.kept]
        rows = Readings.concat([part.readings, part.past])
        last = attempt.kept == len(attempt.parts) - 1

        def postings(appended: Appended) -> list[Posting]:
            made = [_posting(batch, part, appended)]
            return [*made, _of_the_whole(batch)] if last else made

        def done(_: Appended) -> None:
            attempt.kept += 1
            attempt.held = False
            _tell(batch.source, part.rejects)

        self._write(lambda entry: self._store.append(rows, entry), postings, done)

    def _release(self, bound: Iterable[int]) -> None:
        """Lets go what waited for descriptions that have come, and books it where it was received."""
        self._releasable.update(point for point in bound if point in self._waiting)
        if not self._releasable:
            return
        points = sorted(self._releasable)
        converted = [Readings.empty()]

        def convert(held: Readings) -> Readings:
            converted.append(self._convert(held))
            return converted[-1]

        def postings(appended: Appended) -> list[Posting]:
            duplicate, refused, made = appended.duplicate, [reason for _, reason in appended.refused], []
            for whose, count in ((whose, count) for point in points for whose, count in self._waiting[point].items()):
                # Which row was whose is not kept; the sums are exact, and a point with two owners is a rare thing.
                twice = min(duplicate, count)
                bad, refused = refused[: count - twice], refused[count - twice :]
                duplicate -= twice
                made.append(
                    Posting(
                        *whose,
                        stored={Kind.VALUE: count - twice - len(bad)},
                        duplicate={Kind.VALUE: twice},
                        refused=Counter(bad),
                    )
                )
            return made

        def done(_: Appended) -> None:
            for point in points:
                del self._waiting[point]
            self._releasable.clear()
            self._released.append(converted[-1])

        self._write(lambda entry: self._holding.release(points, convert, entry)[1], postings, done)

    def _write(
        self,
        write: Callable[[Entry], Appended],
        postings: Callable[[Appended], Sequence[Posting]],
        done: Callable[[Appended], None],
    ) -> None:
        """Writes, with the account as it will be, and books when that is done. A write that failed leaves a doubt
        whether it was kept all the same; the account on disk can tell."""
        written: list[tuple[bytes, Appended]] = []

        def entry(appended: Appended) -> bytes:
            written.append((self._account(postings(appended)), appended))
            return written[-1][0]

        def finish(appended: Appended) -> None:
            self._ledger.post(postings(appended))
            done(appended)

        try:
            appended = write(entry)
        except BaseException:
            if written:
                kept, as_if = written[-1]
                self._doubt = kept, lambda: finish(as_if)
            raise
        finish(appended)

    def _resolve(self) -> None:
        """After a write that failed: if the account on disk is the one that went with it, it was kept, and counts."""
        if self._doubt is None:
            return
        expected, finish = self._doubt
        kept = self._books.booked()
        self._doubt = None
        if kept == expected:
            finish()

    def _account(self, postings: Iterable[Posting]) -> bytes:
        return account.write(self._ledger.preview(postings), next(self._serial))

    # Values that wait

    def _wait(self, whose: Owner, rows: Readings, held: Appended) -> None:
        """Remembers whose the held rows are. Duplicates among them were settled already; which rows those are only the
        store knows, so when there are any, the counts are taken from the store."""
        points, counts = np.unique(rows.point, return_counts=True)
        if held.duplicate or held.refused:
            now = self._holding.held()
            for point in points.tolist():
                owners = self._waiting.setdefault(point, {})
                owners[whose] = now.get(point, 0) - sum(n for other, n in owners.items() if other != whose)
            return
        for point, count in zip(points.tolist(), counts.tolist(), strict=True):
            self._own(point, whose, count)

    def _own(self, point: int, whose: Owner, count: int) -> None:
        owners = self._waiting.setdefault(point, {})
        owners[whose] = owners.get(whose, 0) + count

    def _time(self, attempt: _Attempt) -> None:
        times = [rows.time.max() for part in attempt.parts for rows in (part.readings, part.held) if len(rows)]
        newest = int(max(times)) if times else None
        self._pace.note(attempt.batch.source, attempt.batch.received, newest, self._clock())


def _posting(batch: Batch, part: Decoded, appended: Appended) -> Posting:
    """Everything of a part but the values that are held."""
    received = {Kind.VALUE: len(part.readings) + len(part.past), Kind.METADATA: part.described + part.repeated}
    for reject in part.rejects:
        received[reject.kind] = received.get(reject.kind, 0) + 1
    return Posting(
        batch.source,
        part.codec,
        received=received,
        stored={Kind.VALUE: appended.stored, Kind.METADATA: part.described},
        duplicate={Kind.VALUE: appended.duplicate, Kind.METADATA: part.repeated},
        rejects=part.rejects,
        refused=_reasons(appended),
        remarks=part.remarks,
        at=from_us(batch.received),
    )


def _reasons(appended: Appended) -> dict[RejectReason, int]:
    return dict(Counter(reason for _, reason in appended.refused))


def _of_the_whole(batch: Batch) -> Posting:
    """What no codec was asked about: the number of messages, and those that were skipped or gave way unread."""
    return Posting(
        batch.source,
        "",
        messages=len(batch.messages) + len(batch.oversized) + batch.overflowed,
        received={Kind.UNREADABLE: len(batch.oversized) + batch.overflowed},
        rejects=[
            Reject(
                RejectReason.PAYLOAD_TOO_LARGE,
                oversized.topic[:512],
                b"",
                f"{oversized.size} bytes of payload were skipped",
                batch.received,
            )
            for oversized in batch.oversized
        ],
        refused={RejectReason.OVERFLOW: batch.overflowed},
        at=from_us(batch.received),
    )


def _tell(source: str, rejects: Sequence[Reject]) -> None:
    for reject in rejects[:1]:
        log.warning(
            "put aside", source=source, reason=str(reject.reason), detail=reject.detail,
            topic=reject.topic[:200].decode("utf-8", "backslashreplace"), more=len(rejects) - 1,
        )  # fmt: skip
