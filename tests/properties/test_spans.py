"""Readings over time: what holds for any readings."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.capacity.spans import (
    HOLD_US,
    Grid,
    add_up,
    coarser,
    coverage,
    grid,
    growth,
    hold,
    integral_h,
    lattice,
    means,
    quantiles,
)
from dcim.core.readings import Readings

S = 1_000_000
END_S = 3_600
values = st.floats(0, 1_000, allow_nan=False)
series = st.dictionaries(st.integers(0, END_S - 1), values, min_size=1, max_size=40)


def frame(of: list[dict[int, float]]) -> pl.DataFrame:
    rows = [(point, second, told[second]) for point, told in enumerate(of) for second in sorted(told)]
    return Readings.of(
        [point for point, _, _ in rows], [second * S for _, second, _ in rows], [value for *_, value in rows],
        [0] * len(rows),
    ).to_frame()  # fmt: skip


def on(of: list[dict[int, float]], step_s: int = 60, hold_us: int = HOLD_US) -> Grid:
    end = END_S * S
    return grid(hold(frame(of), end, hold_us=hold_us), range(len(of)), lattice(0, end, step_s * S), (0, end))


@given(series, st.integers(1, 100))
def test_readings_that_repeat_what_is_known_change_nothing(told, every_s):
    """What a meter shows does not depend on how often it is read."""
    held: dict[int, float] = {}
    times = sorted(told)
    for at, following in zip(times, [*times[1:], END_S], strict=True):
        held |= dict.fromkeys(range(at, following, every_s), told[at])
    few, many = (on([of], hold_us=END_S * S) for of in (told, held))
    assert np.allclose(few.cover, many.cover)
    assert np.allclose(few.mean, many.mean, equal_nan=True)
    assert quantiles(many, 0.95)[0][0] == pytest.approx(quantiles(few, 0.95)[0][0])


@given(series, st.sampled_from([1, 2, 3, 7, 20, 60]))
def test_utilization_does_not_depend_on_the_step(told, every):
    fine = on([told])
    coarse = coarser(fine, every)
    direct = on([told], 60 * every)
    for other in (coarse, direct):
        assert means(other)[0] == pytest.approx(means(fine)[0], abs=1e-9)
        assert integral_h(other)[0] == pytest.approx(integral_h(fine)[0], abs=1e-9)
        assert coverage(other)[0] == pytest.approx(coverage(fine)[0])
    assert np.allclose(coarse.mean, direct.mean, equal_nan=True)


@given(series)
def test_figures_lie_between_the_least_and_the_greatest_reading(told):
    one = on([told])
    low, high = min(told.values()), max(told.values())
    for figure in (means(one)[0], quantiles(one, 0.5)[0][0], quantiles(one, 0.95)[0][0]):
        assert low - 1e-9 <= figure <= high + 1e-9
    assert 0.0 < coverage(one)[0] <= 1.0


@given(st.lists(series, min_size=1, max_size=5))
def test_a_sum_is_the_sum_of_its_parts_where_all_is_read(parts):
    full = [
        {second: told.get(second, min(told.values())) for second in {*told, *range(0, END_S, 200)}} for told in parts
    ]
    both = add_up(on(full))
    assert both.measured == pytest.approx(1.0)
    assert means(both.grid)[0] == pytest.approx(means(on(full)).sum())


@given(st.lists(series, min_size=1, max_size=5))
def test_a_sum_with_gaps_lies_within_what_its_parts_may_have_been(parts):
    each = on(parts)
    both = add_up(each)
    if not np.isnan(means(both.grid)[0]):
        high = sum(max(told.values()) for told in parts)
        low = sum(min(told.values()) for told in parts)
        assert low - 1e-6 <= means(both.grid)[0] <= high + 1e-6


@given(st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=30))
def test_what_a_counter_grew_by_is_never_negative_and_without_resets_is_the_difference(steps):
    counts = np.cumsum(steps).tolist()
    told = {60 * n: count for n, count in enumerate(counts)}
    assert growth(frame([told]))["value"].sum() == pytest.approx(counts[-1] - counts[0])
    shuffled = {60 * n: count for n, count in enumerate(steps)}
    assert growth(frame([shuffled]))["value"].min() >= 0
