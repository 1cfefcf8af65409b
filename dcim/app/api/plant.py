"""What there is: sites, assets, topology, points.

Lives here: the plant as bodies, and its routes. Not here: values over time (readings.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from dcim.app.api.context import Context, Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.problems import RESPONSES, Wrong, bad, not_found
from dcim.core.assets import Asset, AssetKey
from dcim.core.points import Point
from dcim.core.quantities import QUANTITIES
from dcim.core.readings import Quality
from dcim.core.times import from_us
from dcim.core.topology import Medium

router = APIRouter(tags=["plant"], responses=RESPONSES)

SiteFilter = Annotated[str | None, Query(description="Only of this site.", examples=["titan"], max_length=64)]
AssetFilter = Annotated[
    str | None, Query(description="Only of the asset with this id.", examples=["Pod1C-E04"], max_length=512)
]
QuantityFilter = Annotated[
    str | None,
    Query(description="Only of this quantity, by its DSX or our GPU name.", examples=["RackLiquidFlow"], max_length=64),
]


class SiteBody(BaseModel):
    """A site: what one or several buses speak of."""

    id: str = Field(examples=["titan"])
    assets: int = Field(description="Assets that the bus described or spoke of.")
    racks: int = Field(description="Assets that are racks.")
    points: int = Field(description="Described points.")


class AssetBody(BaseModel):
    """A thing that is watched."""

    site: str = Field(examples=["titan"])
    id: str = Field(description="Unique within the site.", examples=["C-F00-CDU-05"])
    name: str = Field(examples=["C-F00-CDU-05"])
    kind: str = Field(description='DSX object type, "Gpu", or "" where only others speak of it.', examples=["CDU"])
    described: bool = Field(description="False where no metadata of its own has come.")
    hall: str = Field(description="From the settings; empty where nobody said.")
    row: str
    position: int | None = Field(description="Place in its row, counted from 1.")
    rated_power_kw: float | None = Field(description="Rated power, kW.")
    rack_unit: int | None = Field(description="Lowest unit of its rack that it takes up, counted from 1 at the bottom.")
    within: str = Field(
        description="Id of the asset that contains it, as a rack contains a GPU; empty where none does."
    )
    points: int = Field(description="How many points it has.")


class PointBody(BaseModel):
    """One measured quantity at one asset."""

    id: int = Field(description="Number of the point; stable, never reused.", examples=[17])
    site: str
    asset: str = Field(description="Id of the asset.")
    quantity: str = Field(description="Name of the quantity.", examples=["RackLiquidFlow"])
    unit: str = Field(description="Unit of its values; empty for states and ratios.", examples=["L/min"])
    unit_known: bool = Field(description="False: the unit is the sender's spelling, and values are as sent.")
    name: str = Field(description="Readable name.", examples=["Secondary Supply LiquidTemperature"])
    point_type: str = Field(description="The sender's name for the quantity.")
    object_type: str = Field(description="The sender's type of the thing that measures.")
    path: str = Field(description="The sender's path. For people; its parts mean nothing.")
    areas: list[str] = Field(description="DSX processArea.")
    loop: Literal["primary", "secondary"] | None
    side: Literal["supply", "return"] | None
    phase: str = Field(description="A, B, C, or empty.")
    part: str = Field(description="Tells it from its like at the same asset.")
    setpoint: bool
    integration: str = Field(description="Who writes the value, where that is not the building management system.")
    states: dict[str, str] = Field(
        description="Words for the values of a state.", examples=[{"0": "NoLeak", "1": "Leak"}]
    )


class LatestBody(BaseModel):
    """The last value of a point."""

    point: int
    site: str
    asset: str
    quantity: str
    name: str
    unit: str
    time: datetime = Field(description="By the sender's clock, UTC.")
    heard: datetime = Field(
        description="When it arrived, or its sender, who tells changes alone, last said anything; by our clock, UTC."
    )
    age_s: float = Field(description="Seconds since it was heard.")
    value: float | None = Field(description="null: missing, which is not 0.", examples=[118.4])
    quality: Literal["good", "uncertain", "bad"]
    state: str | None = Field(description="The word for a state's value.", examples=["NoLeak"])


class AssetDetail(AssetBody):
    """An asset with its points, their last values, and its neighbours in the topology."""

    readings: list[LatestBody] = Field(description="Last values of its points.")
    details: list[PointBody] = Field(description="Its points.")
    fed_by: dict[str, list[str]] = Field(description="Medium → ids of what feeds it directly.")
    feeds: dict[str, list[str]] = Field(description="Medium → ids of what it feeds directly.")


class NodeBody(BaseModel):
    """An asset in the topology."""

    site: str
    id: str
    name: str
    kind: str


class EdgeBody(BaseModel):
    """One asset feeds another."""

    site: str
    feeder: str = Field(description="Id of what feeds.")
    fed: str = Field(description="Id of what is fed.")
    medium: Literal["power", "coolant"]


class TopologyBody(BaseModel):
    """Who feeds whom."""

    nodes: list[NodeBody]
    edges: list[EdgeBody]
    refused: list[EdgeBody] = Field(description="Edges that would have closed a circle, and were left out for it.")


@router.get("/sites", summary="Sites")
def sites(ctx: Ctx) -> list[SiteBody]:
    """The sites that the sources speak of."""
    plant = ctx.watch.plant
    names = sorted({key.site for key in plant.assets})
    return [
        SiteBody(
            id=name,
            assets=sum(key.site == name for key in plant.assets),
            racks=sum(asset.kind == "Rack" for key, asset in plant.assets.items() if key.site == name),
            points=sum(point.site == name for point in plant.points.values()),
        )
        for name in names
    ]


@router.get("/assets", summary="Assets")
def assets(
    ctx: Ctx,
    site: SiteFilter = None,
    kind: Annotated[str | None, Query(description="Only of this kind.", examples=["Rack"], max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
) -> Page[AssetBody]:
    """Assets, by site and id."""
    found = [
        asset
        for asset in ctx.watch.plant.assets.values()
        if (site is None or asset.site == site) and (kind is None or asset.kind == kind)
    ]
    page, following = cut(found, lambda asset: [asset.site, asset.id], cursor, limit)
    return Page(items=[asset_body(ctx, asset) for asset in page], total=len(found), next_cursor=following)


@router.get("/assets/{asset_id:path}", summary="One asset")
def asset(
    ctx: Ctx, asset_id: Annotated[str, Path(examples=["Pod1C-E04"], max_length=512)], site: SiteFilter = None
) -> AssetDetail:
    """One asset with its points, their last values and its neighbours. `site` is needed where two sites use the id."""
    found = find_asset(ctx, asset_id, site)
    plant = ctx.watch.plant
    own = [plant.points[number] for number in found.points]
    return AssetDetail(
        **asset_body(ctx, found).model_dump(),
        readings=[body for point in own if (body := latest_body(ctx, point)) is not None],
        details=[point_body(point) for point in own],
        fed_by={str(medium): [key.id for key in plant.topology.feeders(found.key, medium)] for medium in Medium},
        feeds={str(medium): [key.id for key in plant.topology.fed_by(found.key, medium)] for medium in Medium},
    )


@router.get("/topology", summary="Who feeds whom")
def topology(ctx: Ctx, site: SiteFilter = None) -> TopologyBody:
    """Power from the utility to the rack, and coolant, as the bus's servesId tells it."""
    plant = ctx.watch.plant
    nodes = [asset for asset in plant.assets.values() if site is None or asset.site == site]

    def bodies(refused: bool) -> list[EdgeBody]:
        edges = plant.topology.refused if refused else plant.topology.edges
        return [
            EdgeBody(site=edge.feeder.site, feeder=edge.feeder.id, fed=edge.fed.id, medium=edge.medium.value)
            for edge in edges
            if site is None or edge.feeder.site == site
        ]

    return TopologyBody(
        nodes=[NodeBody(site=node.site, id=node.id, name=node.name, kind=node.kind) for node in nodes],
        edges=bodies(refused=False),
        refused=bodies(refused=True),
    )


