"""Alarms: what stands, what happened, and how the alarm system does by the rules of practice."""

from __future__ import annotations

from urllib.parse import quote

from dashboards.grafana.board import HALL, SITE, Board, Heading, Link
from dashboards.grafana.look import HIGH, MEDIUM, PRIORITIES, PRIORITY, steps
from dashboards.grafana.panels import Column, number, table, trend
from dashboards.grafana.queries import Query, Read, chosen, total

ALERTMANAGER = "DCIM alarms"
"""Name of the data source; Grafana's own pages of groups and silences know it by no other."""
_PAGES = quote(ALERTMANAGER)
_SCOPE = chosen("site", "hall")
_COUNTS = tuple(
    total("alarm_count", "standing", scope=_SCOPE, of=["site", "hall"], where={"priority": word}, alias=shown)
    for _, word, shown, _ in PRIORITIES
)
_COLORS = {shown: color for _, _, shown, color in PRIORITIES}
_WHICH = '"site", "asset", "rule", "qualifier"'


def _event(selected: str, name: str, condition: str, field: str, tail: str = "", *, alone: bool = False) -> Query:
    return Query(
        f'SELECT {selected} AS "{name}" FROM "alarm" WHERE {_SCOPE} AND {condition} AND $timeFilter{tail}',
        (Read("alarm", field, {}),),
        alone=alone,
        table=bool(tail) and "time(" not in tail,
    )


def _standing() -> Query:
    """The newest word of each alarm, of those that are not over."""
    inner = ", ".join(
        f'last("{field}") AS "{name}"'
        for name, field in {
            "open": "open",
            "priority": "priority",
            "state": "state",
            "title": "title",
            "stood": "stood_s",
            "by": "by",
            "id": "id",
        }.items()
    )
    return Query(
        'SELECT "priority", "state", "title", "asset", "stood", "by", "id" FROM '
        f'(SELECT {inner} FROM "alarm" WHERE {_SCOPE} AND $timeFilter GROUP BY {_WHICH}) WHERE "open" > 0',
        tuple(Read("alarm", field, {}) for field in ("open", "priority", "state", "title", "stood_s", "by", "id")),
        table=True,
        alone=False,
    )


def _by_rule() -> Query:
    """The standing alarms of each hall and rule."""
    inner = ", ".join(
        f'last("{field}") AS "{name}"'
        for name, field in {"open": "open", "priority": "priority", "stood": "stood_s"}.items()
    )
    return Query(
        'SELECT min("priority") AS "priority", count("priority") AS "alarms", max("stood") AS "stood" FROM '
        f'(SELECT {inner} FROM "alarm" WHERE {_SCOPE} AND $timeFilter GROUP BY {_WHICH}, "hall") WHERE "open" > 0 '
        'GROUP BY "hall", "rule"',
        tuple(Read("alarm", field, {}) for field in ("open", "priority", "stood_s")),
        table=True,
        alone=False,
    )


