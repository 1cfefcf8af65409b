"""The account of the ledger as it is shown: by codec, since when, over restarts, and when it is damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dcim.app.settings import Store
from dcim.core.errors import Transient
from dcim.core.ledger import DeadLetter
from dcim.core.ports import Appended, Backlog
from dcim.core.times import SECOND_US, now, to_us
from tests.contract.inside import Inside, inside, rack_metadata, rack_value, value

FLOW = rack_metadata("RackLiquidFlow", engUnit="gpm")
GPUS = (
    "dcim/v1/titan/gpu/node-1",
    {"time": 0, "rack": "R1", "gpus": [{"index": 0, "uuid": "GPU-1"}], "fields": {"155": [412.0], "150": [61]}},
)


def gpus() -> tuple[str, object]:
    """A GPU message of now."""
    _, body = value("Rack", "x", "x", 0)
    assert isinstance(body, dict)
    topic, report = GPUS
    return topic, report | {"time": body["timestamp"]}


async def account(hall: Inside, since: str = "account") -> dict[str, Any]:
    """The account of the one source."""
    ledger = await hall.get(f"/api/v1/ledger?since={since}")
    (found,) = ledger["items"]
    assert all(counts["balanced"] for counts in (found, *found["codecs"].values()))
    return dict(found)


@pytest.mark.slow
def test_each_codec_has_its_share_and_the_pace_is_told() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(FLOW, rack_value("RackLiquidFlow", 12, ago_s=2), gpus(), ("BMS/v1/nothing", b"?"))
        found = await account(hall)
        shares = {codec: (counts["received"], counts["stored"]) for codec, counts in found["codecs"].items()}
        assert shares == {"dsx": (3, 2), "gpu": (2, 2), "": (0, 0)}
        assert (found["received"], found["stored"], found["rejected"], found["messages"]) == (5, 4, 1, 4)
        pace = found["pace"]
        assert pace["batches"] == 1
        assert 0 <= pace["durable"]["p50_s"] <= pace["durable"]["p99_s"] <= pace["durable"]["max_s"]
        metrics = (await hall.client.get("/metrics")).text
        assert 'dcim_items_stored_total{codec="gpu",kind="value",source="ear"} 2.0' in metrics
        assert 'dcim_items_rejected_total{codec="dsx",reason="topic_unknown",source="ear"} 1.0' in metrics
        assert 'dcim_durable_seconds{quantile="1",source="ear"}' in metrics

    inside(scenario)


@pytest.mark.slow
def test_the_account_outlives_the_service_and_the_start_is_counted_too(tmp_path: Path) -> None:
    store = Store(path=tmp_path / "telemetry.duckdb")
    first: dict[str, Any] = {}

    async def before(hall: Inside) -> None:
        await hall.send(FLOW, rack_value("RackLiquidFlow", 12), rack_value("RackPower", 90))
        first.update(await account(hall))
        assert (first["stored"], first["pending"]) == (2, 1)
        assert await account(hall, "start") == first

    async def after(hall: Inside) -> None:
        await hall.send(rack_metadata("RackPower", engUnit="kW"), FLOW)
        whole, run = await account(hall), await account(hall, "start")
        assert whole["since"] == first["since"] < run["since"]
        assert (whole["received"], whole["stored"], whole["duplicate"], whole["carried"]) == (5, 4, 1, 0)
        assert (run["received"], run["stored"], run["duplicate"], run["carried"]) == (2, 2, 1, 1)
        assert run["messages"] == 2
        problem = await hall.get("/api/v1/ledger?since=yesterday", 422)
        assert problem["errors"][0]["field"] == "query.since"

    inside(before, store=store)
    inside(after, store=store)


@pytest.mark.slow
def test_a_damaged_account_is_set_aside_and_counting_starts_anew(tmp_path: Path) -> None:
    store = Store(path=tmp_path / "telemetry.duckdb")
    told: set[str] = set()

    async def before(hall: Inside) -> None:
        await hall.send(FLOW, rack_value("RackLiquidFlow", 12), rack_value("RackPower", 90))

    async def after(hall: Inside) -> None:
        for path in ("/readyz", "/api/v1/ledger"):
            (warning,) = (await hall.get(path))["warnings"]
            assert "account was damaged" in warning
            told.update(re.findall(r"set aside as (\S+)\. ", warning))
        found = await account(hall)
        assert (found["received"], found["stored"], found["pending"], found["carried"]) == (0, 0, 1, 1)
        await hall.send(rack_metadata("RackPower", engUnit="kW"))
        assert (await account(hall))["kinds"]["value"]["stored"] == 1

    inside(before, store=store)
    with duckdb.connect(store.path) as con:
        con.execute("update account set body = 'gnawed at'")
    inside(after, store=store)
    assert [Path(file).read_bytes() for file in told] == [b"gnawed at"]


@pytest.mark.slow
def test_what_waits_for_a_server_behind_the_store_is_told() -> None:
    waiting = Backlog(
        waiting=7, bytes=850, bytes_max=1_000, oldest_us=to_us(now()) - 90 * SECOND_US, forwarded=5, overtaken=2,
        dead_lettered={DeadLetter.TYPE_CONFLICT: 3}, damaged=1, trouble="the server does not answer",
    )  # fmt: skip

    async def scenario(hall: Inside) -> None:
        hall.service.context.condition.backlog = lambda: waiting
        ledger = await hall.get("/api/v1/ledger")
        told = ledger["store"]["backlog"]
        assert 90 <= told.pop("oldest_s") < 120
        assert told == {
            "waiting": 7, "bytes": 850, "bytes_max": 1_000, "forwarded": 5, "overtaken": 2,
            "dead_lettered": {"type_conflict": 3}, "damaged": 1, "trouble": "the server does not answer",
        }  # fmt: skip
        assert ledger["warnings"] == ["the server does not answer"]
        assert (await hall.get("/readyz"))["trouble"] is None, "what comes is kept all the same"
        metrics = (await hall.client.get("/metrics")).text
        for line in (
            "dcim_spool_bytes 850.0",
            'dcim_dead_lettered_total{reason="type_conflict"} 3.0',
            "dcim_spool_trouble 1.0",
        ):
            assert line in metrics

    inside(scenario)


@pytest.mark.slow
def test_what_is_in_the_way_is_told_until_it_is_gone() -> None:
    async def scenario(hall: Inside) -> None:
        intake = hall.service.intake

        def full(*_: object) -> Appended:
            raise Transient("the disk is full", where="telemetry.duckdb", todo="Free some space on it")

        kept, intake._store.append = intake._store.append, full  # type: ignore[method-assign]
        try:
            await hall.send(FLOW)
        except Transient:
            pass
        else:
            raise AssertionError("the disk is not full")
        ready = await hall.get("/readyz", 503)
        assert (ready["status"], ready["trouble"]) == (
            "trouble",
            "telemetry.duckdb: the disk is full. Free some space on it",
        )
        ledger = await hall.get("/api/v1/ledger")
        assert ledger["store"]["trouble"] == ready["trouble"]
        assert ledger["store"]["trouble_since"]
        assert ledger["warnings"] == ready["warnings"]
        assert "Nothing is made durable or acknowledged since" in ledger["warnings"][0]
        assert "dcim_store_trouble 1.0" in (await hall.client.get("/metrics")).text
        intake._store.append = kept  # type: ignore[method-assign]
        await hall.send(FLOW)
        assert (await hall.get("/readyz"))["trouble"] is None
        assert (await hall.get("/api/v1/ledger"))["store"] == {"trouble": None, "trouble_since": None, "backlog": None}

    inside(scenario)
