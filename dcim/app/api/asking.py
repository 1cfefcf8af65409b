"""What questions about scopes and periods have in common: how they are asked, and what is wrong with one.

Lives here: parameters, and the way from them to scopes and periods; problems in words. Not here: any answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime

from dcim.app.api.context import Context
from dcim.app.api.places import no_place
from dcim.app.api.problems import bad
from dcim.capacity.periods import DAYS_MAX, HOW_TO, before, earlier, is_length, length, period
from dcim.capacity.provenance import Period
from dcim.capacity.scopes import Layout, Scope, lay_out
from dcim.core.assets import AssetKey
from dcim.core.inventory import Inventory
from dcim.core.plant import Plant

SCOPES_MAX = 200
"""Scopes of one question."""
FIRST_YEAR = 1970
WINDOW = "24h"
"""The period when nothing is said."""

Scopes = Annotated[
    list[str],
    Query(
        description="What is asked about, as often as wanted: `site/S`, `hall/S/H`, `row/S/H/R` or `asset/S/ID`, with "
        "the names of site, hall, row and asset.",
        examples=[["site/demo"]],
        min_length=1,
        max_length=SCOPES_MAX,
    ),
]
Window = Annotated[
    str | None,
    Query(
        description="The period: a length up to now (90m, 24h, 30d), today, yesterday, this_week, last_week, "
        "this_month, last_month, this_year, last_year, or a day, month or year (2026-11-23, 2026-11, 2026). Calendar "
        "periods begin and end by the site's clocks. 24h when nothing is said.",
        examples=["30d"],
        max_length=32,
    ),
]
Start = Annotated[AwareDatetime | None, Query(description="Instead of `window`: from here on, with its zone.")]
End = Annotated[AwareDatetime | None, Query(description="Up to but without this. Now when left out.")]


class Asked(NamedTuple):
    """A period, the one before it, and the clocks that both go by."""

    period: Period
    previous: Period
    zone: str


class Layouts:
    """The layout as it is known, made anew when the plant or the inventory changes."""

    def __init__(self) -> None:
        self._made: Layout | None = None

    def of(self, plant: Plant, inventory: Inventory) -> Layout:
        """The layout of both."""
        made = self._made
        if made is None or made.plant is not plant or made.inventory is not inventory:
            number = made.number + 1 if made is not None else 1
            self._made = made = replace(lay_out(plant, inventory), number=number)
        return made


def layout_of(request: Request) -> Layout:
    """What stands where, as it is known now."""
    layouts: Layouts = request.app.state.layouts
    context: Context = request.app.state.context
    return layouts.of(context.watch.plant, context.planning.inventory)


LayoutNow = Annotated[Layout, Depends(layout_of)]
"""What stands where, for a route."""


def scopes_of(layout: Layout, names: list[str]) -> list[Scope]:
    """The scopes of these names. A problem where there is none of a name, or one stands there twice."""
    found = []
    for name in dict.fromkeys(names):
        scope = layout.scopes.get(name)
        if scope is None:
            raise no_place(
                name, layout.scopes, "query.scope", "site/S, hall/S/H, row/S/H/R or asset/S/ID; GET /scopes lists them"
            )
        found.append(scope)
    if len(found) < len(names):
        raise bad("query.scope", "A scope stands there twice. Name each once.")
    return found


def period_of(
    ctx: Context,
    layout: Layout,
    scopes: list[Scope],
    window: str | None,
    start: AwareDatetime | None,
    end: AwareDatetime | None,
) -> Asked:
    """The period that was asked for. A problem for one that is empty, in the future, too long, or said twice."""
    now = ctx.clock()
    zones = sorted({zone_of(layout, AssetKey(scope.site, "")) for scope in scopes})
    if start is None and end is not None:
        raise bad("query.end", "There is an end without a start. Give both, or window.")
    if start is not None:
        if window is not None:
            raise bad("query.window", "Give either window or start and end, not both.")
        until = end or now
        if start.year < FIRST_YEAR:
            raise bad("query.start", f"Nothing is kept of before {FIRST_YEAR}.")
        if start > now:
            raise bad("query.start", f"The period has not begun: it is {now:%Y-%m-%dT%H:%M:%SZ}.")
        if until > now + timedelta(minutes=1):
            raise bad(
                "query.end", f"The end lies in the future: it is {now:%Y-%m-%dT%H:%M:%SZ}. What will be is not known."
            )
        if until <= start:
            raise bad("query.end", "The end is not after the start: the period is empty.")
        if until - start > timedelta(days=DAYS_MAX):
            raise bad("query.start", f"The period is longer than {DAYS_MAX} days.")
        this = Period(start, until)
        return Asked(this, earlier(this), "UTC" if len(zones) > 1 else zones[0])
    text = window or WINDOW
    if len(zones) > 1 and not is_length(text):
        told = ", ".join(zones)
        raise bad("query.window", f"These sites go by different clocks ({told}). Ask for one zone at a time.")
    try:
        zone = ZoneInfo(zones[0])
        this = period(text, now, zone)
        if this.end <= this.start:
            raise bad("query.window", f"{text} began less than a minute ago. Ask again later.")
        return Asked(this, before(text, now, zone), zones[0])
    except ValueError as error:
        said = str(error)
        raise bad("query.window", said if HOW_TO in said else f"{said}. {HOW_TO}") from error


def zone_of(layout: Layout, key: AssetKey) -> str:
    """The IANA zone of a site; UTC where nobody said, or where this machine does not know it."""
    site = layout.inventory.sites.get(key.site)
    name = site.zone if site is not None else "UTC"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"
    return name


def step_of(step: str | None, asked: Period, base_s: int, rows: int, cells_max: int) -> int | None:
    """Steps of the grid to one step of the answer; None where no series is wanted. A problem for a step that is none,
    finer than what is kept, or makes too much of an answer."""
    if step is None:
        return None
    try:
        seconds = int(length(step).total_seconds())
    except ValueError as error:
        raise bad("query.step", f"{error}.") from error
    if seconds < base_s or seconds % base_s:
        raise bad("query.step", f"This is read in steps of {base_s} s; ask for a multiple, or for less at a time.")
    if rows * ((asked.end - asked.start).total_seconds() / seconds + 2) > cells_max:
        raise bad("query.step", f"These are more than {cells_max} values. Ask for longer steps or a shorter period.")
    return seconds // base_s
