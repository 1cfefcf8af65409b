"""Maintenance windows: where somebody works, from when to when, and why.

Lives here: the routes and their bodies. Not here: what a window hides (alerts.suppression)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from alerts.engine import UnknownWindow
from alerts.lifecycle import Mistaken
from alerts.suppression import WINDOW_ASSETS_MAX, Window
from dcim.app.api.context import Context, Ctx
from dcim.app.api.people import Name, name_of, origin_of
from dcim.app.api.plant import SiteFilter
from dcim.app.api.problems import RESPONSES, bad, not_found
from dcim.core.assets import AssetKey

router = APIRouter(prefix="/maintenance", tags=["alarms"], responses=RESPONSES)


class WindowBody(BaseModel):
    """A time in which somebody works somewhere."""

    id: str
    site: str
    assets: list[str] = Field(description="Ids; none: the whole site.")
    downstream: bool = Field(description="What those assets feed is meant too.")
    start: datetime
    end: datetime
    phase: Literal["planned", "open", "over"]
    reason: str
    by: str = Field(description="Who opened it.")
    origin: str = Field(description="From where.")
    made_at: datetime
    ended_at: datetime | None = Field(description="When somebody ended it before its time.")
    ended_by: str | None
    ended_origin: str | None
    hides: int = Field(description="Alarms that it hides now: `hidden_by` of GET /alarms?state=suppressed names it.")


class Opening(BaseModel):
    """A window to be opened."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    reason: str = Field(description="Why: the work order, in words.", min_length=1, max_length=2_000)
    site: str = Field(description="Where.", min_length=1, max_length=64)
    assets: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(
        default=[], description="Ids of assets; none: the whole site.", max_length=WINDOW_ASSETS_MAX
    )
    downstream: bool = Field(default=False, description="Whether what they feed is meant too.")
    start: AwareDatetime | None = Field(default=None, description="Now, where left out.")
    end: AwareDatetime = Field(description="A window has an end, 31 days away at most.")


class Ending(BaseModel):
    """Who ends a window."""

    model_config = ConfigDict(extra="forbid")

    by: Name


@router.get("", summary="Maintenance windows")
async def windows(
    ctx: Ctx,
    site: SiteFilter = None,
    since: Annotated[
        AwareDatetime | None,
        Query(description="Also those that were over by now, but not yet at this instant."),
    ] = None,
) -> list[WindowBody]:
    """Those that are open or to come, by their beginning."""
    found = await ctx.engine.windows(since or ctx.clock())
    return [_body(ctx, window) for window in found if site is None or window.site == site]


@router.post("", summary="Open a maintenance window", status_code=201)
async def open_window(ctx: Ctx, request: Request, wanted: Opening) -> WindowBody:
    """Alarms that begin there meanwhile are hidden: evaluated and on record, but nobody is asked. What stands goes on
    standing, clears come through, and contact leak sensors are never hidden."""
    assets = ctx.watch.plant.assets
    if not any(key.site == wanted.site for key in assets):
        raise bad("body.site", f"There is no site {wanted.site}. GET /sites lists what there is.")
    unknown = [asset for asset in wanted.assets if AssetKey(wanted.site, asset) not in assets]
    if unknown:
        raise bad("body.assets", f"There is no asset {unknown[0]} at {wanted.site}. GET /assets lists what there is.")
    at = ctx.clock()
    window = Window(
        id="",
        site=wanted.site,
        assets=tuple(dict.fromkeys(wanted.assets)),
        downstream=wanted.downstream,
        start=wanted.start or at,
        end=wanted.end,
        reason=wanted.reason.strip(),
        by=name_of(wanted.by),
        origin=origin_of(request),
        made_at=at,
    )
    try:
        return _body(ctx, await ctx.engine.open_window(window, at))
    except Mistaken as error:
        raise bad(f"body.{error.where}", f"{error.what}.") from error


@router.post("/{window_id}/end", summary="End a maintenance window")
async def end_window(
    ctx: Ctx,
    request: Request,
    window_id: Annotated[str, Path(description="Id of the window.", max_length=64)],
    said: Ending,
) -> WindowBody:
    """Before its time. What still stands there then gets its on-delay, and alarms."""
    try:
        window = await ctx.engine.end_window(window_id, name_of(said.by), origin_of(request), ctx.clock())
    except UnknownWindow as error:
        words = f"maintenance window {window_id} that is open or to come"
        raise not_found(words, "GET /maintenance lists them.") from error
    except Mistaken as error:
        raise bad(f"body.{error.where}", f"{error.what}.") from error
    return _body(ctx, window)


def _body(ctx: Context, window: Window) -> WindowBody:
    return WindowBody(
        id=window.id,
        site=window.site,
        assets=list(window.assets),
        downstream=window.downstream,
        start=window.start,
        end=window.end,
        phase=window.phase(ctx.clock()).value,
        reason=window.reason,
        by=window.by,
        origin=window.origin,
        made_at=window.made_at,
        ended_at=window.ended_at,
        ended_by=window.ended_by or None,
        ended_origin=window.ended_origin or None,
        hides=ctx.engine.hides(window.id),
    )
