"""A GPU whose inlet nobody tells: its resistance from how its temperature moves with its power, over weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dcim.app import tables
from dcim.core.findings import FindingKind
from dcim.core.plant import Plant
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.norms import Norms
from dcim.detect.swings import Swings
from dcim.detect.thermal import Heat

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 24 * 18
HOUR = np.arange(HOURS)
K_W = 0.14
DICE = np.random.default_rng(11)
POWER_W = np.where(DICE.random(HOURS // 6).repeat(6) < 0.5, 60.0, 280.0) + DICE.normal(0.0, 5.0, HOURS)
ROOM_C = 25.0 + 4.0 * np.sin(2.0 * np.pi * HOUR / 1_000.0) + 1.0 * np.sin(2.0 * np.pi * HOUR / 24.0)
NOISE_K = DICE.normal(0.0, 0.3, HOURS)
RESISTANCE = {FindingKind.GPU_RESISTANCE_HIGH, FindingKind.GPU_RESISTANCE_VERY_HIGH}


def plant() -> Plant:
    """One air-cooled GPU, as a mapping of a table makes it."""
    how = tables.Mapping(
        time="time",
        site="s",
        points=tuple(
            tables.MappedPoint(column=column, quantity=quantity, unit=unit, asset="n-gpu0", kind="Gpu", within="n")
            for column, quantity, unit in (("power", "GpuPower", "W"), ("hot", "GpuTemperature", "degC"))
        ),
    )
    frame = pl.DataFrame({"time": [BEGIN], "power": [60.0], "hot": [33.0]})
    return tables.as_recording(tables.Table(Path("log"), frame, "time", 3_600.0), how).plant


def taken(celsius: np.ndarray, power_w: np.ndarray) -> np.ndarray:
    """What the swings say after each hour, K/W."""
    swings, point, said = Swings(), np.array([0]), []
    for hour in range(len(celsius)):
        swings.take(BEGIN + timedelta(hours=hour), point, power_w[hour : hour + 1] / 1_000.0, celsius[hour : hour + 1])
        said.append(swings.resistance(point)[0][0])
    return np.array(said)


def found(celsius: np.ndarray, restarts: frozenset[int] = frozenset(), down_h: int = 0) -> list[int]:
    """The hours in which a resistance is found high; the service restarts before some of them, and nothing but what it
    writes down outlives that. down_h: for so many hours from there on it is not there."""
    known, heat, hours = plant(), Heat(), []
    (power,), (hot,) = known.of("GpuPower"), known.of("GpuTemperature")
    for hour in range(HOURS):
        at = BEGIN + timedelta(hours=hour)
        if hour in restarts:
            heat = Heat(Norms.from_frame(heat.norms.to_frame()))
        if any(restart <= hour < restart + down_h for restart in restarts):
            continue
        rows = sorted([(power.id, POWER_W[hour] / 1_000.0), (hot.id, celsius[hour])])
        window = Readings.of([row[0] for row in rows], [to_us(at)] * 2, [row[1] for row in rows], [0, 0]).to_frame()
        kinds = {finding.kind for finding in heat.detect(window, known, at).findings}
        hours += [hour] * bool(kinds & RESISTANCE)
        heat.learn(frozenset())
    return hours


BEGINS = 24 * 9
"""The hour from which on the resistance is a fifth higher."""
DRIFTED_C = ROOM_C + K_W * POWER_W * (1.0 + 0.2 * (BEGINS <= HOUR)) + NOISE_K


@pytest.mark.slow
def test_a_fifth_more_resistance_is_found_within_ten_days_and_nothing_before() -> None:
    hours = found(DRIFTED_C)
    assert hours and BEGINS < hours[0] < BEGINS + 24 * 9


@pytest.mark.slow
def test_a_restart_neither_forgets_nor_invents() -> None:
    # Every second day; without what was kept no resistance would ever be told, and none found.
    assert found(DRIFTED_C, restarts=frozenset(range(24, HOURS, 48))) == found(DRIFTED_C)
    assert not found(ROOM_C + K_W * POWER_W + NOISE_K, restarts=frozenset(range(24, HOURS, 48)), down_h=6)


def test_a_restart_takes_no_sample_too_soon_and_none_across_the_time_it_was_away() -> None:
    swings, point = Swings(), np.array([3])
    for hour in range(100):
        power_kw = 0.3 if hour % 2 else 0.1
        swings.take(BEGIN + timedelta(hours=hour), point, np.array([power_kw]), np.array([25.0 + 140.0 * power_kw]))
    again = Swings.of(Norms.from_frame(swings.kept_in(Norms()).to_frame()))
    last = BEGIN + timedelta(hours=99)
    for minutes, celsius in ((20, 90.0), (6 * 60, 20.0)):
        again.take(last + timedelta(minutes=minutes), point, np.array([0.2]), np.array([celsius]))
        assert again.resistance(point)[0] == pytest.approx([0.14])
    assert again.resistance(point)[1] == swings.resistance(point)[1] + 1
    assert np.isnan(again.resistance(np.array([2, 4]))[0]).all()


def test_a_clock_that_goes_back_is_no_step_and_nothing_grows_by_it() -> None:
    swings, point = Swings(), np.array([0])
    for hour in range(100):
        power_kw = 0.3 if hour % 2 else 0.1
        swings.take(BEGIN + timedelta(hours=hour), point, np.array([power_kw]), np.array([25.0 + 140.0 * power_kw]))
    swings.take(BEGIN - timedelta(days=400), point, np.array([0.1]), np.array([90.0]))
    assert swings.resistance(point)[0] == pytest.approx([0.14])
    swings.take(BEGIN - timedelta(days=400) + timedelta(hours=1), point, np.array([0.3]), np.array([118.0]))
    assert swings.resistance(point)[0] == pytest.approx([0.14])


def test_what_was_never_sampled_keeps_nothing() -> None:
    norms = Norms()
    assert Swings().kept_in(norms) is norms
    assert np.isnan(Swings.of(norms).resistance(np.array([0, -1]))[0]).all()


def test_the_seasons_of_a_room_move_nothing() -> None:
    said = taken(ROOM_C + K_W * POWER_W + NOISE_K, POWER_W)[24 * 5 :]
    assert np.abs(said / K_W - 1.0).max() < 0.03


def test_at_rest_nothing_is_told() -> None:
    resting = np.full(HOURS, 60.0) + DICE.normal(0.0, 1.0, HOURS)
    assert np.isnan(taken(ROOM_C + K_W * resting + NOISE_K, resting)).all()


def test_the_line_is_the_resistance_and_gaps_are_no_steps() -> None:
    swings, point = Swings(), np.array([3])
    for hour in range(200):
        power_kw = 0.3 if hour % 2 else 0.1
        swings.take(BEGIN + timedelta(hours=hour), point, np.array([power_kw]), np.array([25.0 + 140.0 * power_kw]))
    assert swings.resistance(point)[0] == pytest.approx([0.14])
    after = BEGIN + timedelta(hours=220)
    swings.take(after, point, np.array([0.3]), np.array([90.0]))  # another room by now, perhaps
    assert swings.resistance(point)[0] == pytest.approx([0.14])
    swings.take(after + timedelta(minutes=10), point, np.array([0.1]), np.array([90.0]))  # too soon for a sample
    assert swings.resistance(point)[0] == pytest.approx([0.14])
    assert np.isnan(swings.resistance(np.array([2, -1, 99]))[0]).all()
