"""Efficiency, cost and work over the API: a hall with its meters, factors and prices."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from dcim.app.api.efficiency import EfficienciesBody, ReportBody
from dcim.core.times import now, to_us
from tests.contract.inside import Inside, inside, metadata, rack_metadata, rack_value, value
from tests.contract.test_utilization_api import period
from tests.contract.test_work import VLLM, dcgm

INVENTORY = {
    "sites": [
        {"id": "titan", "role": "training_hub", "zone": "Europe/Oslo", "currency": "EUR", "tariff_per_kwh": 0.2,
         "carbon_kg_per_kwh": 0.03, "renewable_share": 0.9, "installed_it_kw": 800,
         "refrigerants": "R-<b>513A"}
    ]
}  # fmt: skip
OSLO = ZoneInfo("Europe/Oslo")
SET = {
    "inventory": INVENTORY,
    "boundaries": [{"site": "titan", "facility": ["GRID"], "water": ["MAKEUP"]}],
    "costs": [{"site": "titan", "gpu_capital": 35064, "gpu_life_years": 4, "operation_per_gpu_year": 0}],
}


async def metered(hall: Inside) -> None:
    """Ten minutes of a rack of 100 kW, with two GPUs of 40 kW in all, behind a meter of 125 kW."""
    await hall.send(
        rack_metadata("RackPower", engUnit="kW"),
        metadata("PowerMeter", "ActivePower", "grid", engUnit="kW", objectId="GRID", objectName="GRID"),
        metadata("PowerMeter", "ActivePower", "tap", engUnit="kW", objectId="TAP", objectName="TAP", servesId=["R1"]),
        metadata("Valve", "LiquidFlow", "makeup", engUnit="LPM", objectId="MAKEUP", objectName="MAKEUP"),
    )
    for ago in range(600, -1, -50):
        await hall.send(
            rack_value("RackPower", 100, ago_s=ago),
            value("PowerMeter", "ActivePower", "grid", 125, ago_s=ago),
            value("Valve", "LiquidFlow", "makeup", 2, ago_s=ago),
            ("dcim/v1/titan/gpu/n1", {
                "time": to_us(now() - timedelta(seconds=ago)) // 1000, "rack": "R1",
                "gpus": [{"index": 0, "uuid": "GPU-0"}, {"index": 1, "uuid": "GPU-1"}],
                "fields": {"155": [1000.0, 600.0]},
            }),
        )  # fmt: skip

    async def known() -> bool:
        found = {item["id"] for item in (await hall.get("/api/v1/assets"))["items"] if item["described"]}
        return len(found) == 6  # the rack, its two GPUs, the meter, the tap, the make-up

    await hall.until(known)


def figures(answer: Any) -> dict[str, Any]:
    return {one["name"]: one for one in answer["figures"]}


@pytest.mark.slow
def test_efficiency_by_hand() -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        body = await hall.get(f"/api/v1/efficiency?scope=site/titan&scope=hall/titan/Hall 2&{period()}")
        EfficienciesBody.model_validate(body)
        site, of_hall = body["answers"]
        told = figures(site)
        assert told["PUE"]["value"] == pytest.approx(1.25)
        assert told["PUE"]["label"].startswith("PUE3, interim")
        assert told["WUE"]["value"] == pytest.approx(2 * 60 / 100)
        assert told["CUE"]["value"] == pytest.approx(1.25 * 0.03)
        assert told["REF"]["value"] == pytest.approx(0.9)
        assert told["ITUE"]["value"] == pytest.approx(100 / 1.6)
        assert (told["ERF"]["value"], told["ERF"]["kind"]) == (None, "missing")
        assert (site["role"], body["zone"]) == ("training_hub", "Europe/Oslo")
        assert "[[boundaries]]" in figures(of_hall)["pPUE"]["why"]
        plain = await hall.client.get(f"/api/v1/efficiency?scope=site/titan&format=csv&{period()}")
        table = pl.read_csv(io.BytesIO(plain.content))
        assert table.filter(pl.col("name") == "PUE")["value"].item() == pytest.approx(1.25)

    inside(scenario, **SET)


@pytest.mark.slow
def test_cost_and_tokens_by_hand() -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        (answer,) = (await hall.get(f"/api/v1/cost?scope=site/titan&{period()}"))["answers"]
        told = figures(answer)
        assert (told["cost_per_kwh"]["value"], told["cost_per_kwh"]["unit"]) == (pytest.approx(0.25), "EUR/kWh")
        hour = 35064 / 4 / 8766 + 0.25 * 100 / 2
        assert told["cost_per_gpu_hour"]["value"] == pytest.approx(hour)
        end = now()
        start = end - timedelta(minutes=6)
        asked = {
            "scope": "asset/titan/R1", "start": start.isoformat(), "end": end.isoformat(),
            "before": VLLM.format(prompt=0, generated=0, stop=0, length=0),
            "after": VLLM.format(prompt=9, generated=5760, stop=8, length=2),
        }  # fmt: skip
        answered = await hall.client.post("/api/v1/workloads/serving", json=asked)
        told = answered.json()
        assert answered.status_code == 200, told
        assert told["energy_kwh"] == pytest.approx(1.6 * 0.1, rel=0.01)
        assert told["tokens_per_joule"] == pytest.approx(5760 / (0.16 * 3.6e6), rel=0.01)
        assert told["cost_per_query"] == pytest.approx(hour * 2 * 0.1 / 10, rel=1e-6)
        assert told["cost_unit"] == "EUR"

    inside(scenario, **SET)


@pytest.mark.slow
def test_the_yearly_report_in_its_forms() -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        year = (now() + timedelta(hours=2)).year
        query = f"/api/v1/efficiency/report?site=titan&year={year}"
        body = await hall.get(query)
        ReportBody.model_validate(body)
        assert (body["obliged"], body["complete"]) == (True, False)
        lines = {line["symbol"]: line for line in body["lines"]}
        assert lines["PUE"]["value"] == pytest.approx(1.25)
        assert lines["EIT"]["coverage_pct"] < 5
        page = (await hall.client.get(f"{query}&format=html")).text
        assert page.startswith("<!doctype html>")
        assert "EREUSE" in page
        assert "R-&lt;b&gt;513A" in page and "<b>" not in page and "<script" not in page and "style=" not in page
        assert lines["refrigerants"]["text"] == "R-<b>513A"
        sheet = await hall.client.get("/api/v1/efficiency/" + re.search(r'href="([^"]+\.css)"', page)[1])
        assert sheet.status_code == 200 and "@media print" in sheet.text
        plain = await hall.client.get(f"{query}&format=csv")
        assert plain.text.startswith("symbol,what,text,value,unit,kind,coverage_pct,boundary,why\n")
        for wrong, field in ((f"site=titan&year={year + 1}", "query.year"), ("site=x&year=2026", "query.site")):
            problem = (await hall.client.get(f"/api/v1/efficiency/report?{wrong}")).json()
            assert problem["errors"][0]["field"] == field

    inside(scenario, **SET)


@pytest.mark.slow
def test_meters_behind_one_another_are_refused_as_a_boundary() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(
            rack_metadata("RackPower", engUnit="kW"),
            metadata("PowerMeter", "ActivePower", "g", engUnit="kW", objectId="GRID", objectName="G", servesId=["TAP"]),
            metadata("PowerMeter", "ActivePower", "t", engUnit="kW", objectId="TAP", objectName="T", servesId=["R1"]),
        )
        await hall.until(lambda: hall.get("/api/v1/sites"))
        problem = await hall.get("/api/v1/efficiency?scope=site/titan", 409)
        assert "TAP gets its power through asset/titan/GRID" in problem["detail"]

    inside(scenario, boundaries=[{"site": "titan", "facility": ["GRID", "TAP"]}])


@pytest.mark.slow
def test_energy_of_jobs_and_pods() -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        local = [
            (now() - timedelta(minutes=ago)).astimezone(tz).replace(tzinfo=None) for ago in (6, 0) for tz in [OSLO]
        ]
        start, end = (at.isoformat(timespec="seconds") for at in local)
        head = "JobID,Account,Partition,Start,End,NodeList,AllocTRES"
        records = f"{head}\n7,physics,train,{start},{end},n1,gres/gpu=2\n8,web,infer,{start},{end},n9,gres/gpu=2\nx\n"
        answered = await hall.client.post(
            "/api/v1/workloads/jobs?site=titan", content=records, headers={"content-type": "text/csv"}
        )
        told = answered.json()
        assert answered.status_code == 200, told
        assert told["jobs"][0]["energy_kwh"] == pytest.approx(1.6 * 0.1, rel=0.02)
        assert (told["jobs"][1]["energy_kwh"], told["misread_total"]) == (None, 1)
        assert [tenant["tenant"] for tenant in told["tenants"]] == ["physics", "web"]
        texts = {"before": dcgm(("ml", "a", 0)), "after": dcgm(("ml", "a", 3.6e9))}
        pods = (await hall.client.post("/api/v1/workloads/pods", json=texts)).json()
        assert pods["namespaces"] == {"ml": 1.0}

    inside(scenario, **SET)


@pytest.mark.slow
def test_what_is_wrong_is_a_problem_in_words() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(rack_metadata("RackPower", engUnit="kW"), rack_value("RackPower", 50))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        for path, status in (
            ("/api/v1/efficiency?scope=asset/titan/R1", 422),
            ("/api/v1/cost?scope=site/nowhere", 404),
            ("/api/v1/efficiency?scope=site/titan&window=never", 422),
        ):
            assert (await hall.get(path, status))["errors"]
        csv = {"content-type": "text/csv"}
        for records in ("", "a,b\n", "JobID,Account,Partition,Start,End,NodeList,AllocTRES\n"):
            answer = await hall.client.post("/api/v1/workloads/jobs?site=titan", content=records, headers=csv)
            assert answer.status_code == 422, records
        assert (await hall.client.post("/api/v1/workloads/jobs?site=x", content="a", headers=csv)).status_code == 404
        empty = {"before": "", "after": ""}
        assert (await hall.client.post("/api/v1/workloads/pods", json=empty)).status_code == 422

    inside(scenario)
