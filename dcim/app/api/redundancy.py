"""Whether 2N or N+1 is true right now.

Lives here: the route and its bodies. Not here: the judgement (dcim.capacity.redundancy)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from dcim.app.api.context import Context, Ctx
from dcim.app.api.figures import rounded
from dcim.app.api.places import Items, ScopeQuery, kept, parse, within
from dcim.app.api.problems import RESPONSES
from dcim.capacity import redundancy as standings
from dcim.capacity.headroom import Level, units
from dcim.capacity.redundancy import Holds, Standing
from dcim.core.inventory import Cooling

router = APIRouter(tags=["capacity"], responses=RESPONSES)


class StandingBody(BaseModel):
    """Redundancy of a rack's power or a group's cooling."""

    scope: str
    has: str = Field(description="By who hangs on whom: 2N, N+1, N; empty where nobody says.", examples=["2N"])
    wanted: str = Field(description="As the inventory says; empty where it does not.")
    holds: Holds = Field(description="Whether it stands any single loss right now; unknown is not yes.")
    weakest: str = Field(description="The point at which it fails first.", examples=["H1-A01-TAP-A"])
    margin_pct: float | None = Field(description="What the worst single loss leaves there, % of what it may carry.")
    why: str
    measured_pct: float = Field(description="Share of the loads behind it that meters on the feeds give, %.")


class HallRedundancyBody(BaseModel):
    """Redundancy of one hall; racks that stand in none come under the empty name."""

    scope: str
    power: Holds = Field(description="yes: every rack's holds. no: one does not. unknown: one cannot be told.")
    cooling: Holds
    racks: int
    by_power: dict[Holds, int] = Field(description="Racks by whether their redundancy holds.")
    weakest_power: StandingBody | None
    weakest_cooling: StandingBody | None


class RedundancyBody(BaseModel):
    """Whether 2N or N+1 is true right now."""

    at: datetime
    halls: list[HallRedundancyBody]
    items: list[StandingBody] = Field(description="Racks and cooling groups, weakest first.")
    total: int


@router.get("/redundancy", summary="Redundancy right now", response_model=RedundancyBody)
async def redundancy(request: Request, ctx: Ctx, scope: ScopeQuery = None, limit: Items = 200) -> Response:
    """Whether 2N or N+1 is true right now: two cords do not count where both come through one feed, where one has no
    voltage, or where the one that is left would be overloaded. Per rack and hall, the weakest point named."""
    return await kept(request, ctx, lambda: _redundancy(ctx, scope, limit))


def _redundancy(ctx: Context, scope: str | None, limit: int) -> RedundancyBody:
    picture = ctx.planning.picture()
    inside = {
        (unit.site, unit.id) for unit in within(picture, units(picture.inventory, picture.network, Level.RACK), scope)
    }
    racks = [
        one for one in standings.power(picture.network, picture.loads, picture.limits) if (one.site, one.id) in inside
    ]
    hall = parse(scope) if scope else None
    groups = [
        one
        for number, one in zip(
            (n for n, group in enumerate(picture.network.groups) if group.medium is Cooling.LIQUID),
            standings.cooling(picture.network, picture.limits),
            strict=True,
        )
        if hall is None
        or any(
            (rack.site, rack.id) in inside
            for rack in (picture.network.racks[r] for r in picture.network.groups[number].racks)
        )
    ]
    by_hall = dict(standings.halls(racks))
    cooled = dict(standings.halls(groups))
    ordered = [one for _, found in standings.halls([*racks, *groups]) for one in found]
    ordered.sort(key=lambda one: [Holds.NO, Holds.UNKNOWN, Holds.YES].index(one.holds))
    return RedundancyBody(
        at=picture.loads.at,
        halls=[
            HallRedundancyBody(
                scope=f"hall/{key[0]}/{key[1]}" if key[1] else f"site/{key[0]}",
                power=_all(by_hall.get(key, [])),
                cooling=_all(cooled.get(key, [])),
                racks=len(by_hall.get(key, [])),
                by_power={holds: sum(one.holds is holds for one in by_hall.get(key, [])) for holds in Holds},
                weakest_power=_standing(by_hall[key][0]) if by_hall.get(key) else None,
                weakest_cooling=_standing(cooled[key][0]) if cooled.get(key) else None,
            )
            for key in sorted(by_hall.keys() | cooled.keys())
        ],
        items=[_standing(one) for one in ordered[:limit]],
        total=len(ordered),
    )


def _standing(one: Standing) -> StandingBody:
    return StandingBody(
        scope=f"asset/{one.site}/{one.id}",
        has=one.has,
        wanted=one.wanted,
        holds=one.holds,
        weakest=one.weakest.at,
        margin_pct=rounded(one.weakest.margin_pct, 2),
        why=one.weakest.why,
        measured_pct=round(one.measured_pct, 1),
    )


def _all(found: Sequence[Standing]) -> Holds:
    held = {one.holds for one in found}
    if Holds.NO in held:
        return Holds.NO
    return Holds.YES if held == {Holds.YES} else Holds.UNKNOWN
