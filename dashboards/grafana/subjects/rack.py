"""Rack: both feeds, the liquid side, every GPU."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, ONE_RACK, ROW, SITE, Board, Heading, board_link, of_the_first
from dashboards.grafana.look import CRITICAL, HIGH, LEAK, MEDIUM, SECOND, below, steps
from dashboards.grafana.panels import Column, number, table, trend
from dashboards.grafana.queries import OF_RATING, PLACE, chosen, latest, over
from dashboards.grafana.subjects.heat import HEAT, HEAT_FIELDS

_SCOPE = chosen(*PLACE)
_STEP = "10s"

BOARD = Board(
    uid="dcim-rack",
    title="DCIM · Rack",
    about="One rack: power of both feeds and what is left when one is lost, the liquid side, its GPUs.",
    variables=(SITE, HALL, ROW, ONE_RACK, of_the_first("site", "rack_site", "rack", _SCOPE)),
    console_page="#/rack/${rack_site:percentencode}%2F${rack:percentencode}",
    parts=[
        Heading("Now"),
        number("Power", "What the rack draws.", "kwatt", over("rack", "power_kw", scope=_SCOPE), every=_STEP),
        number(
            "Of its rating",
            "Power / rated power.",
            "percent",
            over("rack", "power_kw", scope=_SCOPE, expression=OF_RATING, fields=["rated_power_kw"]),
            decimals=0,
            thresholds=limits.OF_RATING,
            every="2m",
        ),
        number(
            "If a feed is lost",
            "What the other feeds would carry of what they may carry for long (80 % of their limits), for the worst. "
            "At 100 % the loss of one trips the next.",
            "percent",
            over("failover", "load_pct", scope=_SCOPE, how="max"),
            decimals=0,
            thresholds=steps((100, MEDIUM)),
            every="1m",
        ),
        number(
            "Heat to liquid",
            "Flow × rise × ρ·cp of 25 % propylene glycol. Less than the power by the share that goes to the air.",
            "kwatt",
            over("rack", "liquid_flow_lpm", scope=_SCOPE, expression=HEAT, fields=HEAT_FIELDS),
            every=_STEP,
        ),
        number(
            "Hottest GPU",
            "The greatest temperature of the rack's GPUs.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE, how="max"),
            decimals=0,
            thresholds=limits.GPU_HEAT,
            every=_STEP,
        ),
        number(
            "Leak sensors",
            "The rack's rope or tray: whether any of them is wet.",
            "none",
            over("rack", "leak_detect", scope=_SCOPE, how="max", fill="previous"),
            mappings=LEAK,
            thresholds=steps((1, CRITICAL)),
            every="2m",
        ),
        Heading("Power"),
        trend(
            "Feeds A and B",
            "Power of each meter that feeds this rack. When one falls to 0, the other doubles.",
            "kwatt",
            over("feed", "power_kw", scope=_SCOPE, by=["asset"], alias="$tag_asset"),
            low=0,
            every="1m",
        ),
        trend(
            "Load of the feeds",
            "The fullest phase of each meter against its limit.",
            "percent",
            over("feed", "load_pct", scope=_SCOPE, by=["asset"], alias="$tag_asset"),
            low=0,
            thresholds=limits.FEED_LOAD,
            every="1m",
        ),
        Heading("Liquid"),
        trend(
            "Temperatures",
            "Coolant into the rack and out of it.",
            "celsius",
            over("rack", "liquid_supply_temperature_c", scope=_SCOPE, alias="supply"),
            over("rack", "liquid_return_temperature_c", scope=_SCOPE, alias="return"),
            colors={"supply": "#6d8296", "return": SECOND},
            every=_STEP,
        ),
        trend(
            "Flow",
            "Coolant through the rack.",
            "flowlpm",
            over("rack", "liquid_flow_lpm", scope=_SCOPE, alias="flow"),
            low=0,
            every=_STEP,
        ),
        trend(
            "Pressure drop and its set point",
            "Between supply and return of the rack.",
            "pressurekpa",
            over("rack", "liquid_differential_pressure_kpa", scope=_SCOPE, alias="measured"),
            over("rack", "liquid_differential_pressure_sp_kpa", scope=_SCOPE, alias="set point", fill="previous"),
            dashed=["set point"],
            every=_STEP,
        ),
        trend(
            "Flow for each kW",
            "Below 1.25 L/min for each kW the rise is more than 12 K; above 2.0 coolant passes unused.",
            "flowlpm",
            over(
                "rack",
                "liquid_flow_lpm",
                scope=_SCOPE,
                expression='mean("liquid_flow_lpm") / mean("power_kw")',
                fields=["power_kw"],
                alias="L/min for each kW",
            ),
            low=0,
            thresholds=below(1.25, HIGH),
            decimals=2,
            every=_STEP,
        ),
        Heading("GPUs"),
        trend(
            "GPU temperatures",
            "Hottest, mean and coolest of the rack's GPUs.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE, how="max", alias="hottest"),
            over("gpu", "gpu_temperature_c", scope=_SCOPE, alias="mean"),
            over("gpu", "gpu_temperature_c", scope=_SCOPE, how="min", alias="coolest"),
            colors={"hottest": SECOND, "mean": "#7d8c99", "coolest": "#6d8296"},
            thresholds=limits.GPU_HEAT,
            every=_STEP,
        ),
        trend(
            "Thermal resistance of the GPUs",
            "(GPU − supply) / power: mean and greatest of those that work at 30 % of their limit or more. Rising at "
            "steady flow means ageing interface material, or a branch that clogs.",
            "suffix:K/W",
            over("circuit", "resistance_mean_k_w", scope=_SCOPE, alias="mean"),
            over("circuit", "resistance_max_k_w", scope=_SCOPE, how="max", alias="greatest"),
            colors={"mean": "#7d8c99", "greatest": SECOND},
            decimals=4,
            every="1m",
        ),
        table(
            "Every GPU",
            "Newest values, hottest first.",
            {
                "asset": Column("GPU", width=200),
                "temperature": Column("Temperature", "celsius", 0, limits.GPU_HEAT),
                "memory": Column("Memory", "celsius", 0, steps((95, HIGH))),
                "power": Column("Power", "suffix:kW", 2),
                "limit": Column("Limit", "suffix:kW", 2),
                "used": Column("Utilization", "percent", 0, bar=(0, 100)),
                "clock": Column("SM clock", "suffix:MHz", 0),
                "xid": Column("Last XID", decimals=0, thresholds=steps((1, HIGH))),
            },
            latest(
                "gpu",
                {
                    "temperature": "gpu_temperature_c",
                    "memory": "gpu_memory_temperature_c",
                    "power": "gpu_power_kw",
                    "limit": "gpu_power_limit_kw",
                    "used": "gpu_utilization_pct",
                    "clock": "gpu_sm_clock_mhz",
                    "xid": "gpu_xid",
                },
                scope=_SCOPE,
                by=["asset"],
            ),
            sort="temperature",
            height=12,
        ),
        Heading("Served by"),
        table(
            "CDU",
            "The CDU that serves this rack. A click opens it.",
            {
                "cdu": Column("CDU", link=board_link("dcim-cdu", cdu="${__value.raw}")),
                "flow": Column("Flow", "flowlpm", 0),
                "rise": Column("Rise", "kelvin", 1),
            },
            latest("circuit", {"flow": "flow_lpm", "rise": "rise_k"}, scope=_SCOPE, by=["cdu"]),
            height=5,
        ),
    ],
)
