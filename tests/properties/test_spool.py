"""The spool: what any damage to its files and any failing call may do to it, and what they may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcim.core.errors import Permanent, Transient
from dcim.store.spool import Spool

AT = 1_772_334_000_000_000
ROOMY = 2**20


def payload(number: int, size: int = 40) -> bytes:
    return (b"%d:" % number).ljust(size, b"x")


def everything(spool: Spool, bytes_max: int = 100) -> list[tuple[int, bytes]]:
    found, position = [], spool.position
    while some := spool.read(position, bytes_max):
        found += some
        position = some[-1][0] + 1
    return found


def test_what_was_appended_is_read_in_order_also_after_reopening(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY) as spool:
        assert (spool.position, spool.end, spool.oldest_us, spool.bytes_held) == (0, 0, None, 0)
        assert spool.append([b"a", b"", b"c"], AT) == 3
        assert spool.append([b"d"], AT + 5) == 4
        assert spool.append([], AT) == 4
        assert spool.read(1, 100) == [(1, b""), (2, b"c"), (3, b"d")]
        assert spool.read(0, 1) == [(0, b"a")]
        assert spool.read(4, 100) == []
        spool.advance(3)
        assert (spool.position, spool.oldest_us) == (3, AT + 5)
    with Spool(tmp_path, ROOMY) as spool:
        assert (spool.position, spool.end, spool.oldest_us) == (3, 4, AT + 5)
        assert everything(spool) == [(3, b"d")]
        assert spool.append([b"e"], AT + 6) == 5
        spool.advance(5)
        assert (spool.oldest_us, everything(spool), spool.damage) == (None, [], [])
    with Spool(tmp_path, ROOMY) as spool:
        assert spool.append([b"f"], AT) == 6
        assert everything(spool) == [(5, b"f")]


def test_it_is_bounded_and_room_comes_back(tmp_path: Path) -> None:
    with Spool(tmp_path, 4000) as spool:
        for number in range(52):
            spool.append([payload(number)], AT)
        number += 1
        with pytest.raises(Transient, match="full"):
            spool.append([payload(number)], AT)
        assert 3800 < spool.bytes_held <= 4000
        held = spool.bytes_held
        assert spool.end == number
        spool.advance(number // 2)
        assert spool.bytes_held <= held * 0.65
        spool.append([payload(number)], AT)
        assert everything(spool) == [(n, payload(n)) for n in range(number // 2, number + 1)]
        with pytest.raises(Permanent, match="ever"):
            spool.append([bytes(4000)], AT)
        spool.advance(number + 1)
        spool.append([bytes(3900)], AT)
        assert sum(file.stat().st_size for file in tmp_path.glob("*.spool")) == spool.bytes_held <= 4000


def test_another_one_may_not_open_it(tmp_path: Path) -> None:
    with Spool(tmp_path, ROOMY), pytest.raises(Permanent, match=f"open already .PID {os.getpid()}."):
        Spool(tmp_path, ROOMY)
    Spool(tmp_path, ROOMY).close()
