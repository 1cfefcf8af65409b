"""How well the alarm system works: one route.

Lives here: the route. Not here: the figures (alerts.kpis), their body (dcim.app.kpis)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from alerts.journal import TooMany
from alerts.kpis import of_transitions
from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES, bad
from dcim.app.kpis import KpisBody, report

router = APIRouter(tags=["alarms"], responses=RESPONSES)

DAYS = 30
"""How far back is looked when nothing is said."""
DAYS_MAX = 400
"""The longest period."""


@router.get("/alarms/kpis", summary="How well the alarm system works")
async def kpis(
    ctx: Ctx,
    start: Annotated[AwareDatetime | None, Query(description="30 days before the end if left out.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="Now if left out.")] = None,
    operators: Annotated[int, Query(description="How many are on duty at a time.", ge=1, le=100)] = 1,
) -> KpisBody:
    """Load, floods, standing, stale, chattering and fleeting alarms, bad actors, priorities, times to acknowledge and
    what was shelved, from the journal: what was shown to people, so not what the design hid."""
    until = end or ctx.clock()
    since = start or until - timedelta(days=DAYS)
    if not timedelta(0) < until - since <= timedelta(days=DAYS_MAX):
        raise bad("query.start", f"start must be before end, by {DAYS_MAX} days at most.")
    try:
        changes = await ctx.engine.log(since, until)
    except TooMany as error:
        raise bad("query.start", f"{error}") from error
    return await asyncio.to_thread(lambda: report(of_transitions(changes), since, until, operators))
