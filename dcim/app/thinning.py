"""Fewer readings that draw the same line: what a chart of so many pixels can show, with every extreme kept.

Lives here: which readings of a range are kept, and when it is asked for in buckets instead. Not here: HTTP, stores."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from dcim.core.ports import Answer

READINGS_PER_PIECE = 5
"""Of each piece of the range at most: first, last, lowest, highest, and one that is missing."""
BUCKET_MIN = timedelta(minutes=1)
"""Pieces at least this wide are asked for as buckets: the store has them rolled up."""


def thin(frame: pl.DataFrame, start: datetime, end: datetime, points_max: int) -> pl.DataFrame:
    """The readings of [start, end), at most points_max of each point, in their order.

    frame: point, time, value, quality, sorted by point and time. A point with no more than points_max readings keeps
    all. Of others each of `points_max // 5` equal pieces of the range keeps its first and last reading, its lowest and
    its highest, and the first one that is missing: so a peak of one reading is still there, and so is a gap that was
    told. Raises ValueError for points_max below 5.
    """
    if points_max < READINGS_PER_PIECE:
        raise ValueError(f"points_max is {points_max}, but {READINGS_PER_PIECE} are the least")
    width_us = max(1, -(-(end - start) // timedelta(microseconds=1) // (points_max // READINGS_PER_PIECE)))
    numbered = frame.with_row_index("row").with_columns(
        piece=(pl.col("time") - start).dt.total_microseconds() // width_us,
        crowded=pl.len().over("point") > points_max,
    )
    row = pl.col("row")
    kept = (
        numbered.filter("crowded")
        .group_by("point", "piece")
        .agg(
            pl.concat_list(
                row.first(),
                row.last(),
                row.get(pl.col("value").arg_min()),
                row.get(pl.col("value").arg_max()),
                row.filter(pl.col("value").is_null()).first(),
            ).alias("row")
        )
        .explode("row")
    )
    rows = pl.concat([numbered.filter(~pl.col("crowded"))["row"], kept["row"].drop_nulls()]).unique().sort()
    return frame[rows]


def bucket(start: datetime, end: datetime, points_max: int) -> timedelta | None:
    """Width of the buckets, in whole minutes, in which [start, end) is best asked for to draw points_max readings of
    it; None where it is so short that the readings themselves are thinned."""
    width = (end - start) / max(1, points_max // 2)
    return None if width < BUCKET_MIN else BUCKET_MIN * -(-width // BUCKET_MIN)


def low_and_high(low: Answer, high: Answer) -> Answer:
    """Two answers over the same buckets, `min` and `max`, as one line: the lowest value at a bucket's start and, where
    it differs, the highest at its middle."""
    every = low.every or high.every or BUCKET_MIN
    middles = high.frame.join(low.frame, on=["point", "time"], how="left", suffix="_low", maintain_order="left")
    apart = middles.filter(pl.col("value").ne_missing(pl.col("value_low"))).select(high.frame.columns)
    frame = pl.concat([low.frame, apart.with_columns(pl.col("time") + every / 2)]).sort("point", "time")
    return Answer(frame, low.tier, every, low.since)
