"""What only the embedded store promises: one owner, versions, full disks, readers beside the writer, a quick start."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from dcim.core.errors import Permanent, Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Appended
from dcim.core.readings import Readings
from dcim.core.times import EPOCH, from_us, now
from dcim.store import embedded, ranges, tables
from dcim.store.embedded import EmbeddedStore
from tests.full_disk import largest_file

T0 = 1_772_334_000_000_000
FOREVER = datetime(2300, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "telemetry.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(path, now) as store:
        yield store


def scan(number: int, points: int = 1000) -> Readings:
    """One reading of every point, all at instant `number`."""
    values = np.random.default_rng(number).random(points)
    times = np.full(points, T0 + number * 1_000_000, np.int64)
    return Readings(np.arange(points, dtype=np.uint32), times, values, np.zeros(points, np.uint8))


def count_by_instant(store: EmbeddedStore, points: int = 1000) -> dict[int, int]:
    frame = store.window(range(points), EPOCH, FOREVER)
    counts = frame["time"].dt.epoch("us").value_counts()
    return {(time - T0) // 1_000_000: count for time, count in counts.rows()}


# --- one owner


@pytest.mark.slow
def test_second_process_is_told_who_has_the_file(store: EmbeddedStore, path: Path) -> None:
    program = (
        "import sys, pathlib; from dcim.core.errors import Permanent; from dcim.core.times import now\n"
        "from dcim.store.embedded import EmbeddedStore\n"
        "try: EmbeddedStore(pathlib.Path(sys.argv[1]), now)\n"
        "except Permanent as error: sys.exit(str(error))\n"
    )
    second = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    message = second.stderr.splitlines()[0]
    assert message.startswith(f"{path}: another process has it open (PID ")
    assert "Stop that process" in message
    assert store.append(scan(0)) == Appended(1000, 0)


def test_second_store_in_this_process_is_refused(store: EmbeddedStore, path: Path) -> None:
    with pytest.raises(Permanent, match="this process has it open already"):
        EmbeddedStore(path, now)
    assert store.append(scan(0)) == Appended(1000, 0)


@pytest.mark.slow
def test_file_of_newer_software_is_left_alone(path: Path) -> None:
    EmbeddedStore(path, now).close()
    with duckdb.connect(path) as con:
        con.execute("update layout set version = version + 1")
    newer = rf"layout {tables.LAYOUT + 1}.*knows layout {tables.LAYOUT}.*Start the version that wrote it"
    for _ in range(2):
        with pytest.raises(Permanent, match=newer):
            EmbeddedStore(path, now)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.mark"]


@pytest.mark.slow
def test_duckdb_file_of_somebody_else_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with duckdb.connect(path) as con:
        con.execute("create table guests as select 'Ada' as name")
    with pytest.raises(Permanent, match="not a database of ours"):
        EmbeddedStore(path, now)
    with duckdb.connect(path) as con:
        assert con.execute("select * from guests").fetchall() == [("Ada",)]


def test_path_that_cannot_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="it is a folder"):
        EmbeddedStore(tmp_path, now)
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot be used"):
        EmbeddedStore(tmp_path / "file" / "telemetry.duckdb", now)


def test_closed_store_says_so(path: Path) -> None:
    store = EmbeddedStore(path, now)
    store.close()
    store.close()
    calls: list[Any] = [
        lambda: store.append(scan(0)),
        lambda: store.hold(scan(0)),
        lambda: store.release([1], lambda readings: readings),
        lambda: store.remember([PointRecord(0, "a", None)]),
        store.recall,
        store.held,
        store.latest,
        lambda: store.window([1], EPOCH, FOREVER),
    ]
    for call in calls:
        with pytest.raises(Permanent, match="the store is closed"):
            call()
    assert not path.with_name(path.name + ".wal").exists(), "the log is folded in"


# --- disks


def fill(store: EmbeddedStore, first: int, points: int) -> tuple[int, Transient]:
    """Appends until it fails: the first batch that was not acknowledged, and the error."""
    for number in range(first, first + 500):
        try:
            store.append(scan(number, points))
        except Transient as error:
            return number, error
    raise AssertionError("the disk does not fill")


@pytest.mark.slow
def test_full_disk_costs_nothing_that_was_acknowledged(store: EmbeddedStore, path: Path) -> None:
    store.append(scan(0))
    log = path.with_name(path.name + ".wal")
    with largest_file(log.stat().st_size + 5_000):
        for _ in range(3):
            with pytest.raises(Transient, match="File too large"):
                store.append(scan(1))
            assert count_by_instant(store) == {0: 1000}, "readers go on"
    assert store.append(scan(1)) == Appended(1000, 0)
    assert count_by_instant(store) == {0: 1000, 1: 1000}
    store.close()
    with EmbeddedStore(path, now) as again:
        assert again.damage is None
        assert count_by_instant(again) == {0: 1000, 1: 1000}


@pytest.mark.slow
def test_full_disk_at_a_checkpoint_breaks_the_database_and_it_mends(store: EmbeddedStore, path: Path) -> None:
    """DuckDB gives up on itself when a checkpoint fails; the next call opens it anew."""
    broken = store._root
    with largest_file(17_500_000):  # more than the log's 16 MB: only the file itself comes to lie beyond it
        acknowledged, error = fill(store, 0, 20_000)
    assert isinstance(error.__cause__, duckdb.FatalException)
    assert broken is not None
    assert store._root is broken
    with pytest.raises(duckdb.FatalException):
        tables.count(broken)
    again = store.append(scan(acknowledged, 20_000))
    assert again.stored + again.duplicate == 20_000
    assert store._root is not broken
    assert count_by_instant(store, 4) == dict.fromkeys(range(acknowledged + 1), 4)
    assert store.damage is None


@pytest.mark.slow
def test_tiny_disk(tmp_path: Path) -> None:
    """A real full disk, where this user may mount one: at a commit, at a checkpoint, and while closing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        store = EmbeddedStore(disk / "telemetry.duckdb", now)
        acknowledged, full = fill(store, 0, 20_000)
        assert "the disk is full. Free some space" in str(full)
        assert full.where == str(disk / "telemetry.duckdb")
        with pytest.raises(Transient, match="the disk is full"):
            store.append(scan(acknowledged, 20_000))
        subprocess.run(["mount", "-o", "remount,size=80m", str(disk)], check=True)
        assert store.append(scan(acknowledged, 20_000)) == Appended(20_000, 0)
        acknowledged += 1
        store.close()
        with EmbeddedStore(disk / "telemetry.duckdb", now) as again:
            assert again.damage is None
            counts = again.window([0, 19_999], EPOCH, FOREVER, timedelta(days=9999), "count")
            assert counts["value"].to_list() == [acknowledged, acknowledged]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- what a failed call leaves behind


