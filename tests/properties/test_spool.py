"""The spool: what any damage to its files, any failing call and any crash may do to it, and what they may not."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.errors import Permanent, Transient
from dcim.store import spool as module
from dcim.store.spool import DAMAGE_KEPT, RECORD_BYTES_MAX, Spool, SpoolDamage
from tests.examples import examples
from tests.spools import AT, everything, expected, payload, places, segments

ROOMY = 2**20
SMALL = 300
"""Bytes of a segment: about four records."""


def no_sync(fd: int) -> None:
    """For properties that open hundreds of spools: none of them survives a power cut anyway."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the folder."""
    monkeypatch.setattr(os, "fsync", no_sync)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        yield Path(name)


def fill(spool: Spool, sizes: list[int]) -> None:
    for size in sizes:
        spool.append([payload(spool.end + n) for n in range(size)], AT + spool.end)


# --- what it promises


def test_what_was_appended_is_read_in_order_also_after_reopening(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY) as spool:
        assert (spool.position, spool.end, spool.oldest_us, spool.bytes_held) == (0, 0, None, 0)
        assert spool.append([b"a", b"", b"c"], AT) == 3
        assert spool.append([b"d"], AT + 5) == 4
        assert spool.append([], AT) == 4
        assert spool.read(1, 100) == [(1, b""), (2, b"c"), (3, b"d")]
        assert spool.read(0, 1) == [(0, b"a")]
        assert spool.read(0, 0) == [(0, b"a")], "one at least"
        assert spool.read(4, 100) == []
        assert spool.oldest_us == AT
        spool.advance(3)
        assert (spool.position, spool.oldest_us) == (3, AT + 5)
        spool.advance(1)
        assert spool.position == 3
        with pytest.raises(ValueError, match="beyond the end"):
            spool.advance(5)
    with Spool(tmp_path, ROOMY) as spool:
        assert (spool.position, spool.end, spool.oldest_us) == (3, 4, AT + 5)
        assert everything(spool) == [(3, b"d")]
        assert spool.append([b"e"], AT + 6) == 5
        spool.advance(5)
        assert (spool.oldest_us, everything(spool), spool.damage) == (None, [], [])
    with Spool(tmp_path, ROOMY) as spool:
        assert spool.append([b"f"], AT) == 6
        assert everything(spool) == [(5, b"f")]


def test_reading_on_does_not_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        fill(spool, [200])
        trap = Trap(0, 0)
        monkeypatch.setattr(module, "os", trap)
        assert everything(spool, 1) == expected(range(200))
    assert trap.calls < 200 * 8


def test_it_is_bounded_and_room_comes_back(tmp_path: Path) -> None:
    with Spool(tmp_path, 4000) as spool:
        number = 0
        with suppress(Transient):
            for number in range(100):
                spool.append([payload(number)], AT)
        assert 3850 < spool.bytes_held <= 4000
        assert spool.end == number
        with pytest.raises(Transient, match=f"full: {spool.bytes_held} of 4000 bytes are taken"):
            spool.append([payload(59)], AT)
        held = spool.bytes_held
        spool.advance(number // 2)
        assert spool.bytes_held < held * 0.7
        spool.append([payload(number)], AT)
        assert everything(spool) == expected(range(number // 2, number + 1))
        with pytest.raises(Permanent, match="ever"):
            spool.append([bytes(4000)], AT)
        spool.advance(number + 1)
        spool.append([bytes(3900)], AT)
        assert sum(file.stat().st_size for file in segments(tmp_path)) == spool.bytes_held <= 4000


def test_a_record_has_a_bound(tmp_path: Path) -> None:
    with Spool(tmp_path, 10 * RECORD_BYTES_MAX, sync=no_sync) as spool:
        with pytest.raises(Permanent):
            spool.append([b"a", bytes(RECORD_BYTES_MAX + 1)], AT)
        assert spool.end == 0
        assert not segments(tmp_path)


def test_another_one_may_not_open_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from dcim.store.spool import Spool; "
        "s = Spool(pathlib.Path(sys.argv[1]), 10**6); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(Permanent, match=f"a process has it open already .PID {other.pid}.") as told:
            Spool(tmp_path, ROOMY)
        assert "a spool of its own" in str(told.value)
        other.kill()
    with Spool(tmp_path, ROOMY), pytest.raises(Permanent, match="open already"):
        Spool(tmp_path, ROOMY)
    Spool(tmp_path, ROOMY).close()


def test_what_is_closed_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOMY)
    spool.close()
    spool.close()
    for call in (lambda: spool.append([b"a"], AT), lambda: spool.read(0, 1), lambda: spool.advance(0)):
        with pytest.raises(Permanent, match="closed"):
            call()


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot be used"):
        Spool(tmp_path / "file", ROOMY)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "0-spool").write_text("mine too")
    with Spool(tmp_path, 2000, segment_bytes=SMALL) as spool:
        fill(spool, [5, 5, 5])
        spool.advance(15)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "0-spool").exists()