@router.get("/points", summary="Points")
def points(
    ctx: Ctx,
    site: SiteFilter = None,
    asset: AssetFilter = None,
    quantity: QuantityFilter = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
) -> Page[PointBody]:
    """Points, by number."""
    found = select(ctx, site, asset, quantity)
    page, following = cut(found, lambda point: [point.id], cursor, limit)
    return Page(items=[point_body(point) for point in page], total=len(found), next_cursor=following)


def select(ctx: Context, site: str | None, asset: str | None, quantity: str | None) -> list[Point]:
    """The described points that match, by number. 404 for an asset or a quantity that nobody knows."""
    plant = ctx.watch.plant
    if asset is not None:
        found = find_asset(ctx, asset, site)
        chosen = [plant.points[number] for number in found.points]
    else:
        chosen = list(plant.points.values())
    if quantity is not None:
        known_quantity(quantity)
    return sorted(
        (
            point
            for point in chosen
            if (site is None or point.site == site)
            and (quantity is None or quantity in {point.quantity, point.point_type})
        ),
        key=lambda point: point.id,
    )


def known_quantity(quantity: str) -> None:
    """Raises a 422 problem for a name that is in no table."""
    if quantity not in QUANTITIES:
        raise bad("query.quantity", f"{quantity!r} is no quantity. GET /points shows those that are measured here.")


