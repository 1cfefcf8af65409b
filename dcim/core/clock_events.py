"""Why a GPU's clocks are lower than they could be: the bits of DCGM field 112, in words.

Lives here: the bits and their meaning. Not here: when one of them is a fault (dcim.detect)."""

from __future__ import annotations

from enum import StrEnum


class Slowdown(StrEnum):
    """What holds a GPU's clocks down, by what has to be done about it."""

    THERMAL = "thermal"
    """Too hot: cooling."""
    POWER_CAP = "power_cap"
    """Its own power limit: a setting, no fault."""
    POWER_BRAKE = "power_brake"
    """The server's supply asks for it."""
    HARDWARE = "hardware"
    """The part's own protection, without saying which."""
    SYNC_BOOST = "sync_boost"
    """Held to the slowest of its group."""


BITS: tuple[tuple[int, Slowdown], ...] = (
    (0x20, Slowdown.THERMAL),
    (0x40, Slowdown.THERMAL),
    (0x80, Slowdown.POWER_BRAKE),
    (0x8, Slowdown.HARDWARE),
    (0x4, Slowdown.POWER_CAP),
    (0x10, Slowdown.SYNC_BOOST),
)
"""Bit → cause, the gravest first. Idle (0x1), chosen clocks (0x2) and display clocks (0x100) hold nothing down."""


def mask(*causes: Slowdown) -> int:
    """All bits of these causes; of any cause where none is named.

    >>> hex(mask(Slowdown.THERMAL)), hex(mask())
    ('0x60', '0xfc')
    """
    bits = 0
    for bit, cause in BITS:
        if not causes or cause in causes:
            bits |= bit
    return bits


def causes_of(reasons: int) -> tuple[Slowdown, ...]:
    """The causes that a value of the field names, the gravest first, each once.

    >>> [str(cause) for cause in causes_of(0x4 | 0x20 | 0x40)], causes_of(0x1)
    (['thermal', 'power_cap'], ())
    """
    return tuple(dict.fromkeys(cause for bit, cause in BITS if reasons & bit))
