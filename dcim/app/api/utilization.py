"""How full it is: scopes, and what they use of a resource.

Lives here: the routes, their parameters and bodies. Not here: the figures (dcim.capacity), reading (dcim.app.history),
the form of an answer (answers.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from dcim.app import history
from dcim.app.api.answers import JSON, Form, answer, as_json, as_table
from dcim.app.api.asking import Asked, End, LayoutNow, Scopes, Start, Window, period_of, scopes_of, step_of
from dcim.app.api.context import Context, Ctx
from dcim.app.api.pages import Cursor, Limit, Page, cut
from dcim.app.api.problems import RESPONSES, Wrong, bad
from dcim.capacity.meters import ADDS_UP, UNITS, Resource, gpus_by_rack
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.ratings import AGAINST, Capacity, capacities
from dcim.capacity.scopes import Grouping, Layout, Scope, counted_twice, groups
from dcim.capacity.spans import Grid, coarser
from dcim.capacity.utilization import STATS, Stat, Usage, survey, together, usages
from dcim.core.assets import AssetKey
from dcim.core.times import from_us
from dcim.core.topology import Medium

router = APIRouter(tags=["utilization"], responses=RESPONSES)

ANSWERS_MAX = 20_000
"""Scopes that one answer is about, after grouping."""
VALUES_MAX = 500_000
"""Values of all series of one answer."""
KEEP_S, KEEP_NOW_S, BLIND_S = 60.0, 10.0, 10.0
"""For how long an answer is given again; the second where it says what is now, the third without looking whether the
inventory is the same."""


class ScopeBody(BaseModel):
    """One scope that can be asked about."""

    scope: str = Field(description="Its name, for `scope=`.", examples=["hall/titan/Hall 1"])
    kind: Literal["site", "hall", "row", "asset"]
    asset_kind: str = Field(description="Of an asset, its DSX object type; empty for others.")
    racks: int = Field(description="Racks in it.")


class AgainstBody(BaseModel):
    """What the use is compared with."""

    what: Literal["rating", "contract", "failover_safe"] = Field(
        description="rating: what it is built for, from the inventory. contract: what the site may draw. "
        "failover_safe: what may be used so that the loss of the strongest feed, or of as many cooling units as the "
        "design allows, overloads nothing."
    )
    value: float | None = Field(
        description="In the answer's unit; null where nobody can tell: `why` says what it takes."
    )
    kind: Literal["measured", "estimated", "missing"]
    why: str
    mean_pct: float | None = Field(description="100 × mean ÷ value, %.")
    p95_pct: float | None = Field(description="100 × p95 ÷ value, %. How full it is, by the usual definition.")
    peak_pct: float | None = Field(description="100 × peak ÷ value, %.")


class PreviousBody(BaseModel):
    """The same of the period before."""

    start: datetime
    end: datetime
    mean: float | None
    p95: float | None
    peak: float | None
    coverage_pct: float
    change_pct: float | None = Field(description="100 × (mean − mean before) ÷ mean before, %.")


class UsageSeriesBody(BaseModel):
    """Time-weighted means of equal steps."""

    step_s: int
    times: list[datetime] = Field(description="When each step begins, UTC; those without any reading are left out.")
    values: list[float] = Field(description="In the answer's unit.")


class UsageBody(BaseModel):
    """What one scope uses."""

    scope: str = Field(examples=["row/demo/Hall 1/A"])
    kind: Literal["measured", "estimated", "missing"] = Field(
        description="measured: at a meter of its own. estimated: from its parts, with gaps bridged or parts missing; "
        "or from other quantities. missing: nothing was read."
    )
    coverage_pct: float = Field(description="Of the time of all meters that it takes, how much readings cover, %.")
    boundary: str = Field(description="What it covers, and at which meters.")
    why: str = Field(description="How it was come by, or why it is missing.")
    parts: int = Field(description="Meters that it is made of.")
    missing: list[str] = Field(description="Parts that nothing measured, 20 at most.")
    missing_total: int = Field(description="How many these are.")
    now: float | None = Field(
        default=None, description="From the last values, none older than 250 s; null where they do not say."
    )
    mean: float | None = Field(
        default=None,
        description="Σ value × time ÷ Σ time over what readings cover. A reading holds until the next, for 250 s at "
        "most; a gap counts neither as 0 nor as anything.",
    )
    p50: float | None = Field(default=None, description="For half of the covered time it was at or below this.")
    p95: float | None = Field(default=None, description="For 95 % of the covered time it was at or below this.")
    peak: float | None = Field(
        default=None, description="Highest reading; of a sum, its highest step: parts peak at different times."
    )
    peak_at: datetime | None = Field(default=None, description="When the step with the peak begins, UTC.")
    energy_kwh: float | None = Field(
        default=None, description="Of power and heat: Σ kW × h over the time for which it is known, kWh."
    )
    against: list[AgainstBody]
    previous: PreviousBody | None = None
    series: UsageSeriesBody | None = None


class UtilizationBody(BaseModel):
    """Use of a resource."""

    resource: str = Field(examples=["power"])
    unit: str = Field(examples=["kW"])
    start: datetime
    end: datetime
    zone: str = Field(description="The clocks that a calendar period goes by.")
    resolution: str = Field(description="The finest that the answer was read from: raw, minute or hour.")
    resolution_s: int = Field(
        description="Width of the steps that it is made of, seconds: percentiles and peaks of sums are of means over "
        "these. 10 s: of readings as they came, weighted by time; else each step is the mean of its readings."
    )
    answers: list[UsageBody] = Field(description="One for each scope, or for each part where they are grouped.")


@router.get("/scopes", summary="What can be asked about")
def scopes(layout: LayoutNow, cursor: Cursor = None, limit: Limit = 1_000) -> Page[ScopeBody]:
    """Sites, halls, rows and assets, by name, as questions about use, capacity, efficiency and cost name them."""
    ordered = [layout.scopes[name] for name in sorted(layout.scopes)]
    page, following = cut(ordered, lambda scope: [scope.name], cursor, limit)
    items = [
        ScopeBody(
            scope=scope.name,
            kind=scope.kind,
            asset_kind=layout.kind_of(scope.key) if scope.kind == "asset" else "",
            racks=len(layout.racks_in(scope)),
        )
        for scope in page
    ]
    return Page(items=items, total=len(ordered), next_cursor=following)


@router.get(
    "/utilization",
    summary="How full it is",
    response_model=None,
    responses={
        200: {
            "model": UtilizationBody,
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        304: {"description": "The client has this answer already (`If-None-Match`)."},
        409: {"description": "The sum would count something twice: a meter and what it feeds."},
    },
)
async def utilization(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    scope: Scopes,
    resource: Annotated[
        Resource,
        Query(
            description="power: kW, at racks the IT power. liquid_cooling: kW of heat, ρ·cp·V̇·ΔT of a rack's or CDU's "
            "stream. air_cooling: kW, a rack's power less the heat in its liquid. gpu: % of the time with a kernel "
            "resident (DCGM 203). gpu_sm: % of SMs active (DCGM 1002). gpu_memory: % of the time that memory moves "
            "data (DCGM 1005). gpu_power: kW of GPUs, against their limits (DCGM 155, 164). space: positions with a "
            "rack."
        ),
    ] = "power",
    window: Window = None,
    start: Start = None,
    end: End = None,
    group_by: Annotated[Grouping, Query(description="Answer for each of these in the scopes, instead.")] = "none",
    stat: Annotated[
        list[Stat] | None, Query(description="Only these figures. All when left out.", max_length=len(STATS))
    ] = None,
    compare: Annotated[bool, Query(description="Also the period before.")] = False,
    total: Annotated[
        bool, Query(description="One answer: all scopes together. Refused where something would count twice.")
    ] = False,
    step: Annotated[
        str | None,
        Query(description="Also a series in steps of this length: 1m, 1h, 1d.", examples=["1h"], max_length=16),
    ] = None,
    format: Annotated[  # noqa: A002  the name that clients see
        Form, Query(description="json; csv or arrow: a table, of the series where `step` is given.")
    ] = "json",
) -> Response:
    """How much of a resource is used, against what it is rated for, by scope and period, each figure with where it
    comes from: measured, estimated or missing, and how much of the time readings cover.

    Halls and rows are the sums of their racks (of percentages, the means over their GPUs): a meter above them is not
    added to what it feeds. Figures come from the minutes or hours that the store keeps where that is enough. An answer
    may be a minute old, ten seconds where it says what is now."""
    chosen = scopes_of(layout, scope)
    asked = period_of(ctx, layout, chosen, window, start, end)
    if total and group_by != "none":
        raise bad("query.total", "total makes one answer of all, and group_by many of each. Give one of them.")
    if resource == "space" and (step is not None or compare):
        raise bad("query.step" if step else "query.compare", "Space is known as it is now, not over time.")
    stats = frozenset(stat or STATS)

    def make() -> tuple[bytes, str]:
        return _make(ctx, layout, chosen, asked, _Wanted(resource, group_by, stats, compare, total, step, format))

    keep_s = KEEP_NOW_S if "now" in stats and resource != "space" else KEEP_S
    return await answer(
        request, (layout.number, asked.period), layout.plant.version, ctx.clock.us(), keep_s, make, blind_s=BLIND_S
    )


class _Wanted(NamedTuple):
    resource: Resource
    group_by: Grouping
    stats: frozenset[Stat]
    compare: bool
    total: bool
    step: str | None
    form: Form


def _make(ctx: Context, layout: Layout, chosen: list[Scope], asked: Asked, wanted: _Wanted) -> tuple[bytes, str]:
    scopes = list(dict.fromkeys(part for scope in chosen for part in groups(layout, scope, wanted.group_by)))
    if not scopes:
        raise bad("query.group_by", f"Nothing in these scopes has a {wanted.group_by}: no rack there is placed in one.")
    if len(scopes) > ANSWERS_MAX:
        raise bad("query.group_by", f"These are {len(scopes)} answers; {ANSWERS_MAX} are the most.")
    if wanted.total:
        medium = Medium.COOLANT if wanted.resource == "liquid_cooling" else Medium.POWER
        if twice := counted_twice(layout, scopes, medium):
            raise Wrong(
                409,
                "Counted twice",
                f"The sum of {twice.one.name} and {twice.other.name} would count something twice: {twice.why}. "
                "Ask for one of them, or leave total out.",
                field="query.scope",
            )
    if wanted.resource == "space":
        told = [_space(layout, scope) for scope in scopes]
        told = [_add_space(told)] if wanted.total else told
        return _form(_head(wanted, asked, "none", 0), told, wanted)
    return _over_time(ctx, layout, scopes, asked, wanted)


def _over_time(ctx: Context, layout: Layout, scopes: list[Scope], asked: Asked, wanted: _Wanted) -> tuple[bytes, str]:
    of = survey(layout, wanted.resource, scopes)
    if wanted.total:
        of = together(of)
    step_s = history.step_s_of(len(of.points), asked.period)
    if step_s is None:
        raise bad("query.scope", f"{len(of.points)} points over this period are too many. Ask for less at a time.")
    every = step_of(wanted.step, asked.period, step_s, len(of.parts), VALUES_MAX)
    peaks = "peak" in wanted.stats
    past = history.read(ctx.store, of.points, asked.period, step_s=step_s, peaks=peaks)
    found = usages(of, past.grid)
    now = usages(of, history.present(ctx.watch.latest, of.points, ctx.clock.us())) if "now" in wanted.stats else None
    before = None
    if wanted.compare:
        earlier = history.read(ctx.store, of.points, asked.previous, step_s=step_s, peaks=peaks)
        before = usages(of, earlier.grid)
    limits = _GpuLimits(ctx, layout)
    told = []
    for row, usage in enumerate(found.usages):
        parts = scopes if wanted.total else [usage.scope]
        name = " + ".join(scope.name for scope in parts)
        against = _summed([capacities(layout, scope, wanted.resource, limits.of) for scope in parts])
        body = _usage(name, usage, against, wanted)
        if now is not None:
            body["now"] = now.usages[row].mean
        if before is not None:
            body["previous"] = _previous(asked.previous, usage, before.usages[row])
        told.append(body)
    series = None if every is None else coarser(found.grid, every)
    if series is not None and wanted.form != "json":
        return as_table(_series_table(told, series), wanted.form)
    for row, body in enumerate(told):
        if series is not None:
            body["series"] = _series(series, row)
    return _form(_head(wanted, asked, past.tier, past.step_s), told, wanted)


def _head(wanted: _Wanted, asked: Asked, tier: str, step_s: int) -> dict[str, Any]:
    return {
        "resource": wanted.resource,
        "unit": UNITS[wanted.resource],
        "start": asked.period.start,
        "end": asked.period.end,
        "zone": asked.zone,
        "resolution": str(tier),
        "resolution_s": step_s,
    }


def _usage(name: str, usage: Usage, against: Sequence[Capacity], wanted: _Wanted) -> dict[str, Any]:
    figures = {"mean": usage.mean, "p50": usage.p50, "p95": usage.p95, "peak": usage.peak}
    shown: dict[str, Any] = {key: value for key, value in figures.items() if key in wanted.stats}
    if "peak" in wanted.stats and usage.peak_at_us is not None:
        shown["peak_at"] = from_us(usage.peak_at_us)
    if wanted.resource in ADDS_UP:
        shown["energy_kwh"] = usage.integral_h
    return {
        "scope": name,
        "kind": str(usage.kind),
        "coverage_pct": round(usage.coverage_pct, 3),
        "boundary": usage.boundary,
        "why": usage.why,
        "parts": usage.parts,
        "missing": list(usage.missing),
        "missing_total": usage.missing_total,
        **shown,
        "against": [_against(one, figures, wanted.stats) for one in against],
    }


def _against(one: Capacity, figures: dict[str, float | None], stats: frozenset[Stat]) -> dict[str, Any]:
    def share(name: Stat) -> float | None:
        figure = figures[name]
        return None if figure is None or not one.value or name not in stats else 100.0 * figure / one.value

    return {
        "what": one.what,
        "value": one.value,
        "kind": str(one.kind),
        "why": one.why,
        "mean_pct": share("mean"),
        "p95_pct": share("p95"),
        "peak_pct": share("peak"),
    }


def _summed(of: list[list[Capacity]]) -> list[Capacity]:
    """What several scopes together are compared with: sums, where each has the figure."""
    if len(of) == 1:
        return of[0]
    found = []
    for what in AGAINST:
        each = [next((one for one in parts if one.what == what), None) for parts in of]
        values = [one.value for one in each if one is not None and one.value is not None]
        if len(values) == len(each):
            found.append(Capacity(what, sum(values), FigureKind.ESTIMATED, f"sum over {len(values)} scopes"))
        elif any(each):
            lacking = len(each) - len(values)
            found.append(
                Capacity(what, None, FigureKind.MISSING, f"{lacking} of {len(each)} scopes have no such figure")
            )
    return found


def _previous(period: Period, usage: Usage, before: Usage) -> dict[str, Any]:
    change = None
    if usage.mean is not None and before.mean:
        change = 100.0 * (usage.mean - before.mean) / before.mean
    return {
        "start": period.start,
        "end": period.end,
        "mean": before.mean,
        "p95": before.p95,
        "peak": before.peak,
        "coverage_pct": round(before.coverage_pct, 3),
        "change_pct": change,
    }


class _GpuLimits:
    """The power limits of racks' GPUs as they are enforced now."""

    def __init__(self, ctx: Context, layout: Layout) -> None:
        self._ctx, self._layout = ctx, layout
        self._by_rack: dict[AssetKey, list[int]] | None = None

    def of(self, key: AssetKey) -> float | None:
        """The sum, kW; None where a GPU of it does not tell its limit."""
        if self._by_rack is None:
            self._by_rack = gpus_by_rack(self._layout.plant, "GpuPowerLimit")
        plant = self._layout.plant
        points = [point.id for point in plant.at(key, "GpuPowerLimit")] or self._by_rack.get(key, [])
        limits = [self._ctx.watch.latest.value_of(point) for point in points]
        given = [limit for limit in limits if limit is not None]
        return sum(given) if given and len(given) == len(limits) else None


