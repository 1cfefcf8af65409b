"""Values: the last ones, and those of a range of time.

Lives here: the queries and their bodies. Not here: how they are kept (dcim.store)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

import polars as pl
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app.api.context import Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.plant import AssetFilter, LatestBody, QuantityFilter, SiteFilter, latest_body, select
from dcim.app.api.problems import RESPONSES, bad, not_found
from dcim.app.thinning import bucket, low_and_high, thin
from dcim.core.points import Point
from dcim.core.ports import Aggregate, Answer, TelemetryStore, Tiered
from dcim.core.readings import Tier

router = APIRouter(tags=["readings"], responses=RESPONSES)

POINTS_MAX = 2_000
"""Points that one range query may ask for."""
ROWS_MAX = 500_000
"""Rows that one range query may answer with."""

DRAWN_MAX = 20_000
"""Readings of one point that may be asked for to draw a line."""

_EVERY = re.compile(r"(\d{1,7})(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class SeriesBody(BaseModel):
    """One point's readings over the range."""

    point: int
    site: str
    asset: str
    quantity: str
    name: str
    unit: str
    times: list[datetime] = Field(description="UTC; of a bucket, its start.")
    values: list[float | None] = Field(description="In `unit`; null where missing.")
    qualities: list[int] = Field(description="0 good, 1 uncertain, 2 bad; of a bucket, the worst of those used.")


class ReadingsBody(BaseModel):
    """Readings of a range."""

    start: datetime
    end: datetime
    every_s: float | None = Field(
        description="Width of a bucket in seconds; null for the readings as they came. Where nothing finer is left of "
        "`start`, it is wider than asked for."
    )
    how: str | None = Field(
        description="How a bucket was put together; `minmax`: its lowest value at its start, its highest at its middle."
    )
    resolution: Tier = Field(
        description="What the answer was made of: the readings (raw), or the coarsest steps that give the same answer. "
        "What is not rolled up yet is in it too."
    )
    kept_since: datetime | None = Field(
        description="Before this, nothing is kept at this resolution any more; null where everything is."
    )
    series: list[SeriesBody] = Field(description="One per point that matches, also where it has no reading.")


