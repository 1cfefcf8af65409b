"""The event stream: alarms, last values and the hall's map, as server-sent events.

Lives here: the route and what a listener is told first. Not here: the fan-out (hub.py), what is told later
(watch.py)."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from starlette.types import Receive, Scope, Send

from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES, Wrong, bad
from dcim.app.hub import LISTENERS_MAX, Hub, Listener, event

router = APIRouter(tags=["stream"], responses=RESPONSES)

TOPICS = ("alarms", "latest", "hall")


@router.get(
    "/stream",
    summary="Live events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events."}},
)
async def stream(
    ctx: Ctx,
    include: Annotated[
        str, Query(description="Which of alarms, latest and hall, with commas between.", examples=["alarms,hall"])
    ] = "alarms,latest",
) -> Response:
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
    return _Events(ctx.hub, topics | {"pulse"}, b"".join(first))


class _Events(Response):
    """Events without end."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, topics: frozenset[str], first: bytes) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._topics, self._first = hub, topics, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  as ASGI has it
        """Sends until the client goes, or the service ends."""
        listener = self._hub.join(self._topics)
        gone = asyncio.create_task(_until_gone(receive, listener))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            while (data := await listener.get()) is not None:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._hub.leave(listener)
            gone.cancel()


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    listener.end()
