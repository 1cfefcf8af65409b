"""Figures: how evidence writes a number, so that every line of it reads alike.

Lives here: rounding and signs. Not here: what the number means."""

from __future__ import annotations

import math


def figure(value: float, unit: str = "") -> str:
    """Three figures and the unit; thousands in groups, a true minus sign, and no digits that nobody measured.

    >>> figure(1431.97, "L/min"), figure(35.04, "°C"), figure(-0.0731, "L/min"), figure(0.0)
    ('1,432 L/min', '35.0 °C', '−0.0731 L/min', '0')
    """
    if not math.isfinite(value):
        return f"{value} {unit}".strip()
    size = abs(value)
    decimals = 0 if size >= 100 or size == 0 else min(max(0, 2 - math.floor(math.log10(size))), 6)
    return f"{value:,.{decimals}f} {unit}".strip().replace("-", "−")


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.1234), percent(1.5)
    ('12.3 %', '150 %')
    """
    return figure(100.0 * share, "%")


def duration(seconds: float) -> str:
    """A span of time as people say it.

    >>> duration(47.2), duration(312), duration(7_300), duration(200_000)
    ('47 s', '5 min', '2 h', '2 days')
    """
    for size, word in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"
