"""Electrical: currents, their balance over phases, and what is left when a feed fails. Three-phase, line-to-line volts.

Lives here: the relations. Not here: topology, ratings, and what is done about them (dcim.capacity, rules)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dcim.physics.columns import Column, positive, same_length, within

BALANCE_FROM_SHARE = 0.1
"""Below this share of the rating, phases differ for reasons that mean nothing. [E]"""
_SQRT3 = math.sqrt(3.0)


def apparent_power_kva(active_kw: Column, power_factor: Column) -> Column:
    """S = P/pf in kVA; missing unless the power factor is above 0.

    >>> apparent_power_kva(98.0, 0.98)
    100.0
    """
    same_length(active_kw, power_factor)
    return active_kw / positive(power_factor)


def line_current_a(active_kw: Column, voltage_v: Column, power_factor: Column) -> Column:
    """Mean current of the three lines, I = P/(√3·U·pf), in A; voltage_v is the mean line-to-line RMS. Missing unless
    the divisor is above 0.

    >>> round(line_current_a(120.0, 415.0, 0.98), 1)
    170.4
    """
    same_length(active_kw, voltage_v, power_factor)
    return active_kw * 1000.0 / positive(_SQRT3 * voltage_v * power_factor)


def phase_imbalance(a_a: Column, b_a: Column, c_a: Column, rating_a: float) -> Column:
    """Largest distance of a phase from the mean of the three, as a share of the mean: 0.2 is 20 %. Missing where the
    mean is below a tenth of rating_a.

    >>> round(phase_imbalance(120.0, 100.0, 80.0, rating_a=250.0), 3)
    0.2
    """
    same_length(a_a, b_a, c_a)
    mean_a = (a_a + b_a + c_a) / 3.0
    loaded_a = within(mean_a, mean_a, BALANCE_FROM_SHARE * rating_a, math.inf)
    # max(|x|, |y|, |z|) of three that add to 0 is half the sum of their magnitudes: one stands against the other two.
    return (abs(a_a - mean_a) + abs(b_a - mean_a) + abs(c_a - mean_a)) / 2.0 / loaded_a


def spare_load(load: Column, capacities: Sequence[float]) -> Column:
    """Load of an N+1 group as a share of what is left without its largest unit: load/(Σ − largest), in the unit of the
    capacities, for one phase: of two feeds, (I_A + I_B) over what the smaller breaker may carry. Above 1 the group has
    no spare. Raises ValueError for fewer than two units.

    >>> spare_load(900.0, [500.0, 500.0, 500.0])
    0.9
    """
    if len(capacities) < 2:
        raise ValueError("a group with a spare has at least two units")
    return load / (sum(capacities) - max(capacities))
