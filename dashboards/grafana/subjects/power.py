"""Power path: from the incoming feeds to the racks: power, phases, limits, and what a lost feed would do."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, SITE, Board, Heading, Variable, board_link
from dashboards.grafana.look import MEDIUM, steps
from dashboards.grafana.panels import Column, bars, number, table, trend
from dashboards.grafana.queries import Query, Read, chosen, latest, over, total, values

METER = Variable("meter", "Meter", values("asset", "feed", chosen("site", "hall")))
_SCOPE = chosen("site", "hall")
_METERS = chosen("site", "hall", asset="meter")
_LOST = steps((100, MEDIUM))

BOARD = Board(
    uid="dcim-power",
    title="DCIM · Power path",
    about="Feeds, phases, limits and failover, from the incoming meters to the racks.",
    variables=(SITE, HALL, METER),
    console_page="#/",
    parts=[
        Heading("Now"),
        number(
            "Incoming",
            "Sum of the meters that nothing feeds, as servesId tells it.",
            "kwatt",
            total("feed", "power_kw", scope=_SCOPE, of=["asset"], where={"incoming": "yes"}),
            every="1m",
        ),
        number(
            "Fullest meter",
            "Fullest phase of any meter against its limit: 75 % is a warning, 80 % the continuous limit.",
            "percent",
            over("feed", "load_pct", scope=_SCOPE, how="max"),
            decimals=0,
            thresholds=limits.FEED_LOAD,
            every="1m",
        ),
        number(
            "Worst failover",
            "Of all racks: what the other feeds would carry of what they may, if the worst one were lost.",
            "percent",
            over("failover", "load_pct", scope=_SCOPE, how="max"),
            decimals=0,
            thresholds=_LOST,
            every="1m",
        ),
        number(
            "Lowest power factor",
            "Of all meters.",
            "none",
            over("power_meter", "power_factor", scope=_SCOPE, how="min"),
            decimals=3,
            every="2m",
        ),
        number(
            "Mean voltage",
            "Mean line-to-line of all meters.",
            "volt",
            over("power_meter", "voltage_v", scope=_SCOPE),
            decimals=0,
            every="2m",
        ),
        number(
            "Frequency",
            "Of all meters.",
            "hertz",
            over("power_meter", "frequency_hz", scope=_SCOPE),
            decimals=2,
            every="2m",
        ),
        Heading("Feeds"),
        trend(
            "Incoming feeds",
            "Power of each meter that nothing feeds. One at 0 and the other doubled: a feed is lost.",
            "kwatt",
            over("feed", "power_kw", scope=_SCOPE, where={"incoming": "yes"}, by=["asset"], alias="$tag_asset"),
            low=0,
            every="1m",
        ),
        trend(
            "Load of meters",
            "Fullest phase of each against its limit.",
            "percent",
            over("feed", "load_pct", scope=_METERS, by=["asset"], alias="$tag_asset"),
            low=0,
            thresholds=limits.FEED_LOAD,
            every="1m",
        ),
        trend(
            "Phase currents",
            "Of the chosen meters.",
            "amp",
            over(
                "power_meter",
                "phase_current_a",
                scope=_METERS,
                by=["asset", "phase"],
                alias="$tag_asset phase $tag_phase",
            ),
            low=0,
            every="10s",
        ),
        trend(
            "Power factor",
            "Of the chosen meters.",
            "none",
            over("power_meter", "power_factor", scope=_METERS, by=["asset"], alias="$tag_asset"),
            decimals=3,
            every="1m",
        ),
        trend(
            "Voltage",
            "Mean line-to-line of the chosen meters. More than 6 % above or 13 % below the nominal one is abnormal.",
            "volt",
            over("power_meter", "voltage_v", scope=_METERS, by=["asset"], alias="$tag_asset"),
            every="1m",
        ),
        trend(
            "Apparent power",
            "Of the chosen meters.",
            "kvoltamp",
            over("power_meter", "apparent_power_kva", scope=_METERS, by=["asset"], alias="$tag_asset"),
            low=0,
            every="1m",
        ),
        Heading("If a feed is lost"),
        bars(
            "Failover, rack by rack",
            "What the other feeds of a rack would carry of what they may carry for long. At 100 % the loss of one "
            "trips the next.",
            "percent",
            over("failover", "load_pct", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            decimals=0,
            high=120,
            thresholds=_LOST,
            every="2m",
            width=10,
            height=11,
        ),
        table(
            "Meters",
            "Every meter with its limit, fullest first. Level 1 feeds a rack directly. A click on a rack opens it.",
            {
                "asset": Column("Meter", width=170),
                "rack": Column("Feeds rack", link=board_link("dcim-rack", rack="${__value.raw}")),
                "level": Column("Level", width=70),
                "power": Column("Power", "kwatt", 1),
                "current": Column("Fullest phase", "amp", 0),
                "most": Column("Limit", "amp", 0),
                "load": Column("Load", "percent", 0, limits.FEED_LOAD),
            },
            latest(
                "feed",
                {"power": "power_kw", "current": "current_a", "most": "limit_a", "load": "load_pct"},
                scope=_SCOPE,
                by=["asset", "rack", "level"],
            ),
            sort="load",
            width=14,
            height=11,
        ),
        Heading("Balance"),
        bars(
            "Phases of the incoming feeds",
            "Current of each phase. Apart by more than 10 % at more than a tenth of the load: single-phase loads are "
            "badly spread, or a phase is lost.",
            "amp",
            Query(
                'SELECT mean("phase_current_a") FROM "power_meter" WHERE '
                f'{_SCOPE} AND "row" = \'\' AND $timeFilter GROUP BY time($__interval), "asset", "phase" fill(none)',
                (Read("power_meter", "phase_current_a", {}),),
                "$tag_asset $tag_phase",
            ),
            decimals=0,
            every="2m",
            width=24,
            height=7,
        ),
    ],
)