def _space(layout: Layout, scope: Scope) -> dict[str, Any]:
    racks = len(layout.racks_in(scope))
    wanted = _Wanted("space", "none", frozenset(("now",)), compare=False, total=False, step=None, form="json")
    against = capacities(layout, scope, "space", lambda _: None)
    body = _usage(scope.name, _racks_standing(scope, racks), against, wanted)
    body["now"] = float(racks)
    for one in body["against"]:
        one["mean_pct"] = 100.0 * racks / one["value"] if one["value"] else None
    return body


def _racks_standing(scope: Scope, racks: int) -> Usage:
    return Usage(
        scope, FigureKind.MEASURED, 100.0, f"{scope.name}: positions with a rack", "racks of the inventory and the bus",
        racks, (), 0,
    )  # fmt: skip


def _add_space(told: list[dict[str, Any]]) -> dict[str, Any]:
    first = dict(told[0])
    first["scope"] = " + ".join(body["scope"] for body in told)
    first["now"] = sum(body["now"] for body in told)
    first["parts"] = sum(body["parts"] for body in told)
    values = [body["against"][0]["value"] for body in told]
    whole = None if None in values else sum(values)
    first["against"] = [
        {**told[0]["against"][0], "value": whole, "mean_pct": 100.0 * first["now"] / whole if whole else None}
    ]
    return first


