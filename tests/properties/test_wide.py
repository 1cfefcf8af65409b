"""Wide: what is kept beside the matrix says what the matrix does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcim.core.readings import Quality, Readings
from dcim.core.times import SECOND_US
from dcim.detect.traces import Grid
from dcim.detect.wide import widen

UNTIL_US = 10_000 * SECOND_US
ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(-5, 130),
        st.sampled_from([0.0, 1.5, -2.0, float("nan"), 1e300]),
        st.sampled_from(list(Quality)),
    ),
    max_size=60,
)
ASKED = np.array([[0, 1, 2], [3, 4, -1]])


@given(rows=ROWS, gone=st.integers(0, 4))
def test_the_number_of_readings_and_the_mean_of_one_bin(rows: list[tuple[int, int, float, Quality]], gone: int) -> None:
    rows = sorted(rows, key=lambda row: (row[0], -row[1]))
    points, ages, values, quality = zip(*rows, strict=True) if rows else ((), (), (), ())
    readings = Readings.of(points, [UNTIL_US - age * SECOND_US for age in ages], values, quality)
    wide = widen(readings.to_frame(), Grid(UNTIL_US, 10.0, 12, 25.0))
    for _ in range(2):
        assert wide.told(ASKED).tolist() == wide.counts(ASKED).sum(axis=-1).tolist()
        for bins in (-1, -3, 0):
            np.testing.assert_array_equal(wide.mean_at(ASKED, bins), wide.means(ASKED)[..., bins])
        wide.forget(np.array([gone]))
    assert wide.told(np.array([gone])).tolist() == [0.0]
