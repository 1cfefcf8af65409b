"""Utilization and capacity: what was used of what is there, over days, out of the minutes."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, ROW, SITE, Board, Heading, board_link
from dashboards.grafana.look import MEDIUM, SECOND, steps
from dashboards.grafana.panels import Column, bars, number, table, trend
from dashboards.grafana.queries import Query, Read, Source, chosen, latest, over, ratio, total

_SCOPE = chosen("site", "hall", "row")
_MINUTES = Source.MINUTES
_STEP = "5m"
_POWER = total("rack", "power_kw_mean", scope=_SCOPE, of=["rack"], alias="racks", source=_MINUTES)
_PEAK = total(
    "rack",
    "power_kw_max",
    scope=_SCOPE,
    of=["rack"],
    inner='max("power_kw_max")',
    alias="peaks, summed",
    source=_MINUTES,
)
_RATED = total(
    "rack", "rated_power_kw", scope=_SCOPE, of=["rack"], inner='max("rated_power_kw")', alias="rated", source=_MINUTES
)


def _over_range(selected: str, reads: tuple[str, ...], by: str, alias: str = "") -> Query:
    """One figure for each rack, over the time of the board: its steps are minutes."""
    return Query(
        f'SELECT {selected} FROM "rack" WHERE {_SCOPE} AND $timeFilter GROUP BY {by}',
        tuple(Read("rack", field, {}) for field in reads),
        alias,
        source=_MINUTES,
    )


BOARD = Board(
    uid="dcim-capacity",
    title="DCIM · Utilization and capacity",
    about="Power, cooling and GPUs against what is there, over days. Figures of minutes, not of single readings.",
    variables=(SITE, HALL, ROW),
    since="now-24h",
    refresh="1m",
    console_page="#/capacity",
    alarms_shown=False,
    parts=[
        Heading("In the time of the board"),
        number(
            "Power, p95 of the busiest rack",
            "Of all racks the greatest power that 95 of 100 minutes stayed under, of its rating.",
            "percent",
            Query(
                # Divided minute by minute: two choices in one subquery InfluxQL takes of different racks.
                'SELECT max("p") FROM (SELECT percentile("u", 95) AS "p" FROM '
                '(SELECT 100 * mean("power_kw_mean") / mean("rated_power_kw") AS "u" FROM "rack" '
                f'WHERE {_SCOPE} AND $timeFilter GROUP BY time(1m), "rack" fill(none)) GROUP BY "rack")',
                (Read("rack", "power_kw_mean", {}), Read("rack", "rated_power_kw", {})),
                source=_MINUTES,
            ),
            decimals=0,
            thresholds=limits.OF_RATING,
        ),
        number(
            "Power now, of rating",
            "Of all racks together, in the last minutes.",
            "percent",
            ratio("rack", "power_kw_mean", "rated_power_kw", scope=_SCOPE, of=["rack"], times=100, source=_MINUTES),
            decimals=0,
            thresholds=limits.OF_RATING,
            every=_STEP,
        ),
        number(
            "Rated and not drawn",
            "Ratings − power of all racks. Not all of it can be used: floor, cooling and failover bind first.",
            "kwatt",
            Query(
                'SELECT sum("r") - sum("p") FROM (SELECT max("rated_power_kw") AS "r", mean("power_kw_mean") AS "p" '
                f'FROM "rack" WHERE {_SCOPE} AND $timeFilter GROUP BY time($__interval), "rack" fill(none)) '
                "WHERE $timeFilter GROUP BY time($__interval) fill(none)",
                (Read("rack", "rated_power_kw", {}), Read("rack", "power_kw_mean", {})),
                source=_MINUTES,
            ),
            decimals=0,
            every=_STEP,
        ),
        number(
            "Energy of the racks",
            "Sum of minutes: a minute without data counts as none.",
            "kwatth",
            Query(
                f'SELECT sum("power_kw_mean") / 60 FROM "rack" WHERE {_SCOPE} AND $timeFilter',
                (Read("rack", "power_kw_mean", {}),),
                source=_MINUTES,
            ),
            decimals=0,
        ),
        number(
            "GPU utilization, mean",
            "Mean of all GPUs over the time of the board: that a kernel was resident, no more.",
            "percent",
            Query(
                f'SELECT mean("gpu_utilization_pct_mean") FROM "gpu" WHERE {_SCOPE} AND $timeFilter',
                (Read("gpu", "gpu_utilization_pct_mean", {}),),
                source=_MINUTES,
            ),
            decimals=0,
        ),
        number(
            "Cooling, of rating",
            "Heat that the racks give to the liquid, of what the CDUs are rated for, now.",
            "percent",
            ratio("totals", "heat_kw", "cdus_rated_kw", scope=chosen("site", "hall"), of=["site", "hall"], times=100),
            decimals=0,
            thresholds=steps((100, MEDIUM)),
            every=_STEP,
        ),
        Heading("Power"),
        trend(
            "Power against rating",
            "Mean of each step, the sum of the racks' own peaks, and their ratings.",
            "kwatt",
            _POWER,
            _PEAK,
            _RATED,
            low=0,
            colors={"racks": "#7d8c99", "peaks, summed": SECOND},
            dashed=["rated"],
            every=_STEP,
        ),
        trend(
            "Utilization by hall",
            "Power of rating.",
            "percent",
            ratio(
                "rack",
                "power_kw_mean",
                "rated_power_kw",
                scope=_SCOPE,
                of=["rack"],
                by=["hall"],
                times=100,
                alias="$tag_hall",
                source=_MINUTES,
            ),
            low=0,
            high=100,
            thresholds=limits.OF_RATING,
            every=_STEP,
        ),
        bars(
            "Power of rating, p95 by rack",
            "What 95 of 100 minutes stayed under. Racks that stay low hold power that others could have.",
            "percent",
            _over_range(
                '100 * percentile("power_kw_mean", 95) / max("rated_power_kw")',
                ("power_kw_mean", "rated_power_kw"),
                '"rack"',
                "$tag_rack",
            ),
            decimals=0,
            high=100,
            thresholds=limits.OF_RATING,
            width=12,
            height=11,
        ),
        table(
            "Racks",
            "Mean, p95 and peak in the time of the board, against the rating. A click opens the rack.",
            {
                "rack": Column("Rack", link=board_link("dcim-rack", rack="${__value.raw}")),
                "mean": Column("Mean", "kwatt", 1),
                "p95": Column("p95", "kwatt", 1),
                "peak": Column("Peak", "kwatt", 1),
                "rated": Column("Rated", "kwatt", 0),
            },
            Query(
                'SELECT mean("power_kw_mean") AS "mean", percentile("power_kw_mean", 95) AS "p95", '
                'max("power_kw_max") AS "peak", max("rated_power_kw") AS "rated" FROM "rack" '
                f'WHERE {_SCOPE} AND $timeFilter GROUP BY "rack"',
                tuple(Read("rack", field, {}) for field in ("power_kw_mean", "power_kw_max", "rated_power_kw")),
                table=True,
                source=_MINUTES,
            ),
            sort="p95",
            width=12,
            height=11,
        ),
        Heading("GPUs and cooling"),
        trend(
            "GPU utilization",
            "Mean of all GPUs and of the busiest rack's.",
            "percent",
            over("gpu", "gpu_utilization_pct_mean", scope=_SCOPE, alias="all", source=_MINUTES),
            total(
                "gpu",
                "gpu_utilization_pct_mean",
                scope=_SCOPE,
                of=["rack"],
                how="max",
                alias="busiest rack",
                source=_MINUTES,
            ),
            low=0,
            high=100,
            colors={"all": "#7d8c99", "busiest rack": SECOND},
            every=_STEP,
        ),
        trend(
            "Flow for each kW",
            "Coolant of all racks / their power: below 1.25 too little, above 2.0 some passes unused.",
            "flowlpm",
            ratio(
                "rack",
                "liquid_flow_lpm_mean",
                "power_kw_mean",
                scope=_SCOPE,
                of=["rack"],
                alias="L/min for each kW",
                source=_MINUTES,
            ),
            low=0,
            decimals=2,
            every=_STEP,
        ),
        table(
            "Halls",
            "Latest sums by hall: racks, GPUs, incoming feeds, ratings.",
            {
                "hall": Column("Hall", link=board_link("dcim-hall", hall="${__value.raw}")),
                "racks": Column("Racks draw", "kwatt", 0),
                "rated": Column("Racks, rated", "kwatt", 0),
                "gpus": Column("GPUs draw", "kwatt", 0),
                "incoming": Column("Incoming", "kwatt", 0),
                "cdus": Column("CDUs, rated", "kwatt", 0),
            },
            latest(
                "totals",
                {
                    "racks": "racks_kw",
                    "rated": "racks_rated_kw",
                    "gpus": "gpus_kw",
                    "incoming": "incoming_kw",
                    "cdus": "cdus_rated_kw",
                },
                scope=chosen("site", "hall"),
                by=["hall"],
            ),
            sort="hall",
            descending=False,
            height=6,
        ),
    ],
)
