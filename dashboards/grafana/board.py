"""A board: panels in their places, the choices above them, the way to the other boards and to the console.

Lives here: layout, variables, links, annotations. Not here: panels (panels.py), what is on which board (subjects)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.grafana.look import CRITICAL, Json
from dashboards.grafana.panels import Panel
from dashboards.grafana.queries import Source, chosen, values

SCHEMA: Final = 37
"""Of Grafana 9.4; later releases bring it up to date when they load it."""
WIDTH: Final = 24
"""Columns of Grafana's grid."""
TAG: Final = "dcim"
"""Every board has it: the drop-down that leads from board to board finds them by it."""
ALARM_TAG: Final = "dcim-alarm"
"""Annotations that the service makes of alarms have it."""
CONSOLE: Final = "http://127.0.0.1:8080"
"""Where a browser on the same machine finds the console."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part of a board."""

    title: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice above the board."""

    name: str
    label: str
    query: str
    many: bool = True
    """Whether several can be chosen, and all."""
    hidden: bool = False
    """Whether it follows from the others, for links: it is neither shown nor taken along to another board."""


@dataclass(frozen=True, slots=True)
class Link:
    """A way out above the board."""

    title: str
    url: str
    about: str


SITE: Final = Variable("site", "Site", values("site", "rack"))
HALL: Final = Variable("hall", "Hall", values("hall", "rack", chosen("site")))
ROW: Final = Variable("row", "Row", values("row", "rack", chosen("site", "hall")))
RACKS: Final = Variable("racks", "Racks", values("rack", "rack", chosen("site", "hall", "row")))
"""Of another name than where one rack is chosen: that board takes what the address says, and "all" is no rack."""
ONE_RACK: Final = Variable("rack", "Rack", values("rack", "rack", chosen("site", "hall", "row")), many=False)
ONE_CDU: Final = Variable("cdu", "CDU", values("asset", "cdu", chosen("site", "hall")), many=False)


@dataclass(frozen=True, slots=True)
class Board:
    """One board. uid: stable, for links, bookmarks and upserts."""

    uid: str
    title: str
    about: str
    parts: Sequence[Panel | Heading]
    variables: Sequence[Variable] = (SITE, HALL, ROW)
    since: str = "now-1h"
    refresh: str = "10s"
    console_page: str = "#/alarms"
    """Of the console, that belongs to this board."""
    alarms_shown: bool = True
    """Whether alarms are drawn into the trends."""
    links: Sequence[Link] = ()
    """Beside those that every board has."""

    @property
    def panels(self) -> list[Panel]:
        """Without headings."""
        return [part for part in self.parts if isinstance(part, Panel)]


def of_the_first(tag: str, name: str, measurement: str, scope: str) -> Variable:
    """A value that follows from what is chosen, for an address that can name only one: of several, the first."""
    return Variable(name, f"{tag.capitalize()}, for links", values(tag, measurement, scope), many=False, hidden=True)


def board_link(uid: str, **choices: str) -> str:
    """The address of another board: with its time, the choices of this one, and others instead of some of them."""
    told = "".join(f"&var-{name}={value}" for name, value in choices.items())
    kept = "".join(f"&${{{name}:queryparam}}" for name in ("site", "hall") if name not in choices)
    return f"/d/{uid}?${{__url_time_range}}{kept}{told}"


def body(board: Board, console: str = CONSOLE) -> Json:
    """The board as Grafana's dashboard JSON, without an id: the server gives that. console: the console's address."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": board.since, "to": "now"},
        "refresh": board.refresh,
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m"]},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "style": "dark",
        "weekStart": "",
        "annotations": {"list": _annotations(board)},
        "templating": {"list": [*(_variable(one) for one in board.variables), _console(console)]},
        "links": _links(board),
        "panels": _placed(board.parts),
    }


def _placed(parts: Sequence[Panel | Heading]) -> list[Json]:
    """The panels from left to right, in lines as high as the highest of each."""
    placed: list[Json] = []
    x = y = line = 0
    for number, part in enumerate(parts, start=1):
        if isinstance(part, Heading):
            y, x, line = y + line, 0, 0
            grid = {"h": 1, "w": WIDTH, "x": 0, "y": y}
            placed.append(
                {"id": number, "type": "row", "title": part.title, "collapsed": False, "gridPos": grid, "panels": []}
            )
            y += 1
            continue
        if x + part.width > WIDTH:
            y, x, line = y + line, 0, 0
        grid = {"h": part.height, "w": part.width, "x": x, "y": y}
        placed.append({"id": number, "gridPos": grid} | part.body)
        x, line = x + part.width, max(line, part.height)
    return placed


def _variable(variable: Variable) -> Json:
    everything: Json = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": {"type": "influxdb", "uid": Source.READINGS.value},
        "query": variable.query,
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
        "multi": variable.many,
        "includeAll": variable.many,
        "allValue": ".*" if variable.many else None,
        "current": everything if variable.many else {},
        "options": [],
        "regex": "",
        "hide": 2 if variable.hidden else 0,
        "skipUrlSync": variable.hidden,
    }


def _console(address: str) -> Json:
    """The console's address, in one place for all links of a board."""
    address = address.rstrip("/")
    return {
        "name": "console",
        "label": "Console",
        "type": "constant",
        "query": address,
        "current": {"selected": True, "text": address, "value": address},
        "options": [{"selected": True, "text": address, "value": address}],
        "hide": 2,
        "skipUrlSync": True,
    }


def _links(board: Board) -> list[Json]:
    common: Json = {"icon": "external link", "tooltip": "", "targetBlank": False}
    console = Link(
        "Console", f"${{console}}/{board.console_page}", "Acknowledge, shelve, comment: that is done in the console."
    )
    return [
        common
        | {
            "type": "dashboards",
            "title": "Boards",
            "tags": [TAG],
            "asDropdown": True,
            "includeVars": True,
            "keepTime": True,
            "url": "",
        },
        *(common | _link(link) for link in (console, *board.links)),
    ]


def _link(link: Link) -> Json:
    return {
        "type": "link",
        "title": link.title,
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "url": link.url,
        "tooltip": link.about,
    }


def _annotations(board: Board) -> list[Json]:
    own: Json = {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "#7d8c99",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    alarms: Json = {
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": False,
        "iconColor": CRITICAL,
        "name": "Alarms",
        "target": {"limit": 200, "matchAny": False, "tags": [ALARM_TAG], "type": "tags"},
    }
    return [own, alarms] if board.alarms_shown else [own]