class Flaky:
    """A connection whose next commit fails: before it did anything, or after it did all."""

    def __init__(self, con: duckdb.DuckDBPyConnection, after: bool) -> None:
        self._con, self._after = con, after

    def commit(self) -> None:
        if self._after:
            self._con.commit()
        raise duckdb.IOException("the disk went away")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


@pytest.mark.parametrize("after", [False, True])
def test_commit_that_nobody_knows_the_end_of(store: EmbeddedStore, after: bool) -> None:
    root = store._root
    assert root is not None
    store.append(scan(0))
    store._root = Flaky(root, after)  # type: ignore[assignment]
    with pytest.raises(Transient, match="the disk went away"):
        store.append(scan(1))
    store._root = root
    expected = Appended(0, 1000) if after else Appended(1000, 0)
    assert store.append(scan(1)) == expected
    assert store.latest()["time"].unique().to_list() == [from_us(T0 + 1_000_000)]
    assert count_by_instant(store) == {0: 1000, 1: 1000}


def test_release_that_nobody_knows_the_end_of(store: EmbeddedStore) -> None:
    """It leaves as many rows as there were, in another table."""
    root = store._root
    assert root is not None
    store.hold(scan(0))
    store._root = Flaky(root, after=True)  # type: ignore[assignment]
    with pytest.raises(Transient, match="the disk went away"):
        store.release(range(1000), lambda readings: readings)
    store._root = root
    assert store.release(range(1000), lambda readings: readings)[1] == Appended(0, 0)
    assert store.append(scan(0)) == Appended(0, 1000)
    assert store.latest().height == 1000


def test_mark_that_cannot_be_written_holds_the_acknowledgement_back(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: int) -> None:
        raise Transient("cannot be written", where="mark")

    with monkeypatch.context() as patched:
        patched.setattr(store._mark, "write", fail)
        with pytest.raises(Transient, match="mark: cannot be written"):
            store.append(scan(0))
    assert store.append(scan(0)) == Appended(0, 1000)
    assert count_by_instant(store) == {0: 1000}


