"""Site overview: power, cooling, what they are used for, and what is wrong, for all halls at a glance."""

from __future__ import annotations

from dashboards.grafana import limits
from dashboards.grafana.board import HALL, SITE, Board, Heading, board_link
from dashboards.grafana.look import HIGH, MEDIUM, PRIORITIES, SECOND, below, steps
from dashboards.grafana.panels import Column, bars, number, table, trend
from dashboards.grafana.queries import chosen, latest, ratio, total
from dashboards.grafana.subjects.heat import KW_PER_LPM_K

_SCOPE = chosen("site", "hall")
_STEP = "1m"
_IN_HALLS = f"{_SCOPE} AND \"hall\" != ''"
_POWER = total("totals", "racks_kw", scope=_SCOPE, of=["site", "hall"], alias="IT power")
_RATED = total("totals", "racks_rated_kw", scope=_SCOPE, of=["site", "hall"], alias="rated")
_COOLED = total("totals", "heat_kw", scope=_SCOPE, of=["site", "hall"], alias="to liquid")
_COOLING = total("totals", "cdus_rated_kw", scope=_SCOPE, of=["site", "hall"], alias="CDUs, rated")
_INCOMING = total("totals", "incoming_kw", scope=_SCOPE, of=["site", "hall"], alias="incoming feeds")
_GPUS = total("totals", "gpus_kw", scope=_SCOPE, of=["site", "hall"], alias="GPUs")
_ALARMS = tuple(
    total("alarm_count", "standing", scope=_SCOPE, of=["site", "hall"], where={"priority": word}, alias=shown)
    for _, word, shown, _ in PRIORITIES
)
_COLORS = {shown: color for _, _, shown, color in PRIORITIES}
BOARD = Board(
    uid="dcim-site",
    title="DCIM · Site overview",
    about="Power, cooling, efficiency, capacity and alarms of all halls. Start here.",
    variables=(SITE, HALL),
    console_page="#/overview",
    parts=[
        Heading("Now"),
        number(
            "Alarms that stand",
            "Alarms whose condition stands or waits for somebody, by priority; shelved ones and those that the design "
            "hides do not count. Told once a minute.",
            "locale",
            *_ALARMS,
            width=8,
            decimals=0,
            colors=_COLORS,
            every=_STEP,
        ),
        number("IT power", "Sum of what the racks draw, as their meters say it.", "kwatt", _POWER, every=_STEP),
        number(
            "Heat to liquid",
            f"Sum over the racks of flow × rise × {KW_PER_LPM_K:.4f} kW per L/min and K (25 % propylene glycol at "
            "40 °C). Good to 2.4 % at 10 K with common meters.",
            "kwatt",
            _COOLED,
            every=_STEP,
        ),
        number(
            "Points that speak",
            "Points that were heard within the last 250 s, of those that ought to speak. Below 98 % look at the board "
            "of data quality before you believe the others.",
            "percent",
            ratio("coverage", "fresh", "expected", scope=_SCOPE, of=["site", "hall"], times=100),
            decimals=1,
            low=0,
            high=100,
            thresholds=below(98, MEDIUM, (90, HIGH)),
            every=_STEP,
        ),
        number(
            "Partial PUE, halls",
            "Power of the incoming feeds / power of the racks: what lies between the two (distribution, and whatever "
            "else hangs on these feeds). Not the PUE of ISO/IEC 30134-2, which takes a year and the whole facility.",
            "none",
            ratio("totals", "incoming_kw", "racks_kw", scope=_SCOPE, of=["site", "hall"]),
            decimals=2,
            every=_STEP,
        ),
        Heading("Capacity"),
        trend(
            "Power against capacity",
            "What the racks draw, and what they are rated for. The distance between the two is not all free: see "
            "the board of utilization.",
            "kwatt",
            _POWER,
            _RATED,
            low=0,
            dashed=["rated"],
            every=_STEP,
        ),
        trend(
            "Cooling against capacity",
            "Heat that the racks give to the liquid, and what the CDUs are rated for.",
            "kwatt",
            _COOLED,
            _COOLING,
            low=0,
            dashed=["CDUs, rated"],
            every=_STEP,
        ),
        trend(
            "Where the power goes",
            "Incoming feeds, racks, and the GPUs in them.",
            "kwatt",
            _INCOMING,
            _POWER,
            _GPUS,
            low=0,
            colors={"incoming feeds": "#98a2ab", "IT power": "#7d8c99", "GPUs": SECOND},
            every=_STEP,
        ),
        trend(
            "Alarms over time",
            "Alarms that stood, by priority. More than ten new ones in ten minutes is a flood.",
            "short",
            *_ALARMS,
            low=0,
            decimals=0,
            stacked=True,
            colors=_COLORS,
            steps_only=True,
            every=_STEP,
        ),
        Heading("Halls"),
        table(
            "Halls",
            "Each hall with the points that ought to speak and those that are stale. A click leads to the hall.",
            {
                "hall": Column("Hall", link=board_link("dcim-hall", hall="${__value.raw}")),
                "expected": Column("Points", decimals=0),
                "stale": Column("Stale", decimals=0, thresholds=steps((1, MEDIUM))),
            },
            latest(
                "coverage",
                {"expected": "expected", "stale": "stale"},
                scope=_IN_HALLS,
                by=["hall"],
            ),
            width=12,
            height=7,
            sort="hall",
            descending=False,
        ),
        bars(
            "Power of rating, by hall",
            "What the racks of a hall draw of what they are rated for.",
            "percent",
            ratio(
                "totals",
                "racks_kw",
                "racks_rated_kw",
                scope=_SCOPE,
                of=["site"],
                by=["hall"],
                times=100,
                alias="$tag_hall",
            ),
            width=12,
            height=7,
            decimals=0,
            high=100,
            thresholds=limits.OF_RATING,
            every=_STEP,
        ),
    ],
)
