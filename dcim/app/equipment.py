"""Whether equipment is switched off, as it says itself.

Lives here: which point says so, and when it is believed. Not here: what that hides (alerts.suppression)."""

from __future__ import annotations

from dcim.app.hall import STALE_AFTER_S
from dcim.core.assets import AssetKey
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.readings import Quality

QUANTITY = "Status"
WORDS = frozenset({"off", "stopped", "disabled", "shutdown", "shut down", "switched off", "out of operation"})
"""Words of a status for "somebody has switched it off". "Fault", "Tripped" and "Standby" are not among them: what
failed must alarm, and what stands by must be fit to start."""


def off(plant: Plant, latest: Latest, key: AssetKey, at_us: int) -> str:
    """Why an asset counts as switched off: what its status says, in words; "" where it does not say so, where it is
    doubtful, or where it has not been heard lately. at_us: now, microseconds UTC."""
    for point in plant.at(key, QUANTITY):
        heard = latest.heard_of(point.id)
        if heard is None or at_us - heard > STALE_AFTER_S * 1_000_000:
            continue
        value = float(latest.value[point.id])
        if int(latest.quality[point.id]) != Quality.GOOD or value != value:  # noqa: PLR0124  NaN
            continue
        word = point.word(value)
        if word.strip().lower() in WORDS:
            return f"{point.name} says {word}"
    return ""
