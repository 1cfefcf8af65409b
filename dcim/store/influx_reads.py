"""Windows of readings that lie partly on a server, partly still in our spool, in three tiers.

    parts of the window (retention.py) ─ a tier's part      what the tier keeps, from its bucket
                                       └ a raw part ─ times with readings still in the spool: both, merged
                                                    └ the rest: aggregated by the server

Every part gives partial aggregates that can be put together: sums with their numbers, least, greatest, last.

Lives here: which questions are asked for a window, and how the answers become one. Not here: the words of the questions
(flux.py), sending (influx_client.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.ports import Aggregate
from dcim.core.readings import Quality, Readings, Tier
from dcim.store import flux
from dcim.store.flux import Span
from dcim.store.line_protocol import MISSING
from dcim.store.ranges import ranges
from dcim.store.retention import STEP_US, Floors, parts, pick

_SCHEMA: Final = {
    "point": pl.UInt32(),
    "time": pl.Datetime("us", "UTC"),
    "value": pl.Float64(),
    "quality": pl.UInt8(),
}
_AT = pl.col("time").dt.epoch("us")


@dataclass(frozen=True, slots=True)
class Reads:
    """See the module. ask: answers several questions, in their order. local: readings of points (ascending) in a span
    that the server may not have yet, in order of arrival. rolled: see retention.parts."""

    buckets: Mapping[Tier, str]
    ask: Callable[[Sequence[str]], list[bytes]]
    tags: Callable[[npt.NDArray[np.uint32]], list[str]]
    local: Callable[[npt.NDArray[np.uint32], Span], Readings]
    rolled: Callable[[], Mapping[Tier, int]]

    def window(
        self, points: npt.NDArray[np.uint32], span: Span, every_us: int | None, how: Aggregate, floors: Floors
    ) -> pl.DataFrame:
        """TelemetryStore.window in microseconds. points: ascending, each once."""
        if not len(points) or span[0] >= span[1]:
            return pl.DataFrame(schema=_SCHEMA)
        numbers = pl.DataFrame({"point": self.tags(points), "number": points})
        # What is local is looked up first: a reading that is handed on in between is seen as local, or as stale.
        local = self.local(points, span)
        rolled = dict(self.rolled())
        tier, every_us = pick(span[0], span[1], every_us, how, floors)
        if every_us is None:
            return _ordered(_named(self._raw(numbers["point"].to_list(), span), numbers), local)
        for coarse, step_us in STEP_US.items():
            rolled[coarse] = min(rolled[coarse], int(local.time.min(initial=rolled[coarse])) // step_us * step_us)
        found: list[pl.DataFrame] = []
        for part in parts(tier, span[0], span[1], rolled, floors):
            if part.tier is Tier.RAW:
                found += self._raw_part(numbers, (part.start_us, part.end_us), every_us, how, local)
            else:
                asked = [
                    flux.steps(self.buckets[part.tier], chunk, (part.start_us, part.end_us), how)
                    for chunk in flux.chunks(numbers["point"])
                ]
                found.append(_partial(_named(self._answers(asked), numbers), every_us, weighted=how == "mean"))
        return _together(pl.concat(found), how)

    def _raw_part(
        self, numbers: pl.DataFrame, span: Span, every_us: int, how: Aggregate, local: Readings
    ) -> Iterator[pl.DataFrame]:
        tags = numbers["point"].to_list()
        mine = local.take((local.time >= span[0]) & (local.time < span[1]))
        merged = list(_stretches(mine.time))
        asked = [
            flux.windows(self.buckets[Tier.RAW], chunk, rest, every_us, how)
            for rest in _rests(span, merged)
            for chunk in flux.chunks(tags)
        ]
        if asked:
            yield _partial(_named(self._answers(asked), numbers), every_us, weighted=False)
        for stretch in merged:
            inside = mine.take((mine.time >= stretch[0]) & (mine.time < stretch[1]))
            rows = _ordered(_named(self._raw(tags, stretch), numbers), inside)
            yield _aggregated(rows, every_us, how)

    def _raw(self, tags: list[str], span: Span) -> pl.DataFrame:
        return self._answers([flux.raw(self.buckets[Tier.RAW], chunk, span) for chunk in flux.chunks(tags)])

    def _answers(self, asked: Sequence[str]) -> pl.DataFrame:
        return pl.concat([flux.answered(answer) for answer in self.ask(asked)])


def readings_of(answer: pl.DataFrame) -> pl.DataFrame:
    """Values and qualities, as they were written, brought together: a row for each point and time, quality as a
    `Quality`. Where two were written of one instant, any of them, but a value before none."""
    values = answer.filter(pl.col("value").is_not_null()).select("point", "time", "value")
    told = answer.filter(pl.col("quality").is_not_null()).select("point", "time", "quality")
    known = values.unique(["point", "time"], keep="first").join(
        told.filter(pl.col("quality") < MISSING).unique(["point", "time"], keep="first"),
        on=["point", "time"],
        how="left",
    )
    missing = told.filter(pl.col("quality") >= MISSING).select(
        "point", "time", pl.lit(None, pl.Float64).alias("value"), pl.col("quality") - MISSING
    )
    both = pl.concat([known.with_columns(pl.col("quality").fill_null(Quality.GOOD)), missing])
    return both.unique(["point", "time"], keep="first", maintain_order=True)


def steps_of(answer: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """What was answered of whole steps, as frames for Lines.steps. numbers: point (the tag), number."""
    return (
        _named(answer, numbers)
        .group_by("point", start=_AT)
        .agg(
            pl.col("sum").sum(),
            pl.col("count").sum(),
            pl.col("min").min(),
            pl.col("max").max(),
            uncertain=pl.col("quality").min() == int(Quality.UNCERTAIN),
        )
        .filter(pl.col("count") > 0)
        .with_columns(pl.col("uncertain").fill_null(value=False))
    )


def _named(answer: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """Points by number instead of by tag."""
    joined = answer.join(numbers, on="point", how="inner")
    return joined.select(pl.col("number").alias("point"), pl.exclude("point", "number"))


def _ordered(answer: pl.DataFrame, local: Readings) -> pl.DataFrame:
    """Rows of the server and of the spool as one window; where both have an instant, the server's came first."""
    rows = pl.concat([readings_of(answer), local.to_frame()])
    return rows.unique(["point", "time"], keep="first", maintain_order=True).sort("point", "time")


