"""What fits where, and what happens when something fails: headroom, placement, what-if, stranded power.

Lives here: the routes, their parameters and bodies. Not here: the arithmetic (dcim.capacity), how a picture of now is
made (dcim.app.planning)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from dcim.app.api import checks
from dcim.app.api.context import Context, Ctx
from dcim.app.api.figures import FigureBody, figure_body, rounded, worked_out
from dcim.app.api.pages import Cursor, cut
from dcim.app.api.places import (
    Items,
    ScopeName,
    ScopeQuery,
    asset_of,
    kept,
    level_of,
    no_place,
    place_name,
    row_of,
    rows_of,
    scope_name,
    within,
)
from dcim.app.api.problems import RESPONSES
from dcim.app.planning import Picture
from dcim.capacity.failover import NOTHING
from dcim.capacity.headroom import Headroom, Level, Strain, Unit, headroom, units
from dcim.capacity.limits import FLOW_LPM_PER_KW, Limit, Resource
from dcim.capacity.loads import phase_amps
from dcim.capacity.placement import OWN_LIQUID_SHARE, RACKS_MAX, Redundancy, Seat, Wanted, place
from dcim.capacity.stranded import Cause, stranded
from dcim.capacity.what_if import Added, At, at_rating, what_if
from dcim.core.inventory import Cooling

router = APIRouter(tags=["capacity"], responses=RESPONSES)
router.include_router(checks.router)

LOST_MAX, ADDED_MAX = 1_000, 100
"""Things that one what-if loses, and rows that it adds racks to."""
SEATS_MAX = 5_000


class LimitBody(BaseModel):
    """One limit, and what it carries."""

    resource: Resource
    at: str = Field(description="Rack, feed or cooling unit, hall or hall/row, or site.", examples=["H1-BUS-A"])
    unit: str = Field(examples=["kW"])
    capacity: float | None = Field(
        description="What it may carry: of a feed √3 · V · A · continuous share · power factor, of a group of cooling "
        "units the sum of all but its spare ones."
    )
    load: float | None = Field(
        description="What it carries; of a feed 3 × its fullest phase, of `failover` after the worst single loss."
    )
    measured: bool = Field(description="Whether meters on it say so; else it is put together, see `why`.")
    why: str


class StrainBody(BaseModel):
    """Headroom over one resource."""

    resource: Resource
    headroom: FigureBody = Field(description="kW that racks may draw more before this stops them; space in positions.")
    tightest: LimitBody | None = Field(description="The limit that leaves least of what it may carry.")
    unknown: list[str] = Field(description="What is not known: the headroom may be less for it.")


class FeedBody(BaseModel):
    """One feed of a rack, phase by phase, A."""

    id: str
    side: str
    now_a: list[float | None] = Field(description="Phases A, B, C now; the one of a single-phase feed.")
    failover_a: list[float | None] = Field(description="The same after the worst single loss; null where not known.")
    usable_a: float | None = Field(description="What a phase may carry for hours: rating × continuous share (0.8).")
    rated_a: float | None
    measured: bool
    worst_if: str = Field(description="The feed whose loss is worst for it; empty where none makes it worse.")


class HeadroomBody(BaseModel):
    """Headroom of one place."""

    scope: str = Field(examples=["row/demo/Hall 1/A"])
    racks: int
    headroom: FigureBody = Field(description="kW that its racks may draw more together, over all resources but space.")
    binding: LimitBody | None = Field(description="What stops them first.")
    resources: list[StrainBody]
    feeds: list[FeedBody] = Field(description="Of a rack: what it hangs on.")


class CapacityBody(BaseModel):
    """Headroom, place by place."""

    at: datetime
    level: Level
    items: list[HeadroomBody]
    total: int
    next_cursor: str | None
    conflicts: int = Field(description="Conflicts of the inventory; GET /inventory/conflicts lists them.")


class PlacementAsk(BaseModel):
    """New racks, all alike."""

    model_config = ConfigDict(extra="forbid")

    racks: int = Field(ge=1, le=RACKS_MAX, examples=[4])
    power_kw: float = Field(gt=0, le=10_000, allow_inf_nan=False, description="Of each rack, kW.", examples=[120])
    cooling: Cooling = Cooling.LIQUID
    redundancy: Redundancy = Field(
        default=Redundancy.DOUBLE, description="2N: two ways that share nothing, each able to carry all. N+1: no way "
        "is shared by all. N: one feed."
    )  # fmt: skip
    spare_cooling: bool = Field(default=False, description="Whether a group with a spare unit has to cool it.")
    liquid_share: float | None = Field(
        default=None, ge=0, le=1, description=f"Share of its heat that goes into liquid; {OWN_LIQUID_SHARE} when left "
        "out. Not with air."
    )  # fmt: skip
    flow_lpm_per_kw: float = Field(
        default=FLOW_LPM_PER_KW, gt=0, le=100, allow_inf_nan=False,
        description="Coolant for each kW that goes into liquid, L/min; the default is PG25 at a rise of 10 K.",
    )  # fmt: skip
    scope: list[ScopeName] = Field(
        default=[], max_length=200, description="Sites, halls and rows to look in; everywhere when empty."
    )
    seats: int = Field(default=100, ge=0, le=SEATS_MAX, description="Positions to list at most, best first.")

    @model_validator(mode="after")
    def _at_one(self) -> PlacementAsk:
        if self.cooling is Cooling.AIR and (self.liquid_share or self.spare_cooling):
            raise ValueError("cooling is air, so liquid_share and spare_cooling do not go with it. Leave them out")
        return self


class SeatBody(BaseModel):
    """One free position."""

    row: str = Field(description="Its scope.", examples=["row/demo/Hall 1/A"])
    position: int
    fits: bool
    binding: Resource | None = Field(description="What leaves least, or stops it.")
    at: str = Field(description="Where that is.")
    margin_pct: float | None = Field(
        description="What would be left of what binds, % of its capacity; below 0 where it does not fit."
    )
    why: str = Field(description="In a sentence: what it takes of what is left where it binds, or what it lacks.")
    unknown: list[str] = Field(description="What is not known; a position does not fit while anything is.")
    assumed: str = Field(description="What is taken from its neighbours; empty where the inventory says it.")


class SilentBody(BaseModel):
    """A row without a seat."""

    row: str
    why: str


class PlacementBody(BaseModel):
    """Where new racks fit."""

    at: datetime
    wanted: int
    placed: int = Field(description="How many fit together.")
    chosen: list[SeatBody] = Field(description="Seats for those, in the order in which they were filled.")
    stopped: SeatBody | None = Field(description="What stopped the next one; null where all fit or no seat was left.")
    seats: list[SeatBody] = Field(description="Every free position judged for one rack on its own, best first.")
    seats_total: int
    fitting_total: int = Field(description="Of these, how many would take one rack.")
    silent: list[SilentBody] = Field(description="Rows without a seat.")


class StrandedBody(BaseModel):
    """Free power that cannot be used."""

    scope: str
    free: FigureBody = Field(description="What contracts, ratings of halls and heads of the way of power leave, kW.")
    usable: FigureBody = Field(description="Whole racks that fit, times their power, kW.")
    stranded: FigureBody = Field(description="free − usable, kW.")
    racks: int | None = Field(description=f"Racks that fit, {RACKS_MAX} at the most.")
    by_cause: dict[Cause, float] = Field(description="kW by cause; they add up to what is stranded.")
    why: list[str] = Field(description="Rows that were left out, and why.")


class Stranding(RootModel[list[StrandedBody]]):
    """Stranded power, hall by hall."""


class AddAsk(BaseModel):
    """Racks to add."""

    model_config = ConfigDict(extra="forbid")

    row: ScopeName = Field(description="Scope of the row.", examples=["row/demo/Hall 1/A"])
    racks: int = Field(ge=1, le=RACKS_MAX)
    power_kw: float = Field(gt=0, le=10_000, allow_inf_nan=False)
    cooling: Cooling = Cooling.LIQUID
    liquid_share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _at_one(self) -> AddAsk:
        if self.cooling is Cooling.AIR and self.liquid_share:
            raise ValueError("cooling is air, so liquid_share does not go with it. Leave it out")
        return self


class WhatIfAsk(BaseModel):
    """What is lost and what is added, all at once."""

    model_config = ConfigDict(extra="forbid")

    lose: list[ScopeName] = Field(
        default=[], max_length=LOST_MAX, description="Feeds and cooling units, as `asset/S/ID`.",
        examples=[["asset/demo/H1-BUS-A"]],
    )  # fmt: skip
    add: list[AddAsk] = Field(default=[], max_length=ADDED_MAX)
    at: At = Field(default=At.NOW, description="now: loads as they are. rated: every rack at its rated power.")

    @model_validator(mode="after")
    def _something(self) -> WhatIfAsk:
        if not self.lose and not self.add and self.at is At.NOW:
            raise ValueError('nothing is lost and nothing added. Name something in lose or add, or ask at "rated"')
        return self


class OverloadBody(BaseModel):
    """A feed that would carry more than it may."""

    feed: str = Field(examples=["asset/demo/H1-BUS-B"])
    load: FigureBody = Field(description="3 × its fullest phase, kW.")
    usable_kw: float
    before_kw: float | None
    fullest_a: float | None = Field(description="Current of its fullest phase, A.")
    usable_a: float | None
    rated_a: float | None
    trips: bool = Field(description="Beyond its full rating: its breaker opens, after seconds to minutes.")


class HotBody(BaseModel):
    """Racks that would run hot."""

    group: str
    racks: list[str]
    lost: FigureBody = Field(description="Heat that nothing takes away any more, kW.")
    slowdown: FigureBody = Field(description="Until the first GPU slows itself down, s.")
    first: str = Field(description="Rack of that GPU.")


class ShedBody(BaseModel):
    """What would have to go."""

    at: str
    excess_kw: float
    racks: list[str] = Field(description="The fewest racks whose load is enough, largest first.")
    racks_kw: float
    cap_pct: float = Field(description="Or: cap every rack behind it by so much, %.")


class WhatIfBody(BaseModel):
    """What becomes of it."""

    at: datetime
    loads: At
    overloads: list[OverloadBody] = Field(description="Worst first.")
    dark: list[str] = Field(description="Racks without power, as scopes.")
    hot: list[HotBody] = Field(description="Soonest first.")
    shed: list[ShedBody]
    unknown: list[str] = Field(description="What cannot be told: the answer may be worse for it.")
    measured_pct: float = Field(description="Share of the racks whose power is measured, %.")


@router.get("/capacity", summary="Headroom", response_model=CapacityBody)
async def capacity(
    request: Request,
    ctx: Ctx,
    level: Annotated[
        Level | None, Query(description="What it is told of. The scope itself when left out; halls without a scope.")
    ] = None,
    scope: ScopeQuery = None,
    cursor: Cursor = None,
    limit: Items = 200,
) -> Response:
    """How much more each rack, row, hall or site may draw: over its ratings and contract, the 80 % of breakers as they
    are now and after the worst loss of any one feed (phase by phase), coolant, liquid cooling without its spare units,
    air, and free positions; and what stops it first.

    Of several racks, headroom is what they may draw more together, filled up one after the other. An answer may be two
    seconds old."""
    return await kept(request, ctx, lambda: _capacity(ctx, level, scope, cursor, limit))


def _capacity(ctx: Context, level: Level | None, scope: str | None, cursor: str | None, limit: int) -> CapacityBody:
    picture = ctx.planning.picture()
    level = level or level_of(scope or "hall")
    found = within(picture, units(picture.inventory, picture.network, level), scope)
    page, following = cut(found, lambda unit: [unit.site, unit.id], cursor, limit)
    return CapacityBody(
        at=picture.loads.at,
        level=level,
        items=[_headroom(picture, headroom(unit, picture.limits, picture.loads)) for unit in page],
        total=len(found),
        next_cursor=following,
        conflicts=len(picture.inventory.conflicts),
    )


@router.get("/capacity/stranded", summary="Stranded power", response_model=list[StrandedBody])
async def stranded_power(
    request: Request,
    ctx: Ctx,
    power_kw: Annotated[
        float, Query(description="Of the racks that would use it, kW.", gt=0, le=10_000, examples=[120])
    ],
    cooling: Annotated[Cooling, Query(description="How these are cooled.")] = Cooling.LIQUID,
    redundancy: Annotated[Redundancy, Query(description="What they want of their feeds.")] = Redundancy.DOUBLE,
    scope: ScopeQuery = None,
) -> Response:
    """What is free at the head of the way of power and cannot be used by whole racks of this size, by what keeps it
    from being used, hall by hall. Causes are put in one after the other, in the order feeds, cooling, flow, space,
    size, unknown."""

    def make() -> Stranding:
        picture = ctx.planning.picture()
        wanted = Wanted(1, power_kw, cooling, redundancy)
        halls = within(picture, units(picture.inventory, picture.network, Level.HALL), scope)
        return Stranding([_stranded(picture, hall, wanted) for hall in halls])

    return await kept(request, ctx, make)


@router.post("/capacity/placement", summary="Where racks fit")
def placement(ctx: Ctx, ask: PlacementAsk) -> PlacementBody:
    """Free positions for new racks, ranked by what would be left of what binds; and a choice for all of them at once.

    A free position hangs on what the inventory says of its row (`feeds`, `cooling`), or else on what its neighbours
    hang on. Where anything is unknown, nothing fits."""
    picture = ctx.planning.picture()
    rows = rows_of(picture, ask.scope)
    wanted = Wanted(
        ask.racks, ask.power_kw, ask.cooling, ask.redundancy, ask.liquid_share, ask.flow_lpm_per_kw, ask.spare_cooling
    )
    found = place(picture.inventory, picture.network, picture.limits, wanted, rows)
    return PlacementBody(
        at=picture.loads.at,
        wanted=ask.racks,
        placed=len(found.chosen),
        chosen=[_seat(seat) for seat in found.chosen],
        stopped=_seat(found.stopped) if found.stopped else None,
        seats=[_seat(seat) for seat in found.seats[: ask.seats]],
        seats_total=len(found.seats),
        fitting_total=sum(seat.fits for seat in found.seats),
        silent=[SilentBody(row=place_name(row), why=why) for row, why in found.silent],
    )


@router.post("/capacity/what-if", summary="What if")
def whatif(ctx: Ctx, ask: WhatIfAsk) -> WhatIfBody:
    """What overloads, goes dark, runs hot (and after how long), and what would have to be shed, if these were lost and
    those added. Arithmetic over the loads of now, or of every rack at its rating; nothing is switched.

    Without any flow GPUs warm up adiabatically, t = (T_slowdown − T) · C / P; with too little cooling the loop does,
    t = (T_slowdown − T) · ρ · cp · V / excess."""
    picture = ctx.planning.picture()
    lost = []
    for number, name in enumerate(ask.lose):
        key = asset_of(name)
        if key is None or (key not in picture.network.feed_of and key not in picture.inventory.cooling):
            known = [f"asset/{one.site}/{one.id}" for one in (*picture.network.feed_of, *picture.inventory.cooling)]
            raise no_place(name, known, f"body.lose.{number}", "a feed or a cooling unit, as asset/S/ID")
        lost.append(key)
    added = []
    for number, one in enumerate(ask.add):
        row = row_of(name=one.row)
        if row is None or row not in picture.inventory.rows:
            raise no_place(
                one.row, map(place_name, picture.inventory.rows), f"body.add.{number}.row", "a row, as row/S/H/R"
            )
        share = OWN_LIQUID_SHARE if one.liquid_share is None else one.liquid_share
        added.append(Added(row, one.racks, one.power_kw, 0.0 if one.cooling is Cooling.AIR else share))
    loads, left = picture.loads, list[str]()
    if ask.at is At.RATED:
        loads, left = at_rating(picture.network, loads)
    found = what_if(picture.inventory, picture.network, loads, lost, added)
    unknown = [*found.unknown]
    if left:
        unknown.insert(
            0, f"{len(left)} racks have no rating or no load to scale, {left[0]} among them; they count as now"
        )
    if ask.at is At.NOW and (silent := int(np.isnan(loads.rack_kw).sum())):
        unknown.insert(0, f"nobody knows what {silent} racks draw")
    at = picture.loads.at
    return WhatIfBody(
        at=at,
        loads=ask.at,
        overloads=[
            OverloadBody(
                feed=f"asset/{one.site}/{one.feed}",
                load=worked_out(at, one.load_kw, "kW", one.feed, "with what moves there", found.measured_pct),
                usable_kw=round(one.usable_kw, 3),
                before_kw=rounded(one.before_kw),
                fullest_a=rounded(one.fullest_a),
                usable_a=rounded(one.usable_a),
                rated_a=rounded(one.rated_a),
                trips=one.trips,
            )
            for one in found.overloads
        ],
        dark=[f"asset/{name}" for name in found.dark],
        hot=[
            HotBody(
                group=one.group,
                racks=list(one.racks),
                lost=worked_out(
                    at,
                    one.lost_kw,
                    "kW",
                    one.group,
                    "nobody knows the heat of its racks"
                    if one.lost_kw is None
                    else "heat now, less what is left of it",
                    found.measured_pct,
                ),
                slowdown=worked_out(at, one.slowdown_s, "s", one.group, one.why, found.measured_pct),
                first=one.first,
            )
            for one in found.hot
        ],
        shed=[
            ShedBody(
                at=one.at,
                excess_kw=round(one.excess_kw, 3),
                racks=list(one.racks),
                racks_kw=round(one.racks_kw, 3),
                cap_pct=round(one.cap_pct, 2),
            )
            for one in found.shed
        ],
        unknown=unknown,
        measured_pct=round(found.measured_pct, 1),
    )


def _headroom(picture: Picture, found: Headroom) -> HeadroomBody:
    unit = found.unit
    return HeadroomBody(
        scope=scope_name(unit),
        racks=len(unit.racks),
        headroom=figure_body(found.headroom),
        binding=_limit(found.binding.tightest) if found.binding and found.binding.tightest else None,
        resources=[_strain(strain) for strain in found.strains],
        feeds=_feeds(picture, unit.racks[0]) if unit.level is Level.RACK else [],
    )


def _strain(strain: Strain) -> StrainBody:
    return StrainBody(
        resource=strain.resource,
        headroom=figure_body(strain.headroom),
        tightest=_limit(strain.tightest) if strain.tightest else None,
        unknown=list(strain.unknown),
    )


def _limit(limit: Limit) -> LimitBody:
    return LimitBody(
        resource=limit.resource,
        at=limit.at,
        unit=limit.unit,
        capacity=rounded(limit.capacity),
        load=rounded(limit.load),
        measured=limit.measured,
        why=limit.why,
    )


def _feeds(picture: Picture, rack: int) -> list[FeedBody]:
    network, loads, worst = picture.network, picture.loads, picture.worst
    feeds = network.cord_feed[network.cords_of(rack)].tolist()
    bodies = []
    for feed in feeds:
        after = np.full(3, np.nan) if worst.unsure[feed] else worst.kva[feed]
        by = int(worst.by[feed])
        thing = network.feeds[feed]
        bodies.append(
            FeedBody(
                id=thing.id,
                side=thing.side,
                now_a=[rounded(one) for one in phase_amps(network, loads, feed, loads.feed_kva[feed])],
                failover_a=[rounded(one) for one in phase_amps(network, loads, feed, after)],
                usable_a=rounded(thing.usable_a),
                rated_a=rounded(thing.rated_a),
                measured=bool(loads.feed_measured[feed]),
                worst_if=network.feeds[by].id if by != NOTHING else "",
            )
        )
    return bodies


def _seat(seat: Seat) -> SeatBody:
    return SeatBody(
        row=place_name(seat.row),
        position=seat.position,
        fits=seat.fits,
        binding=seat.binding,
        at=seat.at,
        margin_pct=rounded(seat.margin_pct, 2),
        why=seat.why,
        unknown=list(seat.unknown),
        assumed=seat.assumed,
    )


def _stranded(picture: Picture, hall: Unit, wanted: Wanted) -> StrandedBody:
    at, name = picture.loads.at, scope_name(hall)
    found = stranded(picture.inventory, picture.network, picture.limits, wanted, hall.places)
    if isinstance(found, str):
        nothing = worked_out(at, None, "kW", name, found)
        return StrandedBody(
            scope=name, free=nothing, usable=nothing, stranded=nothing, racks=None, by_cause={}, why=[found]
        )
    why = f"for racks of {wanted.power_kw:g} kW"
    known = picture.loads.rack_measured[list(hall.racks)]
    measured = 100.0 * float(known.mean()) if len(known) else 0.0
    return StrandedBody(
        scope=name,
        free=worked_out(at, found.free_kw, "kW", name, why, measured),
        usable=worked_out(at, found.usable_kw, "kW", name, why, measured),
        stranded=worked_out(at, found.free_kw - found.usable_kw, "kW", name, why, measured),
        racks=found.racks,
        by_cause={cause: round(kw, 3) for cause, kw in found.by_cause.items()},
        why=list(found.why),
    )
