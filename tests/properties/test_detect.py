"""What detectors stand on: wide matrices against single traces, groups against numpy, norms against their mean."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.assets import AssetKey
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect import wide as module
from dcim.detect.norms import FORGET_S, KEPT_S, Learned, Norms
from dcim.detect.stillness import stillness
from dcim.detect.study import Study
from dcim.detect.traces import Grid, Traces
from dcim.detect.wide import by_group, median, steady, widen
from tests.examples import examples
from tests.scenarios.loop import START, at

ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(0, 200),
        st.none() | st.floats(-1e6, 1e6),
        st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]),
    ),
    max_size=60,
)


def frame_of(rows: list[tuple[int, int, float | None, Quality]]) -> pl.DataFrame:
    ordered = sorted(rows, key=lambda row: row[:2])
    return Readings.of(
        [row[0] for row in ordered],
        [to_us(at(row[1])) for row in ordered],
        [float("nan") if row[2] is None else row[2] for row in ordered],
        [row[3] for row in ordered],
    ).to_frame()


@pytest.mark.parametrize("chunk", [3, 400_000])
@given(rows=ROWS)
@settings(max_examples=examples(60))
def test_a_wide_matrix_says_what_each_point_says_by_itself(
    rows: list[tuple[int, int, float | None, Quality]], chunk: int
) -> None:
    frame = frame_of(rows)
    grid = Grid(to_us(at(200)), 10.0, 15, 0.0)
    before, module._CHUNK_ROWS = module._CHUNK_ROWS, chunk
    try:
        matrix = widen(frame, grid)
    finally:
        module._CHUNK_ROWS = before
    traces = Traces(frame)
    points = np.arange(8)
    for point in points.tolist():
        alone = grid.mean(traces.of(point))
        np.testing.assert_allclose(matrix.means(points)[point], alone, rtol=1e-9, atol=1e-6)
        last = traces.of(point).last
        assert np.isnan(matrix.lasts(points)[point]) if last is None else matrix.lasts(points)[point] == last
    assert np.isnan(matrix.means(np.array([-1]))).all()


def test_a_held_value_ends_where_the_sensor_says_that_it_is_bad_and_after_its_time() -> None:
    grid = Grid(to_us(at(200)), 10.0, 20, 50.0)
    frame = frame_of([(0, 15, 1.0, Quality.GOOD), (1, 15, 2.0, Quality.GOOD), (1, 35, None, Quality.BAD)])
    held, ended = widen(frame, grid).means(np.array([0, 1]))
    assert held[1:7].tolist() == [1.0] * 6
    assert np.isnan(held[7:]).all()
    assert ended[1:3].tolist() == [2.0, 2.0]
    assert np.isnan(ended[3:]).all()


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=40),
    groups=st.lists(st.integers(-1, 4), min_size=40, max_size=40),
)
def test_medians_by_group_are_medians(values: list[float], groups: list[int]) -> None:
    column, group = np.array(values), np.array(groups[: len(values)], np.intp)
    found = by_group(column, group, 5, least=2)
    for number in range(5):
        own = column[(group == number) & ~np.isnan(column)]
        assert np.isnan(found[number]) if len(own) < 2 else found[number] == np.median(own)
    whole = median(column[None, :], least=1)[0]
    known = column[~np.isnan(column)]
    assert np.isnan(whole) if not len(known) else whole == np.median(known)


def test_steady_needs_all_of_its_span() -> None:
    values = np.array([[10.0, 10.5, 10.2, 20.0, 20.0, np.nan, 20.0, 20.0, 20.0]])
    calm = steady(values, 3, 0.1)[0].tolist()
    assert calm == [False, False, True, False, False, False, False, False, True]


def test_stillness_counts_from_the_last_change_and_bad_is_a_change() -> None:
    rows = [(0, second, 1.0 + (second == 50), Quality.GOOD) for second in range(0, 101, 10)]
    rows += [(1, second, 1.0, Quality.BAD if second == 70 else Quality.GOOD) for second in range(0, 101, 10)]
    still = stillness(frame_of(rows), to_us(at(100)))
    assert still.still_s.tolist() == [40.0, 30.0]
    assert still.said.tolist() == [5.0, 4.0]
    assert still.changes.tolist() == [2.0, 1.0]
    assert still.interval_s[0] == 30.0
    assert np.isnan(still.interval_s[1])


def learned(value: float) -> Learned:
    return Learned("r", np.array([3]), np.array([value]), [AssetKey("s", "a")])


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_a_norm_is_the_mean_of_its_time_and_counts_when_it_is_ready(values: list[float]) -> None:
    norms = Norms()
    for value in values:
        norms = norms.learn([learned(value)], 10.0)
    (norm,) = norms.of("r", np.array([3]), 10.0 * len(values))
    assert norm == pytest.approx(np.mean(values), abs=1e-6)
    assert np.isnan(norms.of("r", np.array([3, 4, -1]), 10.0 * len(values) + 1.0)).all()
    again = Norms.from_frame(norms.to_frame())
    assert again.to_frame().equals(norms.to_frame())


@pytest.mark.slow
def test_a_norm_of_long_ago_still_follows_slowly_and_a_gap_weighs_no_more_than_a_look() -> None:
    norms = Norms()
    for _ in range(int(FORGET_S / 600.0) + 10):
        norms = norms.learn([learned(1.0)], 600.0)
    moved = norms.learn([learned(2.0)], 1e9).of("r", np.array([3]), 0.0)[0] - 1.0
    assert moved == pytest.approx(600.0 / FORGET_S)


def test_a_norm_is_forgotten_when_its_part_was_mended_and_never_altered() -> None:
    norms = Norms().learn([learned(1.0)], 600.0)
    gone = norms.forget(np.array([3, 99, -1]))
    assert np.isnan(gone.of("r", np.array([3]), 1.0))
    assert norms.of("r", np.array([3]), 1.0) == 1.0


@given(points=st.sets(st.integers(0, 50), min_size=1), other=st.sets(st.integers(0, 50), min_size=1))
def test_what_is_kept_is_there_as_it_was_and_replaces_what_was_kept_before(points: set[int], other: set[int]) -> None:
    norms = Norms().learn([learned(1.0)], 600.0)
    first, second = (np.array(sorted(some)) for some in (points, other))
    norms = norms.keep("sum", first, first + 0.5).keep("sum", second, second + 0.25)
    again = Norms.from_frame(norms.to_frame())
    assert again.of("sum", second, KEPT_S).tolist() == (second + 0.25).tolist()
    assert np.isnan(again.of("sum", np.array([*sorted(points - other), -1]), KEPT_S)).all()
    assert again.points("sum") == max(other) + 1
    assert again.of("r", np.array([3]), 600.0) == 1.0


def test_a_study_learns_an_instant_once_and_not_of_exempt_assets() -> None:
    study = Study(Norms())
    for second in (0.0, 60.0, 60.0, 30.0):
        study.looked(START + timedelta(seconds=second), [learned(5.0)])
        study.learn(frozenset())
    assert study.norms.to_frame()["learned_s"].to_list() == [60.0]
    study.looked(START + timedelta(seconds=120.0), [learned(9.0)])
    study.learn({AssetKey("s", "a")})
    assert study.norms.to_frame()["value"].to_list() == [5.0]
