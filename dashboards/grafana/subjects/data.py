"""Data quality: what came and what became of it, who is silent, what is stale, what waits."""

from __future__ import annotations

from dashboards.grafana.board import HALL, SITE, Board, Heading, Variable
from dashboards.grafana.look import CRITICAL, HIGH, MEDIUM, SECOND, YES_NO, below, steps
from dashboards.grafana.panels import Column, number, table, trend
from dashboards.grafana.queries import Query, Read, chosen, latest, over, ratio, values

SOURCE = Variable("source", "Source", values("source", "source"))
_SCOPE = chosen("site", "hall")
_SOURCES = chosen("source")


def _pace(field: str, alias: str) -> Query:
    """Items of a kind in a minute, all chosen sources together; a count that begins anew counts from there."""
    return Query(
        f'SELECT sum("v") FROM (SELECT non_negative_derivative(last("{field}"), 1m) AS "v" FROM "ledger" WHERE '
        f'{_SOURCES} AND $timeFilter GROUP BY time($__interval), "source", "codec" fill(none)) '
        "WHERE $timeFilter GROUP BY time($__interval) fill(none)",
        (Read("ledger", field, {}),),
        alias,
    )


BOARD = Board(
    uid="dcim-data",
    title="DCIM · Data quality",
    about="Whether the other boards can be believed: ledger, sources, stale points, what waits. Told once a minute.",
    variables=(SITE, HALL, SOURCE),
    refresh="1m",
    console_page="#/quality",
    alarms_shown=False,
    parts=[
        Heading("Now"),
        number(
            "Points that speak",
            "Heard within the last 250 s, of those that ought to speak.",
            "percent",
            ratio("coverage", "fresh", "expected", scope=_SCOPE, of=["site", "hall"], times=100),
            decimals=1,
            low=0,
            high=100,
            thresholds=below(98, MEDIUM, (90, HIGH)),
            every="1m",
        ),
        number(
            "Stale points",
            "Not heard for 250 s.",
            "locale",
            Query(
                f'SELECT sum("v") FROM (SELECT last("stale") AS "v" FROM "coverage" WHERE {_SCOPE} AND $timeFilter '
                'GROUP BY time($__interval), "site", "hall" fill(none)) WHERE $timeFilter '
                "GROUP BY time($__interval) fill(none)",
                (Read("coverage", "stale", {}),),
            ),
            decimals=0,
            thresholds=steps((1, MEDIUM)),
            every="1m",
        ),
        number(
            "Ledger balance",
            "Items unaccounted for. Anything but 0 is a defect of this service: please report it.",
            "locale",
            over("ledger", "balance", scope=_SOURCES, how="max", alias="most"),
            over("ledger", "balance", scope=_SOURCES, how="min", alias="least"),
            decimals=0,
            thresholds=below(-0.5, CRITICAL)
            | {
                "steps": [
                    *below(-0.5, CRITICAL)["steps"],
                    {"color": CRITICAL, "value": 0.5},
                ]
            },
            every="1m",
        ),
        number(
            "Longest silence",
            "Of any source: since its last message.",
            "s",
            over("source", "silent_s", scope=_SOURCES, how="max"),
            decimals=0,
            thresholds=steps((30, MEDIUM), (300, HIGH)),
            every="1m",
        ),
        number(
            "Waits for InfluxDB",
            "Readings that are safe on this machine's disk and not in InfluxDB yet.",
            "locale",
            over("spool", "waiting", scope="", how="last"),
            decimals=0,
            thresholds=steps((1_000_000, MEDIUM)),
            every="1m",
        ),
        number(
            "Spool, full to",
            "Of what it may take. When it is full nothing is acknowledged any more, and sources keep what they have.",
            "percent",
            ratio("spool", "bytes", "bytes_max", scope="", of=[], times=100),
            decimals=1,
            low=0,
            high=100,
            thresholds=steps((50, MEDIUM), (80, HIGH), (95, CRITICAL)),
            every="1m",
        ),
        Heading("Sources"),
        table(
            "Sources",
            "Each source: whether messages can come in, how long it has been silent, and how long readings are under "
            "way from the sender's clock to us.",
            {
                "source": Column("Source"),
                "connected": Column("Connected", mappings=YES_NO),
                "silent": Column("Silent for", "s", 0, steps((30, MEDIUM), (300, HIGH))),
                "half": Column("Lag, median", "s", 2),
                "most": Column("Lag, 99 of 100", "s", 2),
                "durable": Column("Durable within, 99 of 100", "s", 2),
                "ahead": Column("Sender ahead", "s", 2, steps((5, MEDIUM))),
            },
            latest(
                "source",
                {
                    "connected": "connected",
                    "silent": "silent_s",
                    "half": "lag_p50_s",
                    "most": "lag_p99_s",
                    "durable": "durable_p99_s",
                    "ahead": "ahead_s",
                },
                scope=_SOURCES,
                by=["source"],
            ),
            sort="silent",
            height=6,
        ),
        trend(
            "Silence of sources",
            "Since the last message of each.",
            "s",
            over("source", "silent_s", scope=_SOURCES, by=["source"], how="max", alias="$tag_source"),
            low=0,
            thresholds=steps((30, MEDIUM)),
            every="1m",
        ),
        trend(
            "Lag",
            "From the newest value's own timestamp to its receipt: 99 of 100 batches of a minute.",
            "s",
            over("source", "lag_p99_s", scope=_SOURCES, by=["source"], alias="$tag_source"),
            low=0,
            every="1m",
        ),
        Heading("Ledger"),
        trend(
            "Items in a minute",
            "Received = stored + duplicate + rejected + pending, always.",
            "short",
            _pace("received", "received"),
            _pace("stored", "stored"),
            _pace("duplicate", "duplicate"),
            _pace("rejected", "rejected"),
            low=0,
            decimals=0,
            colors={"received": "#98a2ab", "stored": "#7d8c99", "duplicate": SECOND, "rejected": HIGH},
            every="1m",
        ),
        trend(
            "Values that wait for their description",
            "Durable, but their point is not described yet.",
            "short",
            over("ledger", "pending", scope=_SOURCES, by=["source"], how="max", alias="$tag_source"),
            low=0,
            decimals=0,
            every="1m",
        ),
        table(
            "Account",
            "Since the account began, by source and codec.",
            {
                "source": Column("Source"),
                "codec": Column("Codec"),
                "received": Column("Received", decimals=0),
                "stored": Column("Stored", decimals=0),
                "duplicate": Column("Duplicate", decimals=0),
                "rejected": Column("Rejected", decimals=0, thresholds=steps((1, MEDIUM))),
                "pending": Column("Pending", decimals=0),
                "balance": Column("Balance", decimals=0, thresholds=steps((1, CRITICAL))),
            },
            latest(
                "ledger",
                {name: name for name in ("received", "stored", "duplicate", "rejected", "pending", "balance")},
                scope=_SOURCES,
                by=["source", "codec"],
            ),
            sort="received",
            width=14,
        ),
        table(
            "Rejected, by reason",
            "Items put aside since the account began; docs/ledger.md says what each reason means.",
            {"reason": Column("Reason"), "sum": Column("Items", decimals=0, thresholds=steps((1, MEDIUM)))},
            Query(
                'SELECT sum("v") FROM (SELECT last("rejected") AS "v" FROM "reject" WHERE '
                f'{_SOURCES} AND $timeFilter GROUP BY "source", "reason") GROUP BY "reason"',
                (Read("reject", "rejected", {}),),
                table=True,
            ),
            sort="sum",
            width=10,
            height=9,
        ),
        Heading("Stale points"),
        table(
            "Assets with stale or old points",
            "Those with the most stale points first, then those whose oldest point was heard longest ago. No age: "
            "never heard since the start.",
            {
                "asset": Column("Asset"),
                "rack": Column("Rack"),
                "hall": Column("Hall"),
                "stale": Column("Stale points", decimals=0, thresholds=steps((1, MEDIUM))),
                "age": Column("Oldest heard before", "s", 0),
            },
            latest("stale", {"stale": "stale", "age": "age_s"}, scope=_SCOPE, by=["asset", "rack", "hall"]),
            sort="stale",
            width=14,
            height=11,
        ),
        table(
            "Faults on connections",
            "Since the account began, by kind.",
            {"fault": Column("Kind"), "sum": Column("Items", decimals=0, thresholds=steps((1, MEDIUM)))},
            Query(
                'SELECT sum("v") FROM (SELECT last("faults") AS "v" FROM "fault" WHERE '
                f'{_SOURCES} AND $timeFilter GROUP BY "source", "fault") GROUP BY "fault"',
                (Read("fault", "faults", {}),),
                table=True,
            ),
            sort="sum",
            width=10,
            height=11,
        ),
        Heading("Way to InfluxDB"),
        trend(
            "Readings that wait",
            "In the spool.",
            "short",
            over("spool", "waiting", scope="", how="max", alias="readings"),
            low=0,
            decimals=0,
            every="1m",
        ),
        trend(
            "Age of the oldest",
            "How far this board lags behind.",
            "s",
            over("spool", "oldest_s", scope="", how="max", alias="oldest"),
            low=0,
            every="1m",
        ),
    ],
)
