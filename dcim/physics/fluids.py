"""Fluids: density and heat capacity of the coolants, as fits over temperature.

Source of the fits: CoolProp 8, INCOMP and Water back ends, computed for this product; error at most 0.03 % for water.
Lives here: what a litre weighs, holds and grows by. Not here: how it flows (hydraulics.py)."""

from __future__ import annotations

from dataclasses import dataclass

from dcim.physics.columns import Column, same_length, within


@dataclass(frozen=True, slots=True)
class Fluid:
    """A coolant. The coefficients are those of polynomials in °C, constant first."""

    name: str
    density_fit: tuple[float, ...]
    """kg/m³."""
    heat_capacity_fit: tuple[float, ...]
    """J/(kg·K)."""
    range_c: tuple[float, float]
    """Temperatures for which the fits hold, both included."""

    def density_kg_m3(self, at_c: Column) -> Column:
        """Density in kg/m³ at a temperature in °C; missing outside `range_c`.

        >>> round(PG25.density_kg_m3(40.0), 2)
        1014.47
        """
        return within(_polynomial(self.density_fit, at_c), at_c, *self.range_c)

    def heat_capacity_j_kg_k(self, at_c: Column) -> Column:
        """Specific heat capacity in J/(kg·K) at a temperature in °C; missing outside `range_c`.

        >>> round(WATER.heat_capacity_j_kg_k(40.0), 1)
        4178.7
        """
        return within(_polynomial(self.heat_capacity_fit, at_c), at_c, *self.range_c)

    def expansion_per_k(self, at_c: Column) -> Column:
        """Share of its volume by which the liquid grows per kelvin, −ρ′/ρ, at a temperature in °C; missing outside
        `range_c`. 500 L of PG25 at 30 °C grow by 2.3 L over 10 K.

        >>> round(500 * 10 * PG25.expansion_per_k(30.0), 1)
        2.3
        """
        slope = tuple(power * factor for power, factor in enumerate(self.density_fit))[1:]
        return -_polynomial(slope, at_c) / self.density_kg_m3(at_c)

    def expansion_l(self, volume_l: Column, from_c: Column, to_c: Column) -> Column:
        """Litres by which `volume_l` at `from_c` grows on its way to `to_c`; negative when it shrinks.

        >>> round(PG25.expansion_l(500.0, 25.0, 35.0), 1)
        2.3
        """
        same_length(volume_l, from_c, to_c)
        return volume_l * (self.density_kg_m3(from_c) / self.density_kg_m3(to_c) - 1.0)


def _polynomial(coefficients: tuple[float, ...], at_c: Column) -> Column:
    result = at_c * 0.0 + coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * at_c + coefficient
    return result


WATER = Fluid(
    "water",
    density_fit=(1000.11, 0.0305979, -6.54764e-3, 2.26852e-5),
    heat_capacity_fit=(4213.73, -2.36506, 0.0490391, -2.95092e-4),
    range_c=(5.0, 65.0),
)
"""Plain water."""

PG25 = Fluid(
    "PG25",
    density_fit=(1031.24, -0.317675, -2.53728e-3),
    heat_capacity_fit=(3863.51, 2.46768),
    range_c=(5.0, 65.0),
)
"""25 % propylene glycol by volume. Its range is taken to be water's: beyond it nothing is claimed."""
