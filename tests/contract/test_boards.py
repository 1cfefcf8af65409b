"""The boards of Grafana: their form, their names, and that every question of every panel finds what it asks for in a
store that a simulated hall has filled."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from alerts import rules
from dashboards.grafana.board import ALARM_TAG, Board
from dashboards.grafana.build import BOARDS, FOLDER, bodies, text, write
from dashboards.grafana.limits import LIMITS
from dashboards.grafana.panels import Panel, target
from dashboards.grafana.queries import Query, Source
from dashboards.grafana.sources import Places
from dcim.core.times import now
from tests import grafana, influx_real
from tests.boards import Filled, fill, series

UIDS = {board.uid for board in BOARDS}
STOCK = {"row", "timeseries", "stat", "bargauge", "table", "status-history"}
"""Panels that every Grafana from 9.4 on brings and loads. Those in state "alpha" it brings too, but loads them only
where its own settings ask for them."""
UNITS = {
    "kw": "kwatt", "c": "celsius", "lpm": "flowlpm", "kpa": "pressurekpa", "pct": "percent", "a": "amp", "v": "volt",
    "hz": "hertz", "s": "s", "mhz": "suffix:MHz", "w": "suffix:K/W", "cm": "suffix:µS/cm",
}  # fmt: skip
"""The unit that stands last in a field's name → Grafana's word for it."""
STEP = "60s"

boards = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def asked(board: Board) -> Iterator[tuple[Panel, Query]]:
    for panel in board.panels:
        for query in panel.queries:
            yield panel, query


QUESTIONS = [
    pytest.param(panel, query, id=f"{board.uid}/{panel.title}/{number}")
    for board in BOARDS
    for panel in board.panels
    for number, query in enumerate(panel.queries)
]


# --- form


def test_the_files_are_what_the_code_makes(tmp_path: Any) -> None:
    made = {f"{uid}.json": text(body) for uid, body in bodies().items()}
    assert {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")} == made, (
        "run .venv/bin/dcim grafana build dashboards/grafana/boards"
    )
    assert len(write(tmp_path)) == len(BOARDS)
    assert write(tmp_path) == [], "doing it again does nothing"


@boards
def test_a_board_has_the_form_that_grafana_takes(board: Board) -> None:
    body = bodies()[board.uid]
    assert re.fullmatch(r"dcim-[a-z]{3,12}", body["uid"])
    assert body["schemaVersion"] == 37
    assert "id" not in body, "the server gives it"
    assert body["title"].startswith("DCIM · ")
    assert body["description"]
    assert body["tags"] == ["dcim"]
    numbers = [panel["id"] for panel in body["panels"]]
    assert len(set(numbers)) == len(numbers)
    json.dumps(body, allow_nan=False)


def test_figures_are_coloured_from_where_an_alarm_is_raised() -> None:
    told = {rule.name: rule for rule in rules.default().rules}
    for name, (limit, priority) in LIMITS.items():
        bound = told[name].limit
        assert bound is not None
        value = bound.above if bound.above is not None else bound.below
        assert value is not None
        assert limit == pytest.approx(100 * value if bound.per_rated_power else value), name
        assert priority == told[name].policy.priority, name


@boards
def test_every_panel_is_of_a_type_that_grafana_loads(board: Board) -> None:
    assert {panel["type"] for panel in bodies()[board.uid]["panels"]} <= STOCK


def test_a_choice_that_boards_share_is_of_one_kind() -> None:
    """A link takes choices along by name: "all racks" is no answer to which rack, and Grafana would ask for it."""
    kinds: dict[str, set[bool]] = {}
    for board in BOARDS:
        for variable in board.variables:
            kinds.setdefault(variable.name, set()).add(variable.many)
    assert {name for name, kind in kinds.items() if len(kind) > 1} == set()


def test_what_follows_from_choices_is_neither_shown_nor_taken_along() -> None:
    for board in BOARDS:
        for variable, told in zip(board.variables, bodies()[board.uid]["templating"]["list"], strict=False):
            assert (told["hide"], told["skipUrlSync"]) == ((2, True) if variable.hidden else (0, False))


@boards
def test_panels_do_not_overlap(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in bodies()[board.uid]["panels"]:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] < grid["x"] + grid["w"] <= 24
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@boards
def test_every_panel_says_what_it_shows(board: Board) -> None:
    titles = [panel.title for panel in board.panels]
    assert len(set(titles)) == len(titles)
    for panel in bodies()[board.uid]["panels"]:
        if panel["type"] == "row":
            continue
        assert len(panel["description"]) > 10, panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"][0]["value"] is None
        assert panel["targets"], panel["title"]
        if panel["type"] == "table":
            units = {told["id"] for one in panel["fieldConfig"]["overrides"] for told in one["properties"]}
            assert "displayName" in units


@boards
def test_nothing_on_a_board_is_of_one_machine(board: Board) -> None:
    """Every uid is one of ours, every variable is on the board, every link leads somewhere."""
    body = bodies()[board.uid]
    known = {source.value for source in Source} | {"-- Grafana --"}
    assert set(re.findall(r'"uid": "([^"]+)"', json.dumps(body))) <= known | {board.uid}
    names = {variable["name"] for variable in body["templating"]["list"]}
    told = json.dumps([body["panels"], body["templating"], body["links"]])
    used = {one.split(":")[0] for one in re.findall(r"(?<!\$)\$\{?(\w[\w:.]*)\}?", told)}
    grafana = {"__all", "__interval", "timeFilter", "__url_time_range", "__value.raw", "__data.fields.id"}
    assert {one for one in used if not one.startswith("tag_")} - grafana <= names
    assert set(re.findall(r"/d/([\w-]+)", told)) <= UIDS
    for panel in body["panels"]:
        for link in re.findall(r"\[\[", json.dumps(panel)):
            raise AssertionError(f"{panel['title']}: {link} is an old way to write a variable")


def test_every_board_leads_to_the_others_and_to_the_console() -> None:
    for board in BOARDS:
        lists, console, *_ = bodies("https://dcim.example")[board.uid]["links"]
        assert (lists["type"], lists["tags"], lists["includeVars"], lists["keepTime"]) == (
            "dashboards",
            ["dcim"],
            True,
            True,
        )
        assert console["url"].startswith("${console}/#/")
        (place,) = [
            one for one in bodies("https://dcim.example")[board.uid]["templating"]["list"] if one["name"] == "console"
        ]
        assert (place["query"], place["hide"]) == ("https://dcim.example", 2)


def test_alarms_are_drawn_into_the_boards_that_show_the_plant() -> None:
    for board in BOARDS:
        tags = [
            tag for one in bodies()[board.uid]["annotations"]["list"] for tag in one.get("target", {}).get("tags", [])
        ]
        assert tags == ([ALARM_TAG] if board.alarms_shown else [])


@boards
def test_values_have_the_unit_of_their_field(board: Board) -> None:
    """Of what is shown as it was measured; what is computed has the unit that its panel says."""
    checked = 0
    for panel, query in asked(board):
        plain = re.match(r'SELECT (?:\w+\("v"\) FROM \(SELECT mean\("(\w+)"\) AS|\w+\("(\w+)"\)) ', query.text)
        if query.table or plain is None:
            continue
        field = re.sub("_(mean|min|max|setpoint)$", "", plain[1] or plain[2])
        unit = field.rsplit("_", 1)[-1]
        if field != "v" and unit in UNITS and "/ 60" not in query.text:
            shown = panel.body["fieldConfig"]["defaults"]["unit"]
            assert shown == ("kelvin" if field.endswith("_k") else UNITS[unit]), f"{panel.title}: {field}"
            checked += 1
    assert checked or board.uid == "dcim-alarms", "this test looks at something"


# --- what they ask for


@pytest.fixture(scope="module")
def filled() -> Filled:
    span = timedelta(minutes=10)
    start = now() - span - timedelta(seconds=30)
    return fill(start.replace(microsecond=0), span)


@pytest.fixture(scope="module")
def there(filled: Filled) -> dict[Source, set[tuple[str, tuple[tuple[str, str], ...], str]]]:
    return {Source.READINGS: series(filled.readings), Source.MINUTES: series(filled.minutes)}


@pytest.mark.parametrize(("panel", "query"), QUESTIONS)
def test_what_a_query_reads_is_written(panel: Panel, query: Query, there: Any) -> None:
    """Where no InfluxDB is at hand: each field that a query reads is written by the service, with the tags that the
    query asks for."""
    assert query.reads
    for read in query.reads:
        assert f'"{read.field}"' in query.text
        tags = [
            dict(pairs)
            for measurement, pairs, field in there[query.source]
            if (measurement, field) == (read.measurement, read.field)
        ]
        assert any(read.where.items() <= one.items() for one in tags), f"{panel.title} reads {read}"
        grouped = set(re.findall(r'"(\w+)"', query.text.rpartition("GROUP BY")[2]))
        if "GROUP BY" in query.text and "(SELECT" not in query.text:
            assert any(grouped <= one.keys() | {"qualifier"} for one in tags), f"{panel.title} groups by {grouped}"


@boards
def test_choices_above_a_board_are_written(board: Board, there: Any) -> None:
    for variable in board.variables:
        found = re.match(r'SHOW TAG VALUES FROM "(\w+)" WITH KEY = "(\w+)"', variable.query)
        assert found
        assert any(
            found[1] == measurement and found[2] in dict(pairs) for measurement, pairs, _ in there[Source.READINGS]
        )


@pytest.fixture(scope="module")
def influx(filled: Filled) -> Iterator[influx_real.Buckets]:
    if not influx_real.URL:
        pytest.skip(influx_real.WHY_NOT)
    with influx_real.Buckets() as buckets:
        for content, suffix in ((filled.readings, ""), (filled.minutes, "_1m")):
            told = content.splitlines(keepends=True)
            for at in range(0, len(told), 20_000):
                buckets.write("".join(told[at : at + 20_000]), suffix)
        yield buckets


def ask(influx: influx_real.Buckets, query: str, source: Source, filled: Filled) -> list[dict[str, Any]]:
    """The series of the answer to a query in InfluxQL, as Grafana would have asked it with all chosen."""
    ended, began = (round(at.timestamp() * 1000) for at in (filled.end, filled.start))
    query = query.replace("$timeFilter", f"time >= {began}ms and time <= {ended}ms").replace("$__interval", STEP)
    query = re.sub(r"\$\w+", ".*", query)
    database = influx.name + ("_1m" if source is Source.MINUTES else "")
    where = urllib.parse.urlencode({"db": database, "epoch": "ms", "q": query})
    request = urllib.request.Request(f"{influx.place.url}/query?{where}")
    request.add_header("Authorization", f"Token {influx.place.token()}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, (result, query)
    found: list[dict[str, Any]] = result.get("series", [])
    return found


@pytest.mark.parametrize(("panel", "query"), QUESTIONS)
def test_a_query_finds_rows_in_influxdb(
    panel: Panel, query: Query, influx: influx_real.Buckets, filled: Filled
) -> None:
    found = ask(influx, query.text, query.source, filled)
    values = [value for one in found for row in one["values"] for value in row[1:] if value is not None]
    assert values, f"{panel.title}: {query.text}"
    if query.alias.startswith("$tag_"):
        for tag in re.findall(r"\$tag_(\w+)", query.alias):
            assert all(tag in one["tags"] for one in found)


@boards
def test_choices_are_found_in_influxdb(board: Board, influx: influx_real.Buckets, filled: Filled) -> None:
    for variable in board.variables:
        found = ask(influx, variable.query, Source.READINGS, filled)
        assert found and found[0]["values"], variable.name


def test_figures_are_the_hall_s(influx: influx_real.Buckets, filled: Filled) -> None:
    """What is computed in queries, against what the hall is built as."""

    def last(uid: str, title: str) -> float:
        (panel,) = [panel for board in BOARDS if board.uid == uid for panel in board.panels if panel.title == title]
        rows = ask(influx, panel.queries[0].text, panel.queries[0].source, filled)[0]["values"]
        return float([row[1] for row in rows if row[1] is not None][-1])

    power_kw = last("dcim-site", "IT power")
    assert 4 * 20 < power_kw < 4 * 120
    assert 0.85 * power_kw < last("dcim-site", "Heat to liquid") < 1.05 * power_kw
    assert 0.97 < last("dcim-site", "Partial PUE, halls") < 1.06
    assert 3 < last("dcim-cdu", "Approach") < 12
    assert last("dcim-cdu", "UA of the exchanger") == pytest.approx(4 * 120 / 8.0, rel=0.25)
    assert 0 < last("dcim-rack", "If a feed is lost") < 100
    (by_rack,) = [panel for board in BOARDS for panel in board.panels if panel.title == "Power of rating, p95 by rack"]
    racks = [one["values"][0][1] for one in ask(influx, by_rack.queries[0].text, Source.MINUTES, filled)]
    assert last("dcim-capacity", "Power, p95 of the busiest rack") == pytest.approx(max(racks), abs=0.1)


# --- a real Grafana in between


@pytest.fixture(scope="module")
def provisioned(influx: influx_real.Buckets) -> str:
    """The address of a real Grafana whose data sources lead to the filled buckets."""
    if not grafana.REAL_URL:
        pytest.skip(grafana.WHY_NOT)
    grafana.bring(Places(influx.place.url, influx.name, "http://127.0.0.1:8080"), influx.place.token())
    return grafana.REAL_URL


@pytest.mark.parametrize(("panel", "query"), QUESTIONS)
def test_a_query_finds_rows_through_grafana(panel: Panel, query: Query, provisioned: str, filled: Filled) -> None:
    began, ended = (str(round(at.timestamp() * 1000)) for at in (filled.start, filled.end))
    asked = target(query, "A") | {"intervalMs": 60_000, "maxDataPoints": 500}
    asked["query"] = re.sub(r"\$(?!timeFilter|__interval)\w+", ".*", query.text)
    body = json.dumps({"from": began, "to": ended, "queries": [asked]}).encode()
    request = urllib.request.Request(f"{provisioned}/api/ds/query", body, {"Content-Type": "application/json"})
    request.add_header("Authorization", f"Bearer {grafana.REAL_TOKEN}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = json.load(answer)["results"]["A"]
    assert "error" not in result, result
    assert any(column for frame in result["frames"] for column in frame["data"]["values"]), panel.title
