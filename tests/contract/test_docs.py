"""The docs say all that there is: each setting, reason, metric, finding, state and route has its line."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import Route

from alerts.external import RULES, SEVERITIES
from alerts.labels import labels_of
from alerts.lifecycle import AlarmKey, Priority, State
from alerts.notices import Item, News
from alerts.outbox import DeadNotice, Outcome
from dashboards.grafana.build import BOARDS
from dcim.app import cli, facts, relations
from dcim.app.annotator import Outcome as AnnotationOutcome
from dcim.app.api import alertmanager, capacity, forecast, inventory, power, redundancy
from dcim.app.api import notices as notice_routes
from dcim.app.api.context import Context
from dcim.app.api.utilization import utilization
from dcim.app.codec_settings import Line, LineMeasurement, MappedField, MappedTopic, Named, Sparkplug, SparkplugAsset
from dcim.app.energy_settings import EnergyBoundary, SiteCosts
from dcim.app.inventory_settings import (
    InventoryCooling,
    InventoryFeed,
    InventoryHall,
    InventoryNetbox,
    InventoryProduct,
    InventoryRack,
    InventoryRow,
    InventorySettings,
    InventorySite,
)
from dcim.app.kpis import KpisBody
from dcim.app.outside import AlertRefusal
from dcim.app.settings import (
    Alarms,
    AppriseReceiver,
    BrokerSource,
    ChatReceiver,
    Detection,
    EscalationStep,
    GrafanaPlace,
    Http,
    ListenerSource,
    MailReceiver,
    NoticeCalendar,
    NoticeEscalation,
    NoticeHours,
    NoticeRoute,
    Notices,
    PagerDutyReceiver,
    PlacedAsset,
    Store,
    StoreInflux,
    StoreRetention,
    Tls,
    WebhookReceiver,
    load,
)
from dcim.capacity.checks import Checked
from dcim.capacity.cost import Terms, costs
from dcim.capacity.efficiency import Boundary, figures, survey, yearly
from dcim.capacity.growth import Growing
from dcim.capacity.limits import Resource
from dcim.capacity.provenance import Period
from dcim.capacity.redundancy import Holds
from dcim.capacity.scopes import Scope, lay_out
from dcim.capacity.spans import Grid, Lattice
from dcim.capacity.stranded import Cause
from dcim.capacity.utilization import RESOURCES
from dcim.core.assets import Asset, Placement
from dcim.core.findings import FindingKind, Subject
from dcim.core.inventory import Inventory
from dcim.core.ledger import DeadLetter, Fault, RejectReason, Remark
from dcim.core.plant import Plant
from dcim.core.times import EPOCH
from dcim.sim import scenario
from dcim.sim.faults import KINDS
from dcim.sim.hall import HallSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def rows(page: str) -> set[str]:
    """The words in code marks in the first cells of a page's tables."""
    text = (DOCS / page).read_text()
    cells = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


SECTIONS = [
    BrokerSource, ListenerSource, Store, Alarms, Detection, Http, PlacedAsset,
    Notices, WebhookReceiver, MailReceiver, ChatReceiver, PagerDutyReceiver, AppriseReceiver,
    NoticeRoute, NoticeEscalation, EscalationStep, NoticeCalendar, NoticeHours,
    EnergyBoundary, SiteCosts,
    InventorySettings, InventoryNetbox, InventorySite, InventoryHall, InventoryRow, InventoryRack, InventoryFeed,
    InventoryCooling, InventoryProduct,
    GrafanaPlace,
]  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_its_line(section: type[BaseModel]) -> None:
    assert set(section.model_fields) - {"tls", "retention", "influx"} <= rows("settings.md")
    assert {f"tls.{key}" for key in Tls.model_fields} <= rows("settings.md")
    assert {f"retention.{key}" for key in StoreRetention.model_fields} <= rows("settings.md")
    assert {f"influx.{key}" for key in StoreInflux.model_fields} <= rows("settings.md")


def test_defaults_are_the_ones_in_the_docs() -> None:
    text = (DOCS / "settings.md").read_text()
    for section in (BrokerSource, ListenerSource, Store, Alarms, Http, MailReceiver):
        for key, field in section.model_fields.items():
            if isinstance(field.default, int) and not isinstance(field.default, bool):
                assert f"| `{key}` | `{field.default}` |" in text
    for key, field in StoreRetention.model_fields.items():
        assert f"| `retention.{key}` | `{field.default}` |" in text
    assert f"| `influx.spool_bytes_max` | `{StoreInflux.model_fields['spool_bytes_max'].default}` |" in text


