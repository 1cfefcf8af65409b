"""Units: the spellings that come in, and the one way from each to the unit that we keep.

Lives here: spellings, factors, offsets. Not here: which quantity is kept in which unit (quantities.py)."""

from __future__ import annotations

from typing import NamedTuple


class Conversion(NamedTuple):
    """value in `unit` = value as it came × scale + offset."""

    unit: str
    scale: float
    offset: float = 0.0


# Exact by definition: 1 psi = 6.894757293168361 kPa, 1 US gal = 3.785411784 L, 1 ft³ = 0.028316846592 m³,
# 1 BTU(IT) = 1055.05585262 J, 1 ton of refrigeration = 12 000 BTU(IT)/h.
_PSI_KPA = 6.894757293168361
_GALLON_L = 3.785411784
_CUBIC_FOOT_M3 = 0.028316846592
_TON_KW = 12_000 * 1055.05585262 / 3600 / 1000

# Folded spelling → conversions that it can mean; the first whose unit a quantity is kept in is taken. Pressure is the
# only dimension that is kept in two units: liquids in kPa, air in Pa.
_SPELLINGS: dict[str, tuple[Conversion, ...]] = {}


def _spell(spellings: str, *conversions: Conversion) -> None:
    for spelling in spellings.split():
        _SPELLINGS[spelling] = conversions


_spell("c °c degc deg_c celsius degreescelsius degreec", Conversion("°C", 1.0))
_spell("f °f degf deg_f fahrenheit degreesfahrenheit degreef", Conversion("°C", 5 / 9, -160 / 9))
_spell("k kelvin", Conversion("K", 1.0), Conversion("°C", 1.0, -273.15))
_spell("kpa kpag kpa(g) kilopascal kilopascals", Conversion("kPa", 1.0), Conversion("Pa", 1000.0))
_spell("pa pascal pascals", Conversion("kPa", 0.001), Conversion("Pa", 1.0))
_spell("mpa", Conversion("kPa", 1000.0), Conversion("Pa", 1e6))
_spell("bar barg bar(g)", Conversion("kPa", 100.0), Conversion("Pa", 1e5))
_spell("mbar hpa", Conversion("kPa", 0.1), Conversion("Pa", 100.0))
_spell("psi psig psi(g)", Conversion("kPa", _PSI_KPA), Conversion("Pa", _PSI_KPA * 1000))
_spell("inh2o inwc inwg inh₂o", Conversion("kPa", 0.24908891), Conversion("Pa", 249.08891))
_spell("lpm l/min lmin l/m litermin liter/min litre/min", Conversion("L/min", 1.0))
_spell("l/s lps", Conversion("L/min", 60.0))
_spell("m3/h m³/h cmh m3h", Conversion("L/min", 1000 / 60), Conversion("m³/h", 1.0))
_spell("gpm usgpm gal/min", Conversion("L/min", _GALLON_L))
_spell("cfm ft3/min ft³/min", Conversion("m³/h", _CUBIC_FOOT_M3 * 60), Conversion("L/min", _CUBIC_FOOT_M3 * 1000))
_spell("w watt watts", Conversion("kW", 0.001))
_spell("kw kilowatt kilowatts", Conversion("kW", 1.0))
_spell("mw megawatt megawatts", Conversion("kW", 1000.0))
_spell("tr tonr", Conversion("kW", _TON_KW))
_spell("va", Conversion("kVA", 0.001))
_spell("kva", Conversion("kVA", 1.0))
_spell("mva", Conversion("kVA", 1000.0))
_spell("kwh", Conversion("kWh", 1.0))
_spell("mwh", Conversion("kWh", 1000.0))
_spell("wh", Conversion("kWh", 0.001))
_spell("a amp amps ampere amperes", Conversion("A", 1.0))
_spell("ma", Conversion("A", 0.001))
_spell("v volt volts", Conversion("V", 1.0))
_spell("kv", Conversion("V", 1000.0))
_spell("hz hertz", Conversion("Hz", 1.0))
_spell("% pct percent %rh rh%", Conversion("%", 1.0))
_spell("rpm r/min 1/min", Conversion("rpm", 1.0))
_spell("db dba db(a)", Conversion("dB", 1.0))
_spell("µs/cm us/cm μs/cm", Conversion("µS/cm", 1.0))
_spell("ms/cm", Conversion("µS/cm", 1000.0))
_spell("ph", Conversion("pH", 1.0))
_spell("ntu", Conversion("NTU", 1.0))
_spell("l liter liters litre litres", Conversion("L", 1.0))
_spell("ms", Conversion("ms", 1.0))
_spell("s sec", Conversion("s", 1.0))
_spell("mhz", Conversion("MHz", 1.0))


def conversion(spelling: str, units: tuple[str, ...]) -> Conversion | None:
    """The way from a unit as somebody spelled it to the first of `units` that it can be turned into; None when there
    is none. Case and blanks do not matter: "LPM", "L/min" and "l / min" are one, and so are "mW" and "MW" on this bus,
    where nothing is measured in milliwatts.

    >>> conversion("degF", ("°C",)).unit
    '°C'
    >>> conversion("furlong", ("°C",)) is None
    True
    """
    for candidate in _SPELLINGS.get("".join(spelling.casefold().split()), ()):
        if candidate.unit in units:
            return candidate
    return None


def known(spelling: str) -> bool:
    """Whether this is a unit at all, of whatever quantity."""
    return "".join(spelling.casefold().split()) in _SPELLINGS
