"""Notices over the API: what waits, what was delivered with which proof, what is dead; receivers and calendars.

Lives here: the routes and their bodies. Not here: how news is kept and sent (alerts.outbox)."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from alerts import notices
from alerts.outbox import LETTERS_MAX, Letter, Outcome
from dcim.app.api.context import Ctx
from dcim.app.api.people import Name, name_of, origin_of
from dcim.app.api.problems import RESPONSES, Problem, Wrong, not_found
from dcim.core.errors import Permanent, Transient

log = structlog.get_logger()

router = APIRouter(prefix="/notices", tags=["alarms"], responses=RESPONSES)

Number = Annotated[int, Field(ge=1, le=2**62)]


class NewsBody(BaseModel):
    """A piece of news for one receiver."""

    number: int = Field(description="Its place in the outbox.")
    key: str = Field(description="The same for every attempt to send it.")
    receiver: str
    outcome: Outcome
    reason: str | None = Field(description="Why it is dead; null where it is not.")
    message: str | None = Field(description="Key of the message that it was, or will be, part of.")
    tries: int = Field(description="How often that message was tried.")
    said: str = Field(description="What the other end said when it took it, which is the proof; or the last error.")
    made_at: datetime
    due_at: datetime = Field(description="Not before.")
    done_at: datetime | None = Field(description="When it was taken, or given up.")
    alarm: str = Field(description="Id of the alarm.")
    news: notices.News
    priority: str
    title: str
    site: str
    asset: str
    thread: str


class NewsPage(BaseModel):
    """One page of the outbox."""

    items: list[NewsBody]
    next_cursor: int | None = Field(description="Pass it as `before` for the next page; null at the end.")


class ReceiverBody(BaseModel):
    """Whoever can be told, and how that goes. Counts are of pieces of news, since the start."""

    name: str
    zone: str
    quiet: bool = Field(description="Whether what is not critical waits at present.")
    waiting: int = Field(description="At present, what quiet hours hold back among it.")
    sent: int
    retried: int = Field(description="Messages that were not taken at once.")
    dead: dict[str, int] = Field(description="By reason.")
    failing_since: datetime | None = Field(description="Since when nothing reaches it; null where the last try did.")
    failing: str = Field(description='What the last try failed by; "" where it did not.')


class CalendarBody(BaseModel):
    """A calendar of who is on call."""

    name: str
    receivers: list[str] = Field(description="Who would be told now.")
    remark: str = Field(description='What they would be told about that: "Nobody is on call by …".')
    read_at: datetime | None = Field(description="When it was last read; null where it never was.")
    failing: str = Field(description='Why it could not be read at the last try; "" where it could.')
    events: int = Field(description="Shifts and series of them.")
    left_out: int = Field(description="Events that were not understood.")
    problems: list[str] = Field(description="Why, a line for each event.")


class Retrying(BaseModel):
    """Which dead news is to be sent after all."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    numbers: list[Number] = Field(min_length=1, max_length=LETTERS_MAX)


class Retried(BaseModel):
    """What became of that."""

    taken: list[int] = Field(description="Numbers of what will be sent again.")
    left: list[int] = Field(description="Those of what is not dead, is not there, or whose receiver is gone.")


class Trial(BaseModel):
    """Who tries out a receiver."""

    model_config = ConfigDict(extra="forbid")

    by: Name


class Proof(BaseModel):
    """That a test was taken."""

    key: str = Field(description="The key that the test was sent with.")
    said: str = Field(description="What the other end said.")


@router.get("", summary="The outbox")
async def outbox(
    ctx: Ctx,
    receiver: Annotated[
        str | None,
        Query(description="Only what is for this receiver.", max_length=64, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"),
    ] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what has become that.")] = None,
    before: Annotated[
        int | None,
        Query(description="`next_cursor` of the page before; leave it out for the first page.", ge=0, le=2**62),
    ] = None,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=LETTERS_MAX)] = 100,
) -> NewsPage:
    """News that is to be sent, was delivered, or is dead, newest first: the last 200,000 of what is done."""
    found = await ctx.outbox.letters(receiver, outcome, before, limit)
    following = found[-1].number if len(found) == limit and found[-1].number > 1 else None
    return NewsPage(items=[_body(letter) for letter in found], next_cursor=following)


