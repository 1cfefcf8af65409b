"""Heat through walls: cold plates, plate heat exchangers, and how long silicon lasts without flow.

Lives here: temperatures, resistances and conductances. Not here: what a stream carries (hydraulics.py)."""

from __future__ import annotations

from dcim.physics.columns import Column, exp, log, pick, positive, same_length

GPU_HEAT_CAPACITY_J_K = 500.0
"""A GPU's die, lid and the metal that follows them within seconds. [E]"""


def cold_plate_resistance_k_w(gpu_c: Column, inlet_c: Column, power_kw: Column) -> Column:
    """R = (T_gpu − T_inlet)/P in K/W: 0.025 to 0.035 for parts of 1 to 1.4 kW. Missing unless the power is above 0;
    average at least 60 samples at a steady power above 30 % of the rating before believing it.

    >>> round(cold_plate_resistance_k_w(70.0, 35.0, 1.0), 3)
    0.035
    """
    same_length(gpu_c, inlet_c, power_kw)
    return (gpu_c - inlet_c) / (positive(power_kw) * 1000.0)


def lmtd_k(one_end_k: Column, other_end_k: Column) -> Column:
    """Logarithmic mean of the temperature differences at the two ends of an exchanger, in K; where the ends are equal,
    the difference itself. Missing unless both are above 0.

    >>> round(lmtd_k(8.0, 4.0), 3), lmtd_k(8.0, 8.0)
    (5.771, 8.0)
    """
    same_length(one_end_k, other_end_k)
    ratio = log(positive(one_end_k) / positive(other_end_k))
    mean_k = (one_end_k + other_end_k) / 2.0
    # Towards equal ends the quotient becomes 0/0. There it is the mean, to better than 1e-7 of itself.
    apart = pick(ratio * 0.0 + 1.0, ratio, ratio, -1e-3, 1e-3)
    return pick(mean_k, (one_end_k - other_end_k) / apart, ratio, -1e-3, 1e-3)


def conductance_kw_k(heat_kw: Column, one_end_k: Column, other_end_k: Column) -> Column:
    """UA = Q/LMTD of an exchanger in kW/K, from its heat and the temperature differences at its two ends.

    >>> conductance_kw_k(960.0, 8.0, 8.0)
    120.0
    """
    same_length(heat_kw, one_end_k, other_end_k)
    return heat_kw / lmtd_k(one_end_k, other_end_k)


def effectiveness(heat_kw: Column, small_kw_k: Column, hot_in_c: Column, cold_in_c: Column) -> Column:
    """Share of the greatest possible heat that an exchanger passes on: Q / [C_min · (T_hot in − T_cold in)].
    small_kw_k: the smaller of the two capacity rates ρ·cp·V̇. Missing unless both factors are above 0.

    >>> round(effectiveness(960.0, 96.0, 45.0, 27.0), 3)
    0.556
    """
    same_length(heat_kw, small_kw_k, hot_in_c, cold_in_c)
    return heat_kw / (positive(small_kw_k) * positive(hot_in_c - cold_in_c))


def counterflow_effectiveness(units: Column, balance: Column) -> Column:
    """Effectiveness that a counterflow exchanger is built for: (1 − e)/(1 − r·e) with e = exp[−NTU·(1 − r)], and
    NTU/(1 + NTU) at r = 1. units: NTU = UA/C_min, at least 0. balance: r = C_min/C_max, 0 to 1.

    >>> round(counterflow_effectiveness(1.25, 1.0), 3), round(counterflow_effectiveness(1.25, 0.5), 3)
    (0.556, 0.635)
    """
    same_length(units, balance)
    # Close to r = 1 both ends of the fraction vanish; the limit is then right to better than 1e-6.
    unbalanced = pick(balance * 0.0, balance, balance, 1.0 - 1e-6, 1.0 + 1e-6)
    decay = exp(-units * (1.0 - unbalanced))
    return pick(units / (1.0 + units), (1.0 - decay) / (1.0 - unbalanced * decay), balance, 1.0 - 1e-6, 1.0 + 1e-6)


def time_to_slowdown_s(
    gpu_c: Column, power_kw: Column, slowdown_c: Column, capacity_j_k: float = GPU_HEAT_CAPACITY_J_K
) -> Column:
    """Seconds from loss of all flow until a GPU slows itself down, adiabatic: t = (T_slowdown − T₀)·C/P; 0 where it is
    there already, missing unless the power is above 0. So little time that loss of flow must be a rule on arrival.

    >>> round(time_to_slowdown_s(70.0, 0.7, 89.0)), time_to_slowdown_s(80.0, 1.0, 89.0)
    (14, 4.5)
    """
    same_length(gpu_c, power_kw, slowdown_c)
    time_s = (slowdown_c - gpu_c) * capacity_j_k / (positive(power_kw) * 1000.0)
    reached = time_s * 0.0
    return pick(reached, time_s, time_s, -1e12, 0.0)
