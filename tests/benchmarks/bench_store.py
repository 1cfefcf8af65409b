"""What keeping readings costs, and how many times faster that is than the obvious ways in DuckDB, in one run.

    python -m tests.benchmarks.bench_store [--batches 200]

The obvious ways: a primary key that ignores conflicts, and one statement per row. Commit times are those of the disk
that the temporary folder lies on; the ratios hold on any."""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from dcim.core.readings import Readings
from dcim.core.times import from_us, now
from dcim.store.embedded import EmbeddedStore

T0 = 1_772_334_000_000_000
BATCH = 20_000
SCAN_US = 5_000_000
Seconds = npt.NDArray[np.float64]


def machine() -> str:
    """The processor, and the versions that the figures hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")] or ["unknown processor"]
    versions = f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, numpy {np.__version__}"
    return f"{len(names)} × {names[0]}, {platform.system()} {platform.release()}, {versions}"


def scans(batches: int, points: int = BATCH, spread_ms: int = 1000) -> Iterator[Readings]:
    """Scans of a plant every 5 s: values to a hundredth that wander, points in no order. spread_ms: how far apart the
    devices of one scan set their times, to the millisecond."""
    rng = np.random.default_rng(1)
    value = rng.uniform(10, 500, points)
    order = rng.permutation(points)
    lag = rng.integers(0, spread_ms, points) * 1000
    for number in range(batches):
        value += rng.normal(0, 0.2, points)
        sent, stamp = np.round(value, 2), T0 + number * SCAN_US + lag
        for start in range(0, points, BATCH):
            part = order[start : start + BATCH]
            yield Readings(part.astype(np.uint32), stamp[part], sent[part], np.zeros(len(part), np.uint8))


def timed(call: Callable[..., object], *args: object) -> float:
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def appended(store: EmbeddedStore, batches: Iterable[Readings]) -> Seconds:
    return np.array([timed(store.append, batch) for batch in batches])


def keyed(folder: Path, batches: int) -> Seconds:
    """The same batches into a table whose primary key finds the duplicates."""
    with duckdb.connect(folder / "keyed.duckdb") as con:
        con.execute(
            "create table readings(point uinteger, time timestamp, value double, quality utinyint, "
            "primary key (point, time))"
        )
        return np.array([timed(_insert_or_ignore, con, batch) for batch in scans(batches)])


def _insert_or_ignore(con: duckdb.DuckDBPyConnection, batch: Readings) -> None:
    times = batch.time.view("datetime64[us]")
    rows = {"point": batch.point, "time": times, "value": batch.value, "quality": batch.quality}  # noqa: F841  by name
    con.execute("insert or ignore into readings select * from rows")


def row_by_row(folder: Path, rows: int) -> float:
    """Seconds for so many rows of one batch, a statement each, in one transaction."""
    batch = next(scans(1)).take(np.arange(rows))
    columns = batch.point.tolist(), batch.time.view("datetime64[us]").tolist(), batch.value.tolist()
    with duckdb.connect(folder / "rows.duckdb") as con:
        con.execute("create table readings(point uinteger, time timestamp, value double)")
        con.begin()
        took = timed(con.executemany, "insert into readings values (?, ?, ?)", list(zip(*columns, strict=True)))
        return took + timed(con.commit)


def bytes_a_value(path: Path, batches: int, spread_ms: int) -> float:
    """Size of the closed file."""
    with EmbeddedStore(path, now) as store:
        appended(store, scans(batches, spread_ms=spread_ms))
    return path.stat().st_size / batches / BATCH


def tell(what: str, seconds: Seconds, rows: int = 0) -> None:
    """One line: how long a call takes, and rows a second where a call has rows."""
    ms = seconds * 1000
    rate = f"{rows * len(ms) / seconds.sum():,.0f} rows/s" if rows else ""
    spread = f"median {np.median(ms):.1f} ms, p99 {np.quantile(ms, 0.99):.1f} ms, longest {ms.max():.1f} ms"
    print(f"{what:<52}{rate:>18}   {spread}", flush=True)


def several(call: Callable[..., object], *args: object) -> Seconds:
    return np.array([timed(call, *args) for _ in range(7)])


def main() -> None:
    """Runs all of it and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=200, help="batches of 20 000 rows (default: %(default)s)")
    batches = parser.parse_args().batches
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = _one_plant(folder / "plant.duckdb", batches)
        _many_points(folder / "wide.duckdb")
        few = max(20, batches // 4)
        key = keyed(folder, few)
        tell("the same with a primary key", key, BATCH)
        rows = np.array([row_by_row(folder, 2000)])
        tell("the same row by row (2 000 rows)", rows, rows=2000)
        print(f"ratio to a primary key:  {key.mean() / ours[:few].mean():.1f} times as fast")
        print(f"ratio to row by row:     {rows.mean() / 2000 / (ours.mean() / BATCH):.0f} times as fast")
        for spread_ms, plant in ((1000, "each device sets its own time"), (1, "a scan has one time")):
            size = bytes_a_value(folder / f"{spread_ms}.duckdb", batches, spread_ms)
            print(f"bytes a value: {size:.1f}, where {plant}")


def _one_plant(path: Path, batches: int) -> Seconds:
    every = list(scans(batches))
    with EmbeddedStore(path, now) as store:
        ours = appended(store, every)
        tell("append, new", ours, BATCH)
        tell("append, the last scan again", several(store.append, every[-1]), BATCH)
        tell("append, an earlier scan again", several(store.append, every[batches // 2]), BATCH)
        start, end = from_us(T0), from_us(T0 + batches * SCAN_US)
        tell("window, one point, raw", several(store.window, [7], start, end), rows=batches)
        some = range(0, BATCH, 10)
        args = (some, start, end, timedelta(minutes=1))
        tell(
            "window, 2 000 points, mean of a minute (rows read)", several(store.window, *args), rows=batches * len(some)
        )
        tell("close", np.array([timed(store.close)]))
    start_s = time.perf_counter()
    with EmbeddedStore(path, now):
        tell("open", np.array([time.perf_counter() - start_s]))
    return ours


def _many_points(path: Path) -> None:
    with EmbeddedStore(path, now) as store:
        appended(store, scans(3, points=200_000))
        tell("latest, 200 000 points", several(store.latest), rows=200_000)
        tell("latest, 200 of 200 000 points", several(store.latest, range(0, 200_000, 1000)), rows=200)


if __name__ == "__main__":
    main()