@router.get("/readings/latest", summary="Last values")
def latest(
    ctx: Ctx,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    quantity: QuantityFilter = None,
    within: Annotated[
        str | None,
        Query(description="Only of assets that this one contains, as a rack its GPUs.", max_length=512),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
) -> Page[LatestBody]:
    """The last value of each point that has one, by point."""
    heard = [
        point
        for point in select(ctx, site, asset, quantity)
        if (within is None or point.within == within) and ctx.watch.latest.time_of(point.id) is not None
    ]
    page, following = cut(heard, lambda point: [point.id], cursor, limit)
    items = [body for point in page if (body := latest_body(ctx, point)) is not None]
    return Page(items=items, total=len(heard), next_cursor=following)


@router.get("/readings", summary="Values over time")
async def readings(
    ctx: Ctx,
    start: Annotated[
        AwareDatetime, Query(description="From here on, with its zone.", examples=["2026-11-23T12:00:00Z"])
    ],
    end: Annotated[AwareDatetime | None, Query(description="Up to but without this. Now when left out.")] = None,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    quantity: QuantityFilter = None,
    point: Annotated[
        list[int] | None, Query(description="Only these points, by number.", max_length=POINTS_MAX)
    ] = None,
    every: Annotated[
        str | None,
        Query(description="Width of a bucket: 10s, 5m, 1h. Left out: readings as they came.", examples=["10s"]),
    ] = None,
    how: Annotated[
        Literal["mean", "min", "max", "last", "count"],
        Query(
            description="How a bucket is put together. `last` reaches back as far as readings are kept as they came."
        ),
    ] = "mean",
    points_max: Annotated[
        int | None,
        Query(
            description="Instead of `every`: at most so many readings of each point, chosen so that every extreme is "
            "among them, to draw a line of.",
            ge=10,
            le=DRAWN_MAX,
            examples=[2000],
        ),
    ] = None,
) -> ReadingsBody:
    """Readings with start ≤ time < end. Buckets use values that are neither missing nor bad; one without any has no
    entry: a gap stays a gap.

    Readings are kept as they came for some time, then as minutes, then as hours. A query is answered from the coarsest
    of these that gives exactly what the readings would. Where the readings of `start` are no longer kept, the whole
    answer is in buckets as fine as what is left of then: means, unless `every` and `how` were given."""
    end = end or ctx.clock()
    if end <= start:
        raise bad("query.end", "The end is not after the start.")
    if asset is None and quantity is None and point is None:
        raise bad("query.asset", "Say what of: asset, quantity or point.")
    if points_max is not None and every is not None:
        raise bad("query.points_max", "Say either every or points_max.")
    drawn = None if points_max is None else bucket(start, end, points_max)
    width = drawn if every is None else _width(every)
    chosen = select(ctx, site, asset, quantity)
    if point is not None:
        wanted = set(point)
        unknown = wanted - ctx.watch.plant.points.keys()
        if unknown:
            raise not_found(f"point {min(unknown)}", "GET /points lists what there is.")
        chosen = [candidate for candidate in chosen if candidate.id in wanted]
    if len(chosen) > POINTS_MAX:
        raise bad("query.asset", f"That is {len(chosen)} points; {POINTS_MAX} are the most. Ask for fewer at a time.")
    if width is not None and len(chosen) * ((end - start) / width) > 50 * ROWS_MAX:
        raise bad("query.every", "These buckets are too many. Ask for wider ones or a shorter range.")
    ids = [candidate.id for candidate in chosen]
    if drawn is not None:
        answer = await run_in_threadpool(_drawn, ctx.store, ids, start, end, drawn)
    else:
        answer = await run_in_threadpool(_answer, ctx.store, ids, start, end, width, how)
    frame = answer.frame
    if points_max is None and how == "last" and width is not None and answer.since is not None and start < answer.since:
        raise bad(
            "query.how",
            f"Readings as they came are kept since {answer.since.isoformat()}, and `last` needs them. "
            "Ask from then on, or for mean, min, max or count.",
        )
    if frame.height > ROWS_MAX:
        raise bad("query.every", f"That is {frame.height} rows; {ROWS_MAX} are the most. Ask for wider buckets.")
    if points_max is not None and drawn is None:
        frame = await run_in_threadpool(thin, frame, start, end, points_max)
    asked = "minmax" if drawn is not None else how
    return ReadingsBody(
        start=start,
        end=end,
        every_s=None if answer.every is None else answer.every.total_seconds(),
        how=asked if width is not None else "mean" if answer.every is not None else None,
        resolution=answer.tier,
        kept_since=answer.since,
        series=_series(chosen, frame),
    )


def _answer(
    store: TelemetryStore, points: list[int], start: datetime, end: datetime, every: timedelta | None, how: Aggregate
) -> Answer:
    if isinstance(store, Tiered):
        return store.answer(points, start, end, every, how)
    return Answer(store.window(points, start, end, every, how), Tier.RAW, every, None)


def _drawn(store: TelemetryStore, points: list[int], start: datetime, end: datetime, every: timedelta) -> Answer:
    return low_and_high(
        _answer(store, points, start, end, every, "min"), _answer(store, points, start, end, every, "max")
    )


def _width(every: str) -> timedelta:
    match = _EVERY.fullmatch(every)
    if match is None or int(match.group(1)) == 0:
        raise bad("query.every", f"{every!r} is no width. Write 10s, 5m, 1h or 1d.")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def _series(points: list[Point], frame: pl.DataFrame) -> list[SeriesBody]:
    parts = frame.partition_by("point", as_dict=True)
    empty = frame.clear()
    series = []
    for point in points:
        rows = parts.get((point.id,), empty)
        series.append(
            SeriesBody(
                point=point.id,
                site=point.site,
                asset=point.asset,
                quantity=point.quantity,
                name=point.name,
                unit=point.unit,
                times=rows["time"].to_list(),
                values=rows["value"].to_list(),
                qualities=rows["quality"].to_list(),
            )
        )
    return series
