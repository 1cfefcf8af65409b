"""Utilization: how much of a resource a scope uses, against what it is rated for, with where the figure comes from.

Two steps, so that whoever has the readings stands between them: `survey` says which points a question takes, `usages`
makes the answers out of their grid. Lives here: both, sums over groups and their statistics. Not here: which points
(meters.py), what is compared with (ratings.py), reading (dcim.app), bodies (dcim.app.api)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from dcim.capacity.meters import ADDS_UP, Meter, Resource, meters, read
from dcim.capacity.provenance import FigureKind
from dcim.capacity.scopes import Layout, Scope
from dcim.capacity.spans import Floats, Grid, add_up, average, coverage, integral_h, means, peaks, quantiles
from dcim.core.assets import AssetKey

Stat = Literal["now", "mean", "p50", "p95", "peak"]
STATS: Final[tuple[Stat, ...]] = get_args(Stat)
RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
NAMED_MAX: Final = 20
"""So many missing parts are named; the rest is counted."""


class Part(NamedTuple):
    """One answer to be: a scope, and what measures it."""

    scope: Scope
    meters: tuple[Meter, ...]
    silent: tuple[AssetKey, ...]
    """What ought to be in it, and nothing measures."""
    own: bool
    """Whether one meter is all of it: nothing is summed up."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a question takes."""

    layout: Layout
    resource: Resource
    parts: tuple[Part, ...]
    points: tuple[int, ...]
    """Every point that is needed, once, sorted."""


def survey(layout: Layout, resource: Resource, scopes: Sequence[Scope]) -> Survey:
    """Which points say how much of a resource each scope uses."""
    wanted = {scope: _measured_in(layout, scope, resource) for scope in dict.fromkeys(scopes)}
    found = meters(layout.plant, sorted({key for keys in wanted.values() for key in keys}), resource)
    parts = []
    for scope, keys in wanted.items():
        own = tuple(found[key] for key in keys if key in found)
        silent = tuple(key for key in keys if key not in found)
        parts.append(Part(scope, own, silent, scope.kind == "asset" and keys == (scope.key,)))
    points = sorted({point for part in parts for one in part.meters for point in one.points})
    return Survey(layout, resource, tuple(parts), tuple(points))


def together(of: Survey) -> Survey:
    """All parts as one; whether they may be added up is for the caller to see to (scopes.counted_twice)."""
    meters = tuple(one for part in of.parts for one in part.meters)
    silent = tuple(key for part in of.parts for key in part.silent)
    return replace(of, parts=(Part(of.parts[0].scope, meters, silent, own=len(of.parts) == 1 and of.parts[0].own),))


