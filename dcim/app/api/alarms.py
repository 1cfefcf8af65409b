"""Alarms: what stands, one of them with its history, and what people do to them.

Lives here: the routes. Not here: states and rules (alerts), the bodies (dcim.app.views), maintenance windows
(maintenance.py)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from alerts.engine import AlarmView, AlreadyAcknowledged, Changed, UnknownAlarm
from alerts.journal import HistoryQuery
from alerts.lifecycle import (
    HIDDEN,
    Acknowledge,
    Act,
    Alarm,
    Assign,
    BringBack,
    Close,
    ClosingCause,
    Comment,
    Mistaken,
    Occurrence,
    Reset,
    Shelve,
    State,
    TakeOut,
    Unshelve,
)
from dcim.app.api.context import Context, Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.people import Name, name_of, origin_of
from dcim.app.api.plant import AssetFilter, SiteFilter
from dcim.app.api.problems import RESPONSES, Problem, Wrong, bad, not_found
from dcim.app.views import AlarmBody, TransitionBody, alarm_body, transition_body
from dcim.core.errors import DcimError
from dcim.core.times import to_us

router = APIRouter(tags=["alarms"], responses=RESPONSES)

IDS_MAX = 2_000
"""Alarms of one act that names them."""

AlarmId = Annotated[str, Path(description="Id of the alarm.", max_length=128)]
StateFilter = Annotated[
    list[State] | None, Query(description="Only in this state; may be given several times.", max_length=len(State))
]
PriorityFilter = Annotated[
    list[Annotated[int, Field(ge=1, le=4)]] | None,
    Query(description="Only of this priority, 1 to 4; may be given several times.", max_length=4),
]
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {
        "model": Problem,
        "description": "Somebody was faster, or its state does not allow it: `alarm` shows how it stands, `changes` "
        "what has changed since the version that was sent.",
        "content": {"application/problem+json": {}},
    }
}


class Person(BaseModel):
    """Who does something."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    version: int | None = Field(
        default=None,
        description="`version` of the alarm as it was seen: when it has changed since, nothing is done (409).",
    )


class Said(Person):
    """Who does something, and what they add."""

    comment: str = Field(default="", description="What they want to add.", max_length=2_000)


class Reasoned(Person):
    """Who does something, and why."""

    reason: str = Field(description="Why. Kept for good.", min_length=1, max_length=2_000)


class Shelf(Reasoned):
    """Who puts an alarm aside, why, and for how long."""

    for_s: float = Field(
        description="For how long, seconds: up to 1 h for what is critical, 4 h for high, 12 for medium, 72 for low.",
        gt=0,
        le=259_200,
        allow_inf_nan=False,
        examples=[3600],
    )


class Remark(Person):
    """Who says what."""

    comment: str = Field(description="What.", min_length=1, max_length=2_000)


class Assignment(Said):
    """Who gives it to whom."""

    to: str = Field(description="Whose it is from now on; empty: nobody's.", max_length=200)


class Closing(Said):
    """Who says what it was."""

    cause: ClosingCause = Field(description="What it was.")


