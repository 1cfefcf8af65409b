"""The stand-in says what the service says: each of its answers fits the body that the API declares, field by field."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from dcim.app import hall as halls
from dcim.app.api.alarms import TransitionsPage
from dcim.app.api.capacity import WhatIfBody
from dcim.app.api.efficiency import EfficienciesBody, EfficiencyBody, NamedFigureBody
from dcim.app.api.exchangers import ExchangerBody
from dcim.app.api.gpus import FleetBody, GpuBody, GpusBody
from dcim.app.api.ledger import (
    BacklogBody,
    CountsBody,
    LedgerBody,
    PaceBody,
    RejectBody,
    SpreadBody,
    StoreBody,
    TallyBody,
)
from dcim.app.api.plant import AssetDetail, LatestBody, PointBody
from dcim.app.api.power import CordsBody, RackCordsBody, WayBody, WaysBody
from dcim.app.api.readings import ReadingsBody, SeriesBody
from dcim.app.kpis import KpisBody
from dcim.app.views import AlarmBody, EvidenceBody, RationaleBody, TransitionBody
from dcim.core.quantities import QUANTITIES
from tests.browser.stand_in import BACKLOG, Served, StandIn, listed


@pytest.fixture(scope="module")
def answers() -> Any:
    stand_in = StandIn()
    stand_in.leak("H1-A03")
    with Served(stand_in) as served, httpx.Client(base_url=f"{served.url}/api/v1") as client:
        yield lambda path: client.get(path).raise_for_status().json()


def fits(answer: dict[str, Any], body: type[BaseModel]) -> None:
    assert set(answer) == set(body.model_fields)
    body.model_validate(answer)


def test_alarms(answers: Any) -> None:
    one = answers("/alarms/leak-H1-A03")
    fits(one, AlarmBody)
    fits(one["evidence"][0], EvidenceBody)
    fits(one["rationale"], RationaleBody)
    fits(one["history"][0], TransitionBody)
    assert answers("/alarms")["items"] == [listed(one)]


def test_the_journal(answers: Any) -> None:
    found = answers("/transitions?limit=1&start=2020-01-01T00:00:00Z")
    fits(found, TransitionsPage)
    assert found["next_cursor"] == found["items"][0]["seq"]
    assert answers(f"/transitions?limit=1&start=2020-01-01T00:00:00Z&before={found['next_cursor']}")["items"]


def test_ledger(answers: Any) -> None:
    ledger = answers("/ledger")
    fits(ledger, LedgerBody)
    for account in ledger["items"]:
        fits(account, TallyBody)
        fits(account["pace"], PaceBody)
        for counts in account["codecs"].values():
            fits(counts, CountsBody)
    fits(ledger["items"][0]["pace"]["lag"], SpreadBody)
    fits(ledger["store"], StoreBody)
    fits(BACKLOG, BacklogBody)
    fits(answers("/ledger/bms/rejects")[0], RejectBody)


def test_readings(answers: Any) -> None:
    found = answers("/readings?point=12&start=2026-11-23T21:00:00Z&end=2026-11-23T21:30:00Z&every=10s&how=mean")
    fits(found, ReadingsBody)
    fits(found["series"][0], SeriesBody)


def test_assets(answers: Any) -> None:
    found = answers("/assets/H1-A03?site=demo")
    fits(found, AssetDetail)
    fits(found["details"][0], PointBody)
    fits(found["readings"][0], LatestBody)
    assert {point["quantity"] for point in found["details"]} <= QUANTITIES.keys()
    for asset in ("H1-CDU-1", "H1-A03-TAP-A"):
        found = answers(f"/assets/{asset}?site=demo")
        fits(found, AssetDetail)
        assert {point["quantity"] for point in found["details"]} <= QUANTITIES.keys()
    gpus = answers("/readings/latest?site=demo&within=H1-A03&quantity=GpuTemperature")
    assert gpus["total"] == 72
    fits(gpus["items"][0], LatestBody)


def test_gpus_power_and_efficiency(answers: Any) -> None:
    gpus = answers("/gpus?limit=80")
    fits(gpus, GpusBody)
    fits(gpus["fleet"], FleetBody)
    for gpu in gpus["items"]:
        fits(gpu, GpuBody)
    ways = answers("/power")
    fits(ways, WaysBody)
    cords = answers("/power/racks?feed=asset/demo/BUS-A")
    fits(cords, RackCordsBody)
    fits(cords["items"][0], CordsBody)
    for way in (*ways["items"], *cords["items"][0]["feeds"]):
        fits(way, WayBody)
    for path in ("efficiency", "cost"):
        found = answers(f"/{path}?scope=site/demo&window=24h")
        fits(found, EfficienciesBody)
        fits(found["answers"][0], EfficiencyBody)
        fits(found["answers"][0]["figures"][0], NamedFigureBody)
    fits(
        answers("/exchangers/H1-CDU-1?site=demo&start=2026-11-23T21:00:00Z&end=2026-11-23T21:30:00Z&every_s=60"),
        ExchangerBody,
    )


def test_what_if_of_the_stand_in() -> None:
    hall = StandIn()
    with Served(hall) as served:
        asked = {"lose": ["asset/demo/BUS-A"]}
        found = httpx.post(f"{served.url}/api/v1/capacity/what-if", json=asked).raise_for_status().json()
    fits(found, WhatIfBody)


def test_figures(answers: Any) -> None:
    fits(answers("/alarms/kpis?start=2026-01-01T00:00:00Z&end=2036-01-01T00:00:00Z&operators=1"), KpisBody)


def test_quantities_are_those_of_the_map(answers: Any) -> None:
    scales = {scale["key"]: set(scale) for scale in halls.SCALES}
    for quantity in answers("/hall")["quantities"]:
        assert set(quantity) == scales[quantity["key"]]
