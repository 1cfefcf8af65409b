"""The books after kill -9: the ledger says what the store holds, and what was acknowledged is in it."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dcim.core.times import now, to_us
from tests.e2e.insistent import Publisher
from tests.e2e.running import Running, free_port, serving, wait_for

POINTS = 40
EARLY = 8
"""Of these points nobody publishes metadata for a while: their values wait."""
WINDOW = 400
KILLS = 6


class Traffic:
    """Messages of all sorts: values of two codecs, values before their metadata, metadata again, and nonsense."""

    def __init__(self) -> None:
        self.start_ms = to_us(now()) // 1000 - 3_600_000
        self.described_from = 10**12
        """From this number on the early points are described too."""

    def __call__(self, number: int) -> tuple[bytes, bytes]:
        if number < POINTS - EARLY:
            return self._metadata(EARLY + number)
        if self.described_from <= number < self.described_from + EARLY:
            return self._metadata(number - self.described_from)
        if number % 97 == 0:
            return b"BMS/v1/PUB/Value/Rack/RackPower/R1/power", b"nonsense"
        if number % 53 == 0:
            return self._metadata(EARLY + number % (POINTS - EARLY))
        if number % 5 == 0:
            fields = {"time": self.start_ms + number, "rack": "R1", "gpus": [{"index": 0}], "fields": {"155": [412.1]}}
            return b"dcim/v1/titan/gpu/node-1", json.dumps(fields).encode()
        value = {"value": number % 100, "timestamp": self.start_ms + number, "quality": 1}
        return b"BMS/v1/PUB/Value/Rack/RackPower/%s" % self._path(number % POINTS), json.dumps(value).encode()

    def times_of_values(self, numbers: set[int]) -> set[int]:
        """The milliseconds at which a value of these messages must be in the store. Each message has its own."""
        described = {*range(POINTS - EARLY), *range(self.described_from, self.described_from + EARLY)}
        return {self.start_ms + number for number in numbers - described if number % 97 and number % 53}

    def _metadata(self, point: int) -> tuple[bytes, bytes]:
        body = {"objectType": "Rack", "pointType": "RackPower", "engUnit": "kW", "rackLocationId": f"R{point}"}
        return b"BMS/v1/PUB/Metadata/Rack/RackPower/%s" % self._path(point), json.dumps(body).encode()

    @staticmethod
    def _path(point: int) -> bytes:
        return b"R%d/power" % point


def rows_of(store: Path, beside: Path) -> tuple[int, int]:
    """Readings and held values in the store of a service that was killed. Counted in a copy, which nobody repairs."""
    for name in (store.name, f"{store.name}.wal"):
        if store.with_name(name).exists():
            shutil.copyfile(store.with_name(name), beside / name)
    with duckdb.connect(beside / store.name) as con:
        rows = con.execute("select (select count(*) from readings), (select count(*) from held)").fetchall()[0]
    for copy in beside.iterdir():
        copy.unlink()
    return rows[0], rows[1]


def expect_books(service: Running, rows: tuple[int, int]) -> dict[str, Any]:
    """The ledger agrees with itself, by codec too, and with the store."""
    found = service.ledger("ear")
    assert all(counts["balanced"] for counts in found["codecs"].values())
    assert (found["kinds"]["value"]["stored"], found["pending"]) == rows
    assert found["carried"] == 0
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_books_agree_with_the_store_after_every_kill(tmp_path: Path) -> None:
    rng = random.Random(5)
    port = free_port()
    ear = f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "titan"\nbind = "127.0.0.1:{port}"\n'
    beside, store = tmp_path / "copy", tmp_path / "telemetry.duckdb"
    beside.mkdir()
    traffic = Traffic()
    with serving(tmp_path, ear) as service:
        since = service.ledger("ear")["since"]
        with Publisher(port, traffic, WINDOW) as publisher:
            for kill in range(KILLS):
                before = len(publisher.acknowledged)
                wait_for("acknowledgements", lambda: len(publisher.acknowledged) > before + WINDOW)  # noqa: B023
                time.sleep(rng.random() * 0.15)  # not to wait for anything: to be anywhere in a batch
                publisher.at_rest.set()
                service.kill()
                rows = rows_of(store, beside)
                service.start()
                expect_books(service, rows)
                if kill == KILLS // 2:
                    traffic.described_from = publisher.sent + WINDOW
                publisher.at_rest.clear()
            sent = publisher.finish()
        assert publisher.acknowledged == set(range(sent))
        service.kill()
        rows = rows_of(store, beside)
        service.start()
        found = expect_books(service, rows)
        assert found["since"] == since, "the account goes on over every restart"
        assert found["pending"] == 0
        assert found["messages"] >= sent
        run = service.get("/api/v1/ledger?since=start")["items"][0]
        assert (run["received"], run["messages"], run["balanced"]) == (0, 0, True)
    with duckdb.connect(store) as con:
        times = {row[0] for row in con.execute("select epoch_us(time) // 1000 from readings").fetchall()}
    assert times == traffic.times_of_values(publisher.acknowledged)
    assert found["kinds"]["value"]["stored"] == len(times)
    assert found["duplicate"] > 0
