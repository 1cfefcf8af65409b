"""What every store must hold, as checks that anyone can run on a store of their own.

A check is a function of a `Rig`; it fails by an assertion. `TELEMETRY`, `CATALOGUE`, `HOLDING` and `BOOKS` list the
checks of each port, `TIERS` those of Tiered, `UPKEEP` of Upkept: both want a TieredRig. test_stores.py runs them over
our own stores; to try another, make a rig of it and call them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcim.core.ledger import RejectReason
from dcim.core.points import PointRecord
from dcim.core.ports import Aggregate, Appended
from dcim.core.readings import Quality, Readings, Tier
from dcim.core.times import EPOCH, from_us, to_us
from dcim.store.memory import MemoryStore
from dcim.store.retention import FOR_EVER, Retention
from tests.examples import examples

GOOD, UNCERTAIN, BAD = int(Quality.GOOD), int(Quality.UNCERTAIN), int(Quality.BAD)
NAN, INF = math.nan, math.inf
REFUSED = RejectReason.STORE_REFUSED
T0 = to_us(datetime(2026, 3, 1, 3, 0, tzinfo=UTC))
SECOND = 1_000_000
MINUTE = timedelta(minutes=1)
SCHEMA = {"point": pl.UInt32(), "time": pl.Datetime("us", "UTC"), "value": pl.Float64(), "quality": pl.UInt8()}

Row = tuple[int, int, float, int]
"""(point, time in microseconds, value, quality)"""


class Rig:
    """A store on trial. `open` opens it, or opens again what was closed; a store without a disk answers itself."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self._open = open_store
        self.store = open_store()

    def reopen(self) -> None:
        """A restart of the service, as far as the store can tell."""
        self.store.close()
        self.store = self._open()


class TieredRig(Rig):
    """A store with tiers on trial. `open_store` takes the retention that it opens the store with."""

    def __init__(self, open_store: Callable[[Retention], Any]) -> None:
        self._open_with = open_store

    def begin(self, retention: Retention) -> None:
        """Opens the store. Each check does so first, once."""
        super().__init__(lambda: self._open_with(retention))

    def maintain(self, at_us: int) -> dict[Tier, int]:
        """Does all upkeep that is due, and says what was dropped. It must come to an end. A store that needs not be
        asked gets a rig that waits for it instead."""
        dropped = dict.fromkeys(Tier, 0)
        for _ in range(1000):
            done = self.store.maintain(from_us(at_us))
            dropped = {tier: rows + done.dropped.get(tier, 0) for tier, rows in dropped.items()}
            if not done.more:
                return dropped
        raise AssertionError("upkeep does not come to an end")


def rows_of(frame: pl.DataFrame) -> list[tuple[int, int, float | None, int]]:
    """The rows of an answer, after its form was checked."""
    assert dict(frame.schema) == SCHEMA
    assert frame.select("point", "time").is_sorted(["point", "time"]) if frame.height else True
    assert not frame["value"].is_nan().any(), "missing is null, never NaN"
    return frame.with_columns(pl.col("time").dt.epoch("us")).rows()


def append(store: Any, *rows: Row) -> Appended:
    """Appends rows, and holds the store to its books."""
    return _balanced(store.append(batch(*rows)), len(rows))


def hold(store: Any, *rows: Row) -> Appended:
    return _balanced(store.hold(batch(*rows)), len(rows))


def batch(*rows: Row) -> Readings:
    return Readings.of(*zip(*rows, strict=True)) if rows else Readings.empty()


def everything(store: Any, points: Sequence[int]) -> list[tuple[int, int, float | None, int]]:
    return rows_of(store.window(points, EPOCH, datetime(2300, 1, 1, tzinfo=UTC)))


def _balanced(appended: Appended, rows: int) -> Appended:
    assert appended.stored + appended.duplicate + len(appended.refused) == rows
    assert list(appended.refused) == sorted(appended.refused)
    return appended


# --- appending


def check_empty_batch(rig: Rig) -> None:
    assert append(rig.store) == Appended(0, 0)
    assert rows_of(rig.store.latest()) == []


def check_survives_reopening(rig: Rig) -> None:
    append(rig.store, (3, T0, 1.5, GOOD), (1, T0, -0.25, UNCERTAIN), (3, T0 + 1, NAN, BAD))
    rig.reopen()
    stored = [(1, T0, -0.25, UNCERTAIN), (3, T0, 1.5, GOOD), (3, T0 + 1, None, BAD)]
    assert everything(rig.store, [1, 2, 3]) == stored
    assert rows_of(rig.store.latest()) == [stored[0], stored[2]]


def check_second_reading_of_an_instant_changes_nothing(rig: Rig) -> None:
    assert append(rig.store, (1, T0, 1.0, GOOD)) == Appended(1, 0)
    assert append(rig.store, (1, T0, 2.0, BAD), (1, T0 + 1, 3.0, GOOD)) == Appended(1, 1)
    rig.reopen()
    assert append(rig.store, (1, T0, 4.0, GOOD), (1, T0 + 1, 5.0, GOOD)) == Appended(0, 2)
    assert everything(rig.store, [1]) == [(1, T0, 1.0, GOOD), (1, T0 + 1, 3.0, GOOD)]


def check_second_reading_in_one_batch_changes_nothing(rig: Rig) -> None:
    appended = append(rig.store, (2, T0, 1.0, GOOD), (1, T0, 7.0, GOOD), (2, T0, 2.0, BAD), (2, T0, 1.0, GOOD))
    assert appended == Appended(2, 2)
    assert everything(rig.store, [1, 2]) == [(1, T0, 7.0, GOOD), (2, T0, 1.0, GOOD)]


