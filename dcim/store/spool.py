"""The spool: a durable, bounded, ordered log on disk of byte records that nobody here looks into.

    FOLDER/lock                                     held by the one process that has it open
    FOLDER/marks                                    how far was read, how far was acknowledged
    FOLDER/0000000000000000042-89abcdef01234567.spool   records from number 42 on, one after the other

A record is a head and its bytes. The head carries the segment's own random mark (which is in the file's name, so that
no damage to contents can touch it, and which no record can imitate), length, number, time and a checksum over all of
it. After a damaged place the next mark whose checksum holds is the next record: damage costs what it hit and no more.

How it keeps its promises:
- All or nothing: a record says how many of its batch follow. A batch that was cut short by a crash is taken back at
  opening, one that failed is taken back at once; until that worked, nothing is appended.
- Loss is seen: records are numbered, and the mark of what was acknowledged is written with every append (not
  synced: after a power cut it may be too low). A number that is missing among those still needed is damage, and nothing
  else is.

Lives here: files, numbers, recovery. Not here: what a record means, when one is sent on, who is told of damage."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple

from dcim.core.errors import Permanent, Transient

SEGMENT_BYTES: Final = 16 * 2**20
"""Size from which on a new file is begun; room comes back a file at a time. At most an eighth of the whole."""
RECORD_BYTES_MAX: Final = 16 * 2**20
"""A longer record is refused. A length beyond it was not written by us."""
DAMAGE_KEPT: Final = 1000
"""So many damaged places are kept one by one; the counts go on."""

_HEAD = struct.Struct("<8sIIQqI")
"""Mark of the segment; bytes of the record; records of its batch that follow; number; time, microseconds; checksum."""
_CHECKED = _HEAD.size - 4
_NAME = re.compile(r"([0-9]{19})-([0-9a-f]{16})\.spool")
_NUMBER_MAX = 10**19 - 1
_SEARCH_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class SpoolDamage:
    """A place from which records are gone."""

    segment: str
    """The file; "" where all files with these records are missing."""
    offset: int
    """Where in the file, bytes from its start."""
    bytes: int
    """How many bytes there make no sense; 0 where they are missing."""
    records: int
    """How many records are gone. 0: only a mark was, and records may come a second time."""
    what: str

    def __str__(self) -> str:
        where = f"{self.segment}, from byte {self.offset}" if self.segment else "the spool"
        return f"{where}: {self.what} ({self.bytes} bytes, {self.records} records lost)"


class _Record(NamedTuple):
    offset: int
    after: int
    """Offset of what follows it."""
    number: int
    at_us: int
    follow: int
    payload: bytes


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    first: int
    mark: bytes
    size: int
    """Bytes that are good to read: what was acknowledged, or found at opening."""
    told: int = 0
    """Damage before this offset has been told."""
    sealed: bool = False
    """Nothing is appended to it any more: its end is damaged, or syncing it failed."""


class _Place(NamedTuple):
    """A place between records that was reached by reading: where number `number` or a later one begins."""

    segment: _Segment
    offset: int
    number: int


class Spool:
    """See the module. Any method may be called from any thread; one reader at a time makes progress sensible.

    folder: made when missing, and nobody else's. bytes_max: of all files together; appending beyond is refused.
    segment_bytes: see SEGMENT_BYTES. sync: makes an open file's contents durable.
    Raises Permanent when the folder cannot be used or another process (or another Spool in this one) has it open.
    """

    def __init__(
        self,
        folder: Path,
        bytes_max: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        if bytes_max <= 0 or segment_bytes <= 0:
            raise ValueError("a spool must be allowed some bytes")
        self.folder, self.bytes_max = folder, bytes_max
        self.damage: list[SpoolDamage] = []
        """What was found so far, in the order of finding; the first DAMAGE_KEPT of it."""
        self.damaged_records = 0
        """How many records are known to be gone, also beyond the list."""
        self._segment_bytes, self._sync = max(1, min(segment_bytes, bytes_max // 8)), sync
        self._writing, self._reading, self._turn = Lock(), Lock(), Lock()
        """Held while appending; while reading; for a moment, over what is below. Taken in this order."""
        self._segments: list[_Segment] = []
        self._end = self._position = 0
        self._oldest_us: int | None = None
        self._place: _Place | None = None
        self._torn: _Segment | None = None
        """A segment that may hold a piece of a batch that failed: it is cut off before anything else is appended."""
        self._closed = False
        try:
            with ExitStack() as opened:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                opened.callback(os.close, _lock(folder / "lock"))
                self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, self._folder_fd)
                self._marks = _Marks(folder / "marks", self._tell, sync)
                opened.callback(self._marks.close)
                os.fsync(self._folder_fd)
                self._recover()
                self._opened = opened.pop_all()
        except OSError as error:
            todo = "Look at the disk, and at who may write to the folder"
            raise Permanent(f"it cannot be used: {error.strerror}", where=str(folder), todo=todo) from error

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def position(self) -> int:
        """The number up to which everything may go: the first record still needed, or `end`."""
        return self._position

    @property
    def end(self) -> int:
        """The number that the next record gets."""
        return self._end

    @property
    def bytes_held(self) -> int:
        """What the files take up, read records that share a file with needed ones included."""
        with self._turn:
            return sum(segment.size for segment in self._segments)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest record that is still needed was appended, microseconds UTC; None where there is none. It may
        be too early, never too late, while the disk cannot be read."""
        return self._oldest_us

    def append(self, records: Sequence[bytes], at_us: int) -> int:
        """Appends records in their order: all or none, durable on return. Answers the number after the last one.

        at_us: microseconds UTC, kept with the records. No records change nothing.
        Raises Transient when there is no room in bytes_max or on the disk, or when the disk fails: the spool is as
        before, and the same call works when there is room. Raises Permanent for records that can never fit.
        """
        with self._writing:
            self._refuse_closed()
            if not records:
                return self._end
            wanted = sum(map(len, records)) + len(records) * _HEAD.size
            if wanted > self.bytes_max or max(map(len, records)) > RECORD_BYTES_MAX:
                raise Permanent(
                    f"{len(records)} records of {wanted} bytes are more than it ever takes",
                    where=str(self.folder),
                    todo="Append less at once, or raise the spool's size",
                )
            try:
                self._settle()
                self._make_room(wanted)
                self._write(records, wanted, at_us)
            except OSError as error:
                raise self._translate(error) from error
            return self._end

    def read(self, position: int, bytes_max: int) -> list[tuple[int, bytes]]:
        """Records from number `position` on, in order, with their numbers: as many as bytes_max holds, but one at
        least where there is any. Numbers of records that are gone are left out; `damage` has them then. When all that
        was still needed is gone, `position` moves to `end`.

        Raises Transient when the disk cannot be read.
        """
        with self._reading:
            self._refuse_closed()
            found: list[tuple[int, bytes]] = []
            taken, end = 0, self._end
            try:
                with closing(self._records(position)) as records:
                    for record in records:
                        taken += len(record.payload)
                        if found and taken > bytes_max:
                            break
                        found.append((record.number, record.payload))
                        if taken >= bytes_max:
                            break
                if not found and position <= self._position < end:
                    self._move(end)
            except OSError as error:
                raise self._translate(error) from error
            return found

    def advance(self, position: int) -> None:
        """Everything before number `position` may go; durable on return. Going back changes nothing.

        Raises ValueError beyond `end`; Transient when the disk fails: either nothing changed, or all did but for files
        that could not be deleted, which the next call tries again.
        """
        with self._reading:
            self._refuse_closed()
            if position > self._end:
                raise ValueError(f"position {position} lies beyond the end, {self._end}")
            try:
                if position > self._position:
                    self._move(position)
                else:
                    with self._turn:
                        self._drop()
            except OSError as error:
                raise self._translate(error) from error

    def close(self) -> None:
        """Lets go of the folder. Closing again changes nothing; any other call then raises Permanent."""
        with self._writing, self._reading:
            if not self._closed:
                self._closed = True
                self._opened.close()

    # Writing; the caller holds _writing

    def _settle(self) -> None:
        """Cuts off what a failed batch may have left."""
        if self._torn is not None:
            self._take_back(self._torn)

    def _make_room(self, wanted: int) -> None:
        with self._turn:
            if self._position == self._end:
                for segment in self._segments[:]:
                    if self._held() + wanted > self.bytes_max:
                        self._delete(segment)
            held = self._held()
        if held + wanted > self.bytes_max:
            raise Transient(
                f"the spool is full: {held} of {self.bytes_max} bytes are taken, {wanted} more do not fit",
                where=str(self.folder),
                todo="It empties as records are sent on; see what holds that up",
            )

    def _held(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _write(self, records: Sequence[bytes], wanted: int, at_us: int) -> None:
        segment = self._segments[-1] if self._segments else None
        fresh = segment is None or segment.sealed or (segment.size > 0 and segment.size + wanted > self._segment_bytes)
        if segment is None or fresh:
            mark = os.urandom(8)
            segment = _Segment(self.folder / f"{self._end:019}-{mark.hex()}.spool", self._end, mark, 0)
        end = self._end + len(records)
        self._torn = segment
        try:
            flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if fresh else 0)
            fd = os.open(segment.path, flags, 0o600)
            try:
                if fresh:
                    os.fsync(self._folder_fd)
                _write_all(fd, _frame(records, segment.mark, self._end, at_us), segment.size)
                segment.sealed = True  # a disk that failed to sync is not asked to sync the same place again
                self._sync(fd)
                segment.sealed = False
            finally:
                os.close(fd)
            self._marks.set_end(end)
        except BaseException as error:
            if isinstance(error, FileNotFoundError):
                segment.sealed = True  # somebody has deleted it; reading tells what is lost
            self._take_back_quietly(segment)
            raise
        self._torn = None
        with self._turn:
            if fresh:
                self._segments.append(segment)
            segment.size += wanted
            if self._position == self._end:
                self._oldest_us = at_us
            self._end = end

    def _take_back_quietly(self, segment: _Segment) -> None:
        """After a failure that is being told already. What cannot be taken back now is the first thing next time."""
        with suppress(OSError):
            self._take_back(segment)

    def _take_back(self, segment: _Segment) -> None:
        if segment not in self._segments:
            segment.path.unlink(missing_ok=True)
        elif segment.path.exists():
            os.truncate(segment.path, segment.size)
        self._torn = None

    # Letting go; the caller holds _turn

    def _drop(self) -> None:
        """Deletes the files that nobody needs: those whose successor begins before the position."""
        while len(self._segments) > 1 and self._segments[1].first <= self._position:
            self._delete(self._segments[0])

    def _delete(self, segment: _Segment) -> None:
        segment.path.unlink(missing_ok=True)
        self._segments.remove(segment)

    # Reading; the caller holds _reading, or is the constructor

    def _records(self, position: int) -> Generator[_Record, None, None]:
        """Records from a number on, telling of every gap. Where it stops is where the next call goes on."""
        with self._turn:
            position = max(position, self._position)
            segments, end, sizes = self._segments[:], self._end, [segment.size for segment in self._segments]
        if position >= end or not segments:
            return
        at = max(0, bisect_right([segment.first for segment in segments], position) - 1)
        place = self._place
        if place is None or place.segment is not segments[at] or place.number > position:
            place = _Place(segments[at], 0, segments[at].first)
        for segment, size, following in zip(
            segments[at:], sizes[at:], [*(segment.first for segment in segments[at + 1 :]), end], strict=True
        ):
            offset, expected = (place.offset, place.number) if segment is place.segment else (0, segment.first)
            with _opened(segment) as fd:
                for record in _scan(fd, segment.mark, offset, size):
                    if record.number < expected or record.number >= following:
                        continue  # a copy of what was there before; what it stands on shows as a gap
                    self._tell_gap(segment, offset, record.offset, expected, record.number)
                    offset, expected = record.after, record.number + 1
                    if record.number >= position:
                        yield record
                    self._place = _Place(segment, offset, expected)
            self._tell_gap(segment, offset, size, expected, following)

    def _tell_gap(self, segment: _Segment, start: int, stop: int, expected: int, number: int) -> None:
        """Tells, once, that the records from `expected` up to `number` are gone, as far as they are still needed."""
        gone = number - max(expected, self._position)
        if gone <= 0 or start < segment.told:
            return
        segment.told = stop + 1
        what = "damaged" if stop > start else "cut off"
        self._tell(SpoolDamage(segment.path.name, start, stop - start, gone, what))

    def _tell(self, damage: SpoolDamage) -> None:
        self.damaged_records += damage.records
        if len(self.damage) < DAMAGE_KEPT:
            self.damage.append(damage)

    def _move(self, position: int) -> None:
        """Sets the position, lets go of what lies before it, and looks up when the record there was appended."""
        self._marks.set_position(position)
        with self._turn:
            self._position = position
            self._drop()
            if position == self._end:
                self._oldest_us = None
                return
        with closing(self._records(position)) as records:
            oldest = next(records, None)
        if oldest is not None:
            self._oldest_us = oldest.at_us

    # Opening

    def _recover(self) -> None:
        """Finds out what is there, and takes back a batch that was cut short."""
        marks, found = self._marks, []
        for path in self.folder.iterdir():
            name = _NAME.fullmatch(path.name)
            if name:
                found.append(_Segment(path, int(name[1]), bytes.fromhex(name[2]), path.stat().st_size))
        self._segments = sorted(found, key=lambda segment: (segment.first, segment.path.name))
        if found and marks.missing:
            self._tell(SpoolDamage("marks", 0, 0, 0, "missing: everything that is held is read again"))
        acknowledged = max(marks.end, marks.position)
        if self._segments:
            acknowledged = max(acknowledged, self._segments[-1].first)
            self._end = self._recover_last(self._segments[-1], acknowledged)
        self._end = max(self._end, acknowledged)
        first = self._segments[0].first if self._segments else self._end
        if marks.position < first and marks.position_sound:
            self._tell(SpoolDamage("", 0, 0, first - marks.position, "the files are missing"))
        self._move(max(marks.position, first))

    def _recover_last(self, segment: _Segment, acknowledged: int) -> int:
        """The number after the last record of the file. What was being written when the process died is cut off."""
        number, after = segment.first, 0
        with _opened(segment) as fd:
            for record in _scan(fd, segment.mark, 0, segment.size):
                if record.follow == 0 or record.number < acknowledged:
                    number, after = record.number + 1, record.after
        if number < acknowledged:
            segment.sealed = True  # its end is damaged; the next batch begins a file of its own
        elif after < segment.size:
            if not self._marks.end_sound:
                what = "cut off; nobody knows whether it had been acknowledged"
                self._tell(SpoolDamage(segment.path.name, after, segment.size - after, 0, what))
            os.truncate(segment.path, after)
            segment.size = after
        if segment.size == 0:
            self._delete(segment)
        return number

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Permanent("the spool is closed", where=str(self.folder))

    def _translate(self, error: OSError) -> Transient:
        """The one place where an error of the system becomes ours."""
        where = str(error.filename or self.folder)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return Transient("the disk is full", where=where, todo="Free some space on it; it is tried again")
        return Transient(f"the disk fails: {error.strerror}", where=where, todo="Look at the disk; it is tried again")


