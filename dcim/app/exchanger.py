"""The exchanger of a CDU: how near its circuits come (approach), what it conducts (UA), and the heat that it passes.

Lives here: these three, of one moment and over time, from the temperatures and the flow of a CDU. Not here: what is
usual of them and what is wrong (dcim.detect.cooling), which points they are (hall.py). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from dcim.physics.columns import Column, within
from dcim.physics.fluids import PG25
from dcim.physics.heat import conductance_kw_k
from dcim.physics.hydraulics import heat_carried_kw

NEEDS: Final = ("primary_supply_c", "primary_return_c", "supply_c", "return_c", "flow_lpm")
"""Of a CDU's values (hall.py), those that an exchanger is told from."""
END_K_MIN: Final = 1.0
"""Where the circuits come nearer than this at either end, the error of two meters is larger than what they tell. [E]"""
_INFINITE: Final = 1e12


def approach_k(supply_c: Column, primary_supply_c: Column) -> Column:
    """How much warmer the racks are supplied than the facility supplies the exchanger, K. Kept where it is negative.

    >>> approach_k(32.0, 24.5)
    7.5
    """
    return supply_c - primary_supply_c


def conductance(
    flow_lpm: Column, supply_c: Column, return_c: Column, primary_supply_c: Column, primary_return_c: Column
) -> Column:
    """UA in kW/K: the heat that the racks' circuit gives up, by the logarithmic mean of the differences at both ends.
    Taken as 25 % propylene glycol. Missing where an end is below 1 K, or the circuit gives up nothing.

    >>> round(conductance(1500.0, 32.0, 42.0, 24.0, 34.0), 1)
    125.6
    """
    heat = heat_carried_kw(flow_lpm, supply_c, return_c, PG25)
    warm, cold = return_c - primary_return_c, approach_k(supply_c, primary_supply_c)
    known = within(heat, heat, 0.0, _INFINITE)
    return conductance_kw_k(known, within(warm, warm, END_K_MIN, _INFINITE), within(cold, cold, END_K_MIN, _INFINITE))


def over_time(readings: pl.DataFrame, points: Mapping[str, int]) -> pl.DataFrame:
    """time, approach_k, ua_kw_per_k and heat_kw by the time of the readings, null where a part of one is not known.

    readings: point, time and value, as a store's window has them, in buckets that all points share. points: by the
    names of NEEDS; one that is left out was never measured."""
    wide = readings.select("time").unique().sort("time")
    for name in NEEDS:
        own = readings.filter(pl.col("point") == points.get(name, -1)).select("time", pl.col("value").alias(name))
        wide = wide.join(own, on="time", how="left")
    part = {name: wide[name].cast(pl.Float64).fill_nan(None) for name in NEEDS}
    told = {
        "approach_k": approach_k(part["supply_c"], part["primary_supply_c"]),
        "ua_kw_per_k": conductance(
            part["flow_lpm"], part["supply_c"], part["return_c"], part["primary_supply_c"], part["primary_return_c"]
        ),
        "heat_kw": heat_carried_kw(part["flow_lpm"], part["supply_c"], part["return_c"], PG25),
    }
    return wide.select("time").with_columns(
        *(series.alias(name).fill_nan(None).round(3) for name, series in told.items())
    )