def check_missing_value_takes_its_instant(rig: Rig) -> None:
    append(rig.store, (1, T0, NAN, BAD))
    assert append(rig.store, (1, T0, 1.0, GOOD)) == Appended(0, 1)
    assert everything(rig.store, [1]) == [(1, T0, None, BAD)]


def check_late_rows_are_kept_and_late_duplicates_found(rig: Rig) -> None:
    append(rig.store, (1, T0, 0.0, GOOD), (1, T0 + 10 * SECOND, 10.0, GOOD), (2, T0 + 5 * SECOND, 5.0, GOOD))
    late = [(1, T0 + 3 * SECOND, 3.0, GOOD), (1, T0, 9.0, GOOD), (2, T0 + SECOND, 1.0, GOOD)]
    assert append(rig.store, *late) == Appended(2, 1)
    rig.reopen()
    assert append(rig.store, *late, (2, T0 - 1, 0.5, GOOD)) == Appended(1, 3)
    assert [row[2] for row in everything(rig.store, [1, 2])] == [0.0, 3.0, 10.0, 0.5, 1.0, 5.0]


def check_late_rows_years_apart(rig: Rig) -> None:
    """More stretches of time than a store may care to search one by one; each row twice."""
    times = [T0 - years * 365 * 86_400 * SECOND for years in range(20)]
    append(rig.store, *((1, time, 1.0, GOOD) for time in times[::2]), (2, T0, 1.0, GOOD))
    assert append(rig.store, *((1, time, 2.0, GOOD) for time in reversed(times))) == Appended(10, 10)
    assert append(rig.store, *((1, time, 3.0, GOOD) for time in times)) == Appended(0, 20)
    assert [row[2] for row in everything(rig.store, [1])] == [2.0, 1.0] * 10


def check_poisoned_rows_cost_no_neighbour(rig: Rig) -> None:
    end = to_us(datetime(2201, 1, 1, tzinfo=UTC))
    appended = append(
        rig.store,
        (1, T0, INF, GOOD),
        (1, T0, 1.0, GOOD),  # the poisoned row before it did not take its instant
        (2, -1, 1.0, GOOD),
        (2, 0, 2.0, GOOD),
        (2, end - 1, 3.0, GOOD),
        (2, end, 4.0, GOOD),
        (3, T0, -INF, BAD),
        (3, np.iinfo(np.int64).min, NAN, BAD),
        (3, np.iinfo(np.int64).max, NAN, BAD),
        (1, T0, INF, GOOD),
        (1, T0, 5.0, GOOD),
    )
    assert appended == Appended(3, 1, tuple((row, REFUSED) for row in (0, 2, 5, 6, 7, 8, 9)))
    assert everything(rig.store, [1, 2, 3]) == [(1, T0, 1.0, GOOD), (2, 0, 2.0, GOOD), (2, end - 1, 3.0, GOOD)]


def check_batch_of_poison_alone(rig: Rig) -> None:
    assert append(rig.store, (1, T0, INF, GOOD), (1, -5, 1.0, GOOD)) == Appended(0, 0, ((0, REFUSED), (1, REFUSED)))
    assert rows_of(rig.store.latest()) == []


def check_batch_is_not_written_into(rig: Rig) -> None:
    given_batch = batch((2, T0, NAN, BAD), (1, T0, INF, GOOD), (1, T0, 1.0, GOOD), (1, T0, 2.0, GOOD))
    columns = (given_batch.point, given_batch.time, given_batch.value, given_batch.quality)
    before = [column.copy() for column in columns]
    for column in columns:
        column.flags.writeable = False
    rig.store.append(given_batch)
    rig.store.hold(given_batch)
    for column, was in zip(columns, before, strict=True):
        np.testing.assert_array_equal(column, was)


def check_columns_that_are_views(rig: Rig) -> None:
    """A codec may hand over every second element of a larger array."""
    wide = batch(*((point, T0 + point, float(point), GOOD) for point in range(20)))
    views = Readings(wide.point[::2], wide.time[::2], wide.value[::2], wide.quality[::2])
    assert rig.store.append(views) == Appended(10, 0)
    assert everything(rig.store, range(20)) == [(point, T0 + point, float(point), GOOD) for point in range(0, 20, 2)]


def check_extreme_values_come_back_as_they_went(rig: Rig) -> None:
    values = [0.0, 5e-324, -1.7976931348623157e308, 1.7976931348623157e308, 0.1, 2**53 + 1.0]
    append(rig.store, *((1, T0 + number, value, GOOD) for number, value in enumerate(values)))
    rig.reopen()
    assert [row[2] for row in everything(rig.store, [1])] == values


# --- the latest


def check_late_reading_does_not_become_the_latest(rig: Rig) -> None:
    append(rig.store, (1, T0 + 10, 10.0, GOOD))
    append(rig.store, (1, T0, 0.0, GOOD))
    assert rows_of(rig.store.latest([1])) == [(1, T0 + 10, 10.0, GOOD)]
    append(rig.store, (1, T0 + 30, 30.0, GOOD), (1, T0 + 20, 20.0, GOOD))
    assert rows_of(rig.store.latest([1])) == [(1, T0 + 30, 30.0, GOOD)]
    rig.reopen()
    assert rows_of(rig.store.latest([1])) == [(1, T0 + 30, 30.0, GOOD)]


def check_latest_may_be_missing_or_bad(rig: Rig) -> None:
    append(rig.store, (1, T0, 1.0, GOOD), (1, T0 + 1, NAN, BAD), (2, T0, 2.0, BAD))
    for _ in range(2):
        assert rows_of(rig.store.latest()) == [(1, T0 + 1, None, BAD), (2, T0, 2.0, BAD)]
        rig.reopen()