def test_every_setting_of_a_codec_has_its_line() -> None:
    said = rows("settings.md")
    for table, section in (("sparkplug", Sparkplug), ("line", Line)):
        assert {f"{table}.{key}" for key in section.model_fields} <= said
    for part in (Named, SparkplugAsset, LineMeasurement, MappedTopic, MappedField):
        text = (DOCS / "settings.md").read_text()
        assert {key for key in part.model_fields if f"`{key}`" not in text} == set()


@pytest.mark.parametrize("closed_list", [RejectReason, Remark, Fault, DeadLetter])
def test_every_reason_has_its_line(closed_list: type[RejectReason | Remark | Fault | DeadLetter]) -> None:
    assert {entry.value for entry in closed_list} <= rows("ledger.md")


def test_every_news_and_every_reason_for_none_has_its_line() -> None:
    assert {entry.value for entry in (*News, *DeadNotice)} <= rows("notices.md")
    text = (DOCS / "notices.md").read_text()
    assert {field.name for field in fields(Item) if f"`{field.name}`" not in text} == set()


def test_the_page_of_the_alertmanager_api_says_all_of_it() -> None:
    said = rows("alertmanager.md")
    routes = {route.path for route in alertmanager.create(cast("Context", None)).routes if isinstance(route, Route)}
    assert routes == {row.partition(" ")[2] for row in said if row.startswith(("GET /", "POST /", "DELETE /"))}
    assert {"taken", *AlertRefusal} <= said
    assert {rule.name for rule in RULES} <= set(re.findall(r"`(external-\w+)`", (DOCS / "alertmanager.md").read_text()))
    table = {
        word: priority
        for words, priority in re.findall(
            r"^\| ([a-z, ]+) \| (\w+) \| `external-", (DOCS / "alertmanager.md").read_text(), re.MULTILINE
        )
        for word in words.split(", ")
    }
    assert {word: priority.word for word, priority in SEVERITIES.items()}.items() <= table.items()
    place = Placement("Hall 1", "A", 5)
    known = Asset("oslo", "R1", "R1", "Rack", described=True, placement=place, points=(), within="R0")
    key = AlarmKey("leak-wet", Subject("oslo", "R1", "Rope"))
    assert set(labels_of(key, FindingKind.LEAK_WET, Priority.HIGH, known)) <= said


def test_the_notices_in_the_docs_are_settings(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "notices.md").read_text(), re.DOTALL)
    file = tmp_path / "site.toml"
    file.write_text(example)
    told = load(file).notices
    assert [receiver.kind for receiver in told.receivers] == ["webhook", "mail", "pagerduty"]
    assert [step.after_min for step in told.escalations[0].steps] == [10, 30]


def test_every_route_and_outcome_of_notices_has_its_line() -> None:
    text = (DOCS / "notices.md").read_text()
    routes = [route for route in notice_routes.router.routes if isinstance(route, APIRoute)]
    assert {route.path for route in routes if f" /api/v1{route.path}`" not in text} == set()
    assert {outcome.value for outcome in Outcome if f"`{outcome.value}`" not in text} == set()
    commands = [command.name for command in cli.notices.registered_commands]
    assert {name for name in commands if f"dcim notices {name} " not in text} == set()


def test_every_finding_and_state_has_its_line() -> None:
    assert {kind.value for kind in FindingKind} | {state.value for state in State} <= rows("findings.md")


def test_every_fault_has_its_line_and_the_line_is_right() -> None:
    table = [
        line.split(" | ")
        for line in (DOCS / "simulator.md").read_text().splitlines()
        if " | yes |" in f"{line} " or " | no |" in f"{line} "
    ]
    told = {cells[0].strip("| `"): (cells[1], cells[3], cells[4].strip(" |")) for cells in table}
    assert list(told) == list(KINDS), "in the order of the catalogue"
    for kind, fault in KINDS.items():
        of = fault.severity_of
        severity = f"`{of.field}` {of.low:g}–{of.high:g} {of.unit}" if of else "–"
        assert told[kind] == (str(fault.number or "–"), severity, "yes" if fault.harmful else "no"), kind


def test_every_setting_of_a_hall_has_its_line_and_default() -> None:
    text = (DOCS / "simulator.md").read_text()
    for field in fields(HallSettings):
        assert re.search(rf"^\| `hall\.{field.name}` \| .*; `{re.escape(str(field.default))}` \|$", text, re.MULTILINE)


def test_the_scenario_in_the_docs_is_one() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "simulator.md").read_text(), re.DOTALL)
    told = scenario.parse(example, "docs", "docs")
    assert told.timetable.events and told.timetable.round_s == told.lasts_s
    keys = set(re.findall(r"^(\w+) =", example, re.MULTILINE))
    assert keys >= {"title", "about", "lasts_s", "again", "kind", "together", "onset_s"}


