"""What only the embedded store promises of its tiers: rolled up beside the writer, whole after any failure, and files
of an earlier layout brought up to date."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from dcim.core.errors import Permanent, Transient
from dcim.core.ledger import RejectReason
from dcim.core.ports import Appended, Maintained
from dcim.core.readings import Readings, Tier
from dcim.core.times import EPOCH, from_us, now
from dcim.store import embedded, tables, tiers
from dcim.store.embedded import EmbeddedStore
from dcim.store.memory import MemoryStore
from dcim.store.retention import FOR_EVER, Retention
from dcim.store.sift import Sifted
from tests.contract.store_checks import TieredRig, like_the_memory_store, rows_of, same
from tests.contract.test_embedded_store import Flaky, largest_file

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
H0 = 1_772_334_000_000_000 // HOUR_US * HOUR_US
AGES = Retention(timedelta(hours=2), timedelta(hours=3), timedelta(hours=5))
FOREVER = datetime(2300, 1, 1, tzinfo=UTC)
POINTS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "telemetry.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(path, now) as store:
        yield store


def scans(first: int, count: int, pace_s: int = 30) -> Readings:
    """So many readings of every point, a scan each half minute."""
    number = np.repeat(np.arange(first, first + count), POINTS)
    point = np.tile(np.arange(POINTS, dtype=np.uint32), count)
    value = np.round(20 + np.sin(number / 7 + point) * 5, 2)
    return Readings(point, H0 + number * pace_s * 1_000_000, value, (number % 11 == 0).astype(np.uint8))


def keep_up(store: EmbeddedStore, at_us: int) -> None:
    while store.maintain(from_us(at_us)).more:
        pass


def expect(store: EmbeddedStore, *appended: Readings) -> None:
    """The hours and minutes say what the readings that were appended say."""
    reference = MemoryStore()
    for batch in appended:
        reference.append(batch)
    for hours, every in ((6, timedelta(hours=1)), (6, timedelta(minutes=1)), (1, timedelta(minutes=1))):
        for how in ("count", "mean", "max"):
            args = (range(POINTS), from_us(H0), from_us(H0 + hours * HOUR_US), every, how)
            same(store.window(*args), reference.window(*args))  # type: ignore[arg-type]


def expect_what_is_left(store: EmbeddedStore, *appended: Readings, cuts: Sequence[int] = ()) -> None:
    """What AGES leave at hour 9, of all that was appended. cuts: hours in which a step is cut besides."""
    kept = MemoryStore(retention=AGES)
    kept.append(Readings.concat(appended))
    kept.maintain(from_us(H0 + 9 * HOUR_US))
    widths = (timedelta(hours=1), timedelta(minutes=1), None)
    starts = (EPOCH, *(from_us(H0 + hour * HOUR_US + MINUTE_US // 2) for hour in cuts))
    for start, every, how in itertools.product(starts, widths, ("count", "last") if cuts else ("count",)):
        args = (range(POINTS), start, FOREVER, every, how)
        same(store.window(*args), kept.window(*args))  # type: ignore[arg-type]


# --- beside the writer


@pytest.mark.slow
def test_what_is_stored_while_a_stretch_is_rolled_up_is_in_it(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither in the state that is rolled up, nor may it be counted twice."""
    rolled, odd = scans(0, 480), scans(0, 400, pace_s=31)
    store.append(rolled)
    pieces = iter(np.array_split(np.arange(len(odd)), 40))
    stored: list[Readings] = []
    plain = tiers.roll

    def roll(con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int) -> tiers.Sums:
        steps = plain(con, tier, start_us, end_us)
        piece = next(pieces, None)
        if piece is not None:
            late = odd.take(piece)
            assert store.append(late).stored > 0, "the writer does not wait for it"
            stored.append(late)
        return steps

    monkeypatch.setattr(tiers, "roll", roll)
    keep_up(store, H0 + 5 * HOUR_US)
    assert len(stored) > 5
    assert store._progress.hour_rolled >= H0 + 3 * HOUR_US
    expect(store, rolled, *stored)


