"""Readings over time, by hand: what holds, what is a gap, means, percentiles, peaks, energy, sums, counters."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from dcim.capacity.spans import (
    Grid,
    add_up,
    average,
    coarser,
    coverage,
    grid,
    growth,
    hold,
    integral_h,
    lattice,
    means,
    peaks,
    quantiles,
)
from dcim.core.readings import Quality, Readings

S = 1_000_000
MINUTE = 60 * S


def read(*rows: tuple[int, float, float | None], bad: tuple[float, ...] = ()) -> pl.DataFrame:
    """(point, second, value) as a store answers it."""
    return Readings.of(
        [point for point, _, _ in rows],
        [int(second * S) for _, second, _ in rows],
        [math.nan if value is None else value for _, _, value in rows],
        [Quality.BAD if second in bad else Quality.GOOD for _, second, _ in rows],
    ).to_frame()


def on(frame: pl.DataFrame, end_s: float, step_s: int = 60, points: tuple[int, ...] = (1,), **how: int) -> Grid:
    """Readings from 0 on, on a lattice."""
    end = int(end_s * S)
    return grid(hold(frame, end, **how), points, lattice(0, end, step_s * S), (0, end))


def test_a_mean_is_weighted_by_time_and_not_by_readings():
    # 10 kW for 50 s, then 70 kW for 10 s that is read ten times over
    often = [(1, 50.0 + n, 70.0) for n in range(10)]
    one = on(read((1, 0, 10.0), *often), 60)
    assert means(one)[0] == pytest.approx((10 * 50 + 70 * 10) / 60)
    assert coverage(one)[0] == 1.0
    assert integral_h(one)[0] == pytest.approx(1200 / 3600)


def test_a_reading_holds_no_longer_than_it_can_be_trusted():
    # read at 0 and at 500 s of 600: 250 s hold, 250 s gap, 100 s
    one = on(read((1, 0, 10.0), (1, 500, 40.0)), 600)
    assert coverage(one)[0] == pytest.approx(350 / 600)
    assert means(one)[0] == pytest.approx((10 * 250 + 40 * 100) / 350)
    assert np.isnan(one.mean[0, 5:8]).all()


@pytest.mark.parametrize("ends", [{"value": None}, {"value": 5.0, "bad": (30.0,)}])
def test_what_is_missing_or_bad_ends_what_held_and_is_not_0(ends):
    bad = ends.get("bad", ())
    one = on(read((1, 0, 10.0), (1, 30, ends["value"]), bad=bad), 60)
    assert (means(one)[0], coverage(one)[0]) == (10.0, 0.5)


def test_nothing_read_is_no_figure():
    one = on(read(), 60)
    assert np.isnan(means(one)[0])
    assert np.isnan(quantiles(one, 0.95)[0][0])
    assert np.isnan(peaks(one)[0][0])
    assert coverage(one)[0] == 0.0


def test_what_is_read_over_a_minute_lasts_that_minute():
    one = on(read((1, 0, 10.0), (1, 60, 20.0)), 300, hold_us=60 * S, lasts_us=MINUTE)
    assert coverage(one)[0] == pytest.approx(180 / 300)
    assert means(one)[0] == pytest.approx((10 + 20 + 20) / 3)


def test_percentiles_by_time():
    # 19 minutes at 1 … 19, and one at 100
    rows = [(1, 60.0 * n, 100.0 if n == 7 else float(n)) for n in range(20)]
    one = on(read(*rows), 1200, hold_us=60 * S)
    assert quantiles(one, 0.5)[0][0] == 10.0
    assert quantiles(one, 0.95)[0][0] == 19.0
    assert quantiles(one, 0.951)[0][0] == 100.0
    high, when = peaks(one)
    assert (high[0], when[0]) == (100.0, 7 * MINUTE)


def test_the_highest_reading_of_a_step_is_known_where_it_is_given():
    end = 120 * S
    low = read((1, 0, 10.0), (1, 60, 12.0))
    highest = read((1, 60, 55.0))
    one = grid(hold(low, end), (1,), lattice(0, end, MINUTE), (0, end), highest)
    assert (peaks(one)[0][0], means(one)[0]) == (55.0, 11.0)


def test_the_last_step_is_cut_by_the_end():
    one = on(read((1, 0, 10.0), (1, 60, 30.0)), 90)
    assert one.within.tolist() == [1.0, 0.5]
    assert means(one)[0] == pytest.approx((10 * 60 + 30 * 30) / 90)
    assert coverage(one)[0] == 1.0


def test_coarser_steps_say_the_same():
    rows = [(1, 60.0 * n, float(n)) for n in range(10)]
    fine = on(read(*rows), 570)
    coarse = coarser(fine, 4)
    assert coarse.steps.number == 3
    assert means(coarse)[0] == pytest.approx(means(fine)[0])
    assert integral_h(coarse)[0] == pytest.approx(integral_h(fine)[0])
    assert coverage(coarse)[0] == pytest.approx(coverage(fine)[0])
    with pytest.raises(ValueError, match="0 steps"):
        coarser(fine, 0)


def test_a_sum_bridges_a_gap_of_one_part_and_says_how_much_was_read():
    rows = [(1, 60.0 * n, 30.0) for n in range(10)]
    rows += [(2, 60.0 * n, 10.0) for n in range(10) if n not in (4, 5)]
    both = add_up(on(read(*rows), 600, points=(1, 2), hold_us=60 * S))
    assert both.grid.mean[0].tolist() == [40.0] * 10
    assert both.measured == pytest.approx((10 + 8) / 20)
    assert both.silent == ()


def test_a_sum_is_not_known_where_most_of_it_was_not_read():
    rows = [(1, 60.0 * n, 30.0) for n in range(10) if n not in (4, 5)]
    rows += [(2, 60.0 * n, 10.0) for n in range(10)]
    both = add_up(on(read(*rows), 600, points=(1, 2), hold_us=60 * S))
    assert np.isnan(both.grid.mean[0]).nonzero()[0].tolist() == [4, 5]
    assert coverage(both.grid)[0] == pytest.approx(0.8)


def test_a_part_that_never_spoke_is_named_and_not_counted_as_0_or_anything():
    rows = [(1, 60.0 * n, 30.0) for n in range(10)]
    both = add_up(on(read(*rows), 600, points=(1, 2)))
    assert means(both.grid)[0] == 30.0
    assert both.silent == (1,)
    assert both.measured == 0.5
    none = add_up(on(read(), 600, points=(1, 2)))
    assert none.silent == (0, 1)
    assert np.isnan(means(none.grid)[0])


def test_shares_are_averaged_over_those_that_were_read():
    rows = [(1, 0.0, 80.0), (2, 0.0, 40.0), (2, 60.0, 40.0)]
    both = average(on(read(*rows), 120, points=(1, 2), hold_us=60 * S))
    assert both.grid.mean[0].tolist() == [60.0, 40.0]
    assert both.measured == pytest.approx(0.75)


def test_a_counter_that_begins_again_grew_by_what_it_stands_at():
    grown = growth(read((1, 0, 10.0), (1, 60, 14.0), (1, 90, None), (1, 120, 3.0), (2, 0, 5.0), (2, 60, 5.5)))
    assert grown["value"].to_list() == [4.0, 3.0, 0.5]
    assert grown["point"].to_list() == [1, 1, 2]


def test_a_period_may_begin_and_end_within_a_step():
    told = read((1, 0, 10.0), (1, 60, 20.0), (1, 120, 30.0))
    period = (30 * S, 150 * S)
    one = grid(hold(told, period[1]), (1,), lattice(*period, MINUTE), period)
    assert one.within.tolist() == [0.5, 1.0, 0.5]
    assert means(one)[0] == pytest.approx((10 * 30 + 20 * 60 + 30 * 30) / 120)
    assert coverage(one)[0] == 1.0
