"""Hall: the racks as a matrix, one line each, and how their load and temperatures went."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, ROW, SITE, Board, Heading, board_link, of_the_first
from dashboards.grafana.look import LEAK
from dashboards.grafana.panels import Column, history, number, table, trend
from dashboards.grafana.queries import OF_RATING, Query, Read, chosen, latest, over

_SCOPE = chosen("site", "hall", "row")
_STEP = "1m"
_HOTTEST = Query(
    'SELECT max("v") AS "hottest" FROM (SELECT last("gpu_temperature_c") AS "v" FROM "gpu" '
    f'WHERE {_SCOPE} AND $timeFilter GROUP BY "asset", "rack") GROUP BY "rack"',
    (Read("gpu", "gpu_temperature_c", {}),),
    table=True,
)
"""Of each rack, the greatest of its GPUs' newest temperatures."""

BOARD = Board(
    uid="dcim-hall",
    title="DCIM · Hall",
    about="The racks of a hall: power, liquid side and hottest GPU of each. A click on a rack opens it.",
    variables=(
        SITE,
        HALL,
        ROW,
        of_the_first("site", "first_site", "rack", chosen("site", "hall")),
        of_the_first("hall", "first_hall", "rack", '"site" =~ /^$first_site$/ AND "hall" =~ /^$hall$/'),
    ),
    console_page="#/?hall=${first_site:percentencode}%2F${first_hall:percentencode}",
    parts=[
        Heading("Racks now"),
        number(
            "Power, rack by rack",
            "What each rack draws of what it is rated for.",
            "percent",
            over(
                "rack",
                "power_kw",
                scope=_SCOPE,
                by=["rack"],
                alias="$tag_rack",
                expression=OF_RATING,
                fields=["rated_power_kw"],
            ),
            width=12,
            height=8,
            decimals=0,
            low=0,
            high=100,
            thresholds=limits.OF_RATING,
            every="2m",
            background=True,
        ),
        number(
            "Hottest GPU, rack by rack",
            "The greatest GPU temperature of each rack. GPUs slow themselves down at their slowdown temperature, 87 to "
            "90 °C for most.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE, by=["rack"], how="max", alias="$tag_rack"),
            width=12,
            height=8,
            decimals=0,
            thresholds=limits.GPU_HEAT,
            every="10s",
            background=True,
        ),
        table(
            "Rack matrix",
            "One line a rack, newest values. Colour means abnormal; the liquid side is in the units of the bus.",
            {
                "rack": Column("Rack", link=board_link("dcim-rack", rack="${__value.raw}"), width=120),
                "row": Column("Row", width=70),
                "power": Column("Power", "kwatt", 1),
                "rated": Column("Rated", "kwatt", 0),
                "supply": Column("Supply", "celsius", 1, limits.RACK_SUPPLY),
                "return": Column("Return", "celsius", 1),
                "flow": Column("Flow", "flowlpm", 0),
                "drop": Column("Pressure drop", "pressurekpa", 0),
                "valve": Column("Valve", "percent", 0),
                "hottest": Column("Hottest GPU", "celsius", 0, limits.GPU_HEAT),
                "leak": Column("Leak", mappings=LEAK),
            },
            latest(
                "rack",
                {
                    "power": "power_kw",
                    "rated": "rated_power_kw",
                    "supply": "liquid_supply_temperature_c",
                    "return": "liquid_return_temperature_c",
                    "flow": "liquid_flow_lpm",
                    "drop": "liquid_differential_pressure_kpa",
                    "valve": "control_valve_position_pct",
                    "leak": "leak_detect",
                },
                scope=_SCOPE,
                by=["rack", "row"],
            ),
            _HOTTEST,
            join="rack",
            sort="rack",
            descending=False,
            height=11,
        ),
        Heading("How it went"),
        history(
            "Load of racks",
            "Power of rating, a cell for each rack and stretch of time.",
            "percent",
            over(
                "rack",
                "power_kw",
                scope=_SCOPE,
                by=["rack"],
                alias="$tag_rack",
                expression=OF_RATING,
                fields=["rated_power_kw"],
            ),
            thresholds=limits.OF_RATING,
            every="5m",
        ),
        trend(
            "Power of racks",
            "Each rack's power. Lines of one hue: the legend and the pointer tell which is which.",
            "kwatt",
            over("rack", "power_kw", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            low=0,
            every="10s",
        ),
        trend(
            "Supply temperatures",
            "Coolant where it enters each rack. Apart from each other by more than 2 K, something is wrong with a "
            "branch or with a sensor.",
            "celsius",
            over("rack", "liquid_supply_temperature_c", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            thresholds=limits.RACK_SUPPLY,
            every="10s",
        ),
        trend(
            "Flow of racks",
            "Coolant through each rack: about 1.5 L/min for each kW at 10 K.",
            "flowlpm",
            over("rack", "liquid_flow_lpm", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            low=0,
            every="10s",
        ),
        trend(
            "Power of GPUs by rack",
            "Sum of each rack's GPUs; the rest of a rack's power is CPUs, switches and losses.",
            "kwatt",
            over("circuit", "gpus_kw", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            low=0,
            every=_STEP,
        ),
        trend(
            "Hottest GPU of racks",
            "The greatest GPU temperature of each rack.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE, by=["rack"], how="max", alias="$tag_rack"),
            thresholds=limits.GPU_HEAT,
            every="10s",
        ),
    ],
)
