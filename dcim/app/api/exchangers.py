"""How a CDU's exchanger does, over time: approach, conductance, heat.

Lives here: the route and its body. Not here: the figures (dcim.app.exchanger)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app.api.context import Ctx
from dcim.app.api.plant import SiteFilter, find_asset
from dcim.app.api.problems import RESPONSES, bad, not_found
from dcim.app.exchanger import NEEDS, over_time

router = APIRouter(tags=["readings"], responses=RESPONSES)

EVERY_S_MIN, STEPS_MAX = 10, 20_000


class ExchangerBody(BaseModel):
    """An exchanger over a range, as columns. null where a part of a figure is not known."""

    site: str
    asset: str
    start: datetime
    end: datetime
    every_s: int = Field(description="Width of a step; each is made of the means of its readings.")
    missing: list[str] = Field(description="What is not measured at this CDU; figures that need it are null.")
    times: list[datetime] = Field(description="When each step begins, UTC; steps without any reading are left out.")
    approach_k: list[float | None] = Field(description="Supply to the racks less the facility's supply, K.")
    ua_kw_per_k: list[float | None] = Field(
        description="Heat by the logarithmic mean of the differences at both ends, kW/K; null where one is below 1 K."
    )
    heat_kw: list[float | None] = Field(description="ρ·cp·V̇·ΔT of the racks' circuit, kW.")


@router.get("/exchangers/{asset_id:path}", summary="A CDU's exchanger over time")
async def exchanger(
    ctx: Ctx,
    asset_id: Annotated[str, Path(description="Id of the CDU.", examples=["H1-CDU-1"])],
    start: Annotated[AwareDatetime, Query(description="From here on, with its zone.")],
    end: Annotated[AwareDatetime | None, Query(description="Up to but without this. Now when left out.")] = None,
    every_s: Annotated[int, Query(description="Width of a step, seconds.", ge=EVERY_S_MIN, le=86_400)] = 60,
    site: SiteFilter = None,
) -> ExchangerBody:
    """How near the two circuits of a CDU come and what its exchanger conducts: a conductance that sinks over weeks at
    like flows is fouling."""
    until = end or ctx.clock()
    if until <= start:
        raise bad("query.end", "The end is not after the start.")
    if (until - start).total_seconds() / every_s > STEPS_MAX:
        raise bad("query.every_s", f"These are more than {STEPS_MAX} steps. Ask for wider ones or a shorter range.")
    asset = find_asset(ctx, asset_id, site)
    tile = ctx.watch.hall.cdus.get(f"{asset.site}/{asset.id}")
    if tile is None:
        raise not_found(f"CDU {asset_id}", "GET /hall lists them.")
    points: dict[str, int] = {name: tile.points[name] for name in NEEDS if name in tile.points}
    frame = await run_in_threadpool(
        lambda: over_time(
            ctx.store.window(list(points.values()), start, until, timedelta(seconds=every_s), "mean"), points
        )
    )
    return ExchangerBody(
        site=asset.site,
        asset=asset.id,
        start=start,
        end=until,
        every_s=every_s,
        missing=[name for name in NEEDS if name not in points],
        times=frame["time"].to_list(),
        approach_k=frame["approach_k"].to_list(),
        ua_kw_per_k=frame["ua_kw_per_k"].to_list(),
        heat_kw=frame["heat_kw"].to_list(),
    )
