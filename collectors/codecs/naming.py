"""Naming: which quantity is meant by a name that somebody gave it, and how its values come into our unit.

Lives here: the way from a name, a unit and what the settings say of them to a quantity. Pure. Not here: the table of
quantities and of units (dcim.core), whose point it is, the descriptions of the BMS bus (binding.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from collectors.codecs.payload import Refused
from dcim.core.ledger import RejectReason
from dcim.core.points import Loop, Side
from dcim.core.quantities import QUANTITIES, Nature, Quantity, by_column, by_name
from dcim.core.units import Conversion, conversion, known

WITHOUT_UNIT = frozenset({"", "ms"})
"""Units of quantities whose senders may leave the unit out: ratios, states, and the clocks of heartbeats."""

TRUTH = ((0, "false"), (1, "true"))
"""Words for the values of a switch of which nothing else is known."""

GENERIC = frozenset({"GenericPoint", "GenericPointState"})
"""Quantities that say nothing: at a point of theirs, the sender's own name stands among the areas, for people."""

_TEMPERATURE_SIDES = {"RackLiquidSupplyTemperature": Side.SUPPLY, "RackLiquidReturnTemperature": Side.RETURN}

Unknown = Literal["keep", "reject"]
"""What becomes of a value whose name says nothing: kept as a generic quantity, or put aside."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the settings say of a name; "" and None where they leave it to the name itself."""

    quantity: str = ""
    unit: str = ""
    """Of the values as they are sent, where the sender does not tell. The quantity's own, where both leave it out."""
    loop: Loop | None = None
    side: Side | None = None
    phase: str = ""
    part: str = ""
    setpoint: bool = False


NOTHING = Meaning()


class Measured(NamedTuple):
    """What values of a name are."""

    quantity: Quantity
    unit: str
    """Of stored values; the sender's spelling where nobody knows it."""
    unit_known: bool
    scale: float = 1.0
    offset: float = 0.0
    states: tuple[tuple[int, str], ...] = ()

    @property
    def side(self) -> Side | None:
        """The side that the quantity itself tells."""
        return _TEMPERATURE_SIDES.get(self.quantity.name)


def measured(
    name: str, unit: str, asset_kind: str, meaning: Meaning = NOTHING, *, switch: bool = False, unknown: Unknown
) -> Measured:
    """What values of `name` at an asset of this kind are.

    What the settings say comes first, then the name of a quantity, then the name of a column, which ends in its unit;
    any other unit of the quantity may stand there. unit: what the sender says, "" for nothing; it outweighs a unit in
    the name. switch: the values are true and false. Raises Refused where `unknown` says so.
    """
    quantity, spelled = named(name, asset_kind)
    if meaning.quantity:
        quantity, spelled = QUANTITIES[meaning.quantity], meaning.unit or QUANTITIES[meaning.quantity].unit
    if switch:
        return _switch(quantity, name, unknown)
    if quantity is None:
        if unknown == "reject":
            raise _unknown(name)
        quantity, way = generic(unit or meaning.unit, level="level" in name.casefold())
    else:
        quantity, way = in_unit(quantity, unit or meaning.unit or spelled)
    if way is None:
        return Measured(quantity, unit or meaning.unit or spelled, unit_known=False)
    return Measured(quantity, way.unit, True, way.scale, way.offset)


def in_unit(quantity: Quantity, unit: str) -> tuple[Quantity, Conversion | None]:
    """The quantity, or its like in revolutions, and the way from the sent unit to ours; None where there is none."""
    if conversion(unit, ("rpm",)) and f"{quantity.name}Rpm" in QUANTITIES:
        quantity = QUANTITIES[f"{quantity.name}Rpm"]
    if not unit and quantity.unit in WITHOUT_UNIT:
        return quantity, Conversion(quantity.unit, 1.0)
    if unit == quantity.unit:  # also units that have no spelling in the table
        return quantity, Conversion(unit, 1.0)
    return quantity, conversion(unit, (quantity.unit,))


def generic(unit: str, *, level: bool) -> tuple[Quantity, Conversion | None]:
    """What nobody names is whatever its unit gives away; else it stays generic, in the sender's own unit."""
    for name, fits in (("LiquidLevel", level), ("LiquidConductivity", True)):
        way = conversion(unit, (QUANTITIES[name].unit,))
        if fits and way is not None:
            return QUANTITIES[name], way
    return QUANTITIES["GenericPoint"], Conversion(unit, 1.0) if known(unit) else None


def named(name: str, asset_kind: str) -> tuple[Quantity | None, str]:
    """The quantity that a name means at an asset of this kind, None where it means none, and the unit that it ends in,
    "" where it ends in none.

    >>> named("liquid_flow_gpm", "CDU")[0].name, named("liquid_flow_gpm", "CDU")[1], named("gpm", "CDU")
    ('LiquidFlow', 'gpm', (None, ''))
    """
    column = name.casefold()
    found = by_column(column, asset_kind)
    if found is not None:
        return found, found.unit
    found = by_name(name, asset_kind)
    if found is not None:
        return found, ""
    parts = column.split("_")
    for words in (1, 2):
        spelled = "/".join(parts[-words:]) if words < len(parts) else ""
        found = by_name("".join(parts[:-words]), asset_kind) if spelled else None
        if found is not None and in_unit(found, spelled)[1] is not None:
            return found, spelled
    return None, ""


def _switch(quantity: Quantity | None, name: str, unknown: Unknown) -> Measured:
    """True and false are states, of whatever it is."""
    if quantity is None and unknown == "reject":
        raise _unknown(name)
    if quantity is not None and quantity.nature is not Nature.STATE:
        quantity = QUANTITIES.get(f"{quantity.name}State")
    if quantity is None:
        return Measured(QUANTITIES["GenericPointState"], "", True, states=TRUTH)
    return Measured(quantity, "", True)


def _unknown(name: str) -> Refused:
    return Refused(RejectReason.POINT_TYPE_UNKNOWN, f"no quantity goes by the name {name[:64]}")
