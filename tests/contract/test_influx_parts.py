"""The parts that a store in front of InfluxDB is put together from, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.ledger import DeadLetter
from dcim.core.live import NEVER
from dcim.core.ports import DeadReading
from dcim.core.readings import Readings, Tier
from dcim.store import bookmark, flux, recent, rollup
from dcim.store import steps as steps_module
from dcim.store.bookmark import Bookmark
from dcim.store.dead_letters import DeadLetters, Letter
from dcim.store.parcel import PARCEL_ROWS, Account, Parcel, pack, pack_account, unpack
from dcim.store.recent import Recent
from dcim.store.rollup import HOUR_US, MINUTE_US, SETTLE_US, Pace, RollUp, Stale, Work
from dcim.store.sift import END_US
from dcim.store.steps import Steps
from tests.examples import examples

ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 50), st.floats(allow_infinity=False), st.integers(0, 2)), max_size=12
)
TRIES = settings(max_examples=examples(60), deadline=None)


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
    for broken in (b"", bytes(50), b"\xff" * 50, pack(Readings.of([1], [2], [3.0], [0]))[0][6:-400]):
        with pytest.raises(Permanent, match=r"cannot be read|holds no readings"):
            unpack(b"dcim\x01\x00" + broken)


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


@pytest.mark.slow
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


# --- what was touched late

AT_ONCE = dict.fromkeys((Tier.MINUTE, Tier.HOUR), Pace(0, 0, 0))
NOW = 1000 * HOUR_US
BOTH = (Tier.MINUTE, Tier.HOUR)


def touch(stale: Stale, *times: int, at: int = NOW, point: int = 7) -> None:
    for tier in BOTH:
        stale.touch(tier, np.array(times, np.int64), np.array([point] * len(times), np.uint32), at)


@TRIES
@given(
    st.lists(st.lists(st.integers(0, 5 * 60 - 1), min_size=1, max_size=6), max_size=8),
    st.lists(st.sampled_from(["done", "failed"]), max_size=40),
)
def test_every_touched_step_is_made_anew(touches: list[list[int]], ends: list[str]) -> None:
    """Minutes of five hours, touched in any order; whatever is not made is told as such."""
    stale, open_minutes, open_hours = Stale(AT_ONCE), set[int](), set[int]()
    todo = list(ends)
    for number, minutes in enumerate([*touches, []]):
        if minutes:
            touch(stale, *(minute * MINUTE_US + 7 for minute in minutes), point=number)
            open_minutes |= set(minutes)
            open_hours |= {minute // 60 for minute in minutes}
        while (work := stale.take(NOW, 0)) is not None:
            assert stale.first(Tier.MINUTE) == min((m * MINUTE_US for m in open_minutes), default=END_US)
            assert stale.first(Tier.HOUR) == min((h * HOUR_US for h in open_hours), default=END_US)
            assert work.points is not None
            if todo and todo.pop() == "failed":
                stale.failed(work, NOW)
                continue
            stale.done(work)
            if work.tier is Tier.HOUR:
                open_hours.remove(work.span[0] // HOUR_US)
            else:
                open_minutes -= set(range(work.span[0] // MINUTE_US, work.span[1] // MINUTE_US))
            kept = Stale(AT_ONCE)
            kept.load(json.loads(json.dumps(stale.dump()), object_pairs_hook=_numbered), NOW)
            assert [kept.first(tier) for tier in BOTH] == [stale.first(tier) for tier in BOTH]
        assert not open_minutes
        assert not open_hours


def _numbered(pairs: list[tuple[str, object]]) -> dict[object, object]:
    return {int(key) if key.isdigit() else key: value for key, value in pairs}


def test_points_are_remembered_until_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "POINTS_MAX", 3)
    stale = Stale(AT_ONCE)
    for point in (5, 3, 5):
        touch(stale, 0, point=point)
    work = stale.take(NOW, 0)
    assert work is not None
    assert work.points is not None
    assert work.points.tolist() == [3, 5]
    touch(stale, 0, point=9)
    stale.failed(work, NOW)
    again = stale.take(NOW, 0)
    assert again is not None
    assert again.points is not None
    assert again.points.tolist() == [3, 5, 9]
    stale.failed(again, NOW)
    touch(stale, 0, point=1)
    every = stale.take(NOW, 0)
    assert every is not None
    assert every.points is None


def test_a_step_is_left_alone_until_it_is_over() -> None:
    stale = Stale(AT_ONCE)
    touch(stale, 0, MINUTE_US, at=0)
    assert stale.take(MINUTE_US + SETTLE_US - 1, 0) is None
    work = stale.take(MINUTE_US + SETTLE_US, 0)
    assert work is not None
    assert (work.tier, work.span) == (Tier.MINUTE, (0, MINUTE_US))
    assert stale.first(Tier.MINUTE) == 0, "it is not done yet"
    stale.done(work)
    assert stale.first(Tier.MINUTE) == MINUTE_US
    spans = []
    for at in (HOUR_US + SETTLE_US - 1, HOUR_US + SETTLE_US):
        while (work := stale.take(at, 0)) is not None:
            spans.append((work.tier, work.span, at))
            stale.done(work)
    assert spans == [
        (Tier.MINUTE, (MINUTE_US, 2 * MINUTE_US), HOUR_US + SETTLE_US - 1),
        (Tier.HOUR, (0, HOUR_US), HOUR_US + SETTLE_US),
    ]


def test_a_trickle_of_late_readings_does_not_make_the_same_hour_anew_all_the_time() -> None:
    stale, taken = Stale(), 0
    for second in range(0, 1_800, 5):  # half an hour of one late reading every five seconds
        touch(stale, 0, at=NOW + second * 1_000_000)
        while (work := stale.take(NOW + second * 1_000_000, 0)) is not None:
            taken += work.tier is Tier.HOUR
            stale.done(work)
    assert taken == 0
    assert stale.take(NOW + 1_800_000_000, 0) is not None


def test_what_the_server_may_have_dropped_is_not_made_anew() -> None:
    """A step of whose readings some are gone would come out wrong, and be written over a right one."""
    stale = Stale(AT_ONCE)
    touch(stale, 0, 5 * MINUTE_US, HOUR_US)
    works = []
    while (work := stale.take(NOW, 3 * MINUTE_US)) is not None:
        works.append((work.tier, work.span))
        stale.done(work)
    assert works == [
        (Tier.MINUTE, (5 * MINUTE_US, 6 * MINUTE_US)),
        (Tier.MINUTE, (HOUR_US, HOUR_US + MINUTE_US)),
        (Tier.HOUR, (HOUR_US, 2 * HOUR_US)),
    ]


# --- steps in memory


@pytest.mark.slow
@TRIES
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 7 * 60), st.sampled_from((1.0, 2.5, -3.0)), st.integers(0, 1)),
            min_size=1,
            max_size=8,
        ),
        min_size=1,
        max_size=10,
    ),
    st.integers(0, 3),
    st.data(),
)
def test_steps_are_whole_or_late(
    batches: list[list[tuple[int, int, float, int]]], linger: int, data: st.DataObject
) -> None:
    """Readings of seven minutes in any order: what is told of a step from the floor on is all of it, and what is late
    lies in no step that is told afterwards."""
    floor = MINUTE_US
    steps, told, rows, late_rows = Steps(MINUTE_US, linger * MINUTE_US, floor), {}, [], []
    for batch in batches:
        readings_of = Readings.of(
            [row[0] for row in batch],
            [row[1] * 1_000_000 for row in batch],
            [row[2] for row in batch],
            [row[3] for row in batch],
        )
        late = steps.add(readings_of, NOW)
        rows += [row for row, is_late in zip(batch, late.tolist(), strict=True) if not is_late]
        late_rows += [row for row, is_late in zip(batch, late.tolist(), strict=True) if is_late]
        if data.draw(st.booleans()):
            for start, frame in steps.due(data.draw(st.integers(0, 8)) * MINUTE_US):
                assert start in steps.dirty()
                steps.told(start)
                told |= {(start, point): rest for point, *rest in frame.sort("point").rows()}
    for start, frame in steps.due(NOW):
        steps.told(start)
        told |= {(start, point): rest for point, *rest in frame.rows()}
    assert not steps.dirty()
    assert all(second * 1_000_000 < steps._floor_us for _, second, _, _ in late_rows)
    expected: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for point, second, value, quality in rows:
        expected.setdefault((second // 60 * MINUTE_US, point), []).append((value, quality))
    assert told == {
        step: [
            pytest.approx(sum(value for value, _ in used)),
            len(used),
            min(used)[0],
            max(used)[0],
            any(quality for _, quality in used),
        ]
        for step, used in expected.items()
    }


def test_a_clock_that_runs_ahead_moves_no_floor() -> None:
    steps = Steps(MINUTE_US, 0, 0)
    far = Readings.of([1], [NOW + 2 * HOUR_US], [1.0], [0])
    assert steps.add(far, NOW).tolist() == [True]
    assert steps.add(Readings.of([1], [NOW], [1.0], [0]), NOW).tolist() == [False]


def test_steps_that_nobody_takes_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "LEAVING_ROWS_MAX", 2)
    steps = Steps(MINUTE_US, 0, 0)
    for minute in range(6):
        steps.add(Readings.of([1], [minute * MINUTE_US], [1.0], [0]), NOW)
    assert steps.forgotten() == [2 * MINUTE_US, 3 * MINUTE_US, 4 * MINUTE_US]
    assert steps.forgotten() == []
    assert sorted(start for start, _ in steps.due(NOW)) == [0, MINUTE_US, 5 * MINUTE_US]


def test_many_parts_are_put_together_before_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "FRESH_ROWS_MAX", 10)
    steps = Steps(MINUTE_US, 0, 0)
    for number in range(100):
        steps.add(Readings.of([number % 3], [number], [float(number)], [0]), NOW)
        assert len(steps._steps[0].fresh) <= 11
    ((_, frame),) = steps.due(NOW)
    assert frame.sort("point").rows() == [
        (0, 1683.0, 34, 0.0, 99.0, False),
        (1, 1617.0, 33, 1.0, 97.0, False),
        (2, 1650.0, 33, 2.0, 98.0, False),
    ]


# --- rolling up


def test_what_is_not_taken_comes_again_and_what_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away for a while, that has no bucket, and that refuses a step for good."""
    monkeypatch.setattr(rollup, "WAIT_S", 0)
    answers: list[DcimError | None] = [
        Transient("it is away"), Transient("it is away"), None, Permanent("it will not have it"), None,
    ]  # fmt: skip
    written: list[tuple[Tier, list[object]]] = []
    troubles: list[str] = []

    async def write(tier: Tier, frame: pl.DataFrame) -> None:
        troubles.append(rolling.trouble)
        written.append((tier, frame["point"].to_list()))
        answer = answers.pop(0)
        if not answers:
            over.set()
        if answer is not None:
            raise answer

    async def remake(work: Work) -> None:
        raise AssertionError("nothing came late")

    clock, over = [0], asyncio.Event()
    rolling = RollUp(write, remake, lambda: 0, lambda: clock[0], AT_ONCE)
    for minute in (1, 2, 3):
        rolling.passed(Readings.of([minute, 9], [minute * MINUTE_US] * 2, [1.0, math.nan], [0, 0]))
    assert rolling.rolled()[Tier.MINUTE] == MINUTE_US
    assert list(rolling.dump()["minute"].values()) == [0b1110]
    clock[0] = 4 * MINUTE_US + SETTLE_US

    async def run() -> None:
        task = asyncio.create_task(rolling.run())
        await over.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert written == [(Tier.MINUTE, [point]) for point in (1, 1, 1, 2, 3)]
    away, refused = (f"minutes and hours are not rolled up: {why}" for why in ("it is away", "it will not have it"))
    assert troubles == ["", away, away, "", refused]
    assert rolling.beyond()["minute"] == 4 * MINUTE_US


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