def test_a_spool_of_newer_software_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(module._Marks, "_TAG", b"dcimspl9")
        with Spool(tmp_path, ROOMY) as spool:
            fill(spool, [3])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock"}
    with pytest.raises(Permanent, match="newer software"):
        Spool(tmp_path, ROOMY)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock"}


def test_acknowledged_means_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut takes what was not synced: the file before the acknowledgement, the folder that has its name, too."""
    synced: list[bytes] = []

    def sync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").resolve()
        synced.append(path.read_bytes())

    def fsync(fd: int) -> None:
        synced.append("\n".join(sorted(os.listdir(fd))).encode())

    with Spool(tmp_path, ROOMY, sync=sync) as spool:
        monkeypatch.setattr(module.os, "fsync", fsync)
        for number in range(2):
            synced.clear()
            spool.append([payload(number)], AT)
            assert payload(number) in synced[-1]
            assert (segments(tmp_path)[0].name.encode() in synced[0]) == (number == 0), "a new file's name"
        synced.clear()
        spool.advance(1)
        assert (1).to_bytes(8, "little") in synced[-1]


# --- damage


class Scene:
    """A spool that was filled, read in part and closed; and what is known of its files."""

    def __init__(self, path: Path, sizes: list[int], read: float) -> None:
        self.path = path
        with Spool(path, ROOMY, segment_bytes=SMALL, sync=no_sync) as spool:
            fill(spool, sizes)
            spool.advance(int(spool.end * read * 0.7))
            spool.advance(int(spool.end * read))
            self.position, self.end = spool.position, spool.end
        self.places = places(path, range(self.end))

    def check(self, survivors: set[int], *, again: bool = False) -> Spool:
        """Opens it and holds it to this: what was not hit is read, nothing else, and the rest is told to the number."""
        spool = Spool(self.path, ROOMY, segment_bytes=SMALL, sync=no_sync)
        with spool:
            assert spool.end == self.end, "no number is given twice"
            found = everything(spool)
            assert found == [(number, payload(number)) for number in sorted(survivors)]
            lost = self.end - self.position - len([number for number in survivors if number >= self.position])
            assert sum(damage.records for damage in spool.damage) == spool.damaged_records == lost
            if lost:
                assert all(str(damage.records) in str(damage) for damage in spool.damage)
            everything(spool)
            assert spool.damaged_records == lost, "each damage is told once"
            spool.append([payload(self.end)], AT)
            assert everything(spool)[-1:] == expected(range(self.end, self.end + 1))
        return spool


@st.composite
def damages(draw: st.DrawFn) -> tuple[list[int], float, str, float, float]:
    """Batches, how much of them was read, a kind of damage, and where: fractions of all bytes, of a file."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=8))
    kind = draw(st.sampled_from(["flip", "zero", "random", "cut", "delete", "double", "empty"]))
    unit = st.floats(0, 1, exclude_max=True)
    return sizes, draw(st.sampled_from([0.0, 0.5, 1.0])), kind, draw(unit), draw(unit)


def hurt(path: Path, kind: str, start: int, stop: int) -> tuple[int, int]:
    """Damages a file and answers which of its bytes are no longer what they were."""
    content = bytearray(path.read_bytes())
    size = len(content)
    match kind:
        case "flip":
            content[start] ^= 0x10
            stop = start + 1
        case "zero":
            content[start:stop] = bytes(stop - start)
        case "random":
            content[start:stop] = os.urandom(stop - start)
        case "cut":
            del content[start:]
            stop = size
        case "double":  # a block of the disk that was written twice; what follows has moved
            content[stop:stop] = content[start:stop]
            start = stop
        case _:
            content.clear()
            start, stop = 0, size
    if kind == "delete":
        path.unlink()
    else:
        path.write_bytes(content)
    return start, stop


