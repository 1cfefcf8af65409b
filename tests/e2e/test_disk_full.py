"""A full disk under the running service: it stays up, acknowledges nothing, says so, and goes on when there is room."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dcim.core.times import now, to_us
from tests.e2e.insistent import Publisher
from tests.e2e.running import Running, free_port, serving, wait_for
from tests.full_disk import small_disk

POINTS = 50
WINDOW = 500
START_MS = to_us(now()) // 1000 - 3_600_000


def message(number: int) -> tuple[bytes, bytes]:
    """First the descriptions, then values of one instant each."""
    path = b"Rack/RackPower/R%d/power" % (number % POINTS)
    if number < POINTS:
        about = {"objectType": "Rack", "pointType": "RackPower", "engUnit": "kW", "rackLocationId": f"R{number}"}
        return b"BMS/v1/PUB/Metadata/" + path, json.dumps(about).encode()
    value = {"value": number % 100, "timestamp": START_MS + number, "quality": 1}
    return b"BMS/v1/PUB/Value/" + path, json.dumps(value).encode()


def ready(service: Running) -> tuple[int, Any]:
    """Status and answer of the probe."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def expect_trouble(service: Running) -> None:
    """Everybody who asks is told, and the service is up all the same."""
    wait_for("the probe to tell", lambda: ready(service)[1]["trouble"])
    status, told = ready(service)
    assert status == 503
    assert "the disk is full. Free some space on it" in told["trouble"]
    assert service.get("/healthz")["status"] == "ok"
    ledger = service.get("/api/v1/ledger")
    assert ledger["store"]["trouble"] == told["trouble"]
    assert "Nothing is made durable or acknowledged since" in ledger["warnings"][0]
    assert service.ledger("ear")["faults"]["delivery_failed"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    port = free_port()
    ear = f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "titan"\nbind = "127.0.0.1:{port}"\n'
    with small_disk(tmp_path / "disk", 64) as disk:
        store = disk.path / "telemetry.duckdb"
        with serving(tmp_path, ear, disk.path) as service, Publisher(port, message, WINDOW) as publisher:
            acknowledged = publisher.acknowledged

            def come(more: int) -> None:
                before = len(acknowledged)
                wait_for(f"{more} acknowledgements", lambda: len(acknowledged) >= before + more)

            come(2 * WINDOW)
            disk.fill(leave_bytes=150_000)
            expect_trouble(service)
            there, failed = len(acknowledged), service.ledger("ear")["faults"]["delivery_failed"]
            wait_for("another try", lambda: service.ledger("ear")["faults"]["delivery_failed"] > failed + 1)
            assert len(acknowledged) == there, "nothing is acknowledged that is not on disk"

            disk.make_room()
            come(2 * WINDOW)
            assert ready(service)[0] == 200
            assert service.get("/api/v1/ledger")["store"]["trouble"] is None

            disk.fill()
            expect_trouble(service)
            service.kill()
            service.start()  # on a disk that is still full
            expect_trouble(service)
            disk.make_room()
            come(2 * WINDOW)
            assert ready(service)[0] == 200
            sent = publisher.finish()
            assert acknowledged == set(range(sent))
            account = service.ledger("ear")
            assert account["kinds"]["value"]["stored"] == sent - POINTS
        with duckdb.connect(store) as con:
            times = {row[0] for row in con.execute("select epoch_us(time) // 1000 from readings").fetchall()}
        assert times == {START_MS + number for number in range(POINTS, sent)}
