"""Handing on to servers that are started, killed and started again."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcim.core.ports import Appended
from dcim.core.readings import Readings
from dcim.core.times import from_us, now, to_us
from dcim.store.influx import InfluxStore, Place
from dcim.store.influx_buckets import carry_out, plan
from dcim.store.influx_client import InfluxServer
from dcim.store.retention import Retention
from tests.servers import influxd, victoria

T0 = to_us(datetime(2026, 3, 1, 3, 0, tzinfo=UTC))
SECOND = 1_000_000


@pytest.mark.slow
@pytest.mark.victoria
def test_another_server_that_speaks_the_write_api(tmp_path: Path) -> None:
    """VictoriaMetrics takes our lines as InfluxDB does, also after it was away."""
    with victoria(tmp_path) as server:
        place = Place(server.url, "org", "bucket", lambda: "token")
        with InfluxStore(place, tmp_path / "influx", 2**26, now, sleep=lambda _: asyncio.sleep(0.05)) as store:
            for number in range(20):
                rows = [(point, T0 + number * SECOND, point + number / 4, 0) for point in range(50)]
                assert store.append(Readings.of(*zip(*rows, strict=True))) == Appended(50, 0)
                if number == 10:
                    server.stop()  # not killed: it acknowledges what it has in memory only
                if number == 15:
                    server.start()
            assert store.drain(60)
            assert store.backlog().dead_lettered == {}
        server.get("/internal/force_flush")
        series = [json.loads(line) for line in server.get("/api/v1/export?match[]=asset_value").splitlines()]
        found = {
            (one["metric"]["point"], time // 1000 - T0 // SECOND, value)
            for one in series
            for time, value in zip(one["timestamps"], one["values"], strict=True)
        }
        assert found == {(f"#{point}", number, point + number / 4) for point in range(50) for number in range(20)}


@pytest.mark.slow
@pytest.mark.influxd
def test_an_influxdb_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """What it acknowledged it has, what it did not it gets: at the end every reading is there, once."""
    with influxd(tmp_path) as server:
        login = {"username": "u", "password": "test-password", "org": "org", "bucket": "first", "token": "token"}
        server.get("/api/v2/setup", login)
        place = Place(server.url, "org", "dcim", lambda: "token")

        async def set_up() -> None:
            setting = InfluxServer(place.url, place.org, place.token)
            try:
                await carry_out(setting, await plan(setting, place.bucket, Retention()), shorten=False)
            finally:
                await setting.close()

        asyncio.run(set_up())
        count = 200
        with InfluxStore(place, tmp_path / "influx", 2**26, now, sleep=lambda _: asyncio.sleep(0.1)) as store:
            for number in range(40):
                batch = Readings.of(range(count), [T0 + number] * count, [number / 3] * count, [0] * count)
                assert store.append(batch) == Appended(count, 0)
                if number in {10, 25}:
                    assert store.drain(60)
                    server.stop(signal.SIGKILL)
                if number in {18, 33}:
                    server.start()
            assert store.drain(120)
            window = store.window(range(count), from_us(T0), from_us(T0 + 100))
            assert window.height == 40 * count
            assert window.filter(window["point"] == 7)["value"].to_list() == [number / 3 for number in range(40)]
            assert store.append(Readings.of([7], [T0], [9.0], [0])) == Appended(0, 1)