def _series(grid: Grid, row: int) -> dict[str, Any]:
    known = np.flatnonzero(~np.isnan(grid.mean[row]))
    edges = grid.steps.edges
    return {
        "step_s": grid.steps.step_us // 1_000_000,
        "times": [from_us(int(edges[step])) for step in known],
        "values": grid.mean[row, known].tolist(),
    }


def _series_table(told: list[dict[str, Any]], grid: Grid) -> pl.DataFrame:
    rows, steps = np.nonzero(~np.isnan(grid.mean))
    names = np.array([body["scope"] for body in told], dtype=object)
    return pl.DataFrame(
        {
            "scope": pl.Series(names[rows].tolist(), dtype=pl.String),
            "time": pl.Series(grid.steps.edges[steps]).cast(pl.Datetime("us", "UTC")),
            "value": grid.mean[rows, steps],
        }
    )


def _form(head: dict[str, Any], told: list[dict[str, Any]], wanted: _Wanted) -> tuple[bytes, str]:
    if wanted.form == "json":
        return as_json({**head, "answers": told}), JSON
    return as_table(_table(head, told), wanted.form)


_FLAT: dict[str, pl.DataType] = {
    "scope": pl.String(), "resource": pl.String(), "unit": pl.String(), "start": pl.Datetime("us", "UTC"),
    "end": pl.Datetime("us", "UTC"), "kind": pl.String(), "coverage_pct": pl.Float64(), "now": pl.Float64(),
    "mean": pl.Float64(), "p50": pl.Float64(), "p95": pl.Float64(), "peak": pl.Float64(),
    "peak_at": pl.Datetime("us", "UTC"), "energy_kwh": pl.Float64(), "parts": pl.Int64(), "missing_total": pl.Int64(),
    "previous_mean": pl.Float64(), "change_pct": pl.Float64(), "boundary": pl.String(), "why": pl.String(),
}  # fmt: skip


def _table(head: dict[str, Any], told: list[dict[str, Any]]) -> pl.DataFrame:
    """One row for each answer; what it is compared with as three columns for each figure."""
    columns: dict[str, list[Any]] = {name: [] for name in _FLAT}
    compared: dict[str, list[Any]] = {f"{what}{tail}": [] for what in AGAINST for tail in ("", "_mean_pct", "_p95_pct")}
    for body in told:
        previous = body.get("previous") or {}
        row = {**head, **body, "previous_mean": previous.get("mean"), "change_pct": previous.get("change_pct")}
        for name, column in columns.items():
            column.append(row.get(name))
        by_what = {one["what"]: one for one in body["against"]}
        for what in AGAINST:
            one = by_what.get(what, {})
            for tail, key in (("", "value"), ("_mean_pct", "mean_pct"), ("_p95_pct", "p95_pct")):
                compared[f"{what}{tail}"].append(one.get(key))
    return pl.DataFrame(
        {**columns, **compared}, schema={**_FLAT, **dict.fromkeys(compared, pl.Float64())}, strict=False
    )
