"""What a stream of coolant carries, in the words of InfluxQL: shared by the boards that show cooling.

Lives here: the expression and its constant. Not here: physics (dcim.physics), boards."""

from __future__ import annotations

from typing import Final

from dcim.physics.fluids import PG25

_MEAN_C: Final = 40.0
KW_PER_LPM_K: Final = PG25.density_kg_m3(_MEAN_C) * PG25.heat_capacity_j_kg_k(_MEAN_C) / 6e7
"""kW that 1 L/min carries per kelvin: rho cp of 25 % propylene glycol at 40 °C. A loop on water carries 3 % more."""
HEAT: Final = (
    f'{KW_PER_LPM_K:.5f} * mean("liquid_flow_lpm") * '
    '(mean("liquid_return_temperature_c") - mean("liquid_supply_temperature_c"))'
)
"""Of a rack, in kW: Q = rho cp V dT."""
HEAT_FIELDS: Final = ("liquid_return_temperature_c", "liquid_supply_temperature_c")
