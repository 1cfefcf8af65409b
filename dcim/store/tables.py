"""The tables of the embedded store and the statements over them: functions of a connection, without state or locks.

Lives here: SQL, and the way between columns and DuckDB. Not here: statements over tiers (tiers.py), transactions,
threads and what memory remembers (embedded.py). Errors are DuckDB's own here; embedded.py has them translated.

Columns go in as a dict of arrays that a statement reads by the name of the local variable, and come out as arrays: both
ways need no third library, and no row becomes a Python object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from dcim.core.errors import Permanent
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate
from dcim.core.readings import Quality, Readings, Tier
from dcim.store.newest import Newest
from dcim.store.ranges import ranges

Table = Literal["readings", "held"]

_TABLES = """
create table layout(version integer not null);
create table readings(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table held(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table points(id uinteger not null, key varchar not null, described varchar);
create table newest(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table newest_below(row bigint not null);
"""
_UPGRADES: Final = (
    # 2: the ledger's account. One row that is changed with every write: it costs less than one that goes and one that
    # comes.
    "create table account(body blob); insert into account values (null);",
    # 3: tiers. In minutes and hours one row or more for each point and step: their sums, extremes and numbers together
    # are the step's. What is noted of the newest readings goes by time: numbers of rows move when rows are deleted.
    """
create table minutes(point uinteger not null, time timestamp not null, total double not null, least double not null,
    greatest double not null, number uinteger not null, quality utinyint not null);
create table hours as from minutes;
create table progress(minute_rolled bigint not null, hour_rolled bigint not null, raw_floor bigint not null,
    minute_floor bigint not null, hour_floor bigint not null, noted bigint not null, gone bigint not null);
insert into progress values (0, 0, 0, 0, 0, 0, 0);
delete from newest;
drop table newest_below;
""",
)
"""What makes the tables of layout 1 those of layout 2, and so on."""
LAYOUT: Final = 1 + len(_UPGRADES)
"""Version of the tables. A file with a higher one was written by a newer version of this software."""
_NEWEST_NOTED = "select point, time, coalesce(value, 'nan') as value, quality from newest order by point, time"
_NEWEST_SINCE = """
select point, max(time) as time, coalesce(arg_max_null(value, time), 'nan') as value, arg_max(quality, time) as quality
from readings where time >= make_timestamp($noted) group by point order by point"""
_INSERT: dict[Table, str] = {
    "readings": "insert into readings select * from fresh",
    "held": "insert into held select * from fresh",
}
_SEEN: dict[Table, str] = {
    "readings": """
        select late.row from late semi join (select point, time from readings
            where time between make_timestamp($first) and make_timestamp($last)) stored using (point, time)""",
    "held": """
        select late.row from late semi join (select point, time from held
            where time between make_timestamp($first) and make_timestamp($last)) stored using (point, time)""",
}
_WINDOW = """
from readings where time >= make_timestamp($start) and time < make_timestamp($end)
and point in (select point from wanted)"""
_RAW = f"select point, time, coalesce(value, 'nan') as value, quality {_WINDOW} order by point, time"
_HOW: dict[Aggregate, str] = {
    "mean": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "last": "arg_max(value, time)",
    "count": "count(*)::double",
}
_BUCKETS = {
    how: f"""
select point, make_timestamp((epoch_us(time) // $every) * $every) as bucket, {expression} as value,
max(quality) as quality {_WINDOW} and value is not null and quality < {Quality.BAD:d}
group by all order by point, bucket"""
    for how, expression in _HOW.items()
}
_HELD = """
select point, time, coalesce(value, 'nan') as value, quality from held
where point in (select point from wanted) order by point, time"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the file is with everything that is done a piece at a time; its one row in the table of that name. Times
    in microseconds UTC."""

    minute_rolled: int
    hour_rolled: int
    """Up to here the tier has the steps of all readings."""
    raw_floor: int
    minute_floor: int
    hour_floor: int
    """Rows before this are dropped, or about to be: no answer holds them."""
    noted: int
    """Of each point, the newest reading before this is in the table `newest`, or an older one than its newest."""
    gone: int
    """Readings and held values that were acknowledged and are rightly no longer there."""

    @property
    def rolled(self) -> Mapping[Tier, int]:
        """By tier, as retention.parts takes it."""
        return {Tier.MINUTE: self.minute_rolled, Tier.HOUR: self.hour_rolled}

    @property
    def floors(self) -> Mapping[Tier, int]:
        """By tier, as retention.pick takes it."""
        return {Tier.RAW: self.raw_floor, Tier.MINUTE: self.minute_floor, Tier.HOUR: self.hour_floor}


def ensure(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Makes the tables in an empty file, and those that are new in a file of an earlier layout. Raises Permanent for a
    file of somebody else or of newer software."""
    tables = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    if not tables:
        con.begin()
        con.execute(_TABLES)
        con.execute("insert into layout values (1)")
        con.commit()
    elif "layout" not in tables:
        raise Permanent("this is not a database of ours", where=str(path), todo="Name another file in store.path")
    found = con.execute("select max(version) from layout").fetchall()[0][0]
    for statements in _UPGRADES[found - 1 :] if found >= 1 else ():
        found += 1
        con.begin()
        con.execute(statements)
        con.execute("update layout set version = ?", [found])
        con.commit()
    if found != LAYOUT:
        raise Permanent(
            f"it has layout {found}, and this version of the software knows layout {LAYOUT}",
            where=str(path),
            todo="Start the version that wrote it, or a newer one",
        )


def get_progress(con: duckdb.DuckDBPyConnection) -> Progress:
    """How far the file is, as of the connection's transaction."""
    return Progress(*con.execute("from progress").fetchall()[0])


def put_progress(con: duckdb.DuckDBPyConnection, progress: Progress) -> None:
    """Replaces it."""
    con.execute(
        "update progress set minute_rolled = ?, hour_rolled = ?, raw_floor = ?, minute_floor = ?, hour_floor = ?, "
        "noted = ?, gone = ?",
        [
            progress.minute_rolled, progress.hour_rolled,
            progress.raw_floor, progress.minute_floor, progress.hour_floor,
            progress.noted, progress.gone,
        ],
    )  # fmt: skip


class Counts(NamedTuple):
    """Rows that are there."""

    readings: int
    held: int

    def ever(self, progress: Progress) -> int:
        """Rows that were ever acknowledged: those that are there, and those that are rightly gone. It never falls."""
        return self.readings + self.held + progress.gone


def count(con: duckdb.DuckDBPyConnection) -> Counts:
    """Rows in readings and held. Answered from the tables' heads, in less than a millisecond."""
    return Counts(*con.execute("select (select count(*) from readings), (select count(*) from held)").fetchall()[0])


def load_newest(con: duckdb.DuckDBPyConnection) -> tuple[Newest, int]:
    """The newest reading of each point, and how many readings came since that was last noted.

    What was noted is read; only readings of times since are searched, 17 ms a million.
    """
    newest, noted = Newest(), {"noted": get_progress(con).noted}
    newest.take(fetched(con.execute(_NEWEST_NOTED)))
    newest.take(fetched(con.execute(_NEWEST_SINCE, noted)))
    since = "select count(*) from readings where time >= make_timestamp($noted)"
    return newest, int(con.execute(since, noted).fetchall()[0][0])


def verify(con: duckdb.DuckDBPyConnection) -> None:
    """Reads every value once, so that a damaged block raises. A second for 20 million readings."""
    for table in ("readings", "held", "points", "newest", "account", "minutes", "hours", "progress"):
        con.execute(f"select bit_xor(hash(whole)) from {table} whole").fetchall()  # noqa: S608  the names above


def note_newest(con: duckdb.DuckDBPyConnection, newest: Readings) -> None:
    """Notes the newest reading of each point anew. The caller then moves `Progress.noted` to where it likes."""
    con.execute("delete from newest")
    add_newest(con, newest)


def add_newest(con: duckdb.DuckDBPyConnection, rows: Readings) -> None:
    """Adds to the newest readings some that came of times before `Progress.noted`."""
    if len(rows):
        fresh = _columns(rows)  # noqa: F841  the statement reads it by its name
        con.execute("insert into newest select * from fresh")


def insert(con: duckdb.DuckDBPyConnection, table: Table, rows: Readings) -> None:
    """Adds rows. That none of them is there already is for the caller to know."""
    if len(rows):
        fresh = _columns(rows)  # noqa: F841  the statement reads it by its name
        con.execute(_INSERT[table])


def seen(con: duckdb.DuckDBPyConnection, table: Table, rows: Readings) -> npt.NDArray[np.bool_]:
    """Which of the rows have their (point, time) in the table. Searches only the times where the rows lie."""
    found = np.zeros(len(rows), np.bool_)
    order = np.argsort(rows.time, kind="stable")
    for part in ranges(rows.time[order]):
        index = order[part]
        time = rows.time[index]
        late = {  # noqa: F841  the statement reads it by its name
            "row": index.astype(np.uint32),
            "point": rows.point[index],
            "time": time.view("datetime64[us]"),
        }
        span = {"first": int(time[0]), "last": int(time[-1])}
        found[con.execute(_SEEN[table], span).fetchnumpy()["row"]] = True
    return found


def window(
    con: duckdb.DuckDBPyConnection,
    points: npt.NDArray[np.uint32],
    span: tuple[int, int],
    every: int | None,
    how: Aggregate,
) -> Readings:
    """TelemetryStore.window over readings, in microseconds: rows with span[0] ≤ time < span[1], by point and time."""
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    if every is None:
        return fetched(con.execute(_RAW, {"start": span[0], "end": span[1]}))
    return fetched(con.execute(_BUCKETS[how], {"start": span[0], "end": span[1], "every": every}))


def held_rows(con: duckdb.DuckDBPyConnection, points: npt.NDArray[np.uint32]) -> Readings:
    """What is held for these points, by point and time."""
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    return fetched(con.execute(_HELD))


def drop_held(con: duckdb.DuckDBPyConnection, points: npt.NDArray[np.uint32]) -> None:
    """Deletes what is held for these points."""
    wanted = {"point": points}  # noqa: F841  the statement reads it by its name
    con.execute("delete from held where point in (select point from wanted)")


def held_counts(con: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """How many rows are held, by point."""
    return dict(con.execute("select point, count(*) from held group by point").fetchall())


def put_points(con: duckdb.DuckDBPyConnection, records: Sequence[PointRecord]) -> None:
    """Keeps records, each id once; a known id's record is replaced."""
    changed = {  # noqa: F841  the statements read it by its name
        "id": np.array([record.id for record in records], np.uint32),
        "key": np.array([record.key for record in records], np.object_),
        "described": np.array([record.described for record in records], np.object_),
    }
    con.execute("delete from points where id in (select id from changed)")
    con.execute("insert into points select * from changed")


def get_points(con: duckdb.DuckDBPyConnection) -> list[PointRecord]:
    """Every record, by ascending id."""
    rows = con.execute("select id, key, described from points order by id").fetchall()
    return [PointRecord(*row) for row in rows]


def put_account(con: duckdb.DuckDBPyConnection, account: bytes) -> None:
    """Keeps the account of the ledger in the place of the one before."""
    con.execute("update account set body = ?", [account])


def get_account(con: duckdb.DuckDBPyConnection) -> bytes | None:
    """The account that was kept last, or None."""
    body = con.execute("select body from account").fetchall()[0][0]
    return None if body is None else bytes(body)


def _columns(rows: Readings) -> dict[str, npt.NDArray[np.generic]]:
    """Rows as DuckDB takes them in. It reads a NaN in an array as null."""
    return {
        "point": rows.point,
        "time": rows.time.view("datetime64[us]"),
        "value": rows.value,
        "quality": rows.quality,
    }


def fetched(result: duckdb.DuckDBPyConnection) -> Readings:
    """The result of a query whose columns are those of a Readings, in their order, NaN standing for null."""
    point, time, value, quality = result.fetchnumpy().values()
    return Readings(point, time.view(np.int64), value, quality)