class _Marks:
    """Two numbers in one small file of fixed size: position (synced) and end (not synced). Each has two slots that are
    written in turns, so that a torn write leaves the one before it; each slot has a sector to itself."""

    _SLOT = struct.Struct("<8sQI")
    _TAG = b"dcimspl1"
    _SECTOR = 512

    def __init__(self, path: Path, tell: Callable[[SpoolDamage], None], sync: Callable[[int], None]) -> None:
        self._path, self._tell, self._sync = path, tell, sync
        self.missing = not path.exists()
        """Whether it was made anew."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = 4 * self._SECTOR
            content = os.pread(self._fd, size, 0)
            if len(content) < size:  # its room is taken now, so that it can be written when the disk is full
                _write_all(self._fd, bytes(size - len(content)), len(content))
                sync(self._fd)
            self.position, self._position_slot, self.position_sound = self._load(content, 0)
            self.end, self._end_slot, self.end_sound = self._load(content, 2)
        except BaseException:
            os.close(self._fd)
            raise

    def set_position(self, number: int) -> None:
        """Durable on return."""
        self._write(self._position_slot, number)
        self._sync(self._fd)
        self.position, self._position_slot = number, self._position_slot ^ 1

    def set_end(self, number: int) -> None:
        """Outlives the process, and most of the time a power cut."""
        self._write(self._end_slot, number)
        self.end, self._end_slot = number, self._end_slot ^ 1

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, slot: int, number: int) -> None:
        head = self._SLOT.pack(self._TAG, number, 0)[:-4]
        _write_all(self._fd, head + struct.pack("<I", zlib.crc32(head)), slot * self._SECTOR)

    def _load(self, content: bytes, first: int) -> tuple[int, int, bool]:
        """The greater of the numbers in two slots, the slot to be written next, and whether that number is the last
        one that was written for all that can be seen."""
        best, following, sound = -1, first, True
        for slot in (first, first + 1):
            raw = content[slot * self._SECTOR :][: self._SLOT.size].ljust(self._SLOT.size, b"\0")
            tag, number, check = self._SLOT.unpack(raw)
            if check != zlib.crc32(raw[:-4]):
                if any(raw):
                    sound = False
                    what = "a mark is damaged: records may be read again" if first == 0 else "a mark is damaged"
                    self._tell(SpoolDamage(self._path.name, slot * self._SECTOR, len(raw), 0, what))
            elif tag != self._TAG:
                todo = "Start the version that wrote it, or a newer one"
                raise Permanent("newer software wrote it", where=str(self._path), todo=todo)
            elif number > best:
                best, following = number, slot ^ 1
        return max(best, 0), following, sound and best >= 0


def _frame(records: Sequence[bytes], mark: bytes, first: int, at_us: int) -> bytes:
    parts = []
    for index, payload in enumerate(records):
        head = _HEAD.pack(mark, len(payload), len(records) - 1 - index, first + index, at_us, 0)[:_CHECKED]
        parts += [head, struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))), payload]
    return b"".join(parts)


def _scan(fd: int, mark: bytes, offset: int, size: int) -> Iterator[_Record]:
    """The sound records of a segment from an offset on; what lies between them is jumped over."""
    while offset < size:
        record = _record(fd, mark, offset, size)
        if record is None:
            found = _search(fd, mark, offset + 1, size)
            if found is None:
                return
            offset = found
        else:
            yield record
            offset = record.after


def _record(fd: int, mark: bytes, offset: int, size: int) -> _Record | None:
    """The record that begins here, if a sound one does."""
    head = os.pread(fd, _HEAD.size, offset)
    if len(head) < _HEAD.size or not head.startswith(mark):
        return None
    _, length, follow, number, at_us, check = _HEAD.unpack(head)
    after = offset + _HEAD.size + length
    if length > RECORD_BYTES_MAX or after > size or number > _NUMBER_MAX:
        return None
    payload = _read_all(fd, length, offset + _HEAD.size)
    if zlib.crc32(payload, zlib.crc32(head[:_CHECKED])) != check:
        return None
    return _Record(offset, after, number, at_us, follow, payload)


def _search(fd: int, mark: bytes, offset: int, size: int) -> int | None:
    """Where the mark stands next."""
    while offset < size:
        block = os.pread(fd, min(_SEARCH_BYTES, size - offset), offset)
        found = block.find(mark)
        if found >= 0:
            return offset + found
        if len(block) <= len(mark):
            return None
        offset += len(block) - len(mark) + 1
    return None


def _read_all(fd: int, length: int, offset: int) -> bytes:
    """So many bytes, or fewer where the file ends."""
    data = os.pread(fd, length, offset)
    while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
        data += more
    return data


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class _opened:  # noqa: N801  reads like a function
    """The file of a segment, open to read. A file that is gone reads as an empty one: its records show as a gap."""

    def __init__(self, segment: _Segment) -> None:
        self._path = segment.path

    def __enter__(self) -> int:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _lock(path: Path) -> int:
    """Takes the lock for as long as the answer stays open. The holder's process id stands in the file, for people."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise Permanent(
            f"a process has it open already (PID {holder})",
            where=str(path.parent),
            todo="Stop that process, or give this one a spool of its own",
        ) from error
    except BaseException:
        os.close(fd)
        raise
    return fd
