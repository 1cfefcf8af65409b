"""Cost: what a kWh at the IT and an hour of a GPU come to, with the boundary of each stated.

Lives here: these two, out of a boundary's balance (efficiency.py) and what people say of capital and operation. Not
here: energy of jobs (jobs.py) and of tokens (serving.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dcim.capacity.efficiency import Balance, Efficiency, Survey
from dcim.capacity.provenance import Figure, FigureKind, Period, missing
from dcim.capacity.spans import Grid

HOURS_A_YEAR: Final = 8_766.0
"""Of 365.25 days."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What people say of a site's costs; None where nobody did. Money is in the currency of the site's tariff."""

    gpu_capital: float | None = None
    """What a GPU costs with its share of host, rack, network and building."""
    gpu_life_years: float | None = None
    """Over which that is written off, in equal parts."""
    operation_per_gpu_year: float | None = None
    """People, spares, licences and rent, without energy."""
    availability: float | None = None
    """Share of the time in which a GPU can be used, above 0, 1 at most."""
    pue_assumed: float | None = None
    """Where nothing meters what the site draws."""


def costs(of: Survey, points: Grid, period: Period, terms: Terms, gpus: int) -> list[Efficiency]:
    """Cost per kWh that reaches the IT, and per GPU-hour, over a period. gpus: GPUs in the scope."""
    site = of.layout.inventory.sites.get(of.boundary.scope.site)
    scope = of.boundary.scope.name
    tariff = site.tariff_per_kwh if site is not None else ()
    currency = (site.currency if site is not None else "") or "money"
    balance = Balance(of, points, period)
    per_kwh_unit, per_hour_unit = f"{currency}/kWh", f"{currency}/GPU-h"

    if not tariff:
        per_kwh = missing(per_kwh_unit, period, scope, "the inventory gives no tariff_per_kwh of the site")
    elif of.sides["facility"]:
        per_kwh = balance.ratio("facility", "it", per_kwh_unit, tariff)
    elif terms.pue_assumed is not None:
        at_it = balance.ratio("it", "it", per_kwh_unit, tariff)
        value = None if at_it.value is None else at_it.value * terms.pue_assumed
        why = f"nothing meters what {scope} draws: a PUE of {terms.pue_assumed:g} is assumed"
        per_kwh = replace(at_it, value=value, why=why if value is not None else at_it.why,
                          kind=FigureKind.ESTIMATED if value is not None else FigureKind.MISSING)  # fmt: skip
    else:
        per_kwh = missing(
            per_kwh_unit,
            period,
            scope,
            f"no meter of what {scope} draws is named in [[boundaries]], and no pue_assumed",
        )
    energy = _energy_per_gpu_hour(balance, per_kwh, period, scope, per_hour_unit, gpus)
    fixed = _fixed_per_gpu_hour(terms, period, scope, per_hour_unit)
    total = _together(energy, fixed, terms, period, scope, per_hour_unit)
    told = "its share of what the site draws, at the tariff"
    return [
        Efficiency("cost_per_kwh", f"per kWh that reaches the IT: {told}", per_kwh,
                   "Σ facility energy × tariff ÷ IT energy", "meters, tariff"),
        Efficiency("energy_cost_per_gpu_hour", f"energy per GPU-hour: {told}", energy,
                   "cost per kWh × IT energy ÷ (GPUs × hours)", "meters, tariff"),
        Efficiency("fixed_cost_per_gpu_hour", "capital and operation per GPU-hour", fixed,
                   "capital ÷ life + operation per year, by the hour", "settings"),
        Efficiency("cost_per_gpu_hour", "capital, operation and energy per GPU-hour that can be used", total,
                   "(capital + operation + IT energy × PUE × tariff) ÷ (GPU-hours × availability)",
                   "meters, tariff, settings"),
    ]  # fmt: skip


def _energy_per_gpu_hour(balance: Balance, per_kwh: Figure, period: Period, scope: str, unit: str, gpus: int) -> Figure:
    if per_kwh.value is None:
        return missing(unit, period, scope, per_kwh.why)
    if gpus <= 0:
        return missing(unit, period, scope, "no GPU is known in it")
    mean_kw = balance.mean_kw("it")
    if mean_kw.value is None:
        return missing(unit, period, scope, mean_kw.why)
    return Figure(
        per_kwh.value * mean_kw.value / gpus, unit,
        FigureKind.MEASURED if per_kwh.kind is mean_kw.kind is FigureKind.MEASURED else FigureKind.ESTIMATED,
        min(per_kwh.coverage_pct, mean_kw.coverage_pct), period, f"{per_kwh.boundary}, for {gpus} GPUs", per_kwh.why,
    )  # fmt: skip


def _fixed_per_gpu_hour(terms: Terms, period: Period, scope: str, unit: str) -> Figure:
    lacking = [
        name
        for name, value in (
            ("gpu_capital", terms.gpu_capital),
            ("gpu_life_years", terms.gpu_life_years),
            ("operation_per_gpu_year", terms.operation_per_gpu_year),
        )
        if value is None
    ]
    if terms.gpu_capital is None or terms.gpu_life_years is None or terms.operation_per_gpu_year is None:
        return missing(unit, period, scope, f"[[costs]] gives no {' and no '.join(lacking)} of the site")
    value = (terms.gpu_capital / terms.gpu_life_years + terms.operation_per_gpu_year) / HOURS_A_YEAR
    return Figure(
        value, unit, FigureKind.ESTIMATED, 100.0, period, scope, "as [[costs]] says, in equal parts over life"
    )


def _together(energy: Figure, fixed: Figure, terms: Terms, period: Period, scope: str, unit: str) -> Figure:
    if energy.value is None or fixed.value is None:
        lacking = energy if energy.value is None else fixed
        return missing(unit, period, scope, lacking.why)
    available = terms.availability if terms.availability is not None else 1.0
    why = f"availability {available:g}" if terms.availability is not None else "as if every GPU could always be used"
    return Figure(
        (energy.value + fixed.value) / available, unit, FigureKind.ESTIMATED, energy.coverage_pct, period,
        f"{energy.boundary}; capital and operation as [[costs]] says", "; ".join(filter(None, (why, energy.why))),
    )  # fmt: skip
