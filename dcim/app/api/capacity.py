"""What fits where, what happens when something fails, and when it is full: headroom, placement, what-if, redundancy.

Lives here: the routes, their parameters and bodies. Not here: the arithmetic (dcim.capacity), how a picture of now is
made (dcim.app.planning)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator
from starlette.concurrency import run_in_threadpool

from dcim.app.api.answers import JSON, answer
from dcim.app.api.context import Context, Ctx
from dcim.app.api.figures import FigureBody, figure_body, rounded
from dcim.app.api.pages import Cursor, cut
from dcim.app.api.problems import RESPONSES, Wrong, bad
from dcim.app.planning import Picture
from dcim.capacity import redundancy as standings
from dcim.capacity.exhaustion import CONFIDENCE_PCT, foretell
from dcim.capacity.failover import NOTHING
from dcim.capacity.headroom import Headroom, Level, Strain, Unit, headroom, units
from dcim.capacity.limits import FLOW_LPM_PER_KW, Limit, Resource
from dcim.capacity.loads import phase_amps
from dcim.capacity.placement import OWN_LIQUID_SHARE, RACKS_MAX, Redundancy, Seat, Wanted, place
from dcim.capacity.redundancy import Holds, Standing
from dcim.capacity.stranded import Cause, stranded
from dcim.capacity.what_if import Added, At, at_rating, what_if
from dcim.core.assets import AssetKey
from dcim.core.inventory import Cooling, Place
from dcim.core.ports import TelemetryStore

router = APIRouter(tags=["capacity"], responses=RESPONSES)

KEEP_S = 2.0
"""For how long an answer is given again."""
LOST_MAX, ADDED_MAX = 1_000, 100
"""Things that one what-if loses, and rows that it adds racks to."""
SEATS_MAX = 5_000
FORECAST_DAYS_MAX = 400
POINTS_MAX = 5_000
"""Meters that one forecast reads."""

ScopeName = Annotated[str, Field(min_length=3, max_length=512)]
ScopeQuery = Annotated[
    str | None,
    Query(
        description="Only this: `site/S`, `hall/S/H`, `row/S/H/R` or `asset/S/ID` (a rack), with the names of site, "
        "hall, row and asset. Everything when left out.",
        examples=["hall/demo/Hall 1"],
        max_length=512,
    ),
]
Items = Annotated[int, Query(description="How many items at most.", ge=1, le=2_000)]


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


class BacktestBody(BaseModel):
    """How the method did on the last days, from the ones before."""

    days: int
    error_kw: float = Field(description="Mean absolute error, kW.")
    bias_kw: float = Field(description="Mean of foretold − true, kW.")
    within_pct: float = Field(description=f"Days inside the interval, %; about {CONFIDENCE_PCT:g} if it is right.")


class ForecastBody(BaseModel):
    """When it is full."""

    scope: str
    capacity: FigureBody = Field(description="Load now + headroom now, kW.")
    load: FigureBody = Field(description="Trend of the daily highest hour on the last day, kW.")
    growth_kw_per_day: float | None = Field(description="Median of the slopes between all pairs of days (Sen).")
    growth_low: float | None = Field(description=f"Bounds of that, {CONFIDENCE_PCT:g} % (Kendall).")
    growth_high: float | None
    exhausted: datetime | None = Field(description="null where it does not grow, or cannot be told: see why.")
    earliest: datetime | None
    latest: datetime | None = Field(description="null where it may as well never be.")
    backtest: BacktestBody | None
    days: int = Field(description="Days with a value.")
    why: str


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
    return await _kept(request, ctx, lambda: _capacity(ctx, level, scope, cursor, limit))


def _capacity(ctx: Context, level: Level | None, scope: str | None, cursor: str | None, limit: int) -> CapacityBody:
    picture = ctx.planning.picture()
    level = level or _level(scope or "hall")
    found = _within(picture, units(picture.inventory, picture.network, level), scope)
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
        halls = _within(picture, units(picture.inventory, picture.network, Level.HALL), scope)
        return Stranding([_stranded(picture, hall, wanted) for hall in halls])

    return await _kept(request, ctx, make)


@router.post("/capacity/placement", summary="Where racks fit")
def placement(ctx: Ctx, ask: PlacementAsk) -> PlacementBody:
    """Free positions for new racks, ranked by what would be left of what binds; and a choice for all of them at once.

    A free position hangs on what the inventory says of its row (`feeds`, `cooling`), or else on what its neighbours
    hang on. Where anything is unknown, nothing fits."""
    picture = ctx.planning.picture()
    rows = _rows(picture, ask.scope)
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
        silent=[SilentBody(row=_place(row), why=why) for row, why in found.silent],
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
        key = _asset(name)
        if key is None or (key not in picture.network.feed_of and key not in picture.inventory.cooling):
            known = [f"asset/{one.site}/{one.id}" for one in (*picture.network.feed_of, *picture.inventory.cooling)]
            raise _unknown(name, known, f"body.lose.{number}", "a feed or a cooling unit, as asset/S/ID")
        lost.append(key)
    added = []
    for number, one in enumerate(ask.add):
        row = _row(name=one.row)
        if row is None or row not in picture.inventory.rows:
            raise _unknown(
                one.row, map(_place, picture.inventory.rows), f"body.add.{number}.row", "a row, as row/S/H/R"
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
                load=_worked_out(at, one.load_kw, "kW", one.feed, "with what moves there", found.measured_pct),
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
                lost=_worked_out(
                    at,
                    one.lost_kw,
                    "kW",
                    one.group,
                    "nobody knows the heat of its racks"
                    if one.lost_kw is None
                    else "heat now, less what is left of it",
                    found.measured_pct,
                ),
                slowdown=_worked_out(at, one.slowdown_s, "s", one.group, one.why, found.measured_pct),
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


@router.get("/redundancy", summary="Redundancy right now", response_model=RedundancyBody)
async def redundancy(request: Request, ctx: Ctx, scope: ScopeQuery = None, limit: Items = 200) -> Response:
    """Whether 2N or N+1 is true right now: two cords do not count where both come through one feed, where one has no
    voltage, or where the one that is left would be overloaded. Per rack and hall, the weakest point named."""
    return await _kept(request, ctx, lambda: _redundancy(ctx, scope, limit))


def _redundancy(ctx: Context, scope: str | None, limit: int) -> RedundancyBody:
    picture = ctx.planning.picture()
    inside = {
        (unit.site, unit.id) for unit in _within(picture, units(picture.inventory, picture.network, Level.RACK), scope)
    }
    racks = [
        one for one in standings.power(picture.network, picture.loads, picture.limits) if (one.site, one.id) in inside
    ]
    hall = _parse(scope) if scope else None
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


@router.get("/capacity/forecast", summary="When it is full")
async def forecast(
    ctx: Ctx,
    scope: Annotated[str, Query(description="A site, hall, row or rack.", examples=["site/demo"], max_length=512)],
    days: Annotated[int, Query(description="How far to look back.", ge=14, le=FORECAST_DAYS_MAX)] = 90,
) -> ForecastBody:
    """When the power of a scope meets its capacity if it grows as it did: Sen's slope over the highest hour of each
    day, with Kendall's interval, and how the same method did on the last 30 % of the days from the ones before.

    Capacity is what it draws now and its headroom over all resources. Days of which less than half is covered are left
    out."""
    picture = await run_in_threadpool(ctx.planning.picture)
    level = _level(scope)
    (unit,) = _within(picture, units(picture.inventory, picture.network, level), scope)
    plant = ctx.watch.plant
    keys = [picture.network.racks[rack].key for rack in unit.racks]
    points = [found.id for key in keys for found in plant.at(key, "RackPower")[:1]]
    if len(points) > POINTS_MAX:
        raise bad("query.scope", f"That is {len(points)} racks; {POINTS_MAX} are the most. Ask for a hall or a row.")
    end = ctx.clock().replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=days)
    day, value = await run_in_threadpool(_daily, ctx.store, points, len(keys), start, end)
    found = headroom(unit, picture.limits, picture.loads)
    boundary = f"{level} {unit.id}"
    now_kw = float(np.sum(picture.loads.rack_kw[list(unit.racks)])) if unit.racks else float("nan")
    free = found.headroom.value
    ceiling = None if free is None or np.isnan(now_kw) else now_kw + free
    told = foretell(day, value, float("nan") if ceiling is None else ceiling)
    nothing = _worked_out(picture.loads.at, None, "kW", boundary, "")
    why = f"load now + headroom: {found.headroom.why}"
    capacity = _worked_out(picture.loads.at, ceiling, "kW", boundary, why, found.headroom.coverage_pct)
    if isinstance(told, str):
        return ForecastBody(
            scope=scope,
            capacity=capacity,
            load=nothing.model_copy(update={"why": told}),
            growth_kw_per_day=None,
            growth_low=None,
            growth_high=None,
            exhausted=None,
            earliest=None,
            latest=None,
            backtest=None,
            days=int((~np.isnan(value)).sum()),
            why=told,
        )
    last = start + timedelta(days=float(day[~np.isnan(value)][-1]))

    def when(in_days: float | None) -> datetime | None:
        if ceiling is None or in_days is None or in_days > 36_500:
            return None
        return last + timedelta(days=in_days)

    why = (
        f"its capacity is not known: {found.headroom.why}"
        if ceiling is None
        else "it does not grow"
        if told.in_days is None
        else f"{told.per_day:.4g} kW a day fill {ceiling - told.level:.4g} kW"
    )
    return ForecastBody(
        scope=scope,
        capacity=capacity,
        load=_worked_out(last, told.level, "kW", boundary, "trend of each day's highest hour", 100.0),
        growth_kw_per_day=rounded(told.per_day),
        growth_low=rounded(told.per_day_low),
        growth_high=rounded(told.per_day_high),
        exhausted=when(told.in_days),
        earliest=when(told.earliest_days),
        latest=when(told.latest_days),
        backtest=BacktestBody(
            days=told.backtest.days,
            error_kw=round(told.backtest.error, 3),
            bias_kw=round(told.backtest.bias, 3),
            within_pct=round(told.backtest.within_pct, 1),
        ),
        days=told.days,
        why=why,
    )


async def _kept(request: Request, ctx: Context, make: Callable[[], BaseModel]) -> Response:
    """An answer that may be KEEP_S old, with its ETag."""
    version = await run_in_threadpool(lambda: ctx.planning.version)
    return await answer(request, (version,), ctx.clock.us(), KEEP_S, lambda: (make().model_dump_json().encode(), JSON))


def _daily(
    store: TelemetryStore, points: Sequence[int], racks: int, start: datetime, end: datetime
) -> tuple[np.ndarray, np.ndarray]:
    """Highest hour of each day, kW, and the days; NaN where fewer than 12 hours are covered by all racks."""
    size = (end - start).days
    days = np.arange(size, dtype=np.float64)
    values = np.full(size, np.nan)
    if points and len(points) == racks:
        frame = store.window(list(points), start, end, timedelta(hours=1), "mean")
        hours = (
            frame.group_by("time")
            .agg(pl.col("value").sum(), pl.len().alias("racks"))
            .filter(pl.col("racks") == racks)
            .with_columns(day=(pl.col("time") - start).dt.total_days())
            .group_by("day")
            .agg(pl.col("value").max(), pl.len().alias("hours"))
            .filter(pl.col("hours") >= 12)
        )
        values[hours["day"].to_numpy()] = hours["value"].to_numpy()
    return days, values


def _within(picture: Picture, found: list[Unit], scope: str | None) -> list[Unit]:
    """The units that lie in a scope. A problem where there is no such scope, or none of them lies in it."""
    if scope is None:
        return found
    kind, site, rest = _parse(scope) or ("", "", "")
    inventory, network = picture.inventory, picture.network
    known: dict[str, bool] = {
        "site": site in inventory.sites and not rest,
        "hall": Place(site, rest) in inventory.halls,
        "row": (_row(name=scope) or Place("", "")) in inventory.rows,
        "asset": AssetKey(site, rest) in network.rack_of,
    }
    if not known.get(kind):
        names = [
            *(f"site/{one}" for one in inventory.sites),
            *(_place(one) for one in (*inventory.halls, *inventory.rows)),
            *(f"asset/{one.site}/{one.id}" for one in network.rack_of),
        ]
        raise _unknown(scope, names, "query.scope", "site/S, hall/S/H, row/S/H/R or asset/S/ID of a rack")
    racks = {
        number
        for number, rack in enumerate(network.racks)
        if rack.site == site
        and (kind == "site" or (kind, rest) in {("hall", rack.hall), ("row", rack.place.id), ("asset", rack.id)})
    }
    kept = [unit for unit in found if unit.site == site and _lies(unit, kind, rest, racks)]
    if not kept:
        raise bad("query.scope", f"There is no {found[0].level if found else 'place'} in {scope}.")
    return kept


def _lies(unit: Unit, kind: str, rest: str, racks: Container[int]) -> bool:
    """Whether a unit is that place, or lies in it."""
    if kind == "site":
        return True
    if unit.level is Level.RACK:
        return unit.racks[0] in racks
    if unit.level is Level.ROW:
        return unit.id == rest if kind == "row" else kind == "hall" and unit.id.startswith(f"{rest}/")
    return unit.level is Level.HALL and kind == "hall" and unit.id == rest


def _level(scope: str) -> Level:
    """The level of a scope itself."""
    level = {"site": Level.SITE, "hall": Level.HALL, "row": Level.ROW, "asset": Level.RACK}.get(scope.partition("/")[0])
    if level is None:
        raise _unknown(scope, [], "query.scope", "site/S, hall/S/H, row/S/H/R or asset/S/ID")
    return level


def _rows(picture: Picture, scopes: Sequence[str]) -> list[Place]:
    """Rows of sites, halls and rows, in order, each once."""
    rows = list(picture.inventory.rows)
    if not rows:
        raise bad("body.scope", "No row is known. Give rows and their positions in the inventory.")
    if not scopes:
        return rows
    wanted: dict[Place, None] = {}
    for number, scope in enumerate(scopes):
        kind, site, rest = _parse(scope) or ("", "", "")
        found = [
            row
            for row in rows
            if row.site == site
            and (kind == "site" or (kind == "hall" and row.hall == rest) or (kind == "row" and row.id == rest))
            and (kind != "site" or not rest)
        ]
        if not found:
            names = [
                *(f"site/{one}" for one in picture.inventory.sites),
                *map(_place, picture.inventory.halls),
                *map(_place, rows),
            ]
            raise _unknown(scope, names, f"body.scope.{number}", "a site, hall or row with rows in it")
        wanted |= dict.fromkeys(found)
    return list(wanted)


def _parse(scope: str) -> tuple[str, str, str] | None:
    """Kind, site and the rest of a scope's name."""
    kind, _, rest = scope.partition("/")
    site, _, rest = rest.partition("/")
    return (kind, site, rest) if site else None


