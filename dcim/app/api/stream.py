"""The event stream: alarms, last values and the hall's map, as server-sent events.

Lives here: the route and what a listener is told first. Not here: the fan-out (hub.py), what is told later
(watch.py)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES, Wrong, bad
from dcim.app.hub import LISTENERS_MAX, event

router = APIRouter(tags=["stream"], responses=RESPONSES)

TOPICS = ("alarms", "latest", "hall")


@router.get(
    "/stream",
    summary="Live events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events."}},
)
async def stream(
    ctx: Ctx,
    include: Annotated[
        str, Query(description="Which of alarms, latest and hall, with commas between.", examples=["alarms,hall"])
    ] = "alarms,latest",
) -> StreamingResponse:
    """Server-sent events without end.

    `hello` first; `alarms`: all that stand, on connect; `alarm`: one that changed (state "normal": it is over);
    `transitions`: every change of every alarm, hidden ones too, as GET /transitions has them;
    `latest`: {"at", "points", "times", "values", "qualities"}: what arrived in the last second, as columns; `hall`:
    racks and CDUs whose values changed; `plant`: points or assets were added, fetch them anew; `pulse`: every second,
    so that silence means a lost stream; `lost`: this listener read too slowly and missed so many events."""
    topics = frozenset(part.strip() for part in include.split(",") if part.strip())
    unknown = topics - set(TOPICS)
    if unknown or not topics:
        raise bad("query.include", f"{include!r}: allowed are {', '.join(TOPICS)}.")
    if len(ctx.hub) >= LISTENERS_MAX:
        raise Wrong(503, "Not now", f"There are {LISTENERS_MAX} listeners already. Close one.")
    first = [event("hello", {"at": ctx.clock()})]
    if "alarms" in topics:
        bodies = [msgspec.Raw(ctx.watch.worded(view)) for view in ctx.engine.standing()]
        first.append(event("alarms", {"items": bodies}))
    if "hall" in topics:
        first.append(event("hall", ctx.watch.hall_now()))
    return StreamingResponse(
        ctx.hub.listen(topics | {"pulse"}, first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
