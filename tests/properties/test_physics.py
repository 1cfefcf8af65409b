"""The physics against figures worked out elsewhere, and the promises that hold for every input."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcim.physics
from dcim.physics import electrical, fluids, heat, hydraulics, psychrometrics
from dcim.physics.fluids import PG25, WATER

MODULES = [module.name for module in pkgutil.iter_modules(dcim.physics.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"dcim.physics.{name}"))
    assert outcome.attempted, f"{name} shows no example"
    assert not outcome.failed


# Figures from outside: property tables, manuals, hand calculation.


@pytest.mark.parametrize(
    ("fluid", "density", "heat_capacity"), [(WATER, 992.30, 4178.9), (PG25, 1014.47, 3962.2)], ids=["water", "pg25"]
)
def test_fluid_at_40_c(fluid: fluids.Fluid, density: float, heat_capacity: float) -> None:
    assert fluid.density_kg_m3(40.0) == pytest.approx(density, rel=3e-4)
    assert fluid.heat_capacity_j_kg_k(40.0) == pytest.approx(heat_capacity, rel=3e-4)


@pytest.mark.parametrize(
    ("at_c", "density", "heat_capacity"),
    [(10.0, 999.70, 4195.5), (20.0, 998.21, 4184.1), (30.0, 995.65, 4179.8), (60.0, 983.20, 4185.1)],
)
def test_water_against_the_steam_tables(at_c: float, density: float, heat_capacity: float) -> None:
    assert WATER.density_kg_m3(at_c) == pytest.approx(density, rel=5e-4)
    assert WATER.heat_capacity_j_kg_k(at_c) == pytest.approx(heat_capacity, rel=5e-4)


def test_the_rule_of_thumb_for_flow() -> None:
    assert hydraulics.flow_for_heat_lpm(1.0, 10.0, 40.0, PG25) == pytest.approx(1.493, abs=5e-4)
    assert hydraulics.heat_carried_kw(179.0, 35.0, 45.0, PG25) == pytest.approx(120.0, rel=1e-3)


def test_a_loop_of_500_l_grows_by_2_3_l_over_10_k() -> None:
    assert PG25.expansion_l(500.0, 25.0, 35.0) == pytest.approx(2.3, abs=0.05)
    assert PG25.expansion_per_k(30.0) == pytest.approx(0.00046, abs=5e-6)


@pytest.mark.parametrize(
    ("diameter_mm", "flow_lpm"), [(0.1, 0.35 / 60), (0.5, 0.145), (1.0, 0.58), (3.0, 5.2)], ids=str
)
def test_what_a_hole_lets_out_at_200_kpa(diameter_mm: float, flow_lpm: float) -> None:
    assert hydraulics.orifice_flow_lpm(diameter_mm, 200.0, 1014.47) == pytest.approx(flow_lpm, rel=0.01)
    assert hydraulics.orifice_flow_lpm(diameter_mm, -5.0, 1014.47) == 0.0


def test_a_closed_loop_loses_12_5_kpa_per_litre() -> None:
    assert hydraulics.gas_cushion_kpa_per_l(20.0, 250.0) == 12.5
    # and Boyle's law agrees for a small loss
    assert pytest.approx(0.01 * 12.5, rel=1e-3) == 250.0 - 250.0 * 20.0 / 20.01


def test_affinity_laws() -> None:
    assert hydraulics.pump_flow_lpm(1000.0, 0.8) == pytest.approx(800.0)
    assert hydraulics.pump_head_kpa(100.0, 0.8) == pytest.approx(64.0)
    assert hydraulics.pump_power_kw(10.0, 0.8) == pytest.approx(5.12)


def test_time_to_slowdown() -> None:
    assert heat.time_to_slowdown_s(70.0, 0.7, 89.0) == pytest.approx(14.0, abs=0.5)
    assert heat.time_to_slowdown_s(80.0, 1.0, 89.0) == pytest.approx(4.5)
    assert heat.time_to_slowdown_s(95.0, 1.0, 89.0) == 0.0
    assert math.isnan(heat.time_to_slowdown_s(70.0, 0.0, 89.0))


@pytest.mark.parametrize(
    ("air_c", "humidity_pct", "dew_c"),
    [(25.0, 50.0, 13.9), (20.0, 40.0, 6.0), (30.0, 80.0, 26.2), (15.0, 20.0, -7.8)],
)
def test_dew_point_against_the_psychrometric_chart(air_c: float, humidity_pct: float, dew_c: float) -> None:
    assert psychrometrics.dew_point_c(air_c, humidity_pct) == pytest.approx(dew_c, abs=0.1)


def test_exchanger_at_its_design_point() -> None:
    assert heat.lmtd_k(20.0, 10.0) == pytest.approx(14.427, abs=1e-3)
    assert heat.lmtd_k(8.0, 8.0) == 8.0
    assert math.isnan(heat.lmtd_k(8.0, -1.0))
    # A balanced exchanger with 18 K between its inlets and 8 K left at both ends passes 10/18 on.
    assert heat.counterflow_effectiveness(120.0 / 96.0, 1.0) == pytest.approx(10.0 / 18.0)
    assert heat.effectiveness(960.0, 96.0, 45.0, 27.0) == pytest.approx(10.0 / 18.0)
    assert heat.conductance_kw_k(960.0, 8.0, 8.0) == pytest.approx(120.0)


def test_electrical_figures() -> None:
    assert electrical.line_current_a(120.0, 415.0, 0.98) == pytest.approx(120_000 / (math.sqrt(3) * 415 * 0.98))
    assert electrical.phase_imbalance(100.0, 100.0, 130.0, rating_a=250.0) == pytest.approx(0.2 / 1.1)
    assert math.isnan(electrical.phase_imbalance(1.0, 2.0, 3.0, rating_a=250.0))
    assert electrical.spare_load(220.0, [0.8 * 250.0, 0.8 * 300.0]) == pytest.approx(1.1)
    assert electrical.spare_load(900.0, [500.0, 500.0, 400.0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two units"):
        electrical.spare_load(1.0, [500.0])


# Promises that hold for every function: floats, arrays and series agree, missing stays missing, lengths are checked.

Bounds = tuple[tuple[float, float], ...]
FUNCTIONS: list[tuple[str, Callable[..., Any], Bounds]] = [
    ("density", PG25.density_kg_m3, ((0, 70),)),
    ("heat capacity", WATER.heat_capacity_j_kg_k, ((0, 70),)),
    ("expansion share", PG25.expansion_per_k, ((0, 70),)),
    ("expansion", PG25.expansion_l, ((0, 600), (0, 70), (0, 70))),
    ("heat carried", lambda *a: hydraulics.heat_carried_kw(*a, fluid=PG25), ((0, 300), (0, 70), (0, 70))),
    ("flow for heat", lambda *a: hydraulics.flow_for_heat_lpm(*a, fluid=PG25), ((0, 200), (-5, 20), (0, 70))),
    ("pressure drop", hydraulics.pressure_drop_kpa, ((0, 1), (-50, 300))),
    ("restriction", hydraulics.restriction, ((0, 500), (-50, 300))),
    ("flow through", hydraulics.flow_through_lpm, ((-50, 500), (-1, 1))),
    ("pump flow", hydraulics.pump_flow_lpm, ((0, 2000), (0, 1))),
    ("pump head", hydraulics.pump_head_kpa, ((0, 500), (0, 1))),
    ("pump power", hydraulics.pump_power_kw, ((0, 20), (0, 1))),
    ("resistance", heat.cold_plate_resistance_k_w, ((20, 90), (20, 50), (-1, 1))),
    ("lmtd", heat.lmtd_k, ((-2, 20), (-2, 20))),
    ("conductance", heat.conductance_kw_k, ((0, 1000), (-2, 20), (-2, 20))),
    ("effectiveness", heat.effectiveness, ((0, 1000), (-1, 100), (20, 60), (20, 60))),
    ("counterflow", heat.counterflow_effectiveness, ((0, 10), (0, 1))),
    ("time to slowdown", heat.time_to_slowdown_s, ((20, 100), (-1, 1), (80, 95))),
    ("dew point", psychrometrics.dew_point_c, ((-10, 60), (-5, 100))),
    ("humidity", psychrometrics.relative_humidity_pct, ((-10, 60), (-10, 30))),
    ("dew margin", psychrometrics.dew_margin_k, ((10, 50), (-10, 60), (-5, 100))),
    ("apparent power", electrical.apparent_power_kva, ((0, 200), (-1, 1))),
    ("line current", electrical.line_current_a, ((0, 200), (-10, 480), (-1, 1))),
    ("imbalance", lambda *a: electrical.phase_imbalance(*a, rating_a=250.0), ((0, 300), (0, 300), (0, 300))),
    ("spare load", lambda a: electrical.spare_load(a, [500.0, 500.0]), ((0, 900),)),
]
EVERY = pytest.mark.parametrize(
    ("function", "bounds"), [row[1:] for row in FUNCTIONS], ids=[row[0] for row in FUNCTIONS]
)


@pytest.mark.slow
@EVERY
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_floats_arrays_and_series_agree(function: Callable[..., Any], bounds: Bounds, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*(st.floats(low, high) for low, high in bounds)), min_size=1, max_size=5))
    columns = [[row[at] for row in rows] for at in range(len(bounds))]
    one_by_one = [function(*row) for row in rows]
    with np.errstate(all="raise", under="ignore"):
        array = function(*(np.array(column) for column in columns))
    series = function(*(pl.Series(column, dtype=pl.Float64) for column in columns))
    np.testing.assert_allclose(array, one_by_one, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(series.fill_null(math.nan).to_numpy(), one_by_one, rtol=1e-9, atol=1e-12)


@EVERY
def test_missing_goes_in_and_comes_out(function: Callable[..., Any], bounds: Bounds) -> None:
    for missing in range(len(bounds)):
        fine = [(low + high) / 2 + 0.1 for low, high in bounds]
        assert math.isnan(function(*(math.nan if at == missing else value for at, value in enumerate(fine))))
        array = function(*(np.array([math.nan if at == missing else value]) for at, value in enumerate(fine)))
        assert np.isnan(array).all()
        series = function(
            *(pl.Series([None if at == missing else value], dtype=pl.Float64) for at, value in enumerate(fine))
        )
        assert series.null_count() == 1


@pytest.mark.parametrize(
    ("function", "bounds"),
    [row[1:] for row in FUNCTIONS if len(row[2]) > 1],
    ids=[r[0] for r in FUNCTIONS if len(r[2]) > 1],
)
def test_columns_of_different_length_are_refused(function: Callable[..., Any], bounds: Bounds) -> None:
    with pytest.raises(ValueError, match=r"length|shape"):
        function(*(pl.Series([1.0] * (1 + at)) for at in range(len(bounds))))


def test_outside_the_range_of_the_fit_nothing_is_claimed() -> None:
    assert math.isnan(WATER.density_kg_m3(80.0))
    assert PG25.density_kg_m3(pl.Series([4.0, 40.0])).null_count() == 1
    assert math.isnan(hydraulics.heat_carried_kw(179.0, 70.0, 80.0, PG25))


# Relations that are each other's inverse, or bound each other.


@given(st.floats(0.001, 10), st.floats(0.1, 2000), st.floats(1.75, 2.0))
def test_restriction_drop_and_flow_are_one_relation(k: float, flow_lpm: float, exponent: float) -> None:
    drop_kpa = hydraulics.pressure_drop_kpa(k, flow_lpm, exponent)
    assert hydraulics.flow_through_lpm(drop_kpa, k, exponent) == pytest.approx(flow_lpm)
    assert hydraulics.restriction(drop_kpa, flow_lpm, exponent) == pytest.approx(k)


@given(st.floats(1, 1000), st.floats(1, 20), st.floats(10, 45))
def test_heat_and_flow_are_one_relation(heat_kw: float, rise_k: float, supply_c: float) -> None:
    flow_lpm = hydraulics.flow_for_heat_lpm(heat_kw, rise_k, supply_c + rise_k / 2, PG25)
    assert hydraulics.heat_carried_kw(flow_lpm, supply_c, supply_c + rise_k, PG25) == pytest.approx(heat_kw)


@given(st.floats(0.1, 50), st.floats(0.1, 50))
def test_log_mean_lies_between_the_geometric_and_the_arithmetic(one_k: float, other_k: float) -> None:
    mean_k = heat.lmtd_k(one_k, other_k)
    assert math.sqrt(one_k * other_k) * (1 - 1e-6) <= mean_k <= (one_k + other_k) / 2 * (1 + 1e-6)
    assert mean_k == pytest.approx(heat.lmtd_k(other_k, one_k))


@given(st.floats(0, 20), st.floats(0, 1))
def test_no_exchanger_passes_on_more_than_there_is(units: float, balance: float) -> None:
    share = heat.counterflow_effectiveness(units, balance)
    assert 0 <= share <= 1
    assert share >= heat.counterflow_effectiveness(units, 1.0) - 1e-6


@given(st.floats(0, 45), st.floats(1, 100))
def test_dew_point_lies_below_the_air(air_c: float, humidity_pct: float) -> None:
    dew_c = psychrometrics.dew_point_c(air_c, humidity_pct)
    assert dew_c <= air_c + 1e-9
    assert psychrometrics.relative_humidity_pct(air_c, dew_c) == pytest.approx(humidity_pct)


@given(st.floats(30, 250), st.floats(30, 250), st.floats(30, 250))
def test_imbalance_is_the_largest_distance_from_the_mean(a: float, b: float, c: float) -> None:
    mean = (a + b + c) / 3
    expected = max(abs(a - mean), abs(b - mean), abs(c - mean)) / mean
    assert electrical.phase_imbalance(a, b, c, rating_a=100.0) == pytest.approx(expected, abs=1e-9)
