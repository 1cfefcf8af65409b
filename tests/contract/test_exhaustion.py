"""When it is full: the trend, its interval, and the backtest."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.capacity.exhaustion import DAYS_MIN, Exhaustion, foretell

DAYS = np.arange(60.0)


def told(value: np.ndarray, capacity: float, day: np.ndarray = DAYS) -> Exhaustion:
    found = foretell(day, value, capacity)
    assert isinstance(found, Exhaustion)
    return found


def test_a_straight_line_meets_its_capacity_when_it_does() -> None:
    found = told(100.0 + 2.0 * DAYS, 318.0)
    assert (found.per_day, found.level) == pytest.approx((2.0, 218.0))
    assert (found.in_days, found.earliest_days, found.latest_days) == pytest.approx((50.0, 50.0, 50.0))
    assert (found.backtest.days, found.backtest.within_pct) == (18, 100.0)
    assert found.backtest.error == pytest.approx(0.0, abs=1e-9)


def test_what_does_not_grow_is_never_full() -> None:
    found = told(np.full(60, 100.0), 120.0)
    assert (found.in_days, found.earliest_days, found.latest_days) == (None, None, None)
    assert told(200.0 - DAYS, 500.0).in_days is None


def test_what_is_full_is_full_today() -> None:
    assert told(100.0 + DAYS, 120.0).in_days == 0.0


def test_odd_days_and_gaps_do_not_move_it() -> None:
    value = 100.0 + 2.0 * DAYS
    value[[7, 21, 40]] = 900.0
    value[[3, 4, 5, 30]] = np.nan
    found = told(value, 318.0)
    assert found.days == 56
    assert found.per_day == pytest.approx(2.0) and found.in_days == pytest.approx(50.0)


def test_the_interval_is_as_wide_as_the_days_are_scattered() -> None:
    dice = np.random.default_rng(5)
    calm = told(100.0 + DAYS + dice.normal(0.0, 1.0, 60), 259.0)
    wild = told(100.0 + DAYS + dice.normal(0.0, 20.0, 60), 259.0)
    for found in (calm, wild):
        assert found.earliest_days is not None and found.in_days is not None and found.latest_days is not None
        assert found.earliest_days < found.in_days < found.latest_days
    assert wild.latest_days - wild.earliest_days > 3 * (calm.latest_days - calm.earliest_days)  # type: ignore[operator]


def test_eighty_percent_of_the_slopes_lie_in_it() -> None:
    dice = np.random.default_rng(11)
    inside = 0
    for _ in range(200):
        found = told(dice.normal(0.0, 5.0, 40) + np.arange(40.0), 1e6, np.arange(40.0))
        inside += found.per_day_low <= 1.0 <= found.per_day_high
    assert 0.72 <= inside / 200 <= 0.88


def test_too_few_days_are_told() -> None:
    said = foretell(DAYS[: DAYS_MIN - 1], DAYS[: DAYS_MIN - 1], 1.0)
    assert said == "13 days have a value; 14 are the least to tell a trend from"


def test_a_step_makes_the_backtest_bad() -> None:
    value = np.where(DAYS < 45, 100.0, 150.0)
    found = told(value, 400.0)
    assert found.backtest.within_pct < 50.0 and found.backtest.bias < -40.0
