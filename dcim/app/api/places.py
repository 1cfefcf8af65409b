"""What questions about capacity have in common: the places they are about, and how long an answer is kept.

Lives here: scopes of an inventory, and the way from their names to places; problems in words. Not here: any answer."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app.api.answers import JSON, answer
from dcim.app.api.context import Context
from dcim.app.api.problems import Wrong, bad
from dcim.app.planning import Picture
from dcim.capacity.headroom import Level, Unit
from dcim.core.assets import AssetKey
from dcim.core.inventory import Place

KEEP_S = 1.0
"""For how long an answer about now is given again. What it is made of may be a second old itself: two in all."""

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


async def kept(request: Request, ctx: Context, make: Callable[[], BaseModel], keep_s: float = KEEP_S) -> Response:
    """An answer with its ETag, given again for keep_s seconds while the inventory is the same."""
    at_us, plant = ctx.clock.us(), ctx.watch.plant.version
    version = await run_in_threadpool(lambda: ctx.planning.version)
    return await answer(
        request,
        (version,),
        plant,
        at_us,
        keep_s,
        lambda: (make().model_dump_json().encode(), JSON),
        blind_s=min(keep_s, KEEP_S),
    )


def within(picture: Picture, found: list[Unit], scope: str | None) -> list[Unit]:
    """The units that lie in a scope. A problem where there is no such scope, or none of them lies in it."""
    if scope is None:
        return found
    kind, site, rest = parse(scope) or ("", "", "")
    inventory, network = picture.inventory, picture.network
    known: dict[str, bool] = {
        "site": site in inventory.sites and not rest,
        "hall": Place(site, rest) in inventory.halls,
        "row": (row_of(name=scope) or Place("", "")) in inventory.rows,
        "asset": AssetKey(site, rest) in network.rack_of,
    }
    if not known.get(kind):
        names = [
            *(f"site/{one}" for one in inventory.sites),
            *(place_name(one) for one in (*inventory.halls, *inventory.rows)),
            *(f"asset/{one.site}/{one.id}" for one in network.rack_of),
        ]
        raise no_place(scope, names, "query.scope", "site/S, hall/S/H, row/S/H/R or asset/S/ID of a rack")
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


def level_of(scope: str) -> Level:
    """The level of a scope itself."""
    level = {"site": Level.SITE, "hall": Level.HALL, "row": Level.ROW, "asset": Level.RACK}.get(scope.partition("/")[0])
    if level is None:
        raise no_place(scope, [], "query.scope", "site/S, hall/S/H, row/S/H/R or asset/S/ID")
    return level


def rows_of(picture: Picture, scopes: Sequence[str]) -> list[Place]:
    """Rows of sites, halls and rows, in order, each once."""
    rows = list(picture.inventory.rows)
    if not rows:
        raise bad("body.scope", "No row is known. Give rows and their positions in the inventory.")
    if not scopes:
        return rows
    wanted: dict[Place, None] = {}
    for number, scope in enumerate(scopes):
        kind, site, rest = parse(scope) or ("", "", "")
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
                *map(place_name, picture.inventory.halls),
                *map(place_name, rows),
            ]
            raise no_place(scope, names, f"body.scope.{number}", "a site, hall or row with rows in it")
        wanted |= dict.fromkeys(found)
    return list(wanted)


def parse(scope: str) -> tuple[str, str, str] | None:
    """Kind, site and the rest of a scope's name."""
    kind, _, rest = scope.partition("/")
    site, _, rest = rest.partition("/")
    return (kind, site, rest) if site else None


def asset_of(scope: str) -> AssetKey | None:
    """The asset that a scope names; None where it names none."""
    kind, site, rest = parse(scope) or ("", "", "")
    return AssetKey(site, rest) if kind == "asset" and rest else None


def row_of(name: str) -> Place | None:
    """The row that a scope names; None where it names none."""
    kind, site, rest = parse(name) or ("", "", "")
    hall, _, row = rest.partition("/")
    return Place(site, hall, row) if kind == "row" and row else None


def place_name(place: Place) -> str:
    """A hall or row as a scope."""
    return f"{'row' if place.row else 'hall'}/{place.site}/{place.id}"


def no_place(name: str, known: Iterable[str], field: str, shape: str) -> Wrong:
    """404 for a name that is none of the known ones, with those that are spelled like it."""
    near = difflib.get_close_matches(name[:256], list(known)[:20_000], n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else f"Write {shape}."
    return Wrong(404, "Not found", f"There is no {name[:256]!r} here. {hint}", field=field)


def scope_name(unit: Unit) -> str:
    """A unit as a scope."""
    if unit.level is Level.SITE:
        return f"site/{unit.id}"
    return f"{'asset' if unit.level is Level.RACK else unit.level}/{unit.site}/{unit.id}"
