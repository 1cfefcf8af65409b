"""The inventory: what stands where, what it is rated for, who says so, and where they differ.

Lives here: the routes and their bodies. Not here: how it is put together (dcim.core.claims)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app.api.answers import JSON, answer
from dcim.app.api.context import Context, Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.problems import RESPONSES
from dcim.core.claims import claims_of
from dcim.core.inventory import Inventory, Named, Origin, ThingKind

router = APIRouter(tags=["inventory"], responses=RESPONSES)

KEEP_S = 3_600.0
"""For how long an answer is given again while nothing changes."""

Kind = Annotated[ThingKind | None, Query(description="Only of this kind.")]
Site = Annotated[str | None, Query(description="Only of this site.", examples=["demo"], max_length=64)]


class GivenBody(BaseModel):
    """One figure and who gave it."""

    value: Any = Field(description="As in an inventory file; factors over time as [since, value] pairs.")
    origin: Origin = Field(description="toml: the settings. netbox. bus: metadata.")


class ThingBody(BaseModel):
    """One thing of the inventory."""

    kind: ThingKind
    site: str = Field(description="Empty for products.")
    id: str = Field(description="Of a row hall/row, of a site its own.")
    figures: dict[str, GivenBody] = Field(description="Every figure that somebody gave; the others are not known.")


class SaidBody(BaseModel):
    """Who says what."""

    origin: Origin
    value: str


class ConflictBody(BaseModel):
    """A difference that somebody has to put right."""

    kind: ThingKind
    site: str
    id: str
    figure: str = Field(description="Empty where it is about the thing as such.")
    said: list[SaidBody] = Field(description="Who says what; the first is what counts meanwhile.")
    why: str


@router.get("/inventory", summary="Inventory", response_model=Page[ThingBody])
async def inventory(
    request: Request, ctx: Ctx, kind: Kind = None, site: Site = None, cursor: Cursor = None, limit: Limit = 1_000
) -> Response:
    """What stands where and what it is rated for, with who said each figure: the settings, NetBox, or the bus."""
    return await _kept(request, ctx, lambda: _inventory(ctx, kind, site, cursor, limit))


def _inventory(
    ctx: Context, kind: ThingKind | None, site: str | None, cursor: str | None, limit: int
) -> Page[ThingBody]:
    found = [
        thing
        for thing in _things(ctx.planning.inventory)
        if (kind is None or thing.kind is kind) and (site is None or thing.site == site)
    ]
    page, following = cut(found, lambda thing: [thing.kind, thing.site, thing.id], cursor, limit)
    return Page(items=page, total=len(found), next_cursor=following)


@router.get("/inventory/conflicts", summary="Conflicts of the inventory", response_model=Page[ConflictBody])
async def conflicts(request: Request, ctx: Ctx, cursor: Cursor = None, limit: Limit = 1_000) -> Response:
    """Where settings, NetBox and bus differ, and what cannot all be so. None is settled in silence: what counts
    meanwhile is what the settings say, then NetBox, then the bus."""
    return await _kept(request, ctx, lambda: _conflicts(ctx, cursor, limit))


def _conflicts(ctx: Context, cursor: str | None, limit: int) -> Page[ConflictBody]:
    found = sorted(ctx.planning.inventory.conflicts, key=lambda conflict: (conflict.what, conflict.why))
    page, following = cut(
        found, lambda one: [one.what.kind, one.what.site, one.what.id, one.what.field, one.why], cursor, limit
    )
    items = [
        ConflictBody(
            kind=one.what.kind,
            site=one.what.site,
            id=one.what.id,
            figure=one.what.field,
            said=[SaidBody(origin=origin, value=value) for origin, value in one.said],
            why=one.why,
        )
        for one in page
    ]
    return Page(items=items, total=len(found), next_cursor=following)


async def _kept(request: Request, ctx: Context, make: Callable[[], BaseModel]) -> Response:
    """An answer that is right until the inventory changes, with its ETag."""
    version = await run_in_threadpool(lambda: ctx.planning.version)
    return await answer(request, (version,), ctx.clock.us(), KEEP_S, lambda: (make().model_dump_json().encode(), JSON))


def _things(inventory: Inventory) -> list[ThingBody]:
    found: dict[Named, dict[str, GivenBody]] = {}
    for claim in claims_of(inventory):
        figures = found.setdefault(claim.what._replace(field=""), {})
        if claim.what.field:
            figures[claim.what.field] = GivenBody(value=claim.value, origin=claim.origin)
    return [
        ThingBody(kind=what.kind, site=what.site, id=what.id, figures=figures)
        for what, figures in sorted(found.items())
    ]
