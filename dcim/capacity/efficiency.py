"""Efficiency: what a site draws for what reaches its IT, in the ratios that ISO/IEC 30134 and The Green Grid define.

A ratio is taken over the steps in which both of its sides are known, so that a gap in one meter shifts nothing; how
much of the period that is stands beside it as coverage. A ratio over less than a year is called interim: the standard
knows PUE as an annual figure alone.

Two steps, as in utilization.py: `survey` says which points it takes, `figures` makes the figures out of their grid.
Lives here: both, factors over time, and the yearly report's figures. Not here: which meters stand at a boundary, which
people say (settings), reading (dcim.app), the form of a page (dcim.app.api)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal, get_args

import numpy as np

from dcim.capacity.meters import Meter, flow_meter, gpus_by_rack, meter, meters, read
from dcim.capacity.provenance import Figure, FigureKind, Period, missing, total
from dcim.capacity.scopes import Layout, Scope
from dcim.capacity.spans import Floats, Grid, Joined, add_up, average, means
from dcim.core.assets import AssetKey
from dcim.core.inventory import FactorStep, Site, factor_at
from dcim.core.times import to_us

Side = Literal["facility", "it", "compute", "water", "reuse", "liquid", "potable", "onsite", "generators"]
"""What is measured: all that is drawn, what reaches the IT, what reaches its GPUs, water taken in, heat given to
others, heat that goes into the coolant of the racks, water taken in that is potable, renewable energy made and used on
the site, what backup generators gave."""
SIDES: Final[tuple[Side, ...]] = get_args(Side)
NAMED: Final[frozenset[Side]] = frozenset({"facility", "water", "reuse", "potable", "onsite", "generators"})
"""Sides of which people have to say which meters stand there."""

YEAR: Final = timedelta(days=365)
ANNUAL_COVERAGE_PCT: Final = 99.0
"""So much of a year has to be read before its figure is called annual."""
ISO = "ISO/IEC 30134"
GREEN_GRID = "The Green Grid; ITUE and TUE after Patterson et al. 2013"


@dataclass(frozen=True, slots=True)
class Boundary:
    """Which meters stand where, of a site or of a hall. People say so: a bus tells who feeds whom, but not what is the
    whole."""

    scope: Scope
    facility: tuple[str, ...] = ()
    """Ids of the meters through which all comes in that the scope draws, none of them behind another."""
    it: tuple[str, ...] = ()
    """Ids of the meters of the IT; its racks where none is named."""
    water: tuple[str, ...] = ()
    """Ids of flow meters of the water that is taken in."""
    reuse: tuple[str, ...] = ()
    """Ids of what passes heat on to others: flow and both temperatures are metered there."""
    potable: tuple[str, ...] = ()
    """Ids of flow meters of the part of that water that is potable."""
    onsite: tuple[str, ...] = ()
    """Ids of the meters of renewable energy that is made and used on the site."""
    generators: tuple[str, ...] = ()
    """Ids of the meters of backup generators."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a question about efficiency takes."""

    layout: Layout
    boundary: Boundary
    sides: Mapping[Side, tuple[Meter, ...]]
    unmetered: Mapping[Side, tuple[str, ...]]
    """Ids that were named or belong to it, and are measured by nothing."""
    intake: tuple[int, ...]
    """Set points of air temperature."""
    points: tuple[int, ...]


