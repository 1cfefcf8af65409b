"""Alarms: what stands, one of them with its history, and acknowledging.

Lives here: the routes. Not here: states and rules (alerts), the bodies (dcim.app.views)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from alerts.engine import AlarmView, AlreadyAcknowledged, UnknownAlarm
from alerts.journal import HistoryQuery
from alerts.lifecycle import State
from dcim.app.api.context import Context, Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.plant import AssetFilter, SiteFilter
from dcim.app.api.problems import RESPONSES, Problem, Wrong, bad, not_found
from dcim.app.views import AlarmBody, alarm_body, transition_body

router = APIRouter(tags=["alarms"], responses=RESPONSES)

AlarmId = Annotated[str, Path(description="Id of the alarm.", max_length=128)]


class Acknowledgement(BaseModel):
    """Who says that they know."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(description="Who.", min_length=1, max_length=200, examples=["night shift"])
    comment: str = Field(default="", description="What they want to add.", max_length=2_000)


@router.get("/alarms", summary="Standing alarms")
def alarms(
    ctx: Ctx,
    state: Annotated[State | None, Query(description="Only in this state.")] = None,
    priority: Annotated[int | None, Query(description="Only of this priority, 1 to 4.", ge=1, le=4)] = None,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
) -> Page[AlarmBody]:
    """Everything that is not normal: the most urgent first, among equals the newest first."""
    found = [
        view
        for view in ctx.engine.standing()
        if (state is None or view.state is state)
        and (priority is None or view.priority == priority)
        and (site is None or view.site == site)
        and (asset is None or view.asset == asset)
    ]
    page, following = cut(found, _order, cursor, limit)
    items = [alarm_body(ctx.watch.plant, view) for view in page]
    return Page(items=items, total=len(found), next_cursor=following)


@router.get("/alarms/{alarm_id}", summary="One alarm with its history")
async def alarm(ctx: Ctx, alarm_id: AlarmId) -> AlarmBody:
    """One standing alarm, its evidence, its rationale and what became of it so far."""
    view = ctx.engine.find(alarm_id)
    if view is None:
        raise await _gone(ctx, alarm_id)
    return await _with_history(ctx, view)


@router.post(
    "/alarms/{alarm_id}/acknowledge",
    summary="Acknowledge an alarm",
    responses={409: {"model": Problem, "description": "Somebody was faster; `alarm` shows who."}},
)
async def acknowledge(ctx: Ctx, alarm_id: AlarmId, said: Acknowledgement) -> AlarmBody:
    """Says that somebody knows. Kept for good with name and time. 409 when somebody said so before."""
    if not said.by.strip():
        raise bad("body.by", "Say who acknowledges.")
    before = ctx.engine.find(alarm_id)
    try:
        transition = await ctx.engine.acknowledge(alarm_id, said.by.strip(), said.comment.strip(), ctx.clock())
    except UnknownAlarm:
        raise await _gone(ctx, alarm_id) from None
    except AlreadyAcknowledged as error:
        view = ctx.engine.find(alarm_id)
        shown = {"alarm": alarm_body(ctx.watch.plant, view).model_dump(mode="json")} if view else {}
        raise Wrong(409, "Already acknowledged", str(error), more=shown) from error
    ctx.watch.say([transition])
    view = ctx.engine.find(alarm_id)
    if view is not None:
        return await _with_history(ctx, view)
    # It had returned before: acknowledged, it is over.
    if before is None:
        raise await _gone(ctx, alarm_id)
    return alarm_body(ctx.watch.plant, before, over=True)


async def _with_history(ctx: Context, view: AlarmView) -> AlarmBody:
    changes = await ctx.engine.history(HistoryQuery(occurrence=view.id))
    body = alarm_body(ctx.watch.plant, view)
    return body.model_copy(update={"history": [transition_body(change) for change in reversed(changes)]})


async def _gone(ctx: Context, alarm_id: str) -> Wrong:
    if await ctx.engine.history(HistoryQuery(occurrence=alarm_id, limit=1)):
        return Wrong(404, "Not found", f"Alarm {alarm_id} is over. GET /alarms lists what stands.")
    return not_found(f"alarm {alarm_id}", "GET /alarms lists what stands.")


def _order(view: AlarmView) -> list[str | int]:
    return [int(view.priority), -round(view.since.timestamp() * 1e6), view.id]