@settings(max_examples=examples(80), deadline=None)
@given(damages())
def test_damage_to_records_costs_those_that_it_hit(damage: tuple[list[int], float, str, float, float]) -> None:
    sizes, read, kind, one, two = damage
    with folder() as path:
        scene = Scene(path, sizes, read)
        files = segments(path)
        victim = files[int(one * len(files))]
        size = victim.stat().st_size
        start, stop = sorted((int(one * size * 7) % size, int(two * size)))
        before = victim.read_bytes()
        start, stop = hurt(victim, kind, start, max(stop, start + 1))
        now = victim.read_bytes() if victim.exists() else b""
        survivors = set()
        for number in range(scene.position, scene.end):
            file, begin, end = scene.places[number]
            # What stands after a block that was written twice has moved, and is whole all the same.
            moved = kind == "double" and before[begin:end] in now
            same = kind in {"zero", "random"} and before[begin:end] == now[begin:end]
            if file != victim or end <= start or begin >= stop or moved or same:
                survivors.add(number)
        scene.check(survivors)


def test_every_byte_may_be_flipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte of a small spool in its turn, those of the marks included."""
    monkeypatch.setattr(module, "_SEARCH_BYTES", 16)  # what is looked for lies across two blocks at times
    scene = Scene(tmp_path / "sound", [1, 1, 2], 0.4)
    sound = {path.name: path.read_bytes() for path in scene.path.iterdir()}
    assert len(sound["marks"]) == 4 * 512
    victims = [(path.name, offset) for path in segments(scene.path) for offset in range(len(sound[path.name]))]
    victims += [("marks", slot + byte) for slot in range(0, 2048, 512) for byte in range(20)]
    for name, offset in victims:
        copy = tmp_path / f"{name}-{offset}"
        copy.mkdir()
        for file, content in sound.items():
            (copy / file).write_bytes(content)
        hurt(copy / name, "flip", offset, 0)
        with Spool(copy, ROOMY, sync=no_sync) as spool:
            found = dict(everything(spool))
            assert found.items() <= dict(expected(range(scene.end))).items()
            lost = set(range(scene.position, scene.end)) - found.keys()
            if name == "marks":
                assert not lost
                assert not spool.damaged_records
            else:
                assert lost <= {number for number, (_, begin, end) in scene.places.items() if begin <= offset < end}
                assert spool.damaged_records == len(lost) == len(spool.damage)
            assert spool.end == scene.end


@pytest.mark.parametrize("kind", ["delete", "empty", "cut", "zero"])
def test_without_marks_everything_that_is_held_is_read_again(tmp_path: Path, kind: str) -> None:
    scene = Scene(tmp_path, [3, 3, 3, 3], 0.6)
    held = sorted(number for number in scene.places)
    assert scene.position not in {0, held[0]}
    hurt(tmp_path / "marks", kind, 0, (tmp_path / "marks").stat().st_size)
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        assert everything(spool) == expected(range(held[0], scene.end))
        assert spool.damaged_records == 0
        if kind == "delete":
            assert "everything that is held is read again" in str(spool.damage[0])


def test_a_damaged_mark_is_told_and_the_one_before_it_is_taken(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [2, 2], 1.0)
    slot, *_ = mark_slots(tmp_path / "marks", {scene.position})
    hurt(tmp_path / "marks", "flip", slot + 8, 0)
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        assert 0 < spool.position < scene.position
        assert [(damage.segment, damage.records) for damage in spool.damage] == [("marks", 0)]


def mark_slots(path: Path, numbers: set[int]) -> list[int]:
    """Where in the marks one of these numbers stands."""
    content = path.read_bytes()
    return [slot for slot in range(0, 2048, 512) if any(content[slot : slot + 8]) and content[slot + 8] in numbers]


def test_a_damaged_mark_of_the_end_still_leaves_the_one_before_it(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        fill(spool, [3, 4])
    (slot,) = mark_slots(tmp_path / "marks", {7})
    hurt(tmp_path / "marks", "flip", slot + 10, 0)
    hurt(segments(tmp_path)[0], "cut", 0, 0)
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        everything(spool)
        assert (spool.end, spool.damaged_records) == (3, 3)


def test_numbers_go_on_after_the_position_when_nothing_else_is_left(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        fill(spool, [3])
        spool.advance(3)
    hurt(tmp_path / "marks", "zero", 1024, 2048)  # as a power cut may leave what is not synced
    segments(tmp_path)[0].unlink()
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        assert (spool.position, spool.end) == (3, 3)


def test_damage_and_a_torn_batch_behind_it(tmp_path: Path) -> None:
    """The record before the torn batch is damaged, so the torn batch cannot be told from the rest of the damage. Its
    number is given again: the record that got it is read, and what was torn is not."""
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        fill(spool, [1, 2])
        (path,) = segments(tmp_path)
        damaged, marks = path.stat().st_size - 1, (tmp_path / "marks").read_bytes()
        spool.append([b"torn 3", b"torn 4"], AT)
    hurt(path, "cut", path.stat().st_size - 1, 0)
    hurt(path, "flip", damaged, 0)
    (tmp_path / "marks").write_bytes(marks)
    for _ in range(2):
        with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
            if spool.end == 3:
                assert spool.append([payload(3)], AT) == 4
            assert everything(spool) == [(number, payload(number)) for number in (0, 1, 3)]
            assert spool.damaged_records == 1


def test_all_files_gone(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [2] * 8, 0.5)
    for path in segments(tmp_path):
        path.unlink()
    scene.check(set())


def test_a_file_that_is_deleted_meanwhile_is_told_and_does_not_stop_anything(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY, segment_bytes=SMALL) as spool:
        fill(spool, [3, 3, 3, 3])
        first, *_, last = segments(tmp_path)
        kept = [n for n, (path, _, _) in places(tmp_path, range(12)).items() if path not in {first, last}]
        first.unlink()
        last.unlink()
        assert everything(spool) == [(number, payload(number)) for number in kept]
        assert spool.damaged_records == 12 - len(kept)
        with suppress(Transient):
            spool.append([payload(12)], AT)
        with suppress(Transient):
            spool.append([payload(spool.end)], AT)
        assert spool.end > 12
        assert everything(spool)[-1] == (spool.end - 1, payload(spool.end - 1))


def test_when_all_that_was_waiting_is_lost_nobody_waits_for_it(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY) as spool:
        fill(spool, [3])
        segments(tmp_path)[0].unlink()
        assert spool.read(0, 1000) == []
        assert (spool.position, spool.oldest_us, spool.damaged_records) == (3, None, 3)


def test_records_that_look_like_records_are_no_records(tmp_path: Path) -> None:
    """A whole file of another spool as a record, and damage around it: none of what is in it comes up."""
    with Spool(tmp_path / "a", ROOMY) as other:
        fill(other, [3])
    inside = segments(tmp_path / "a")[0].read_bytes()
    with Spool(tmp_path / "b", ROOMY) as spool:
        spool.append([b"first"], AT)
        spool.append([inside], AT)
        spool.append([b"last"], AT)
    path = segments(tmp_path / "b")[0]
    hurt(path, "flip", path.read_bytes().index(inside) - 20, 0)
    with Spool(tmp_path / "b", ROOMY) as spool:
        assert everything(spool) == [(0, b"first"), (2, b"last")]
        assert spool.damaged_records == 1


def test_the_list_of_damage_is_bounded(tmp_path: Path) -> None:
    count = DAMAGE_KEPT + 50
    with Spool(tmp_path, 10 * ROOMY, sync=no_sync) as spool:
        spool.append([payload(number) for number in range(2 * count)], AT)
    path = segments(tmp_path)[0]
    content = bytearray(path.read_bytes())
    for number, (_, _, stop) in places(tmp_path, range(2 * count)).items():
        if number % 2 == 0:
            content[stop - 1] ^= 1
    path.write_bytes(content)
    with Spool(tmp_path, 10 * ROOMY, sync=no_sync) as spool:
        assert len(everything(spool, 10_000)) == count
        assert (len(spool.damage), spool.damaged_records) == (DAMAGE_KEPT, count)


def test_damage_reads_well() -> None:
    told = str(SpoolDamage("1.spool", 40, 12, 1, "damaged"))
    assert told == "1.spool, from byte 40: damaged (12 bytes, 1 records lost)"
    assert str(SpoolDamage("", 0, 0, 7, "the files are missing")).startswith("the spool: the files are missing")


# --- a disk that fails, a process that dies


class Trap:
    """Stands in for `os` in the spool: from call number `at` on, `count` calls that touch the disk fail. A write that
    fails has written half. `before` is called before each of them."""

    TOUCHING = frozenset({"open", "pwrite", "pread", "fsync", "truncate", "ftruncate", "sync"})

    def __init__(
        self, at: int, count: int, error: int = errno.ENOSPC, before: Callable[[], None] | None = None
    ) -> None:
        self.calls, self._at, self._count, self._error, self._before = 0, at, count, error, before

    @property
    def sprung(self) -> bool:
        return self.calls > self._at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._guarded(real) if name in self.TOUCHING else real

    def sync(self, fd: int) -> None:
        self._guarded(no_sync)(fd)

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self._before:
                self._before()
            number = self.calls
            self.calls += 1
            if self._at <= number < self._at + self._count:
                if real is os.pwrite:
                    os.pwrite(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise OSError(self._error, os.strerror(self._error))
            return real(*args, **options)

        return call


def live(spool: Spool, trap: Trap) -> None:
    """Days of a spool, and nothing that any of its calls is allowed to get wrong when the disk fails under it."""
    held: list[int] = []
    for sizes in ([2], [3, 1], [4]):
        for size in sizes:
            before = spool.end, spool.position
            records = [payload(spool.end + n) for n in range(size)]
            for _ in range(8):
                try:
                    spool.append(records, AT + spool.end)
                    break
                except Transient:
                    assert trap.sprung
                    assert (spool.end, spool.position) == before
            held += range(before[0], before[0] + size)
            assert spool.end == before[0] + size, "it works again when the disk does"
        for _ in range(8):
            try:
                assert everything(spool) == [(number, payload(number)) for number in held]
                break
            except Transient:
                assert trap.sprung
        position = held[len(held) // 2]
        for _ in range(8):
            try:
                spool.advance(position)
                break
            except Transient:
                assert trap.sprung
        assert spool.position == position
        held = held[held.index(position) :]
        assert spool.oldest_us is not None
        assert spool.oldest_us <= AT + position
    assert spool.damaged_records == 0


@pytest.mark.slow
@pytest.mark.parametrize(("count", "error"), [(1, errno.ENOSPC), (4, errno.EIO)])
def test_any_call_may_fail(monkeypatch: pytest.MonkeyPatch, count: int, error: int) -> None:
    failed = 0
    for at in range(1000):
        with folder() as path:
            trap = Trap(at, count, error)
            monkeypatch.setattr(module, "os", trap)
            try:
                spool = Spool(path, 3000, segment_bytes=SMALL, sync=trap.sync)
            except Permanent:
                assert trap.sprung
                monkeypatch.setattr(module, "os", os)
                spool = Spool(path, 3000, segment_bytes=SMALL, sync=no_sync)
            with spool:
                live(spool, trap)
                end, position = spool.end, spool.position
                assert spool.bytes_held == sum(file.stat().st_size for file in segments(path))
            monkeypatch.setattr(module, "os", os)
            with Spool(path, 3000, segment_bytes=SMALL, sync=no_sync) as spool:
                assert everything(spool) == expected(range(position, end))
                assert (spool.end, spool.damaged_records) == (end, 0)
            if not trap.sprung:
                break
            failed += 1
    assert failed > 50


@pytest.mark.slow
def test_the_process_may_die_at_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder as it was before each call, and in the middle of each write, is opened as after a crash."""
    with folder() as path, folder() as crashed:
        acknowledged, advanced, batches = 0, 0, []
        deaths = 0

        def look() -> None:
            nonlocal deaths
            deaths += 1
            target = crashed / str(deaths)
            shutil.copytree(path, target)
            with Spool(target, 3000, segment_bytes=SMALL, sync=no_sync) as after:
                assert after.damaged_records == 0
                assert after.position >= advanced
                found = everything(after)
                assert found == expected(range(after.position, after.end))
                assert after.end >= acknowledged
                assert after.end in {0, *batches}, "a batch is there as a whole or not at all"
                last = after.append([b"next"], AT) - 1
                assert everything(after)[-1] == (last, b"next")
            shutil.rmtree(target)

        class Pausing(Trap):
            """Writes in two halves, with a look between them."""

            looking = False

            def __getattr__(self, name: str) -> Any:
                if name == "pwrite" and not self.looking:
                    return self._halves
                return super().__getattr__(name)

            def _halves(self, fd: int, data: bytes, offset: int) -> int:
                look_()
                written = os.pwrite(fd, bytes(data)[: max(1, len(data) // 2)], offset)
                look_()
                return written

        def look_() -> None:
            if not trap.looking:
                trap.looking = True
                look()
                trap.looking = False

        trap = Pausing(0, 0, before=look_)
        monkeypatch.setattr(module, "os", trap)
        with Spool(path, 3000, segment_bytes=SMALL, sync=trap.sync) as spool:
            for size in (1, 3, 2, 4):
                batches.append(spool.end + size)
                fill(spool, [size])
                acknowledged = spool.end
                everything(spool)
                spool.advance(spool.end // 2)
                advanced = spool.position
    assert deaths > 80


def test_a_disk_that_fails_to_sync_is_not_trusted_with_the_same_file(tmp_path: Path) -> None:
    broken = []

    def sync(fd: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")

    with Spool(tmp_path, ROOMY, sync=sync) as spool:
        fill(spool, [2])
        broken.append(True)
        with pytest.raises(Transient, match="the disk fails: Input/output error"):
            spool.append([b"lost?"], AT)
        broken.clear()
        fill(spool, [1])
        assert len(segments(tmp_path)) == 2
        assert everything(spool) == expected(range(3))


def test_what_could_not_be_taken_back_is_taken_back_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch was written and synced, and then neither marked nor cut off again. It was never acknowledged."""
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        fill(spool, [1])
        with monkeypatch.context() as broken:
            trap = Trap(0, 99)
            broken.setattr(spool._marks, "set_end", trap.sync)
            broken.setattr(os, "truncate", trap.truncate)
            with pytest.raises(Transient):
                spool.append([b"a", b"b", b"c"], AT)
        (path,) = segments(tmp_path)
        assert path.stat().st_size > spool.bytes_held
        spool.append([payload(1)], AT)
        assert path.stat().st_size == spool.bytes_held
    with Spool(tmp_path, ROOMY, sync=no_sync) as spool:
        assert everything(spool) == expected(range(2))


def test_the_kernel_refuses_to_let_a_file_grow(tmp_path: Path) -> None:
    """A real failure in the middle of a write: the limit of a file's size, which the kernel holds to the byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path, 20 * ROOMY) as spool:
        spool.append([bytes(60_000)], AT)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(Transient, match="File too large"):
                spool.append([bytes(60_000)], AT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [file.stat().st_size for file in segments(tmp_path)] == [spool.bytes_held]
        assert spool.append([b"after"], AT) == 2
        assert spool.read(1, 10) == [(1, b"after")]


def test_a_full_disk(tmp_path: Path) -> None:
    """A real one, of 256 KiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this user may not mount a disk")
    try:
        with Spool(disk / "spool", 20 * ROOMY, segment_bytes=50_000) as spool:
            with suppress(Transient):
                for number in range(1000):
                    spool.append([payload(number), bytes(7000)], AT)
            end = spool.end
            assert 50 <= end < 100
            with pytest.raises(Transient, match="the disk is full"):
                spool.append([bytes(7000)], AT)
            numbers = [number for number, _ in spool.read(0, ROOMY)]
            assert numbers == list(range(end)), "what was acknowledged is there, and nothing of what was not"
            spool.advance(end // 2)
            assert spool.append([bytes(7000)], AT) == end + 1, "it goes on when there is room"
            position = spool.position
        with Spool(disk / "spool", 20 * ROOMY) as spool:
            assert [number for number, _ in spool.read(position, ROOMY)] == list(range(position, end + 1))
            assert spool.damage == []
    finally:
        subprocess.run(["umount", disk], check=True)
