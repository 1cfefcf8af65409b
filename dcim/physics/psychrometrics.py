"""Psychrometrics: when the water in the air settles on cold pipes.

Lives here: dew point, humidity and the margin between them and the coolant. Not here: limits on that margin (rules)."""

from __future__ import annotations

from dcim.physics.columns import Column, exp, log, same_length

_SLOPE = 17.625
_OFFSET_C = 243.04
"""Magnus coefficients over water, −40 to 50 °C. Source: Alduchov & Eskridge 1996, eq. 21."""


def dew_point_c(air_c: Column, humidity_pct: Column) -> Column:
    """Temperature in °C at which air of air_c and this relative humidity (%) begins to drip; missing unless the
    humidity is above 0. Td = 243.04·γ/(17.625 − γ), γ = 17.625·T/(243.04 + T) + ln(RH/100).

    >>> round(dew_point_c(25.0, 50.0), 2), round(dew_point_c(20.0, 100.0), 2)
    (13.86, 20.0)
    """
    same_length(air_c, humidity_pct)
    gamma = _SLOPE * air_c / (_OFFSET_C + air_c) + log(humidity_pct / 100.0)
    return _OFFSET_C * gamma / (_SLOPE - gamma)


def relative_humidity_pct(air_c: Column, dew_point_c: Column) -> Column:
    """Relative humidity in % of air at air_c whose dew point is dew_point_c: `dew_point_c`, turned round.

    >>> round(relative_humidity_pct(25.0, dew_point_c(25.0, 40.0)), 3)
    40.0
    """
    same_length(air_c, dew_point_c)
    return 100.0 * exp(_SLOPE * dew_point_c / (_OFFSET_C + dew_point_c) - _SLOPE * air_c / (_OFFSET_C + air_c))


def dew_margin_k(supply_c: Column, air_c: Column, humidity_pct: Column) -> Column:
    """Kelvin between a coolant supply and the dew point of the air around it; below 0 it drips. For a zone, take the
    coldest supply and the dampest sensor.

    >>> round(dew_margin_k(18.0, 25.0, 50.0), 2)
    4.14
    """
    same_length(supply_c, air_c, humidity_pct)
    return supply_c - dew_point_c(air_c, humidity_pct)
