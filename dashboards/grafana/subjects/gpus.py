"""GPU fleet: temperature, power, what holds clocks back, errors, thermal resistance."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, RACKS, ROW, SITE, Board, Heading, board_link
from dashboards.grafana.look import CRITICAL, HIGH, SECOND, steps
from dashboards.grafana.panels import Column, number, table, trend
from dashboards.grafana.queries import Query, Read, Source, chosen, over, total

_SCOPE = chosen("site", "hall", "row", rack="racks")
_STEP = "10s"
_MINUTES = Source.MINUTES
"""For trends: a fleet has a thousand GPUs and more, and a second of each is read for no line."""
_HELD = {
    "power cap (software)": "gpu_software_power_cap_time_s",
    "heat (software)": "gpu_software_thermal_slowdown_time_s",
    "heat (hardware)": "gpu_hardware_thermal_slowdown_time_s",
}


def _top(field: str, name: str, number_of: int) -> Query:
    """The GPUs with the greatest newest value."""
    return Query(
        f'SELECT top("v", "asset", "rack", {number_of}) AS "{name}" FROM (SELECT last("{field}") AS "v" FROM "gpu" '
        f'WHERE {_SCOPE} AND $timeFilter GROUP BY "asset", "rack")',
        (Read("gpu", field, {}),),
        table=True,
    )


def _share_held(field: str, alias: str) -> Query:
    """How many GPUs' worth of time is lost: seconds a second, over all GPUs."""
    return Query(
        f'SELECT sum("v") FROM (SELECT non_negative_derivative(last("{field}"), 1s) AS "v" FROM "gpu" '
        f'WHERE {_SCOPE} AND $timeFilter GROUP BY time($__interval), "asset" fill(none)) '
        "WHERE $timeFilter GROUP BY time($__interval) fill(none)",
        (Read("gpu", field, {}),),
        alias,
    )


