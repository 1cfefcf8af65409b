"""The tiers of the embedded store: minutes and hours, made of readings, and windows that are put together from them.

A step is kept as sum, least, greatest and number, for these can be added up: whatever comes late adds a row of its own
to a step that is there already. A sum also takes a fifth less of the disk than a mean does.

Lives here: statements over `minutes` and `hours`, and the same sums over columns. Not here: when they are made
(embedded.py), which of them answers (retention.py). Errors are DuckDB's own here; embedded.py has them translated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt

from dcim.core.ports import Aggregate
from dcim.core.readings import Quality, Readings, Tier
from dcim.store.retention import STEP_US, Part
from dcim.store.tables import fetched

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
"""Points × buckets that an answer may have for each of them to get a place in memory, 18 bytes each."""


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
    if not parts:
        return Readings.empty()
    first, last = parts[0].start_us // every_us, (parts[-1].end_us - 1) // every_us
    if how in ("mean", "count") and len(points) * (last - first + 1) <= DENSE_MAX:
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
    """The same with a place for each point and bucket: rows come as they lie, and adding them up there costs a fifth of
    grouping and sorting them. points: sorted, each once."""
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    first = parts[0].start_us // every_us
    width = (parts[-1].end_us - 1) // every_us - first + 1
    cells = len(points) * width
    total, number = np.zeros(cells), np.zeros(cells)
    doubt = {quality: np.zeros(cells, np.bool_) for quality in (Quality.UNCERTAIN, Quality.BAD)}
    for part in parts:
        raw = part.tier is Tier.RAW
        statement = (
            f"select point, time, {_OF_READINGS['mean'] if raw else _OF_STEPS['mean']}, quality "  # noqa: S608  ours
            f"from {TABLE[part.tier]} where time >= make_timestamp($start) and time < make_timestamp($end) "
            f"and point in (select point from wanted) {f'and {_USABLE}' if raw else ''}"
        )
        found = con.execute(statement, {"start": part.start_us, "end": part.end_us}).fetchnumpy()
        point, time, sums, counts, quality = found.values()
        place = np.searchsorted(points, point) * width + (time.view(np.int64) // every_us - first)
        with np.errstate(over="ignore", invalid="ignore"):
            total += np.bincount(place, sums, cells)
        number += np.bincount(place, counts, cells)
        for least, marks in doubt.items():
            marks[place[quality >= least]] = True
    held = np.flatnonzero(number)
    row, bucket = np.divmod(held, width)
    worst = np.where(doubt[Quality.BAD], Quality.BAD, np.where(doubt[Quality.UNCERTAIN], Quality.UNCERTAIN, 0))[held]
    value = number[held] if how == "count" else total[held] / number[held]
    return Readings(points[row], (bucket + first) * every_us, value, worst.astype(np.uint8))


def _earliest(con: duckdb.DuckDBPyConnection, table: str, where: str, bound_us: int) -> int | None:
    statement = f"select epoch_us(min(time)) from {table} where {where}"  # noqa: S608  names and conditions of ours
    found: int | None = con.execute(statement, {"bound": bound_us}).fetchall()[0][0]
    return found
