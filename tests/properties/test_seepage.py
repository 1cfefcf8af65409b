"""The slow test for a loss of coolant, over records made of numbers alone: air after service, and leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.detect import seepage
from dcim.detect.seepage import Ebb, SeepageSettings, ebb, tide
from dcim.detect.traces import Floats

SETTINGS = SeepageSettings()
RESERVOIR_L = 50.0
LEVEL_L = SETTINGS.level_pct / 100.0 * RESERVOIR_L
NOISE_L = 0.1
"""1σ of a minute: six readings of 0.5 % of 50 L."""
BEFORE = 430
"""Minutes in which nothing falls."""
LOOPS = 40
TIMES = np.arange(SETTINGS.record_min) - BEFORE
SIZE_L = np.random.default_rng(5).uniform(1.0, 2.0, (LOOPS, 1))
NOISE = np.random.default_rng(7).normal(0.0, NOISE_L, (LOOPS, SETTINGS.record_min))
AIR_L = NOISE - SIZE_L * (1.0 - np.exp(-np.maximum(TIMES, 0) / 40.0))
"""A device of one or two litres was swapped, and its air goes with a time constant of 40 min."""


def said(level_l: Floats, until_min: int) -> Iterator[Ebb | None]:
    """What the record says of each loop so many minutes after the onset."""
    record = np.full(level_l.shape, np.nan)
    record[:, -BEFORE - until_min :] = level_l[:, : BEFORE + until_min]
    expansion = np.where(np.isnan(record), np.nan, 0.0)
    of = tide(record, expansion, np.zeros(record.shape, np.bool_), np.full(LOOPS, RESERVOIR_L), SETTINGS)
    return (ebb(of, row, LEVEL_L, 0, SETTINGS) for row in range(LOOPS))


def found(level_l: Floats, minutes: range) -> int:
    """In how many of the loops a loss is ever found."""
    ever = np.zeros(LOOPS, np.bool_)
    for until_min in minutes:
        ever |= [bool(one and one.found) for one in said(level_l, until_min)]
    return int(ever.sum())


def test_air_after_hours_of_nothing_is_no_leak_though_the_level_alone_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(AIR_L, range(20, 120, 10)) == 0
    # What keeps it from being one is that the fall is judged from where it begins.
    from_the_onset: Callable[[Floats], int] = lambda _: 0  # noqa: E731  it stands in for a function
    monkeypatch.setattr(seepage, "_begins", from_the_onset)
    assert found(AIR_L, range(20, 120, 10)) > 0


@pytest.mark.parametrize(("lpm", "within_min"), [(0.02, 120), (0.03, 90), (0.1, 40)])
def test_leaks_are_found_by_the_level_alone(lpm: float, within_min: int) -> None:
    assert found(NOISE - lpm * np.maximum(TIMES, 0), range(20, within_min + 1, 10)) == LOOPS


@given(flat=st.integers(0, 60), falling=st.integers(20, 120), seed=st.integers(0, 2**16))
def test_where_a_fall_begins_is_told_by_the_bend(flat: int, falling: int, seed: int) -> None:
    times = np.arange(flat + falling)
    values = np.random.default_rng(seed).normal(0.0, NOISE_L, len(times)) - 0.1 * np.maximum(times - flat, 0)
    assert abs(seepage._begins(values) - flat) <= 10


def test_a_rise_begins_nowhere() -> None:
    assert seepage._begins(np.arange(30.0)) == 0