def test_every_option_of_a_backtest_has_its_line() -> None:
    text = (DOCS / "backtest.md").read_text()
    options = inspect.signature(cli.backtest).parameters.keys() - {"input"}
    assert {name for name in options if f"`--{name.replace('_', '-')}`" not in text} == set()


def test_every_option_and_figure_of_how_well_alarms_work_has_its_line() -> None:
    text = (DOCS / "kpis.md").read_text()
    options = inspect.signature(cli.alarms_kpis).parameters.keys() - {"as_json"}
    options |= inspect.signature(cli.alarms_replay).parameters.keys() - {"as_json", "input"}
    assert {name for name in options if f"`--{name.replace('_', '-')}`" not in text} == set()
    lists = {name.removesuffix("_total").removesuffix("_share") for name in KpisBody.model_fields}
    told = lists - {"start", "end", "operators", "stale", "flood"} | {"windows_over_ten", "stale_total"}
    assert told <= rows("kpis.md")


def test_every_parameter_and_resource_of_utilization_has_its_line() -> None:
    asked = inspect.signature(utilization).parameters.keys() - {"request", "ctx", "layout"}
    assert asked | set(RESOURCES) <= rows("utilization.md")


def test_every_question_of_the_command_line_has_its_line() -> None:
    assert {command.name for command in cli.query.registered_commands} <= rows("utilization.md")


def test_every_figure_of_efficiency_and_cost_has_its_line() -> None:
    scope = Scope("site", "s")
    of = survey(lay_out(Plant(), Inventory()), Boundary(scope))
    none = np.zeros((0, 1))
    grid = Grid(Lattice(0, 1, 1), np.ones(1), none, none, none)
    period = Period(EPOCH, EPOCH + timedelta(hours=1))
    told = {one.name for one in [*figures(of, grid, period), *costs(of, grid, period, Terms(), 0)]}
    assert told <= rows("efficiency.md")
    text = (DOCS / "efficiency.md").read_text()
    assert {line.symbol for line in yearly(of, grid, period) if line.symbol not in text} == set()


def test_every_resource_cause_and_route_of_capacity_has_its_line() -> None:
    assert {*Resource, *Cause, *Holds, *Growing, *Checked} <= rows("capacity.md")
    text = (DOCS / "capacity.md").read_text()
    paths = {
        route.path
        for of in (capacity, forecast, inventory, redundancy, power)
        for route in of.router.routes
        if isinstance(route, APIRoute)
    }
    assert {path for path in paths if f"/api/v1{path}`" not in text} == set()
    asked = {*capacity.PlacementAsk.model_fields, *capacity.WhatIfAsk.model_fields, *capacity.AddAsk.model_fields}
    assert asked <= rows("capacity.md")


def test_the_inventory_in_the_docs_is_one() -> None:
    text = (DOCS / "settings.md").read_text()
    (example,) = [one for one in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[[inventory.sites]]" in one]
    told = InventorySettings(**tomllib.loads(example)["inventory"])
    assert told.sites[0].contract_kw == 4_000 and told.netbox is not None


def test_every_option_of_a_sync_has_its_line() -> None:
    text = (DOCS / "grafana.md").read_text()
    options = {name.replace("_", "-") for name in inspect.signature(cli.grafana_sync).parameters}
    assert {name for name in options if f"`--{name}`" not in text} == set()
    assert {
        outcome.value for outcome in AnnotationOutcome if f"`{outcome.value}`" not in (DOCS / "ledger.md").read_text()
    } == set()


def test_every_board_and_every_fact_has_its_line() -> None:
    assert {board.uid for board in BOARDS if f"`{board.uid}`" not in (DOCS / "grafana.md").read_text()} == set()
    told = "".join(inspect.getsource(module) for module in (facts, relations))
    measurements = set(re.findall(r'Fact\(\s*"(\w+)"', told))
    assert len(measurements) > 10
    assert measurements <= rows("influx.md")


def test_every_metric_has_its_line() -> None:
    names = set(re.findall(r'"(dcim_\w+)"', (ROOT / "dcim" / "app" / "metrics.py").read_text()))
    documented = {name.removesuffix("_total") for name in rows("ledger.md")}
    assert names
    assert names <= documented


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    names = set(re.findall(r'"([a-z-]+)[\[>]', block))
    table = (ROOT / "README.md").read_text()
    first_cells = " ".join(re.findall(r"^\| ([a-z, -]+) \|", table, re.MULTILINE))
    assert {name for name in names if not re.search(rf"\b{name}\b", first_cells)} == set()


def test_links_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
