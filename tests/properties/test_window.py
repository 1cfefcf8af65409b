"""The detectors' window against a list that is sorted anew each time: same frames, whatever came in whatever order."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcim.detect.window as module
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect import runs
from dcim.detect.window import ROW_BYTES, Window, doubt
from tests.examples import examples
from tests.scenarios.loop import at

LOOK_BACK_S = 60
BATCH = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(-40, 5),
        st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.GOOD, Quality.BAD]),
    ),
    max_size=12,
)
STEP = st.tuples(BATCH, st.sampled_from(["wait", "look", "look here"]), st.sets(st.integers(0, 9)) | st.none())
"""What arrives within five seconds, each by its point and its time against now; who looks then, and at which points."""


def readings(batch: list[tuple[int, int, Quality]], now_s: int, first: int) -> Readings:
    """Values count up, so that the order of arrival shows."""
    return Readings.of(
        [row[0] for row in batch],
        [to_us(at(now_s + row[1])) for row in batch],
        [float(first + number) for number in range(len(batch))],
        [row[2] for row in batch],
    )


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(steps=st.lists(STEP, min_size=1, max_size=25), block=st.sampled_from([3, 4_096]), short=st.sampled_from([0, 4]))
def test_a_frame_holds_what_came_in_order_of_point_time_and_arrival(
    steps: list[tuple[list[tuple[int, int, Quality]], str, set[int] | None]], block: int, short: int
) -> None:
    kept, came, number = Window(timedelta(seconds=LOOK_BACK_S)), Readings.empty(), 0
    with mock.patch.object(module, "_BLOCK_POINTS", block), mock.patch.object(runs, "_SHORT_MIN", short):
        for step, (batch, who, points) in enumerate(steps):
            now_s = 5 * step
            arrived = readings(batch, now_s, number)
            number += len(batch)
            kept.offer(arrived)
            came = Readings.concat([came, arrived])
            if who == "wait":
                continue
            since_s = now_s - LOOK_BACK_S // (1 + step % 2)
            asked = None if points is None else sorted(points)
            looker = kept.snapshot() if who == "look" else kept
            frame = looker.frame(asked, to_us(at(since_s)), to_us(at(now_s)))
            wanted = pl.col("time").is_between(at(since_s), at(now_s))
            if asked is not None:
                wanted &= pl.col("point").is_in(asked)
            expected = came.to_frame().filter(wanted).sort("point", "time", maintain_order=True)
            assert frame.equals(expected)
            assert frame.schema == expected.schema
    assert kept.dropped == 0


@settings(max_examples=examples(60), deadline=None)
@given(steps=st.lists(BATCH, min_size=1, max_size=12), rows_max=st.integers(1, 30))
def test_the_window_keeps_to_its_bytes_and_the_oldest_give_way_counted(
    steps: list[list[tuple[int, int, Quality]]], rows_max: int
) -> None:
    kept, number = Window(timedelta(seconds=LOOK_BACK_S), rows_max * ROW_BYTES + 1), 0
    for batch in steps:
        kept.offer(readings(batch, 40, number))
        number += len(batch)
        before = len(kept)
        frame = kept.snapshot().frame(None, to_us(at(-60)), to_us(at(50)))
        kept.snapshot()  # takes over what the first one did
        assert frame.height == len(kept) <= rows_max
        assert kept.dropped + len(kept) == number
        if before > frame.height and frame.height:
            assert len(kept) >= 0.95 * rows_max - 1


def test_what_is_old_is_forgotten_also_of_points_that_fell_silent() -> None:
    kept = Window(timedelta(seconds=LOOK_BACK_S))
    kept.offer(readings([(1, 0, Quality.GOOD)] * 50 + [(2, 0, Quality.GOOD)], 0, 0))
    for now_s in (1, 40, 80):
        frame = kept.snapshot().frame(None, to_us(at(0)), to_us(at(now_s)))
        assert frame.height == (51 if now_s < 80 else 0)
    assert len(kept.snapshot()) == 0


def test_a_look_does_not_disturb_who_holds_an_older_snapshot() -> None:
    kept = Window(timedelta(seconds=LOOK_BACK_S))
    kept.offer(readings([(1, 0, Quality.GOOD)], 0, 0))
    old = kept.snapshot()
    before = old.frame(None, to_us(at(0)), to_us(at(1)))
    kept.offer(readings([(1, -1, Quality.GOOD), (3, 0, Quality.GOOD)], 0, 10))
    assert kept.snapshot().frame(None, to_us(at(-5)), to_us(at(1))).height == 3
    assert old.frame(None, to_us(at(0)), to_us(at(1))).equals(before)


def test_a_window_without_room_or_time_is_refused() -> None:
    with pytest.raises(ValueError, match="look-back above 0"):
        Window(timedelta(0))
    with pytest.raises(ValueError, match="room for one reading"):
        Window(timedelta(seconds=1), 20)


def test_doubted_points_are_shown_as_bad_and_nothing_else_changes() -> None:
    frame = readings([(1, 0, Quality.GOOD), (2, 0, Quality.UNCERTAIN)], 0, 0).to_frame()
    assert doubt(frame, frozenset()) is frame
    assert doubt(frame, {2, 9})["quality"].to_list() == [Quality.GOOD, Quality.BAD]
    assert np.array_equal(doubt(frame, {2})["value"].to_numpy(), frame["value"].to_numpy())
