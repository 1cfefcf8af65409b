"""How full it is, over the API: figures by hand, where they come from, forms, ETags, and what is wrong in words."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from dcim.app.api.utilization import UtilizationBody
from dcim.core.times import now
from tests.contract.inside import Inside, inside, metadata, rack_metadata, rack_value, value

RACKS = ("R1", "R2")


async def hall_of_two(hall: Inside) -> None:
    """R1 draws 60 kW, then 90 kW for the last 2 of 10 minutes; R2 30 kW, and was silent for the first half. Each is fed
    by a tap of its own from one busway; a CDU cools both."""
    taps = [
        metadata("PowerMeter", "ActivePower", f"{rack}/tap", engUnit="kW", objectId=f"T-{rack}", objectName=f"T-{rack}",
                 servesId=[rack])
        for rack in RACKS
    ]  # fmt: skip
    bus = metadata(
        "PowerMeter", "ActivePower", "bus", engUnit="kW", objectId="BUS", objectName="BUS", servesId=["T-R1", "T-R2"]
    )
    await hall.send(
        *(rack_metadata("RackPower", rack=rack, engUnit="kW") for rack in RACKS),
        *(rack_metadata(point, engUnit=unit) for point, unit in (
            ("RackLiquidFlow", "LPM"), ("RackLiquidSupplyTemperature", "C"), ("RackLiquidReturnTemperature", "C"))),
        *taps, bus,
    )  # fmt: skip
    for ago in range(600, -1, -20):
        power = 90 if ago <= 120 else 60
        await hall.send(
            rack_value("RackPower", power, ago_s=ago),
            value("PowerMeter", "ActivePower", "R1/tap", power + 1, ago_s=ago),
            value("PowerMeter", "ActivePower", "R2/tap", 31, ago_s=ago),
            value("PowerMeter", "ActivePower", "bus", power + 33, ago_s=ago),
            rack_value("RackLiquidFlow", 100, ago_s=ago),
            rack_value("RackLiquidSupplyTemperature", 35, ago_s=ago),
            rack_value("RackLiquidReturnTemperature", 45, ago_s=ago),
            *([rack_value("RackPower", 30, rack="R2", ago_s=ago)] if ago <= 300 else []),
        )
    await hall.until(lambda: hall.get("/api/v1/sites"))


def period(minutes: float = 10) -> str:
    end = now()
    start = end - timedelta(minutes=minutes)
    return f"start={start:%Y-%m-%dT%H:%M:%S.%fZ}&end={end:%Y-%m-%dT%H:%M:%S.%fZ}"


async def ask(hall: Inside, query: str) -> dict[str, Any]:
    """The one answer, after holding the body to its description."""
    body = await hall.get(f"/api/v1/utilization?{query}")
    UtilizationBody.model_validate(body)
    (answer,) = body["answers"]
    return dict(answer)


@pytest.mark.slow
def test_a_rack_by_hand() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        one = await ask(hall, f"scope=asset/titan/R1&{period()}")
        assert (one["kind"], one["parts"], one["missing"]) == ("measured", 1, [])
        assert one["mean"] == pytest.approx((60 * 480 + 90 * 120) / 600, rel=0.01)
        assert (one["p50"], one["p95"], one["peak"], one["now"]) == (60, 90, 90, 90)
        assert one["energy_kwh"] == pytest.approx(66 / 6, rel=0.01)
        assert one["coverage_pct"] > 99
        (rating, failover) = one["against"]
        assert (rating["what"], rating["value"]) == ("rating", 120)
        assert rating["p95_pct"] == pytest.approx(75)
        assert (failover["what"], failover["value"]) == ("failover_safe", None)
        assert "T-R1" in failover["why"]

    inside(scenario)


@pytest.mark.slow
def test_a_sum_says_what_was_read_of_it_and_bridges_what_was_not() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        one = await ask(hall, f"scope=site/titan&{period()}")
        assert (one["kind"], one["parts"]) == ("estimated", 2)
        assert one["mean"] == pytest.approx(66 + 30, rel=0.01)
        assert one["coverage_pct"] == pytest.approx(75, abs=1)
        assert "bridged" in one["why"]
        assert one["now"] == 120
        assert one["against"][0]["value"] is None, "R2 has no rating, so the two have none"
        assert "1 of 2 racks have no rating" in one["against"][0]["why"]

    inside(scenario)


@pytest.mark.slow
def test_groups_and_many_scopes_and_what_is_not_measured() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        await hall.send(rack_metadata("RackLiquidFlow", rack="R3", engUnit="LPM"))

        async def three() -> bool:
            return bool((await hall.get("/api/v1/sites"))[0]["racks"] == 3)

        await hall.until(three)
        body = await hall.get(f"/api/v1/utilization?scope=site/titan&group_by=rack&{period()}")
        assert [answer["scope"] for answer in body["answers"]] == [f"asset/titan/R{n}" for n in (1, 2, 3)]
        last = body["answers"][-1]
        assert (last["kind"], last["mean"], last["now"], last["coverage_pct"]) == ("missing", None, None, 0)
        assert last["why"]
        site = await ask(hall, f"scope=site/titan&{period()}")
        assert site["missing"] == ["R3"]
        assert "1 of 3 were not measured" in site["why"]
        rows = await hall.get(f"/api/v1/utilization?scope=hall/titan/Hall 2&scope=row/titan/Hall 2/C&{period()}")
        assert [answer["mean"] for answer in rows["answers"]] == [pytest.approx(66, rel=0.01)] * 2

    inside(scenario)


@pytest.mark.slow
def test_heat_by_hand() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        one = await ask(hall, f"scope=asset/titan/R1&resource=liquid_cooling&{period()}")
        assert one["mean"] == pytest.approx(1014.47 * 3962.2 * 100 * 10 / 6e7, rel=1e-4)
        air = await ask(hall, f"scope=asset/titan/R1&resource=air_cooling&{period()}")
        assert air["mean"] == pytest.approx(66 - 67, abs=0.7)
        assert (air["kind"], "both meters" in air["why"]) == ("estimated", True)

    inside(scenario)


@pytest.mark.slow
def test_a_meter_and_what_it_feeds_are_not_added_up() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        taps = await ask(hall, f"scope=asset/titan/T-R1&scope=asset/titan/T-R2&total=true&{period()}")
        assert taps["mean"] == pytest.approx(67 + 31, rel=0.01)
        for below in ("asset/titan/T-R1", "asset/titan/R1", "site/titan"):
            query = f"/api/v1/utilization?scope=asset/titan/BUS&scope={below}&total=true&{period()}"
            problem = await hall.get(query, 409)
            assert problem["title"] == "Counted twice"
            assert problem["errors"][0]["field"] == "query.scope"
            assert "through asset/titan/BUS" in problem["detail"]
        both = await hall.get("/api/v1/utilization?scope=row/titan/Hall 2/C&scope=site/titan&total=true", 409)
        assert "R1 lies in both" in both["detail"]

    inside(scenario)


@pytest.mark.slow
def test_series_and_the_period_before() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        one = await ask(hall, f"scope=asset/titan/R1&step=1m&compare=true&{period(5)}")
        assert one["series"]["step_s"] == 60
        assert one["series"]["values"][0] == pytest.approx(60)
        assert one["series"]["values"][-1] == pytest.approx(90)
        assert one["previous"]["mean"] == pytest.approx(60)
        assert one["previous"]["change_pct"] == pytest.approx(100 * (72 - 60) / 60, abs=1)

    inside(scenario)


@pytest.mark.slow
def test_forms() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        query = f"/api/v1/utilization?scope=site/titan&group_by=rack&{period()}"
        plain = await hall.client.get(f"{query}&format=csv")
        assert plain.headers["content-type"].startswith("text/csv")
        table = pl.read_csv(io.BytesIO(plain.content), try_parse_dates=True)
        assert table["scope"].to_list() == ["asset/titan/R1", "asset/titan/R2"]
        assert table["p95"].to_list() == [90, 30]
        assert table["rating_p95_pct"].to_list() == [75, None]
        arrow = await hall.client.get(f"{query}&format=arrow")
        assert pl.read_ipc_stream(arrow.content)["p95"].to_list() == [90, 30]
        series = await hall.client.get(f"{query}&format=csv&step=5m")
        assert pl.read_csv(io.BytesIO(series.content)).columns == ["scope", "time", "value"]

    inside(scenario)


@pytest.mark.slow
def test_an_answer_is_kept_and_known_by_its_etag() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        query = f"/api/v1/utilization?scope=site/titan&{period()}"
        first = await hall.client.get(query)
        again = await hall.client.get(query, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await hall.send(rack_value("RackPower", 55, ago_s=0))
        kept = await hall.client.get(query)
        assert kept.content == first.content
        plain = await hall.client.get(query, headers={"accept-encoding": "identity"})
        assert plain.content == first.content
        assert "content-encoding" not in plain.headers

    inside(scenario)


@pytest.mark.slow
def test_space() -> None:
    async def scenario(hall: Inside) -> None:
        await hall_of_two(hall)
        one = await ask(hall, "scope=site/titan&resource=space")
        assert (one["now"], one["against"][0]["value"]) == (2, None)

    inside(scenario)


FUTURE = f"{now().year + 2}-01-01T00:00:00Z"
PROBLEMS = [
    ("scope=site/nowhere", 404, "query.scope"),
    ("scope=site/titan&scope=site/titan", 422, "query.scope"),
    ("", 422, "query.scope"),
    ("scope=site/titan&resource=furlongs", 422, "query.resource"),
    ("scope=site/titan&window=soon", 422, "query.window"),
    ("scope=site/titan&window=0h", 422, "query.window"),
    ("scope=site/titan&window=24h&start=2026-01-01T00:00:00Z", 422, "query.window"),
    ("scope=site/titan&end=2026-01-01T00:00:00Z", 422, "query.end"),
    ("scope=site/titan&start=0001-01-01T00:00:00%2B14:00&end=0001-01-02T00:00:00Z", 422, "query.start"),
    ("scope=site/titan&start=2000-01-01T00:00:00Z", 422, "query.start"),
    (f"scope=site/titan&start={FUTURE}", 422, "query.start"),
    (f"scope=site/titan&start=2026-01-01T00:00:00Z&end={FUTURE}", 422, "query.end"),
    ("scope=site/titan&start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", 422, "query.end"),
    ("scope=site/titan&start=2026-01-02T00:00:00Z&end=2026-01-02T00:00:00Z", 422, "query.end"),
    ("scope=site/titan&group_by=rack&total=true", 422, "query.total"),
    ("scope=site/titan&group_by=cdu", 422, "query.group_by"),
    ("scope=site/titan&step=7s", 422, "query.step"),
    ("scope=site/titan&step=often", 422, "query.step"),
    ("scope=site/titan&resource=space&step=1h", 422, "query.step"),
    ("scope=site/titan&stat=mode", 422, "query.stat.0"),
]


@pytest.mark.slow
def test_what_is_wrong_is_a_problem_in_words() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(rack_metadata("RackPower", engUnit="kW"), rack_value("RackPower", 50))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        for query, status, field in PROBLEMS:
            answer = await hall.client.get(f"/api/v1/utilization?{query}")
            assert answer.status_code == status, (query, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert [entry["field"] for entry in answer.json()["errors"]] == [field], query
        near = await hall.get("/api/v1/utilization?scope=asset/titan/R11", 404)
        assert "Did you mean asset/titan/R1" in near["detail"]

    inside(scenario)
