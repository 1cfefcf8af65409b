"""A damaged log or file: the store opens all the same, keeps what it can, deletes nothing, and tells what is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dcim.core.errors import Permanent, Transient
from dcim.core.points import PointRecord
from dcim.core.ports import Appended
from dcim.core.times import EPOCH, from_us, now
from dcim.store.embedded import EmbeddedStore
from tests.e2e.store_writer import T0, batch
from tests.full_disk import largest_file

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ASIDE = ".damaged-20260301T030000Z"
POINTS, SAFE, LOGGED = 100, 10, 20
"""Batches 0 to 9 are in the file, 10 to 19 in the log alone. Each has one held value besides; 15 released them."""
NAME = "telemetry.duckdb"


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a killed service leaves it: file, log, mark."""
    folder = tmp_path_factory.mktemp("crashed")
    with EmbeddedStore(folder / NAME, now) as store:
        store.remember([PointRecord(0, "site|bus|0", None)])
        for number in range(SAFE):
            store.append(batch(number, POINTS), lambda _: b"%d" % number)  # noqa: B023  called at once
    command = [sys.executable, "-m", "tests.e2e.store_writer", str(folder / NAME), str(POINTS), str(SAFE), str(SAFE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert (folder / f"{NAME}.wal").stat().st_size > 20_000
    return folder


@pytest.fixture
def folder(crashed: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "data"
    shutil.copytree(crashed, copy)
    return copy


def _open(folder: Path) -> EmbeddedStore:
    return EmbeddedStore(folder / NAME, lambda: AT)


def _batches(store: EmbeddedStore) -> list[int]:
    """The batches that are there; each must be whole, and its values its own."""
    frame = store.window(range(POINTS), EPOCH, from_us(T0 * 2))
    numbers = ((frame["time"].dt.epoch("us") - T0) // 1_000_000).to_numpy()
    np.testing.assert_allclose(frame["value"].to_numpy(), frame["point"].to_numpy() + numbers * 0.001, rtol=1e-15)
    stored, rows = np.unique(numbers, return_counts=True)
    assert set(rows.tolist()) <= {POINTS}
    return stored.tolist()


def _rows(store: EmbeddedStore) -> int:
    return (
        len(_batches(store)) * POINTS
        + store.window([POINTS], EPOCH, from_us(T0 * 2)).height
        + store.held().get(POINTS, 0)
    )


ALL_ROWS = LOGGED * POINTS + SAFE


@pytest.mark.slow
def test_without_damage_there_is_no_report(folder: Path) -> None:
    with _open(folder) as store:
        assert store.damage is None
        assert _batches(store) == list(range(LOGGED))
        assert _rows(store) == ALL_ROWS


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flip(log: bytes) -> bytes:
        at = position % len(log)
        return log[:at] + bytes([log[at] ^ 0xFF]) + log[at + 1 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"flipped at {at}": _flip(at) for at in (0, 2, 5, 8, 11, 20, 30, 35, 40, 47, 60, 500, 5_000, 20_000, -9, -300)},
    **{f"cut to {size}": (lambda log, size=size: log[:size]) for size in (5, 30, 45, 500, 12_345, -1, -2_000)},
    "zeros": lambda log: bytes(len(log)),
    "zeros at the end": lambda log: log[:-1500] + bytes(1500),
    "noise in the middle": lambda log: log[:9000] + np.random.default_rng(1).bytes(512) + log[9512:],
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_log(folder: Path, damage: str) -> None:
    log = folder / f"{NAME}.wal"
    damaged = DAMAGES[damage](log.read_bytes())
    log.write_bytes(damaged)
    with _open(folder) as store:
        there = _batches(store)
        assert there == list(range(len(there))), "what is kept has no holes"
        assert len(there) >= SAFE, "what was in the file is untouched"
        assert store.booked() == b"%d" % there[-1], "the account is that of what is there"
        report = store.damage
        assert report is not None
        assert report.lost == ALL_ROWS - _rows(store) > 0
        assert report.newest == from_us(T0 + (len(there) - 1) * 1_000_000)
        assert report.found == AT
        assert [file.name for file in report.set_aside] == [f"{NAME}.wal{ASIDE}"]
        assert report.set_aside[0].read_bytes() == damaged, "nothing is deleted"
        assert report.bytes == len(damaged)
        for words in (str(report.set_aside[0]), f"Lost: {report.lost} acknowledged", f"{report.newest:%H:%M:%S}"):
            assert words in str(report)
        # It works on, and takes again what its senders may still have.
        assert store.recall() == [PointRecord(0, "site|bus|0", None)]
        lost = range(len(there), LOGGED)
        for number in lost:
            assert store.append(batch(number, POINTS)) == Appended(POINTS, 0)
    with _open(folder) as store:
        assert store.damage is None
        assert _batches(store) == list(range(LOGGED))


def test_what_stands_before_the_damage_is_kept(folder: Path) -> None:
    log = folder / f"{NAME}.wal"
    whole = log.read_bytes()
    log.write_bytes(_flip(len(whole) // 2)(whole))
    with _open(folder) as store:
        assert SAFE + 3 <= len(_batches(store)) <= LOGGED - 3


@pytest.mark.parametrize("damage", ["flipped at 5000", "cut to 12345"])
def test_damaged_log_on_a_full_disk_stays_where_it_is(folder: Path, damage: str) -> None:
    """Setting aside takes room. Without it nothing may change, or the next try would find no log and miss nothing."""
    log = folder / f"{NAME}.wal"
    damaged = DAMAGES[damage](log.read_bytes())
    log.write_bytes(damaged)
    before = sorted(folder.iterdir())
    for _ in range(2):
        with largest_file(4_096), pytest.raises(Transient, match=r"could not be set aside: .*Look at the disk"):
            _open(folder)
        assert sorted(folder.iterdir()) == before
    with _open(folder) as store:
        assert store.damage is not None
        assert store.damage.lost == ALL_ROWS - _rows(store)
        assert damaged.startswith(store.damage.set_aside[0].read_bytes()[:10_000])
        assert len(_batches(store)) > SAFE, "what stands before the damage is kept"


def test_torn_end_of_what_was_never_acknowledged_is_no_damage(folder: Path) -> None:
    log = folder / f"{NAME}.wal"
    log.write_bytes(log.read_bytes() + np.random.default_rng(1).bytes(700))
    with _open(folder) as store:
        assert store.damage is None
        assert _batches(store) == list(range(LOGGED))
        assert store.append(batch(LOGGED, POINTS)) == Appended(POINTS, 0)
    with _open(folder) as store:
        assert _batches(store) == list(range(LOGGED + 1))


@pytest.mark.parametrize("emptied", [True, False])
def test_log_that_is_gone(folder: Path, emptied: bool) -> None:
    if emptied:
        (folder / f"{NAME}.wal").write_bytes(b"")
    else:
        (folder / f"{NAME}.wal").unlink()
    with _open(folder) as store:
        assert _batches(store) == list(range(SAFE))
        assert store.damage is not None
        assert (store.damage.lost, store.damage.set_aside) == (ALL_ROWS - SAFE * POINTS, ())
        assert "ends before the last acknowledged reading" in str(store.damage)


@pytest.mark.parametrize("log_too", [True, False])
def test_file_that_is_gone(folder: Path, log_too: bool) -> None:
    log = (folder / f"{NAME}.wal").read_bytes()
    (folder / NAME).unlink()
    if log_too:
        (folder / f"{NAME}.wal").unlink()
    with _open(folder) as store:
        assert store.damage is not None
        assert (store.damage.lost, store.damage.newest) == (ALL_ROWS, None)
        assert [file.read_bytes() for file in store.damage.set_aside] == ([] if log_too else [log])
        assert str(store.damage).startswith(f"{folder / NAME} is missing")
        assert str(store.damage).endswith(f"Lost: {ALL_ROWS} acknowledged readings; none survived")
        assert store.append(batch(0, POINTS)) == Appended(POINTS, 0)


def test_without_the_mark_the_loss_is_unknown(folder: Path) -> None:
    log = folder / f"{NAME}.wal"
    log.write_bytes(_flip(500)(log.read_bytes()))
    (folder / f"{NAME}.mark").write_bytes(b"not a mark")
    with _open(folder) as store:
        assert store.damage is not None
        assert store.damage.lost is None
        assert "an unknown number of acknowledged readings" in str(store.damage)


def test_names_that_are_taken_are_left_alone(folder: Path) -> None:
    taken = folder / f"{NAME}.wal{ASIDE}"
    taken.write_text("from the last time")
    log = folder / f"{NAME}.wal"
    log.write_bytes(_flip(60)(log.read_bytes()))
    with _open(folder) as store:
        assert store.damage is not None
        assert [file.name for file in store.damage.set_aside] == [f"{NAME}.wal{ASIDE}-2"]
    assert taken.read_text() == "from the last time"


FILE_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"flipped at {at}": _flip(at) for at in (0, 8, 9, 12, 40, 4_100, 12_300, 20_000)},
    **{f"cut to {size}": (lambda file, size=size: file[:size]) for size in (0, 5, 4_096, 10_000, 12_288, 100_000)},
    "zeros": lambda file: bytes(len(file)),
}


@pytest.mark.parametrize("damage", FILE_DAMAGES)
def test_damaged_file(folder: Path, damage: str) -> None:
    damaged = FILE_DAMAGES[damage]((folder / NAME).read_bytes())
    (folder / NAME).write_bytes(damaged)
    log = (folder / f"{NAME}.wal").read_bytes()
    with _open(folder) as store:
        assert store.damage is not None
        assert (store.damage.lost, store.damage.newest) == (ALL_ROWS, None)
        assert [file.name for file in store.damage.set_aside] == [f"{NAME}{ASIDE}", f"{NAME}.wal{ASIDE}"]
        assert [file.read_bytes() for file in store.damage.set_aside] == [damaged, log]
        assert store.append(batch(0, POINTS)) == Appended(POINTS, 0)
    with _open(folder) as store:
        assert store.damage is None
        assert _batches(store) == [0]


@pytest.mark.parametrize("content", [b"hello world\n" * 999, b"SQLite format 3\0" + bytes(9000), b"x"])
def test_file_of_somebody_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(Permanent, match="not a database of ours"):
        _open(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {NAME: content}


def _break_a_block(folder: Path) -> None:
    """Damages a block that holds readings: the store opens as if nothing were, and cannot read them."""
    with EmbeddedStore(folder / NAME, now):
        pass  # folds the log in, and notes the newest: the next opening need not read readings
    whole = (folder / NAME).read_bytes()
    for position in range(12_288 + 1000, len(whole), 262_144):  # a byte of each block; its checksum covers it all
        (folder / NAME).write_bytes(_flip(position)(whole))
        with _open(folder) as store:
            if store.damage is None:
                try:
                    _batches(store)
                except Permanent:
                    return
        for aside in folder.glob(f"*{ASIDE}*"):
            aside.unlink()
    raise AssertionError("no byte of the file matters")


@pytest.mark.slow
def test_broken_block_costs_a_window_its_answer_and_nothing_else(folder: Path) -> None:
    _break_a_block(folder)
    with _open(folder) as store:
        for _ in range(2):
            with pytest.raises(Permanent, match="a part of the file is damaged"):
                _batches(store)
            assert store.latest()["time"].max() == from_us(T0 + (LOGGED - 1) * 1_000_000)
        assert store.append(batch(LOGGED, POINTS)) == Appended(POINTS, 0)
        assert store.damage is None


@pytest.mark.slow
def test_broken_block_does_not_stop_ingest(folder: Path) -> None:
    """Late readings have to be looked up, and cannot be: the file gives way to a new one."""
    _break_a_block(folder)
    late = batch(LOGGED - 2, POINTS)
    with _open(folder) as store:
        with pytest.raises(Transient, match="set aside"):
            store.append(late)
        assert store.append(late) == Appended(POINTS, 0)
        assert _batches(store) == [LOGGED - 2]
        assert store.damage is not None
        assert store.damage.lost == ALL_ROWS
        assert [file.name for file in store.damage.set_aside] == [f"{NAME}{ASIDE}"]


@pytest.mark.slow
def test_no_flipped_byte_gives_wrong_readings(folder: Path) -> None:
    """Wherever in the file: all is right, or it is reported, or the window cannot be read."""
    with _open(folder):
        pass
    whole = (folder / NAME).read_bytes()
    for position in np.random.default_rng(7).integers(0, len(whole), 40).tolist():
        for leftover in folder.iterdir():
            leftover.unlink()
        (folder / NAME).write_bytes(_flip(position)(whole))
        with suppress(Permanent), _open(folder) as store:
            assert _batches(store) == ([] if store.damage else list(range(LOGGED))), position