# --- a quick start


@pytest.mark.slow
def test_opening_reads_no_more_than_came_since_the_newest_were_noted(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "NOTE_ROWS", 5000)
    with EmbeddedStore(path, now) as store:
        for number in range(17):
            store.append(scan(number))
        store.append(Readings.of([7], [T0 + 99_000_000], [float("nan")], [2]))
        crashed = shutil.copytree(path.parent, tmp_path / "crashed") / path.name
        with EmbeddedStore(crashed, now) as copy:
            assert 0 < copy._unnoted < 5000
            assert copy.latest().equals(store.latest())
            assert copy.append(scan(16)) == Appended(0, 1000)
            assert copy.append(scan(3)) == Appended(0, 1000)
        latest = store.latest()
    with EmbeddedStore(path, now) as store:
        assert store._unnoted == 0
        assert store.latest().equals(latest)
        store.append(Readings.of([3], [T0 + 99_000_001], [1.0], [0]))  # the first reading after the noted ones
        store.append(Readings.of([5, 5], [T0 + 98_000_000, T0 + 99_000_000], [1.0, 2.0], [0, 0]))  # of times before
        crashed = shutil.copytree(path.parent, tmp_path / "again") / path.name
        with EmbeddedStore(crashed, now) as copy:
            assert copy._unnoted == 1
            assert copy.latest().equals(store.latest())
            assert copy.append(Readings.of([5, 3], [T0 + 99_000_000, T0 + 99_000_001], [1.0, 2.0], [0, 0])).stored == 0


# --- threads


@pytest.mark.slow
def test_readers_beside_the_writer_see_whole_batches(store: EmbeddedStore) -> None:
    points, batches, failures = 2000, 60, []
    done = threading.Event()

    def read() -> None:
        seen = 0
        try:
            while not done.is_set():
                counts = count_by_instant(store, points)
                assert set(counts.values()) <= {points}
                assert sorted(counts) == list(range(len(counts)))
                assert len(counts) >= seen
                seen = len(counts)
                latest = store.latest()
                assert latest["time"].n_unique() <= 1
                buckets = store.window([5], EPOCH, FOREVER, timedelta(days=9999), "count")
                assert sum(buckets["value"]) >= seen
                store.held()
        except BaseException as error:  # noqa: BLE001  it fails the test below
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(batches):
        assert store.append(scan(number, points)) == Appended(points, 0)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert count_by_instant(store, points) == dict.fromkeys(range(batches), points)


@pytest.mark.slow
def test_several_writers_take_turns(store: EmbeddedStore) -> None:
    """The same batches from four threads: each instant is stored once, whoever is first."""
    results: list[Appended] = []

    def write() -> None:
        results.extend(store.append(scan(number)) for number in range(20))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sum(result.stored for result in results) == 20_000
    assert sum(result.duplicate for result in results) == 60_000
    assert count_by_instant(store) == dict.fromkeys(range(20), 1000)


def test_closing_does_not_wait_for_a_long_query(path: Path) -> None:
    store = EmbeddedStore(path, now)
    store.append(scan(0))
    started, outcome = threading.Event(), []

    def read() -> None:
        try:
            with store._read() as cursor:
                started.set()
                cursor.execute("select count(*) from range(1000000000000)").fetchall()
        except Transient as error:
            outcome.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    started.wait()
    store.close()
    reader.join()
    assert len(outcome) == 1
    assert "the query was cut short" in outcome[0] or "opened anew" in outcome[0]
    with EmbeddedStore(path, now) as again:
        assert count_by_instant(again) == {0: 1000}


def test_nothing_is_left_open(path: Path) -> None:
    with EmbeddedStore(path, now) as store:
        store.append(scan(0))
        count_by_instant(store)
    held = [file.resolve() for file in Path("/proc/self/fd").iterdir() if file.exists()]
    assert not [file for file in held if path.name in file.name]


# --- late rows


def test_search_for_late_rows_is_cut_at_the_widest_gaps() -> None:
    hour = 3_600_000_000
    times = np.array([0, 1, 5 * hour, 5 * hour + 1, 9 * hour], np.int64)
    assert ranges.ranges(times) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert ranges.ranges(times[:1]) == [slice(0, 1)]
    many = np.arange(100, dtype=np.int64) * hour
    assert len(ranges.ranges(many)) == ranges.RANGES
    assert ranges.ranges(many)[-1].stop == 100