def _aggregated(rows: pl.DataFrame, every_us: int, how: Aggregate) -> pl.DataFrame:
    """Partial aggregates of raw readings."""
    usable = rows.filter(pl.col("value").is_not_null() & (pl.col("quality") < Quality.BAD))
    value = {
        "mean": pl.col("value").sum(),
        "min": pl.col("value").min(),
        "max": pl.col("value").max(),
        "last": pl.col("value").last(),
        "count": pl.len().cast(pl.Float64),
    }[how]
    return (
        usable.group_by("point", bucket=_AT // every_us * every_us, maintain_order=True)
        .agg(value=value, weight=pl.len().cast(pl.Float64), quality=pl.col("quality").max(), at=_AT.max())
        .select(_PARTIAL)
    )


_PARTIAL: Final = ("point", "bucket", "value", "weight", "quality", "at")
"""value: of "mean" the sum. weight: of "mean" the number. at: the time of the value, as far as "last" needs it."""


def _partial(answer: pl.DataFrame, every_us: int, *, weighted: bool) -> pl.DataFrame:
    """Partial aggregates out of aggregates: each value, weight and quality that was given is a row. weighted: the
    values are means, not sums."""
    rows = answer
    if weighted:
        pairs = answer.group_by("point", "time").agg(
            pl.col("value").mean(), pl.col("weight").sum(), pl.col("quality").min(), number=pl.col("weight").count()
        )
        sums = pl.when(pl.col("number") > 0).then(pl.col("value") * pl.col("weight")).otherwise(pl.col("value"))
        rows = pairs.with_columns(sums.alias("value"))
    return rows.select(
        "point",
        bucket=_AT // every_us * every_us,
        value="value",
        weight="weight",
        # Of qualities that were written, 1 is the only one of a usable value.
        quality=(pl.col("quality") == int(Quality.UNCERTAIN)).fill_null(value=False).cast(pl.UInt8),
        at=_AT,
    )


def _together(partial: pl.DataFrame, how: Aggregate) -> pl.DataFrame:
    value = {
        "mean": pl.col("value").sum() / pl.col("weight").sum(),
        "min": pl.col("value").min(),
        "max": pl.col("value").max(),
        "last": pl.col("value").sort_by("at").drop_nulls().last(),
        "count": pl.col("value").sum(),
    }[how]
    return (
        partial.group_by("point", "bucket")
        .agg(value=value, quality=pl.col("quality").max(), used=pl.col("value").count())
        .filter(pl.col("used") > 0)
        .select("point", pl.from_epoch("bucket", "us").dt.replace_time_zone("UTC").alias("time"), "value", "quality")
        .sort("point", "time")
    )


def _stretches(times: npt.NDArray[np.int64]) -> Iterator[Span]:
    """The spans in which these times lie, few and without much between them."""
    ordered = np.sort(times)
    if not len(ordered):
        return
    for part in ranges(ordered):
        yield int(ordered[part][0]), int(ordered[part][-1]) + 1


def _rests(span: Span, stretches: Sequence[Span]) -> Iterator[Span]:
    """What lies between the stretches, which are in order and within the span."""
    start = span[0]
    for first, beyond in [*stretches, (span[1], span[1])]:
        if start < first:
            yield start, first
        start = beyond
