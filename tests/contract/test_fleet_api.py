"""GPUs, ways of power and exchangers over HTTP, each figure by hand."""

from __future__ import annotations

import csv
import doctest
import io
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from dcim.app import exchanger, fleet
from dcim.app.api.exchangers import ExchangerBody
from dcim.app.api.gpus import GpusBody
from dcim.app.api.power import RackCordsBody, WaysBody
from dcim.core.clock_events import Slowdown, causes_of, mask
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.readings import Readings
from dcim.core.times import now, to_us
from tests.contract.inside import SITE, Inside, inside, metadata, rack_metadata, rack_value, value
from tests.contract.test_capacity_api import INVENTORY, ready


def report(ago_s: float = 0.0, rack: str = "R1", host: str = "n1", **fields: Any) -> tuple[str, object]:
    """A GPU message of four GPUs."""
    return (
        f"dcim/v1/{SITE}/gpu/{host}",
        {
            "time": to_us(now() - timedelta(seconds=ago_s)) // 1000,
            "rack": rack,
            "gpus": [{"index": i, "uuid": f"GPU-{host}-{i}"} for i in range(4)],
            "fields": fields,
        },
    )


FIELDS = {
    "150": [70, 60, 90, 50],
    "155": [1000.0, 800.0, 700.0, 100.0],
    "164": [1000.0] * 4,
    "158": [89] * 4,
    "112": [0x4, 0x1, 0x20 | 0x40 | 0x4, 0],
    "230": [0, 79, 0, 0],
}


@pytest.mark.slow
def test_gpus_in_every_order() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(
            rack_metadata("RackLiquidSupplyTemperature", engUnit="C"),
            rack_value("RackLiquidSupplyTemperature", 35.0),
            report(**FIELDS),
        )

        async def known() -> Any:
            found = await hall.get("/api/v1/gpus")
            told = found["fleet"]
            return found if (told["xid"], told["slowed"]["thermal"], told["power_of"]) == (1, 1, 4) else None

        body = await hall.until(known)
        GpusBody.model_validate(body)
        assert [gpu["temperature_c"] for gpu in body["items"]] == [90, 70, 60, 50], "the hottest first"
        hottest, second, third, idle = body["items"]
        assert (hottest["margin_k"], hottest["causes"]) == (-1, ["thermal", "power_cap"])
        assert second["resistance_k_w"] == pytest.approx((70 - 35) / 1000)
        assert idle["resistance_k_w"] is None, "0.1 of 1 kW says nothing of cooling"
        assert (third["xid"], hottest["xid"]) == (79, None), "0 is no error"
        assert body["fleet"] == {
            "gpus": 4, "heard": 4, "hottest_c": 90, "power_kw": pytest.approx(2.6), "power_of": 4, "xid": 1,
            "slowed": {"thermal": 1, "power_cap": 2, "power_brake": 0, "hardware": 0, "sync_boost": 0},
            "temperatures": [[50, 1], [60, 1], [70, 1], [90, 1]],
        }  # fmt: skip

        async def ids(query: str) -> list[str]:
            return [gpu["temperature_c"] for gpu in (await hall.get(f"/api/v1/gpus?{query}"))["items"]]

        assert await ids("sort=resistance_k_w&order=asc") == [60, 70, 90, 50], "what is not told comes last"
        assert await ids("sort=resistance_k_w&order=desc") == [90, 70, 60, 50]
        assert await ids("only=slowed") == [90, 70]
        assert await ids("only=thermal") == [90]
        assert await ids("only=xid") == [60]
        assert await ids("only=stale") == []
        assert await ids("offset=1&limit=2") == [70, 60]
        assert await ids(f"scope=asset/{SITE}/R1&limit=1") == [90]
        assert (await hall.get(f"/api/v1/gpus?scope=hall/{SITE}/Hall 2"))["total"] == 4
        wrong = await hall.get(f"/api/v1/gpus?scope=asset/{SITE}/R9", 404)
        assert "R9" in wrong["detail"]
        assert (await hall.get("/api/v1/gpus?sort=colour", 422))["status"] == 422
        assert (await hall.get(f"/api/v1/gpus?offset={10**27}", 422))["status"] == 422
        table = await hall.client.get("/api/v1/gpus?format=csv&only=thermal")
        (row,) = csv.DictReader(io.StringIO(table.text))
        assert (row["temperature_c"], row["causes"], row["xid"]) == ("90.0", "thermal power_cap", "")

    inside(scenario)


