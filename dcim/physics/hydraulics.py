"""Hydraulics: what a stream carries, what a restriction costs, what a pump gives, what a hole lets out.

Lives here: relations between flow, pressure and heat of one stream. Not here: heat through walls (heat.py), the fluids
themselves (fluids.py). L/min, kPa, kW, °C throughout; a column is what columns.py says."""

from __future__ import annotations

import math

from dcim.physics.columns import Column, positive, power, same_length
from dcim.physics.fluids import Fluid

FLOW_EXPONENT = 1.85
"""n of ΔP = k·V̇ⁿ for turbulent flow in cold plates, hoses and filters: 1.75 (smooth) to 2 (rough). [E]"""
DISCHARGE = 0.62
"""Discharge coefficient of a sharp-edged hole."""
_KG_J_MIN = 6e7
"""ρ·cp·V̇·ΔT in kg/m³ · J/(kg·K) · L/min · K, divided by this, is kW: 1000 L/m³ · 60 s/min · 1000 W/kW."""


def heat_carried_kw(flow_lpm: Column, supply_c: Column, return_c: Column, fluid: Fluid) -> Column:
    """Heat that a liquid stream takes up between supply and return, in kW.

    flow_lpm: volume flow in L/min, at least 0. supply_c, return_c: °C. A negative result is kept: it is evidence.
    Good to 2.4 % at 10 K with common meters, 6 % at 5 K; below 5 K the caller must not use it.
    Missing where the mean temperature lies outside fluid.range_c. Raises ValueError when lengths differ, and nothing
    else. Source: Q = ρ·cp·V̇·ΔT at the mean temperature; the fits of ρ and cp, and their errors: fluids.py.

    >>> from dcim.physics.fluids import PG25
    >>> round(heat_carried_kw(179.0, 35.0, 45.0, PG25), 1)
    119.9
    """
    same_length(flow_lpm, supply_c, return_c)
    mean_c = (supply_c + return_c) / 2.0
    rho_cp = fluid.density_kg_m3(mean_c) * fluid.heat_capacity_j_kg_k(mean_c)
    return rho_cp * flow_lpm * (return_c - supply_c) / _KG_J_MIN


def flow_for_heat_lpm(heat_kw: Column, rise_k: Column, mean_c: Column, fluid: Fluid) -> Column:
    """Flow in L/min that carries heat_kw at a rise of rise_k about mean_c: `heat_carried_kw`, turned round. Missing
    unless the rise is above 0. The rule of thumb is 1.5 L/min per kW for PG25 at 10 K.

    >>> from dcim.physics.fluids import PG25
    >>> round(flow_for_heat_lpm(1.0, 10.0, 40.0, PG25), 3)
    1.493
    """
    same_length(heat_kw, rise_k, mean_c)
    rho_cp = fluid.density_kg_m3(mean_c) * fluid.heat_capacity_j_kg_k(mean_c)
    return heat_kw * _KG_J_MIN / (rho_cp * positive(rise_k))


def pressure_drop_kpa(restriction: Column, flow_lpm: Column, exponent: float = FLOW_EXPONENT) -> Column:
    """ΔP = k·V̇ⁿ in kPa. restriction: k in kPa/(L/min)ⁿ. Missing where the flow is negative.

    >>> round(pressure_drop_kpa(restriction(100.0, 179.0), 89.5), 1)
    27.7
    """
    same_length(restriction, flow_lpm)
    return restriction * power(flow_lpm, exponent)


def restriction(drop_kpa: Column, flow_lpm: Column, exponent: float = FLOW_EXPONENT) -> Column:
    """Restriction k of ΔP = k·V̇ⁿ, in kPa/(L/min)ⁿ: what to trend when a filter or a branch clogs, since raw ΔP
    follows the flow. Missing unless the flow is above 0: nothing can be told of what nothing flows through.

    >>> round(restriction(pressure_drop_kpa(0.02, 120.0), 120.0), 6)
    0.02
    """
    same_length(drop_kpa, flow_lpm)
    return drop_kpa / power(positive(flow_lpm), exponent)


def flow_through_lpm(drop_kpa: Column, restriction: Column, exponent: float = FLOW_EXPONENT) -> Column:
    """V̇ of ΔP = k·V̇ⁿ, in L/min. Missing where the drop is negative or k is not above 0.

    >>> round(flow_through_lpm(25.0, restriction(100.0, 179.0)), 1)
    84.6
    """
    same_length(drop_kpa, restriction)
    return power(drop_kpa / positive(restriction), 1.0 / exponent)


def pump_flow_lpm(flow_lpm: Column, speed_ratio: Column) -> Column:
    """Flow of the same pump in the same circuit at another speed: V̇ ∝ N (affinity law; n = 2, no static head).

    >>> pump_flow_lpm(1000.0, 0.5)
    500.0
    """
    same_length(flow_lpm, speed_ratio)
    return flow_lpm * speed_ratio


def pump_head_kpa(head_kpa: Column, speed_ratio: Column) -> Column:
    """Head of a pump at another speed: ∝ N² (affinity law).

    >>> pump_head_kpa(400.0, 0.5)
    100.0
    """
    same_length(head_kpa, speed_ratio)
    return head_kpa * speed_ratio * speed_ratio


def pump_power_kw(power_kw: Column, speed_ratio: Column) -> Column:
    """Shaft power of a pump at another speed: ∝ N³ (affinity law).

    >>> pump_power_kw(8.0, 0.5)
    1.0
    """
    same_length(power_kw, speed_ratio)
    return power_kw * speed_ratio * speed_ratio * speed_ratio


def orifice_flow_lpm(
    diameter_mm: float, over_kpa: float, density_kg_m3: float, *, discharge: float = DISCHARGE
) -> float:
    """Flow out of a hole into the open, in L/min: Cd·A·√(2·ΔP/ρ). over_kpa: gauge pressure behind it; none, no flow.

    >>> round(60 * orifice_flow_lpm(0.1, 200.0, 1014.47), 2)  # L/h
    0.35
    >>> [round(orifice_flow_lpm(mm, 200.0, 1014.47), 3) for mm in (0.5, 1.0, 3.0)]
    [0.145, 0.58, 5.221]
    """
    area_m2 = math.pi * (diameter_mm / 1000.0) ** 2 / 4.0
    speed_m_s = math.sqrt(2.0 * max(over_kpa, 0.0) * 1000.0 / density_kg_m3)
    return discharge * area_m2 * speed_m_s * 60_000.0


def gas_cushion_kpa_per_l(gas_l: float, pressure_abs_kpa: float) -> float:
    """Pressure that a closed loop loses per litre of liquid lost, in kPa/L: p/V of its gas cushion (Boyle, small
    losses).

    >>> gas_cushion_kpa_per_l(20.0, 250.0)
    12.5
    """
    return pressure_abs_kpa / gas_l
