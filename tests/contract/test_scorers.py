"""What every scorer promises: causal, the same again, unmoved by position, and refusals in words.

Lives here: the contract. Not here: how well they find things in recordings (test_skab.py)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from dcim.core.errors import Permanent
from dcim.detect.learned.scorer import SCORERS, Scorer, generic
from tests.examples import examples

COLUMNS = ("flow", "pressure", "vibration", "current")
every = pytest.mark.parametrize("make", list(SCORERS.values()), ids=list(SCORERS))
MEASURING = [name for name in SCORERS if name != "forest"]
measuring = pytest.mark.parametrize("make", [SCORERS[name] for name in MEASURING], ids=MEASURING)
"""Those that tell how far outside a value lies. To a forest, all beyond what it has seen is one."""
Make = Callable[[], Scorer]


def healthy(rows: int, seed: int = 0) -> pl.DataFrame:
    """A pump at work: two columns that go together, one alone, and one that drifts."""
    rng = np.random.default_rng(seed)
    load = rng.normal(0.0, 1.0, rows)
    return pl.DataFrame(
        {
            "flow": 180.0 + 2.0 * load + rng.normal(0.0, 0.5, rows),
            "pressure": 100.0 + 1.5 * load + rng.normal(0.0, 0.5, rows),
            "vibration": rng.normal(0.2, 0.02, rows),
            "current": 10.0 + np.cumsum(rng.normal(0.0, 0.01, rows)),
        }
    )


def shifted(rows: int, at: int, seed: int = 1) -> pl.DataFrame:
    """Healthy until row `at`; from there on the flow is ten of its sizes lower."""
    return moved(rows, at, seed, flow=-20.0)


def moved(rows: int, at: int, seed: int = 1, **by: float) -> pl.DataFrame:
    """Healthy until row `at`; from there on these columns are another amount."""
    fallen = pl.int_range(pl.len()) >= at
    return healthy(rows, seed).with_columns(
        pl.when(fallen).then(pl.col(column) + step).otherwise(pl.col(column)) for column, step in by.items()
    )


@pytest.mark.slow
@every
def test_a_pump_that_fails_is_found_soon_and_not_before(make: Make) -> None:
    scorer = make().fit(healthy(600), COLUMNS)
    told = scorer.score(moved(400, 200, flow=-20.0, pressure=15.0, vibration=0.2))
    assert not told["found"][:200].any()
    assert told["found"][230:260].all()
    assert told.filter(pl.col("found"))["because"].is_in(["flow", "pressure", "vibration"]).mean() > 0.95


@measuring
def test_a_shift_is_found_soon_and_its_column_named(make: Make) -> None:
    scorer = make().fit(healthy(600), COLUMNS)
    told = scorer.score(shifted(400, 200))
    assert told.columns == ["score", "found", "because"]
    assert told.dtypes == [pl.Float64, pl.Boolean, pl.String]
    assert told.height == 400
    assert not told["found"][:200].any()
    assert told["found"][230:260].all()
    assert told.filter(pl.col("found"))["because"].mode().item() == "flow"
    assert told.filter(~pl.col("found"))["because"].null_count() == told.filter(~pl.col("found")).height


@pytest.mark.slow
@every
@settings(max_examples=examples(5), deadline=None)
@given(cut=st.integers(1, 159), seed=st.integers(0, 50))
def test_what_comes_later_changes_nothing(make: Make, cut: int, seed: int) -> None:
    scorer = make().fit(healthy(200), COLUMNS)
    frame = shifted(160, 80, seed)
    wild = frame.with_columns(pl.all().reverse() * -3.0)
    whole, known = scorer.score(frame), scorer.score(frame[:cut])
    # Sums over more rows at once may differ in their last digit; a look into the future would differ in the first.
    assert_frame_equal(whole[:cut], known, rel_tol=1e-9)
    assert_frame_equal(scorer.score(pl.concat([frame[:cut], wild[cut:]]))[:cut], known, rel_tol=1e-9)


@every
def test_the_same_again_and_nothing_is_altered(make: Make) -> None:
    frame, scorer = shifted(200, 100), make().fit(healthy(200), COLUMNS)
    before = frame.clone()
    first = scorer.score(frame)
    assert frame.equals(before)
    assert scorer.score(frame).equals(first)
    assert make().fit(healthy(200), COLUMNS).score(frame).equals(first)


@every
def test_the_order_of_columns_and_columns_that_were_not_asked_for_say_nothing(make: Make) -> None:
    frame = shifted(200, 100)
    scorer = make().fit(healthy(200), COLUMNS)
    more = frame.with_columns(row=pl.int_range(pl.len())).select("row", *reversed(COLUMNS))
    assert scorer.score(more).equals(scorer.score(frame))


@every
def test_a_column_that_says_nothing_is_left_out_and_told(make: Make) -> None:
    rows = healthy(200).with_columns(
        still=pl.lit(7.0), empty=pl.lit(None, pl.Float64), number=pl.int_range(pl.len()) * 10
    )
    scorer = make().fit(rows, [*COLUMNS, "still", "empty", "number"])
    assert set(scorer.omitted) == {"still", "empty", "number"}
    assert "never changes" in scorer.omitted["still"]
    assert "0 of 200" in scorer.omitted["empty"]
    assert "numbers the rows" in scorer.omitted["number"]
    plain = make().fit(healthy(200), COLUMNS)
    assert scorer.score(shifted(100, 50)).equals(plain.score(shifted(100, 50)))


@every
def test_what_is_not_heard_cannot_be_told(make: Make) -> None:
    scorer = make().fit(healthy(200), COLUMNS)
    silent = pl.DataFrame({column: [None] * 50 for column in COLUMNS}, schema=dict.fromkeys(COLUMNS, pl.Float64))
    told = scorer.score(silent)
    assert told["score"][10:].null_count() == 40
    assert not told["found"].fill_null(value=False).any()
    infinite = healthy(50).with_columns(pl.all() * float("inf"))
    assert scorer.score(infinite).equals(told)


@every
def test_one_row_and_none(make: Make) -> None:
    scorer = make().fit(healthy(200), COLUMNS)
    assert scorer.score(healthy(1)).height == 1
    assert scorer.score(healthy(0)).height == 0


@measuring
def test_one_column_alone_is_enough(make: Make) -> None:
    told = make().fit(healthy(600), ["flow"]).score(shifted(400, 200))
    assert told["found"][230:260].all()
    assert not told["found"][:200].any()


NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = healthy(200).with_columns(flow=pl.lit(NOW) + pl.int_range(pl.len()) * timedelta(seconds=1))


@every
@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (healthy(200), (), "0 columns"),
        (healthy(1), COLUMNS, "there are 1 rows"),
        (healthy(59), COLUMNS, "there are 59 rows"),
        (healthy(200), ("flow", "speed"), "column speed: is not in the table. There are flow, pressure"),
        (healthy(200), ("flow", "flow"), "column flow: is asked for twice"),
        (healthy(200).with_columns(flow=pl.lit("much")), COLUMNS, "column flow: holds String, but a number is wanted"),
        (TIMES, COLUMNS, "column flow: is a time"),
        (healthy(200).with_columns(pl.all() * 0.0), COLUMNS, "no column can be learned from: flow never changes"),
        (healthy(200).with_columns(pl.all() * float("nan")), COLUMNS, "no column can be learned from: flow holds"),
    ],
)
def test_rows_that_teach_nothing_are_refused(
    make: Make, rows: pl.DataFrame, columns: tuple[str, ...], words: str
) -> None:
    with pytest.raises(Permanent, match=words):
        make().fit(rows, columns)


@every
def test_rows_that_do_not_fit_are_refused(make: Make) -> None:
    with pytest.raises(Permanent, match="nothing was learned yet"):
        make().score(healthy(10))
    scorer = make().fit(healthy(200), COLUMNS)
    with pytest.raises(Permanent, match="column pressure: is not in the table"):
        scorer.score(healthy(10).drop("pressure"))
    with pytest.raises(Permanent, match="column flow: holds String"):
        scorer.score(healthy(10).with_columns(flow=pl.lit("much")))


def test_there_is_one_for_tables_of_which_nothing_is_known() -> None:
    assert generic().name in SCORERS
    assert {make().name for make in SCORERS.values()} == set(SCORERS)
