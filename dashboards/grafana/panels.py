"""Panels: a question, how its answer is drawn, and what a person should know of it.

Lives here: the JSON of the panels that Grafana has built in, each with its unit, thresholds and a description. Not
here: what is asked (queries.py), colours (look.py), where a panel stands on its board (board.py). The form is that of
Grafana 9.4, which later releases take and bring up to date themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.grafana.look import LIMIT, NORMAL, Json, in_text, steps
from dashboards.grafana.queries import Query


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and how it is shown."""

    title: str
    unit: str = ""
    decimals: int | None = None
    thresholds: Json | None = None
    """Given: its cells are coloured from the first step on that is not the normal one."""
    mappings: list[Json] | None = None
    width: int | None = None
    link: str = ""
    """Where a click leads."""
    hidden: bool = False
    """For links alone."""
    bar: tuple[float, float] | None = None
    """Drawn as a bar between these ends, in the one hue of what is normal."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel without its place. queries: what it asks, for those who hold them against a store."""

    title: str
    body: Json
    queries: tuple[Query, ...] = ()
    width: int = 6
    height: int = 6


def trend(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    decimals: int | None = None,
    low: float | None = None,
    high: float | None = None,
    thresholds: Json | None = None,
    stacked: bool = False,
    colors: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    every: str = "",
    steps_only: bool = False,
) -> Panel:
    """Lines over time. colors: by legend. dashed: legends of limits and of what is expected. thresholds: drawn as
    lines. every: the least interval of a step. steps_only: values hold until the next."""
    overrides = [
        _override(legend, {"color": {"mode": "fixed", "fixedColor": color}}) for legend, color in (colors or {}).items()
    ]
    overrides += [
        _override(
            legend,
            {
                "color": {"mode": "fixed", "fixedColor": LIMIT},
                "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
                "custom.fillOpacity": 0,
                "custom.lineWidth": 1,
            },
        )
        for legend in dashed
    ]
    defaults = _defaults(unit, decimals, low, high, thresholds) | {
        # One hue: which line is which, the pointer and the legend tell; another colour means that something is wrong.
        "color": {"mode": "fixed", "fixedColor": NORMAL},
        "custom": {
            # A stack has no lines: that of a part that is 0 would lie over the colour of the part below it.
            "drawStyle": "bars" if stacked else "line",
            "lineInterpolation": "stepAfter" if steps_only else "linear",
            "lineWidth": 0 if stacked else 2,
            "fillOpacity": 80 if stacked else 0 if _many(queries) else 6,
            "showPoints": "never",
            "spanNulls": 300_000,
            "axisPlacement": "auto",
            "axisSoftMin": low,
            "scaleDistribution": {"type": "linear"},
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
        },
    }
    body = _body("timeseries", title, about, queries, every) | {
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": {
            "legend": _legend(queries),
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }
    return Panel(title, body, queries, width, height)


def number(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 4,
    height: int = 5,
    decimals: int | None = None,
    low: float | None = None,
    high: float | None = None,
    thresholds: Json | None = None,
    mappings: list[Json] | None = None,
    colors: Mapping[str, str] | None = None,
    every: str = "",
    calc: str = "lastNotNull",
    background: bool = False,
    nothing: str = "",
) -> Panel:
    """One number, or one for each line, in the largest type that fits. It is of the normal hue until a threshold is
    passed. colors: by legend, where the number is not 0. nothing: what is shown where there is nothing to show, which
    is then as it should be."""
    overrides = [
        _override(legend, {"thresholds": steps((0.5, color)), "color": {"mode": "thresholds"}})
        for legend, color in (colors or {}).items()
    ]
    several = len(queries) > 1 or _many(queries)
    body = _body("stat", title, about, queries, every) | {
        "fieldConfig": {
            "defaults": _defaults(unit, decimals, low, high, thresholds)
            | {"mappings": mappings or []}
            | ({"noValue": nothing} if nothing else {}),
            "overrides": overrides,
        },
        "options": {
            "reduceOptions": {"calcs": [calc], "fields": "", "values": False},
            "orientation": "auto",
            "textMode": "value_and_name" if several else "value",
            "colorMode": "background" if background else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "text": {"titleSize": 15} if several else {},
        },
    }
    return Panel(title, body, queries, width, height)


def bars(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    decimals: int | None = None,
    low: float | None = 0,
    high: float | None = None,
    thresholds: Json | None = None,
    every: str = "",
) -> Panel:
    """A bar for each line's last value, with its number."""
    body = _body("bargauge", title, about, queries, every) | {
        "fieldConfig": {"defaults": _defaults(unit, decimals, low, high, thresholds), "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal",
            "displayMode": "basic",
            "showUnfilled": True,
            "minVizHeight": 14,
            "minVizWidth": 0,
        },
    }
    return Panel(title, body, queries, width, height)