@pytest.mark.slow
def test_a_write_that_fails_meanwhile_makes_the_stretch_begin_again(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it was kept, so nobody knows what belongs to the stretch."""
    rolled, late = scans(0, 480), scans(0, 10, pace_s=31)
    store.append(rolled)
    plain = tiers.roll

    def roll(con: duckdb.DuckDBPyConnection, tier: Tier, start_us: int, end_us: int) -> tiers.Sums:
        steps = plain(con, tier, start_us, end_us)
        if len(steps) and store._root is not None:
            monkeypatch.setattr(tiers, "roll", plain)
            root, store._root = store._root, Flaky(store._root, after=True)  # type: ignore[assignment]
            with pytest.raises(Transient, match="the disk went away"):
                store.append(late)
            store._root = root
        return steps

    monkeypatch.setattr(tiers, "roll", roll)
    keep_up(store, H0 + 5 * HOUR_US)
    keep_up(store, H0 + 5 * HOUR_US)
    assert tiers.roll is plain
    expect(store, rolled, late)


def scatter(store: EmbeddedStore) -> list[Readings]:
    """Rolls five hours up, and brings odd seconds of their first two late, a few at a time."""
    rolled, odd = scans(0, 600), scans(0, 230, pace_s=31)
    store.append(rolled)
    keep_up(store, H0 + 5 * HOUR_US)
    late = [odd.take(piece) for piece in np.array_split(np.arange(len(odd)), 40)]
    for batch in late:
        store.append(batch)
    return [rolled, *late]


def rows_in(store: EmbeddedStore, table: str) -> int:
    """Rows of a tier's first two hours."""
    statement = f"select count(*) from {table} where time < make_timestamp(?)"  # noqa: S608  names from here
    with store._read() as cursor:
        return int(cursor.execute(statement, [H0 + 2 * HOUR_US]).fetchall()[0][0])


@pytest.mark.slow
def test_what_came_late_is_gathered(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each point and step is left; a heap is no more than some points of an hour."""
    monkeypatch.setattr(embedded, "GATHER_ROWS", 50)
    monkeypatch.setattr(embedded, "DROP_ROWS", 40)
    appended = scatter(store)
    scattered = rows_in(store, "hours"), rows_in(store, "minutes")
    expect(store, *appended)
    keep_up(store, H0 + 5 * HOUR_US)
    expect(store, *appended)
    assert rows_in(store, "hours") == 2 * POINTS < scattered[0]
    assert rows_in(store, "minutes") < scattered[1]
    assert store._heaps == []
    assert max(store._scattered.values(), default=0) < 50


@pytest.mark.slow
def test_what_is_stored_while_steps_are_gathered_is_in_them(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "GATHER_ROWS", 50)
    monkeypatch.setattr(embedded, "DROP_ROWS", 100)
    appended, plain, seconds = scatter(store), tiers.gather, iter(range(1, 60, 2))

    def gather(*args: Any) -> tiers.Sums:
        steps = plain(*args)
        second = next(seconds, None)
        if second:
            point = np.arange(POINTS, dtype=np.uint32)
            late = Readings(
                point, np.full(POINTS, H0 + second * 1_000_000 + 1), point * 9.0, np.zeros(POINTS, np.uint8)
            )
            assert store.append(late).stored == POINTS
            appended.append(late)
        return steps

    monkeypatch.setattr(tiers, "gather", gather)
    keep_up(store, H0 + 5 * HOUR_US)
    assert len(appended) > 45
    expect(store, *appended)


@pytest.mark.slow
def test_gathering_leaves_what_is_not_rolled_up_yet(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour that is gathered is half over; its young half is rolled up later, and once."""
    monkeypatch.setattr(embedded, "GATHER_ROWS", 20)
    rolled, late, young = scans(0, 181), scans(120, 50, pace_s=31), scans(179, 1, pace_s=31)
    plain = tiers.gather

    def gather(*args: Any) -> tiers.Sums:
        steps = plain(*args)
        store.append(young)
        return steps

    monkeypatch.setattr(tiers, "gather", gather)
    store.append(rolled)
    keep_up(store, H0 + 90 * MINUTE_US)
    for number in range(120, 170):
        store.append(scans(number, 1, pace_s=31))
    keep_up(store, H0 + 90 * MINUTE_US)
    assert store.append(young).stored == 0, "it came while an hour was gathered"
    store.append(scans(600, 1))
    keep_up(store, H0 + 5 * HOUR_US)
    expect(store, rolled, late, young, scans(600, 1))


@pytest.mark.slow
def test_gathering_changes_no_answer_whatever_came(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "GATHER_ROWS", 1)
    monkeypatch.setattr(embedded, "DROP_ROWS", 2)
    rig = TieredRig(lambda retention: EmbeddedStore(path, now, retention))
    like_the_memory_store(rig, FOR_EVER, 10)
    rig.store.close()


def test_answers_stay_the_same_while_it_is_rolled_up(store: EmbeddedStore) -> None:
    """A reader beside upkeep sees each reading once at any moment."""
    store.append(scans(0, 480))
    done, failures, seen = threading.Event(), [], 0
    span = (from_us(H0), from_us(H0 + 5 * HOUR_US))

    def read() -> None:
        nonlocal seen
        try:
            while not done.is_set() or not seen:
                for width in (timedelta(minutes=1), timedelta(hours=1)):
                    counts = store.window(range(POINTS), *span, width, "count")
                    assert counts["value"].sum() == 480 * POINTS
                seen += 1
        except BaseException as error:  # noqa: BLE001  it fails the test below
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    keep_up(store, H0 + 5 * HOUR_US)
    done.set()
    reader.join()
    assert failures == []


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [[0, 1, 2, 3], [1, 2, 4], [0, 400], [3], [9], []])
@pytest.mark.parametrize(
    "places", [tiers.DENSE_MAX, 100, 0], ids=["numpy", "numpy, numbers beyond its table", "DuckDB"]
)
def test_whichever_points_are_asked_for_in_whichever_way(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, wanted: list[int], places: int
) -> None:
    """Points with others between them, far apart, alone, unknown and none; out of hours, minutes and readings."""
    monkeypatch.setattr(tiers, "DENSE_MAX", places)
    rng = np.random.default_rng(3)
    points = np.array([0, 1, 2, 3, 4, 400], np.uint32)
    number = np.sort(rng.integers(0, 3 * 120, 900))
    told = Readings(
        rng.choice(points, 900),
        H0 + number * 30_000_000 + np.arange(900),
        np.where(rng.random(900) < 0.1, np.nan, np.round(rng.normal(0, 50, 900), 2)),
        rng.integers(0, 3, 900).astype(np.uint8),
    )
    reference = MemoryStore()
    for one in (store, reference):
        one.append(told)
    keep_up(store, H0 + 3 * HOUR_US)
    for how in ("count", "mean", "min", "max"):
        for every in (timedelta(hours=1), timedelta(minutes=7), timedelta(minutes=1)):
            args = (wanted, from_us(H0 + HOUR_US // 2), from_us(H0 + 3 * HOUR_US - 1), every, how)
            same(store.window(*args), reference.window(*args))  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_dropped_just_before_a_batch_is_written_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was sound when the batch was sifted, and nobody could tell any more whether it was there."""
    plain = embedded.sift
    with EmbeddedStore(path, now, AGES) as store:
        store.append(scans(0, 901))

        def sift(batch: Readings, floor_us: int) -> Sifted:
            monkeypatch.setattr(embedded, "sift", plain)
            sifted = plain(batch, floor_us)
            keep_up(store, H0 + 9 * HOUR_US)
            return sifted

        monkeypatch.setattr(embedded, "sift", sift)
        appended = store.append(Readings.of([1, 1], [H0, H0 + 9 * HOUR_US], [1.0, 2.0], [0, 0]))
        assert appended.refused == ((0, RejectReason.PAST_RETENTION),)


# --- failures


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_upkeep_whose_end_nobody_knows(path: Path, after: bool) -> None:
    """Every commit of it in turn: of minutes, of hours, of floors, of rows that are dropped."""
    rows = scans(0, 900)
    with EmbeddedStore(path, now, AGES) as store:
        store.append(rows)
        fresh = scans(900, 1)
        store.append(fresh)
        failed = 0
        for _ in range(200):
            root = store._root
            assert root is not None
            store._root = Flaky(root, after)  # type: ignore[assignment]
            try:
                done = store.maintain(from_us(H0 + 9 * HOUR_US))
            except Transient:
                failed += 1
                done = Maintained(more=True)
            finally:
                if store._root is not None and isinstance(store._root, Flaky):
                    store._root = root
            if not after:  # the same piece again, and this time it is kept
                done = store.maintain(from_us(H0 + 9 * HOUR_US))
            if not done.more:
                break
        assert failed > 5
        assert store.damage is None
        expect_what_is_left(store, rows, fresh)


@pytest.mark.slow
def test_files_as_they_are_after_any_piece(path: Path, tmp_path: Path) -> None:
    """A copy of the files between two pieces is what a crash leaves there: nothing is lost, nothing is in it twice."""
    rows, fallen_silent = scans(0, 900), Readings.of([POINTS], [H0 + 1], [1.0], [0])
    with EmbeddedStore(path, now, AGES) as store:
        store.append(rows)
        store.append(fallen_silent)
        done = Maintained(more=True)
        number = 0
        while done.more:
            done = store.maintain(from_us(H0 + 9 * HOUR_US))
            number += 1
            if number % 4 and done.more:
                continue
            crashed = shutil.copytree(path.parent, tmp_path / str(number)) / path.name
            with EmbeddedStore(crashed, now, AGES) as copy:
                assert copy.damage is None
                assert copy._progress == store._progress
                assert rows_of(copy.latest()) == rows_of(store.latest())
                assert copy.append(rows.take(rows.time >= store._progress.raw_floor)).stored == 0
                keep_up(copy, H0 + 9 * HOUR_US)
                expect_what_is_left(copy, rows)
    assert number > 4


@pytest.mark.slow
def test_full_disk_costs_a_piece_its_turn_and_nothing_else(store: EmbeddedStore, path: Path) -> None:
    rows = scans(0, 480)
    store.append(rows)
    log = path.with_name(path.name + ".wal")
    with largest_file(log.stat().st_size + 100), pytest.raises(Transient, match="File too large"):
        keep_up(store, H0 + 5 * HOUR_US)
    expect(store, rows)
    keep_up(store, H0 + 5 * HOUR_US)
    expect(store, rows)


@pytest.mark.slow
def test_damaged_rows_do_not_cost_the_file_when_upkeep_meets_them(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer has to have a file that it can write; upkeep can wait until somebody has looked at the disk."""
    rows = scans(0, 480)
    store.append(rows)

    def broken(*_: object) -> int:
        raise duckdb.IOException("Corrupt database file: computed checksum 1 does not match stored checksum 2")

    for verb in ("roll", "add"):
        with monkeypatch.context() as patched:
            patched.setattr(tiers, verb, broken)
            with pytest.raises(Permanent, match="a part of the file is damaged"):
                keep_up(store, H0 + 5 * HOUR_US)
    assert store.append(scans(480, 1)) == Appended(POINTS, 0)
    assert store.damage is None
    keep_up(store, H0 + 5 * HOUR_US)
    expect(store, rows, scans(480, 1))


@pytest.mark.slow
def test_what_is_too_old_is_gone_from_every_answer_before_it_is_gone_from_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise duckdb.IOException("the disk went away")

    rows = scans(0, 901)
    with EmbeddedStore(path, now, AGES) as store:
        store.append(rows)
        monkeypatch.setattr(tiers, "drop", broken)
        for _ in range(30):
            with contextlib.suppress(Transient):
                store.maintain(from_us(H0 + 9 * HOUR_US))
        expect_what_is_left(store, rows, cuts=(3, 4, 5, 6, 7))
        assert store.append(rows.take(rows.time < store._progress.raw_floor)).stored == 0
        with store._read() as cursor:
            assert cursor.execute("select count(*) from readings").fetchall() == [(len(rows),)]


def test_closed_store_keeps_nothing_up(path: Path) -> None:
    store = EmbeddedStore(path, now)
    store.append(scans(0, 480))
    store.close()
    with pytest.raises(Permanent, match="the store is closed"):
        store.maintain(from_us(H0 + 5 * HOUR_US))


# --- pieces


@pytest.mark.slow
def test_pieces_are_small_however_much_there_is_to_do(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ROLL_STEPS", 50)
    store.append(scans(0, 2_000))
    sizes: list[int] = []
    done = Maintained(more=True)
    while done.more:
        done = store.maintain(from_us(H0 + 20 * HOUR_US))
        sizes.extend(done.rolled.values())
    assert sum(sizes) > 1000 * POINTS
    assert max(sizes) <= 100


def test_a_gap_of_years_is_stepped_over(store: EmbeddedStore) -> None:
    year_us = 365 * 24 * HOUR_US
    for years in (0, 3, 30):
        store.append(Readings.of([1], [H0 - 40 * year_us + years * year_us], [1.0], [0]))
    store.append(scans(0, 1))
    pieces = 0
    while store.maintain(from_us(H0)).more:
        pieces += 1
    assert pieces < 40
    assert store._progress.minute_rolled == H0 - 2 * MINUTE_US


# --- an earlier layout

LAYOUT_1 = """
create table layout(version integer not null);
create table readings(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table held(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table points(id uinteger not null, key varchar not null, described varchar);
create table newest(point uinteger not null, time timestamp not null, value double, quality utinyint not null);
create table newest_below(row bigint not null);
insert into layout values (1);
insert into newest values (1, make_timestamp(5), 1.5, 0);
insert into newest_below values (1);
"""


LAYOUT_2 = """
create table account(body blob);
insert into account values ('an account');
update layout set version = 2;
"""


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "booked"), [(LAYOUT_1, None), (LAYOUT_1 + LAYOUT_2, b"an account")])
def test_file_of_an_earlier_layout_is_brought_up_to_date(path: Path, layout: str, booked: bytes | None) -> None:
    rows = scans(0, 480)
    path.parent.mkdir()
    time = rows.time.view("datetime64[us]")
    fresh = {"point": rows.point, "time": time, "value": rows.value, "quality": rows.quality}  # noqa: F841  by name
    with duckdb.connect(path) as con:
        con.execute(layout)
        con.execute("insert into readings select * from fresh")
        con.execute("insert into held values (3, make_timestamp(7), 1.0, 0)")
    path.with_name(path.name + ".mark").write_bytes(b"%020d\n" % (len(rows) + 1))
    for _ in range(2):
        with EmbeddedStore(path, now) as store:
            assert store.damage is None
            assert store.held() == {3: 1}
            assert store.booked() == booked
            assert store.latest()["time"].unique().to_list() == [from_us(int(rows.time[-1]))]
            assert store.append(rows) == Appended(0, len(rows))
            keep_up(store, H0 + 5 * HOUR_US)
            expect(store, rows)
    with duckdb.connect(path) as con:
        assert con.execute("from layout").fetchall() == [(tables.LAYOUT,)]
