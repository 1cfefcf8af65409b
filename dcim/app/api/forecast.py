"""When the power of a place is full.

Lives here: the route, its bodies, and the days that it looks at. Not here: the trend (dcim.capacity.exhaustion)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app.api.context import Ctx
from dcim.app.api.figures import FigureBody, rounded, worked_out
from dcim.app.api.places import level_of, within
from dcim.app.api.problems import RESPONSES, bad
from dcim.capacity.exhaustion import CONFIDENCE_PCT, foretell
from dcim.capacity.headroom import headroom, units
from dcim.core.ports import TelemetryStore

router = APIRouter(tags=["capacity"], responses=RESPONSES)

FORECAST_DAYS_MAX = 400
POINTS_MAX = 5_000
"""Meters that one forecast reads."""


class BacktestBody(BaseModel):
    """How the method did on the last days, from the ones before."""

    days: int
    error_kw: float = Field(description="Mean absolute error, kW.")
    bias_kw: float = Field(description="Mean of foretold − true, kW.")
    within_pct: float = Field(description=f"Days inside the interval, %; about {CONFIDENCE_PCT:g} if it is right.")


class ForecastBody(BaseModel):
    """When it is full."""

    scope: str
    capacity: FigureBody = Field(description="Load now + headroom now, kW.")
    load: FigureBody = Field(description="Trend of the daily highest hour on the last day, kW.")
    growth_kw_per_day: float | None = Field(description="Median of the slopes between all pairs of days (Sen).")
    growth_low: float | None = Field(description=f"Bounds of that, {CONFIDENCE_PCT:g} % (Kendall).")
    growth_high: float | None
    exhausted: datetime | None = Field(description="null where it does not grow, or cannot be told: see why.")
    earliest: datetime | None
    latest: datetime | None = Field(description="null where it may as well never be.")
    backtest: BacktestBody | None
    days: int = Field(description="Days with a value.")
    why: str


@router.get("/capacity/forecast", summary="When it is full")
async def forecast(
    ctx: Ctx,
    scope: Annotated[str, Query(description="A site, hall, row or rack.", examples=["site/demo"], max_length=512)],
    days: Annotated[int, Query(description="How far to look back.", ge=14, le=FORECAST_DAYS_MAX)] = 90,
) -> ForecastBody:
    """When the power of a scope meets its capacity if it grows as it did: Sen's slope over the highest hour of each
    day, with Kendall's interval, and how the same method did on the last 30 % of the days from the ones before.

    Capacity is what it draws now and its headroom over all resources. Days of which less than half is covered are left
    out."""
    picture = await run_in_threadpool(ctx.planning.picture)
    level = level_of(scope)
    (unit,) = within(picture, units(picture.inventory, picture.network, level), scope)
    plant = ctx.watch.plant
    keys = [picture.network.racks[rack].key for rack in unit.racks]
    points = [found.id for key in keys for found in plant.at(key, "RackPower")[:1]]
    if len(points) > POINTS_MAX:
        raise bad("query.scope", f"That is {len(points)} racks; {POINTS_MAX} are the most. Ask for a hall or a row.")
    end = ctx.clock().replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=days)
    day, value = await run_in_threadpool(_daily, ctx.store, points, len(keys), start, end)
    found = headroom(unit, picture.limits, picture.loads)
    boundary = f"{level} {unit.id}"
    now_kw = float(np.sum(picture.loads.rack_kw[list(unit.racks)])) if unit.racks else float("nan")
    free = found.headroom.value
    ceiling = None if free is None or np.isnan(now_kw) else now_kw + free
    told = foretell(day, value, float("nan") if ceiling is None else ceiling)
    nothing = worked_out(picture.loads.at, None, "kW", boundary, "")
    why = f"load now + headroom: {found.headroom.why}"
    capacity = worked_out(picture.loads.at, ceiling, "kW", boundary, why, found.headroom.coverage_pct)
    if isinstance(told, str):
        return ForecastBody(
            scope=scope,
            capacity=capacity,
            load=nothing.model_copy(update={"why": told}),
            growth_kw_per_day=None,
            growth_low=None,
            growth_high=None,
            exhausted=None,
            earliest=None,
            latest=None,
            backtest=None,
            days=int((~np.isnan(value)).sum()),
            why=told,
        )
    last = start + timedelta(days=float(day[~np.isnan(value)][-1]))

    def when(in_days: float | None) -> datetime | None:
        if ceiling is None or in_days is None or in_days > 36_500:
            return None
        return last + timedelta(days=in_days)

    why = (
        f"its capacity is not known: {found.headroom.why}"
        if ceiling is None
        else "it does not grow"
        if told.in_days is None
        else f"{told.per_day:.4g} kW a day fill {ceiling - told.level:.4g} kW"
    )
    return ForecastBody(
        scope=scope,
        capacity=capacity,
        load=worked_out(last, told.level, "kW", boundary, "trend of each day's highest hour", 100.0),
        growth_kw_per_day=rounded(told.per_day),
        growth_low=rounded(told.per_day_low),
        growth_high=rounded(told.per_day_high),
        exhausted=when(told.in_days),
        earliest=when(told.earliest_days),
        latest=when(told.latest_days),
        backtest=BacktestBody(
            days=told.backtest.days,
            error_kw=round(told.backtest.error, 3),
            bias_kw=round(told.backtest.bias, 3),
            within_pct=round(told.backtest.within_pct, 1),
        ),
        days=told.days,
        why=why,
    )


def _daily(
    store: TelemetryStore, points: Sequence[int], racks: int, start: datetime, end: datetime
) -> tuple[np.ndarray, np.ndarray]:
    """Highest hour of each day, kW, and the days; NaN where fewer than 12 hours are covered by all racks."""
    size = (end - start).days
    days = np.arange(size, dtype=np.float64)
    values = np.full(size, np.nan)
    if points and len(points) == racks:
        frame = store.window(list(points), start, end, timedelta(hours=1), "mean")
        hours = (
            frame.group_by("time")
            .agg(pl.col("value").sum(), pl.len().alias("racks"))
            .filter(pl.col("racks") == racks)
            .with_columns(day=(pl.col("time") - start).dt.total_days())
            .group_by("day")
            .agg(pl.col("value").max(), pl.len().alias("hours"))
            .filter(pl.col("hours") >= 12)
        )
        values[hours["day"].to_numpy()] = hours["value"].to_numpy()
    return days, values
