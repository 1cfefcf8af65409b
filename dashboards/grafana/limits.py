"""From where on a figure is coloured: where the rules that come with the service raise an alarm, in the colour of its
priority. So a board is of the normal hue as long as nothing is wrong, and says no more and no less than the alarms.

Lives here: limits by the names of their rules. Not here: the rules (alerts/default_rules.toml, which tests hold these
against), limits of figures that no rule knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dashboards.grafana.look import PRIORITIES, Json, below, steps

LIMITS: Final[Mapping[str, tuple[float, int]]] = {
    "rack-power-over-rating": (102.0, 2),
    "feed-loaded": (75.0, 3),
    "feed-overloaded": (80.0, 2),
    "rack-supply-temperature-high": (37.0, 3),
    "cdu-supply-temperature-high": (60.0, 2),
    "cdu-supply-temperature-critical": (65.0, 1),
    "return-pressure-low": (50.0, 1),
    "filter-restricted": (60.0, 4),
    "gpu-temperature-high": (80.0, 3),
    "gpu-temperature-very-high": (85.0, 2),
}
"""Rule → (limit in the unit of the boards: %, °C, kPa; number of the priority)."""
_COLORS: Final = {number: color for number, _, _, color in PRIORITIES}


def above(*rules: str) -> Json:
    """Thresholds of what must not rise above the limits of these rules, the lowest first."""
    return steps(*_told(rules))


def under(rule: str) -> Json:
    """Thresholds of what must not fall below the limit of this rule."""
    ((limit, color),) = _told((rule,))
    return below(limit, color)


def _told(rules: tuple[str, ...]) -> list[tuple[float, str]]:
    return [(limit, _COLORS[priority]) for limit, priority in (LIMITS[rule] for rule in rules)]


OF_RATING: Final = above("rack-power-over-rating")
FEED_LOAD: Final = above("feed-loaded", "feed-overloaded")
RACK_SUPPLY: Final = above("rack-supply-temperature-high")
LOOP_SUPPLY: Final = above("cdu-supply-temperature-high", "cdu-supply-temperature-critical")
GPU_HEAT: Final = above("gpu-temperature-high", "gpu-temperature-very-high")
