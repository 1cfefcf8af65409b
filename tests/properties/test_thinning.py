"""Thinned readings draw the same line: every extreme is there, nothing is made up, and they are as few as promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.app.thinning import bucket, low_and_high, thin
from dcim.core.ports import Answer
from dcim.core.readings import Tier

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECONDS = 600
END = START + timedelta(seconds=SECONDS)

series = st.lists(
    st.tuples(st.integers(0, SECONDS - 1), st.none() | st.floats(-1e6, 1e6, allow_nan=False)),
    max_size=200,
    unique_by=lambda one: one[0],
)


def frame(points: list[list[tuple[int, float | None]]]) -> pl.DataFrame:
    rows = [
        (number, START + timedelta(seconds=second), value, 0)
        for number, readings in enumerate(points)
        for second, value in sorted(readings)
    ]
    schema = {
        "point": pl.UInt32,
        "time": pl.Datetime("us", "UTC"),
        "value": pl.Float64,
        "quality": pl.UInt8,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.slow
@given(st.lists(series, min_size=1, max_size=3), st.integers(5, 60))
def test_extremes_and_ends_are_kept_and_no_more_than_asked_for(
    points: list[list[tuple[int, float | None]]], most: int
) -> None:
    whole = frame(points)
    kept = thin(whole, START, END, most)
    assert kept.schema == whole.schema
    assert kept.rows() == [row for row in whole.rows() if row in set(kept.rows())], "some of them, in their order"
    for number in range(len(points)):
        before, after = (one.filter(pl.col("point") == number) for one in (whole, kept))
        assert after.height == min(before.height, after.height) <= max(most, 0) or before.height <= most
        if before.height <= most:
            assert after.equals(before)
            continue
        assert after.height <= most
        assert after.rows()[0] == before.rows()[0] and after.rows()[-1] == before.rows()[-1]
        for extreme in (pl.Series.min, pl.Series.max):
            assert extreme(after["value"]) == extreme(before["value"])
        assert (after["value"].null_count() > 0) == (before["value"].null_count() > 0)


@pytest.mark.slow
def test_a_day_of_seconds_keeps_its_one_peak() -> None:
    day = 86_400
    values = [20.0] * day
    values[43_217] = 71.5
    whole = frame([[(0, 0.0)]]).clear()
    whole = pl.DataFrame(
        {
            "point": [7] * day,
            "time": [START + timedelta(seconds=i) for i in range(day)],
            "value": values,
            "quality": [0] * day,
        },
        schema=whole.schema,
    )
    kept = thin(whole, START, START + timedelta(days=1), 2000)
    assert 400 <= kept.height <= 2000
    peak = kept.filter(pl.col("value") > 20)
    assert peak["time"].to_list() == [START + timedelta(seconds=43_217)]


def test_too_few_to_keep_the_extremes_is_refused() -> None:
    with pytest.raises(ValueError, match="5 are the least"):
        thin(frame([[]]), START, END, 4)


@pytest.mark.parametrize(("hours", "minutes"), [(1, None), (16, None), (17, 2), (24, 2), (24 * 30, 44)])
def test_long_ranges_are_asked_for_in_buckets(hours: int, minutes: int | None) -> None:
    wide = bucket(START, START + timedelta(hours=hours), 2000)
    assert wide == (None if minutes is None else timedelta(minutes=minutes))


def test_a_bucket_is_drawn_from_its_lowest_to_its_highest() -> None:
    every = timedelta(minutes=2)
    low = Answer(frame([[(0, 1.0), (120, 5.0)], [(0, 9.0)]]), Tier.MINUTE, every, START)
    high = Answer(frame([[(0, 4.0), (120, 5.0)], [(0, 9.5)]]), Tier.MINUTE, every, START)
    drawn = low_and_high(low, high)
    told = [(point, (time - START).total_seconds(), value) for point, time, value, _ in drawn.frame.rows()]
    assert told == [(0, 0, 1.0), (0, 60, 4.0), (0, 120, 5.0), (1, 0, 9.0), (1, 60, 9.5)]
    assert drawn[1:] == (Tier.MINUTE, every, START)