def find_asset(ctx: Context, asset_id: str, site: str | None) -> Asset:
    """The asset of this id. 404 when there is none, 409 when several sites have one and none was named."""
    assets = ctx.watch.plant.assets
    if site is not None:
        found = assets.get(AssetKey(site, asset_id))
        if found is None:
            raise not_found(f"asset {asset_id} at site {site}", "GET /assets lists what there is.")
        return found
    matches = [asset for key, asset in assets.items() if key.id == asset_id]
    if not matches:
        raise not_found(f"asset {asset_id}", "GET /assets lists what there is.")
    if len(matches) > 1:
        names = ", ".join(asset.site for asset in matches)
        raise Wrong(409, "Ambiguous", f"Several sites have an asset {asset_id}: {names}. Say which with ?site=.")
    return matches[0]


def asset_body(ctx: Context, asset: Asset) -> AssetBody:
    """An asset as the API shows it."""
    own = [ctx.watch.plant.points[number] for number in asset.points]
    return AssetBody(
        site=asset.site,
        id=asset.id,
        name=asset.name,
        kind=asset.kind,
        described=asset.described,
        hall=asset.placement.hall,
        row=asset.placement.row,
        position=asset.placement.position,
        rated_power_kw=asset.placement.rated_power_kw,
        rack_unit=asset.placement.rack_unit,
        within=next((point.within for point in own if point.within), ""),
        points=len(own),
    )


def point_body(point: Point) -> PointBody:
    """A point as the API shows it."""
    return PointBody(
        id=point.id,
        site=point.site,
        asset=point.asset,
        quantity=point.quantity,
        unit=point.unit,
        unit_known=point.unit_known,
        name=point.name,
        point_type=point.point_type,
        object_type=point.object_type,
        path=point.path,
        areas=list(point.areas),
        loop=point.loop.value if point.loop else None,
        side=point.side.value if point.side else None,
        phase=point.phase,
        part=point.part,
        setpoint=point.setpoint,
        integration=point.integration,
        states={str(value): word for value, word in point.states},
    )


def latest_body(ctx: Context, point: Point) -> LatestBody | None:
    """The last value of a point, or None where it was never heard."""
    latest = ctx.watch.latest
    time, heard = latest.time_of(point.id), latest.heard_of(point.id)
    if time is None or heard is None:
        return None
    value = float(latest.value[point.id])
    missing = value != value  # noqa: PLR0124  NaN alone differs from itself
    return LatestBody(
        point=point.id,
        site=point.site,
        asset=point.asset,
        quantity=point.quantity,
        name=point.name,
        unit=point.unit,
        time=from_us(time),
        heard=from_us(heard),
        age_s=round((ctx.clock() - from_us(heard)).total_seconds(), 1),
        value=None if missing else value,
        quality=QUALITY_WORDS[Quality(int(latest.quality[point.id]))],
        state=point.word(value) if point.states and not missing else None,
    )


QUALITY_WORDS: dict[Quality, Literal["good", "uncertain", "bad"]] = {
    Quality.GOOD: "good",
    Quality.UNCERTAIN: "uncertain",
    Quality.BAD: "bad",
}
"""Quality as the API says it."""