def check_latest_of_some(rig: Rig) -> None:
    append(rig.store, *((point, T0, float(point), GOOD) for point in (9, 4, 7)))
    assert [row[0] for row in rows_of(rig.store.latest([7, 9, 7, 1_000_000, 0]))] == [7, 9]
    assert [row[0] for row in rows_of(rig.store.latest([]))] == []
    assert [row[0] for row in rows_of(rig.store.latest())] == [4, 7, 9]


# --- windows


def check_window_takes_its_start_and_leaves_its_end(rig: Rig) -> None:
    append(rig.store, *((1, T0 + offset, float(offset), GOOD) for offset in (-1, 0, 1, 9, 10, 11)))
    window = rig.store.window([1], from_us(T0), from_us(T0 + 10))
    assert [row[2] for row in rows_of(window)] == [0.0, 1.0, 9.0]
    assert rows_of(rig.store.window([1], from_us(T0), from_us(T0))) == []
    assert rows_of(rig.store.window([1], from_us(T0 + 10), from_us(T0))) == []


def check_window_of_nothing(rig: Rig) -> None:
    append(rig.store, (1, T0, 1.0, GOOD))
    for points in ([], [2], [4_000_000_000]):
        assert rows_of(rig.store.window(points, EPOCH, from_us(T0 + 1))) == []
        assert rows_of(rig.store.window(points, EPOCH, from_us(T0 + 1), MINUTE)) == []


def check_window_of_thousands(rig: Rig) -> None:
    append(rig.store, *((point, T0, float(point), GOOD) for point in range(5000)))
    frame = rig.store.window(range(0, 10_000, 2), from_us(T0), from_us(T0 + 1))
    assert frame["point"].to_list() == list(range(0, 5000, 2))
    assert frame["value"].to_list() == [float(point) for point in range(0, 5000, 2)]


def check_buckets_count_from_1970(rig: Rig) -> None:
    append(rig.store, *((1, T0 + second * SECOND, float(second), GOOD) for second in (59, 60, 61, 119, 120)))
    window = rig.store.window([1], from_us(T0 + 60 * SECOND + 1), from_us(T0 + 121 * SECOND), MINUTE)
    assert rows_of(window) == [
        (1, T0 + 60 * SECOND, 90.0, GOOD),  # 61 and 119; the reading at 60 lies before the start
        (1, T0 + 120 * SECOND, 120.0, GOOD),
    ]
    seven = rig.store.window([1], EPOCH, from_us(T0 + 121 * SECOND), timedelta(seconds=7), "count")
    assert all(row[1] % (7 * SECOND) == 0 for row in rows_of(seven))


def check_buckets_use_what_is_neither_missing_nor_bad(rig: Rig) -> None:
    append(
        rig.store,
        (1, T0, 1.0, GOOD),
        (1, T0 + 1, 100.0, BAD),
        (1, T0 + 2, 3.0, UNCERTAIN),
        (1, T0 + 3, NAN, GOOD),
        (1, T0 + 4, NAN, BAD),
        (2, T0, 5.0, BAD),
        (3, T0, NAN, GOOD),
        (4, T0, 4.0, GOOD),
    )
    expected: dict[Aggregate, float] = {"mean": 2.0, "min": 1.0, "max": 3.0, "last": 3.0, "count": 2.0}
    for how, value in expected.items():
        window = rig.store.window([1, 2, 3, 4], from_us(T0), from_us(T0 + 60), MINUTE, how)
        four = 1.0 if how == "count" else 4.0
        assert rows_of(window) == [(1, T0, value, UNCERTAIN), (4, T0, four, GOOD)], how


def check_gaps_stay_gaps(rig: Rig) -> None:
    append(rig.store, (1, T0, 1.0, GOOD), (1, T0 + 600 * SECOND, 2.0, GOOD))
    window = rig.store.window([1], from_us(T0), from_us(T0 + 900 * SECOND), MINUTE)
    assert [row[1] for row in rows_of(window)] == [T0, T0 + 600 * SECOND]


def check_impossible_buckets(rig: Rig) -> None:
    for every in (timedelta(0), timedelta(microseconds=-1)):
        with pytest.raises(ValueError, match="bucket"):
            rig.store.window([1], EPOCH, EPOCH, every)
    with pytest.raises(ValueError, match="median"):
        rig.store.window([1], EPOCH, EPOCH, MINUTE, "median")
    with pytest.raises(TypeError):
        rig.store.window([1], datetime(2026, 1, 1), EPOCH)  # noqa: DTZ001  an instant without a zone is refused


def check_longest_bucket(rig: Rig) -> None:
    append(rig.store, (1, 0, 1.0, GOOD), (1, T0, 2.0, GOOD))
    window = rig.store.window([1], EPOCH, from_us(T0 + 1), timedelta.max, "count")
    assert rows_of(window) == [(1, 0, 2.0, GOOD)]


# --- against a plain model

TIMES = (-1, 0, 1, 59 * SECOND, 60 * SECOND, 61 * SECOND, 3600 * SECOND, T0, T0 + 1, T0 + 60 * SECOND, 2**62)
VALUES = (NAN, NAN, INF, 0.0, 1.0, -1.5, 0.1, 1e12)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(TIMES), st.sampled_from(VALUES), st.sampled_from((GOOD, UNCERTAIN, BAD))
    ),
    max_size=12,
)
STEPS = st.lists(st.one_of(ROWS, ROWS, ROWS, st.just("reopen")), min_size=1, max_size=5)
BOUNDS = st.tuples(st.sampled_from(TIMES[:-1]), st.sampled_from(TIMES[:-1]))
EVERY = st.sampled_from((1, 7, SECOND, 60 * SECOND, 86_400 * SECOND)).map(lambda us: timedelta(microseconds=us))


