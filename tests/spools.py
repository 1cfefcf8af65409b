"""What tests of the spool share: records that say who they are, and where on disk they lie."""

from __future__ import annotations

from pathlib import Path

from dcim.store.spool import Spool

AT = 1_772_334_000_000_000


def payload(number: int) -> bytes:
    """The record with this number, of 5 to 70 bytes: no two are alike, and none is a part of another."""
    return b"<%d>" % number + b"x" * (number * 7 % 60)


def everything(spool: Spool, bytes_max: int = 100) -> list[tuple[int, bytes]]:
    """All that can be read, a little at a time."""
    found: list[tuple[int, bytes]] = []
    position = spool.position
    while some := spool.read(position, bytes_max):
        found += some
        position = some[-1][0] + 1
    return found


def expected(numbers: range) -> list[tuple[int, bytes]]:
    """What `everything` answers when nothing is lost."""
    return [(number, payload(number)) for number in numbers]


def segments(folder: Path) -> list[Path]:
    """The files with records, in their order."""
    return sorted(folder.glob("*.spool"))


def places(folder: Path, numbers: range) -> dict[int, tuple[Path, int, int]]:
    """Where each record lies: its file, where the one before it ends, where it ends. Found by looking for it."""
    found = {}
    for path in segments(folder):
        content, start = path.read_bytes(), 0
        for number in numbers:
            at = content.find(payload(number)[: payload(number).index(b">") + 1])
            if at >= 0:
                stop = at + len(payload(number))
                found[number] = (path, start, stop)
                start = stop
    return found