def test_what_is_old_or_was_never_said_is_no_value() -> None:
    plant = Plant()
    frame = fleet.table(fleet.lay_out(plant), Latest(), 0)
    assert fleet.summary(frame)["power_kw"] is None and fleet.told(frame) == []
    of = fleet.Fleet(
        plant,
        site=("s",) * 2,
        gpu=("a", "b"),
        rack=("r",) * 2,
        points={name: np.array([0, 1] if name == "temperature_c" else [-1, -1]) for name in fleet.QUANTITIES},
        supply=np.array([-1, -1]),
    )
    latest, at = Latest(), 1_000_000_000
    points = np.array([0, 1], np.uint32)
    said = Readings(points, np.full(2, at), np.full(2, 60.0), np.zeros(2, np.uint8))
    latest.take(said, np.array([at, at - 300_000_000]))
    table = fleet.table(of, latest, at)
    assert table["temperature_c"].to_list() == [60.0, None]
    assert table["stale"].to_list() == [False, True]
    assert table["slowdowns"].to_list() == [None, None], "cannot tell is not: nothing holds it down"
    assert fleet.summary(table)["heard"] == 1


def test_every_bit_that_holds_clocks_down_has_its_cause() -> None:
    assert [causes_of(1 << bit) for bit in range(9)] == [
        (), (), (Slowdown.POWER_CAP,), (Slowdown.HARDWARE,), (Slowdown.SYNC_BOOST,), (Slowdown.THERMAL,),
        (Slowdown.THERMAL,), (Slowdown.POWER_BRAKE,), (),
    ]  # fmt: skip
    assert mask() == 0xFC


@pytest.mark.slow
def test_ways_of_power_by_hand() -> None:
    async def scenario(hall: Inside) -> None:
        await ready(hall)
        body = await hall.get("/api/v1/power")
        WaysBody.model_validate(body)
        ways = {way["name"]: way for way in body["items"]}
        assert set(ways) == {"bus-A", "bus-B"} and body["taps"] == 4, "tap-offs are told with their racks"
        one, other = ways["bus-A"], ways["bus-B"]
        assert one["now_a"] == [140, 140, 140] and one["imbalance_pct"] == 0
        assert one["load_pct"] == pytest.approx(100 * 140 / 480, abs=0.01)
        # When B is lost, all of it comes over: 70 + 70 of A, and 90 + 70 of B's first phase.
        assert max(one["after_a"]) == pytest.approx(300, abs=0.1)
        assert one["after_pct"] == pytest.approx(100 * 300 / 480, abs=0.05)
        assert (one["worst_if"], one["racks"], one["level"], one["measured"]) == ("bus-B", 2, 0, False)
        # 160, 140, 140: their mean is 146.7.
        assert sorted(other["now_a"]) == [140, 140, 160]
        assert other["imbalance_pct"] == pytest.approx(100 * (160 / (440 / 3) - 1), abs=0.01)
        racks = await hall.get(f"/api/v1/power/racks?feed=asset/{SITE}/bus-A")
        RackCordsBody.model_validate(racks)
        assert [rack["name"] for rack in racks["items"]] == ["R1", "R2"]
        first = racks["items"][0]
        assert (first["power_kw"], first["has"], first["holds"]) == (100, "2N", "yes")
        taps = {feed["name"]: feed for feed in first["feeds"]}
        assert taps["R1-A"]["load_pct"] == pytest.approx(100 * 70 / 200, abs=0.01)
        assert max(taps["R1-A"]["after_a"]) == pytest.approx(160, abs=0.1)
        assert taps["R1-B"]["fed_by"] == ["bus-B"]
        of_tap = await hall.get(f"/api/v1/power/racks?feed=asset/{SITE}/R2-A")
        assert [rack["name"] for rack in of_tap["items"]] == ["R2"]
        assert (await hall.get(f"/api/v1/power?scope=asset/{SITE}/R1"))["taps"] == 2
        wrong = await hall.get(f"/api/v1/power/racks?feed=asset/{SITE}/bus-Z", 404)
        assert "Did you mean" in wrong["detail"]

    inside(scenario, inventory=INVENTORY)