@router.get("/receivers", summary="Whoever can be told")
async def receivers(ctx: Ctx) -> list[ReceiverBody]:
    """In the order of the settings."""
    told, at = ctx.outbox.sending, ctx.clock()
    failing = ctx.outbox.failing
    return [
        ReceiverBody(
            name=one.name,
            zone=one.zone,
            quiet=one.quiet is not None and one.quiet.hold(at),
            waiting=told.waiting.get(one.name, 0),
            sent=told.sent.get(one.name, 0),
            retried=told.retried.get(one.name, 0),
            dead={reason.value: count for (name, reason), count in told.dead.items() if name == one.name},
            failing_since=failing[one.name].since if one.name in failing else None,
            failing=failing[one.name].why if one.name in failing else "",
        )
        for one in ctx.outbox.receivers
    ]


@router.get("/calendars", summary="Who is on call")
async def calendars(ctx: Ctx) -> list[CalendarBody]:
    """By each calendar, now."""
    bodies = []
    for rota in ctx.duty.rotas:
        known, on_call = ctx.duty.known[rota.name], ctx.duty.on_call(rota.name, ctx.clock())
        calendar = known.calendar
        bodies.append(
            CalendarBody(
                name=rota.name,
                receivers=list(on_call.receivers),
                remark=on_call.remark,
                read_at=known.read_at,
                failing=known.failing,
                events=len(calendar.events) if calendar else 0,
                left_out=calendar.left_out if calendar else 0,
                problems=list(calendar.problems) if calendar else [],
            )
        )
    return bodies


@router.post("/retry", summary="Send dead news after all")
async def retry(ctx: Ctx, request: Request, said: Retrying) -> Retried:
    """With the key that it had: a receiver that remembers keys, and has it, has it once. Its three days begin anew."""
    by = name_of(said.by)
    taken = await ctx.outbox.retry(said.numbers)
    log.info("dead news is sent after all", by=by, origin=origin_of(request), numbers=taken)
    return Retried(taken=taken, left=sorted(set(said.numbers) - set(taken)))


@router.post(
    "/receivers/{receiver}/test",
    summary="Try out a receiver",
    responses={
        502: {"model": Problem, "description": "It did not take it.", "content": {"application/problem+json": {}}}
    },
)
async def test(
    ctx: Ctx, request: Request, receiver: Annotated[str, Path(description="Its name.", max_length=64)], said: Trial
) -> Proof:
    """Sends a notice that says of itself that it is a test, past everything that waits and at any hour. It stands in no
    outbox, and is not tried again."""
    if receiver not in {one.name for one in ctx.outbox.receivers}:
        raise not_found(f"receiver {receiver}", "GET /notices/receivers lists them.")
    by, key = name_of(said.by), uuid.uuid4().hex
    log.info("a receiver is tried out", by=by, origin=origin_of(request), receiver=receiver, key=key)
    try:
        proof = await ctx.outbox.trial(notices.trial(receiver, key, ctx.clock(), by, ctx.outbox.console))
    except (Transient, Permanent) as error:
        raise Wrong(502, "Not taken", str(error)) from error
    return Proof(key=key, said=proof)


def _body(letter: Letter) -> NewsBody:
    item = letter.item
    return NewsBody(
        number=letter.number,
        key=letter.key,
        receiver=letter.receiver,
        outcome=letter.outcome,
        reason=letter.state if letter.outcome is Outcome.DEAD else None,
        message=letter.message or None,
        tries=letter.tries,
        said=letter.said,
        made_at=letter.made,
        due_at=letter.due,
        done_at=letter.done,
        alarm=item.alarm,
        news=item.news,
        priority=item.priority.word,
        title=item.title,
        site=item.site,
        asset=item.asset,
        thread=item.thread,
    )