def _asset(scope: str) -> AssetKey | None:
    kind, site, rest = _parse(scope) or ("", "", "")
    return AssetKey(site, rest) if kind == "asset" and rest else None


def _row(name: str) -> Place | None:
    kind, site, rest = _parse(name) or ("", "", "")
    hall, _, row = rest.partition("/")
    return Place(site, hall, row) if kind == "row" and row else None


def _place(place: Place) -> str:
    return f"{'row' if place.row else 'hall'}/{place.site}/{place.id}"


def _unknown(name: str, known: Iterable[str], field: str, shape: str) -> Wrong:
    near = difflib.get_close_matches(name[:256], list(known)[:20_000], n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else f"Write {shape}."
    return Wrong(404, "Not found", f"There is no {name[:256]!r} here. {hint}", field=field)


def _scope(unit: Unit) -> str:
    if unit.level is Level.SITE:
        return f"site/{unit.id}"
    return f"{'asset' if unit.level is Level.RACK else unit.level}/{unit.site}/{unit.id}"


def _headroom(picture: Picture, found: Headroom) -> HeadroomBody:
    unit = found.unit
    return HeadroomBody(
        scope=_scope(unit),
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
        row=_place(seat.row),
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
    at, name = picture.loads.at, _scope(hall)
    found = stranded(picture.inventory, picture.network, picture.limits, wanted, hall.places)
    if isinstance(found, str):
        nothing = _worked_out(at, None, "kW", name, found)
        return StrandedBody(
            scope=name, free=nothing, usable=nothing, stranded=nothing, racks=None, by_cause={}, why=[found]
        )
    why = f"for racks of {wanted.power_kw:g} kW"
    known = picture.loads.rack_measured[list(hall.racks)]
    measured = 100.0 * float(known.mean()) if len(known) else 0.0
    return StrandedBody(
        scope=name,
        free=_worked_out(at, found.free_kw, "kW", name, why, measured),
        usable=_worked_out(at, found.usable_kw, "kW", name, why, measured),
        stranded=_worked_out(at, found.free_kw - found.usable_kw, "kW", name, why, measured),
        racks=found.racks,
        by_cause={cause: round(kw, 3) for cause, kw in found.by_cause.items()},
        why=list(found.why),
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


def _worked_out(
    at: datetime, value: float | None, unit: str, boundary: str, why: str, coverage_pct: float = 0.0
) -> FigureBody:
    """A figure that follows from others; coverage_pct: how much of those was measured."""
    kind: Literal["estimated", "missing"] = "missing" if value is None else "estimated"
    return FigureBody.model_validate(
        {
            "value": rounded(value),
            "unit": unit,
            "kind": kind,
            "coverage_pct": 0.0 if value is None else round(coverage_pct, 1),
            "start": at,
            "end": at,
            "boundary": boundary,
            "why": why,
        }
    )
