"""The parts that a store in front of InfluxDB is put together from, each by itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.errors import Permanent, Transient
from dcim.core.ledger import DeadLetter
from dcim.core.live import NEVER
from dcim.core.ports import DeadReading
from dcim.core.readings import Readings
from dcim.store import bookmark, flux, recent
from dcim.store.bookmark import Bookmark
from dcim.store.dead_letters import DeadLetters, Letter
from dcim.store.parcel import PARCEL_ROWS, Account, Parcel, pack, pack_account, unpack
from dcim.store.recent import Recent
from dcim.store.retention import Tier
from dcim.store.rollup import HOUR_US, MINUTE_US, SETTLE_US, Pace, Stale, Work

ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 50), st.floats(allow_infinity=False), st.integers(0, 2)), max_size=12
)
TRIES = settings(max_examples=60, deadline=None)


def readings(rows: list[tuple[int, int, float, int]]) -> Readings:
    return Readings.of(*zip(*rows, strict=True)) if rows else Readings.empty()


def same(one: Readings, other: Readings) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(
            (one.point, one.time, one.value, one.quality),
            (other.point, other.time, other.value, other.quality),
            strict=True,
        )
    )


# --- parcels


@TRIES
@given(ROWS, st.booleans())
def test_parcels_come_back(rows: list[tuple[int, int, float, int]], doubtful: bool) -> None:
    records = pack(readings(rows), doubtful=doubtful)
    parcels = [unpack(record) for record in records]
    assert all(isinstance(parcel, Parcel) and parcel.doubtful == doubtful for parcel in parcels)
    assert same(Readings.concat(parcel.rows for parcel in parcels if isinstance(parcel, Parcel)), readings(rows))


def test_many_rows_are_several_parcels() -> None:
    count = PARCEL_ROWS * 2 + 1
    rows = Readings(
        np.arange(count, dtype=np.uint32), np.arange(count), np.arange(count) / 3, np.zeros(count, np.uint8)
    )
    parcels = [unpack(record) for record in pack(rows)]
    assert [len(parcel.rows) for parcel in parcels if isinstance(parcel, Parcel)] == [PARCEL_ROWS, PARCEL_ROWS, 1]


def test_accounts_come_back_and_strangers_do_not() -> None:
    assert unpack(pack_account(Account(7, b"\x00books"))) == Account(7, b"\x00books")
    for stranger in (b"", b"dcim", b"dcim\x01\x02short", b"dcim\x09\x00" + bytes(50), b"other\x00" + bytes(50)):
        with pytest.raises(Permanent, match="not written by this version"):
            unpack(stranger)


# --- what was taken lately

STEPS = st.lists(ROWS.filter(bool), max_size=10)


@TRIES
@given(ROWS, STEPS, st.integers(1, 15), ROWS)
def test_recent_rows_are_what_they_say(
    before: list[tuple[int, int, float, int]],
    steps: list[list[tuple[int, int, float, int]]],
    rows_max: int,
    asked: list[tuple[int, int, float, int]],
) -> None:
    """Every row that was ever taken is here, or not later than the floor of its point."""
    here = Recent(readings(before), 100, rows_max)
    taken = {(point, time) for point, time, _, _ in before}
    for number, rows in enumerate(steps, 100):
        here.add(number, number + 1, readings(rows))
        taken |= {(point, time) for point, time, _, _ in rows}
    held = here.holds(readings(asked))
    floors = here.floor(readings(asked).point)
    for (point, time, _, _), is_held, floor in zip(asked, held.tolist(), floors.tolist(), strict=True):
        if is_held:
            assert (point, time) in taken
        elif time > floor:
            assert (point, time) not in taken
    every = np.arange(10, dtype=np.uint32)
    for position in range(here.first, 100 + len(steps) + 1):
        since = here.since(position, every, 0, 51)
        assert since is not None
        wanted = [row for number, rows in enumerate(steps, 100) if number >= position for row in rows]
        found = list(zip(since.point.tolist(), since.time.tolist(), strict=True))
        assert {(point, time) for point, time, _, _ in wanted} <= set(found)
    if here.first > 100:
        assert here.since(here.first - 1, every, 0, 51) is None


def test_many_small_pieces_are_joined_and_few_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "PIECES_MAX", 16)
    here = Recent(Readings.empty(), 0, 100)
    for number in range(1_000):
        here.add(number, number + 1, Readings.of([1], [number], [0.0], [0]))
        assert len(here._pieces) <= 17
    assert 100 - 100 // 4 <= sum(len(piece.rows) for piece in here._pieces) <= 100
    assert here.holds(Readings.of([1, 1], [999, 0], [0.0, 0.0], [0, 0])).tolist() == [True, False]
    assert here.floor(np.array([1, 2], np.uint32)).tolist() == [here.first - 1, NEVER]


# --- the bookmark


def test_a_bookmark_comes_back(tmp_path: Path) -> None:
    kept = Bookmark(
        3,
        9,
        17,
        readings([(4_000_000_000, 5, math.nan, 2), (1, -1, 0.1, 0)]),
        b"\n{books}",
        {"minute": {491_667: 2**59}},
    )
    bookmark.save(tmp_path / "bookmark", kept)
    back = bookmark.load(tmp_path / "bookmark")
    assert back is not None
    assert same(back.newest, kept.newest)
    assert (back.position, back.end, back.waiting, back.account, back.stale) == (3, 9, 17, kept.account, kept.stale)


def test_no_bookmark_but_a_sound_one_is_believed(tmp_path: Path) -> None:
    file = tmp_path / "bookmark"
    assert bookmark.load(file) is None
    bookmark.save(file, Bookmark(0, 5, 5, readings([(1, 2, 3.0, 0)])))
    sound = file.read_bytes()
    for at in range(0, len(sound), 7):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert bookmark.load(file) is None
        file.write_bytes(sound[:at])
        assert bookmark.load(file) is None


def test_a_bookmark_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "bookmark"
    bookmark.save(file, Bookmark(0, 5, 5, Readings.empty()))
    (tmp_path / "bookmark.new").mkdir()
    with pytest.raises(Transient, match="cannot be written"):
        bookmark.save(file, Bookmark(1, 6, 5, Readings.empty()))
    back = bookmark.load(file)
    assert back is not None
    assert back.end == 5


# --- dead letters


def letter(number: int, row: int = 0, line: str = "a v=1") -> Letter:
    return Letter(number, row, DeadReading(DeadLetter.MALFORMED, line, "no\nsuch “thing”", 5))


def test_a_letter_is_put_aside_once(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    assert letters.put([letter(1), letter(2), letter(1)]) == [letter(1), letter(2)]
    again = DeadLetters(tmp_path)
    assert again.put([letter(2), letter(3), letter(3, 1)]) == [letter(3), letter(3, 1)]
    assert again.put([letter(2, line="another spool's")]) == [letter(2, line="another spool's")]
    assert again.counts() == {DeadLetter.MALFORMED: 5}
    assert [kept.message for kept in DeadLetters(tmp_path).kept()] == ["no\nsuch “thing”"] * 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 8))
def test_letters_are_bounded_and_counted(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int) -> None:
    folder = tmp_path_factory.mktemp("letters")
    letters, number = DeadLetters(folder, most), 0
    for size in sizes:
        letters.put([letter(number + place) for place in range(size)])
        number += size
        for found in (letters, DeadLetters(folder, most)):
            assert sum(found.counts().values()) == number
            assert len(found.kept()) <= max(2, most)
        assert DeadLetters(folder, most).kept() == letters.kept()


def test_a_line_that_was_cut_short_costs_itself_alone(tmp_path: Path) -> None:
    DeadLetters(tmp_path).put([letter(1), letter(2)])
    file = tmp_path / "dead_letters.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    letters = DeadLetters(tmp_path)
    assert len(letters.kept()) == 1
    letters.put([letter(3)])
    assert len(DeadLetters(tmp_path).kept()) == 2
    file.write_bytes(file.read_bytes() + b"\xff{}[]\n[1]\n" + json.dumps({"gone": {"what": 1}}).encode() + b"\n")
    assert len(DeadLetters(tmp_path).kept()) == 2


# --- what is to be rolled up

AT_ONCE = {Tier.MINUTE: Pace(0, 0), Tier.HOUR: Pace(0, 0)}
NOW = 1000 * HOUR_US


@TRIES
@given(
    st.lists(st.lists(st.integers(0, 5 * 60 - 1), min_size=1, max_size=6), max_size=8),
    st.lists(st.sampled_from(["done", "failed"]), max_size=40),
)
def test_every_touched_step_is_rolled_up(touches: list[list[int]], ends: list[str]) -> None:
    """Minutes of five hours, touched in any order; whatever is not rolled up is told as such."""
    stale, open_minutes, open_hours = Stale(AT_ONCE), set[int](), set[int]()
    todo = list(ends)
    for minutes in [*touches, []]:
        if minutes:
            stale.touch(np.array(minutes, np.int64) * MINUTE_US + 7, NOW)
            open_minutes |= set(minutes)
            open_hours |= {minute // 60 for minute in minutes}
        while (work := stale.take(NOW, 0)) is not None:
            rolled = stale.rolled()
            assert rolled[Tier.MINUTE] == min((m * MINUTE_US for m in open_minutes), default=rolled[Tier.MINUTE])
            assert rolled[Tier.HOUR] == min((h * HOUR_US for h in open_hours), default=rolled[Tier.HOUR])
            if todo and todo.pop() == "failed":
                stale.failed(work, NOW)
                continue
            stale.done(work)
            if work.tier is Tier.HOUR:
                open_hours.remove(work.span[0] // HOUR_US)
            else:
                covered = set(range(work.span[0] // MINUTE_US, work.span[1] // MINUTE_US))
                open_minutes -= covered
            kept = Stale(AT_ONCE)
            kept.load(json.loads(json.dumps(stale.dump()), object_pairs_hook=_numbered), NOW)
            assert kept.rolled() == stale.rolled()
        assert not open_minutes
        assert not open_hours


def _numbered(pairs: list[tuple[str, object]]) -> dict[object, object]:
    return {int(key) if key.isdigit() else key: value for key, value in pairs}


def test_a_step_is_left_alone_until_it_is_over() -> None:
    stale = Stale(AT_ONCE)
    stale.touch(np.array([0, MINUTE_US]), 0)
    assert stale.take(MINUTE_US + SETTLE_US - 1, 0) is None
    work = stale.take(MINUTE_US + SETTLE_US, 0)
    assert work == Work(Tier.MINUTE, (0, MINUTE_US), 0, 1)
    assert stale.rolled()[Tier.MINUTE] == 0, "it is not done yet"
    stale.done(work)
    assert stale.rolled()[Tier.MINUTE] == MINUTE_US
    assert stale.take(HOUR_US + SETTLE_US - 1, 0) == Work(Tier.MINUTE, (MINUTE_US, 2 * MINUTE_US), 0, 2)
    assert stale.take(HOUR_US + SETTLE_US - 1, 0) is None
    assert stale.take(HOUR_US + SETTLE_US, 0) == Work(Tier.HOUR, (0, HOUR_US), 0, 3)


def test_a_trickle_of_late_readings_does_not_roll_up_the_same_hour_all_the_time() -> None:
    minute = 60_000_000
    stale, taken = Stale(), 0
    for second in range(0, 1_800, 5):  # half an hour of one late reading every five seconds
        stale.touch(np.array([0]), NOW + second * 1_000_000)
        while (work := stale.take(NOW + second * 1_000_000, 0)) is not None:
            taken += work.tier is Tier.HOUR
            stale.done(work)
    assert taken == 0
    work = stale.take(NOW + 1_800_000_000 + 6 * minute, 0)
    assert work is not None


def test_what_the_server_may_have_dropped_is_not_rolled_up_again() -> None:
    """A step of whose readings some are gone would come out wrong, and be written over a right one."""
    stale = Stale(AT_ONCE)
    stale.touch(np.array([0, 5 * MINUTE_US, HOUR_US]), NOW)
    works = []
    while (work := stale.take(NOW, 3 * MINUTE_US)) is not None:
        works.append((work.tier, work.span))
        stale.done(work)
    assert works == [
        (Tier.MINUTE, (5 * MINUTE_US, 6 * MINUTE_US)),
        (Tier.MINUTE, (HOUR_US, HOUR_US + MINUTE_US)),
        (Tier.HOUR, (HOUR_US, 2 * HOUR_US)),
    ]


# --- answers


def test_an_answer_of_nothing() -> None:
    for answer in (b"", b"\r\n", b"\r\n\r\n\r\n"):
        frame = flux.answered(answer)
        assert frame.is_empty()
        assert frame.schema == flux.ANSWER


def test_what_was_given_stands_in_its_column() -> None:
    answer = (
        b'\r\n,result,table,_time,value,point\r\n,value,0,2026-03-01T03:00:00Z,1e-7,"a ""b"", c"\r\n'
        b",value,0,2200-12-31T23:59:59.999999Z,-0,#1\r\n\r\n"
        b",result,table,_time,quality,point\r\n,quality,0,1970-01-01T00:00:00.5Z,6,\xc3\xbc\r\n\r\n"
    )
    rows = flux.answered(answer).rows()
    assert [(point, value, weight, quality) for point, _, value, weight, quality in rows] == [
        ('a "b", c', 1e-7, None, None),
        ("#1", 0.0, None, None),
        ("ü", None, None, 6),
    ]
    assert [row[1].isoformat() for row in rows] == [
        "2026-03-01T03:00:00+00:00",
        "2200-12-31T23:59:59.999999+00:00",
        "1970-01-01T00:00:00.500000+00:00",
    ]