def _measured_in(layout: Layout, scope: Scope, resource: Resource) -> tuple[AssetKey, ...]:
    """The assets that make up a scope: racks for what racks use, CDUs for what a hall's liquid takes away."""
    if scope.kind == "asset":
        return (scope.key,)
    if resource == "liquid_cooling" and not scope.row:
        cdus = layout.assets_in(scope, frozenset({"CDU"}))
        if cdus and len(meters(layout.plant, cdus, resource)) == len(cdus):
            return cdus
    return layout.racks_in(scope)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a scope uses of a resource, over a period or at one moment. None and NaN-free: what is not known is None."""

    scope: Scope
    kind: FigureKind
    coverage_pct: float
    boundary: str
    why: str
    parts: int
    """How many meters it is made of."""
    missing: tuple[str, ...]
    """Names of parts of it that nothing measured, NAMED_MAX at most."""
    missing_total: int
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    peak: float | None = None
    peak_at_us: int | None = None
    integral_h: float | None = None
    """Mean × covered hours: kWh of kW."""


@dataclass(frozen=True, slots=True, eq=False)
class Usages:
    """The answers to a survey, with their grid: one row each."""

    usages: list[Usage]
    grid: Grid
    measured: Floats = field(default_factory=lambda: np.zeros(0))


def usages(of: Survey, points: Grid) -> Usages:
    """What each part of a survey uses. points: the grid of the survey's points, in their order.

    A part of one meter is that meter. A larger one is the sum of its meters (of percentages, the mean), called
    estimated where not all of them were read all of the time: a gap stands in the sum as the meter's own mean, and what
    nothing measured is not in it, but named.
    """
    row_of = {point: row for row, point in enumerate(of.points)}
    all_meters = list({id(one): one for part in of.parts for one in part.meters}.values())
    number_of = {id(one): number for number, one in enumerate(all_meters)}
    rows, measured = read(all_meters, points, row_of)
    said = ~np.isnan(means(rows)) if all_meters else np.zeros(0, np.bool_)
    steps, count = points.steps.number, len(of.parts)
    mean, cover, peak = np.full((count, steps), np.nan), np.zeros((count, steps)), np.full((count, steps), np.nan)
    shares = np.zeros(count)
    singles = [(row, number_of[id(part.meters[0])]) for row, part in enumerate(of.parts) if part.own and part.meters]
    if singles:
        into, out = (list(side) for side in zip(*singles, strict=True))
        mean[into], cover[into], peak[into] = rows.mean[out], rows.cover[out], rows.peak[out]
        shares[into] = measured[out]
    for row, part in enumerate(of.parts):
        if not part.own and part.meters:
            own = rows.rows([number_of[id(one)] for one in part.meters])
            joined = add_up(own) if of.resource in ADDS_UP else average(own)
            mean[row], cover[row], peak[row] = joined.grid.mean[0], joined.grid.cover[0], joined.grid.peak[0]
            spoken = np.array([measured[number_of[id(one)]] for one in part.meters])
            shares[row] = spoken.sum() / (len(part.meters) + len(part.silent))
    grid = Grid(points.steps, points.within, mean, cover, peak)
    return Usages(_tell(of, grid, shares, said, number_of), grid, shares)


def _tell(
    of: Survey, grid: Grid, shares: Floats, said: np.ndarray[tuple[int], np.dtype[np.bool_]], number_of: dict[int, int]
) -> list[Usage]:
    mean, (p50, p95) = means(grid), quantiles(grid, 0.5, 0.95)
    high, when = peaks(grid)
    hours, covered = integral_h(grid), coverage(grid)
    told = []
    for row, part in enumerate(of.parts):
        mute = [*part.silent, *(one.asset for one in part.meters if not said[number_of[id(one)]])]
        names = tuple(key.id for key in mute[:NAMED_MAX])
        kind, boundary, why = _provenance(
            of, part, float(shares[row]), len(mute), float(covered[row]), grid.steps.number
        )
        absent = (part.scope, FigureKind.MISSING, 0.0, boundary, _why_not(of, part), len(part.meters), names, len(mute))
        if np.isnan(mean[row]):
            told.append(Usage(*absent))
            continue
        told.append(
            Usage(
                scope=part.scope,
                kind=kind,
                coverage_pct=100.0 * float(shares[row]),
                boundary=boundary,
                why=why,
                parts=len(part.meters),
                missing=names,
                missing_total=len(mute),
                mean=float(mean[row]),
                p50=float(p50[row]),
                p95=float(p95[row]),
                peak=float(high[row]),
                peak_at_us=int(when[row]),
                integral_h=float(hours[row]),
            )
        )
    return told


def _provenance(
    of: Survey, part: Part, share: float, mute: int, covered: float, grid_steps: int
) -> tuple[FigureKind, str, str]:
    if part.own and part.meters:
        one = part.meters[0]
        return one.kind, one.boundary, one.why
    whole = part.scope.name
    count = len(part.meters) + len(part.silent)
    what = "sum" if of.resource in ADDS_UP else "mean"
    boundary = f"{whole}: {count} {_kinds(of.layout, part)}"
    reasons = []
    if mute:
        less = ", so the true figure is larger wherever they use any" if what == "sum" else ""
        reasons.append(f"{mute} of {count} were not measured{less}")
    edge = 1.0 / grid_steps  # where all begin or end together, within one step
    if share < covered - 0.005 - edge and not mute and len(part.meters) > 1:
        reasons.append("gaps of single meters are bridged with their own means of the period")
    if any(one.kind is FigureKind.ESTIMATED for one in part.meters):
        reasons.append("some parts are estimated themselves")
    kind = FigureKind.ESTIMATED if reasons else FigureKind.MEASURED
    if covered < 0.9995:
        reasons.append(f"for {1.0 - covered:.1%} of the time it is not known")
    head = f"{what} of {count - mute} meters" if count > 1 else "its only meter"
    return kind, boundary, "; ".join([head, *reasons])


def _kinds(layout: Layout, part: Part) -> str:
    keys = [one.asset for one in part.meters] + list(part.silent)
    kinds = {layout.kind_of(key) or "assets" for key in keys}
    return f"{kinds.pop()}s" if len(kinds) == 1 else "assets"


def _why_not(of: Survey, part: Part) -> str:
    if part.meters:
        return "nothing was read in the period"
    if not part.silent:
        return "no rack lies in it"
    return f"nothing measures {of.resource} there: no point of that kind is described"
