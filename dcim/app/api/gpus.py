"""The GPUs of all racks in one table, in the order that is asked for.

Lives here: the route and its bodies. Not here: the table (dcim.app.fleet)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from dcim.app import fleet
from dcim.app.api.answers import JSON, answer, as_json, as_table
from dcim.app.api.asking import LayoutNow, scopes_of
from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES
from dcim.capacity.scopes import Layout, Scope
from dcim.core.clock_events import Slowdown
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.times import to_us

router = APIRouter(tags=["plant"], responses=RESPONSES)

KEEP_S = 2.0
"""For how long an answer about now is given again."""
ITEMS_MAX = 20_000
OFFSET_MAX = 10_000_000

Only = Literal["slowed", "thermal", "power_cap", "power_brake", "hardware", "sync_boost", "xid", "stale"]


class GpuBody(BaseModel):
    """One GPU now. null: missing, stale or bad, which is not 0."""

    site: str
    id: str = Field(examples=["H1-A01-N1-gpu0"])
    rack: str = Field(description="Id of what contains it; empty where nobody says.")
    temperature_c: float | None
    margin_k: float | None = Field(description="Until it slows itself down, K.")
    power_kw: float | None
    limit_kw: float | None = Field(description="Its power limit, kW.")
    busy_pct: float | None = Field(description="Share of the time with a kernel resident, %. No measure of work.")
    causes: list[Slowdown] | None = Field(
        description="What holds its clocks down now (DCGM 112), the gravest first; null where it does not tell."
    )
    xid: int | None = Field(description="Its last XID error (DCGM 230); null where there was none.")
    resistance_k_w: float | None = Field(
        description="(temperature − its rack's supply) / power of this moment, K/W; null below 30 % of its limit."
    )
    age_s: float | None = Field(description="Seconds since it was heard; null: never.")
    stale: bool = Field(description="Not heard for longer than the stale limit.")


class FleetBody(BaseModel):
    """What the GPUs of a scope come to."""

    gpus: int
    heard: int = Field(description="Those that are not stale.")
    hottest_c: float | None
    power_kw: float | None = Field(description="The sum of those that tell it; null where none does.")
    power_of: int = Field(description="How many these are.")
    slowed: dict[Slowdown, int] = Field(description="How many each cause holds down; one may have several.")
    xid: int = Field(description="How many have an XID error.")
    temperatures: list[tuple[int, int]] = Field(description="(from °C, how many GPUs) in steps of 5 °C.")


class GpusBody(BaseModel):
    """GPUs in an order, and what all of their scope come to."""

    at: datetime
    total: int = Field(description="How many match.")
    offset: int
    items: list[GpuBody]
    fleet: FleetBody


class Fleets:
    """The fleet of a plant, made anew when the plant changes."""

    def __init__(self) -> None:
        self._made: fleet.Fleet | None = None

    def of(self, plant: Plant) -> fleet.Fleet:
        """The GPUs of this plant."""
        made = self._made
        if made is None or made.plant is not plant:
            self._made = made = fleet.lay_out(plant)
        return made


@router.get(
    "/gpus",
    summary="GPUs",
    response_model=None,
    responses={
        200: {"model": GpusBody, "content": {"text/csv": {"schema": {"type": "string"}}}},
        304: {"description": "The client has this answer already (`If-None-Match`)."},
    },
)
async def gpus(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    scope: Annotated[
        str | None,
        Query(
            description="Only those in the racks of `site/S`, `hall/S/H`, `row/S/H/R`, or of `asset/S/ID`: a rack, or "
            "what feeds or cools racks. All when left out.",
            examples=["hall/demo/Hall 1"],
            max_length=512,
        ),
    ] = None,
    only: Annotated[
        Only | None,
        Query(
            description="Only those that are held down by anything (slowed) or by this cause; have an XID; are stale."
        ),
    ] = None,
    sort: Annotated[
        Literal[fleet.SORTS],  # type: ignore[valid-type]
        Query(description="The order: by this column, those that do not tell it last."),
    ] = "temperature_c",
    order: Annotated[Literal["asc", "desc"], Query(description="Lowest or highest first.")] = "desc",
    offset: Annotated[
        int, Query(description="How many of them to leave out at the beginning.", ge=0, le=OFFSET_MAX)
    ] = 0,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=ITEMS_MAX)] = 100,
    format: Annotated[Literal["json", "csv"], Query(description="json, or a table as csv.")] = "json",  # noqa: A002
) -> Response:
    """Every GPU with its last values, in the order that is asked for: what is hot, what is held down and why, what had
    an XID error, whose thermal resistance is high. An offset and no cursor: the order is that of this moment.

    An answer may be two seconds old."""
    chosen = scopes_of(layout, [scope])[0] if scope is not None else None

    def make() -> tuple[bytes, str]:
        fleets: Fleets = request.app.state.fleets
        at = ctx.clock()
        whole = _of(chosen, layout, fleets.of(ctx.watch.plant), ctx.watch.latest, to_us(at))
        found = fleet.ordered(_only(whole, only), sort, descending=order == "desc")
        items = fleet.told(found.slice(offset, limit))
        if format == "csv":
            rows = [item | {"causes": " ".join(item["causes"] or ())} for item in items]
            return as_table(pl.DataFrame(rows, schema=_FLAT, strict=False), "csv")
        body = {"at": at, "total": len(found), "offset": offset, "items": items, "fleet": fleet.summary(whole)}
        return as_json(body), JSON

    return await answer(request, (layout.number,), layout.plant.version, ctx.clock.us(), KEEP_S, make, blind_s=KEEP_S)


def _of(chosen: Scope | None, layout: Layout, all_of: fleet.Fleet, latest: Latest, at_us: int) -> pl.DataFrame:
    frame = fleet.table(all_of, latest, at_us)
    if chosen is None:
        return frame
    racks = [key.id for key in layout.racks_in(chosen)]
    return frame.filter((pl.col("site") == chosen.site) & pl.col("rack").is_in(racks))


def _only(frame: pl.DataFrame, only: Only | None) -> pl.DataFrame:
    if only is None:
        return frame
    if only == "stale":
        return frame.filter(pl.col("stale"))
    if only == "xid":
        return frame.filter(pl.col("xid").is_not_null())
    return fleet.held_down(frame) if only == "slowed" else fleet.held_down(frame, Slowdown(only))


_FLAT: dict[str, Any] = {
    "site": pl.String, "id": pl.String, "rack": pl.String, "temperature_c": pl.Float64, "margin_k": pl.Float64,
    "power_kw": pl.Float64, "limit_kw": pl.Float64, "busy_pct": pl.Float64, "causes": pl.String, "xid": pl.Int64,
    "resistance_k_w": pl.Float64, "age_s": pl.Float64, "stale": pl.Boolean,
}  # fmt: skip
