"""CDU and loop: both sides of the exchanger, pumps, valve, and what speaks for a leak."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, ONE_CDU, SITE, Board, Heading, board_link, of_the_first
from dashboards.grafana.look import CRITICAL, HIGH, LEAK, MEDIUM, SECOND, below, steps
from dashboards.grafana.panels import Column, number, table, trend
from dashboards.grafana.queries import Query, Read, chosen, latest, over, together, total
from dashboards.grafana.subjects.heat import KW_PER_LPM_K

_SCOPE = chosen("site", "hall", asset="cdu")
_RACKS = chosen("site", "hall", "cdu")
_STEP = "10s"
_COLD, _WARM = "#6d8296", SECOND


def _temperature(loop: str, side: str) -> Read:
    return Read("cdu", "liquid_temperature_c", {"loop": loop, "side": side})


_SIDES = {
    "ss": _temperature("secondary", "supply"),
    "sr": _temperature("secondary", "return"),
    "ps": _temperature("primary", "supply"),
    "pr": _temperature("primary", "return"),
}
_FLOW = Read("cdu", "liquid_flow_lpm", {"loop": "secondary"})
_Q = f'{KW_PER_LPM_K:.5f} * mean("v") * (mean("sr") - mean("ss"))'
_WARM_END, _COLD_END = '(mean("sr") - mean("pr"))', '(mean("ss") - mean("ps"))'
_HEAT = together({"v": _FLOW, "sr": _SIDES["sr"], "ss": _SIDES["ss"]}, _Q, scope=_SCOPE, by=["asset"], alias="heat")
_APPROACH = together(
    {"ss": _SIDES["ss"], "ps": _SIDES["ps"]}, 'mean("ss") - mean("ps")', scope=_SCOPE, by=["asset"], alias="approach"
)
_UA = together(
    {"v": _FLOW} | _SIDES,
    f"{_Q} * ln({_WARM_END} / {_COLD_END}) / ({_WARM_END} - {_COLD_END})",
    scope=_SCOPE,
    by=["asset"],
    alias="UA",
)


def _side(field: str, loop: str, side: str, alias: str, fill: str = "none") -> Query:
    where = {"loop": loop} | ({"side": side} if side else {})
    return over("cdu", field, scope=_SCOPE, where=where, alias=alias, fill=fill)


BOARD = Board(
    uid="dcim-cdu",
    title="DCIM · CDU and loop",
    about="One CDU: facility water on its primary side, the loop of the racks on its secondary side.",
    variables=(SITE, HALL, ONE_CDU, of_the_first("site", "cdu_site", "cdu", _SCOPE)),
    console_page="#/loop/${cdu_site:percentencode}%2F${cdu:percentencode}",
    parts=[
        Heading("Now"),
        number(
            "Heat",
            f"Of the secondary side: flow × rise × {KW_PER_LPM_K:.4f} kW per L/min and K (25 % propylene glycol).",
            "kwatt",
            _HEAT,
            every="30s",
        ),
        number(
            "Supply to the racks",
            "Secondary supply. Coldest wanted: above the dew point by 5 K.",
            "celsius",
            _side("liquid_temperature_c", "secondary", "supply", ""),
            decimals=1,
            thresholds=limits.LOOP_SUPPLY,
            every=_STEP,
        ),
        number(
            "Approach",
            "Secondary supply − primary supply: rises as the exchanger fouls.",
            "kelvin",
            _APPROACH,
            decimals=1,
            every="30s",
        ),
        number(
            "Reservoir",
            "Level of the loop's reservoir. Falling while temperatures stand still: a leak, or air that leaves.",
            "percent",
            over("cdu", "liquid_level_pct", scope=_SCOPE),
            decimals=1,
            low=0,
            high=100,
            thresholds=below(25, HIGH, (15, CRITICAL)),
            every="30s",
        ),
        number(
            "Leak sensor",
            "The CDU's own rope or tray.",
            "none",
            over("cdu", "leak_detect", scope=_SCOPE, how="max", fill="previous"),
            mappings=LEAK,
            thresholds=steps((1, CRITICAL)),
            every="2m",
        ),
        number(
            "Fill pump",
            "Whether make-up water runs. Every start that nobody ordered is a litre somewhere.",
            "none",
            over("cdu", "pump_speed_state", scope=_SCOPE, where={"area": "Fill"}, how="max", fill="previous"),
            decimals=0,
            thresholds=steps((1, MEDIUM)),
            every="2m",
        ),
        Heading("Both sides"),
        trend(
            "Secondary temperatures",
            "Loop of the racks: to them, from them, and the set point.",
            "celsius",
            _side("liquid_temperature_c", "secondary", "supply", "supply"),
            _side("liquid_temperature_c", "secondary", "return", "return"),
            _side("liquid_temperature_c_setpoint", "secondary", "supply", "set point", "previous"),
            colors={"supply": _COLD, "return": _WARM},
            dashed=["set point"],
            every=_STEP,
        ),
        trend(
            "Primary temperatures",
            "Facility water: in and out.",
            "celsius",
            _side("liquid_temperature_c", "primary", "supply", "in"),
            _side("liquid_temperature_c", "primary", "return", "out"),
            colors={"in": _COLD, "out": _WARM},
            every=_STEP,
        ),
        trend(
            "Flows",
            "Of both sides.",
            "flowlpm",
            _side("liquid_flow_lpm", "secondary", "", "secondary"),
            _side("liquid_flow_lpm", "primary", "", "primary"),
            colors={"secondary": _WARM, "primary": _COLD},
            low=0,
            every=_STEP,
        ),
        trend(
            "Pressures of the loop",
            "Gauge, supply and return of the secondary side. Suction below 50 kPa lets pumps draw air.",
            "pressurekpa",
            _side("liquid_pressure_kpa", "secondary", "supply", "supply"),
            _side("liquid_pressure_kpa", "secondary", "return", "return"),
            colors={"supply": _COLD, "return": _WARM},
            thresholds=limits.under("return-pressure-low"),
            every=_STEP,
        ),
        Heading("Pumps, valve, exchanger"),
        trend(
            "Pumps",
            "Speed of each. One runs, one stands by.",
            "percent",
            over("cdu", "pump_speed_pct", scope=_SCOPE, by=["area"], alias="$tag_area"),
            low=0,
            high=100,
            every=_STEP,
        ),
        trend(
            "Primary valve",
            "Position. Creeping open at the same load: the exchanger fouls, or the facility's water is warmer.",
            "percent",
            over("cdu", "valve_position_pct", scope=_SCOPE, alias="position"),
            low=0,
            high=100,
            every=_STEP,
        ),
        trend(
            "UA of the exchanger",
            "Heat / logarithmic mean temperature difference. 15 % under its usual value at the same flows: fouling.",
            "suffix:kW/K",
            _UA,
            decimals=1,
            every="30s",
        ),
        trend(
            "Filter",
            "Pressure drop over the filter: service at 60 kPa.",
            "pressurekpa",
            over(
                "cdu",
                "liquid_differential_pressure_kpa",
                scope=_SCOPE,
                where={"area": "Secondary Filter1"},
                alias="filter",
            ),
            low=0,
            thresholds=limits.above("filter-restricted"),
            every=_STEP,
        ),
        Heading("Evidence of leaks"),
        trend(
            "Inventory",
            "Reservoir level. A true leak goes one way and does not come back; thermal expansion follows the "
            "temperature; filling is a step up.",
            "percent",
            over("cdu", "liquid_level_pct", scope=_SCOPE, alias="level"),
            every="30s",
        ),
        trend(
            "Flow balance",
            "Flow of the CDU, and the sum of its racks. The meters' bias keeps them apart; a distance that grows "
            "matters, from about 2 % of the flow on.",
            "flowlpm",
            _side("liquid_flow_lpm", "secondary", "", "CDU"),
            total("circuit", "flow_lpm", scope=_RACKS, of=["rack"], alias="sum of racks"),
            colors={"CDU": _COLD, "sum of racks": _WARM},
            every="1m",
        ),
        trend(
            "Make-up",
            "Fill pump: 1 while it runs. Starts ever closer together: a leak behind automatic filling.",
            "short",
            over(
                "cdu",
                "pump_speed_state",
                scope=_SCOPE,
                where={"area": "Fill"},
                how="max",
                alias="fill pump",
                fill="previous",
            ),
            low=0,
            high=1,
            decimals=0,
            steps_only=True,
            every="1m",
        ),
        trend(
            "Conductivity",
            "Of the coolant. Drifting over days: facility water comes in through the exchanger.",
            "suffix:µS/cm",
            over("cdu", "liquid_conductivity_us_cm", scope=_SCOPE, alias="conductivity"),
            every="1m",
        ),
        Heading("Racks that it serves"),
        table(
            "Racks",
            "Each rack on this loop, newest values. A click opens the rack.",
            {
                "rack": Column("Rack", link=board_link("dcim-rack", rack="${__value.raw}")),
                "power": Column("Power", "kwatt", 1),
                "flow": Column("Flow", "flowlpm", 0),
                "supply": Column("Supply", "celsius", 1),
                "return": Column("Return", "celsius", 1),
                "rise": Column("Rise", "kelvin", 1),
                "drop": Column("Pressure drop", "pressurekpa", 0),
                "valve": Column("Valve", "percent", 0),
            },
            latest(
                "circuit",
                {
                    "power": "power_kw",
                    "flow": "flow_lpm",
                    "supply": "supply_c",
                    "return": "return_c",
                    "rise": "rise_k",
                    "drop": "differential_pressure_kpa",
                    "valve": "valve_pct",
                },
                scope=_RACKS,
                by=["rack"],
            ),
            sort="rack",
            descending=False,
        ),
    ],
)
