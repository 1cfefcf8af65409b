"""The ways of power: what each feed carries, phase by phase, and which racks hang on which.

Lives here: the routes and their bodies. Not here: the figures (dcim.capacity), what a loss does (POST
/capacity/what-if)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from dcim.app.api.context import Context, Ctx
from dcim.app.api.figures import rounded
from dcim.app.api.places import Items, ScopeQuery, asset_of, kept, no_place, within
from dcim.app.api.problems import RESPONSES
from dcim.capacity import redundancy as standings
from dcim.capacity.headroom import Level, units
from dcim.capacity.redundancy import Holds
from dcim.capacity.ways import Way, racks_behind, ways

router = APIRouter(tags=["capacity"], responses=RESPONSES)

Phases = list[float | None]


class WayBody(BaseModel):
    """One feed now. null where nobody can tell; `why` says what is lacking."""

    scope: str = Field(examples=["asset/demo/H1-BUS-A"])
    name: str
    hall: str
    side: str = Field(description="A or B of a pair that stand in for one another; empty where nobody says.")
    level: int = Field(description="Steps below a root: 0 for what nothing known feeds.")
    fed_by: list[str] = Field(description="Ids of the feeds that feed it directly.")
    racks: int = Field(description="Racks behind it, directly or not.")
    power_kw: float | None = Field(description="Active power of all phases, kW.")
    now_a: Phases = Field(description="Phases A, B, C now, A; the one of a single-phase feed.")
    after_a: Phases = Field(description="The same after the worst loss of any one feed.")
    usable_a: float | None = Field(description="What a phase may carry for hours: rating × continuous share (0.8).")
    rated_a: float | None = Field(description="Its breaker, per phase, A.")
    load_pct: float | None = Field(description="Its fullest phase, % of what that may carry for hours.")
    after_pct: float | None = Field(description="The same after the worst loss of any one feed; above 100: too much.")
    worst_if: str = Field(description="The feed whose loss that is; empty where none makes it worse.")
    imbalance_pct: float | None = Field(
        description="Largest distance of a phase from their mean, % of the mean; null below a tenth of the rating."
    )
    measured: bool = Field(description="By its own meter; else it is the sum of what hangs on it.")
    dead: bool = Field(description="Its meter says that it has no voltage.")
    why: str = Field(description="What is not known of it; empty where nothing is lacking.")


class WaysBody(BaseModel):
    """Feeds from the roots down; those that feed one rack and nothing else are told with their racks."""

    at: datetime
    items: list[WayBody]
    total: int
    taps: int = Field(description="How many feeds of one rack each are not among them.")


class CordsBody(BaseModel):
    """One rack and what it hangs on."""

    scope: str = Field(examples=["asset/demo/H1-A01"])
    name: str
    row: str
    position: int | None
    power_kw: float | None
    measured: bool = Field(description="By its own meter; else it is the sum of its feeds.")
    has: str = Field(description="By who hangs on whom: 2N, N+1, N; empty where nobody says.")
    holds: Holds = Field(description="Whether it stands any single loss right now; unknown is not yes.")
    weakest: str
    why: str
    feeds: list[WayBody] = Field(description="What it hangs on directly.")


class RackCordsBody(BaseModel):
    """Racks behind a feed."""

    at: datetime
    items: list[CordsBody]
    total: int


@router.get("/power", summary="Ways of power", response_model=WaysBody)
async def power(request: Request, ctx: Ctx, scope: ScopeQuery = None, limit: Items = 500) -> Response:
    """Feeds that racks of the scope hang on, from the roots down: what each carries phase by phase against its breaker,
    how uneven its phases are, and what it would carry after the worst loss of any one feed. What one given loss does is
    asked of `POST /capacity/what-if`. An answer may be two seconds old."""
    return await kept(request, ctx, lambda: _power(ctx, scope, limit))


@router.get("/power/racks", summary="Racks behind a feed", response_model=RackCordsBody)
async def power_racks(
    request: Request,
    ctx: Ctx,
    feed: Annotated[
        str, Query(description="The feed, as `asset/S/ID`.", examples=["asset/demo/H1-BUS-A"], max_length=512)
    ],
    limit: Items = 200,
) -> Response:
    """Racks that hang on a feed, directly or not, by row and position: what each of their own feeds carries, and
    whether their redundancy holds right now."""
    return await kept(request, ctx, lambda: _racks(ctx, feed, limit))


def _power(ctx: Context, scope: str | None, limit: int) -> WaysBody:
    picture = ctx.planning.picture()
    network = picture.network
    if scope is None:
        chosen = list(range(len(network.feeds)))
    else:
        found = within(picture, units(picture.inventory, network, Level.RACK), scope)
        racks = {unit.racks[0] for unit in found}
        behind = racks_behind(network)
        chosen = [feed for feed in range(len(network.feeds)) if behind[feed] & racks]
    taps = [feed for feed in chosen if network.tap[feed] and network.feeders[feed]]
    upper = [feed for feed in chosen if not (network.tap[feed] and network.feeders[feed])]
    return WaysBody(
        at=picture.loads.at,
        items=[_way(one) for one in ways(network, picture.loads, picture.worst, upper[:limit])],
        total=len(upper),
        taps=len(taps),
    )


def _racks(ctx: Context, feed: str, limit: int) -> RackCordsBody:
    picture = ctx.planning.picture()
    network, loads = picture.network, picture.loads
    key = asset_of(feed)
    if key is None or key not in network.feed_of:
        known = [f"asset/{one.site}/{one.id}" for one in network.feed_of]
        raise no_place(feed, known, "query.feed", "a feed, as asset/S/ID")
    numbers = sorted(
        racks_behind(network)[network.feed_of[key]],
        key=lambda number: (
            network.racks[number].place.id, network.racks[number].position or 0, network.racks[number].id,
        ),
    )  # fmt: skip
    shown = numbers[:limit]
    cords = {rack: network.cord_feed[network.cords_of(rack)].tolist() for rack in shown}
    needed = sorted({one for found in cords.values() for one in found})
    told = dict(zip(needed, ways(network, loads, picture.worst, needed), strict=True))
    standing = standings.power(network, loads, picture.limits)
    items = []
    for rack in shown:
        thing, one = network.racks[rack], standing[rack]
        items.append(
            CordsBody(
                scope=f"asset/{thing.site}/{thing.id}",
                name=thing.name or thing.id,
                row=thing.row,
                position=thing.position,
                power_kw=None if np.isnan(loads.rack_kw[rack]) else round(float(loads.rack_kw[rack]), 2),
                measured=bool(loads.rack_measured[rack]),
                has=one.has,
                holds=one.holds,
                weakest=one.weakest.at,
                why=one.weakest.why,
                feeds=[_way(told[feed]) for feed in cords[rack]],
            )
        )
    return RackCordsBody(at=loads.at, items=items, total=len(numbers))


def _way(one: Way) -> WayBody:
    feed = one.feed
    return WayBody(
        scope=f"asset/{feed.site}/{feed.id}",
        name=feed.name or feed.id,
        hall=feed.hall,
        side=feed.side,
        level=one.level,
        fed_by=list(one.fed_by),
        racks=one.racks,
        power_kw=rounded(one.power_kw, 2),
        now_a=[rounded(amps, 2) for amps in one.now_a],
        after_a=[rounded(amps, 2) for amps in one.after_a],
        usable_a=rounded(feed.usable_a, 2),
        rated_a=feed.rated_a,
        load_pct=rounded(one.load_pct, 2),
        after_pct=rounded(one.after_pct, 2),
        worst_if=one.worst_if,
        imbalance_pct=rounded(one.imbalance_pct, 2),
        measured=one.measured,
        dead=one.dead,
        why=one.why,
    )
