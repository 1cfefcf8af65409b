"""How boards look: one muted hue where all is normal, the priorities' colours in their order where it is not.

Lives here: colours, steps of thresholds, words for states. Not here: panels (panels.py), which limits a quantity has.
The colours are those of the console, so that a wall of both reads as one."""

from __future__ import annotations

import json
from typing import Any, Final

NORMAL: Final = "#7d8c99"
"""Grey with a breath of blue: legible on both of Grafana's themes."""
TEXT: Final = "text"
"""Grafana's own name for the colour of writing, on either theme."""
SECOND: Final = "#a98d7e"
"""Where a second line must be told from the first and neither is abnormal: warm against cold, A against B."""
LIMIT: Final = "#98a2ab"
CRITICAL: Final = "#c4122f"
HIGH: Final = "#d96b00"
MEDIUM: Final = "#e3c000"
LOW: Final = "#6a4bc4"
PRIORITIES: Final = (
    (1, "critical", "■ 1 critical", CRITICAL),
    (2, "high", "▲ 2 high", HIGH),
    (3, "medium", "▼ 3 medium", MEDIUM),
    (4, "low", "◆ 4 low", LOW),
)
"""(number, word, how it is shown, colour), the most urgent first. Shape and number carry it, not colour alone."""

Json = dict[str, Any]


def steps(*above: tuple[float, str]) -> Json:
    """Thresholds: NORMAL, and from each value on its colour."""
    return {
        "mode": "absolute",
        "steps": [{"color": NORMAL, "value": None}, *({"color": color, "value": value} for value, color in above)],
    }


def below(low: float, color: str, *lower: tuple[float, str]) -> Json:
    """Thresholds of what must not fall: `color` under `low`, and so on downwards."""
    told = sorted([(low, color), *lower])
    colors = [color for _, color in told]
    return {
        "mode": "absolute",
        "steps": [
            {"color": colors[0], "value": None},
            *({"color": after, "value": value} for (value, _), after in zip(told, [*colors[1:], NORMAL], strict=True)),
        ],
    }


def words(texts: dict[float, tuple[str, str]]) -> list[Json]:
    """Words for numbers that stand for something, each with its colour."""
    return [
        {
            "type": "value",
            "options": {
                f"{value:g}": {"text": text, "color": color, "index": index}
                for index, (value, (text, color)) in enumerate(texts.items())
            },
        }
    ]


def in_text(colored: Json) -> Json:
    """Thresholds, or words, for cells between cells without a colour: what is normal is written like these."""
    told: Json = json.loads(json.dumps(colored).replace(f'"{NORMAL}"', f'"{TEXT}"'))
    return told


LEAK: Final = words({0: ("dry", NORMAL), 1: ("LEAK", CRITICAL)})
YES_NO: Final = words({0: ("no", HIGH), 1: ("yes", NORMAL)})
"""Where "yes" is as it should be."""
PRIORITY: Final = words({number: (shown, color) for number, _, shown, color in PRIORITIES})