BOARD = Board(
    uid="dcim-gpus",
    title="DCIM · GPU fleet",
    about="All GPUs of what is chosen above: how warm, how busy, what holds them back, which report errors.",
    variables=(SITE, HALL, ROW, RACKS),
    console_page="#/",
    parts=[
        Heading("Now"),
        number(
            "Hottest GPU",
            "The greatest temperature of all.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE, how="max"),
            decimals=0,
            thresholds=limits.GPU_HEAT,
            every=_STEP,
        ),
        number(
            "Mean temperature",
            "Over all GPUs.",
            "celsius",
            over("gpu", "gpu_temperature_c", scope=_SCOPE),
            decimals=1,
            every=_STEP,
        ),
        number(
            "Power",
            "Sum over all GPUs.",
            "kwatt",
            total("circuit", "gpus_kw", scope=_SCOPE, of=["rack"]),
            every="1m",
        ),
        number(
            "Of the power limit",
            "Power / limit, all GPUs together.",
            "percent",
            over(
                "gpu",
                "gpu_power_kw",
                scope=_SCOPE,
                fields=["gpu_power_limit_kw"],
                expression='100 * mean("gpu_power_kw") / mean("gpu_power_limit_kw")',
            ),
            decimals=0,
            every="2m",
        ),
        number(
            "Utilization",
            "Mean of DCGM field 203: that a kernel was resident, no more.",
            "percent",
            over("gpu", "gpu_utilization_pct", scope=_SCOPE),
            decimals=0,
            every=_STEP,
        ),
        number(
            "GPUs that do not report",
            "Of the halls that are chosen: GPUs whose power was not heard within the last 250 s.",
            "locale",
            Query(
                'SELECT sum("k") - sum("r") FROM (SELECT mean("gpus") AS "k", mean("gpus_reporting") AS "r" FROM '
                f'"totals" WHERE {chosen("site", "hall")} AND $timeFilter GROUP BY time($__interval), "site", "hall" '
                "fill(none)) WHERE $timeFilter GROUP BY time($__interval) fill(none)",
                (Read("totals", "gpus", {}), Read("totals", "gpus_reporting", {})),
            ),
            decimals=0,
            thresholds=steps((1, HIGH)),
            every="1m",
        ),
        Heading("Temperature and power"),
        trend(
            "Temperatures",
            "Hottest, 95 of 100, mean; of minutes, and so some minutes late.",
            "celsius",
            over("gpu", "gpu_temperature_c_max", scope=_SCOPE, how="max", alias="hottest", source=_MINUTES),
            over(
                "gpu",
                "gpu_temperature_c_mean",
                scope=_SCOPE,
                expression='percentile("gpu_temperature_c_mean", 95)',
                alias="95 of 100",
                source=_MINUTES,
            ),
            over("gpu", "gpu_temperature_c_mean", scope=_SCOPE, alias="mean", source=_MINUTES),
            colors={"hottest": SECOND, "95 of 100": "#98a2ab", "mean": "#7d8c99"},
            thresholds=limits.GPU_HEAT,
            every="1m",
        ),
        trend(
            "Memory temperatures",
            "Hottest and mean, of minutes.",
            "celsius",
            over("gpu", "gpu_memory_temperature_c_max", scope=_SCOPE, how="max", alias="hottest", source=_MINUTES),
            over("gpu", "gpu_memory_temperature_c_mean", scope=_SCOPE, alias="mean", source=_MINUTES),
            colors={"hottest": SECOND, "mean": "#7d8c99"},
            thresholds=steps((95, HIGH)),
            every="1m",
        ),
        trend(
            "Power by rack",
            "Sum of each rack's GPUs.",
            "kwatt",
            over("circuit", "gpus_kw", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            low=0,
            every="1m",
        ),
        trend(
            "Thermal resistance by rack",
            "Mean of (GPU − supply) / power of each rack's GPUs that work at 30 % of their limit or more. One rack "
            "that leaves the others: its flow, its air, its interface material.",
            "suffix:K/W",
            over("circuit", "resistance_mean_k_w", scope=_SCOPE, by=["rack"], alias="$tag_rack"),
            decimals=4,
            every="1m",
        ),
        Heading("What holds clocks back"),
        trend(
            "Held back, by cause",
            "GPUs' worth of time lost, from DCGM's counters: 2.0 means as much as two GPUs standing still. A power cap "
            "is somebody's wish; heat is a fault of cooling.",
            "short",
            *(_share_held(field, cause) for cause, field in _HELD.items()),
            low=0,
            decimals=2,
            colors={"power cap (software)": "#7d8c99", "heat (software)": HIGH, "heat (hardware)": CRITICAL},
            every="1m",
        ),
        trend(
            "SM clocks",
            "Mean and lowest, of minutes.",
            "suffix:MHz",
            over("gpu", "gpu_sm_clock_mhz_mean", scope=_SCOPE, alias="mean", source=_MINUTES),
            over("gpu", "gpu_sm_clock_mhz_min", scope=_SCOPE, how="min", alias="lowest", source=_MINUTES),
            colors={"mean": "#7d8c99", "lowest": SECOND},
            every="1m",
        ),
        Heading("Which ones"),
        table(
            "Hottest",
            "The twenty with the greatest newest temperature. A click opens the rack.",
            {
                "asset": Column("GPU"),
                "rack": Column("Rack", link=board_link("dcim-rack", rack="${__value.raw}")),
                "temperature": Column("Temperature", "celsius", 0, limits.GPU_HEAT),
            },
            _top("gpu_temperature_c", "temperature", 20),
            width=12,
            sort="temperature",
            height=11,
        ),
        table(
            "XID errors",
            "The twenty GPUs with the greatest last XID; 0 is none. 46, 48, 64, 79, 95 call for draining the node; 63, "
            "74, 94 are worth a look.",
            {
                "asset": Column("GPU"),
                "rack": Column("Rack", link=board_link("dcim-rack", rack="${__value.raw}")),
                "xid": Column("Last XID", decimals=0, thresholds=steps((1, HIGH))),
            },
            _top("gpu_xid", "xid", 20),
            width=12,
            sort="xid",
            height=11,
        ),
    ],
)