def loop(ago_s: float = 0.0, supply: float = 32.0) -> list[tuple[str, object]]:
    """What a CDU says of its exchanger."""
    told = {
        "ps": ("LiquidTemperature", 24.0), "pr": ("LiquidTemperature", 34.0), "ss": ("LiquidTemperature", supply),
        "sr": ("LiquidTemperature", 42.0), "sf": ("LiquidFlow", 1500.0),
    }  # fmt: skip
    return [value("CDU", point, name, number, ago_s=ago_s) for name, (point, number) in told.items()]


@pytest.mark.slow
def test_an_exchanger_now_and_over_time() -> None:
    async def scenario(hall: Inside) -> None:
        about = {"objectId": "C1", "objectName": "C1", "servesId": ["R1"]}
        areas = {"ps": ["Primary", "Supply"], "pr": ["Primary", "Return"], "ss": ["Secondary", "Supply"],
                 "sr": ["Secondary", "Return"], "sf": ["Secondary"]}  # fmt: skip
        await hall.send(
            *(
                metadata("CDU", "LiquidFlow" if name == "sf" else "LiquidTemperature", name, processArea=area,
                         engUnit="LPM" if name == "sf" else "C", **about)
                for name, area in areas.items()
            ),
            *loop(ago_s=120, supply=32.0),
            *loop(),
        )  # fmt: skip

        async def shown() -> Any:
            values = (await hall.get("/api/v1/hall"))["cdus"].get(f"{SITE}/C1", {}).get("values", {})
            return values if values.get("ua_kw_per_k") else None

        values = await hall.until(shown)
        assert values["approach_k"] == 8.0
        assert values["ua_kw_per_k"] == pytest.approx(125.6, abs=0.1)
        start = (now() - timedelta(minutes=10)).isoformat().replace("+00:00", "Z")
        body = await hall.get(f"/api/v1/exchangers/C1?site={SITE}&start={start}&every_s=60")
        ExchangerBody.model_validate(body)
        assert body["missing"] == [] and len(body["times"]) == 2, "steps without a reading are left out"
        assert body["approach_k"] == [8.0, 8.0]
        assert body["ua_kw_per_k"][0] == pytest.approx(125.6, abs=0.1)
        assert (await hall.get(f"/api/v1/exchangers/R1?site={SITE}&start={start}", 404))["status"] == 404
        assert (await hall.get(f"/api/v1/exchangers/C1?start={start}&end=2020-01-01T00:00:00Z", 422))["errors"]

    inside(scenario)


def test_a_figure_whose_part_is_missing_is_missing() -> None:
    times = [now().replace(microsecond=0), now().replace(microsecond=0) + timedelta(minutes=1)]
    points = {name: i for i, name in enumerate(exchanger.NEEDS)}
    row = {"primary_supply_c": 24.0, "primary_return_c": 34.0, "supply_c": 32.0, "return_c": 42.0, "flow_lpm": 1500.0}
    rows = [(points[name], times[0], number) for name, number in row.items()]
    rows += [(points[name], times[1], number) for name, number in row.items() if name != "primary_return_c"]
    frame = pl.DataFrame(rows, schema=["point", "time", "value"], orient="row")
    told = exchanger.over_time(frame, points)
    assert told["approach_k"].to_list() == [8.0, 8.0]
    assert told["ua_kw_per_k"].to_list() == [pytest.approx(125.6, abs=0.1), None]
    near = frame.with_columns(
        pl.when(pl.col("point") == points["supply_c"]).then(24.5).otherwise("value").alias("value")
    )
    assert exchanger.over_time(near, points)["ua_kw_per_k"].to_list() == [None, None], "ends below 1 K tell nothing"
    assert exchanger.over_time(frame.clear(), {}).is_empty()


def test_examples_of_the_exchanger() -> None:
    outcome = doctest.testmod(exchanger)
    assert outcome.attempted == 2 and not outcome.failed