def check_like_a_plain_model(rig: Rig) -> None:
    """Any batches, restarts between them, any window: the store answers what a dict would."""
    offsets = itertools.count(0, 4)

    @settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS, BOUNDS, EVERY, st.sampled_from(get_args(Aggregate)))
    def run(steps: list[Any], bounds: tuple[int, int], every: timedelta, how: Aggregate) -> None:
        offset = next(offsets)  # points of their own for each example: one store serves them all
        model: dict[tuple[int, int], tuple[float, int]] = {}
        for step in steps:
            if step == "reopen":
                rig.reopen()
                continue
            rows = [(offset + point, time, value, quality) for point, time, value, quality in step]
            assert append(rig.store, *rows) == _model_append(model, rows)
        points = [offset, offset + 1, offset + 3]
        assert rows_of(rig.store.latest(points)) == _model_latest(model, points)
        first, beyond = bounds
        args = (points, from_us(first), from_us(beyond))
        assert rows_of(rig.store.window(*args)) == _model_window(model, points, first, beyond)
        buckets = _model_buckets(model, points, first, beyond, every // timedelta(microseconds=1), how)
        assert rows_of(rig.store.window(*args, every, how)) == buckets

    run()


def _model_append(model: dict[tuple[int, int], tuple[float, int]], rows: list[Row]) -> Appended:
    stored = duplicate = 0
    refused = []
    for number, (point, time, value, quality) in enumerate(rows):
        if math.isinf(value) or not 0 <= time < to_us(datetime(2201, 1, 1, tzinfo=UTC)):
            refused.append((number, REFUSED))
        elif (point, time) in model:
            duplicate += 1
        else:
            model[point, time] = value, quality
            stored += 1
    return Appended(stored, duplicate, tuple(refused))


def _model_window(model: dict[tuple[int, int], tuple[float, int]], points: list[int], first: int, beyond: int) -> Any:
    return [
        (point, time, None if math.isnan(value) else value, quality)
        for (point, time), (value, quality) in sorted(model.items(), key=lambda item: item[0])
        if point in points and first <= time < beyond
    ]


def _model_latest(model: dict[tuple[int, int], tuple[float, int]], points: list[int]) -> Any:
    return list({row[0]: row for row in _model_window(model, points, 0, 2**62)}.values())


def _model_buckets(
    model: dict[tuple[int, int], tuple[float, int]], points: list[int], first: int, beyond: int, every: int, how: str
) -> Any:
    buckets: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for point, time, value, quality in _model_window(model, points, first, beyond):
        if value is not None and quality != BAD:
            buckets.setdefault((point, time // every * every), []).append((value, quality))
    reduce: dict[str, Callable[[list[float]], Any]] = {
        "mean": lambda values: pytest.approx(sum(values) / len(values), rel=1e-12),
        "min": min,
        "max": max,
        "last": lambda values: values[-1],
        "count": len,
    }
    return [
        (point, start, reduce[how]([value for value, _ in used]), max(quality for _, quality in used))
        for (point, start), used in buckets.items()
    ]


# --- the catalogue


def check_catalogue_keeps_and_replaces(rig: Rig) -> None:
    assert rig.store.recall() == []
    rig.store.remember([])
    rig.store.remember([PointRecord(1, "b", None), PointRecord(0, "a|ü/😀", '{"unit":"°C"}')])
    rig.store.remember([PointRecord(1, "b", "first"), PointRecord(2, "c'\"--", None), PointRecord(1, "b", "second")])
    for _ in range(2):
        assert rig.store.recall() == [
            PointRecord(0, "a|ü/😀", '{"unit":"°C"}'),
            PointRecord(1, "b", "second"),
            PointRecord(2, "c'\"--", None),
        ]
        rig.reopen()


def check_catalogue_of_thousands(rig: Rig) -> None:
    records = [PointRecord(number, f"site|bus|{number}", None) for number in range(5000)]
    rig.store.remember(records[::-1])
    described = [PointRecord(number, f"site|bus|{number}", "{}") for number in range(0, 5000, 3)]
    rig.store.remember(described)
    assert rig.store.recall() == sorted(described + [r for r in records if r.id % 3], key=lambda record: record.id)


# --- holding


def double(readings: Readings) -> Readings:
    return Readings(readings.point, readings.time, readings.value * 2, readings.quality)


def check_held_values_are_no_readings_yet(rig: Rig) -> None:
    assert hold(rig.store) == Appended(0, 0)
    assert hold(rig.store, (5, T0, 1.0, GOOD), (5, T0 + 1, NAN, BAD), (6, T0, 2.0, GOOD)) == Appended(3, 0)
    for _ in range(2):
        assert rig.store.held() == {5: 2, 6: 1}
        assert everything(rig.store, [5, 6]) == []
        assert rows_of(rig.store.latest()) == []
        rig.reopen()


def check_holding_is_idempotent_and_refuses(rig: Rig) -> None:
    hold(rig.store, (5, T0, 1.0, GOOD), (5, T0 + 10, 3.0, GOOD))
    rig.reopen()
    again = hold(rig.store, (5, T0, 9.0, BAD), (5, T0 + 5, 2.0, GOOD), (5, T0 + 5, 9.0, GOOD), (5, T0, INF, GOOD))
    assert again == Appended(1, 2, ((3, REFUSED),))
    released, _ = rig.store.release([5], lambda readings: readings)
    assert released.value.tolist() == [1.0, 2.0, 3.0]


def check_release_moves_and_converts(rig: Rig) -> None:
    hold(rig.store, (5, T0 + 1, 2.0, GOOD), (5, T0, 1.0, UNCERTAIN), (6, T0, 3.0, GOOD), (7, T0, 4.0, GOOD))
    released, appended = rig.store.release([5, 7, 8], double)
    assert appended == Appended(3, 0)
    assert rows_of(released.to_frame()) == [(5, T0, 2.0, UNCERTAIN), (5, T0 + 1, 4.0, GOOD), (7, T0, 8.0, GOOD)]
    for _ in range(2):
        assert rig.store.held() == {6: 1}
        assert everything(rig.store, [5, 6, 7]) == rows_of(released.to_frame())
        assert rows_of(rig.store.latest([5])) == [(5, T0 + 1, 4.0, GOOD)]
        rig.reopen()


def check_release_of_nothing(rig: Rig) -> None:
    def refuse(readings: Readings) -> Readings:
        raise AssertionError("nothing is held, so nothing is to be converted")

    hold(rig.store, (5, T0, 1.0, GOOD))
    for points in ([], [4]):
        released, appended = rig.store.release(points, refuse)
        assert len(released) == 0
        assert appended == Appended(0, 0)
    assert rig.store.held() == {5: 1}


def check_release_counts_what_is_stored_already(rig: Rig) -> None:
    append(rig.store, (5, T0, 1.0, GOOD))
    hold(rig.store, (5, T0, 7.0, GOOD), (5, T0 + 1, 2.0, GOOD), (5, T0 + 2, 1e308, GOOD))
    released, appended = rig.store.release([5], lambda r: Readings(r.point, r.time, r.value * [1, 1, INF], r.quality))
    assert len(released) == 3
    assert appended == Appended(1, 1, ((2, REFUSED),))
    assert rig.store.held() == {}
    assert everything(rig.store, [5]) == [(5, T0, 1.0, GOOD), (5, T0 + 1, 2.0, GOOD)]
    assert append(rig.store, (5, T0 + 1, 2.0, GOOD)) == Appended(0, 1)


def check_release_that_fails_changes_nothing(rig: Rig) -> None:
    def fail(readings: Readings) -> Readings:
        raise LookupError("no unit")

    hold(rig.store, (5, T0, 1.0, GOOD))
    with pytest.raises(LookupError):
        rig.store.release([5], fail)
    assert everything(rig.store, [5]) == []
    assert rig.store.held() == {5: 1}
    assert append(rig.store, (1, T0, 1.0, GOOD)) == Appended(1, 0)
    _, appended = rig.store.release([5], double)
    assert appended == Appended(1, 0)


# --- the account


def told(appended: Appended) -> bytes:
    """An account that says what became of the write that it goes with."""
    return f"{appended.stored}/{appended.duplicate}/{len(appended.refused)}".encode()


def check_books_keep_the_last_account(rig: Rig) -> None:
    assert rig.store.booked() is None
    rig.store.book(b"one")
    rig.store.book(b"\x00two" * 5_000)
    assert rig.store.booked() == b"\x00two" * 5_000
    rig.reopen()
    assert rig.store.booked() == b"\x00two" * 5_000


def check_books_go_with_every_write(rig: Rig) -> None:
    rows = batch((1, T0, 1.0, GOOD), (1, T0, 2.0, GOOD), (1, T0 + 1, INF, GOOD))
    for verb in (rig.store.append, rig.store.hold):
        assert verb(rows, told) == Appended(1, 1, ((2, REFUSED),))
        assert rig.store.booked() == b"1/1/1"
        assert verb(rows, told) == Appended(0, 2, ((2, REFUSED),))
        assert rig.store.booked() == b"0/2/1"
        assert verb(Readings.empty(), told) == Appended(0, 0), "a batch of nothing has an account too"
        assert rig.store.booked() == b"0/0/0"
    rig.store.hold(batch((1, T0 + 2, 1.0, GOOD)))
    assert rig.store.booked() == b"0/0/0", "a write without an account leaves it as it is"
    rig.store.release([1], double, told)
    assert rig.store.booked() == b"1/1/0"
    rig.reopen()
    assert rig.store.booked() == b"1/1/0"


def check_books_of_a_write_that_failed_say_nothing_of_it(rig: Rig) -> None:
    def fail(readings: Readings) -> Readings:
        raise LookupError("no unit")

    rig.store.hold(batch((1, T0, 1.0, GOOD)), told)
    with pytest.raises(LookupError):
        rig.store.release([1], fail, lambda _: b"released")
    assert rig.store.booked() == b"1/0/0"


# --- tiers

MINUTE_US, HOUR_US = 60 * SECOND, 3600 * SECOND
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
H0 = T0 // HOUR_US * HOUR_US
WIDTHS = (None, timedelta(seconds=7), MINUTE, 2 * MINUTE, timedelta(seconds=90), 7 * MINUTE, HOUR, 2 * HOUR, DAY)


def same(frame: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Two answers are the same. Means may differ in their last digits: they were added up in another order."""
    rows_of(frame)
    columns = ["point", "time", "quality"]
    assert frame.select(columns).rows() == expected.select(columns).rows()
    np.testing.assert_allclose(frame["value"].to_numpy(), expected["value"].to_numpy(), rtol=1e-12)


def minutes_of_sines(point: int, minutes: int, start_us: int = H0, pace_s: int = 10) -> list[Row]:
    """Readings of one point, on a slope that no two hours share."""
    seconds = range(0, minutes * 60, pace_s)
    return [(point, start_us + s * SECOND, 20 + s / 1000 + math.sin(s / 100), GOOD) for s in seconds]


def check_tiers_are_answered_from_when_they_are_exact(rig: TieredRig) -> None:
    rig.begin(FOR_EVER)
    rows = minutes_of_sines(1, 245)
    append(rig.store, *rows)
    reference = MemoryStore()
    append(reference, *rows)
    rig.maintain(H0 + 245 * MINUTE_US)
    end_us = H0 + 4 * HOUR_US
    cases: list[tuple[timedelta | None, Aggregate, Tier]] = [
        (None, "mean", Tier.RAW),
        (timedelta(seconds=90), "mean", Tier.RAW),
        (HOUR, "last", Tier.RAW),
        (MINUTE, "mean", Tier.MINUTE),
        (90 * MINUTE, "max", Tier.MINUTE),
        (HOUR, "min", Tier.HOUR),
        (2 * HOUR, "count", Tier.HOUR),
    ]
    for _ in range(2):
        for every, how, tier in cases:
            args = ([1], from_us(H0), from_us(end_us), every, how)
            answer = rig.store.answer(*args)
            assert (answer.tier, answer.every, answer.since) == (tier, every, None)
            same(answer.frame, reference.window(*args))
            same(rig.store.window(*args), answer.frame)
        rig.reopen()


def check_tiers_take_the_young_rest_from_the_readings(rig: TieredRig) -> None:
    """A query up to now, and one that begins and ends in the middle of a step."""
    rig.begin(FOR_EVER)
    reference = MemoryStore()
    for hour in range(4):
        rows = minutes_of_sines(1, 60, H0 + hour * HOUR_US) + minutes_of_sines(7, 60, H0 + hour * HOUR_US, 100)
        append(rig.store, *rows)
        append(reference, *rows)
        rig.maintain(H0 + (hour + 1) * HOUR_US - 17 * MINUTE_US)
    for start_us, end_us in ((H0, H0 + 4 * HOUR_US), (H0 + 29 * MINUTE_US + 1, H0 + 191 * MINUTE_US + 30 * SECOND)):
        for every, how in itertools.product(WIDTHS, get_args(Aggregate)):
            args = ([1, 7], from_us(start_us), from_us(end_us), every, how)
            same(rig.store.window(*args), reference.window(*args))


def check_tiers_learn_of_what_comes_late(rig: TieredRig) -> None:
    """Late rows, duplicates, missing and bad values of minutes and hours that were rolled up already."""
    rig.begin(FOR_EVER)
    append(rig.store, (1, H0, 1.0, GOOD), (1, H0 + 4 * HOUR_US, 9.0, GOOD))
    rig.maintain(H0 + 4 * HOUR_US)
    late: list[list[Row]] = [
        [(1, H0 + SECOND, 5.0, UNCERTAIN), (1, H0, 100.0, GOOD)],
        [(1, H0 + 2 * SECOND, -50.0, BAD), (1, H0 + 3 * SECOND, NAN, GOOD), (1, H0 + SECOND, 77.0, BAD)],
        [(2, H0 + 59 * MINUTE_US, 3.0, GOOD), (2, H0 + HOUR_US, 4.0, BAD), (1, H0 + MINUTE_US, 3.0, GOOD)],
    ]
    for rows in late:
        append(rig.store, *rows)
    for _ in range(2):
        args = ([1, 2], from_us(H0), from_us(H0 + 2 * HOUR_US))
        assert rig.store.answer(*args, HOUR).tier is Tier.HOUR
        assert rows_of(rig.store.window(*args, HOUR)) == [(1, H0, 3.0, UNCERTAIN), (2, H0, 3.0, GOOD)]
        assert rows_of(rig.store.window(*args, HOUR, "count"))[0] == (1, H0, 3.0, UNCERTAIN)
        assert rows_of(rig.store.window(*args, HOUR, "max"))[0] == (1, H0, 5.0, UNCERTAIN)
        minutes = [
            (1, H0, 3.0, UNCERTAIN),
            (1, H0 + MINUTE_US, 3.0, GOOD),
            (2, H0 + 59 * MINUTE_US, 3.0, GOOD),
        ]
        assert rows_of(rig.store.window(*args, MINUTE)) == minutes
        rig.maintain(H0 + 4 * HOUR_US)
        rig.reopen()


def check_tiers_learn_of_what_is_released(rig: TieredRig) -> None:
    rig.begin(FOR_EVER)
    append(rig.store, (1, H0, 1.0, GOOD), (1, H0 + 4 * HOUR_US, 9.0, GOOD))
    hold(rig.store, (5, H0 + SECOND, 2.0, GOOD), (5, H0 + 2 * SECOND, 4.0, GOOD), (5, H0 + 5 * HOUR_US, 1.0, GOOD))
    rig.maintain(H0 + 4 * HOUR_US)
    rig.store.release([5], double)
    args = ([5], from_us(H0), from_us(H0 + 4 * HOUR_US), HOUR)
    assert rows_of(rig.store.window(*args)) == [(5, H0, 6.0, GOOD)]
    assert rows_of(rig.store.latest([5])) == [(5, H0 + 5 * HOUR_US, 2.0, GOOD)]


def check_tiers_of_extreme_values(rig: TieredRig) -> None:
    """Sums beyond what a float holds cost their own step, and nothing else."""
    rig.begin(FOR_EVER)
    top = 1.7976931348623157e308
    append(rig.store, *((1, H0 + s * SECOND, top * sign, GOOD) for s, sign in enumerate((1, 1, -1, -1, 1))))
    append(rig.store, (1, H0 + HOUR_US, 1.0, GOOD), (1, H0 + 4 * HOUR_US, 2.0, GOOD))
    rig.maintain(H0 + 4 * HOUR_US)
    append(rig.store, (1, H0 + 9 * SECOND, -top, GOOD), (1, H0 + 8 * SECOND, -top, GOOD), (1, H0 + 7, top, GOOD))
    args = ([1], from_us(H0), from_us(H0 + 2 * HOUR_US), HOUR)
    assert [row[2] for row in rows_of(rig.store.window(*args, "max"))] == [top, 1.0]
    assert [row[2] for row in rows_of(rig.store.window(*args, "min"))] == [-top, 1.0]
    assert [row[2] for row in rows_of(rig.store.window(*args, "count"))] == [8.0, 1.0]
    assert [row[2] for row in rows_of(rig.store.window(*args))][1] == 1.0


def check_tiers_of_no_readings(rig: TieredRig) -> None:
    rig.begin(FOR_EVER)
    assert rig.maintain(H0) == dict.fromkeys(Tier, 0)
    append(rig.store, (1, H0, NAN, BAD), (1, H0 + 9 * HOUR_US, 1.0, BAD))
    rig.maintain(H0 + 9 * HOUR_US)
    assert rows_of(rig.store.window([1], EPOCH, from_us(H0 + 8 * HOUR_US), HOUR)) == []
    assert len(everything(rig.store, [1])) == 2


def check_upkeep_rolls_up_once(rig: TieredRig) -> None:
    rig.begin(FOR_EVER)
    append(rig.store, *minutes_of_sines(1, 130))
    rig.maintain(H0 + 130 * MINUTE_US)
    args = ([1], from_us(H0), from_us(H0 + 2 * HOUR_US), HOUR, "count")
    for _ in range(2):
        assert [row[2] for row in rows_of(rig.store.window(*args))] == [360.0, 360.0]
        rig.reopen()
        again = rig.store.maintain(from_us(H0 + 130 * MINUTE_US))
        assert not any(again.rolled.values())
        assert (again.behind, again.more) == (timedelta(0), False)


SPREAD_US = 8 * HOUR_US
OFFSETS = st.one_of(
    st.integers(0, SPREAD_US // SECOND).map(lambda second: second * SECOND),
    st.sampled_from(
        [h * HOUR_US + d for h in range(8) for d in (-1, 0, 1, 59 * MINUTE_US, MINUTE_US - 1) if h or d > 0]
    ),
)
TIERED_ROWS = st.lists(
    st.tuples(st.integers(0, 1), OFFSETS, st.sampled_from(VALUES), st.sampled_from((GOOD, GOOD, UNCERTAIN, BAD))),
    max_size=12,
)
TIERED_STEPS = st.lists(
    st.one_of(TIERED_ROWS, TIERED_ROWS, TIERED_ROWS, OFFSETS, st.just("reopen")), min_size=2, max_size=7
)
QUERIES = st.lists(
    st.tuples(OFFSETS, OFFSETS, st.sampled_from(WIDTHS), st.sampled_from(get_args(Aggregate))), min_size=1, max_size=6
)


def like_the_memory_store(rig: TieredRig, retention: Retention, examples: int) -> None:
    """Any batches, upkeep at any moment, restarts, any window: the answers of a store that keeps the plain readings."""
    rig.begin(retention)
    reference = MemoryStore(10**9, retention)
    bases = itertools.count(H0, 3 * 24 * HOUR_US)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TIERED_STEPS, QUERIES)
    def run(steps: list[Any], queries: list[tuple[int, int, timedelta | None, Aggregate]]) -> None:
        base = next(bases)  # a time of its own for each example: one store serves them all
        for step in steps:
            if step == "reopen":
                rig.reopen()
            elif isinstance(step, int):
                rig.maintain(base + step)
                reference.maintain(from_us(base + step))
            else:
                rows = [(point, base + offset, value, quality) for point, offset, value, quality in step]
                assert append(rig.store, *rows) == append(reference, *rows)
        for first, second, every, how in queries:
            args = ([0, 1], from_us(base + min(first, second)), from_us(base + max(first, second)), every, how)
            answer, expected = rig.store.answer(*args), reference.answer(*args)
            assert answer[1:] == expected[1:]
            same(answer.frame, expected.frame)
        assert rows_of(rig.store.latest()) == rows_of(reference.latest())

    run()


def check_tiers_like_the_memory_store(rig: TieredRig) -> None:
    like_the_memory_store(rig, FOR_EVER, examples(40))


# --- upkeep

AGES = Retention(timedelta(hours=2), timedelta(hours=4), timedelta(hours=8))


def _twelve_hours(rig: TieredRig) -> dict[Tier, int]:
    """The reading of every ten seconds of twelve hours, rolled up, and dropped as AGES has it: raw from hour 10 on,
    minutes from 8, hours from 4."""
    rig.begin(AGES)
    append(rig.store, *minutes_of_sines(1, 12 * 60))
    append(rig.store, (1, H0 + 12 * HOUR_US, 1.0, GOOD), (2, H0, 2.0, GOOD))
    return rig.maintain(H0 + 12 * HOUR_US)


def check_upkeep_drops_and_says_so(rig: TieredRig) -> None:
    assert _twelve_hours(rig)[Tier.RAW] == 10 * 360 + 1
    for _ in range(2):
        assert rig.maintain(H0 + 12 * HOUR_US) == dict.fromkeys(Tier, 0)
        raw = rig.store.answer([1, 2], from_us(H0 + 10 * HOUR_US), from_us(H0 + 13 * HOUR_US))
        assert (raw.tier, raw.every, raw.since) == (Tier.RAW, None, from_us(H0 + 10 * HOUR_US))
        assert raw.frame.height == 2 * 360 + 1
        rig.reopen()


def check_upkeep_leaves_minutes_then_hours(rig: TieredRig) -> None:
    _twelve_hours(rig)
    reference = MemoryStore()
    append(reference, *minutes_of_sines(1, 12 * 60))
    end = from_us(H0 + 12 * HOUR_US)
    # (start in hours, asked width, asked aggregate; tier, width of the answer, what that is the aggregate of)
    cases: list[tuple[float, timedelta | None, Aggregate, Tier, timedelta, Aggregate]] = [
        (8, None, "max", Tier.MINUTE, MINUTE, "mean"),
        (8.5, timedelta(seconds=10), "max", Tier.MINUTE, MINUTE, "max"),
        (8, 90 * MINUTE, "min", Tier.MINUTE, 90 * MINUTE, "min"),
        (8, timedelta(seconds=90), "count", Tier.MINUTE, 2 * MINUTE, "count"),
        (8, HOUR, "mean", Tier.HOUR, HOUR, "mean"),
        (4, None, "mean", Tier.HOUR, HOUR, "mean"),
        (5, MINUTE, "mean", Tier.HOUR, HOUR, "mean"),
        (4, 90 * MINUTE, "count", Tier.HOUR, 2 * HOUR, "count"),
    ]
    for hour, every, how, tier, width, as_how in cases:
        start = from_us(H0 + int(hour * HOUR_US))
        answer = rig.store.answer([1], start, end, every, how)
        assert (answer.tier, answer.every) == (tier, width)
        assert answer.since == from_us(H0 + (8 if tier is Tier.MINUTE else 4) * HOUR_US)
        same(answer.frame, reference.window([1], start, end, width, as_how))


def check_upkeep_answers_what_is_left_of_a_longer_range(rig: TieredRig) -> None:
    _twelve_hours(rig)
    answer = rig.store.answer([1, 2], EPOCH, from_us(H0 + 12 * HOUR_US))
    assert (answer.tier, answer.every, answer.since) == (Tier.HOUR, HOUR, from_us(H0 + 4 * HOUR_US))
    assert [row[1] for row in rows_of(answer.frame)] == [H0 + hour * HOUR_US for hour in range(4, 12)]
    assert rows_of(rig.store.window([1, 2], from_us(H0), from_us(H0 + 4 * HOUR_US))) == []


def check_upkeep_has_the_last_of_a_bucket_as_far_as_the_readings(rig: TieredRig) -> None:
    _twelve_hours(rig)
    answer = rig.store.answer([1], EPOCH, from_us(H0 + 12 * HOUR_US), HOUR, "last")
    assert (answer.tier, answer.since) == (Tier.RAW, from_us(H0 + 10 * HOUR_US))
    assert [row[1] for row in rows_of(answer.frame)] == [H0 + 10 * HOUR_US, H0 + 11 * HOUR_US]


def check_upkeep_counts_a_step_that_a_range_cuts_where_it_starts(rig: TieredRig) -> None:
    """Nothing finer is left to cut it with; ranges that meet share nothing and miss nothing."""
    _twelve_hours(rig)
    middle = H0 + 8 * HOUR_US + 30 * SECOND
    counts = [
        rig.store.window([1], from_us(first), from_us(beyond), MINUTE, "count")["value"].sum()
        for first, beyond in ((H0 + 8 * HOUR_US, middle), (middle, H0 + 8 * HOUR_US + 2 * MINUTE_US))
    ]
    assert counts == [6.0, 6.0]


def check_upkeep_refuses_what_is_older(rig: TieredRig) -> None:
    """Of a time whose readings are dropped, nobody can tell any more whether this one was among them."""
    _twelve_hours(rig)
    floor = H0 + 10 * HOUR_US
    rows: list[Row] = [(1, floor - 1, 5.0, GOOD), (3, floor, 6.0, GOOD), (3, H0, INF, GOOD), (1, H0, 5.0, GOOD)]
    past = RejectReason.PAST_RETENTION
    for _ in range(2):
        appended = append(rig.store, *rows)
        assert appended.refused == ((0, past), (2, REFUSED), (3, past))
        assert appended.stored + appended.duplicate == 1
        assert rig.store.window([1], from_us(H0 + 9 * HOUR_US), from_us(floor), HOUR, "count")["value"].to_list() == [
            360
        ]
        rig.reopen()
    hold(rig.store, (9, H0, 1.0, GOOD), (9, floor, 2.0, GOOD))
    assert rig.store.release([9], double)[1] == Appended(1, 0, ((0, past),))


def check_upkeep_leaves_the_newest_of_each_point(rig: TieredRig) -> None:
    _twelve_hours(rig)
    append(rig.store, (1, H0 + 40 * HOUR_US, 3.0, GOOD))
    rig.maintain(H0 + 40 * HOUR_US)
    for _ in range(2):
        assert rows_of(rig.store.latest()) == [(1, H0 + 40 * HOUR_US, 3.0, GOOD), (2, H0, 2.0, GOOD)]
        assert rows_of(rig.store.window([2], EPOCH, from_us(H0 + 50 * HOUR_US), HOUR)) == []
        rig.reopen()


def check_upkeep_counts_back_from_the_newest_reading(rig: TieredRig) -> None:
    """A clock that is years ahead, or a hall that is silent for a year, must not empty the store."""
    _twelve_hours(rig)
    assert rig.maintain(to_us(datetime(2199, 1, 1, tzinfo=UTC))) == dict.fromkeys(Tier, 0)
    assert rig.maintain(0) == dict.fromkeys(Tier, 0)
    assert rig.store.window([1], from_us(H0 + 10 * HOUR_US), from_us(H0 + 13 * HOUR_US)).height == 721


def check_upkeep_like_the_memory_store(rig: TieredRig) -> None:
    like_the_memory_store(rig, AGES, examples(40))


def _named(start: str, *starts: str) -> list[Callable[[Any], None]]:
    """The checks of this module whose names begin so, in order."""
    names = tuple(f"check_{name}" for name in (start, *starts))
    return [check for name, check in globals().items() if name.startswith(names)]


CATALOGUE = _named("catalogue")
HOLDING = _named("held", "holding", "release")
BOOKS = _named("books")
TIERS = _named("tiers")
UPKEEP = _named("upkeep")
TELEMETRY = [check for check in _named("") if check not in CATALOGUE + HOLDING + BOOKS + TIERS + UPKEEP]
