"""Cross-checks over the API: meters that measure one thing, and how far they are apart.

Lives here: the route and its bodies. Not here: which meters are compared, and how (dcim.capacity.checks)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from dcim.app import history
from dcim.app.api.answers import JSON, answer
from dcim.app.api.asking import End, LayoutNow, Start, Window, period_of, scopes_of
from dcim.app.api.context import Ctx
from dcim.app.api.figures import FigureBody, figure_body
from dcim.app.api.problems import RESPONSES
from dcim.capacity.checks import NAMED_MAX, Agreement, Checked, compare, pairs
from dcim.core.assets import AssetKey

router = APIRouter(tags=["capacity"], responses=RESPONSES)

KEEP_S, BLIND_S = 60.0, 10.0
"""For how long an answer is given again, and for how long without looking whether the inventory is the same."""


class CheckBody(BaseModel):
    """Two sides that measure one thing."""

    checked: Checked = Field(description="power: Σ power × time. heat: ρ·cp·V̇·ΔT of the streams. flow: coolant.")
    upper: list[str] = Field(
        description="What feeds, as scopes: tap-offs, a busway, a CDU.", examples=[["asset/demo/H1-CDU-1"]]
    )
    lower: list[str] = Field(description="What it feeds and nothing else does: a rack, taps, racks.")
    upper_mean: FigureBody = Field(description="Sum of the upper meters; mean over the time in which all are known.")
    lower_mean: FigureBody = Field(description="Sum of the lower meters over the same time.")
    difference_pct: FigureBody = Field(
        description="100 × (lower − upper) ÷ upper, %. Below 0, the lower meters miss something: losses, what is not "
        "metered, or a meter that is off. Which of the two is right, it cannot tell."
    )
    unmetered: list[str] = Field(description=f"Ids of both sides without a meter of their own, {NAMED_MAX} at most.")
    unmetered_total: int


class ChecksBody(BaseModel):
    """How far meters are apart that measure one thing."""

    start: AwareDatetime
    end: AwareDatetime
    zone: str
    resolution_s: int = Field(description="Width of the steps that it is made of, seconds.")
    items: list[CheckBody] = Field(description="The farthest apart first, then what cannot be told.")
    total: int = Field(description="How many there are beyond `limit` too.")
    compared: int = Field(description="How many of all could be compared.")


@router.get("/capacity/checks", summary="Meters that should agree", response_model=ChecksBody)
async def checks(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    scope: Annotated[
        str, Query(description="A site, hall, row or asset.", examples=["site/demo"], min_length=1, max_length=512)
    ],
    window: Window = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=2_000)] = 200,
) -> Response:
    """How far meters are apart that measure one thing: racks against their tap-offs, busways against their taps, CDUs
    against their racks (heat and coolant). What feeds and what is fed fall into groups that share nothing; of each, the
    two sums are compared over the time in which all of its meters are known.

    Who feeds whom is what bus and inventory say together. A group of which something is not metered cannot be
    compared, and says what lacks. Two meters of 0.5 % differ by 0.7 % (1σ); heat at a rise of 10 K by 2 % and more."""
    (chosen,) = scopes_of(layout, [scope])
    asked = period_of(ctx, layout, [chosen], window, start, end)

    def make() -> tuple[bytes, str]:
        found = pairs(layout, chosen)
        points = sorted({point for pair in found for point in pair.points})
        past = history.read(ctx.store, points, asked.period, peaks=False)
        told = compare(found, points, past.grid, asked.period)
        body = ChecksBody(
            start=asked.period.start,
            end=asked.period.end,
            zone=asked.zone,
            resolution_s=past.step_s,
            items=[_body(one) for one in told[:limit]],
            total=len(told),
            compared=sum(one.difference_pct.value is not None for one in told),
        )
        return body.model_dump_json().encode(), JSON

    return await answer(
        request, (layout.number, asked.period), layout.plant.version, ctx.clock.us(), KEEP_S, make, blind_s=BLIND_S
    )


def _body(one: Agreement) -> CheckBody:
    pair = one.pair
    return CheckBody(
        checked=pair.checked,
        upper=_scopes(pair.upper),
        lower=_scopes(pair.lower),
        upper_mean=figure_body(one.upper),
        lower_mean=figure_body(one.lower),
        difference_pct=figure_body(one.difference_pct),
        unmetered=list(pair.unmetered[:NAMED_MAX]),
        unmetered_total=len(pair.unmetered),
    )


def _scopes(keys: tuple[AssetKey, ...]) -> list[str]:
    return [f"asset/{key.site}/{key.id}" for key in keys]
