"""Efficiency by hand: ratios over what both sides know, factors over time, and what nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from dcim.capacity.efficiency import Boundary, Efficiency, figures, survey, yearly
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.scopes import Scope, lay_out
from dcim.capacity.spans import Grid, lattice
from dcim.core.assets import AssetKey
from dcim.core.inventory import FactorStep, Inventory, Site
from dcim.core.plant import Plant
from dcim.core.plant import survey as survey_plant
from dcim.core.points import Loop, Point, PointIndex, Side
from dcim.core.times import to_us

START = datetime(2026, 3, 1, tzinfo=UTC)
SITE = Scope("site", "s")
HOUR_US = 3_600_000_000


def plant() -> Plant:
    """Two racks with two GPUs each, the grid's meter, a water meter, and an exchanger that heats a neighbour."""
    index = PointIndex()

    def describe(asset: str, kind: str, quantity: str, unit: str, **more: object) -> None:
        key = f"s|b|{asset}/{quantity}/{more.get('side', '')}/{more.get('part', '')}"
        number = index.locate(key)
        index.describe(Point(number, key, "s", asset, kind, asset, quantity, unit, **more))  # type: ignore[arg-type]

    describe("GRID", "PowerMeter", "ActivePower", "kW")
    for rack in ("R1", "R2"):
        describe(rack, "Rack", "RackPower", "kW")
        for gpu in range(2):
            describe(f"{rack}-G{gpu}", "Gpu", "GpuPower", "kW", within=rack)
    describe("MAKEUP", "Valve", "LiquidFlow", "L/min")
    describe("HEATX", "HX", "LiquidFlow", "L/min", loop=Loop.PRIMARY)
    for side in Side:
        describe("HEATX", "HX", "LiquidTemperature", "°C", loop=Loop.PRIMARY, side=side)
    return survey_plant(index, {})


VALUES = {
    ("GRID", "ActivePower"): 240.0,
    ("R1", "RackPower"): 120.0,
    ("R2", "RackPower"): 80.0,
    ("MAKEUP", "LiquidFlow"): 5.0,
    ("HEATX", "LiquidFlow"): 60.0,
}


def tell(
    hours: int = 24,
    inventory: Inventory | None = None,
    boundary: Boundary | None = None,
    gaps: dict[str, slice] | None = None,
) -> tuple[dict[str, Efficiency], list]:
    """The figures of a period of equal hours."""
    layout = lay_out(plant(), inventory or Inventory())
    boundary = boundary or Boundary(SITE, ("GRID",), water=("MAKEUP",), reuse=("HEATX",))
    of = survey(layout, boundary)
    period = Period(START, START + timedelta(hours=hours))
    steps = lattice(to_us(period.start), to_us(period.end), HOUR_US)
    mean = np.zeros((len(of.points), hours))
    for row, number in enumerate(of.points):
        point = layout.plant.points[number]
        warm = 50.0 if point.side is Side.RETURN else 40.0
        known = VALUES.get((point.asset, point.quantity), 45.0 if point.quantity == "GpuPower" else warm)
        mean[row] = 45.0 if point.quantity == "GpuPower" else known
        if gaps and point.asset in gaps:
            mean[row, gaps[point.asset]] = np.nan
    cover = np.where(np.isnan(mean), 0.0, 1.0)
    grid = Grid(steps, np.ones(hours), mean, cover, mean)
    return {one.name: one for one in figures(of, grid, period)}, yearly(of, grid, period)


def test_the_ratios_by_hand():
    told, _ = tell()
    value = {name: one.figure.value for name, one in told.items()}
    assert value["PUE"] == pytest.approx(240 / 200)
    assert value["WUE"] == pytest.approx(5 * 60 / 200)
    assert value["ITUE"] == pytest.approx(200 / 180)
    assert value["TUE"] == pytest.approx(240 / 180)
    heat_kw = 60 * 10 * 990.0 / 6e7 * 4180  # water about 45 °C
    assert value["ERF"] == pytest.approx(heat_kw / 240, rel=0.005)
    assert value["facility_energy"] == pytest.approx(240 * 24)
    assert value["water"] == pytest.approx(5 * 60 * 24)
    assert all(one.figure.coverage_pct == pytest.approx(100) for one in told.values() if one.figure.value is not None)


def test_the_label_says_category_and_period():
    told, _ = tell()
    assert told["PUE"].label == "PUE3, interim: over 24 hours, not a year"
    year, _ = tell(hours=24 * 365)
    assert year["PUE"].label == "PUE3, annual"
    partly, _ = tell(hours=24 * 365, gaps={"GRID": slice(0, 24 * 100)})
    assert partly["PUE"].label == "PUE3, of a year of which 73 % was read: not annual"


def test_a_gap_in_one_meter_shifts_no_ratio():
    told, _ = tell(gaps={"GRID": slice(0, 12)})
    assert told["PUE"].figure.value == pytest.approx(1.2)
    assert told["PUE"].figure.coverage_pct == pytest.approx(50)
    assert told["facility_energy"].figure.value == pytest.approx(240 * 12)
    assert "50.0% of the period" in told["PUE"].figure.why


