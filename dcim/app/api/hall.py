"""The hall's map in one call: racks and CDUs in their places with their present values.

Lives here: the route. Not here: what a tile shows (dcim.app.hall)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from dcim.app.api.context import Ctx

router = APIRouter(tags=["hall"])


@router.get("/hall", summary="The hall's map")
def hall(ctx: Ctx) -> dict[str, Any]:
    """Racks, CDUs and rows with their present values, the quantities that racks can be coloured by, and how complete
    the picture is. kW, °C, L/min, kPa, %; null where missing. Follow it with the event stream's `hall` events."""
    return ctx.watch.hall_whole()
