"""The whole service with InfluxDB as its store: from a message to a line, to the screen, and to the books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dcim.app.settings import Store, StoreInflux
from dcim.core.times import now
from tests.contract.inside import Inside, inside, rack_metadata, rack_value
from tests.influx_faults import InfluxFaults, told

FLOW = rack_metadata("RackLiquidFlow", engUnit="gpm")
POWER = rack_metadata("RackPower", engUnit="kW")


@pytest.fixture
def server() -> Iterator[InfluxFaults]:
    with InfluxFaults() as server:
        yield server


def behind(server: InfluxFaults, folder: Path) -> Store:
    token = folder / "token"
    token.write_text(server.token)
    token.chmod(0o600)
    influx = StoreInflux(url=server.url, org="titan", token_file=token, spool_folder=folder / "influx")
    return Store(kind="influx", influx=influx)


def readings_of(server: InfluxFaults) -> list[tuple[str, dict[str, str]]]:
    """(measurement and tags, fields) of the rows that are readings; the service adds facts for boards, which have no
    point."""
    return [(head, fields) for (head, _), fields in server.rows.items() if ",point=" in head]


async def backlog(hall: Inside) -> dict[str, Any]:
    return dict((await hall.get("/api/v1/ledger"))["store"]["backlog"])


async def handed_on(hall: Inside) -> dict[str, Any]:
    async def nothing_waits() -> dict[str, Any] | None:
        found = await backlog(hall)
        return found if found["waiting"] == 0 else None

    return dict(await hall.until(nothing_waits))


@pytest.mark.slow
def test_a_reading_is_written_as_what_it_is(server: InfluxFaults, tmp_path: Path) -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(rack_value("RackLiquidFlow", 11))  # waits for its metadata, and is converted with it
        await hall.send(FLOW, rack_value("RackLiquidFlow", 12), POWER, rack_value("RackPower", 90))
        found = await handed_on(hall)
        assert (found["forwarded"], found["dead_lettered"], found["trouble"]) == (3, {}, "")
        (account,) = (await hall.get("/api/v1/ledger"))["items"]
        assert (account["kinds"]["value"]["stored"], account["pending"], account["balanced"]) == (3, 0, True)
        latest = (await hall.get("/api/v1/readings/latest?quantity=RackPower"))["items"]
        assert [item["value"] for item in latest] == [90]
        start = quote((now() - timedelta(minutes=5)).isoformat())
        readings = await hall.get(f"/api/v1/readings?quantity=RackLiquidFlow&start={start}")
        assert [round(value, 3) for value in readings["series"][0]["values"]] == [41.64, 45.425]
        assert "dcim_spool_forwarded_total 3.0" in (await hall.client.get("/metrics")).text
        assert await hall.get("/api/v1/ledger/dead-letters") == []

    inside(scenario, store=behind(server, tmp_path))
    place = "rack,asset=R1,hall=Hall\\ 2,point=titan|bms|Rack/{0}/R1/{0},rack=R1,row=C,site=titan"
    assert {(head, *fields) for head, fields in readings_of(server)} == {
        (place.format("RackLiquidFlow"), "liquid_flow_lpm"),
        (place.format("RackPower"), "power_kw"),
    }


@pytest.mark.slow
def test_what_the_server_refuses_can_be_looked_at(server: InfluxFaults, tmp_path: Path) -> None:
    server.malformed = lambda line: "power_kw" in line

    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW, POWER, rack_value("RackLiquidFlow", 12), rack_value("RackPower", 90))
        found = await handed_on(hall)
        assert (found["forwarded"], found["dead_lettered"]) == (1, {"malformed": 1})
        (letter,) = await hall.get("/api/v1/ledger/dead-letters")
        assert letter["reason"] == "malformed"
        assert "power_kw=90.0" in letter["line"]
        assert letter["line"] in letter["message"]
        assert 'dcim_dead_lettered_total{reason="malformed"} 1.0' in (await hall.client.get("/metrics")).text
        await hall.get("/api/v1/ledger/dead-letters?limit=0", 422)

    inside(scenario, store=behind(server, tmp_path))


@pytest.mark.slow
def test_an_outage_is_told_and_costs_nothing(server: InfluxFaults, tmp_path: Path) -> None:
    store = behind(server, tmp_path)
    server.schedule = lambda number, lines: told(503, "unavailable", "compacting")

    async def during(hall: Inside) -> None:
        await hall.send(FLOW, rack_value("RackLiquidFlow", 12))

        async def troubled() -> bool:
            return "compacting" in (await backlog(hall))["trouble"]

        await hall.until(troubled)
        found = await backlog(hall)
        assert (found["waiting"], found["oldest_s"] is not None) == (1, True)
        assert any("compacting" in warning for warning in (await hall.get("/readyz"))["warnings"])
        assert "dcim_spool_trouble 1.0" in (await hall.client.get("/metrics")).text

    async def after(hall: Inside) -> None:
        async def shown() -> list[Any]:
            return list((await hall.get("/api/v1/readings/latest"))["items"])

        assert [item["quantity"] for item in await hall.until(shown)] == ["RackLiquidFlow"]
        await handed_on(hall)
        assert len(readings_of(server)) == 1

    inside(during, store=store)
    server.schedule = lambda number, lines: None
    inside(after, store=store)