def survey(layout: Layout, boundary: Boundary) -> Survey:
    """Which points a boundary's figures take."""
    plant, scope = layout.plant, boundary.scope
    racks = layout.racks_in(scope)
    sides: dict[Side, tuple[Meter, ...]] = {}
    unmetered: dict[Side, tuple[str, ...]] = {}

    def put(side: Side, found: Mapping[str, Meter | None]) -> None:
        sides[side] = tuple(one for one in found.values() if one is not None)
        unmetered[side] = tuple(name for name, one in found.items() if one is None)

    def named(ids: Sequence[str]) -> list[AssetKey]:
        return [AssetKey(scope.site, each) for each in ids]

    put("facility", {key.id: meter(plant, key, "power") for key in named(boundary.facility)})
    of_it = named(boundary.it) or list(racks)
    by_key = meters(plant, of_it, "power")
    put("it", {key.id: by_key.get(key) for key in of_it})
    compute = meters(plant, racks, "gpu_power")
    with_gpus = [key for key in racks if key in compute or key in gpus_by_rack(plant, "GpuTemperature")]
    put("compute", {key.id: compute.get(key) for key in with_gpus})
    put("water", {key.id: flow_meter(plant, key) for key in named(boundary.water)})
    put("potable", {key.id: flow_meter(plant, key) for key in named(boundary.potable)})
    put("onsite", {key.id: meter(plant, key, "power") for key in named(boundary.onsite)})
    put("generators", {key.id: meter(plant, key, "power") for key in named(boundary.generators)})
    put("reuse", {key.id: meter(plant, key, "liquid_cooling") for key in named(boundary.reuse)})
    heat = meters(plant, racks, "liquid_cooling")
    put("liquid", {key.id: one for key, one in heat.items()})
    intake = tuple(
        point.id
        for point in plant.of("AirTemperature")
        if point.setpoint
        and point.site == scope.site
        and scope.hall in {"", layout.place[AssetKey(point.site, point.asset)][0]}
    )
    points = sorted({*intake, *(point for side in sides.values() for one in side for point in one.points)})
    return Survey(layout, boundary, sides, unmetered, intake, tuple(points))


@dataclass(frozen=True, slots=True)
class Efficiency:
    """One figure, with what it is called, how it is defined, and by whom."""

    name: str
    label: str
    """With its category and period, as it may be quoted."""
    figure: Figure
    formula: str
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class _Flow:
    """One side as a rate over the steps: kW, or L/h."""

    rate: Floats
    """NaN where it is not known."""
    within: Floats
    hours: Floats
    """Length of each step within the period."""
    kind: FigureKind
    measured: float
    words: str


