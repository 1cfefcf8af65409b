"""A timeline as a picture: what really happened above, what was said below, in SVG.

Lives here: the drawing. Not here: what is drawn (scoring, backtest.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

WIDTH, LEFT, RIGHT = 1_200, 190, 20
ROW, BAR, TOP = 22, 12, 34
TICKS = 8
LANES_MAX = 60
BARS_MAX = 4_000
COLOURS = {"truth": "#c2410c", "harmless": "#94a3b8", "hit": "#15803d", "false": "#b91c1c", "other": "#a16207"}
MEANING = {
    "truth": "what really happened",
    "harmless": "looks like a fault and is none",
    "hit": "alarm that is right",
    "other": "alarm with another name",
    "false": "false alarm",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a lane."""

    lane: str
    begin: datetime
    end: datetime
    colour: str
    """A key of COLOURS."""
    title: str
    """Shown where the pointer rests."""


def draw(title: str, bars: Sequence[Bar], start: datetime, end: datetime) -> str:
    """An SVG document. Lanes come in the order of their first bar; LANES_MAX of them and BARS_MAX bars at most, and it
    says so where some are left out."""
    lanes = list(dict.fromkeys(bar.lane for bar in bars))
    shown = {lane: row for row, lane in enumerate(lanes[:LANES_MAX])}
    drawn = [bar for bar in bars if bar.lane in shown][:BARS_MAX]
    left_out = len(bars) - len(drawn)
    height = TOP + ROW * max(1, len(shown)) + 56
    span_s = max((end - start).total_seconds(), 1.0)

    def x(at: datetime) -> float:
        share = min(max((at - start).total_seconds() / span_s, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    look = f'font-family="sans-serif" font-size="12" role="img" aria-label={quoteattr(title)}'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {look}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    bottom = TOP + ROW * max(1, len(shown))
    for number in range(TICKS + 1):
        at = start + timedelta(seconds=span_s * number / TICKS)
        place = x(at)
        label = f"{at:%m-%d %H:%M}" if span_s > 7_200.0 else f"{at:%H:%M:%S}"
        parts.append(f'<line x1="{place:.1f}" y1="{TOP}" x2="{place:.1f}" y2="{bottom}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{place:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#475569">{label}</text>')
    for lane, row in shown.items():
        y = TOP + ROW * row
        parts.append(f'<text x="{LEFT - 8}" y="{y + BAR + 2}" text-anchor="end">{escape(lane)}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{y + ROW - 1}" x2="{WIDTH - RIGHT}" y2="{y + ROW - 1}" stroke="#f1f5f9"/>')
    for bar in drawn:
        y = TOP + ROW * shown[bar.lane] + 3
        begin, width = x(bar.begin), max(x(bar.end) - x(bar.begin), 2.0)
        parts.append(
            f'<rect x="{begin:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[bar.colour]}"'
            f' fill-opacity="0.85"><title>{escape(bar.title)}</title></rect>'
        )
    place = 8.0
    used = {bar.colour for bar in drawn}
    for colour, words in MEANING.items():
        if colour in used:
            y = bottom + 40
            parts.append(f'<rect x="{place:.0f}" y="{y - 10}" width="12" height="12" fill="{COLOURS[colour]}"/>')
            parts.append(f'<text x="{place + 18:.0f}" y="{y}">{words}</text>')
            place += 40 + 6.6 * len(words)
    if left_out:
        parts.append(f'<text x="{place:.0f}" y="{bottom + 40}">{left_out} more are not drawn</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
