"""A store without a disk: for tests, and for trials where everything may be gone at the end.

It keeps the promises of the ports in the plainest way there is, a dict of instants per point, and is what the real
stores are compared with. It has no tiers: as long as any tier is kept, so are the readings, and each answer is made of
them as if there were only that tier. "Durable" ends with the process; memory is bounded by a number of rows.

Lives here: MemoryStore. Not here: anything that is meant to be fast or large (embedded.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from threading import Lock

import polars as pl

from dcim.core.errors import Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate, Answer, Appended, Entry, Maintained
from dcim.core.readings import Quality, Readings, Tier
from dcim.core.times import from_us, to_us
from dcim.store.retention import FOR_EVER, Floors, Retention, advance, bucket_us, parts, pick
from dcim.store.sift import END_US, FIRST_US, sift

ROWS_MAX = 5_000_000
"""Readings and held values that are taken; about 1 GB. Then the store is full, as a disk would be."""

_Instants = dict[int, tuple[float, int]]
"""Time in microseconds → (value, quality)."""

_AGGREGATES: dict[Aggregate, Callable[[Sequence[float]], float]] = {
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "last": lambda values: values[-1],
    "count": len,
}


class MemoryStore:
    """TelemetryStore, Tiered, Upkept, Catalogue, Holding and Books in memory. Any method may be called from any thread.

    rows_max: readings and held values that it takes; a batch that goes beyond is refused whole, as Transient.
    retention: how long each tier is answered, once `maintain` is called.
    """

    def __init__(self, rows_max: int = ROWS_MAX, retention: Retention = FOR_EVER) -> None:
        self._rows_max, self._retention = rows_max, retention
        self._floors: Floors = dict.fromkeys(Tier, 0)
        self._rows = 0
        self._lock = Lock()
        self._stored: dict[int, _Instants] = {}
        self._held: dict[int, _Instants] = {}
        self._records: dict[int, PointRecord] = {}
        self._account: bytes | None = None

    def append(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Stores a batch; see TelemetryStore. Raises Transient when the store is full."""
        with self._lock:
            return self._add(self._stored, batch, entry, self._floors[Tier.RAW])

    def latest(self, points: Sequence[int] | None = None) -> pl.DataFrame:
        """The newest reading of each point; see TelemetryStore."""
        with self._lock:
            wanted = sorted(self._stored if points is None else self._stored.keys() & set(points))
            rows = [(point, max(self._stored[point])) for point in wanted]
            return _frame([(point, time, *self._stored[point][time]) for point, time in rows])

    def window(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> pl.DataFrame:
        """Readings with start ≤ time < end; see TelemetryStore. Raises ValueError for every ≤ 0 or an unknown `how`."""
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
        start_us, end_us = to_us(start), to_us(end)
        every_us = bucket_us(every, how)
        with self._lock:
            tier, width_us = pick(start_us, end_us, every_us, how, self._floors)
            floor = self._floors[tier]
            stretch = parts(tier, start_us, end_us, dict.fromkeys(Tier, END_US), self._floors)
            rows = [
                (point, time, *self._stored[point][time])
                for point in sorted(self._stored.keys() & set(points))
                for time in sorted(self._stored[point])
                if any(part.start_us <= time < part.end_us for part in stretch)
            ]
        if width_us is not None:
            rows = list(_bucketed(rows, width_us, _AGGREGATES["mean" if every is None else how]))
        width = every if width_us is None or width_us == every_us else timedelta(microseconds=width_us)
        return Answer(_frame(rows), tier, width, from_us(floor) if floor else None)

    def maintain(self, at: datetime) -> Maintained:
        """Lets go of what is too old at `at`; see Upkept."""
        with self._lock:
            newest = max((max(instants) for instants in self._stored.values()), default=None)
            if newest is None:
                return Maintained()
            before = self._floors
            rolled = dict.fromkeys(Tier, min(newest, to_us(at)))
            self._floors = advance(self._retention, from_us(rolled[Tier.RAW]), rolled, before)
            times = (time for instants in self._stored.values() for time in instants)
            dropped = sum(before[Tier.RAW] <= time < self._floors[Tier.RAW] for time in times)
            for instants in self._stored.values():
                latest = max(instants)
                old = [time for time in instants if time < self._floors[Tier.HOUR] and time != latest]
                for time in old:
                    del instants[time]
                self._rows -= len(old)
            return Maintained(dropped={Tier.RAW: dropped})

    def remember(self, records: Sequence[PointRecord]) -> None:
        """Keeps what is known of points; see Catalogue. Of two records with one id the later counts."""
        with self._lock:
            self._records.update({record.id: record for record in records})

    def recall(self) -> list[PointRecord]:
        """Every record, by ascending id."""
        with self._lock:
            return [self._records[number] for number in sorted(self._records)]

    def hold(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Keeps values that nothing has described yet; see Holding. Raises Transient when the store is full."""
        with self._lock:
            return self._add(self._held, batch, entry)

    def release(
        self, points: Sequence[int], convert: Callable[[Readings], Readings], entry: Entry | None = None
    ) -> tuple[Readings, Appended]:
        """Moves held values into the store; see Holding. They come to `convert` sorted by point and time, and only
        when there are any. What `convert` raises ends the release; then everything is held as before."""
        with self._lock:
            wanted = sorted(self._held.keys() & set(points))
            rows = [(point, time, *self._held[point][time]) for point in wanted for time in sorted(self._held[point])]
            if not rows:
                return Readings.empty(), Appended(0, 0)
            converted = convert(_readings(rows))
            appended = self._add(self._stored, converted, entry, self._floors[Tier.RAW], freed=len(rows))
            for point in wanted:
                del self._held[point]
            return converted, appended

    def held(self) -> dict[int, int]:
        """How many readings are held, by point."""
        with self._lock:
            return {point: len(instants) for point, instants in self._held.items()}

    def book(self, account: bytes) -> None:
        """Keeps the account; see Books."""
        with self._lock:
            self._account = account

    def booked(self) -> bytes | None:
        """The account that was kept last; see Books."""
        with self._lock:
            return self._account

    def close(self) -> None:
        """Nothing to let go of; everything stays as it is."""

    def _add(
        self,
        into: dict[int, _Instants],
        batch: Readings,
        entry: Entry | None = None,
        floor_us: int = FIRST_US,
        freed: int = 0,
    ) -> Appended:
        sifted = sift(batch, floor_us)
        rows = sifted.rows
        if self._rows - freed + len(rows) > self._rows_max:
            todo = "Use the embedded store for more"
            raise Transient(f"the store in memory is full: {self._rows} rows", where="store", todo=todo)
        stored = 0
        columns = (rows.point.tolist(), rows.time.tolist(), rows.value.tolist(), rows.quality.tolist())
        for point, time, value, quality in zip(*columns, strict=True):
            instants = into.setdefault(point, {})
            if time not in instants:
                instants[time] = (value, quality)
                stored += 1
        self._rows += stored - freed
        appended = sifted.became(stored)
        if entry is not None:
            self._account = entry(appended)
        return appended


_Row = tuple[int, int, float, int]
"""(point, time, value, quality)"""


def _bucketed(rows: list[_Row], every_us: int, aggregate: Callable[[Sequence[float]], float]) -> Iterator[_Row]:
    usable: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for point, time, value, quality in rows:
        if value == value and quality < Quality.BAD:  # noqa: PLR0124  NaN alone differs from itself
            usable.setdefault((point, time - time % every_us), []).append((value, quality))
    for (point, bucket), used in usable.items():
        values, qualities = zip(*used, strict=True)
        yield point, bucket, float(aggregate(values)), max(qualities)


def _readings(rows: list[_Row]) -> Readings:
    return Readings.of(
        [point for point, *_ in rows],
        [time for _, time, *_ in rows],
        [value for *_, value, _ in rows],
        [quality for *_, quality in rows],
    )


def _frame(rows: list[_Row]) -> pl.DataFrame:
    return _readings(rows).to_frame()
