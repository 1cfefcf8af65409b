"""When a place is full: of power, cooling, coolant or positions.

Lives here: the route, its bodies, and the reading of the days. Not here: the trend (dcim.capacity.exhaustion), what is
used and what there is to grow into (dcim.capacity.growth)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dcim.app import history
from dcim.app.api.context import Ctx
from dcim.app.api.figures import FigureBody, rounded, worked_out
from dcim.app.api.places import level_of, within
from dcim.app.api.problems import RESPONSES, bad
from dcim.capacity.exhaustion import CONFIDENCE_PCT, foretell
from dcim.capacity.growth import HOURS, UNITS, Basis, Days, Growing, basis, ceiling
from dcim.capacity.headroom import units
from dcim.capacity.meters import read
from dcim.capacity.provenance import Period
from dcim.core.ports import TelemetryStore

router = APIRouter(tags=["capacity"], responses=RESPONSES)

FORECAST_DAYS_MAX = 400
POINTS_MAX = 5_000
"""Points that one forecast reads."""
CELLS_MAX = 1_000_000
"""Points × hours that are in memory at a time."""


class BacktestBody(BaseModel):
    """How the method did on the last days, from the ones before."""

    days: int
    error: float = Field(description="Mean absolute error, in the forecast's unit.")
    bias: float = Field(description="Mean of foretold − true, in the forecast's unit.")
    within_pct: float = Field(description=f"Days inside the interval, %; about {CONFIDENCE_PCT:g} if it is right.")


class ForecastBody(BaseModel):
    """When it is full."""

    scope: str
    resource: Growing
    unit: str = Field(description="Of capacity, load, errors, and of growth a day.", examples=["kW"])
    capacity: FigureBody = Field(description="What is used now + what is free now.")
    load: FigureBody = Field(description="Trend of the daily highest hour on the last day.")
    growth_per_day: float | None = Field(description="Median of the slopes between all pairs of days (Sen 1968).")
    growth_low: float | None = Field(description=f"Bounds of that, {CONFIDENCE_PCT:g} % (Kendall).")
    growth_high: float | None
    exhausted: datetime | None = Field(description="null where it does not grow, or cannot be told: see why.")
    earliest: datetime | None
    latest: datetime | None = Field(description="null where it may as well never be.")
    backtest: BacktestBody | None
    days: int = Field(description="Days with a value.")
    why: str


@router.get("/capacity/forecast", summary="When it is full")
def forecast(
    ctx: Ctx,
    scope: Annotated[str, Query(description="A site, hall, row or rack.", examples=["site/demo"], max_length=512)],
    days: Annotated[int, Query(description="How far to look back.", ge=14, le=FORECAST_DAYS_MAX)] = 90,
    resource: Annotated[
        Growing,
        Query(
            description="power: of its racks, kW. cooling: heat into liquid, kW = ρ·cp·V̇·ΔT / 6e7. flow: coolant, "
            "L/min. space: positions that racks stand in."
        ),
    ] = Growing.POWER,
) -> ForecastBody:
    """When a resource of a scope meets its capacity if it grows as it did: Sen's slope over the highest hour of each
    day, with Kendall's interval, and how the same method did on the last 30 % of the days from the ones before.

    Capacity is what is used now and what is free now: of power the headroom over all resources; of cooling and flow
    what the cooling groups of its racks leave without their spare units, if the racks of others stay as they are; of
    space the free positions of its rows. A rack counts from its first reading on; of space, as soon as it was heard.
    Days of which fewer than 12 hours are known are left out."""
    picture = ctx.planning.picture()
    level = level_of(scope)
    (unit,) = within(picture, units(picture.inventory, picture.network, level), scope)
    of = basis(ctx.watch.plant, picture.network, unit, resource)
    points = sum(len(one.points) for one in of.meters)
    if points > POINTS_MAX:
        raise bad("query.scope", f"That is {points} points; {POINTS_MAX} are the most. Ask for a hall or a row.")
    end = ctx.clock().replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=days)
    found = _daily(ctx.store, of, Period(start, end))
    value = found.standing(of.unmetered) if resource is Growing.SPACE else found.highest()
    day = np.arange(days, dtype=np.float64)
    top = ceiling(picture.network, picture.loads, picture.limits, unit, resource)
    quiet = (
        f"nothing was heard of {found.silent} of {len(of.meters)} meters in {days} days"
        if resource is not Growing.SPACE and 0 < found.silent < len(of.meters)
        else ""
    )
    told = of.lacking or quiet or foretell(day, value, float("nan") if top.value is None else top.value)
    unit_of, boundary = UNITS[resource], f"{level} {unit.id}"
    head = {
        "scope": scope,
        "resource": resource,
        "unit": unit_of,
        "capacity": worked_out(picture.loads.at, top.value, unit_of, boundary, top.why, top.coverage_pct),
    }
    if isinstance(told, str):
        return ForecastBody(
            **head,
            load=worked_out(picture.loads.at, None, unit_of, boundary, told),
            growth_per_day=None,
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
        if top.value is None or in_days is None or in_days > 36_500:
            return None
        return last + timedelta(days=in_days)

    why = (
        f"its capacity is not known: {top.why}"
        if top.value is None
        else "it does not grow"
        if told.in_days is None
        else f"{told.per_day:.4g} {unit_of} a day fill {top.value - told.level:.4g} {unit_of}"
    )
    of_what = "racks that had been heard" if resource is Growing.SPACE else "each day's highest hour"
    return ForecastBody(
        **head,
        load=worked_out(last, told.level, unit_of, boundary, f"trend of {of_what}", 100.0),
        growth_per_day=rounded(told.per_day),
        growth_low=rounded(told.per_day_low),
        growth_high=rounded(told.per_day_high),
        exhausted=when(told.in_days),
        earliest=when(told.earliest_days),
        latest=when(told.latest_days),
        backtest=BacktestBody(
            days=told.backtest.days,
            error=round(told.backtest.error, 3),
            bias=round(told.backtest.bias, 3),
            within_pct=round(told.backtest.within_pct, 1),
        ),
        days=told.days,
        why=why,
    )


def _daily(store: TelemetryStore, of: Basis, period: Period) -> Days:
    """What was used, hour by hour. Some meters are read at a time, so that memory is bounded."""
    size = (period.end - period.start).days
    days = Days(size)
    if of.lacking:
        return days
    each = max(len(one.points) for one in of.meters)
    piece = max(1, CELLS_MAX // (each * size * HOURS))
    for begin in range(0, len(of.meters), piece):
        some = of.meters[begin : begin + piece]
        points = sorted({point for one in some for point in one.points})
        past = history.read(store, points, period, step_s=3_600, peaks=False)
        rows, _ = read(some, past.grid, {point: row for row, point in enumerate(points)})
        days.add(rows.mean)
    return days
