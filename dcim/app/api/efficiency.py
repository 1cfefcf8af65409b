"""How efficient it is and what it costs: ratios, the yearly report, cost per kWh and per GPU-hour.

Lives here: the routes, their bodies, and the page to print. Not here: the figures (dcim.capacity.efficiency, cost)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from dcim.app import history
from dcim.app.api.answers import HTML, JSON, Form, answer, as_json, as_table
from dcim.app.api.asking import Asked, End, LayoutNow, Scopes, Start, Window, period_of, scopes_of
from dcim.app.api.context import Context, Ctx
from dcim.app.api.problems import RESPONSES, Wrong, bad
from dcim.capacity.cost import Terms, costs
from dcim.capacity.efficiency import Efficiency, ReportLine, Survey, figures, survey, yearly
from dcim.capacity.meters import gpus_by_rack
from dcim.capacity.provenance import Figure, Period
from dcim.capacity.scopes import Layout, Scope, counted_twice
from dcim.core.topology import Medium

router = APIRouter(tags=["efficiency"], responses=RESPONSES)

KEEP_S, BLIND_S = 60.0, 10.0
"""For how long an answer is given again, and for how long without looking whether the inventory is the same."""
REPORT_FROM_KW = 500.0
"""Installed IT power from which Delegated Regulation (EU) 2024/1364 asks for a report."""


class NamedFigureBody(BaseModel):
    """One figure, with where it comes from."""

    name: str = Field(examples=["PUE"])
    label: str = Field(description="As it may be quoted: with its category and period.", examples=["PUE3, annual"])
    value: float | None = Field(description="null where nobody can tell; `why` says what it takes.")
    unit: str = Field(description="Empty for ratios.")
    kind: Literal["measured", "estimated", "missing"]
    coverage_pct: float = Field(description="Of the period, for how much its meters were read, %.")
    boundary: str = Field(description="Which meters it stands for.")
    why: str
    formula: str
    source: str = Field(description="Who defines it.")


class EfficiencyBody(BaseModel):
    """The figures of one scope."""

    scope: str
    role: str = Field(description="What its site is for, as the inventory says: training_hub, inference_zone, …")
    figures: list[NamedFigureBody]


class EfficienciesBody(BaseModel):
    """Figures of scopes over a period."""

    start: datetime
    end: datetime
    zone: str
    resolution_s: int = Field(description="Width of the steps that they are made of, seconds.")
    answers: list[EfficiencyBody]


class ReportLineBody(BaseModel):
    """One figure of the yearly report."""

    symbol: str = Field(description="As the regulation calls it.", examples=["EDC"])
    what: str
    text: str = Field(description="What is told in words, as types of refrigerants are; else empty.")
    value: float | None
    unit: str
    kind: Literal["measured", "estimated", "missing"]
    coverage_pct: float
    boundary: str
    why: str


class ReportBody(BaseModel):
    """The figures of one site and year."""

    site: str
    year: int
    start: datetime
    end: datetime
    complete: bool = Field(description="Whether the year is over.")
    obliged: bool | None = Field(description="Whether 500 kW of installed IT are reached; null where nobody said.")
    lines: list[ReportLineBody]


_TABLES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EfficienciesBody,
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    304: {"description": "The client has this answer already (`If-None-Match`)."},
    409: {"description": "Meters of a boundary lie behind one another, and would count twice."},
}


@router.get("/efficiency", summary="How efficient it is", response_model=None, responses=_TABLES)
async def efficiency(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    scope: Scopes,
    window: Window = None,
    start: Start = None,
    end: End = None,
    format: Annotated[Form, Query(description="json, or a table as csv or arrow.")] = "json",  # noqa: A002
) -> Response:
    """PUE (of halls, pPUE), WUE, CUE, REF, ERF, ITUE and TUE of sites and halls, with the energies that they are made
    of. Which meters stand at a boundary is said in `[[boundaries]]` of the settings; carbon and renewable factors over
    time in the inventory.

    A ratio is taken over the time for which both of its sides are known, and is called interim below a year."""
    chosen = _sites_and_halls(layout, scope)
    asked = period_of(ctx, layout, chosen, window, start, end)

    def make() -> tuple[bytes, str]:
        return _make(ctx, layout, chosen, asked, format, _efficiencies)

    return await answer(
        request, (layout.number, asked.period), layout.plant.version, ctx.clock.us(), KEEP_S, make, blind_s=BLIND_S
    )


@router.get("/cost", summary="What it costs", response_model=None, responses=_TABLES)
async def cost(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    scope: Scopes,
    window: Window = None,
    start: Start = None,
    end: End = None,
    format: Annotated[Form, Query(description="json, or a table as csv or arrow.")] = "json",  # noqa: A002
) -> Response:
    """Cost per kWh that reaches the IT, and per GPU-hour, of sites and halls, with the boundary stated: the tariff over
    time and its currency are the inventory's, capital and operation those of `[[costs]]` in the settings. Sites for
    training and for inference stand side by side when both are asked for; `role` says which is which."""
    chosen = _sites_and_halls(layout, scope)
    asked = period_of(ctx, layout, chosen, window, start, end)

    def make() -> tuple[bytes, str]:
        return _make(ctx, layout, chosen, asked, format, _costs)

    return await answer(
        request, (layout.number, asked.period), layout.plant.version, ctx.clock.us(), KEEP_S, make, blind_s=BLIND_S
    )


@router.get(
    "/efficiency/report",
    summary="The yearly report",
    response_model=None,
    responses={
        200: {"model": ReportBody, "content": {"text/csv": {}, "text/html": {}}},
        304: {"description": "As is."},
    },
)
async def yearly_report(
    request: Request,
    ctx: Ctx,
    layout: LayoutNow,
    site: Annotated[str, Query(description="Name of the site.", examples=["demo"], max_length=64)],
    year: Annotated[int, Query(description="By the site's clocks.", ge=1971, le=2199)],
    format: Annotated[  # noqa: A002
        Literal["json", "csv", "html"], Query(description="json, csv, or html: a page to print.")
    ] = "json",
) -> Response:
    """The figures that Delegated Regulation (EU) 2024/1364 asks for, of one site and year, in the order of its annexes:
    also those that cannot be told from here, with what it takes. Of a year that goes on, until now. What no
    meter tells are facts of `[[inventory.sites]]`.

    | figure | formula | unit |
    |---|---|---|
    | EDC, EDC-BG, EIT, ERES-OS | Σ power × time, of the meters that `[[boundaries]]` names | kWh |
    | WIN, WIN-POT | Σ flow × time ÷ 1000 | m³ |
    | EREUSE | Σ ρ·cp·V̇·ΔT × time | kWh |
    | TWH | Σ temperature of the warm side × heat ÷ Σ heat | °C |
    | TIN | mean of the set points of air | °C |
    | ERES-GOO, ERES-PPA | Σ EDC × the share that holds then | kWh |
    | ERES-TOT | Σ EDC × `renewable_share`, else the sum of its three parts | kWh |
    | PUE, ERF, REF | EDC ÷ EIT, EREUSE ÷ EDC, ERES-TOT ÷ EDC (ISO/IEC 30134-2, -6, -3) | – |
    | WUE | WIN ÷ EIT (ISO/IEC 30134-9) | L/kWh |
    | PDIT, CBtG; SDC, SCR; CDD; CSTOR; BIN, BOUT | as the inventory gives them | kW; m²; K·d; PB; Gbit/s |"""
    (chosen,) = _sites_and_halls(layout, [f"site/{site}"], "query.site")
    try:
        asked = period_of(ctx, layout, [chosen], str(year), None, None)
    except Wrong as error:
        raise bad("query.year", error.detail) from error

    def make() -> tuple[bytes, str]:
        of, points = _read(ctx, layout, chosen, asked.period)
        lines = yearly(of, points.grid, asked.period)
        inventory = layout.inventory.sites.get(chosen.site)
        installed = inventory.installed_it_kw if inventory is not None else None
        told = [_line(line) for line in lines]
        body: dict[str, Any] = {
            "site": chosen.site,
            "year": year,
            "start": asked.period.start,
            "end": asked.period.end,
            "complete": ctx.clock() >= asked.period.end and (asked.period.end - asked.period.start).days >= 365,
            "obliged": None if installed is None else installed >= REPORT_FROM_KW,
            "lines": told,
        }
        if format == "json":
            return as_json(body), JSON
        if format == "csv":
            return as_table(pl.DataFrame(told, schema=_LINE, strict=False), "csv")
        return _page(body).encode(), HTML

    return await answer(
        request, (layout.number, asked.period), layout.plant.version, ctx.clock.us(), KEEP_S, make, blind_s=BLIND_S
    )


def _sites_and_halls(layout: Layout, names: list[str], field: str = "query.scope") -> list[Scope]:
    try:
        chosen = scopes_of(layout, names)
    except Wrong as error:
        raise Wrong(error.status, error.title, error.detail, field=field) from error
    for scope in chosen:
        if scope.kind not in {"site", "hall"}:
            raise bad(field, f"{scope.name} has no boundary of its own: ask for a site or a hall.")
    return chosen


def _read(ctx: Context, layout: Layout, scope: Scope, period: Period) -> tuple[Survey, history.Past]:
    boundary = ctx.energy.boundary(scope)
    for name, ids in (("facility", boundary.facility), ("it", boundary.it)):
        meters = [Scope("asset", scope.site, asset=each) for each in ids]
        if twice := counted_twice(layout, meters, Medium.POWER):
            raise Wrong(
                409,
                "Counted twice",
                f"The boundary of {scope.name} names {twice.one.asset} and {twice.other.asset} as {name}, but "
                f"{twice.why}: their sum would count it twice. Take one out of [[boundaries]].",
                field="query.scope",
            )
    of = survey(layout, boundary)
    return of, history.read(ctx.store, of.points, period, peaks=False)


def _efficiencies(_: Context, of: Survey, past: history.Past, period: Period) -> list[Efficiency]:
    return figures(of, past.grid, period)


def costs_of(ctx: Context, layout: Layout, scope: Scope, period: Period) -> list[Efficiency]:
    """What a kWh and a GPU-hour of a site or hall cost over a period. Blocking."""
    of, past = _read(ctx, layout, scope, period)
    return _costs(ctx, of, past, period)


def _costs(ctx: Context, of: Survey, past: history.Past, period: Period) -> list[Efficiency]:
    scope = of.boundary.scope
    by_rack = gpus_by_rack(of.layout.plant, "GpuPower")
    racks = of.layout.inventory.racks
    gpus = 0
    for key in of.layout.racks_in(scope):
        rack = racks.get(key)
        gpus += len(by_rack.get(key, ())) or (rack.gpus or 0 if rack is not None else 0)
    return costs(of, past.grid, period, ctx.energy.terms.get(scope.site, Terms()), gpus)


def _make(
    ctx: Context, layout: Layout, chosen: Sequence[Scope], asked: Asked, form: Form, tell: _Tell
) -> tuple[bytes, str]:
    answers: list[dict[str, Any]] = []
    step_s = 0
    for scope in chosen:
        of, past = _read(ctx, layout, scope, asked.period)
        step_s = max(step_s, past.step_s)
        site = layout.inventory.sites.get(scope.site)
        told = [_body(one) for one in tell(ctx, of, past, asked.period)]
        answers.append({"scope": scope.name, "role": str(site.role or "") if site else "", "figures": told})
    if form == "json":
        head = {"start": asked.period.start, "end": asked.period.end, "zone": asked.zone, "resolution_s": step_s}
        return as_json({**head, "answers": answers}), JSON
    rows = [
        {"scope": each["scope"], "role": each["role"], "start": asked.period.start, "end": asked.period.end, **one}
        for each in answers
        for one in each["figures"]
    ]
    return as_table(pl.DataFrame(rows, schema=_FLAT, strict=False), form)


_Tell = Callable[[Context, Survey, history.Past, Period], list[Efficiency]]
_WHERE: dict[str, Any] = {"kind": pl.String, "coverage_pct": pl.Float64, "boundary": pl.String, "why": pl.String}
_FLAT: dict[str, Any] = {
    "scope": pl.String, "role": pl.String, "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC"),
    "name": pl.String, "label": pl.String, "value": pl.Float64, "unit": pl.String, **_WHERE,
    "formula": pl.String, "source": pl.String,
}  # fmt: skip
_LINE: dict[str, Any] = {
    "symbol": pl.String, "what": pl.String, "text": pl.String, "value": pl.Float64, "unit": pl.String, **_WHERE,
}  # fmt: skip


def _where(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "unit": figure.unit,
        "kind": str(figure.kind),
        "coverage_pct": round(figure.coverage_pct, 3),
        "boundary": figure.boundary,
        "why": figure.why,
    }


def _body(one: Efficiency) -> dict[str, Any]:
    return {
        "name": one.name, "label": one.label, **_where(one.figure), "formula": one.formula, "source": one.source,
    }  # fmt: skip


def _line(line: ReportLine) -> dict[str, Any]:
    return {"symbol": line.symbol, "what": line.what, "text": line.text, **_where(line.figure)}


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:,.6g}"


def _page(body: dict[str, Any]) -> str:
    """The report as a page that needs nothing but itself."""
    state = "" if body["complete"] else f" The year goes on: until {body['end']:%Y-%m-%d %H:%M} UTC."
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in (line["symbol"], line["what"]))
        + f"<td>{escape(line['text']) or _number(line['value'])}</td>"
        + "".join(
            f"<td>{escape(str(cell))}</td>"
            for cell in (line["unit"], line["kind"], f"{line['coverage_pct']:.1f} %", line["boundary"], line["why"])
        )
        + "</tr>"
        for line in body["lines"]
    )
    heads = "".join(
        f"<th scope=col>{name}</th>"
        for name in ("Symbol", "Figure", "Value", "Unit", "Kind", "Coverage", "Boundary", "Note")
    )
    title = f"{escape(body['site'])}, {body['year']}: figures for Delegated Regulation (EU) 2024/1364"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="../../../console/report.css">
</head>
<body>
<h1>{title}</h1>
<p>From {body["start"]:%Y-%m-%d %H:%M} to {body["end"]:%Y-%m-%d %H:%M} UTC.{state} A figure marked missing is not 0.</p>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>{rows}</tbody>
</table>
</body>
</html>
"""
