"""The tiers of the embedded store: minutes and hours, made of readings, and windows that are put together from them.

A step is kept as sum, least, greatest and number, for these can be added up: whatever comes late adds a row of its own
to a step that is there already. A sum also takes a fifth less of the disk than a mean does.

Lives here: statements over `minutes` and `hours`, and the same sums over columns. Not here: when they are made
(embedded.py), which of them answers (retention.py). Errors are DuckDB's own here; embedded.py has them translated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt

from dcim.core.ports import Aggregate
from dcim.core.readings import Quality, Readings, Tier
from dcim.store.retention import STEP_US, Part
from dcim.store.tables import fetched

_Cell = TypeVar("_Cell", np.float64, np.uint8)

TABLE: Final = {Tier.RAW: "readings", Tier.MINUTE: "minutes", Tier.HOUR: "hours"}
_SOURCE: Final = {Tier.MINUTE: "readings", Tier.HOUR: "minutes"}
_USABLE = f"value is not null and quality < {Quality.BAD:d}"
_ROLL = {
    Tier.MINUTE: "sum(value) as total, min(value) as least, max(value) as greatest, count(*)::uinteger as number",
    Tier.HOUR: "sum(total) as total, min(least) as least, max(greatest) as greatest, sum(number)::uinteger as number",
}
_HEAP = "time >= make_timestamp($start) and time < make_timestamp($end) and point between $first and $last"
_OF_READINGS: dict[Aggregate, str] = {
    "mean": "value as total, 1::uinteger as number",
    "min": "value as least",
    "max": "value as greatest",
    "count": "1::uinteger as number",
}
_OF_STEPS: dict[Aggregate, str] = {
    "mean": "total, number",
    "min": "least",
    "max": "greatest",
    "count": "number",
}
_TOGETHER: dict[Aggregate, str] = {
    "mean": "sum(total) / sum(number)",
    "min": "min(least)",
    "max": "max(greatest)",
    "count": "sum(number)::double",
}


DENSE_MAX: Final = 4_000_000
"""Points × buckets that an answer may have for each of them to get a place in memory, 17 bytes each."""
_NOTHING_YET: Final[dict[Aggregate, float]] = {"min": np.inf, "max": -np.inf}


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Columns of equal length: of a point, what the usable readings of one step come to, or of some of them."""

    point: npt.NDArray[np.uint32]
    time: npt.NDArray[np.int64]
    """Start of the step, microseconds UTC."""
    total: npt.NDArray[np.float64]
    """Infinite where the sum is more than a float holds."""
    least: npt.NDArray[np.float64]
    greatest: npt.NDArray[np.float64]
    number: npt.NDArray[np.uint32]
    quality: npt.NDArray[np.uint8]
    """The worst of those used."""

    def __len__(self) -> int:
        return len(self.point)

    @classmethod
    def of(cls, readings: Readings, tier: Tier) -> Sums:
        """Readings, in whatever order, by point and step."""
        usable = readings.take(~np.isnan(readings.value) & (readings.quality < Quality.BAD))
        start = usable.time // STEP_US[tier] * STEP_US[tier]
        order = np.lexsort((start, usable.point))
        rows, start = usable.take(order), start[order]
        new = np.ones(len(rows), np.bool_)
        new[1:] = (rows.point[1:] != rows.point[:-1]) | (start[1:] != start[:-1])
        first = np.flatnonzero(new)
        if not len(first):
            none = np.zeros(0)
            return cls(rows.point, start, none, none, none, none.astype(np.uint32), rows.quality)
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduceat(rows.value, first)
        return cls(
            rows.point[first],
            start[first],
            total,
            np.minimum.reduceat(rows.value, first),
            np.maximum.reduceat(rows.value, first),
            np.diff(first, append=len(rows)).astype(np.uint32),
            np.maximum.reduceat(rows.quality, first),
        )


def roll(con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int) -> Sums:
    """The steps of [start_us, end_us): minutes out of the readings, hours out of the minutes. Nothing is written."""
    statement = (
        f"select point, make_timestamp(epoch_us(time) // $step * $step) as time, {_ROLL[tier]}, "  # noqa: S608  ours
        f"max(quality) as quality from {_SOURCE[tier]} where time >= make_timestamp($start) "
        f"and time < make_timestamp($end) {f'and {_USABLE}' if tier is Tier.MINUTE else ''} group by all"
    )
    span = {"start": start_us, "end": end_us, "step": STEP_US[tier]}
    point, time, total, least, greatest, number, quality = con.execute(statement, span).fetchnumpy().values()
    return Sums(point, time.view(np.int64), total, least, greatest, number, quality)


