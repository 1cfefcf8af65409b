"""The API: what there is, values, alarms, the ledger, problems in one shape, and a stream that tells what changes."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from dcim.core.times import now
from tests.contract.inside import (
    LEAK_WORDS,
    Inside,
    inside,
    metadata,
    rack_metadata,
    rack_value,
    value,
)

FLOW = rack_metadata("RackLiquidFlow", engUnit="GPM")
WET = rack_metadata("RackLeakDetect", stateText=LEAK_WORDS)
CDU = metadata(
    "CDU", "LiquidTemperature", "c/t", engUnit="C", objectId="C1", objectName="CDU one", servesId=["R1"],
    processArea=["Supply", "Secondary"],
)  # fmt: skip


async def wet(hall: Inside) -> dict[str, Any]:
    """A wet sensor at R1, and the alarm that it makes."""
    await hall.send(WET, rack_value("RackLeakDetect", 0, ago_s=1), rack_value("RackLeakDetect", 1))

    async def alarms() -> Any:
        return (await hall.get("/api/v1/alarms"))["items"]

    (alarm,) = await hall.until(alarms)
    return dict(alarm)


@pytest.mark.slow
def test_what_there_is() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW, CDU, rack_value("RackLiquidFlow", 30))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        assert await hall.get("/api/v1/sites") == [{"id": "titan", "assets": 2, "racks": 1, "points": 2}]
        rack = await hall.get("/api/v1/assets/R1")
        assert (rack["hall"], rack["row"], rack["position"], rack["rated_power_kw"]) == ("Hall 2", "C", 7, 120)
        assert rack["fed_by"] == {"power": [], "coolant": ["C1"]}
        (flow,) = rack["readings"]
        assert (flow["unit"], round(flow["value"], 3), flow["quality"]) == ("L/min", 113.562, "good")
        (temperature,) = (await hall.get("/api/v1/points?asset=C1"))["items"]
        assert (temperature["loop"], temperature["side"], temperature["unit"]) == ("secondary", "supply", "°C")
        topology = await hall.get("/api/v1/topology")
        assert topology["edges"] == [{"site": "titan", "feeder": "C1", "fed": "R1", "medium": "coolant"}]

    inside(scenario)


@pytest.mark.slow
def test_the_console_comes_compressed() -> None:
    async def scenario(hall: Inside) -> None:
        answer = await hall.client.get("/console/console.css", headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < len(answer.content) / 2

    inside(scenario)


@pytest.mark.slow
def test_the_chart_library_comes_out_of_its_package_once() -> None:
    async def scenario(hall: Inside) -> None:
        path = "/console/lib/plotly.js"
        answer = await hall.client.get(path, headers={"accept-encoding": "gzip"})
        assert (answer.headers["content-encoding"], answer.headers["content-type"].split(";")[0]) == (
            "gzip",
            "text/javascript",
        )
        assert "Plotly, Inc." in answer.text[:200]
        plain = await hall.client.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.text == answer.text
        known = {"if-none-match": answer.headers["etag"]}
        assert (await hall.client.get(path, headers=known)).status_code == 304

    inside(scenario)


@pytest.mark.slow
def test_pages_follow_one_another_without_gap_or_overlap() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(*(rack_metadata("RackPower", rack=f"R{n:02}", engUnit="kW") for n in range(25)))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        seen: list[str] = []
        path = "/api/v1/assets?limit=10"
        while path:
            page = await hall.get(path)
            assert page["total"] == 25
            seen += [asset["id"] for asset in page["items"]]
            path = f"/api/v1/assets?limit=10&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert seen == [f"R{n:02}" for n in range(25)]

    inside(scenario)


@pytest.mark.slow
def test_values_over_time() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW, *(rack_value("RackLiquidFlow", n, ago_s=100 - n) for n in range(100)))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        start = (now() - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
        query = f"/api/v1/readings?asset=R1&quantity=RackLiquidFlow&start={start}"
        (series,) = (await hall.get(query))["series"]
        assert len(series["times"]) == 100
        assert series["unit"] == "L/min"
        (buckets,) = (await hall.get(f"{query}&every=10s&how=max"))["series"]
        assert max(buckets["values"]) == pytest.approx(99 * 3.785411784)
        (counted,) = (await hall.get(f"{query}&every=1m&how=count"))["series"]
        assert sum(counted["values"]) == 100
        (line,) = (await hall.get(f"{query}&points_max=20"))["series"]
        assert 4 <= len(line["values"]) <= 20
        assert (min(line["values"]), max(line["values"])) == (min(series["values"]), max(series["values"]))
        assert set(zip(line["times"], line["values"], strict=True)) <= set(
            zip(series["times"], series["values"], strict=True)
        )
        long = (now() - timedelta(days=20)).isoformat().replace("+00:00", "Z")
        drawn = await hall.get(f"/api/v1/readings?asset=R1&start={long}&points_max=100")
        assert (drawn["how"], drawn["every_s"]) == ("minmax", 60 * 577)
        (line,) = drawn["series"]
        assert (min(line["values"]), max(line["values"])) == (min(series["values"]), max(series["values"]))

    inside(scenario)


@pytest.mark.slow
def test_values_over_a_long_time_come_out_of_the_tiers() -> None:
    """By default readings are kept for 30 days as they came, for 180 by the minute, and then by the hour."""

    async def scenario(hall: Inside) -> None:
        days = [("RackLiquidFlow", age) for age in (200, 100, 31, 1, 0)]
        sent = (rack_value(point, age, ago_s=age * 86_400 + second) for point, age in days for second in range(3))
        await hall.send(FLOW, *sent)
        await hall.until(lambda: hall.get("/api/v1/sites"))
        store: Any = hall.service.context.store
        while store.maintain(now()).more:
            pass

        async def ask(days: float, query: str = "", status: int = 200) -> Any:
            start = (now() - timedelta(days=days)).isoformat().replace("+00:00", "Z")
            return await hall.get(f"/api/v1/readings?asset=R1&start={start}{query}", status)

        def told(answer: Any) -> tuple[Any, ...]:
            return answer["resolution"], answer["every_s"], answer["how"], sum(answer["series"][0]["values"])

        assert told(await ask(2, "&every=1s&how=count")) == ("raw", 1, "count", 6)
        assert told(await ask(2, "&every=5m&how=count")) == ("minute", 300, "count", 6)
        assert told(await ask(300, "&every=1d&how=count")) == ("hour", 86_400, "count", 15)
        assert told(await ask(120, "&every=1s&how=count")) == ("minute", 60, "count", 12)
        assert told(await ask(300, "&every=1m&how=count")) == ("hour", 3600, "count", 15)
        assert (await ask(2))["kept_since"] < (await ask(2))["start"]
        means = await ask(120)
        assert told(means)[:3] == ("minute", 60, "mean")
        assert datetime.fromisoformat(means["kept_since"]) < now() - timedelta(days=179)
        (series,) = (await ask(120, "&every=1d&how=max"))["series"]
        assert sorted({round(flow / 3.785411784) for flow in series["values"]}) == [0, 1, 31, 100]
        assert told(await ask(20, "&every=1d&how=last"))[:2] == ("raw", 86_400)
        problem = await ask(120, "&every=1d&how=last", 422)
        assert problem["errors"][0]["field"] == "query.how"
        metrics = (await hall.client.get("/metrics")).text
        assert "dcim_rollup_behind_seconds 0.0" in metrics
        assert 'dcim_retention_dropped_total{tier="hour"} 0.0' in metrics

    inside(scenario)


PROBLEMS: list[tuple[str, int, str | None]] = [
    ("/api/v1/assets/nowhere", 404, None),
    ("/api/v1/points?asset=nowhere", 404, None),
    ("/api/v1/points?quantity=Furlongs", 422, "query.quantity"),
    ("/api/v1/points?cursor=%21%21", 422, "query.cursor"),
    ("/api/v1/points?limit=0", 422, "query.limit"),
    ("/api/v1/readings?asset=R1", 422, "query.start"),
    ("/api/v1/readings?asset=R1&start=2026-01-01T00:00:00", 422, "query.start"),
    ("/api/v1/readings?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z&asset=R1", 422, "query.end"),
    ("/api/v1/readings?asset=R1&start=2026-01-01T00:00:00Z&every=0s", 422, "query.every"),
    ("/api/v1/readings?asset=R1&start=2026-01-01T00:00:00Z&every=1m&points_max=100", 422, "query.points_max"),
    ("/api/v1/readings?asset=R1&start=2026-01-01T00:00:00Z&points_max=9", 422, "query.points_max"),
    ("/api/v1/readings?start=2026-01-01T00:00:00Z", 422, "query.asset"),
    ("/api/v1/readings?start=2026-01-01T00:00:00Z&point=99999", 404, None),
    ("/api/v1/alarms/none", 404, None),
    ("/api/v1/alarms?priority=9", 422, "query.priority.0"),
    ("/api/v1/stream?include=gossip", 422, "query.include"),
    ("/api/v1/ledger/nobody/rejects", 404, None),
    ("/nothing/here", 404, None),
]


@pytest.mark.slow
def test_what_is_wrong_is_a_problem_in_words() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW)
        await hall.until(lambda: hall.get("/api/v1/sites"))
        for path, status, field in PROBLEMS:
            answer = await hall.client.get(path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == status
            assert problem["detail"]
            assert [entry["field"] for entry in problem["errors"]] == ([field] if field else []), path

    inside(scenario)


@pytest.mark.slow
def test_one_id_at_two_sites_has_to_be_told_apart() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW)
        await hall.until(lambda: hall.get("/api/v1/sites"))
        plant = hall.service.context.watch.plant
        for key, asset in list(plant.assets.items()):
            other = key._replace(site="second")
            plant.assets[other] = asset  # type: ignore[index]  # a second site, without its bus
        problem = await hall.get("/api/v1/assets/R1", 409)
        assert "?site=" in problem["detail"]
        assert (await hall.get("/api/v1/assets/R1?site=titan"))["id"] == "R1"

    inside(scenario)


@pytest.mark.slow
def test_a_wet_sensor_becomes_an_alarm_and_is_acknowledged_once() -> None:
    async def scenario(hall: Inside) -> None:
        alarm = await wet(hall)
        assert alarm["kind"] == "leak_wet"
        assert alarm["state"] == "unacknowledged"
        assert alarm["where"] == "Hall 2 · row C · position 7"
        assert alarm["evidence"]
        assert alarm["rationale"]["action"]

        path = f"/api/v1/alarms/{alarm['id']}/acknowledge"
        first = await hall.client.post(path, json={"by": "night shift", "comment": "on my way"})
        assert first.status_code == 200
        assert (first.json()["state"], first.json()["acknowledged_by"]) == ("acknowledged", "night shift")
        assert [change["change"] for change in first.json()["history"]] == ["activated", "acknowledged"]

        second = await hall.client.post(path, json={"by": "day shift"})
        assert second.status_code == 409
        assert "night shift" in second.json()["detail"]
        assert second.json()["alarm"]["acknowledged_by"] == "night shift"

    inside(scenario)


@pytest.mark.slow
def test_an_acknowledgement_without_a_name_is_refused() -> None:
    async def scenario(hall: Inside) -> None:
        alarm = await wet(hall)
        for body in ({}, {"by": ""}, {"by": "  "}, {"by": "x" * 300}, {"by": "x", "extra": 1}, "no"):
            answer = await hall.client.post(f"/api/v1/alarms/{alarm['id']}/acknowledge", json=body)
            assert answer.status_code == 422, body
        assert (await hall.get("/api/v1/alarms"))["items"][0]["state"] == "unacknowledged"

    inside(scenario)


@pytest.mark.slow
def test_the_stream_tells_what_stands_and_what_changes() -> None:
    async def scenario(hall: Inside) -> None:
        await wet(hall)
        heard: dict[str, list[Any]] = {}
        async with hall.client.stream("GET", "/api/v1/stream?include=alarms,latest,hall") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            async with asyncio.timeout(15):
                async for line in answer.aiter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        heard.setdefault(name, []).append(json.loads(line.removeprefix("data: ")))
                    if len(heard) == 1 and name == "hello" and not line:
                        await hall.send(rack_value("RackLeakDetect", 0))
                    if {"hello", "alarms", "alarm", "latest", "hall", "pulse"} <= heard.keys() and any(
                        points["values"] for points in heard["latest"]
                    ):
                        break
        assert [item["kind"] for item in heard["alarms"][0]["items"]] == ["leak_wet"]
        assert heard["alarm"][-1]["asset"] == "R1"
        assert "titan/R1" in heard["hall"][0]["racks"]

    inside(scenario)


@pytest.mark.slow
def test_bad_input_is_counted_by_reason_and_shown() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(
            FLOW,
            ("BMS/v1/PUB/Value/Rack/RackLiquidFlow/R1/RackLiquidFlow", b"{not json"),
            rack_value("RackLiquidFlow", "twelve"),
            rack_value("RackLiquidFlow", 12, ago_s=86_400 * 365 * 27),
            rack_value("RackLiquidFlow", 12, ago_s=-86_400 * 365 * 70),
            value("Teapot", "Temperature", "x", 1),
            rack_value("RackLiquidFlow", 12),
        )
        (account,) = (await hall.get("/api/v1/ledger"))["items"]
        assert account["balanced"]
        assert account["reasons"] == {
            "malformed_payload": 1,
            "wrong_type": 1,
            "time_too_old": 1,
            "time_ahead": 1,
            "object_type_unknown": 1,
        }
        assert account["kinds"]["value"]["stored"] == 1
        rejects = await hall.get("/api/v1/ledger/ear/rejects")
        assert rejects[0]["payload"] == "{not json"

    inside(scenario)


@pytest.mark.slow
def test_nobody_from_elsewhere_is_answered() -> None:
    async def scenario(hall: Inside) -> None:
        answer = await hall.client.get("/api/v1/sites", headers={"Host": "evil.example"})
        assert answer.status_code == 400
        headers = (await hall.client.get("/healthz")).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        large = await hall.client.post("/api/v1/alarms/x/acknowledge", content=b"x" * 100_000)
        assert large.status_code == 413

    inside(scenario)


@pytest.mark.slow
def test_ready_only_while_every_source_can_bring_messages() -> None:
    async def scenario(hall: Inside) -> None:
        assert (await hall.get("/readyz"))["status"] == "ok"
        metrics = (await hall.client.get("/metrics")).text
        assert 'dcim_source_connected{source="ear"} 1.0' in metrics

    inside(scenario)


@pytest.mark.slow
def test_every_parameter_and_field_of_the_api_is_described() -> None:
    async def scenario(hall: Inside) -> None:
        openapi = await hall.get("/api/v1/openapi.json")
        for path, verbs in openapi["paths"].items():
            for verb, operation in verbs.items():
                assert operation.get("summary"), (verb, path)
                assert operation.get("description"), (verb, path)
                for parameter in operation.get("parameters", []):
                    if parameter["name"] not in {"asset_id", "source"}:
                        assert parameter.get("description"), (path, parameter["name"])

    inside(scenario)