class Balance:
    """The sides of a boundary over a period, and what is made of them."""

    def __init__(self, of: Survey, points: Grid, period: Period) -> None:
        self._of, self._points, self._period = of, points, period
        self._row_of = {point: row for row, point in enumerate(of.points)}
        self._sides = {side: self._flow(side, points) for side in SIDES}
        self._starts = np.maximum(points.steps.edges[:-1], to_us(period.start))

    def _flow(self, side: Side, points: Grid) -> _Flow | None:
        found, lacking = self._of.sides[side], self._of.unmetered[side]
        if not found:
            return None
        rows, measured = read(found, points, self._row_of)
        joined: Joined = add_up(rows)
        if side in {"water", "potable"}:
            joined = joined._replace(grid=joined.grid.times(60.0))
        share = float(measured.sum() / (len(found) + len(lacking)))
        known = float(np.where(np.isnan(joined.grid.mean[0]), 0.0, points.within).sum() / points.within.sum())
        # A sum is measured where none of its gaps had to be bridged: where all of its meters were silent at a time.
        whole = share > known - 0.005 - 1.0 / points.steps.number and not joined.silent and not lacking
        exact = whole and all(one.kind is FigureKind.MEASURED for one in found)
        words = f"{len(found)} meters of {'IT' if side == 'it' else side}" if len(found) > 1 else found[0].boundary
        if lacking:
            words += f"; {len(lacking)} more are not metered: {', '.join(lacking[:5])}"
        grid = joined.grid
        return _Flow(
            grid.mean[0],
            grid.within,
            grid.within * (grid.steps.step_us / 3.6e9),
            FigureKind.MEASURED if exact else FigureKind.ESTIMATED,
            share,
            words,
        )

    def amount(self, side: Side, unit: str) -> Figure:
        """How much of a side there was over the period, kWh or L, over the time for which it is known."""
        flow = self._sides[side]
        if flow is None:
            return self._absent(side, unit)
        known = ~np.isnan(flow.rate)
        if not known.any():
            return missing(unit, self._period, flow.words, "nothing was read in the period")
        value = float((flow.rate[known] * flow.hours[known]).sum())
        covered = float(flow.within[known].sum() / flow.within.sum())
        why = "" if covered > 0.9995 else f"over the {covered:.1%} of the period for which it is known"
        return Figure(value, unit, flow.kind, self._pct(min(covered, flow.measured)), self._period, flow.words, why)

    def mean_kw(self, side: Side) -> Figure:
        """Mean of a side over the time for which it is known."""
        total, flow = self.amount(side, "kW"), self._sides[side]
        if total.value is None or flow is None:
            return total
        known = ~np.isnan(flow.rate)
        return replace(total, value=total.value / float(flow.hours[known].sum()))

    def _absent(self, side: Side, unit: str) -> Figure:
        lacking = self._of.unmetered[side]
        scope = self._of.boundary.scope.name
        if lacking:
            why = f"nothing measures {', '.join(lacking[:5])}"
        elif side in NAMED:
            why = f"no meter of it is named: set {side} for {scope} in [[boundaries]]"
        else:
            why = f"no rack of {scope} measures it"
        return missing(unit, self._period, f"{scope}, {side}", why)

    def ratio(self, upper: Side, lower: Side, unit: str, factors: Sequence[FactorStep] | None = None) -> Figure:
        """Upper side over lower, each integrated over the steps in which both are known. factors: what each kWh of the
        upper side counts, over time."""
        over, under = self._sides[upper], self._sides[lower]
        if over is None:
            return self._absent(upper, unit)
        if under is None:
            return self._absent(lower, unit)
        weight = np.ones(len(over.rate)) if factors is None else _factors(factors, self._starts)
        known = ~(np.isnan(over.rate) | np.isnan(under.rate) | np.isnan(weight))
        boundary = f"{over.words} ÷ {under.words}"
        if not known.any():
            gap = "no step in which both sides are known"
            why = f"{gap}{'' if factors is None else ', with a factor for its time'}"
            return missing(unit, self._period, boundary, why)
        top = float((over.rate * weight * over.hours)[known].sum())
        bottom = float((under.rate * under.hours)[known].sum())
        if bottom <= 0.0:
            return missing(
                unit, self._period, boundary, f"the {lower} side is {bottom:g}: nothing can be divided by it"
            )
        covered = float(over.within[known].sum() / over.within.sum())
        exact = over.kind is under.kind is FigureKind.MEASURED
        kind = FigureKind.MEASURED if exact else FigureKind.ESTIMATED
        share = min(covered, over.measured, under.measured)
        why = "" if covered > 0.9995 else f"over the {covered:.1%} of the period for which both sides are known"
        return Figure(top / bottom, unit, kind, self._pct(share), self._period, boundary, why)

    def _pct(self, share: float) -> float:
        return min(max(100.0 * share, 0.0), 100.0)

    def waste_heat_c(self) -> Figure:
        """Temperature at which heat is passed on: that of the warm side of the streams, weighted by their heat."""
        found = self._of.sides["reuse"]
        if not found:
            return self._absent("reuse", "°C")
        rows, _ = read(found, self._points, self._row_of)
        warm = self._points.mean[[self._row_of[one.points[2]] for one in found]]
        heat = np.where(np.isnan(rows.mean) | np.isnan(warm) | (rows.mean <= 0.0), 0.0, rows.mean * rows.cover)
        boundary = ", ".join(one.boundary for one in found[:5])
        if heat.sum() <= 0.0:
            return missing("°C", self._period, boundary, "no heat was passed on in the period")
        known = float(np.minimum(rows.cover, 1.0).sum() / (self._points.within.sum() * len(found)))
        value = float((heat * np.nan_to_num(warm)).sum() / heat.sum())
        why = "of the warm side, weighted by heat"
        return Figure(value, "°C", FigureKind.MEASURED, self._pct(known), self._period, boundary, why)

    def intake_c(self) -> Figure:
        """Mean set point of the air that the IT takes in."""
        scope = self._of.boundary.scope.name
        if not self._of.intake:
            return missing("°C", self._period, scope, "no set point of an air temperature is described")
        joined = average(self._points.rows([self._row_of[point] for point in self._of.intake]))
        value = float(means(joined.grid)[0])
        boundary = f"{scope}, {len(self._of.intake)} set points"
        if np.isnan(value):
            return missing("°C", self._period, boundary, "nothing was read in the period")
        return Figure(value, "°C", FigureKind.MEASURED, self._pct(joined.measured), self._period, boundary)

    def label(self, name: str, figure: Figure) -> str:
        """What a figure over this period may be called."""
        lasts = self._period.end - self._period.start
        hours = lasts / timedelta(hours=1)
        told = "an hour" if hours == 1 else f"{hours:.3g} hours" if hours < 48 else f"{hours / 24:.3g} days"
        if lasts >= YEAR and figure.coverage_pct >= ANNUAL_COVERAGE_PCT:
            return f"{name}, annual"
        if lasts >= YEAR:
            return f"{name}, of a year of which {figure.coverage_pct:.0f} % was read: not annual"
        return f"{name}, interim: over {told}, not a year"

    def category(self) -> str:
        """Where the IT is measured, in the categories of ISO/IEC 30134-2: 1 at the UPS's output, 2 at that of the power
        distribution, 3 at the IT itself."""
        found = set()
        for one in self._of.sides["it"]:
            kind = self._of.layout.kind_of(one.asset)
            if kind == "UPS":
                found.add(1)
            elif kind == "Rack" and one.kind is FigureKind.MEASURED:
                found.add(3)
            else:
                found.add(2)
        return str(min(found)) if found else ""