def gather(con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int, first: int, last: int) -> Sums:
    """The steps of [start_us, end_us) and of points `first` to `last` as the tier has them, each as one row."""
    statement = (
        f"select point, time, {_ROLL[Tier.HOUR]}, max(quality) as quality from {TABLE[tier]} "  # noqa: S608  ours
        f"where {_HEAP} group by point, time"
    )
    span = {"start": start_us, "end": end_us, "first": first, "last": last}
    point, time, total, least, greatest, number, quality = con.execute(statement, span).fetchnumpy().values()
    return Sums(point, time.view(np.int64), total, least, greatest, number, quality)


def remove(con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int, first: int, last: int) -> None:
    """Deletes the rows that `gather` made its steps of."""
    statement = f"delete from {TABLE[tier]} where {_HEAP}"  # noqa: S608  ours
    con.execute(statement, {"start": start_us, "end": end_us, "first": first, "last": last})


def census(
    con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Points that have rows in [start_us, end_us), ascending, and how many each."""
    statement = (
        f"select point, count(*) as rows from {TABLE[tier]} "  # noqa: S608  ours
        "where time >= make_timestamp($start) and time < make_timestamp($end) group by point order by point"
    )
    point, rows = con.execute(statement, {"start": start_us, "end": end_us}).fetchnumpy().values()
    return point, rows


def add(con: duckdb.DuckDBPyConnection, tier: Tier, steps: Sums) -> None:
    """Adds rows to steps that are there, or are new."""
    if len(steps):
        fresh = {  # noqa: F841  the statement reads it by its name
            "point": steps.point,
            "time": steps.time.view("datetime64[us]"),
            # Infinite sums of both signs come to none at all, which is as little of a number as an infinite one.
            "total": np.where(np.isnan(steps.total), np.inf, steps.total),
            "least": steps.least,
            "greatest": steps.greatest,
            "number": steps.number,
            "quality": steps.quality,
        }
        con.execute(f"insert into {TABLE[tier]} select * from fresh")  # noqa: S608  a name of ours


def source_time(con: duckdb.DuckDBPyConnection, tier: Tier, from_us: int) -> int | None:
    """The earliest time, not before `from_us`, of what a tier is made of."""
    return _earliest(con, _SOURCE[tier], "time >= make_timestamp($bound)", from_us)


def oldest_time(con: duckdb.DuckDBPyConnection, tier: Tier, before_us: int) -> int | None:
    """The earliest time that a tier has rows of, where that lies before `before_us`."""
    return _earliest(con, TABLE[tier], "time < make_timestamp($bound)", before_us)


def drop(con: duckdb.DuckDBPyConnection, tier: Tier, before_us: int) -> int:
    """Deletes the rows of times before `before_us`, and says how many they were."""
    statement = f"delete from {TABLE[tier]} where time < make_timestamp($before)"  # noqa: S608  a name of ours
    return int(con.execute(statement, {"before": before_us}).fetchall()[0][0])


def window(
    con: duckdb.DuckDBPyConnection,
    points: npt.NDArray[np.uint32],
    parts: Sequence[Part],
    every_us: int,
    how: Aggregate,
) -> Readings:
    """TelemetryStore.window out of several tiers: buckets by point and time. `how` is one that tiers keep."""
    if not parts or not len(points):
        return Readings.empty()
    first, last = parts[0].start_us // every_us, (parts[-1].end_us - 1) // every_us
    if len(points) * (last - first + 1) <= DENSE_MAX:
        return _dense(con, np.unique(points), parts, every_us, how)
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    selects, spans = [], {"every": every_us}
    for number, part in enumerate(parts):
        raw = part.tier is Tier.RAW
        selects.append(
            f"select point, epoch_us(time) // $every as bucket, quality, "  # noqa: S608  ours alone
            f"{(_OF_READINGS if raw else _OF_STEPS)[how]} from {TABLE[part.tier]} "
            f"where time >= make_timestamp($start_{number}) and time < make_timestamp($end_{number}) "
            f"and point in (select point from wanted) {f'and {_USABLE}' if raw else ''}"
        )
        spans |= {f"start_{number}": part.start_us, f"end_{number}": part.end_us}
    statement = (
        f"select point, make_timestamp(bucket * $every) as time, {_TOGETHER[how]} as value, "  # noqa: S608  ours alone
        f"max(quality) as quality from ({' union all '.join(selects)}) group by point, bucket order by point, bucket"
    )
    return fetched(con.execute(statement, spans))


def _dense(
    con: duckdb.DuckDBPyConnection,
    points: npt.NDArray[np.uint32],
    parts: Sequence[Part],
    every_us: int,
    how: Aggregate,
) -> Readings:
    """The same with a place for each point and bucket: rows come as they lie, and putting them together there costs a
    fifth of grouping and sorting them. points: sorted, each once, one at least."""
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    bounds = {"least": int(points[0]), "most": int(points[-1])}
    # A join with the points costs as much as reading their rows; where hardly others lie between, bounds are enough.
    together = 2 * len(points) > bounds["most"] - bounds["least"]
    which = "point between $least and $most" if together else "point in (select point from wanted)"
    first = parts[0].start_us // every_us
    width = (parts[-1].end_us - 1) // every_us - first + 1
    row_of, places = _rows(points), _Places(len(points), width, how)
    for part in parts:
        raw = part.tier is Tier.RAW
        statement = (
            f"select point, time, quality, {(_OF_READINGS if raw else _OF_STEPS)[how]} "  # noqa: S608  ours
            f"from {TABLE[part.tier]} where time >= make_timestamp($start) and time < make_timestamp($end) "
            f"and {which} {f'and {_USABLE}' if raw else ''}"
        )
        span = {"start": part.start_us, "end": part.end_us, **(bounds if together else {})}
        point, time, quality, *figures = con.execute(statement, span).fetchnumpy().values()
        row, bucket = row_of(point), time.view(np.int64) // every_us - first
        if together and len(points) <= bounds["most"] - bounds["least"]:
            ours = points[row] == point
            row, bucket, quality, figures = row[ours], bucket[ours], quality[ours], [one[ours] for one in figures]
        places.take(row, bucket, quality, figures)
    held, value, worst = places.held()
    row = held // width
    return Readings(points[row], (held - row * width + first) * every_us, value, worst)


def _rows(points: npt.NDArray[np.uint32]) -> Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.int64]]:
    """Which of the points, which are sorted, each of some is, none of which is greater than the last; any, for one that
    is not among them. Numbers are dense, so a table of them all is small, and looking there costs a tenth of
    searching."""
    if points[-1] >= DENSE_MAX:
        return lambda found: np.searchsorted(points, found)
    table = np.zeros(int(points[-1]) + 1, np.int64)
    table[points] = np.arange(len(points))
    return lambda found: table[found]


class _Places:
    """What rows come to, place by place. The places of one time lie together, as rows do on the disk: going by points
    would miss the processor's cache at each row."""

    def __init__(self, points: int, buckets: int, how: Aggregate) -> None:
        self._points, self._how = points, how
        self._number = np.zeros(points * buckets)
        self._figure = np.full(points * buckets, _NOTHING_YET.get(how, 0.0))
        self._doubt = np.zeros(points * buckets, np.uint8)

    def take(
        self,
        point: npt.NDArray[np.int64],
        bucket: npt.NDArray[np.int64],
        quality: npt.NDArray[np.uint8],
        figures: Sequence[npt.NDArray[np.float64]],
    ) -> None:
        """Rows of whatever places. figures: the columns of `how`."""
        place, places = bucket * self._points + point, len(self._number)
        if self._how == "min":
            np.minimum.at(self._figure, place, figures[0])
        elif self._how == "max":
            np.maximum.at(self._figure, place, figures[0])
        elif self._how == "mean":
            with np.errstate(over="ignore", invalid="ignore"):
                self._figure += np.bincount(place, figures[0], places)
        self._number += np.bincount(place, figures[-1] if self._how in {"mean", "count"} else None, places)
        doubtful = np.flatnonzero(quality)
        np.maximum.at(self._doubt, place[doubtful], quality[doubtful])

    def held(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """The places that have rows, point × buckets + bucket, in order, with the figure of each and its worst
        quality."""
        number, doubt = self._by_point(self._number), self._by_point(self._doubt)
        held = np.flatnonzero(number > 0)
        figure = number[held] if self._how == "count" else self._by_point(self._figure)[held]
        if self._how == "mean":
            figure /= number[held]
        return held, figure, doubt[held]

    def _by_point(self, places: npt.NDArray[_Cell]) -> npt.NDArray[_Cell]:
        return np.ascontiguousarray(places.reshape(-1, self._points).T).reshape(-1)


def _earliest(con: duckdb.DuckDBPyConnection, table: str, where: str, bound_us: int) -> int | None:
    statement = f"select epoch_us(min(time)) from {table} where {where}"  # noqa: S608  names and conditions of ours
    found: int | None = con.execute(statement, {"bound": bound_us}).fetchall()[0][0]
    return found