BOARD = Board(
    uid="dcim-alarms",
    title="DCIM · Alarms",
    about="What stands and what happened. To acknowledge, shelve or comment, open the console: a board only shows.",
    variables=(SITE, HALL),
    since="now-6h",
    console_page="#/alarms",
    links=(
        Link(
            "Groups",
            f"/alerting/groups?alertmanager={_PAGES}",
            "Grafana's own page: the same alarms, as the service's Alertmanager API tells them.",
        ),
        Link(
            "Silences",
            f"/alerting/silences?alertmanager={_PAGES}",
            "Grafana's own page: what is silenced in the service, over its Alertmanager API.",
        ),
    ),
    parts=[
        Heading("Now"),
        number(
            "Standing, by priority",
            "Alarms whose condition stands or waits for somebody, without those that are shelved or hidden by design.",
            "locale",
            *_COUNTS,
            width=12,
            decimals=0,
            colors=_COLORS,
            every="1m",
        ),
        number(
            "Not acknowledged",
            "Of these, how many nobody has acknowledged.",
            "locale",
            total("alarm_count", "unacknowledged", scope=_SCOPE, of=["site", "hall", "priority"]),
            decimals=0,
            thresholds=steps((1, HIGH)),
            every="1m",
        ),
        number(
            "Put aside",
            "Shelved or taken out of service by a person, with a reason.",
            "locale",
            total("alarm_count", "aside", scope=_SCOPE, of=["site", "hall", "priority"]),
            decimals=0,
            every="1m",
        ),
        number(
            "Hidden by design",
            "Consequences of something that stands, of work that goes on, or of equipment that is off; of all sites.",
            "locale",
            total("alarm_hidden", "suppressed", scope="", of=[]),
            decimals=0,
            every="1m",
        ),
        table(
            "Standing alarms",
            "The most urgent first. A click on a title opens the alarm in the console.",
            {
                "priority": Column("Priority", mappings=PRIORITY, width=120),
                "title": Column("Alarm", link="${console}/#/alarms/${__data.fields.id}"),
                "state": Column("State", width=190),
                "asset": Column("Asset", width=160),
                "stood": Column("Stands for", "s", 0, width=130),
                "by": Column("Acknowledged by", width=150),
                "id": Column("Id", hidden=True),
            },
            _standing(),
            sort="priority",
            descending=False,
            height=10,
        ),
        Heading("How it went"),
        trend(
            "Standing alarms over time",
            "By priority.",
            "short",
            *_COUNTS,
            low=0,
            decimals=0,
            stacked=True,
            colors=_COLORS,
            steps_only=True,
            every="1m",
        ),
        trend(
            "Activations in ten minutes",
            "About one in ten minutes is acceptable for one operator, two are the limit; more than ten are a flood.",
            "short",
            Query(
                f'SELECT sum("activated") FROM "alarm" WHERE {_SCOPE} AND $timeFilter GROUP BY time(10m) fill(0)',
                (Read("alarm", "activated", {}),),
                "activations",
                alone=False,
            ),
            low=0,
            decimals=0,
            steps_only=True,
            thresholds=steps((2, MEDIUM), (10, HIGH)),
            every="10m",
        ),
        table(
            "What happened",
            "Each change of an alarm, as the journal has it, newest first.",
            {
                "Time": Column("Time", "dateTimeAsIso", width=190),
                "priority": Column("Priority", mappings=PRIORITY, width=120),
                "change": Column("Change", width=140),
                "title": Column("Alarm"),
                "asset": Column("Asset", width=160),
                "by": Column("By", width=130),
                "summary": Column("Finding"),
            },
            Query(
                'SELECT "priority", "change", "title", "asset", "by", "summary" FROM "alarm" WHERE '
                f'{_SCOPE} AND "seq" > 0 AND $timeFilter ORDER BY time DESC LIMIT 200',
                tuple(Read("alarm", field, {}) for field in ("priority", "change", "title", "by", "summary", "seq")),
                table=True,
                alone=False,
            ),
            height=10,
        ),
        Heading("How the alarms do"),
        number(
            "Activations",
            "In the time of the board.",
            "locale",
            _event('sum("activated")', "activations", '"seq" > 0', "activated"),
            decimals=0,
            nothing="none",
            calc="lastNotNull",
        ),
        number(
            "Time to acknowledge",
            "Mean from the opening of an alarm until somebody acknowledged it, in the time of the board.",
            "s",
            _event('mean("answered_s")', "answered", '"seq" > 0', "answered_s"),
            decimals=0,
            nothing="none",
        ),
        table(
            "Activations by rule",
            "The rules with the most activations in the time of the board. The ten worst should be 1 to 5 % of all.",
            {"rule": Column("Rule"), "sum": Column("Activations", decimals=0)},
            Query(
                f'SELECT sum("activated") FROM "alarm" WHERE {_SCOPE} AND "seq" > 0 AND $timeFilter GROUP BY "rule"',
                (Read("alarm", "activated", {}),),
                table=True,
                alone=False,
            ),
            sort="sum",
            width=16,
            height=10,
        ),
        table(
            "Standing, by hall and rule",
            "One line for each rule that has something standing in a hall: the same cause in many places is one line.",
            {
                "priority": Column("Most urgent", mappings=PRIORITY, width=120),
                "rule": Column("Rule"),
                "hall": Column("Hall", width=160),
                "alarms": Column("Alarms", decimals=0, width=90),
                "stood": Column("Longest", "s", 0, width=130),
            },
            _by_rule(),
            sort="priority",
            descending=False,
            height=9,
        ),
    ],
)