class Several(BaseModel):
    """Who acknowledges which alarms: those named, or all that match and that had begun when the list was seen."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    comment: str = Field(default="", description="What they want to add.", max_length=2_000)
    ids: list[Annotated[str, Field(max_length=128)]] | None = Field(
        default=None, description="These.", max_length=IDS_MAX
    )
    seen_at: AwareDatetime | None = Field(
        default=None, description="Instead of ids: everything unacknowledged that began before this instant."
    )
    site: str | None = Field(default=None, description="With seen_at: only of this site.", max_length=64)
    asset: str | None = Field(default=None, description="With seen_at: only of this asset.", max_length=512)
    priority: int | None = Field(default=None, description="With seen_at: only of this priority.", ge=1, le=4)


class RefusalBody(BaseModel):
    """An alarm to which it was not done."""

    id: str
    detail: str = Field(description="Why.")


class SeveralDone(BaseModel):
    """What became of it."""

    done: int = Field(description="Alarms to which it was done. The event stream brings them.")
    refused: list[RefusalBody]


class TransitionsPage(BaseModel):
    """Some of the journal, newest first."""

    items: list[TransitionBody]
    next_cursor: int | None = Field(description="Pass it as `before` for the next page; null at the end.")


@router.get("/alarms", summary="Standing alarms", response_model=Page[AlarmBody])
async def alarms(
    ctx: Ctx,
    state: StateFilter = None,
    priority: PriorityFilter = None,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    start: Annotated[AwareDatetime | None, Query(description="Only those that began then or later.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="Only those that began before then.")] = None,
    sort: Annotated[
        Literal["urgency", "newest", "oldest"],
        Query(description="urgency: what was put aside comes last, the most urgent first, among equals the newest."),
    ] = "urgency",
    cursor: Cursor = None,
    limit: Limit = 1_000,
) -> Response:
    """Everything that is not normal, and that the design does not hide: `state=suppressed` asks for that."""
    found: list[_Listed] = []
    for one in ctx.engine.alarms(suppressed=state is not None and State.SUPPRESSED in state):
        occurrence = one.occurrence
        if (
            occurrence is not None
            and (state is None or one.state in state)
            and (priority is None or occurrence.priority in priority)
            and (site is None or one.key.subject.site == site)
            and (asset is None or one.key.subject.asset == asset)
            and (start is None or occurrence.since >= start)
            and (end is None or occurrence.since < end)
        ):
            found.append((one, occurrence))
    if sort != "urgency":
        found.sort(key=ORDERS[sort])
    page, following = cut(found, ORDERS[sort], cursor, limit)
    views = (ctx.engine.view(one) for one, _ in page)
    items = [msgspec.Raw(ctx.watch.worded(view)) for view in views if view is not None]
    content = msgspec.json.encode({"items": items, "total": len(found), "next_cursor": following})
    return Response(content, media_type="application/json")


@router.get("/alarms/{alarm_id}", summary="One alarm with its history")
async def alarm(ctx: Ctx, alarm_id: AlarmId) -> AlarmBody:
    """One standing alarm, its evidence, its rationale and what became of it so far."""
    view = ctx.engine.find(alarm_id)
    if view is None:
        raise await _gone(ctx, alarm_id)
    return await _with_history(ctx, view)


@router.get("/alarms/{alarm_id}/history", summary="What became of one alarm")
async def alarm_history(ctx: Ctx, alarm_id: AlarmId) -> list[TransitionBody]:
    """Its changes, oldest first, also where it is over. The newest 10,000 of them."""
    changes = await ctx.engine.history(HistoryQuery(occurrence=alarm_id, limit=10_000))
    if not changes:
        raise not_found(f"alarm {alarm_id}", "GET /transitions shows what there was.")
    return [transition_body(change) for change in reversed(changes)]


@router.get("/transitions", summary="The journal of alarms")
async def transitions(
    ctx: Ctx,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    start: Annotated[AwareDatetime | None, Query(description="start ≤ at.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="at < end.")] = None,
    before: Annotated[
        int | None,
        Query(description="`next_cursor` of the page before; leave it out for the first page.", ge=0, le=2**62),
    ] = None,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=10_000)] = 200,
) -> TransitionsPage:
    """Every change of every alarm, newest first: also what was hidden, by what and why, and what people did."""
    found = await ctx.engine.history(
        HistoryQuery(site=site, asset=asset, start=start, end=end, before=before, limit=limit)
    )
    following = found[-1].seq if len(found) == limit and found[-1].seq > 1 else None
    return TransitionsPage(items=[transition_body(change) for change in found], next_cursor=following)


@router.post("/alarms/acknowledge", summary="Acknowledge several alarms")
async def acknowledge_several(ctx: Ctx, request: Request, said: Several) -> SeveralDone:
    """One write, however many there are. What has begun since `seen_at` nobody can have seen: it stays as it is."""
    if (said.ids is None) == (said.seen_at is None):
        raise bad("body.ids", "Send either ids or seen_at.")
    ids = said.ids
    if ids is None:
        assert said.seen_at is not None  # noqa: S101  checked above
        ids = [
            view.id
            for view in ctx.engine.standing()
            if view.state in WAITING
            and view.since < said.seen_at
            and (said.site is None or view.site == said.site)
            and (said.asset is None or view.asset == said.asset)
            and (said.priority is None or view.priority == said.priority)
        ]
    act = Acknowledge(name_of(said.by), said.comment.strip(), origin_of(request))
    try:
        done = await ctx.engine.act([(alarm_id, None) for alarm_id in dict.fromkeys(ids)], act, ctx.clock())
    except Mistaken as error:
        raise bad(f"body.{error.where}", f"{error.what}.") from error
    ctx.watch.say(done.transitions)
    refused = [RefusalBody(id=alarm_id, detail=str(why)) for alarm_id, why in done.refused]
    return SeveralDone(done=len(done.transitions), refused=refused)


@router.post("/alarms/{alarm_id}/acknowledge", summary="Acknowledge an alarm", responses=CONFLICT)
async def acknowledge(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Said) -> AlarmBody:
    """Says that somebody knows. Kept for good with name, time and address. 409 when somebody said so before."""
    return await _do(ctx, alarm_id, said, Acknowledge(name_of(said.by), said.comment.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/comment", summary="Comment on an alarm", responses=CONFLICT)
async def comment(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Remark) -> AlarmBody:
    """Adds to its history."""
    return await _do(ctx, alarm_id, said, Comment(name_of(said.by), said.comment.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/assign", summary="Assign an alarm", responses=CONFLICT)
async def assign(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Assignment) -> AlarmBody:
    """Says whose it is."""
    act = Assign(name_of(said.by), said.to.strip(), said.comment.strip(), origin_of(request))
    return await _do(ctx, alarm_id, said, act)


@router.post("/alarms/{alarm_id}/shelve", summary="Shelve an alarm", responses=CONFLICT)
async def shelve(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Shelf) -> AlarmBody:
    """Puts it aside for a time. It comes back by itself: unacknowledged where it still stands, and at once where it
    becomes more urgent. One that is shelved already gets the new time."""
    until = ctx.clock() + timedelta(seconds=said.for_s)
    return await _do(ctx, alarm_id, said, Shelve(name_of(said.by), said.reason.strip(), until, origin_of(request)))


@router.post("/alarms/{alarm_id}/unshelve", summary="Take an alarm off the shelf", responses=CONFLICT)
async def unshelve(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Said) -> AlarmBody:
    """Before its time is over. Unacknowledged where it still stands."""
    return await _do(ctx, alarm_id, said, Unshelve(name_of(said.by), said.comment.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/out-of-service", summary="Take an alarm out of service", responses=CONFLICT)
async def out_of_service(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Reasoned) -> AlarmBody:
    """For what is broken or under repair: until somebody brings it back."""
    return await _do(ctx, alarm_id, said, TakeOut(name_of(said.by), said.reason.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/return-to-service", summary="Return an alarm to service", responses=CONFLICT)
async def return_to_service(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Said) -> AlarmBody:
    """Unacknowledged where it still stands."""
    return await _do(ctx, alarm_id, said, BringBack(name_of(said.by), said.comment.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/reset", summary="Reset a latched alarm", responses=CONFLICT)
async def reset(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Said) -> AlarmBody:
    """Lets a latched alarm go that is acknowledged and whose condition is gone."""
    return await _do(ctx, alarm_id, said, Reset(name_of(said.by), said.comment.strip(), origin_of(request)))


@router.post("/alarms/{alarm_id}/close", summary="Close an alarm", responses=CONFLICT)
async def close(ctx: Ctx, request: Request, alarm_id: AlarmId, said: Closing) -> AlarmBody:
    """Says what it was, and lets it go. 409 while its condition stands."""
    act = Close(name_of(said.by), said.cause, said.comment.strip(), origin_of(request))
    return await _do(ctx, alarm_id, said, act)


async def _do(ctx: Context, alarm_id: str, said: Person, act: Act) -> AlarmBody:
    """Does it, puts it onto the stream, and answers how the alarm stands then."""
    before = ctx.engine.find(alarm_id)
    try:
        done = await ctx.engine.act([(alarm_id, said.version)], act, ctx.clock())
    except Mistaken as error:
        raise bad(f"body.{error.where}", f"{error.what}.") from error
    for _, refusal in done.refused:
        raise await _refusal(ctx, alarm_id, refusal)
    ctx.watch.say(done.transitions)
    view = ctx.engine.find(alarm_id)
    if view is not None:
        return await _with_history(ctx, view)
    if before is None:
        raise await _gone(ctx, alarm_id)
    return alarm_body(ctx.watch.plant, before, over=True)  # its condition was gone: that was the end of it


async def _refusal(ctx: Context, alarm_id: str, error: DcimError) -> Wrong:
    if isinstance(error, UnknownAlarm):
        return await _gone(ctx, alarm_id)
    if isinstance(error, Mistaken):
        return bad(f"body.{'for_s' if error.where == 'until' else error.where}", f"{error.what}.")
    view = ctx.engine.find(alarm_id)
    more: dict[str, Any] = {}
    if view is not None:
        more["alarm"] = alarm_body(ctx.watch.plant, view).model_dump(mode="json")
    if isinstance(error, Changed):
        query = HistoryQuery(occurrence=alarm_id, after=max(0, min(error.version, 2**62)))
        changes = await ctx.engine.history(query)
        more["changes"] = [transition_body(change).model_dump(mode="json") for change in reversed(changes)]
        return Wrong(409, "Changed since", str(error), more=more)
    title = "Already acknowledged" if isinstance(error, AlreadyAcknowledged) else "Not in this state"
    return Wrong(409, title, str(error), more=more)


async def _with_history(ctx: Context, view: AlarmView) -> AlarmBody:
    changes = await ctx.engine.history(HistoryQuery(occurrence=view.id))
    body = alarm_body(ctx.watch.plant, view)
    return body.model_copy(update={"history": [transition_body(change) for change in reversed(changes)]})


async def _gone(ctx: Context, alarm_id: str) -> Wrong:
    if await ctx.engine.history(HistoryQuery(occurrence=alarm_id, limit=1)):
        return Wrong(404, "Not found", f"Alarm {alarm_id} is over. GET /alarms lists what stands.")
    return not_found(f"alarm {alarm_id}", "GET /alarms lists what stands.")


WAITING = frozenset({State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED})
"""States in which an acknowledgement is waited for."""


_Listed: TypeAlias = tuple[Alarm, Occurrence]


def _urgency(one: _Listed) -> list[str | int]:
    alarm, occurrence = one
    return [int(alarm.state in HIDDEN), int(occurrence.priority), -to_us(occurrence.since), occurrence.id]


def _newest(one: _Listed) -> list[str | int]:
    return [-to_us(one[1].since), one[1].id]


def _oldest(one: _Listed) -> list[str | int]:
    return [to_us(one[1].since), one[1].id]


ORDERS = {"urgency": _urgency, "newest": _newest, "oldest": _oldest}
