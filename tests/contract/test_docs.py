"""The docs say all that there is: each setting, reason, metric, finding, state and route has its line."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from alerts.lifecycle import State
from alerts.notices import Item, News
from alerts.outbox import DeadNotice, Outcome
from dcim.app import cli
from dcim.app.api import notices as notice_routes
from dcim.app.codec_settings import Line, LineMeasurement, MappedField, MappedTopic, Named, Sparkplug, SparkplugAsset
from dcim.app.kpis import KpisBody
from dcim.app.settings import (
    Alarms,
    AppriseReceiver,
    BrokerSource,
    ChatReceiver,
    Detection,
    EscalationStep,
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
from dcim.core.findings import FindingKind
from dcim.core.ledger import DeadLetter, Fault, RejectReason, Remark
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
    assert {name for name in options if f"`--{name}`" not in text} == set()
    lists = {name.removesuffix("_total").removesuffix("_share") for name in KpisBody.model_fields}
    told = lists - {"start", "end", "operators", "stale", "flood"} | {"windows_over_ten", "stale_total"}
    assert told <= rows("kpis.md")


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