def table(
    title: str,
    about: str,
    columns: Mapping[str, Column],
    *queries: Query,
    width: int = 24,
    height: int = 9,
    join: str = "",
    sort: str = "",
    descending: bool = True,
    every: str = "",
) -> Panel:
    """Rows with columns, in the order of `columns` (field → column); others are left out. join: the field by which the
    rows of several queries belong together. sort: the field that decides the order."""
    order = list(columns)
    transformations: list[Json] = []
    if join:
        transformations.append({"id": "joinByField", "options": {"byField": join, "mode": "outer"}})
    # Heads are set by overrides: a join may rename columns, but never tells them apart by more than a number.
    transformations.append({"id": "filterFieldsByName", "options": {"include": {"names": order}}})
    transformations.append(
        {
            "id": "organize",
            "options": {
                "excludeByName": {},
                "indexByName": {name: index for index, name in enumerate(order)},
                "renameByName": {},
            },
        }
    )
    overrides = [_column(name, column) for name, column in columns.items()]
    body = _body("table", title, about, queries, every) | {
        "fieldConfig": {
            "defaults": {
                "unit": "locale",
                "color": {"mode": "thresholds"},
                "thresholds": steps(),
                "mappings": [],
                "custom": {"align": "auto", "displayMode": "auto", "filterable": False, "minWidth": 60},
            },
            "overrides": overrides,
        },
        "options": {
            "showHeader": True,
            "footer": {"show": False, "reducer": ["sum"], "fields": ""},
            "sortBy": [{"displayName": columns[sort].title, "desc": descending}] if sort else [],
        },
        "transformations": transformations,
    }
    return Panel(title, body, queries, width, height)


def history(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 24,
    height: int = 8,
    thresholds: Json | None = None,
    mappings: list[Json] | None = None,
    every: str = "",
) -> Panel:
    """A line of coloured cells for each series: how states, or loads, followed each other."""
    body = _body("status-history", title, about, queries, every) | {
        "fieldConfig": {
            "defaults": _defaults(unit, None, None, None, thresholds)
            | {"mappings": mappings or [], "custom": {"fillOpacity": 80, "lineWidth": 0}},
            "overrides": [],
        },
        "options": {
            "showValue": "never",
            "rowHeight": 0.9,
            "colWidth": 0.95,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    }
    return Panel(title, body, queries, width, height)


def target(query: Query, letter: str) -> Json:
    """A query as a panel holds it."""
    return {
        "datasource": {"type": "influxdb", "uid": query.source.value},
        "refId": letter,
        "query": query.text,
        "rawQuery": True,
        "resultFormat": "table" if query.table else "time_series",
        "alias": query.alias,
    }


def _body(kind: str, title: str, about: str, queries: Sequence[Query], every: str) -> Json:
    body: Json = {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": {"type": "influxdb", "uid": queries[0].source.value},
        "targets": [target(query, chr(ord("A") + index)) for index, query in enumerate(queries)],
        "transparent": False,
    }
    return body | ({"interval": every} if every else {})


def _many(queries: Sequence[Query]) -> bool:
    """Whether there are as many lines as there are racks, or meters."""
    return any("$" in query.alias for query in queries)


def _legend(queries: Sequence[Query]) -> Json:
    """Of lines over time. Many lines are a list beside them that has the greatest at its head: whatever else there is,
    can be scrolled to."""
    told: Json = {"showLegend": True, "calcs": ["lastNotNull"]}
    if _many(queries):
        return told | {"displayMode": "table", "placement": "right", "sortBy": "Last *", "sortDesc": True}
    return told | {"displayMode": "list", "placement": "bottom"}


def _defaults(
    unit: str, decimals: int | None, low: float | None, high: float | None, thresholds: Json | None
) -> dict[str, Any]:
    told: Json = {
        "unit": unit,
        "color": {"mode": "thresholds"},
        "thresholds": thresholds or steps(),
        "mappings": [],
    }
    for key, value in (("decimals", decimals), ("min", low), ("max", high)):
        if value is not None:
            told[key] = value
    return told


def _override(legend: str, properties: Mapping[str, object]) -> Json:
    return {
        "matcher": {"id": "byName", "options": legend},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _column(name: str, column: Column) -> Json:
    properties: dict[str, object] = {"displayName": column.title}
    if column.unit:
        properties["unit"] = column.unit
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.thresholds is not None:
        properties["thresholds"] = in_text(column.thresholds)
        properties["custom.displayMode"] = "color-text"
    if column.mappings is not None:
        properties["mappings"] = [in_text(one) for one in column.mappings]
        properties["custom.displayMode"] = "color-text"
    if column.bar is not None:
        properties["min"], properties["max"] = column.bar
        properties["custom.displayMode"] = "basic"
    if column.hidden:
        properties["custom.hidden"] = True
    if column.width is not None:
        properties["custom.width"] = column.width
    if column.link:
        properties["links"] = [{"title": "Open", "url": column.link, "targetBlank": False}]
    return _override(name, properties)