def test_factors_change_over_time_and_what_came_before_them_is_not_known():
    steps = (FactorStep(START + timedelta(hours=6), 0.5), FactorStep(START + timedelta(hours=18), 0.2))
    site = Site("s", carbon_kg_per_kwh=steps, renewable_share=(FactorStep(START, 0.4),))
    told, _ = tell(inventory=Inventory(sites={"s": site}))
    assert told["CUE"].figure.value == pytest.approx((0.5 * 12 + 0.2 * 6) / 18 * 240 / 200)
    assert told["CUE"].figure.coverage_pct == pytest.approx(75)
    assert told["REF"].figure.value == pytest.approx(0.4)


def test_what_nobody_can_tell_is_missing_with_what_it_takes():
    told, report = tell(boundary=Boundary(SITE))
    for name in ("PUE", "WUE", "CUE", "REF", "ERF", "TUE"):
        assert told[name].figure.kind is FigureKind.MISSING, name
        assert "[[boundaries]]" in told[name].figure.why, name
    assert told["ITUE"].figure.value == pytest.approx(200 / 180)
    assert {line.symbol: line.figure.value for line in report}["EDC"] is None
    named, _ = tell(boundary=Boundary(SITE, ("NOWHERE",)))
    assert "nothing measures NOWHERE" in named["PUE"].figure.why
    no_factor, _ = tell()
    assert "carbon_kg_per_kwh" in no_factor["CUE"].figure.why


def test_the_yearly_report():
    site = Site("s", installed_it_kw=600.0, floor_m2=1200.0, renewable_share=(FactorStep(START, 0.4),))
    _, report = tell(hours=24 * 365, inventory=Inventory(sites={"s": site}))
    value = {line.symbol: line.figure.value for line in report}
    assert (value["PDIT"], value["SDC"]) == (600, 1200)
    assert value["EDC"] == pytest.approx(240 * 8760)
    assert (value["TWH"], value["TIN"]) == (pytest.approx(50.0), None)
    assert value["WIN"] == pytest.approx(5 * 60 * 8760 / 1000)
    assert value["ERES-TOT"] == pytest.approx(0.4 * 240 * 8760)
    assert (value["PUE"], value["REF"]) == (pytest.approx(1.2), pytest.approx(0.4))
    assert [line.symbol for line in report if line.figure.value is None and not line.figure.why] == []


def test_the_report_takes_what_no_meter_tells_from_the_inventory():
    site = Site(
        "s", computer_room_m2=900.0, battery_kw=300.0, refrigerants="R-1234ze(E) <50 kg>", traffic_in_gbps=400.0,
        renewable_goo_share=(FactorStep(START, 0.3),), renewable_ppa_share=(FactorStep(START, 0.2),),
        cooling_degree_days=(FactorStep(START - timedelta(days=400), 80.0), FactorStep(START, 120.0)),
        server_capacity=(FactorStep(START + timedelta(days=9_999), 1.0),),
    )  # fmt: skip
    boundary = Boundary(SITE, ("GRID",), water=("MAKEUP",), potable=("MAKEUP",), onsite=("R2",), generators=("NONE",))
    told, report = tell(hours=24 * 365, inventory=Inventory(sites={"s": site}), boundary=boundary)
    lines = {line.symbol: line for line in report}
    value = {symbol: line.figure.value for symbol, line in lines.items()}
    assert (value["SCR"], value["CBtG"], value["BIN"], value["BOUT"]) == (900, 300, 400, None)
    assert (value["CDD"], value["CSERV"]) == (120, None), "what holds at the year's end"
    assert (lines["refrigerants"].text, value["refrigerants"]) == ("R-1234ze(E) <50 kg>", None)
    assert value["WIN-POT"] == pytest.approx(value["WIN"])
    assert value["ERES-GOO"] == pytest.approx(0.3 * 240 * 8760)
    assert value["ERES-PPA"] == pytest.approx(0.2 * 240 * 8760)
    assert value["ERES-OS"] == pytest.approx(80 * 8760)
    assert value["ERES-TOT"] == pytest.approx((0.5 * 240 + 80) * 8760), "nobody says all of it, so its parts together"
    assert value["REF"] == pytest.approx((0.5 * 240 + 80) / 240)
    assert told["REF"].figure.value == pytest.approx(value["REF"])
    assert "NONE" in lines["EDC-BG"].figure.why
    assert [symbol for symbol, line in lines.items() if line.figure.value is None and not line.figure.why] == []


def test_a_hall_has_a_partial_pue():
    layout = lay_out(plant(), Inventory())
    told = figures(
        survey(layout, Boundary(Scope("asset", "s", asset="R1"), ("GRID",))),
        Grid(lattice(0, HOUR_US, HOUR_US), np.ones(1), np.full((4, 1), 60.0), np.ones((4, 1)), np.ones((4, 1))),
        Period(START, START + timedelta(hours=1)),
    )
    assert "pPUE" in {one.name for one in told}
    assert AssetKey("s", "R1") in layout.plant.assets