def _factors(steps: Sequence[FactorStep], starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """The factor that holds when each step begins; NaN before the first."""
    if not steps:
        return np.full(len(starts), np.nan)
    since = np.array([to_us(step.start) for step in steps])
    values = np.array([np.nan, *(step.value for step in steps)])
    found: Floats = values[np.searchsorted(since, starts, side="right")]
    return found


def figures(of: Survey, points: Grid, period: Period) -> list[Efficiency]:
    """Every figure of a boundary over a period, also those that nobody can tell, with why. points: the grid of the
    survey's points, in their order."""
    site = of.layout.inventory.sites.get(of.boundary.scope.site)
    balance = Balance(of, points, period)
    whole = of.boundary.scope.kind == "site"
    told: list[Efficiency] = []

    def say(name: str, figure: Figure, formula: str, source: str, title: str = "") -> None:
        told.append(Efficiency(name, balance.label(title or name, figure), figure, formula, source))

    def amount(name: str, side: Side, unit: str, what: str) -> None:
        figure = balance.amount(side, unit)
        told.append(Efficiency(name, what, figure, f"Σ {side} rate × time", "meters"))

    amount("facility_energy", "facility", "kWh", "all that is drawn")
    amount("it_energy", "it", "kWh", "what reaches the IT")
    amount("compute_energy", "compute", "kWh", "what reaches the GPUs' boards")
    amount("liquid_heat", "liquid", "kWh", "heat that the racks' coolant takes up")
    amount("water", "water", "L", "water taken in")
    amount("reused_heat", "reuse", "kWh", "heat passed on to others")

    category = balance.category()
    name = "PUE" if whole else "pPUE"
    title = f"{name}{category if whole else ''}"
    say(name, balance.ratio("facility", "it", ""), "facility energy ÷ IT energy", f"{ISO}-2", title)
    say("WUE", balance.ratio("water", "it", "L/kWh"), "litres taken in ÷ IT energy", f"{ISO}-9")
    carbon = site.carbon_kg_per_kwh if site is not None else ()
    say(
        "CUE",
        _with_factor(balance.ratio("facility", "it", "kg/kWh", carbon), carbon, "carbon_kg_per_kwh"),
        "Σ facility energy × grid's kg CO2e per kWh ÷ IT energy, market's certificates left out",
        f"{ISO}-8",
    )
    ref = _divided(_renewable(balance, site)[0], balance.amount("facility", "kWh"))
    say("REF", ref, "Σ facility energy × renewable share ÷ facility energy, or its parts together", f"{ISO}-3")
    say("ERF", balance.ratio("reuse", "facility", ""), "heat passed on ÷ facility energy", f"{ISO}-6")
    itue = balance.ratio("it", "compute", "")
    say("ITUE", itue, "IT energy ÷ energy of the GPUs' boards: CPUs, memory and switches count as overhead", GREEN_GRID)
    pue = balance.ratio("facility", "it", "")
    say("TUE", _product(pue, itue), "ITUE × PUE", GREEN_GRID)
    liquid = balance.ratio("liquid", "it", "")
    say("liquid_share", liquid, "heat in the racks' coolant ÷ IT energy", "energy balance")
    return told


def _renewable(balance: Balance, site: Site | None) -> tuple[Figure, Figure, Figure, Figure]:
    """Renewable energy of a period, kWh: all of it, and what guarantees of origin cover, what contracts do, and what is
    made on site. All of it is what `renewable_share` says, or else the sum of the parts that are known."""

    def by_share(steps: Sequence[FactorStep], name: str) -> Figure:
        share = _with_factor(balance.ratio("facility", "facility", "", steps), steps, name)
        return _multiplied(balance.amount("facility", "kWh"), share)

    goo = by_share(site.renewable_goo_share if site else (), "renewable_goo_share")
    ppa = by_share(site.renewable_ppa_share if site else (), "renewable_ppa_share")
    own = balance.amount("onsite", "kWh")
    parts = [part for part in (goo, ppa, own) if part.value is not None]
    if (site is None or not site.renewable_share) and parts:
        whole = total(parts, "; ".join(part.boundary for part in parts))
        why = f"the {len(parts)} of its three parts that are known: by guarantees of origin, by contracts, made on site"
        return replace(whole, why=why), goo, ppa, own
    return by_share(site.renewable_share if site else (), "renewable_share"), goo, ppa, own


def _divided(upper: Figure, lower: Figure) -> Figure:
    if upper.value is None or not lower.value:
        lacking = upper if upper.value is None else lower
        return missing("", upper.period, upper.boundary, lacking.why or "nothing was drawn")
    return replace(upper, value=upper.value / lower.value, unit="")


def _with_factor(figure: Figure, factors: Sequence[FactorStep], name: str) -> Figure:
    """Says which factor lacks, where that is why a figure is missing."""
    if figure.value is None and not factors and "named" not in figure.why:
        return replace(figure, why=f"the inventory gives no {name} of the site")
    return figure


def _product(one: Figure, other: Figure) -> Figure:
    boundary = f"({one.boundary}) × ({other.boundary})"
    if one.value is None or other.value is None:
        lacking = one if one.value is None else other
        return missing("", lacking.period, boundary, lacking.why)
    exact = one.kind is other.kind is FigureKind.MEASURED
    kind = FigureKind.MEASURED if exact else FigureKind.ESTIMATED
    coverage = min(one.coverage_pct, other.coverage_pct)
    return Figure(one.value * other.value, "", kind, coverage, one.period, boundary, one.why or other.why)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One figure of the yearly report."""

    symbol: str
    """As Delegated Regulation (EU) 2024/1364 calls it."""
    what: str
    figure: Figure
    text: str = ""
    """What is told in words; such a figure has no value."""


def yearly(of: Survey, points: Grid, period: Period) -> list[ReportLine]:
    """The figures that Delegated Regulation (EU) 2024/1364 asks for, of annexes I to III, in its order: those that can
    be told from meters and inventory, and those that cannot, with what it takes. It applies from 500 kW of installed IT
    power on."""
    site = of.layout.inventory.sites.get(of.boundary.scope.site)
    balance = Balance(of, points, period)
    scope = of.boundary.scope.name

    def given(value: float | None, unit: str, field: str) -> Figure:
        if value is None:
            return missing(unit, period, scope, f"the inventory gives no {field} of the site")
        return Figure(value, unit, FigureKind.MEASURED, 100.0, period, scope, "from the inventory")

    energy, it_energy = balance.amount("facility", "kWh"), balance.amount("it", "kWh")
    water, potable = balance.amount("water", "L"), balance.amount("potable", "L")
    reused = balance.amount("reuse", "kWh")
    renewable, goo, ppa, own = _renewable(balance, site)
    ref = _divided(renewable, energy)

    def at_end(name: str, unit: str) -> Figure:
        steps: Sequence[FactorStep] = getattr(site, name) if site else ()
        value = factor_at(steps, period.end - timedelta(microseconds=1))
        return given(value, unit, name)

    return [
        ReportLine(
            "PDIT", "installed IT power demand", given(site.installed_it_kw if site else None, "kW", "installed_it_kw")
        ),
        ReportLine("SDC", "floor area of the data centre", given(site.floor_m2 if site else None, "m²", "floor_m2")),
        ReportLine(
            "SCR",
            "floor area of the computer rooms",
            given(site.computer_room_m2 if site else None, "m²", "computer_room_m2"),
        ),
        ReportLine("EDC", "total energy consumption", energy),
        ReportLine("EDC-BG", "energy of the backup generators", balance.amount("generators", "kWh")),
        ReportLine("EIT", "energy consumption of the IT equipment", it_energy),
        ReportLine("CBtG", "average battery capacity", given(site.battery_kw if site else None, "kW", "battery_kw")),
        ReportLine("WIN", "water input", _scaled(water, 0.001, "m³")),
        ReportLine("WIN-POT", "potable water input", _scaled(potable, 0.001, "m³")),
        ReportLine("EREUSE", "waste heat reused", reused),
        ReportLine("TWH", "average temperature of the waste heat", balance.waste_heat_c()),
        ReportLine("TIN", "average set point of the IT's intake air", balance.intake_c()),
        _in_words("refrigerants", "types of refrigerants", site.refrigerants if site else "", period, scope),
        ReportLine("CDD", "cooling degree days", at_end("cooling_degree_days", "K·d")),
        ReportLine("ERES-TOT", "renewable energy consumption", renewable),
        ReportLine("ERES-GOO", "of it, by guarantees of origin", goo),
        ReportLine("ERES-PPA", "of it, by power purchase agreements", ppa),
        ReportLine("ERES-OS", "of it, made on site", own),
        ReportLine("CSERV", "ICT capacity for servers", at_end("server_capacity", "")),
        ReportLine("CSTOR", "ICT capacity for storage", at_end("storage_pb", "PB")),
        ReportLine(
            "BIN",
            "incoming traffic bandwidth",
            given(site.traffic_in_gbps if site else None, "Gbit/s", "traffic_in_gbps"),
        ),
        ReportLine(
            "BOUT",
            "outgoing traffic bandwidth",
            given(site.traffic_out_gbps if site else None, "Gbit/s", "traffic_out_gbps"),
        ),
        ReportLine("PUE", "power usage effectiveness, EDC ÷ EIT", balance.ratio("facility", "it", "")),
        ReportLine("WUE", "water usage effectiveness, WIN ÷ EIT", balance.ratio("water", "it", "L/kWh")),
        ReportLine("ERF", "energy reuse factor, EREUSE ÷ EDC", balance.ratio("reuse", "facility", "")),
        ReportLine("REF", "renewable energy factor, ERES-TOT ÷ EDC", ref),
    ]


def _in_words(symbol: str, what: str, text: str, period: Period, scope: str) -> ReportLine:
    why = "from the inventory, in words" if text else f"the inventory gives no {symbol} of the site"
    return ReportLine(symbol, what, missing("", period, scope, why), text)


def _scaled(figure: Figure, factor: float, unit: str) -> Figure:
    return replace(figure, value=None if figure.value is None else figure.value * factor, unit=unit)


def _multiplied(energy: Figure, share: Figure) -> Figure:
    if energy.value is None or share.value is None:
        lacking = energy if energy.value is None else share
        return missing("kWh", energy.period, energy.boundary, lacking.why)
    return replace(
        energy, value=energy.value * share.value, kind=FigureKind.ESTIMATED,
        coverage_pct=min(energy.coverage_pct, share.coverage_pct), why="EDC × REF",
    )  # fmt: skip
